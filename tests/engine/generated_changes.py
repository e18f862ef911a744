"""Careless changes of a sound definition: some break it, some don't, and nothing here says which."""

from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

from tests.engine.generated_faults import edges, places
from tests.engine.generated_values import KEYS, Node, expression, guards, value_of

ANYTHING = frozenset(KEYS)


def changed(definition: Node, random: Random, count: int) -> Node:
    """Return the definition with so many careless changes."""
    copy = deepcopy(definition)
    for _ in range(count):
        random.choice(CHANGES)(copy, random)
    for place in places(copy):
        if place.node["type"] == "script":
            # A script goes on giving what it says that it writes.
            place.node["code"] = repr({key: value_of(KEYS[key], random) for key in place.node.get("writes", ())})
    return copy


def _node(definition: Node, random: Random, *having: str) -> Node:
    found = [place.node for place in places(definition) if all(place.node.get(field) for field in having)]
    return random.choice(found) if found else {}


def _edge_led_elsewhere(definition: Node, random: Random) -> None:
    found = [place for place in places(definition) if edges(place.node)]
    if not found:
        return
    place = random.choice(found)
    random.choice(edges(place.node))["to"] = random.choice(sorted(place.graph["nodes"]))


def _way_removed(definition: Node, random: Random) -> None:
    ways = _node(definition, random, "next").get("next", [])
    if ways:
        del ways[random.randrange(len(ways))]


def _ways_shuffled(definition: Node, random: Random) -> None:
    random.shuffle(_node(definition, random, "next").get("next", []))


def _guard_removed(definition: Node, random: Random) -> None:
    ways = [way for place in places(definition) for way in _guarded(place.node) if "when" in way]
    if ways:
        del random.choice(ways)["when"]


def _guard_replaced(definition: Node, random: Random) -> None:
    ways = [way for place in places(definition) for way in _guarded(place.node)]
    if ways:
        random.choice(ways)["when"] = random.choice([one for one in guards(ANYTHING, random) if one is not None])


def _guarded(node: Node) -> list[Node]:
    return [*node.get("next", ()), *node.get("arms", ())]


def _write_removed(definition: Node, random: Random) -> None:
    writes = _node(definition, random, "writes").get("writes", [])
    if writes:
        del writes[random.randrange(len(writes))]


def _write_added(definition: Node, random: Random) -> None:
    node = _node(definition, random)
    if node["type"] in ("interaction", "agent", "tool", "script") and node.get("writes"):
        node["writes"] = sorted({*node["writes"], random.choice(sorted(KEYS))})


def _input_replaced(definition: Node, random: Random) -> None:
    given = _node(definition, random, "input").get("input")
    if given:
        given[random.choice(sorted(given))] = expression(ANYTHING, random)


def _initial_removed(definition: Node, random: Random) -> None:
    initial: dict[str, Any] = definition["context"]["initial"]
    if initial:
        del initial[random.choice(sorted(initial))]


def _handler_removed(definition: Node, random: Random) -> None:
    node = _node(definition, random, random.choice(["on_error", "on_timeout", "max_visits", "retry", "compensate"]))
    for field in ("on_error", "on_timeout", "max_visits", "retry", "compensate"):
        if random.random() < 0.5:
            node.pop(field, None)


def _join_changed(definition: Node, random: Random) -> None:
    node = _node(definition, random, "arms")
    if node:
        node["take"] = random.choice(["first", "every"])
        node["join"] = random.choice(["all", "any", {"at_least": random.randint(1, 3)}])


def _trigger_changed(definition: Node, random: Random) -> None:
    ways = _node(definition, random, "next").get("next", [])
    if ways:
        random.choice(ways)["trigger"] = random.choice(["auto", "agent", "user"])


def _decision_removed(definition: Node, random: Random) -> None:
    decisions = _node(definition, random, "decisions").get("decisions", [])
    if len(decisions) > 1:
        del decisions[random.randrange(len(decisions))]


CHANGES: tuple[Callable[[Node, Random], None], ...] = (
    _edge_led_elsewhere,
    _way_removed,
    _ways_shuffled,
    _guard_removed,
    _guard_replaced,
    _write_removed,
    _write_added,
    _input_replaced,
    _initial_removed,
    _handler_removed,
    _join_changed,
    _trigger_changed,
    _decision_removed,
)
