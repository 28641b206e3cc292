"""What measures are called by: their numbers, with those of the headings above them where it takes these.

Where rows have no numbers of their own, or several measures would share them, the numbers may stand at the beginning
of titles. Numbers that begin anew under each heading, or are of a kind that does, are counted together with it.
A plan without numbers is asked about, or its measures are counted as they come. A section is what the outermost
number or heading says; the headings between it and the measure lead to the measure, as its numbers do.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.documents.numbering import label
from app.documents.tables import LONGEST, MOST_LABELS, Entry, Notes, folded
from app.documents.vocabulary import plain, year_alone
from app.kit.text import excerpt

CODE = re.compile(r"[^\s/,\u0000-\u001f\u007f-\u009f]{1,64}")
NOT_DIGITS = re.compile("[^0-9０-９]")
MAY_NUMBER = re.compile("(番号|コード|CD|ID|No\\.?)$", re.I)  # at the end of a header
KANJI_DIGITS = "一二三四五六七八九十"
NO_SECTION = "0"  # where a table has none


@dataclass(frozen=True, slots=True)
class Called:
    """What the numbers of a row say: of its measure, and of the section that this stands in."""

    code: str
    path: list[str]
    section_code: str
    section_label: str | None
    section_title: str | None


def take_from_titles(entries: Sequence[Entry]) -> None:
    """The numbers of a table's measures, if they stand at the beginning of their titles."""
    if not entries or entries[0].block.coded:
        return
    first = [entry for entry in entries if not entry.again]
    if all(entry.own for entry in entries) and not _collide(first):
        return
    numbered = [entry for entry in first if (found := label(entry.title)) and found.rest]
    enough = len(first) if entries[0].block.of("path") else len(first) / 2
    if not numbered or len(numbered) < enough:
        return
    for entry in entries:
        if (found := label(entry.title)) and found.rest:
            entry.own = [*entry.own, (found.printed, found)]
            entry.title = found.rest


def _collide(entries: Sequence[Entry]) -> bool:
    """Whether measures with different titles would have the same numbers."""
    titles: dict[tuple[object, ...], str] = {}
    for entry in entries:
        numbers = [found.numbers for _, found in entry.own if found]
        title = titles.setdefault((*map(folded, entry.groups), *numbers), entry.title)
        if title != entry.title and folded(title) != folded(entry.title):
            return True
    return False


class Codes:
    """Tells what each measure of a document is called by. All its entries have to be known before."""

    def __init__(self, entries: Sequence[Entry], numbering: str | None, notes: Notes) -> None:
        self.numbering = numbering
        self.notes = notes
        self.counted: dict[tuple[str, str], str] = {}  # by headings and title, where measures have no numbers
        self._take_from_sheets(entries)
        self.with_headings = _begin_anew(entries)
        self.all_asked = numbering is None and not any(entry.own or entry.block.coded for entry in entries)
        if self.all_asked and entries:
            self.notes.sheet = entries[0].sheet
            self._ask_number(entries[0])  # once for all of them

    def _take_from_sheets(self, entries: Sequence[Entry]) -> None:
        """Sheets called 基本目標1 and 基本目標2 are headings if numbers begin anew on each, and none stands above."""
        names = dict.fromkeys(entry.sheet or "" for entry in entries)
        numbered = {found.numbers for name in names if (found := label(name)) and _is_heading(name)}
        if len(names) < 2 or len(numbered) < len(names) or not _differ_by_sheet(entries):
            return
        if any(entry.groups or entry.block.coded or not entry.numbers for entry in entries):
            return
        for entry in entries:
            entry.groups = [entry.sheet or ""]
        listed = "、".join(names)
        self.notes.sheet = None
        self.notes.warn(
            f"シートごとに番号が始まるので、シートの名前（{excerpt(listed, 100)}）を見出しとして読みました。",
            f"Numbers begin anew on each sheet: their names ({excerpt(listed, 100)}) were read as headings.",
        )

    def of(self, entry: Entry) -> Called | None:
        numbers = entry.numbers
        outer = entry.groups if self.with_headings else []
        inner = entry.groups[1:]
        path = [*map(_printed, outer[:1]), *inner, *(printed for printed, _ in entry.own)]
        if entry.block.coded:
            code = entry.code
            if not code:
                if not entry.again:
                    self._ask_code(entry)
                return None
        elif numbers:
            code = "-".join([*map(_coded, outer), *map(str, numbers)])
        elif self.numbering == "order":
            key = folded("".join(entry.groups)), folded(entry.title)
            code = self.counted.setdefault(key, str(len(self.counted) + 1))
            path = inner
        else:
            if not entry.again and not self.all_asked:
                self._ask_number(entry)
            return None
        if not CODE.fullmatch(code) or len(path) > MOST_LABELS:
            self.notes.wrong(
                "番号は、空白・斜線・コンマのない 64 文字以内、10 段階以内にしてください。",
                "A number has at most 64 characters, without spaces, slashes and commas, in at most 10 parts.",
                entry.row,
                next(iter(entry.block.places("code")), None),
            )
            return None
        section, printed, title = _section(entry, numbers)
        if any(len(heading) > LONGEST["path"] for heading in (printed or "", *inner)):
            self.notes.wrong(
                f"この施策の上の見出しが長すぎます。{LONGEST['path']} 文字以内にしてください。",
                f"A heading above this measure is too long. Shorten it to at most {LONGEST['path']} characters.",
                entry.row,
            )
            return None
        if not CODE.fullmatch(section):
            self.notes.wrong(
                "節のコードは、空白・斜線・コンマのない 64 文字以内にしてください。",
                "The code of a section has at most 64 characters, without spaces, slashes and commas.",
                entry.row,
            )
            return None
        return Called(code, path, section, printed, title)

    def _ask_code(self, entry: Entry) -> None:
        self.notes.wrong(
            "施策のコードがありません。書き入れてください。",
            "This measure has no code. Write it in.",
            entry.row,
            entry.block.places("code")[0],
        )

    def _ask_number(self, entry: Entry) -> None:
        named = [(each, "code") for each in entry.block.of("extra") if MAY_NUMBER.search(plain(each.name))]
        innermost = label(entry.groups[-1]) if entry.groups else None
        if innermost and not innermost.rest:  # a column of headings that has numbers alone
            named += [(each, "path") for each in entry.block.of("section")[-1:]]
        column, field = named[0] if named else (None, "")
        told = f'mapping={{"{column.place}": "{field}"}}' if column else ""
        ja = f"列「{column.name}」で見分けるのであれば {told}、" if column else ""
        en = f"tell {told} if they are known by their {column.name}, " if column else ""
        self.notes.wrong(
            f"番号のない施策です。番号を書くか、{ja}番号のない計画であれば "
            "numbering=order（名称で見分け、順に番号を付ける）を指定してください。",
            f"This measure has no number. Write one, {en}or tell numbering=order: measures are then known by their "
            "titles and counted in order.",
            entry.row,
            entry.block.title,
        )


def _is_heading(name: str) -> bool:
    """Whether the numbered name of a sheet says what it counts: 基本目標1 does, 一 and R5 do not."""
    return not year_alone(name) and any(each.isalpha() and each not in KANJI_DIGITS for each in name)


def _differ_by_sheet(entries: Iterable[Entry]) -> bool:
    """Whether a number stands on several sheets, for different measures."""
    seen: dict[tuple[int, ...], tuple[str | None, str]] = {}
    for entry in entries:
        sheet, title = seen.setdefault(entry.numbers, (entry.sheet, entry.title))
        if sheet != entry.sheet and folded(title) != folded(entry.title):
            return True
    return False


def _begin_anew(entries: Sequence[Entry]) -> bool:
    """Whether numbers are counted anew under each heading."""
    headings: dict[tuple[object, ...], tuple[str, ...]] = {}
    for entry in entries:
        numbers = entry.numbers
        if entry.again or not numbers:
            continue
        if len(numbers) == 1 and any(found and found.relative for _, found in entry.own):
            return True
        above = tuple(map(folded, entry.groups))
        if headings.setdefault((*entry.block.years, numbers), above) != above:
            return True
    return False


def _section(entry: Entry, numbers: tuple[int, ...]) -> tuple[str, str | None, str | None]:
    """The code of the section that the row stands in, its label and its title."""
    code, printed, title = NO_SECTION, None, None
    if entry.groups:
        outermost = entry.groups[0]
        found = label(outermost)
        code, printed = _coded(outermost), _printed(outermost)
        title = (found.rest[: LONGEST["title"]] or None) if found else None
    elif len(numbers) > 1:
        code = str(numbers[0])
        printed, found = entry.own[0]
        if found and len(found.numbers) > 1:  # 1 of 1-(1)-①
            printed = NOT_DIGITS.split(printed)[0] or code
        elif found:
            printed, title = found.printed, found.rest or None
    return entry.section_code or code, printed, title


def _printed(heading: str) -> str:
    found = label(heading)
    return found.printed if found else heading


def _coded(heading: str) -> str:
    """The numbers of a heading, or itself in short where it has none."""
    found = label(heading)
    if found:
        return "-".join(map(str, found.numbers))
    return re.sub(r"[\s/,，／、]+", "・", heading.strip())[:30].strip("・")
