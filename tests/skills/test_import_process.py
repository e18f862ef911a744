"""The tool and the command that take processes of other engines over."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Invalid
from engine.process.definition import parse_definition
from engine.values import PLATFORM_ROLES, Principal
from server.commands import run
from tests.engine.vertesia_samples import REVIEW, changed, small
from tests.skills.house import House

pytestmark = pytest.mark.anyio

ALICE = Principal(tenant="acme", subject="alice", roles=PLATFORM_ROLES)
VIEWER = Principal(tenant="acme", subject="vera", roles=frozenset({"viewer"}))
CHILD = small({"look": {"type": "interaction", "interaction": "Look", "writes": ["seen"]}}, seen={"type": "string"})
OUTER = small(
    {"run": {"type": "process", "process_definition": {**CHILD, "process": "inner"}, "writes": ["seen"]}}, seen={}
)


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["upstairs", "import-process", *words])
    code = run()
    told = capsys.readouterr()
    return code, told.out, told.err


def written(path: Path, definition: dict[str, Any]) -> str:
    path.write_text(json.dumps(definition))
    return str(path)


async def test_an_author_takes_a_process_over_and_saves_it(house: House) -> None:
    names = {"ReadFile": "read_file"}
    given = await house.call(ALICE, "process_design.import_process", text=json.dumps(REVIEW), names=names)
    (taken,) = given["definitions"]
    assert taken["process"] == "supplier_review"
    assert "read_file" in taken["needs"]["interactions"]
    assert {note["kind"] for note in taken["notes"]} == {"mapped", "approximated", "not_mapped"}
    saved = await house.call(ALICE, "process_design.save_draft", name=taken["process"], text=taken["text"])
    assert saved["verdict"] == taken["verdict"]


async def test_definitions_inside_a_definition_come_before_it(house: House) -> None:
    taken = await house.call(ALICE, "process_design.import_process", text=json.dumps(OUTER))
    assert [one["process"] for one in taken["definitions"]] == ["inner", "small"]


async def test_only_authors_import_and_what_is_none_is_refused(house: House) -> None:
    with pytest.raises(Exception, match=r"process_design\.import_process"):
        await house.call(VIEWER, "process_design.import_process", text=json.dumps(REVIEW))
    with pytest.raises(Invalid, match="there is no node 'nowhere'"):
        await house.call(ALICE, "process_design.import_process", text=json.dumps(changed("/initial", "nowhere")))


def test_the_command_prints_the_definition_and_its_report_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "theirs.json", REVIEW)
    code, out, err = command(capsys, monkeypatch, file, "--name", "ReadFile=read_file", "--deadline", "P3D")
    assert code == 0
    node = parse_definition(out).canonical()["nodes"]
    assert (node["read_file"]["interaction"], node["ask_legal"]["deadline"]) == ("read_file", "P3D")
    assert "not mapped    /model: " in err
    assert "needs tools: file_record, look_up, search" in err
    assert err.endswith("it verifies\n")


def test_the_command_writes_a_file_for_each_definition_and_overwrites_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = written(tmp_path / "theirs.json", OUTER), tmp_path / "ours"
    assert command(capsys, monkeypatch, file, "--out", str(folder))[0] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["inner.yaml", "small.yaml"]
    code, _, err = command(capsys, monkeypatch, file, "--out", str(folder))
    assert (code, "is there already" in err) == (1, True)
    assert json.loads(command(capsys, monkeypatch, file, "--json")[1])["process"] == "small"


def test_the_command_ends_with_1_where_the_definition_has_errors_or_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = changed("/nodes/route/branches/1/when", {">": [{"var": "supplier"}, 1000]})
    code, _, err = command(capsys, monkeypatch, written(tmp_path / "wrong.json", wrong))
    assert (code, "it has errors" in err) == (1, True)
    code, out, err = command(capsys, monkeypatch, written(tmp_path / "none.json", {}))
    assert (code, out) == (1, "")
    assert err.startswith("upstairs: the source is no definition that can be imported: /")
    code, _, err = command(capsys, monkeypatch, str(tmp_path / "none.json"), "--name", "a")
    assert (code, err) == (1, "upstairs: --name is theirs=ours, not 'a'\n")
