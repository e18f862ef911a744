"""The built-in skills over real stores: content, processes, process_design."""

import re
from typing import Any

import pytest

from content.intake import markdown
from content.intake.detect import Limits
from content.passages import cut_passages
from engine.errors import Conflict, Invalid, NotFound
from engine.ports import IntakeTask
from engine.process.definition import parse_definition
from engine.process.drawing import mermaid
from engine.process.verify import verify
from engine.values import PLATFORM_ROLES, Principal
from skills.catalogue import Catalogue
from skills.lesson import learn
from tests.skills.house import House

pytestmark = pytest.mark.anyio

ALICE = Principal(tenant="acme", subject="alice", roles=PLATFORM_ROLES)
WRITER = Principal(tenant="acme", subject="walt", roles=frozenset({"author"}))
VIEWER = Principal(tenant="acme", subject="vera", roles=frozenset({"viewer"}))
EVE = Principal(tenant="other", subject="eve", roles=PLATFORM_ROLES)

REPORT = """# Harbour report

Opening lines.

## Dredging

The channel was dredged to eleven metres in March.

## Costs

| Year | Amount |
|------|--------|
| 2025 | 1200   |
"""


def example() -> str:
    """Return the complete definition that the lesson of process_design teaches by."""
    found = re.search(r"```yaml\n(.*?)```", Catalogue.load().get(ALICE, "process_design").instructions, re.DOTALL)
    assert found is not None
    return found.group(1)


async def read_in(house: House, run_id: str) -> str:
    """Do the work of an intake run in place: read, cut, publish; return the object's id."""
    task = IntakeTask.model_validate((await house.runs.get(ALICE, run_id)).input)
    data = await house.content.source(ALICE, task.object_id, task.version)
    structure = markdown.extract(data, "text/markdown", Limits())
    await house.content.mark(ALICE, task.object_id, task.version, "processing")
    await house.content.publish_version(ALICE, task.object_id, task.version, structure, cut_passages(structure))
    return task.object_id


@pytest.mark.parametrize("name", ["content", "processes", "process_design"])
def test_a_built_in_skill_follows_the_format_and_stays_below_five_thousand_tokens(name: str) -> None:
    skill = Catalogue.load().get(ALICE, name)
    assert skill.warnings == ()
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", skill.name)
    assert len(learn(ALICE, skill).text) / 4 < 5_000
    for tool in skill.tools:
        assert tool.spec.name.partition(".")[2] in skill.instructions


async def test_an_uploaded_document_is_found_read_and_cited(house: House) -> None:
    arguments = {"name": "harbour", "text": REPORT}
    started = await house.call(ALICE, "content.upload_text", **arguments)
    assert await house.call(ALICE, "content.upload_text", **arguments) == started
    object_id = await read_in(house, started["run_id"])
    (row,) = (await house.call(ALICE, "content.list_objects", filters={"kind": "document"}))["objects"]
    assert (row["object_id"], row["name"], row["state"]) == (object_id, "harbour.md", "ready")
    (passage, *_) = (await house.call(ALICE, "search_content", query="dredged channel", mode="lexical"))["passages"]
    assert "eleven metres" in passage["text"]
    quoted = await house.call(ALICE, "content.fetch", target=passage["anchor"])
    assert quoted["text"] == passage["text"]
    section = await house.call(ALICE, "content.fetch", target=object_id, section="Dredging")
    assert section["text"].endswith("eleven metres in March.")
    assert "1200" in (await house.call(ALICE, "content.fetch", target=object_id, table=1))["text"]
    with pytest.raises(NotFound, match="there are: Harbour report"):
        await house.call(ALICE, "content.fetch", target=object_id, section="Nothing")
    with pytest.raises(Invalid, match="in one way"):
        await house.call(ALICE, "content.fetch", target=object_id, section="Costs", table=1)


async def test_a_long_text_is_read_piece_by_piece(house: House) -> None:
    text = "# Long\n\n" + " ".join(f"word{number}" for number in range(2_000))
    started = await house.call(ALICE, "content.upload_text", name="long.md", text=text)
    target = await read_in(house, started["run_id"])
    read, start, total = "", 0, None
    while start is not None:
        piece = await house.call(ALICE, "content.fetch", target=target, start=start, tokens=1_000)
        read, start, total = read + piece["text"], piece["next_start"], piece["total"]
    assert read.endswith("word1999")
    assert len(read) == total


async def test_collections_are_listed_and_described_to_those_who_may_read_them(house: House) -> None:
    started = await house.call(ALICE, "content.upload_text", name="harbour", text=REPORT)
    await read_in(house, started["run_id"])
    (row,) = (await house.call(ALICE, "content.list_collections"))["collections"]
    assert row["name"] == "default"
    described = await house.call(ALICE, "content.describe_collection", collection="default")
    assert (described["objects"], described["kinds"]) == (1, {"document": 1})
    assert (await house.call(EVE, "content.list_objects"))["objects"] == []
    with pytest.raises(NotFound):
        await house.call(EVE, "content.describe_collection", collection=row["collection_id"])


async def test_a_wrong_filter_is_named(house: House) -> None:
    with pytest.raises(Invalid, match=r"\$\.filters\.knd is not known.*did you mean kind"):
        await house.call(ALICE, "content.list_objects", filters={"knd": "document"})
    with pytest.raises(Invalid, match=r"\$\.filters\.knd"):
        await house.call(ALICE, "search_content", query="x", filters={"knd": "document"})


def test_the_example_of_the_lesson_is_a_definition_without_any_finding() -> None:
    assert verify(parse_definition(example())) == []


async def test_a_process_is_written_verified_published_compared_and_made_live(house: House) -> None:
    text = example()
    broken = text.replace("{to: approve}", "{to: aprove}")
    verdict = await house.call(WRITER, "process_design.verify_process", text=broken)
    assert not verdict["publishable"]
    assert ("unknown_target", "error") in [(one["code"], one["severity"]) for one in verdict["findings"]]
    saved = await house.call(WRITER, "process_design.save_draft", name="invoice_approval", text=broken)
    assert (saved["revision"], saved["verdict"]["publishable"]) == (1, False)
    with pytest.raises(Invalid, match="errors"):
        await house.call(ALICE, "process_design.publish_process", name="invoice_approval", comment="first")
    with pytest.raises(Conflict):
        await house.call(WRITER, "process_design.save_draft", name="invoice_approval", text=text)
    held = await house.call(WRITER, "process_design.get_definition", process="invoice_approval@draft")
    assert (held["text"], held["revision"], held["version"]) == (broken, 1, None)
    mended = await house.call(
        WRITER, "process_design.save_draft", name="invoice_approval", text=text, revision=held["revision"]
    )
    assert (mended["revision"], mended["verdict"]["publishable"]) == (2, True)
    assert "model calls" in mended["verdict"]["worst_case"]
    first = await house.call(ALICE, "process_design.publish_process", name="invoice_approval", comment="first")
    assert (first["address"], first["comment"], first["author"]) == ("invoice_approval@1", "first", "walt")
    other = text.replace("1000", "500")
    await house.call(WRITER, "process_design.save_draft", name="invoice_approval", text=other, revision=2)
    await house.call(ALICE, "process_design.publish_process", name="invoice_approval", comment="lower", revision=3)
    compared = await house.call(
        WRITER, "process_design.diff_versions", before="invoice_approval@1", after="invoice_approval@2"
    )
    assert "500]}" in compared["diff"]
    moved = await house.call(ALICE, "process_design.move_label", name="invoice_approval", label="production", version=1)
    assert (moved["version"], moved["before"], moved["moved"]) == (1, None, True)
    kept = await house.call(WRITER, "process_design.list_versions", name="invoice_approval")
    assert [one["version"] for one in kept["versions"]] == [1, 2]
    assert (kept["labels"], kept["draft_revision"]) == ({"production": 1}, 3)
    with pytest.raises(NotFound, match="did you mean invoice_approval"):
        await house.call(WRITER, "process_design.list_versions", name="invoice_aproval")


async def test_a_text_that_is_no_definition_is_a_finding_with_its_place(house: House) -> None:
    verdict = await house.call(WRITER, "process_design.verify_process", text="format: 1\nprocess: x\nstrat: a\n")
    assert not verdict["publishable"]
    assert "/strat" in [one["path"] for one in verdict["findings"]]
    for text in ("just words", "- a\n- b", "{", "a: &a [*a]"):
        verdict = await house.call(WRITER, "process_design.verify_process", text=text)
        assert [one["code"] for one in verdict["findings"]] == ["format"]


async def test_writing_is_for_authors_and_publishing_for_publishers(house: House) -> None:
    assert "learn_process_design" not in [spec.name for spec in house.toolbox.surface(VIEWER)]
    with pytest.raises(NotFound):
        await house.call(VIEWER, "process_design.verify_process", text="x")
    with pytest.raises(NotFound):
        await house.call(WRITER, "process_design.publish_process", name="invoice_approval", comment="x")
    lesson = (await house.reply(WRITER, "learn_process_design")).text
    assert "### process_design.save_draft" in lesson
    assert "### process_design.publish_process" not in lesson


async def test_published_processes_are_listed_with_their_input_and_described_with_a_drawing(house: House) -> None:
    await house.call(ALICE, "process_design.save_draft", name="invoice_approval", text=example())
    assert (await house.call(VIEWER, "processes.list_processes"))["processes"] == []
    await house.call(ALICE, "process_design.publish_process", name="invoice_approval", comment="first")
    (row,) = (await house.call(VIEWER, "processes.list_processes"))["processes"]
    assert (row["process"], row["newest"], row["input"]["required"]) == ("invoice_approval", 1, ["document_id"])
    view = await house.call(VIEWER, "processes.describe_process", process="invoice_approval")
    nodes: dict[str, Any] = {node["node"]: node for node in view["nodes"]}
    assert nodes["approve"]["decisions"] == ["approve", "reject"]
    assert nodes["approve"]["seat"] == {"roles": ["finance"]}
    assert nodes["read"]["next"] == ["done", "approve", "by_hand"]
    assert view["drawing"] == (await house.reply(ALICE, "process_design.draw_process", text=example())).text
    with pytest.raises(NotFound, match="did you mean invoice_approval"):
        await house.call(VIEWER, "processes.describe_process", process="invoice_aproval")


def test_a_drawing_shows_nested_bodies_and_lets_no_label_out_of_its_quotes() -> None:
    definition = parse_definition(
        """
        format: 1
        process: many
        context: {schema: {type: object, properties: {list: {type: array}, seen: {type: array}}}}
        start: end
        nodes:
          end:
            type: foreach
            title: 'a "quoted" <b>title</b> & more'
            items: {var: list}
            as: item
            body:
              start: look
              nodes: {look: {type: interaction, interaction: look, writes: [seen]}}
            next: [{to: finished, label: 'x"]; click evil'}]
          finished: {type: end}
        """
    )
    drawn = mermaid(definition)
    assert 'end_n["end: a #quot;quoted#quot; #lt;b#gt;title#lt;/b#gt; #amp; more<br/>foreach"]' in drawn
    assert 'subgraph end_n__body_n["for each item"]' in drawn
    assert "end_n -.-> end_n__body_n_look_n" in drawn
    assert 'end_n -- "x#quot;]; click evil" --> finished_n' in drawn
    assert drawn.count("subgraph") == len(re.findall(r"^ +end$", drawn, re.MULTILINE)) == 1


PLAYED = """
format: 1
process: greet
context: {schema: {type: object, properties: {text: {type: string}}}}
start: make
nodes:
  make: {type: tool, tool: content.fetch, writes: [text], next: [{to: ask}]}
  ask:
    type: supervisor
    seat: {roles: [viewer]}
    ask: {title: "Send {{text}}?"}
    decisions: [send, drop]
    deadline: P1D
    on_timeout: {to: end}
    next: [{to: end}]
  end: {type: end}
scenarios:
  - {name: sent, fixtures: {make: {result: hello}, ask: {decision: send}}, expect: {path: [make, ask, end]}}
  - {name: wrong, fixtures: {make: {result: 7}, ask: {decision: send}}}
"""


async def test_scenarios_are_played_with_what_was_wrong_and_what_is_missing(house: House) -> None:
    found = await house.call(WRITER, "process_design.simulate_process", text=PLAYED)
    assert found["passed"] is False
    sent, wrong = found["scenarios"]
    assert (sent["passed"], sent["path"], sent["tasks"]) == (True, ["make", "ask", "end"], ["ask"])
    assert wrong["problems"][0].startswith("the run failed: invalid_output")
    assert found["transitions"]["missing"] == ["/nodes/ask/on_timeout"]
    alone = await house.call(WRITER, "process_design.simulate_process", text=PLAYED, scenario="sent")
    assert alone["passed"] is True
    with pytest.raises(NotFound, match="sent, wrong"):
        await house.call(WRITER, "process_design.simulate_process", text=PLAYED, scenario="other")
