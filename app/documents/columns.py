"""What the columns under a header hold.

The mapping that came with the document wins, then the words of the header (`levels`). A blank header beside that of
numbers means more of them. What the words leave open, the first rows below may tell (`contents`). A column that is no
field stays under its printed name (`extras`), and so do all but one of several that would be the same field of the
same year; where it is not plain which, it is asked.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from app.documents import extras, legends
from app.documents.contents import look_below
from app.documents.levels import Spans, rated, said_by, spread, year_of
from app.documents.marks import TICKS, code_of
from app.documents.reading import Row
from app.documents.tables import (
    LONGEST,
    MOST_LABELS,
    Block,
    Column,
    Entry,
    Mapped,
    Notes,
    places_told,
    words_told,
)
from app.documents.vocabulary import (
    DATED,
    EXACT,
    MARK,
    OUTER,
    YEARLY,
    Header,
    header,
    is_amount,
    is_rate,
    is_value,
    plain,
    spaced,
    year_alone,
    year_in,
)
from app.documents.years import RESULTS, Years
from app.kit.text import excerpt

MOST_LINES_OF_ONE = 6  # measure: 計画, 実績, 課題
LOOKED_AT = 30  # rows below a header
OURS = "extra."  # before the names of further columns in our own exports, so that none is taken for another
SHARED = ("path", "section", "extra", "ignore", "nothing")  # fields that several columns may be
DEPARTMENT = re.compile(r".+(課|室|係|部|局|センター|委員会|保育所|図書館|公民館)$")
# What columns are called in which ratings are ticked.
RATES = re.compile("達成|順調|遅|完了|着手|実施|概ね|できた|なかった|[◎○△×]|^[SA-E](?![A-Za-z])")
SURE_RATINGS = ("評価", "評価結果", "評定", "判定", "ランク")


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
        width = self._width(head or whole, whole, spans or {})
        last = head[-1] if head else rows[place.start]  # where problems of columns are told
        near = self.years.near(cell for row in head or [last] for cell in row.cells)
        columns = self._columns(head, last, width, spans, near)
        self.years.settle(columns, rows[place.stop : end], last)
        legend: dict[str, str] = {}
        if not {column.field for column in columns}.issuperset(EXACT):  # one of our own leaves nothing open
            legend = self._legend_beside(columns, rows[place.stop : end], last)
            look_below(columns, rows[place.stop : place.stop + LOOKED_AT])
        self._decide(columns, last)
        years = self.years.of_columns(columns, last)
        self._check(columns, last)
        self._remember(columns)
        self._tell_left(columns, last)
        self.layouts.setdefault(self.notes.sheet, columns)
        return Block(head, list(rows[place.stop : end]), columns, width, years, near, legend)

    def _width(self, head: Iterable[Row], whole: Sequence[Row], spans: Spans) -> int:
        """To the last column with a header, or that is told by its number. A merged header reaches over what stands
        below it.
        """
        widest = max(len(row.cells) for row in whole)
        told = [place for place in places_told(self.mapping) if place <= widest]
        own = [(row.line, row.filled()[-1]) for row in head]
        reach = max((spans.get(at, 0) for at in own), default=0)
        below = (place for row in whole if reach for place in row.filled() if place <= reach)
        return max([*(place for _, place in own), *below, *told])

    # ---- what the header says

    def _columns(
        self, head: Sequence[Row], last: Row, width: int, spans: Spans | None, near: int | None
    ) -> list[Column]:
        levels = [*(spread(row, below, spans) for row, below in pairwise(head)), *head[-1:]]
        columns: list[Column] = []
        labels = 0
        for place in range(1, width + 1):
            texts = list(
                dict.fromkeys(text for level in reversed(levels) if (text := level.cell(place)).strip())
            )
            more_labels = 0 < labels < MOST_LABELS and columns[-1].field == "path"
            column = self._column(place, [*rated(texts), *texts], last, near, more_labels=more_labels)
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
            if key == str(place):
                self._compare(self.mapping[key], place, name, row)
            return self._told(self.mapping[key], place, texts, row, near)
        if not texts:
            return Column(place, "", "path" if more_labels else "nothing")
        if texts[0].startswith(OURS):
            return Column(place, texts[0].removeprefix(OURS), "extra")
        year, bare = year_of(texts)
        said = said_by(texts, year)
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

    def _compare(self, told: Mapping[str, Any], place: int, name: str, row: Row) -> None:
        """A mapping that lists the headers it was made for is no mapping of another table."""
        headers = told.get("headers") or []
        if headers and not told.get("name") and not any(plain(name) in plain(header) for header in headers):
            self.notes.wrong(
                f"mapping では {place} 列目の見出しは「{excerpt(headers[0], 50)}」ですが、この表では"
                f"「{excerpt(name, 50) or '空欄'}」です。この表の列に合わせて mapping を直してください。",
                f"In the mapping the header of column {place} is {excerpt(headers[0], 50)}, and in this table it is "
                f"{excerpt(name, 50) or 'blank'}. Correct the mapping for the columns of this table.",
                row,
                place,
            )

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

    def _legend_beside(self, columns: list[Column], rows: Sequence[Row], row: Row) -> dict[str, str]:
        """The last columns may say what the marks mean, and nothing of the measures beside them."""
        its = [column for column in columns[-2:] if not column.told or column.field == "ignore"]
        if len(its) == 2 and not (legends.is_head(its[0].name) and legends.means(its[1].name)):
            del its[0]
        if not its or its[-1].field not in ("rating", "extra", "nothing", "ignore"):
            return {}
        ratings = [column for column in columns if column.field == "rating" and column not in its]
        rated = {code for column in ratings for cell in column.below(rows) if (code := code_of(cell))}
        cells = [[below.cell(column.place) for below in rows] for column in its]
        found: dict[str, str] = {}
        if ratings and len(its) == 2:
            found = legends.in_two(cells[0], cells[1], rated)
        elif ratings and (legends.is_head(its[0].name) or legends.is_pair(its[0].name)):
            found = legends.beside([its[0].name * legends.is_pair(its[0].name), *cells[0]], rated)
        if not found:
            return {}
        for column in its:
            column.field = "ignore"
            self.notes.warn(
                "この列は表の横の凡例として読みました。施策の内容ではないので、列としては残していません。",
                "This column was read as a legend beside the table; it says nothing of the measures and was not kept.",
                row,
                column.place,
            )
        return found

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
            elif column.choices and column.choices != OUTER and fields.issuperset(column.choices):
                column.keep()
            elif column.choices:
                self._ask(column, column.choices, row)

    def _ask(self, column: Column, fields: Sequence[str], row: Row) -> None:
        column.field = "nothing"
        name = _with_above(column) or str(column.place)
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
        """A column of marks has few and short ones; one of departments, sentences or rates is another column."""
        for column in [column for column in block.of("rating") if not column.told]:
            cells = [cell for entry in entries if (cell := entry.row.cell(column.place).strip())]
            marks = set(cells)
            departments = [mark for mark in marks if DEPARTMENT.fullmatch(mark)]
            sentences = list(filter(_is_sentence, cells))
            written = 2 * len(sentences) > len(cells)
            written = written or (_all_differ(cells) and not block.of("implementation"))
            given = [cell for cell in cells if code_of(cell) is not None]
            if 2 * len(departments) > len(marks):
                self._ask(column, ("department", "rating"), block.header[-1])
            elif written and not _surely_rates(column):
                self._ask(column, ("implementation", "rating"), block.header[-1])
            elif 2 * sum(map(is_rate, given)) > len(given) and not _surely_rates(column):
                self._ask(column, ("rating", "extra"), block.header[-1])

    def doubt_lines(self, block: Block, entries: Sequence[Entry]) -> None:
        """Lines of one measure that tell in turn what was planned and what was done are meant as one row."""
        for column in [] if block.explicit else block.of("extra"):
            cells = {cell for entry in entries if (cell := entry.row.cell(column.place)).strip()}
            said = [header(cell) for cell in cells] if len(cells) <= MOST_LINES_OF_ONE else []
            if column.told or len(said) < 2 or None in said or not any(map(_was_done, said)):
                continue
            if any(cell.cell(column.place).startswith(OURS) for cell in block.header):
                continue
            names = "、".join(sorted(cells))
            self.notes.warn(
                f"列「{column.name}」によれば、1つの施策のことが {names} の行に分けて書かれているようです。"
                "それぞれを施策の行として読み、評価のない行は未評価と数えます。1つの行にするには、計画と実績などを"
                "列に分けて、1行に1つの施策を書いてください。",
                f"By column {column.name}, a measure seems to be told in lines of its own for {names}. Each was read "
                "as a row of the measure, unrated where it has no rating. To make them one, put them into columns, "
                "with one row for each measure.",
                block.header[-1] if block.header else None,
                column.place,
            )

    def doubt_ticks(self, block: Block, entries: Sequence[Entry]) -> None:
        """A column for each rating, with a tick in the right one, where none holds ratings."""
        rows = [entry.row for entry in entries]
        ticked = [
            column
            for column in block.of("rating", "extra")
            if not column.told and (cells := {*column.below(rows)}) and cells <= TICKS
        ]
        rated = [column for column in block.of("rating", "rating_code") if column not in ticked]
        rated = [column for column in rated if column.told or column.below(rows) or _surely_rates(column)]
        called = [column for column in ticked if RATES.search(plain(column.name))]
        times = [sum(bool(row.cell(column.place).strip()) for column in ticked) for row in rows]
        if block.explicit or rated or len(called) < 2 or {*times} - {0, 1} or 2 * sum(times) <= len(times):
            return
        names = "、".join(column.name for column in ticked)
        told = json.dumps({str(column.place): "extra" for column in ticked})
        self.notes.wrong(
            f"列「{excerpt(names, 200)}」は、評価ごとに列を分けて、あてはまるものに印を付けた形のようです。"
            f"評価の言葉（{excerpt(ticked[0].name, 30)} など）を1つの列「評価」に書いてください。"
            f"評価でなければ、mapping で {told} と教えてください。",
            f"Columns {excerpt(names, 200)} seem to be one for each rating, with a tick in the right one. "
            f"Write the ratings themselves ({excerpt(ticked[0].name, 30)} and so on) into one column 評価. "
            f"If they are no ratings, tell {told} with mapping.",
            block.header[-1] if block.header else None,
            ticked[0].place,
        )

    def doubt_groups(self, block: Block, entries: Sequence[Entry]) -> None:
        """A column before the title, without a known name, that tells each of its words once and is blank below it."""
        title = min(block.places("title"), default=0)
        for column in [] if block.explicit else block.of("extra"):
            cells = [entry.row.cell(column.place).strip() for entry in entries]
            told = [cell for cell in cells if cell]
            once = 1 < len(told) == len(set(told)) < len(cells) and bool(cells[0])
            if column.told or column.place > title or not once or any(map(is_amount, told)):
                continue
            self.notes.warn(
                f"列「{column.name}」は extra に残しました。空欄の行には、上の行の言葉を補っていません。"
                f'施策をまとめる見出しであれば、mapping で {{"{column.place}": "section"}} と教えてください。',
                f"Column {column.name} is kept in extra; its blank cells do not mean the one above. If it groups the "
                f'measures, tell {{"{column.place}": "section"}} with mapping.',
                block.header[-1] if block.header else None,
                column.place,
            )

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
        done_twice = any(len(its) > 1 for (field, _), its in alike.items() if field == "implementation")
        for rivals in alike.values():
            self._prefer(rivals, columns, row, done_twice=done_twice)
        extras.name(columns, row, self.notes)

    def _prefer(self, rivals: list[Column], columns: Sequence[Column], row: Row, *, done_twice: bool) -> None:
        """One of the columns that would be the same field of the same year. Where what was done is told twice, as of
        two halves of the year, the ratings beside are of these.
        """
        better = (
            [column for column in rivals if column.told]
            or [column for column in rivals if (said := header(column.name)) and not said.weak]
            or rivals
        )
        places = {column.place for column in better}
        names = {plain(column.name) for column in better}
        for column in rivals:
            if column.place not in places:
                column.keep()
                column.name = _with_above(column) if plain(column.name) in names else column.name
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
            elif first.field == "rating" and not (done_twice and same and column.above):
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
                self._ask(column, _of_titles(column, first, columns), row)
            else:
                self._ask(column, (first.field, "extra"), row)

    def _tell_left(self, columns: list[Column], row: Row) -> None:
        """Where nothing makes an evaluation, there is none to keep other columns with; where nothing is taken for
        what was done, or for the rating, it may be under one of them.
        """
        fields = {column.field for column in columns if column.name or column.told}
        left = [column.name for column in columns if column.field in ("department", "extra")]
        if left and fields.isdisjoint((*YEARLY, "nothing")) and self.notes.sheet not in self.layouts:
            self.notes.warn(
                f"実施内容や評価の列がないので、施策だけを読み、{excerpt('、'.join(left), 200)} は残しませんでした。",
                f"No column says what was done: only measures were read, and {excerpt(', '.join(left), 200)} not kept.",
                row,
            )
        kept = [column for column in columns if column.field == "extra" and column.name and not column.told]
        if not kept or "nothing" in fields or self.notes.sheet in self.layouts:
            return
        if "rating" in fields and "implementation" not in fields:
            words = ("実施内容（実績、取組状況など）", "what was done")
            self._tell_unfound("implementation", words, kept, kept[0], row)
        elif "implementation" in fields and fields.isdisjoint(("rating", "rating_code")):
            words = ("評価（進捗状況、達成度など）", "the rating")
            self._tell_unfound("rating", words, kept, kept[-1], row)

    def _tell_unfound(
        self, field: str, words: tuple[str, str], kept: Iterable[Column], likely: Column, row: Row
    ) -> None:
        """That one of the columns in extra may be this field."""
        names = [column.name for column in kept]
        example = f'{{"{likely.place}": "{field}"}}'
        self.notes.warn(
            f"{words[0]}の列が見あたりません。{excerpt('、'.join(names), 200)} は extra に残しました。"
            f"そのどれかであれば、mapping で教えてください（例: {example}）。",
            f"No column was taken for {words[1]}. {excerpt(', '.join(names), 200)} are kept in extra. "
            f"If one of them is it, tell with mapping, such as {example}.",
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


def _is_sentence(cell: str) -> bool:
    return (
        len(cell) > LONGEST["rating"]
        or cell.endswith("。")
        or ("、" in cell and len(cell) > LONGEST["rating"] // 2)
    )


def _all_differ(cells: Sequence[str]) -> bool:
    """Marks come again, and are short."""
    return 1 < len(cells) == len(set(cells)) and sum(map(len, cells)) > LONGEST["rating"] // 2 * len(cells)


def _with_above(column: Column) -> str:
    """Its name, with what stands above it where that tells it from others."""
    return column.name if column.name.startswith(column.above) else f"{column.above} {column.name}"


def _of_titles(outer: Column, inner: Column, columns: Iterable[Column]) -> tuple[str, ...]:
    """What the outer of two titles may be, the likeliest first: a number between them is that of the inner one."""
    between = any(c.field == "path" and outer.place < c.place < inner.place for c in columns)
    return ("section", "title", "extra") if between else ("title", "section", "extra")


def _was_done(said: Header | None) -> bool:
    return said is not None and said.field == "implementation"


def _surely_rates(column: Column) -> bool:
    return MARK.sub("", plain(column.name)).endswith(SURE_RATINGS)
