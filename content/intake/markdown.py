"""Markdown: CommonMark with pipe tables and struck text; HTML in it is read as HTML, front matter gives the title."""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from content.intake.detect import Limits, decode
from content.intake.html import blocks_of
from content.intake.text import encoding_reasons
from content.structure import Block, Cell, Structure, table

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def extract(data: bytes, mime: str, limits: Limits) -> Structure:
    """Read a Markdown document; its title is the one of the front matter, else the first heading."""
    text, encoding = decode(data)
    title = None
    front = _FRONT_MATTER.match(text)
    if front and ":" in front[1]:
        text = text[front.end() :]
        found = _TITLE.search(front[1])
        title = found[1].strip("\"'") if found else None
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    blocks = _read(tokens)
    title = title or next((block.text for block in blocks if block.kind == "heading"), None)
    return Structure.build(blocks, title=title, reasons=encoding_reasons(encoding))


def _read(tokens: list[Token]) -> list[Block]:
    blocks: list[Block] = []
    depth = 0
    marker: str | None = None
    position = 0
    while position < len(tokens):
        token = tokens[position]
        match token.type:
            case "table_open":
                end = next(n for n in range(position, len(tokens)) if tokens[n].type == "table_close")
                blocks += _table(tokens[position:end])
                position = end
            case "bullet_list_open" | "ordered_list_open":
                depth += 1
            case "bullet_list_close" | "ordered_list_close":
                depth -= 1
            case "list_item_open":
                marker = f"{token.info}{token.markup}" if token.info else "-"
            case "fence" | "code_block":
                text = token.content.strip("\n").rstrip()
                if text.strip():
                    language = token.info.split()[0] if token.info.split() else None
                    blocks.append(Block(kind="code", text=text, language=language))
            case "html_block":
                blocks += blocks_of(token.content)
            case "inline":
                blocks += _inline(token, tokens[position - 1], depth, marker)
                marker = None
            case _:
                pass
        position += 1
    return blocks


def _inline(token: Token, opening: Token, depth: int, marker: str | None) -> list[Block]:
    """Return the block of one run of text, and the figures in it."""
    text = " ".join(_plain(token).split())
    blocks: list[Block] = []
    if text and opening.type == "heading_open":
        blocks.append(Block(kind="heading", text=text, level=int(opening.tag[1:])))
    elif text and depth and marker:
        blocks.append(Block(kind="list_item", text=text, level=depth, marker=marker))
    elif text:
        blocks.append(Block(kind="paragraph", text=text))
    images = (child for child in token.children or [] if child.type == "image" and child.content.strip())
    return [*blocks, *(Block(kind="figure", text=" ".join(image.content.split())) for image in images)]


def _plain(token: Token) -> str:
    parts: list[str] = []
    for child in token.children or []:
        match child.type:
            case "text" | "code_inline":
                parts.append(child.content)
            case "softbreak" | "hardbreak":
                parts.append(" ")
            case "html_inline" if child.content.lower().startswith("<br"):
                parts.append(" ")
            case _:
                pass
    return "".join(parts)


def _table(tokens: list[Token]) -> list[Block]:
    rows: list[list[Cell]] = []
    header_rows = 0
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "thead_close":
            header_rows = len(rows)
        elif token.type == "inline":
            rows[-1].append(Cell(text=_plain(token)))
    if not any(cell.text.strip() for row in rows for cell in row):
        return []
    return [table(rows, header_rows=header_rows)]
