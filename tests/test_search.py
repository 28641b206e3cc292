"""Search: `q` finds the words that people type, however they type them, in Japanese of two characters and more."""

from itertools import pairwise
from typing import NamedTuple
from unicodedata import normalize

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import KAWAGOE, SEED, Service


class Printed(NamedTuple):
    """A row of the seed as it stands in the file: the measure's code and the texts that are searched."""

    code: str
    texts: tuple[str, ...]


def _printed(line: str) -> Printed:
    section, group, item, title, implementation, _, rationale, next_plan = line.split("\t")
    code = f"{section[1:-1]}-{group}-{ord(item) - ord('①') + 1}"
    return Printed(code, (title, implementation, rationale, next_plan))


ROWS = [_printed(line) for line in SEED.read_text("utf-8").split("\n") if line.startswith("第")]
PLAN = ("夢つなぐ富士見プロジェクト+(プラス)～富士見市子どもの貧困対策整備計画～", "富士見市")


def plain(text: str) -> str:
    """One width, one case, one dash, one tilde and no spaces."""
    text = normalize("NFKC", text).casefold()
    for dash in "−‐‑‒–—―":
        text = text.replace(dash, "-")
    return "".join(text.replace("〜", "~").split())


def holds(texts: tuple[str, ...], query: str) -> bool:
    """Each word of the query stands within one of the texts."""
    return all(any(plain(word) in plain(text) for text in texts) for word in query.split())


def evaluations(client: httpx.Client, q: str) -> list[str]:
    answer = client.get("/evaluations", params={"q": q, "fields": "measure_code", "limit": 1000})
    assert answer.status_code == 200, answer.text
    found = [row["measure_code"] for row in answer.json()["results"]]
    assert answer.json()["metadata"]["resultset"]["count"] == len(found)
    return found


def measures(client: httpx.Client, q: str) -> list[str]:
    answer = client.get("/measures", params={"q": q, "fields": "code", "limit": 1000})
    assert answer.status_code == 200, answer.text
    return [row["code"] for row in answer.json()["results"]]


def plans(client: httpx.Client, q: str) -> list[str]:
    answer = client.get("/plans", params={"q": q})
    assert answer.status_code == 200, answer.text
    return [row["slug"] for row in answer.json()["results"]]


# ---------------------------------------------------------------------------------------------------------
# What people look for in the seed


@pytest.mark.parametrize(
    ("q", "codes"),
    [
        ("食堂", ["3-1-1", "3-2-1"]),
        ("学習", ["3-1-1", "3-3-1", "3-3-2", "3-3-3"]),
        ("居場所", ["3-1-1", "3-1-2"]),
        ("ひとり親", ["4-1-1", "4-1-2", "4-1-3", "4-2-1"]),
        ("貧困", []),
        ("支援 教室", ["3-3-2"]),
        ("教室 支援", ["3-3-2"]),
        ("支援　教室", ["3-3-2"]),
        (" 　支援　 教室　", ["3-3-2"]),
        ("支援教室", ["3-3-2"]),
        ("庁内推進委員会調査専門部会", ["3-2-1", "3-3-1"]),
        ("保育所別・年齢別", ["4-2-1"]),
        ("富士見市", []),
    ],
)
def test_a_word_is_found_in_title_implementation_rationale_and_next_plan(q, codes, read: httpx.Client):
    assert evaluations(read, q) == codes
    assert measures(read, q) == codes


@pytest.mark.parametrize("field", range(4), ids=["title", "implementation", "rationale", "next plan"])
def test_every_row_is_found_by_each_of_its_texts(field, read: httpx.Client):
    for row in ROWS:
        text = row.texts[field]
        assert (text, evaluations(read, text[:200])) == (
            text,
            [other.code for other in ROWS if holds(other.texts, text[:200])],
        )


def test_all_words_must_be_found_but_each_may_stand_in_another_field(read: httpx.Client):
    # 食堂 stands in the title of 3-2-1, 専門部会 in what was done, ニーズ in the next plan.
    assert evaluations(read, "食堂 専門部会 ニーズ") == ["3-2-1"]
    assert evaluations(read, "食堂 専門部会 ニーズ 養育費") == []


def test_each_row_of_a_measure_is_found_by_itself(read: httpx.Client):
    assert evaluations(read, "ハローワーク") == ["4-2-1"]
    assert evaluations(read, "資格取得支援") == ["4-2-1"] * 3
    assert measures(read, "資格取得支援") == ["4-2-1"]


@pytest.mark.parametrize("q", ["", " ", "　", " 　\u00a0"])
def test_a_query_without_words_finds_everything(q, read: httpx.Client):
    assert len(evaluations(read, q)) == 26
    assert len(measures(read, q)) == 24
    assert plans(read, q) == ["fujimi-yumetsunagu"]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("貧困", True),
        ("夢つなぐ 富士見市", True),
        ("プロジェクト+(プラス)", True),
        ("ﾌﾟﾛｼﾞｪｸﾄ＋（ﾌﾟﾗｽ）", True),
        ("～富士見市子ども", True),
        ("~富士見市子ども", True),
        ("計画～", True),
        ("食堂", False),
        ("貧困 食堂", False),
        ("計画～富士見市", False),
        ("fujimi", False),
        ("112356", False),
    ],
)
def test_a_plan_is_found_by_its_title_and_its_municipality(q, found, read: httpx.Client):
    assert plans(read, q) == ["fujimi-yumetsunagu"] * found


# ---------------------------------------------------------------------------------------------------------
# However it is written


@pytest.mark.parametrize(
    "spellings",
    [
        ["PR", "pr", "Pr", "ＰＲ", "ｐｒ"],
        ["ハローワーク", "ﾊﾛｰﾜｰｸ", "ハロ\u30fcワ\u30fcク"],
        ["システム構築", "ｼｽﾃﾑ構築", "シ\u30b9テム構築"],
        ["ニーズと支援", "ニース\u3099と支援"],
        ["H29.7～H30.2", "H29.7〜H30.2", "H29.7~H30.2", "ｈ２９．７～ｈ３０．２"],
        ["92%", "９２％"],
        ["【中学3年生】", "【中学３年生】"],
        ["(基金開設)", "（基金開設）"],
        ["平成29年", "㍻29年", "平成２９年"],
    ],
)
def test_width_case_and_composition_do_not_matter(spellings, read: httpx.Client):
    found = evaluations(read, spellings[0])
    assert found
    for spelling in spellings:
        assert (spelling, evaluations(read, spelling)) == (spelling, found)


@pytest.mark.parametrize(
    ("q", "other"), [("つながる", "ツナガル"), ("ひとり親", "ヒトリ親"), ("メール", "メ-ル")]
)
def test_different_letters_stay_different(q, other, read: httpx.Client):
    assert evaluations(read, q) != evaluations(read, other)


@pytest.fixture
def workshop(admin: httpx.Client) -> httpx.Client:
    """A plan of its own for texts of all kinds, in a library that holds the seed too."""
    plan = {
        "slug": "moji",
        "title": "文字計画 第1期〜第2期",
        "municipality_code": KAWAGOE,
        "municipality": "川越市",
    }
    for path, row in (
        ("/plans", plan),
        ("/sections", {"plan": "moji", "code": "9"}),
        ("/measures", {"plan": "moji", "section": "9", "code": "9-1", "title": "Ａ−Ｂ‐Ｃ 連携"}),
        ("/measures", {"plan": "moji", "section": "9", "code": "9-2", "title": "Straße"}),
    ):
        assert admin.post(path, json=row).status_code == 201
    return admin


def write(client: httpx.Client, **texts: str) -> None:
    row = {"plan": "moji", "measure_code": "9-1", "fiscal_year": "R5", **texts}
    assert client.post("/evaluations", json=row).status_code == 201


def found_by(client: httpx.Client, words: list[str]) -> list[str]:
    return [word for word in words if "9-1" in evaluations(client, word)]


def test_dashes_tildes_and_spaces_do_not_matter_on_either_side(workshop: httpx.Client):
    write(
        workshop,
        implementation="平成29－30年度 実施　(H29–H30)",
        rationale="10時～12時",
        next_plan="子 ども\n食堂",
    )
    words = [
        "a-b-c",
        "Ａ－Ｂ—Ｃ",
        "b−c連携",
        "29-30",
        "29—30",
        "h29-h30",
        "10時~12時",
        "10時〜12時",
        "子ども食堂",
    ]
    assert found_by(workshop, words) == words
    assert found_by(workshop, ["aーb", "a_b", "29ー30"]) == []
    assert measures(workshop, "STRASSE") == measures(workshop, "straße") == ["9-2"]
    assert plans(workshop, "第１期~第２期") == plans(workshop, "文字計画第1期 川越市") == ["moji"]


def test_the_department_is_searched_too(workshop: httpx.Client):
    write(workshop, department="こども未来課")
    assert evaluations(workshop, "こども未来課") == ["9-1"]
    assert evaluations(workshop, "未来課 連携") == ["9-1"]


def test_marks_and_columns_of_the_source_are_not_searched(workshop: httpx.Client):
    row = {
        "plan": "moji",
        "measure_code": "9-1",
        "fiscal_year": "R5",
        "rating": "◎",
        "rating_printed": "◎改",
        "extra": {"備考": "特記事項"},
    }
    assert workshop.post("/evaluations", json=row).status_code == 201
    assert found_by(workshop, ["◎", "特記事項", "備考", "moji", "令和5年度"]) == []


def test_a_text_that_was_changed_is_found_as_it_is_now(workshop: httpx.Client):
    write(workshop, implementation="準備した")
    (row,) = workshop.get("/evaluations", params={"plan": "moji"}).json()["results"]
    workshop.patch(
        f"/evaluations/{row['id']}", json={"implementation": "開催した"}, headers={"If-Match": "*"}
    )
    workshop.patch(f"/measures/{row['measure_id']}", json={"title": "協働"}, headers={"If-Match": "*"})
    assert found_by(workshop, ["準備した", "連携", "開催した", "協働"]) == ["開催した", "協働"]


# ---------------------------------------------------------------------------------------------------------
# What is special to a database is plain text here


@pytest.mark.parametrize(
    ("q", "codes"),
    [
        ("%", ["3-3-3"]),
        ("2%", ["3-3-3"]),
        ("子%援", []),
        ("_", []),
        ("_" * 5, []),
        ("支_", []),
        ("\\", []),
        ("\\%", []),
        ("/", []),
        ("/%", []),
        ("*", []),
        ("'", []),
        ('"', []),
        ("' OR 1=1 --", []),
        ("[0-9]", []),
        ("支援*", []),
        ("支援 OR 食堂", []),
        ("-食堂", []),
        ("%(q)s", []),
        ("?", []),
        (":q", []),
    ],
)
def test_wildcards_quotes_and_operators_are_plain_text(q, codes, read: httpx.Client):
    assert evaluations(read, q) == codes
    assert measures(read, q) == codes
    assert plans(read, q) == []


def test_plain_text_with_wildcards_and_quotes_is_found(workshop: httpx.Client):
    write(workshop, implementation=r"a_b c\d e/f 100% [x] it's " "“”** --")
    words = ["a_b", "_", "c\\d", "\\", "e/f", "/", "100%", "[x]", "it's", "“”", "**", "--", "_bc\\d"]
    assert found_by(workshop, words) == words
    assert found_by(workshop, ["a%b", "aXb", "a_b_", "c/d", "c\\\\d", "e\\f", "100_", "x%]"]) == []


# ---------------------------------------------------------------------------------------------------------
# A word stands within one field


def test_no_word_is_found_across_two_fields_of_a_row(read: httpx.Client):
    for row in ROWS:
        for one, other in pairwise(row.texts):
            word = one[-2:] + other[:2]
            expected = [other.code for other in ROWS if holds(other.texts, word)]
            assert (word, evaluations(read, word)) == (word, expected)


def test_no_word_is_found_across_two_fields_or_two_rows(workshop: httpx.Client):
    write(workshop, implementation="甲乙", rationale="丙丁", next_plan="戊己", department="庚辛")
    write(workshop, implementation="壬癸")
    words = ["甲乙", "丙丁", "戊己", "庚辛", "壬癸", "甲 己", "連携 甲"]
    assert found_by(workshop, words) == words
    assert found_by(workshop, ["乙丙", "丁戊", "己庚", "連携甲", "携甲", "辛壬", "甲 癸"]) == []
    assert measures(workshop, "甲 癸") == []


# ---------------------------------------------------------------------------------------------------------
# Against a plain scan of the file

TEXTS = [text for row in ROWS for text in row.texts]
LETTERS = "".join(sorted(set("".join(TEXTS))))


@st.composite
def pieces(draw: st.DrawFn) -> str:
    """A few letters out of one of the seed's texts."""
    text = draw(st.sampled_from(TEXTS))
    start = draw(st.integers(0, len(text) - 1))
    return text[start : start + draw(st.integers(1, 6))]


WORDS = st.one_of(
    pieces(),
    pieces().map(lambda piece: normalize("NFKC", piece).upper()),
    pieces().map(lambda piece: normalize("NFD", piece)),
    st.text(st.sampled_from(LETTERS), max_size=2),
    st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=4),
    st.text(st.sampled_from("%_\\/'\"*-~～ 　"), max_size=4),
)
QUERIES = st.lists(WORDS, max_size=3).map(" ".join)


@settings(max_examples=80, deadline=None)
@given(QUERIES)
def test_a_search_finds_what_a_plain_scan_of_the_file_finds(library: Service, q: str):
    expected = [row.code for row in ROWS if holds(row.texts, q)]
    assert evaluations(library.anyone, q) == expected
    assert measures(library.anyone, q) == list(dict.fromkeys(expected))
    assert plans(library.anyone, q) == ["fujimi-yumetsunagu"] * holds(PLAN, q)
