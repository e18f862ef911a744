"""What a graph costs before and while it runs: verifying a large one, and evaluating its guards."""

import time
import timeit
from typing import Any

from benchmarks.figures import Row, Sample
from engine.process.definition import ProcessDefinition
from engine.process.logic import compile_rule
from engine.process.verify import verify

NODES = 500
CLAUSES = 50
DATA: dict[str, Any] = {"invoice": {"total": 900, "supplier": "Acme"}, "tries": 2, "approval": {"decision": "approve"}}
CLAUSE_KINDS: tuple[Any, ...] = (
    {"<=": [{"var": "invoice.total"}, 1000]},
    {"==": [{"var": "approval.decision"}, "approve"]},
    {"<": [{"var": "tries"}, 3]},
)


def large_definition(nodes: int) -> dict[str, Any]:
    """Return a sound definition of so many nodes: tools that write, with two guarded ways on and a default each."""
    properties: dict[str, Any] = {"total": {"type": "number"}, **{f"k{n}": {"type": "object"} for n in range(nodes)}}
    found: dict[str, Any] = {}
    for number in range(nodes - 1):
        after = [f"n{min(number + step, nodes - 1)}" for step in (1, 2, 3)]
        found[f"n{number}"] = {
            "type": "tool",
            "tool": "probe.look",
            "input": {"number": {"+": [{"var": "total"}, number]}},
            "writes": [f"k{number}"],
            "next": [
                {"to": after[1], "when": {"<": [{"var": "total"}, number]}},
                {"to": after[2], "when": {">": [{"var": "total"}, number + 1000]}},
                {"to": after[0]},
            ],
        }
    found[f"n{nodes - 1}"] = {"type": "end", "outcome": "done"}
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    context = {"schema": schema, "initial": {"total": 1}}
    return {"format": 1, "process": "large", "context": context, "start": "n0", "nodes": found}


def measure_verifier(rounds: int) -> list[Row]:
    """CPU seconds to verify a definition of 500 nodes with 998 guards."""
    definition = ProcessDefinition.model_validate(large_definition(NODES))
    times: list[float] = []
    for _ in range(max(rounds // 2, 3)):
        began = time.process_time()
        findings = verify(definition)
        times.append(time.process_time() - began)
        assert not [one for one in findings if one.severity == "error"], findings[:3]
    return [Row(f"verify {NODES} nodes", "CPU s", Sample(times), "", goal=1.0)]


def measure_guards() -> list[Row]:
    """CPU microseconds per clause of a compiled guard: of one clause, and of fifty joined by `and`."""
    rows: list[Row] = []
    for name, rule, clauses in (
        ("of one clause", CLAUSE_KINDS[0], 1),
        (f"of {CLAUSES} clauses", {"and": [CLAUSE_KINDS[n % 3] for n in range(CLAUSES)]}, CLAUSES),
    ):
        compiled = compile_rule(rule, strict=True)
        assert compiled(DATA) is True

        def once(compiled: Any = compiled) -> None:
            compiled(DATA)

        count, _ = timeit.Timer(once).autorange()
        values = [
            value / count / clauses * 1e6
            for value in timeit.repeat(once, timer=time.process_time, number=count, repeat=7)
        ]
        rows.append(Row(f"guard {name}, per clause", "CPU µs", Sample(values), "", goal=1.0))
    return rows
