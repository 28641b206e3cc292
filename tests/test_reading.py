"""Reading: whatever the encoding and the line ends, the same cells come out, exactly as printed."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from app.documents.reading import MOST_CELLS, MOST_LINES, Row, Sheet, Unreadable, read, read_csv, read_file
from app.documents.recognising import recognise
from app.documents.tables import Asked

SEED = (Path(__file__).parent.parent / "seed" / "fujimi-h29.txt").read_bytes()
TEXT = SEED.decode("utf-8")


def refused(content: bytes, encoding: str | None = None) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read(content, encoding)
    return caught.value


def test_the_rows_put_together_again_are_the_file() -> None:
    rows = read(SEED).rows
    assert "\n".join("\t".join(row.cells) for row in rows).encode("utf-8") == SEED


def test_lines_are_numbered_as_in_the_file() -> None:
    rows = read(SEED).rows
    assert [row.line for row in rows] == list(range(1, 39))
    assert rows[6].cells[:3] == ["第1節", "1", "①"]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        pytest.param(SEED, "utf-8", id="UTF-8"),
        pytest.param(TEXT.encode("utf-8-sig"), "utf-8-sig", id="UTF-8 with BOM"),
        pytest.param(TEXT.encode("cp932"), "cp932", id="CP932"),
        pytest.param(b"\xff\xfe" + TEXT.encode("utf-16-le"), "utf-16", id="UTF-16, little endian"),
        pytest.param(b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-16", id="UTF-16, big endian"),
    ],
)
def test_every_encoding_gives_the_same_rows(content: bytes, encoding: str) -> None:
    sheet = read(content)
    assert sheet.encoding == encoding
    assert sheet.rows == read(SEED).rows


@pytest.mark.parametrize("told", ["cp932", "CP932", "shift_jis", "Shift_JIS"])
def test_shift_jis_is_read_as_cp932(told: str) -> None:
    sheet = read(TEXT.encode("cp932"), told)
    assert sheet.encoding == "cp932"
    assert sheet.rows == read(SEED).rows


def test_the_encoding_that_is_told_is_used_even_where_another_would_do() -> None:
    both = "ﾂｩ".encode("cp932")
    assert read(both).rows == [Row(1, ["©"])]
    assert read(both, "cp932").rows == [Row(1, ["ﾂｩ"])]


def test_a_byte_order_mark_is_no_part_of_the_text_when_the_encoding_is_told() -> None:
    assert read(TEXT.encode("utf-8-sig"), "utf-8").rows == read(SEED).rows


def test_line_ends_of_windows_are_no_part_of_the_cells() -> None:
    assert read(TEXT.replace("\n", "\r\n").encode()).rows == read(SEED).rows


def test_a_line_end_after_the_last_line_adds_no_row() -> None:
    assert read(SEED + b"\n").rows == read(SEED).rows
    assert read(SEED + b"\r\n").rows == read(SEED).rows


def test_cells_are_neither_stripped_nor_unquoted() -> None:
    assert read(' a\t"b\t\u3000\t"c"\t\n'.encode()).rows == [Row(1, [" a", '"b', "\u3000", '"c"', ""])]


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\x0b", "\x0c", "\x85", "\x1e", "\r"])
def test_only_a_newline_ends_a_line(inside: str) -> None:
    assert read(f"a{inside}b\tc\nd".encode()).rows == [Row(1, [f"a{inside}b", "c"]), Row(2, ["d"])]


def test_an_empty_file_has_no_text() -> None:
    assert read(b"").rows == [Row(1, [""])]


@pytest.mark.parametrize(
    ("content", "line", "tried"),
    [
        pytest.param(SEED + b"\n\xff\n", 39, "utf-8", id="UTF-8 with a broken byte"),
        pytest.param(TEXT.encode("cp932") + b"\n\x81", 39, "utf-8, cp932", id="CP932 cut within a character"),
        pytest.param("\n《\n".encode("utf-16") + b"a", 3, "utf-16", id="UTF-16 cut within a character"),
        pytest.param("\n".encode("utf-16") + b"\x00\xd8a\x00", 2, "utf-16", id="UTF-16 with half a pair"),
        pytest.param(b"\xef\xbb\xbf\n\n\xff", 3, "utf-8-sig", id="UTF-8 with BOM and a broken byte"),
    ],
)
def test_bytes_that_are_no_text_are_refused_with_their_line(content: bytes, line: int, tried: str) -> None:
    problem = refused(content).problem
    assert problem.line == line
    assert problem.en == f"A byte here is not text in {tried}. Save the file as UTF-8 or name its encoding."
    assert tried in problem.ja


def test_bytes_that_are_no_text_in_the_encoding_told_are_refused() -> None:
    assert refused(SEED, "cp932").problem.en.startswith("A byte here is not text in cp932.")
    assert refused(TEXT.encode("cp932"), "utf-8").problem.line == 3


@pytest.mark.parametrize("told", ["", "latin-1", "unicode_escape", "no such encoding"])
def test_an_encoding_that_is_not_known_is_refused_with_those_that_are(told: str) -> None:
    problem = refused(SEED, told).problem
    assert problem.en.endswith(
        "Name one of: utf-8, utf-8-sig, utf-16, utf-16-le, utf-16-be, cp932, shift_jis"
    )
    assert problem.ja.endswith("utf-8, utf-8-sig, utf-16, utf-16-le, utf-16-be, cp932, shift_jis")


def test_a_file_of_too_many_lines_or_cells_is_refused() -> None:
    assert len(read(b"\n" * (MOST_LINES - 1)).rows) == MOST_LINES - 1
    assert "too large" in refused(b"\n" * MOST_LINES).problem.en
    line = b"\t" * 500 + b"\n"
    assert len(read(line * (MOST_CELLS // 501)).rows) == MOST_CELLS // 501
    assert "too large" in refused(line * (MOST_CELLS // 500)).problem.en


def test_the_process_that_reads_a_file_does_not_wait_for_what_the_server_is_made_of() -> None:
    asked = "import sys, app.documents.apart; print(*{name.partition('.')[0] for name in sys.modules})"
    root = Path(__file__).parent.parent
    loaded = subprocess.check_output([sys.executable, "-c", asked], cwd=root, text=True).split()
    assert {"app", "orjson"} <= set(loaded)
    assert {"pydantic", "pydantic_core", "fastapi", "sqlalchemy", "sqlmodel"}.isdisjoint(loaded)


@pytest.mark.parametrize(
    "text",
    [
        "番号,事業\n1,a;b\n",
        "番号;事業\n1;a,b\n",
        "番号\t事業\r\n1\ta;b,c\r\n",
        "sep=;\n番号;事業\n1;a,b,c,d\n",
        '"sep=,"\r\n番号,事業\r\n1,a;b;c\r\n',
    ],
)
def test_cells_end_where_most_lines_or_a_line_of_its_own_say(text: str) -> None:
    rows = read_csv(text.encode()).rows
    first = 2 if "sep=" in text else 1
    assert rows[0] == Row(first, ["番号", "事業"])
    assert (rows[1].line, len(rows[1].cells)) == (first + 1, 2)


@pytest.mark.parametrize("reads", [read, read_csv])
def test_a_table_that_is_wider_than_any_table_is_refused_at_its_line(reads: Callable[..., Sheet]) -> None:
    mark = b"\t" if reads is read else b","
    with pytest.raises(Unreadable) as caught:
        reads(b"a\n" + mark * 1000 + b"\n")
    assert (caught.value.problem.line, "1,001 columns" in caught.value.problem.en) == (2, True)
    assert len(reads(b"a\n" + mark * 999 + b"\n").rows) == 2


# ---------------------------------------------------------------------------------------------------------
# Workbooks


def workbook(*lines: list[Any], **settings: Any) -> tuple[io.BytesIO, xlsxwriter.Workbook]:
    """Cells; one with a format is a value and its format."""
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, settings)
    sheet = book.add_worksheet("一")
    for line, cells in enumerate(lines):
        for column, cell in enumerate(cells):
            value, shape = cell if isinstance(cell, tuple) else (cell, None)
            sheet.write(line, column, value, book.add_format({"num_format": shape}) if shape else None)
    return out, book


def opened(out: io.BytesIO, book: xlsxwriter.Workbook) -> Sheet:
    book.close()
    found = read_file(out.getvalue(), "a.xlsx")
    assert isinstance(found, list)
    return found[0]


FORMATS = [
    (126, '0"件"', "126件"),
    (126, "0\\件", "126件"),
    (3, '"第"0"節"', "第3節"),
    (3.5, 'General"ha"', "3.5ha"),
    (91.6666667, "0.0", "91.7"),
    (1.2, "0.00", "1.20"),
    (1.005, "0.00", "1.01"),  # a little less in binary, which spreadsheets do not show
    (1e-9, "0.00", "0.00"),
    (1234567.5, "#,##0", "1,234,568"),
    (1234567.5, '#,##0.00"円"', "1,234,567.50円"),
    (-5, '#,##0;"▲ "#,##0', "▲ 5"),
    (-5, "#,##0;[Red]△#,##0", "△5"),
    (-5, '0"件"', "-5件"),
    (-0.3, "0", "0"),
    (0, '#,##0;-#,##0;"－"', "－"),
    (-1234, '_ * #,##0_ ;_ * -#,##0_ ;_ * "-"_ ;_ @_ ', "-1,234"),
    (7, "000", "007"),
    (2, "0.0#", "2.0"),
    (0.925, '0%"増"', "93%増"),
    (2017, "0", "2017"),
    (2017, '0"年度"', "2017年度"),
    (126, 38, "126"),
    ("－", "#,##0", "－"),
    (46113, '[$-411]ggge"年度"', "令和8年度"),
    (46113, "[$-411]ge.m.d", "R8.4.1"),
    (46113, 'yyyy"年"m"月"d"日";@', "2026年4月1日"),
    (46113, "yyyy-mm-dd", "2026-04-01"),
    (43586, '[$-411]ggge"年"', "令和1年"),
    (43586, '[$-ja-JP-x-gannen]ggge"年"', "令和元年"),
    (43585, '[$-411]ggge"年"', "平成31年"),
    (46113, 58, "令和8年4月1日"),  # known by its number alone
    (46113, 56, "4月1日"),
]


@pytest.mark.parametrize(("value", "shape", "shown"), FORMATS)
def test_a_number_is_read_as_its_format_shows_it(value: float | str, shape: str | int, shown: str) -> None:
    sheet = opened(*workbook([(value, shape)]))
    assert (sheet.rows[0].cells, sheet.notes) == ([shown], [])


def test_days_are_counted_from_where_the_workbook_counts_them() -> None:
    out, book = workbook(date_1904=True)
    book.worksheets()[0].write_datetime(
        0, 0, date(2026, 4, 1), book.add_format({"num_format": '[$-411]ggge"年度"'})
    )
    assert opened(out, book).rows[0].cells == ["令和8年度"]


@pytest.mark.parametrize(
    ("value", "shape", "read_as", "said"),
    [
        (0.5, "# ?/?", "0.5", "This number has a format."),
        (5000, "0.00E+00", "5000", "This number has a format."),
        (5000, "#,##0,", "5000", "This number has a format."),
        (5, "[>3]0;0.0", "5", "This number has a format."),
        (0, "0;-0;", "0", "This number has a format."),  # hidden, and not lost
        (1e300, "0.0", "1e+300", "This number has a format."),
        (5, "0" * 300, "5", "This number has a format."),
        (40, '[$-411]ggge"年"', "40", "This number has a format."),
        (46113, "[$-411]ggge(aaa)", "46113", "This number has a format."),
        (46113, "yyyy/m/d", "2026-04-01", "This cell is a date."),
        (0.5, "h:mm", "12:00:00", "This cell is a date."),
    ],
)
def test_what_a_format_that_is_not_simple_shows_is_told_to_be_unknown(
    value: float, shape: str, read_as: str, said: str
) -> None:
    sheet = opened(*workbook(["a"], ["", (value, shape)]))
    assert sheet.rows[1].cells == ["", read_as]
    [note] = sheet.notes
    assert (note.line, note.column, note.text, note.sheet) == (2, 2, read_as, "一")
    assert note.en.startswith(said)
    assert "文字列のセルに" in note.ja


def test_a_text_in_a_cell_of_a_number_stays_as_it_is() -> None:
    out, book = workbook([(126, "0.0"), (125, "0.0")])
    book.close()
    changed = io.BytesIO()
    with zipfile.ZipFile(out) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"<v>126</v>", "<v>約126</v>".encode()))
    [sheet] = read_file(changed.getvalue(), "a.xlsx")
    assert isinstance(sheet, Sheet)
    assert (sheet.rows[0].cells, sheet.notes) == (["約126", "125.0"], [])


def test_numbers_without_a_format_stay_as_they_are() -> None:
    sheet = opened(*workbook([126, 2017, 91.6666667, (5, "General"), (5, "@"), "1-1"]))
    assert sheet.rows[0].cells == ["126", "2017", "91.6666667", "5", "5", "1-1"]
    assert sheet.notes == []


def test_the_number_of_a_measure_is_the_one_that_is_shown() -> None:
    head = ["番号", "事業名", "年度", "実績", "評価"]
    sheet = opened(*workbook(head, [(1.2, "0.00"), "学習支援", (2017, "0"), (126, '0"件"'), "A"]))
    found = recognise([sheet], Asked())
    assert found.problems == []
    [row] = found.evaluations
    assert (row.path, row.fiscal_year, row.implementation) == (["1.20"], 2017, "126件")


@pytest.mark.parametrize(
    ("rows", "columns", "ja", "en"),
    [
        ([], [], [], []),
        ([2], [], ["非表示の行 2 も読みました。"], ["Hidden rows were read, too: 2."]),
        ([], [3], ["非表示の列 3 も読みました。"], ["Hidden columns were read, too: 3."]),
        (
            [2, 4, 5, 6, 40],  # the last is empty
            [2, 3, 8, 9],
            ["非表示の行 2、4～6 も読みました。", "非表示の列 2～3 も読みました。"],
            ["Hidden rows were read, too: 2, 4-6.", "Hidden columns were read, too: 2-3."],
        ),
        (
            [*range(1, 61, 2)],
            [],
            [f"非表示の行 {'、'.join(map(str, range(1, 41, 2)))} など 30 行も読みました。"],
            [f"Hidden rows were read, too: {', '.join(map(str, range(1, 41, 2)))} and others, 30 in all."],
        ),
    ],
)
def test_rows_and_columns_that_are_hidden_are_read_and_told_of(
    rows: list[int], columns: list[int], ja: list[str], en: list[str]
) -> None:
    lines = [["" if line == 40 and rows[-1:] == [40] else "a"] * 3 for line in range(1, 61)]
    out, book = workbook(*lines)
    for row in rows:
        book.worksheets()[0].set_row(row - 1, None, None, {"hidden": True})
    for column in columns:
        book.worksheets()[0].set_column(column - 1, column - 1, None, None, {"hidden": True})
    sheet = opened(out, book)
    assert [row.cells for row in sheet.rows] == lines
    assert ([note.ja for note in sheet.notes], [note.en for note in sheet.notes]) == (ja, en)
    assert {(note.line, note.column, note.text, note.sheet) for note in sheet.notes} <= {
        (None, None, "", "一")
    }


def test_of_a_hidden_sheet_nothing_is_said_but_that_it_was_not_read() -> None:
    out, book = workbook(["a"])
    book.worksheets()[0].set_row(0, None, None, {"hidden": True})
    book.worksheets()[0].hide()
    book.add_worksheet("二").activate()
    assert [note.en for note in opened(out, book).notes] == ["This sheet is hidden and was not read."]


def test_a_cell_that_says_hidden_hides_nothing() -> None:
    assert opened(*workbook(['<row r="1" hidden="1">', ' hidden="1"'])).notes == []
