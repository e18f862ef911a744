import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from content.intake import extract
from content.intake.detect import PDF
from content.passages import Passage, cut_passages, estimate_tokens
from content.structure import Block, Box, Cell, Structure, table
from engine.errors import Invalid
from examples.documents.make import contract

words = st.lists(st.text("abcdefgh ÄλZ.,!?;|", min_size=1, max_size=9), min_size=1, max_size=30).map(" ".join)
rows = st.lists(st.lists(words.map(lambda text: Cell(text=text)), min_size=1, max_size=3), min_size=1, max_size=4)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    kind = draw(st.sampled_from(["heading", "paragraph", "list_item", "code", "figure", "table"]))
    text = draw(words)
    if kind == "table" and text.strip():
        return table([[Cell(text=text)], *draw(rows)], header_rows=draw(st.integers(0, 2)))
    if kind == "heading" and text.strip():
        return Block(kind="heading", text=text.strip(), level=draw(st.integers(1, 6)))
    return Block(kind="code", text=text.strip()) if kind == "code" else Block(kind="paragraph", text=text.strip())


structures = st.lists(blocks(), max_size=8).map(Structure.build)


def covered(structure: Structure, passages: list[Passage]) -> str:
    """Return what of the text lies in no passage."""
    left = list(structure.text)
    for passage in passages:
        for position in range(passage.start, passage.end):
            assert left[position] != "", "two passages overlap"
            left[position] = ""
    return "".join(left)


@settings(deadline=None, max_examples=60)
@given(structures, st.integers(1, 60), st.integers(0, 40))
def test_passages_are_exact_slices_that_hold_all_text_once(structure: Structure, target: int, more: int):
    passages = cut_passages(structure, target_tokens=target, max_tokens=target + more)
    for order, passage in enumerate(passages):
        assert passage.order == order
        assert passage.text == structure.text[passage.start : passage.end]
        assert passage.text.strip()
    assert [passage.start for passage in passages] == sorted(passage.start for passage in passages)
    assert set(covered(structure, passages)) <= {" ", "\n", "|"}


@settings(deadline=None, max_examples=60)
@given(structures, st.integers(1, 60))
def test_no_passage_crosses_a_section_or_cuts_a_cell(structure: Structure, target: int):
    for passage in cut_passages(structure, target_tokens=target, max_tokens=target):
        run = structure.blocks[passage.first_block : passage.last_block + 1]
        kinds = [block.kind for block in run if block.text]
        assert "heading" not in kinds[next((n for n, kind in enumerate(kinds) if kind != "heading"), len(kinds)) :]
        own = structure.heading_path(passage.last_block)
        assert passage.heading_path[: len(own)] == own
        for cell in (cell for block in run for row in block.rows for cell in row):
            inside = passage.start <= cell.start and cell.end <= passage.end
            outside = cell.end <= passage.start or passage.end <= cell.start
            assert inside or outside


@settings(deadline=None, max_examples=60)
@given(structures)
def test_a_passage_is_larger_than_the_maximum_only_where_nothing_can_be_cut(structure: Structure):
    for passage in cut_passages(structure, target_tokens=20, max_tokens=30):
        if estimate_tokens(passage.text) > 30:
            run = structure.blocks[passage.first_block : passage.last_block + 1]
            cells = {cell.text for block in run for row in block.rows for cell in row}
            assert passage.text in cells


def test_headings_lead_the_text_below_them_and_are_its_path():
    structure = Structure.build(
        [
            Block(kind="heading", text="Title", level=1),
            Block(kind="heading", text="First", level=2),
            Block(kind="paragraph", text="One."),
            Block(kind="heading", text="Second", level=2),
            Block(kind="paragraph", text="Two."),
            Block(kind="heading", text="Reserved", level=2),
            Block(kind="heading", text="End", level=1),
        ]
    )
    found = [(passage.heading_path, passage.text) for passage in cut_passages(structure)]
    assert found == [
        (("Title", "First"), "Title\n\nFirst\n\nOne."),
        (("Title", "Second"), "Second\n\nTwo."),
        (("Title", "Reserved"), "Reserved"),
        (("End",), "End"),
    ]


def test_a_long_table_repeats_its_header_beside_the_later_rows():
    rows = [[Cell(text="Item"), Cell(text="Price")]]
    rows += [[Cell(text=f"NI-{n}"), Cell(text=f"{n}.50")] for n in range(100, 160)]
    passages = cut_passages(Structure.build([table(rows, header_rows=1)]), target_tokens=60, max_tokens=80)
    assert len(passages) > 3
    assert passages[0].table_header == ""
    assert passages[0].text.startswith("Item | Price\nNI-100 | 100.50\n")
    assert {passage.table_header for passage in passages[1:]} == {"Item | Price"}
    assert passages[1].indexed_text.startswith("Item | Price\nNI-")
    assert all("NI" in line for passage in passages[1:] for line in passage.text.splitlines())


def test_a_long_paragraph_is_cut_at_sentences():
    text = " ".join(f"Sentence number {n} says a little about the price." for n in range(40))
    passages = cut_passages(Structure.build([Block(kind="paragraph", text=text)]), target_tokens=60, max_tokens=80)
    assert len(passages) > 4
    assert all(passage.text.startswith("Sentence") and passage.text.endswith("price.") for passage in passages)
    assert all(30 < estimate_tokens(passage.text) <= 80 for passage in passages[:-1])


def test_a_passage_has_the_places_of_its_blocks_and_an_anchor():
    structure = Structure.build(
        [
            Block(kind="paragraph", text="left", boxes=(Box(page=2, x0=10, y0=10, x1=90, y1=20),)),
            Block(kind="paragraph", text="below", boxes=(Box(page=2, x0=10, y0=30, x1=80, y1=40.5),)),
            Block(kind="paragraph", text="right", boxes=(Box(page=2, x0=100, y0=10, x1=190, y1=20),)),
        ]
    )
    (passage,) = cut_passages(structure)
    assert [str(passage.anchor("doc", 3)), len(passage.boxes)] == ["doc@3#2:10,10,90,40.5;0-18", 2]


def test_the_price_of_the_calibration_is_in_one_passage_with_its_section():
    structure = extract(contract(), PDF)
    (found,) = (passage for passage in cut_passages(structure) if "NI-900" in passage.text)
    assert "Calibration service | day | 640.00" in found.text
    assert found.heading_path == ("Supplier Framework Agreement", "3. Prices")
    assert found.page is not None


def test_impossible_sizes_are_refused():
    with pytest.raises(Invalid, match="target_tokens"):
        cut_passages(Structure.build([]), target_tokens=50, max_tokens=20)
