"""Writing tables: rows of cells as CSV, TSV or XLSX, so that they come back as they were.

The rules of 総務省 for tables that machines read: one header row, one datum a cell, no merged cells, text as text.
"""

import csv
import io
import re
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
import xlsxwriter

from app.kit.errors import Finding, Invalid, Say

MEDIA_TYPES = {
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "jsonl": "application/jsonl",
}
CHUNK = 250  # rows that are written in one go
BYTES = 65_536
MOST_NUMBER = 10**15 - 1  # a spreadsheet keeps fifteen digits
MOST_ROWS_OF_A_SHEET = 1_048_575  # and the header

Rows = Callable[[], Iterable[Sequence[Any]]]  # asked for twice where the characters are looked at first

# What a spreadsheet would take for a formula. It gets an apostrophe, which an import takes away again; a lone
# dash is only a mark, and stays one.
FORMULA = re.compile(r"'*[=+\-@\t\r]")
LETTERS = "A"  # and all that follows: no formula begins with one


def inert(cell: str) -> str:
    return f"'{cell}" if FORMULA.match(cell) and cell != "-" else cell


def text(value: Any) -> str:
    """A datum as text: nothing for what is not known."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _moment(value) if isinstance(value, datetime) else str(value)


@lru_cache
def _moment(value: datetime) -> str:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z).decode().strip('"')


def write(form: str, rows: Rows, encoding: str = "utf-8") -> Generator[bytes]:
    """The bytes of a table in this form."""
    if form == "xlsx":
        yield from _workbook(rows())
        return
    if encoding != "utf-8":
        _refuse_unwritable(rows(), encoding)
    elif form == "csv":
        yield b"\xef\xbb\xbf"  # Excel takes a CSV without it for CP932
    lines = _csv if form == "csv" else _tsv
    for some in _some(rows()):
        yield lines(some).encode(encoding)


def _some(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    some: list[Sequence[Any]] = []
    for row in rows:
        some.append(row)
        if len(some) == CHUNK:
            yield some
            some = []
    if some:
        yield some


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    return "".join([_csv_line(_harmless(row)) for row in rows])


def _csv_line(cells: Sequence[str]) -> str:
    line = ",".join(cells)
    if not line or '"' in line or "\n" in line or "\r" in line or line.count(",") >= len(cells):
        out = io.StringIO()
        csv.writer(out, lineterminator="\r\n").writerow(cells)
        return out.getvalue()
    return line + "\r\n"


def _tsv(rows: Sequence[Sequence[Any]]) -> str:
    return "".join([_tsv_line(_harmless(row)) for row in rows])


def _tsv_line(cells: Sequence[str]) -> str:
    line = "\t".join(cells)
    if '"' in line or "\n" in line or line.count("\t") >= len(cells):
        line = "\t".join(map(_quoted, cells))
    return line + "\n"


def _harmless(row: Sequence[Any]) -> list[str]:
    """Its cells as text, none of which a spreadsheet would run. Those that are plain are told at a glance."""
    return [
        cell
        if (kind := type(cell)) is str and cell >= LETTERS
        else ""
        if cell is None
        else str(cell)
        if kind is int and cell >= 0
        else inert(text(cell))
        for cell in row
    ]


def _quoted(cell: str) -> str:
    """In quotation marks where it must be, as spreadsheets do: so that a tab or a line end in it ends nothing."""
    if cell.startswith('"') or "\t" in cell or "\n" in cell:
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _workbook(rows: Iterable[Sequence[Any]]) -> Generator[bytes]:
    """Its rows go to a file as they come; the whole is an archive, and so complete only in the end."""
    with tempfile.TemporaryFile() as file:
        workbook = xlsxwriter.Workbook(
            file,
            {
                "constant_memory": True,
                "strings_to_formulas": False,
                "strings_to_urls": False,
                "strings_to_numbers": False,
            },
        )
        sheet = workbook.add_worksheet()
        plain = workbook.add_format(
            {"num_format": "@"}
        )  # text, so that nobody's typing turns 1-1 into a date
        for line, row in enumerate(rows):
            for column, cell in enumerate(row):
                number = isinstance(cell, int | float) and not isinstance(cell, bool)
                if number and abs(cell) <= MOST_NUMBER:
                    sheet.write_number(line, column, cell)
                elif shown := text(cell):
                    sheet.write_string(line, column, shown, plain)
        workbook.close()
        file.seek(0)
        while some := file.read(BYTES):
            yield some


def _refuse_unwritable(rows: Iterable[Sequence[Any]], encoding: str) -> None:
    """Characters without a form there are listed, and never replaced."""
    seen: set[str] = set()
    for row in rows:
        for cell in row:
            if isinstance(cell, str):
                seen.update(cell)
    if lost := sorted(char for char in seen if not _writable(char, encoding)):
        listed = " ".join(f"{char} (U+{ord(char):04X})" for char in lost[:100])
        raise Invalid(
            Finding(
                Say(
                    f"次の文字は {encoding} では表せません: {listed}。encoding を外すと UTF-8 で出力します。",
                    f"These characters have no form in {encoding}: {listed}. Leave encoding out for UTF-8.",
                ),
                parameter="encoding",
            )
        )


def _writable(char: str, encoding: str) -> bool:
    try:
        return char.encode(encoding).decode(encoding) == char
    except UnicodeError:
        return False
