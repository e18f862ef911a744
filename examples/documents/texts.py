"""What the example documents say: one framework agreement, the policy that pays by it, the invoice that tests both.

Northwind Instruments and Harbour Robotics are invented. The invoice charges the calibration service 5 % above the
price list of the agreement; everything else in it is right.
"""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 (the title) or 2."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Item:
    """One item of a bullet list."""

    text: str


@dataclass(frozen=True)
class Table:
    """A ruled table under its caption; `widths` are shares of the width at hand, numbers are set to the right."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]


Element = Heading | Paragraph | Item | Table

PRICE_LIST = Table(
    caption="Table 1: Price list 2026, net prices in EUR",
    header=("Item", "Description", "Unit", "Price"),
    rows=(
        ("NI-100", "Torque sensor 50 Nm", "piece", "412.50"),
        ("NI-120", "Torque sensor 200 Nm", "piece", "538.00"),
        ("NI-210", "Optical encoder", "piece", "148.30"),
        ("NI-305", "Force gauge", "piece", "229.90"),
        ("NI-410", "Shielded cable 5 m", "piece", "13.92"),
        ("NI-900", "Calibration service", "day", "640.00"),
        ("NI-910", "Remote support", "hour", "95.00"),
    ),
    widths=(0.17, 0.47, 0.16, 0.20),
)

SERVICE_LEVELS = Table(
    caption="Table 2: Service levels",
    header=("Severity", "Response", "Restored in", "Credit"),
    rows=(
        ("Critical", "1 hour", "8 hours", "10 %"),
        ("High", "4 hours", "2 days", "5 %"),
        ("Normal", "1 day", "5 days", "2 %"),
        ("Low", "3 days", "20 days", "none"),
    ),
    widths=(0.26, 0.24, 0.28, 0.22),
)

CONTRACT: tuple[Element, ...] = (
    Heading("Supplier Framework Agreement", level=1),
    Paragraph(
        "Agreement FA-2026-031 between Northwind Instruments, 14 Quayside Road, the supplier, and Harbour Robotics, "
        "2 Drydock Lane, the customer. It was signed on 12 December 2025 and applies to every order placed between "
        "1 January 2026 and 31 December 2028."
    ),
    Heading("1. Purpose and scope"),
    Paragraph(
        "The supplier makes measuring instruments and calibrates them. The customer builds them into robots that "
        "load and unload ships. This agreement sets the prices, the terms of delivery and the level of service for "
        "all orders, so that a single order names only items, quantities and dates."
    ),
    Paragraph(
        "General terms of business of either party do not apply, even where an order, a delivery note or an invoice "
        "refers to them. Where an order and this agreement differ, this agreement prevails unless both parties have "
        "signed the exception."
    ),
    Heading("2. Orders"),
    Paragraph(
        "The customer orders in writing under a purchase order number that begins with HR. The supplier confirms an "
        "order within two working days. An order that is neither confirmed nor refused within five working days "
        "counts as accepted. The customer may change or cancel an order free of charge until the goods have left "
        "the supplier's warehouse."
    ),
    Paragraph(
        "There is no minimum quantity. The customer sends a forecast of its needs on the first working day of each "
        "quarter; the forecast helps the supplier to plan and binds nobody."
    ),
    Heading("3. Prices"),
    Paragraph(
        "The prices of Table 1 are fixed net prices. They include packing, carriage to the customer's works at "
        "Drydock Lane and insurance until the goods are unloaded. Value added tax of 19 % is added and shown "
        "separately on each invoice. Surcharges for small orders, for energy or for material are excluded."
    ),
    PRICE_LIST,
    Paragraph(
        "A day of calibration service has eight hours and includes travel within 100 km, the reference standards "
        "and the certificate. Half a day is charged at half the price. Time spent waiting for access to the "
        "customer's machines is charged as remote support."
    ),
    Heading("4. Price changes"),
    Paragraph(
        "The supplier may ask for new prices once in a calendar year, with 90 days of written notice before the "
        "first of January on which they are to apply. A new price needs the signature of both parties and may not "
        "exceed the old one by more than 3 %. A price that was raised in any other way is not owed: the customer "
        "pays the price of Table 1 and returns the difference as disputed within 14 days."
    ),
    Heading("5. Delivery"),
    Paragraph(
        "Goods in stock are delivered within ten working days of the confirmation, all other goods within six weeks. "
        "Risk passes to the customer when the goods have been unloaded and the delivery note has been signed. "
        "Deliveries in parts are allowed where the order says so."
    ),
    Paragraph(
        "If a delivery is late, the supplier owes 0.5 % of the net value of the late goods for every full week, at "
        "most 5 %. After four weeks of delay the customer may withdraw from the order. The sum is credited on the "
        "next invoice."
    ),
    Heading("6. Inspection and acceptance"),
    Paragraph(
        "The customer inspects goods within ten working days of delivery and reports visible defects in that time. "
        "Hidden defects are reported within ten working days of their discovery. Calibration work is accepted when "
        "the certificate has been handed over and a test run of one hour shows readings within tolerance."
    ),
    Heading("7. Invoices and payment"),
    Paragraph(
        "An invoice is sent after complete delivery to the address for invoices. It names the purchase order "
        "number, the number of this agreement, the item numbers of Table 1, quantities, net prices, the value added "
        "tax and the total. An invoice without a purchase order number is returned unpaid."
    ),
    Paragraph(
        "Payment is due within 30 days of receipt of a correct invoice. The customer may deduct 2 % when it pays "
        "within 14 days. If an invoice is disputed in part, the undisputed part is paid on time. Late payments bear "
        "interest of 6 % per year."
    ),
    Heading("8. Service levels"),
    Paragraph(
        "The supplier keeps a service desk that answers on every day of the week. The customer reports a fault with "
        "its severity; the periods of Table 2 run from the report. If a period is missed, the supplier credits the "
        "share given in the table of the net price of the instrument concerned."
    ),
    SERVICE_LEVELS,
    Paragraph(
        "A fault is critical if it stops the loading of a ship. It is high if a robot works with reduced speed, "
        "normal if a reading is out of tolerance without effect on operations, and low in all other cases. Credits "
        "of one calendar year are limited to 15 % of the net turnover of that year."
    ),
    Heading("9. Warranty"),
    Paragraph(
        "The warranty lasts 24 months from delivery. The supplier repairs or replaces defective goods within ten "
        "working days at its own cost, including dismantling and carriage. If two attempts fail, the customer may "
        "reduce the price or return the goods. The following are excluded:"
    ),
    Item("wear of cables that are bent more often than the data sheet allows;"),
    Item("damage from salt water inside a housing that the customer has opened;"),
    Item("instruments that were calibrated by a third party without approval."),
    Heading("10. Liability"),
    Paragraph(
        "Each party is liable without limit for intent, gross negligence and injury to persons. In all other cases "
        "liability is limited to 250,000 EUR for each event and to 500,000 EUR in a calendar year. Neither party is "
        "liable for lost profit. The supplier keeps a product liability insurance of at least 2,000,000 EUR and "
        "proves it once a year."
    ),
    Heading("11. Confidentiality"),
    Paragraph(
        "Drawings, prices, forecasts and measured data of the other party are confidential. They may be used only "
        "for orders under this agreement and are returned or destroyed on request. The duty lasts for five years "
        "after the end of this agreement."
    ),
    Heading("12. Term and termination"),
    Paragraph(
        "This agreement ends on 31 December 2028. Either party may terminate it with six months of notice to the "
        "end of a calendar year, and at once for good cause, in particular when the other party stops its payments "
        "or fails to remedy a serious breach within 30 days of a warning. Orders that were confirmed before the end "
        "are completed under its terms."
    ),
    Heading("13. Contacts and disputes"),
    Paragraph(
        "The supplier's contact is Ines Falk, key accounts; the customer's contact is Tomas Berg, purchasing. Both "
        "try to settle a dispute within 20 working days before it is taken to the courts at the customer's seat. "
        "Changes of this agreement need the written form."
    ),
)

POLICY: tuple[Element, ...] = (
    Heading("Accounts Payable Approval Policy", level=1),
    Paragraph(
        "Harbour Robotics, policy AP-07, version 4, in force since 1 March 2026. Owner: the head of finance. This "
        "policy says what is checked before a supplier's invoice is paid, and who decides."
    ),
    Heading("1. Required fields"),
    Paragraph("An invoice that lacks one of the following fields is returned to the supplier unpaid:"),
    Item("name of the supplier;"),
    Item("invoice number and invoice date;"),
    Item("purchase order number;"),
    Item("item number, quantity and unit price of each line;"),
    Item("net amount, value added tax and total amount."),
    Heading("2. Matching"),
    Paragraph(
        "Every line is matched to the contract with the supplier. A line matches when the item is on the price list "
        "of the contract and the unit price deviates from it by no more than 2 %. A price deviation over 2 % must be "
        "checked against the contract, and so must every invoice of an unknown supplier. The sums are recalculated; "
        "a difference of more than 0.05 EUR is an error."
    ),
    Heading("3. Approval limits"),
    Paragraph("The limits apply to the total amount including value added tax."),
    Table(
        caption="Table 1: Who approves",
        header=("Total amount", "Matched to a contract", "Not matched"),
        rows=(
            ("up to 1,000 EUR", "approved automatically", "finance decides"),
            ("above 1,000 EUR", "finance decides", "finance decides"),
            ("above 10,000 EUR", "CFO decides", "CFO decides"),
        ),
        widths=(0.30, 0.38, 0.32),
    ),
    Paragraph(
        "Nobody approves an invoice for an order they have placed themselves. A decision is taken within three "
        "working days and recorded with its reason. An invoice may not be split to stay below a limit."
    ),
    Heading("4. Deviations"),
    Paragraph(
        "Where a price deviates, finance asks the supplier for a corrected invoice and pays the undisputed part on "
        "time. Finance may accept a deviation of up to 100 EUR per invoice when the contract allows it or the "
        "purchaser confirms it in writing; above that sum only the CFO may accept it."
    ),
    Heading("5. Retention"),
    Paragraph("Invoices, matches and decisions are kept for ten years and can be read by the auditors at any time."),
)


@dataclass(frozen=True)
class InvoiceLine:
    """One line of the invoice; amounts in EUR without tax."""

    item: str
    description: str
    quantity: int
    unit_price: Decimal

    @property
    def amount(self) -> Decimal:
        """Quantity times unit price."""
        return self.quantity * self.unit_price


@dataclass(frozen=True)
class Invoice:
    """An invoice; the sums follow from the lines, the tax is rounded to the cent."""

    supplier: str
    customer: str
    number: str
    date: str
    purchase_order: str
    agreement: str
    lines: tuple[InvoiceLine, ...]

    @property
    def net(self) -> Decimal:
        """Sum of the lines."""
        return sum((line.amount for line in self.lines), Decimal(0))

    @property
    def tax(self) -> Decimal:
        """19 % of the net amount."""
        return (self.net * Decimal("0.19")).quantize(Decimal("0.01"))

    @property
    def total(self) -> Decimal:
        """Net amount and tax."""
        return self.net + self.tax


INVOICE = Invoice(
    supplier="Northwind Instruments",
    customer="Harbour Robotics",
    number="NI-2026-0417",
    date="2026-10-30",
    purchase_order="HR-7731",
    agreement="FA-2026-031",
    lines=(
        InvoiceLine("NI-100", "Torque sensor 50 Nm", 4, Decimal("412.50")),
        InvoiceLine("NI-210", "Optical encoder", 6, Decimal("148.30")),
        InvoiceLine("NI-410", "Shielded cable 5 m", 12, Decimal("13.92")),
        InvoiceLine("NI-900", "Calibration service", 2, Decimal("672.00")),
    ),
)

FAQ = """\
# Questions suppliers ask

## Where do I send an invoice?

Send it as a PDF to the address for invoices that is printed on the purchase order. Paper is scanned and takes two
days longer.

## When is my invoice paid?

Within 30 days of receipt of a correct invoice. If it is paid within 14 days, the agreed discount of 2 % is deducted.

## Why was my invoice returned?

The usual reasons, most frequent first:

1. the purchase order number is missing;
2. a price differs from the price list of the contract;
3. the sums do not add up.

| Reason | What to do |
| --- | --- |
| Order number missing | Add it and send the invoice again under the same number |
| Price differs | Send a credit note for the difference, or name the signed price change |
| Sums wrong | Send a corrected invoice under a new number |

## Who answers further questions?

Write to *accounts payable* and name the invoice number.
"""

NOTES = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Supplier review Northwind Instruments</title>
<style>body { font-family: sans-serif }</style>
<script>document.title = "changed";</script>
</head>
<body>
<h1>Supplier review Northwind Instruments</h1>
<p>Meeting of 18 September 2026 with Ines Falk and Tomas Berg.</p>
<h2>Delivery</h2>
<p>Ten of eleven deliveries arrived on time. The late one was four days behind; no credit is due.</p>
<h2>Prices</h2>
<p>The supplier mentioned higher wages in calibration. <strong>No notice of a price change has been received</strong>,
and none was signed.</p>
<h2>Next steps</h2>
<ul>
<li>Tomas Berg sends the forecast for the fourth quarter.</li>
<li>Ines Falk names the dates for the yearly calibration.</li>
</ul>
<table>
<caption>Orders since January</caption>
<thead><tr><th>Quarter</th><th>Orders</th><th>Net value</th></tr></thead>
<tbody>
<tr><td>Q1</td><td>3</td><td>9,812.40 EUR</td></tr>
<tr><td>Q2</td><td>5</td><td>14,300.75 EUR</td></tr>
<tr><td>Q3</td><td>3</td><td>7,455.10 EUR</td></tr>
</tbody>
</table>
</body>
</html>
"""
