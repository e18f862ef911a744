"""The scripted model of the invoice example: what a language model would answer, worked out from the request alone.

It reads the texts it is given with regular expressions, compares numbers, quotes what it read with the anchor above
it, and knows nothing that is not in its request. Named in the setting `models.scripts`, it answers `scripted/invoice`.
"""

import json
import os
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple, cast

import anyio
from pydantic import JsonValue

from engine.transcript import Message, ModelRequest, ToolResult
from providers.scripted import ScriptedReply, answer, calls, register_script

NAME = "invoice"
HOLD = "UPSTAIRS_EXAMPLE_HOLD"
"""The environment variable that names a file: while it exists, the agent's turn after its search is held back."""

HELD_S = 60.0
HELD_POLL_S = 0.05


def register() -> None:
    """Make the model answer the route `scripted/invoice`."""
    register_script(NAME, reply)


async def reply(request: ModelRequest) -> ScriptedReply:
    """Answer a request of the invoice process by what its output schema asks for; anything else is told so."""
    wanted = set((request.output_schema or {}).get("properties", {}))
    if "invoice" in wanted:
        return answer({"invoice": extract_invoice(_said(request))})
    if "assessment" in wanted:
        return answer({"assessment": check_invoice(_said(request))})
    if "gathered" in wanted:
        if results_of(request.messages, "search_content"):
            await _held()
        return next_step(request)
    return ScriptedReply(
        text="This is the scripted model of the invoice example: it reads, checks and researches invoices and knows "
        "nothing else. Set ANTHROPIC_API_KEY or OPENAI_API_KEY and restart the server for a real one."
    )


async def _held() -> None:
    """Wait while the file of `HOLD` exists, at most `HELD_S`: whoever interrupts a turn made in no time needs this."""
    named = os.environ.get(HOLD)
    if named:
        with anyio.move_on_after(HELD_S):
            while await anyio.Path(named).exists():  # noqa: ASYNC110 - the file is in the hands of another process
                await anyio.sleep(HELD_POLL_S)


def _said(request: ModelRequest) -> str:
    return "\n".join(message.text for message in request.messages if message.role == "user")


class Passage(NamedTuple):
    """A quotable text and the anchor it stands at."""

    anchor: str
    text: str


# --- reading ----------------------------------------------------------------------------------------------

FIELDS = {
    "number": r"Invoice number:\s*(\S+)",
    "date": r"Invoice date:\s*(\d{4}-\d\d-\d\d)",
    "purchase_order": r"Purchase order:\s*(\S+)",
    "agreement": r"Agreement:\s*(\S+)",
}
SUMS = {
    "net": r"Net amount [A-Z]{3}\s+([\d,]+\.\d\d)",
    "tax": r"VAT [\d.]+ % [A-Z]{3}\s+([\d,]+\.\d\d)",
    "total": r"Total amount [A-Z]{3}\s+([\d,]+\.\d\d)",
}
SUPPLIER = r"\A\s*(?P<supplier>[^\n]+?)\s*(?:\n|\s)INVOICE\b"
LINE = re.compile(
    r"^(?P<item>[A-Z]{2}-\d+) [|] (?P<description>[^|\n]+) [|] (?P<quantity>\d+) [|] (?P<price>[\d,]+\.\d\d) [|] "
    r"(?P<amount>[\d,]+\.\d\d)$",
    re.MULTILINE,
)


def extract_invoice(message: str) -> dict[str, JsonValue]:
    """Read the invoice that stands in a message of `extract_invoice.prompt`; what it doesn't say is empty."""
    document = re.search(r"^anchor: (\S+)\n\n(.*?)\n*END DOCUMENT", message, re.MULTILINE | re.DOTALL)
    anchor, text = document.groups() if document else ("", message)
    evidence: list[JsonValue] = []

    def read(field: str, pattern: str) -> str:
        found = re.search(pattern, text)
        if found is None:
            return ""
        evidence.append({"field": field, "quote": found.group().strip(), "anchor": anchor})
        return found.group(1)

    invoice: dict[str, JsonValue] = {"supplier": read("supplier", SUPPLIER)}
    invoice |= {field: read(field, pattern) for field, pattern in FIELDS.items()}
    lines: list[JsonValue] = []
    for found in LINE.finditer(text):
        lines.append(
            {
                "item": found["item"],
                "description": found["description"].strip(),
                "quantity": int(found["quantity"]),
                "unit_price": float(_number(found["price"])),
                "amount": float(_number(found["amount"])),
            }
        )
        evidence.append({"field": found["item"], "quote": found.group(), "anchor": anchor})
    invoice["lines"] = lines
    invoice |= {field: float(_number(read(field, pattern) or "0")) for field, pattern in SUMS.items()}
    currency = re.search(r"Total amount ([A-Z]{3})", text)
    return {**invoice, "currency": currency.group(1) if currency else "EUR", "evidence": evidence}


def _number(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))


# --- checking ---------------------------------------------------------------------------------------------

TOLERANCE = re.compile(r"[^.\n]*deviates from it by no more than ([\d.]+) %\.")
SUMS_RULE = re.compile(r"[^.\n]*a difference of more than ([\d.]+) [A-Z]{3} is an error\.")
ACCEPTANCE = re.compile(r"[^.\n]*accept a deviation of up to ([\d,]+) [A-Z]{3} per invoice[^.]*\.")
AUTOMATIC = re.compile(r"up to ([\d,]+) [A-Z]{3} \| approved automatically[^\n]*")


def check_invoice(message: str) -> dict[str, JsonValue]:
    """Compare the invoice of a message of `check_invoice.prompt` with the passages of policy and contract in it."""
    invoice = cast(dict[str, Any], json.loads(_between(message, "INVOICE")))
    policy = passages_in(_between(message, "POLICY"))
    rules: list[JsonValue] = []

    def rule(pattern: re.Pattern[str], default: str) -> Decimal:
        for passage in policy:
            found = pattern.search(passage.text)
            if found is not None:
                rules.append({"quote": found.group().strip(), "anchor": passage.anchor})
                return _number(found.group(1))
        return Decimal(default)

    tolerance = rule(TOLERANCE, "0")
    allowed_error = rule(SUMS_RULE, "0")
    acceptable = rule(ACCEPTANCE, "0")
    automatic = rule(AUTOMATIC, "0")
    found = [_deviation(line, _offers(message, line["item"]), tolerance) for line in invoice["lines"]]
    deviations = [deviation for deviation in found if deviation is not None]
    disputed = sum((Decimal(str(deviation["disputed"])) for deviation in deviations), Decimal(0))
    sums_correct = _sums_error(invoice) <= allowed_error
    return {
        "matched": not deviations,
        "sums_correct": sums_correct,
        "deviations": cast(list[JsonValue], deviations),
        "disputed": float(disputed),
        "missing": [_missing(deviation, invoice) for deviation in deviations],
        "rules": rules,
        "recommendation": _recommendation(invoice, deviations, disputed, acceptable, automatic, sums_correct),
    }


def passages_in(text: str) -> list[Passage]:
    """Return the passages of a text in which each stands below its anchor in square brackets."""
    parts = re.split(r"^\[([^\s\]]+@\d+[^\s\]]*)\]$", text, flags=re.MULTILINE)
    return [Passage(anchor, body.strip()) for anchor, body in zip(parts[1::2], parts[2::2], strict=True)]


def _between(message: str, name: str) -> str:
    found = re.search(rf"^BEGIN {name}[^\n]*\n(.*?)\nEND {name.split()[0]}$", message, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


def _offers(message: str, item: str) -> list[Passage]:
    return passages_in(_between(message, f"CONTRACT for {re.escape(item)},"))


def _deviation(line: dict[str, Any], offers: Sequence[Passage], tolerance: Decimal) -> dict[str, JsonValue] | None:
    """Return how a line differs from the price list, or None where it is within the tolerance."""
    billed, quantity = Decimal(str(line["unit_price"])), Decimal(str(line["quantity"]))
    agreed, quote, anchor = Decimal(0), "", ""
    row = re.compile(rf"^{re.escape(line['item'])} \| [^|\n]+ \| [^|\n]+ \| ([\d,]+\.\d\d)$", re.MULTILINE)
    for passage in offers:
        found = row.search(passage.text)
        if found is not None:
            agreed, quote, anchor = _number(found.group(1)), found.group(), passage.anchor
            break
    percent = (billed - agreed) / agreed * 100 if agreed else Decimal(100)
    if agreed and abs(percent) <= tolerance:
        return None
    return {
        "item": line["item"],
        "description": line["description"],
        "billed": float(billed),
        "agreed": float(agreed),
        "percent": float(round(percent, 2)),
        "disputed": float((billed - agreed) * quantity),
        "quote": quote,
        "anchor": anchor,
    }


def _sums_error(invoice: dict[str, Any]) -> Decimal:
    """Return the largest difference between what is printed and what the lines come to."""
    lines = [
        {key: Decimal(str(line[key])) for key in ("quantity", "unit_price", "amount")} for line in invoice["lines"]
    ]
    net, tax, total = (Decimal(str(invoice[name])) for name in ("net", "tax", "total"))
    differences = [line["quantity"] * line["unit_price"] - line["amount"] for line in lines]
    differences += [sum((line["amount"] for line in lines), Decimal(0)) - net, net + tax - total]
    return max(abs(difference) for difference in differences)


def _missing(deviation: dict[str, JsonValue], invoice: dict[str, Any]) -> str:
    return (
        f"whether the purchaser confirmed in writing {deviation['billed']:.2f} instead of {deviation['agreed']:.2f} "
        f"{invoice['currency']} for {deviation['item']} ({deviation['description']}) in purchase order "
        f"{invoice['purchase_order']}"
    )


def _recommendation(
    invoice: dict[str, Any],
    deviations: Sequence[dict[str, JsonValue]],
    disputed: Decimal,
    acceptable: Decimal,
    automatic: Decimal,
    sums_correct: bool,
) -> str:
    currency, total = invoice["currency"], Decimal(str(invoice["total"]))
    if not sums_correct:
        return "The sums do not add up: ask the supplier for a corrected invoice."
    if not deviations:
        limit = f"is below {automatic:,} {currency}" if total <= automatic else f"is above {automatic:,} {currency}"
        return f"Every line matches the contract and the total of {total:,} {currency} {limit}."
    items = ", ".join(str(deviation["item"]) for deviation in deviations)
    whose = "finance may accept that if the purchaser confirmed it" if disputed <= acceptable else "the CFO decides"
    return f"{items} is above the agreed price; {disputed:,.2f} {currency} are disputed, and {whose}."


# --- finding what is missing ------------------------------------------------------------------------------

FACTS = "Facts given with the task:\n"
PRICE_CHANGES = re.compile(r"A new price needs the signature of both parties[^.]*\.")


def next_step(request: ModelRequest) -> ScriptedReply:
    """Take the next step of the research: learn both skills, search, read the clause, look up the order, answer."""
    facts = facts_of(request.messages)
    learn = [tool.name for tool in request.tools if tool.name.startswith("learn_")]
    hit = _clause(results_of(request.messages, "search_content"))
    order = results_of(request.messages, "accounts_payable.find_order")
    if request.tool_choice == "none" or order:
        return answer({"gathered": gathered(request.messages)})
    if learn and not any(results_of(request.messages, name) for name in learn):
        return calls(*((name, {}) for name in learn), text="I learn what I can use.")
    if not results_of(request.messages, "search_content"):
        items = " ".join(str(deviation["description"]) for deviation in facts.get("deviations", []))
        query = f"price changes, notice and signature for a new price, {items}"
        return calls(("search_content", {"query": query, "limit": 5}), text="I look for what the contract says.")
    if hit is not None and not results_of(request.messages, "content.fetch"):
        return calls(("content.fetch", {"target": hit.anchor}), text="I read the clause itself.")
    return calls(
        ("accounts_payable.find_order", {"number": str(facts.get("purchase_order", ""))}),
        text="I look into the purchase order.",
    )


def facts_of(messages: Sequence[Message]) -> dict[str, Any]:
    """Return the facts that the process gave with the task."""
    for message in messages:
        if message.role == "user" and FACTS in message.text:
            return cast(dict[str, Any], json.JSONDecoder().raw_decode(message.text.partition(FACTS)[2])[0])
    return {}


def results_of(messages: Sequence[Message], tool: str) -> list[str]:
    """Return the texts that a tool has answered so far, errors included."""
    parts = [part for message in messages if message.role == "tool" for part in message.parts]
    return [part.text for part in parts if isinstance(part, ToolResult) and part.name == tool]


def gathered(messages: Sequence[Message]) -> dict[str, JsonValue]:
    """Return the answers to what was missing, from the results of the tools alone."""
    facts = facts_of(messages)
    order = _object(results_of(messages, "accounts_payable.find_order"))
    found: list[JsonValue] = []
    confirmed: list[str] = []
    items = [str(deviation["item"]) for deviation in facts.get("deviations", [])]
    for question, item in zip(facts.get("missing", []), items, strict=False):
        note = next((note for note in order.get("notes", []) if item in note["text"]), None)
        if note is not None:
            confirmed.append(item)
        found.append(
            {
                "question": question,
                "answer": f"Yes, by {note['by']} on {note['date']}" if note else "No confirmation was found",
                "quote": note["text"] if note else "",
                "source": str(order.get("number", facts.get("purchase_order", ""))),
            }
        )
    clause = _clause(results_of(messages, "content.fetch")) or _clause(results_of(messages, "search_content"))
    quote = PRICE_CHANGES.search(clause.text) if clause else None
    if clause is not None and quote is not None:
        found.append(
            {
                "question": "What the contract says about a changed price",
                "answer": "It takes the signature of both parties and at most 3 %; no such change is on file",
                "quote": quote.group(),
                "source": clause.anchor,
            }
        )
    open_items = [item for item in items if item not in confirmed]
    summary = f"The purchaser confirmed {', '.join(confirmed)} in writing." if confirmed else "Nobody confirmed it."
    return {"found": found, "summary": summary + (f" Open: {', '.join(open_items)}." if open_items else "")}


def _clause(results: Sequence[str]) -> Passage | None:
    """Return the passage that holds the clause on new prices, among search hits or in a text that was read."""
    for result in results:
        answered = _object([result])
        for entry in answered.get("passages", [answered]):
            if PRICE_CHANGES.search(str(entry.get("text", ""))):
                return Passage(str(entry["anchor"]), str(entry["text"]))
    return None


def _object(results: Sequence[str]) -> dict[str, Any]:
    """Return the last result that is a JSON object."""
    for result in reversed(results):
        try:
            value = json.loads(result)
        except ValueError:
            continue
        if isinstance(value, dict):
            return cast(dict[str, Any], value)
    return {}
