"""Every call goes through one chain: found, allowed, checked, bounded in time and size, and never a stack trace."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, cast

import anyio
import pytest
from pydantic import Field, JsonValue

from content.database import Database
from engine.errors import Invalid, NotFound, Problem, Unavailable
from engine.ports import Effects
from engine.runs import RunRef
from engine.values import Principal, Value
from server.store.effects import SqlEffects
from skills.catalogue import Catalogue, Skill
from skills.folder import read_folder
from skills.lesson import check_ticket, learn
from skills.running import Defect, TimedOut, problem_text
from skills.services import Services, ToolContext
from skills.tool import AnyTool, ToolReply, tool
from skills.toolbox import StaleTicket, Toolbox

pytestmark = pytest.mark.anyio

ALICE = Principal(tenant="acme", subject="alice", roles=frozenset({"author", "publisher"}))
BOB = Principal(tenant="acme", subject="bob", roles=frozenset({"viewer"}))
SECRET = "hunter2 at /etc/private"


@dataclass
class Counted:
    """How often tools ran, and what they are to do."""

    runs: list[str] = field(default_factory=lambda: [])
    fail: Exception | None = None
    hold: anyio.Event | None = None


COUNTED = Counted()


class Sum(Value):
    """A sum."""

    total: int


@tool()
async def add(ctx: ToolContext, numbers: Annotated[list[int], Field(max_length=9)]) -> Sum:
    """Add numbers."""
    return Sum(total=sum(numbers))


@tool(effect="side_effecting", roles=("publisher",), timeout_s=5)
async def pay(ctx: ToolContext, amount: int = 1) -> Sum:
    """Pay an amount."""
    COUNTED.runs.append(ctx.key)
    if COUNTED.fail:
        raise COUNTED.fail
    if COUNTED.hold:
        COUNTED.hold.set()
        await anyio.sleep_forever()
    return Sum(total=amount * len(COUNTED.runs))


@tool(effect="side_effecting", honours_key=True)
async def pay_once(ctx: ToolContext, amount: int = 1) -> Sum:
    """Pay an amount once for each key."""
    return await pay(ctx, amount)


@tool(timeout_s=0.05)
async def slow(ctx: ToolContext) -> str:
    """Take for ever."""
    await anyio.sleep_forever()
    return ""


@tool()
async def broken(ctx: ToolContext) -> str:
    """Break."""
    raise RuntimeError(SECRET)


@tool()
async def lying(ctx: ToolContext) -> Sum:
    """Promise a sum and give something else."""
    return cast(Sum, {"total": SECRET})


@tool()
async def long_text(ctx: ToolContext, characters: int) -> str:
    """Write a long text."""
    return "é" * characters


def a_skill(root: Path, name: str, *tools: AnyTool, body: str = "Do it well.") -> Skill:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text(f"---\nname: {name}\ndescription: The area of {name}.\n---\n{body}\n")
    source = read_folder(folder)
    return Skill(source=source, tools=tuple(one.within(name.replace("-", "_")) for one in tools))


def tools(*given: Any) -> tuple[AnyTool, ...]:
    return tuple(cast(AnyTool, one) for one in given)


@pytest.fixture
def toolbox(tmp_path: Path) -> Toolbox:
    money = a_skill(tmp_path, "money-work", *tools(add, pay, pay_once))
    words = a_skill(tmp_path, "words", *tools(long_text))
    secrets = a_skill(tmp_path, "vault", *tools(pay))
    return Toolbox(Catalogue([money, words, secrets]), tools(add, slow, broken, lying), max_chars=3_000)


@pytest.fixture
async def effects(tmp_path: Path) -> AsyncGenerator[SqlEffects]:
    database = Database(f"sqlite:///{tmp_path / 'effects.db'}")
    await database.migrate()
    yield SqlEffects(database)
    await database.close()


@pytest.fixture(autouse=True)
def counted() -> Counted:
    COUNTED.runs.clear()
    COUNTED.fail = COUNTED.hold = None
    return COUNTED


def call_of(principal: Principal = ALICE, key: str = "call_1", effects: Effects | None = None) -> ToolContext:
    absent = cast(Any, None)
    services = Services(
        content=absent,
        interactions=absent,
        definitions=absent,
        runs=absent,
        control=absent,
        effects=effects or absent,
        search=absent,
        ingest=absent,
        verify=absent,
        run_url=lambda run_id: f"http://localhost/runs/{run_id}",
        task_url=lambda task_id: f"http://localhost/inbox/{task_id}",
    )
    return ToolContext(principal=principal, services=services, key=key)


def of_run(effects: Effects, key: str) -> ToolContext:
    return replace(call_of(effects=effects, key=key), run=RunRef(tenant="acme", run_id="run_1"))


def ticket_of(toolbox: Toolbox, skill: str, principal: Principal = ALICE) -> str:
    return learn(principal, toolbox.catalogue.get(principal, skill)).ticket


async def test_a_call_answers_text_for_a_model_and_data_for_a_program(toolbox: Toolbox) -> None:
    reply = await toolbox.call(call_of(), "add", {"numbers": [1, 2]})
    assert (reply.text, reply.value) == ('{"total": 3}', {"total": 3})
    by_skill = await toolbox.call(call_of(), "money_work.add", {"numbers": [4]})
    assert by_skill.value == {"total": 4}


async def test_an_unknown_tool_and_one_that_is_not_allowed_are_both_not_found(toolbox: Toolbox) -> None:
    with pytest.raises(NotFound, match="did you mean add"):
        await toolbox.call(call_of(), "addd", {})
    with pytest.raises(NotFound) as hidden:
        await toolbox.call(call_of(BOB), "vault.pay", {})
    with pytest.raises(NotFound) as absent:
        await toolbox.call(call_of(BOB), "vxult.pay", {})
    assert hidden.value.message.replace("vault", "vxult") == absent.value.message
    assert COUNTED.runs == []


async def test_the_surface_is_short_and_differs_only_by_rights(toolbox: Toolbox) -> None:
    alice = [spec.name for spec in toolbox.surface(ALICE)]
    assert alice[:3] == ["learn_money_work", "learn_vault", "learn_words"]
    assert alice[3:] == ["add", "slow", "broken", "lying", "find_tools", "use_tool"]
    assert [spec.name for spec in toolbox.surface(BOB)][:2] == ["learn_money_work", "learn_words"]
    assert toolbox.surface(ALICE) == toolbox.surface(ALICE)
    assert [spec.name for spec in toolbox.flat(BOB, "money-work")] == ["money_work.add", "money_work.pay_once"]
    flat = [spec.name for spec in toolbox.flat(ALICE)]
    assert "vault.pay" in flat
    assert not [name for name in flat if name.startswith("learn") or name == "use_tool"]
    learned = next(spec for spec in toolbox.surface(ALICE) if spec.name == "learn_words")
    assert learned.output_schema is None
    assert learned.description == "Learn: The area of words."


async def test_learning_answers_the_lesson_and_reveals_its_tools(toolbox: Toolbox) -> None:
    reply = await toolbox.call(call_of(BOB), "learn_money_work", {})
    assert reply.value is None
    assert [spec.name for spec in reply.reveals] == ["money_work.add", "money_work.pay_once"]
    assert "money_work.pay\n" not in reply.text
    assert "### money_work.add (only reads)" in reply.text
    assert "- numbers (array of integer, required, at most 9 items)" in reply.text
    assert reply.text.endswith(f"ticket: {ticket_of(toolbox, 'money_work', BOB)}\n")


async def test_a_tool_runs_with_the_ticket_of_its_skill_by_short_or_full_name(toolbox: Toolbox) -> None:
    ticket = ticket_of(toolbox, "money_work")
    for name in ("add", "money_work.add"):
        reply = await toolbox.use_tool(call_of(), ticket, name, {"numbers": [2, 3]})
        assert reply.value == {"total": 5}
    arguments: dict[str, JsonValue] = {"ticket": ticket, "tool": "add", "arguments": {"numbers": [1]}}
    assert (await toolbox.call(call_of(), "use_tool", arguments)).value == {"total": 1}


@pytest.mark.parametrize("ticket", ["", "   ", "money_work@0000000000000000", "money-work@", "money_work@"])
async def test_a_stale_or_missing_ticket_gets_the_lesson_and_the_right_one(toolbox: Toolbox, ticket: str) -> None:
    with pytest.raises(StaleTicket) as caught:
        await toolbox.use_tool(call_of(), ticket, "money_work.pay", {"amount": 1})
    assert COUNTED.runs == []
    right = caught.value.details["ticket"]
    assert right in caught.value.message
    assert caught.value.details["lesson"] in problem_text(caught.value)
    reply = await toolbox.use_tool(call_of(), right, "money_work.pay", {"amount": 1})
    assert reply.value == {"total": 1}


async def test_a_ticket_without_a_skill_is_completed_from_the_tools_name_where_that_is_clear(toolbox: Toolbox) -> None:
    with pytest.raises(StaleTicket) as caught:
        await toolbox.use_tool(call_of(), "nonsense", "long_text", {})
    assert caught.value.details["skill"] == "words"
    with pytest.raises(Invalid, match="money_work, vault"):
        await toolbox.use_tool(call_of(), "nonsense", "pay", {})


async def test_the_ticket_of_one_skill_opens_no_other(toolbox: Toolbox) -> None:
    ticket = ticket_of(toolbox, "words")
    with pytest.raises(Invalid, match="learn money_work"):
        await toolbox.use_tool(call_of(), ticket, "money_work.pay", {})
    with pytest.raises(NotFound, match="has no tool 'pay'"):
        await toolbox.use_tool(call_of(), ticket, "pay", {})
    with pytest.raises(NotFound, match=r"has no tool 'vault\.pay'"):
        await toolbox.use_tool(call_of(BOB), ticket_of(toolbox, "words", BOB), "vault.pay", {})
    with pytest.raises(Invalid, match="call it directly"):
        await toolbox.use_tool(call_of(), ticket, "slow", {})
    with pytest.raises(NotFound, match="no skill 'vault'"):
        await toolbox.use_tool(call_of(BOB), ticket_of(toolbox, "vault"), "pay", {})
    assert COUNTED.runs == []


async def test_a_ticket_says_nothing_about_permission(toolbox: Toolbox) -> None:
    of_alice = ticket_of(toolbox, "money_work")
    with pytest.raises(NotFound, match="has no tool"):
        await toolbox.use_tool(call_of(BOB), of_alice, "pay", {})
    with pytest.raises(StaleTicket):
        await toolbox.use_tool(call_of(BOB), of_alice, "add", {"numbers": []})


async def test_a_ticket_goes_stale_when_the_instructions_or_a_schema_change(tmp_path: Path) -> None:
    first = a_skill(tmp_path / "1", "words", *tools(long_text))
    ticket = learn(ALICE, first).ticket
    assert check_ticket(ALICE, first, ticket)
    assert not check_ticket(ALICE, a_skill(tmp_path / "2", "words", *tools(long_text), body="Other."), ticket)
    assert not check_ticket(ALICE, a_skill(tmp_path / "3", "words", *tools(long_text, add)), ticket)
    assert not check_ticket(ALICE, a_skill(tmp_path / "4", "other", *tools(long_text)), ticket)


def test_a_lesson_has_the_same_bytes_in_every_process() -> None:
    script = (
        "import sys\n"
        "from engine.values import PLATFORM_ROLES, Principal\n"
        "from skills.catalogue import Catalogue\n"
        "from skills.lesson import learn\n"
        "caller = Principal(tenant='acme', subject='a', roles=PLATFORM_ROLES)\n"
        "for skill in Catalogue.load().visible(caller):\n"
        "    sys.stdout.write(learn(caller, skill).text)\n"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    (text,) = texts
    assert b"ticket: process_design@" in text


async def test_wrong_arguments_are_refused_before_the_tool_runs(toolbox: Toolbox) -> None:
    ticket = ticket_of(toolbox, "money_work")
    with pytest.raises(Invalid, match=r"\$\.amout is not known.*did you mean amount"):
        await toolbox.use_tool(call_of(), ticket, "pay", {"amout": 3})
    with pytest.raises(Invalid, match=r"use_tool do not fit: \$\.arguments must be object"):
        await toolbox.call(call_of(), "use_tool", {"ticket": ticket, "tool": "pay", "arguments": '{"amount": 3}'})
    assert COUNTED.runs == []


async def test_a_tool_that_takes_too_long_is_stopped_and_says_whether_to_repeat(toolbox: Toolbox) -> None:
    with anyio.fail_after(10):
        with pytest.raises(TimedOut, match=r"0\.05 s; the same call may be made again"):
            await toolbox.call(call_of(), "slow", {})


async def test_a_timeout_of_the_tools_own_is_its_failure_and_not_ours(toolbox: Toolbox) -> None:
    COUNTED.fail = TimeoutError(SECRET)
    with pytest.raises(Defect) as caught:
        await toolbox.call(call_of(), "vault.pay", {})
    assert "look before you repeat it" in caught.value.message


@pytest.mark.parametrize("name", ["broken", "lying"])
async def test_an_unexpected_failure_shows_a_reference_and_keeps_its_text_in_the_log(
    toolbox: Toolbox, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(Defect) as caught:
        await toolbox.call(call_of(), name, {})
    shown = problem_text(caught.value) + str(caught.value.as_json())
    assert SECRET not in shown
    assert "Traceback" not in shown
    reference = caught.value.details["reference"]
    assert reference in shown
    assert reference in caplog.text
    assert SECRET in caplog.text


async def test_a_long_answer_is_cut_at_a_stated_size_and_says_where_the_rest_is(toolbox: Toolbox) -> None:
    kept: list[str] = []

    async def keep(text: str) -> str:
        kept.append(text)
        return "run://run_1/artifacts/answer.txt"

    reply = await toolbox.call(call_of(), "words.long_text", {"characters": 5_000}, keep=keep)
    assert kept == ["é" * 5_000]
    assert reply.text.startswith("é" * 3_000 + "\n[cut: the first 3,000 of 5,000 characters")
    assert "run://run_1/artifacts/answer.txt" in reply.text
    assert (reply.value, reply.rest) == (None, "run://run_1/artifacts/answer.txt")
    whole = await toolbox.call(call_of(), "words.long_text", {"characters": 3_000}, keep=keep)
    assert (whole.text, whole.rest, len(kept)) == ("é" * 3_000, None, 1)


async def test_a_recorded_call_has_its_effect_once_however_often_it_is_repeated(
    toolbox: Toolbox, effects: SqlEffects
) -> None:
    first = await toolbox.run_with_effects(of_run(effects, "run_1/1/a"), "vault.pay", {"amount": 7})
    again = await toolbox.run_with_effects(of_run(effects, "run_1/1/a"), "vault.pay", {"amount": 7})
    assert first == again
    assert (first.outcome.outcome, first.outcome.value) == ("ok", {"total": 7})
    assert COUNTED.runs == ["run_1/1/a"]
    other = await toolbox.run_with_effects(of_run(effects, "run_1/1/b"), "vault.pay", {"amount": 7})
    assert other.outcome.value == {"total": 14}


async def interrupt(toolbox: Toolbox, effects: SqlEffects, name: str) -> None:
    """Begin a call and cancel it in the middle of its effect, as the death of a worker does."""
    COUNTED.hold = anyio.Event()
    task = asyncio.ensure_future(toolbox.run_with_effects(of_run(effects, "run_1/1/a"), name, {}))
    with anyio.fail_after(10):
        await COUNTED.hold.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    COUNTED.hold = None


async def test_an_interrupted_call_is_not_repeated_and_its_outcome_is_unknown(
    toolbox: Toolbox, effects: SqlEffects
) -> None:
    await interrupt(toolbox, effects, "vault.pay")
    for _ in range(2):
        ran = await toolbox.run_with_effects(of_run(effects, "run_1/1/a"), "vault.pay", {})
        assert ran.outcome.outcome == "unknown"
        assert "was not repeated" in ran.outcome.text
    assert len(COUNTED.runs) == 1


async def test_an_interrupted_call_is_made_again_where_the_tool_honours_its_key(
    toolbox: Toolbox, effects: SqlEffects
) -> None:
    await interrupt(toolbox, effects, "money_work.pay_once")
    ran = await toolbox.run_with_effects(of_run(effects, "run_1/1/a"), "money_work.pay_once", {})
    assert ran.outcome.outcome == "ok"
    assert COUNTED.runs == ["run_1/1/a", "run_1/1/a"]
    again = await toolbox.run_with_effects(of_run(effects, "run_1/1/a"), "money_work.pay_once", {})
    assert (again, len(COUNTED.runs)) == (ran, 2)


@pytest.mark.parametrize(
    ("failure", "outcome", "runs"),
    [(Unavailable("the bank is closed"), "error", 1), (RuntimeError(SECRET), "unknown", 1)],
)
async def test_a_failed_call_that_may_have_had_an_effect_is_not_made_again(
    toolbox: Toolbox, effects: SqlEffects, failure: Exception, outcome: str, runs: int
) -> None:
    COUNTED.fail = failure
    first = await toolbox.run_with_effects(of_run(effects, "run_1/1/a"), "vault.pay", {})
    COUNTED.fail = None
    again = await toolbox.run_with_effects(of_run(effects, "run_1/1/a"), "vault.pay", {})
    assert first == again
    assert first.outcome.outcome == outcome
    assert SECRET not in str(first)
    assert len(COUNTED.runs) == runs


async def test_a_failed_call_of_a_tool_that_honours_its_key_may_be_tried_again(
    toolbox: Toolbox, effects: SqlEffects
) -> None:
    COUNTED.fail = Unavailable("the bank is closed")
    first = await toolbox.run_with_effects(of_run(effects, "run_1/1/a"), "money_work.pay_once", {})
    assert (first.outcome.outcome, first.outcome.text) == ("error", "the bank is closed")
    COUNTED.fail = None
    again = await toolbox.run_with_effects(of_run(effects, "run_1/1/a"), "money_work.pay_once", {})
    assert again.outcome.outcome == "ok"


async def test_what_is_refused_before_the_call_leaves_no_record(toolbox: Toolbox, effects: SqlEffects) -> None:
    wrong = await toolbox.run_with_effects(of_run(effects, "run_1/1/a"), "vault.pay", {"amount": "x"})
    assert wrong.outcome.outcome == "error"
    assert cast(dict[str, Any], wrong.outcome.value)["code"] == "invalid"
    right = await toolbox.run_with_effects(of_run(effects, "run_1/1/a"), "vault.pay", {"amount": 2})
    assert right.outcome.outcome == "ok"


async def test_a_long_answer_of_a_run_becomes_an_artifact_with_its_beginning(
    toolbox: Toolbox, effects: SqlEffects
) -> None:
    async def keep(text: str) -> str:
        return "run://run_1/artifacts/a.txt"

    ran = await toolbox.run_with_effects(
        of_run(effects, "run_1/1/a"), "words.long_text", {"characters": 5_000}, keep=keep
    )
    assert ran.outcome.artifact == "run://run_1/artifacts/a.txt"
    assert cast(dict[str, Any], ran.outcome.value)["artifact"] == "run://run_1/artifacts/a.txt"


async def test_learning_inside_a_run_reveals_the_tools(toolbox: Toolbox, effects: SqlEffects) -> None:
    ran = await toolbox.run_with_effects(of_run(effects, "run_1/1/a"), "learn_words", {})
    assert [spec.name for spec in ran.reveals] == ["words.long_text"]
    assert ran.outcome.text.startswith("# Skill words")


async def test_find_tools_names_what_to_learn_first(toolbox: Toolbox) -> None:
    reply = await toolbox.call(call_of(), "find_tools", {"query": "pay an amount"})
    found = cast(list[dict[str, str]], cast(dict[str, Any], reply.value)["found"])
    assert found[0]["name"] in ("money_work.pay", "vault.pay")
    assert found[0]["learn"] in ("learn_money_work", "learn_vault")
    for_bob = await toolbox.call(call_of(BOB), "find_tools", {"query": "pay an amount"})
    assert "vault" not in for_bob.text
    direct = await toolbox.call(call_of(), "find_tools", {"query": "add numbers"})
    assert {"name": "add", "about": "Add numbers.", "learn": ""} in cast(dict[str, Any], direct.value)["found"]


async def test_beyond_sixteen_skills_the_featured_keep_their_own_tool_and_learn_serves_the_rest(tmp_path: Path) -> None:
    skills = [a_skill(tmp_path, f"area-{number:02}", *tools(add)) for number in range(40)]
    toolbox = Toolbox(Catalogue(skills), tools(slow), featured=["area-39", "area_38"])
    names = [spec.name for spec in toolbox.learn_tools(ALICE)]
    assert len(names) == 16
    assert names[-3:] == ["learn_area_38", "learn_area_39", "learn"]
    lesson = await toolbox.call(call_of(), "learn", {"skill": "area-30"})
    assert lesson.text.startswith("# Skill area_30")
    with pytest.raises(NotFound, match="did you mean area_30"):
        await toolbox.call(call_of(), "learn", {"skill": "area-300"})
    hidden = await toolbox.call(call_of(), "find_tools", {"query": "area 30"})
    assert 'learn(skill=\\"area_30\\")' in hidden.text


async def test_every_expected_failure_is_a_problem(toolbox: Toolbox) -> None:
    calls: list[tuple[str, dict[str, JsonValue]]] = [
        ("", {}),
        ("use_tool", {}),
        ("use_tool", {"ticket": "@", "tool": "x"}),
        ("use_tool", {"ticket": "a@b@c", "tool": ".", "arguments": {}}),
        ("learn_", {}),
        ("learn_nothing", {}),
        ("add", {"numbers": "x"}),
        ("learn_words", {"x": 1}),
    ]
    for name, arguments in calls:
        with pytest.raises(Problem):
            await toolbox.call(call_of(), name, arguments)


def test_a_reply_of_a_tool_is_a_value() -> None:
    assert ToolReply(text="a") == ToolReply(text="a")
