"""A laid-out process as SVG: readable without a style sheet, in the colours of the page where it has them.

Every node is a group with `data-node`, its path in the definition, and `data-state`; title and description say the
same to a screen reader. All texts are escaped; there is no script and nothing is loaded.
"""

from collections.abc import Mapping
from html import escape

from engine.process.drawing.layout import HEADER, MAX_TITLE, MAX_WAY, Layout, Line, Placed, lay_out
from engine.process.drawing.sketch import SIGNS, Sketch, State, cut

MARGIN = 24.0

STYLE = """
svg{font:12px system-ui,sans-serif;color-scheme:light dark;
--ink:var(--drawing-ink,light-dark(#1b1b1a,#ececea));--quiet:var(--drawing-quiet,light-dark(#5b5b57,#a9a9a4));
--fill:var(--drawing-fill,light-dark(#f5f5f4,#27282b));--back:var(--drawing-back,light-dark(#fff,#1d1e20));
--good:light-dark(#14682f,#7fdc9c);--bad:light-dark(#a11d1d,#ff9c9c);--open:light-dark(#7d5100,#ffcf70);
--busy:light-dark(#1f5fa8,#8fc1ff)}
[data-node]{--edge:var(--quiet);--wide:1;--dash:none}text{fill:var(--ink)}.quiet{fill:var(--quiet);font-size:11px}
.shape{fill:var(--fill);stroke:var(--edge);stroke-width:var(--wide);stroke-dasharray:var(--dash)}
.box{fill:none;stroke:var(--quiet);stroke-dasharray:3 3}.way{fill:none;stroke:var(--quiet)}.dotted{stroke-dasharray:4 3}
.head{fill:var(--quiet)}.halo{paint-order:stroke;stroke:var(--back);stroke-width:4px}
[data-node] .halo{stroke:var(--fill)}
[data-state=done],[data-state=added]{--edge:var(--good);--wide:2}
[data-state=failed],[data-state=removed]{--edge:var(--bad);--wide:3}
[data-state=waiting],[data-state=changed]{--edge:var(--open);--wide:3}[data-state=running]{--edge:var(--busy);--wide:3}
[data-state=skipped],[data-state=undone],[data-state=stopped]{--dash:6 3}
.sign{font-weight:700}[data-taken]{stroke:var(--good);stroke-width:2}
"""


def svg(
    sketch: Sketch,
    *,
    states: Mapping[str, State] | None = None,
    counts: Mapping[str, str] | None = None,
    taken: frozenset[tuple[str, str]] = frozenset(),
    links: Mapping[str, str] | None = None,
) -> str:
    """Return the picture of a sketch as one SVG document.

    `states` and `counts` (as "3 of 20") are by path of a node; `taken` are pairs of paths whose way was taken. `links`
    are where a node leads, by path; a picture with links is for a page, whose keyboard comes to them.
    """
    layout = lay_out(sketch)
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN
    drawn = _Drawn(states or {}, counts or {}, taken, links or {}).graph(layout, MARGIN, MARGIN)
    # What is inside an image is nobody's to visit; a group has parts of its own.
    role = "group" if links else "img"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" '
        f'width="{_n(width)}" height="{_n(height)}" role="{role}">'
        f"<title>{escape(sketch.title or 'process')}</title><style>{STYLE}</style>"
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto">'
        f'<path class="head" d="M0 0 8 4 0 8z"/></marker></defs>{drawn}</svg>'
    )


class _Drawn:
    def __init__(
        self,
        states: Mapping[str, State],
        counts: Mapping[str, str],
        taken: frozenset[tuple[str, str]],
        links: Mapping[str, str],
    ) -> None:
        self._states = states
        self._counts = counts
        self._taken = taken
        self._links = links

    def graph(self, layout: Layout, x: float, y: float) -> str:
        lines = "".join(self._line(line) for line in layout.lines)
        nodes = "".join(self._node(node) for node in layout.nodes)
        return f'<g transform="translate({_n(x)} {_n(y)})">{lines}{nodes}</g>'

    def _line(self, line: Line) -> str:
        way = line.way
        kind = "way" if way.kind == "way" else "way dotted"
        taken = ' data-taken=""' if (way.source, way.target) in self._taken else ""
        ends = f'data-from="{escape(way.source)}" data-to="{escape(way.target)}"'
        points = " ".join(f"{_n(x)},{_n(y)}" for x, y in line.points)
        drawn = f'<polyline class="{kind}" {ends}{taken} points="{points}" marker-end="url(#head)"/>'
        x, y = line.label
        for number, label in enumerate(way.labels):
            said, whole = escape(cut(label, MAX_WAY)), escape(label)
            at = f'x="{_n(x)}" y="{_n(y + 13 * number)}" text-anchor="middle"'
            drawn += f'<text class="quiet halo" {at}>{said}<title>{whole}</title></text>'
        return drawn

    def _node(self, node: Placed) -> str:
        shape, state = node.shape, self._states.get(node.shape.path)
        said = [shape.title or shape.name, shape.type, *([state] if state else []), self._counts.get(shape.path, "")]
        label = escape(", ".join(part for part in said if part))
        about = f"<desc>{escape(shape.about)}</desc>" if shape.about else ""
        marked = f' data-state="{state}"' if state else ""
        sign = f'<text class="sign" x="{_n(node.width - 20)}" y="15">{SIGNS[state]}</text>' if state else ""
        middle = node.width / 2
        title = escape(cut(shape.title or shape.name, MAX_TITLE))
        second = f"{shape.name} · {shape.type}" if shape.title else shape.type
        count = self._counts.get(shape.path)
        # The outline tells the type; there is no room for both.
        under = escape(cut(count or second, MAX_TITLE))
        boxes = "".join(
            f'<rect class="box" x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}" '
            f'rx="6"/><text class="quiet" x="{_n(box.x + 8)}" y="{_n(box.y + 16)}">{escape(cut(box.title, MAX_TITLE))}'
            f"</text>{self.graph(box.inside, box.x + (box.width - box.inside.width) / 2, box.y + HEADER - 16)}"
            for box in node.boxes
        )
        own = (
            f"{_outline(node)}{sign}"
            f'<text x="{_n(middle)}" y="19" text-anchor="middle">{title}</text>'
            f'<text class="quiet" x="{_n(middle)}" y="34" text-anchor="middle">{under}</text>'
        )
        link = self._links.get(shape.path)
        own = f'<a href="{escape(link)}" aria-label="{label}">{own}</a>' if link else own
        return (
            f'<g data-node="{escape(shape.path)}" data-type="{escape(shape.type)}"{marked} role="group" '
            f'aria-label="{label}" transform="translate({_n(node.x)} {_n(node.y)})"><title>{label}</title>{about}'
            f"{own}{boxes}</g>"
        )


def _outline(node: Placed) -> str:
    width, height = node.width, node.height
    if node.shape.type == "supervisor":
        points = [(12, 0), (width - 12, 0), (width, height / 2), (width - 12, height), (12, height), (0, height / 2)]
        said = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        return f'<polygon class="shape" points="{said}"/>'
    radius = height / 2 if node.shape.type in ("end", "wait") and not node.boxes else 8
    drawn = f'<rect class="shape" width="{_n(width)}" height="{_n(height)}" rx="{_n(radius)}"/>'
    if node.shape.type == "agent":
        drawn += f'<rect class="shape" x="4" y="4" width="{_n(width - 8)}" height="{_n(height - 8)}" rx="5"/>'
    return drawn


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
