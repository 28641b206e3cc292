"""Text: what is refused, what is held to be the same, and what is safe to quote."""

import re
import unicodedata
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError

from app.kit.text import MANY_LINES, ONE_LINE, Characters, excerpt, fold, marked, natural, terms
from app.models import folded

ANY_TEXT = st.text(st.characters())  # lone surrogates and control characters too
# Spaces, marks that combine, and characters that turn into spaces and marks.
TRICKY = st.text(st.sampled_from("かハAßİſΐ ᾳ\u3000\u3099\u309a゛ﾞ¨\u0308\u0345\u0301ʼnﬁ—〜~-ーｰ①㍻\t"))

LINE = TypeAdapter[str](Annotated[str, Field(max_length=5), ONE_LINE])
LINES = TypeAdapter[str](Annotated[str, Field(max_length=5), MANY_LINES])


def errors(adapter: TypeAdapter[str], value: object) -> list[dict[str, object]]:
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(value)
    return [dict(error) for error in caught.value.errors(include_url=False)]


# ---------------------------------------------------------------------------------------------------------
# Matching


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("第1期〜第2期", "第１期～第２期"),
        ("第1期~第2期", "第1期～第2期"),
        ("A−B－C‐D‑E‒F–G—H―I", "a-b-c-d-e-f-g-h-i"),
        ("ＮＰＯ　法人", "npo法人"),
        ("ｺﾄﾞﾓ食堂", "コドモ食堂"),
        ("子ども\n食堂", "子ども食堂"),
        ("㍻29年度", "平成29年度"),
        ("か ゙", "が"),
        ("か゛", "が"),
        ("straße", "STRASSE"),
    ],
)
def test_two_ways_to_write_the_same_match(one, other):
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("データ", "デ-タ"), ("はは", "ばば"), ("かつ", "カツ"), ("ゆう", "ゅぅ"), ("富士見市", "ふじみ野市")],
)
def test_different_words_stay_different(one, other):
    assert fold(one) != fold(other)


def test_the_vowel_mark_is_a_letter_in_either_width():
    assert fold("ｽｰﾊﾟｰ") == "スーパー"


@given(ANY_TEXT | TRICKY)
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)


@given(ANY_TEXT | TRICKY)
def test_what_is_folded_holds_no_space_and_no_second_dash_or_tilde(text):
    assert not re.search(r"[\s〜～−－‐‑‒–—―]", fold(text))


@given(ANY_TEXT)
def test_text_in_one_width_or_another_composed_or_not_folds_the_same(text):
    assert fold(unicodedata.normalize("NFD", text)) == fold(text) == fold(unicodedata.normalize("NFKC", text))


def test_a_query_is_split_at_every_kind_of_space_and_its_words_are_folded():
    assert terms(" 子ども　ＮＰＯ\tnpo\n食堂 ") == ["子ども", "npo", "食堂"]


@pytest.mark.parametrize("query", ["", " ", "　\t\n"])
def test_a_query_without_words_asks_for_nothing(query):
    assert terms(query) == []


@given(st.lists(TRICKY))
def test_texts_folded_together_are_each_folded_by_itself(texts):
    assert folded(*texts) == "\n".join(fold(text) for text in texts if text)


@given(ANY_TEXT | TRICKY)
def test_every_word_of_a_query_is_folded_and_named_once(query):
    words = terms(query)
    assert all(words)
    assert [fold(word) for word in words] == words
    assert len(set(words)) == len(words)


# ---------------------------------------------------------------------------------------------------------
# Sorting


def test_codes_sort_as_people_count():
    codes = ["1-1-1", "1-1-2", "1-1-10", "1-2", "1-2-1", "2", "9", "10", "100", "a", "a2", "a10", "ア"]
    assert sorted(sorted(codes), key=natural) == codes


def test_leading_zeros_do_not_count():
    assert natural("001-02") == natural("1-2")


@given(st.lists(st.integers(0, 10**64)))
def test_numbers_sort_by_their_size(numbers):
    assert sorted(map(str, numbers), key=natural) == list(map(str, sorted(numbers)))


# ---------------------------------------------------------------------------------------------------------
# What may be written


@pytest.mark.parametrize("text", ["", "～“”", "【】・　 ", "㎥⑴–😀", "\u202e\u200b\ufeff", "\U0010ffff"])
def test_printed_characters_are_kept_as_they_are(text):
    assert LINE.validate_python(text) == text
    assert LINES.validate_python(text) == text


def test_tab_and_newline_are_text_in_many_lines_only():
    assert LINES.validate_python("a\tb\nc") == "a\tb\nc"
    assert errors(LINE, "a\tb\nc") == [
        {
            "type": "text",
            "loc": (),
            "msg": "Character 2 is U+0009, which is not allowed here.",
            "input": "a\tb\nc",
            "ctx": {
                "ja": "2文字目に、使えない文字 U+0009 があります。",
                "en": "Character 2 is U+0009, which is not allowed here.",
            },
        }
    ]


@pytest.mark.parametrize("adapter", [LINE, LINES])
@pytest.mark.parametrize("code", ["0000", "0008", "000B", "000D", "001F", "007F", "009F", "D800", "DFFF"])
def test_a_refused_character_is_named_with_its_place_and_never_sent_back(adapter, code):
    bad = chr(int(code, 16))
    (error,) = errors(adapter, f"進捗{bad}")
    assert error["type"] == "text"
    assert error["msg"] == f"Character 3 is U+{code}, which is not allowed here."
    assert bad not in str(error["ctx"])


@given(st.characters())
def test_exactly_control_characters_and_surrogates_are_refused(char):
    def accepts(adapter: TypeAdapter[str]) -> bool:
        try:
            adapter.validate_python(char)
        except ValidationError:
            return False
        return True

    refused = unicodedata.category(char) in ("Cc", "Cs")
    assert accepts(LINE) == (not refused)
    assert accepts(LINES) == (not refused or char in "\t\n")


@pytest.mark.parametrize("rule", [ONE_LINE, MANY_LINES])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_the_schema_promises_just_what_is_accepted(rule: Characters, text: str):
    adapter = TypeAdapter[str](Annotated[str, rule])
    if re.fullmatch(adapter.json_schema()["pattern"], text):
        assert adapter.validate_python(text) == text
    else:
        assert errors(adapter, text)[0]["type"] == "text"


def test_length_and_characters_both_stand_in_the_schema():
    pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f\\ufffe\\uffff]*$"
    assert LINE.json_schema() == {"type": "string", "maxLength": 5, "pattern": pattern}


def test_too_long_a_text_is_told_its_limit_in_characters():
    assert LINE.validate_python("𠮷野家😀😀") == "𠮷野家😀😀"
    (error,) = errors(LINE, "123456")
    assert (error["type"], error["ctx"]) == ("string_too_long", {"max_length": 5})


@pytest.mark.parametrize("value", [None, 5, True, ["a"]])
def test_only_a_string_is_text(value):
    assert errors(LINE, value)[0]["type"] == "string_type"


# ---------------------------------------------------------------------------------------------------------
# Quoting


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("平成　29", "平成　29"),
        ("12345678", "12345678"),
        ("123456789", "1234567…"),
        ("\x00", "\\u0000"),
        ("\ud800!", "\\ud800!"),
        ("a\r\nb", "a\\u000d…"),
        ("\u202e", "\\u202e"),
    ],
)
def test_an_excerpt_shows_what_is_there(text, shown):
    assert excerpt(text, 8) == shown


@given(ANY_TEXT, st.integers(1, 50))
def test_an_excerpt_is_short_visible_and_can_be_sent(text, length):
    shown = excerpt(text, length)
    assert len(shown) <= length
    assert shown.replace("\u3000", "").isprintable()
    assert shown.encode().decode() == shown


# ---------------------------------------------------------------------------------------------------------
# Marking what was found


@pytest.mark.parametrize(
    ("text", "query", "found"),
    [
        ("学習支援と支援", "支援", ["支援", "支援"]),
        ("ハローワークと連携", "ﾊﾛｰﾜｰｸ", ["ハローワーク"]),
        ("ﾊﾛｰﾜｰｸ", "ハロー", ["ﾊﾛｰ"]),
        ("ﾊﾞｽ", "バ", ["ﾊﾞ"]),
        ("Ｈ29.7～H30.2", "h29.7~", ["Ｈ29.7～"]),
        ("学習 支援", "習支", ["習 支"]),
        ("株式会社㍿", "式", ["式", "㍿"]),
        ("支援", "支 援 支援", ["支援"]),
        ("支援", "教室", []),
        ("か\u3099", "が", ["か\u3099"]),
        ("", "支援", []),
    ],
)
def test_found_words_are_marked_where_they_stand(text, query, found):
    assert [piece for piece, hit in marked(text, terms(query)) if hit] == found


@given(ANY_TEXT, st.lists(ANY_TEXT, max_size=3))
def test_marking_changes_no_text(text, words):
    pieces = marked(text, [word for word in map(fold, words) if word])
    assert "".join(piece for piece, _ in pieces) == text
