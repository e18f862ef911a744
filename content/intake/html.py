"""HTML: headings, paragraphs, lists, tables, code and figures of what a reader of the page would see.

Scripts, styles, forms' machinery and hidden elements are dropped: text that no reader sees must not reach an agent.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode

from content.intake.detect import Limits, decode
from content.intake.text import encoding_reasons
from content.structure import Block, BlockKind, Cell, Structure, table

_DROPPED = {
    *("head", "script", "style", "noscript", "template", "svg", "math", "iframe", "object", "embed", "canvas"),
    *("audio", "video", "select", "datalist", "dialog"),
}
_BREAKING = {
    *("address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt", "fieldset"),
    *("figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "legend"),
    *("li", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "ul", "caption", "tr", "td", "th"),
}
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_HIDING_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_MAX_SPAN = 100


def extract(data: bytes, mime: str, limits: Limits) -> Structure:
    """Read an HTML document or fragment; its title is the `title` element, else the first heading."""
    text, encoding = decode(data)
    tree = LexborHTMLParser(text)
    blocks = read_tree(tree)
    title_node = tree.css_first("head > title")
    root = tree.css_first("html")
    title = " ".join(title_node.text().split()) if title_node else ""
    title = title or next((block.text for block in blocks if block.kind == "heading"), "")
    language = (root.attributes.get("lang") if root else None) or None
    reasons = encoding_reasons(encoding)
    if not blocks:
        reasons = (*reasons, "The page shows no text without running its scripts.")
    return Structure.build(blocks, title=title or None, language=language, reasons=reasons)


def blocks_of(html: str) -> list[Block]:
    """Return the blocks of an HTML fragment, as it may stand in a Markdown document."""
    return read_tree(LexborHTMLParser(html))


@dataclass
class _Reading:
    """The block under construction while the tree is walked."""

    blocks: list[Block] = field(default_factory=list[Block])
    words: list[str] = field(default_factory=list[str])
    lists: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    kinds: list[tuple[BlockKind, int | None]] = field(default_factory=list[tuple[BlockKind, int | None]])
    marker: str | None = None

    def flush(self) -> None:
        """Close the current block; text outside of any named element is a paragraph."""
        text = " ".join("".join(self.words).split())
        self.words.clear()
        if not text:
            return
        kind, level = self.kinds[-1] if self.kinds else ("paragraph", None)
        if kind == "list_item" and self.marker is None:
            # The second paragraph of an item continues it without a marker of its own.
            kind, level = "paragraph", None
        self.blocks.append(Block(kind=kind, text=text, level=level, marker=self.marker))
        self.marker = None


def read_tree(tree: LexborHTMLParser) -> list[Block]:
    """Return the visible blocks of a parsed document in document order. The walk does not recurse."""
    reading = _Reading()
    node = tree.body
    root = node
    while node is not None:
        entered = _enter(node, reading)
        if entered and node.first_child is not None:
            node = node.first_child
            continue
        while node is not None:
            if entered:
                _leave(node, reading)
            if root is None or node.mem_id == root.mem_id:
                node = None
            elif node.next is not None:
                node = node.next
                break
            else:
                node, entered = node.parent, True
    reading.flush()
    return reading.blocks


def _enter(node: LexborNode, reading: _Reading) -> bool:
    """Take up `node`; return whether its children are to be walked."""
    tag = node.tag or ""
    if tag == "-text":
        reading.words.append(node.text(deep=False))
        return False
    if tag.startswith("-") or tag in _DROPPED or _hidden(node):
        return False
    if tag in _BREAKING:
        reading.flush()
    if tag == "br":
        reading.words.append(" ")
    elif tag == "img":
        _figure(node, reading)
    elif tag == "pre":
        _code(node, reading)
        return False
    elif tag == "table" and not _is_layout(node):
        _table(node, reading)
        return False
    elif tag in ("ul", "ol"):
        start = str(node.attributes.get("start") or "1")
        reading.lists.append((tag, int(start) if start.isascii() and start.isdigit() and len(start) < 10 else 1))
    elif tag in _HEADINGS:
        reading.kinds.append(("heading", _HEADINGS[tag]))
    elif tag == "figcaption":
        reading.kinds.append(("caption", None))
    elif tag == "li":
        _item(reading)
    return True


def _leave(node: LexborNode, reading: _Reading) -> None:
    tag = node.tag or ""
    if tag in _BREAKING:
        reading.flush()
    if tag in _HEADINGS or tag in ("figcaption", "li"):
        reading.kinds.pop()
        reading.marker = None
    elif tag in ("ul", "ol"):
        reading.lists.pop()


def _item(reading: _Reading) -> None:
    reading.kinds.append(("list_item", max(1, len(reading.lists))))
    reading.marker = "-"
    if reading.lists and reading.lists[-1][0] == "ol":
        number = reading.lists[-1][1]
        reading.lists[-1] = ("ol", number + 1)
        reading.marker = f"{number}."


def _figure(node: LexborNode, reading: _Reading) -> None:
    alt = " ".join((node.attributes.get("alt") or "").split())
    if alt:
        pending = reading.words.copy()
        reading.words.clear()
        reading.blocks.append(Block(kind="figure", text=alt))
        reading.words.extend(pending)


def _code(node: LexborNode, reading: _Reading) -> None:
    text = node.text().strip("\n").rstrip()
    code = node.css_first("code[class*='language-']")
    classes = (code.attributes.get("class") or "").split() if code else []
    language = next((name.removeprefix("language-") for name in classes if name.startswith("language-")), None)
    if text.strip():
        reading.blocks.append(Block(kind="code", text=text, language=language))


def _hidden(node: LexborNode) -> bool:
    attributes = node.attributes
    return "hidden" in attributes or _HIDING_STYLE.search(attributes.get("style") or "") is not None


def _is_layout(node: LexborNode) -> bool:
    """Whether a table only arranges a page: it holds another table or headings."""
    return any(inner.mem_id != node.mem_id for inner in node.css("table, h1, h2, h3, h4, h5, h6"))


def _table(node: LexborNode, reading: _Reading) -> None:
    caption = node.css_first("caption")
    if caption:
        text = " ".join(_visible_text(caption).split())
        if text:
            reading.blocks.append(Block(kind="caption", text=text))
    rows: list[list[Cell]] = []
    header_rows = 0
    covered: dict[int, int] = {}
    for row in node.css("tr"):
        nodes = [cell for cell in row.css("td, th") if not _hidden(cell)]
        if _hidden(row):
            continue
        is_header = bool(nodes) and all(cell.tag == "th" for cell in nodes)
        if is_header and header_rows == len(rows):
            header_rows += 1
        rows.append(list(_cells(nodes, covered)))
    if any(cell.text for row in rows for cell in row):
        reading.blocks.append(table(rows, header_rows=header_rows))


def _cells(nodes: list[LexborNode], covered: dict[int, int]) -> Iterator[Cell]:
    """Yield one row; `covered` counts for each column the rows that a cell above still reaches into."""
    column = 0
    for node in nodes:
        while covered.get(column, 0) > 0:
            covered[column] -= 1
            column += 1
            yield Cell(text="")
        text = " ".join(_visible_text(node).split())
        for n in range(_span(node, "colspan")):
            covered[column] = _span(node, "rowspan") - 1
            column += 1
            yield Cell(text="" if n else text)
    while covered.get(column, 0) > 0:
        covered[column] -= 1
        column += 1
        yield Cell(text="")


def _span(node: LexborNode, name: str) -> int:
    value = node.attributes.get(name) or "1"
    return min(_MAX_SPAN, max(1, int(value))) if value.isascii() and value.isdigit() and len(value) < 10 else 1


def _visible_text(node: LexborNode) -> str:
    """Return the text a reader sees in a cell, with a space between elements that stand on lines of their own."""
    parts: list[str] = []
    stack = [node.first_child]
    while stack:
        child = stack.pop()
        if child is None:
            continue
        stack.append(child.next)
        tag = child.tag or ""
        if tag == "-text":
            parts.append(child.text(deep=False))
        elif not tag.startswith("-") and tag not in _DROPPED and not _hidden(child):
            if tag in _BREAKING or tag == "br":
                parts.append(" ")
            if tag == "img":
                parts.append(child.attributes.get("alt") or "")
            stack.append(child.first_child)
    return "".join(parts)
