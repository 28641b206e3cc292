"""Small tables below the measures that count these by their ratings (集計): 評価 | 件数, the marks below or beside."""

import re
from collections.abc import Callable, Sequence

from app.documents.reading import Row
from app.documents.vocabulary import header, is_amount, plain

COUNTS = re.compile(r"(?:施策|事業|取組|項目|評価|該当)?(?:件数|数)|割合|構成比|比率|合計|総?計|\(?%\)?")
ABOVE = re.compile(r".{0,15}集計.{0,5}")
NONE = set("-－―—–ー")
MOST_COLUMNS = 12
LONGEST = 40


def read(rows: Sequence[Row]) -> dict[int, int]:
    """Where they begin and end. A row holds one short text and numbers, so that no measure can be meant."""
    found: dict[int, int] = {}
    end = 0
    for place, row in enumerate(rows):
        first = next(filter(str.strip, row.cells), "")
        if place < end or len(first) > LONGEST or not _rates(first):
            continue
        head = row.filled()
        below = _goes_on(rows, place, head) if all(_counts(row.cell(column)) for column in head[1:]) else 0
        beside = _goes_on(rows, place, head, _counts) if len(head) > 2 else 0
        if 2 <= len(head) <= MOST_COLUMNS and (size := below or beside):
            begin = place - (place > end and _is_above(rows[place - 1]))
            found[begin] = end = place + 1 + size
    return found


def _goes_on(rows: Sequence[Row], place: int, head: Sequence[int], said: Callable[[str], bool] = bool) -> int:
    """How many rows below the head say something of this kind in its first column, and numbers in others of it."""
    size = 0
    for row in rows[place + 1 :]:
        filled = row.filled()
        first = row.cell(filled[0])
        numbers = filled[1:] and all(c in head and _is_number(row.cell(c)) for c in filled[1:])
        if filled[0] != head[0] or len(first) > LONGEST or not said(first) or not numbers:
            break
        size += 1
    return size


def _is_above(row: Row) -> bool:
    filled = row.filled()
    return len(filled) == 1 and ABOVE.fullmatch(row.cell(filled[0]).strip()) is not None


def _rates(cell: str) -> bool:
    said = header(cell)
    return said is not None and said.field == "rating"


def _counts(cell: str) -> bool:
    return COUNTS.fullmatch(plain(cell)) is not None


def _is_number(cell: str) -> bool:
    return cell.strip() in NONE or (is_amount(cell) and any(map(str.isdecimal, cell)))
