"""Lines of a table as they are printed, so that people see what would be understood. The rest is left out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from app.documents.reading import Row, Sheet
from app.documents.tables import Column, Recognised

MOST_LINES = 200
MOST_COLUMNS = 200
MOST_IN_A_CELL = 200  # characters
MOST_CHARACTERS = 1_000_000  # of all sheets together
HEADER_ROWS = 3

Place = tuple[str | None, int]  # a sheet and a line of it


def preview(
    sheets: Sequence[Sheet], found: Recognised | None, most: int, asked: Iterable[Place]
) -> list[dict[str, Any]]:
    """Of each sheet that was read, or of all where none was: its header, its first lines and those asked for."""
    several = len(sheets) > 1
    layouts = found.layouts if found else {None: []}
    places = list(asked)
    left = MOST_CHARACTERS
    shown: list[dict[str, Any]] = []
    for sheet in sheets:
        name = sheet.name if several else None
        rows = [row for row in sheet.rows if any(cell.strip() for cell in row.cells)]
        if not rows or (layouts and name not in layouts):
            continue
        taken = found.taken.get(name, {}) if found else {rows[0].line: ("header", None)}
        wanted = [line for where, line in places if where in (name, sheet.name)]
        lines: dict[int, dict[str, Any]] = {}
        for row in _chosen(rows, taken, most, wanted):
            if left > 0 and row.line not in lines:
                kind, code = taken.get(row.line, (None, None))
                cells = _cells(row)
                left -= sum(map(len, cells)) + len(cells)
                lines[row.line] = {
                    "line": row.line,
                    "kind": kind,
                    "code": code,
                    "cells": cells,
                }
        width = max((len(line["cells"]) for line in lines.values()), default=0)
        columns = (
            layouts[name] if layouts else [Column(place, "", "nothing") for place in range(1, width + 1)]
        )
        shown.append(
            {
                "sheet": sheet.name,
                "columns": [_column(column) for column in columns[:MOST_COLUMNS]],
                "lines": [lines[line] for line in sorted(lines)],
                "left_out": len(rows) - len(lines),
            }
        )
    return shown


def recode(table: Iterable[Mapping[str, Any]], codes: Mapping[str, str]) -> None:
    """Measures that were counted are called otherwise where they are on record."""
    for sheet in table:
        for line in sheet["lines"]:
            line["code"] = codes.get(line["code"])


def shows(table: Sequence[Mapping[str, Any]], place: Place) -> bool:
    return any(
        place[0] in (None, sheet["sheet"]) and any(place[1] == line["line"] for line in sheet["lines"])
        for sheet in table
    )


def _chosen(
    rows: Sequence[Row], taken: Mapping[int, tuple[str, str | None]], most: int, wanted: Iterable[int]
) -> Iterator[Row]:
    """The most important ones first."""
    by_line = {row.line: row for row in rows}
    header = (row for row in rows if taken.get(row.line, ("", None))[0] == "header")
    yield from islice(header, HEADER_ROWS)
    yield from (by_line[line] for line in islice(dict.fromkeys(wanted), most) if line in by_line)
    yield from rows[:most]


def _cells(row: Row) -> list[str]:
    cells = [_cut(cell) for cell in row.cells[:MOST_COLUMNS]]
    while cells and not cells[-1].strip():
        cells.pop()
    return cells


def _cut(cell: str) -> str:
    return cell if len(cell) <= MOST_IN_A_CELL else cell[: MOST_IN_A_CELL - 1] + "…"


def _column(column: Column) -> dict[str, Any]:
    return {
        "column": column.place,
        "header": column.name,
        "field": None if column.field == "nothing" else column.field,
        "fiscal_year": column.year,
    }
