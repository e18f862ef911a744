"""What a file is, by looking at its bytes, and whether it may come in at all.

Names and declared types are only claims: they break a tie between plain text and Markdown, and a claim that the
bytes contradict is reported.
"""

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from pathlib import PurePath

from pydantic import BaseModel, ConfigDict, Field

from engine.errors import Exhausted, Invalid

PDF, HTML, MARKDOWN, TEXT = "application/pdf", "text/html", "text/markdown", "text/plain"


class Limits(BaseModel):
    """Bounds of one file; what lies above them is refused with the bound in the reason."""

    model_config = ConfigDict(frozen=True)

    max_bytes: int = Field(default=100 * 2**20, gt=0, description="size of the file")
    max_text_bytes: int = Field(default=20 * 2**20, gt=0, description="size of a text, Markdown or HTML file")
    max_pages: int = Field(default=500, gt=0)
    max_page_points: float = Field(default=14_400, gt=0, description="longer side of a page; 14,400 pt are 200 inches")
    max_image_pixels: int = Field(default=100_000_000, gt=0, description="pixels of one image")
    max_unpacked_bytes: int = Field(default=50 * 2**20, gt=0, description="drawing instructions of one page, unpacked")


class Detected(BaseModel):
    """The type found in the bytes; `mislabelled` says which claim they contradict, for a person to read."""

    model_config = ConfigDict(frozen=True)

    mime: str
    mislabelled: str | None = None


# (offset, bytes, MIME type, what a person calls it)
_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png", "a PNG image"),
    (0, b"\xff\xd8\xff", "image/jpeg", "a JPEG image"),
    (0, b"GIF8", "image/gif", "a GIF image"),
    (0, b"II*\x00", "image/tiff", "a TIFF image"),
    (0, b"MM\x00*", "image/tiff", "a TIFF image"),
    (8, b"WEBP", "image/webp", "a WebP image"),
    (8, b"WAVE", "audio/wav", "a WAV recording"),
    (0, b"OggS", "audio/ogg", "an Ogg recording"),
    (0, b"fLaC", "audio/flac", "a FLAC recording"),
    (0, b"ID3", "audio/mpeg", "an MP3 recording"),
    (4, b"ftyp", "video/mp4", "an MP4 film"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm", "a Matroska or WebM film"),
    (0, b"PK\x05\x06", "application/zip", "an empty ZIP archive"),
    (0, b"\x1f\x8b", "application/gzip", "a gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed", "a 7-Zip archive"),
    (0, b"Rar!", "application/vnd.rar", "a RAR archive"),
    (0, b"BZh", "application/x-bzip2", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "application/x-xz", "an xz archive"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage", "an old or encrypted Office document"),
    (0, b"{\\rtf", "application/rtf", "an RTF document"),
    (0, b"%!PS", "application/postscript", "a PostScript program"),
    (0, b"\x7fELF", "application/x-executable", "a program"),
    (0, b"MZ\x90\x00", "application/x-msdownload", "a Windows program"),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3", "an SQLite database"),
)

_ZIP_MEMBERS: tuple[tuple[bytes, str, str], ...] = (
    (b"word/", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "a Word document"),
    (b"xl/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "an Excel workbook"),
    (b"ppt/", "application/vnd.openxmlformats-officedocument.presentationml.presentation", "a PowerPoint presentation"),
    (b"mimetypeapplication/epub", "application/epub+zip", "an EPUB book"),
    (b"mimetypeapplication/vnd.oasis", "application/vnd.oasis.opendocument", "an OpenDocument file"),
)

_CLAIMS = {
    ".pdf": PDF,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".txt": TEXT,
    ".text": TEXT,
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".zip": "application/zip",
}

_TEXTUAL = {"application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml"}

_SUPPORTED = "Supported are PDF, HTML, Markdown and plain text."


def detect(
    data: bytes, *, name: str | None = None, declared: str | None = None, limits: Limits | None = None
) -> Detected:
    """Return the type of `data`. `name` and `declared` (a MIME type) are what the sender claims.

    Raises `Invalid` for an empty file, a kind of file that no extractor reads and bytes that are no text, and
    `Exhausted` above the size limits; the message is a sentence for the person who sent the file.
    """
    limits = limits or Limits()
    if not data:
        raise Invalid("The file is empty (0 bytes): send it again.", reason="empty")
    _check_size(len(data), limits.max_bytes, "A file")
    claim = _claim(name, declared)
    # Readers accept a PDF header within the first kilobyte; mail gateways put lines before it.
    head = data[:1024]
    if b"%PDF-" in head and not _begins_as_html(head.decode("latin-1")):
        return Detected(mime=PDF, mislabelled=_contradiction(claim, PDF))
    found = _binary_kind(data)
    if found:
        mime, words = found
        label = _contradiction(claim, mime)
        raise Invalid(
            f"The file is {words}, which no extractor reads. {label + ' ' if label else ''}{_SUPPORTED}",
            reason="unsupported",
            mime=mime,
        )
    _check_size(len(data), limits.max_text_bytes, "A text file")
    text, _ = decode(data)
    if not text.strip():
        raise Invalid("The file holds only blank space: send the one with the content.", reason="empty")
    mime = _text_kind(text, claim)
    return Detected(mime=mime, mislabelled=_contradiction(claim, mime))


def decode(data: bytes) -> tuple[str, str]:
    """Return the text of `data` and the encoding found: by byte order mark, else UTF-8, else Windows-1252.

    Raises `Invalid` for bytes that are no text, and for UTF-8 that stops in the middle of a character.
    """
    marks = ((BOM_UTF8, "utf-8-sig"), (BOM_UTF32_LE, "utf-32"), (BOM_UTF32_BE, "utf-32"))
    marks += ((BOM_UTF16_LE, "utf-16"), (BOM_UTF16_BE, "utf-16"))
    encoding = next((encoding for mark, encoding in marks if data.startswith(mark)), None)
    try:
        text, encoding = data.decode(encoding or "utf-8"), encoding or "utf-8"
    except UnicodeDecodeError as error:
        # Two letters of Windows-1252 can look like a cut character; a whole one before them tells UTF-8.
        cut = error.reason == "unexpected end of data" and not data[: error.start].isascii()
        if encoding is None and cut:
            raise Invalid(
                "The file stops in the middle of a character: it was cut off on its way. Send it again.",
                reason="truncated",
            ) from error
        text, encoding = data.decode("cp1252", errors="replace"), "windows-1252"
    controls = sum(text.count(chr(code)) for code in range(32) if code not in (9, 10, 12, 13, 27))
    if "\x00" in text or controls + text.count("\ufffd") > len(text) / 100:
        raise Invalid(f"The file is neither text nor a known kind of file. {_SUPPORTED}", reason="unsupported")
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def _check_size(size: int, bound: int, what: str) -> None:
    if size > bound:
        raise Exhausted(
            f"{what} may have {bound / 2**20:,.1f} MiB, this one has {size / 2**20:,.1f} MiB: split it or raise the "
            "limit.",
            reason="too_large",
            bytes=size,
            max_bytes=bound,
        )


def _claim(name: str | None, declared: str | None) -> tuple[str, str] | None:
    """Return (MIME type, how it was claimed); the name counts before the declared type."""
    suffix = PurePath(name).suffix.lower() if name else ""
    if suffix in _CLAIMS:
        return _CLAIMS[suffix], f"its name ends in {suffix}"
    mime = (declared or "").split(";")[0].strip().lower()
    if mime and mime != "application/octet-stream":
        return mime, f"it was sent as {mime}"
    return None


def _contradiction(claim: tuple[str, str] | None, mime: str) -> str | None:
    if claim is None or claim[0] == mime:
        return None
    textual = claim[0] != HTML and (claim[0].startswith("text/") or claim[0] in _TEXTUAL)
    if textual and mime in (TEXT, MARKDOWN):
        return None
    return f"Mislabelled: {claim[1]}, but its content is {mime}."


def _binary_kind(data: bytes) -> tuple[str, str] | None:
    if data.startswith(b"PK\x03\x04"):
        head = data[:4096] + data[-65536:]
        for member, mime, words in _ZIP_MEMBERS:
            if member in head:
                return mime, words
        return "application/zip", "a ZIP archive"
    for offset, magic, mime, words in _MAGIC:
        if data.startswith(magic, offset):
            return mime, words
    return None


_HTML_DOCUMENT = re.compile(r"<(?:!doctype\s+html|(?:html|head|body|title|meta)\b)", re.IGNORECASE)
_HTML_FRAGMENT = re.compile(
    r"<(?:div|p|table|h[1-6]|ul|ol|section|article|main|header|nav|script|style|span|center|form)\b", re.IGNORECASE
)

_MARKDOWN_SIGNS = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^#{1,6} +\S",
        r"^(?:```|~~~)",
        r"^ {0,3}\|?(?: *:?-{3,}:? *\|)+ *:?-*:? *$",
        r"\[[^\[\]\n]+\]\([^()\n]+\)",
        r"^ {0,3}[-*+] +\S.*\n {0,3}[-*+] +\S",
        r"^ {0,3}\d+[.)] +\S.*\n {0,3}\d+[.)] +\S",
        r"(?<![*\w])\*\*[^*\n]+\*\*(?![*\w])",
        r"^\S.*\n(?:={3,}|-{3,}) *$",
    )
)


def _after_prolog(head: str) -> str:
    """Skip blank space, an XML declaration and comments."""
    head = head.lstrip("\ufeff \t\r\n\f")
    for opening, closing in (("<?xml", "?>"), *[("<!--", "-->")] * 20):
        if head.startswith(opening) and closing in head:
            head = head.partition(closing)[2].lstrip()
    return head


def _begins_as_html(head: str) -> bool:
    start = _after_prolog(head)
    return bool(_HTML_DOCUMENT.match(start) or _HTML_FRAGMENT.match(start))


def _text_kind(text: str, claim: tuple[str, str] | None) -> str:
    head = text[:16384]
    claimed = claim[0] if claim else None
    start = _after_prolog(head)
    # Markdown may begin with a tag; only a whole HTML document overrules the claim.
    if _HTML_DOCUMENT.match(start) or (claimed != MARKDOWN and _HTML_FRAGMENT.match(start)):
        return HTML
    signs = sum(sign.search(head) is not None for sign in _MARKDOWN_SIGNS)
    needed = {MARKDOWN: 0, TEXT: 3}.get(claimed or "", 2)
    return MARKDOWN if signs >= needed else TEXT
