"""What happens to a drawn process from outside: results and faults of its nodes, decisions, events, pauses.

A plan is a function of its seed: the engine and the model ask it for the same thing and are told the same. The times it
gives are of milliseconds, so that no two things happen in one moment by chance.
"""

import ast
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.engine.generated_faults import places
from tests.engine.generated_values import KEYS, Node, value_of

ERRORS = ("tool_error", "boom", "other")
WORK = ("interaction", "agent", "tool", "script", "process")


@dataclass(frozen=True)
class Happening:
    """What a node is given: a result, an error, a decision with its values; nothing at all where `never`."""

    seconds: float = 0.0
    result: Any = None
    error: str | None = None
    decision: str | None = None
    never: bool = False


class Plan:
    """What happens to each node of a definition, by its name and how often it was come to."""

    def __init__(self, seed: int, definition: Node, faults: float = 0.12) -> None:
        self.seed = seed
        self.definition = definition
        self.faults = faults
        found = list(places(definition))
        self.nodes = {place.name: place.node for place in found}
        self._outermost = {place.name for place in found if not place.nested}
        random = Random(f"{seed}/pause")
        begin = random.uniform(1, 200_000) if random.random() < 0.4 else 0.0
        self.pause = (round(begin, 3), round(begin + random.uniform(1, 90_000), 3)) if begin else None
        kinds = definition["input"]["required"]
        self.input = {key: value_of(KEYS[key], Random(f"{seed}/input/{key}")) for key in kinds}

    def at(self, name: str, number: int) -> Happening:
        """Return what happens to a node the so-manieth time; inside bodies it is the same each time."""
        node = self.nodes[name]
        random = Random(f"{self.seed}/{name}/{number if name in self._outermost else 0}")
        seconds = random.randrange(1, 7_000_000) / 1000
        if node["type"] == "supervisor":
            return self._decided(node, random, seconds)
        if node["type"] == "wait":
            late = random.random() < self.faults
            payload = {key: value_of(KEYS[key], random) for key in node.get("writes", ())}
            single = next(iter(payload.values())) if len(payload) == 1 else payload
            return Happening(seconds + 200_000 * late, result=single, never=random.random() < self.faults)
        if random.random() < self.faults:
            return Happening(seconds, error=random.choice(ERRORS))
        return Happening(seconds, result=self._result(node, random))

    def chosen(self, name: str, number: int, targets: list[str]) -> Happening:
        """Return which of the ways that wait for a person is chosen."""
        random = Random(f"{self.seed}/{name}/{number if name in self._outermost else 0}/chosen")
        return Happening(random.randrange(1, 7_000_000) / 1000, decision=random.choice(targets))

    def _decided(self, node: Node, random: Random, seconds: float) -> Happening:
        decision = random.choice(node["decisions"])
        late = random.random() < self.faults
        values = {key: value_of(KEYS[key], random) for key in node["writes"][1:]}
        return Happening(seconds + 200_000 * late, values, None, decision, random.random() < self.faults)

    def _result(self, node: Node, random: Random) -> Any:
        if node["type"] == "script":
            return ast.literal_eval(node["code"])
        result = {key: value_of(KEYS[key], random) for key in node.get("writes", ())}
        if node["type"] == "agent":
            targets = sorted({way["to"] for way in node.get("next", ()) if way.get("trigger") == "agent"})
            return {**result, **({"_next": random.choice(targets)} if targets else {})}
        if node["type"] in ("tool", "process") and len(result) == 1 and not node.get("returns"):
            return next(iter(result.values()))
        return {"outcome": "done", "output": result} if node["type"] == "process" else result
