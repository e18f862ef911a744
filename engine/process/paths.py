"""The names of steps inside other nodes: they are keys of the store, so a long path is cut there."""

from engine.values import digest

MAX_PATH = 80
"""How much of the path of a nested step is kept in its name."""


def short_path(path: str) -> str:
    """Return a path as it stands in names: itself, or its beginning with a digest of the whole."""
    return path if len(path) <= MAX_PATH else f"{path[:MAX_PATH]}~{digest(path)[:20]}/"
