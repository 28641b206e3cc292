"""全国地方公共団体コード: completed, checked, and refused with the reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from app.municipalities import MunicipalityCode, check_digit, complete

FIVE = st.builds("{:02}{:03}".format, st.integers(1, 47), st.integers(0, 999))


def refusal(text: str) -> dict[str, str]:
    with pytest.raises(PydanticCustomError) as caught:
        complete(text)
    assert caught.value.type == "municipality_code"
    assert caught.value.message() == (caught.value.context or {})["en"]
    return dict(caught.value.context or {})


@pytest.mark.parametrize(
    "code",
    [
        "010006",  # 北海道
        "011002",  # 札幌市
        "112356",  # 富士見市
        "112453",  # ふじみ野市
        "131016",  # 千代田区
        "131130",  # 渋谷区: the remainder is 1 and the digit 0
        "203629",  # 富士見町
        "271004",  # 大阪市
        "472018",  # 那覇市
    ],
)
def test_real_codes_are_accepted_with_and_without_their_check_digit(code):
    assert complete(code) == complete(code[:5]) == code


def test_full_width_digits_are_digits():
    assert complete("１１２３５６") == complete("１１２３５") == "112356"


def test_a_wrong_check_digit_is_refused_and_the_right_one_named():
    assert refusal("112357") == {
        "ja": "「112357」の検査数字が違います。11235 の検査数字は 6 です(112356)。",
        "en": '"112357" has a wrong check digit: that of 11235 is 6 (112356).',
    }


@pytest.mark.parametrize("code", ["00100", "48100", "48201", "99999"])
def test_there_are_47_prefectures(code):
    assert f"{code[:2]}, which is not a prefecture" in refusal(code)["en"]
    assert f"先頭の {code[:2]} は都道府県番号ではありません" in refusal(code)["ja"]


@pytest.mark.parametrize(
    "text", ["", "1123", "1123560", "11235x", "11 235", "112356\n", "①①②③⑤", "١١٢٣٥", "\ud800" * 99]
)
def test_anything_else_is_refused_with_an_example(text):
    said = refusal(text)
    assert "112356" in said["ja"]
    assert "112356" in said["en"]
    assert all(len(sentence) < 150 and sentence.isprintable() for sentence in said.values())


@given(FIVE)
def test_one_check_digit_of_ten_is_right(five):
    assert complete(five) == five + check_digit(five)
    for digit in "0123456789":
        if digit == check_digit(five):
            assert complete(five + digit) == five + digit
        else:
            assert f"({complete(five)})" in refusal(five + digit)["en"]


@given(st.text())
def test_whatever_is_accepted_is_complete(text):
    try:
        code = complete(text)
    except PydanticCustomError:
        return
    assert complete(code) == code == code[:5] + check_digit(code[:5])


def test_a_field_takes_text_only_and_keeps_six_digits():
    field = TypeAdapter[str](MunicipalityCode)
    assert field.validate_python("11235") == "112356"
    for wrong in (11235, None, "\ud800"):
        with pytest.raises(ValidationError):
            field.validate_python(wrong)


def test_the_schema_says_what_a_code_is():
    schema = TypeAdapter[str](MunicipalityCode).json_schema()
    assert (schema["type"], schema["pattern"], schema["examples"]) == (
        "string",
        "^(0[1-9]|[1-3][0-9]|4[0-7])[0-9]{3,4}$",
        ["112356"],
    )
    assert "全国地方公共団体コード" in schema["description"]
    assert "Municipality code" in schema["description"]
