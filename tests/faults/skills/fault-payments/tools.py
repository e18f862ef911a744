"""Two ways to pay into a ledger: one keeps its promise about keys, the other makes none."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from engine.values import Value
from skills.services import ToolContext
from skills.tool import tool
from tests.faults.traps import LEDGER, spring


class Receipt(Value):
    """What was paid."""

    payment_id: str
    invoice: str
    amount: float
    currency: str


@tool(effect="side_effecting", honours_key=True)
async def pay_keyed(ctx: ToolContext, invoice: str, supplier: str, amount: float, currency: str) -> Receipt:
    """Pay once for each key."""
    return await asyncio.to_thread(_pay, ctx.key, invoice, amount, currency, True)


@tool(effect="side_effecting")
async def pay_blind(ctx: ToolContext, invoice: str, supplier: str, amount: float, currency: str) -> Receipt:
    """Pay at every call."""
    return await asyncio.to_thread(_pay, ctx.key, invoice, amount, currency, False)


def _pay(key: str, invoice: str, amount: float, currency: str, once: bool) -> Receipt:
    spring("effect:before")
    if not once or all(entry["key"] != key for entry in _entries()):
        with _ledger().open("a", encoding="utf-8") as ledger:
            ledger.write(json.dumps({"key": key, "invoice": invoice, "amount": amount, "currency": currency}) + "\n")
            ledger.flush()
            os.fsync(ledger.fileno())
    spring("effect:after")
    return Receipt(payment_id="paid", invoice=invoice, amount=amount, currency=currency)


def _ledger() -> Path:
    return Path(os.environ[LEDGER])


def _entries() -> list[dict[str, Any]]:
    ledger = _ledger()
    return [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []
