"""The values that every part shares: who asks, how things are named, what may be spent."""

import hashlib
import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

type_checks = ConfigDict(frozen=True, extra="forbid")

Json = JsonValue
"""Any JSON value; annotations of messages use it so that nothing else can travel."""

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


class Value(BaseModel):
    """A frozen value without unknown fields; equality is by content."""

    model_config = type_checks


class Empty(Value):
    """The answer of an activity or update that has nothing to say."""


def new_id(prefix: str) -> str:
    """Return `<prefix>_` and 26 characters: 48 bits of milliseconds, then 80 random bits, sorting by time.

    Ids are minted at the edge only; workflow code receives them. Possession of an id is never authority.
    """
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return f"{prefix}_" + "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, no NaN; what digests and keys are made of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the hexadecimal sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def utc_now() -> datetime:
    """Return the time with its zone; workflow code uses `workflow.now()` instead."""
    return datetime.now(UTC)


Role = Literal["viewer", "author", "publisher", "operator", "approver", "administrator"]


class Principal(Value):
    """Who acts: made at the door from a verified token or as the local user, passed explicitly everywhere.

    `roles` are the platform's roles (see `Role`) and any names of the tenant's own, such as `finance`.
    """

    tenant: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    subject: str = Field(min_length=1, max_length=256)
    kind: Literal["user", "agent", "service"] = "user"
    roles: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()

    def has_role(self, *wanted: str) -> bool:
        """Tell whether the principal holds one of `wanted`; an administrator holds the platform's roles."""
        return bool(self.roles & set(wanted)) or ("administrator" in self.roles and bool(set(wanted) & PLATFORM_ROLES))


PLATFORM_ROLES = frozenset({"viewer", "author", "publisher", "operator", "approver", "administrator"})


class Budget(Value):
    """Hard bounds of a run; `None` leaves a dimension open. `seconds` is the age of the run."""

    turns: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    usd: float | None = Field(default=None, gt=0)
    seconds: float | None = Field(default=None, gt=0)


class Spent(Value):
    """What a run has used so far: model calls, tokens of input and output, dollars where a price is known."""

    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    unpriced_turns: int = 0

    def plus(self, other: "Spent") -> "Spent":
        """Return the sum of both."""
        return Spent(
            turns=self.turns + other.turns,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            usd=round(self.usd + other.usd, 10),
            unpriced_turns=self.unpriced_turns + other.unpriced_turns,
        )

    def exceeds(self, budget: Budget) -> str | None:
        """Return the name of the first bound that is used up, or None."""
        tokens = self.input_tokens + self.output_tokens
        if budget.turns is not None and self.turns >= budget.turns:
            return "turns"
        if budget.tokens is not None and tokens >= budget.tokens:
            return "tokens"
        if budget.usd is not None and self.usd >= budget.usd:
            return "usd"
        return None
