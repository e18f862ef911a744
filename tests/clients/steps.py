"""The twelve steps that every client is led through, as data: what it asks for, and what must hold of the answer.

`$name` in a request or an expectation is what an earlier answer was kept as, or what the house has ready: `$document`,
`$title`, `$key`, `$others`. An answer is looked into by path, as in `data.passages.0.text`; `*` is each item of a list.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from tests.clients.house import LONG, OTHERS_RUN

MAX_CUT = 48_300
"""Characters of an answer that was cut, the notice included."""

Ability = Literal["cancel", "complete", "elicitation", "progress", "tasks", "watch"]
"""What not every client can do. `elicitation`: it has a person to ask; `tasks`: a run that it starts is a task."""

ABILITIES: tuple[Ability, ...] = get_args(Ability)

Relation = Literal["is", "has", "matches", "at_most", "at_least", "one_of"]


INVALID_PARAMS = -32602


@dataclass(frozen=True)
class Check:
    """What must hold of the value at a path; `at_most` and `at_least` count characters and items."""

    path: str
    relation: Relation
    value: Any


@dataclass(frozen=True)
class Act:
    """One request. `fails`: the words its error must have, as a pattern; `keep`: names for values of the answer.

    `code`: the error is one of the protocol; without it a tool's error is a result that says so. A kept value is at a
    path, or is the group of a pattern behind one: `text: ticket (\\S+)`. `starts` names the run that the call starts.
    `only` and `unless` leave an act to those clients that have the ability, or have it not.
    """

    op: str
    what: Mapping[str, Any] = field(default_factory=dict[str, Any])
    holds: tuple[Check, ...] = ()
    keep: Mapping[str, str] = field(default_factory=dict[str, str])
    fails: str | None = None
    code: int | None = None
    starts: str | None = None
    only: Ability | None = None
    unless: Ability | None = None


@dataclass(frozen=True)
class Step:
    """A step by its name."""

    name: str
    acts: tuple[Act, ...]


def call(tool: str, arguments: Mapping[str, Any], *holds: Check, **more: Any) -> Act:
    """Return the call of a tool; `about` says what the client is to do beside it."""
    about = more.pop("about", {})
    return Act("call_tool", {"name": tool, "arguments": dict(arguments), **about}, holds, **more)


def use(tool: str, arguments: Mapping[str, Any], *holds: Check, ticket: str = "$ticket", **more: Any) -> Act:
    """Return the call of a skill's tool by ticket."""
    return call("use_tool", {"ticket": ticket, "tool": tool, "arguments": dict(arguments)}, *holds, **more)


def read(uri: str, *holds: Check, **more: Any) -> Act:
    """Return the reading of a resource."""
    return Act("read_resource", {"uri": uri}, holds, **more)


def follow(run: str, status: str, *holds: Check, **more: Any) -> Act:
    """Return the watching of a run until it has a status: `get_run` that waits, again and again."""
    return Act("follow", {"run_id": run, "status": status}, holds, **more)


def start(name: str, tool: str, arguments: Mapping[str, Any], **more: Any) -> Act:
    """Return the start of a run; its title is how a client that gets a task finds it."""
    begun = Check("data.status", "one_of", ["starting", "running", "waiting"])
    return call(tool, {**arguments, "title": f"$title {name}"}, begun, starts=name, **more)


SIGN = {"process": "sign_off", "input": {"subject": "the lease"}, "idempotency_key": "$key"}
PAY = {"task": "pay NI-7", "skills": ["accounts-payable"]}
ORDER = (Check("data.supplier", "is", "Northwind Instruments"), Check("data.ordered_by", "has", "Tomas Berg"))
CORE = ("use_tool", "find_tools", "search_content", "start_process", "start_agent", "get_run", "answer_run")
STALE = "accounts_payable@0000000000000000"
APPROVE = {"decision": "approve", "values": {"reason": "agreed with the landlord"}}

LEARN = Step(
    "learn",
    (
        Act("list_tools", holds=tuple(Check("tools.*.name", "has", name) for name in CORE), keep={"listed": "tools"}),
        call(
            "learn_accounts_payable",
            {},
            Check("text", "has", "accounts_payable.find_order"),
            Check("data", "is", None),
            keep={"ticket": r"text: ticket: (accounts_payable@\w{16})\s*\Z"},
        ),
        Act("list_tools", {"learned": "accounts_payable.find_order"}),
    ),
)
USE = Step(
    "use",
    (
        use("find_order", {"number": "HR-7731"}, *ORDER),
        use(
            "find_order",
            {"number": "HR-7731"},
            Check("text", "has", "### accounts_payable.find_order"),
            ticket=STALE,
            fails=r"is stale.*Nothing was run",
            keep={"fresh": r"text: with the ticket (accounts_payable@\w{16})"},
        ),
        use("find_order", {"number": "HR-7731"}, *ORDER, ticket="$fresh"),
    ),
)
SEARCH = Step(
    "search",
    (
        call(
            "search_content",
            {"query": "what may a night in a hotel cost?", "limit": 2},
            Check("data.passages.0.text", "has", "at most 160 EUR"),
            Check("data.passages.0.name", "is", "travel-policy.md"),
            Check("data.passages.0.object_id", "is", "$document"),
            Check("data.passages.0.anchor", "has", "$document@1"),
            Check("data.passages", "at_most", 2),
            keep={"anchor": "data.passages.0.anchor"},
        ),
    ),
)
START = Step(
    "start",
    (
        start("run", "start_process", SIGN),
        start("again", "start_process", SIGN),
        Act("same", {"one": "$run", "other": "$again"}),
        call(
            "start_process",
            {**SIGN, "title": "$title run", "input": {"subject": "another"}},
            fails="idempotency|key|already",
        ),
        start("agent", "start_agent", PAY),
    ),
)
WATCH = Step(
    "watch",
    (
        follow("$run", "waiting", Check("data.definition", "is", "sign_off")),
        call(
            "get_run",
            {"run_id": "$run"},
            Check("data.open_tasks.0.title", "is", "Sign the lease?"),
            Check("data.open_tasks.0.decisions", "is", ["approve", "reject"]),
            Check("data.open_tasks.0.yours", "is", True),
            keep={"task": "data.open_tasks.0.task_id", "seen": "data.next_after"},
        ),
        call(
            "get_run",
            {"run_id": "$run", "after": "$seen", "wait_s": 0.5},
            Check("data.status", "is", "waiting"),
            Check("progress", "at_least", 1),
            about={"progress": True},
            only="progress",
        ),
        call("list_tasks", {}, Check("data.tasks.*.task_id", "has", "$task")),
    ),
)
ANSWER = Step(
    "answer",
    (
        call("answer_run", {"run_id": "$run", "decision": "perhaps"}, fails="perhaps.*approve, reject"),
        call(
            "answer_run", {"run_id": "$run", "decision": "approve", "values": {"reason": "x"}}, fails="values.*reason"
        ),
        call(
            "answer_run",
            {"run_id": "$run", **APPROVE},
            Check("data.status", "is", "answered"),
            Check("data.task_id", "is", "$task"),
            unless="tasks",
        ),
        Act(
            "respond",
            {"asked": "$run_asked", "content": {"decision": "approve", "reason": "agreed with the landlord"}},
            (Check("data.status", "is", "completed"), Check("data.result.outcome", "is", "signed")),
            only="tasks",
        ),
        call(
            "answer_run", {"run_id": "$run", "task_id": "$task", **APPROVE}, fails=r"already decided by \S+ \(approve\)"
        ),
        follow("$run", "completed", Check("data.result", "is", {"outcome": "signed", "output": "approve"})),
        start("asked", "start_process", {"process": "sign_off", "input": {"subject": "the key"}}, only="elicitation"),
        follow("$asked", "waiting", only="elicitation"),
        call(
            "answer_run",
            {"run_id": "$asked"},
            Check("data.status", "is", "open"),
            Check("data.accepted", "has", "declined"),
            about={"person": {"action": "decline"}},
            only="elicitation",
        ),
        call(
            "answer_run",
            {"run_id": "$asked"},
            Check("data.status", "is", "answered"),
            about={"person": {"action": "accept", "content": {"decision": "reject", "reason": "no key was lost"}}},
            only="elicitation",
        ),
        follow(
            "$asked",
            "completed",
            Check("data.result", "is", {"outcome": "refused", "output": "the key"}),
            only="elicitation",
        ),
    ),
)
CONTROL = Step(
    "control",
    (
        follow("$agent", "waiting", Check("data.open_tasks.0.kind", "is", "approval")),
        Act("watch", {"uri": "run://$agent"}, only="watch"),
        call("control_run", {"run_id": "$agent", "action": "pause"}, Check("data.status", "is", "paused")),
        Act("heard", {"uri": "run://$agent"}, only="watch"),
        call("control_run", {"run_id": "$agent", "action": "resume"}, Check("data.status", "is", "waiting")),
        call("control_run", {"run_id": "$agent", "action": "retry"}, fails="can't retry.*stop, cancel, pause"),
        call("control_run", {"run_id": "$agent", "action": "stop", "reason": "enough"}),
        follow("$agent", "completed|cancelled"),
        call("control_run", {"run_id": "$agent", "action": "pause"}, fails="nothing is left to pause"),
    ),
)
RESOURCES = Step(
    "resources",
    (
        Act(
            "list_resources",
            holds=(
                Check("resources.*.uri", "has", "skill://accounts-payable/SKILL.md"),
                Check("resources.*.uri", "has", "task://inbox"),
            ),
        ),
        Act(
            "list_templates",
            holds=tuple(
                Check("resourceTemplates.*.uriTemplate", "has", form)
                for form in ("run://{run_id}", "run://{run_id}/audit", "task://{task_id}")
            ),
        ),
        read("run://$run", Check("json.status", "is", "completed"), Check("json.definition", "is", "sign_off")),
        read("run://$run/audit", Check("json.run_id", "is", "$run"), Check("json.records", "at_least", 3)),
        read("content://$document@1", Check("text", "has", "$document")),
        read("content://$document@1/text", Check("text", "has", "First class is booked")),
        read("content://$anchor", Check("text", "has", "at most 160 EUR")),
        read("skill://accounts-payable/SKILL.md", Check("text", "has", "## Order of work")),
        read("run://run_that_never_was", fails="not found", code=INVALID_PARAMS),
        read("run://$others/audit", fails="not found", code=INVALID_PARAMS),
        read("nothing://at/all", fails="not found", code=INVALID_PARAMS),
    ),
)
PROMPTS = Step(
    "prompts",
    (
        Act(
            "list_prompts",
            holds=(
                Check("prompts.*.name", "has", "greeting"),
                Check("prompts.*.name", "has", "agreed"),
            ),
        ),
        Act(
            "get_prompt",
            {"name": "greeting", "arguments": {"who": "Ada", "tone": "frank", "times": "2"}},
            (
                Check("messages.0.role", "is", "user"),
                Check("messages.0.content.text", "has", "Greet Ada, frank, 2 times."),
            ),
        ),
        Act(
            "get_prompt",
            {"name": "greeting", "arguments": {"who": "Ada", "times": "often"}},
            fails="times.*often",
            code=INVALID_PARAMS,
        ),
        Act("get_prompt", {"name": "no_such_prompt", "arguments": {}}, fails="no_such_prompt", code=INVALID_PARAMS),
        Act(
            "complete",
            {"ref": {"type": "ref/prompt", "name": "greeting"}, "argument": {"name": "tone", "value": "f"}},
            (Check("completion.values", "is", ["formal", "friendly", "frank"]),),
            only="complete",
        ),
        Act(
            "complete",
            {
                "ref": {"type": "ref/resource", "uri": "process://{name}@{version}"},
                "argument": {"name": "name", "value": "sign"},
            },
            (Check("completion.values", "is", ["sign_off"]),),
            only="complete",
        ),
    ),
)
CANCEL = Step(
    "cancel",
    (
        start("left", "start_process", {"process": "sign_off", "input": {"subject": "the annex"}}),
        follow("$left", "waiting", keep={"left_seen": "data.next_after"}),
        call(
            "get_run",
            {"run_id": "$left", "after": "$left_seen", "wait_s": 20},
            Check("cancelled", "is", True),
            about={"cancel_after_s": 0.3},
            only="cancel",
        ),
        call("get_run", {"run_id": "$left"}, Check("data.status", "is", "waiting")),
        call("control_run", {"run_id": "$left", "action": "cancel"}),
        follow("$left", "cancelled"),
    ),
)
BIG = Step(
    "big result",
    (
        call(
            "render_interaction",
            {"interaction": "agreed"},
            Check("text", "has", "0001 what was agreed"),
            Check("text", "at_most", MAX_CUT),
            Check("text", "matches", r"\[cut: the first 48,000 of [\d,]+ characters; the whole text is at result://"),
            Check("rest", "matches", r"\Aresult://[\w.-]+\Z"),
            keep={"rest": "rest"},
        ),
        read("$rest", Check("text", "has", json.dumps(LONG)[1:-1]), Check("json.interaction", "is", "agreed")),
    ),
)
WRONG = Step(
    "wrong input",
    (
        call("no_such_tool", {}, fails="no_such_tool", code=INVALID_PARAMS),
        call("search_content", {"query": "hotel", "limit": 99}, fails=r"\$\.limit.*99"),
        call("search_content", {"query": "hotel", "limits": 3}, fails=r"limits"),
        call("get_run", {"run_id": "run_that_never_was"}, fails="there is no run run_that_never_was"),
        call("get_run", {"run_id": "$others"}, fails=f"there is no run {OTHERS_RUN}"),
        call("control_run", {"run_id": "$others", "action": "cancel"}, fails=f"there is no run {OTHERS_RUN}"),
        use("find_order", {"number": 7}, fails=r"\$\.number"),
        use("forget_order", {}, fails="no tool 'forget_order'"),
        use("find_order", {"number": "HR-7731"}, ticket="astrology@1", fails="astrology"),
        call("list_runs", {"limit": 1}, Check("data.runs", "at_least", 1)),
    ),
)

STEPS = (LEARN, USE, SEARCH, START, WATCH, ANSWER, CONTROL, RESOURCES, PROMPTS, CANCEL, BIG, WRONG)
