"""The rows below a header: which of them tell of a measure, and what leads to it.

Totals, notes and headings are no measures (`asides`). A blank cell in front of a title means the one above, as far as
nothing further out has changed, nor a heading come between. A row says once what is wrong with it, and where.
Where a table is one of our own documents that say all of it, nothing of this is recognised: its cells are taken as
they are.
"""

import json
import re
from collections.abc import Container

from app.documents import others
from app.documents.asides import Asides, Headings, Line
from app.documents.marks import TICKS
from app.documents.numbering import Label, label, no_number
from app.documents.reading import ERROR, Row
from app.documents.tables import LONGEST, Block, Entry, Notes, folded, one_line

DITTO = {"〃", "々", "仝", "同上", "”", "″", '"'}
AGAIN = re.compile(r"[（(〔\[【<＜]?\s*再\s*掲")
MARKED = {*TICKS, "有", "1", "１"}  # under a header that says 再掲
AGAIN_AT_NUMBER = re.compile(
    r"[※＊*]?\s?(?:[（(〔\[【<＜]\s{0,3}[※＊*]?再(?:\s{0,3}掲)?\s{0,3}[）)〕\]】>＞]|再\s{0,3}掲)\s{0,3}[:：]?"
)
NO_NUMBER = {
    None: (
        "番号を読み取れません。第1節、1、(1)、①、1-(1)-①、ア のように書くか、"
        "記号のまま使うのであれば、この列を mapping で code にしてください。"
        "施策の行でなければ、この行を消してください。",
        "This is not a number. Write it like 第1節, 1, (1) or ①, or map this column to code. "
        "Remove the line if it tells of no measure.",
    ),
    "date": (
        "番号ではなく日付です。1-1 などが、表計算ソフトで日付に変わったのかもしれません。"
        "この列の書式を文字列にして、番号を書き直してください。",
        "This is a date and no number: a spreadsheet program may have made one of 1-1. "
        "Make the cells of this column text and write the numbers anew.",
    ),
    "several": (
        "番号が2つ以上あります。1つの施策の番号であれば 2-3 のように書き、"
        "2つの施策であれば、行を分けて1つずつ書いてください。",
        "These are several numbers. Write 2-3 if they are the number of one measure, "
        "or give each measure a row with its own.",
    ),
}
NO_TITLE = {
    False: ("施策の名称がありません。書き入れてください。", "The measure has no title. Write it in."),
    True: (
        "この行には1つのことしか書かれていません。節などの見出しであれば番号を付け（１ 学校 など）、"
        "施策であれば名称を書いてください。どちらでもなければ、この行を消してください。",
        "One thing alone stands in this line. If it is a heading, number it, as in 1 学校; "
        "if a measure, write its title; if it is neither, remove it.",
    ),
}
OTHER_HEAD = (
    "別の表（指標、目標値など）の見出しのようです。この行の上に空白の行を入れれば、ここから下の表は読みません。"
    "表を分けるか、消してもかまいません。",
    "This seems to be the header of another table (指標, 目標値 and the like). Put a blank line above it: the table is "
    "then left out. Or move or remove it.",
)
LONGEST_MARK = 40
MOST_TOLD = 5  # columns in one message


class Rows:
    """Reads the rows of a block from top to bottom. What stands above goes on into the next block of the table."""

    def __init__(
        self, block: Block, headings: Headings, lines: Container[Line], above: dict[int, str], notes: Notes
    ) -> None:
        self.block = block
        self.headings = headings
        self.above = above  # by column: what a blank cell means
        self.notes = notes
        self.titles = block.places("title")
        self.labels = block.places("path")
        self.sections = block.places("section")
        self.groups = block.places("section", "path")
        self.in_every_row = set(self.labels[-1:])  # until one lacks it
        self.turned = False  # whether the row begins another group
        self.leading = {*self.titles, *self.groups}
        self.numbered = block.places("path", "code")
        self.years = block.places("fiscal_year")[:1]
        self.codes = block.places("code")[:1]
        self.section_codes = block.places("section_code")[:1]
        self.read = [column.place for column in block.columns if column.field not in ("ignore", "nothing")]
        title = self.titles[0] if self.titles and not block.explicit else 0
        self.departments = [place for place in block.places("department") if place < title]
        self.in_front = [place for place in self.read if place < title and place not in self.departments]
        self.ratings = block.places("rating")
        self.own = [place for place in block.places("rating", "department") if place not in self.departments]
        self.repeating = [*self.leading, *self.codes, *self.years, *self.ratings, *block.places("department")]
        self.asides = Asides(block, headings, lines, notes)
        self.marked_again = [column.place for column in block.of("extra") if AGAIN.match(column.name)]
        self.unnamed = [column.place for column in block.of("nothing") if not column.name]
        self.limits = [(column.place, LONGEST[column.field]) for column in block.of(*LONGEST)]

    def entry(self, row: Row) -> Entry | None:
        """The measure that the row tells of, if it does."""
        filled = row.filled()
        if not self.block.explicit and (kind := self.asides.kind(row, filled)):
            self.notes.take(row, kind)
            if kind == "heading":
                self.above.clear()
            return None
        if not self.block.explicit and others.is_head(row):
            self.notes.wrong(*OTHER_HEAD, row)
            return None
        if not self._fits(row, filled):
            return None
        self._check_cells(row)
        if set(filled).isdisjoint(self.read):
            return None
        meant = {} if self.block.explicit else self._meant(row)
        row = self._carry_down(row, meant)
        if not self.titles:
            return None
        if len(filled) == 1 and filled[0] in self.in_front:
            self.notes.wrong(*NO_TITLE[True], row, filled[0])
            return None
        again = not self.block.explicit and self._says_again(row, filled)
        numbers = self._numbers(row, again=again)
        code = self._code(row)
        title = self._title(row, alone=len(filled) == 1)
        if numbers is None or code is None or title is None:
            return None
        if not self.block.explicit and self.ratings and set(filled).isdisjoint(self.repeating):
            self.notes.warn(
                "番号も名称も評価もない行なので、上の施策の別の行として読みました。"
                "上の行の続きであれば、1つのセルにまとめてください。",
                "This line has no number, title or rating of its own: it was read as another row of the measure above. "
                "If it goes on with the row above, put both into one cell.",
                row,
                filled[0],
            )
        return Entry(
            self.notes.sheet,
            row,
            self.block,
            self._headings(),
            numbers,
            title,
            again,
            year="".join(self.above.get(place, "") for place in self.years),
            code=code,
            section_code="".join("".join(map(row.cell, self.section_codes)).split()),
            meant=meant,
        )

    def _says_again(self, row: Row, filled: list[int]) -> bool:
        if any(row.cell(place).strip() in MARKED for place in self.marked_again):
            return True
        return any("再" in cell for cell in row.cells) and (
            any(AGAIN.search(row.cell(place)) for place in self.leading)
            or any(AGAIN_AT_NUMBER.search(row.cell(place)) for place in self.numbered)
            or any(AGAIN.match(cell) for place in filled if len(cell := row.cell(place)) <= LONGEST_MARK)
        )

    # ---- what is wrong with a row

    def _fits(self, row: Row, filled: list[int]) -> bool:
        width = self.block.width
        if filled[-1] <= width <= len(row.cells):
            return True
        beyond = [column for column in filled if column > width]
        told = json.dumps(dict.fromkeys(beyond[:MOST_TOLD], "ignore"))
        self.notes.wrong(
            f"この行は {len(row.cells)} 列ですが、見出しは {width} 列です。"
            "列の数をそろえるか、表の行でなければ消してください。"
            + (f"要らない列であれば、mapping で {told} と教えてください。" if beyond else ""),
            f"This line has {len(row.cells)} columns, its header {width}. "
            "Give it as many, or remove it if it is not part of the table."
            + (f" If the columns beyond are not needed, tell {told} with mapping." if beyond else ""),
            row,
            next(iter(beyond), None),
        )
        return False

    def _check_cells(self, row: Row) -> None:
        for place in [place for place in self.unnamed if row.cell(place).strip()]:
            self.unnamed.remove(place)  # told once
            self.notes.wrong(
                "この列には見出しがありません。見出しを書くか、mapping で教えてください。",
                "This column has no header. Write one, or tell with mapping.",
                row,
                place,
            )
        for place in () if self.block.explicit else self.read:
            if row.cells[place - 1].startswith(("#", "Err:")) and ERROR.fullmatch(row.cells[place - 1]):
                self.notes.wrong(
                    "数式のエラーです。正しい値を書くか、空にしてください。"
                    "要らない列であれば、mapping で ignore にしてください。",
                    "This is the error of a formula. Write what should stand here, or nothing; "
                    "map the column to ignore if it is not needed.",
                    row,
                    place,
                )
        for place, most in self.limits:
            if len(row.cells[place - 1]) > most:
                self.notes.too_long(most, row, place)

    # ---- what leads to a measure

    def _meant(self, row: Row) -> dict[int, str]:
        """What stands above the cells that say 〃."""
        meant: dict[int, str] = {}
        for place in self.repeating:
            if row.cells[place - 1].strip() not in DITTO:
                continue
            if place not in self.above:
                self.notes.wrong(
                    "「同上」の記号ですが、上に何もありません。内容を書いてください。",
                    "This means the cell above, and nothing stands there. Write what it means.",
                    row,
                    place,
                )
            meant[place] = self.above.get(place, "")
        return meant

    def _carry_down(self, row: Row, meant: dict[int, str]) -> Row:
        """Remember what blank cells and 〃 below will mean. The row comes back with its department, where that is
        blank, and with what its own 〃 mean, but for those of ratings: these are kept as printed.
        """
        cells = list(row.cells)
        for place in meant.keys() - set(self.ratings):
            cells[place - 1] = meant[place]
        # A number that stands in every row is the measure's own: another one does not begin another group.
        innermost = self.labels[-1] if self.labels else 0
        if innermost and not cells[innermost - 1].strip():
            self.in_every_row.discard(innermost)
        changed = False
        for place in self.groups:
            cell = cells[place - 1]
            if self.block.explicit:
                self.above[place] = cell
            elif cell.strip():
                changed = changed or (
                    folded(cell) != folded(self.above.get(place, "")) and place not in self.in_every_row
                )
                self.above[place] = cell
            elif changed:
                self.above[place] = ""
        self.turned = changed
        for place in (*self.years, *self.departments):
            if cells[place - 1].strip():
                self.above[place] = cells[place - 1]
        for place in self.own:
            self.above[place] = meant.get(place, cells[place - 1])
        for place in self.departments:
            cells[place - 1] = self.above.get(place, "")
        return Row(row.line, cells)

    def _headings(self) -> list[str]:
        """The headings that the row stands under, from the outermost."""
        cells = [one_line(self.above.get(place, "")) for place in self.sections]
        rows = [] if self.block.explicit else [text for _, text, _ in self.headings]
        return rows + [cell for cell in cells if cell.strip()]

    def _numbers(self, row: Row, *, again: bool) -> list[tuple[str, Label | None]] | None:
        """The numbers that the row stands under; None where one of them is none."""
        numbers: list[tuple[str, Label | None]] = []
        understood = True
        for place in self.labels:
            cell = one_line(self._number_of(self.above.get(place, "")))
            may_lack = again or bool(numbers) or len(self.labels) == 1  # some have fewer numbers than others
            if self.block.coded:
                numbers += [(cell, None)] if cell.strip() else []
            elif found := label(cell):
                numbers.append((cell, found))
            elif cell.strip() or not may_lack:
                understood = False
                self.notes.wrong(*NO_NUMBER[no_number(cell)], row, place)
        return numbers if understood else None

    def _number_of(self, cell: str) -> str:
        """What the cell says without 再掲."""
        return cell if self.block.explicit or "再" not in cell else AGAIN_AT_NUMBER.sub("", cell)

    def _code(self, row: Row) -> str | None:
        """The code that the row gives, if its table does; where its title is blank, too, the one above."""
        if not self.block.coded:
            return ""
        place = self.codes[0]
        code = self._number_of(row.cell(place))
        if not self.block.explicit and no_number(code) == "date":
            self.notes.wrong(*NO_NUMBER["date"], row, place)
            return None
        if not self.block.explicit and not code.strip() and not row.cell(self.titles[0]).strip():
            code = self.above.get(place, "")
        self.above[place] = code
        return "".join(code.split())

    def _title(self, row: Row, *, alone: bool) -> str | None:
        place = self.titles[0]
        title = one_line(row.cell(place))
        goes_on = not self.turned and not any(row.cell(place).strip() for place in self.numbered)
        if not title.strip() and goes_on:
            title = one_line(self.above.get(place, ""))
        if not title.strip():
            self.notes.wrong(*NO_TITLE[alone], row, place)
            return None
        self.above[place] = title
        return title
