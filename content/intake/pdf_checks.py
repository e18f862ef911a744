"""What has to be true of a PDF before it is laid out: whole, readable without a password, within limits."""

import io
import logging
from dataclasses import dataclass

from pypdf import PageObject, PdfReader, apply_configuration
from pypdf.errors import LimitReachedError, PyPdfError
from pypdf.generic import DictionaryObject

from content.intake.detect import Limits
from engine.errors import Exhausted, Invalid

_END_WITHIN = 2048


@dataclass(frozen=True)
class Checked:
    """What the file says about itself and is kept with its structure."""

    title: str | None
    language: str | None


def check(data: bytes, limits: Limits) -> Checked:
    """Open `data` and check every page.

    Raises `Invalid` (reason `truncated`, `encrypted`, `damaged`, `empty`) or `Exhausted` (reason `too_many_pages`,
    `page_too_large`, `image_too_large`, `bomb`).
    """
    if b"%%EOF" not in data.rstrip(b"\x00\r\n\t ")[-_END_WITHIN:]:
        raise Invalid("The PDF has no end: it was cut off on its way. Send it again.", reason="truncated")
    # The reader reports each oddity of a damaged file to the log; what matters reaches the caller as an error.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    bound = limits.max_unpacked_bytes
    try:
        with apply_configuration(
            zlib_maximum_output_length=bound,
            lzw_maximum_output_length=bound,
            run_length_maximum_output_length=bound,
            array_based_stream_maximum_output_length=bound,
        ):
            return _check_document(PdfReader(io.BytesIO(data), strict=False), limits)
    except LimitReachedError as error:
        raise Exhausted(
            f"The PDF unpacks to far more than a document needs ({error}): it is refused as a decompression bomb.",
            reason="bomb",
        ) from None
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise Invalid(
            f"The PDF is damaged ({type(error).__name__}: {error}): save it again and send the new file.",
            reason="damaged",
        ) from None


def _check_document(reader: PdfReader, limits: Limits) -> Checked:
    if reader.is_encrypted and not reader.decrypt(""):
        raise Invalid("The PDF is encrypted with a password: send a copy without one.", reason="encrypted")
    _check_count(len(reader.pages), limits)
    for number, page in enumerate(reader.pages, start=1):
        _check_page(number, page, limits)
    return Checked(title=_title(reader), language=_language(reader))


def _check_count(count: int, limits: Limits) -> None:
    if count == 0:
        raise Invalid("The PDF has no pages: send the one with the content.", reason="empty")
    if count > limits.max_pages:
        raise Exhausted(
            f"The PDF has {count:,} pages, at most {limits.max_pages:,} are read: split it or raise the limit.",
            reason="too_many_pages",
            pages=count,
            max_pages=limits.max_pages,
        )


def _check_page(number: int, page: PageObject, limits: Limits) -> None:
    width, height = float(page.mediabox.width), float(page.mediabox.height)
    if max(width, height) > limits.max_page_points:
        raise Exhausted(
            f"Page {number} measures {width:,.0f} x {height:,.0f} pt; at most {limits.max_page_points:,.0f} are read.",
            reason="page_too_large",
            page=number,
        )
    contents = page.get_contents()
    if contents is not None:
        contents.get_data()
    for image in _images(page):
        pixels = int(image.get("/Width", 0)) * int(image.get("/Height", 0))
        if pixels > limits.max_image_pixels:
            raise Exhausted(
                f"An image on page {number} has {pixels:,} pixels, at most {limits.max_image_pixels:,} are read.",
                reason="image_too_large",
                page=number,
                pixels=pixels,
            )


def _images(page: PageObject) -> list[DictionaryObject]:
    resources = page.get("/Resources")
    resources = resources.get_object() if resources is not None else None
    objects = resources.get("/XObject") if isinstance(resources, DictionaryObject) else None
    objects = objects.get_object() if objects is not None else None
    if not isinstance(objects, DictionaryObject):
        return []
    entries = [entry.get_object() for entry in objects.values()]
    return [entry for entry in entries if isinstance(entry, DictionaryObject) and entry.get("/Subtype") == "/Image"]


def _title(reader: PdfReader) -> str | None:
    title = reader.metadata.title if reader.metadata else None
    title = " ".join(title.split()) if isinstance(title, str) else ""
    return title or None


def _language(reader: PdfReader) -> str | None:
    language = reader.root_object.get("/Lang")
    return str(language) if language else None
