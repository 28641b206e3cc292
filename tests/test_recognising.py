"""Recognising: what the seed says is understood, exactly; what cannot be understood is listed, all of it."""

import json
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from app.documents import vocabulary
from app.documents.marks import code_of
from app.documents.numbering import numbers
from app.documents.reading import Problem, Row, Sheet, read
from app.documents.recognising import recognise
from app.documents.tables import MOST_PROBLEMS, Asked, Recognised
from app.kit.text import excerpt

SEED = (Path(__file__).parent.parent / "seed" / "fujimi-h29.txt").read_bytes()
TEXT = SEED.decode("utf-8")
PRINTED = {line: text.split("\t") for line, text in enumerate(TEXT.split("\n"), 1)}
HEADERS = [6, 19, 23, 31]
WORKING = [line for line, cells in PRINTED.items() if len(cells) == 8 and line not in HEADERS]


def recognised(text: str) -> Recognised:
    return recognise(read(text.encode("utf-8")))


def changed(*changes: tuple[int, int, str]) -> Recognised:
    """The seed with other words in some cells; a place is a line and a column, counted from 1."""
    lines = [list(cells) for cells in PRINTED.values()]
    for line, column, text in changes:
        lines[line - 1][column - 1] = text
    return recognised("\n".join("\t".join(cells) for cells in lines))


def places(found: Recognised) -> list[tuple[int | None, int | None]]:
    return [(problem.line, problem.column) for problem in found.problems]


def only_problem(found: Recognised) -> Problem:
    (problem,) = found.problems
    return problem


# ---------------------------------------------------------------------------------------------------------
# What the seed says


def test_the_seed_is_understood_without_a_problem() -> None:
    assert recognised(TEXT).problems == []


def test_the_title_is_stripped_and_otherwise_as_printed() -> None:
    assert PRINTED[3][0].endswith("～  ")
    assert recognised(TEXT).title == "夢つなぐ富士見プロジェクト+(プラス)～富士見市子どもの貧困対策整備計画～"


def test_the_subtitle_and_the_fiscal_year_are_found() -> None:
    found = recognised(TEXT)
    assert found.subtitle == "(平成29年度進捗状況評価結果・第1～4節)"
    assert found.fiscal_years == [2017]
    assert {evaluation.fiscal_year for evaluation in found.evaluations} == {2017}


def test_the_mapping_tells_once_what_each_column_was_understood_as() -> None:
    assert recognised(TEXT).mapping == [
        {"column": 1, "header": "項 目", "field": "path"},
        {"column": 2, "header": "", "field": "path"},
        {"column": 3, "header": "", "field": "path"},
        {"column": 4, "header": "計画", "field": "title"},
        {"column": 5, "header": "H29実施内容", "field": "implementation", "fiscal_year": 2017},
        {"column": 6, "header": "評価", "field": "rating", "fiscal_year": 2017},
        {"column": 7, "header": "理由・課題等", "field": "rationale", "fiscal_year": 2017},
        {"column": 8, "header": "H30計画内容", "field": "next_plan", "fiscal_year": 2017},
    ]


def test_every_text_is_its_cell_byte_for_byte_and_points_to_its_line() -> None:
    evaluations = recognised(TEXT).evaluations
    assert [evaluation.line for evaluation in evaluations] == WORKING
    for evaluation in evaluations:
        texts = [
            *evaluation.path,
            evaluation.title,
            evaluation.implementation,
            evaluation.rating,
            evaluation.rationale,
            evaluation.next_plan,
        ]
        assert [str(text).encode("utf-8") for text in texts] == [
            cell.encode("utf-8") for cell in PRINTED[evaluation.line]
        ]


def test_there_are_26_rows_on_24_measures_in_10_groups_of_4_sections() -> None:
    evaluations = recognised(TEXT).evaluations
    assert len(evaluations) == 26
    assert len({evaluation.code for evaluation in evaluations}) == 24
    assert len({evaluation.code.rpartition("-")[0] for evaluation in evaluations}) == 10
    sections = {evaluation.section_code: evaluation.section_label for evaluation in evaluations}
    assert sections == {"1": "第1節", "2": "第2節", "3": "第3節", "4": "第4節"}


def test_ratings_are_counted_by_section() -> None:
    ratings = Counter(
        (evaluation.section_code, evaluation.rating) for evaluation in recognised(TEXT).evaluations
    )
    assert [ratings[section, "A"] for section in "1234"] == [9, 1, 2, 5]
    assert [ratings[section, "B"] for section in "1234"] == [2, 1, 4, 2]


def test_codes_are_made_of_the_numbers_printed_on_each_line() -> None:
    codes = {evaluation.line: evaluation.code for evaluation in recognised(TEXT).evaluations}
    assert codes[7] == "1-1-1"
    assert codes[12] == "1-1-6"
    assert codes[29] == "3-3-3"
    assert codes[35] == "4-1-4"


def test_a_measure_with_three_rows_has_three_ordinals() -> None:
    ordinals = {evaluation.line: evaluation.ordinal for evaluation in recognised(TEXT).evaluations}
    assert [ordinals.pop(line) for line in (36, 37, 38)] == [1, 2, 3]
    assert set(ordinals.values()) == {1}


def test_measures_with_the_same_texts_stay_two() -> None:
    food, learning = (
        evaluation for evaluation in recognised(TEXT).evaluations if evaluation.line in (26, 27)
    )
    differing = ("line", "path", "code", "title")
    assert {key: value for key, value in asdict(food).items() if key not in differing} == {
        key: value for key, value in asdict(learning).items() if key not in differing
    }
    assert (food.code, learning.code) == ("3-2-1", "3-3-1")


def test_what_the_document_does_not_say_stays_empty() -> None:
    for evaluation in recognised(TEXT).evaluations:
        assert evaluation.department is None
        assert evaluation.extra == {}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(TEXT.replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(TEXT.encode("utf-8-sig"), id="BOM"),
        pytest.param(TEXT.encode("utf-16"), id="UTF-16"),
        pytest.param(TEXT.encode("cp932"), id="CP932"),
        pytest.param(TEXT.replace("\n", "\t\t\n").encode(), id="padded with empty cells"),
    ],
)
def test_the_same_document_in_another_form_says_the_same(content: bytes) -> None:
    assert recognise(read(content)) == recognised(TEXT)


# ---------------------------------------------------------------------------------------------------------
# Numbers


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("第1節", 1),
        ("第１２節", 12),
        ("第一節", 1),
        ("第二十三章", 23),
        ("1", 1),
        (" 1　", 1),
        ("001", 1),
        ("１", 1),
        ("十", 10),
        ("十一", 11),
        ("三十", 30),
        ("一〇", 10),
        ("(1)", 1),
        ("（２０）", 20),
        ("⑴", 1),
        ("①", 1),
        ("⑳", 20),
        ("㉑", 21),
        ("㉟", 35),
        ("㊱", 36),
        ("㊿", 50),
    ],
)
def test_a_label_is_read_as_a_number(label: str, value: int) -> None:
    assert numbers(label) == (value,)


@pytest.mark.parametrize(
    "label",
    [
        "",
        " ",
        "a",
        "合計",
        "①②",
        "第節",
        "第1",
        "(1",
        "½",
        "-1",
        "٣",
        "9" * 6,
        "9" * 5_000,
    ],
)
def test_a_label_that_is_no_number_is_not_guessed(label: str) -> None:
    assert numbers(label) is None


def test_labels_are_kept_as_printed_beside_the_code() -> None:
    found = changed((7, 1, "第一節"), (7, 2, "１"), (7, 3, "(1)"))
    assert found.problems == []
    assert found.evaluations[0].path == ["第一節", "１", "(1)"]
    assert found.evaluations[0].section_label == "第一節"
    assert found.evaluations[0].code == "1-1-1"


def test_numbers_are_read_one_by_one_and_never_from_joined_text() -> None:
    found = changed((16, 2, "11"), (16, 3, "①"), (17, 2, "1"), (17, 3, "⑪"))
    assert [evaluation.code for evaluation in found.evaluations if evaluation.line in (16, 17)] == [
        "1-11-1",
        "1-1-11",
    ]


# ---------------------------------------------------------------------------------------------------------
# Ratings and empty cells


@pytest.mark.parametrize(
    ("cell", "rating", "printed"),
    [
        ("A", "A", "A"),
        ("a", "a", "a"),
        ("Ａ", "Ａ", "Ａ"),
        (" B ", "B", "B"),
        ("B拡", "B拡", "B拡"),
        ("◎", "◎", "◎"),
        ("", None, None),
        ("　", None, None),
        ("－", None, "－"),
        ("-", None, "-"),
        ("‐", None, "‐"),
        (" － ", None, "－"),
        ("評価対象外", None, "評価対象外"),
        ("該当無し", None, "該当無し"),
    ],
)
def test_a_rating_is_its_mark_and_unrated_is_none(cell: str, rating: str | None, printed: str | None) -> None:
    found = changed((7, 6, cell))
    assert found.problems == []
    assert (found.evaluations[0].rating, found.evaluations[0].rating_printed) == (rating, printed)


@pytest.mark.parametrize("empty", ["", " ", "　"])
def test_an_empty_cell_says_nothing(empty: str) -> None:
    found = changed((7, 5, empty), (7, 7, empty), (7, 8, empty))
    assert found.problems == []
    first = found.evaluations[0]
    assert (first.implementation, first.rationale, first.next_plan) == (None, None, None)


def test_spaces_around_a_text_are_kept() -> None:
    assert changed((7, 5, " 設置 　")).evaluations[0].implementation == " 設置 　"


# ---------------------------------------------------------------------------------------------------------
# Headers and years


@pytest.mark.parametrize(
    "header",
    [
        "項　目\t\t\t計　　画\tＨ29 実 施 内 容\t評　価\t理由・課題 等\tＨ30　計画内容",
        "項目\t\t\t計画\t平成29年度実施内容\t平成29年度評価\tH29理由・課題等\t平成30年度計画内容",
        "項目\t\t\t計画\t2017実施内容\t評価\t理由・課題等\t2018年度計画内容",
        "項目\t\t\t計画\t実施内容\t評価\t理由・課題等\t計画内容",
        "項目\t\t\t計画\t実施内容\t評価\t理由・課題等\tH30計画内容",
    ],
)
def test_a_header_is_known_by_its_words_whatever_their_spaces_and_years(header: str) -> None:
    found = recognised(TEXT.replace("\t".join(PRINTED[6]), header))
    assert found.problems == []
    assert found.evaluations == recognised(TEXT).evaluations


def test_columns_may_stand_in_another_order() -> None:
    rows = [
        "\t".join([*cells[5:], *cells[:5]]) if len(cells) == 8 else cells[0] for cells in PRINTED.values()
    ]
    found = recognised("\n".join(rows))
    assert found.problems == []
    assert found.evaluations == recognised(TEXT).evaluations
    assert found.mapping[0] == {"column": 1, "header": "評価", "field": "rating", "fiscal_year": 2017}


def test_a_column_that_is_not_there_says_nothing() -> None:
    found = recognised("\n".join("\t".join(cells[:7]) for cells in PRINTED.values()))
    assert found.problems == []
    assert {evaluation.next_plan for evaluation in found.evaluations} == {None}


def test_a_measure_that_is_called_like_a_header_is_no_header() -> None:
    found = changed((7, 4, "計画"), (7, 8, "評価"))
    assert found.problems == []
    assert (found.evaluations[0].title, found.evaluations[0].next_plan) == ("計画", "評価")


def test_the_year_comes_from_the_headers_when_there_is_no_subtitle() -> None:
    found = recognised(TEXT.replace(PRINTED[4][0], ""))
    assert (found.problems, found.subtitle, found.fiscal_years) == ([], None, [2017])


def test_the_year_comes_from_the_subtitle_when_the_headers_tell_none() -> None:
    found = recognised(TEXT.replace("H29実施内容", "実施内容").replace("H30計画内容", "計画内容"))
    assert (found.problems, found.fiscal_years) == ([], [2017])


def test_a_document_that_tells_no_year_is_a_problem_at_each_header() -> None:
    text = (
        TEXT.replace(PRINTED[4][0], "").replace("H29実施内容", "実施内容").replace("H30計画内容", "計画内容")
    )
    found = recognised(text)
    assert places(found) == [(line, None) for line in HEADERS]
    assert (
        found.problems[0].en
        == "Nothing tells the fiscal year. Write it into the header, as in H29実施内容, or tell fiscal_year."
    )
    assert (found.fiscal_years, found.evaluations) == ([], [])


@pytest.mark.parametrize("header", ["H29計画内容", "H31計画内容", "平成28年度計画内容"])
def test_a_next_plan_that_is_not_for_the_following_year_is_a_problem(header: str) -> None:
    problem = only_problem(changed((19, 8, header)))
    assert (problem.line, problem.column, problem.text) == (19, 8, header)
    assert "by the other columns it is of 2018. Make them agree" in problem.en


def test_a_rating_of_another_year_than_the_work_is_a_problem() -> None:
    problem = only_problem(changed((6, 6, "H28評価")))
    assert (problem.line, problem.column) == (6, 6)
    assert problem.en.startswith(
        "This column is of 2016; by the other columns it is of 2017. Make them agree"
    )


def test_how_to_tell_the_year_of_a_column_that_does_not_agree_is_shown() -> None:
    text = "い計画\n番号,事業名,R5実績,R6評価,R7次年度計画\n1,学習,8,A,続ける"
    rating, plan = table(text).problems
    examples: Any = {
        "4": {"field": "rating", "fiscal_year": 2023},
        "5": {"field": "next_plan", "fiscal_year": 2023},
    }
    for problem, (place, told) in zip((rating, plan), examples.items(), strict=True):
        example = json.dumps({place: told})
        assert (example in problem.ja, example in problem.en) == (True, True)
    [each] = table(text, mapping=examples).evaluations
    assert (each.fiscal_year, each.rating, each.next_plan) == (2023, "A", "続ける")


def test_one_year_for_all_is_not_proposed_where_rows_tell_several() -> None:
    text = "い計画\n番号,事業名,年度,実績,評価\n1,学習,3,8,A\n2,食堂,4,9,B"
    assert [problem.en for problem in table(text).problems] == [
        "A year 3 has no era. Write R3 or H3.",
        "A year 4 has no era. Write R4 or H4.",
    ]
    assert all("fiscal_year" not in problem.ja for problem in table(text).problems)
    assert "tell fiscal_year" in table(text.replace("食堂,4", "食堂,3")).problems[0].en


def test_a_header_of_another_year_than_the_subtitle_is_a_problem() -> None:
    problem = only_problem(changed((23, 5, "H28実施内容"), (23, 8, "H29計画内容")))
    assert (problem.line, problem.column, problem.text) == (23, 5, "H28実施内容")
    assert problem.en == (
        "The header reports on 2016, the title or subtitle on 2017. Make them agree, or tell fiscal_year."
    )


def test_a_subtitle_of_another_year_than_the_headers_is_a_problem_at_each_of_them() -> None:
    assert places(recognised(TEXT.replace("平成29年度進捗", "平成28年度進捗"))) == [
        (line, 5) for line in HEADERS
    ]


def test_a_year_of_the_subtitle_that_is_none_is_a_problem() -> None:
    assert places(recognised(TEXT.replace("平成29年度進捗", "平成0年度進捗"))) == [(4, 1)]


@pytest.mark.parametrize("header", ["H実施内容", "実施の内容", "予算額（千円）", "前年度実施内容"])
def test_a_column_with_no_field_of_its_own_is_kept_under_its_printed_name(header: str) -> None:
    found = changed((6, 5, header))
    assert found.problems == []
    assert found.mapping[4] == {"column": 5, "header": header, "field": "extra"}
    first = found.evaluations[0]
    assert (first.implementation, first.extra) == (None, {header: PRINTED[7][4]})


def test_a_column_without_a_header_is_a_problem_once_if_something_stands_in_it() -> None:
    problem = only_problem(changed((6, 5, "")))
    assert (problem.line, problem.column, problem.text) == (7, 5, PRINTED[7][4])
    assert problem.en == "This column has no header. Write one, or tell with mapping."
    assert recognised(TEXT.replace("\n", "\t\t\n")).problems == []


def test_a_year_without_its_era_is_that_of_the_document() -> None:
    found = changed((6, 5, "29実施内容"), (6, 8, "30年度計画内容"))
    assert (found.problems, found.evaluations) == ([], recognised(TEXT).evaluations)


def test_a_year_without_its_era_is_asked_for_where_nothing_tells_it() -> None:
    text = (
        TEXT.replace(PRINTED[4][0], "")
        .replace("H29実施内容", "29年度実施内容")
        .replace("H30計画内容", "計画内容")
    )
    found = recognised(text)
    assert found.problems[0].en == "A year 29 has no era. Write H29, or tell fiscal_year."
    assert recognise(read(text.encode()), Asked(fiscal_year=2017)).evaluations == [
        replace(evaluation) for evaluation in recognised(TEXT).evaluations
    ]


def test_a_cell_longer_than_a_label_is_no_header() -> None:
    assert changed((6, 6, "評" + " " * 98 + "価")).mapping[5]["field"] == "rating"
    assert changed((6, 6, "評" + " " * 99 + "価")).mapping[5]["field"] == "extra"


def test_a_header_that_stands_twice_is_a_problem() -> None:
    assert places(changed((6, 7, "評価"))) == [(6, 7)]


def test_a_header_without_a_title_is_a_problem() -> None:
    found = changed((6, 4, "その他"))
    assert only_problem(found).en == (
        "The header 計画 is missing. Add its column, or tell with mapping which one is the title."
    )
    assert 7 not in [evaluation.line for evaluation in found.evaluations]
    assert 20 in [evaluation.line for evaluation in found.evaluations]


def test_a_table_without_numbers_is_asked_about_once() -> None:
    found = recognised("題名\n計画\tH29実施内容\t評価\n設置\t準備\tA\n運用\t準備\tB")
    problem = only_problem(found)
    assert (problem.line, problem.column) == (3, 1)
    assert "numbering=order" in problem.ja
    assert "numbering=order" in problem.en


def test_a_column_of_headings_that_are_numbers_alone_may_be_what_measures_are_called_by() -> None:
    text = "い計画 R5年度実績\n大項目,小項目,事業名,実績,評価\n1,1,読書,8,A\n1,2,音読,9,B"
    assert 'tell mapping={"2": "path"} if they are known by their 小項目' in only_problem(table(text)).en
    found = table(text, mapping={"2": {"field": "path"}})
    assert [row[0] for row in brief(found)] == ["1", "2"]
    [problem] = table(text.replace("1,2,音読", "1,その他,音読").replace("1,1,", "1,学び,")).problems
    assert "mapping" not in problem.en


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("今後の課題・方向性", ("next_plan", "rationale")),
        ("今後の方向性・課題", ("next_plan", "rationale")),
        ("令和6年度以降の方向性", ("next_plan",)),
        ("問題点", ("rationale",)),
        ("方向性", None),
    ],
)
def test_what_is_ahead_and_what_is_open_are_told_apart(header: str, fields: tuple[str, ...] | None) -> None:
    found = vocabulary.header(header)
    assert (found and found.fields) == fields


@pytest.mark.parametrize("text", ["", "\n\n", "進捗", "計画\t設置\n1\t設置", TEXT.replace("\t", ",")])
def test_a_document_without_a_header_is_one_problem(text: str) -> None:
    problem = only_problem(recognised(text))
    assert (problem.line, problem.column, problem.text) == (None, None, "")
    assert problem.en.startswith(
        "No table header (項目、計画、実施内容、評価、理由・課題等、計画内容 or the like) was found"
    )
    assert "utf-8" in problem.ja


# ---------------------------------------------------------------------------------------------------------
# Lines that are not understood


def test_where_the_title_is_missing_the_subtitle_does_not_take_its_place() -> None:
    found = recognised(TEXT.replace(PRINTED[3][0], ""))
    assert (found.problems, found.title, found.subtitle) == ([], None, PRINTED[4][0])


@pytest.mark.parametrize("line", ["注意書き", "令和2年3月31日現在", "1\t2", "作成\t企画課"])
def test_any_other_line_above_the_header_is_told_and_not_read(line: str) -> None:
    found = changed((5, 1, line))
    assert [(warning.line, warning.text) for warning in found.warnings] == [(5, line.replace("\t", " "))]
    assert (found.title, found.subtitle) == (PRINTED[3][0].strip(), PRINTED[4][0])
    assert found.evaluations == recognised(TEXT).evaluations


@pytest.mark.parametrize("line", ["評価は平成30年3月末時点", "第1節\t1\t①\t設置\t設置\tA\t課題"])
def test_a_line_with_too_few_columns_is_a_problem(line: str) -> None:
    problem = only_problem(changed((18, 1, line)))
    assert (problem.line, problem.column, problem.text) == (18, None, line.replace("\t", " "))
    columns = line.count("\t") + 1
    assert problem.en.startswith(f"This line has {columns} columns, its header 8.")
    assert problem.ja.startswith(f"この行は {columns} 列ですが、見出しは 8 列です。")


def test_a_line_with_too_many_columns_is_a_problem_at_the_first_of_them() -> None:
    problem = only_problem(changed((7, 8, "ネットワークの構築\t\tこども課")))
    assert (problem.line, problem.column, problem.text) == (7, 10, "こども課")


@pytest.mark.parametrize("text", ["その他", "a", "①②"])
def test_a_label_that_is_no_number_is_a_problem(text: str) -> None:
    problem = only_problem(changed((8, 3, text)))
    assert (problem.line, problem.column, problem.text) == (8, 3, text)
    assert problem.en.startswith("This is not a number. Write it like 第1節, 1, (1) or ①")


def test_lines_without_a_number_are_not_held_against_each_other() -> None:
    assert places(changed((8, 3, "a"), (9, 3, "b"))) == [(8, 3), (9, 3)]


def test_a_blank_number_is_the_one_above() -> None:
    found = changed(
        (37, 1, ""), (37, 2, ""), (37, 3, ""), (37, 4, ""), (38, 1, " "), (38, 2, ""), (38, 3, "")
    )
    assert (found.problems, found.evaluations) == ([], recognised(TEXT).evaluations)


def test_a_blank_number_is_not_the_one_above_under_another_heading() -> None:
    assert places(changed((20, 3, ""))) == []
    assert [e.code for e in changed((20, 3, "")).evaluations if e.line == 20] == ["2-1"]


@pytest.mark.parametrize("line", ["合計", "第1節小計\t\t\t\t\t11", "\t\t\t計\t\t11件"])
def test_totals_are_no_measures(line: str) -> None:
    cells = line.split("\t")
    found = recognised(
        TEXT.replace(
            "\n\n項 目\t\t\t計 画", "\n" + "\t".join(cells + [""] * (8 - len(cells))) + "\n項 目\t\t\t計 画"
        )
    )
    assert found.problems == []
    assert len(found.evaluations) == 26
    assert {warning.en for warning in found.warnings} == {"This is a total and no measure."}


@pytest.mark.parametrize(
    "line", ["※評価は平成30年3月末時点", "注）予算は当初", "（注１）再掲を含む", "＊1 未確定"]
)
def test_notes_are_no_measures(line: str) -> None:
    found = changed((18, 1, line))
    assert (found.problems, found.evaluations) == ([], recognised(TEXT).evaluations)
    assert [(warning.line, warning.en) for warning in found.warnings] == [
        (18, "This is a note and no measure.")
    ]


def test_a_measure_without_a_title_is_a_problem() -> None:
    assert places(changed((8, 4, " "))) == [(8, 4)]


def test_another_title_for_the_same_measure_is_a_problem() -> None:
    problem = only_problem(changed((38, 4, "資格取得支援")))
    assert (problem.line, problem.column, problem.text) == (38, 4, "資格取得支援")
    assert problem.en == "Measure 4-2-1 has another title on line 36. Correct its number or its title."
    unnumbered = table("い計画 R5実績\n番号,事業名,担当課,評価\n1-1,緑の保全,公園,A\n,公園,造園,B")
    assert only_problem(unnumbered).en == (
        "Without a number this was taken for more of 1-1 above, which has another title on line 3. Write its number."
    )


def test_the_same_title_for_two_measures_is_none() -> None:
    assert changed((27, 4, PRINTED[26][3])).problems == []


@pytest.mark.parametrize(("column", "most"), [(4, 500), (5, 10_000), (6, 20), (7, 10_000), (8, 10_000)])
def test_a_text_may_be_so_long_and_no_longer(column: int, most: int) -> None:
    assert changed((7, column, "あ" * most)).problems == []
    problem = only_problem(changed((7, column, "あ" * (most + 1))))
    assert (problem.line, problem.column, problem.text) == (7, column, excerpt("あ" * (most + 1), 100))
    assert problem.en == f"This has {most + 1:,} characters. Shorten it to at most {most:,}."


def test_a_label_may_have_a_hundred_characters_and_no_more() -> None:
    assert changed((7, 3, "①" + " " * 99)).problems == []
    assert places(changed((7, 3, "①" + " " * 100))) == [(7, 3)]


def test_a_title_may_have_five_hundred_characters_and_no_more() -> None:
    assert changed((3, 1, "あ" * 500)).problems == []
    assert places(changed((3, 1, "あ" * 501))) == [(3, 1)]


def test_a_measure_is_reached_by_ten_numbers_at_most() -> None:
    def numbered(labels: int) -> Recognised:
        blanks = "\t" * (labels - 1)
        return recognised(f"題名\n項目{blanks}\t計画\tH29実施内容\n" + "1\t" * labels + "設置\t準備")

    assert numbered(10).evaluations[0].code == "1-1-1-1-1-1-1-1-1-1"
    assert places(numbered(11)) == [(3, 11)]


@pytest.mark.parametrize(
    "character", ["\0", "\x01", "\x0b", "\x1b", "\r", "\x7f", "\x85", "\ud800", chr(0xDFFF)]
)
@pytest.mark.parametrize(("line", "column"), [(3, 1), (7, 5)])
def test_a_character_that_cannot_be_kept_is_a_problem(character: str, line: int, column: int) -> None:
    sheet = read(SEED)
    rows = [Row(row.line, list(row.cells)) for row in sheet.rows]
    rows[line - 1].cells[column - 1] = f"設{character}置"
    problem = only_problem(recognise(Sheet(sheet.encoding, rows)))
    assert (problem.line, problem.column, problem.text) == (line, column, f"設\\u{ord(character):04x}置")
    assert problem.en == f"The character U+{ord(character):04X} cannot be kept. Remove it."


def test_tabs_and_newlines_within_a_cell_are_kept() -> None:
    sheet = read(SEED)
    rows = [Row(row.line, list(row.cells)) for row in sheet.rows]
    rows[6].cells[4] = "設置\n\t運用"
    found = recognise(Sheet(sheet.encoding, rows))
    assert found.problems == []
    assert found.evaluations[0].implementation == "設置\n\t運用"


def test_all_problems_are_listed_at_once_in_the_order_of_the_document() -> None:
    found = changed(
        (5, 1, "注意書き"),
        (6, 8, "H31計画内容"),
        (7, 1, "a"),
        (7, 3, "b"),
        (7, 5, "設\0置"),
        (7, 6, "とても長い評価の記号なので二十文字をこえてしまう"),
        (13, 4, ""),
        (18, 1, "なお書き"),
        (23, 7, "評価"),
        (37, 4, "資格取得支援"),
    )
    assert places(found) == [
        (6, 8),
        (7, 1),
        (7, 3),
        (7, 5),
        (7, 6),
        (13, 4),
        (18, None),
        (23, 7),
        (37, 4),
    ]


def test_every_problem_says_in_both_languages_what_is_wrong_and_what_to_do() -> None:
    found = changed((6, 8, "H31計画内容"), (7, 1, "a"), (7, 5, "\0"), (18, 1, "なお"))
    for problem in found.problems:
        assert problem.ja.endswith("ください。")
        assert problem.en.endswith(".")
        assert problem.en.isascii() or "第1節" in problem.en


def test_of_very_many_problems_the_first_are_listed_and_the_rest_counted() -> None:
    found = recognised(TEXT + "\nなお" * (MOST_PROBLEMS + 234))
    assert len(found.problems) == MOST_PROBLEMS + 1
    assert found.problems[0].line == 39
    assert found.problems[-1].en == "There are 234 more problems. Correct those above and try again."


def test_what_was_understood_can_be_printed_and_saved_as_it_is() -> None:
    def plain(value: Any) -> bool:
        return isinstance(value, str | int)

    assert all(plain(value) for column in recognised(TEXT).mapping for value in column.values())


@pytest.mark.parametrize("cell", ["29実績", "H30実績", "予算額", "", "R5取組", "年度", "R4評価,R5評価,実績"])
def test_a_header_of_very_many_columns_is_read_in_little_time(cell: str) -> None:
    header = ["番号", "事業名", *cell.split(",") * (20_000 // len(cell.split(","))), "評価"]
    used = time.process_time()
    assert recognise(Sheet(None, [Row(1, header), Row(2, ["1"] * len(header))])).problems
    assert time.process_time() - used < 5


# ---------------------------------------------------------------------------------------------------------
# Other towns' tables


def table(text: str, **asked: Any) -> Recognised:
    rows = [Row(line, cells.split(",")) for line, cells in enumerate(text.strip("\n").split("\n"), 1)]
    return recognise(Sheet("utf-8", rows), Asked(**asked))


def brief(found: Recognised) -> list[tuple[Any, ...]]:
    assert found.problems == []
    return [
        (each.code, each.title, each.fiscal_year, each.rating_printed, each.department)
        for each in found.evaluations
    ]


def fields(found: Recognised) -> list[str]:
    return [mapped["field"] for mapped in found.mapping]


def test_years_may_stand_in_a_row_above_without_merged_cells() -> None:
    found = table(
        "架空計画\n,,平成29年度,,30年度,,\n番号,事業,実施内容,評価,実施内容,評価,担当課\n1,学習,a,A,b,B,課\n2,食堂,,,c,C,"
    )
    assert brief(found) == [
        ("1", "学習", 2017, "A", "課"),
        ("1", "学習", 2018, "B", "課"),
        ("2", "食堂", 2018, "C", None),
    ]


def test_headings_in_rows_are_sections_and_counted_where_numbers_begin_anew() -> None:
    found = table(
        "計画\n令和2年度実績報告\nNo,事業名,実績,評価\n基本目標１　子育て,,,\n1,学習,a,A\n"
        "2,食堂,a,B\n基本目標２　教育,,,\n1,教室,a,A"
    )
    assert [row[:3] for row in brief(found)] == [
        ("1-1", "学習", 2020),
        ("1-2", "食堂", 2020),
        ("2-1", "教室", 2020),
    ]
    assert found.sections == {"1": ("基本目標１", "子育て"), "2": ("基本目標２", "教育")}
    assert found.subtitle == "令和2年度実績報告"


def test_numbers_may_stand_within_titles() -> None:
    found = table(
        "計画 平成30年度実績\n施策の方向,取組,実績,評価\n(1) 居場所,① 食堂,a,◎\n,② 学習,a,○\n(2) 相談,① 窓口,a,×"
    )
    assert [row[:2] for row in brief(found)] == [("1-1", "食堂"), ("1-2", "学習"), ("2-1", "窓口")]
    lacking = table("計画 平成30年度実績\n取組,実績,評価\n① 食堂,a,◎\n学習,a,○")
    assert places(lacking) == [(4, 1)]


def test_a_plan_of_the_same_year_is_kept_beside_the_one_for_the_next() -> None:
    found = table("計画\n番号,事業名,R5計画,R5実績,R5評価,R6計画\n1-1,学習,やる,した,3,またやる")
    assert fields(found) == ["path", "title", "extra", "implementation", "rating", "next_plan"]
    assert found.evaluations[0].extra == {"R5計画": "やる"}


def test_sentences_beside_marks_tell_what_was_done() -> None:
    long = "関係各課と協議をしながら予定どおりの回数を実施した。"
    found = table(
        f"計画（平成30年度）\n番号,事業名,進捗状況,評価,課題\n1-1,学習,{long},A,\n1-2,食堂,{long},B,"
    )
    assert fields(found) == ["path", "title", "implementation", "rating", "rationale"]


def test_a_column_of_numbers_needs_no_header_before_the_title() -> None:
    found = table("計画 令和3年度実績\n,事業名,実績,評価\n1-1,学習,a,3\n1-2,食堂,a,2")
    assert [row[0] for row in brief(found)] == ["1-1", "1-2"]


def test_leading_cells_that_are_blank_mean_the_ones_above() -> None:
    found = table(
        "計画 H30実績\n所管課,施策番号,施策名,実施内容,評価\n福祉課,001,学習,a,A\n,002,食堂,a,B\n教育課,003,教室,a,A"
    )
    assert [row[4] for row in brief(found)] == ["福祉課", "福祉課", "教育課"]


def test_a_row_of_texts_alone_is_told_to_be_read_as_another_row() -> None:
    found = table(
        "計画 R5実績\n番号,事業名,実績,評価,課題\n"
        "1,相談,窓口を開き、,A,周知が\n,,訪問もした。,,足りない。\n2,食堂,a,B,b"
    )
    assert [(row.code, row.rating) for row in found.evaluations] == [("1", "A"), ("1", None), ("2", "B")]
    assert [(warning.line, warning.column) for warning in found.warnings if "goes on" in warning.en] == [
        (4, 3)
    ]


def test_a_section_behind_the_measures_own_number_goes_on_below() -> None:
    found = table(
        "計画 R5実績\nNo.,基本施策,事業名,実績,評価\n"
        "1,居場所,学習,a,A\n2,,食堂,a,B\n3,,サロン,a,A\n4,相談,窓口,a,A\n5,,訪問,a,B"
    )
    sections = ["居場所", "居場所", "居場所", "相談", "相談"]
    assert (found.problems, [row.section_code for row in found.evaluations]) == ([], sections)


def test_a_section_behind_a_number_of_several_measures_ends_with_that_number() -> None:
    found = table(
        "計画 R5実績\n番号,分野,事業名,実績,評価\n1,居場所,学習,a,A\n,,食堂,a,B\n2,,窓口,a,A\n3,相談,訪問,a,B"
    )
    assert "居場所" not in [row.section_code for row in found.evaluations if row.code.startswith("2")]


def test_a_term_in_a_header_is_no_year_of_the_column() -> None:
    found = table("計画\n番号,計画（H29～H33）,H30実績,H30評価\n①,学習,a,A")
    assert (fields(found)[1], found.fiscal_years) == ("title", [2018])


def test_whatever_is_said_of_a_year_makes_an_evaluation() -> None:
    found = table(
        "い計画\n番号,事業名,R3年度,R4年度,,R5年度\n,,決算額,評価,決算額,評価,決算額,担当課\n"
        "1,学習,1,A,2,B,3,課\n2,食堂,4,,5,C,,課\n3,教室,,,,,,課"
    )
    assert [row[:4] for row in brief(found)] == [
        ("1", "学習", 2022, "A"),
        ("1", "学習", 2023, "B"),
        ("2", "食堂", 2022, None),
        ("2", "食堂", 2023, "C"),
    ]
    assert [each.extra for each in found.evaluations] == [
        {"令和3年度決算額": "1", "決算額": "2"},
        {"令和3年度決算額": "1", "決算額": "3"},
        {"令和3年度決算額": "4", "決算額": "5"},
        {"令和3年度決算額": "4"},
    ]
    assert [warning.line for warning in found.warnings] == [3, 6]


@pytest.mark.parametrize(
    "header",
    [
        "番号,事業名,年度,基準値,実績,評価",
        "番号,事業名,年度,基準値,R5実績,評価",
        "番号,事業名,,基準値,R5実績,評価\n,,年度,,,",
        "番号,事業名,基準値,,実績,評価\n,,年度,基準値,,",
    ],
)
def test_the_year_of_a_base_value_is_kept_beside_it(header: str) -> None:
    found = table(f"い計画 令和5年度実績\n{header}\n1,学習,R1,3,8,A\n2,食堂,R2,1,6,B")
    assert [row[2] for row in brief(found)] == [2023, 2023]
    assert [each.extra for each in found.evaluations] == [
        {"基準値 年度": "R1", "基準値": "3"},
        {"基準値 年度": "R2", "基準値": "1"},
    ]


def test_a_column_of_years_is_kept_where_headers_tell_the_year() -> None:
    text = "い計画\n番号,事業名,開始時期,年度,R5実績,評価\n1,学習,H30,R1,8,A"
    found = table(text)
    assert (found.fiscal_years, found.evaluations[0].extra) == ([2023], {"開始時期": "H30", "年度": "R1"})
    by_column = {"4": {"field": "fiscal_year"}}
    assert table(text, mapping=by_column).fiscal_years == [2019]
    both = table(text, mapping=by_column, fiscal_year=2023)
    assert (both.fiscal_years, [(each.line, each.column) for each in both.warnings]) == ([2019], [(2, 4)])
    assert both.warnings[0].en.endswith("fiscal_year had no effect.")


@pytest.mark.parametrize("began", ["令和3年度", "3", "R1～R5"])
def test_a_column_of_other_years_than_the_title_is_asked_about(began: str) -> None:
    text = f"い計画 令和5年度実績\n番号,事業名,実施年度,実績,評価\n1,学習,{began},8,A\n2,食堂,5,3,B"
    problem = only_problem(table(text))
    assert (problem.line, problem.column) == (2, 3)
    assert '{"3": "fiscal_year"}' in problem.en
    assert '{"3": "extra"}' in problem.en
    kept = table(text, mapping={"3": {"field": "extra"}})
    assert [row[2] for row in brief(kept)] == [2023, 2023]
    assert kept.evaluations[0].extra == {"実施年度": began}
    told = table(text, fiscal_year=2023)
    assert (told.evaluations, [warning.line for warning in told.warnings]) == (kept.evaluations, [2])
    if began == "令和3年度":
        assert [row[2] for row in brief(table(text, mapping={"3": {"field": "fiscal_year"}}))] == [2021, 2023]


def test_a_column_of_years_may_agree_with_the_title() -> None:
    found = table("い計画 令和5年度実績\n番号,事業名,年度,実績,評価\n1,学習,5,8,A\n2,食堂,R5,3,B")
    assert [row[2] for row in brief(found)] == [2023, 2023]
    assert "fiscal_year" in fields(found)


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("令和5年度目標", ["10件", "維持"]),
        ("R6目標", ["1", "2"]),
        ("重点項目", ["○", ""]),
        ("目標", ["10", "あ"]),
    ],
)
def test_what_tells_of_the_measure_itself_is_no_section(header: str, cells: list[str]) -> None:
    found = table(
        f"い計画\n番号,事業名,{header},令和5年度実績,評価\n1,学習,{cells[0]},8,B\n2,食堂,{cells[1]},6,A"
    )
    assert (found.problems, found.sections) == ([], {"0": (None, None)})
    assert [each.extra for each in found.evaluations] == [{header: cell} if cell else {} for cell in cells]


def test_marks_in_front_of_the_title_are_no_sections_and_goals_are() -> None:
    marks = table("い計画 R5実績\n重点施策,番号,事業名,実績,評価\n★,1,学習,8,B\n,2,食堂,6,A")
    assert [(each.section_code, each.extra) for each in marks.evaluations] == [
        ("0", {"重点施策": "★"}),
        ("0", {}),
    ]
    goals = table("い計画 R5実績\n目標,番号,事業名,実績,評価\n1 育ち,1,学習,8,B\n,2,食堂,6,A")
    assert goals.sections == {"1": ("1", "育ち")}


@pytest.mark.parametrize("header", ["令和5年度の取組", "R5取組内容", "令和5年度取り組み"])
def test_work_of_a_year_is_what_was_done(header: str) -> None:
    found = table(f"い計画\n番号,事業名,{header},評価\n1,学習,会議,A")
    assert brief(found) == [("1", "学習", 2023, "A", None)]
    assert found.evaluations[0].implementation == "会議"
    untitled = table(f"い計画\n番号,{header},評価\n1,会議,A")
    assert "title" in only_problem(untitled).en


def test_work_of_the_year_after_one_with_results_may_be_a_plan() -> None:
    text = "い計画\n番号,事業名,R4の取組,R4評価,R5の取組\n1,学習,会議,A,大会"
    assert '{"5": "implementation"}' in only_problem(table(text)).en
    told = table(text, mapping={"5": {"field": "next_plan"}})
    assert [(each.fiscal_year, each.next_plan) for each in told.evaluations] == [(2022, "大会")]
    rated = table("い計画\n番号,事業名,R4の取組,R4評価,R5の取組,R5評価\n1,学習,会議,A,大会,B")
    assert [(each.fiscal_year, each.implementation) for each in rated.evaluations] == [
        (2022, "会議"),
        (2023, "大会"),
    ]


def test_work_beside_what_was_done_in_the_same_year_is_kept() -> None:
    found = table("い計画\n番号,事業名,R5取組内容,R5実績,評価\n1,学習,広報,8,A")
    assert len(brief(found)) == 1
    assert (found.evaluations[0].implementation, found.evaluations[0].extra) == ("8", {"R5取組内容": "広報"})


def test_work_twice_in_a_year_is_asked_about() -> None:
    found = table("い計画\n番号,事業名,R5取組,R5取組内容,評価\n1,学習,8,9,A")
    assert [problem.column for problem in found.problems] == [4]


def test_work_may_stand_under_its_year() -> None:
    found = table("い計画\n番号,事業名,令和4年度,,令和5年度,\n,,取組内容,評価,取組内容,評価\n1,学習,8,A,9,B")
    assert [(row[2], row[3]) for row in brief(found)] == [(2022, "A"), (2023, "B")]
    assert [each.implementation for each in found.evaluations] == ["8", "9"]


def test_work_under_a_year_is_a_title_beside_what_was_done() -> None:
    found = table("い計画\n番号,令和5年度,,\n,取組,実績,評価\n1,学習,8,B")
    assert brief(found) == [("1", "学習", 2023, "B", None)]


def test_an_undated_result_beside_dated_ones_is_asked_about() -> None:
    text = "い計画\n番号,事業名,R4評価,R5評価,実績\n1,学習,A,B,8"
    problem = only_problem(table(text))
    assert (problem.line, problem.column) == (2, 5)
    assert '{"5": {"field": "implementation", "fiscal_year": 2023}}' in problem.en
    told = table(text, mapping={"5": {"field": "implementation", "fiscal_year": 2022}})
    assert [(each.fiscal_year, each.implementation) for each in told.evaluations] == [
        (2022, "8"),
        (2023, None),
    ]
    assert [problem.column for problem in table(text, mapping={"実績": {"field": "rationale"}}).problems] == [
        5
    ]


def test_undated_remarks_beside_several_years_are_kept_with_each() -> None:
    found = table("い計画\n番号,事業名,R4評価,R5評価,備考\n1,学習,A,B,継続")
    assert len(brief(found)) == 2
    assert [each.extra for each in found.evaluations] == [{"備考": "継続"}, {"備考": "継続"}]


def test_an_undated_result_of_each_year_belongs_to_the_year_on_its_left() -> None:
    found = table("い計画\n番号,事業名,R4実績,評価,R5実績,評価,今後の方針\n1,学習,8,A,9,B,拡大")
    assert [(row[2], row[3]) for row in brief(found)] == [(2022, "A"), (2023, "B")]
    assert [each.next_plan for each in found.evaluations] == [None, "拡大"]


def test_what_comes_after_a_year_is_planned_in_it() -> None:
    above = "い計画\n番号,事業名,令和4年度,,令和5年度,\n,,評価,今後の取組,評価,次年度の予定"
    found = table(f"{above}\n1,学習,A,広げる,B,続ける")
    assert [(each.fiscal_year, each.next_plan) for each in found.evaluations] == [
        (2022, "広げる"),
        (2023, "続ける"),
    ]
    found = table("い計画\n番号,事業名,令和5年度,\n,,評価,今後の取組\n1,学習,A,広げる")
    assert [(row[2], each.next_plan) for row, each in zip(brief(found), found.evaluations, strict=True)] == [
        (2023, "広げる")
    ]


def test_a_column_that_is_told_by_its_words_keeps_the_year_that_they_say() -> None:
    mapping: dict[str, dict[str, Any]] = {
        "実施項目": {"field": "title"},
        "令和4年度": {"field": "implementation"},
        "令和5年度": {"field": "implementation"},
        "R6やること": {"field": "next_plan"},
    }
    found = table(
        "い計画\n番号,実施項目,令和4年度,令和5年度,R6やること\n1,窓口,試行,実施,拡大", mapping=mapping
    )
    assert brief(found) == [("1", "窓口", year, None, None) for year in (2022, 2023)]
    assert [(each.implementation, each.next_plan) for each in found.evaluations] == [
        ("試行", None),
        ("実施", "拡大"),
    ]
    under = table(
        "い計画\n番号,事業名,令和4年度,令和5年度\n,,できばえ,できばえ\n1,窓口,A,B",
        mapping={"できばえ": {"field": "rating"}},
    )
    assert [(row[2], row[3]) for row in brief(under)] == [(2022, "A"), (2023, "B")]


def test_a_column_that_is_called_by_a_year_alone_is_told_with_what_stands_above() -> None:
    found = table("い計画 令和5年度実績\n番号,事業名,年度別計画,,実績,評価\n,,R4,R5,,\n1,学習,開始,継続,3,A")
    assert brief(found) == [("1", "学習", 2023, "A", None)]
    assert found.evaluations[0].extra == {"年度別計画 R4": "開始", "年度別計画 R5": "継続"}


def test_columns_of_one_name_are_told_apart_by_the_header_above_them() -> None:
    found = table(
        "い計画 令和5年度実績\n番号,事業名,実績,基準値,,目標値,\n,,,年度,値,年度,値\n1,学習,8,R1,3,R7,5"
    )
    assert len(brief(found)) == 1
    assert found.evaluations[0].extra == {
        "基準値 年度": "R1",
        "基準値 値": "3",
        "目標値 年度": "R7",
        "目標値 値": "5",
    }
    rated = table("い計画\n番号,事業名,内部評価,外部評価\n,,R5評価,R5評価\n1,学習,A,B")
    assert (brief(rated)[0][3], rated.evaluations[0].extra) == ("A", {"外部評価 R5評価": "B"})


@pytest.mark.parametrize(
    ("first", "second"), [("一次", "二次"), ("内部", "外部"), ("1次", "2次"), ("担当課", "委員会")]
)
def test_who_rates_may_stand_below_a_rating(first: str, second: str) -> None:
    text = f"い計画 R5実績\n番号,事業名,実績,評価,,方向性\n,,,{first},{second},\n1,学習,8件,B,A,継続"
    found = table(text)
    assert brief(found) == [("1", "学習", 2023, "B", None)]
    assert found.evaluations[0].extra == {f"{second}評価": "A", "方向性": "継続"}
    assert [(warning.line, warning.column) for warning in found.warnings] == [(3, 5)]
    told = table(text, mapping={second: {"field": "rating"}})
    dated = table(f"い計画\n番号,事業名,R4評価,\n,,{first},{second}\n1,学習,B,A")
    assert [mapped["header"] for mapped in dated.mapping[2:]] == [f"R4{first}評価", f"R4{second}評価"]
    assert (brief(told)[0][3], told.evaluations[0].extra) == ("A", {f"{first}評価": "B", "方向性": "継続"})


def test_what_only_stands_below_a_rating_is_none_beside_one() -> None:
    found = table("い計画 R5実績\n番号,事業名,実績,評価,,\n,,,コメント,内部,外部\n1,学習,8件,継続,A,B")
    assert brief(found) == [("1", "学習", 2023, "A", None)]
    assert found.evaluations[0].extra == {"コメント": "継続", "外部評価": "B"}


@pytest.mark.parametrize("rating", ["評価", "評価（A～C）", "判定"])
@pytest.mark.parametrize(("rate", "cell"), [("達成度", "80%"), ("達成度(%)", "80"), ("進捗状況", "○")])
def test_a_column_called_rating_is_one_before_a_rate(rating: str, rate: str, cell: str) -> None:
    found = table(f"う計画 令和5年度実績\n番号,事業名,実績,{rate},{rating}\n1,読書,8,{cell},B")
    assert (brief(found)[0][3], found.evaluations[0].extra) == ("B", {rate: cell})
    assert [(warning.line, warning.column) for warning in found.warnings] == [(2, 4)]


@pytest.mark.parametrize(
    ("header", "offered"), [("5年度実績", "R5 or H5"), ("29年度実績", "H29"), ("35年度実績", "H35")]
)
def test_of_the_eras_only_those_are_offered_that_may_be_meant(header: str, offered: str) -> None:
    problem = only_problem(table(f"い計画\n番号,事業名,{header}\n1,学習,8件"))
    assert f"Write {offered}, or" in problem.en


def book(*sheets: tuple[str, str], **asked: Any) -> Recognised:
    rows = [
        [Row(line, cells.split(",")) for line, cells in enumerate(text.split("\n"), 1)] for _, text in sheets
    ]
    named = [Sheet(None, its, name) for (name, _), its in zip(sheets, rows, strict=True)]
    return recognise(named, Asked(**asked))


def test_a_year_without_its_era_is_read_in_that_of_its_own_sheet() -> None:
    header = "番号,事業名,年度,評価"
    found = book(
        ("子ども", f"い計画\n平成30年度実績\n{header}\n1,学習,30,A"),
        ("大人", f"い計画\n令和5年度実績\n{header}\n2,講座,5,B"),
    )
    assert [row[2] for row in brief(found)] == [2018, 2023]


EARLIER = "い計画　令和5年度進捗状況\n番号,事業名,令和4年度実績,評価\n1,学習,8,A"


@pytest.mark.parametrize("several", [True, False], ids=["several sheets", "one sheet"])
def test_a_header_of_another_year_than_the_title_is_asked_about_on_every_sheet(several: bool) -> None:
    def read_with(**asked: Any) -> Recognised:
        other = ("学校", "い計画　令和4年度進捗状況\n番号,事業名,実績,評価\n2,食堂,9,B")
        return book(("地域", EARLIER), other, **asked) if several else table(EARLIER, **asked)

    problem = only_problem(read_with())
    assert (problem.line, problem.column, problem.sheet) == (2, 3, "地域" if several else None)
    assert "tell fiscal_year" in problem.en
    assert "fiscal_year" in problem.ja
    assert {row[2] for row in brief(read_with(fiscal_year=2022))} == {2022}
    problem = only_problem(read_with(fiscal_year=2023))
    assert "fiscal_year tells 2023" in problem.en
    assert "subtitle" not in problem.en
    assert "副題" not in problem.ja
    example = '{"3": {"field": "implementation", "fiscal_year": 2023}}'
    assert example in problem.en
    told: Any = {"3": {"field": "implementation", "fiscal_year": 2023}}
    assert {row[2] for row in brief(read_with(fiscal_year=2023, mapping=told))} == {2023}


def test_a_year_that_is_told_and_that_no_column_reports_on_is_asked_about() -> None:
    text = "い計画\n番号,事業名,R3実績,R3評価,R4実績,R4評価\n1,学習,8,A,9,B"
    assert [row[2] for row in brief(table(text, fiscal_year=2022))] == [2021, 2022]
    assert "fiscal_year tells 2023" in only_problem(table(text, fiscal_year=2023)).en


def test_the_name_of_a_sheet_tells_its_year_where_nothing_else_does() -> None:
    head = "番号,事業名,実績,評価"
    found = book(
        ("R3", f"い計画\n{head}\n1,学習,8,A"),
        ("令和4年度実績", f"い計画\n{head}\n1,学習,9,B"),
        ("R5", "い計画\n番号,事業名,R6実績,評価\n1,学習,9,C"),
        ("R7", f"い計画\n令和8年度実績\n{head}\n1,学習,9,D"),
    )
    assert [(row[2], row[3]) for row in brief(found)] == [(2021, "A"), (2022, "B"), (2024, "C"), (2026, "D")]
    alone = book(("R3", f"い計画\n{head}\n1,学習,8,A"), ("別紙", "い計画"))
    assert "fiscal_year" in only_problem(alone).en


def test_each_sheet_is_asked_for_its_year() -> None:
    found = book(
        ("一", "い計画\n番号,事業名,29年度実績\n1,学習,8"),
        ("二", "い計画\n番号,事業名,実績,評価\n2,講座,8,A"),
    )
    assert [(problem.sheet, "fiscal_year" in problem.en) for problem in found.problems] == [
        ("一", True),
        ("二", True),
    ]


def test_what_is_said_of_several_sheets_is_told_with_them_in_their_order() -> None:
    top, header = "い計画\n令和5年度実績", "番号,事業名,実績,評価"
    found = book(
        ("二", f"{top}\n{header}\n1,学習,8,A\n2,食堂,,"),
        ("一", f"{top}\n{header}\n1,講座,9,B\n2,食堂,7,A"),
        sheets=("二", "一"),
    )
    assert [(problem.sheet, problem.line) for problem in found.problems] == [("一", 4)]
    assert "sheet 二, line 4" in found.problems[0].en
    assert "シート「二」の 4 行目" in found.problems[0].ja
    found = book(("二", f"{top}\n{header}\n,学習,8,A"), ("一", f"{top}\n{header}\n,講座,9,B\n2,,9,B"))
    assert [problem.sheet for problem in found.problems] == ["二", "一"]


def test_a_line_break_in_a_header_is_layout() -> None:
    rows = [["番号", "事業名", "R5\n実績", "R5\n評価", "所管の\n長"], ["1", "学習", "8", "A", "x"]]
    found = recognise(Sheet(None, [Row(line, cells) for line, cells in enumerate(rows, 1)]))
    assert [mapped["header"] for mapped in found.mapping] == [
        "番号",
        "事業名",
        "R5実績",
        "R5評価",
        "所管の長",
    ]
    assert found.evaluations[0].extra == {"所管の長": "x"}


@pytest.mark.parametrize(
    "text",
    [
        "い計画 R5実績\n番号,事業名,年度,基準値,実績,評価\n1,学習,R1,3,8,A",
        "い計画 R5実績\n番号,事業名,基準値,,目標値,,実績\n,,年度,値,年度,値,\n1,学習,R1,3,R7,5,8\n2,食堂,R1,3,R7,5,8",
        "い計画\n番号,事業名,R3年度,R4年度,,R5年度,\n,,決算額,評価,決算額,評価,決算額\n1,学習,1,A,2,B,3",
        "い計画\n番号,事業名,R4実績,R4評価,R5の予定\n1,学習,1,A,2",
        "い計画 R5実績\n番号,事業名,実績,評価,,\n,,,コメント,内部,外部\n1,学習,8件,継続,A,B",
        "い計画\n番号,事業名,2022,2023\n,,評価,評価\n1,学習,A,B\n2,食堂,A,B",
    ],
)
def test_what_was_understood_can_be_told_and_is_understood_again(text: str) -> None:
    found = table(text)
    mapping = {str(mapped["column"]): dict(mapped) for mapped in found.mapping}
    again = table(text, mapping=mapping)
    assert (found.problems, again.problems) == ([], [])
    assert (again.mapping, again.evaluations) == (found.mapping, found.evaluations)


BY_NUMBER: dict[str, dict[str, Any]] = {
    "1": {"field": "path"},
    "2": {"field": "title"},
    "3": {"field": "implementation", "fiscal_year": 2022},
    "4": {"field": "rating", "fiscal_year": 2022},
}


@pytest.mark.parametrize("header", ["い,ろ,は,に", "い,ろ,,に", "い,ろ,2022,令和4年度"])
def test_a_header_of_any_words_is_known_where_columns_are_told_by_number(header: str) -> None:
    found = table(f"架空計画\n{header}\n1,学習,8件,A\n2,食堂,3,B", mapping=BY_NUMBER)
    assert [row[:4] for row in brief(found)] == [("1", "学習", 2022, "A"), ("2", "食堂", 2022, "B")]
    assert [(warning.line, "taken for their header" in warning.en) for warning in found.warnings] == [
        (2, True)
    ]


@pytest.mark.parametrize("first", ["1,学習,8件,A", "1,学習,,A", "1,学習,8件,"])
@pytest.mark.parametrize("title", ["架空計画", "架空計画,架空計画,架空計画,架空計画"])
def test_a_table_needs_no_header_where_columns_are_told_by_number(first: str, title: str) -> None:
    found = table(f"{title}\n{first}\n2,食堂,3,B", mapping=BY_NUMBER)
    assert [row[:2] for row in brief(found)] == [("1", "学習"), ("2", "食堂")]
    assert [(warning.line, "no header" in warning.en) for warning in found.warnings] == [(2, True)]


def test_a_header_that_is_repeated_word_for_word_is_one() -> None:
    found = table(
        "架空計画\nい,ろ,は,に\n1,学習,8件,A\nい,ろ,は,に\n2,食堂,3,B",
        mapping={**BY_NUMBER, "1": {"field": "extra"}},
        numbering="order",
    )
    assert [row[1] for row in brief(found)] == ["学習", "食堂"]


def test_years_may_stand_beside_words_that_are_not_known() -> None:
    found = table("い計画\n番号,事業名,対象者,令和4年度,,令和5年度,\n,,,評価,額,評価,額\n1,学習,子,A,2,B,3")
    assert [(row[2], row[3]) for row in brief(found)] == [(2022, "A"), (2023, "B")]
    assert [each.extra for each in found.evaluations] == [
        {"対象者": "子", "額": "2"},
        {"対象者": "子", "額": "3"},
    ]


def test_columns_of_a_list_of_measures_are_not_left_out_without_a_word() -> None:
    found = table("い計画\n番号,事業名,担当課,予算額\n1,学習,課,100")
    assert [measure.title for measure in found.measures] == ["学習"]
    [warning] = found.warnings
    assert (warning.line, "担当課, 予算額" in warning.en) == (2, True)


@pytest.mark.parametrize(
    ("printed", "code"),
    [
        ("△コロナ", "△"),
        ("A（継続）", "A"),
        ("B：遅れ", "B"),
        ("B拡", "B拡"),
        ("B※1", "B"),
        ("B ※２", "B"),
        ("B*1", "B"),
        ("B（注1）", "B"),
        ("B注2", "B"),
        ("B※1、2", "B"),
        ("B拡※1※2", "B拡"),
        ("達成（※1）", "達成"),
        ("－※1", None),
        ("要注", "要注"),
        ("A*", "A*"),
        ("※1", "※1"),
        ("◎○", "◎○"),
        ("○→◎", "○→◎"),
        ("△～○", "△～○"),
        ("○／△", "○／△"),
        ("A→B", "A→B"),
        ("Ａ・Ｂ", "Ａ・Ｂ"),
        ("A（内部）　B（外部）", "A（内部）　B（外部）"),
        ("A（内部）B（外部）", "A（内部）B（外部）"),
        ("B（4月）→A（3月）", "B（4月）→A（3月）"),
        ("3（4月）→4（3月）", "3（4月）→4（3月）"),
        ("A：庁内 B：市民", "A：庁内 B：市民"),
        ("◎ 2、○ 3", "◎ 2、○ 3"),
        ("○（R4：△）", "○"),
        ("○ （前回（R4）は△）", "○"),
        ("B（拡充）", "B"),
        ("A（前年度B）", "A"),
        ("B：A社が撤退", "B"),
        ("△ 前年比▲5％", "△"),
        ("3：4校のみ", "3"),
        ("完了", "完了"),  # whether that is a rating, the plan's scale or a legend says
        ("完　了", "完了"),
        ("ー", None),
    ],
)
def test_a_mark_with_a_modifier_stands_for_its_code(printed: str, code: str | None) -> None:
    found = table(f"計画 H30実績\n番号,事業名,実績,評価\n1,学習,a,{printed}")
    assert (found.evaluations[0].rating, found.evaluations[0].rating_printed) == (code, printed)


def test_a_row_that_says_the_same_twice_is_kept_and_told() -> None:
    found = table("計画 H30実績\n番号,事業名,実績,評価\n1,学習,a,A\n1,学習,a,A")
    assert [each.ordinal for each in found.evaluations] == [1, 2]
    assert [warning.line for warning in found.warnings] == [4]


def test_a_year_without_its_era_beside_one_with_it_has_the_same() -> None:
    found = table("計画\n番号,事業,H29実績,H29評価,30年度実績,30年度評価\n1,学習,a,A,b,B")
    assert [row[2] for row in brief(found)] == [2017, 2018]


@pytest.mark.parametrize("line", ["（凡例）◎：良い ○：普通 △：悪い", "※評価　◎：良い　○：普通　△：悪い"])
@pytest.mark.parametrize("above", [True, False], ids=["above", "below"])
def test_a_legend_tells_what_marks_mean_wherever_it_stands(line: str, above: bool) -> None:
    rows = ["番号,事業名,実績,評価", "1,学習,a,○"]
    found = table("\n".join(["計画 H30実績", *([line, *rows] if above else [*rows, f"{line},,,"])]))
    assert list(found.legend.items()) == [("◎", "良い"), ("○", "普通"), ("△", "悪い")]
    assert len(brief(found)) == 1


def test_a_row_under_a_header_of_two_rows_is_data_where_something_leads_to_it() -> None:
    found = table(
        "計画 令和5年度実績\n基本目標,施策,KPI,基準値,,評価\n,,,年度,値,\n1 しごと,1-1 創業,件数,R1,3,A\n"
        ",1-2 就農,人数,R1,1,B"
    )
    assert [entry.line for entry in found.evaluations] == [4, 5]


@pytest.mark.parametrize(
    "title",
    [
        "い計画（平成27年度～31年度）",
        "い計画（令和2年度から6年度まで）",
        "い計画（R2～R6）",
        "令和2年度改定　い計画",
        "い計画 令和6年度作成",
        "令和6年度第1回い町推進委員会資料",
        "い計画（令和3～7年度）",
    ],
)
def test_a_year_that_is_not_reported_on_is_not_taken_for_it(title: str) -> None:
    asked = table(f"{title}\n番号,事業名,実績,評価\n1,学習,a,A")
    assert "fiscal_year" in only_problem(asked).en
    assert [row[2] for row in brief(table(f"{title}\n番号,事業名,H29実績,評価\n1,学習,a,A"))] == [2017]


def test_headings_of_another_kind_of_number_stand_below_each_other() -> None:
    found = table(
        "計画 H30実績\n番号,事業名,実績,評価\nⅠ 人権,,,\n１ 学校,,,\n1,学習,a,A\n"
        "２ 地域,,,\n1,食堂,a,B\nⅡ 相談,,,\n１ 窓口,,,\n1,電話,a,A"
    )
    assert [row[0] for row in brief(found)] == ["1-1-1", "1-2-1", "2-1-1"]
    assert list(found.sections) == ["1", "2"]


def paths(found: Recognised) -> list[tuple[str, list[str]]]:
    assert found.problems == []
    return [(each.code, each.path) for each in found.measures]


def test_headings_below_a_section_lead_to_the_measure_with_their_titles() -> None:
    rows = "番号,事業名,実績,評価\n基本目標１ 学び,,,\n（１）学校,,,\n1,読書,3,A\n（２）家庭,,,\n{},食事,2,B"
    found = table("計画 R5年度実績\n" + rows.format(2))
    assert paths(found) == [("1", ["（１）学校", "1"]), ("2", ["（２）家庭", "2"])]
    assert found.sections == {"1": ("基本目標１", "学び")}
    anew = table("計画 R5年度実績\n" + rows.format(1))
    assert paths(anew) == [
        ("1-1-1", ["基本目標１", "（１）学校", "1"]),
        ("1-2-1", ["基本目標１", "（２）家庭", "1"]),
    ]


def test_columns_of_headings_lead_to_measures_with_and_without_numbers() -> None:
    rows = "1 学び,(1) 学校,{},読書,3,A\n,(2) 家庭,{},食事,2,B\n,,{},睡眠,2,B"
    text = "計画 R5年度実績\n基本目標,施策の方向,番号,事業名,実績,評価\n" + rows
    assert paths(table(text.format(1, 2, 3))) == [
        ("1", ["(1) 学校", "1"]),
        ("2", ["(2) 家庭", "2"]),
        ("3", ["(2) 家庭", "3"]),
    ]
    assert paths(table(text.format("", "", ""), numbering="order")) == [
        ("1", ["(1) 学校"]),
        ("2", ["(2) 家庭"]),
        ("3", ["(2) 家庭"]),
    ]


def test_words_beside_a_number_stay_with_it() -> None:
    found = table(
        "計画 R5年度実績\n項目,番号,事業名,実績,評価\n第1節 学び,1 学校,読書,3,A\n第2節 食,1,食事,2,B"
    )
    assert paths(found) == [("1-1", ["第1節 学び", "1 学校"]), ("2-1", ["第2節 食", "1"])]
    assert found.sections == {"1": ("第1節", "学び"), "2": ("第2節", "食")}


def test_a_heading_that_is_too_long_to_keep_is_a_problem() -> None:
    rows = "計画 R5年度実績\n番号,事業名,実績,評価\n基本目標１ 学び,,,\n（１）{},,,\n1,読書,3,A"
    assert paths(table(rows.format("あ" * 97))) == [("1", ["（１）" + "あ" * 97, "1"])]
    assert places(table(rows.format("あ" * 98))) == [(5, None)]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        *((number, "This is a date") for number in ("2024-01-01", "2024/1/1", "1月1日")),
        *((number, "These are several numbers") for number in ("2、3", "１・２", "①～③", "(1)、(2)")),
    ],
)
def test_a_date_or_several_numbers_are_no_number(number: str, said: str) -> None:
    problem = only_problem(table(f"計画 R5年度実績\n番号,事業名,実績,評価\n1,創業,8,A\n{number},就農,3,B"))
    assert (problem.line, problem.column, problem.text) == (4, 1, number)
    assert problem.en.startswith(said)


@pytest.mark.parametrize("number", ["1-2", "1.2", "4 1)②", "2019-1"])
def test_numbers_in_a_row_that_lead_to_one_measure_are_no_date_and_not_several(number: str) -> None:
    found = table(f"計画 R5年度実績\n番号,事業名,実績,評価\n1-1,創業,8,A\n{number},就農,3,B")
    assert paths(found)[1][1] == [number]


CODED = {"事業コード": {"field": "code"}}


def test_a_table_whose_codes_are_told_is_recognised_like_any_other() -> None:
    found = table(
        "計画 R5年度実績\n事業コード,事業名,実績,評価\n基本目標１ 学び,,,\n010A,読書,3,A\n,,4,B\n010B,食事,2,B\n"
        ",読書（再掲）,3,A\n,合計,9,\n※注,,,",
        mapping=CODED,
    )
    assert [row[:2] for row in brief(found)] == [("010A", "読書"), ("010A", "読書"), ("010B", "食事")]
    assert found.sections == {"1": ("基本目標１", "学び")}
    assert [found.taken[None][line][0] for line in (3, 7, 8, 9)] == ["heading", "repeat", "total", "note"]


@pytest.mark.parametrize(
    ("code", "said"), [("", "This measure has no code. Write it in."), ("2024-01-01", "This is a date")]
)
def test_a_code_that_is_none_is_a_problem_at_its_cell(code: str, said: str) -> None:
    found = table(
        f"計画 R5年度実績\n事業コード,事業名,実績,評価\n1A,読書,3,A\n{code},食事,2,B", mapping=CODED
    )
    assert places(found) == [(4, 1)]
    assert only_problem(found).en.startswith(said)


HEADED = "番号,事業名,実績,評価\n1,創業,8,A\n"


def kinds(found: Recognised) -> dict[int, str]:
    return {line: kind for line, (kind, _) in found.taken[None].items()}


@pytest.mark.parametrize("above", ["１ 学校,,,", "Ⅰ 教育,,,\n１ 学校,,,\n（単位：人）,,,"])
def test_a_heading_above_the_header_counts_like_those_below(above: str) -> None:
    found = table(f"計画 R5年度実績\n{above}\n{HEADED}２ 社会,,,\n1,講演,3,B")
    outer = ["Ⅰ"] * ("Ⅰ" in above)
    first, second = (["１"], ["２"]) if not outer else (["Ⅰ", "１ 学校"], ["Ⅰ", "２ 社会"])
    code = "1-" if outer else ""
    assert paths(found) == [(f"{code}1-1", [*first, "1"]), (f"{code}2-1", [*second, "1"])]


@pytest.mark.parametrize("below", ["2,就農,3,B", "（１） 社会,,,\n2,就農,3,B"])
def test_a_numbered_line_above_a_table_without_headings_like_it_is_none(below: str) -> None:
    found = table(f"計画 R5年度実績\n２ 評価の結果,,,\n{HEADED}{below}")
    assert found.measures[0].section_code == "0"
    assert [warning.line for warning in found.warnings] == [2]


def test_a_numbered_line_above_is_no_heading_where_another_stands_below_the_header() -> None:
    found = table("１ 進捗,,,\n番号,事業名,R5実績,評価\n１ 学校,,,\n1,創業,8,A\n２ 社会,,,\n1,講演,3,B")
    assert found.title == "１ 進捗"
    assert [code for code, _ in paths(found)] == ["1-1", "2-1"]


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("【柱１】子どもの学び", ("【柱１】", "子どもの学び")),
        ("〔基本目標１　学び〕", ("基本目標１", "学び")),
        ("【柱１】", ("【柱１】", None)),
        ("柱１", ("柱１", None)),
    ],
)
def test_a_heading_may_stand_in_brackets(heading: str, section: tuple[str, str | None]) -> None:
    found = table(f"計画 R5年度実績\n番号,事業名,実績,評価\n{heading},,,\n1,創業,8,A")
    assert paths(found) == [("1", ["1"])]
    assert found.sections == {"1": section}


def test_headings_in_brackets_stand_beside_each_other_whatever_they_enclose() -> None:
    found = table(
        "計画 R5年度実績\n番号,事業名,実績,評価\n【柱１】学び,,,\n1 学校,,,\n1,創業,8,A\n【柱２　遊び】,,,\n1,就農,3,B"
    )
    assert found.sections == {"1": ("【柱１】", "学び"), "2": ("柱２", "遊び")}
    assert [code for code, _ in paths(found)] == ["1-1-1", "2-1"]


@pytest.mark.parametrize("line", ["針目１", "【学校】", "【1 学校】まで", "3"])
def test_a_line_that_is_no_heading_is_asked_about(line: str) -> None:
    assert places(table(f"計画 R5年度実績\n番号,事業名,実績,評価\n{line},,,\n1,創業,8,A"))[0][0] == 3


@pytest.mark.parametrize(
    "line",
    [
        "- 3 -,,,",
        ",－ ３ －,,",
        "3/10,,,",
        "1 / 2 ページ,,,",
        ",,,１／２頁",
        ",,,p.3",
        "３頁,,,",
        "計画 R5年度実績,,,",
        ",,,（単位：人）",
    ],
)
def test_page_numbers_and_lines_of_the_top_between_pages_are_no_measures(line: str) -> None:
    found = table(f"計画 R5年度実績,,,\n,,,（単位：人）\n{HEADED}{line}\n番号,事業名,実績,評価\n2,就農,3,B")
    assert [row[:2] for row in brief(found)] == [("1", "創業"), ("2", "就農")]
    assert kinds(found)[5] == "page"


def test_a_row_that_goes_on_with_a_measure_is_no_page_number() -> None:
    found = table(f"計画 R5年度実績\n{HEADED},,3/10,\n")
    assert [each.implementation for each in found.evaluations] == ["8", "3/10"]


@pytest.mark.parametrize("line", ["以上,,,", ",,,（以上）", "以　上,,,"])
def test_the_end_is_no_measure(line: str) -> None:
    found = table(f"計画 R5年度実績\n{HEADED}{line}")
    assert (brief(found)[0][0], kinds(found)[4]) == ("1", "note")


@pytest.mark.parametrize(
    "cell",
    [
        "合　計",
        "総 合 計",
        "学校 計",
        "基本目標１ 合計",
        "基本目標１合計",
        "（１）小計",
        "第1～4節合計",
        "計（A）",
        "平均",
    ],
)
@pytest.mark.parametrize("row", ["{},,11,", ",{},11,"])
def test_a_total_may_name_what_it_sums_up(cell: str, row: str) -> None:
    found = table(f"計画 R5年度実績\n{HEADED}{row.format(cell)}")
    assert (brief(found)[0][0], kinds(found)[4]) == ("1", "total")


@pytest.mark.parametrize(
    "title", ["合計特殊出生率の向上", "1 割合の改善", "女性委員の 割合", "家計", "時計 台"]
)
def test_a_title_that_only_looks_like_a_total_is_a_measure(title: str) -> None:
    assert len(brief(table(f"計画 R5年度実績\n{HEADED}2,{title},11,B"))) == 2


@pytest.mark.parametrize("mark", ["〃", "々", "同上", " ″ "])
def test_a_ditto_mark_means_the_cell_above(mark: str) -> None:
    found = table(
        "計画 R5年度実績\n基本目標,番号,所管課,事業名,実績,評価\n1 学び,1,教育課,読書,8,A※1\n"
        f"{mark},2,{mark},食事,同上,{mark}\n2 食,3,,睡眠,9,{mark}\n{mark},{mark},{mark},{mark},4,"
    )
    assert {row[4] for row in brief(found)} == {"教育課"}
    assert found.sections.keys() == {"1", "2"}
    assert [(each.code, each.title, each.rating, each.rating_printed) for each in found.evaluations] == [
        ("1", "読書", "A", "A※1"),
        ("2", "食事", "A", mark.strip()),
        ("3", "睡眠", "A", mark.strip()),
        ("3", "睡眠", None, None),
    ]


def test_a_ditto_mark_below_nothing_is_asked_about() -> None:
    found = table(
        "計画 R5年度実績\n番号,事業名,実績,評価,担当課\n1,読書,8,〃,学校\n2,食事,9,,〃\n3,睡眠,9,〃,〃"
    )
    assert places(found) == [(3, 4)]
    assert [(each.rating, each.department) for each in found.evaluations[1:]] == [(None, "学校")] * 2


def test_a_ditto_mark_on_the_next_page_means_the_row_before() -> None:
    found = table(f"計画 R5年度実績\n{HEADED}\n番号,事業名,実績,評価\n2,就農,3,〃")
    assert [each.rating for each in found.evaluations] == ["A", "A"]


@pytest.mark.parametrize("counted", ["No", "№", "通し番号", "整理番号", "番号"])
@pytest.mark.parametrize("places", [(0, 1), (1, 0)], ids=["in front", "behind"])
def test_a_number_that_counts_rows_is_none_of_a_measure_with_a_number(
    counted: str, places: tuple[int, int]
) -> None:
    rows = [[counted, "施策番号"], ["1", "1-1-1"], ["2", "1-1-2"], ["3", "1-1-2"]]
    lines = [",".join(row[place] for place in places) for row in rows]
    found = table(
        f"計画 R5年度実績\n{lines[0]},事業名,実績\n{lines[1]},創業,8\n{lines[2]},就農,3\n{lines[3]},就農,4"
    )
    assert paths(found) == [("1-1-1", ["1-1-1"]), ("1-1-2", ["1-1-2"])]
    assert [each.extra for each in found.evaluations] == [{counted: n} for n in "123"]


def test_a_number_that_is_needed_counts_what_stands_under_another() -> None:
    for outer in (["1-1", "1-1", "1-2"], ["第1節", "第2節", "第3節"], ["1", "2", "2"]):
        rows = [f"{number},{n},事業{n},8" for n, number in enumerate(outer, 1)]
        found = table("\n".join(["計画 R5年度実績", "施策番号,No,事業名,実績", *rows]))
        assert [path for _, path in paths(found)] == [[number, str(n)] for n, number in enumerate(outer, 1)]


def test_a_number_in_front_of_one_that_does_not_tell_measures_apart_is_asked_about() -> None:
    rows = "計画 R5年度実績\nNo,施策番号,事業名,実績\n1,1,創業,8\n2,1,就農,3"
    assert "No may be extra / path / code" in table(rows).problems[0].en
    assert [code for code, _ in paths(table(rows, mapping={"No": {"field": "path"}}))] == ["1-1", "2-1"]


@pytest.mark.parametrize("header", ["事業コード", "施策CD", "施設番号", "事業ＩＤ", "管理No."])
def test_a_column_that_may_number_measures_is_named_where_numbers_are_missing(header: str) -> None:
    rows = f"計画 R5年度実績\n予算額,{header},事業名,実績,評価\n5,A-1,創業,8,A\n6,A-2,就農,3,B"
    problem = only_problem(table(rows))
    told = {"2": {"field": "code"}}
    assert 'mapping={"2": "code"}' in problem.ja
    assert f'tell mapping={{"2": "code"}} if they are known by their {header}' in problem.en
    assert [code for code, _ in paths(table(rows, mapping=told))] == ["A-1", "A-2"]
    assert "mapping" not in only_problem(table(rows.replace(header, "場所"))).en


def test_two_titles_of_one_section_are_told_once() -> None:
    found = table(
        "計画 R5年度実績\n番号,事業名,実績,評価\n基本目標１ 学び,,,\n1,創業,8,A\n"
        "基本目標１ 学び（続き）,,,\n2,就農,3,B\n3,林業,3,B\n基本目標１ 学び,,,\n4,漁業,3,B"
    )
    assert found.sections == {"1": ("基本目標１", "学び")}
    assert [(warning.line, warning.en) for warning in found.warnings] == [
        (
            6,
            "Section 1 is called 学び（続き） here and 学び before, and was taken for one. "
            "If there are two, correct their numbers.",
        )
    ]


def test_a_line_with_one_thing_in_it_may_be_a_heading_without_a_number() -> None:
    found = table("計画 R5年度実績\n番号,事業名,実績,評価\n子どもの学び,,,\n1,創業,8,A\n2,,3,B")
    said = {problem.line: problem.en for problem in found.problems}
    assert places(found) == [(3, 1), (5, 2)]
    assert said[3].startswith("One thing alone stands in this line. If it is a heading, number it")
    assert said[5] == "The measure has no title. Write it in."


@pytest.mark.parametrize("when", ["令和6年3月末現在", "R6.3末", "2024/3/31"])
def test_a_date_is_no_fiscal_year(when: str) -> None:
    rows = f"番号,事業名,実績値({when}),進捗状況({when}),担当課\n1,創業,8,順調,商工課"
    assert "Nothing tells the fiscal year" in only_problem(table(f"い計画\n{rows}")).en
    found = table(f"い計画 令和5年度実績\n,,,({when}),\n{rows}")
    assert brief(found) == [("1", "創業", 2023, "順調", "商工課")]
    assert found.evaluations[0].extra == {f"実績値({when})": "8"}


def test_a_measure_called_by_a_letter_and_a_number_is_no_legend() -> None:
    rows = "A-1,読書,8,A,教育課\nA-2,食事,3,B,健康課"
    found = table(
        f"い計画 R5年度実績\n事業コード,事業名,実績,評価,担当課\n{rows}", mapping={"1": {"field": "code"}}
    )
    assert [row[0] for row in brief(found)] == ["A-1", "A-2"]
    assert found.legend == {}


@pytest.mark.parametrize(
    ("line", "legend"),
    [
        ("（注）a：達成　b：改善", {"a": "達成", "b": "改善"}),
        ("【達成度】5：達成　4：80%以上", {"5": "達成", "4": "80%以上"}),
        ("A：達成,B：改善", {"A": "達成", "B": "改善"}),
        ("A,達成,B,改善", {"A": "達成", "B": "改善"}),
        ("※達成度：4 達成　3 概ね達成　1 未達成", {"4": "達成", "3": "概ね達成", "1": "未達成"}),
        ("進捗状況：3　順調、2　遅れ", {"3": "順調", "2": "遅れ"}),
        ("達成度：4 事業 3 事業", {}),
        ("◎：達成　△：遅れ　－：未実施", {"◎": "達成", "△": "遅れ"}),
        ("◎：達成、-:対象外、△：遅れ／評価対象外：終了", {"◎": "達成", "△": "遅れ"}),
        ("◎：達成　△：遅れ　完了：事業が終わった", {"◎": "達成", "△": "遅れ", "完了": "事業が終わった"}),
    ],
)
def test_a_legend_may_tell_of_small_letters_and_of_numbers(line: str, legend: dict[str, str]) -> None:
    found = table(
        f"い計画 R5年度実績\n番号,事業名,実績,評価\n1,読書,8,A\n{line}{',' * (3 - line.count(','))}"
    )
    assert (found.legend, len(brief(found))) == (legend, 1)


def test_how_often_a_mark_was_given_is_not_what_it_means() -> None:
    found = table("い計画 R5年度実績\n番号,事業名,実績,評価\n1,読書,8,○\n○：1事業,,,\n△：0事業（0％）,,,")
    assert found.legend == {}
    assert places(found) == [(4, 1), (5, 1)]
    assert all("remove it" in problem.en for problem in found.problems)


@pytest.mark.parametrize("leading", [",,", "施策,担当課,"], ids=["blank", "merged"])
def test_words_that_name_columns_below_a_group_belong_to_the_header(leading: str) -> None:
    found = table(
        "い計画 R5年度実績\n施策,担当課,KPI,,評価\n"
        f"{leading}指標名,達成率,{'評価' if leading[0] != ',' else ''}\n1-1 創業,商工課,件数,90%,A"
    )
    assert brief(found) == [("1-1", "創業", 2023, "A", "商工課")]
    assert found.evaluations[0].extra == {"指標名": "件数", "達成率": "90%"}


def test_a_header_of_three_rows_may_group_what_leads_to_a_measure() -> None:
    found = table(
        "い計画\n施策体系,,,担当課,前期計画,,,,総合評価\n,,,,R4年度,,R5年度,,\n柱,番号,施策,,実績,評価,実績,評価,\n"
        "柱1 学び,1-①,読書,教育課,8,A,9,B,B"
    )
    assert brief(found) == [("1-1", "読書", 2022, "A", "教育課"), ("1-1", "読書", 2023, "B", "教育課")]
    assert found.sections == {"1": ("柱1", "学び")}


def test_a_total_says_what_it_is_of_and_is_no_rating() -> None:
    found = table(
        "い計画 R5年度実績\n番号,取組名,区分,進捗,効果額\n1,使用料,計画,順調,1200\n,,実績,,\n,,,効果額合計,1200"
    )
    assert [row[3] for row in brief(found)] == ["順調", None]
    assert [warning.line for warning in found.warnings] == [2, 2, 4, 5]


def test_a_number_and_a_title_alone_are_a_heading_where_measures_are_numbered_otherwise() -> None:
    rows = "Ⅰ,人権,,\n(1),啓発,,\n①,広報紙,4回,A\n②,講座,,\n(2),相談,,\n①,窓口,3件,B"
    found = table(f"い計画 R5年度実績\n番号,具体的施策,実績,評価\n{rows}")
    assert [row[:2] for row in brief(found)] == [("1-1-1", "広報紙"), ("1-1-2", "講座"), ("1-2-1", "窓口")]
    assert found.measures[0].path == ["Ⅰ", "(1) 啓発", "①"]
    assert [warning.line for warning in found.warnings] == [3, 4, 7]


def test_numbers_and_titles_alone_are_measures_where_no_row_says_more() -> None:
    found = table("い計画 R5年度実績\n番号,事業名,実績,評価\n1,読書,,\n2-1,食事,,")
    assert [measure.title for measure in found.measures] == ["読書", "食事"]


def test_of_two_titles_it_is_asked_what_the_outer_one_is() -> None:
    text = "い計画 R5年度実績\n施策,番号,取組,実績,評価\n行政手続,1,電子申請,8,A\n,2,決済,3,B"
    problem = only_problem(table(text))
    assert (problem.column, '{"1": "section"}' in problem.ja) == (1, True)
    found = table(text, mapping={"1": {"field": "section"}})
    assert {measure.section_code for measure in found.measures} == {"行政手続"}
    found = table(text, mapping={"1": {"field": "extra"}})
    assert [row[1] for row in brief(found)] == ["電子申請", "決済"]


def test_of_two_titles_behind_a_number_the_first_is_likelier_the_title() -> None:
    text = "い計画 R5年度実績\n番号,事業名,主な取組,評価\n1,学習,教室を開いた,A\n2,食堂,始めた,B"
    problem = only_problem(table(text))
    assert (problem.column, '{"2": "title"}' in problem.ja, '{"2": "title"}' in problem.en) == (2, True, True)
    found = table(text, mapping={"2": {"field": "title"}})
    assert [row[1] for row in brief(found)] == ["学習", "食堂"]
    assert [each.extra for each in found.evaluations] == [
        {"主な取組": "教室を開いた"},
        {"主な取組": "始めた"},
    ]


@pytest.mark.parametrize(
    "header", ["令和5年度の主な取組", "R5具体的な取組", "令和5年度 主な取り組み", "5年度の具体的取組"]
)
def test_what_was_mainly_done_in_a_year_is_no_title(header: str) -> None:
    found = table(f"い計画　令和5年度進捗状況\n番号,事業名,{header},評価\n1,学習,開いた,A")
    assert (brief(found)[0][:3], found.evaluations[0].implementation) == (("1", "学習", 2023), "開いた")
    below = table("い計画\n番号,事業名,令和5年度,\n,,主な取組,評価\n1,学習,開いた,A")
    assert (brief(below)[0][:3], below.evaluations[0].implementation) == (("1", "学習", 2023), "開いた")


def test_nothing_but_numbers_under_the_outer_of_two_titles_are_those_of_measures() -> None:
    found = table("い計画 R5年度実績\n施策,施策名,実績,評価\n1-1,医療,8,A\n1-2,子育て,3,B")
    assert [row[:2] for row in brief(found)] == [("1-1", "医療"), ("1-2", "子育て")]


@pytest.mark.parametrize(
    "line", ["資料１", "資料2-1", "別紙", "令和6年度第1回い町推進委員会資料", "第2回審議会"]
)
def test_what_a_meeting_calls_its_papers_is_no_title(line: str) -> None:
    found = table(f"{line}\nい計画 R5年度実績\n番号,事業名,実績,評価\n1,読書,8,A")
    assert (found.title, [warning.line for warning in found.warnings]) == ("い計画 R5年度実績", [1])


@pytest.mark.parametrize(
    ("name", "planned"), [("取組の内容", "広く"), ("作業", "10ha"), ("事業内容", "10ha")]
)
def test_what_was_planned_is_no_title(name: str, planned: str) -> None:
    text = f"い計画 R5年度実績\n番号,{name},計画,実績,評価\n1,間伐,{planned},8ha,A\n2,作業道,{planned},2km,B"
    assert 3 in [problem.column for problem in table(text).problems]
    found = table(text, mapping={"2": {"field": "title"}})
    assert [(row[1], each.extra) for row, each in zip(brief(found), found.evaluations, strict=True)] == [
        ("間伐", {"計画": planned}),
        ("作業道", {"計画": planned}),
    ]


def test_two_years_joined_in_a_title_are_no_unreadable_one() -> None:
    found = table("い計画 令和4・5年度\n年度,番号,事業名,評価\nR4,1,読書,A\nR5,1,読書,B")
    assert [row[2] for row in brief(found)] == [2022, 2023]


@pytest.mark.parametrize("name", ["年度計画", "本年度の計画", "当該年度計画"])
def test_what_was_planned_for_the_year_is_no_title(name: str) -> None:
    text = f"い計画 R5年度実績\n基本項目,実施項目,{name},取組状況,評価,担当\n1 財政,①税,検討,検討した,A,課"
    assert "The header 計画 is missing" in only_problem(table(text)).en
    found = table(text, mapping={"実施項目": {"field": "title"}, "基本項目": {"field": "extra"}})
    assert [(row[:2], each.extra) for row, each in zip(brief(found), found.evaluations, strict=True)] == [
        (("1", "税"), {"基本項目": "1 財政", name: "検討"})
    ]


@pytest.mark.parametrize("alone", ["◎ 1件　○ 2件", "担当：企画課"])
def test_a_line_with_one_thing_in_front_of_the_titles_is_no_row_of_the_measure_above(alone: str) -> None:
    found = table(f"い計画 R5年度実績\n区分,番号,事業名,実績,評価\n新規,1,創業,8,A\n{alone},,,,")
    assert only_problem(found).en.startswith("One thing alone stands in this line")
    assert len(found.evaluations) == 1


def test_where_numbers_begin_anew_it_is_told_which_column_may_be_the_section() -> None:
    text = "い計画 R5年度実績\n推進項目,番号,事業名,実績,評価\n歳入,①,税,8,A\n歳出,①,人件費,3,B"
    assert '{"1": "section"}' in only_problem(table(text)).ja
    found = table(text, mapping={"1": {"field": "section"}})
    assert [row[:2] for row in brief(found)] == [("歳入-1", "税"), ("歳出-1", "人件費")]


RATED = "い計画 R5年度実績\n番号,事業名,取組状況,評価,課題\n1-1,学習,した,A,\n1-2,食堂,した,B,\n"


@pytest.mark.parametrize(
    "below",
    [
        "評価,件数,割合,,\nA,1,50%,,\nB,－,50%,,\n計,2,100%,,",
        ",,,評価,件数\n,,,A,1\n,,,B,1",
        "評価,A,B,計,\n件数,1,1,2,\n構成比,50%,50%,100%,",
        "評価の集計,,,,\n評価区分,施策数,,,\nA（目標をおおむね達成している）,1,,,\nB（遅れ）,1,,,",
    ],
)
def test_a_table_that_counts_the_ratings_is_no_measure(below: str) -> None:
    found = table(RATED + below)
    assert [row[0] for row in brief(found)] == ["1-1", "1-2"]
    [told] = found.warnings
    assert (told.line, "ratings are counted" in told.en) == (5, True)
    again = table(f"{RATED}{below}\n1-3,塾,3回,A,")
    assert [row[0] for row in brief(again)] == ["1-1", "1-2", "1-3"]


@pytest.mark.parametrize("row", ["1-3,評価,件数,A,", "1-3,評価,3,A,", "1-3,達成度,12,B,"])
def test_a_measure_may_be_called_like_what_is_counted(row: str) -> None:
    assert brief(table(f"{RATED}{row}\n1-4,5,6,A,"))[2][0] == "1-3"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("い計画 R5年度実績\n番号,1-1\n事業名,学習\n取組状況,した\n評価,A\n番号,1-2\n事業名,食堂", 2),
        ("い計画\n項目,内容\n事業名,学習\n担当課,課\nR5取組状況,した\nR5評価,A", 2),
    ],
)
def test_a_form_for_each_measure_is_told_to_be_made_a_table(text: str, line: int) -> None:
    problem = only_problem(table(text))
    assert problem.line == line
    assert "side by side in one row" in problem.en
    assert "行と列の入れ替え" in problem.ja


def test_a_legend_may_have_a_sheet_of_its_own() -> None:
    found = book(("表", RATED.strip()), ("凡例", "評価の区分\nA,達成\nB,遅れている"))
    assert found.legend == {"A": "達成", "B": "遅れている"}
    assert found.sheets == ["表"]
    [told] = found.warnings
    assert (told.sheet, "only the legend" in told.en) == ("凡例", True)


def test_a_measure_called_by_a_figure_is_read_back_from_a_document_that_tells_its_code() -> None:
    head = (
        "い計画\n(平成30年度進捗状況評価結果)\n項目,計画,H30実施内容,評価,施策コード,節コード,枝番,評価コード"
    )
    assert [row[:2] for row in brief(table(f"{head}\n,10件,x,A,1,1,1,A"))] == [("1", "10件")]


@pytest.mark.parametrize(
    "year", ["平成31年度（令和元年度）", "平成31（令和元）年度", "令和元（平成31）年度", "Ｈ31／Ｒ1"]
)
def test_a_year_may_be_told_by_both_of_its_names(year: str) -> None:
    one_row = table(f"い計画\n番号,事業名,{year}実施内容,評価\n1,学習,a,A")
    merged = table(f"い計画\n番号,事業名,{year},,R2年度,\n,,実績,評価,実績,評価\n1,学習,a,A,b,B")
    assert [row[2] for row in brief(one_row)] == [2019]
    assert [row[2] for row in brief(merged)] == [2019, 2020]


def test_two_names_of_different_years_are_no_year() -> None:
    found = table("い計画 R5年度実績\n番号,事業名,実績,評価,H30・R1決算\n1,学習,a,A,b")
    assert (brief(found)[0][2], found.evaluations[0].extra) == (2023, {"H30・R1決算": "b"})


@pytest.mark.parametrize("group", ["成果指標", "指標", "事業費（千円）", "予算・決算", "数値目標"])
@pytest.mark.parametrize("work", [",", "取組状況,した"])
def test_figures_below_what_they_measure_are_not_what_was_done(group: str, work: str) -> None:
    done, did = work.split(",")
    text = f"い計画 R5年度実績\n番号,事業名,{group},,,評価,{done}\n,,指標名,目標,実績,,\n1,学習,人数,120,126,A,{did}"
    rows = [Row(line, cells.split(",")) for line, cells in enumerate(text.split("\n"), 1)]
    merged = recognise(Sheet(None, rows, spans={(2, 3): 5}), Asked())
    for found in (table(text), merged):
        [each] = found.evaluations
        assert (found.problems, each.implementation, each.rating) == ([], did or None, "A")
        assert each.extra["実績"] == "126"


@pytest.mark.parametrize("group", ["前期計画", "令和5年度"])
def test_what_was_done_may_stand_below_another_group(group: str) -> None:
    found = table(f"い計画 R5年度実績\n番号,事業名,{group},,評価\n,,予定,実績,\n1,学習,3回,4回,A")
    assert [each.implementation for each in found.evaluations] == ["4回"]


@pytest.mark.parametrize("header", ["実績（千円）", "実績(単位：百万円)", "実績［円］"])
def test_what_was_spent_is_not_what_was_done(header: str) -> None:
    found = table(f"い計画 R5年度実績\n番号,事業名,取組状況,{header},評価\n1,学習,した,126,A")
    [each] = found.evaluations
    assert (found.problems, each.implementation, each.extra) == ([], "した", {header: "126"})
    found = table(f"い計画 R5年度実績\n番号,事業名,{header},評価\n1,学習,126,A")
    assert (found.evaluations[0].implementation, found.evaluations[0].extra) == (None, {header: "126"})


@pytest.mark.parametrize("header", ["R5年度の主な取組内容", "主な実施内容", "具体的な実施状況"])
def test_what_was_mainly_done_is_what_was_done(header: str) -> None:
    found = table(f"い計画 R5年度実績\n番号,事業名,{header},評価,主な目標\n1,学習,a,A,b")
    assert [(each.implementation, each.extra) for each in found.evaluations] == [("a", {"主な目標": "b"})]


def test_where_no_column_says_what_was_done_those_are_told_that_may() -> None:
    found = table(
        "い計画 R5年度実績\n番号,事業名,年間実績,評価\n1,学習,a,A\n番号,事業名,年間実績,評価\n2,食堂,b,A"
    )
    (warning,) = found.warnings
    assert (warning.line, "年間実績" in warning.ja, '{"3": "implementation"}' in warning.en) == (
        2,
        True,
        True,
    )
    assert table("い計画 R5年度実績\n番号,事業名,評価\n1,学習,A").warnings == []
    told = table(
        "い計画 R5年度実績\n番号,事業名,年間実績,評価\n1,学習,a,A", mapping={"3": {"field": "extra"}}
    )
    assert told.warnings == []


@pytest.mark.parametrize("end", ["末", "末時点", "末現在の", "末時点における"])
def test_the_end_of_a_year_is_that_year(end: str) -> None:
    found = table(f"い計画\n番号,事業名,令和5年度{end}実績,R5年度{end}進捗状況\n1,学習,8,順調")
    assert (brief(found)[0][2:4], found.evaluations[0].implementation) == ((2023, "順調"), "8")
    alone = end.removesuffix("の").removesuffix("における")
    above = table(f"い計画\n番号,事業名,令和5年度{alone},\n,,実績,進捗状況\n1,学習,8,順調")
    assert (brief(above)[0][2:4], above.evaluations[0].implementation) == ((2023, "順調"), "8")
    bare = table(f"い計画 R5年度実績\n番号,事業名,5年度{end}実績,年度{end}進捗状況\n1,学習,8,順調")
    assert (brief(bare)[0][2:4], bare.evaluations[0].implementation) == ((2023, "順調"), "8")


def test_where_no_column_rates_those_are_told_that_may() -> None:
    header = "番号,事業名,実績,できばえ"
    text = f"い計画 R5年度実績\n{header}\n1,学習,a,A"
    (warning,) = table(f"{text}\n{header}\n2,食堂,b,B").warnings
    assert (warning.line, "できばえ" in warning.ja, '{"4": "rating"}' in warning.en) == (2, True, True)
    assert brief(table(text, mapping={"4": {"field": "rating"}}))[0][3] == "A"
    assert table(text, mapping={"4": {"field": "extra"}}).warnings == []
    assert table("い計画 R5年度実績\n番号,事業名,実績,課題\n1,学習,a,b").warnings == []
    nameless = "い計画 R5年度実績\n番号,事業名,実績,対象,\n1,学習,a,子,A"
    assert table(nameless, mapping={"5": {"field": "rating"}}).warnings == []


def rated_with(header: str, *cells: str, **asked: Any) -> Recognised:
    rows = [f"{n},事業{n},した,{cell}" for n, cell in enumerate(cells, 1)]
    return table("\n".join(["い計画 R5年度実績", f"番号,事業名,取組状況,{header}", *rows]), **asked)


@pytest.mark.parametrize("header", ["進捗度", "達成度（%）", "進捗状況"])
@pytest.mark.parametrize("cells", ["80% 100% 35%", "98.5 102 77", "８０％ － 100%", "80 100 A"])
def test_rates_are_no_scale_without_asking(header: str, cells: str) -> None:
    problem = only_problem(rated_with(header, *cells.split()))
    assert (problem.line, problem.column, "rating / extra" in problem.en) == (2, 4, True)
    kept = rated_with(header, *cells.split(), mapping={"4": {"field": "extra"}})
    assert kept.problems == []
    assert [(each.rating, each.extra) for each in kept.evaluations] == [
        (None, {header: cell}) for cell in cells.split()
    ]
    told = rated_with(header, *cells.split(), mapping={"4": {"field": "rating"}})
    assert [each.rating_printed for each in told.evaluations] == cells.split()


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("達成度評価", "80% 100% 35%"),
        ("進捗度", "5 4 3"),
        ("進捗度", "A B 80%"),
        ("達成度", "－ － －"),
        ("評価ランク", "98.5 102 77"),
    ],
)
def test_what_is_called_a_rating_or_has_marks_is_one(header: str, cells: str) -> None:
    found = rated_with(header, *cells.split())
    assert [row[3] for row in brief(found)] == cells.split()


def test_lines_that_tell_in_turn_what_was_planned_and_done_are_told() -> None:
    header = "い計画 R5年度実績\n番号,事業名,区分,実績,評価\n"
    (warning,) = table(f"{header}1,学習,計画,a,\n,,実績,b,A\n2,食堂,計画,c,\n,,実績,d,B").warnings
    assert (warning.line, warning.column, "実績、計画" in warning.ja) == (2, 3, True)
    assert table(f"{header}1,学習,新規,a,B\n,,継続,b,A").warnings == []
    assert table(f"{header}1,学習,計画,a,B\n2,食堂,新規,b,A").warnings == []


def test_sheets_that_are_numbered_headings_are_read_as_such_where_numbers_begin_anew() -> None:
    header = "番号,事業名,実績,評価"
    title = "い計画\n令和5年度実績"
    first = ("基本目標1", f"{title}\n{header}\n1,学習,x,A\n2,相談,x,A")
    found = book(first, ("基本目標２ 仕事", f"{title}\n{header}\n1,講座,y,B\n2,相談,y,B"))
    assert [row[1] for row in brief(found)] == ["学習", "相談", "講座", "相談"]
    assert [each.code for each in found.evaluations] == ["1-1", "1-2", "2-1", "2-2"]
    assert [*found.sections.items()] == [("1", ("基本目標1", None)), ("2", ("基本目標２", "仕事"))]
    assert "were read as headings" in found.warnings[0].en
    on = book(first, ("基本目標2", f"{title}\n{header}\n3,講座,y,B"))
    assert [each.code for each in on.evaluations] == ["1", "2", "3"]
    other = book(first, ("総務課", f"{title}\n{header}\n1,講座,y,B"))
    assert other.problems[0].en.startswith("Measure 1 has another title on")


INDICATORS = "No,指標,基準値,目標値,実績値\n3,相談件数,10,20,15\n4,講座数,5,8,8"
LEADS = "い計画 R5年度実績\n番号,事業名,実績,評価,担当課\n1,読書,x,A,課\n2,食事,y,B,課\n"


@pytest.mark.parametrize("title", ["", "成果指標の一覧,,,,\n", "成果指標の一覧,,,,\n\n"])
@pytest.mark.parametrize("asked", [{}, {"mapping": {"1": {"field": "code"}}}], ids=["", "code"])
def test_a_table_of_indicators_after_a_blank_line_is_left_out_and_told(
    title: str, asked: dict[str, Any]
) -> None:
    found = table(f"{LEADS}\n{title}{INDICATORS}", **asked)
    assert [row[:2] for row in brief(found)] == [("1", "読書"), ("2", "食事")]
    [told] = found.warnings
    assert (told.line, "another table begins here" in told.en, "次の施策の表" in told.ja) == (6, True, True)
    again = table(f"{LEADS}\n{INDICATORS}\n\n番号,事業名,実績,評価,担当課\n5,遊び,z,A,課", **asked)
    assert [row[0] for row in brief(again)] == ["1", "2", "5"]


@pytest.mark.parametrize(
    "head",
    [
        "指標名,基準値,目標値,実績値",
        "KPI,単位,R5年度目標値,R5年度実績値",
        "指標,基準値(R1),達成率,評価",
        "No,指標,R4,R5",
        "指標,現状,目標,",
    ],
)
def test_indicators_are_no_measures_that_are_counted_as_they_come(head: str) -> None:
    text = f"い計画 R5年度実績\n事業名,実績,評価,担当課\n読書,x,A,課\n\n{head}\n相談件数,10,20,15"
    assert [row[1] for row in brief(table(text, numbering="order"))] == ["読書"]


def test_indicators_with_the_words_of_a_header_are_no_measures_without_a_title() -> None:
    found = table(f"{LEADS}\nNo,指標,実績値,評価,担当課\n3,相談件数,10,A,課")
    assert [row[0] for row in brief(found)] == ["1", "2"]


def test_another_header_of_measures_is_asked_about_though_it_has_a_word_of_indicators() -> None:
    found = table(f"{LEADS}\n番号,重点プロジェクト,成果,目標値,評価\n3,遊び,冊数,2,A")
    assert [told.line for told in found.problems] == [6]


@pytest.mark.parametrize("asked", [{}, {"mapping": {"1": {"field": "code"}}}], ids=["", "code"])
def test_indicators_right_below_the_measures_are_asked_about(asked: dict[str, Any]) -> None:
    told = table(f"{LEADS}{INDICATORS}", **asked).problems[0]
    assert (told.line, "blank line above it" in told.en, "空白の行" in told.ja) == (5, True, True)
    assert "code" not in told.en


@pytest.mark.parametrize("row", ["3,指標,単位,A,課", "3,目標値,実績値,,", "3,KPIの見直し,した,A,課"])
def test_a_measure_after_a_blank_line_may_speak_of_indicators(row: str) -> None:
    assert [row[0] for row in brief(table(f"{LEADS}\n{row}"))] == ["1", "2", "3"]


def test_a_line_with_nothing_but_what_is_not_read_is_no_row_of_a_measure() -> None:
    rows = "1,読書,x,A,,A,達成\n2,食事,y,B,,B,一部\n,,,,,C,未達成"
    text = f"い計画 R5年度実績\n番号,事業名,実績,評価,備考,評価基準,\n{rows}"
    found = table(text, mapping={"6": {"field": "ignore"}, "7": {"field": "ignore"}})
    assert [(row[0], row[3]) for row in brief(found)] == [("1", "A"), ("2", "B")]
    assert found.warnings == []
    kept = table(text, mapping={"6": {"field": "extra"}, "7": {"field": "ignore"}})
    assert kept.evaluations[-1].extra == {"評価基準": "C"}


@pytest.mark.parametrize(
    "number",
    ["1-1（再掲）", "再掲1-1", "1-1再掲", "(再)1-1", "1-1 〔再〕", "※再掲：1-1", "1-1\n再掲", "再掲"],
)
@pytest.mark.parametrize("asked", [{}, {"mapping": {"1": {"field": "code"}}}], ids=["", "code"])
def test_a_number_may_say_that_its_measure_stands_elsewhere(number: str, asked: dict[str, Any]) -> None:
    head = [["い計画 R5年度実績"], ["番号", "事業名", "実績", "評価"], ["1-1", "読書", "x", "A"]]

    def read_with(*rows: list[str]) -> Recognised:
        rows_read = [Row(line, cells) for line, cells in enumerate([*head, *rows], 1)]
        return recognise(Sheet("utf-8", rows_read), Asked(**asked))

    found = read_with(["2-1", "食事", "y", "B"], [number, "読書", "x", "A"])
    assert [row[:2] for row in brief(found)] == [("1-1", "読書"), ("2-1", "食事")]
    [told] = found.warnings
    assert (told.line, "repeats measure 1-1" in told.en) == (5, True)
    differs = only_problem(read_with([number, "読書" if number != "再掲" else "食堂", "z", "C"]))
    assert differs.line == 4
    assert "再掲" in differs.en


@pytest.mark.parametrize(
    ("line", "legend"),
    [
        ("【評価】A（達成）、B（未達成）", {"A": "達成", "B": "未達成"}),
        (
            "【進捗状況】A（順調）：予定どおり、B（遅れ）：遅れている",
            {"A": "順調：予定どおり", "B": "遅れ：遅れている"},
        ),
        ("評価区分　A（達成）　B（未達成）", {"A": "達成", "B": "未達成"}),
        ("※評価：３（達成）／２(一部)／－（対象外）", {"３": "達成", "２": "一部"}),
        ("◎（達成）　○（一部）", {"◎": "達成", "○": "一部"}),
        ("【評価】,A（達成）,B（未達成）", {"A": "達成", "B": "未達成"}),
    ],
)
@pytest.mark.parametrize("above", [True, False], ids=["above", "below"])
def test_a_legend_may_have_its_meanings_in_brackets(line: str, legend: dict[str, str], above: bool) -> None:
    rows = ["番号,事業名,実績,評価", "1,読書,8,A"]
    line += "," * (3 - line.count(","))
    found = table("\n".join(["い計画 R5年度実績", *([line, *rows] if above else [*rows, line])]))
    assert (found.legend, len(brief(found)), found.warnings) == (legend, 1, [])


@pytest.mark.parametrize(
    "row",
    [
        ",,【評価】A（達成）、今後も続ける,",
        ",,評価：A（達成）とした。次年度はB（一部）とならないよう努める,",
        ",,A（3件）、B（2件）,",
        ",,【評価】A（12事業）、B（3事業）,",
        ",,【評価】A（達成）,",
        ",A（保育所）,B（幼稚園）,B",
    ],
)
def test_brackets_in_the_row_of_a_measure_are_no_legend(row: str) -> None:
    found = table(f"い計画 R5年度実績\n番号,事業名,実績,評価\n1,読書,8,A\n{row}\n2,食事,9,B")
    assert found.legend == {}
    assert "legend" not in [kind for kind, _ in found.taken[None].values()]


def merged(text: str, *spans: tuple[int, int, int], **asked: Any) -> Recognised:
    """A table of a spreadsheet: of each merged cell its line, first and last column."""
    rows = [Row(line, cells.split(",")) for line, cells in enumerate(text.split("\n"), 1)]
    told = {(line, first): last for line, first, last in spans}
    return recognise(Sheet(None, rows, "表", told), Asked(**asked))


def test_a_header_is_as_wide_as_its_last_merged_cell() -> None:
    text = "い計画 R5年度実績,,,,,\n番号,事業名,実績,評価,評価基準,\n1,読書,x,A,A,達成\n2,食事,y,B,B,一部"
    problem = only_problem(merged(text, (2, 5, 6)))
    assert (problem.line, problem.column, "has no header" in problem.en) == (3, 6, True)
    told = {"5": {"field": "ignore"}, "6": {"field": "ignore"}}
    assert [row[0] for row in brief(merged(text, (2, 5, 6), mapping=told))] == ["1", "2"]


def test_a_merged_header_over_blank_cells_is_no_second_column() -> None:
    head = "い計画 R5年度実績,,,,,\n番号,事業名,R5年度,,備考,\n番号,事業名,実績,評価,備考,"
    found = merged(f"{head}\n1,読書,x,A,z,\n2,食事,y,B,,", (2, 3, 4), (2, 5, 6), (3, 5, 6))
    assert [row[0] for row in brief(found)] == ["1", "2"]


def test_a_line_wider_than_its_header_is_told_how_to_leave_columns_out() -> None:
    text = "い計画 R5年度実績\n番号,事業名,実績,評価,,\n1,読書,x,A,A,達成"
    problem = only_problem(table(text))
    assert '{"5": "ignore", "6": "ignore"}' in problem.ja
    assert '{"5": "ignore", "6": "ignore"}' in problem.en
    told = {"5": {"field": "ignore"}, "6": {"field": "ignore"}}
    assert [row[0] for row in brief(table(text, mapping=told))] == ["1"]
    assert "mapping" not in only_problem(table("い計画 R5年度実績\n番号,事業名,実績,評価\n1,読書")).en


@pytest.mark.parametrize(
    ("line", "year"),
    [
        ("対象年度：令和5年度", 2023),
        ("平成31年度（令和元年度）進捗状況", 2019),
        ("令和５年度末　アクションプラン進捗状況", 2023),
        ("対象：,令和5年度の実績", 2023),
    ],
)
def test_a_line_that_tells_the_year_is_not_told_as_unread(line: str, year: int) -> None:
    text = f"い計画\n（概要版）\n{line}\n企画課\n番号,事業名,実績,評価\n1,読書,x,A"
    found = table(text)
    assert found.fiscal_years == [year]
    assert [told.line for told in found.warnings] == [4]
    assert [told.line for told in table(text, fiscal_year=2020).warnings if told.line] == [3, 4]


def test_a_line_of_another_year_than_the_one_reported_on_is_told_as_before() -> None:
    found = table("い計画 令和5年度実績\n（概要版）\n令和4年度改定\n番号,事業名,実績,評価\n1,読書,x,A")
    assert [told.line for told in found.warnings] == [3]


@pytest.mark.parametrize(("first", "second"), [("上半期", "下半期"), ("前年度", "本年度")])
@pytest.mark.parametrize("more", ["", ",担当課"])
def test_halves_of_a_year_above_the_header_belong_to_it(first: str, second: str, more: str) -> None:
    blank = "," if more else ""
    text = (
        f"い計画 R5年度実績,,,,,{blank}\n番号,事業名,{first},,{second},{more}\n番号,事業名,実績,評価,実績,評価{more}"
        f"\n1,読書,x,A,y,B{blank}"
    )
    spans = (2, 3, 4), (2, 5, 6)
    found = merged(text, *spans)
    assert [told.column for told in found.problems] == [5, 6]
    for told, name in zip(found.problems, ("実績", "評価"), strict=True):
        assert f"列「{second} {name}」" in told.ja
        assert f"Column {second} {name} may be" in told.en
    assert [told.line for told in found.warnings] == []
    told = {"5": {"field": "implementation"}, "6": {"field": "rating"}}
    read = merged(text, *spans, mapping=told)
    assert [row[3] for row in brief(read)] == ["B"]
    assert read.evaluations[0].extra == {f"{first} 実績": "x", f"{first} 評価": "A"}


OUTER = "番号,事業名,実績,評価\n１ 女性の人権,1,相談,x,A\n,2,講座,x,A\n２ 働く,3,就労,y,B"


@pytest.mark.parametrize("word", ["基本課題", "基本戦略", "重点課題", "政策目標", "施策の基本方向"])
def test_what_a_plan_calls_its_sections_is_known(word: str) -> None:
    found = table(f"い計画 R5年度実績\n{word},{OUTER}")
    assert len(brief(found)) == 3
    assert found.sections == {"1": ("１", "女性の人権"), "2": ("２", "働く")}
    called = table(f"い計画 R5年度実績\n{word},{OUTER}".replace("１ ", f"{word}１　"))
    assert called.sections["1"] == (f"{word}１", "女性の人権")


@pytest.mark.parametrize("outer", ["", "基本目標,"])
def test_a_column_of_numbered_headings_without_a_known_name_is_asked_about(outer: str) -> None:
    lines = OUTER.split("\n")
    goals = ["", "Ⅰ 人権,", ",", ","] if outer else [""] * 4
    rows = "\n".join(goal + line for goal, line in zip(goals, lines, strict=True))
    place = "2" if outer else "1"
    text = f"い計画 R5年度実績\n{outer}推進テーマ,{rows}"
    problem = only_problem(table(text))
    assert (problem.line, problem.column) == (2, int(place))
    assert f'{{"{place}": "section"}}' in problem.en
    assert "section / extra" in problem.ja
    assert len(brief(table(text, mapping={place: {"field": "section"}}))) == 3
    assert table(text, mapping={place: {"field": "extra"}}).evaluations[0].extra == {
        "推進テーマ": "１ 女性の人権"
    }


@pytest.mark.parametrize("cells", ["新規,継続", "3 人,5 人", "1,2", "１ 新規,継続"])
def test_a_column_before_the_title_that_is_not_all_numbered_headings_is_kept(cells: str) -> None:
    first, second = cells.split(",")
    found = table(f"い計画 R5年度実績\n種別,番号,事業名,実績,評価\n{first},1,相談,x,A\n{second},2,講座,x,A")
    assert [(row[0], each.extra) for row, each in zip(brief(found), found.evaluations, strict=True)] == [
        ("1", {"種別": first}),
        ("2", {"種別": second}),
    ]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("基本目標2 ひと\n3,遊び,z,A,課", 9),
        ("3,遊び,z,A,課", 9),
        ("※ 指標は速報値", None),
        ("指標,目標値,実績値\n食堂,1,2", None),
    ],
)
def test_what_may_be_of_the_measures_below_indicators_is_asked_about(more: str, line: int | None) -> None:
    found = table(f"{LEADS}\n指標,基準値,目標値,実績値\n相談,1,2,3\n\n{more}")
    assert [told.line for told in found.problems] == [line] * bool(line)
    assert "This line stands below another table" in found.problems[0].en if line else not found.problems


def test_a_numbered_heading_above_indicators_is_not_their_title() -> None:
    indicators = "指標,基準値,目標値,実績値\n相談,1,2,3\n\n番号,事業名,実績,評価,担当課\n3,遊び,z,A,課"
    told = table(f"{LEADS}\n第2節 ひと\n{indicators}").problems
    assert told[0].line == 7
    assert "Put a blank line above it" in told[0].en


@pytest.mark.parametrize(
    "legend",
    [
        "凡例　完了：事業が完了　順調：計画どおり　遅れ：遅れている",
        "【評価】完了：事業が完了、順調：計画どおり、遅れ：遅れている",
    ],
)
def test_a_legend_of_words_tells_each_of_them(legend: str) -> None:
    found = table(f"い計画 R5年度実績\n{legend}\n番号,事業名,実績,評価\n1,読書,x,完了\n2,食事,y,順調")
    assert found.legend == {"完了": "事業が完了", "順調": "計画どおり", "遅れ": "遅れている"}


def test_counts_of_words_are_no_legend() -> None:
    rows = "番号,事業名,実績,評価\n1,読書,x,完了\n2,食事,y,順調"
    assert table(f"い計画 R5年度実績\n凡例　完了：1件　順調：1件\n{rows}").legend == {}


def test_a_plan_for_the_year_itself_is_not_proposed_as_one_for_the_year_after() -> None:
    head = "番号,事業名,令和5年度の取組予定,令和5年度の取組実績,令和6年度の取組,評価"
    found = table(f"い計画\n{head}\n1,読書,する,した,またする,A")
    told = [problem.en for problem in found.problems if problem.column == 3]
    assert all('with mapping: {"3": "extra"} to keep it' in each for each in told), told
    kept = table(f"い計画\n{head}\n1,読書,する,した,またする,A", mapping={"5": {"field": "next_plan"}})
    assert [each.next_plan for each in kept.evaluations] == ["またする"]


@pytest.mark.parametrize(
    "printed",
    [
        "A：達成（80％以上）　B：未達成（80％未満）",
        "A:達成(80%以上) B:未達成(80%未満)",
        "（凡例）A：達成（80％以上）　B：未達成（80％未満）",
        "※評価　A：達成（80％以上）、B：未達成（80％未満）",
    ],
)
def test_brackets_of_a_legend_are_closed(printed: str) -> None:
    legend = table(
        f"い計画 R5実績\n番号,事業名,実績,評価\n1,学習,8,A\n2,食堂,6,B\n{printed.replace(',', '、')}"
    ).legend
    assert [meaning.translate(str.maketrans("（）％", "()%")) for meaning in legend.values()] == [
        "達成(80%以上)",
        "未達成(80%未満)",
    ]


@pytest.mark.parametrize(
    ("mark", "code"),
    [
        ("評価対象外（コロナ）", None),
        ("－（廃止）", None),
        ("（未評価）", None),
        ("中止（コロナ）", "中止"),
        ("（完了）", "完了"),
        ("廃止（R4）", "廃止"),
        ("対象外（A）", "対象外（A）"),
        ("A（完了）", "A"),
        ("（A）", "（A）"),
    ],
)
def test_no_rating_with_its_reason_is_none(mark: str, code: str | None) -> None:
    assert code_of(mark) == code


@pytest.mark.parametrize(
    ("title", "year"),
    [
        ("令和6年度 い計画評価シート（5年度実績）", None),
        ("令和6年度 い計画評価シート（前年度実績）", None),
        ("令和6年度 い計画評価シート（6年度実績）", 2024),
        ("令和6年度 い計画評価シート（R5の実績）", 2023),
        ("令和6年度 い計画評価シート（2023実績）", 2023),
        ("令和6年度 い計画評価シート（R5実績）", 2023),
    ],
)
def test_a_title_may_report_on_the_year_before(title: str, year: int | None) -> None:
    text = f"{title}\n番号,事業名,実績,評価\n1,学習,8,A"
    found = table(text)
    if year is None:
        assert (only_problem(found).line, found.fiscal_years) == (1, [2024])
        assert table(text, fiscal_year=2023).fiscal_years == [2023]
    else:
        assert (found.problems, found.fiscal_years) == ([], [year])


@pytest.mark.parametrize("mark", ["○", "再掲", "✓", ""])
def test_a_column_may_mark_what_stands_elsewhere_too(mark: str) -> None:
    found = table(f"い計画 R5実績\n番号,事業名,実績,評価,再掲\n1,学習,8,A,\n2,食堂,6,B,\n1,学習,8,A,{mark}")
    assert len(found.evaluations) == (2 if mark else 3)


def test_what_is_written_downwards_is_a_word() -> None:
    rows = ["い計画 R5実績", "基本目標\t番号\t事業名\t実績\t評価", '"基\n本\n目\n標\n１"\t①\t学習\t8\tA']
    found = recognised("\n".join([*rows, "\t②\t食堂\t6\tB", '"目\n標\n２"\t①\t見守り\t6\tB']))
    assert found.problems == []
    assert [each.code for each in found.evaluations] == ["1-1", "1-2", "2-1"]


@pytest.mark.parametrize(("header", "told"), [("方向性", 1), ("二次評価", 0)])
def test_a_legend_that_may_be_of_another_column_is_told(header: str, told: int) -> None:
    legend = "A：拡充、B：継続"
    found = table(f"い計画 R5年度\n番号,事業名,実績,評価,{header}\n1,学習,8,A,A\n2,食堂,6,B,B\n{legend}")
    assert found.legend == {"A": "拡充", "B": "継続"}
    assert len([each for each in found.warnings if "The legend was read" in each.en]) == told


# ---------------------------------------------------------------------------------------------------------
# Years one below the other, totals of figures, legends and ticks beside the table

STACKED = "い計画 実績\n{0},,,\n番号,事業名,実績,評価\n1,祭り,中止,－\n{1},,,\n番号,事業名,実績,評価\n1,祭り,1万人,A"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("令和4年度", "令和5年度"),
        ("【令和4年度】", "【令和5年度】"),
        ("1.令和4年度の取組状況", "2.令和5年度の取組状況"),
        ("（１）令和4年度の実績", "（２）令和5年度の実績"),
        ("第1章 令和4年度", "第2章 令和5年度"),
    ],
)
def test_a_line_above_each_header_tells_the_year_of_the_table_below_it(first: str, second: str) -> None:
    found = table(STACKED.format(first, second))
    assert brief(found) == [("1", "祭り", 2022, "－", None), ("1", "祭り", 2023, "A", None)]
    assert found.sections == {"0": (None, None)}
    assert kinds(found)[5] == "subtitle"


def test_one_year_that_is_told_beside_is_none_of_two_tables() -> None:
    text = STACKED.format("令和4年度", "令和5年度")
    assert [problem.line for problem in table(text, fiscal_year=2022).problems] == [5]
    same = STACKED.format("令和4年度", "令和4年度").replace("\n1,祭り,1万人", "\n2,祭り,1万人")
    assert table(same, fiscal_year=2022).fiscal_years == [2022]


@pytest.mark.parametrize("heading", ["2.令和5年度の取組状況", "【令和5年度】", "第2節 令和5年度の実績"])
def test_a_heading_of_another_year_without_a_header_below_it_is_asked_about(heading: str) -> None:
    problem = only_problem(table(f"い計画 令和4年度実績\n{HEADED}{heading},,,\n2,就農,3,B"))
    assert (problem.line, problem.column, problem.text) == (4, 1, heading)
    assert "This line tells 2023, and the table is read as of 2022." in problem.en
    same = table(f"い計画 令和5年度実績\n{HEADED}{heading},,,\n2,就農,3,B")
    assert [problem for problem in same.problems if "年度としています" in problem.ja] == []


@pytest.mark.parametrize(
    "total", [",医療計,,,502,", "健康計,,,,602,", ",,,医療課計,300,", "全体,,,,812,", ",福祉 計,,,10人,"]
)
def test_a_total_of_figures_is_no_measure(total: str) -> None:
    head = "基本目標,施策,事業名,担当課,R6実績,評価\n健康,医療,救急,医療課,委託,A\n"
    found = table(
        f"い計画 進捗\n{head}{total}\n産業,農業,直売,農政課,改装,C",
        numbering="order",
        mapping={"2": {"field": "section"}},
    )
    assert [row[1] for row in brief(found)] == ["救急", "直売"]
    assert kinds(found)[4] == "total"


@pytest.mark.parametrize("title", ["家計", "公会計", "統計", "まちの設計"])
def test_what_ends_like_a_total_and_is_none_stays_a_measure(title: str) -> None:
    found = table(f"い計画 R6進捗\n事業名,実績,評価\n学習,8,A\n{title},6,\n", numbering="order")
    assert [row[1] for row in brief(found)] == ["学習", title]


def test_the_first_row_of_another_group_needs_a_title_of_its_own() -> None:
    head = "基本目標,事業名,担当課,実績,評価\n健康,救急,医療課,委託,A\n,健診,健康課,500人,B\n"
    text = f"い計画 R6進捗\n{head}産業,,農政課,改装,C"
    problem = only_problem(table(text, numbering="order"))
    assert (problem.line, problem.column) == (5, 2)
    assert problem.en == "The measure has no title. Write it in."


def test_課題_with_numbers_before_the_title_may_divide_the_plan() -> None:
    text = "い計画 R5\n課題,番号,事業名,実績,評価\n１ 意識,1,講座,2回,A\n,2,広報,4回,A\n２ 就労,3,相談,9件,B"
    problem = only_problem(table(text))
    assert (problem.line, problem.column, problem.text) == (2, 1, "課題")
    assert "section / rationale / extra" in problem.en
    found = table(text, mapping={"1": {"field": "section"}})
    assert [each.section_code for each in found.evaluations] == ["1", "1", "2"]
    assert found.problems == []


@pytest.mark.parametrize(
    "cells",
    [
        ("用地買収を終え、着手した。", "設計を行った。", "関係者と協議中"),
        ("買収が80%完了し着手した", "説明会を2回開き設計した", "協議会を設け案を作成した"),
    ],
)
def test_sentences_are_no_ratings(cells: tuple[str, ...]) -> None:
    rows = "\n".join(f"{n},事業{n},{cell},課題{n}" for n, cell in enumerate(cells, 1))
    problem = only_problem(table(f"い計画 R6\n番号,施策,進捗状況,課題\n{rows}"))
    assert (problem.line, problem.column) == (2, 3)
    assert "implementation / rating" in problem.en


@pytest.mark.parametrize("cells", [("順調", "やや遅れ", "概ね順調に進捗"), ("達成", "達成", "一部達成")])
def test_words_that_rate_stay_ratings(cells: tuple[str, ...]) -> None:
    rows = "\n".join(f"{n},事業{n},{cell},課題{n}" for n, cell in enumerate(cells, 1))
    found = table(f"い計画 R6\n番号,施策,進捗状況,課題\n{rows}")
    assert [row[3] for row in brief(found)] == [*cells]


def test_long_words_that_rate_beside_what_was_done_stay_ratings() -> None:
    words = ("計画どおり順調に進んでいる", "概ね計画どおりである", "計画よりもやや遅れている")
    rows = "\n".join(f"{n},事業{n},{n}回,{word}" for n, word in enumerate(words, 1))
    assert [row[3] for row in brief(table(f"い計画 R6\n番号,施策,実施内容,進捗状況\n{rows}"))] == [*words]


def test_marks_that_stand_beside_each_other_are_no_legend() -> None:
    found = table(f"い計画 R6進捗\n{HEADED},,,\n,A,B,C")
    assert found.legend == {}


@pytest.mark.parametrize(
    "head",
    [
        "番号,事業名,実績,進捗状況,,\n,,,完了,順調,遅れ",
        "番号,事業名,実績,A 達成,B 概ね達成,C 未達成",
    ],
)
def test_a_column_for_each_rating_is_asked_about(head: str) -> None:
    text = f"い計画 R5\n{head}\n1,講座,2回,,○,\n2,相談,9件,○,,\n3,訪問,0件,,,○"
    problem = only_problem(table(text))
    assert (problem.line, problem.column) == (1 + len(head.split("\n")), 4)
    assert '{"4": "extra", "5": "extra", "6": "extra"}' in problem.en
    told = {str(place): {"field": "extra"} for place in (4, 5, 6)}
    assert table(text, mapping=told).problems == []


def test_ticks_beside_a_rating_are_none() -> None:
    found = table("い計画 R5\n番号,事業名,実績,評価,新規,継続\n1,講座,2回,A,○,\n2,相談,9件,B,,○")
    assert [row[3] for row in brief(found)] == ["A", "B"]


@pytest.mark.parametrize(
    ("head", "beside"),
    [
        (",凡例", (",A：達成 B：一部達成", ",", ",")),
        (",（評価）", (",A…達成", ",B…一部達成", ",※3月末時点")),
        (",評価区分,内容", (",A,達成", ",B,一部達成", ",,")),
    ],
)
def test_a_legend_beside_the_table_is_none_of_its_measures(head: str, beside: tuple[str, ...]) -> None:
    rows = [f"{n},事業{n},{n}回,{'AB'[n % 2]}{cells}" for n, cells in enumerate(beside, 1)]
    found = table("\n".join([f"い計画 R5実績\n番号,事業名,実績,評価{head}", *rows]))
    assert [row[3] for row in brief(found)] == ["B", "A", "B"]
    assert found.legend == {"A": "達成", "B": "一部達成"}
    assert not any(each.extra for each in found.evaluations)
    assert any("legend beside" in each.en for each in found.warnings)
    columns = [mapped["column"] for mapped in found.mapping if mapped["field"] == "ignore"]
    again = table(
        "\n".join([f"い計画 R5実績\n番号,事業名,実績,評価{head}", *rows]),
        mapping={str(place): {"field": "ignore"} for place in columns},
    )
    assert again.legend == found.legend


def test_a_column_that_repeats_its_marks_is_no_legend() -> None:
    text = "い計画 R5実績\n番号,事業名,実績,評価,優先度\n1,講座,2回,A,A：高\n2,相談,9件,B,A：高\n3,訪問,9件,B,B：低"
    found = table(text)
    assert [each.extra for each in found.evaluations] == [
        {"優先度": "A：高"},
        {"優先度": "A：高"},
        {"優先度": "B：低"},
    ]


@pytest.mark.parametrize(
    ("line", "legend"),
    [
        ("（評価　A：達成　B：未達成）", {"A": "達成", "B": "未達成"}),
        ("※評価は、A：達成　B：未達成", {"A": "達成", "B": "未達成"}),
        ("進捗　A：達成　B：未達成", {"A": "達成", "B": "未達成"}),
        ("凡例 A…達成 B…未達成 －…未実施", {"A": "達成", "B": "未達成"}),
    ],
)
def test_legends_with_words_before_them_or_dots_between(line: str, legend: dict[str, str]) -> None:
    found = table(f"い計画 R5実績\n{line}\n{HEADED}")
    assert (found.problems, found.legend, found.subtitle) == ([], legend, None)


def test_the_header_of_a_legend_below_the_table_is_no_measure() -> None:
    rows = "学習,学校課,8,◎\n食堂,学校課,6,○\n評価,内容,,\n◎,上回る,,\n○,計画どおり,,"
    found = table(f"い計画 R5実績\n事業名,担当課,実績,評価\n{rows}", numbering="order")
    assert [row[1] for row in brief(found)] == ["学習", "食堂"]
    assert (found.legend, kinds(found)[5]) == ({"◎": "上回る", "○": "計画どおり"}, "legend")


@pytest.mark.parametrize("numbers", ["(1),(2),(3),(4)", "①,②,③,④", "1,2,3,4"])
def test_a_row_that_numbers_the_columns_is_part_of_the_header(numbers: str) -> None:
    found = table(f"い計画 R5実績\n番号,事業名,実績,評価\n{numbers}\n1,学習,8,A")
    assert (brief(found), kinds(found)[3]) == ([("1", "学習", 2023, "A", None)], "header")


def test_the_letter_behind_a_number_is_not_dropped() -> None:
    found = table("い計画 R5実績\n番号,事業名,実績,評価\n1-①-a,学習,8,A\n1-①-b,食堂,6,B")
    assert places(found) == [(3, 1), (4, 1)]
    told = table(
        "い計画 R5実績\n番号,事業名,実績,評価\n1-①-a,学習,8,A\n1-①-b,食堂,6,B",
        mapping={"1": {"field": "code"}},
    )
    assert [row[0] for row in brief(told)] == ["1-①-a", "1-①-b"]


def test_several_who_rate_are_told() -> None:
    text = "い計画 R5実績\n番号,事業名,実績,評価,,\n,,,担当課,推進会議,総合\n1,学習,8,A,B,C"
    [row] = table(text).evaluations
    assert (row.rating, row.extra) == ("A", {"推進会議評価": "B", "総合評価": "C"})
    assert len([each for each in table(text).warnings if "several ratings" in each.en]) == 2


def test_results_beside_goals_of_the_same_year_are_figures() -> None:
    head = "番号,事業名,指標名,令和5年度,,評価\n,,,目標,実績,"
    figures = table(f"い計画 R5\n{head}\n1,学習,参加者,10,8,B")
    assert [(each.implementation, each.extra) for each in figures.evaluations] == [
        (None, {"指標名": "参加者", "目標": "10", "実績": "8"})
    ]
    words = table(f"い計画 R5\n{head}\n1,学習,参加者,10人,教室を開いた,B")
    assert [each.implementation for each in words.evaluations] == ["教室を開いた"]


def test_a_column_of_groups_that_is_kept_as_it_is_is_told() -> None:
    head = "類型,番号,事業名,実績,評価\n"
    found = table(f"い計画 R5実績\n{head}省エネ,1,学習,8,A\n,2,食堂,6,B\n再エネ,3,太陽光,1,A")
    assert [each.extra for each in found.evaluations] == [{"類型": "省エネ"}, {}, {"類型": "再エネ"}]
    assert ["類型" in each.ja and '{"1": "section"}' in each.ja for each in found.warnings] == [True]
    flags = table(f"い計画 R5実績\n{head}新規,1,学習,8,A\n,2,食堂,6,B\n新規,3,太陽光,1,A")
    assert flags.warnings == []


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("判断理由", "rationale"),
        ("課題・改善策", "rationale"),
        ("今後の方向", "next_plan"),
        ("次年度の方針", "next_plan"),
        ("主担当課", "department"),
        ("所管部課", "department"),
        ("関係各課", "department"),
    ],
)
def test_other_words_of_headers(name: str, field: str) -> None:
    found = table(f"い計画 R5実績\n番号,事業名,実績,評価,{name},備考\n1,学習,8,A,続ける,なし")
    [row] = found.evaluations
    assert (found.problems, getattr(row, field)) == ([], "続ける")


def test_rows_that_differ_in_what_has_no_field_alone_are_told() -> None:
    text = "い計画 R5実績\n番号,事業名,KPI,実績,評価\n1,学習,参加者,教室,A\n1,学習,回数,教室,A\n1,学習,満足度,講座,A"
    found = table(text)
    assert len(found.evaluations) == 3
    assert [(each.line, "as rows of the measure" in each.en) for each in found.warnings] == [(4, True)]


def test_the_line_above_the_first_of_several_tables_counts_for_it_whatever_the_title_says() -> None:
    text = STACKED.format("令和4年度", "令和5年度").replace("い計画 実績", "い計画 令和5年度進捗状況")
    assert [row[2] for row in brief(table(text))] == [2022, 2023]
    assert [problem.line for problem in table(text, fiscal_year=2023).problems] == [2]


@pytest.mark.parametrize(
    "line",
    [
        "■令和5年度",
        "●令和5年度実績",
        "令和5年度分",
        "令和５年度（2023）",
        "〈R5〉",
        "令和5年度\n（3月末現在）",
    ],
)
def test_a_line_of_a_year_may_be_dressed_up(line: str) -> None:
    text = STACKED.format("■令和4年度", line.replace("\n", ",,,\n"))
    assert [row[2] for row in brief(table(text))] == [2022, 2023]
    beside = STACKED.format("令和4年度", "令和5年度").replace("令和5年度,,,", "令和5年度,,,（単位：件）")
    assert [row[2] for row in brief(table(beside))] == [2022, 2023]


def test_headings_that_say_more_than_a_year_stay_headings() -> None:
    text = STACKED.format("第1章 学び（令和5年度実績）", "第2章 祭り（令和5年度実績）")
    found = table(text)
    assert [(row[0], row[2]) for row in brief(found)] == [("1-1", 2023), ("2-1", 2023)]
    assert found.sections == {
        "1": ("第1章", "学び（令和5年度実績）"),
        "2": ("第2章", "祭り（令和5年度実績）"),
    }
    inside = table(f"い計画 R5実績\n{HEADED}2 令和6年度実施予定事業,,,\n1,就農,3,B")
    assert [row[0] for row in brief(inside)] == ["1", "2-1"]


def test_headings_above_the_lines_of_years_stay_headings() -> None:
    text = STACKED.format("1 学び,,,\n令和4年度", "2 祭り,,,\n令和4年度")
    assert [row[0] for row in brief(table(text))] == ["1-1", "2-1"]


def test_what_is_planned_for_a_year_to_come_is_asked_about() -> None:
    plan = "番号,事業名,取組予定,担当課\n1,創業,3回,こども課"
    for line in ("令和6年度の取組予定", "2 令和6年度の取組予定", "令和6年度"):
        problem = only_problem(table(f"い計画 令和5年度実績\n{HEADED}{line},,,\n{plan}"))
        assert (problem.line, problem.column) == (4, 1)
        assert "次年度計画内容" in problem.en


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("外部評価", ("B：一部見直し", "A：妥当", "C：抜本的見直し")),
        ("事業種別", ("1：新規", "2：継続", "")),
        ("重点区分", ("A 最重点", "B 重点", "")),
        ("凡例", ("A：達成", "C：未達成", "")),  # which does not say what B is
    ],
)
def test_a_column_of_pairs_that_is_no_legend_is_kept(name: str, cells: tuple[str, ...]) -> None:
    rows = "\n".join(f"{n},事業{n},{n}回,{'AB'[n % 2]},{cell}" for n, cell in enumerate(cells, 1))
    found = table(f"い計画 R5\n番号,事業名,実績,内部評価,{name}\n{rows}")
    assert found.problems == []
    assert [each.extra.get(name, "") for each in found.evaluations] == [*cells]


def test_a_legend_may_say_what_is_no_rating_and_begin_in_the_header() -> None:
    rows = "1,講座,2回,A{}\n2,相談,9件,B{}\n3,訪問,中止,－{}"
    one = table(
        f"い計画 R5\n番号,事業名,実績,評価,凡例\n{rows}".format(",A：達成", ",B：未達成", ",－：対象外")
    )
    two = table(
        f"い計画 R5\n番号,事業名,実績,評価,記号,意味\n{rows}".format(",A,達成", ",B,未達成", ",－,対象外")
    )
    top = table(f"い計画 R5\n番号,事業名,実績,評価,A：達成\n{rows}".format(",B：未達成", ",", ","))
    for found in (one, two, top):
        assert [row[3] for row in brief(found)] == ["A", "B", "－"]
        assert found.legend == {"A": "達成", "B": "未達成"}
        assert not any(each.extra for each in found.evaluations)


@pytest.mark.parametrize("head", ["評価,内容", "記号,意味", "評価区分,評価基準"])
def test_a_legend_below_may_have_figures_and_what_is_no_rating(head: str) -> None:
    rows = "1,学習,8,1\n2,食堂,6,2\n"
    found = table(f"い計画 R5実績\n番号,事業名,実績,評価\n{rows}{head},,\n1,達成,,\n2,未達成,,\n－,対象外,,")
    assert [row[1] for row in brief(found)] == ["学習", "食堂"]
    assert found.legend == {"1": "達成", "2": "未達成"}


@pytest.mark.parametrize("title", ["血圧計", "万歩計"])
def test_an_instrument_is_no_total(title: str) -> None:
    found = table(f"い計画 R5実績\n事業名,実績,評価\n{title},100,\n学習,8,A", numbering="order")
    assert [row[1] for row in brief(found)] == [title, "学習"]


@pytest.mark.parametrize("head", ["評価,新規,継続", "評価,完了,遅れ"])
def test_ticks_beside_ratings_that_are_not_given_yet_are_no_ratings(head: str) -> None:
    found = table(f"い計画 R5\n番号,事業名,実績,{head}\n1,講座,2回,,○,\n2,相談,9件,,,○")
    assert [row[3] for row in brief(found)] == [None, None]
    without = table("い計画 R5\n番号,事業名,実績,新規,継続\n1,講座,2回,○,\n2,相談,9件,,○")
    assert without.problems == []


def test_headings_of_one_year_end_where_the_next_begins() -> None:
    head = "番号,事業名,実績,評価"
    first = "い計画\n令和5年度\n基本目標1 学び\n{0}\n1,給食,8,A\n基本目標2 遊び\n{0}\n2,公園,6,B\n"
    years = first + "令和6年度\n{0}\n1,給食,9,A"
    assert [(row[0], row[2]) for row in brief(table(years.format(head)))][::2] == [
        ("1", 2023),
        ("1", 2024),
    ]
    above = "い計画\n1 学び\n令和5年度\n{0}\n1,給食,8,A\n令和6年度\n{0}\n1,給食,9,A\n2 遊び\n令和5年度\n{0}\n1,公園,6,B"
    told = [(row[0], row[2]) for row in brief(table(above.format(head)))]
    assert told == [("1-1", 2023), ("1-1", 2024), ("2-1", 2023)]


@pytest.mark.parametrize("legend", ["3：達成,2：概ね達成,1：遅れ,", "3：達成,2：概ね達成,,\n1：遅れ,,,"])
def test_a_legend_of_figures_below_the_table_is_no_measure(legend: str) -> None:
    found = table(f"い計画 R5実績\n番号,事業名,実績,評価\n1,健診,8,1\n2,体操,6,2\n{legend}")
    assert [row[1] for row in brief(found)] == ["健診", "体操"]
    assert found.legend == {"3": "達成", "2": "概ね達成", "1": "遅れ"}


def test_what_is_no_rating_may_end_a_legend() -> None:
    found = table(f"い計画 R5実績\n{HEADED}A：達成,B：遅れ,,\n－：対象外,,,")
    assert (found.problems, found.legend) == ([], {"A": "達成", "B": "遅れ"})


@pytest.mark.parametrize(
    ("head", "row", "total"),
    [
        ("区分,番号,事業名,実績,評価", "医療,1,健診,8,A", "医療計,,,,1件"),
        ("番号,事業名,実績,評価,担当課", "1,健診,8,A,健康課", ",,2件,,健康課計"),
        ("番号,事業名,実績,評価,担当課", "1,健診,8,A,健康課", ",,2件,,健康課小計"),
        ("分野,番号,事業名,実績,評価", "医療,1,健診,8,A", "医療計,,,100,A"),
        ("分野,番号,事業名,実績,評価", "医療,1,健診,8,A", "医療計,,,,A:1 B:1"),
    ],
)
def test_a_total_may_stand_in_any_column_and_count_ratings(head: str, row: str, total: str) -> None:
    found = table(f"い計画 R5実績\n{head}\n{row}\n{total}")
    assert [each.rating for each in found.evaluations] == ["A"]
    assert (found.problems, kinds(found)[4]) == ([], "total")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("令和5年度 鳥川市計画", "令和6年度 鳥川市計画"),
        ("令和5年度 月野市教育計画 進捗状況", "令和６年度　月野市教育計画　進捗状況"),
        ("■R5（単位：千円）", "■R6（単位：千円）"),
    ],
)
def test_each_table_may_have_the_title_with_its_year(first: str, second: str) -> None:
    found = table(f"{first}\n{HEADED}{second}\n番号,事業名,実績,評価\n1,創業,9,B")
    assert [(row[0], row[2], row[3]) for row in brief(found)] == [("1", 2023, "A"), ("1", 2024, "B")]
