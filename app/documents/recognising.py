"""Recognising: from sheets of cells to evaluations, and a list of all that was not understood.

Each stage has its rules in its own module. The lines above a table give the document its title and perhaps its year
(`tops`). Headers are found by their words (`headers`), and tell what their columns hold (`columns`) and which years
these belong to (`years`). The rows below are measures (`rows`), or headings, totals and notes (`asides`). When all are
known, numbers become codes (`codes`), and rows become measures and evaluations (`measures`).
Where a rule is not sure it does not guess: it says what it found, and how to tell.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby

from app.documents import counts, legends, others
from app.documents.codes import take_from_titles
from app.documents.columns import Columns
from app.documents.headers import Headers
from app.documents.measures import Measures
from app.documents.reading import LOST_BREAKS, Row, Sheet
from app.documents.rows import Rows
from app.documents.tables import UNKEEPABLE, Asked, Block, Entry, Notes, Recognised
from app.documents.tops import Top
from app.documents.vocabulary import header
from app.documents.years import Years, years_above
from app.kit.text import excerpt

LISTED = "項目、計画、実施内容、評価、理由・課題等、計画内容"


def recognise(sheets: Sheet | Sequence[Sheet], asked: Asked | None = None) -> Recognised:
    return _Document(asked or Asked()).read([sheets] if isinstance(sheets, Sheet) else sheets)


class _Document:
    """The stages, with what they remember from one sheet to the next."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.notes = Notes()
        self.years = Years(asked.fiscal_year, self.notes)
        self.top = Top(self.years, self.notes)
        self.headers = Headers(asked.mapping, self.notes)
        self.columns = Columns(asked.mapping, self.years, self.notes)
        self.measures = Measures(asked, self.years, self.notes)
        # Of the sheet that is read: the lines from which on tables are of another year, and that of the last measure.
        self.turns: list[int] = []
        self.last = 0

    def read(self, sheets: Sequence[Sheet]) -> Recognised:
        missing = [name for name in self.asked.sheets if name not in {sheet.name for sheet in sheets}]
        read: list[Sheet] = []
        if missing:
            self._tell_missing(missing[0], sheets)
        else:
            read = self._read_all(sheets)
            self._doubt_legend()
        return Recognised(
            self.top.title,
            self.top.subtitle,
            sorted({evaluation.fiscal_year for evaluation in self.measures.evaluations}),
            self.columns.understood,
            self.measures.evaluations,
            self.notes.problems,
            list(self.measures.measures.values()),
            self.measures.sections,
            self.notes.warnings,
            self.top.legend,
            [sheet.name for sheet in read if sheet.name is not None],
            self.measures.counted,
            self.columns.layouts,
            self.notes.taken,
        )

    def _doubt_legend(self) -> None:
        """Another column with the marks of the legend may be what it is about."""
        if not self.top.legend:
            return
        marks: dict[str, set[str]] = defaultdict(set)
        for evaluation in self.measures.evaluations:
            for name, cell in evaluation.extra.items():
                marks[name].add(cell.strip())
        for name, cells in marks.items():
            found = cells - {""}
            rates = (said := header(name)) is not None and said.field == "rating"
            if len(found) > 1 and found <= self.top.legend.keys() and not rates:
                self.notes.warn(
                    f"凡例は評価のものとして読みましたが、列「{excerpt(name, 30)}」にも同じ記号があります。"
                    "その列の凡例であれば、計画の評価区分（ratings）の意味を直してください。",
                    f"The legend was read as that of the ratings, and column {excerpt(name, 30)} has its marks, too. "
                    "If it is that column's, correct the labels of the plan's ratings.",
                )

    def _read_all(self, sheets: Sequence[Sheet]) -> list[Sheet]:
        """Read the sheets, and return those with a table."""
        entries: list[Entry] = []
        read: list[Sheet] = []
        headers: list[tuple[str | None, Row]] = []
        below = False  # whether there are rows at all
        self.notes.sheets = [sheet.name for sheet in sheets]
        for sheet in sheets:
            if self.asked.sheets and sheet.name not in self.asked.sheets:
                continue
            self.notes.sheet = sheet.name if len(sheets) > 1 else None
            self.notes.add(sheet.notes)
            rows = [row for row in sheet.rows if any(map(str.strip, row.cells))]
            first = self.headers.first(rows)
            if first is not None:
                read.append(sheet)
                headers.append((self.notes.sheet, rows[first.start]))
                below = below or len(rows) > first.stop
                entries += self._entries(rows, first, sheet)
            elif rows and len(sheets) > 1 and (legend := legends.read(rows).codes):
                self.top.legend = {**legend, **self.top.legend}
                self.notes.warn(
                    "表の見出しがないので、このシートは凡例だけを読みました。",
                    "This sheet has no table header: only the legend in it was read.",
                )
            elif rows and len(sheets) > 1:
                self.notes.warn(
                    "表の見出しがないので、このシートは読みませんでした。",
                    "This sheet has no table header and was not read.",
                )
        self.measures.read(entries)
        if headers and not entries and not (below and self.notes.problems):
            self._tell_no_rows(sheets, *headers[0])
        self.notes.sheet = None
        if read:
            self._check_mapping()
        else:
            self._tell_no_header(sheets)
        return read

    def _entries(self, rows: Sequence[Row], first: range, sheet: Sheet) -> list[Entry]:
        self._check_characters(rows)
        places = self.headers.places(rows, first)
        dated = years_above(rows, places)
        rows, places = _without([row for row, _ in filter(None, dated)], rows, places)
        self.top.read(rows[: places[0].start], rows[places[0].stop :])
        nexts = [*(place.start for place in places[1:]), len(rows)]
        first_line = dated[0][0] if dated[0] else rows[places[0].start]
        self.turns, self.last = [first_line.line], 0
        set_off = others.after_blanks(sheet.rows)
        blocks: list[Block] = []
        for place, end, told in zip(places, nexts, dated, strict=True):
            if told is not None:
                line, year = told
                self.notes.take(line, "page" if year == self.years.above else "subtitle")
                if year != self.years.above and line is not first_line:
                    self.turns.append(line.line)
                self.years.turn_to(year, line)
            other = others.begin(rows, range(place.stop, end), set_off)
            if row := others.followed(rows, range(other, end), set_off):
                self._ask_below(row)
            elif other < end:
                self._tell_other(rows[other])
            blocks.append(self.columns.block(rows, place, other, sheet.spans))
        # Blocks with the same columns are one table with its header repeated.
        tables = groupby(
            blocks,
            key=lambda block: (block.years, [(column.place, column.field) for column in block.columns]),
        )
        return [entry for _, table in tables for entry in self._read_table(table)]

    def _read_table(self, blocks: Iterable[Block]) -> list[Entry]:
        above: dict[int, str] = {}
        read: list[tuple[Block, list[Entry]]] = []
        for block in blocks:
            legend = legends.read(block.rows)
            for mark, meaning in {**legend.codes, **block.legend}.items():
                self.top.legend.setdefault(mark, meaning)
            reader = Rows(block, self.top.headings, self.top.lines, above, self.notes)
            its: list[Entry] = []
            counted = self._tallied(block)
            for place, row in enumerate(block.rows):
                self._end_headings(row)
                if place in counted:
                    self.notes.take(row, "total")
                elif place in legend.rows:
                    self.notes.take(row, "legend")
                elif entry := reader.entry(row):
                    its.append(entry)
                    self.last = row.line
            read.append((block, its))
        entries = [entry for _, its in read for entry in its]
        take_from_titles(entries)
        for block, its in read:
            self.columns.doubt_ratings(block, its)
            self.columns.doubt_lines(block, its)
            self.columns.doubt_ticks(block, its)
            self.columns.doubt_groups(block, its)
        return entries

    def _end_headings(self, row: Row) -> None:
        """Where another year begins, those of the year before end: not what stands above both, nor what stands between
        the last measure and the line that tells the year.
        """
        while len(self.turns) > 1 and row.line > self.turns[1]:
            began = self.turns.pop(0)
            self.top.headings[:] = [each for each in self.top.headings if not began <= each[2] <= self.last]

    def _tallied(self, block: Block) -> set[int]:
        """The rows that count the others by their ratings."""
        places = {} if block.explicit else counts.read(block.rows)
        for place in places:
            self.notes.warn(
                "ここからの行は評価を数えた表（集計）なので、施策としては読みませんでした。",
                "From here on ratings are counted: these lines were not read as measures.",
                block.rows[place],
            )
        return {row for place, end in places.items() for row in range(place, end)}

    def _ask_below(self, row: Row) -> None:
        self.notes.wrong(
            "この行は、施策の表とは別の表（指標、目標値など）の下にあります。施策や見出しの行であれば、別の表をいちばん下に"
            "移すか、この行より上に施策の表の見出しをもう一度書いてください。",
            "This line stands below another table (指標, 目標値 and the like). If it is a measure or a heading, move "
            "that table to the end, or write the header of the measures once more above this line.",
            row,
        )

    def _tell_other(self, row: Row) -> None:
        self.notes.warn(
            "ここからは、見出しの言葉（指標、目標値など）によれば施策の表とは別の表なので、"
            "次の施策の表の見出しまで読みませんでした。",
            "By the words of its header (指標, 目標値 and the like) another table begins here, which is not one of "
            "measures: it was not read, to the next header of measures.",
            row,
        )

    def _check_characters(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if not UNKEEPABLE.search("".join(row.cells)):
                continue
            for column, cell in enumerate(row.cells, 1):
                if found := UNKEEPABLE.search(cell):
                    name = f"U+{ord(found[0]):04X}"
                    self.notes.wrong(
                        f"使えない文字 {name} が入っています。取り除いてください。",
                        f"The character {name} cannot be kept. Remove it.",
                        row,
                        column,
                    )

    def _check_mapping(self) -> None:
        if unused := [name for name in self.asked.mapping if name not in self.columns.used]:
            self.notes.wrong(
                f"mapping の「{excerpt('、'.join(unused), 200)}」にあたる列がありません。"
                "列の番号か、印刷されているとおりの見出しで書いてください。",
                f"mapping names {excerpt(', '.join(unused), 200)}, and there is no such column. "
                "Name a column by its number or by its header as printed.",
            )

    def _tell_missing(self, name: str, sheets: Sequence[Sheet]) -> None:
        names = excerpt("、".join(sheet.name or "" for sheet in sheets), 300)
        self.notes.wrong(
            f"シート「{excerpt(name)}」はありません。あるのは {names} です。",
            f"There is no sheet {excerpt(name)}; there are {names}.",
        )

    def _tell_no_rows(self, sheets: Sequence[Sheet], sheet: str | None, header: Row) -> None:
        self.notes.sheet = sheet
        ja, en = LOST_BREAKS if _in_one_line(sheets) else ("", "")
        self.notes.wrong(
            f"表の見出しはありますが、その下に施策の行がありません。施策の行があるファイルを送ってください。{ja}",
            f"There is the header of a table, and no row of a measure below it. Send a file with its rows.{en}",
            header,
        )

    def _tell_no_header(self, sheets: Sequence[Sheet]) -> None:
        for sheet in sheets:
            if upright := self.headers.upright(sheet.rows):
                self.notes.sheet = sheet.name if len(sheets) > 1 else None
                self.notes.wrong(
                    "項目の名前が縦に並ぶ様式（1つの施策に1枚や1区画）のようです。この形は読めません。"
                    "項目の名前を1行に横に並べ、その下に1行に1つの施策を書いた表にしてください"
                    "（表計算ソフトでは「行と列の入れ替え」で貼り付けられます）。",
                    "The names of the fields seem to stand one below the other, as on a form for each measure. "
                    "This cannot be read. Make a table of it, with the names side by side in one row and a row for "
                    "each measure below (spreadsheet programs paste so with 'transpose').",
                    upright,
                )
                return
        encodings = ", ".join({sheet.encoding for sheet in sheets if sheet.encoding})
        ja = f"（文字コードは {encodings} として読みました）" if encodings else ""
        en = f"; the file was read as {encodings}" if encodings else ""
        lost = LOST_BREAKS if _in_one_line(sheets) else ("", "")
        self.notes.wrong(
            f"表の見出し（{LISTED}など）が見つかりません{ja}。"
            "見出しの行があるファイルを送るか、正しい文字コードを encoding で指定するか、"
            f"mapping で列の見出しを教えてください。{lost[0]}",
            f"No table header ({LISTED} or the like) was found{en}. "
            "Send a file that has its header row, name the right encoding, or tell the columns with mapping."
            f"{lost[1]}",
        )


def _without(
    lines: Sequence[Row], rows: Sequence[Row], places: Sequence[range]
) -> tuple[list[Row], list[range]]:
    """The other rows, and where the headers are among them."""
    numbers = {line.line for line in lines}
    apart = [n for n, row in enumerate(rows) if row.line in numbers]

    def moved(at: int) -> int:
        return at - bisect_left(apart, at)

    left = [row for row in rows if row.line not in numbers]
    return left, [range(moved(place.start), moved(place.stop)) for place in places]


def _in_one_line(sheets: Sequence[Sheet]) -> bool:
    """Whether all of a text stands in one line, which is no table."""
    return [len(sheet.rows) for sheet in sheets if sheet.encoding] == [1]
