"""The fiscal years of a table: which its rows report on, and to which of them each column belongs.

Headers tell a year (H29実施内容), or the cell above them does; a column without one has that of the next on its left,
if each year has one of its kind, and is asked about otherwise. The plan for the next year belongs to the year before.
Where no header tells a year, a column may tell that of each row, or the lines above the table tell it for all, or the
name of its sheet, or whoever sends the document; where they differ, it is asked. Of several tables one below the
other, a line above each may tell its own. The year of 基準値 is none of these.
A year without its era (29) is the one near those that are told with theirs.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from itertools import pairwise

from app import fiscal_years
from app.documents.numbering import label
from app.documents.reading import Row
from app.documents.tables import Column, Entry, Notes
from app.documents.vocabulary import (
    LONGEST,
    PLANNED,
    YEARLY,
    header,
    is_value,
    plain,
    without_year,
    year_alone,
    year_in,
    year_told,
    years_of,
)

RESULTS = ("implementation", "rating", "rationale")
HEISEI_ON = [era for era in fiscal_years.ERAS if era.begins >= 1989]
NEAR = 5  # years: a table does not reach further from the year that it is about
AFTER = re.compile("今後|[次翌来]年度")
BROKEN = re.compile("(?<![0-9０-９~〜～－–らー・、-])[元0-9０-９]{1,2}年度")  # not the end of a term
VAGUE = re.compile(
    r"(?:[前昨]|(?<![0-9~〜～\-–らー・、和成A-Za-z])([0-9]{1,2}))年度の?(?:実績|進捗|取組|実施状況)"
)
NUMBERED = re.compile("第.{1,3}[部章節編]|基本(?:目標|方針|施策)")
BRACKETED = re.compile(r"[(（].*[)）]")
UNIT = re.compile(r"[(（]単位[^)）]*[)）]")
LONGEST_LINE = 500
BARE = re.compile("([0-9]{1,2}|元)(?:年度?)?")


class Years:
    """What is known of the years while the document is read."""

    def __init__(self, asked: int | None, notes: Notes) -> None:
        self.asked = asked
        self.notes = notes
        self.above: int | None = None  # that the lines above the tables of this sheet tell, or its name
        self.read_from: set[str] = set()  # the lines that tell it
        self.named = False  # whether nothing but its name tells it
        self.turned: Row | None = None  # the line that told it, if one between tables did
        self.without_era: Row | None = None  # the last row that was asked for an era

    # ---- the lines above a table

    def read_above(self, rows: Sequence[Row], lines: Sequence[str]) -> None:
        """The fiscal year that they say they report on."""
        told = [years_of(line) for line in lines]
        reported = {year for years, _, _ in told for year in years}
        chosen = reported or {year for _, years, _ in told for year in years}
        self.named = len(chosen) != 1 and self.asked is None
        self.above = min(chosen) if len(chosen) == 1 else self._of_sheet()
        self.read_from = set()
        self.turned = None
        if len(chosen) == 1 and self.asked in (None, self.above):
            telling = (its[0] if reported else its[1] for its in told)
            self.read_from = {line for line, years in zip(lines, telling, strict=True) if years}
        broken = next((row for row in rows if any(map(BROKEN.search, row.cells))), None)
        vague = None if reported else next((row for row in rows if self._is_vague(row)), None)
        if self.asked is not None:
            if self.above not in (None, self.asked):
                self.notes.warn(
                    f"この表は {self.above} 年度のものですが、指定された {self.asked} 年度として読みました。",
                    f"The table is of {self.above}; it was read as {self.asked}, as told.",
                )
            self.above = self.asked
        elif self.above is None and broken and not any(every for _, _, every in told):
            self._unreadable(broken, broken.filled()[0])
        elif self.above is not None and vague:
            self.notes.wrong(
                f"表の上では {self.above} 年度ですが、この行は別の年度の実績としています。"
                "fiscal_year で指定してください。",
                f"The lines above the table name {self.above}, and this one reports on another year. "
                "Tell which with fiscal_year.",
                vague,
                vague.filled()[0],
            )

    def _is_vague(self, row: Row) -> bool:
        """Whether a line reports on a year that it gives no era, and that is not the one which another gives."""
        found = [each for cell in row.cells for each in VAGUE.finditer(plain(cell[:LONGEST_LINE]))]
        return any(each[1] is None or _of_era(int(each[1]), self.above) != self.above for each in found)

    def _of_sheet(self) -> int | None:
        """That the sheet is named by, where others are named by other years."""
        years = {name: year_in(name or "")[0] for name in self.notes.sheets}
        return years.get(self.notes.sheet) if len(set(filter(None, years.values()))) > 1 else None

    def _unreadable(self, row: Row, column: int) -> None:
        self.notes.wrong(
            "年度を読み取れません。平成29年度のように書いてください。",
            "The fiscal year cannot be read. Write it like 平成29年度.",
            row,
            column,
        )

    def turn_to(self, year: int, row: Row) -> None:
        """From a line between two tables on, they are of the year that it tells."""
        if self.asked not in (None, year):
            self.notes.wrong(
                f"ここからの表は {year} 年度のものですが、fiscal_year では {self.asked} 年度と指定されています。"
                "fiscal_year を除けば、それぞれの年度として読みます。",
                f"From here on the table is of {year}, and fiscal_year tells {self.asked}. "
                "Without fiscal_year each is read as of its own year.",
                row,
                row.filled()[0],
            )
        self.above, self.named, self.turned = year, False, row

    def _ask_plan(self, row: Row) -> None:
        """Of a year for which there is nothing but a plan."""
        self.notes.wrong(
            "ここからは、これからの年度の予定のようです。前の年度の行に「次年度計画内容」の列として書くか、"
            "ここから下を除いてください。",
            "From here on a year to come seems to be planned. Write it into the rows of the year before, in a column "
            "次年度計画内容, or leave out what follows.",
            row,
            row.filled()[0],
        )

    # ---- years without their era

    def near(self, cells: Iterable[str]) -> int | None:
        """The year that the document speaks of above these cells or in them."""
        return self.above or _told(cells)

    def of_era(
        self, bare: int, near: int | None, row: Row, column: int, *, several: bool = False
    ) -> int | None:
        """In a table of H29, 30 is H30. Where rows tell several years, one for all of them is no help."""
        if (year := _of_era(bare, near)) is not None:
            return year
        self.without_era = row
        # No plan reaches further than ten years.
        eras = [era for era in HEISEI_ON if era.begins + bare - 1 <= date.today().year + 10] or HEISEI_ON[-1:]
        names = [f"{era.name}{bare}年度" for era in eras]
        short = [f"{era.letter}{bare}" for era in eras]
        self.notes.wrong(
            f"「{bare}」には元号がありません（{' か '.join(names)} でしょうか）。"
            f"{' か '.join(short)} のように書{'いて' if several else 'くか、fiscal_year で年度を指定して'}ください。",
            f"A year {bare} has no era. Write {' or '.join(short)}{'' if several else ', or tell fiscal_year'}.",
            row,
            column,
        )
        return None

    # ---- the columns under a header

    def settle(self, columns: list[Column], rows: Sequence[Row], row: Row) -> None:
        """Whether a column of years tells those that its rows report on."""
        dated = any(column.dated is not None and column.field in YEARLY for column in columns)
        for at, column in enumerate(columns):
            if column.field != "fiscal_year" or column.told:
                continue
            if dated or any(is_value(beside.name) for beside in columns[max(at - 1, 0) : at + 2]):
                column.keep()
            elif self.above is not None:
                self._hold_against(self.above, column, rows, row)

    def _hold_against(self, year: int, column: Column, rows: Sequence[Row], row: Row) -> None:
        cells = {cell for below in rows if (cell := below.cell(column.place)).strip()}
        other = next((cell for cell in sorted(cells) if _read(cell, year) != year), None)
        if other is None:
            return
        column.keep()
        if self.asked is not None:
            self.notes.warn(
                f"列「{column.name}」には「{other}」もありますが、指定された {year} 年度として読み、"
                "この列は extra に残しました。",
                f"Column {column.name} has {other} as well; all was read as {year}, as told, "
                "and the column kept in extra.",
                row,
                column.place,
            )
        else:
            self.notes.wrong(
                f"この表は {year} 年度のものですが、列「{column.name}」には「{other}」があります。"
                f'評価の年度であれば mapping で {{"{column.place}": "fiscal_year"}}、'
                f'基準値や開始の年度などであれば {{"{column.place}": "extra"}} と教えてください。',
                f"The table is of {year}, its column {column.name} has {other}. Tell with mapping "
                f'{{"{column.place}": "fiscal_year"}} if that is the year reported on, or '
                f'{{"{column.place}": "extra"}} if it is another, such as the one in which it began.',
                row,
                column.place,
            )

    def of_columns(self, columns: list[Column], row: Row) -> list[int]:
        """The years that the rows below report on; none where each row tells its own. Columns are given theirs."""
        years = self._reported(columns, row)
        for column in columns:
            if years and column.field == "extra" and column.dated is not None and column.dated not in years:
                # Kept with every year that is reported on, by a name that tells its own.
                column.year = None
                if year_in(column.name) == (None, None):
                    column.name = fiscal_years.label(column.dated) + column.name
        return years

    def _reported(self, columns: list[Column], row: Row) -> list[int]:
        yearly = [
            column
            for column in columns
            if column.field in YEARLY or (column.field == "extra" and column.dated is not None)
        ]
        if all(column.field == "extra" for column in yearly):
            return []
        telling = next((column for column in columns if column.field == "fiscal_year" and column.told), None)
        if telling is not None:
            if self.asked is not None:
                self.notes.warn(
                    f"年度は mapping で教えられた列「{telling.name}」から読みました。fiscal_year は使いませんでした。",
                    f"The years were read from column {telling.name}, as mapping tells. fiscal_year had no effect.",
                    row,
                    telling.place,
                )
            for column in yearly:
                column.year = None
            return []
        results = [(c.field, c.dated) for c in yearly if c.dated is not None and c.field in RESULTS]
        fields, years = {field for field, _ in results}, {year for _, year in results}
        for column in yearly:
            if column.ahead and column.dated in years and (column.told or AFTER.search(plain(column.name))):
                column.dated += 1  # 今後の取組 of a year is planned for the one after
        dated = [(c, c.dated) for c in yearly if c.dated is not None and c.field != "extra"]
        if not dated:
            return self._from_elsewhere(columns, yearly, row)
        if len(years) > 1 and len(fields) < len(results):
            return self._side_by_side(columns, years, row)
        return self._of_one_year(yearly, dated, row)

    def _from_elsewhere(self, columns: list[Column], yearly: list[Column], row: Row) -> list[int]:
        if any(column.field == "fiscal_year" for column in columns):
            return []
        if self.above is None and self.without_era is not row:
            self.notes.wrong(
                "どの年度の評価か分かりません。見出しに H29実施内容 のように書くか、fiscal_year で指定してください。",
                "Nothing tells the fiscal year. Write it into the header, as in H29実施内容, or tell fiscal_year.",
                row,
            )
        if self.turned is not None and not any(column.field in RESULTS for column in yearly):
            self._ask_plan(self.turned)
        for column in yearly:
            if self.above is None:
                column.field = "nothing"
            else:
                column.year = self.above
        return [] if self.above is None else [self.above]

    def _of_one_year(self, yearly: list[Column], dated: list[tuple[Column, int]], row: Row) -> list[int]:
        # What was done tells the year; where nothing of it is dated, the plan for the year after does.
        first, told = min(dated, key=lambda pair: pair[0].ahead)
        year = told - first.ahead
        next_is_planned = any(column.field == "next_plan" and told == year + 1 for column, told in dated)
        for column, told in dated:
            expected = year + column.ahead
            if column.ahead and told == year and next_is_planned:
                column.field = "extra"  # what had been planned for this same year
            elif told != expected:
                kept = f'{{"{column.place}": "extra"}}'
                other = _example(column, year)
                # A plan for the year itself is none for the year after.
                ja, en = ("", "") if column.ahead and told == year else (f"{other} か、", f"{other}, or ")
                self.notes.wrong(
                    f"この列は {told} 年度、ほかの列によれば {expected} 年度です。"
                    f"年度をそろえるか、mapping で {ja}{kept}（そのまま残す）のように教えてください。",
                    f"This column is of {told}; by the other columns it is of {expected}. Make them agree, or tell "
                    f"with mapping: {en}{kept} to keep it as it is.",
                    row,
                    column.place,
                )
        if self.above not in (None, year) and not self.named:
            self._contradicted(year, first, row)
        for column in yearly:
            column.year = year
        return [year]

    def _contradicted(self, year: int, column: Column, row: Row) -> None:
        """By what stands above the table, or by whoever sent it."""
        if self.asked is None:
            self.notes.wrong(
                f"見出しは {year} 年度、題名や副題は {self.above} 年度です。"
                "年度をそろえるか、fiscal_year で指定してください。",
                f"The header reports on {year}, the title or subtitle on {self.above}. "
                "Make them agree, or tell fiscal_year.",
                row,
                column.place,
            )
        else:
            told = _example(column, self.asked)
            self.notes.wrong(
                f"見出しは {year} 年度ですが、fiscal_year では {self.asked} 年度と指定されています。"
                f"fiscal_year を直すか除くか、列の年度を mapping で教えてください（例: {told}）。",
                f"The header reports on {year}, and fiscal_year tells {self.asked}. "
                f"Correct fiscal_year or leave it out, or tell the year of the column with mapping, such as {told}.",
                row,
                column.place,
            )

    def _side_by_side(self, columns: list[Column], results: set[int], row: Row) -> list[int]:
        if self.asked is not None and self.asked not in results:
            first = next(column for column in columns if column.dated in results and column.field in RESULTS)
            self._contradicted(min(results), first, row)
        current: int | None = None
        for column in columns:
            if column.dated is not None:
                year = column.dated - column.ahead
                if column.ahead and year not in results and column.dated in results:
                    column.keep()  # what had been planned for that year
                    year = column.dated
                current = year if column.field in (*YEARLY, "extra") else current
            if column.field in YEARLY or (column.field == "extra" and column.dated is not None):
                column.year = current
        years: dict[str, set[int | None]] = defaultdict(set)
        for column in columns:
            years[column.field].add(column.year)
        for column in columns:
            # It is plain which year a column belongs to where each of them has one of its kind.
            sure = column.year is not None and (column.ahead or years[column.field] == results)
            if column.dated is not None or column.field not in YEARLY or sure:
                continue
            if not column.told and (said := header(column.name)) and said.weak:  # 備考
                column.keep()
                column.year = None
            else:
                self._ask_year(column, max(results), row)
        return sorted(
            {column.year for column in columns if column.field in YEARLY and column.year is not None}
        )

    def _ask_year(self, column: Column, year: int, row: Row) -> None:
        told = _example(column, year)
        self.notes.wrong(
            f"何年度の列か分かりません。見出しに年度を書くか、mapping で教えてください（例: {told}。"
            'そのまま残すなら "extra"）。',
            "Nothing tells the year of this column. Write it into the header, or tell it with mapping, "
            f'such as {told}; "extra" keeps it as it is.',
            row,
            column.place,
        )
        column.field = "nothing"

    # ---- a row

    def of_row(self, entry: Entry) -> list[int]:
        """The year that the row itself tells."""
        column = entry.block.of("fiscal_year")[0].place
        try:
            return [fiscal_years.parse(entry.year)]
        except fiscal_years.NoYear:
            bare = _bare(entry.year)
        if bare is None:
            self._unreadable(entry.row, column)
            return []
        near = entry.block.near or next(
            (year for cell in entry.row.cells if (year := year_in(cell)[0])), None
        )
        year = self.of_era(bare, near, entry.row, column, several=entry.block.of_several_years)
        return [] if year is None else [year]


MOST_BETWEEN = 3  # lines between that of a year and the header of its table


def years_above(rows: Sequence[Row], places: Sequence[range]) -> list[tuple[Row, int] | None]:
    """The line above each header that tells the year of its table, where one below the first does."""
    titles = {without_year(text_of_line(row)) for row in rows[: places[0].start]} - {None}
    dated = [_dated(rows[: places[0].start], None)]
    dated += [_dated(rows[above.stop : place.start], titles) for above, place in pairwise(places)]
    return dated if any(dated[1:]) else [None] * len(dated)


def _dated(rows: Sequence[Row], titles: Collection[str | None] | None) -> tuple[Row, int] | None:
    """The last of these lines that tells a year; between two tables it may be the title of the second."""
    for row in reversed(rows[-MOST_BETWEEN:]):
        if not (text := text_of_line(row)):
            break
        year, planned = year_of_line(row)
        if year is None and titles is not None:
            year = year_in(text)[0] if without_year(text) in titles else _year_of_page(row)
        if year is not None and not planned:
            return row, year
    return None


def year_of_line(row: Row) -> tuple[int | None, bool]:
    """The year that a line tells, if it says little else, and whether it is that of what is planned.

    A number may stand before it, and a unit or the like beside it, in brackets.
    """
    text = text_of_line(row)
    found = label(text)
    return year_told(found.rest if found and found.rest else text)


def _year_of_page(row: Row) -> int | None:
    """The year that a line reports on which has no number, as the title of a page has none."""
    text = text_of_line(row)
    reported = set() if label(text) or NUMBERED.search(text) or PLANNED.search(text) else {*years_of(text)[0]}
    return reported.pop() if len(reported) == 1 else None


def text_of_line(row: Row) -> str:
    """What stands in a line, if it is one text, and perhaps a unit or the like in brackets."""
    texts = {cell.strip() for cell in row.cells if cell.strip()}
    texts = {text for text in texts if not BRACKETED.fullmatch(text)} or texts
    text = UNIT.sub("", texts.pop()) if len(texts) == 1 else ""
    return text if len(text) <= LONGEST else ""


def _example(column: Column, year: int) -> str:
    """A mapping that tells the year of a column."""
    return f'{{"{column.place}": {{"field": "{column.field}", "fiscal_year": {year}}}}}'


def _told(cells: Iterable[str]) -> int | None:
    found = (header(cell) or year_alone(cell) for cell in cells)
    return next((said.year for said in found if said and said.year), None)


def _of_era(bare: int, near: int | None) -> int | None:
    """The year of this number in the era of a year that it is near to."""
    if near is None:
        return None
    year = next(era.begins for era in fiscal_years.ERAS if era.begins <= near) + bare - 1
    return year if abs(year - near) <= NEAR else None


def _bare(cell: str) -> int | None:
    found = BARE.fullmatch(plain(cell[:LONGEST]))
    return found and (1 if found[1] == "元" else int(found[1]))


def _read(cell: str, near: int) -> int | None:
    try:
        return fiscal_years.parse(cell)
    except fiscal_years.NoYear:
        bare = _bare(cell)
        return None if bare is None else _of_era(bare, near)
