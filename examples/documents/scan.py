"""Turning a printed page into a scan: the page is rendered, laid slightly askew and speckled; no text layer is left.

The same page gives the same pixels: the specks come from a fixed seed.
"""

import random
import tempfile
import zlib
from pathlib import Path

import numpy as np
from liteparse.parser import LiteParse
from numpy.typing import NDArray

from examples.documents.pdf import PdfDocument

DPI = 200
SKEW_DEGREES = 0.4
SPECKS = 300

Pixels = NDArray[np.uint8]


def scan(document: PdfDocument) -> PdfDocument:
    """Return a document whose pages are grey images, 200 dpi, of the pages of `document`."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "page.pdf"
        source.write_bytes(document.to_bytes())
        shots = LiteParse(dpi=DPI, ocr_enabled=False, quiet=True).screenshot(source)
    scanned = PdfDocument(document.title)
    for shot in shots:
        pixels = _speckle(_skew(_read_png(shot.image_bytes)))
        scanned.page().image(pixels.tobytes(), pixels.shape[1], pixels.shape[0])
    return scanned


def _read_png(data: bytes) -> Pixels:
    """Return the grey values, shape (rows, columns), of an 8-bit RGB or RGBA image. Source: PNG 1.2, section 6."""
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        name = data[at + 4 : at + 8]
        chunks[name] = chunks.get(name, b"") + data[at + 8 : at + 8 + length]
        at += 12 + length
    header = chunks[b"IHDR"]
    columns, rows = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    depth, colour, interlaced = header[8], header[9], header[12]
    if depth != 8 or colour not in (2, 6) or interlaced:
        raise ValueError(f"expected a plain 8-bit RGB image, not depth {depth}, colour type {colour}")
    channels = 3 if colour == 2 else 4
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, 1 + columns * channels)
    # The page is black on white: its red values are its grey values, and PNG filters each channel by itself.
    image = np.zeros((rows + 1, columns), np.uint8)
    for row in range(rows):
        image[row + 1] = _unfilter(int(lines[row, 0]), lines[row, 1::channels], image[row])
    return image[1:]


def _unfilter(kind: int, residue: Pixels, above: Pixels) -> Pixels:
    if kind == 0:
        return residue
    if kind == 1:
        return np.cumsum(residue, dtype=np.uint8)
    if kind == 2:
        return residue + above
    line: list[int] = []
    left = corner = 0
    for value, over in zip(residue.tolist(), above.tolist(), strict=True):
        if kind == 3:
            guess = (left + over) // 2
        else:
            to_left, to_over, to_corner = abs(over - corner), abs(left - corner), abs(left + over - 2 * corner)
            guess = left if to_left <= min(to_over, to_corner) else over if to_over <= to_corner else corner
        left, corner = (value + guess) % 256, over
        line.append(left)
    return np.array(line, np.uint8)


def _skew(page: Pixels) -> Pixels:
    """Turn the page about its centre with linear interpolation, white where nothing was."""
    rows, columns = page.shape
    angle = np.deg2rad(SKEW_DEGREES)
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float64)
    y -= rows / 2
    x -= columns / 2
    source_y = np.clip(y * np.cos(angle) - x * np.sin(angle) + rows / 2, 0, rows - 1.001)
    source_x = np.clip(x * np.cos(angle) + y * np.sin(angle) + columns / 2, 0, columns - 1.001)
    top, left = source_y.astype(np.int64), source_x.astype(np.int64)
    down, right = source_y - top, source_x - left
    grey = page.astype(np.float64)
    upper = grey[top, left] * (1 - right) + grey[top, left + 1] * right
    lower = grey[top + 1, left] * (1 - right) + grey[top + 1, left + 1] * right
    return (upper * (1 - down) + lower * down).round().astype(np.uint8)


def _speckle(page: Pixels) -> Pixels:
    """Reduce the page to 16 greys, as a cheap scanner does, and strew single grey dots over it."""
    grey = (page // 17 * 17).copy()
    dots = random.Random(417)  # noqa: S311 - the dots have to be the same each time
    for _ in range(SPECKS):
        grey[dots.randrange(grey.shape[0]), dots.randrange(grey.shape[1])] = dots.randrange(90, 200)
    return grey
