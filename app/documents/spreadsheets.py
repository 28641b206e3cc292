"""Reading spreadsheets. It runs in a child process only: a file of 5 KB can abort the library that opens it."""

import io
import re
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from typing import Any
from xml.etree import ElementTree

import python_calamine

from app.documents import markup
from app.documents.formats import plain
from app.documents.markup import Markup, Place
from app.documents.reading import MOST_COLUMNS, MOST_LINES, Problem, Row, Sheet, Unreadable
from app.documents.tables import MOST_PROBLEMS

MOST_ENTRIES = 1_000
MOST_UNPACKED = 150_000_000
MOST_SHEETS = 100
MOST_TOLD = 20  # stretches of hidden rows or columns that are named
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# What each kind must have inside, so that an archive of anything else is not taken for it.
INSIDE = {".xlsx": "xl/workbook.xml", ".ods": "content.xml"}
UNREADABLE = (
    *(python_calamine.CalamineError, ElementTree.ParseError, zipfile.BadZipFile, zlib.error),
    *(ValueError, OSError, KeyError, ArithmeticError, NotImplementedError),
)


def read_workbook(content: bytes, kind: str, wanted: Collection[str] = ()) -> list[Sheet]:
    _refuse_unlike(content, kind)
    try:
        workbook = python_calamine.load_workbook(io.BytesIO(content))
        told = {each.name: each for each in workbook.sheets_metadata}
        names = [name for name in workbook.sheet_names if str(told[name].typ).endswith("WorkSheet")]
        if len(names) > MOST_SHEETS:
            raise _too_large(f"シートが {len(names):,} 枚", f"{len(names):,} sheets")
        more = _markup(content, kind)
        return [
            _sheet(
                workbook.get_sheet_by_name(name),
                not str(told[name].visible).endswith("Visible"),
                more.get(name, Markup()),
                kind,
            )
            if not wanted or name in wanted
            else Sheet(None, [], name)
            for name in names
        ]
    except UNREADABLE as error:
        if "password" in str(error).lower():
            raise _locked() from None
        raise _broken(kind) from None


def _markup(content: bytes, kind: str) -> dict[str, Markup]:
    if kind == ".xls":
        return {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return markup.of_ods(archive) if kind == ".ods" else markup.of_xlsx(archive)


def _refuse_unlike(content: bytes, kind: str) -> None:
    """What can be seen from outside, before anything is unpacked."""
    if content.startswith(OLE):
        # An encrypted workbook is wrapped in the old container, under a name of its own.
        if "EncryptedPackage".encode("utf-16-le") in content:
            raise _locked()
        if kind != ".xls":
            raise _unlike(kind)
        return
    if kind == ".xls" and content[:2] == b"\x09\x08":  # an old workbook without the container
        return
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        raise _unlike(kind) from None
    if kind not in INSIDE or INSIDE[kind] not in {entry.filename for entry in entries}:
        raise _unlike(kind)
    if any(entry.flag_bits & 1 for entry in entries):
        raise _locked()
    if kind == ".ods" and b"manifest:encryption-data" in _manifest(archive):
        raise _locked()
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_ENTRIES or size > MOST_UNPACKED:
        raise _too_large(f"展開すると {size:,} バイト", f"{size:,} bytes when unpacked")


def _manifest(archive: zipfile.ZipFile) -> bytes:
    try:
        with archive.open("META-INF/manifest.xml") as manifest:
            return manifest.read(100_000)
    except (KeyError, zipfile.BadZipFile, OSError, NotImplementedError):
        return b""


def _sheet(sheet: Any, hidden: bool, more: Markup, kind: str) -> Sheet:
    """A sheet without its empty edges; what is merged downwards stands in each of its rows."""
    (top, _), (bottom, right) = sheet.start or (0, 0), sheet.end or (0, 0)
    if bottom - top >= MOST_LINES or right >= MOST_COLUMNS:
        place = f"{bottom + 1:,} 行 {right + 1:,} 列", f"row {bottom + 1:,}, column {right + 1:,}"
        raise _too_large(
            f"シート「{sheet.name}」は {place[0]}まで", f"sheet {sheet.name} reaches to {place[1]}"
        )
    notes: list[Problem] = []
    rows: list[Row] = []
    for line, values in enumerate(sheet.iter_rows(), top + 1):
        cells = [_printed(value, line, column, sheet.name, notes) for column, value in enumerate(values, 1)]
        rows.append(Row(line, cells))
    if more.unsaved and not hidden:
        raise _unsaved(sheet.name, more.unsaved)
    _show(rows, top, more)
    if notes:  # what was told of a date that is read as it is shown has become void
        printed = {(line + 1, column + 1) for (line, column), _ in more.printed}
        notes = [note for note in notes if (note.line, note.column) not in printed]
    notes += _unclear(rows, top, more.unclear[:MOST_PROBLEMS], notes, sheet.name)
    merged = more.merged if sheet.merged_cell_ranges is None else sheet.merged_cell_ranges
    _fill_down(rows, top, merged)
    if kind == ".xls":
        notes.append(
            Problem(
                None,
                None,
                "",
                "XLS では、セルのエラー（#DIV/0! など）は空欄、75% は 0.75 と読みます。"
                "表示どおりに読むには、.xlsx で保存し直してください。",
                "In XLS, cells with an error (#DIV/0!) are read as empty, and 75% as 0.75. "
                "Save as .xlsx to have them read as they are shown.",
                sheet.name,
            )
        )
    notes += _read_though_hidden(rows, more.hidden, sheet.name)
    if hidden:
        rows = []
        notes = [
            Problem(
                None,
                None,
                "",
                "非表示のシートなので、読みませんでした。",
                "This sheet is hidden and was not read.",
                sheet.name,
            )
        ]
    spans = {
        (row + 1, c0 + 1): c1 + 1
        for (r0, c0), (r1, c1) in merged
        if c1 > c0
        for row in range(r0, min(r1, bottom) + 1)
    }
    return Sheet(None, rows, sheet.name, spans, notes)


def _show(rows: list[Row], top: int, more: Markup) -> None:
    for lines, columns, text in more.shown:
        for row in rows[max(lines.start - top, 0) : max(lines.stop - top, 0)]:
            row.cells[columns.start : columns.stop] = [text] * len(row.cells[columns.start : columns.stop])
    for (line, column), text in more.printed:
        if 0 <= line - top < len(rows):
            rows[line - top].cells[column : column + 1] = [text]


def _fill_down(rows: list[Row], top: int, merged: Iterable[Any]) -> None:
    # A row in which nothing begins is the lower part of the one above, and says nothing of its own.
    speaks = [any(cell.strip() for cell in row.cells) for row in rows]
    for (r0, c0), (r1, _) in merged:
        first = r0 - top
        if r1 == r0 or not 0 <= first < len(rows) or c0 >= len(rows[first].cells):
            continue
        for below in range(first + 1, min(r1 - top, len(rows) - 1) + 1):
            if speaks[below]:
                rows[below].cells[c0] = rows[first].cells[c0]


def _printed(value: Any, line: int, column: int, sheet: str, notes: list[Problem]) -> str:
    if isinstance(value, str):
        # A literal line end is kept as such, the escape that spreadsheets write for it is not.
        return re.sub("\r\n?", "\n", value)
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return plain(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, date | datetime | time | timedelta):
        shown = value.isoformat() if not isinstance(value, timedelta) else str(value)
        if isinstance(value, datetime) and value.time() == time():
            shown = value.date().isoformat()
        notes.append(
            Problem(
                line,
                column,
                shown,
                "日付のセルです。どう表示されているかはファイルからは分からないので、この形で読みました。"
                "表示どおりにするには、文字列のセルにしてください。",
                "This cell is a date. How it is displayed the file does not tell; it was read like this. "
                "Make it a text cell to keep what is displayed.",
                sheet,
            )
        )
        return shown
    return "" if value is None else str(value)


def _unclear(
    rows: list[Row], top: int, places: Iterable[Place], notes: list[Problem], sheet: str
) -> Iterator[Problem]:
    told = {(note.line, note.column) for note in notes}
    for line, column in places:
        if 0 <= line - top < len(rows) and (line + 1, column + 1) not in told:
            yield Problem(
                line + 1,
                column + 1,
                rows[line - top].cell(column + 1),
                "表示形式のあるセルです。どう表示されているかは読み取れないので、値をこの形で読みました。"
                "表示どおりにするには、文字列のセルにしてください。",
                "This number has a format. How it is displayed could not be worked out; it was read like this. "
                "Make it a text cell to keep what is displayed.",
                sheet,
            )


def _read_though_hidden(rows: list[Row], hidden: dict[str, list[range]], sheet: str) -> Iterator[Problem]:
    """Hidden rows and columns in which something stands."""
    lines = {line for reach in hidden["row"] for line in reach}
    width = max((len(row.cells) for row in rows), default=0)
    places = {place for reach in hidden["col"] for place in range(reach.start, min(reach.stop, width + 1))}
    if lines and (found := [row.line for row in rows if row.line in lines and row.filled()]):
        yield _hidden("行", "rows", found, sheet)
    if found := [place for place in sorted(places) if any(row.cell(place).strip() for row in rows)]:
        yield _hidden("列", "columns", found, sheet)


def _hidden(ja: str, en: str, numbers: list[int], sheet: str) -> Problem:
    stretches: list[list[int]] = []
    for number in numbers:
        if stretches and number == stretches[-1][-1] + 1:
            stretches[-1][1:] = [number]
        else:
            stretches.append([number])
    named = [list(map(str, stretch)) for stretch in stretches[:MOST_TOLD]]
    others = (" ", "")
    if len(stretches) > MOST_TOLD:
        others = f" など {len(numbers):,} {ja}", f" and others, {len(numbers):,} in all"
    return Problem(
        None,
        None,
        "",
        f"非表示の{ja} {'、'.join(map('～'.join, named))}{others[0]}も読みました。",
        f"Hidden {en} were read, too: {', '.join(map('-'.join, named))}{others[1]}.",
        sheet,
    )


def _unsaved(sheet: str, places: list[tuple[int, int]]) -> Unreadable:
    row, column = places[0]
    return Unreadable(
        row + 1 or None,
        f"シート「{sheet}」の {len(places):,} か所に、計算されていない数式があります"
        f"（最初は {row + 1} 行 {column + 1} 列）。"
        "表計算ソフトで一度開いて、保存し直してください。",
        f"{len(places):,} formulas of sheet {sheet} were never worked out, the first in row {row + 1}, column "
        f"{column + 1}. Open the file once in a spreadsheet program and save it.",
    )


def _locked() -> Unreadable:
    return Unreadable(
        None,
        "パスワードで保護されたファイルは読めません。パスワードを外して保存し直してください。",
        "The file is protected by a password. Save it without one.",
    )


def _unlike(kind: str) -> Unreadable:
    return Unreadable(
        None,
        f"{kind} のファイルではありません。表計算ソフトで開き、{kind} で保存し直してください。",
        f"This is not a {kind} file. Open it in a spreadsheet program and save it as {kind}.",
    )


def _broken(kind: str) -> Unreadable:
    return Unreadable(
        None,
        f"{kind} のファイルとして壊れています。表計算ソフトで開き、保存し直してください。",
        f"This {kind} file is damaged. Open it in a spreadsheet program and save it again.",
    )


def _too_large(ja: str, en: str) -> Unreadable:
    return Unreadable(
        None,
        f"ファイルが大きすぎます（{ja}）。表の部分だけを新しいファイルに写して保存してください。",
        f"The file is too large ({en}). Copy the table alone into a new file.",
    )
