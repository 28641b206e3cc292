"""Reading a file: from bytes to sheets of cells, each exactly as printed, whatever kind of file it was."""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import orjson

from app.kit.text import excerpt

ENCODINGS = {
    "utf-8": "utf-8",
    "utf-8-sig": "utf-8-sig",
    "utf-16": "utf-16",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "cp932": "cp932",
    "shift_jis": "cp932",  # the codec of that name fails on ① and ～, which city files are full of
}
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

MEDIA_TYPES = {
    ".txt": "text/tab-separated-values",
    ".tsv": "text/tab-separated-values",
    ".csv": "text/csv",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xls": "application/vnd.ms-excel",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
}

# No plan is this large: a file that is must not cost memory before it is refused.
MOST_LINES = 150_000
MOST_COLUMNS = 1_000
MOST_CELLS = 4_000_000

# What a spreadsheet would run. Our own exports put an apostrophe before it, which is taken away again here.
INERT = re.compile(r"\A'(?='*[=+\-@\t\r])")

# What a spreadsheet shows where a formula fails.
ERROR = re.compile(r"#(?:[A-Z]{3,}(?:/0)?[!?]|N/A|GETTING_DATA|名前\?)|Err:[0-9]{3}")

# As a form of the web sends a file: one part of several, each below a line that tells them apart.
FORM = re.compile(rb"\s*--[^\r\n]{1,200}\r?\nContent-(?:Disposition|Type|Length|Transfer-Encoding):", re.I)

NO_FORM = (
    "フォーム（multipart/form-data）として送られています。ファイルそのものを本文として送ってください"
    "（curl では -F ではなく --data-binary @ファイル名）。",
    "This is a form (multipart/form-data). Send the file itself as the body "
    "(with curl: --data-binary @FILE and not -F).",
)
# In both languages, behind what is wrong with a file that is one line.
LOST_BREAKS = (
    "ファイルの全体が1行になっています。送るときに改行が失われたのであれば、"
    "curl では -d ではなく --data-binary @ファイル名 で送ってください。",
    " All of the file stands in one line: if its line breaks were lost on the way, "
    "send it with curl --data-binary @FILE and not with -d.",
)


@dataclass(frozen=True, slots=True)
class Row:
    """Cells, whose columns are counted from 1."""

    line: int
    cells: list[str]

    def cell(self, column: int) -> str:
        return self.cells[column - 1] if column <= len(self.cells) else ""

    def filled(self) -> list[int]:
        """The columns in which something stands."""
        return [column for column, cell in enumerate(self.cells, 1) if cell.strip()]


@dataclass(frozen=True, slots=True)
class Sheet:
    encoding: str | None
    rows: list[Row]
    name: str | None = None
    # Cells that are merged with those on their right: where they begin, and their last column. None: not told.
    spans: Mapping[tuple[int, int], int] | None = None
    notes: list["Problem"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Records:
    """What speaks our own language already: objects, each with its line."""

    encoding: str | None
    objects: list[tuple[int, dict[str, Any]]]
    unclear: list["Problem"] = field(default_factory=list)  # what is no object


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a document that was not understood: where it stands, what is wrong and what to do."""

    line: int | None
    column: int | None
    text: str
    ja: str
    en: str
    sheet: str | None = None


class Unreadable(Exception):
    """A file that has no rows to speak of."""

    def __init__(self, line: int | None, ja: str, en: str) -> None:
        super().__init__(en)
        self.problem = Problem(line, None, "", ja, en)


def kind_of(name: str) -> str:
    """The suffix of a file of a kind that is read here."""
    suffix = PurePath(name).suffix.lower()
    if suffix not in MEDIA_TYPES:
        allowed = "、".join(MEDIA_TYPES)
        raise Unreadable(
            None,
            f"{excerpt(suffix) or excerpt(name)} のファイルは読めません。読めるのは {allowed} です。",
            f"A file of {excerpt(suffix) or excerpt(name)} cannot be read. "
            f"Save it as one of {', '.join(MEDIA_TYPES)}.",
        )
    return suffix


def read_file(
    content: bytes, name: str, encoding: str | None = None, wanted: Collection[str] = ()
) -> list[Sheet] | Records:
    """The rows of a file; of a workbook, those of the wanted sheets, or of all."""
    kind = kind_of(name)
    if FORM.match(content):
        raise Unreadable(1, *NO_FORM)
    if kind in (".xlsx", ".xls", ".ods"):
        from app.documents.spreadsheets import read_workbook  # calamine stays out of whoever reads text only

        return read_workbook(content, kind, wanted)
    _refuse_disguised(content, kind)
    if kind in (".json", ".jsonl"):
        return read_records(content, lines=kind == ".jsonl", encoding=encoding)
    if kind == ".csv":
        return [read_csv(content, encoding)]
    return [read(content, encoding)]


def _refuse_disguised(content: bytes, kind: str) -> None:
    if content.startswith(
        (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8")
    ):
        raise Unreadable(
            None,
            f"中身が {kind} のファイルではありません。本来の形式の拡張子にするか、{kind} で保存し直してください。",
            f"This is not what a {kind} file holds. Give it the suffix of what it is, or save it as {kind}.",
        )


# ---------------------------------------------------------------------------------------------------------
# Text


def read(content: bytes, encoding: str | None = None) -> Sheet:
    """Tab-separated text."""
    text, encoding = _decode(content, encoding)
    if "\n" not in text:  # lines as on the Macintosh of old, which Excel still offers
        text = text.replace("\r", "\n")
    _refuse_size(text.count("\n") + 1, text.count("\n") + text.count("\t") + 1)
    # Only \n and \r\n end a line here: str.splitlines() would also break at U+2028 and others inside a cell.
    if '"' in text:
        return Sheet(encoding, _narrow([*_quoted_rows(text)]))
    printed = text.removesuffix("\n").split("\n")
    rows = [Row(n, _live(line.removesuffix("\r").split("\t"))) for n, line in enumerate(printed, 1)]
    return Sheet(encoding, _narrow(rows))


# A spreadsheet puts a cell in quotation marks only where it must, and then doubles those inside.
QUOTED = re.compile(r'"((?:[^"]|"")*)"(?=\t|\r?\n|\r?\Z)')
ENDS = re.compile("[\t\n]")
NEEDED = re.compile('[\t\n,]|""')


def _quoted_rows(text: str) -> Iterator[Row]:
    text = text.removesuffix("\n")
    position, line, begins = 0, 1, 1
    cells: list[str] = []
    while True:
        quoted = QUOTED.match(text, position)
        if quoted and NEEDED.search(quoted[1]):
            cells.append(quoted[1].replace('""', '"').replace("\r\n", "\n"))
            line += quoted[1].count("\n")
            position = quoted.end()
        else:
            found = ENDS.search(text, position)
            end = found.start() if found else len(text)
            cells.append(text[position:end].removesuffix("\r"))
            position = end
        position += text.startswith("\r\n", position)
        if text.startswith("\t", position):
            position += 1
            continue
        yield Row(begins, _live(cells))
        if position == len(text):
            return
        position, line, cells = position + 1, line + 1, []
        begins = line


def read_csv(content: bytes, encoding: str | None = None) -> Sheet:
    text, encoding = _decode(content, encoding)
    separator = _separator(text)
    if separator == "\t":
        return read(content, encoding)
    _refuse_size(text.count("\n") + 1, text.count("\n") + text.count(separator) + 1)
    csv.field_size_limit(1_000_000)
    rows: list[Row] = []
    told = SEPARATOR.match(text)
    cells_of = io.StringIO(text[told.end() :] if told else text, newline="")
    reader = csv.reader(cells_of, delimiter=separator, strict=True)
    last = before = 1 if told else 0
    many_lines, inert = '"' in text, "'" in text  # whether any cell may be
    try:
        for cells in reader:
            if many_lines:
                cells = [cell.replace("\r\n", "\n") for cell in cells]
            rows.append(Row(last + 1, _live(cells) if inert else cells))
            last = before + reader.line_num
    except csv.Error:
        raise Unreadable(
            last + 1,
            'この行から始まるセルの引用符「"」が正しく閉じていません。表計算ソフトで CSV として保存し直してください。',
            "A quotation mark of a cell that begins here is not closed properly. Save it as CSV once more.",
        ) from None
    return Sheet(encoding, _narrow(rows))


SEPARATOR = re.compile('"?sep=(?P<mark>[,;\t])"?\r?(?:\n|$)')  # a line that spreadsheets write for each other


def _separator(text: str) -> str:
    """What stands between cells: what a line of its own says, or what most of the first lines have."""
    if told := SEPARATOR.match(text):
        return told["mark"]
    lines = text.split("\n", 100)[:100]
    return max(",\t;", key=lambda mark: sum(mark in line for line in lines))


def _live(cells: list[str]) -> list[str]:
    """Cells as they were before an export made them inert."""
    return [INERT.sub("", cell, count=1) if cell.startswith("'") else cell for cell in cells]


def _narrow(rows: list[Row]) -> list[Row]:
    """The rows, if a table may be as wide."""
    for row in rows:
        if len(row.cells) > MOST_COLUMNS:
            raise Unreadable(
                row.line,
                f"この行には {len(row.cells):,} 列あります。表は {MOST_COLUMNS:,} 列以内にしてください。",
                f"This line has {len(row.cells):,} columns. A table may have {MOST_COLUMNS:,}.",
            )
    return rows


def _refuse_size(lines: int, cells: int) -> None:
    if lines > MOST_LINES or cells > MOST_CELLS:
        raise Unreadable(
            None,
            f"ファイルが大きすぎます（{lines:,} 行、{cells:,} セル）。"
            f"{MOST_LINES:,} 行、{MOST_CELLS:,} セル以内に分けてください。",
            f"The file is too large ({lines:,} lines, {cells:,} cells). "
            f"Split it into files of at most {MOST_LINES:,} lines and {MOST_CELLS:,} cells.",
        )


def _is_broken_utf8(failure: UnicodeDecodeError) -> bool:
    """Whether Japanese in UTF-8 stands before the first byte that is none. By chance, CP932 hardly ever makes any."""
    begun = failure.object[: failure.start]
    return failure.encoding == "utf-8" and any(character >= "\u2000" for character in begun.decode())


def _decode(content: bytes, told: str | None, usual: Sequence[str] = ("utf-8", "cp932")) -> tuple[str, str]:
    if told is not None and told.lower() not in ENCODINGS:
        allowed = ", ".join(ENCODINGS)
        raise Unreadable(
            None,
            f"この文字コードは扱えません。次のいずれかを指定してください: {allowed}",
            f"This encoding is not supported. Name one of: {allowed}",
        )
    marked = [name for mark, name in MARKS.items() if content.startswith(mark)]
    candidates = [ENCODINGS[told.lower()]] if told is not None else marked or usual
    failures = []
    for name in candidates:
        try:
            return content.decode(name).removeprefix("\ufeff"), name
        except UnicodeDecodeError as failure:
            failures.append(failure)
            if _is_broken_utf8(failure):
                break
    furthest = max(failures, key=lambda failure: failure.start)  # most likely the encoding that was meant
    line = furthest.object[: furthest.start].decode(furthest.encoding, "ignore").count("\n") + 1
    tried = ", ".join(candidates[: len(failures)])
    raise Unreadable(
        line,
        f"文字として読めないバイトがあります（{tried} として読みました）。"
        "ファイルを UTF-8 で保存し直すか、正しい文字コードを指定してください。",
        f"A byte here is not text in {tried}. Save the file as UTF-8 or name its encoding.",
    )


# ---------------------------------------------------------------------------------------------------------
# JSON


def read_records(content: bytes, *, lines: bool, encoding: str | None = None) -> Records:
    """Objects: one a line, or those of an array, or the `results` of a list."""
    text, encoding = _decode(content, encoding, ["utf-8"])
    objects: list[tuple[int, Any]] = []
    unclear = []
    if lines:
        printed = text.removesuffix("\n").split("\n")
        _refuse_size(len(printed), len(printed))
        lost = LOST_BREAKS if len(printed) == 1 else ("", "")
        for line, one in enumerate(printed, 1):
            if one.strip():
                try:
                    objects.append((line, _parsed(one, line, lost)))
                except Unreadable as unreadable:
                    unclear.append(unreadable.problem)
    else:
        whole = _parsed(text, None)
        if isinstance(whole, dict) and "results" in whole:
            whole = whole["results"]
        # In one text there are no lines to speak of: the place in the array takes theirs.
        objects = list(enumerate(whole if isinstance(whole, list) else [whole], 1))
        _refuse_size(len(objects), len(objects))
    no_object = "JSON のオブジェクトにしてください。", "This is not a JSON object."
    unclear += [
        Problem(line, None, excerpt(str(one), 100), *no_object)
        for line, one in objects
        if not isinstance(one, dict)
    ]
    return Records(encoding, [each for each in objects if isinstance(each[1], dict)], unclear)


def _parsed(text: str, line: int | None, lost: tuple[str, str] = ("", "")) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        ja, en = lost
        why = f"{error.msg.partition(':')[0]}, column {error.colno}"
        raise Unreadable(
            line or error.lineno,
            f"JSON として読み取れません（{why}）。{ja}",
            f"This is not valid JSON ({why}).{en}",
        ) from None
