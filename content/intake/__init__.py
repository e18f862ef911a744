"""From the bytes of a file to its structure: detection, one extractor per kind of file, the subprocess they run in.

An extractor is a module with `extract(data: bytes, mime: str, limits: Limits) -> Structure`, named here by the MIME
types it reads. Its libraries are loaded when it is called, so importing this package costs nothing.
"""

from importlib import import_module
from typing import Protocol, cast

from content.intake.detect import HTML, MARKDOWN, PDF, TEXT, Limits
from content.structure import Structure
from engine.errors import Invalid

EXTRACTORS: dict[str, str] = {
    PDF: "content.intake.pdf:extract",
    HTML: "content.intake.html:extract",
    MARKDOWN: "content.intake.markdown:extract",
    TEXT: "content.intake.text:extract",
}


class Extractor(Protocol):
    """Read `data`, whose type was found to be `mime`; raise a `Problem` with a reason a person understands."""

    def __call__(self, data: bytes, mime: str, limits: Limits) -> Structure:
        """Return what the file says."""
        ...


def resolve_extractor(mime: str, name: str | None = None) -> Extractor:
    """Return the extractor called `name` ("module:function"), or the one for `mime`; `Invalid` when there is none."""
    name = name or EXTRACTORS.get(mime)
    if name is None:
        raise Invalid(f"No extractor reads {mime}; there is one for {', '.join(sorted(EXTRACTORS))}.", mime=mime)
    module, _, function = name.partition(":")
    return cast(Extractor, getattr(import_module(module), function))


def extract(data: bytes, mime: str, limits: Limits | None = None) -> Structure:
    """Extract in this process; for files of strangers use `content.intake.run_extractor.extract_in_subprocess`."""
    return resolve_extractor(mime)(data, mime, limits or Limits())
