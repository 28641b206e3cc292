"""What the stages of recognising hand to each other: what was asked, columns, blocks, entries and what came of them.

A sheet holds *blocks*, each a header with the rows below it. Blocks with the same columns are one *table*.
A row that tells of a measure is an *entry*; whatever else a row is, and all that is not sure, goes into the *notes*.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NotRequired, TypedDict

from app.documents.numbering import Label
from app.documents.reading import Problem, Row
from app.documents.vocabulary import EXACT, YEARLY, year_alone
from app.kit.text import MANY_LINES, excerpt, fold

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
MOST_PROBLEMS = 1_000  # nobody corrects more in one go, and a hostile file could have a million

# ---------------------------------------------------------------------------------------------------------
# What is asked, and what is answered


@dataclass(frozen=True)
class Asked:
    """What is told beside the document, because it does not say it or is not understood."""

    fiscal_year: int | None = None
    # Columns by their number or printed header: what field each is, and of which year.
    mapping: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sheets: tuple[str, ...] = ()
    numbering: str | None = None  # "order": measures without numbers are counted as they come
    on_repeat: str | None = None  # "skip" or "keep" rows that say 再掲 and differ


def places_told(mapping: Mapping[str, Any]) -> list[int]:
    """The columns that a mapping tells by their numbers."""
    return [int(key) for key in mapping if key.isdecimal() and len(key) < 6]


def words_told(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The headers that it tells by their words. A number is that of a column, unless it is a year."""
    return {key: told for key, told in mapping.items() if not key.isdecimal() or year_alone(key)}


class Mapped(TypedDict):
    """What a column was understood as. The fiscal year is that of the evaluations its cells belong to."""

    column: int
    header: str
    field: str
    fiscal_year: NotRequired[int]
    name: NotRequired[str]  # where the mapping that came with the document gives it one


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


# ---------------------------------------------------------------------------------------------------------
# On the way


def rest(untold: int) -> list[Problem]:
    """What is said of the problems beyond so many."""
    ja = f"問題がほかに {untold:,} か所あります。上の問題を直して、もう一度お試しください。"
    en = f"There are {untold:,} more problems. Correct those above and try again."
    return [Problem(None, None, "", ja, en)] * bool(untold)


@dataclass(slots=True)
class Column:
    place: int  # counted from 1
    name: str  # as printed, or as it is kept
    field: str  # also "extra", which is kept as it is, and "nothing", which is not read
    year: int | None = None  # of the evaluations that its cells belong to
    told: bool = False  # by the mapping that came with the document
    dated: int | None = None  # the year that its own header gives
    year_told: bool = False  # by the mapping, too: that of the evaluations
    named: bool = False  # by the mapping
    above: str = ""  # what its header says above its name
    choices: tuple[str, ...] = ()  # the fields that it may be, as long as that is open

    @property
    def ahead(self) -> bool:
        """Whether its header names the year after the one reported on, as that of a plan does."""
        return self.field == "next_plan" and not self.year_told

    def below(self, rows: Iterable[Row]) -> list[str]:
        """What stands in it, where something does."""
        return [one_line(cell).strip() for row in rows if (cell := row.cell(self.place)).strip()]

    def keep(self) -> None:
        """It has no field of its own and stays under its printed name."""
        self.field = "extra"


@dataclass
class Block:
    """A header and the rows below it, to the next header."""

    header: list[Row]
    rows: list[Row]
    columns: list[Column]
    width: int
    years: list[int]  # that its columns report on; none where a column tells the year of each row
    near: int | None  # a year that is told in or above it, in whose era one without its own is read
    legend: dict[str, str] = field(default_factory=dict)  # that stands beside it

    def of(self, *fields: str) -> list[Column]:
        return [column for column in self.columns if column.field in fields]

    def places(self, *fields: str) -> list[int]:
        return [column.place for column in self.of(*fields)]

    @cached_property
    def explicit(self) -> bool:
        """Whether it is one of our own documents that say all of it. That leaves nothing to recognise in its rows."""
        return all(map(self.of, EXACT))

    @cached_property
    def coded(self) -> bool:
        """Whether it gives codes, which stand for themselves; numbers are only printed beside them."""
        return bool(self.of("code"))

    @cached_property
    def title(self) -> int:
        """The place of the title."""
        return self.of("title")[0].place

    @cached_property
    def of_several_years(self) -> bool:
        """Whether its rows tell different ones."""
        column = self.of("fiscal_year")[0].place
        return len({cell for row in self.rows if (cell := row.cell(column).strip())}) > 1

    @cached_property
    def evaluated(self) -> list[Column]:
        """What makes an evaluation. Asked for when all columns are settled."""
        return self.of(*YEARLY, "department", "extra", "rating_code", "ordinal") if self.of(*YEARLY) else []


@dataclass(slots=True)
class Entry:
    """A row that tells of a measure, with the cells that lead to it carried down from above."""

    sheet: str | None
    row: Row
    block: Block
    groups: list[str]  # the headings that it stands under
    own: list[tuple[str, Label | None]]  # its numbers, as printed and as read
    title: str
    again: bool  # it says 再掲: that the measure stands elsewhere, too
    year: str  # this and the codes as the row tells them, if it does
    code: str
    section_code: str
    meant: dict[int, str]  # what 〃 means, by column: ratings have it as printed

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple([number for _, label in self.own if label for number in label.numbers])


class Notes:
    """What is wrong with a document, and what is worth knowing: each with its place, in both languages.

    And what each line was taken for.
    """

    def __init__(self) -> None:
        self.sheet: str | None = None  # the one that is being read, where there are several
        self.sheets: list[str | None] = []  # all of them, in the order of the file
        self.taken: dict[str | None, dict[int, tuple[str, str | None]]] = defaultdict(dict)
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._untold = 0

    def wrong(self, ja: str, en: str, row: Row | None = None, column: int | None = None) -> None:
        if len(self._problems) == MOST_PROBLEMS:
            self._untold += 1
        else:
            self._problems.append(self._note(ja, en, row, column))

    def warn(self, ja: str, en: str, row: Row | None = None, column: int | None = None) -> None:
        if len(self._warnings) < MOST_PROBLEMS:
            self._warnings.append(self._note(ja, en, row, column))

    def take(self, row: Row, kind: str, code: str | None = None) -> None:
        self.taken[self.sheet][row.line] = kind, code

    def too_long(self, most: int, row: Row, column: int) -> None:
        length = len(row.cell(column))
        self.wrong(
            f"{length:,} 文字あります。{most:,} 文字以内にしてください。",
            f"This has {length:,} characters. Shorten it to at most {most:,}.",
            row,
            column,
        )

    def add(self, warnings: list[Problem]) -> None:
        if len(self._warnings) < MOST_PROBLEMS:
            self._warnings += warnings

    def _note(self, ja: str, en: str, row: Row | None, column: int | None) -> Problem:
        cells = row.cells if row else []
        text = cells[column - 1] if column and column <= len(cells) else " ".join(filter(None, cells))
        return Problem(row.line if row else None, column, excerpt(text, 100), ja, en, self.sheet)

    @property
    def problems(self) -> list[Problem]:
        return sorted(self._problems, key=self._place) + rest(self._untold)

    @property
    def warnings(self) -> list[Problem]:
        return sorted(self._warnings, key=self._place)[:MOST_PROBLEMS]

    def _place(self, problem: Problem) -> tuple[int, int, int]:
        sheet = self.sheets.index(problem.sheet) if problem.sheet in self.sheets else -1
        return sheet, problem.line or 0, problem.column or 0

    def where(self, sheet: str | None, line: int) -> tuple[str, str]:
        """A line as it is told of another one, in both languages."""
        if sheet == self.sheet:
            return f"{line} 行目", f"line {line}"
        return f"シート「{sheet}」の {line} 行目", f"sheet {sheet}, line {line}"


# ---------------------------------------------------------------------------------------------------------

folded = lru_cache(maxsize=20_000)(fold)  # for what many rows have in common


DOWNWARDS = re.compile(r"\S(?:\n\S){2,}")


def one_line(cell: str) -> str:
    """A line break or a tab within a name is layout; where each character has a line, it is written downwards."""
    if DOWNWARDS.fullmatch(cell):
        return cell.replace("\n", "")
    return re.sub(r" *[\n\t][ \n\t]*", " ", cell) if "\n" in cell or "\t" in cell else cell
