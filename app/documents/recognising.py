"""Recognising a table: from rows of cells to evaluations, and a list of all that was not understood."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from pydantic_core import PydanticCustomError

from app import fiscal_years
from app.documents.reading import Problem, Row, Sheet
from app.kit.text import MANY_LINES, excerpt

# The words of a header. Those of a year's evaluation may be preceded by the fiscal year: H29実施内容.
LASTING = {"項目": "path", "計画": "title"}
YEARLY = {
    "実施内容": "implementation",
    "評価": "rating",
    "理由・課題等": "rationale",
    "計画内容": "next_plan",
}
WORDS = (*LASTING, *YEARLY)
LISTED = "、".join(WORDS)
ENOUGH = 3  # different words make a header: a row of data may well hold one, such as the title 計画

LONGEST = {
    "path": 100,
    "title": 500,
    "implementation": 10_000,
    "rating": 20,
    "rationale": 10_000,
    "next_plan": 10_000,
}
UNKEEPABLE = re.compile(rf"[{MANY_LINES.refused}\ud800-\udfff]")
MOST_LABELS = 10  # no more numbers may lead to a measure
MOST_PROBLEMS = 1_000  # nobody corrects more in one go, and a hostile file could have a million

# The dashes are many because converters turn the one of CP932 into different characters.
UNRATED = {*"-‐‑‒–—―−－", "評価対象外"}

SUBTITLE = re.compile(r"[(（].*[)）]")
SUBTITLE_YEAR = re.compile(
    r"(?:(?:昭和|平成|令和|[㍼㍻㋿SHRＳＨＲ])[0-9０-９元〇一二三四五六七八九十]+|[0-9０-９]{4})(?:[(（][0-9０-９]{4}[)）])?年度"
)
LABEL = re.compile(r"第(.{1,5})[部章節項]|[(（](.{1,5})[)）]|(.{1,5})")
NUMERAL = re.compile(r"(?P<digits>[0-9]+)|(?P<tens>[1-9]?)十(?P<ones>[1-9]?)|(?P<sign>[①-⑳㉑-㉟㊱-㊿⑴-⒇])")
DIGITS = str.maketrans("０１２３４５６７８９〇一二三四五六七八九", "01234567890123456789")


class Mapped(TypedDict):
    """What a column was understood as. The fiscal year is that of the evaluations its cells belong to."""

    column: int
    header: str
    field: str
    fiscal_year: NotRequired[int]


@dataclass(frozen=True, slots=True)
class RecognisedEvaluation:
    line: int
    section_code: str
    section_label: str
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


@dataclass(frozen=True, slots=True)
class Recognised:
    title: str | None
    subtitle: str | None
    fiscal_years: list[int]
    mapping: list[Mapped]
    evaluations: list[RecognisedEvaluation]
    problems: list[Problem]


def recognise(sheet: Sheet) -> Recognised:
    rows = [row for row in sheet.rows if _filled(row)]
    start = next((n for n, row in enumerate(rows) if _is_header(row)), None)
    document = _Document()
    if start is None:
        document.wrong(
            f"表の見出し（{LISTED}）が見つかりません（文字コードは {sheet.encoding} として読みました）。"
            "見出しの行があるファイルを送るか、正しい文字コードを指定してください。",
            f"No table header ({LISTED}) was found; the file was read as {sheet.encoding}. "
            "Send a file that has its header row, or name the right encoding.",
        )
        return document.recognised()
    for row in rows:
        document.check_characters(row)
    document.read_top(rows[:start])
    for row in rows[start:]:
        if _is_header(row):
            document.read_header(row)
        else:
            document.read_evaluation(row)
    return document.recognised()


def number(label: str) -> int | None:
    """第1節, (1), １, 二十三 and ① as integers; None when the label is no number."""
    if not (bare := LABEL.fullmatch(label.strip())):
        return None
    if not (numeral := NUMERAL.fullmatch("".join(bare.groups("")).translate(DIGITS))):
        return None
    if numeral["digits"]:
        return int(numeral["digits"])
    if numeral["sign"]:
        return int(unicodedata.numeric(numeral["sign"]))
    return 10 * int(numeral["tens"] or 1) + int(numeral["ones"] or 0)


def _filled(row: Row) -> list[int]:
    """The columns, counted from 1, in which something stands."""
    return [column for column, cell in enumerate(row.cells, 1) if cell.strip()]


def _header(cell: str) -> tuple[str, int | None] | None:
    """The field that a header cell names and the fiscal year it gives, if any; None for any other cell."""
    if len(cell) > LONGEST["path"]:
        return None
    words = "".join(cell.split())
    if not words.endswith(WORDS):
        return None
    word = next(word for word in WORDS if words.endswith(word))
    year = words.removesuffix(word)
    if not year:
        return (LASTING | YEARLY)[word], None
    if word in LASTING:
        return None
    try:
        return YEARLY[word], fiscal_years.parse(year)
    except PydanticCustomError:
        return None


def _is_header(row: Row) -> bool:
    return len({header[0] for cell in row.cells if (header := _header(cell))}) >= ENOUGH


class _Document:
    """What has been understood so far, while the rows are read from top to bottom."""

    def __init__(self) -> None:
        self.title: str | None = None
        self.subtitle: str | None = None
        self.subtitle_year: int | None = None
        self.mapping: list[Mapped] = []
        self.evaluations: list[RecognisedEvaluation] = []
        self.problems: list[Problem] = []
        self.untold = 0
        # The header above the current row.
        self.width = 0
        self.fields: dict[int, str] = {}
        self.fiscal_year: int | None = None
        # The measures above the current row.
        self.titles: dict[str, tuple[str, int]] = {}
        self.ordinals: Counter[tuple[str, int]] = Counter()

    def recognised(self) -> Recognised:
        problems = sorted(self.problems, key=lambda problem: (problem.line or 0, problem.column or 0))
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
        )

    def wrong(self, ja: str, en: str, row: Row | None = None, column: int | None = None) -> None:
        if len(self.problems) == MOST_PROBLEMS:
            self.untold += 1
            return
        cells = row.cells if row else []
        text = cells[column - 1] if column else " ".join(cells)
        self.problems.append(Problem(row.line if row else None, column, excerpt(text, 100), ja, en))

    def check_characters(self, row: Row) -> None:
        for column, cell in enumerate(row.cells, 1):
            if found := UNKEEPABLE.search(cell):
                name = f"U+{ord(found[0]):04X}"
                self.wrong(
                    f"使えない文字 {name} が入っています。取り除いてください。",
                    f"The character {name} cannot be kept. Remove it.",
                    row,
                    column,
                )

    def check_length(self, text: str, most: int, row: Row, column: int) -> None:
        if len(text) > most:
            self.wrong(
                f"{len(text):,} 文字あります。{most:,} 文字以内にしてください。",
                f"This has {len(text):,} characters. Shorten it to at most {most:,}.",
                row,
                column,
            )

    def read_top(self, rows: list[Row]) -> None:
        """The lines above the first header: a title and, in brackets, a subtitle."""
        for row in rows:
            column, *others = _filled(row)
            text = row.cells[column - 1].strip()
            in_brackets = SUBTITLE.fullmatch(text) is not None
            if others or (self.subtitle if in_brackets else self.title) is not None:
                self.wrong(
                    "見出しより上に書けるのは、題名 1 行と括弧書きの副題 1 行です。"
                    "この行は、消すか見出しの下に移してください。",
                    "Above the header there is room for one title and one subtitle in brackets. "
                    "Remove this line, or move it below the header.",
                    row,
                    column,
                )
            elif in_brackets:
                self.subtitle = text
                self.read_subtitle_year(row, column)
            else:
                self.title = text
            self.check_length(text, LONGEST["title"], row, column)
        if self.title is None:
            self.wrong(
                "題名がありません。見出しより上の行に計画の題名を書いてください。",
                "There is no title. Write the plan's title on a line above the header.",
            )

    def read_subtitle_year(self, row: Row, column: int) -> None:
        if found := SUBTITLE_YEAR.search("".join(row.cells[column - 1].split())):
            try:
                self.subtitle_year = fiscal_years.parse(found[0])
            except PydanticCustomError:
                self.wrong(
                    "副題の年度を読み取れません。平成29年度のように書いてください。",
                    "The fiscal year of the subtitle cannot be read. Write it like 平成29年度.",
                    row,
                    column,
                )

    def read_header(self, row: Row) -> None:
        self.width = max(_filled(row))
        self.fields = {}
        years: dict[int, int] = {}
        for column, cell in enumerate(row.cells[: self.width], 1):
            labels = list(self.fields.values()).count("path")
            if not cell.strip() and self.fields.get(column - 1) == "path" and labels < MOST_LABELS:
                self.fields[column] = "path"
            elif not (header := _header(cell)):
                self.wrong(
                    f"この見出しは分かりません。使える見出しは {LISTED} です。"
                    "年度は H29実施内容 のように前に付けます。",
                    f"This header is not known. The headers are {LISTED}; "
                    "a fiscal year goes before, as in H29実施内容.",
                    row,
                    column,
                )
            elif header[0] in self.fields.values():
                self.wrong(
                    "同じ見出しが 1 行に 2 回あります。どちらかを消してください。",
                    "This header stands twice in one row. Remove one of them.",
                    row,
                    column,
                )
            else:
                self.fields[column] = header[0]
                if header[1] is not None:
                    years[column] = header[1]
        for word, name in LASTING.items():
            if name not in self.fields.values():
                self.wrong(
                    f"見出し {word} がありません。その列を加えてください。",
                    f"The header {word} is missing. Add its column.",
                    row,
                )
        self.fiscal_year = self.read_years(years, row)
        self.map_columns(row)

    def read_years(self, years: dict[int, int], row: Row) -> int | None:
        """The fiscal year that the rows below this header report on, from the years its columns give."""
        if not years:
            if self.subtitle_year is None:
                self.wrong(
                    "どの年度の評価か分かりません。見出しに H29実施内容 のように書いてください。",
                    "Nothing tells the fiscal year. Write it into the header, as in H29実施内容.",
                    row,
                )
            return self.subtitle_year
        ahead = {column: int(self.fields[column] == "next_plan") for column in years}
        first = min(years)
        reported = years[first] - ahead[first]
        for column, year in years.items():
            if year != (expected := reported + ahead[column]):
                self.wrong(
                    f"この列は {year} 年度、ほかの列によれば {expected} 年度です。年度をそろえてください。",
                    f"This column is of {year}; by the other columns it is of {expected}. Make them agree.",
                    row,
                    column,
                )
        if self.subtitle_year not in (None, reported):
            self.wrong(
                f"見出しは {reported} 年度、副題は {self.subtitle_year} 年度です。年度をそろえてください。",
                f"The header reports on {reported}, the subtitle on {self.subtitle_year}. Make them agree.",
                row,
                first,
            )
        return reported

    def map_columns(self, row: Row) -> None:
        """Headers repeat, spaced differently: only what is new about a column is told."""
        known = {(mapped["column"], mapped["field"], mapped.get("fiscal_year")) for mapped in self.mapping}
        for column, name in self.fields.items():
            year = self.fiscal_year if name in YEARLY.values() else None
            if (column, name, year) not in known:
                mapped = Mapped(column=column, header=row.cells[column - 1], field=name)
                if year is not None:
                    mapped["fiscal_year"] = year
                self.mapping.append(mapped)

    def read_evaluation(self, row: Row) -> None:
        surplus = next((column for column in _filled(row) if column > self.width), None)
        if surplus or len(row.cells) < self.width:
            self.wrong(
                f"この行は {len(row.cells)} 列ですが、見出しは {self.width} 列です。"
                "列の数をそろえるか、表の行でなければ消してください。",
                f"This line has {len(row.cells)} columns, its header {self.width}. "
                "Give it as many, or remove it if it is not part of the table.",
                row,
                surplus,
            )
            return
        path: list[str] = []
        numbers: list[int | None] = []
        texts: dict[str, str | None] = dict.fromkeys(LONGEST)
        for column, name in self.fields.items():
            cell = row.cells[column - 1].strip() if name == "rating" else row.cells[column - 1]
            self.check_length(cell, LONGEST[name], row, column)
            if name == "path":
                path.append(cell)
                numbers.append(self.read_label(row, column))
            else:
                texts[name] = cell if cell.strip() else None
        code = None if None in numbers else "-".join(map(str, numbers))
        title = self.read_title(code, row)
        if not code or not title or self.fiscal_year is None:
            return
        self.ordinals[code, self.fiscal_year] += 1
        self.evaluations.append(
            RecognisedEvaluation(
                line=row.line,
                section_code=str(numbers[0]),
                section_label=path[0],
                path=path,
                code=code,
                title=title,
                fiscal_year=self.fiscal_year,
                ordinal=self.ordinals[code, self.fiscal_year],
                implementation=texts["implementation"],
                rating=None if texts["rating"] in UNRATED else texts["rating"],
                rating_printed=texts["rating"],
                rationale=texts["rationale"],
                next_plan=texts["next_plan"],
            )
        )

    def read_label(self, row: Row, column: int) -> int | None:
        found = number(row.cells[column - 1])
        if found is None:
            self.wrong(
                "番号を読み取れません。第1節、1、(1)、① のように、どの行にも書いてください。",
                "This is not a number. Write it like 第1節, 1, (1) or ①, on every line.",
                row,
                column,
            )
        return found

    def read_title(self, code: str | None, row: Row) -> str | None:
        column = next((column for column, name in self.fields.items() if name == "title"), None)
        if column is None:
            return None
        title = row.cells[column - 1]
        if not title.strip():
            self.wrong(
                "施策の名称がありません。書き入れてください。",
                "The measure has no title. Write it in.",
                row,
                column,
            )
            return None
        if code:
            first, line = self.titles.setdefault(code, (title, row.line))
            if title != first:
                self.wrong(
                    f"施策 {code} の名称が {line} 行目と違います。番号か名称を直してください。",
                    f"Measure {code} has another title on line {line}. Correct its number or its title.",
                    row,
                    column,
                )
        return title
