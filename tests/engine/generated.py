"""Definitions that are sound by construction, of every node type, from a seed.

Nothing here asks the verifier. A graph is made forwards: each node is made with what is certainly known where it
stands, so that it reads nothing else; guards split the values of one variable without a gap, or end in a default; each
loop is counted; arms that run side by side write different keys. What nodes write is of the type the context says.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from tests.engine.generated_values import (
    DECISIONS,
    KEYS,
    TYPES,
    Known,
    Node,
    Rule,
    expression,
    guards,
    inputs,
    kind_of,
    listed,
    of_kind,
    template,
    value_of,
)

WORK = ("interaction", "agent", "tool", "script", "process")
EVERY = (*WORK, "wait", "supervisor", "branch", "foreach")
DEEPEST = 2


def generated(seed: int, kinds: Sequence[str] = EVERY) -> Node:
    """Return the definition of a seed, as JSON, with nodes of these types alone and `end`."""
    making = Making(Random(seed), kinds)
    random = making.random
    given = random.sample(sorted(KEYS), 3)
    initial = {key: value_of(KEYS[key], random) for key in random.sample(sorted(KEYS), 3)}
    graph = Graph(making, tuple(KEYS), 0)
    nodes, start, _ = graph.make(random.randint(1, 3), frozenset(given) | frozenset(initial))
    return {
        "format": 1,
        "process": "generated",
        "input": {"type": "object", "properties": {key: TYPES[KEYS[key]] for key in given}, "required": given},
        "context": {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "properties": {key: TYPES[kind] for key, kind in KEYS.items()},
            },
            "initial": initial,
        },
        "start": start,
        "nodes": nodes,
    }


class Making:
    """What the graphs of one definition share; `kinds` are the node types it may have."""

    def __init__(self, random: Random, kinds: Sequence[str]) -> None:
        self.random = random
        self.kinds = kinds
        self._made = 0

    def name(self, kind: str) -> str:
        """Return a name that nothing else in the definition has."""
        self._made += 1
        return f"{kind}{self._made}"


class Graph:
    """One graph in the making: the outermost, or a body at some depth. `keys` are those it may write."""

    def __init__(self, making: Making, keys: Sequence[str], depth: int) -> None:
        self.making = making
        self.random = making.random
        self.keys = tuple(keys)
        self.depth = depth
        self.nodes: dict[str, Node] = {}
        self._exits: list[Known] = []

    def make(self, length: int, known: Known) -> tuple[dict[str, Node], str, Known]:
        """Return the nodes, the first of them, and what is known when the graph is done."""
        last = self.making.name("last")
        start, there = self._sequence(length, known, last, 0)
        self._last(last, there)
        return self.nodes, start, frozenset.intersection(*self._exits) if self._exits else known

    def _last(self, name: str, known: Known) -> None:
        """Make a node after which the graph is done: a body goes on above, and any graph may end the run."""
        if self.depth and (name.startswith("last") or self._chance(0.7)):
            self.nodes[name] = {"type": "script", "code": "{}", "input": inputs(known, self.random)}
            self._exits.append(known)
        else:
            output = {"output": expression(known, self.random)} if self._chance(0.5) else {}
            self.nodes[name] = {"type": "end", "outcome": name, **output}

    def _chance(self, part: float) -> bool:
        return self.random.random() < part

    def _sequence(self, length: int, known: Known, after: str, inner: int) -> tuple[str, Known]:
        """Make steps one after another that lead to `after`; return the first, and what is known at `after`."""
        kinds = [self._kind(inner) for _ in range(length)]
        names = [self.making.name(kind) for kind in kinds]
        for index, (name, kind) in enumerate(zip(names, kinds, strict=True)):
            known = self._step(name, kind, known, names[index + 1] if index + 1 < length else after, inner)
        return names[0], known

    def _kind(self, inner: int) -> str:
        simple = self.depth + inner >= DEEPEST
        return self.random.choice(
            [kind for kind in self.making.kinds if not (simple and kind in ("branch", "foreach"))]
        )

    def _step(self, name: str, kind: str, known: Known, after: str, inner: int) -> Known:
        """Make a node and the ways from it to `after`; return what is known there."""
        node, done = self._node(kind, known)
        self.nodes[name] = node
        there = self._failures(node, kind, known, after, inner)
        shape = self.random.random() if self.depth + inner < DEEPEST else 1.0
        if shape < 0.35:
            there += self._split(node, kind, done, after, inner)
        elif shape < 0.5:
            there.append(self._loop(name, node, done, after, inner))
        else:
            node["next"] = [{"to": after, **self._by_hand()}]
            there.append(done)
        return frozenset.intersection(*there)

    def _by_hand(self) -> Node:
        return {"trigger": "user"} if "supervisor" in self.making.kinds and self._chance(0.05) else {}

    def _failures(self, node: Node, kind: str, known: Known, after: str, inner: int) -> list[Known]:
        """Say what happens at a failure or at the deadline: both lead on with what was known before."""
        there: list[Known] = []
        if "deadline" in node:
            early = self._chance(0.5)
            node["on_timeout"] = {"to": self._early(known) if early else after}
            there += [] if early else [known]
        if kind != "supervisor" and self._chance(0.2):
            match = self.random.choice([[], ["tool_error"], ["tool_error", "boom"]])
            mended, found = self._sequence(1, known, after, DEEPEST)
            node["on_error"] = [{"to": mended, **({"match": match} if match else {})}]
            there.append(found)
        if kind in WORK and self._chance(0.1):
            node |= {"timeout": "PT1H", "on_timeout": {"to": after}}
            there.append(known)
        return there

    def _early(self, known: Known) -> str:
        name = self.making.name("early")
        self._last(name, known)
        return name

    def _split(self, node: Node, kind: str, known: Known, after: str, inner: int) -> list[Known]:
        """Lead on by guards that leave no gap; each way goes through steps of its own, straight on, or to an end."""
        split = self._guards(node, kind, known)
        there: list[Known] = []
        ways: list[Node] = []
        for number, guard in enumerate(split):
            if number == 0 or self._chance(0.4):
                to, found = self._sequence(self.random.randint(1, 2), known, after, inner + 1)
                there.append(found)
            elif self._chance(0.6):
                to = after
                there.append(known)
            else:
                to = self._early(known)
            ways.append({"to": to, **({} if guard is None else {"when": guard})})
        if kind == "agent" and self._chance(0.5):
            ways = [{"to": to, "trigger": "agent"} for to in dict.fromkeys(way["to"] for way in ways)]
        if kind == "supervisor" and not node["writes"]:
            ways = [{"to": to, "trigger": "agent"} for to in dict.fromkeys(way["to"] for way in ways)]
            node["decisions"] = [way["to"] for way in ways]
        node["next"] = ways
        return there

    def _guards(self, node: Node, kind: str, known: Known) -> list[Rule]:
        if kind == "supervisor" and node["writes"] and self._chance(0.7):
            return listed(f"{node['writes'][0]}.decision", node["decisions"], self.random)
        return guards(known, self.random)

    def _loop(self, name: str, node: Node, known: Known, after: str, inner: int) -> Known:
        """Come back to the node from a last step of the loop, three times at most."""
        tail = self.making.name("again")
        node["max_visits"] = 3
        start, there = self._sequence(self.random.randint(1, 2), known, tail, inner + 1)
        node["next"] = [{"to": start}]
        ways = [{"to": self.random.choice([name, after]), "when": guard} for guard in guards(there, self.random)]
        ways[0]["to"], ways[-1]["to"] = name, after
        self.nodes[tail] = {
            "type": "script",
            "code": "{}",
            "next": [way if way["when"] is not None else {"to": way["to"]} for way in ways],
        }
        return there

    def _node(self, kind: str, known: Known) -> tuple[Node, Known]:
        """Return a node without its ways on, and what is known once it is done."""
        if kind == "branch":
            return self._branch(known)
        if kind == "foreach":
            return self._foreach(known)
        if kind == "wait":
            return self._wait(known)
        if kind == "supervisor":
            return self._supervisor(known)
        writes = self._writes(self.random.randint(0, 2))
        node: Node = {"type": kind, "writes": writes, **self._work(kind, known, writes)}
        done = known | set(writes)
        if self._chance(0.15):
            node["retry"] = {"max_attempts": 2}
        if kind == "tool" and self._chance(0.15):
            undo = node["compensate"] = self.making.name("undo")
            self.nodes[undo] = {"type": "tool", "tool": undo, "input": inputs(done, self.random)}
        return node, done

    def _writes(self, count: int) -> list[str]:
        return self.random.sample(self.keys, min(count, len(self.keys)))

    def _work(self, kind: str, known: Known, writes: list[str]) -> Node:
        if kind == "interaction":
            return {"interaction": "ask", "input": inputs(known, self.random)}
        if kind == "tool":
            return {"tool": "erp.do", "input": inputs(known, self.random)}
        if kind == "script":
            result = {key: value_of(KEYS[key], self.random) for key in writes}
            return {"code": repr(result), "input": inputs(known, self.random)}
        if kind == "agent":
            read = sorted(known & set(KEYS))
            limit = self._chance(0.3)
            text = template(known, self.random, read if limit else KEYS)
            return {"instructions": text, "input": inputs(known, self.random), **({"reads": read} if limit else {})}
        returns = {key: {"var": f"output.{key}"} for key in writes} if self._chance(0.5) else {}
        return {"process": "child@1", "input": inputs(known, self.random), **({"returns": returns} if returns else {})}

    def _supervisor(self, known: Known) -> tuple[Node, Known]:
        verdicts = of_kind("verdict", self.keys)
        writes = [self.random.choice(verdicts)] if verdicts and self._chance(0.8) else []
        form: Node = {}
        others = [key for key in self.keys if kind_of(key) not in ("verdict", "rows")]
        if writes and others and self._chance(0.4):
            key = self.random.choice(others)
            writes.append(key)
            form = {"form": {"type": "object", "properties": {key: TYPES[KEYS[key]]}, "required": [key]}}
        rung = {"escalate": [{"after": "PT12H", "to": {"roles": ["cfo"]}}]} if self._chance(0.3) else {}
        decisions = DECISIONS[: self.random.randint(2, 3)]
        node = {
            "type": "supervisor",
            "seat": {"roles": ["finance"]},
            "ask": {"title": template(known, self.random), **form},
            "decisions": decisions,
            "deadline": "P2D",
            "writes": writes,
            **rung,
        }
        return node, known | set(writes)

    def _wait(self, known: Known) -> tuple[Node, Known]:
        sort = self.random.choice(["for", "until", "event"])
        if sort == "for":
            return {"type": "wait", "for": "PT3H"}, known
        if sort == "until":
            return {"type": "wait", "until": {"cat": ["2026-01-0", 7, "T12:00:00+00:00"]}}, known
        orders = of_kind("order", self.keys)
        single = orders and self._chance(0.5)
        writes = [self.random.choice(orders)] if single else self._writes(self.random.choice([0, 2]))
        match = {"match": {"order": expression(known, self.random)}} if self._chance(0.5) else {}
        node = {
            "type": "wait",
            "event": {"name": self.making.name("paid"), **match},
            "deadline": "P1D",
            "writes": writes,
        }
        # Keys are taken from the payload by name; of one alone it is the whole payload.
        return ({**node, "writes": []}, known) if len(writes) == 1 and not single else (node, known | set(writes))

    def _branch(self, known: Known) -> tuple[Node, Known]:
        if self._chance(0.5):
            arms = [self._arm(known, self.keys, guard) for guard in guards(known, self.random)]
            node: Node = {"type": "branch", "arms": [arm for arm, _ in arms]}
            return node, frozenset.intersection(*(done for _, done in arms))
        count = self.random.randint(2, 3)
        shares = [self.keys[number::count] for number in range(count)]
        certain = self.random.randint(1, count)
        arms = []
        for number, share in enumerate(shares):
            guard = None if number < certain else guards(known, self.random)[0]
            arms.append(self._arm(known, share, guard))
        join: Any = self.random.choice(["all", "any", {"at_least": self.random.randint(1, certain)}])
        node = {"type": "branch", "take": "every", "join": join, "arms": [arm for arm, _ in arms]}
        sure = known.union(*(done for _, done in arms[:certain]))
        return node, sure if join == "all" else known

    def _arm(self, known: Known, keys: Sequence[str], guard: Rule) -> tuple[Node, Known]:
        body, done = self._body(known, keys)
        return {"name": self.making.name("arm"), **({} if guard is None else {"when": guard}), "body": body}, done

    def _body(self, known: Known, keys: Sequence[str]) -> tuple[Node, Known]:
        graph = Graph(self.making, keys, self.depth + 1)
        nodes, start, done = graph.make(1, known)
        return {"start": start, "nodes": nodes}, done

    def _foreach(self, known: Known) -> tuple[Node, Known]:
        lists, rows = of_kind("list", known), of_kind("rows", self.keys)
        items: Rule = {"var": self.random.choice(lists)} if lists and self._chance(0.7) else [3, 4]
        item = self.making.name("item")
        body, _ = self._body(known | {item}, self.keys)
        node: Node = {"type": "foreach", "items": items, "as": item, "body": body}
        if self._chance(0.3):
            node["max_concurrency"] = 1
        if self._chance(0.3):
            node["on_item_error"] = "collect"
        if not rows or self._chance(0.3):
            return node, known
        into = self.random.choice(rows)
        return {**node, "writes": [into], "collect": {"into": into, "fields": [item]}}, known | {into}
