"""Cutting a structure into passages: what is indexed, found and quoted.

A passage is a slice of `Structure.text`, so that a quote from it can be checked letter by letter. What a reader needs
to understand the slice, the headings above it and the header of a table cut into several, stands beside it.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from pydantic import BaseModel, ConfigDict, Field

from content.structure import CELL_SEPARATOR, Anchor, Block, Box, Cell, Structure, enclose
from engine.errors import Invalid

_PIECES = re.compile(r"[A-Za-z0-9]{1,6}|[^\sA-Za-z0-9]")
_SENTENCE_END = re.compile(r"(?<=[.!?;:])[\"')\]]*\s+|\n+")
_SPACE = re.compile(r"\s+")


class Passage(BaseModel):
    """A run of blocks of one section, or a part of one block.

    `text` is `Structure.text[start:end]`. `first_block` and `last_block` are positions in `Structure.blocks`, both
    inclusive. `table_header` is the header row of a table when the passage holds only later rows of it, else empty.
    `boxes` enclose the passage, one for each column of a page it touches, in reading order; files without pages have
    none.
    """

    model_config = ConfigDict(frozen=True)

    order: int = Field(ge=0)
    text: str
    start: int
    end: int
    heading_path: tuple[str, ...] = ()
    table_header: str = ""
    first_block: int
    last_block: int
    boxes: tuple[Box, ...] = ()

    @property
    def page(self) -> int | None:
        """The page the passage begins on."""
        return self.boxes[0].page if self.boxes else None

    @property
    def indexed_text(self) -> str:
        """The text with its context, for the indexes: headings, table header, passage."""
        heading = " > ".join(self.heading_path)
        return "\n".join(part for part in (heading, self.table_header, self.text) if part)

    def anchor(self, object_id: str, version: int) -> Anchor:
        """Return where the passage stands in a version of an object."""
        box = self.boxes[0] if self.boxes else None
        return Anchor(object_id=object_id, version=version, page=self.page, box=box, span=(self.start, self.end))


@dataclass(frozen=True)
class _Piece:
    """A part of one block that is never cut: a span in the text, its size in tokens, the cells it consists of."""

    block: Block
    start: int
    end: int
    tokens: int
    cells: tuple[Cell, ...] = ()


def estimate_tokens(text: str) -> int:
    """Return about how many word pieces a subword tokenizer makes of `text`; no tokenizer is loaded for it."""
    return sum(1 for _ in _PIECES.finditer(text))


def cut_passages(
    structure: Structure,
    *,
    target_tokens: int = 180,
    max_tokens: int = 220,
    count: Callable[[str], int] = estimate_tokens,
) -> list[Passage]:
    """Cut `structure` into passages of about `target_tokens`, in reading order; together they hold all of its text.

    A passage never crosses into another section; a heading and those directly below it lead the first passage. A
    block is cut only when it alone exceeds `max_tokens`: a text at sentences, then at spaces, a table at rows, then
    between cells. A word or a cell longer than `max_tokens` stays whole. Raises `Invalid` for impossible sizes.
    """
    if not 0 < target_tokens <= max_tokens:
        raise Invalid(f"Passages need 0 < target_tokens <= max_tokens, not {target_tokens} and {max_tokens}.")
    passages: list[Passage] = []
    for path, section in _sections(structure.blocks):
        pieces = (_pieces(block, structure.text, max_tokens, count) for block in section)
        for run in _runs(chain.from_iterable(pieces), target_tokens, max_tokens):
            passages.append(_passage(structure, len(passages), path, run))
    return passages


def _sections(blocks: Iterable[Block]) -> Iterator[tuple[tuple[str, ...], list[Block]]]:
    """Yield the path of each section with its blocks, led by its headings; blocks without text are left out."""
    path: list[tuple[int, str]] = []
    section: list[Block] = []
    for block in blocks:
        if not block.text:
            continue
        if block.kind == "heading":
            level = block.level or 1
            if section and (section[-1].kind != "heading" or level <= path[-1][0]):
                yield tuple(text for _, text in path), section
                section = []
            path = [entry for entry in path if entry[0] < level]
            path.append((level, " ".join(block.text.split())))
        section.append(block)
    if section:
        yield tuple(text for _, text in path), section


def _pieces(block: Block, text: str, max_tokens: int, count: Callable[[str], int]) -> Iterator[_Piece]:
    whole = _Piece(block, block.start, block.end, count(block.text), tuple(cell for row in block.rows for cell in row))
    if whole.tokens <= max_tokens:
        yield whole
    elif block.rows:
        for row in block.rows:
            yield from _row_pieces(block, row, text, max_tokens, count)
    else:
        for start, end in _split(text, block.start, block.end, _SENTENCE_END):
            tokens = count(text[start:end])
            if tokens <= max_tokens:
                yield _Piece(block, start, end, tokens)
                continue
            for first, last in _split(text, start, end, _SPACE):
                yield _Piece(block, first, last, count(text[first:last]))


def _row_pieces(
    block: Block, row: tuple[Cell, ...], text: str, max_tokens: int, count: Callable[[str], int]
) -> Iterator[_Piece]:
    tokens = count(text[row[0].start : row[-1].end])
    if tokens <= max_tokens:
        yield _Piece(block, row[0].start, row[-1].end, tokens, row)
        return
    for cell in row:
        if cell.text:
            yield _Piece(block, cell.start, cell.end, count(cell.text) + count(CELL_SEPARATOR), (cell,))


def _split(text: str, start: int, end: int, gap: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Yield the spans between the gaps; together they hold everything but the blank space of the gaps."""
    for match in gap.finditer(text, start, end):
        cut = match.start() + len(match[0].rstrip())
        if cut > start:
            yield start, cut
        start = match.end()
    if start < end:
        yield start, end


def _runs(pieces: Iterable[_Piece], target_tokens: int, max_tokens: int) -> Iterator[list[_Piece]]:
    """Group pieces: close a run that would exceed the target, unless it is still small and the maximum allows it."""
    run: list[_Piece] = []
    tokens = 0
    for piece in pieces:
        total = tokens + piece.tokens
        fits = total <= target_tokens or (total <= max_tokens and 2 * tokens < target_tokens)
        # A heading or a caption says what follows; it is not left behind alone.
        leads = all(earlier.block.kind in ("heading", "caption") for earlier in run) and total <= max_tokens
        if run and not fits and not leads:
            yield run
            run, tokens = [], 0
        run.append(piece)
        tokens += piece.tokens
    if run:
        yield run


def _passage(structure: Structure, order: int, path: tuple[str, ...], run: list[_Piece]) -> Passage:
    start, end = run[0].start, run[-1].end
    boxes: list[Box] = []
    for piece in run:
        boxes += [cell.box for cell in piece.cells if cell.box] or piece.block.boxes
    return Passage(
        order=order,
        text=structure.text[start:end],
        start=start,
        end=end,
        heading_path=path,
        table_header=_header_above(structure, run[0]),
        first_block=run[0].block.order,
        last_block=run[-1].block.order,
        boxes=enclose(boxes),
    )


def _header_above(structure: Structure, piece: _Piece) -> str:
    """Return the header rows of the table a passage continues, or nothing."""
    block = piece.block
    if not block.header_rows or piece.start < block.rows[block.header_rows - 1][-1].end:
        return ""
    return structure.text[block.start : block.rows[block.header_rows - 1][-1].end]
