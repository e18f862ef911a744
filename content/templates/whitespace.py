"""Whitespace control: `~` takes all white space beside a tag, a tag alone on its line takes the line along.

The rules are those of Handlebars: they look at the text as written, and strip each side of a text at most once for
standalone lines.
"""

import itertools
import re

from content.templates.nodes import Block, Comment, Inline, Mustache, Partial, Program, Statement, Strip, Text
from content.templates.scanner import SPACE

_REST_OF_LINE = re.compile(r"[ \t]*\r?\n?")
_INDENT = " \t"


def settle(program: Program, *, root: bool) -> None:
    """Apply whitespace control to `program` and all inside it; `root` when it is the whole template."""
    body = program.body
    for index, node in enumerate(body):
        if isinstance(node, Text):
            continue
        inner, outer = _inside(node)
        before, after = _line_before(body, index, root), _line_after(body, index, root)
        if outer.close:
            _omit_right(body, index + 1, everything=True)
        if outer.open:
            _omit_left(body, index - 1, everything=True)
        if inner is None:
            _alone(node, body, index, before and after)
            continue
        if before and _line_after(inner[0].body, -1, False):
            _omit_right(inner[0].body, 0)
            _omit_left(body, index - 1)
        if after and _line_before(inner[-1].body, len(inner[-1].body), False):
            _omit_right(body, index + 1)
            _omit_left(inner[-1].body, len(inner[-1].body) - 1)


def _alone(node: Statement, body: list[Statement], index: int, standalone: bool) -> None:
    if not standalone or isinstance(node, Mustache):
        return
    _omit_right(body, index + 1)
    previous = body[index - 1] if index else None
    if _omit_left(body, index - 1) and isinstance(node, Partial) and isinstance(previous, Text):
        node.indent = previous.original[len(previous.original.rstrip(_INDENT)) :]


def _inside(node: Statement) -> tuple[list[Program] | None, Strip]:
    """Settle the bodies of `node`; return them, or None for a tag without any, and the outer strip flags."""
    if isinstance(node, Comment | Mustache):
        return None, node.strip
    if isinstance(node, Text):
        return None, Strip()
    if isinstance(node, Block):
        bodies, tags = node.bodies, node.tags
    elif isinstance(node, Inline):
        bodies, tags = [node.program], node.tags
    elif node.body is None:
        return None, node.tags[0]
    else:
        bodies, tags = [node.body], node.tags
    for program in bodies:
        settle(program, root=False)
    for number, program in enumerate(bodies):
        if tags[number].close:
            _omit_right(program.body, 0, everything=True)
        if tags[number + 1].open:
            _omit_left(program.body, len(program.body) - 1, everything=True)
    for left, right in itertools.pairwise(bodies):
        if _line_before(left.body, len(left.body), False) and _line_after(right.body, -1, False):
            _omit_left(left.body, len(left.body) - 1)
            _omit_right(right.body, 0)
    return bodies, Strip(tags[0].open, tags[-1].close)


def _line_before(body: list[Statement], index: int, root: bool) -> bool:
    """Whether nothing but white space stands on the line before position `index`."""
    if index == 0:
        return root
    previous = body[index - 1]
    if not isinstance(previous, Text):
        return False
    rest = previous.original.rstrip(SPACE)
    return "\n" in previous.original[len(rest) :] or (root and index == 1 and not rest)


def _line_after(body: list[Statement], index: int, root: bool) -> bool:
    """Whether nothing but white space stands on the line after position `index`."""
    if index + 1 >= len(body):
        return root
    following = body[index + 1]
    if not isinstance(following, Text):
        return False
    rest = following.original.lstrip(SPACE)
    space = following.original[: len(following.original) - len(rest)]
    return "\n" in space or (root and index + 2 >= len(body) and not rest)


def _omit_right(body: list[Statement], index: int, *, everything: bool = False) -> None:
    """Strip the beginning of the text at `index`: the rest of the line, or all white space."""
    node = body[index] if index < len(body) else None
    if not isinstance(node, Text) or (node.right_stripped and not everything):
        return
    stripped = node.value.lstrip(SPACE) if everything else _REST_OF_LINE.sub("", node.value, count=1)
    node.right_stripped = stripped != node.value
    node.value = stripped


def _omit_left(body: list[Statement], index: int, *, everything: bool = False) -> bool:
    """Strip the end of the text at `index`: the indent, or all white space; tell whether that took anything."""
    node = body[index] if index >= 0 else None
    if not isinstance(node, Text) or (node.left_stripped and not everything):
        return False
    stripped = node.value.rstrip(SPACE if everything else _INDENT)
    node.left_stripped = stripped != node.value
    node.value = stripped
    return node.left_stripped
