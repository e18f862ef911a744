"""Values, expressions and guards for generated definitions: of the types that the context's schema gives."""

from collections.abc import Collection
from random import Random
from typing import Any

Node = dict[str, Any]
Rule = Any
Known = frozenset[str]
"""The names that are certainly there: keys of the context, and items of a foreach, which are numbers."""

RISKS = ["high", "low", "medium"]
DECISIONS = ["approve", "reject", "revise"]
TYPES: dict[str, Node] = {
    "number": {"type": "number"},
    "whole": {"type": "integer", "minimum": 0, "maximum": 100},
    "flag": {"type": "boolean"},
    "risk": {"type": "string", "enum": RISKS},
    "text": {"type": "string"},
    "order": {
        "type": "object",
        "properties": {"total": {"type": "number"}, "urgent": {"type": "boolean"}, "note": {"type": "string"}},
        "required": ["total", "urgent"],
        "additionalProperties": False,
    },
    "list": {"type": "array", "items": {"type": "number"}, "maxItems": 4},
    "rows": {"type": "array", "items": {"type": "object"}},
    "verdict": {"type": "object", "properties": {"decision": {"type": "string"}}, "required": ["decision"]},
}
KEYS = {f"{kind}_{number}": kind for kind in TYPES for number in range(1, 4)}
"""The keys of the context: three of each kind."""


def kind_of(name: str) -> str:
    """Return the kind of a key; an item is a number."""
    return KEYS.get(name, "number")


def value_of(kind: str, random: Random) -> Any:
    """Return a value that a key of this kind may hold."""
    match kind:
        case "number":
            return random.choice([-7, -1, 0, 1, 5, 10, 11.5, 100, 1000])
        case "whole":
            return random.randint(0, 100)
        case "flag":
            return random.random() < 0.5
        case "risk":
            return random.choice(RISKS)
        case "text":
            return random.choice(["", "a", "b", "north", "~"])
        case "order":
            order = {"total": value_of("number", random), "urgent": value_of("flag", random)}
            return order if random.random() < 0.5 else {**order, "note": value_of("text", random)}
        case "list":
            return [value_of("number", random) for _ in range(random.randint(0, 4))]
        case "rows":
            return [{"a": value_of("number", random)} for _ in range(random.randint(0, 2))]
        case _:
            return {"decision": random.choice(DECISIONS)}


def numbers(known: Collection[str]) -> list[str]:
    """Return the paths of numbers among what is known."""
    paths = {"number": "", "whole": "", "order": ".total"}
    return [name + paths[kind_of(name)] for name in sorted(known) if kind_of(name) in paths]


def flags(known: Collection[str]) -> list[str]:
    """Return the paths of true or false among what is known."""
    paths = {"flag": "", "order": ".urgent"}
    return [name + paths[kind_of(name)] for name in sorted(known) if kind_of(name) in paths]


def of_kind(kind: str, known: Collection[str]) -> list[str]:
    """Return the names of a kind among what is known."""
    return [name for name in sorted(known) if kind_of(name) == kind]


def inputs(known: Known, random: Random) -> Node:
    """Return up to three expressions that can be evaluated where `known` is."""
    return {f"in{number}": expression(known, random) for number in range(random.randint(0, 3))}


def expression(known: Known, random: Random) -> Rule:
    """Return an expression that can be evaluated where `known` is."""
    anything = sorted(known)
    counted, lists = numbers(known), of_kind("list", known)
    choices: list[Rule] = [
        random.choice([1, "text", True, None]),
        {"preserve": {"a": 1, "b": [2]}},
        {"var": [random.choice(sorted(KEYS)), "instead"]},
        {"??": [{"var": random.choice(sorted(KEYS))}, 0]},
        {"if": [{"exists": random.choice(sorted(KEYS))}, 1, 2]},
    ]
    if anything:
        one = random.choice(anything)
        choices += [{"var": one}, {"val": [one]}]
    if told := [name for name in anything if kind_of(name) not in ("order", "verdict", "rows")]:
        choices.append({"cat": ["is ", {"var": random.choice(told)}]})
    if counted:
        one, other = random.choice(counted), random.choice(counted)
        choices += [{"+": [{"var": one}, {"var": other}]}, {"max": [{"var": one}, 3]}, {"<": [{"var": one}, 5]}]
    if lists:
        one = {"var": random.choice(lists)}
        choices += [
            {"map": [one, {"*": [{"var": ""}, 2]}]},
            {"reduce": [one, {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]},
            {"length": [one]},
        ]
    return random.choice(choices)


def template(known: Known, random: Random, shown: Collection[str] = tuple(KEYS)) -> str:
    """Return a template over what is known, with parts that are only there where one of `shown` is."""
    text = "Please see to it."
    for name in random.sample(sorted(known), min(len(known), random.randint(0, 2))):
        text += f" {{{{{name}}}}}"
    if shown and random.random() < 0.3:
        maybe = random.choice(sorted(shown))
        text += f" {{{{#if {maybe}}}}}and {{{{{maybe}}}}}{{{{/if}}}}"
    lists = of_kind("list", known)
    if lists and random.random() < 0.3:
        text += f" {{{{#each {random.choice(lists)}}}}}- {{{{this}}}}{{{{/each}}}}"
    return text


def guards(known: Known, random: Random) -> list[Rule]:
    """Return guards of which one holds in every case; None is a default, which stands last."""
    # Of an item no type is known, so that nothing can be shown of a guard on it.
    known = known & frozenset(KEYS)
    options = [_default(known, random)]
    if numbers(known):
        options += [_steps({"var": random.choice(numbers(known))}, random)] * 2
        options.append(_pair(known, random))
    if flags(known):
        flag = {"var": random.choice(flags(known))}
        options.append([flag, {"!": [flag]}])
    if of_kind("risk", known):
        options += [_listed({"var": random.choice(of_kind("risk", known))}, RISKS, random)] * 2
    if of_kind("text", known):
        text = {"var": random.choice(of_kind("text", known))}
        options.append([{"==": [text, "north"]}, {"!=": [text, "north"]}])
    if of_kind("verdict", known):
        decision = {"var": f"{random.choice(of_kind('verdict', known))}.decision"}
        options.append([{"==": [decision, "approve"]}, None])
    return random.choice(options)


def listed(path: str, values: list[str], random: Random) -> list[Rule]:
    """Return guards that tell the values of a path apart."""
    return _listed({"var": path}, values, random)


def _listed(variable: Rule, values: list[str], random: Random) -> list[Rule]:
    first, *others = random.sample(values, len(values))
    rest: Rule = random.choice([None, {"in": [variable, others]}, {"!=": [variable, first]}])
    if random.random() < 0.5:
        return [{"==": [variable, first]}, rest]
    return [{"==": [variable, value]} for value in (first, *others)]


def _steps(variable: Rule, random: Random) -> list[Rule]:
    low, high = sorted(random.sample(range(2, 90), 2))
    last: Rule = None if random.random() < 0.5 else {">=": [variable, high]}
    return [{"<": [variable, low]}, {"<": [variable, high]}, last]


def _pair(known: Known, random: Random) -> list[Rule]:
    """Return a guard of two clauses, and what is left by it."""
    one = {">": [{"var": random.choice(numbers(known))}, 20]}
    # A clause of another variable, so that both can hold, and both can fail.
    other = {"var": random.choice(flags(known))} if flags(known) else {"exists": random.choice(sorted(known))}
    both = {random.choice(["and", "or"]): [one, other]}
    return [both, {"!": [both]}] if flags(known) else [both, None]


def _default(known: Known, random: Random) -> list[Rule]:
    """Return a guard of which it can't be shown when it holds, and a default."""
    counted = numbers(known)
    choices: list[Rule] = [{"==": [{"var": [random.choice(of_kind("risk", KEYS)), "low"]}, "high"]}]
    if counted:
        choices.append({"<": [{"+": [{"var": random.choice(counted)}, 1]}, {"var": random.choice(counted)}]})
    return [random.choice(choices), None]
