"""The lines above the tables: a title, perhaps a subtitle in brackets, headings and a legend. The rest is told."""

import re
from collections.abc import Sequence
from itertools import takewhile

from app.documents import legends
from app.documents.asides import HEADING, NOTE, Headings, Line, line_of, stand_under
from app.documents.numbering import label, style
from app.documents.reading import Row
from app.documents.tables import LONGEST, Notes, one_line
from app.documents.vocabulary import year_alone, years_of
from app.documents.years import BRACKETED, Years, year_of_line

OF_MEETING = re.compile(  # 資料１, 令和6年度第1回推進委員会資料
    r".{0,40}(?:資料|別紙|別添|様式)\s*(?:第\s*)?[-－0-9０-９①-⑳]*\s*号?|.{0,40}第\s*[0-9０-９]+\s*回.{0,40}会議?"
)


class Top:
    """What a document says above its tables. A title counts for all of its sheets, headings for those of one."""

    def __init__(self, years: Years, notes: Notes) -> None:
        self.years = years
        self.notes = notes
        self.title: str | None = None
        self.subtitle: str | None = None
        self.legend: dict[str, str] = {}
        self.headings: Headings = []
        # What is none of these, and its column where it is one text.
        self.left: list[tuple[Row, int | None]] = []
        self.lines: set[Line] = set()  # but those of headings: between two pages they say nothing new

    def read(self, rows: Sequence[Row], below: Sequence[Row]) -> None:
        legend = legends.read(rows)
        self.legend = {**legend.codes, **self.legend}
        self.headings = []
        lines: list[str] = []
        numbered = _headings(rows, below)
        self.left = []
        for place, row in enumerate(rows):
            texts = list(dict.fromkeys(cell.strip() for cell in row.cells if cell.strip()))
            lines += texts
            kind = "legend" if place in legend.rows else self._read_line(row, texts, row in numbered)
            if kind:
                self.notes.take(row, kind)
            if kind != "heading":
                self.lines.add(line_of(row))
        self.years.read_above(rows, lines)
        self._tell_left()

    def _read_line(self, row: Row, texts: Sequence[str], numbered: bool) -> str | None:
        """What the line is taken for."""
        text, column = texts[0], row.filled()[0]
        if len(texts) > 1:
            self.left.append((row, None))
        elif numbered or (HEADING.match(text) and label(text) and year_of_line(row)[0] is None):
            stand_under(self.headings, one_line(text), row.line)
            return "heading"
        elif self.subtitle is None and self._is_subtitle(text):
            self.subtitle = text
            self._check_length(text, row, column)
            return "subtitle"
        elif self.title is None and self._is_title(text):
            self.title = one_line(text)
            self._check_length(text, row, column)
            return "title"
        elif not year_alone(text):
            self.left.append((row, column))
        return None

    def _is_subtitle(self, text: str) -> bool:
        below_title = self.title not in (None, text)
        return bool(BRACKETED.fullmatch(text) or (below_title and years_of(text)[0]))

    def _is_title(self, text: str) -> bool:
        return not (
            BRACKETED.fullmatch(text) or OF_MEETING.fullmatch(text) or year_alone(text) or NOTE.match(text)
        )

    def _check_length(self, text: str, row: Row, column: int) -> None:
        if len(text) > LONGEST["title"]:
            self.notes.too_long(LONGEST["title"], row, column)

    def _tell_left(self) -> None:
        """The lines of which nothing was read, not even the year."""
        if self.notes.sheet is not None:
            return  # what stands above the tables of each sheet would be told too often
        for row, column in self.left:
            if self.years.read_from.isdisjoint(map(str.strip, row.cells)):
                self.notes.warn(
                    "見出しより上のこの行は、題名でも括弧書きの副題でも凡例でもないので、読みませんでした。",
                    "This line above the header is no title, no subtitle in brackets and no legend; it was not read.",
                    row,
                    column,
                )


def _headings(rows: Sequence[Row], below: Sequence[Row]) -> list[Row]:
    """The numbered lines directly above a header, where the table has a heading that is written like one of them."""
    above = list(takewhile(_numbered, reversed([row for row in rows if not BRACKETED.fullmatch(_text(row))])))
    written = {style(_text(row)) for row in above}
    beside = (place for place, row in enumerate(below) if _numbered(row) and style(_text(row)) in written)
    return (
        above if written and next(beside, 0) > 0 else []
    )  # nothing would stand under one with another below it


def _text(row: Row) -> str:
    """What stands in the row, if it is one text."""
    texts = {cell.strip() for cell in row.cells if cell.strip()}
    return texts.pop() if len(texts) == 1 else ""


def _numbered(row: Row) -> bool:
    found = label(_text(row))
    return bool(found and found.rest) and year_of_line(row)[0] is None
