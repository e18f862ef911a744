"""Live pieces as tests compare them: what one read brings is told as one, so where a text is cut is left out."""

from collections.abc import Iterable
from itertools import groupby

from engine.transcript import Delta


def by_kind(pieces: Iterable[Delta]) -> list[tuple[str, str]]:
    """Return kind and text of the pieces in order, those of one kind that follow each other as one."""
    return [(kind, "".join(one.text for one in same)) for kind, same in groupby(pieces, key=lambda one: one.kind)]
