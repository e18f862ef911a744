import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from content.structure import Anchor, Block, Box, Cell, Page, Structure, enclose, table
from engine.errors import Invalid


def box(page: int = 1, x0: float = 0, y0: float = 0, x1: float = 10, y1: float = 10) -> Box:
    return Box(page=page, x0=x0, y0=y0, x1=x1, y1=y1)


def sample() -> Structure:
    rows = [
        [Cell(text="Item", box=box(2, 0, 0, 5, 5)), Cell(text="Price", box=box(2, 5, 0, 10, 5))],
        [Cell(text="a | b", box=box(2, 0, 5, 5, 10)), Cell(text=" 4\n50 ", box=box(2, 5, 5, 10, 10))],
        [Cell(text="short")],
    ]
    return Structure.build(
        [
            Block(kind="heading", text="Title", level=1, boxes=(box(),)),
            Block(kind="list_item", text="one", level=1, marker="-"),
            Block(kind="list_item", text="two", level=2, marker="1."),
            Block(kind="figure", text="", boxes=(box(2),)),
            table(rows, header_rows=1, boxes=(box(2),)),
            Block(kind="code", text="x = '```'", language="python"),
            Block(kind="heading", text="Next", level=2),
            Block(kind="caption", text="Table 1: End"),
        ],
        pages=[Page(number=1, width=595, height=842), Page(number=2, width=595, height=842, ocr=True, confidence=0.9)],
    )


def test_each_block_and_cell_is_its_span_of_the_text():
    structure = sample()
    assert structure.text == (
        "Title\n\none\ntwo\n\nItem | Price\na | b | 4 50\nshort | \n\nx = '```'\n\nNext\n\nTable 1: End"
    )
    for block in structure.blocks:
        assert structure.text[block.start : block.end] == block.text
        for cell in (cell for row in block.rows for cell in row):
            assert structure.text[cell.start : cell.end] == cell.text
    assert [len(row) for row in structure.blocks[4].rows] == [2, 2, 2]


def test_a_structure_survives_json():
    structure = sample()
    assert Structure.model_validate_json(structure.model_dump_json()) == structure


def test_a_structure_with_wrong_offsets_is_refused():
    with pytest.raises(ValidationError, match=re.escape("Structure.build")):
        Structure(blocks=(Block(kind="paragraph", text="abc", start=1, end=4),))


def test_markdown_shows_levels_tables_and_code():
    assert sample().markdown() == (
        "# Title\n\n- one\n    1. two\n\n![]()\n\n"
        "| Item | Price |\n| --- | --- |\n| a \\| b | 4 50 |\n| short |  |\n\n"
        "````python\nx = '```'\n````\n\n## Next\n\n*Table 1: End*\n"
    )


def test_a_span_is_located_in_the_cells_or_blocks_it_touches():
    structure = sample()
    price = structure.text.index("4 50")
    assert structure.locate(price, price + 4) == (box(2, 5, 5, 10, 10),)
    assert structure.locate(0, 5) == (box(),)
    assert structure.locate(0, structure.text.index("Price")) == (box(), box(2, 0, 0, 5, 5))


def test_the_heading_path_leads_from_the_outermost_heading_to_the_block():
    structure = sample()
    assert structure.heading_path(1) == ("Title",)
    assert structure.heading_path(7) == ("Title", "Next")


def test_reasons_make_a_structure_need_review():
    assert not sample().needs_review
    assert Structure.build([], reasons=["No text was found."]).needs_review


def test_a_table_without_text_is_refused_and_empty_rows_are_dropped():
    with pytest.raises(Invalid, match="at least one cell"):
        table([[Cell(text=" ")]])
    kept = table([[Cell(text="")], [Cell(text="a")], [Cell(text="b")]], header_rows=2)
    assert [row[0].text for row in kept.rows] == ["a", "b"]
    assert kept.header_rows == 1


def test_boxes_of_one_column_are_joined_and_columns_are_kept_apart():
    left, below, right, later = box(), box(1, 0, 20, 12, 30), box(1, 50, 0, 60, 10), box(2)
    assert enclose([left, below, right, later]) == (box(1, 0, 0, 12, 30), right, later)


@pytest.mark.parametrize(
    "text",
    [
        "contract@2",
        "contract@2#3",
        "contract@2#3:72,90,300,104.5",
        "a/b.c@12#;120-180",
        "a@1#2:0,0,1,1;0-9",
        "a@1#2;0-9",
    ],
)
def test_an_anchor_is_written_as_it_was_read(text: str):
    assert str(Anchor.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "contract", "contract@0", "@1", "a b@1", "a@1#", "a@1#0", "a@1#:1,2,3,4", "a@1#2:9,0,1,1", "a@1#;9-3", "a@x"],
)
def test_what_is_no_anchor_is_refused_with_the_form_expected(text: str):
    with pytest.raises(Invalid, match="anchor"):
        Anchor.parse(text)


_corner = st.integers(0, 100_000).map(lambda hundredths: hundredths / 100)


@st.composite
def _boxes(draw: st.DrawFn) -> Box:
    x, y = sorted((draw(_corner), draw(_corner))), sorted((draw(_corner), draw(_corner)))
    return Box(page=draw(st.integers(1, 500)), x0=x[0], y0=y[0], x1=x[1], y1=y[1])


_ids = st.text(st.characters(exclude_characters="@#;", exclude_categories=["Z", "C"]), min_size=1, max_size=20)
_spans = st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)).map(lambda pair: (min(pair), max(pair)))


@given(_ids, st.integers(1, 10**6), st.none() | _boxes(), st.none() | st.integers(1, 500), st.none() | _spans)
def test_writing_and_reading_an_anchor_are_inverse(
    object_id: str, version: int, place: Box | None, page: int | None, span: tuple[int, int] | None
):
    anchor = Anchor(object_id=object_id, version=version, page=place.page if place else page, box=place, span=span)
    assert Anchor.parse(str(anchor)) == anchor


def test_an_anchor_whose_box_is_on_another_page_is_refused():
    with pytest.raises(ValidationError, match="page 2"):
        Anchor(object_id="a", version=1, page=1, box=box(2))
