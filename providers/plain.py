"""Answers that come whole instead of as a stream, read strictly."""

from typing import Any

from providers.errors import MalformedReply
from providers.streams import Attempt
from providers.wire import strict_json


def read_object(attempt: Attempt, content: bytes) -> dict[str, Any]:
    """Return the JSON object of an answer; anything else breaks the wire's rules."""
    try:
        body = strict_json(content.decode())
    except ValueError as error:
        raise attempt.failure(
            MalformedReply, f"{attempt.provider} answered something that is not JSON: {error}."
        ) from error
    if not isinstance(body, dict):
        raise attempt.failure(MalformedReply, f"{attempt.provider} answered something that is not a JSON object.")
    return body
