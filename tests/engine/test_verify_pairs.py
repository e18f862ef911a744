"""Every finding has a definition that triggers it and a twin, nearly the same, that does not."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine.process
from engine.process.definition import parse_definition
from engine.process.findings import Finding
from engine.process.verify import KnownNames, verify
from tests.engine import verify_cases_data, verify_cases_graph, verify_cases_nodes, verify_cases_values
from tests.engine.verify_changes import DONE, PAY, READ, Changes, agent, invoice

Case = tuple[str, Changes, Changes]

CASES: list[Case] = [
    *verify_cases_graph.CASES,
    *verify_cases_data.CASES,
    *verify_cases_nodes.CASES,
    *verify_cases_values.CASES,
]
OUTSIDE: list[Case] = [
    ("unknown_interaction", {f"{READ}/interaction": "extract_invoise@production"}, {}),
    ("unknown_tool", {f"{PAY}/tool": "erp.pya"}, {}),
    ("unknown_tool", agent(tools=["erp.pay", "x"]), agent(tools=["erp.pay"])),
    ("unknown_tool", agent(policy=[{"tools": ["x"]}]), agent(policy=[{"tools": ["erp.pay"]}])),
    ("unknown_skill", agent(skills=["reserch"]), agent(skills=["research"])),
    (
        "unknown_process",
        {PAY: {"type": "process", "process": "archiv@2", "next": DONE}},
        {PAY: {"type": "process", "process": "archive@2", "next": DONE}},
    ),
]
KNOWN = KnownNames(
    interactions=frozenset({"extract_invoice"}),
    tools=frozenset({"erp.pay"}),
    skills=frozenset({"research"}),
    processes=frozenset({"archive"}),
)


def found_in(changes: Changes, code: str, names: KnownNames | None = None) -> list[Finding]:
    return [finding for finding in verify(parse_definition(invoice(changes)), names) if finding.code == code]


@pytest.mark.parametrize(("code", "bad", "good"), CASES)
def test_a_finding_is_made_where_it_belongs_and_not_in_the_twin(code: str, bad: Changes, good: Changes) -> None:
    found = found_in(bad, code)
    assert found
    assert all(finding.message and finding.path.startswith("/") for finding in found)
    assert not found_in(good, code)


@pytest.mark.parametrize(("code", "bad", "good"), OUTSIDE)
def test_names_are_checked_where_they_are_known_and_the_nearest_is_offered(
    code: str, bad: Changes, good: Changes
) -> None:
    (found,) = found_in(bad, code, KNOWN)
    assert "did you mean" in found.message or found.message.endswith("correct the name")
    assert not found_in(bad, code)
    assert not found_in(good, code, KNOWN)


def test_every_code_of_the_verifier_has_a_pair() -> None:
    folder = Path(engine.process.__file__).parent
    files = [*folder.glob("verify*.py"), *(folder / "nodes").glob("*.py")]
    codes = {code for file in files for code in codes_of(ast.parse(file.read_text("utf-8")))}
    paired = {code for code, _, _ in (*CASES, *OUTSIDE)}
    assert len(codes) > 40
    assert codes - paired == set()
    assert paired - codes == set()


def codes_of(tree: ast.AST) -> Iterator[str]:
    """Yield the codes of the findings that a module makes; that of a name outside has one for each kind."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        if call.func.id not in ("error", "warning"):
            continue
        code = call.args[0]
        if isinstance(code, ast.JoinedStr):
            assert ast.unparse(code) == "f'unknown_{kind}'", "say which codes this makes"
            yield from ("unknown_interaction", "unknown_tool", "unknown_skill", "unknown_process")
        else:
            assert isinstance(code, ast.Constant), "a code is written where the finding is made"
            yield str(code.value)
