"""The two families of expected failures: what a caller did wrong and what a model did wrong.

A `Problem` is an answer, not a crash: it carries a stable code, a sentence a person understands and the
details that a program needs. Everything else that is raised is a defect of ours.
"""

from typing import Any


class Problem(Exception):
    """An expected failure with a stable `code`, a message that says what to do, and JSON `details`."""

    code = "problem"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details

    def as_json(self) -> dict[str, Any]:
        """Return `{code, message, details}`, safe to hand to any caller who may see the request itself."""
        return {"code": self.code, "message": self.message, "details": self.details}


class NotFound(Problem):
    """The thing does not exist, or the caller may not see it: both give the same answer."""

    code = "not_found"


class Invalid(Problem):
    """An argument, a file or a definition breaks its contract; `details` name the place."""

    code = "invalid"


class Conflict(Problem):
    """The request contradicts what is already recorded: another input under the same key, a decided task."""

    code = "conflict"


class Denied(Problem):
    """The caller is known and sees the thing, but lacks the role or the seat for this action."""

    code = "denied"


class Exhausted(Problem):
    """A bound was reached: operations, depth, size, budget or time; `details` give the bound."""

    code = "exhausted"


class Unavailable(Problem):
    """A part that is needed is away or not configured; the same call works once it is back."""

    code = "unavailable"
