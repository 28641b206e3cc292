"""What the markup of a workbook says and its reader leaves out: errors, how numbers are shown, formulas that were never
worked out, in XLSX what is hidden, and in ODS which cells are merged. The reader has been through it before: it is
well-formed.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from html import unescape
from xml.etree import ElementTree
from zipfile import ZipFile

from app.documents.formats import AS_IT_IS, BUILT_IN, Format, plain
from app.documents.reading import ERROR, MOST_COLUMNS

Place = tuple[int, int]  # a row and a column, counted from 0


@dataclass
class Markup:
    """Of a sheet: what its cells show where that is more than their value, and what is wrong with its formulas."""

    shown: list[tuple[range, range, str]] = field(default_factory=list)
    printed: list[tuple[Place, str]] = field(default_factory=list)  # the same of single cells
    unsaved: list[Place] = field(default_factory=list)  # formulas without a value
    merged: list[tuple[Place, Place]] = field(default_factory=list)
    unclear: list[Place] = field(default_factory=list)  # numbers with a format that is not simple
    hidden: dict[str, list[range]] = field(default_factory=lambda: {"row": [], "col": []})  # counted from 1


# ---------------------------------------------------------------------------------------------------------
# XLSX

CELL = r"<(?:\w+:)?c\b(?={})([^>]*)(?<!/)>(.*?)</(?:\w+:)?c>"
FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")
VALUE = re.compile(rb"<(?:\w+:)?v\b[^>]*>([^<]+)<")
ATTRIBUTE = re.compile(r'\b([rst])="([^"]*)"')
USUAL = re.compile(rb' r="([A-Z]{1,3})([0-9]{1,7})" s="([0-9]+)"')  # of a number, as most programs write it
REFERENCE = re.compile(r"([A-Z]{1,3})([0-9]+)")
HIDDEN = re.compile(rb'<(?:\w+:)?(row|col)\b([^<>]*\bhidden="(?:1|true)"[^<>]*)>')
REACH = re.compile(rb'\b(r|min|max)="([0-9]{1,7})"')


def of_xlsx(archive: ZipFile) -> dict[str, Markup]:
    formats = _formats(archive)
    asked = _asked(formats)
    return {name: _of_sheet(archive.read(part), formats, asked) for name, part in _parts(archive)}


def _parts(archive: ZipFile) -> Iterator[tuple[str, str]]:
    """Each sheet's name, and where it stands in the archive."""
    links = _xml(archive, "xl/_rels/workbook.xml.rels")
    targets = {link.get("Id"): link.get("Target", "") for link in links}
    for sheet in _xml(archive, "xl/workbook.xml").findall("{*}sheets/{*}sheet"):
        link = next((value for name, value in sheet.items() if name.endswith("}id")), None)
        part = posixpath.normpath(posixpath.join("/xl", targets.get(link, ""))).lstrip("/")
        if part in archive.namelist():
            yield sheet.get("name", ""), part


def _formats(archive: ZipFile) -> dict[str, Format]:
    """The styles that show numbers otherwise than they are."""
    if "xl/styles.xml" not in archive.namelist():
        return {}
    styles = _xml(archive, "xl/styles.xml")
    book = _xml(archive, "xl/workbook.xml").find("{*}workbookPr")
    from_1904 = book is not None and book.get("date1904") in ("1", "true")
    codes = dict(BUILT_IN)
    for each in styles.findall("{*}numFmts/{*}numFmt"):
        codes[int(each.get("numFmtId", "0"))] = each.get("formatCode", "")
    formats = {
        number: Format.of(code, from_1904) for number, code in codes.items() if code.lower() not in AS_IT_IS
    }
    used = [int(each.get("numFmtId", "0")) for each in styles.findall("{*}cellXfs/{*}xf")]
    return {str(place): formats[number] for place, number in enumerate(used) if number in formats}


def _xml(archive: ZipFile, part: str) -> ElementTree.Element:
    return ElementTree.fromstring(archive.read(part))  # noqa: S314  (in a child with limits, as all of this)


def _asked(styles: Iterable[str]) -> re.Pattern[bytes]:
    """What cells look like that their value does not tell all of."""
    numbered = _one_of([f'{style}"' for style in styles] or ["none"])
    told = rf'[^>]*(?:\bt="e"|\bs="{numbered}|>\s*{FORMULA.pattern.decode()})'
    return re.compile(CELL.format(told).encode(), re.S)


def _one_of(words: list[str]) -> str:
    """A pattern of words, letter by letter: workbooks have thousands of styles, and each cell would try them all."""
    rests: dict[str, list[str]] = {}
    for word in words:
        rests.setdefault(word[0], []).append(word[1:])
    ways = (first + (_one_of(rest) if any(rest) else "") for first, rest in rests.items())
    return f"(?:{'|'.join(ways)})"


def _of_sheet(xml: bytes, formats: dict[str, Format], asked: re.Pattern[bytes]) -> Markup:
    markup = Markup()
    for cell in asked.finditer(xml):
        found = VALUE.search(cell[2])
        if found and (usual := USUAL.fullmatch(cell[1])) and (its := formats.get(usual[3].decode())):
            place = int(usual[2]) - 1, _column(usual[1].decode())
            _of_number(markup, place, found[1], its)
        else:
            _of_unusual(markup, cell, formats)
    if b'hidden="' in xml:
        for kind, attributes in HIDDEN.findall(xml):
            reach = {name: int(number) for name, number in REACH.findall(attributes)}
            first, last = (b"r", b"r") if kind == b"row" else (b"min", b"max")
            markup.hidden[kind.decode()].append(range(reach.get(first, 1), reach.get(last, 0) + 1))
    return markup


def _of_unusual(markup: Markup, cell: re.Match[bytes], formats: dict[str, Format]) -> None:
    told = dict(ATTRIBUTE.findall(cell[1].decode()))
    kind, place = told.get("t", "n"), _place(told.get("r", ""))
    found = VALUE.search(cell[2])
    value = unescape(found[1].decode()) if found else ""
    if not value and kind != "str" and FORMULA.search(cell[2]):
        markup.unsaved.append(place)
    elif value and kind == "e":
        markup.printed.append((place, value))
    elif found and kind == "n" and told.get("s") in formats:
        _of_number(markup, place, found[1], formats[told["s"]])


def _of_number(markup: Markup, place: Place, value: bytes, its: Format) -> None:
    try:
        number = float(value)
    except ValueError:  # a text that is not called one, which the reader has as it is
        return
    text = its.shown(number)
    if text is None:
        markup.unclear.append(place)
    elif text != plain(number):
        markup.printed.append((place, text))


def _place(reference: str) -> Place:
    found = REFERENCE.fullmatch(reference)
    return (int(found[2]) - 1, _column(found[1])) if found else (-1, -1)


@lru_cache(maxsize=MOST_COLUMNS)
def _column(letters: str) -> int:
    column = 0
    for letter in letters:
        column = 26 * column + ord(letter) - 64
    return column - 1


# ---------------------------------------------------------------------------------------------------------
# ODS

TAG = re.compile(
    rb"<table:(table-row|table-cell|covered-table-cell|table)(?=[\s/>])"
    rb"""((?:[^>"']++|"[^"]*+"|'[^']*+')*+)>"""
)
NUMBER = re.compile(rb'table:number-(columns|rows)-(repeated|spanned)="([0-9]{1,7})"')
NAME = re.compile(rb'table:name="([^"]*)"')
SHOWN = re.compile(rb"<text:p[^>]*>(.*?)</text:p>", re.S)


def of_ods(archive: ZipFile) -> dict[str, Markup]:
    xml = archive.read("content.xml")
    sheets: dict[str, Markup] = {}
    markup = Markup()
    row = column = next_row = 0
    for tag in TAG.finditer(xml):
        kind, told = tag.groups()
        numbers = {(way, what): int(count) for way, what, count in NUMBER.findall(told)}
        if kind == b"table":
            name = NAME.search(told)
            markup = sheets.setdefault(unescape(name[1].decode()) if name else "", Markup())
            row = next_row = 0
        elif kind == b"table-row":
            row, column = next_row, 0
            next_row = row + numbers.get((b"rows", b"repeated"), 1)
        else:
            wide = numbers.get((b"columns", b"repeated"), 1)
            down = numbers.get((b"rows", b"spanned"), 1), numbers.get((b"columns", b"spanned"), 1)
            if max(down) > 1:
                markup.merged.append(((row, column), (row + down[0] - 1, column + down[1] - 1)))
            if b"table:formula=" in told or b"percentage" in told:
                _of_cell(xml, tag, markup, (range(row, next_row), range(column, column + wide)))
            column += wide
    return sheets


def _of_cell(xml: bytes, tag: re.Match[bytes], markup: Markup, where: tuple[range, range]) -> None:
    end = tag.end() if tag[2].endswith(b"/") else xml.find(b"</table:table-cell>", tag.end())
    found = SHOWN.search(xml, tag.end(), end)
    text = unescape(re.sub(rb"<[^>]*>", b"", found[1]).decode()) if found else ""
    if b"value-type=" not in tag[2] and b"<text:p" not in xml[tag.end() : end]:
        markup.unsaved.append((where[0].start, where[1].start))
    elif b"percentage" in tag[2] or ERROR.fullmatch(text):
        markup.shown.append((*where, text))
