"""Other tables below the measures, such as that of their indicators.

Their header is known by words that stand in no row of a measure, and a blank line sets it off. Where there is none,
it is asked about (`rows`).
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from app.documents.numbering import label, numbers
from app.documents.reading import Row
from app.documents.vocabulary import MARK, YEAR, is_amount, plain, year_alone

INDICATOR = re.compile(".{0,10}指標(?:名称?|項目)?|KPI", re.I)
VALUE = re.compile(".{0,10}(?:基準|現状|現況|目標|実績|計画|当初|策定時の?)(?:数値|値)|単位")
# What says nothing alone, but beside an indicator, as a year does.
BESIDE = re.compile("番号|No\\.?|№|現状|目標|実績|達成率", re.I)
LONGEST_CELL = 40  # of a header


def after_blanks(rows: Iterable[Row]) -> set[int]:
    """The lines with a blank one above."""
    return {row.line for above, row in pairwise(rows) if not above.filled()}


def begin(rows: Sequence[Row], place: range, set_off: set[int]) -> int:
    """Where in these places another table begins, with the line that is its title; their end if none does."""
    for head in filter(lambda at: is_head(rows[at]), place):
        titled = head > place.start and _is_title(rows[head - 1])
        for first in (head - titled, head):
            if rows[first].line in set_off:
                return first
    return place.stop


def followed(rows: Sequence[Row], place: range, set_off: set[int]) -> Row | None:
    """What stands below another table, which begins at the start of these places, and may be of the measures again: a
    line with a number behind a blank one.
    """
    for at in place[1:]:
        row = rows[at]
        first = row.cell(row.filled()[0])
        if row.line in set_off and label(first) and not is_head(row):
            return row
    return None


def _is_title(row: Row) -> bool:
    """A line with one thing, and that no numbered heading."""
    filled = row.filled()
    return len(filled) == 1 and label(row.cell(filled[0])) is None


def is_head(row: Row) -> bool:
    """Whether it is the header of a table of indicators: no number, no mark, and words that no measure has."""
    cells = {cell for cell in row.cells if cell.strip()}
    if len(cells) < 2 or any(map(holds_value, cells)):
        return False
    words = [MARK.sub("", YEAR.sub("", plain(cell))) for cell in cells]
    indicators = sum(map(bool, map(INDICATOR.fullmatch, words)))
    values = sum(map(bool, map(VALUE.fullmatch, words)))
    beside = any(map(BESIDE.fullmatch, words)) or any(map(year_alone, cells))
    return indicators + values > 1 or (indicators > 0 and beside)


def holds_value(cell: str) -> bool:
    """Whether it is too long for a header, or a number or mark and no year."""
    return len(cell) > LONGEST_CELL or (
        (numbers(cell) is not None or is_amount(cell)) and year_alone(cell) is None
    )
