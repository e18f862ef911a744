"""Durations as ISO 8601 writes them, without years and months, whose length depends on the calendar."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator

from engine.errors import Invalid

LONGEST = timedelta(days=3660)
_DURATION = re.compile(
    r"P(?:(?P<weeks>\d{1,6})W|(?=\d|T\d)(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,9}(?:\.\d{1,6})?)S)?)?)",
    re.ASCII,
)


def parse_duration(text: str) -> timedelta:
    """Return the duration: `PT5M`, `P2D`, `P1DT12H`, `P2W`, `PT0.5S`.

    Raises Invalid for anything else, for years and months, and beyond ten years.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Invalid(
            f"{text[:60]!r} is not a duration such as PT5M, P2D or P2W; years and months have no fixed length",
            value=text[:60],
        )
    length = timedelta(**{unit: float(amount) for unit, amount in match.groupdict().items() if amount is not None})
    if length > LONGEST:
        raise Invalid(f"{text[:60]!r} is longer than ten years", value=text[:60])
    return length


def _checked(text: str) -> str:
    try:
        parse_duration(text)
    except Invalid as invalid:
        raise ValueError(invalid.message) from None
    return text


Duration = Annotated[str, AfterValidator(_checked)]
"""A field that holds a duration as its text, so that what is written is what is kept."""
