"""Which accounts answer at the moment: what failures say about the next call, kept for a bounded time.

A failure of the key or of the money is one of the whole account, a rate limit or an overload one of the model on it.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from providers.errors import Overloaded, ProviderError, ProviderUnavailable, RateLimited, SpendLimit, Unauthorized
from providers.wire import Recent

THRESHOLD = 3
"""So many calls without an answer, one after the other, and the account counts as away."""

COOL_S = 15.0
"""The first pause where the provider names none; it doubles with each further failure."""

LONGEST_S = 600.0
REMEMBERED = 4096


class Endpoint(NamedTuple):
    """A model on an account of a tenant; without a model it stands for the whole account."""

    tenant: str
    provider: str
    account: str
    model: str = ""

    @property
    def whole(self) -> "Endpoint":
        """The account as a whole."""
        return self._replace(model="")


class Down(NamedTuple):
    """Why an endpoint is not to be called, and for how many seconds from now."""

    code: str
    reason: str
    for_s: float


class Health(Protocol):
    """What is known of endpoints; kept in a process or in a store that all workers share."""

    async def down(self, endpoints: Iterable[Endpoint]) -> Mapping[Endpoint, Down]:
        """Return those that are not to be called now, with the reason."""
        ...

    async def failed(self, endpoint: Endpoint, error: ProviderError) -> None:
        """Take in how a call failed; failures that the request itself caused say nothing."""
        ...

    async def answered(self, endpoint: Endpoint) -> None:
        """Take in that a call was answered: the endpoint and its account are well."""
        ...

    async def renewed(self, endpoint: Endpoint) -> None:
        """Forget what is held against the whole account: its key was replaced."""
        ...


@dataclass
class _State:
    failures: int = 0
    until: float = 0.0
    code: str = ""


class Breaker:
    """The `Health` of one process; `clock` gives seconds that only grow. After its pause an endpoint is tried again."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        threshold: int = THRESHOLD,
        cool_s: float = COOL_S,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._clock = clock
        self._threshold, self._cool_s, self._longest_s = threshold, cool_s, longest_s
        self._states: Recent[_State] = Recent(REMEMBERED)

    async def down(self, endpoints: Iterable[Endpoint]) -> Mapping[Endpoint, Down]:
        """Return those whose pause is not over."""
        now = self._clock()
        found: dict[Endpoint, Down] = {}
        for endpoint in endpoints:
            state = self._states.get(_key(endpoint))
            if state is not None and state.until > now:
                left = state.until - now
                found[endpoint] = Down(state.code, f"it is left alone for {left:.0f} s after {state.code}", left)
        return found

    async def failed(self, endpoint: Endpoint, error: ProviderError) -> None:
        """Begin a pause where the failure says that the next call would meet it as well."""
        if isinstance(error, SpendLimit | Unauthorized):
            self._fail(endpoint.whole, error, at_once=True)
        elif isinstance(error, RateLimited | Overloaded):
            self._fail(endpoint, error, at_once=True)
        elif isinstance(error, ProviderUnavailable):
            self._fail(endpoint.whole, error, at_once=False)

    def _fail(self, endpoint: Endpoint, error: ProviderError, *, at_once: bool) -> None:
        state = self._states.get(_key(endpoint)) or _State()
        state.failures += 1
        state.code = error.code
        before = 1 if at_once else self._threshold
        if state.failures >= before:
            pause = self._cool_s * 2.0 ** min(state.failures - before, 16)
            if error.retry_after_s is not None:
                # A short wait that is asked for again and again is no short wait.
                again = state.failures > self._threshold
                pause = max(pause, error.retry_after_s) if again else error.retry_after_s
            state.until = self._clock() + min(pause, self._longest_s)
        self._states.put(_key(endpoint), state)

    async def answered(self, endpoint: Endpoint) -> None:
        """End every pause of the endpoint and of its account."""
        for each in (endpoint, endpoint.whole):
            if self._states.get(_key(each)) is not None:
                self._states.put(_key(each), _State())

    async def renewed(self, endpoint: Endpoint) -> None:
        """End the pause of the whole account."""
        await self.answered(endpoint.whole)


def _key(endpoint: Endpoint) -> str:
    return "\0".join(endpoint)
