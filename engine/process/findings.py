"""What the verifier says: one finding per thing to mend."""

from typing import Literal

from engine.values import Value

Severity = Literal["error", "warning"]


class Finding(Value):
    """One finding: a stable `code`, where (`path`, a JSON pointer into the definition) and how to mend it."""

    code: str
    severity: Severity
    path: str
    message: str


def pointer(*parts: str | int) -> str:
    """Return the JSON pointer of the parts."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def error(code: str, path: str, message: str) -> Finding:
    """Return a finding that keeps the definition from being published or started."""
    return Finding(code=code, severity="error", path=path, message=message)


def warning(code: str, path: str, message: str) -> Finding:
    """Return a finding that is worth a look."""
    return Finding(code=code, severity="warning", path=path, message=message)
