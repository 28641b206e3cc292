"""Rows below a header that are no measures: totals, notes, headings, and what pages repeat.

A total is called that, or says of what it is one and little else. A note begins with its sign. A heading stands alone
with its number, or is numbered unlike the measures and says nothing but its name; what follows stands below it.
"""

import re
from collections.abc import Container

from app.documents.numbering import label, numbers, style
from app.documents.reading import Row
from app.documents.tables import Block, Notes, folded, one_line
from app.documents.vocabulary import YEARLY, is_amount
from app.documents.years import BRACKETED, year_of_line

HEADING = re.compile(
    r"[【〔〈《\[［]?(第.{1,5}[部章節編]|基本(目標|方針|施策|方向)|重点(目標|施策|項目)|施策の(柱|方向)"
    r"|(柱|目標|方針)\s*[0-9０-９①-⑳Ⅰ-Ⅻ])"
)
TOTAL = re.compile(
    r"((第.{1,5}[部章節]|.{1,20}\s)?((総\s*)?合|小|総|累)?\s*計|平\s*均|割\s*合|構\s*成\s*比)(\s*[(（].*[)）])?"
)
TOTAL_OF = re.compile(r".{1,20}[合小総]計")  # 効果額合計, where little else is said
# 医療計, where nothing else is said but figures, and 医療 is what the measures above belong to; 血圧計 is a word.
TOTAL_OF_FIGURES = re.compile(
    r"(?:施策|政策|事業|分野|[部課節章])計|(?P<of>.{1,20}?)[小合]?計|全\s*体|総\s*数"
)
ENDS = ("計", "体", "数")  # a quick look, for the many rows that are none
NOTE = re.compile(
    r"[※＊*]|[（(〔\[【]?(注意?|備考|出典|資料|凡例)\d*([）)〕\]】\s:：.．、\d]|$)|[（(〔\[【]注"
    r"|[（(]?以\s*上[）)]?。?$"
)
PAGE = re.compile(
    r"[-‐–—−－―ー]\s*\d+\s*[-‐–—−－―ー]|[pPｐＰ][.．]?\s*\d+|(?:\d+\s*[/／]\s*)?\d+\s*(?:ページ|頁)"
)
PAGE_OF = re.compile(r"\d+\s*[/／]\s*\d+")
# How often each mark was given.
COUNTS = re.compile(r"(?:[A-ZＡ-Ｚ◎○△×]\s*[:：]?\s*[0-9０-９]+\s*[件個]?[\s、,]*)+")
LONGEST_TOTAL, LONGEST_HEADING, SHORT = 40, 200, 20
MOST_ASIDE = 3  # cells of a line that pages repeat, or that tells the total of something
TOLD = {
    "total": ("合計などの行なので、施策としては読みませんでした。", "This is a total and no measure."),
    "note": ("注釈の行なので、施策としては読みませんでした。", "This is a note and no measure."),
    "numbered": (
        "番号と名称だけの行で、番号の書き方がほかの施策と違うので、見出しとして読みました。"
        "施策であれば、番号の書き方をそろえてください。",
        "A number and a title alone, numbered unlike the measures: this was taken for a heading. "
        "If it is a measure, number it like the others.",
    ),
}

Line = tuple[tuple[int, str], ...]
# That the next row stands under: how each is written, its text and its line.
Headings = list[tuple[str, str, int]]


class Asides:
    """Tells the rows of a block that are no measures, and keeps the headings that the next row stands under."""

    def __init__(self, block: Block, headings: Headings, lines: Container[Line], notes: Notes) -> None:
        self.headings = headings
        self.lines = lines  # that stand above the tables
        self.notes = notes
        self.titles = block.places("title")
        self.labels = block.places("path")
        self.leading = block.places("title", "section", "path")
        self.evaluated = block.places(*YEARLY, "extra")
        self.years = block.years
        self.last = block.rows[-1] if block.rows else None
        outer = block.places("section", "path", "department")
        outer += [place for place in block.places("extra") if place < min(self.titles, default=0)]
        self.groups = {row.cell(place).strip() for row in block.rows for place in outer}
        self.styles = set() if block.coded else self._styles(block)

    def _styles(self, block: Block) -> set[str]:
        """How measures are numbered of which more is said than a title."""
        rows = [row for row in block.rows if len(row.filled()) > 2]
        printed = {row.cell(place) for row in rows for place in self.labels}
        return {style(text) for text in printed if label(text)}

    def kind(self, row: Row, filled: list[int]) -> str | None:
        """What the row is taken for, if it is no measure."""
        first = row.cell(filled[0])
        text = first.strip()
        alone = len(filled) == 1 or (
            filled[0] in self.leading and all(row.cell(place) == first for place in filled)
        )
        if self._is_total(row, filled, text) and (not alone or len(text) <= SHORT):
            self.notes.warn(*TOLD["total"], row)
            return "total"
        if alone and NOTE.match(text):
            self.notes.warn(*TOLD["note"], row)
            return "note"
        if alone and self._is_of_other_year(row, filled[0]):
            return "heading"
        if self._is_of_page(row, filled, text):
            return "page"
        if alone and row is self.last and BRACKETED.fullmatch(text) and not label(text):
            self.notes.warn(*TOLD["note"], row)
            return "note"
        if len(filled) > MOST_ASIDE and _counts(row, filled):
            return "header"
        if alone and (filled[0] == 1 or filled[0] in self.leading) and _is_heading(text):
            stand_under(self.headings, one_line(text), row.line)
            return "heading"
        if self._is_numbered(row, filled):
            self.notes.warn(*TOLD["numbered"], row)
            stand_under(
                self.headings, " ".join(one_line(row.cell(place)).strip() for place in filled), row.line
            )
            return "heading"
        return None

    def _is_of_other_year(self, row: Row, place: int) -> bool:
        """A line that tells a year and little else, where nothing below it says that another table begins."""
        year, planned = year_of_line(row)
        if not self.years or year is None or (year in self.years and not planned):
            return False
        read = "、".join(map(str, self.years))
        self.notes.wrong(
            f"この行は {year} 年度{'の予定' * planned}としていますが、表は {read} 年度として読んでいます。"
            "ここからが別の年度の表であれば、この行のすぐ下に表の見出しの行を書いてください。"
            "これからの年度の予定であれば、前の年度の行に「次年度計画内容」の列として書いてください。",
            f"This line tells {year}{', as planned' * planned}, and the table is read as of {read}. If a table of "
            "another year begins here, write its header directly below this line; what is planned for a year to come "
            "belongs into a column 次年度計画内容 of the year before.",
            row,
            place,
        )
        return True

    def _is_total(self, row: Row, filled: list[int], text: str) -> bool:
        if any(map(_named_total, (text, *map(row.cell, self.titles)))):
            return True
        if 1 < len(filled) <= MOST_ASIDE and TOTAL_OF.fullmatch(text):
            return True
        likely = [cell for cell in row.cells if cell.rstrip().endswith(ENDS)]
        total = next((cell for cell in likely if self._is_total_of_figures(cell.strip())), None)
        if total is None:
            return False
        others = [cell for place in filled if (cell := row.cell(place)) != total]
        return bool(others) and all(is_amount(cell) or COUNTS.fullmatch(cell.strip()) for cell in others)

    def _is_total_of_figures(self, cell: str) -> bool:
        found = TOTAL_OF_FIGURES.fullmatch(cell)
        return found is not None and (found["of"] is None or found["of"].strip() in self.groups)

    def _is_of_page(self, row: Row, filled: list[int], text: str) -> bool:
        """A page number, or a line that stands above the table, too: neither says anything of its own."""
        if len(filled) > MOST_ASIDE:
            return False
        number = PAGE.fullmatch(text) or (filled[0] not in self.evaluated and PAGE_OF.fullmatch(text))
        return bool(number and len(filled) == 1) or line_of(row) in self.lines

    def _is_numbered(self, row: Row, filled: list[int]) -> bool:
        """A number and a title with nothing beside them, where measures are numbered otherwise."""
        if (
            not self.styles
            or len(filled) != 2
            or filled[0] not in self.labels
            or filled[1] not in self.titles
        ):
            return False
        number = row.cell(filled[0])
        return label(number) is not None and style(number) not in self.styles


def _counts(row: Row, filled: list[int]) -> bool:
    """Whether it numbers the columns: (1), (2), (3) and so on."""
    first = numbers(row.cell(filled[0])) or (0,)
    return all(numbers(row.cell(place)) == (first[0] + n,) for n, place in enumerate(filled))


def _is_heading(text: str) -> bool:
    found = label(text)
    return bool(found and (found.rest or HEADING.match(text)) and len(text) <= LONGEST_HEADING)


def _named_total(text: str) -> bool:
    text = text.strip()
    if not 0 < len(text) <= LONGEST_TOTAL:
        return False
    found = label(text)  # 基本目標１ 合計
    return bool(TOTAL.fullmatch(text) or (found and TOTAL.fullmatch(found.rest)))


def stand_under(headings: Headings, text: str, line: int) -> None:
    """A heading takes the place of the one that is written like it, and of those below that."""
    written = style(text)
    place = next((n for n, (seen, *_) in enumerate(headings) if seen == written), len(headings))
    headings[place:] = [(written, text, line)]


def line_of(row: Row) -> Line:
    """What stands in a line and where, as it is known again."""
    return tuple((place, folded(row.cell(place))) for place in row.filled())
