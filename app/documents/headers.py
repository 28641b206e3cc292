"""Where the headers of a sheet are.

A header is a row whose cells name three different fields or more, or two that include the title if all else in it
is known, too. The row under it belongs to it where it tells fields or years below cells that lead to nothing in a row
of the table. A row that tells only years, or what several columns have in common, is the upper part of a header.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from app.documents.others import LONGEST_CELL, holds_value, is_head
from app.documents.reading import Row
from app.documents.tables import Notes, places_told, words_told
from app.documents.vocabulary import KNOWN, Header, header, is_amount, is_rater, plain, year_alone

ENOUGH = 3  # different fields make a header: a row of data may well hold one, such as the title 計画
MOST_ROWS = 3  # of one header
MOST_ROWS_ABOVE = 300  # filled ones, in which a header has to come
LEADING = ("path", "title", "section")
LONGEST_WORD = 20

_plain = lru_cache(maxsize=20_000)(plain)  # of short cells, which repeat


class Headers:
    """Finds headers by their words, and by those that the mapping of the document adds."""

    def __init__(self, mapping: Mapping[str, Mapping[str, Any]], notes: Notes) -> None:
        self.numbers = places_told(mapping)
        self.words = words_told(mapping)
        self.notes = notes

    def first(self, rows: Sequence[Row]) -> range | None:
        """The rows of the first header; none of them where the table begins without one."""
        near = rows[:MOST_ROWS_ABOVE]
        for place in range(len(near)):
            if size := self._size(rows, place):
                return range(place, place + size)
        return self._told(near, self.numbers) if len(self.numbers) >= ENOUGH else None

    def upright(self, rows: Sequence[Row]) -> Row | None:
        """The first of several rows that begin with the names of fields, as on a form, where they should stand side
        by side.
        """
        begin: dict[int, Row] = {}
        named: dict[int, set[str | None]] = {}
        for row in rows[:MOST_ROWS_ABOVE]:
            filled = row.filled()
            if len(filled) > 1 and (said := self._named(row.cell(filled[0]))) and said.field:
                begin.setdefault(filled[0], row)
                named.setdefault(filled[0], set()).add(said.field)
        return next((begin[place] for place, fields in named.items() if len(fields) >= ENOUGH), None)

    def _told(self, rows: Sequence[Row], told: Sequence[int]) -> range | None:
        """The first row that fills all of these columns, or most of them if that one holds values."""
        cells = [[cell for column in told if (cell := row.cell(column).strip())] for row in rows]
        begun = [n for n, filled in enumerate(cells) if 2 * len(set(filled)) > len(told)]
        place = next((n for n in begun if len(cells[n]) == len(told)), None)
        if place is None:
            return None
        if any(map(holds_value, cells[place])):
            place = begun[0]
        if any(map(holds_value, cells[place])):
            self.notes.warn(
                "この表には見出しの行がないので、この行から施策として読みました。",
                "This table has no header: it was read from this line on.",
                rows[place],
            )
            return range(place, place)
        self.notes.warn(
            "列が番号で指定されたので、この行を見出しとして読みました。"
            "施策の行であれば、その上に見出しの行を加えてください。",
            "Columns were told by number, and this line was taken for their header. "
            "If it is a measure, put a header above it.",
            rows[place],
        )
        return range(place, place + 1)

    def places(self, rows: Sequence[Row], first: range) -> list[range]:
        """The rows of each header, from the first one on."""
        found = [first]
        header = [row.cells for row in rows[first.start : first.stop]]
        place = first.stop
        while place < len(rows):
            size = self._size(rows, place) if self._may_be_one(rows, place) else 0
            if [row.cells for row in rows[place : place + len(first)]] == header:
                size = len(first) or size  # it is repeated word for word
            elif size and is_head(rows[place]) and ("title",) not in self._fields(rows[place]):
                size = 0  # that of a table of indicators
            if size:
                found.append(range(place, place + size))
            place += size or 1
        return found

    def _may_be_one(self, rows: Sequence[Row], place: int) -> bool:
        """A quick look, for the many rows that are none."""
        short = [cell for cell in rows[place].cells if 0 < len(cell) <= LONGEST_WORD]
        words = sum(word.lower() in KNOWN or word in self.words for word in map(_plain, short))
        return words > 1 or (words == 1 and place + 1 < len(rows) and bool(self._fields(rows[place + 1])))

    def _size(self, rows: Sequence[Row], place: int) -> int:
        """How many rows of header begin here; none if it is no header."""
        size = 1 if self._is_header(rows[place]) else 2 if self._is_upper(rows[place : place + 2]) else 0
        while (
            0 < size < MOST_ROWS
            and place + size < len(rows)
            and self._goes_on(rows[place : place + size], rows[place + size])
        ):
            size += 1
        return size

    def _is_header(self, row: Row) -> bool:
        fields = self._fields(row)
        return len(fields) >= ENOUGH or (len(fields) == 2 and ("title",) in fields and self._all_known(row))

    def _is_upper(self, rows: Sequence[Row]) -> bool:
        """Whether the first of two rows holds years or groups only, and stands above the one with the words, or is
        merged with it.
        """
        if len(rows) < 2:
            return False
        upper, lower = rows
        filled = upper.filled()
        own = self._fields(upper)
        years = filled[0] > 1 and all(year_alone(upper.cell(column)) for column in filled)
        if filled == [1] or not (own or years) or not _all_short(lower):
            return False
        below = self._fields(lower)
        merged = any(
            self._named(upper.cell(place)) for place in filled if upper.cell(place) == lower.cell(place)
        )
        dated = ("title",) in own and any(map(year_alone, upper.cells))
        sure = merged or dated or self._all_known(upper)
        return len(own | below) >= ENOUGH and not below <= own and sure

    def _goes_on(self, above: Sequence[Row], row: Row) -> bool:
        """Whether the row belongs to the header above: nothing but words of headers leads to it, and it tells what
        that leaves open, or names columns that have no name yet.
        """
        if not _all_short(row):
            return False
        own = [p for p in row.filled() if all(up.cell(p) != row.cell(p) for up in above)]
        leading = {
            place
            for upper in above
            for place, cell in enumerate(upper.cells, 1)
            if (said := self._named(cell)) and said.field in LEADING
        }
        if not all(self._named(row.cell(p)) for p in leading.intersection(own)):
            return False
        names = not any(is_amount(row.cell(p)) for p in own)
        return any(
            self._named(row.cell(p))
            or year_alone(row.cell(p))
            or is_rater(row.cell(p))
            or (names and not any(up.cell(p).strip() for up in above))
            for p in own
        )

    def _fields(self, row: Row) -> set[tuple[str, ...]]:
        return {said.fields for cell in row.cells if 0 < len(cell) <= 100 and (said := self._named(cell))}

    def _all_known(self, row: Row) -> bool:
        return all(self._named(cell) or year_alone(cell) for cell in row.cells if cell.strip())

    def _named(self, cell: str) -> Header | None:
        """What a cell says as a header. Columns that are told by number alone tell nothing of the rows they are in."""
        told = self.words.get(plain(cell)) if cell.strip() else None
        return Header((told["field"],)) if told else header(cell)


def _all_short(row: Row) -> bool:
    return all(len(cell) <= LONGEST_CELL for cell in row.cells)
