"""Purchase orders and payments of the example: what an ERP would answer, and a ledger in which effects can be counted.

The ledger is a file of JSON lines: `UPSTAIRS_EXAMPLE_LEDGER` names it, else it lies in the temporary folder.
"""

import asyncio
import fcntl
import json
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

from pydantic import Field

from engine.errors import NotFound
from engine.values import Value, digest, utc_now
from skills.services import ToolContext
from skills.tool import tool

LEDGER = "UPSTAIRS_EXAMPLE_LEDGER"

Number = Annotated[str, Field(description="as printed on the invoice, such as HR-7731", min_length=3, max_length=40)]


class OrderLine(Value):
    """An ordered item."""

    item: str
    description: str
    quantity: int


class OrderNote(Value):
    """A note in the file of an order."""

    date: str
    by: str
    text: str


class Order(Value):
    """A purchase order."""

    number: str
    supplier: str
    agreement: str
    ordered_by: str
    ordered_on: str
    lines: tuple[OrderLine, ...]
    notes: tuple[OrderNote, ...] = ()


class Payment(Value):
    """A payment in the ledger; `key` is the idempotency key of the call that made it."""

    payment_id: str
    invoice: str
    supplier: str
    amount: float
    currency: str
    paid_at: str
    key: str


class Payments(Value):
    """Payments, oldest first."""

    payments: list[Payment]


ORDERS = {
    order.number: order
    for order in (
        Order(
            number="HR-7731",
            supplier="Northwind Instruments",
            agreement="FA-2026-031",
            ordered_by="Tomas Berg, purchasing",
            ordered_on="2026-09-29",
            lines=(
                OrderLine(item="NI-100", description="Torque sensor 50 Nm", quantity=4),
                OrderLine(item="NI-210", description="Optical encoder", quantity=6),
                OrderLine(item="NI-410", description="Shielded cable 5 m", quantity=12),
                OrderLine(item="NI-900", description="Calibration service", quantity=2),
            ),
            notes=(
                OrderNote(
                    date="2026-10-02",
                    by="Tomas Berg, purchasing",
                    text=(
                        "NI-900: two days of calibration on a weekend at 672.00 EUR a day instead of 640.00 EUR, "
                        "confirmed to Ines Falk in writing, for this order only."
                    ),
                ),
            ),
        ),
        Order(
            number="HR-7732",
            supplier="Northwind Instruments",
            agreement="FA-2026-031",
            ordered_by="Tomas Berg, purchasing",
            ordered_on="2026-10-05",
            lines=(OrderLine(item="NI-210", description="Optical encoder", quantity=2),),
        ),
    )
}


@tool()
async def find_order(ctx: ToolContext, number: Number) -> Order:
    """Look up a purchase order: who placed it, quantities, and notes of purchasing such as confirmed prices."""
    found = ORDERS.get(number.strip().upper())
    if found is None:
        raise NotFound(
            f"there is no purchase order {number!r}; check the number on the invoice", number=number, known=list(ORDERS)
        )
    return found


@tool(effect="side_effecting", honours_key=True)
async def pay(
    ctx: ToolContext,
    invoice: Annotated[str, Field(description="number of the invoice", min_length=1, max_length=100)],
    supplier: Annotated[str, Field(min_length=1, max_length=200)],
    amount: Annotated[float, Field(description="including tax", gt=0, le=10_000_000)],
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "EUR",
) -> Payment:
    """Pay an invoice. The same call repeated, after a crash for instance, pays once and answers alike."""
    payment = Payment(
        payment_id=f"pay_{digest([ctx.principal.tenant, ctx.key])[:16]}",
        invoice=invoice,
        supplier=supplier,
        amount=round(amount, 2),
        currency=currency,
        paid_at=utc_now().isoformat(timespec="seconds"),
        key=ctx.key,
    )
    return await asyncio.to_thread(_enter, payment)


@tool()
async def payments(ctx: ToolContext) -> Payments:
    """List what has been paid."""
    return Payments(payments=await asyncio.to_thread(_read))


def ledger_path() -> Path:
    """Return the file of the ledger."""
    return Path(os.environ.get(LEDGER) or Path(tempfile.gettempdir()) / "upstairs-example-payments.jsonl")


def _enter(payment: Payment) -> Payment:
    """Append a payment unless its id is there, and return the one that is; on the disk when this returns."""
    with _locked() as ledger:
        for known in _payments_in(ledger):
            if known.payment_id == payment.payment_id:
                return known
        ledger.seek(0, os.SEEK_END)
        ledger.write(payment.model_dump_json().encode() + b"\n")
        ledger.flush()
        os.fsync(ledger.fileno())
    return payment


def _read() -> list[Payment]:
    with _locked() as ledger:
        return _payments_in(ledger)


@contextmanager
def _locked() -> Generator[IO[bytes]]:
    """Yield the open ledger, which nobody else writes meanwhile, without a line that a crash left incomplete."""
    path = ledger_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b") as ledger:
        fcntl.flock(ledger, fcntl.LOCK_EX)
        written = ledger.read()
        whole = written.rfind(b"\n") + 1
        if whole < len(written):
            ledger.truncate(whole)
        yield ledger


def _payments_in(ledger: IO[bytes]) -> list[Payment]:
    ledger.seek(0)
    return [Payment.model_validate(json.loads(line)) for line in ledger.read().splitlines()]
