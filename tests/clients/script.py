"""Leads a client through the steps and says where an expectation does not hold."""

import json
import re
from collections.abc import Mapping
from string import Template
from typing import Any, cast

import anyio

from engine.values import canonical_json
from tests.clients.drivers import Answer, Driver
from tests.clients.steps import STEPS, Act, Check

ASK_S = 60.0
FOLLOW_S = 60.0
WAIT_S = 10
INTERNALS = ("Traceback (most recent call last)", 'File "', "site-packages", "sqlalchemy", "pydantic_core")
"""What an answer shows when it shows the inside of the server."""


class Broken(AssertionError):
    """An expectation that does not hold; the message names the step and the act."""


class Script:
    """One client's way through the steps; `kept` is what `$name` stands for."""

    def __init__(self, driver: Driver, can: frozenset[str], era: str, kept: Mapping[str, Any]) -> None:
        """Start with what the house has ready."""
        self._driver = driver
        self._can = can
        self._era = era
        self.kept: dict[str, Any] = dict(kept)

    async def run(self) -> None:
        """Take all steps.

        Raises:
            Broken: an expectation does not hold.
        """
        for step in STEPS:
            for number, act in enumerate(step.acts, 1):
                if (act.only and act.only not in self._can) or (act.unless and act.unless in self._can):
                    continue
                try:
                    with anyio.fail_after(ASK_S + FOLLOW_S):
                        await self._take(act)
                except (AssertionError, LookupError, TimeoutError, ValueError) as error:
                    asked = canonical_json(self._filled(act.what))[:400]
                    raise Broken(f"{step.name}, act {number} ({act.op} {asked}): {error!r}") from error

    async def _take(self, act: Act) -> None:
        what = cast("dict[str, Any]", self._filled(act.what))
        if act.op == "same":
            assert what["one"] == what["other"], what
            return
        learned = what.pop("learned", None)
        if act.op == "follow":
            answer = await self._follow(**what)
        else:
            answer = _view(act.op, await self._ask(act.op, **what))
        self._check_error(act, answer)
        if act.starts and "asked" in answer:
            answer = await self._started_as_task(act.starts, answer["asked"], what)
        elif act.starts:
            self.kept[act.starts] = _look(answer, "data.run_id")
        if learned:
            self._check_listed(learned, answer["tools"])
        for check in act.holds:
            _hold(check, self._filled(check.value), answer)
        for name, where in act.keep.items():
            self.kept[name] = _kept(answer, where)

    async def _ask(self, op: str, **what: Any) -> Answer:
        with anyio.fail_after(ASK_S):
            return await self._driver.ask(op, **what)

    async def _follow(self, run_id: str, status: str) -> Answer:
        """Return the run once it has one of the statuses."""
        after = 0
        with anyio.fail_after(FOLLOW_S):
            while True:
                arguments = {"run_id": run_id, "after": after, "wait_s": WAIT_S}
                view = _view("call_tool", await self._ask("call_tool", name="get_run", arguments=arguments))
                assert not view["problem"], view
                data = view["data"]
                if data["status"] in status.split("|") and not data["more"]:
                    return view
                assert data["status"] not in ("completed", "failed", "cancelled"), data
                after = data["next_after"]

    async def _started_as_task(self, name: str, asked: str, what: Mapping[str, Any]) -> Answer:
        """Find the run that a client's task stands for; return what the start answers to others."""
        title = what["arguments"]["title"]
        listed = _view("call_tool", await self._ask("call_tool", name="list_runs", arguments={"limit": 100}))
        if name == "again":
            title = self.kept["run_title"]
        found = next(row for row in listed["data"]["runs"] if row["title"] == title)
        self.kept |= {name: found["run_id"], f"{name}_asked": asked, f"{name}_title": title}
        return {**listed, "data": {"run_id": found["run_id"], "status": "starting"}}

    def _check_error(self, act: Act, answer: Answer) -> None:
        problem = answer["problem"]
        if act.fails is None:
            assert problem is None, problem
            return
        assert problem is not None, f"no error, but {canonical_json(answer)[:600]}"
        pattern = cast(str, self._filled(act.fails))
        assert re.search(pattern, problem, re.DOTALL | re.IGNORECASE), f"{pattern!r} is not in {problem[:1000]!r}"
        # The Inspector names errors by words of its own.
        if not isinstance(answer.get("code"), str):
            assert answer.get("code") == act.code, f"the error is {answer.get('code')}, not {act.code}: {problem[:300]}"
        shown = [internal for internal in INTERNALS if internal in problem]
        assert not shown, f"the error shows {shown}: {problem[:1000]}"

    def _check_listed(self, learned: str, tools: list[dict[str, Any]]) -> None:
        """After learning: the same list to the current protocol; to sessions of an older one, the skill's tools too."""
        before = cast("list[dict[str, Any]]", self.kept["listed"])
        if self._era != "legacy":
            assert canonical(tools) == canonical(before), "the list has changed"
            return
        names = {tool["name"] for tool in tools}
        assert learned in names
        assert {tool["name"] for tool in before} < names

    def _filled(self, value: Any) -> Any:
        if isinstance(value, str):
            if value.startswith("$") and value[1:] in self.kept:
                return self.kept[value[1:]]
            return Template(value).safe_substitute({name: text for name, text in self.kept.items() if text is not None})
        if isinstance(value, Mapping):
            return {key: self._filled(one) for key, one in cast("Mapping[str, Any]", value).items()}
        return [self._filled(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value


def canonical(value: Any) -> str:
    """Return a value as canonical JSON, in which 25.0 is 25: not every language knows the difference."""

    def plain(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: plain(part) for name, part in cast("dict[str, Any]", one).items()}
        if isinstance(one, list):
            return [plain(part) for part in cast("list[Any]", one)]
        return int(one) if isinstance(one, float) and one.is_integer() else one

    return canonical_json(plain(value))


def _view(op: str, answer: Answer) -> Answer:
    """Return an answer with what is looked at: `problem`, `text`, of tools `data` and `rest`, of resources `json`."""
    if "error" in answer:
        message = str(answer["error"]["message"])
        return {"problem": message, "text": message, "code": answer["error"]["code"]}
    result = cast("dict[str, Any]", answer["result"])
    view: Answer = {**result, "problem": None}
    if op in ("call_tool", "respond"):
        content = cast("list[dict[str, Any]]", result.get("content", []))
        data = result.get("structuredContent")
        text = "\n".join(part["text"] for part in content if part["type"] == "text")
        cut = data.get("cut") if data else None
        links = [part["uri"] for part in content if part["type"] == "resource_link"]
        view |= {"text": text or (cut or {}).get("text", ""), "data": data, "rest": None}
        view["rest"] = links[0] if links else (cut or {}).get("rest")
        view["problem"] = text if result.get("isError") else None
        if text and data and not cut:
            assert json.loads(text) == data, "the text says something else than the data"
    if op == "read_resource":
        view["text"] = "".join(part["text"] for part in result["contents"])
        view["json"] = json.loads(view["text"]) if view["text"].startswith("{") else None
    return view


def _look(value: Any, path: str) -> Any:
    for number, name in enumerate(parts := path.split(".")):
        if name == "*":
            return [_look(one, ".".join(parts[number + 1 :])) for one in value]
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def _kept(answer: Answer, where: str) -> Any:
    path, _, pattern = where.partition(": ")
    found = _look(answer, path)
    if not pattern:
        return found
    matched = re.search(pattern, found)
    assert matched is not None, f"{pattern!r} is not in {found[:600]!r}"
    return matched.group(1)


def _hold(check: Check, wanted: Any, answer: Answer) -> None:
    found = _look(answer, check.path)
    held = {
        "is": lambda: found == wanted,
        "has": lambda: wanted in found,
        "one_of": lambda: found in wanted,
        "matches": lambda: re.search(wanted, found) is not None,
        "at_most": lambda: (found if isinstance(found, int) else len(found)) <= wanted,
        "at_least": lambda: (found if isinstance(found, int) else len(found)) >= wanted,
    }[check.relation]()
    assert held, f"{check.path} {check.relation} {str(wanted)[:200]!r} does not hold: {str(found)[:600]!r}"
