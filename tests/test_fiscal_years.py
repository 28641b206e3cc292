"""年度: every honest spelling is understood, and everything else is refused with advice."""

from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.fiscal_years import FIRST, LAST, FiscalYear, FiscalYearParameter, NoYear, label, parse

YEARS = st.integers(FIRST, LAST)
SPEAKABLE_YEARS = st.integers(FIRST, 2117)  # to 令和99年度
LETTERS = {
    "M": ("明治", 1868),
    "T": ("大正", 1912),
    "S": ("昭和", 1926),
    "H": ("平成", 1989),
    "R": ("令和", 2019),
}
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}

BODY = TypeAdapter[int](FiscalYear)
QUERY = TypeAdapter[int](FiscalYearParameter)


def refusal(text: str) -> dict[str, str]:
    with pytest.raises(NoYear) as caught:
        parse(text)
    assert str(caught.value) == caught.value.en
    return {"ja": caught.value.ja, "en": caught.value.en}


def kanji(number: int) -> str:
    digits = "〇一二三四五六七八九"
    tens, ones = divmod(number, 10)
    return ("" if tens < 2 else digits[tens]) + ("十" if tens else "") + (digits[ones] if ones else "")


# ---------------------------------------------------------------------------------------------------------
# What is understood


SPELLINGS = {
    1868: "1868 M1 M元 明治元年度 ㍾1",
    1912: "T1 大正元年度 ㍽元",
    1926: "S1 昭和1年度 大正15年度",
    1989: "H1 平成元年度 昭和64年度 ㍼64",
    1997: "H9 H09 平成九年度",
    1998: "H10 平成十年度 平成一〇年度",
    2017: "2017 FY2017 fy2017 2017年度 2017年 西暦2017年度 ２０１７ ＦＹ２０１７年度 二〇一七 二〇一七年度 "
    "H29 Ｈ29 Ｈ２９ h29 H29年度 H29年 平29 平29年度 平成29 平成29年度 平成２９年度 平成29年 ㍻29年度 ㍻２９ "
    "平成二十九年度 平成二九年度 "
    "平成29(2017)年度 平成２９（２０１７）年度 平成29年度(2017年度) 平成29年(2017年)度 "
    "2017(平成29)年度 2017年度（平成29年度） 2017(H29) H29(FY2017) 平成二十九年度(二〇一七年度)",
    2018: "平成三十年度 平成三〇年度",
    2019: "R1 R01 R元 令元 令和元年度 令和1年度 令和一年度 ㋿元年度 平成31年度 "
    "平成31(令和元)年度 令和元年度（平成31年度） H31(R1)",
    2020: "R2 平成32年度 FY2020 二〇二〇",
    2024: "平成36年度",
    2117: "R99 令和九十九年度",
    2199: "2199",
}


@pytest.mark.parametrize(
    ("text", "year"), [(text, year) for year, texts in SPELLINGS.items() for text in texts.split()]
)
def test_each_spelling_is_understood(text, year):
    assert parse(text) == year


@pytest.mark.parametrize(
    "text", [" 2017 ", "FY 2017", "H 29", "　平成　２９　年度　", "H29(2017 )", "2017\n"]
)
def test_spaces_do_not_matter(text):
    assert parse(text) == 2017


@given(SPEAKABLE_YEARS)
def test_a_year_is_read_back_from_its_label(year):
    assert parse(label(year)) == parse(label(year).translate(FULL_WIDTH)) == year


@given(YEARS, st.sampled_from(["{}", "FY{}", "{}年度", " {} 年度", "西暦{}年"]))
def test_a_gregorian_year_is_itself_in_every_spelling(year, form):
    assert parse(form.format(year)) == parse(form.format(year).translate(FULL_WIDTH)) == year


@given(st.sampled_from("MTSHR"), st.integers(1, 99), st.sampled_from(["", "年", "年度", " 年度"]))
def test_an_era_counts_on_from_its_first_year_even_after_its_end(letter, number, ending):
    name, begins = LETTERS[letter]
    spelled = [letter, letter.lower(), letter.translate(FULL_WIDTH), name]
    numbers = [str(number), f"{number:02}", str(number).translate(FULL_WIDTH), kanji(number)]
    for text in [start + count + ending for start in spelled for count in numbers]:
        assert parse(text) == begins + number - 1


@given(SPEAKABLE_YEARS, YEARS, st.sampled_from(["{}({})", "{}（{}）"]))
def test_of_two_spellings_in_one_both_must_agree(year, other, form):
    assert parse(form.format(label(year), year)) == parse(form.format(year, label(year))) == year
    if year != other:
        said = refusal(form.format(label(year), other))
        assert f"{year} and {other} are different" in said["en"]
        assert f"{year} 年度と {other} 年度が食い違っています" in said["ja"]


# ---------------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize("text", ["29", "２９", "29年度", "二十九", " 29 ", "29年"])
def test_a_bare_number_is_told_how_to_name_its_era(text):
    assert refusal(text) == {
        "ja": f"「{text}」には元号がありません。平成なら H29、平成29年度、2017 のように、"
        "令和なら R29、令和29年度、2047 のように書いてください。",
        "en": f'"{text}" names no era: write H29, 平成29年度 or 2017 for Heisei, '
        "R29, 令和29年度 or 2047 for Reiwa.",
    }


def test_the_first_year_of_no_era_is_refused_too():
    assert "H1, 平成1年度 or 1989" in refusal("元年度")["en"]


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "年度", "H", "平成", "平成年度", "FY", "FY17", "FYH29", "X29", "H29X", "abc"),
        *("0", "H0", "H00", "R000", "H100", "H029", "H-1", "平成0年度", "平成〇年度", "平成百", "平成十十"),
        *("1867", "2200", "0000", "9999", "02017", "20170", "201", "-2017", "+2017", "2017.0", "2e3", "1_9"),
        *("2017 2018", "2017-2018", "平成32-36年度", "平成2元年度", "2017元", "H29実施内容"),
        *("平成30年2月", "2018-02", "2018年2月1日", "H30.2", "平成30年度2月"),
        *("平成29(2017", "平成29)2017", "(2017)", "2017()", "平成29(29)", "29(2017)", "平成29(2017)(2017)"),
        *("2017\x00", "2017\x1c", "2017\r", "2017\u200b", "2017\u0301", "\ud800", "٢٠١٧"),
        *("H29" * 99, "2017" + " " * 99),
    ],
)
def test_anything_else_is_refused_with_the_accepted_forms(text):
    said = refusal(text)
    for form in ("2017", "FY2017", "H29", "平成29年度", "令和元年度", "1868", "2199"):
        assert form in said["ja"]
        assert form in said["en"]


@given(st.text(st.characters(), max_size=100) | st.text("0129２元年度平成令和HR(（)) 一十〇", max_size=8))
def test_whatever_comes_is_read_within_bounds_or_refused_in_short_clean_words(text):
    try:
        assert FIRST <= parse(text) <= LAST
    except NoYear as error:
        for sentence in (error.ja, error.en):
            assert len(sentence) < 220
            assert sentence.replace("\u3000", "").isprintable()
            assert sentence.encode().decode() == sentence


def test_a_long_hostile_text_is_refused_at_once():
    start = perf_counter()
    refusal("\u0315\u0300" * 50_000)
    assert perf_counter() - start < 1


# ---------------------------------------------------------------------------------------------------------
# Labels


@pytest.mark.parametrize(
    ("year", "text"),
    [
        (1868, "明治元年度"),
        (1911, "明治44年度"),
        (1912, "大正元年度"),
        (1925, "大正14年度"),
        (1926, "昭和元年度"),
        (1988, "昭和63年度"),
        (1989, "平成元年度"),
        (1990, "平成2年度"),
        (2017, "平成29年度"),
        (2018, "平成30年度"),
        (2019, "令和元年度"),
        (2020, "令和2年度"),
        (2199, "令和181年度"),
    ],
)
def test_a_year_is_labelled_by_the_era_that_had_begun(year, text):
    assert label(year) == text


# ---------------------------------------------------------------------------------------------------------
# Types for requests


@given(SPEAKABLE_YEARS)
def test_both_types_take_a_year_and_its_spellings(year):
    assert BODY.validate_python(year) == BODY.validate_python(label(year)) == year
    assert QUERY.validate_python(str(year)) == QUERY.validate_python(f"FY{year}") == year


@pytest.mark.parametrize("year", [FIRST, LAST])
def test_the_bounds_are_years_themselves(year):
    assert BODY.validate_python(year) == QUERY.validate_python(str(year)) == year


@pytest.mark.parametrize(
    "value",
    [
        *(FIRST - 1, LAST + 1, 0, -2017, True, 2017.5, None, [], {}, b"2017", "29", "x"),
        pytest.param(10**5000, id="more digits than Python prints"),
    ],
)
def test_a_body_takes_nothing_else(value: Any):
    with pytest.raises(ValidationError) as caught:
        BODY.validate_python(value)
    (error,) = caught.value.errors(include_url=False)
    assert error["type"] == "fiscal_year"
    assert error["ctx"].keys() == {"ja", "en"}
    assert error["msg"] == error["ctx"]["en"]


def test_a_body_asks_for_an_integer_or_a_string_and_an_answer_holds_an_integer():
    class Plan(BaseModel):
        first: FiscalYear

    integer = {"type": "integer", "minimum": 1868, "maximum": 2199}
    asked = Plan.model_json_schema(mode="validation")["properties"]["first"]
    assert asked["anyOf"] == [integer, {"type": "string", "maxLength": 60}]
    assert Plan.model_json_schema(mode="serialization")["properties"]["first"].items() >= integer.items()
    assert Plan(first="平成29年度").model_dump() == {"first": 2017}


def test_a_query_asks_for_a_string_in_words_for_both_kinds_of_readers():
    asked = QUERY.json_schema()
    assert (asked["type"], "pattern" in asked) == ("string", False)
    assert "平成29(2017)年度" in asked["description"]
    assert "Fiscal year" in asked["description"]
    assert [parse(example) for example in asked["examples"]] == [2017, 2017, 2017]
