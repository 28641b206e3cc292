"""Recognising a table: from sheets of cells to evaluations, and a list of all that was not understood.

The rules, in short. A *header* is a row, or two or three under each other, whose cells name three different
fields or more (`vocabulary.py`). A blank or merged cell in front of a title means the one above. What a measure is
called by is its number (`numbering.py`): from the columns of numbers, with those of the headings above them where
they begin anew under each, or from the title's own beginning. Totals, notes, legends and headings are no measures.
Where a rule is not sure it does not guess: it says what it found, and how to tell.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Any, NotRequired, TypedDict

from pydantic_core import PydanticCustomError

from app import fiscal_years
from app.documents import legends
from app.documents.numbering import Label, label
from app.documents.reading import Problem, Row, Sheet
from app.documents.vocabulary import (
    KNOWN,
    YEARLY,
    Header,
    header,
    plain,
    spaced,
    year_alone,
    years_of,
)
from app.kit.text import MANY_LINES, excerpt, fold

ENOUGH = 3  # different fields make a header: a row of data may well hold one, such as the title 計画
MOST_ROWS_ABOVE = 300  # filled ones, in which a header has to come
LISTED = "項目、計画、実施内容、評価、理由・課題等、計画内容"

LONGEST = {
    "path": 100,
    "title": 500,
    "implementation": 10_000,
    "rating": 20,
    "rationale": 10_000,
    "next_plan": 10_000,
    "department": 100,
    "extra": 10_000,
}
ONE_LINE = {"path", "title", "rating", "department"}
UNKEEPABLE = re.compile(rf"[{MANY_LINES.refused}\ud800-\udfff]")
MOST_LABELS = 10  # no more numbers may lead to a measure
MOST_EXTRA = 50
OURS = "extra."  # before the names of further columns in our own exports, so that none is taken for another
NO_SECTION = "0"  # where a table has none
CODE = re.compile(r"[^\s/,\u0000-\u001f\u007f-\u009f]{1,64}")
MOST_PROBLEMS = 1_000  # nobody corrects more in one go, and a hostile file could have a million

SUBTITLE = re.compile(r"[(（].*[)）]")
HEADING = re.compile(
    r"第.{1,5}[部章節編]|基本(目標|方針|施策|方向)|重点(目標|施策|項目)|施策の(柱|方向)|[柱目標方針]+\s*[0-9０-９①-⑳Ⅰ-Ⅻ]"
)
TOTAL = re.compile(
    r"(第.{1,5}[部章節]|.{0,10}[\s　])?(合計|小計|総計|総合計|累計|計|平均|割合|構成比)([(（].*[)）])?"
)
NOTE = re.compile(
    r"[※＊*]|[（(〔\[【]?(注意?|備考|出典|資料|凡例)\d*([）)〕\]】\s:：.．、\d]|$)|[（(〔\[【]注"
)
AGAIN = re.compile(r"[（(〔\[【<＜]?\s*再\s*掲")
DEPARTMENT = re.compile(r".+(課|室|係|部|局|センター|委員会|保育所|図書館|公民館)$")


class Mapped(TypedDict):
    """What a column was understood as. The fiscal year is that of the evaluations its cells belong to."""

    column: int
    header: str
    field: str
    fiscal_year: NotRequired[int]


@dataclass(frozen=True)
class Asked:
    """What is told beside the document, because it does not say it or is not understood."""

    fiscal_year: int | None = None
    # Columns by their number or printed header: what field each is, and of which year.
    mapping: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sheets: tuple[str, ...] = ()
    numbering: str | None = None  # "order": measures without numbers are counted as they come
    on_repeat: str | None = None  # "skip" or "keep" rows that say 再掲 and differ


@dataclass(frozen=True, slots=True)
class RecognisedEvaluation:
    line: int
    section_code: str
    section_label: str | None
    path: list[str]
    code: str
    title: str
    fiscal_year: int
    ordinal: int
    implementation: str | None
    rating: str | None
    rating_printed: str | None
    rationale: str | None
    next_plan: str | None
    department: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    sheet: str | None = None


@dataclass(frozen=True, slots=True)
class RecognisedMeasure:
    line: int
    section_code: str
    path: list[str]
    code: str
    title: str
    sheet: str | None = None


@dataclass(frozen=True, slots=True)
class Recognised:
    title: str | None
    subtitle: str | None
    fiscal_years: list[int]
    mapping: list[Mapped]
    evaluations: list[RecognisedEvaluation]
    problems: list[Problem]
    measures: list[RecognisedMeasure] = field(default_factory=list)
    sections: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)  # label and title
    warnings: list[Problem] = field(default_factory=list)
    legend: dict[str, str] = field(default_factory=dict)
    sheets: list[str] = field(default_factory=list)
    counted: bool = False  # the codes are not from the document: measures were counted as they came
    # Of each sheet that was read: the columns of its first header; what each line was taken for, and for which measure.
    layouts: dict[str | None, list["Column"]] = field(default_factory=dict)
    taken: dict[str | None, dict[int, tuple[str, str | None]]] = field(default_factory=dict)


@dataclass(slots=True)
class Column:
    place: int  # counted from 1
    name: str  # as printed
    field: str
    year: int | None = None
    told: bool = False  # by the mapping that came with the document


@dataclass(slots=True)
class Block:
    """A header and the rows below it, to the next header."""

    header: list[Row]
    columns: list[Column]
    width: int
    years: list[int]
    dated: frozenset[int]  # the columns whose header tells a year
    rows: list[Row] = field(default_factory=list)
    _of: dict[tuple[str, ...], list[Column]] = field(default_factory=dict)

    def of(self, *fields: str) -> list[Column]:
        """The columns of these fields. Whoever changes what a column is, forgets what was found before."""
        if (found := self._of.get(fields)) is None:
            found = self._of[fields] = [column for column in self.columns if column.field in fields]
        return found

    def forget(self) -> None:
        self._of.clear()


@dataclass(slots=True)
class Entry:
    """One row of a table, with the cells that lead to it carried down from above."""

    sheet: str | None
    row: Row
    block: Block
    groups: list[str]
    own: list[tuple[str, Label | None]]
    title: str
    year: str = ""  # as the row tells it
    again: bool = False


@dataclass(slots=True)
class Found:
    """What the numbers of a row say."""

    code: str
    path: list[str]
    section: str
    label: str | None  # of the section
    title: str | None


def recognise(sheets: Sheet | Sequence[Sheet], asked: Asked | None = None) -> Recognised:
    document = _Document(asked or Asked())
    document.read([sheets] if isinstance(sheets, Sheet) else sheets)
    return document.recognised()


def unrated(mark: str) -> bool:
    return fold(mark) in UNRATED


# The dashes are many because converters turn the one of CP932 into different characters.
UNRATED = {
    fold(mark)
    for mark in (
        *"-‐‑‒–—―−－ー─／/＼",
        "評価対象外",
        "対象外",
        "評価なし",
        "評価無し",
        "未評価",
        "評価せず",
        "評価不能",
        "評価不可",
    )
} | {fold(mark) for mark in ("完了", "終了", "該当なし", "なし", "--", "ーー", "――")}
SYMBOLS = "◎○〇◯●△▲▽▼×✕☓✖☆★◇◆□■"
MODIFIED = re.compile(
    rf"([{SYMBOLS}])(?![{SYMBOLS}]).+|([A-ZＡ-Ｚa-zａ-ｚ0-9])\s*(?:[(（].+[)）]|[:：].+)", re.S
)


def code_of(mark: str) -> str | None:
    """The code that a printed mark stands for: △ for △コロナ; none for what says that there is no rating."""
    if not mark.strip() or unrated(mark):
        return None
    found = MODIFIED.fullmatch(mark)
    return (found[1] or found[2]) if found else mark


def _filled(row: Row) -> list[int]:
    """The columns, counted from 1, in which something stands."""
    return [column for column, cell in enumerate(row.cells, 1) if cell.strip()]


class _Document:
    """What has been understood so far, while the sheets are read from top to bottom."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.title: str | None = None
        self.subtitle: str | None = None
        self.sheet: str | None = None
        self.mapping: list[Mapped] = []
        self.evaluations: list[RecognisedEvaluation] = []
        self.measures: dict[str, RecognisedMeasure] = {}
        self.sections: dict[str, tuple[str | None, str | None]] = {}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.legend: dict[str, str] = {}
        self.sheets: list[str] = []
        self.untold = 0
        self.context: int | None = None  # the fiscal year that the lines above the table tell
        self.entries: list[Entry] = []
        self.header_cells: list[str] = []
        self.year_asked: int | None = None  # the line of a header whose year has no era
        self.ordinals: Counter[tuple[str, int]] = Counter()
        self.seen: dict[tuple[str, int], tuple[str | None, int]] = {}  # where a measure's year was read
        self.texts: dict[tuple[str, int], dict[tuple[Any, ...], int]] = defaultdict(dict)
        self.used: set[str] = set()  # keys of the mapping that found their column
        self.first_texts: dict[str, list[list[str]]] = defaultdict(list)
        self.ordered: dict[tuple[str, str], str] = {}
        self.spans: Mapping[tuple[int, int], int] | None = None
        self.layouts: dict[str | None, list[Column]] = {}
        self.taken: dict[str | None, dict[int, tuple[str, str | None]]] = defaultdict(dict)

    def recognised(self) -> Recognised:
        def order(problem: Problem) -> tuple[str, int, int]:
            return problem.sheet or "", problem.line or 0, problem.column or 0

        problems = sorted(self.problems, key=order)
        if self.untold:
            ja = f"問題がほかに {self.untold:,} か所あります。上の問題を直して、もう一度お試しください。"
            en = f"There are {self.untold:,} more problems. Correct those above and try again."
            problems.append(Problem(None, None, "", ja, en))
        return Recognised(
            self.title,
            self.subtitle,
            sorted({evaluation.fiscal_year for evaluation in self.evaluations}),
            self.mapping,
            self.evaluations,
            problems,
            list(self.measures.values()),
            self.sections,
            sorted(self.warnings, key=order)[:MOST_PROBLEMS],
            self.legend,
            self.sheets,
            bool(self.ordered),
            self.layouts,
            self.taken,
        )

    # ---- telling

    def note(
        self, where: list[Problem], ja: str, en: str, row: Row | None = None, column: int | None = None
    ) -> None:
        cells = row.cells if row else []
        text = cells[column - 1] if column and column <= len(cells) else " ".join(filter(None, cells))
        where.append(Problem(row.line if row else None, column, excerpt(text, 100), ja, en, self.sheet))

    def wrong(self, ja: str, en: str, row: Row | None = None, column: int | None = None) -> None:
        if len(self.problems) == MOST_PROBLEMS:
            self.untold += 1
        else:
            self.note(self.problems, ja, en, row, column)

    def warn(self, ja: str, en: str, row: Row | None = None, column: int | None = None) -> None:
        if len(self.warnings) < MOST_PROBLEMS:
            self.note(self.warnings, ja, en, row, column)

    def take(self, row: Row, kind: str, code: str | None = None) -> None:
        self.taken[self.sheet][row.line] = kind, code

    # ---- sheets

    def read(self, sheets: Sequence[Sheet]) -> None:
        several = len(sheets) > 1
        unknown = [name for name in self.asked.sheets if name not in {sheet.name for sheet in sheets}]
        if unknown:
            names = "、".join(sheet.name or "" for sheet in sheets)
            self.wrong(
                f"シート「{excerpt(unknown[0])}」はありません。あるのは {excerpt(names, 300)} です。",
                f"There is no sheet {excerpt(unknown[0])}; there are {excerpt(names, 300)}.",
            )
            return
        found = False
        for sheet in sheets:
            if self.asked.sheets and sheet.name not in self.asked.sheets:
                continue
            self.sheet = sheet.name if several else None
            self.warnings += [note for note in sheet.notes if len(self.warnings) < MOST_PROBLEMS]
            rows = [row for row in sheet.rows if _filled(row)]
            self.spans = sheet.spans
            start = self.find_header(rows)
            if start is None:
                if rows and several:
                    self.warn(
                        "表の見出しがないので、このシートは読みませんでした。",
                        "This sheet has no table header and was not read.",
                    )
                continue
            found = True
            if sheet.name is not None:
                self.sheets.append(sheet.name)
            self.read_sheet(rows, start)
        self.compose(self.entries)
        self.write(self.entries)
        self.sheet = None
        if not found:
            encodings = {sheet.encoding for sheet in sheets if sheet.encoding}
            ja = f"（文字コードは {', '.join(encodings)} として読みました）" if encodings else ""
            en = f"; the file was read as {', '.join(encodings)}" if encodings else ""
            self.wrong(
                f"表の見出し（{LISTED}など）が見つかりません{ja}。"
                "見出しの行があるファイルを送るか、正しい文字コードを encoding で指定するか、"
                "mapping で列の見出しを教えてください。",
                f"No table header ({LISTED} or the like) was found{en}. "
                "Send a file that has its header row, name the right encoding, or tell the columns with mapping.",
            )
        elif unused := [name for name in self.asked.mapping if name not in self.used]:
            self.wrong(
                f"mapping の「{excerpt('、'.join(unused), 200)}」にあたる列がありません。"
                "列の番号か、印刷されているとおりの見出しで書いてください。",
                f"mapping names {excerpt(', '.join(unused), 200)}, and there is no such column. "
                "Name a column by its number or by its header as printed.",
            )

    def read_sheet(self, rows: list[Row], start: int) -> None:
        for row in rows:
            self.check_characters(row)
        self.read_top(rows[:start])
        blocks: list[Block] = []
        place = start
        while place < len(rows):
            if size := self.header_size(rows, place, first=place == start) or int(place == start):
                following = rows[place + size : place + size + 30]
                blocks.append(self.read_header(rows[place : place + size], following))
                place += size
            else:
                blocks[-1].rows.append(rows[place])
                place += 1
        # Blocks with the same columns are one table with its header repeated.
        for _, alike in groupby(blocks, key=lambda block: [(c.place, c.field) for c in block.columns]):
            self.read_blocks(list(alike))

    # ---- characters

    def check_characters(self, row: Row) -> None:
        if not UNKEEPABLE.search("".join(row.cells)):
            return
        for column, cell in enumerate(row.cells, 1):
            if found := UNKEEPABLE.search(cell):
                name = f"U+{ord(found[0]):04X}"
                self.wrong(
                    f"使えない文字 {name} が入っています。取り除いてください。",
                    f"The character {name} cannot be kept. Remove it.",
                    row,
                    column,
                )

    def too_long(self, most: int, row: Row, column: int) -> None:
        self.wrong(
            f"{len(row.cells[column - 1]):,} 文字あります。{most:,} 文字以内にしてください。",
            f"This has {len(row.cells[column - 1]):,} characters. Shorten it to at most {most:,}.",
            row,
            column,
        )

    # ---- the lines above the table

    def read_top(self, rows: list[Row]) -> None:
        """Above the first header stand a title, perhaps a subtitle in brackets, a legend, and what is not read."""
        lines: list[str] = []
        legend = legends.read([[cell for cell in row.cells if cell.strip()] for row in rows])
        self.legend = {**legend.codes, **self.legend}
        self.headings: list[tuple[str, str]] = []  # how each is written, and its text
        for place, row in enumerate(rows):
            column = _filled(row)[0]
            texts = list(dict.fromkeys(cell.strip() for cell in row.cells if cell.strip()))
            text = texts[0]
            lines += texts
            if place in legend.rows:
                self.take(row, "legend")
                continue
            in_brackets = SUBTITLE.fullmatch(text) is not None
            alone = len(texts) == 1
            if alone and HEADING.match(text) and label(text):
                self.headings.append((_style(text), text))
                self.take(row, "heading")
            elif (
                alone
                and self.subtitle is None
                and (in_brackets or (self.title not in (None, text) and years_of(text)[0]))
            ):
                self.subtitle = text
                self.take(row, "subtitle")
                if len(text) > LONGEST["title"]:
                    self.too_long(LONGEST["title"], row, column)
            elif (
                self.title is None
                and alone
                and not in_brackets
                and not year_alone(text)
                and not NOTE.match(text)
            ):
                self.title = " ".join(text.split("\n"))
                self.take(row, "title")
                if len(text) > LONGEST["title"]:
                    self.too_long(LONGEST["title"], row, column)
            elif not (alone and year_alone(text)) and self.sheet is None:
                self.warn(
                    "見出しより上のこの行は、題名でも括弧書きの副題でも凡例でもないので、読みませんでした。",
                    "This line above the header is no title, no subtitle in brackets and no legend; it was not read.",
                    row,
                    column if alone else None,
                )
        self.read_context(rows, lines)

    def read_context(self, rows: list[Row], lines: list[str]) -> None:
        """The fiscal year that the lines above the table say they report on."""
        told = [years_of(line) for line in lines]
        reported = list(dict.fromkeys(year for years, _ in told for year in years))
        every = list(dict.fromkeys(year for _, years in told for year in years))
        chosen = reported or every
        self.context = chosen[0] if len(chosen) == 1 else None
        broken = [row for row in rows for cell in row.cells if re.search("[元0-9０-９]年度", cell)]
        if self.asked.fiscal_year is not None:
            if self.context not in (None, self.asked.fiscal_year):
                self.warn(
                    f"表の上の行は {self.context} 年度ですが、"
                    f"指定された {self.asked.fiscal_year} 年度として読みました。",
                    f"The lines above the table say {self.context}; it was read as {self.asked.fiscal_year}, as told.",
                )
            self.context = self.asked.fiscal_year
        elif broken and not every:
            self.wrong(
                "年度を読み取れません。平成29年度のように書いてください。",
                "The fiscal year cannot be read. Write it like 平成29年度.",
                broken[0],
                _filled(broken[0])[0],
            )

    # ---- headers

    def meant(self, place: int, cell: str) -> Header | None:
        """What a header cell says, by the mapping that came with the document, else by its words."""
        for key in (str(place), plain(cell)):
            if key in self.asked.mapping and (cell.strip() or key == str(place)):
                return Header((self.asked.mapping[key]["field"],), self.asked.mapping[key].get("fiscal_year"))
        return header(cell)

    def named(self, place: int, cell: str) -> Header | None:
        """The same where it is to be seen whether a row is a header: a number alone tells nothing of its row."""
        told = self.asked.mapping.get(plain(cell)) if cell.strip() else None
        return Header((told["field"],)) if told else header(cell)

    def fields_in(self, row: Row) -> set[str]:
        found: set[str] = set()
        for place, cell in enumerate(row.cells, 1):
            if 0 < len(cell) <= 100 and (header := self.named(place, cell)):
                found.add("|".join(header.fields))
        return found

    def find_header(self, rows: list[Row]) -> int | None:
        near = range(min(len(rows), MOST_ROWS_ABOVE))
        for place in near:
            if self.header_size(rows, place, first=True):
                return place
        # Where columns are told by their numbers, any words may be their header: the first row that fills them all.
        told = [int(key) for key in self.asked.mapping if key.isdecimal()]
        if len(told) >= ENOUGH:
            for place in near:
                if all(0 < len(_cell(rows[place], column).strip()) <= 40 for column in told):
                    return place
        return None

    def header_size(self, rows: list[Row], place: int, *, first: bool = False) -> int:
        """How many rows of header begin here; none if it is no header."""
        row = rows[place]
        if not first:  # a quick look, for the many rows that are none
            words = sum(
                _word(cell) or (bool(self.asked.mapping) and plain(cell) in self.asked.mapping)
                for cell in row.cells
                if 0 < len(cell) <= 20
            )
            if words < 2 and not (words == 1 and place + 1 < len(rows) and self.fields_in(rows[place + 1])):
                return 0
        alone = self.fields_in(row)
        size = (
            1 if len(alone) >= ENOUGH or (len(alone) == 2 and "title" in alone and self.all_known(row)) else 0
        )
        # Upper rows that hold years or groups only, above the one with the words.
        together = set(alone)
        for more in (1, 2):
            if place + more >= len(rows):
                break
            below = rows[place + more]
            if size and self.is_below(rows[place : place + more], below):
                size = more + 1
                continue
            if size == 0 and _filled(row) != [1] and (alone or self.is_upper(row)) and self.all_short(below):
                together |= self.fields_in(below)
                if len(together) >= ENOUGH and self.all_known(row) and (self.fields_in(below) - alone):
                    size = more + 1
                    continue
            break
        return size

    def all_known(self, row: Row) -> bool:
        return all(
            self.named(p, cell) or year_alone(cell) for p, cell in enumerate(row.cells, 1) if cell.strip()
        )

    def is_upper(self, row: Row) -> bool:
        """A row that tells years, or what several columns have in common, and stands above the words."""
        filled = _filled(row)
        return all(year_alone(row.cells[column - 1]) for column in filled) and filled[0] > 1

    def all_short(self, row: Row) -> bool:
        return all(len(cell) <= 40 for cell in row.cells)

    def is_below(self, above: list[Row], row: Row) -> bool:
        """A second row of a header: nothing leads to it, and it stands under what the first leaves open."""
        if not self.all_short(row):
            return False
        own = [p for p in _filled(row) if not any(_cell(up, p) == _cell(row, p) for up in above)]
        leading = [
            p
            for p, cell in enumerate(above[-1].cells, 1)
            if (said := self.named(p, cell)) and said.field in ("path", "title", "section")
        ]
        return (
            bool(own)
            and not any(p in leading for p in own)
            and any(self.named(p, _cell(row, p)) or year_alone(_cell(row, p)) for p in own)
        )

    def look_below(self, columns: list[Column], following: Sequence[Row]) -> None:
        """What the first rows tell about columns whose headers leave it open."""

        def cells(column: Column) -> list[str]:
            return [_one_line(cell) for row in following if (cell := _cell(row, column.place)).strip()]

        # Of several titles, as 施策 and 事業 side by side, the innermost is the measure's if the outer ones are
        # headings, all of them with a number.
        titles = [column for column in columns if column.field == "title" and not column.told]
        for column in titles[:-1]:
            if cells(column) and all(map(label, cells(column))):
                column.field = "section"
        # A column before the title that has no header, and nothing but numbers in it.
        before = titles[-1].place if titles else 0
        for column in columns:
            few = sum(each.field == "path" for each in columns) < MOST_LABELS
            if few and column.field == "nothing" and not column.name and column.place < before:
                found = [label(cell) for cell in cells(column)]
                if found and all(each and not each.rest for each in found):
                    column.field = "path"
        # Sentences under 進捗状況 beside a column of marks tell what was done.
        ratings = [column for column in columns if column.field == "rating" and not column.told]
        if len(ratings) > 1 and not any(column.field == "implementation" for column in columns):
            long = [
                c
                for c in ratings
                if 2 * sum(len(t) > LONGEST["rating"] for t in cells(c)) > len(cells(c)) > 0
            ]
            if len(long) == 1 and plain(long[0].name).endswith("状況"):
                long[0].field = "implementation"

    def read_header(self, rows: list[Row], following: Sequence[Row]) -> Block:
        last = rows[-1]
        for row in rows:
            self.take(row, "header")
        self.header_cells = [cell for row in rows for cell in row.cells]
        width = max(max(_filled(row)) for row in rows)
        levels = [
            self.spread(row, rows[place + 1] if place + 1 < len(rows) else None)
            for place, row in enumerate(rows)
        ]
        columns: list[Column] = []
        own_years: dict[int, int] = {}
        for place in range(1, width + 1):
            texts = list(
                dict.fromkeys(_at(level, place) for level in reversed(levels) if _at(level, place).strip())
            )
            above = columns[-1].field if columns else None
            labels = sum(column.field == "path" for column in columns)
            key = (
                str(place)
                if str(place) in self.asked.mapping
                else next((plain(text) for text in texts if plain(text) in self.asked.mapping), None)
            )
            if key is not None:
                self.used.add(key)
                told = self.asked.mapping[key]
                columns.append(
                    Column(place, texts[0] if texts else "", told["field"], told.get("fiscal_year"), True)
                )
                if told.get("fiscal_year") is not None:
                    own_years[place] = told["fiscal_year"]
                continue
            if texts and texts[0].startswith(OURS):
                columns.append(Column(place, texts[0].removeprefix(OURS), "extra"))
                continue
            if not texts:
                if above == "path" and labels < MOST_LABELS:
                    columns.append(Column(place, "", "path"))
                else:
                    columns.append(Column(place, "", "nothing"))
                continue
            said, year = self.say(texts, last, place)
            if said is None or not said.fields:
                name = spaced(texts[0])
                columns.append(Column(place, name, "extra"))
            elif said.field is None:
                columns.append(Column(place, texts[0], "|".join(said.fields)))
            else:
                columns.append(Column(place, texts[0], said.field))
            if year is not None:
                own_years[place] = year
        self.look_below(columns, following)
        self.choose(columns, last)
        years = self.read_years(columns, own_years, last)
        block = Block(rows, columns, width, years, frozenset(own_years))
        self.check_header(block, last)
        block.forget()
        self.map_columns(columns)
        self.layouts.setdefault(self.sheet, columns)
        return block

    def spread(self, row: Row, below: Row | None) -> list[str]:
        """A header row whose merged cells stand in each of their columns."""
        cells = list(row.cells)
        if below is None:
            return cells
        spans = self.spans or {}
        told = self.spans is not None and any(line == row.line for line, _ in spans)
        for place, cell in enumerate(row.cells, 1):
            if cell.strip() and (last := spans.get((row.line, place))):
                cells[place - 1 : last] = [cell] * len(cells[place - 1 : last])
        if not told:
            for place in range(2, len(cells) + 1):
                if not cells[place - 1].strip() and _cell(below, place).strip():
                    cells[place - 1] = cells[place - 2]
        return cells

    def say(self, texts: list[str], row: Row, place: int) -> tuple[Header | None, int | None]:
        """What the texts of a column say together, the lowest first, and their year."""
        year, bare = None, None
        for text in texts:
            for found in (header(text), year_alone(text)):
                if found and year is None:
                    year, bare = found.year, found.bare if bare is None else bare
        said: Header | None = None
        dated = f"{year}年度{texts[0]}" if year is not None else texts[0]
        for form in (texts[0], dated, *(texts[0] + above for above in texts[1:]), *texts[1:]):
            if said is None or (form == dated and said.fields == ("title",)):
                said = header(form) or said
        if year is None and bare is not None:
            year = self.era_of(bare, row, place)
        return said, year

    def era_of(self, bare: int, row: Row, place: int) -> int | None:
        """A year without its era, where the document gives the context: in a table of H29, 30 is H30."""
        near = self.context or next(
            (
                said.year
                for cell in (*row.cells, *self.header_cells)
                if (said := header(cell) or year_alone(cell)) and said.year
            ),
            None,
        )
        if near is not None:
            era = next(era for era in fiscal_years.ERAS if era.begins <= near)
            year = era.begins + bare - 1
            if abs(year - near) <= 5:
                return year
        self.year_asked = row.line
        heisei, reiwa = (fiscal_years.label(1988 + bare), f"令和{bare}年度")
        self.wrong(
            f"「{bare}」には元号がありません（{heisei} か {reiwa} か、分かりません）。"
            f"H{bare} か R{bare} のように見出しに書くか、fiscal_year で年度を指定してください。",
            f"A year {bare} has no era. Write H{bare} or R{bare} into the header, or tell fiscal_year.",
            row,
            place,
        )
        return None

    def choose(self, columns: list[Column], row: Row) -> None:
        """Where several columns would be the same field of one year, and where one might be several fields."""
        fields = {column.field for column in columns}
        for column in columns:
            if "|" in column.field:
                wanted = [name for name in column.field.split("|") if name not in fields]
                if not wanted:
                    column.field, column.name = "extra", spaced(column.name)
                else:
                    self.ask_field(column, column.field.split("|"), row)
                    column.field = "nothing"

    def ask_field(self, column: Column, fields: Iterable[str], row: Row) -> None:
        name = spaced(column.name) or str(column.place)
        choice = " / ".join(fields)
        example = f'{{"{column.place}": "{choice.split(" / ", 1)[0]}"}}'
        self.wrong(
            f"列「{name}」は {choice} のどれか分かりません。mapping で教えてください（例: {example}。"
            'そのまま残すなら "extra"、残さないなら "ignore"）。',
            f"Column {name} may be {choice}. Tell with mapping, such as {example}; "
            '"extra" keeps it as it is, "ignore" leaves it out.',
            row,
            column.place,
        )

    def read_years(self, columns: list[Column], own: dict[int, int], row: Row) -> list[int]:
        """The fiscal years that the rows below this header report on, and which columns belong to which.

        A column without a year has that of the next one on its left; next year's plan belongs to the year before.
        """
        yearly = [
            column
            for column in columns
            if column.field in YEARLY or (column.field == "extra" and column.place in own)
        ]
        dated = [column for column in yearly if column.place in own]
        if not [column for column in columns if column.field in YEARLY]:
            return []
        reported = {
            own[column.place] - (column.field == "next_plan" and not column.told)
            for column in dated
            if column.field != "extra"
        }
        results = {
            own[column.place] for column in dated if column.field in ("implementation", "rating", "rationale")
        }
        repeated = [
            column.field for column in dated if column.field in ("implementation", "rating", "rationale")
        ]
        side_by_side = len(results) > 1 and len(set(repeated)) < len(repeated)
        if not reported:
            if any(column.field == "fiscal_year" for column in columns):
                return []
            if self.context is None:
                if self.year_asked != row.line:
                    self.wrong(
                        "どの年度の評価か分かりません。見出しに H29実施内容 のように書くか、"
                        "fiscal_year で指定してください。",
                        "Nothing tells the fiscal year. Write it into the header, as in H29実施内容, "
                        "or tell fiscal_year.",
                        row,
                    )
                for column in yearly:
                    column.field = "nothing"
                return []
            for column in yearly:
                column.year = self.context
            return [self.context]
        if not side_by_side:
            # What was done tells the year; where nothing of it is dated, the plan for the year after does.
            first = next(
                column
                for column in sorted(
                    dated, key=lambda column: column.field == "next_plan" and not column.told
                )
                if column.field in YEARLY
            )
            year = own[first.place] - (first.field == "next_plan" and not first.told)
            plans = [own[column.place] for column in dated if column.field == "next_plan"]
            for column in dated:
                ahead = column.field == "next_plan" and not column.told
                if column.field == "extra":
                    continue
                if ahead and own[column.place] == year and year + 1 in plans:
                    column.field = "extra"  # what had been planned for this same year
                elif own[column.place] != (expected := year + ahead):
                    self.wrong(
                        f"この列は {own[column.place]} 年度、ほかの列によれば {expected} 年度です。"
                        "年度をそろえるか、mapping で教えてください。",
                        f"This column is of {own[column.place]}; by the other columns it is of {expected}. "
                        "Make them agree.",
                        row,
                        column.place,
                    )
            if self.context not in (None, year) and self.sheet is None:
                self.wrong(
                    f"見出しは {year} 年度、副題は {self.context} 年度です。"
                    "年度をそろえるか、fiscal_year で指定してください。",
                    f"The header reports on {year}, the subtitle on {self.context}. Make them agree.",
                    row,
                    first.place,
                )
            for column in yearly:
                column.year = year
            return [year]
        current: int | None = None
        for column in columns:
            if column.place in own:
                ahead = column.field == "next_plan" and not column.told
                year = own[column.place] - ahead
                if ahead and year not in results and own[column.place] in results:
                    column.field, year = "extra", own[column.place]  # what had been planned for that year
                    column.name = spaced(column.name)
                current = year if column.field in (*YEARLY, "extra") else current
            if column.field in YEARLY or (column.field == "extra" and column.place in own):
                column.year = current
        for column in columns:
            if column.field in YEARLY and column.year is None:
                self.wrong(
                    "何年度の列か分かりません。見出しに年度を書くか、mapping で教えてください。",
                    "Nothing tells the year of this column. Write it into the header, or tell it with mapping.",
                    row,
                    column.place,
                )
                column.field = "nothing"
        return sorted(
            {column.year for column in columns if column.field in YEARLY and column.year is not None}
        )

    def check_header(self, block: Block, row: Row) -> None:
        if not block.of("title"):
            self.wrong(
                "見出し 計画（事業名、施策名、取組など）がありません。その列を加えるか、"
                "mapping で title の列を教えてください。",
                "The header 計画 is missing. Add its column, or tell with mapping which one is the title.",
                row,
            )
        by_field: dict[tuple[str, int | None], list[Column]] = defaultdict(list)
        for column in block.columns:
            if column.field not in ("path", "section", "extra", "ignore", "nothing"):
                by_field[column.field, column.year].append(column)
        for (name, _), rivals in by_field.items():
            plain_ones = (
                [c for c in rivals if c.told]
                or [c for c in rivals if not ((said := header(c.name)) and said.weak)]
                or rivals
            )
            first, *others = plain_ones
            for column in rivals:
                if column not in plain_ones:
                    column.field, column.name = "extra", spaced(column.name)
                    column.year = column.year if column.place in block.dated else None
            for column in others:
                if plain(column.name) == plain(first.name) and not column.told:
                    self.wrong(
                        "同じ見出しが 1 行に 2 回あります。どちらかを消すか、mapping で教えてください。",
                        "This header stands twice in one row. Remove one of them, or tell with mapping.",
                        row,
                        column.place,
                    )
                    column.field = "nothing"
                elif name == "rating":
                    column.field, column.name = "extra", spaced(column.name)
                    self.warn(
                        f"評価の列が複数あります。「{spaced(first.name)}」を評価とし、"
                        f"「{column.name}」は extra に残しました。"
                        "逆であれば mapping で教えてください。",
                        f"There are several ratings. {spaced(first.name)} was taken, {column.name} is kept in extra. "
                        "If it should be the other, tell so with mapping.",
                        row,
                        column.place,
                    )
                else:
                    self.ask_field(column, (name, "extra"), row)
                    column.field = "nothing"
        names: set[tuple[str, int | None]] = set()
        for column in block.of("extra"):
            if (column.name, column.year) in names:
                self.wrong(
                    f"「{column.name}」という列が 2 つあります。見出しを変えるか、mapping で教えてください。",
                    f"Two columns are called {column.name}. Rename one, or tell with mapping.",
                    row,
                    column.place,
                )
            names.add((column.name, column.year))
        if len(block.of("extra")) > MOST_EXTRA:
            self.wrong(
                f"項目として読めない列が {len(block.of('extra'))} 列あります。{MOST_EXTRA} 列以内にしてください。",
                f"{len(block.of('extra'))} columns have no field of their own; there may be {MOST_EXTRA}.",
                row,
            )

    def map_columns(self, columns: list[Column]) -> None:
        """Headers repeat, spaced differently: only what is new about a column is told."""
        known = {(mapped["column"], mapped["field"], mapped.get("fiscal_year")) for mapped in self.mapping}
        for column in columns:
            if column.field != "nothing" and (column.place, column.field, column.year) not in known:
                mapped = Mapped(column=column.place, header=column.name, field=column.field)
                if column.year is not None:
                    mapped["fiscal_year"] = column.year
                self.mapping.append(mapped)

    # ---- rows

    def read_blocks(self, blocks: list[Block]) -> None:
        """The rows of one table, whose header may be repeated."""
        entries: list[Entry] = []
        headings = self.headings
        above: dict[int, str] = {}
        for block in blocks:
            legend = legends.read([[cell for cell in row.cells if cell.strip()] for row in block.rows])
            self.legend = {**self.legend, **{k: v for k, v in legend.codes.items() if k not in self.legend}}
            for place, row in enumerate(block.rows):
                if place in legend.rows:
                    self.take(row, "legend")
                else:
                    self.read_row(block, row, headings, above, entries)
        self.find_numbers(entries)
        self.check_ratings(entries)
        self.entries += entries

    def read_row(
        self,
        block: Block,
        row: Row,
        headings: list[tuple[str, str]],
        above: dict[int, str],
        entries: list[Entry],
    ) -> None:
        filled = _filled(row)
        text = row.cells[filled[0] - 1].strip()
        explicit = bool(block.of("code"))  # such a table leaves nothing to recognise in its rows
        leading = {column.place for column in block.of("path", "section", "title")}
        alone = len(filled) == 1 or (
            filled[0] in leading and all(row.cells[place - 1] == row.cells[filled[0] - 1] for place in filled)
        )
        titles = [_cell(row, column.place) for column in block.of("title")]
        total = any(
            len(each) <= 40 and TOTAL.fullmatch("".join(each.split())) for each in (text, *titles) if each
        )
        if total and not explicit and (not alone or len(text) <= 20):
            self.warn(
                "合計などの行なので、施策としては読みませんでした。", "This is a total and no measure.", row
            )
            self.take(row, "total")
            return
        if alone and NOTE.match(text) and not explicit:
            self.warn("注釈の行なので、施策としては読みませんでした。", "This is a note and no measure.", row)
            self.take(row, "note")
            return
        if (
            alone
            and not explicit
            and filled[0] in leading | {1}
            and self.read_heading(block, row, text, headings, above)
        ):
            self.take(row, "heading")
            return
        surplus = next((column for column in filled if column > block.width), None)
        if surplus or len(row.cells) < block.width:
            self.wrong(
                f"この行は {len(row.cells)} 列ですが、見出しは {block.width} 列です。"
                "列の数をそろえるか、表の行でなければ消してください。",
                f"This line has {len(row.cells)} columns, its header {block.width}. "
                "Give it as many, or remove it if it is not part of the table.",
                row,
                surplus,
            )
            return
        for column in block.of("nothing"):
            if _cell(row, column.place).strip() and not column.name:
                column.name = "?"  # told once
                self.wrong(
                    "この列には見出しがありません。見出しを書くか、mapping で教えてください。",
                    "This column has no header. Write one, or tell with mapping.",
                    row,
                    column.place,
                )
        for column in block.of(*LONGEST):
            if len(row.cells[column.place - 1]) > LONGEST[column.field]:
                self.too_long(LONGEST[column.field], row, column.place)
        row = self.carry_down(block, row, above)
        title_column = block.of("title")
        if not title_column:
            return
        place = title_column[0].place
        title = _one_line(_cell(row, place))
        again = (
            not explicit
            and any("再" in cell for cell in row.cells)
            and (
                any(AGAIN.search(_cell(row, p)) for p in leading)
                or any(AGAIN.match(_cell(row, p)) for p in filled if len(_cell(row, p)) <= 40)
            )
        )
        groups = [] if explicit else [text for _, text in headings]
        groups += [
            _one_line(above.get(c.place, "")) for c in block.of("section") if above.get(c.place, "").strip()
        ]
        own = self.numbers_of(block, row, above, again=again)
        if not title.strip() and not self.given(block, row):
            title = _one_line(above.get(place, ""))
        if not title.strip():
            self.wrong(
                "施策の名称がありません。書き入れてください。",
                "The measure has no title. Write it in.",
                row,
                place,
            )
            return
        above[place] = title
        if own is not None:
            year = "".join(above.get(column.place, "") for column in block.of("fiscal_year")[:1])
            entries.append(Entry(self.sheet, row, block, groups, own, title, year, again))

    def numbers_of(
        self, block: Block, row: Row, above: dict[int, str], *, again: bool
    ) -> list[tuple[str, Label | None]] | None:
        """The numbers that the row stands under; None where one of them is none."""
        columns = block.of("path")
        own: list[tuple[str, Label | None]] = []
        understood = True
        for column in columns:
            cell = above.get(column.place, "")
            cell = _one_line(cell)
            if block.of("code"):
                own += [(cell, None)] if cell.strip() else []
            elif found := label(cell):
                own.append((found.printed if found.rest else cell, found))
            elif cell.strip() or not (
                own or len(columns) == 1 or again
            ):  # some have fewer numbers than others
                understood = False
                self.wrong(
                    "番号を読み取れません。第1節、1、(1)、①、1-(1)-①、ア のように書くか、"
                    "記号のまま使うのであれば、この列を mapping で code にしてください。",
                    "This is not a number. Write it like 第1節, 1, (1) or ①, or map this column to code.",
                    row,
                    column.place,
                )
        return own if understood else None

    def given(self, block: Block, row: Row) -> bool:
        """Whether the row tells a number of its own."""
        return any(_cell(row, column.place).strip() for column in block.of("path", "code"))

    def carry_down(self, block: Block, row: Row, above: dict[int, str]) -> Row:
        """Blank cells in front mean the ones above, as far as nothing further out has changed."""
        before_title = [column.place for column in block.of("title")][:1]
        for column in block.of("department"):
            if [column.place] < before_title and not block.of("code"):
                cell = _cell(row, column.place)
                above[column.place] = cell if cell.strip() else above.get(column.place, "")
                filled = list(row.cells)  # what is printed stays as it is
                filled[column.place - 1] = above[column.place]
                row = Row(row.line, filled)
        changed = False
        for column in block.of("section", "path", "fiscal_year"):
            cell = _cell(row, column.place)
            if block.of("code") and column.field != "fiscal_year":
                above[column.place] = cell  # whoever gives codes leaves nothing to the reader
            elif column.field == "fiscal_year":
                above[column.place] = cell if cell.strip() else above.get(column.place, "")
            elif cell.strip():
                changed = changed or _folded(cell) != _folded(above.get(column.place, ""))
                above[column.place] = cell
            elif changed:
                above[column.place] = ""
        return row

    def read_heading(
        self, block: Block, row: Row, text: str, headings: list[tuple[str, str]], above: dict[int, str]
    ) -> bool:
        """A row with nothing but a numbered heading: what follows stands below it."""
        found = label(text)
        if found is None or not (found.rest or HEADING.match(text)) or len(text) > 200:
            return False
        if self.given_in_full(block, row):
            return False
        style = _style(text)
        place = next((n for n, (seen, _) in enumerate(headings) if seen == style), len(headings))
        headings[place:] = [(style, text)]
        above.clear()
        return True

    def given_in_full(self, block: Block, row: Row) -> bool:
        paths = block.of("path")
        return (
            len(paths) == 1
            and bool(_cell(row, paths[0].place).strip())
            and bool(block.of("title"))
            and bool(_cell(row, block.of("title")[0].place).strip())
            and _cell(row, paths[0].place) != _cell(row, block.of("title")[0].place)
        )

    # ---- numbers

    def find_numbers(self, entries: list[Entry]) -> None:
        """Whether the numbers stand at the beginning of titles."""
        if not entries or entries[0].block.of("code"):
            return
        numbered = [entry for entry in entries if (found := label(entry.title)) and found.rest]
        by_own: dict[tuple[Any, ...], set[str]] = defaultdict(set)
        for entry in entries:
            if not entry.again:
                by_own[(*map(fold, entry.groups), *(found.numbers for _, found in entry.own if found))].add(
                    fold(entry.title)
                )
        lacking = not all(entry.own for entry in entries)
        collide = any(len(titles) > 1 for titles in by_own.values())
        main = [entry for entry in entries if not entry.again]
        in_titles = [entry for entry in numbered if not entry.again]
        enough = len(main) if entries[0].block.of("path") else len(main) / 2
        if (lacking or collide) and in_titles and len(in_titles) >= enough:
            for entry in entries:
                found = label(entry.title)
                if found and found.rest:
                    entry.own = [*entry.own, (found.printed, found)]
                    entry.title = found.rest

    def compose(self, entries: list[Entry]) -> None:
        """Numbers that begin anew under each heading are counted together with it."""
        under: dict[tuple[int, ...], set[tuple[str, ...]]] = defaultdict(set)
        relative = False
        for entry in entries:
            if not entry.again:
                numbers = tuple(number for _, found in entry.own if found for number in found.numbers)
                under[numbers].add(tuple(map(_folded, entry.groups)))
                relative |= len(numbers) == 1 and any(found and found.relative for _, found in entry.own)
        self.unnumbered = (
            bool(entries)
            and self.asked.numbering is None
            and not any(entry.own or entry.block.of("code") for entry in entries)
        )
        if self.unnumbered:
            self.sheet = entries[0].sheet
            self.ask_number(entries[0])  # once for all of them
        self.composed = relative or any(len(groups) > 1 for numbers, groups in under.items() if numbers)

    def ask_number(self, entry: Entry) -> None:
        place = entry.block.of("title")[0].place
        self.wrong(
            "番号のない施策です。番号を書くか、番号のない計画であれば "
            "numbering=order（名称で見分け、順に番号を付ける）を指定してください。",
            "This measure has no number. Write one, or tell numbering=order: measures are then known by their titles "
            "and counted in order.",
            entry.row,
            place,
        )

    def code(self, entry: Entry) -> Found | None:
        """What the measure is called by, and the section that it stands in."""
        block, row = entry.block, entry.row
        groups = [(text, label(text)) for text in entry.groups]
        own = [number for _, found in entry.own if found for number in found.numbers]
        outer = groups if self.composed else []
        path = [(found.printed if found else text)[: LONGEST["path"]] for text, found in outer]
        parts = [str(n) for text, found in outer for n in (found.numbers if found else [_as_code(text)])]
        path += [printed for printed, _ in entry.own]
        parts += map(str, own)
        if told := block.of("code"):
            code = "".join(_cell(row, told[0].place).split())
        elif own:
            code = "-".join(parts)
        elif self.asked.numbering == "order":
            path = []
            code = self.ordered.setdefault(
                (fold("".join(entry.groups)), fold(entry.title)), str(len(self.ordered) + 1)
            )
        else:
            if not entry.again and not self.unnumbered:
                self.ask_number(entry)
            return None
        if not CODE.fullmatch(code) or len(path) > MOST_LABELS:
            self.wrong(
                "番号は、空白・斜線・コンマのない 64 文字以内、10 段階以内にしてください。",
                "A number has at most 64 characters, without spaces, slashes and commas, in at most 10 parts.",
                row,
                told[0].place if told else None,
            )
            return None
        first, name = (None, None)
        if groups:
            text, found = groups[0]
            first = (found.printed if found else text)[: LONGEST["path"]]
            name = (found.rest[: LONGEST["title"]] or None) if found else None
            section = "-".join(map(str, found.numbers)) if found else _as_code(text)
        elif len(parts) > 1:
            section = parts[0]
            whole = label(path[0])
            first = (
                path[0]
                if whole and len(whole.numbers) == 1
                else re.split(r"[^0-9０-９]", path[0])[0] or section
            )
        else:
            section = NO_SECTION
        if told := block.of("section_code"):
            section = "".join(_cell(row, told[0].place).split()) or section
        if not CODE.fullmatch(section):
            self.wrong(
                "節のコードは、空白・斜線・コンマのない 64 文字以内にしてください。",
                "The code of a section has at most 64 characters, without spaces, slashes and commas.",
                row,
            )
            return None
        return Found(code, path, section, first, name)

    # ---- ratings

    def check_ratings(self, entries: list[Entry]) -> None:
        """A column of marks has few and short ones; one that holds departments or sentences is another column."""
        for block in {id(entry.block): entry.block for entry in entries}.values():
            for column in block.of("rating"):
                if column.told:
                    continue
                cells = [c for e in entries if e.block is block and (c := _cell(e.row, column.place).strip())]
                marks = set(cells)
                departments = sum(bool(DEPARTMENT.fullmatch(mark)) for mark in marks)
                long = sum(len(cell) > LONGEST["rating"] for cell in cells)
                plain_word = plain(column.name).endswith(("評価", "評価結果", "評定", "判定", "ランク"))
                if marks and departments * 2 > len(marks):
                    self.ask_field(column, ("department", "rating"), block.header[-1])
                    column.field = "nothing"
                    block.forget()
                elif long * 2 > len(cells) and not plain_word and len(cells) > 0:
                    self.ask_field(column, ("implementation", "rating"), block.header[-1])
                    column.field = "nothing"
                    block.forget()

    # ---- writing

    def write(self, entries: list[Entry]) -> None:
        coded: list[tuple[Entry, Found | None]] = []
        for entry in entries:
            self.sheet = entry.sheet
            coded.append((entry, self.code(entry)))
        codes = {found.code for entry, found in coded if found and not entry.again}
        self.repeated = {found.code for entry, found in coded if found and entry.again}
        by_title = {_folded(entry.title): found.code for entry, found in coded if found and not entry.again}
        for entry, found in coded:
            self.sheet = entry.sheet
            name = AGAIN_IN_TITLE.sub("", entry.title).strip() or entry.title
            if found is None:
                if entry.again and not entry.own:
                    self.find_repeated(entry, by_title.get(fold(name)))
                continue
            repeated = entry.again and found.code in codes
            title = name if repeated else entry.title
            known = self.measures.get(found.code)
            if known and known.title != title and fold(known.title) != fold(title):
                self.wrong(
                    f"施策 {found.code} の名称が {known.line} 行目と違います。番号か名称を直してください。",
                    f"Measure {found.code} has another title on line {known.line}. Correct its number or its title.",
                    entry.row,
                    entry.block.of("title")[0].place,
                )
                continue
            if repeated and not self.keeps(entry, found.code):
                continue
            if entry.again and not repeated:
                self.warn(
                    f"再掲の行ですが、番号 {found.code} はここだけなので、別の施策として読みました。"
                    "集計では別に数えられます。",
                    f"This says 再掲, but {found.code} stands only here: it was read as a measure of its own, "
                    "and counts as one.",
                    entry.row,
                )
            if known is None:
                self.measures[found.code] = RecognisedMeasure(
                    entry.row.line, found.section, found.path, found.code, title, entry.sheet
                )
            label, name_of_section = self.sections.get(found.section, (found.label, found.title))
            self.sections[found.section] = (label, name_of_section or found.title)
            self.take(entry.row, "measure", found.code)
            self.evaluate(entry, self.measures[found.code])

    def find_repeated(self, entry: Entry, code: str | None) -> None:
        if code is not None:
            self.skip(entry, code)
        else:
            self.wrong(
                "再掲とありますが、番号がなく、同じ名称の施策もありません。番号を書いてください。",
                "This says 再掲, has no number, and no measure has its title. Write its number.",
                entry.row,
                entry.block.of("title")[0].place,
            )

    def skip(self, entry: Entry, code: str) -> None:
        self.warn(
            f"施策 {code} の再掲なので、重ねて読みませんでした。",
            f"This repeats measure {code} (再掲) and was not read again.",
            entry.row,
        )
        self.take(entry.row, "repeat", code)

    def keeps(self, entry: Entry, code: str) -> bool:
        """Whether a row that says 再掲 is to be read: not when it says the same as the first, or nothing."""
        if self.asked.on_repeat == "keep":
            return True
        said = [fold(text) for text in self.texts_of(entry)]
        same = any(
            all(
                not text or AGAIN.search(text) or text == other
                for text, other in zip(said, first, strict=False)
            )
            for first in self.first_texts.get(code, [[]])
        )
        if same or self.asked.on_repeat == "skip":
            self.skip(entry, code)
            return False
        self.wrong(
            f"施策 {code} の再掲とありますが、最初の行と内容が違います。読み飛ばすなら on_repeat=skip、"
            "別の行として残すなら on_repeat=keep を指定してください。",
            f"This says that it repeats measure {code} (再掲), but in other words. Tell on_repeat=skip to leave it "
            "out, or on_repeat=keep to keep it as a further row.",
            entry.row,
        )
        return False

    def texts_of(self, entry: Entry) -> list[str]:
        return [_cell(entry.row, column.place) for column in entry.block.of(*YEARLY)]

    def evaluate(self, entry: Entry, measure: RecognisedMeasure) -> None:
        block, row = entry.block, entry.row
        if not block.of(*YEARLY):
            return  # a list of measures, which reports on no year
        if measure.code in self.repeated and not entry.again:
            self.first_texts[measure.code].append([fold(text) for text in self.texts_of(entry)])
        for year in block.years or self.year_of_row(entry):
            cells: dict[str, str | None] = {}
            extra: dict[str, str] = {}
            said = False
            for column in block.of(*YEARLY, "department", "extra", "rating_code", "ordinal"):
                if column.year not in (None, year):
                    continue
                cell = _cell(row, column.place)
                said = said or (bool(cell.strip()) and column.field in YEARLY)
                if column.field in ONE_LINE:
                    cell = _one_line(cell)
                if column.field == "rating" and not block.of("code"):
                    cell = cell.strip()
                if column.field != "extra":
                    cells[column.field] = cell if cell.strip() else None
                elif cell.strip():
                    extra[column.name] = cell
            if said or len(block.years) < 2:  # of several years side by side, those that it was reported in
                self.add(entry, measure, year, cells, extra)

    def year_of_row(self, entry: Entry) -> list[int]:
        [column, *_] = entry.block.of("fiscal_year")
        text = entry.year
        try:
            return [fiscal_years.parse(text)]
        except PydanticCustomError:
            bare = re.fullmatch("([0-9]{1,2}|元)(?:年度?)?", plain(text))
        if bare:
            year = self.era_of(1 if bare[1] == "元" else int(bare[1]), entry.row, column.place)
            return [year] if year is not None else []
        self.wrong(
            "年度を読み取れません。平成29年度のように書いてください。",
            "The fiscal year cannot be read. Write it like 平成29年度.",
            entry.row,
            column.place,
        )
        return []

    def add(
        self,
        entry: Entry,
        measure: RecognisedMeasure,
        year: int,
        cells: dict[str, str | None],
        extra: dict[str, str],
    ) -> None:
        row, code = entry.row, measure.code
        printed = cells.get("rating")
        place = self.seen.setdefault((code, year), (self.sheet, row.line))
        if place[0] != self.sheet and len(self.asked.sheets) < 2:
            self.wrong(
                f"施策 {code} の {year} 年度は、シート「{place[0]}」の {place[1]} 行目にもあります。"
                "読むシートを sheet で指定してください。両方の行を残すなら、両方をコンマ区切りで指定します。",
                f"Measure {code} has a row for {year} on sheet {place[0]}, line {place[1]}, too. Name the sheet to "
                "read with sheet; to keep the rows of both, name both, separated by a comma.",
                row,
            )
            return
        texts = (*(cells.get(name) for name in YEARLY), cells.get("department"), tuple(sorted(extra.items())))
        twin = self.texts[code, year].setdefault(texts, row.line)
        if twin != row.line and any(texts[:4]) and "ordinal" not in cells:
            self.warn(
                f"{twin} 行目と同じ内容です。同じ施策の別の行として残しました。",
                f"This says the same as line {twin}. Both were kept as rows of measure {code}.",
                row,
            )
        self.ordinals[code, year] += 1
        ordinal = self.ordinals[code, year]
        if told := cells.get("ordinal"):
            if not re.fullmatch("[1-9][0-9]{0,5}", told.strip()):
                self.wrong("枝番は 1 以上の整数です。", "An ordinal is a whole number from 1.", row)
                return
            ordinal = int(told)
        rating = cells.get("rating_code") if "rating_code" in cells else code_of(printed or "")
        if rating is not None and ("," in rating or rating == "none" or UNKEEPABLE.search(rating)):
            self.wrong(
                "評価の記号にコンマと none は使えません。mapping で別の列を評価にするか、記号を直してください。",
                "A rating may hold no comma and not be none. Correct the mark, or tell the right column with mapping.",
                row,
                next((c.place for c in entry.block.of("rating") if c.year in (None, year)), None),
            )
            return
        self.evaluations.append(
            RecognisedEvaluation(
                line=row.line,
                section_code=measure.section_code,
                section_label=self.sections[measure.section_code][0],
                path=measure.path,
                code=code,
                title=measure.title,
                fiscal_year=year,
                ordinal=ordinal,
                implementation=cells.get("implementation"),
                rating=rating,
                rating_printed=printed,
                rationale=cells.get("rationale"),
                next_plan=cells.get("next_plan"),
                department=cells.get("department"),
                extra=extra,
                sheet=entry.sheet,
            )
        )


def _cell(row: Row, place: int) -> str:
    return row.cells[place - 1] if place <= len(row.cells) else ""


def _at(cells: list[str], place: int) -> str:
    return cells[place - 1] if place <= len(cells) else ""


_folded = lru_cache(maxsize=20_000)(fold)  # for what many rows have in common


@lru_cache(maxsize=20_000)
def _word(cell: str) -> bool:
    return plain(cell).lower() in KNOWN


def _one_line(cell: str) -> str:
    """A line break within a name is layout."""
    return re.sub(r"[ \t]*\n[ \t]*", " ", cell) if "\n" in cell else cell


def _first_number(label: str) -> str:
    """The outermost part of a number of several parts: 1 of 1-(1)-①."""
    return re.split(r"[^0-9０-９]", label)[0]


def _style(heading: str) -> str:
    """How a heading is numbered: those of one style stand beside each other, those of another below."""
    found = label(heading)
    return re.sub(r"[0-9０-９一二三四五六七八九十]+|[①-⑳]|[Ⅰ-Ⅻ]", "#", found.printed if found else heading)


def _as_code(text: str) -> str:
    return re.sub(r"[\s/,，／、]+", "・", text.strip())[:30].strip("・")


AGAIN_IN_TITLE = re.compile(r"\s*[（(〔\[【<＜]?\s*[※＊]?再\s*掲[^）)〕\]】>＞]{0,20}[）)〕\]】>＞]?\s*")
