"""What a file says: blocks in reading order with the place each was read from, and the anchors that cite them.

Lengths are PDF points (1/72 inch), the origin of a page is its top left corner, pages count from 1. Character
offsets count Unicode code points in `Structure.text`, the canonical plain text every quote is checked against.
"""

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.errors import Invalid

BlockKind = Literal["heading", "paragraph", "list_item", "table", "figure", "caption", "code", "formula", "footnote"]

CELL_SEPARATOR = " | "
BLOCK_SEPARATOR = "\n\n"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Box(_Value):
    """A rectangle on one page in points from the top left corner; `x0 <= x1`, `y0 <= y1`."""

    page: int = Field(ge=1)
    x0: float
    y0: float
    x1: float
    y1: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.x0 > self.x1 or self.y0 > self.y1:
            raise ValueError("a box runs from its top left (x0, y0) to its bottom right (x1, y1)")
        return self


def enclose(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """Join boxes that follow each other in one column of a page: fewer boxes, in the same order."""
    joined: list[Box] = []
    for box in boxes:
        last = joined[-1] if joined else None
        if last is None or last.page != box.page or last.x0 >= box.x1 or box.x0 >= last.x1:
            joined.append(box)
            continue
        joined[-1] = Box(
            page=box.page,
            x0=min(last.x0, box.x0),
            y0=min(last.y0, box.y0),
            x1=max(last.x1, box.x1),
            y1=max(last.y1, box.y1),
        )
    return tuple(joined)


class Cell(_Value):
    """One cell of a table: its text on one line, its span in `Structure.text`, its box where the file has pages."""

    text: str
    start: int = 0
    end: int = 0
    box: Box | None = None


class Block(_Value):
    """One block of a document.

    `level` is 1 to 6 for a heading and the depth from 1 for a list item; `marker` is the list item's own marker
    ("-", "3."). A table has `rows` of cells, the first `header_rows` of them being its header, and its `text` is
    those rows line by line. `start` and `end` are the span of `text` in `Structure.text`; `order` is the position in
    reading order. `language` is the hint of a code block.
    """

    kind: BlockKind
    text: str
    order: int = 0
    start: int = 0
    end: int = 0
    level: int | None = None
    marker: str | None = None
    language: str | None = None
    rows: tuple[tuple[Cell, ...], ...] = ()
    header_rows: int = 0
    boxes: tuple[Box, ...] = ()

    def markdown(self) -> str:
        """Return the block as CommonMark (tables in the pipe syntax)."""
        match self.kind:
            case "heading":
                return f"{'#' * (self.level or 1)} {_one_line(self.text)}"
            case "list_item":
                indent = "    " * ((self.level or 1) - 1)
                return f"{indent}{self.marker or '-'} {_one_line(self.text)}"
            case "table":
                return _table_markdown(self)
            case "code":
                fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", self.text)), default=0))
                return f"{fence}{self.language or ''}\n{self.text}\n{fence}"
            case "figure":
                return f"![{_one_line(self.text)}]()"
            case "caption":
                return f"*{_one_line(self.text)}*"
            case _:
                return self.text


def table(
    rows: Iterable[Iterable[Cell]], *, header_rows: int = 0, boxes: tuple[Box, ...] = (), language: str | None = None
) -> Block:
    """Build a table block: cells on one line each, rows padded to the same length, spans relative to the block.

    A row without any text is dropped. Raises `Invalid` when nothing is left.
    """
    kept: list[list[Cell]] = []
    header = 0
    for index, row in enumerate(rows):
        cells = [cell.model_copy(update={"text": _one_line(cell.text)}) for cell in row]
        if any(cell.text for cell in cells):
            kept.append(cells)
            header += index < header_rows
    if not kept:
        raise Invalid("A table needs at least one cell with text.")
    width = max(len(row) for row in kept)
    lines: list[str] = []
    placed: list[tuple[Cell, ...]] = []
    start = 0
    for row in kept:
        cells: list[Cell] = []
        at = start
        for cell in [*row, *(Cell(text="") for _ in range(width - len(row)))]:
            cells.append(cell.model_copy(update={"start": at, "end": at + len(cell.text)}))
            at += len(cell.text) + len(CELL_SEPARATOR)
        line = CELL_SEPARATOR.join(cell.text for cell in cells)
        lines.append(line)
        placed.append(tuple(cells))
        start += len(line) + 1
    text = "\n".join(lines)
    return Block(
        kind="table", text=text, rows=tuple(placed), header_rows=header, boxes=boxes, language=language, end=len(text)
    )


class Page(_Value):
    """One page: its number from 1, its size in points, whether it was read by OCR, how sure the reading is (0-1)."""

    number: int = Field(ge=1)
    width: float
    height: float
    ocr: bool = False
    confidence: float = Field(default=1.0, ge=0, le=1)


class Structure(_Value):
    """Everything read from one version of a file. Build it with `Structure.build`, which lays out the offsets.

    `needs_review` is true exactly when there are `reasons`: sentences for the person who decides whether the reading
    can be trusted. Files without pages (Markdown, HTML, text) have no pages and no boxes.
    """

    blocks: tuple[Block, ...]
    pages: tuple[Page, ...] = ()
    title: str | None = None
    language: str | None = None
    reasons: tuple[str, ...] = ()

    @classmethod
    def build(
        cls,
        blocks: Iterable[Block],
        *,
        pages: Iterable[Page] = (),
        title: str | None = None,
        language: str | None = None,
        reasons: Iterable[str] = (),
    ) -> Self:
        """Lay out `blocks` one after the other, moving their spans and those of their cells."""
        placed: list[Block] = []
        previous: Block | None = None
        at = 0
        for order, block in enumerate(blocks):
            if block.text:
                at += len(_separator(previous, block))
                previous = block
            shift = at - block.start
            rows = tuple(
                tuple(cell.model_copy(update={"start": cell.start + shift, "end": cell.end + shift}) for cell in row)
                for row in block.rows
            )
            end = at + len(block.text)
            placed.append(block.model_copy(update={"order": order, "start": at, "end": end, "rows": rows}))
            at = end
        return cls(blocks=tuple(placed), pages=tuple(pages), title=title, language=language, reasons=tuple(reasons))

    @model_validator(mode="after")
    def _laid_out(self) -> Self:
        text = self.text
        for order, block in enumerate(self.blocks):
            if block.order != order or text[block.start : block.end] != block.text:
                raise ValueError(f"block {order} is not laid out; use Structure.build")
            for cell in (cell for row in block.rows for cell in row):
                if text[cell.start : cell.end] != cell.text:
                    raise ValueError(f"a cell of block {order} is not laid out; use Structure.build")
        return self

    @cached_property
    def text(self) -> str:
        """The canonical plain text: blocks in reading order, list items on following lines, table rows as lines."""
        parts: list[str] = []
        previous: Block | None = None
        for block in self.blocks:
            if block.text:
                parts += [_separator(previous, block), block.text]
                previous = block
        return "".join(parts)

    @property
    def needs_review(self) -> bool:
        """Whether a person should compare the reading with the file, see `reasons`."""
        return bool(self.reasons)

    def markdown(self) -> str:
        """Return the whole document as CommonMark."""
        parts: list[str] = []
        previous: Block | None = None
        for block in self.blocks:
            parts += [_separator(previous, block), block.markdown()]
            previous = block
        return "".join(parts) + ("\n" if parts else "")

    def locate(self, start: int, end: int) -> tuple[Box, ...]:
        """Return where the text span `[start, end)` lies: the boxes of the cells or, elsewhere, blocks it touches."""
        boxes: list[Box] = []
        for block in self.blocks:
            if block.start >= end or block.end <= start or block.start == block.end:
                continue
            cells = [cell for row in block.rows for cell in row if cell.start < end and cell.end > start]
            found = [cell.box for cell in cells if cell.box]
            boxes += found or block.boxes
        return tuple(boxes)

    def heading_path(self, order: int) -> tuple[str, ...]:
        """Return the headings above the block at `order`, outermost first; a heading is on its own path."""
        path: list[tuple[int, str]] = []
        for block in self.blocks[: order + 1]:
            if block.kind == "heading":
                level = block.level or 1
                path = [entry for entry in path if entry[0] < level]
                path.append((level, _one_line(block.text)))
        return tuple(text for _, text in path)


class Anchor(_Value):
    """A place in one version of an object: `object@version#page:x0,y0,x1,y1;start-end`.

    Each part of the fragment may be missing: `a1@2`, `a1@2#3`, `a1@2#3:72,90,300,104.5`, `a1@2#;120-180`. The span is
    in characters of `Structure.text`. `str(anchor)` and `Anchor.parse` are inverse; box corners are kept to 0.01 pt.
    """

    object_id: str = Field(pattern=r"^[^@#;\s]+$")
    version: int = Field(ge=1)
    page: int | None = Field(default=None, ge=1)
    box: Box | None = None
    span: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.box and self.box.page != self.page:
            raise ValueError(f"the box lies on page {self.box.page}, the anchor names page {self.page}")
        if self.span and not 0 <= self.span[0] <= self.span[1]:
            raise ValueError(f"the span {self.span} does not run forward from 0")
        return self

    def __str__(self) -> str:
        fragment = "" if self.page is None else str(self.page)
        if self.box:
            fragment += ":" + ",".join(_number(n) for n in (self.box.x0, self.box.y0, self.box.x1, self.box.y1))
        if self.span:
            fragment += f";{self.span[0]}-{self.span[1]}"
        return f"{self.object_id}@{self.version}" + (f"#{fragment}" if fragment else "")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an anchor as written by `str`. Raises `Invalid` for anything else."""
        match = _ANCHOR.fullmatch(text)
        if match is None:
            raise Invalid(f"{text!r} is no anchor; it reads object@version#page:x0,y0,x1,y1;start-end.", anchor=text)
        page = int(match["page"]) if match["page"] else None
        span = (int(match["start"]), int(match["end"])) if match["start"] else None
        try:
            box = None
            if match["box"]:
                x0, y0, x1, y1 = (float(corner) for corner in match["box"].split(","))
                box = Box(page=int(match["page"]), x0=x0, y0=y0, x1=x1, y1=y1)
            return cls(object_id=match["object"], version=int(match["version"]), page=page, box=box, span=span)
        except ValueError as error:
            raise Invalid(f"{text!r} is no anchor: its numbers contradict each other.", anchor=text) from error


_ANCHOR = re.compile(
    r"(?P<object>[^@#;\s]+)@(?P<version>\d{1,9})"
    r"(?:#(?=.)(?:(?P<page>\d{1,9})(?::(?P<box>-?\d+(?:\.\d+)?(?:,-?\d+(?:\.\d+)?){3}))?)?"
    r"(?:;(?P<start>\d{1,12})-(?P<end>\d{1,12}))?)?",
    re.ASCII,
)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _separator(previous: Block | None, block: Block) -> str:
    if previous is None:
        return ""
    return "\n" if previous.kind == block.kind == "list_item" else BLOCK_SEPARATOR


def _table_markdown(block: Block) -> str:
    lines = ["| " + " | ".join(cell.text.replace("|", "\\|") for cell in row) + " |" for row in block.rows]
    rule = "|" + " --- |" * len(block.rows[0])
    if block.header_rows:
        return "\n".join([*lines[: block.header_rows], rule, *lines[block.header_rows :]])
    return "\n".join(["|" + "  |" * len(block.rows[0]), rule, *lines])
