"""One promise of the product."""

from typing import NamedTuple


class Requirement(NamedTuple):
    """One promise. `source` is where it is made to users; `tests` are `file::function` below `tests/`."""

    behaviour: str
    source: str
    tests: tuple[str, ...]
