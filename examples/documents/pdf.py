"""A PDF writer for the example documents: text in Helvetica, lines, grey images; standard library only.

Coordinates are points with the origin at the top left corner of the page, as everywhere in the house. The same calls
give the same bytes. Source: ISO 32000-1, sections 7 (syntax), 8.9.5 (images), 9.6.2.2 (standard fonts).
"""

import zlib
from dataclasses import dataclass, field

PAGE_WIDTH, PAGE_HEIGHT = 595.0, 842.0

# Advance widths of the characters 32 to 126 in thousandths of the font size, from the Adobe core font metrics.
_WIDTHS = {
    "Helvetica": (
        "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 "
        "556 278 278 584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 "
        "722 667 611 722 667 944 667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 "
        "500 222 833 556 556 556 556 333 500 278 556 500 722 500 500 500 334 260 334 584 "
    ),
    "Helvetica-Bold": (
        "278 333 474 556 556 889 722 238 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 "
        "556 333 333 584 584 584 611 975 722 722 722 722 667 611 778 722 278 556 722 611 833 722 778 667 778 "
        "722 667 611 722 667 944 667 667 611 333 278 333 584 556 333 556 611 556 611 556 333 611 611 278 278 "
        "556 278 889 611 611 611 611 389 556 333 611 556 778 556 556 500 389 280 389 584 "
    ),
}
WIDTHS = {font: tuple(int(width) for width in table.split()) for font, table in _WIDTHS.items()}
REGULAR, BOLD = "Helvetica", "Helvetica-Bold"


def text_width(text: str, font: str, size: float) -> float:
    """Return the width of ASCII `text` in points. Raises `ValueError` for a character without a known width."""
    table = WIDTHS[font]
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"the example documents are written in printable ASCII, not {text!r}")
    return sum(table[ord(character) - 32] for character in text) * size / 1000


def wrap(text: str, font: str, size: float, width: float) -> list[str]:
    """Break `text` at spaces into lines no wider than `width` points (a single longer word stands alone)."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and text_width(longer, font, size) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines


@dataclass
class PdfPage:
    """One page under construction: its size in points, drawing operators and images."""

    width: float = PAGE_WIDTH
    height: float = PAGE_HEIGHT
    operators: list[str] = field(default_factory=list[str])
    images: list[tuple[int, int, bytes]] = field(default_factory=list[tuple[int, int, bytes]])

    def text(self, x: float, baseline: float, text: str, font: str = REGULAR, size: float = 10) -> None:
        """Write `text` with its left end at `x` and its base line `baseline` points below the top."""
        escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        name = "F1" if font == REGULAR else "F2"
        self.operators.append(f"BT /{name} {size:g} Tf {x:.2f} {self.height - baseline:.2f} Td ({escaped}) Tj ET")

    def text_right(self, x: float, baseline: float, text: str, font: str = REGULAR, size: float = 10) -> None:
        """Write `text` so that it ends at `x`."""
        self.text(x - text_width(text, font, size), baseline, text, font, size)

    def line(self, x0: float, y0: float, x1: float, y1: float, width: float = 0.6) -> None:
        """Draw a black line `width` points thick."""
        self.operators.append(
            f"{width:g} w {x0:.2f} {self.height - y0:.2f} m {x1:.2f} {self.height - y1:.2f} l S",
        )

    def image(self, pixels: bytes, columns: int, rows: int) -> None:
        """Fill the page with an 8-bit grey image, row by row from the top left."""
        if len(pixels) != columns * rows:
            raise ValueError(f"{len(pixels)} pixels do not fill {columns} x {rows}")
        self.operators.append(f"q {self.width:g} 0 0 {self.height:g} 0 0 cm /I{len(self.images)} Do Q")
        self.images.append((columns, rows, pixels))


@dataclass
class PdfDocument:
    """A document under construction; `to_bytes` writes it."""

    title: str
    pages: list[PdfPage] = field(default_factory=list[PdfPage])

    def page(self) -> PdfPage:
        """Append an empty A4 page and return it."""
        self.pages.append(PdfPage())
        return self.pages[-1]

    def to_bytes(self) -> bytes:
        """Return the file: PDF 1.4, cross-reference table, no dates, no random identifiers."""
        writer = _ObjectWriter()
        fonts = " ".join(
            f"/F{n} {writer.add(f'<< /Type /Font /Subtype /Type1 /BaseFont /{font} /Encoding /WinAnsiEncoding >>')}"
            for n, font in enumerate((REGULAR, BOLD), start=1)
        )
        tree = writer.reserve()
        kids = " ".join(_add_page(writer, page, fonts, tree) for page in self.pages)
        writer.put(tree, f"<< /Type /Pages /Kids [{kids}] /Count {len(self.pages)} >>")
        catalog = writer.add(f"<< /Type /Catalog /Pages {tree} /Lang (en) >>")
        title = self.title.replace("(", r"\(").replace(")", r"\)")
        info = writer.add(f"<< /Title ({title}) /Producer (Upstairs example documents) >>")
        return writer.finish(catalog, info)


def _add_page(writer: "_ObjectWriter", page: PdfPage, fonts: str, tree: str) -> str:
    content = writer.add_stream("", "\n".join(page.operators).encode("ascii"))
    images = ""
    for n, (columns, rows, pixels) in enumerate(page.images):
        entries = f"/Type /XObject /Subtype /Image /Width {columns} /Height {rows} /ColorSpace /DeviceGray"
        packed = zlib.compress(pixels, 9)
        images += f"/I{n} {writer.add_stream(f'{entries} /BitsPerComponent 8 /Filter /FlateDecode', packed)} "
    resources = f"<< /Font << {fonts} >> /XObject << {images}>> >>"
    return writer.add(
        f"<< /Type /Page /Parent {tree} /MediaBox [0 0 {page.width:g} {page.height:g}] "
        f"/Resources {resources} /Contents {content} >>"
    )


class _ObjectWriter:
    """Numbers indirect objects and writes them with their cross-reference table."""

    def __init__(self) -> None:
        self._bodies: list[bytes] = []

    def reserve(self) -> str:
        self._bodies.append(b"")
        return f"{len(self._bodies)} 0 R"

    def put(self, reference: str, body: str) -> None:
        self._bodies[int(reference.split()[0]) - 1] = body.encode("ascii")

    def add(self, body: str) -> str:
        reference = self.reserve()
        self.put(reference, body)
        return reference

    def add_stream(self, entries: str, data: bytes) -> str:
        self._bodies.append(f"<< {entries} /Length {len(data)} >>\nstream\n".encode("ascii") + data + b"\nendstream")
        return f"{len(self._bodies)} 0 R"

    def finish(self, catalog: str, info: str) -> bytes:
        out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
        offsets: list[int] = []
        for number, body in enumerate(self._bodies, start=1):
            offsets.append(len(out))
            out += f"{number} 0 obj\n".encode("ascii") + body + b"\nendobj\n"
        table = len(out)
        out += f"xref\n0 {len(offsets) + 1}\n0000000000 65535 f \n".encode("ascii")
        out += b"".join(f"{offset:010d} 00000 n \n".encode("ascii") for offset in offsets)
        out += f"trailer\n<< /Size {len(offsets) + 1} /Root {catalog} /Info {info} >>\n".encode("ascii")
        return bytes(out + f"startxref\n{table}\n%%EOF\n".encode("ascii"))
