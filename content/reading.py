"""Reading what was read: the text of a version by section, page, table or range, and the exact text at an anchor."""

import asyncio
from collections import OrderedDict

from content.blobs import Blobs
from content.records import ContentObject, Reading, fit
from content.structure import Anchor, Block, Structure
from engine.errors import Invalid, NotFound

_KEPT_STRUCTURES = 16


class Structures:
    """Structures by digest, the last few kept in memory; which ones may be read is the caller's business."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._kept: OrderedDict[tuple[str, str], Structure] = OrderedDict()

    async def load(self, tenant: str, digest: str) -> Structure:
        """Return the structure of this digest."""
        key = (tenant, digest)
        found = self._kept.get(key)
        if found is None:
            data = await self._blobs.get(tenant, digest)
            found = await asyncio.to_thread(Structure.model_validate_json, data)
            self._kept[key] = found
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT_STRUCTURES:
            self._kept.popitem(last=False)
        return found

    def forget(self, tenant: str) -> None:
        """Keep nothing of the tenant in memory, after something of it was erased."""
        for key in [key for key in self._kept if key[0] == tenant]:
            del self._kept[key]


def span_of(structure: Structure, anchor: Anchor) -> tuple[int, int]:
    """Return the characters an anchor means: its span, else what lies in its box, else its page, else everything.

    Raises:
        NotFound: the text ends before the span does, or nothing lies in the box or on the page.
    """
    total = len(structure.text)
    if anchor.span is not None:
        if anchor.span[1] > total:
            raise NotFound(
                f"{anchor} lies beyond the end of the text, which has {total} characters", anchor=str(anchor)
            )
        return anchor.span
    if anchor.page is None:
        return 0, total
    spans: list[tuple[int, int]] = []
    for block in structure.blocks:
        spans += _inside(block, anchor)
    if not spans:
        raise NotFound(f"no text lies at {anchor}", anchor=str(anchor))
    return min(start for start, _ in spans), max(end for _, end in spans)


def _inside(block: Block, anchor: Anchor) -> list[tuple[int, int]]:
    cells = [cell for row in block.rows for cell in row if cell.box is not None and cell.text]
    places = [((cell.start, cell.end), (cell.box,)) for cell in cells if cell.box is not None]
    places = places or [((block.start, block.end), block.boxes)]
    found: list[tuple[int, int]] = []
    for span, boxes in places:
        for box in boxes:
            middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
            area = anchor.box
            if box.page == anchor.page and (
                area is None or (area.x0 <= middle[0] <= area.x1 and area.y0 <= middle[1] <= area.y1)
            ):
                found.append(span)
    return found


def section_span(structure: Structure, section: str) -> tuple[int, int]:
    """Return the characters of a section with those below it, by its heading or its path (`Terms > Payment`).

    Raises:
        NotFound: there is no such heading; the message lists what there is.
    """
    wanted = _folded(section)
    headings = [block for block in structure.blocks if block.kind == "heading" and block.text]
    for exact in (True, False):
        for position, block in enumerate(headings):
            path = [_folded(name) for name in structure.heading_path(block.order)]
            if (" > ".join(path) if exact else path[-1]) != wanted:
                continue
            below = (later for later in headings[position + 1 :] if (later.level or 1) <= (block.level or 1))
            following = next(below, None)
            end = len(structure.text) if following is None else following.start
            return block.start, block.start + len(structure.text[block.start : end].rstrip())
    known = [" > ".join(structure.heading_path(block.order)) for block in headings[:40]]
    raise NotFound(f"no section {section!r}; there are: {'; '.join(known) or 'none'}", section=section, sections=known)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def table_span(structure: Structure, number: int) -> tuple[int, int]:
    """Return the characters of the table of this number, counted from 1 through the whole document."""
    tables = [block for block in structure.blocks if block.kind == "table"]
    if not 1 <= number <= len(tables):
        raise NotFound(f"no table {number}; there are {len(tables)}", table=number)
    return tables[number - 1].start, tables[number - 1].end


def wanted_span(
    structure: Structure,
    anchor: Anchor,
    *,
    section: str | None = None,
    page: int | None = None,
    table: int | None = None,
    start: int | None = None,
    end: int | None = None,
) -> tuple[int, int]:
    """Return the characters that one of the ways to name a part means; none of them means the anchor itself."""
    ways = [section is not None, page is not None, table is not None, start is not None or end is not None]
    if sum(ways) > 1:
        raise Invalid("name the part in one way: by section, by page, by table or by start and end")
    if section is not None:
        return section_span(structure, section)
    if table is not None:
        return table_span(structure, table)
    if page is not None:
        return span_of(structure, Anchor(object_id=anchor.object_id, version=anchor.version, page=page))
    if start is not None or end is not None:
        total = len(structure.text)
        first, last = start or 0, total if end is None else min(end, total)
        if not 0 <= first <= last:
            raise Invalid(f"the range {first} to {last} does not run forward within 0 to {total}", total=total)
        return first, last
    return span_of(structure, anchor)


def cut_reading(item: ContentObject, structure: Structure, span: tuple[int, int], tokens: int) -> Reading:
    """Return the text of the span as far as the budget goes, with an anchor for exactly that."""
    if tokens < 1:
        raise Invalid(f"a budget of {tokens} tokens holds no text; give at least 1", tokens=tokens)
    start, last = span
    end = start + fit(structure.text[start:last], tokens)
    boxes = structure.locate(start, end)
    anchor = Anchor(
        object_id=item.object_id,
        version=item.version.number,
        page=boxes[0].page if boxes else None,
        span=(start, end),
    )
    return Reading(
        text=structure.text[start:end],
        anchor=str(anchor),
        name=item.name,
        start=start,
        end=end,
        total=len(structure.text),
        next_start=end if end < last else None,
    )
