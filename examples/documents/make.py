"""Write the example documents: `python -m examples.documents.make FOLDER`.

contract.pdf (two columns, two tables), policy.pdf, invoice-scan.pdf (an image without a text layer), faq.md and
notes.html. One installation writes the same bytes each time.
"""

import sys
from pathlib import Path

if __package__ in (None, ""):
    # Run as a script, Python knows the folder of this file but not the root of the repository.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.documents.layout import MARGIN, Flow
from examples.documents.pdf import BOLD, PAGE_WIDTH, REGULAR, PdfDocument, PdfPage
from examples.documents.scan import scan
from examples.documents.texts import CONTRACT, FAQ, INVOICE, NOTES, POLICY, Invoice


def make_documents(folder: Path) -> list[Path]:
    """Write all documents into `folder`, creating it, and return their paths in the order of the list above."""
    contents = {
        "contract.pdf": contract(),
        "policy.pdf": policy(),
        "invoice-scan.pdf": invoice_scan(),
        "faq.md": FAQ.encode(),
        "notes.html": NOTES.encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def contract() -> bytes:
    """Return the framework agreement: a PDF of three pages in two columns."""
    document = PdfDocument("Supplier Framework Agreement FA-2026-031")
    Flow(document, footer="Framework Agreement FA-2026-031", columns=2, size=11.5).place(CONTRACT)
    return document.to_bytes()


def policy() -> bytes:
    """Return the approval policy: a PDF of one column."""
    document = PdfDocument("Accounts Payable Approval Policy AP-07")
    Flow(document, footer="Policy AP-07, version 4", columns=1, size=11).place(POLICY)
    return document.to_bytes()


def invoice_scan() -> bytes:
    """Return the invoice as a scan: a PDF whose only page is an image."""
    document = PdfDocument("Scan 0417")
    page = document.page()
    for y, x, text, font, size in invoice_texts(INVOICE):
        if x < 0:
            page.text_right(-x, y, text, font, size)
        else:
            page.text(x, y, text, font, size)
    _invoice_rules(page, len(INVOICE.lines))
    return scan(document).to_bytes()


Placed = tuple[float, float, str, str, float]
"""Base line, left end (negative: right end), text, font, size."""

_TABLE_TOP = 330.0
_ROW = 24.0
_RIGHT = PAGE_WIDTH - MARGIN


def invoice_texts(invoice: Invoice) -> list[Placed]:
    """Return every piece of text printed on the invoice, from top to bottom."""
    placed: list[Placed] = [
        (80, MARGIN, invoice.supplier, BOLD, 20),
        (100, MARGIN, "14 Quayside Road, Port Weston", REGULAR, 11),
        (80, -_RIGHT, "INVOICE", BOLD, 20),
        (150, MARGIN, "Bill to:", BOLD, 12),
        (168, MARGIN, invoice.customer, REGULAR, 12),
        (186, MARGIN, "2 Drydock Lane, Port Weston", REGULAR, 12),
    ]
    fields = (
        ("Invoice number:", invoice.number),
        ("Invoice date:", invoice.date),
        ("Purchase order:", invoice.purchase_order),
        ("Agreement:", invoice.agreement),
    )
    placed += [(224 + 18 * n, MARGIN, f"{label} {value}", REGULAR, 12) for n, (label, value) in enumerate(fields)]
    columns = (MARGIN, MARGIN + 75, -(MARGIN + 285), -(MARGIN + 390), -_RIGHT)
    header = ("Item", "Description", "Quantity", "Unit price", "Amount EUR")
    placed += [(_TABLE_TOP, x, text, BOLD, 12) for x, text in zip(columns, header, strict=True)]
    for n, line in enumerate(invoice.lines, start=1):
        row = (line.item, line.description, str(line.quantity), f"{line.unit_price:,.2f}", f"{line.amount:,.2f}")
        placed += [(_TABLE_TOP + _ROW * n, x, text, REGULAR, 12) for x, text in zip(columns, row, strict=True)]
    y = _TABLE_TOP + _ROW * (len(invoice.lines) + 2)
    sums = (("Net amount EUR", invoice.net), ("VAT 19 % EUR", invoice.tax), ("Total amount EUR", invoice.total))
    placed += [(y + 20 * n, -_RIGHT, f"{label} {amount:,.2f}", BOLD, 12) for n, (label, amount) in enumerate(sums)]
    note = "Payment is due within 30 days of receipt. Thank you for your order."
    return [*placed, (y + 100, MARGIN, note, REGULAR, 11)]


def _invoice_rules(page: PdfPage, lines: int) -> None:
    for y in (_TABLE_TOP - 16, _TABLE_TOP + 8, _TABLE_TOP + _ROW * lines + 10):
        page.line(MARGIN, y, _RIGHT, y, 0.8)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m examples.documents.make FOLDER")
    for path in make_documents(Path(sys.argv[1])):
        print(path)
