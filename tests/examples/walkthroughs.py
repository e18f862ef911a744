"""Reading the walkthroughs, and doing what they say: the calls in a file are the calls that are made.

A file is prose with two kinds of YAML blocks. `setup` names the people with their roles, the documents, and what the
scripted model answers. `call` is one call of a tool by somebody: `as` (the owner of the folder without it), `learn` for
a tool of a skill, `arguments`, then what it must answer: `answer` (a part of it), `says` (texts in it), `until` (the
same call again until that part fits and all is said), and `keep` (names for values of the answer, used further on as
`$name`).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
import yaml
from fastmcp.client import Client
from pydantic import JsonValue

import examples
from engine.transcript import ModelRequest
from engine.values import Value
from examples.models import reply, results_of
from providers.scripted import ScriptedReply, answer, calls

FOLDER = Path(examples.__file__).parent / "walkthroughs"
PATIENCE_S = 120.0
WAIT_S = 20

_BLOCK = re.compile(r"^```yaml (setup|call)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Setup(Value):
    """Who takes part with which roles, the documents by name, and what the model answers by the key that is asked for.

    Documents are texts, or `examples` for those that `examples.documents` makes; `$name` is then the object id, without
    the ending of the file. `first` is the call that an agent makes before it answers with a key; `$anchor` in its
    answer is the first anchor that it found.
    """

    people: dict[str, list[str]] = {}
    documents: dict[str, str] | str = {}
    model: dict[str, JsonValue] | str = {}
    first: dict[str, tuple[str, dict[str, JsonValue]]] = {}


class Step(Value):
    """One call, by whom, and what it must answer."""

    who: str = ""
    learn: str = ""
    tool: str
    arguments: dict[str, JsonValue] = {}
    answer: dict[str, JsonValue] = {}
    says: tuple[str, ...] = ()
    until: dict[str, JsonValue] = {}
    keep: dict[str, str] = {}


@dataclass(frozen=True)
class Walkthrough:
    """A file as it is carried out."""

    process: str
    setup: Setup
    steps: tuple[Step, ...]


def read_walkthrough(path: Path) -> Walkthrough:
    """Return what a file says to do."""
    setup, steps = Setup(), list[Step]()
    for kind, text in _BLOCK.findall(path.read_text(encoding="utf-8")):
        said = cast("dict[str, Any]", yaml.safe_load(text))
        if kind == "setup":
            setup = Setup.model_validate(said)
        else:
            steps.append(Step.model_validate({("who" if name == "as" else name): said[name] for name in said}))
    return Walkthrough(path.stem, setup, tuple(steps))


@dataclass
class ScriptedModel:
    """The model of the walkthrough that is under way."""

    setup: Setup = field(default_factory=Setup)

    async def __call__(self, request: ModelRequest) -> ScriptedReply:
        """Answer with the values of the keys that are asked for."""
        said = self.setup.model
        if isinstance(said, str):
            return await reply(request)
        wanted = [name for name in (request.output_schema or {}).get("properties", {}) if name in said]
        values: JsonValue = {name: said[name] for name in wanted}
        for name in wanted:
            if name not in self.setup.first:
                continue
            tool, arguments = self.setup.first[name]
            found = results_of(request.messages, tool)
            if not found:
                return calls((tool, arguments), text="I look it up.")
            anchor = re.search(r'"anchor":\s*"([^"]+)"', found[-1])
            assert anchor is not None, found[-1]
            values = filled(values, {"anchor": anchor[1]})
        return answer(cast("dict[str, JsonValue]", values))


def filled(value: JsonValue, names: Mapping[str, str]) -> JsonValue:
    """Return a value with `$name` replaced wherever it stands in a text."""
    if isinstance(value, str):
        return re.sub(r"\$([a-z_]+)", lambda found: names.get(found[1], found[0]), value)
    if isinstance(value, list):
        return [filled(one, names) for one in value]
    if isinstance(value, dict):
        return {key: filled(one, names) for key, one in value.items()}
    return value


def fits(wanted: JsonValue, found: JsonValue) -> bool:
    """Tell whether what was found has what is wanted: keys of objects, all elements of lists in their order."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and fits(one, found[key]) for key, one in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(fits(one, other) for one, other in zip(wanted, found, strict=True))
        )
    return wanted == found


class Chat:
    """Clients of the people of a walkthrough: each calls, learns and uses as their own model would."""

    def __init__(self, clients: Mapping[str, Client[Any]], names: dict[str, str]) -> None:
        """Take the clients by person, "" for the owner, and the names that are known already."""
        self._clients = clients
        self.names = names

    async def do(self, step: Step) -> None:
        """Make a call, and check and keep what it answers."""
        text, value = await self._answer(step)
        wanted = filled(step.answer, self.names)
        assert not wanted or fits(wanted, value), f"{step.tool} should answer {wanted}, and did {text}"
        for said in step.says:
            assert cast(str, filled(said, self.names)) in text, f"{step.tool} should say {said!r}, and said {text}"
        for name, key in step.keep.items():
            self.names[name] = str(cast("dict[str, Any]", value)[key])

    async def _answer(self, step: Step) -> tuple[str, JsonValue]:
        until = filled(step.until, self.names)
        after: dict[str, JsonValue] = {}
        text, value = "", cast(JsonValue, None)
        with anyio.move_on_after(PATIENCE_S):
            while True:
                text, value = await self._call(step, after)
                told = all(said in text for said in step.says)
                if not step.until or (told and fits(until, value)):
                    return text, value
                view = cast("dict[str, Any]", value)
                assert view["status"] not in ("completed", "failed", "cancelled"), f"{until} was never so: {text}"
                # A question of a run below it is no event of its own, so that one does not wait for long.
                after = {"after": view["next_after"], "wait_s": 2}
        raise AssertionError(f"{until} was not so within {PATIENCE_S:.0f} s: {text}")

    async def _call(self, step: Step, more: dict[str, JsonValue]) -> tuple[str, JsonValue]:
        client = self._clients[step.who]
        arguments = {**more, **cast("dict[str, Any]", filled(step.arguments, self.names))}
        if not step.learn:
            answered = await client.call_tool(step.tool, arguments)
        else:
            lesson = _text(await client.call_tool(f"learn_{step.learn}", {}))
            ticket = lesson.rstrip().rpartition("ticket: ")[2]
            answered = await client.call_tool("use_tool", {"ticket": ticket, "tool": step.tool, "arguments": arguments})
        text = _text(answered)
        value = answered.structured_content
        return text if value is None else f"{text}\n{json.dumps(value, ensure_ascii=False)}", value


def _text(answered: Any) -> str:
    return "\n".join(part.text for part in answered.content if hasattr(part, "text"))
