"""Time JSON Logic side by side with datalogic-py: microseconds per evaluation and the ratio.

Run `python benchmarks/logic.py`. Rules are compiled once on both sides; datalogic-py is given the Python data of each
call, as an engine that holds its context in Python must, and once more a document it has parsed before.
"""

import sys
import timeit
from pathlib import Path
from typing import Any

import datalogic_py

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.process.logic import compile_rule

INVOICE = {"invoice": {"total": 900, "supplier": "Acme"}, "approval": {"decision": "approve"}, "tries": 2}
ITEMS = {"items": [{"price": index, "kept": index % 2 == 0} for index in range(50)]}
CASES: list[tuple[str, Any, Any]] = [
    ("one clause", {"<=": [{"var": "invoice.total"}, 1000]}, INVOICE),
    ("one equality", {"==": [{"var": "approval.decision"}, "approve"]}, INVOICE),
    (
        "guard of four clauses",
        {
            "and": [
                {"<=": [{"var": "invoice.total"}, 1000]},
                {"==": [{"var": "approval.decision"}, "approve"]},
                {"in": [{"var": "invoice.supplier"}, ["Acme", "Bolt"]]},
                {"<": [{"var": "tries"}, 3]},
            ]
        },
        INVOICE,
    ),
    (
        "filter, map, reduce over 50",
        {
            "reduce": [
                {"map": [{"filter": [{"var": "items"}, {"var": "kept"}]}, {"*": [{"var": "price"}, 2]}]},
                {"+": [{"var": "accumulator"}, {"var": "current"}]},
                0,
            ]
        },
        ITEMS,
    ),
]


def microseconds(call: Any) -> float:
    """Return the best of five measurements of one call."""
    rounds, _ = timeit.Timer(call).autorange()
    return min(timeit.repeat(call, number=rounds, repeat=5)) / rounds * 1e6


def main() -> None:
    """Print one line per rule."""
    engine = datalogic_py.Engine()
    print(f"{'rule':<30}{'ours':>9}{'datalogic':>11}{'ratio':>8}{'parsed before':>15}")
    for name, rule, data in CASES:
        ours, theirs, handle = compile_rule(rule, strict=True), engine.compile(rule), datalogic_py.DataHandle(data)
        if ours(data) != theirs.evaluate(data):
            raise SystemExit(f"{name}: the two engines disagree")
        mine = microseconds(lambda ours=ours, data=data: ours(data))
        other = microseconds(lambda theirs=theirs, data=data: theirs.evaluate(data))
        parsed = microseconds(lambda theirs=theirs, handle=handle: theirs.evaluate_data(handle))
        print(f"{name:<30}{mine:>7.2f}us{other:>9.2f}us{mine / other:>8.2f}{parsed:>13.2f}us")


if __name__ == "__main__":
    main()
