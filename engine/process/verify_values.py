"""What a node needs of its values: lists to go through, moments to wait for, keys that can hold what it writes."""

from collections.abc import Iterator
from typing import Any

from engine.errors import Problem
from engine.json_schema import first_violation, schema_problem
from engine.process.findings import Finding, error, pointer, warning
from engine.process.logic import compile_rule
from engine.process.nodes.base import NodeBase
from engine.process.nodes.branch import BranchNode
from engine.process.nodes.end import EndNode
from engine.process.nodes.foreach import ForeachNode
from engine.process.nodes.process import ProcessNode
from engine.process.nodes.supervisor import SupervisorNode
from engine.process.nodes.wait import WaitNode
from engine.process.verify_schema import ANY, Types, look_up, resolve, types_of
from engine.process.verify_types import Typing

_DECISION = ("decision", "by", "comment")
_SHARED = ("$defs", "definitions")
_LISTED: Types = frozenset({"array", "string"})


def certainly_written(node: NodeBase) -> tuple[str, ...]:
    """Return the keys of `writes` that a node has always written once it is done."""
    if isinstance(node, SupervisorNode):
        return (*node.writes[:1], *(key for key in node.writes[1:] if key in _form(node, "required")))
    return possibly_written(node)


def possibly_written(node: NodeBase) -> tuple[str, ...]:
    """Return the keys of `writes` that a node can write."""
    if isinstance(node, SupervisorNode):
        return (*node.writes[:1], *(key for key in node.writes[1:] if key in _form(node, "properties")))
    if isinstance(node, WaitNode) and node.event is None:
        return ()
    if isinstance(node, ProcessNode) and node.returns:
        return tuple(key for key in node.writes if key in node.returns)
    if isinstance(node, ForeachNode):
        return tuple(key for key in node.writes if node.collect is not None and key == node.collect.into)
    return () if isinstance(node, (BranchNode, EndNode)) else node.writes


def _form(node: SupervisorNode, word: str) -> Any:
    return (node.ask.form or {}).get(word) or ()


def check_values(node: NodeBase, at: str, schema: dict[str, Any], typing: Typing) -> Iterator[Finding]:
    """Yield values of a wrong type, decisions that the context refuses, and writes that never come."""
    if isinstance(node, ForeachNode):
        yield from _typed(node.items, _LISTED, "a list or the URI of a file", f"{at}/items", typing)
        if node.collect is not None and not _LISTED & types_of(look_up(schema, (node.collect.into,)).schema):
            where, into = f"{at}/collect/into", node.collect.into
            yield error(
                "wrong_type", where, f"a list, or the URI of a file, is kept in {into!r}: its schema allows neither"
            )
    if isinstance(node, WaitNode) and node.until is not None:
        yield from _typed(node.until, frozenset({"string"}), "a time as a text", f"{at}/until", typing)
    if isinstance(node, WaitNode) and node.event is not None and len(node.writes) == 1:
        yield from _payload(node.writes[0], at, schema)
    if isinstance(node, SupervisorNode):
        yield from _decisions(node, at, schema)
    if isinstance(node, ProcessNode):
        yield from _returns(node, at)
    never = [key for key in node.writes if key not in possibly_written(node)]
    if never and not isinstance(node, EndNode):
        shown = ", ".join(never)
        yield warning(
            "never_written", f"{at}/writes", f"the node never writes {shown}; remove it, or say what gives it"
        )


def _payload(key: str, at: str, schema: dict[str, Any]) -> Iterator[Finding]:
    if "object" not in types_of(look_up(schema, (key,)).schema):
        text = f"a single key gets the whole event, an object, which the schema of {key!r} refuses: none would be taken"
        yield error("wrong_type", f"{at}/writes/0", f"{text}; give {key!r} an object, or write a further key")


def _typed(rule: Any, wanted: Types, words: str, at: str, typing: Typing) -> Iterator[Finding]:
    try:
        types = typing.types(compile_rule(rule).tree)
    except Problem:
        return
    if not types & wanted:
        yield error("wrong_type", at, f"{words} is needed here, not {' or '.join(sorted(types))}")
    elif types != ANY and not types <= wanted:
        yield warning("wrong_type", at, f"{words} is needed here; it may be {' or '.join(sorted(types - wanted))}")


def _decisions(node: SupervisorNode, at: str, schema: dict[str, Any]) -> Iterator[Finding]:
    """Yield a first key that can't hold a decision: every answer would be refused."""
    if not node.writes:
        return
    found = resolve(look_up(schema, node.writes[:1]).schema, schema)
    at, words = f"{at}/writes/0", f"{node.writes[0]!r} gets {{decision, by, comment}} and the form's values"
    if "object" not in types_of(found):
        yield error("decision_refused", at, f"{words}, but its schema allows no object")
        return
    required = found.get("required")
    told = [name for name in required if name in _DECISION] if isinstance(required, list) else []
    shape = {**found, "type": "object", "required": told, **{word: schema[word] for word in _SHARED if word in schema}}
    if schema_problem(shape) is not None:
        return
    for decision in dict.fromkeys(node.decisions):
        wrong = first_violation(shape, {"decision": decision, "by": "somebody", "comment": ""})
        if wrong is not None:
            yield error("decision_refused", at, f"{words}; its schema refuses {decision!r}: {wrong[:200]}")
            return


def _returns(node: ProcessNode, at: str) -> Iterator[Finding]:
    """Yield what is wrong with the expressions over a child's result, which has `outcome` and `output`."""
    for key, rule in node.returns.items():
        where = f"{at}/returns{pointer(key)}"
        try:
            compiled = compile_rule(rule, strict=True)
        except Problem as problem:
            yield error("expression", where, problem.message)
            continue
        for reference in compiled.references:
            if reference.path and reference.path[0] not in ("outcome", "output"):
                name = ".".join(reference.path)
                yield error("unknown_name", where + reference.at, f"a child gives outcome and output, not {name!r}")
