"""The first document: 26 printed rows of one city, served exactly as they stand, and what they answer."""

import hashlib
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.conftest import FUJIMI, SEED

Row = dict[str, Any]

PLAN = "fujimi-yumetsunagu"
TITLE = "夢つなぐ富士見プロジェクト+(プラス)～富士見市子どもの貧困対策整備計画～"
SUBTITLE = "(平成29年度進捗状況評価結果・第1～4節)"
SHA256 = "c014ec7f45bcdb4fe801a99efb8950c0d6689e0ba4cf16aec84bf2f3848e17fa"

# (1-based line, its eight cells) of every row, as split from the bytes of the file and nothing else.
PRINTED = [
    (number, line.decode("utf-8").split("\t"))
    for number, line in enumerate(SEED.read_bytes().split(b"\n"), 1)
    if line.startswith("第".encode())
]

A17_B9 = [{"rating": "A", "count": 17, "share": 0.6538}, {"rating": "B", "count": 9, "share": 0.3462}]
A15_B9 = [{"rating": "A", "count": 15, "share": 0.625}, {"rating": "B", "count": 9, "share": 0.375}]
REVISION = 1 + 1 + 4 + 24 + 26


def got(client: httpx.Client, path: str, **query: Any) -> Row:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    body: Row = answer.json()
    return body


def rows(client: httpx.Client, path: str, **query: Any) -> list[Row]:
    results: list[Row] = got(client, path, **query)["results"]
    return results


def timeless(row: Row) -> Row:
    """The row without the times, which tell when the tests ran: at the same moment, a moment ago, in UTC."""
    created, updated = row["created_at"], row["updated_at"]
    assert created == updated
    assert created.endswith("Z")
    assert 0 <= (datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds() < 3600
    return {name: value for name, value in row.items() if name not in ("created_at", "updated_at")}


def code(cells: list[str]) -> str:
    """1-1-1 for 第1節, 1, ①: each part read by itself."""
    return f"{cells[0][1:-1]}-{cells[1]}-{'①②③④⑤⑥'.index(cells[2]) + 1}"


def by_measure() -> dict[str, list[str]]:
    """The cells of the first row of each measure, in the document's order."""
    first: dict[str, list[str]] = {}
    for _, cells in PRINTED:
        first.setdefault(code(cells), cells)
    return first


# ---------------------------------------------------------------------------------------------------------
# The rows


def test_the_document_has_26_rows_of_24_measures_in_10_groups_and_4_sections():
    assert len(PRINTED) == 26
    assert {len(cells) for _, cells in PRINTED} == {8}
    assert len(by_measure()) == 24
    assert len({tuple(cells[:2]) for _, cells in PRINTED}) == 10
    assert len({cells[0] for _, cells in PRINTED}) == 4


def test_every_evaluation_is_its_printed_row_byte_for_byte_and_points_to_its_line(read: httpx.Client):
    ids = {row["code"]: row["id"] for row in rows(read, "/measures")}
    (document,) = rows(read, "/documents")
    ordinals: Counter[str] = Counter()
    expected = []
    for line, cells in PRINTED:
        ordinals[code(cells)] += 1
        expected.append(
            {
                "key": f"{PLAN}/{code(cells)}/2017/{ordinals[code(cells)]}",
                "plan": PLAN,
                "municipality_code": FUJIMI,
                "section": cells[0][1:-1],
                "measure_id": ids[code(cells)],
                "measure_code": code(cells),
                "measure_title": cells[3],
                "fiscal_year": 2017,
                "fiscal_year_label": "平成29年度",
                "ordinal": ordinals[code(cells)],
                "implementation": cells[4],
                "rating": cells[5],
                "rating_printed": cells[5],
                "rationale": cells[6],
                "next_plan": cells[7],
                "department": None,
                "extra": {},
                "document_id": document["id"],
                "source_line": line,
                "version": 1,
            }
        )
    found = [timeless(row) for row in rows(read, "/evaluations")]
    ids_of_rows = [row.pop("id") for row in found]
    assert found == expected
    assert len(set(ids_of_rows)) == 26


def test_the_source_lines_are_those_of_the_stored_file(read: httpx.Client):
    lines = read.get("/documents/1/content").content.split(b"\n")
    for row in rows(read, "/evaluations"):
        printed = "\t".join(row[name] for name in ("implementation", "rating", "rationale", "next_plan"))
        assert lines[row["source_line"] - 1].endswith(f"\t{row['measure_title']}\t{printed}".encode())


def test_every_measure_keeps_its_printed_numbering_beside_its_code(read: httpx.Client):
    found = [timeless(row) for row in rows(read, "/measures")]
    ids = [row.pop("id") for row in found]
    assert found == [
        {
            "key": f"{PLAN}/{code}",
            "plan": PLAN,
            "municipality_code": FUJIMI,
            "section": cells[0][1:-1],
            "code": code,
            "title": cells[3],
            "path": cells[:3],
            "position": position,
            "version": 1,
        }
        for position, (code, cells) in enumerate(by_measure().items(), 1)
    ]
    assert len(set(ids)) == 24


def test_a_section_has_the_label_that_is_printed_and_no_title(read: httpx.Client):
    found = [timeless(row) for row in rows(read, "/sections")]
    assert [row.pop("id") for row in found] == sorted({row["id"] for row in rows(read, "/sections")})
    assert found == [
        {
            "key": f"{PLAN}/{number}",
            "plan": PLAN,
            "municipality_code": FUJIMI,
            "code": str(number),
            "label": f"第{number}節",
            "title": None,
            "position": number,
            "version": 1,
        }
        for number in (1, 2, 3, 4)
    ]


def test_the_plan_has_its_printed_title_and_nothing_that_the_source_does_not_say(read: httpx.Client):
    plan = timeless(got(read, f"/plans/{PLAN}"))
    assert plan == {
        "id": plan["id"],
        "key": PLAN,
        "slug": PLAN,
        "title": TITLE,
        "municipality_code": FUJIMI,
        "municipality": "富士見市",
        "first_fiscal_year": None,
        "last_fiscal_year": None,
        "ratings": [
            {"code": "A", "label": None, "description": None},
            {"code": "B", "label": None, "description": None},
        ],
        "ratings_closed": False,
        "licence": None,
        "source_url": None,
        "origin": None,
        "version": 1,
    }
    assert got(read, f"/plans/{plan['id']}") == got(read, f"/plans/{PLAN}")


def test_three_rows_of_one_measure_are_three_evaluations_in_the_documents_order(read: httpx.Client):
    found = rows(read, "/evaluations", measure="4-2-1", plan=PLAN)
    assert [(row["ordinal"], row["source_line"], row["rating"]) for row in found] == [
        (1, 36, "A"),
        (2, 37, "A"),
        (3, 38, "A"),
    ]
    assert len({row["implementation"] for row in found}) == 3
    assert {row["measure_title"] for row in found} == {"就労に向けた資格取得支援"}


def test_two_measures_with_the_same_four_texts_stay_two(read: httpx.Client):
    (one,), (other,) = (rows(read, "/evaluations", measure=code) for code in ("3-2-1", "3-3-1"))
    for name in ("implementation", "rating", "rationale", "next_plan"):
        assert one[name] == other[name]
    assert one["measure_title"] == "子ども食堂を行う団体への支援"
    assert other["measure_title"] == "学習支援を行う団体への支援"


# ---------------------------------------------------------------------------------------------------------
# The document


def test_the_document_comes_back_byte_for_byte(read: httpx.Client):
    for encoding in ("identity", "gzip"):
        answer = read.get("/documents/1/content", headers={"Accept-Encoding": encoding})
        assert answer.content == SEED.read_bytes()
        assert hashlib.sha256(answer.content).hexdigest() == SHA256
        assert answer.headers["content-type"] == "text/tab-separated-values; charset=utf-8"
        assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''fujimi-h29.txt"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_document_says_what_it_is_and_how_it_was_understood(read: httpx.Client):
    (document,) = rows(read, "/documents")
    of_year = {"fiscal_year": 2017}
    assert timeless(document) == {
        "id": 1,
        "key": f"{PLAN}/{SHA256}",
        "plan": PLAN,
        "municipality_code": FUJIMI,
        "sha256": SHA256,
        "name": "fujimi-h29.txt",
        "media_type": "text/tab-separated-values",
        "encoding": "utf-8",
        "fiscal_year": 2017,
        "size": len(SEED.read_bytes()),
        "report": {
            "title": TITLE,
            "subtitle": SUBTITLE,
            "fiscal_years": [2017],
            "rows": 26,
            "mapping": [
                {"column": 1, "header": "項 目", "field": "path"},
                {"column": 2, "header": "", "field": "path"},
                {"column": 3, "header": "", "field": "path"},
                {"column": 4, "header": "計画", "field": "title"},
                {"column": 5, "header": "H29実施内容", "field": "implementation"} | of_year,
                {"column": 6, "header": "評価", "field": "rating"} | of_year,
                {"column": 7, "header": "理由・課題等", "field": "rationale"} | of_year,
                {"column": 8, "header": "H30計画内容", "field": "next_plan"} | of_year,
            ],
            "warnings": [
                {
                    "ja": f"評価 {rating} を評価区分に加えました。意味は資料にないため、空欄です。",
                    "en": f"The rating {rating} joined the plan's scale. The document does not say what it means.",
                }
                for rating in "AB"
            ],
        },
        "version": 1,
    }


# ---------------------------------------------------------------------------------------------------------
# The questions


def _group(section: int, a: int, b: int, shares: tuple[float, float]) -> Row:
    return {
        "section": str(section),
        "section_label": f"第{section}節",
        "total": a + b,
        "rated": a + b,
        "unrated": 0,
        "ratings": [
            {"rating": "A", "count": a, "share": shares[0]},
            {"rating": "B", "count": b, "share": shares[1]},
        ],
    }


FIRST_THREE = [
    _group(1, 9, 2, (0.8182, 0.1818)),
    _group(2, 1, 1, (0.5, 0.5)),
    _group(3, 2, 4, (0.3333, 0.6667)),
]


def test_by_row_17_of_26_are_rated_a(read: httpx.Client):
    assert got(read, "/evaluations/summary", group_by="section") == {
        "metadata": {
            "unit": "evaluation",
            "group_by": ["section"],
            "denominator": "rated",
            "revision": REVISION,
        },
        "results": [*FIRST_THREE, _group(4, 5, 2, (0.7143, 0.2857))],
        "total": {"total": 26, "rated": 26, "unrated": 0, "ratings": A17_B9},
    }


def test_by_measure_15_of_24_are_rated_a_and_only_section_4_and_the_total_differ(read: httpx.Client):
    assert got(read, "/evaluations/summary", group_by="section", unit="measure") == {
        "metadata": {
            "unit": "measure",
            "group_by": ["section"],
            "denominator": "rated",
            "revision": REVISION,
        },
        "results": [{**group, "mixed": 0} for group in (*FIRST_THREE, _group(4, 3, 2, (0.6, 0.4)))],
        "total": {"total": 24, "rated": 24, "unrated": 0, "ratings": A15_B9, "mixed": 0},
    }


def test_without_groups_a_summary_is_its_total(read: httpx.Client):
    assert got(read, "/evaluations/summary") == {
        "metadata": {"unit": "evaluation", "group_by": [], "denominator": "rated", "revision": REVISION},
        "results": [],
        "total": {"total": 26, "rated": 26, "unrated": 0, "ratings": A17_B9},
    }


@pytest.mark.parametrize(
    ("query", "total", "a"),
    [
        ({"section": "3"}, 6, 2),
        ({"measure": "4-2-1"}, 3, 3),
        ({"rating": "B"}, 9, 0),
        ({"q": "学習"}, 4, 2),
        ({"fiscal_year": "H29", "section": "4", "q": "ひとり親"}, 4, 2),
        ({"fiscal_year": "H30"}, 0, 0),
        ({"rating": "none"}, 0, 0),
    ],
)
def test_a_summary_counts_what_the_list_with_the_same_filters_shows(query, total, a, read: httpx.Client):
    body = got(read, "/evaluations/summary", **query)["total"]
    listed = [row["rating"] for row in rows(read, "/evaluations", **query)]
    assert (body["total"], body["ratings"][0]["count"]) == (total, a)
    assert (len(listed), listed.count("A")) == (total, a)


@pytest.mark.parametrize(
    "spelling",
    ["H29", "平成２９年度", "2017", "Ｈ29", "FY2017", "平成二十九年度", "㍻29年度", "平成29(2017)年度"],
)
def test_every_spelling_of_the_fiscal_year_asks_the_same(spelling, read: httpx.Client):
    for path, count in (("/evaluations", 26), ("/measures", 24), ("/documents", 1)):
        assert len(rows(read, path)) == count
        assert got(read, path, fiscal_year=spelling) == got(read, path)
        assert got(read, path, fiscal_year="H28")["results"] == []
    assert got(read, "/evaluations/summary", fiscal_year=spelling)["total"]["ratings"] == A17_B9
    assert got(read, f"/plans/{PLAN}/completeness", fiscal_year=spelling)["metadata"]["fiscal_year"] == 2017


def test_a_year_without_an_era_is_refused_with_a_sentence(read: httpx.Client):
    told = {
        "ja": "「29」には元号がありません。平成なら H29、平成29年度、2017 のように、"
        "令和なら R29、令和29年度、2047 のように書いてください。",
        "en": '"29" names no era: write H29, 平成29年度 or 2017 for Heisei, '
        "R29, 令和29年度 or 2047 for Reiwa.",
    }
    for language, title in (("ja", "入力に誤りがあります"), ("en", "The input is not valid")):
        answer = read.get("/evaluations", params={"fiscal_year": "29"}, headers={"Accept-Language": language})
        assert (answer.status_code, answer.json()) == (
            422,
            {
                "type": "/docs/problems/invalid",
                "title": title,
                "status": 422,
                "detail": told[language],
                "instance": "/evaluations",
                "errors": [{"parameter": "fiscal_year", "detail": told[language]}],
            },
        )


def test_nine_measures_were_rated_b(read: httpx.Client):
    body = got(read, "/measures", rating="B", fiscal_year="H29")
    assert body["metadata"]["resultset"]["count"] == 9
    assert [row["code"] for row in body["results"]] == [
        "1-2-4",
        "1-3-1",
        "2-2-1",
        "3-1-1",
        "3-1-2",
        "3-2-1",
        "3-3-1",
        "4-1-1",
        "4-1-3",
    ]


def test_a_timeline_shows_the_three_rows_of_the_one_year(read: httpx.Client):
    (measure,) = rows(read, "/measures", measure="4-2-1")
    assert got(read, f"/measures/{measure['id']}/timeline") == {
        "metadata": {"measure": measure, "revision": REVISION},
        "results": [
            {
                "fiscal_year": 2017,
                "fiscal_year_label": "平成29年度",
                "planned": [],
                "evaluations": rows(read, "/evaluations", measure="4-2-1"),
            }
        ],
    }


NO_PAIR_MOVED = [{"from": old, "to": new, "count": 0} for old in "AB" for new in "AB"]


def _moves(read: httpx.Client, name: str) -> list[Row]:
    return [
        {
            "measure_id": measure["id"],
            "section": measure["section"],
            "code": measure["code"],
            "title": measure["title"],
            "from": [],
            "to": [],
            name: [row["rating"] for row in measure["evaluations"]],
        }
        for measure in rows(read, "/measures", expand="evaluations")
    ]


def test_where_the_second_year_is_not_reported_every_measure_ends(read: httpx.Client):
    assert got(read, f"/plans/{PLAN}/transitions", **{"from": "H29", "to": "平成30年度"}) == {
        "metadata": {
            "plan": PLAN,
            "from": 2017,
            "from_label": "平成29年度",
            "to": 2018,
            "to_label": "平成30年度",
            "unit": "measure",
            "order": "assumed",
            "revision": REVISION,
        },
        "matrix": NO_PAIR_MOVED,
        "improved": [],
        "unchanged": [],
        "worsened": [],
        "added": [],
        "removed": _moves(read, "from"),
        "mixed": [],
        "unrated": [],
    }


def test_where_the_first_year_is_not_reported_every_measure_begins(read: httpx.Client):
    body = got(read, f"/plans/{PLAN}/transitions", **{"from": "H28", "to": "H29"})
    assert body["added"] == _moves(read, "to")
    assert len(body["added"]) == 24
    assert body["matrix"] == NO_PAIR_MOVED


def test_nothing_is_missing_in_the_year_that_was_published(read: httpx.Client):
    for query, year in (({}, None), ({"fiscal_year": "H29"}, 2017)):
        assert got(read, f"/plans/{PLAN}/completeness", **query) == {
            "metadata": {
                "plan": PLAN,
                "fiscal_year": year,
                "measures": 24,
                "evaluations": 26,
                "revision": REVISION,
            },
            "measures_without_evaluation": [],
            "without_implementation": [],
            "without_rating": [],
            "without_rationale": [],
            "without_next_plan": [],
        }


def test_everything_is_missing_in_the_year_after(read: httpx.Client):
    assert got(read, f"/plans/{PLAN}/completeness", fiscal_year="H30") == {
        "metadata": {
            "plan": PLAN,
            "fiscal_year": 2018,
            "measures": 24,
            "evaluations": 0,
            "revision": REVISION,
        },
        "measures_without_evaluation": [
            {name: measure[name] for name in ("id", "key", "title")} for measure in rows(read, "/measures")
        ],
        "without_implementation": [],
        "without_rating": [],
        "without_rationale": [],
        "without_next_plan": [],
    }


def test_every_row_was_written_once_by_the_import(read: httpx.Client):
    seen = []
    for path, entity in (
        ("/plans", "plan"),
        ("/documents", "document"),
        ("/sections", "section"),
        ("/measures", "measure"),
        ("/evaluations", "evaluation"),
    ):
        for row in rows(read, path):
            (version,) = rows(read, f"{path}/{row['id']}/history")
            assert {name: version[name] for name in ("entity", "key", "op", "version", "by")} == {
                "entity": entity,
                "key": row["key"],
                "op": "create",
                "version": 1,
                "by": None,
            }
            seen.append(version["seq"])
    assert seen == list(range(1, REVISION + 1))
