"""Definitions of Vertesia as their documented format has them: one with every type of node, and ways to change it."""

import copy
from typing import Any

from engine.process.imports import Imported

REVIEW: dict[str, Any] = {
    "format_version": 1,
    "process": "Supplier Review",
    "description": "From the file of a supplier to a decision.",
    "initial": "read_file",
    "model": "vendor/large",
    "context": {
        "schema": {
            "type": "object",
            "properties": {
                "doc_id": {"type": "string"},
                "supplier": {"type": "string"},
                "amount": {"type": "number"},
                "clauses": {"type": "array"},
                "findings": {"type": "array"},
                "checks": {},
                "score": {"type": "number"},
                "opinion": {"type": "string"},
                "decision": {"type": "string"},
                "notes": {"type": "string"},
                "legal": {"type": "object"},
                "archive": {"type": "object"},
            },
            "additionalProperties": True,
        },
        "initial": {"legal": {"team": "north"}},
    },
    "resources": {
        "scripts": {
            "count": {
                "language": "python",
                "entrypoint": "main.py",
                "source": {"type": "inline", "files": {"main.py": "{'score': len(clauses)}"}},
            }
        }
    },
    "nodes": {
        "read_file": {
            "type": "interaction",
            "title": "Read the file",
            "human_description": "A model reads the file.",
            "interaction": "ReadFile",
            "input": {"doc": "{{doc_id}}", "why": "File of {{context.doc_id}}, please"},
            "writes": ["supplier", "amount", "clauses"],
            "max_retries": 1,
            "transitions": [{"to": "each_clause"}],
        },
        "each_clause": {
            "type": "foreach",
            "foreach": "clauses",
            "as": "clause",
            "item_id": "{{clause.id}}",
            "max_concurrency": 4,
            "failure_policy": "collect_errors",
            "collect": {"into": "findings", "mode": "array", "include": ["item", "output", "status"]},
            "node": {
                "type": "agent",
                "prompt": "Weigh this clause: {{clause.text}}",
                "tools": ["search"],
                "initial_skills": ["law"],
                "excluded_tools": ["write"],
                "inherit_context": False,
                "writes": ["finding"],
            },
            "transitions": [{"to": "count_them"}],
        },
        "count_them": {
            "type": "script",
            "script": "count",
            "input": {"clauses": "{{clauses}}"},
            "timeout": 30,
            "writes": ["score"],
            "transitions": [{"to": "side_by_side"}],
        },
        "side_by_side": {
            "type": "branch",
            "join": "all",
            "collect": "checks",
            "branches": [
                {"id": "bank", "title": "Ask the bank", "node": {"type": "tool", "tool": "look_up", "input": {"n": 1}}},
                {
                    "id": "history",
                    "node": {
                        "type": "process",
                        "process": "supplier_history",
                        "process_version": 3,
                        "input": {"name": "{{supplier}}"},
                        "returns": {"from": "context.summary"},
                    },
                },
            ],
            "transitions": [{"to": "weigh"}],
        },
        "weigh": {
            "type": "agent",
            "prompt": "Weigh {{supplier}} and choose _next_node.",
            "writes": ["opinion"],
            "transitions": [
                {"to": "route", "trigger": "agent"},
                {"to": "ask_legal", "trigger": "agent", "label": "in doubt"},
            ],
        },
        "route": {
            "type": "condition",
            "branches": [
                {"to": "accept", "default": True},
                {"to": "ask_legal", "when": {">": [{"var": "amount"}, 1000]}, "label": "large"},
            ],
        },
        "accept": {
            "type": "tool",
            "config": {"context_update": {"decision": "accepted", "legal.note": "none for {{supplier}}"}},
            "writes": ["decision", "legal"],
            "transitions": [{"to": "file_it"}],
        },
        "ask_legal": {
            "type": "human_task",
            "task": {
                "title": "Accept {{supplier}}?",
                "description": "{{opinion}}",
                "assignee": "group:legal",
                "fields": [
                    {"name": "decision", "type": "select", "options": ["accepted", "refused"], "required": True},
                    {"name": "notes", "type": "text", "label": "Why"},
                ],
            },
            "writes": ["decision", "notes"],
            "transitions": [
                {"to": "file_it", "guard": {"==": [{"var": "decision"}, "accepted"]}},
                {"to": "refused"},
            ],
        },
        "file_it": {
            "type": "tool",
            "tool": "file_record",
            "input": {"mode": "append", "record": {"who": "{{supplier}}", "why": ["as {{decision}}", 7]}},
            "writes": ["archive"],
            "transitions": [{"to": "done"}],
        },
        "done": {"type": "final", "title": "Done"},
        "refused": {"type": "final"},
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the sample with another value at a pointer; `...` takes it away."""
    made = copy.deepcopy(REVIEW)
    here: Any = made
    *parents, last = [part.replace("~1", "/") for part in path.split("/")[1:]]
    for part in parents:
        here = here[int(part)] if isinstance(here, list) else here[part]
    if value is ...:
        del here[last]
    elif isinstance(here, list):
        here[int(last)] = value
    else:
        here[last] = value
    return made


def small(nodes: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """Return a definition of these nodes that begins with the first, over a context of these keys."""
    return {
        "format_version": 1,
        "process": "small",
        "initial": next(iter(nodes)),
        "context": {"schema": {"type": "object", "properties": properties}, "initial": {}},
        "nodes": nodes,
    }


def node(imported: Imported, name: str) -> dict[str, Any]:
    """Return a node of the result as JSON."""
    return imported.definition.canonical()["nodes"][name]


def said(imported: Imported, kind: str) -> dict[str, str]:
    """Return the messages of the notes of a kind by their place in the source."""
    return {note.source: note.message for note in imported.notes if note.kind == kind}
