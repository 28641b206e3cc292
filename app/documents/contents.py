"""What the first rows below a header tell of its columns, where its words leave that open.

Columns that the mapping tells are left as they are.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from app.documents.numbering import label
from app.documents.reading import Row
from app.documents.tables import LONGEST, MOST_LABELS, Column, folded
from app.documents.vocabulary import OUTER, PRINTED, RUNNING, is_amount, plain, year_alone

GOALS = ("目標", "目標値", "計画値")
OF_MEASURES = re.compile("(?!基本).*目標|重点.+")


def look_below(columns: list[Column], rows: Sequence[Row]) -> None:
    _find_sections(columns, rows)
    _doubt_sections(columns, rows)
    _find_labels(columns, rows)
    _leave_running(columns, rows)
    _doubt_titles(columns, rows)
    _find_work(columns, rows)
    _doubt_results(columns, rows)
    _doubt_outer(columns, rows)


def _find_sections(columns: list[Column], rows: Sequence[Row]) -> None:
    """Of several titles, as 施策 and 事業 side by side, the last is the measure's; before it, what is numbered makes
    headings, and nothing but numbers are those of measures.
    """
    titles = [column for column in columns if column.field == "title" and not column.told]
    for column in titles[:-1]:
        cells = column.below(rows)
        found = [its for cell in cells if (its := label(cell))]
        if found and len(found) == len(cells):
            column.field = "section" if any(its.rest for its in found) else "path"


def _doubt_sections(columns: list[Column], rows: Sequence[Row]) -> None:
    """Goals have no year and no amounts. 目標 and 重点項目 behind the title tell of the measure itself."""
    title = max((column.place for column in columns if column.field == "title"), default=len(columns))
    for column in [column for column in columns if column.field == "section" and not column.told]:
        cells = column.below(rows)
        marked = cells and all(is_amount(cell) and not cell.isalpha() and not label(cell) for cell in cells)
        behind = column.place > title and OF_MEASURES.fullmatch(plain(column.name))
        if column.dated is not None or marked or behind:
            column.keep()


def _doubt_titles(columns: list[Column], rows: Sequence[Row]) -> None:
    """計画 may be how much was planned: where it holds figures, or where another column may be the title."""
    titles = [column for column in columns if column.field == "title"]
    others = any("title" in column.choices for column in columns)
    for column in [] if any(title.told for title in titles) else titles:
        cells = column.below(rows)
        figures = sum(cell.lstrip()[:1].isdecimal() and not label(cell) for cell in cells)
        if plain(column.name) == PRINTED["title"] and (others or 2 * figures > len(cells)):
            column.field, column.choices = "nothing", ("title", "extra")


def _doubt_outer(columns: list[Column], rows: Sequence[Row]) -> None:
    """A column before the title, without a known name, that holds nothing but numbers with words may make headings."""
    title = next((column.place for column in columns if column.field == "title"), 0)
    for column in columns[:title]:
        cells = column.below(rows)
        if column.told or column.dated is not None or not cells or not all(map(_is_numbered, cells)):
            continue
        if column.field == "extra":
            column.field, column.choices = "nothing", OUTER
        elif column.field == "rationale":  # 課題 may be what the plan is divided by
            column.field, column.choices = "nothing", ("section", "rationale", "extra")


def _doubt_results(columns: list[Column], rows: Sequence[Row]) -> None:
    """実績 beside 目標 is a figure, where it holds nothing but figures."""
    for beside, column in pairwise(columns):
        cells = column.below(rows)
        of_year = column.dated is not None and column.dated == beside.dated
        free = column.field == "implementation" and not column.told and of_year
        if free and plain(beside.name) in GOALS and cells and all(map(is_amount, cells)):
            column.keep()


def _is_numbered(cell: str) -> bool:
    found = label(cell)
    return bool(found and found.rest) and not is_amount(cell) and year_alone(cell) is None


def _find_labels(columns: list[Column], rows: Sequence[Row]) -> None:
    """A column before the title that has no header, and nothing but numbers in it."""
    title = max(
        (column.place for column in columns if column.field == "title" and not column.told), default=0
    )
    labels = sum(column.field == "path" for column in columns)
    for column in columns[:title]:
        if column.field == "nothing" and not column.name and labels < MOST_LABELS:
            found = [label(cell) for cell in column.below(rows)]
            if found and all(each and not each.rest for each in found):
                column.field = "path"
                labels += 1


def _leave_running(columns: list[Column], rows: Sequence[Row]) -> None:
    """A number that counts rows (No, 通番) is none of a measure's where other numbers tell the measures apart.

    Where they do not, it is asked about in front of them. Behind them it counts what stands under them, unless they
    are whole numbers of measures (1-1-1).
    """
    named = [column for column in columns if column.field == "path" and column.name and not column.told]
    title = max((column.place for column in columns if column.field == "title"), default=0)
    for column in named:
        if plain(column.name).lower() not in RUNNING or len(named) < 2:
            continue
        counted = [row for row in rows if (its := label(row.cell(column.place))) and not its.relative]
        others = [each.place for each in columns if each.field == "path" and each is not column]
        found = [label(row.cell(place)) for row in counted for place in others]
        in_front = column is not named[-1]
        if not counted or not (in_front or any(each and len(each.numbers) > 1 for each in found)):
            continue
        if _tell_apart(others, title, counted):
            column.keep()
        elif in_front:
            column.field, column.choices = "nothing", ("extra", "path", "code")


def _tell_apart(numbers: Sequence[int], title: int, rows: Iterable[Row]) -> bool:
    """Whether no two titles have the same numbers."""
    titles: dict[tuple[str, ...], str] = {}
    above: dict[int, str] = {}
    for row in rows:
        above |= {place: row.cell(place) for place in numbers if row.cell(place).strip()}
        key = tuple(above.get(place, "") for place in numbers)
        if folded(row.cell(title)) not in ("", titles.setdefault(key, folded(row.cell(title)))):
            return False
    return True


def _find_work(columns: list[Column], rows: Sequence[Row]) -> None:
    """Sentences under 進捗状況 beside a column of marks tell what was done."""
    ratings = [column for column in columns if column.field == "rating" and not column.told]
    if len(ratings) < 2 or any(column.field == "implementation" for column in columns):
        return

    def holds_sentences(column: Column) -> bool:
        cells = column.below(rows)
        return 2 * sum(len(cell) > LONGEST["rating"] or cell.endswith("。") for cell in cells) > len(cells)

    written = list(filter(holds_sentences, ratings))
    if len(written) == 1 and plain(written[0].name).endswith("状況"):
        written[0].field = "implementation"
