"""Taking over process definitions that were written for other engines, with a report of what became of each part."""

from engine.process.imports.report import Imported, Needs, Note
from engine.process.imports.vertesia import import_vertesia

__all__ = ["Imported", "Needs", "Note", "import_vertesia"]
