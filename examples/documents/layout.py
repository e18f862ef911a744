"""Setting the example texts: a flow of headings, paragraphs, lists and ruled tables through columns and pages."""

from dataclasses import dataclass

from examples.documents.pdf import BOLD, PAGE_HEIGHT, PAGE_WIDTH, REGULAR, PdfDocument, PdfPage, text_width, wrap
from examples.documents.texts import Element, Heading, Item, Paragraph, Table

MARGIN, GAP = 48.0, 26.0
TOP, BOTTOM = 64.0, PAGE_HEIGHT - 60.0
LEADING = 1.36


@dataclass
class Flow:
    """Places elements one below the other, then in the next column, then on the next page."""

    document: PdfDocument
    footer: str
    columns: int
    size: float = 10.5

    def __post_init__(self) -> None:
        self.width = (PAGE_WIDTH - 2 * MARGIN - GAP * (self.columns - 1)) / self.columns
        self._top = TOP
        self._turn_page()

    def place(self, elements: tuple[Element, ...]) -> None:
        """Set all elements; a heading stays with the lines below it, a table in one piece."""
        for element in elements:
            match element:
                case Heading(text, 1):
                    self._title(text)
                case Heading(text):
                    self._heading(text)
                case Paragraph(text):
                    self._paragraph(text)
                case Item(text):
                    self._item(text)
                case Table():
                    self._table(element)

    def _turn_page(self) -> None:
        self._page: PdfPage = self.document.page()
        self._column = 0
        self._y = self._top = TOP
        number = f"Page {len(self.document.pages)}"
        self._page.text(MARGIN, PAGE_HEIGHT - 30, self.footer, size=8)
        self._page.text_right(PAGE_WIDTH - MARGIN, PAGE_HEIGHT - 30, number, size=8)

    @property
    def _x(self) -> float:
        return MARGIN + self._column * (self.width + GAP)

    def _reserve(self, height: float) -> None:
        if self._y + height <= BOTTOM:
            return
        if self._column + 1 < self.columns:
            self._column += 1
            self._y = self._top
        else:
            self._turn_page()

    def _lines(self, text: str, indent: float = 0) -> None:
        step = self.size * LEADING
        for line in wrap(text, REGULAR, self.size, self.width - indent):
            self._reserve(step)
            self._page.text(self._x + indent, self._y + self.size, line, size=self.size)
            self._y += step

    def _title(self, text: str) -> None:
        self._page.text(MARGIN, self._y + 18, text, BOLD, 20)
        self._y += 44
        self._top = self._y

    def _heading(self, text: str) -> None:
        self._reserve(13 + 4 * self.size * LEADING)
        if self._y > self._top:
            self._y += 5
        self._page.text(self._x, self._y + 13, text, BOLD, 13)
        self._y += 22

    def _paragraph(self, text: str) -> None:
        self._lines(text)
        self._y += 10

    def _item(self, text: str) -> None:
        self._reserve(self.size * LEADING)
        self._page.text(self._x + 4, self._y + self.size, "-", size=self.size)
        self._lines(text, indent=14)
        self._y += 3

    def _table(self, table: Table) -> None:
        size, row_height = 9.5, 18.0
        self._reserve(24 + row_height * (1 + len(table.rows)))
        self._page.text(self._x, self._y + size, table.caption, REGULAR, size)
        self._y += 18
        top, left = self._y, self._x
        edges = [left + self.width * sum(table.widths[:n]) for n in range(len(table.widths) + 1)]
        for index, row in enumerate((table.header, *table.rows)):
            font = REGULAR if index else BOLD
            self._page.line(left, self._y, edges[-1], self._y)
            for x, right, text in zip(edges, edges[1:], row, strict=False):
                if text_width(text, font, size) > right - x - 8:
                    raise ValueError(f"{text!r} is wider than its column in {table.caption!r}")
                if index and text.replace(".", "").isdigit():
                    self._page.text_right(right - 4, self._y + 13, text, font, size)
                else:
                    self._page.text(x + 4, self._y + 13, text, font, size)
            self._y += row_height
        self._page.line(left, self._y, edges[-1], self._y)
        for edge in edges:
            self._page.line(edge, top, edge, self._y)
        self._y += 14
