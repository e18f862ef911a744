"""What can go wrong with a model call, in one hierarchy for every wire.

Each failure names the provider, the model and the request, and says whether the same call may succeed later.
The waiting itself is never done here: a durable timer or the capacity gate reads `retryable` and `retry_after_s`.
"""

from typing import Any, ClassVar

from engine.errors import Problem
from engine.transcript import RateFacts


class ProviderError(Problem):
    """A model call failed. `retry_after_s` is what the provider asked for, in seconds, or None if it said nothing.

    `rates` are the account's quotas as the failed answer told them.
    """

    code = "provider_error"
    advice: ClassVar[str] = ""
    retryable_as_a_rule: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        model: str = "",
        request_id: str | None = None,
        retry_after_s: float | None = None,
        retryable: bool | None = None,
        rates: RateFacts | None = None,
        **details: Any,
    ) -> None:
        self.provider = provider
        self.model = model
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.rates = rates
        self.retryable = self.retryable_as_a_rule if retryable is None else retryable
        super().__init__(
            f"{message} {self.advice}".strip(),
            provider=provider,
            model=model,
            request_id=request_id,
            retryable=self.retryable,
            retry_after_s=retry_after_s,
            rates=rates.model_dump(mode="json", exclude_none=True) if rates else None,
            **details,
        )


class RateLimited(ProviderError):
    """The account sends more than its quota allows."""

    code = "rate_limited"
    advice = "Wait for `retry_after_s`, or lower the rate."
    retryable_as_a_rule = True


class Overloaded(ProviderError):
    """The provider has no capacity for anybody at the moment."""

    code = "overloaded"
    advice = "Try again later or use a fallback route."
    retryable_as_a_rule = True


class NotYet(ProviderError):
    """The gate in front of the model lets the call through later; nothing was sent.

    `retry_after_s` is the time until then, `until` that moment in seconds since 1970, `waited_s` what the call has
    waited so far, `why` what it waits for.
    """

    code = "not_yet"
    advice = "The call keeps its place; ask again then, or use a fallback route."
    retryable_as_a_rule = True

    def __init__(self, message: str, *, until: float, why: str, waited_s: float = 0.0, **facts: Any) -> None:
        super().__init__(message, until=until, why=why, **facts)
        self.until = until
        self.why = why
        self.waited_s = waited_s


class ContextFull(ProviderError):
    """The request is larger than the model's context window."""

    code = "context_full"
    advice = "Make a checkpoint of the conversation before the next call."


class Refused(ProviderError):
    """The provider declined the request by its policy."""

    code = "refused"
    advice = "The same request is refused again; change what is asked."


class InvalidRequest(ProviderError):
    """The provider, or the adapter before it, found the request wrong."""

    code = "invalid_request"
    advice = "Correct the request; repeating it does not help."


class Unauthorized(ProviderError):
    """The key is missing, wrong, or has no right to this model."""

    code = "unauthorized"
    advice = "Check the API key of this provider and its rights."


class SpendLimit(ProviderError):
    """The account's money or contract is used up."""

    code = "spend_limit"
    advice = "Raise the account's limit or use another account."


class ProviderUnavailable(ProviderError):
    """No whole answer arrived: the network failed, the stream stalled or was cut, or the server broke down."""

    code = "provider_unavailable"
    advice = "Nothing of the partial answer was kept; the call may be repeated."
    retryable_as_a_rule = True


class MalformedReply(ProviderUnavailable):
    """An answer arrived that breaks the wire's own rules, such as an event that is not JSON."""

    code = "malformed_reply"
