"""What the columns under a header hold.

The mapping that came with the document wins, then the words of the header, the lowest first. A merged cell stands in
each of its columns; a blank header beside that of numbers means more of them. What the words leave open, the first
rows below may tell. A column that is no field stays under its printed name, with the header above it where two have
the same, and so do all but one of several that would be the same field of the same year; where it is not plain which,
it is asked.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from app.documents.numbering import label
from app.documents.reading import Row
from app.documents.tables import (
    LONGEST,
    MOST_LABELS,
    Block,
    Column,
    Entry,
    Mapped,
    Notes,
    folded,
    one_line,
    places_told,
    words_told,
)
from app.documents.vocabulary import (
    DATED,
    MARK,
    PRINTED,
    RUNNING,
    WORDS,
    YEARLY,
    Header,
    header,
    is_amount,
    is_rater,
    is_value,
    plain,
    spaced,
    year_alone,
    year_in,
)
from app.documents.years import RESULTS, Years
from app.kit.text import excerpt

LOOKED_AT = 30  # rows below a header
MOST_EXTRA = 50
OURS = "extra."  # before the names of further columns in our own exports, so that none is taken for another
YEARS = frozenset(WORDS["fiscal_year"].split())
SHARED = ("path", "section", "extra", "ignore", "nothing")  # fields that several columns may be
OF_MEASURES = re.compile("(?!基本).*目標|重点.+")
DEPARTMENT = re.compile(r".+(課|室|係|部|局|センター|委員会|保育所|図書館|公民館)$")
SURE_RATINGS = ("評価", "評価結果", "評定", "判定", "ランク")

Spans = Mapping[tuple[int, int], int]


class Columns:
    """Reads headers, and remembers what their columns were understood as."""

    def __init__(self, mapping: Mapping[str, Mapping[str, Any]], years: Years, notes: Notes) -> None:
        self.mapping = mapping
        self.words = words_told(mapping)
        self.years = years
        self.notes = notes
        self.understood: list[Mapped] = []
        self.used: set[str] = set()  # keys of the mapping that found their column
        self.layouts: dict[str | None, list[Column]] = {}  # the columns of each sheet's first header

    def block(self, rows: Sequence[Row], place: range, end: int, spans: Spans | None) -> Block:
        """The header at this place, if there is one, and the rows below it to the end."""
        head = list(rows[place.start : place.stop])
        for row in head:
            self.notes.take(row, "header")
        whole = rows[place.start : end]
        width = self._width(head or whole, max(len(row.cells) for row in whole))
        last = head[-1] if head else rows[place.start]  # where problems of columns are told
        near = self.years.near(cell for row in head or [last] for cell in row.cells)
        columns = self._columns(head, last, width, spans, near)
        self.years.settle(columns, rows[place.stop : end], last)
        _look_below(columns, rows[place.stop : place.stop + LOOKED_AT])
        self._decide(columns, last)
        years = self.years.of_columns(columns, last)
        self._check(columns, last)
        self._remember(columns)
        self._tell_left(columns, last)
        self.layouts.setdefault(self.notes.sheet, columns)
        return Block(head, list(rows[place.stop : end]), columns, width, years, near)

    def _width(self, head: Iterable[Row], widest: int) -> int:
        """To the last column with a header, or that is told by its number."""
        told = [place for place in places_told(self.mapping) if place <= widest]
        return max([*(row.filled()[-1] for row in head), *told])

    # ---- what the header says

    def _columns(
        self, head: Sequence[Row], last: Row, width: int, spans: Spans | None, near: int | None
    ) -> list[Column]:
        levels = [*(_spread(row, below, spans) for row, below in pairwise(head)), *head[-1:]]
        columns: list[Column] = []
        labels = 0
        for place in range(1, width + 1):
            texts = list(
                dict.fromkeys(text for level in reversed(levels) if (text := level.cell(place)).strip())
            )
            more_labels = 0 < labels < MOST_LABELS and columns[-1].field == "path"
            column = self._column(place, [*_rated(texts), *texts], last, near, more_labels=more_labels)
            column.above = next((spaced(text) for text in texts[1:] if not year_alone(text)), "")
            labels += column.field == "path"
            columns.append(column)
        return columns

    def _column(
        self, place: int, texts: list[str], row: Row, near: int | None, *, more_labels: bool
    ) -> Column:
        name = spaced(texts[0]) if texts else ""
        key = next((word for word in map(plain, texts) if word in self.words), None)
        key = str(place) if str(place) in self.mapping else key
        if key is not None:
            self.used.add(key)
            return self._told(self.mapping[key], place, texts, row, near)
        if not texts:
            return Column(place, "", "path" if more_labels else "nothing")
        if texts[0].startswith(OURS):
            return Column(place, texts[0].removeprefix(OURS), "extra")
        year, bare = _year(texts)
        said = _said(texts, year)
        if year is None and bare is not None:
            year = self.years.of_era(bare, near, row, place)
        if said and said.field == "fiscal_year" and any(map(is_value, texts)):
            return Column(place, name, "extra")
        if said is None:
            own = next(filter(None, (year_in(text)[0] for text in texts)), None)
            return Column(place, name, "extra", dated=year or own)
        if said.field is None:
            return Column(place, name, "nothing", dated=year, choices=said.fields)
        return Column(place, name, said.field, dated=year)

    def _told(
        self, told: Mapping[str, Any], place: int, texts: Sequence[str], row: Row, near: int | None
    ) -> Column:
        """What the mapping says of a column, and the year that its header tells where the mapping does not."""
        field, year, name = told["field"], told.get("fiscal_year"), told.get("name")
        printed = spaced(texts[0]) if texts else f"列{place}" if field == "extra" else ""
        column = Column(place, name or printed, field, year, told=True, dated=year)
        column.year_told, column.named = year is not None, name is not None
        if year is None and field in (*YEARLY, "extra"):
            found = [year_in(text) for text in texts]
            bare = next((bare for _, bare in found if bare is not None), None)
            column.dated = next((year for year, _ in found if year is not None), None)
            if column.dated is None and bare is not None and field != "extra":
                column.dated = self.years.of_era(bare, near, row, place)
        return column

    # ---- what the words leave open

    def _decide(self, columns: list[Column], row: Row) -> None:
        """A column that might be several fields is asked about, unless other columns are all of them."""
        fields = {column.field for column in columns}
        done = {column.dated for column in columns if column.field == "implementation"}
        results = {column.dated for column in columns if column.field in RESULTS}
        worked = {column.dated for column in columns if column.choices == DATED}
        for column in columns:
            year = column.dated
            if column.choices == DATED and year is not None:  # R5取組
                if not done.isdisjoint((year, None)):
                    column.field = "extra" if "title" in fields else "title"
                elif year not in results and year - 1 in results | worked:
                    self._ask(column, ("implementation", "next_plan"), row)
                else:
                    column.field = "implementation"
            elif column.choices and fields.issuperset(column.choices):
                column.keep()
            elif column.choices:
                self._ask(column, column.choices, row)

    def _ask(self, column: Column, fields: Sequence[str], row: Row) -> None:
        column.field = "nothing"
        name = column.name or str(column.place)
        choice = " / ".join(fields)
        example = f'{{"{column.place}": "{fields[0]}"}}'
        self.notes.wrong(
            f"列「{name}」は {choice} のどれか分かりません。mapping で教えてください（例: {example}。"
            'そのまま残すなら "extra"、残さないなら "ignore"）。',
            f"Column {name} may be {choice}. Tell with mapping, such as {example}; "
            '"extra" keeps it as it is, "ignore" leaves it out.',
            row,
            column.place,
        )

    def doubt_ratings(self, block: Block, entries: Iterable[Entry]) -> None:
        """A column of marks has few and short ones; one that holds departments or sentences is another column."""
        for column in [column for column in block.of("rating") if not column.told]:
            cells = [cell for entry in entries if (cell := entry.row.cell(column.place).strip())]
            marks = set(cells)
            departments = [mark for mark in marks if DEPARTMENT.fullmatch(mark)]
            sentences = [cell for cell in cells if len(cell) > LONGEST["rating"]]
            if 2 * len(departments) > len(marks):
                self._ask(column, ("department", "rating"), block.header[-1])
            elif 2 * len(sentences) > len(cells) and not _surely_rates(column):
                self._ask(column, ("implementation", "rating"), block.header[-1])

    # ---- whether the columns go together

    def _check(self, columns: list[Column], row: Row) -> None:
        if not any(column.field == "title" for column in columns):
            self.notes.wrong(
                "見出し 計画（事業名、施策名、取組など）がありません。その列を加えるか、"
                "mapping で title の列を教えてください。",
                "The header 計画 is missing. Add its column, or tell with mapping which one is the title.",
                row,
            )
        alike: dict[tuple[str, int | None], list[Column]] = defaultdict(list)
        for column in columns:
            if column.field not in SHARED:
                alike[column.field, column.year].append(column)
        for rivals in alike.values():
            self._prefer(rivals, row)
        self._name_years(columns)
        self._check_extra([column for column in columns if column.field == "extra"], row)

    def _prefer(self, rivals: list[Column], row: Row) -> None:
        """One of the columns that would be the same field of the same year."""
        better = (
            [column for column in rivals if column.told]
            or [column for column in rivals if (said := header(column.name)) and not said.weak]
            or rivals
        )
        places = {column.place for column in better}
        for column in rivals:
            if column.place not in places:
                column.keep()
                column.year = column.year if column.dated is not None else None
        if better[0].field == "title":  # what stands further out may lead to it
            better.reverse()
        if better[0].field == "rating":  # 達成度 may be a rate, 評価 is none
            better.sort(key=_surely_rates, reverse=True)
        first, *others = better
        for column in others:
            same = plain(column.name) == plain(first.name)
            if same and column.above == first.above and not column.told:
                column.field = "nothing"
                self.notes.wrong(
                    "同じ見出しが 1 行に 2 回あります。どちらかを消すか、mapping で教えてください。",
                    "This header stands twice in one row. Remove one of them, or tell with mapping.",
                    row,
                    column.place,
                )
            elif first.field == "rating":
                column.keep()
                column.name = f"{column.above} {column.name}" if same else column.name
                self.notes.warn(
                    f"評価の列が複数あります。「{first.name}」を評価とし、"
                    f"「{column.name}」は extra に残しました。"
                    "逆であれば mapping で教えてください。",
                    f"There are several ratings. {first.name} was taken, {column.name} is kept in extra. "
                    "If it should be the other, tell so with mapping.",
                    row,
                    column.place,
                )
            elif first.field == "title":
                self._ask(column, ("section", "title", "extra"), row)
            else:
                self._ask(column, (first.field, "extra"), row)

    def _name_years(self, columns: list[Column]) -> None:
        """The year of a 基準値 above or beside it is called by that."""
        for at, column in enumerate(columns):
            if column.field == "extra" and not column.named and plain(column.name) in YEARS:
                beside = [column.above, *(other.name for other in columns[max(at - 1, 0) : at + 2])]
                of = next(filter(is_value, beside), None)
                column.name = f"{of} {column.name}" if of else column.name

    def _check_extra(self, columns: list[Column], row: Row) -> None:
        for column in [*_alike(columns), *(column for column in columns if year_alone(column.name))]:
            if column.above and not column.named and not column.name.startswith(column.above):
                column.name = f"{column.above} {column.name}"
        seen: set[str] = set()
        for column in _alike(columns):
            if column.name in seen:
                name = json.dumps(f"{column.name} {column.place}", ensure_ascii=False)
                told = f'{{"{column.place}": {{"field": "extra", "name": {name}}}}}'
                self.notes.wrong(
                    f"「{column.name}」という列が 2 つあります。見出しを変えるか、mapping で名前を付けてください"
                    f"（例: {told}）。",
                    f"Two columns are called {column.name}. Rename one, or name it with mapping, such as {told}.",
                    row,
                    column.place,
                )
            seen.add(column.name)
        if len(columns) > MOST_EXTRA:
            self.notes.wrong(
                f"項目として読めない列が {len(columns)} 列あります。{MOST_EXTRA} 列以内にしてください。",
                f"{len(columns)} columns have no field of their own; there may be {MOST_EXTRA}.",
                row,
            )

    def _tell_left(self, columns: list[Column], row: Row) -> None:
        """Where nothing makes an evaluation, there is none to keep other columns with."""
        fields = {column.field for column in columns if column.name}
        left = [column.name for column in columns if column.field in ("department", "extra")]
        if left and fields.isdisjoint((*YEARLY, "nothing")) and self.notes.sheet not in self.layouts:
            self.notes.warn(
                f"実施内容や評価の列がないので、施策だけを読み、{excerpt('、'.join(left), 200)} は残しませんでした。",
                f"No column says what was done: only measures were read, and {excerpt(', '.join(left), 200)} not kept.",
                row,
            )

    def _remember(self, columns: list[Column]) -> None:
        """Headers repeat, spaced differently: only what is new about a column is told."""
        known = {(mapped["column"], mapped["field"], mapped.get("fiscal_year")) for mapped in self.understood}
        for column in columns:
            if column.field != "nothing" and (column.place, column.field, column.year) not in known:
                mapped = Mapped(column=column.place, header=column.name, field=column.field)
                if column.year is not None:
                    mapped["fiscal_year"] = column.year
                if column.named:
                    mapped["name"] = column.name
                self.understood.append(mapped)


def _surely_rates(column: Column) -> bool:
    return MARK.sub("", plain(column.name)).endswith(SURE_RATINGS)


def _alike(columns: Iterable[Column]) -> list[Column]:
    """Columns of one name that would be kept with the same evaluation."""
    by_name: dict[str, list[Column]] = defaultdict(list)
    for column in columns:
        by_name[column.name].append(column)
    found: list[Column] = []
    for its in by_name.values():
        years = [column.year for column in its]
        if len(its) > 1 and (None in years or len(set(years)) < len(its)):
            found += its
    return found


# ---------------------------------------------------------------------------------------------------------
# The words of a header


def _spread(row: Row, below: Row, spans: Spans | None) -> Row:
    """An upper row of a header, whose merged cells stand in each of their columns."""
    cells = [*row.cells, *[""] * (len(below.cells) - len(row.cells))]
    merged = {column: last for (line, column), last in (spans or {}).items() if line == row.line}
    for column, last in sorted(merged.items()):
        if row.cell(column).strip():
            cells[column - 1 : last] = [row.cell(column)] * len(cells[column - 1 : last])
    if not merged:  # a blank cell above a word means the one on its left
        for place in range(1, len(cells)):
            if not cells[place].strip() and below.cell(place + 1).strip():
                cells[place] = cells[place - 1]
    return Row(row.line, cells)


def _year(texts: Sequence[str]) -> tuple[int | None, int | None]:
    """The year that the texts of a column tell, and one that has no era."""
    found = [said for text in texts for said in (header(text), year_alone(text)) if said]
    return (
        next((said.year for said in found if said.year is not None), None),
        next((said.bare for said in found if said.bare is not None), None),
    )


def _rated(texts: Sequence[str]) -> list[str]:
    """一次評価, where 一次 stands below 評価."""
    if not any(map(is_rater, texts[:1])):
        return []
    forms = [spaced(text).replace("評価", f"{spaced(texts[0])}評価", 1) for text in texts[1:]]
    return [form for form in forms if (said := header(form)) and said.field == "rating"][:1]


def _said(texts: Sequence[str], year: int | None) -> Header | None:
    """What the texts of a column say together."""
    lowest, *upper = texts
    said = header(lowest)
    if year is not None and (said is None or said.field in ("title", None)):  # 計画 below H30 is no title
        said = header(f"{year}年度{lowest}") or said
    together = [*(form for text in upper for form in (lowest + text, text + lowest)), *upper]
    return said or next((found for form in together if (found := header(form))), None)


# ---------------------------------------------------------------------------------------------------------
# What the first rows below a header tell


def _look_below(columns: list[Column], rows: Sequence[Row]) -> None:
    _find_sections(columns, rows)
    _doubt_sections(columns, rows)
    _find_labels(columns, rows)
    _leave_running(columns, rows)
    _doubt_titles(columns, rows)
    _find_work(columns, rows)


def _below(column: Column, rows: Sequence[Row]) -> list[str]:
    return [one_line(cell) for row in rows if (cell := row.cell(column.place)).strip()]


def _find_sections(columns: list[Column], rows: Sequence[Row]) -> None:
    """Of several titles, as 施策 and 事業 side by side, the last is the measure's; before it, what is numbered makes
    headings, and nothing but numbers are those of measures.
    """
    titles = [column for column in columns if column.field == "title" and not column.told]
    for column in titles[:-1]:
        cells = _below(column, rows)
        found = [label(cell) for cell in cells]
        if cells and all(found):
            column.field = "section" if any(each and each.rest for each in found) else "path"


def _doubt_sections(columns: list[Column], rows: Sequence[Row]) -> None:
    """Goals have no year and no amounts. 目標 and 重点項目 behind the title tell of the measure itself."""
    title = max((column.place for column in columns if column.field == "title"), default=len(columns))
    for column in [column for column in columns if column.field == "section" and not column.told]:
        cells = _below(column, rows)
        marked = cells and all(is_amount(cell) and not cell.isalpha() and not label(cell) for cell in cells)
        behind = column.place > title and OF_MEASURES.fullmatch(plain(column.name))
        if column.dated is not None or marked or behind:
            column.keep()


def _doubt_titles(columns: list[Column], rows: Sequence[Row]) -> None:
    """計画 may be how much was planned: where it holds figures, or where another column may be the title."""
    titles = [column for column in columns if column.field == "title"]
    others = any("title" in column.choices for column in columns)
    for column in [] if any(title.told for title in titles) else titles:
        cells = _below(column, rows)
        figures = sum(cell.lstrip()[:1].isdecimal() and not label(cell) for cell in cells)
        if plain(column.name) == PRINTED["title"] and (others or 2 * figures > len(cells)):
            column.field, column.choices = "nothing", ("title", "extra")


def _find_labels(columns: list[Column], rows: Sequence[Row]) -> None:
    """A column before the title that has no header, and nothing but numbers in it."""
    title = max(
        (column.place for column in columns if column.field == "title" and not column.told), default=0
    )
    labels = sum(column.field == "path" for column in columns)
    for column in columns[:title]:
        if column.field == "nothing" and not column.name and labels < MOST_LABELS:
            found = [label(cell) for cell in _below(column, rows)]
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
        cells = _below(column, rows)
        return 2 * sum(len(cell) > LONGEST["rating"] for cell in cells) > len(cells)

    written = list(filter(holds_sentences, ratings))
    if len(written) == 1 and plain(written[0].name).endswith("状況"):
        written[0].field = "implementation"
