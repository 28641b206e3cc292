"""What the markup of a workbook says and its reader leaves out: errors, percentages, formulas that were never worked
out, and in ODS which cells are merged. The reader has been through it before: it is well-formed.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from html import unescape
from xml.etree import ElementTree
from zipfile import ZipFile

from app.documents.reading import ERROR

Place = tuple[int, int]  # a row and a column, counted from 0


@dataclass
class Markup:
    """Of a sheet: what its cells show where that is more than their value, and what is wrong with its formulas."""

    shown: list[tuple[range, range, str]] = field(default_factory=list)
    unsaved: list[Place] = field(default_factory=list)  # formulas without a value
    merged: list[tuple[Place, Place]] = field(default_factory=list)


# ---------------------------------------------------------------------------------------------------------
# XLSX

CELL = r"<(?:\w+:)?c\b(?={})([^>]*)(?<!/)>(.*?)</(?:\w+:)?c>"
FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")
VALUE = re.compile(rb"<(?:\w+:)?v\b[^>]*>([^<]+)<")
ATTRIBUTE = re.compile(rb'\b([rst])="([^"]*)"')
REFERENCE = re.compile(r"([A-Z]{1,3})([0-9]+)")
PERCENT = re.compile(r"(?:\.([0#?]+))?\s*%")
LITERAL = re.compile(r'"[^"]*"|[\\_*].')  # of a format: what it prints as it stands
PERCENTAGES = {9: 0, 10: 2}  # formats that every workbook has, and their decimals


def of_xlsx(archive: ZipFile) -> dict[str, Markup]:
    percentages = _percentages(archive)
    return {name: _of_sheet(archive.read(part), percentages) for name, part in _parts(archive)}


def _parts(archive: ZipFile) -> Iterator[tuple[str, str]]:
    """Each sheet's name, and where it stands in the archive."""
    links = _xml(archive, "xl/_rels/workbook.xml.rels")
    targets = {link.get("Id"): link.get("Target", "") for link in links}
    for sheet in _xml(archive, "xl/workbook.xml").findall("{*}sheets/{*}sheet"):
        link = next((value for name, value in sheet.items() if name.endswith("}id")), None)
        part = posixpath.normpath(posixpath.join("/xl", targets.get(link, ""))).lstrip("/")
        if part in archive.namelist():
            yield sheet.get("name", ""), part


def _percentages(archive: ZipFile) -> dict[str, int]:
    """The styles that show percentages, and with how many decimals."""
    if "xl/styles.xml" not in archive.namelist():
        return {}
    styles = _xml(archive, "xl/styles.xml")
    decimals = dict(PERCENTAGES)
    for each in styles.findall("{*}numFmts/{*}numFmt"):
        if found := PERCENT.search(LITERAL.sub("", each.get("formatCode", "")).partition(";")[0]):
            decimals[int(each.get("numFmtId", "0"))] = len(found[1] or "")
    formats = [int(each.get("numFmtId", "0")) for each in styles.findall("{*}cellXfs/{*}xf")]
    return {str(place): decimals[number] for place, number in enumerate(formats) if number in decimals}


def _xml(archive: ZipFile, part: str) -> ElementTree.Element:
    return ElementTree.fromstring(archive.read(part))  # noqa: S314  (in a child with limits, as all of this)


def _of_sheet(xml: bytes, percentages: dict[str, int]) -> Markup:
    markup = Markup()
    styles = "|".join(percentages) or "none"
    asked = CELL.format(rf'[^>]*(?:\bt="e"|\bs="(?:{styles})"|>\s*{FORMULA.pattern.decode()})')
    for cell in re.finditer(asked.encode(), xml, re.S):
        told = {name.decode(): text.decode() for name, text in ATTRIBUTE.findall(cell[1])}
        kind, place = told.get("t", "n"), _place(told.get("r", ""))
        found = VALUE.search(cell[2])
        value = unescape(found[1].decode()) if found else ""
        if not value and kind != "str" and FORMULA.search(cell[2]):
            markup.unsaved.append(place)
        elif value and kind == "e":
            _show(markup, place, value)
        elif value and kind == "n" and told.get("s") in percentages:
            _show(markup, place, _percentage(value, percentages[told["s"]]))
    return markup


def _place(reference: str) -> Place:
    found = REFERENCE.fullmatch(reference)
    if not found:
        return -1, -1
    column = 0
    for letter in found[1]:
        column = 26 * column + ord(letter) - 64
    return int(found[2]) - 1, column - 1


def _show(markup: Markup, place: Place, text: str) -> None:
    row, column = place
    markup.shown.append((range(row, row + 1), range(column, column + 1), text))


def _percentage(value: str, decimals: int) -> str:
    return f"{(100 * Decimal(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP):f}%"


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
