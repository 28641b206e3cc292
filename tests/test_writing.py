"""Writing by hand: what is accepted, what is refused and why, and whose change wins."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.models import CHANGE
from tests.conftest import FUJIMI, KAWAGOE, Backend, Service, lent

PLAN = "fujimi-yumetsunagu"
ANY = {"If-Match": "*"}
JSON = {"Content-Type": "application/json"}
FIRST = {
    "plans": "/plans/1",
    "sections": "/sections/1",
    "measures": "/measures/1",
    "evaluations": "/evaluations/1",
}
NOUNS = tuple(FIRST)


def untimed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("created_at", "updated_at")}


def revision(client: httpx.Client) -> int:
    found: int = client.get("/plans").json()["metadata"]["revision"]
    return found


def scale(client: httpx.Client, plan: str = PLAN) -> list[str]:
    return [rating["code"] for rating in client.get(f"/plans/{plan}").json()["ratings"]]


def log(town: Service, after: int) -> list[tuple[str, str, str]]:
    entries = sa.select(CHANGE.c.entity, CHANGE.c.op, CHANGE.c.key).where(CHANGE.c.seq > after)
    with town.database.reading() as session:
        return [(row.entity, row.op, row.key) for row in session.execute(entries.order_by(CHANGE.c.seq))]


def make(client: httpx.Client, noun: str, /, **fields: Any) -> dict[str, Any]:
    answer = client.post(f"/{noun}", json=fields)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def change(client: httpx.Client, path: str, /, **fields: Any) -> dict[str, Any]:
    answer = client.patch(path, json=fields, headers=ANY)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


def make_plan(client: httpx.Client, slug: str = "kawagoe-kosodate", **fields: Any) -> dict[str, Any]:
    given = {"slug": slug, "title": "子育て計画", "municipality_code": KAWAGOE, "municipality": "川越市"}
    return make(client, "plans", **given | fields)


@pytest.fixture(scope="module")
def office(backend: Backend) -> Iterator[httpx.Client]:
    """An admin at a service that many tests share: whatever they send must be refused."""
    with lent(backend) as service, service.holder(service.key("admin")) as client:
        yield client


def refused(
    client: httpx.Client, method: str, path: str, body: Any, status: int = 422
) -> list[dict[str, Any]]:
    """The errors of a request that must be refused without leaving a trace."""
    before = revision(client)
    sent: Any = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = client.request(method, path, **sent, headers={**JSON, **ANY})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
        answer.text
    )
    assert revision(client) == before
    problem = json.loads(answer.content.decode("utf-8", "strict"))
    assert (problem["status"], problem["instance"]) == (status, path)
    found: list[dict[str, Any]] = problem.get("errors", [])
    return found


def pointers(client: httpx.Client, method: str, path: str, body: Any, status: int = 422) -> list[str]:
    return [error["pointer"] for error in refused(client, method, path, body, status)]


# ---------------------------------------------------------------------------------------------------------
# Making rows

IN_FULL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plans": (
        {
            "slug": "kawagoe-kosodate",
            "title": "川越市子ども・子育て支援事業計画～第2期～",
            "municipality_code": "11201",
            "municipality": "川越市",
            "first_fiscal_year": "令和2年度",
            "last_fiscal_year": 2024,
            "ratings": [
                {"code": "◎", "label": "順調", "description": "計画以上\nに進んだ"},
                {"code": "○", "label": None},
                {"code": "△コロナ"},
            ],
            "ratings_closed": True,
            "licence": "CC BY 4.0",
            "source_url": "https://example.jp/keikaku?id=1",
        },
        {
            "key": "kawagoe-kosodate",
            "slug": "kawagoe-kosodate",
            "title": "川越市子ども・子育て支援事業計画～第2期～",
            "municipality_code": "112011",
            "municipality": "川越市",
            "first_fiscal_year": 2020,
            "last_fiscal_year": 2024,
            "ratings": [
                {"code": "◎", "label": "順調", "description": "計画以上\nに進んだ"},
                {"code": "○", "label": None, "description": None},
                {"code": "△コロナ", "label": None, "description": None},
            ],
            "ratings_closed": True,
            "licence": "CC BY 4.0",
            "source_url": "https://example.jp/keikaku?id=1",
            "origin": None,
        },
    ),
    "sections": (
        {"plan": PLAN, "code": "5", "label": "第5節", "title": "見守りの “輪” を広げる", "position": 5},
        {
            "key": f"{PLAN}/5",
            "plan": PLAN,
            "municipality_code": FUJIMI,
            "code": "5",
            "label": "第5節",
            "title": "見守りの “輪” を広げる",
            "position": 5,
        },
    ),
    "measures": (
        {
            "plan": PLAN,
            "section": "4",
            "code": "4-3-1",
            "title": "【新規】フードパントリー",
            "path": ["第4節", "3", "①"],
            "position": 25,
        },
        {
            "key": f"{PLAN}/4-3-1",
            "plan": PLAN,
            "municipality_code": FUJIMI,
            "section": "4",
            "code": "4-3-1",
            "title": "【新規】フードパントリー",
            "path": ["第4節", "3", "①"],
            "position": 25,
        },
    ),
    "evaluations": (
        {
            "plan": PLAN,
            "measure_code": "1-1-1",
            "fiscal_year": "平成30年度",
            "ordinal": 2,
            "implementation": "相談 120 件\n\t（前年度比 1.2倍）",
            "rating": "B",
            "rating_printed": "B改",
            "rationale": "職員を　増やした。",
            "next_plan": "継続",
            "department": "子ども未来応援センター",
            "extra": {"予算額(千円)": "1,200", "備考": ""},
        },
        {
            "key": f"{PLAN}/1-1-1/2018/2",
            "plan": PLAN,
            "municipality_code": FUJIMI,
            "section": "1",
            "measure_id": 1,
            "measure_code": "1-1-1",
            "measure_title": "子ども未来応援センター(子育て世代包括支援センター)の設置",
            "fiscal_year": 2018,
            "fiscal_year_label": "平成30年度",
            "ordinal": 2,
            "implementation": "相談 120 件\n\t（前年度比 1.2倍）",
            "rating": "B",
            "rating_printed": "B改",
            "rationale": "職員を　増やした。",
            "next_plan": "継続",
            "department": "子ども未来応援センター",
            "extra": {"予算額(千円)": "1,200", "備考": ""},
            "document_id": None,
            "source_line": None,
        },
    ),
}
AT_LEAST: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plans": (
        {"slug": "k", "title": "計画", "municipality_code": "112356", "municipality": "富士見市"},
        {
            "key": "k",
            "slug": "k",
            "title": "計画",
            "municipality_code": FUJIMI,
            "municipality": "富士見市",
            "first_fiscal_year": None,
            "last_fiscal_year": None,
            "ratings": [],
            "ratings_closed": False,
            "licence": None,
            "source_url": None,
            "origin": None,
        },
    ),
    "sections": (
        {"plan": PLAN, "code": "追補"},
        {
            "key": f"{PLAN}/追補",
            "plan": PLAN,
            "municipality_code": FUJIMI,
            "code": "追補",
            "label": None,
            "title": None,
            "position": None,
        },
    ),
    "measures": (
        {"plan": PLAN, "section": "1", "code": "001", "title": "施策"},
        {
            "key": f"{PLAN}/001",
            "plan": PLAN,
            "municipality_code": FUJIMI,
            "section": "1",
            "code": "001",
            "title": "施策",
            "path": [],
            "position": None,
        },
    ),
    "evaluations": (
        {"measure_id": 2, "fiscal_year": 2017},
        {
            "key": f"{PLAN}/1-1-2/2017/2",
            "plan": PLAN,
            "municipality_code": FUJIMI,
            "section": "1",
            "measure_id": 2,
            "measure_code": "1-1-2",
            "measure_title": "子ども未来相談窓口の設置",
            "fiscal_year": 2017,
            "fiscal_year_label": "平成29年度",
            "ordinal": 2,
            "implementation": None,
            "rating": None,
            "rating_printed": None,
            "rationale": None,
            "next_plan": None,
            "department": None,
            "extra": {},
            "document_id": None,
            "source_line": None,
        },
    ),
}


@pytest.mark.parametrize(
    ("noun", "sent", "expected"),
    [(noun, *pair) for given in (IN_FULL, AT_LEAST) for noun, pair in given.items()],
    ids=[f"{noun}-{how}" for how in ("in full", "at least") for noun in NOUNS],
)
def test_what_is_made_can_be_read_where_the_answer_says(noun, sent, expected, admin: httpx.Client):
    made = admin.post(f"/{noun}", json=sent)

    assert made.status_code == 201
    assert made.headers["location"] == f"/{noun}/{made.json()['id']}"
    assert untimed(made.json()) == {"id": made.json()["id"], **expected, "version": 1}
    assert made.json()["created_at"] == made.json()["updated_at"]
    assert made.json()["created_at"].endswith("Z")
    seen = admin.get(made.headers["location"])
    assert seen.json() == made.json()
    assert list(seen.json()) == list(admin.get(FIRST[noun]).json())
    assert seen.headers["etag"] == made.headers["etag"]


def test_a_plan_is_found_by_its_slug_as_soon_as_it_is_made(admin: httpx.Client):
    made = make_plan(admin)
    assert admin.get("/plans/kawagoe-kosodate").json() == made


def test_a_measure_may_be_named_by_id_or_by_plan_and_code(admin: httpx.Client):
    by_id = make(admin, "evaluations", measure_id=24, fiscal_year=2018)
    by_code = make(admin, "evaluations", plan=PLAN, measure_code="4-2-1", fiscal_year=2018)
    assert [row["measure_id"] for row in (by_id, by_code)] == [24, 24]
    assert [row["key"] for row in (by_id, by_code)] == [f"{PLAN}/4-2-1/2018/1", f"{PLAN}/4-2-1/2018/2"]


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"plan": PLAN},
        {"measure_code": "4-2-1"},
        {"measure_id": None, "plan": PLAN, "measure_code": None},
    ],
    ids=repr,
)
def test_a_measure_must_be_named(named, office: httpx.Client):
    assert refused(office, "POST", "/evaluations", {"fiscal_year": 2018, **named}) == [
        {
            "pointer": "",
            "detail": "施策を measure_id か、plan と measure_code の組で指定してください。",
        }
    ]


@pytest.mark.parametrize(
    ("noun", "body", "pointer"),
    [
        ("sections", {"plan": "nowhere", "code": "9"}, "/plan"),
        ("measures", {"plan": "nowhere", "section": "1", "code": "9", "title": "施策"}, "/plan"),
        ("measures", {"plan": PLAN, "section": "9", "code": "9", "title": "施策"}, "/section"),
        ("evaluations", {"measure_id": 999, "fiscal_year": 2017}, "/measure_id"),
        ("evaluations", {"measure_id": 2**53 - 1, "fiscal_year": 2017}, "/measure_id"),
        ("evaluations", {"plan": PLAN, "measure_code": "9", "fiscal_year": 2017}, "/measure_code"),
        ("evaluations", {"plan": "nowhere", "measure_code": "1-1-1", "fiscal_year": 2017}, "/plan"),
        ("evaluations", {"measure_id": 24, "measure_code": "1-1-1", "fiscal_year": 2017}, "/measure_id"),
    ],
)
def test_an_unknown_parent_is_pointed_at(noun, body, pointer, office: httpx.Client):
    assert pointers(office, "POST", f"/{noun}", body, 404) == [pointer]


def test_a_section_of_another_plan_is_no_parent(admin: httpx.Client):
    make_plan(admin)
    elsewhere = {"plan": "kawagoe-kosodate", "section": "1", "code": "1", "title": "施策"}
    assert pointers(admin, "POST", "/measures", elsewhere, 404) == ["/section"]
    make(admin, "sections", plan="kawagoe-kosodate", code="もう一つ")
    assert pointers(admin, "PATCH", "/measures/1", {"section": "もう一つ"}, 404) == ["/section"]


@pytest.mark.parametrize(
    ("noun", "body"),
    [
        ("plans", {"slug": PLAN, "title": "x", "municipality_code": FUJIMI, "municipality": "富士見市"}),
        ("sections", {"plan": PLAN, "code": "1"}),
        ("measures", {"plan": PLAN, "section": "2", "code": "1-1-1", "title": "施策"}),
        ("evaluations", {"measure_id": 1, "fiscal_year": "H29", "ordinal": 1}),
        ("evaluations", {"plan": PLAN, "measure_code": "1-1-1", "fiscal_year": 2017, "ordinal": 1}),
    ],
)
def test_a_key_that_exists_is_refused_with_the_address_of_its_row(noun, body, office: httpx.Client):
    before = revision(office)
    answer = office.post(f"/{noun}", json=body, headers={"Accept-Language": "en"})
    assert (answer.status_code, answer.json()) == (
        409,
        {
            "type": "/docs/problems/conflict",
            "title": "It collides with what is there",
            "status": 409,
            "detail": f"A row with this key exists already: /{noun}/1",
            "instance": f"/{noun}",
            "existing": f"/{noun}/1",
        },
    )
    assert revision(office) == before


def test_the_same_code_may_stand_in_two_plans(admin: httpx.Client):
    make_plan(admin)
    section = make(admin, "sections", plan="kawagoe-kosodate", code="1")
    measure = make(admin, "measures", plan="kawagoe-kosodate", section="1", code="1-1-1", title="施策")
    row = make(admin, "evaluations", plan="kawagoe-kosodate", measure_code="1-1-1", fiscal_year=2017)
    assert [made["key"] for made in (section, measure, row)] == [
        "kawagoe-kosodate/1",
        "kawagoe-kosodate/1-1-1",
        "kawagoe-kosodate/1-1-1/2017/1",
    ]


def test_codes_that_differ_only_in_width_or_case_are_different(admin: httpx.Client):
    codes = ["a", "A", "Ａ", "①", "１", "01", "001", "が", "か\u3099"]
    made = [make(admin, "sections", plan=PLAN, code=code) for code in codes]
    assert [section["code"] for section in made] == codes


def test_an_ordinal_that_is_left_out_is_the_next_free_one(admin: httpx.Client):
    def ordinal(**fields: Any) -> int:
        found: int = make(admin, "evaluations", measure_id=24, **fields)["ordinal"]
        return found

    assert ordinal(fiscal_year=2017) == 4
    assert ordinal(fiscal_year=2018) == 1
    assert ordinal(fiscal_year=2018, ordinal=None) == 2
    assert ordinal(fiscal_year=2018, ordinal=7) == 7
    assert ordinal(fiscal_year=2018) == 8
    assert ordinal(fiscal_year=2019, ordinal=3) == 3


def test_an_ordinal_never_passes_its_maximum(admin: httpx.Client):
    make(admin, "evaluations", measure_id=24, fiscal_year=2018, ordinal=1_000_000)
    answer = admin.post("/evaluations", json={"measure_id": 24, "fiscal_year": 2018})
    assert answer.status_code != 201 or answer.json()["ordinal"] <= 1_000_000, answer.json()["key"]


SPELLINGS = {
    2017: (
        *(2017, "2017", "FY2017", "2017年度", "H29", "Ｈ29", "H29年度", "平成29年度", "平成２９年度"),
        *("平成二十九年度", "㍻29年度", "平成29(2017)年度"),
    ),
    2019: (2019, "R1", "R元", "令和元年度", "令和1年度", "平成31年度"),
    2024: ("平成36年度", "R6"),
}


def test_every_spelling_of_a_fiscal_year_may_stand_in_a_body(admin: httpx.Client):
    years = [(spelling, year) for year, spellings in SPELLINGS.items() for spelling in spellings]
    read = [make(admin, "evaluations", measure_id=1, fiscal_year=spelling) for spelling, _ in years]
    assert [(spelling, row["fiscal_year"]) for (spelling, _), row in zip(years, read, strict=True)] == years
    assert {row["fiscal_year_label"] for row in read} == {"平成29年度", "令和元年度", "令和6年度"}
    term = {
        spelling: change(admin, "/plans/1", first_fiscal_year=spelling, last_fiscal_year=spelling)
        for spelling, _ in years
    }
    assert {s: (p["first_fiscal_year"], p["last_fiscal_year"]) for s, p in term.items()} == {
        spelling: (year, year) for spelling, year in years
    }


@pytest.mark.parametrize(
    "year",
    ["29", "令和", "", "H29H30", "平成29(2018)年度", 29, 1867, 2200, 2017.5, True, [2017], "2017\u0000"],
    ids=repr,
)
def test_what_is_no_fiscal_year_is_refused_with_advice(year, office: httpx.Client):
    for method, path, name, body in (
        ("POST", "/evaluations", "fiscal_year", {"measure_id": 1}),
        ("PATCH", "/plans/1", "last_fiscal_year", {}),
    ):
        [error] = refused(office, method, path, {**body, name: year})
        assert error["pointer"] == f"/{name}"
        assert "平成29" in error["detail"]


# ---------------------------------------------------------------------------------------------------------
# What is refused

BAD: list[tuple[str, str, Any, str, str, str]] = [
    ("POST", "/sections", {"plan": PLAN}, "/code", "code は必須です。", "code is required."),
    ("POST", "/sections", {"plan": PLAN, "code": 5}, "/code", "文字列を指定してください。", "Give a string."),
    (
        "POST",
        "/plans",
        {"slug": "k", "title": "計画", "municipality_code": "112350", "municipality": "富士見市"},
        "/municipality_code",
        "「112350」の検査数字が違います。11235 の検査数字は 6 です(112356)。",
        '"112350" has a wrong check digit: that of 11235 is 6 (112356).',
    ),
    (
        "PATCH",
        "/plans/1",
        {"source_url": "javascript:alert(1)"},
        "/source_url",
        "http:// または https:// で始まる URL を書いてください。",
        "Give an http:// or https:// URL.",
    ),
    (
        "PATCH",
        "/plans/1",
        {"ratings": [{"code": "A"}, {"code": "B"}, {"code": "A"}]},
        "/ratings",
        "評価の記号が重複しています: A",
        "Each code may stand once in the scale: A stands twice.",
    ),
    (
        "PATCH",
        "/plans/1",
        {"ratings": [{"code": "A"}, {"label": "記号なし"}]},
        "/ratings/1/code",
        "code は必須です。",
        "code is required.",
    ),
    (
        "PATCH",
        "/plans/1",
        {"ratings": [{"code": "A", "colour": "red"}]},
        "/ratings/0/colour",
        "この項目は受け付けていません。",
        "There is no such field, or it cannot be written.",
    ),
    ("PATCH", "/measures/1", {"path": "第1節"}, "/path", "配列を指定してください。", "Give an array."),
    (
        "PATCH",
        "/measures/1",
        {"path": ["節"] * 11},
        "/path",
        "10 個以内にしてください。",
        "Give at most 10 items.",
    ),
    (
        "PATCH",
        "/measures/1",
        {"path": ["1", ""]},
        "/path/1",
        "1 文字以上にしてください。",
        "Give at least 1 characters.",
    ),
    (
        "PATCH",
        "/evaluations/1",
        {"rationale": "あ" * 10_001},
        "/rationale",
        "10000 文字以内にしてください。",
        "Give at most 10000 characters.",
    ),
    (
        "PATCH",
        "/evaluations/1",
        {"department": "子育て\u0007支援課"},
        "/department",
        "4文字目に、使えない文字 U+0007 があります。",
        "Character 4 is U+0007, which is not allowed here.",
    ),
    (
        "PATCH",
        "/evaluations/1",
        {"extra": {"a/b~c": 1}},
        "/extra/a~1b~0c",
        "文字列を指定してください。",
        "Give a string.",
    ),
    (
        "PATCH",
        "/sections/1",
        {"position": -1},
        "/position",
        "0 以上にしてください。",
        "It must be at least 0.",
    ),
    (
        "PATCH",
        "/plans/1",
        {"ratings_closed": 1},
        "/ratings_closed",
        "true か false を指定してください。",
        "Give true or false.",
    ),
    *(
        (
            "PATCH",
            path,
            {name: blank},
            f"/{name}",
            "空白だけの値は登録できません。",
            "Spaces alone say nothing: give a text, or null.",
        )
        for path, name, blank in (
            ("/plans/1", "title", "　"),
            ("/measures/1", "title", " "),
            ("/sections/1", "label", "\u00a0"),
            ("/evaluations/1", "rationale", " \n\t"),
        )
    ),
    (
        "PATCH",
        "/sections/1",
        {"titel": "題"},
        "/titel",
        "この項目は書き込めません。書き込めるのは label, title, position です。",
        "There is no such field, or it cannot be written; these can: label, title, position.",
    ),
    (
        "POST",
        "/evaluations",
        {"measure_id": 1, "fiscal_year": 29},
        "/fiscal_year",
        "「29」には元号がありません。平成なら H29、平成29年度、2017 のように、"
        "令和なら R29、令和29年度、2047 のように書いてください。",
        '"29" names no era: write H29, 平成29年度 or 2017 for Heisei, R29, 令和29年度 or 2047 for Reiwa.',
    ),
    ("PATCH", "/plans/1", [], "", "JSON のオブジェクトを指定してください。", "Give a JSON object."),
    ("POST", "/plans", b"{", "", "JSON として読み取れません。", "This is not valid JSON."),
    ("POST", "/plans", b"", "", "JSON の本文が必要です。", "A JSON body is required."),
]


@pytest.mark.parametrize(("method", "path", "body", "pointer", "ja", "en"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_said_where_it_stands_and_in_both_languages(
    method, path, body, pointer, ja, en, office: httpx.Client
):
    assert refused(office, method, path, body) == [{"pointer": pointer, "detail": ja}]
    sent: Any = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = office.request(method, path, **sent, headers={**JSON, **ANY, "Accept-Language": "en"})
    assert answer.headers["content-language"] == "en"
    assert answer.json() == {
        "type": "/docs/problems/invalid",
        "title": "The input is not valid",
        "status": 422,
        "detail": en,
        "instance": path,
        "errors": [{"pointer": pointer, "detail": en}],
    }


def test_everything_that_is_wrong_is_said_at_once(office: httpx.Client):
    body = {
        "slug": "No Slug",
        "municipality_code": "富士見",
        "first_fiscal_year": "29",
        "ratings": [{"code": ""}],
    }
    assert pointers(office, "POST", "/plans", body) == [
        "/title",
        "/municipality_code",
        "/municipality",
        "/first_fiscal_year",
        "/ratings/0/code",
        "/slug",
    ]


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"plan": "\xff"}', b"\xff\xfe", b"null", b"1", b'"x"'])
def test_what_is_no_json_object_is_refused(body, office: httpx.Client):
    for method, path in (("POST", "/sections"), ("PATCH", "/sections/1")):
        answer = office.request(method, path, content=body, headers={**JSON, **ANY})
        assert answer.status_code in (400, 422)
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("method", "path"), [("POST", "/sections"), ("PATCH", "/sections/1")])
def test_a_body_of_another_media_type_is_refused(method, path, office: httpx.Client):
    accepted = {"POST": "application/json", "PATCH": "application/merge-patch+json, application/json"}[method]
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        answer = office.request(method, path, content=b"{}", headers={**ANY, "Content-Type": media_type})
        assert answer.status_code == 415
        assert answer.headers[f"accept-{method}"] == accepted


@pytest.mark.parametrize("noun", NOUNS)
def test_a_field_that_does_not_exist_is_refused(noun, office: httpx.Client):
    sent, _ = AT_LEAST[noun]
    unknown = {"colour": "red", "": "empty"}
    assert pointers(office, "POST", f"/{noun}", sent | unknown) == ["/colour", "/"]
    assert pointers(office, "PATCH", FIRST[noun], unknown) == ["/colour", "/"]


# What the service keeps, or what names a row for good.
READ_ONLY = {
    "plans": ("id", "key", "version", "created_at", "updated_at", "folded", "slug"),
    "sections": (
        "id",
        "key",
        "municipality_code",
        "version",
        "created_at",
        "updated_at",
        "plan_id",
        "plan",
        "code",
    ),
    "measures": (
        "id",
        "key",
        "municipality_code",
        "version",
        "created_at",
        "updated_at",
        "section_id",
        "plan",
        "code",
    ),
    "evaluations": (
        *(
            "id",
            "key",
            "municipality_code",
            "version",
            "created_at",
            "updated_at",
            "section",
            "measure_title",
        ),
        *("fiscal_year_label", "document_id", "source_line", "folded"),
        *("plan", "measure_id", "measure_code", "fiscal_year", "ordinal"),
    ),
}


@pytest.mark.parametrize("noun", NOUNS)
def test_what_the_service_keeps_cannot_be_written(noun, office: httpx.Client):
    sent, _ = AT_LEAST[noun]
    names = READ_ONLY[noun]
    own = dict.fromkeys(names, 1)
    accepted_when_new = {"slug", "plan", "code", "measure_id", "measure_code", "fiscal_year", "ordinal"}
    assert pointers(office, "PATCH", FIRST[noun], own) == [f"/{name}" for name in names]
    kept = [name for name in names if name not in accepted_when_new]
    assert pointers(office, "POST", f"/{noun}", sent | dict.fromkeys(kept, 1)) == [
        f"/{name}" for name in kept
    ]


@pytest.mark.parametrize(
    ("noun", "names"),
    [
        ("plans", ("title", "municipality_code", "municipality", "ratings", "ratings_closed")),
        ("measures", ("title", "path", "section")),
        ("evaluations", ("extra",)),
    ],
)
def test_what_must_be_there_cannot_be_cleared(noun, names, office: httpx.Client):
    found = pointers(office, "PATCH", FIRST[noun], dict.fromkeys(names))
    assert sorted(found) == sorted(f"/{name}" for name in names)


LONGEST = {
    "plans": {"title": 500, "municipality": 100, "licence": 100},
    "sections": {"label": 100, "title": 500},
    "measures": {"title": 500},
    "evaluations": {
        "implementation": 10_000,
        "rating": 20,
        "rating_printed": 20,
        "rationale": 10_000,
        "next_plan": 10_000,
        "department": 100,
    },
}


@pytest.mark.parametrize("noun", NOUNS)
def test_a_text_has_a_maximum_that_counts_characters(noun, admin: httpx.Client):
    for name, longest in LONGEST[noun].items():
        full = "𠮷" * longest
        assert change(admin, FIRST[noun], **{name: full})[name] == full
        assert pointers(admin, "PATCH", FIRST[noun], {name: full + "a"}) == [f"/{name}"]
        assert pointers(admin, "PATCH", FIRST[noun], {name: ""}) == [f"/{name}"]


def test_names_in_keys_have_maxima_too(admin: httpx.Client):
    make_plan(admin, slug="a" * 64)
    make(admin, "sections", plan="a" * 64, code="節" * 64)
    make(admin, "measures", plan="a" * 64, section="節" * 64, code="施" * 64, title="施策")
    longer = {"slug": "a" * 65, "title": "x", "municipality_code": FUJIMI, "municipality": "富士見市"}
    assert pointers(admin, "POST", "/plans", longer) == ["/slug"]
    assert pointers(admin, "POST", "/sections", {"plan": PLAN, "code": "節" * 65}) == ["/code"]
    ratings = [{"code": f"{n}"} for n in range(101)]
    assert pointers(admin, "PATCH", f"/plans/{'a' * 64}", {"ratings": ratings}) == ["/ratings"]
    extra = {f"列{n}": "" for n in range(51)}
    assert pointers(admin, "PATCH", "/evaluations/1", {"extra": extra}) == ["/extra"]
    assert pointers(admin, "PATCH", "/evaluations/1", {"extra": {"列": "あ" * 10_001}}) == ["/extra/列"]


@pytest.mark.parametrize(
    "slug", ["", "-a", "a-", "a--b", "A", "1", "a_b", "a/b", "計画", "a\n", " a", "a b", "..", "ａ"], ids=repr
)
def test_a_slug_is_fit_for_an_address(slug, office: httpx.Client):
    body = {"slug": slug, "title": "x", "municipality_code": FUJIMI, "municipality": "富士見市"}
    assert pointers(office, "POST", "/plans", body) == ["/slug"]


@pytest.mark.parametrize(
    "code", ["", "a b", "a\u3000b", "a/b", "a,b", "a\n", "\t", "a\u0000", "\u0085"], ids=ascii
)
def test_a_code_is_fit_for_a_key_and_a_comma_list(code, office: httpx.Client):
    assert pointers(office, "POST", "/sections", {"plan": PLAN, "code": code}) == ["/code"]
    measure = {"plan": PLAN, "section": "1", "code": code, "title": "施策"}
    assert pointers(office, "POST", "/measures", measure) == ["/code"]


AS_PRINTED = "～〜~“ ”【】・　①㎥⑴–－−ーか\u3099が\ufeff\u200f\u2028𠮷👨‍👩‍👧\U0010ffff 'x'; -- %_\\ <b>&amp;"


def test_text_is_kept_exactly_as_sent(admin: httpx.Client):
    row = change(
        admin,
        "/evaluations/1",
        implementation=AS_PRINTED,
        department=AS_PRINTED,
        extra={AS_PRINTED: AS_PRINTED},
    )
    assert (row["implementation"], row["department"], row["extra"]) == (
        AS_PRINTED,
        AS_PRINTED,
        {AS_PRINTED: AS_PRINTED},
    )
    assert admin.get("/evaluations/1").json() == row
    assert change(admin, "/measures/1", title=AS_PRINTED, path=[AS_PRINTED])["path"] == [AS_PRINTED]
    assert admin.get("/evaluations/1").json()["measure_title"] == AS_PRINTED


ONE_LINE = [
    ("/plans/1", "/title", {"title": "x"}),
    ("/plans/1", "/municipality", {"municipality": "x"}),
    ("/plans/1", "/licence", {"licence": "x"}),
    ("/plans/1", "/source_url", {"source_url": "http://example.jp/x"}),
    ("/plans/1", "/ratings/0/code", {"ratings": [{"code": "x"}]}),
    ("/plans/1", "/ratings/0/label", {"ratings": [{"code": "A", "label": "x"}]}),
    ("/sections/1", "/label", {"label": "x"}),
    ("/sections/1", "/title", {"title": "x"}),
    ("/measures/1", "/title", {"title": "x"}),
    ("/measures/1", "/path/0", {"path": ["x"]}),
    ("/evaluations/1", "/rating", {"rating": "x"}),
    ("/evaluations/1", "/rating_printed", {"rating_printed": "x"}),
    ("/evaluations/1", "/department", {"department": "x"}),
]
MANY_LINES = [
    ("/plans/1", "/ratings/0/description", {"ratings": [{"code": "A", "description": "x"}]}),
    ("/evaluations/1", "/implementation", {"implementation": "x"}),
    ("/evaluations/1", "/rationale", {"rationale": "x"}),
    ("/evaluations/1", "/next_plan", {"next_plan": "x"}),
    ("/evaluations/1", "/extra/列", {"extra": {"列": "x"}}),
]
NEVER = [
    *("\u0000", "\u0001", "\u000b", "\r", "\u001b", "\u007f", "\u0085", "\u009f"),
    *("\ud800", "\udfff", "\udc00\ud800"),
]


@pytest.mark.parametrize(
    ("path", "pointer", "body", "characters"),
    [(*place, [*NEVER, "\t", "\n"]) for place in ONE_LINE] + [(*place, NEVER) for place in MANY_LINES],
    ids=[path + pointer for path, pointer, _ in ONE_LINE + MANY_LINES],
)
def test_characters_that_nobody_can_see_are_refused(path, pointer, body, characters, office: httpx.Client):
    for character in characters:
        escaped = json.dumps(f"a{character}b")[1:-1]
        sent = json.dumps(body).replace('x"', f'{escaped}"').encode()
        assert pointers(office, "PATCH", path, sent) == [pointer], ascii(character)


def test_tabs_and_newlines_belong_to_prose(admin: httpx.Client):
    prose = "\t一行目\n\n二行目\n"
    fields = {"implementation": prose, "rationale": prose, "next_plan": prose, "extra": {"列": prose}}
    row = change(admin, "/evaluations/1", **fields)
    assert {name: row[name] for name in fields} == fields


@pytest.mark.parametrize("name", [rb"\ud800", rb"\u0000", rb"\n"], ids=ascii)
def test_names_are_checked_like_texts(name, office: httpx.Client):
    unknown = b'{"plan": "%s", "code": "9", "%s": 1}' % (PLAN.encode(), name)
    assert len(refused(office, "POST", "/sections", unknown)) == 1
    extra = b'{"extra": {"%s": "1"}}' % name
    [pointer] = pointers(office, "PATCH", "/evaluations/1", extra)
    assert pointer == "/extra"


@pytest.mark.parametrize(
    ("path", "pointer", "body"),
    [
        ("/sections", "/plan", {"plan": "ax", "code": "9"}),
        ("/measures", "/plan", {"plan": "ax", "section": "1", "code": "9", "title": "施策"}),
        ("/measures", "/section", {"plan": PLAN, "section": "1x", "code": "9", "title": "施策"}),
        ("/evaluations", "/plan", {"plan": "ax", "measure_code": "1-1-1", "fiscal_year": 2017}),
        ("/evaluations", "/measure_code", {"plan": PLAN, "measure_code": "1-1-1x", "fiscal_year": 2017}),
        (
            "/plans",
            "/slug",
            {"slug": "ax", "title": "計画", "municipality_code": FUJIMI, "municipality": "富士見市"},
        ),
        (
            "/plans",
            "/municipality_code",
            {"slug": "a", "title": "計画", "municipality_code": "112356x", "municipality": "富士見市"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_name_is_checked_like_any_text(path, pointer, body, office: httpx.Client):
    for escaped in (r"\u0000", r"\ud800", r"\u001f"):
        sent = json.dumps(body).replace('x"', f'{escaped}"').encode()
        assert pointers(office, "POST", path, sent) == [pointer], escaped


def test_an_escaped_pair_of_surrogates_is_one_character(admin: httpx.Client):
    answer = admin.patch("/sections/1", content=rb'{"title": "\ud842\udfb7"}', headers={**JSON, **ANY})
    assert answer.json()["title"] == "𠮷"


NUMBERS = [
    ("PATCH", "/sections/1", "position", 0, 2**53 - 1),
    ("PATCH", "/measures/1", "position", 0, 2**53 - 1),
    ("POST", "/evaluations", "ordinal", 1, 1_000_000),
]


@pytest.mark.parametrize(("method", "path", "name", "least", "most"), NUMBERS)
def test_a_number_is_an_integer_within_its_bounds(method, path, name, least, most, admin: httpx.Client):
    other = {"measure_id": 1, "fiscal_year": 2018} if method == "POST" else {}
    for number in (least, most):
        answer = admin.request(method, path, json={**other, name: number}, headers=ANY)
        assert answer.json()[name] == number
    wrong = [least - 1, most + 1, 2**53, 2**63, 2**64, -(2**63), 10**400, True, False, 1.5, "1", [1], {}]
    for number in [*map(json.dumps, wrong), "1e400", "-1e400", "NaN", "Infinity", "-Infinity"]:
        body = json.dumps({**other, name: "x"}).replace('"x"', number).encode()
        assert pointers(admin, method, path, body) == [f"/{name}"], number


@pytest.mark.parametrize("number", ["0", "-1", str(2**53), str(2**63), "1.5", "true", '"1"'])
def test_the_number_of_a_measure_is_an_id(number, office: httpx.Client):
    body = b'{"fiscal_year": 2017, "measure_id": %s}' % number.encode()
    assert pointers(office, "POST", "/evaluations", body) == ["/measure_id"]


@pytest.mark.parametrize("value", [0, 1, "true", "", None, [], {}], ids=repr)
def test_only_true_and_false_are_boolean(value, office: httpx.Client):
    assert pointers(office, "PATCH", "/plans/1", {"ratings_closed": value}) == ["/ratings_closed"]


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.jp",
        "example.jp",
        "http://",
        "//example.jp",
        "http://a b",
        " http://a",
        "http://a ",
        "http://a/b c",
    ],
)
def test_a_source_is_an_address_on_the_web(address, office: httpx.Client):
    assert pointers(office, "PATCH", "/plans/1", {"source_url": address}) == ["/source_url"]


# ---------------------------------------------------------------------------------------------------------
# Changing rows

WRITABLE = {
    "plans": (
        *("title", "municipality_code", "municipality", "first_fiscal_year", "last_fiscal_year"),
        *("ratings", "ratings_closed", "licence", "source_url"),
    ),
    "sections": ("label", "title", "position"),
    "measures": ("section", "title", "path", "position"),
    "evaluations": (
        *("implementation", "rating", "rating_printed", "rationale", "next_plan", "department", "extra"),
    ),
}


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/merge-patch+json", "Application/JSON; charset=utf-8"]
)
def test_a_patch_changes_what_it_names_and_nothing_else(media_type, admin: httpx.Client):
    before = admin.get("/evaluations/24").json()
    answer = admin.patch(
        "/evaluations/24",
        content=json.dumps({"department": "福祉課", "rationale": None}),
        headers={"Content-Type": media_type, **ANY},
    )
    assert answer.status_code == 200
    after = admin.get("/evaluations/24")
    assert answer.json() == after.json()
    assert answer.headers["etag"] == after.headers["etag"]
    assert untimed(after.json()) == untimed(before) | {
        "department": "福祉課",
        "rationale": None,
        "version": 2,
    }
    assert after.json()["created_at"] == before["created_at"]
    assert after.json()["updated_at"] > before["updated_at"]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/plans/1", ("first_fiscal_year", "last_fiscal_year", "licence", "source_url")),
        ("/sections/1", ("label", "title", "position")),
        ("/measures/1", ("position",)),
        ("/evaluations/1", ("implementation", "rationale", "next_plan", "department")),
    ],
)
def test_null_clears_what_may_be_unknown(path, names, admin: httpx.Client):
    years_and_numbers = ("position", "first_fiscal_year", "last_fiscal_year")
    filled = {name: 2017 if name in years_and_numbers else "https://example.jp" for name in names}
    row = change(admin, path, **filled)
    assert {name: row[name] for name in names} == filled
    assert untimed(change(admin, path, **dict.fromkeys(names))) == untimed(row) | dict.fromkeys(names) | {
        "version": row["version"] + 1
    }


def test_a_list_is_replaced_whole(admin: httpx.Client):
    change(admin, "/plans/1", ratings=[{"code": "A", "label": "順調"}, {"code": "B"}, {"code": "C"}])
    shorter = [{"code": "B"}, {"code": "A"}]
    assert change(admin, "/plans/1", ratings=shorter)["ratings"] == [
        {"code": "B", "label": None, "description": None},
        {"code": "A", "label": None, "description": None},
    ]
    assert change(admin, "/measures/1", path=["1"])["path"] == ["1"]
    assert change(admin, "/measures/1", path=[])["path"] == []


def test_an_object_is_merged_name_by_name(admin: httpx.Client):
    change(admin, "/evaluations/1", extra={"予算": "100", "備考": "あり"})
    assert change(admin, "/evaluations/1", extra={"対象": "小学生"})["extra"] == {
        "予算": "100",
        "備考": "あり",
        "対象": "小学生",
    }
    assert change(admin, "/evaluations/1", extra={"備考": None, "無い": None})["extra"] == {
        "予算": "100",
        "対象": "小学生",
    }


def test_a_patch_is_checked_as_the_row_it_would_make(admin: httpx.Client):
    change(admin, "/plans/1", first_fiscal_year="H29", last_fiscal_year="H31")
    for patch in (
        {"first_fiscal_year": 2020},
        {"last_fiscal_year": 2016},
        {"first_fiscal_year": 2021, "last_fiscal_year": 2020},
    ):
        [error] = refused(admin, "PATCH", "/plans/1", patch)
        assert error["detail"].endswith("より後です。")
    row = change(admin, "/plans/1", first_fiscal_year=2020, last_fiscal_year=2020)
    assert (row["first_fiscal_year"], row["last_fiscal_year"]) == (2020, 2020)


def test_a_new_plan_begins_before_it_ends(office: httpx.Client):
    body = {"slug": "k", "title": "計画", "municipality_code": FUJIMI, "municipality": "富士見市"}
    [error] = refused(
        office, "POST", "/plans", {**body, "first_fiscal_year": "R2", "last_fiscal_year": "R元"}
    )
    assert error == {"pointer": "", "detail": "計画期間の初年度 (2020) が最終年度 (2019) より後です。"}


@pytest.mark.parametrize("noun", NOUNS)
def test_a_patch_that_changes_nothing_leaves_no_trace(noun, town: Service, admin: httpx.Client):
    before = admin.get(FIRST[noun])
    stand = revision(admin)
    as_it_is = {name: before.json()[name] for name in WRITABLE[noun]}
    for patch in ({}, as_it_is, *({name: value} for name, value in as_it_is.items())):
        answer = admin.patch(FIRST[noun], json=patch, headers=ANY)
        assert answer.status_code == 200
        assert answer.json() == before.json()
        assert answer.headers["etag"] == before.headers["etag"]
    assert revision(admin) == stand
    assert log(town, after=stand) == []


def test_a_measure_can_move_to_another_section(town: Service, admin: httpx.Client):
    before = admin.get("/measures/1").json()
    stand = revision(admin)
    assert untimed(change(admin, "/measures/1", section="2")) == untimed(before) | {
        "section": "2",
        "version": 2,
    }
    assert admin.get("/evaluations/1").json()["section"] == "2"
    assert log(town, after=stand) == [("measure", "update", f"{PLAN}/1-1-1")]


# ---------------------------------------------------------------------------------------------------------
# Ratings


def test_the_printed_mark_follows_the_rating(admin: httpx.Client):
    def marks(**fields: Any) -> tuple[str | None, str | None]:
        row = change(admin, "/evaluations/1", **fields)
        return row["rating"], row["rating_printed"]

    assert marks() == ("A", "A")
    assert marks(rating="B") == ("B", "B")
    assert marks(rating="B", rating_printed="B拡") == ("B", "B拡")
    assert marks(rationale="別の理由") == ("B", "B拡")
    assert marks(rating="A") == ("A", "A")
    assert marks(rating_printed="Ａ") == ("A", "Ａ")
    assert marks(rating_printed=None) == ("A", "A")
    assert marks(rating=None) == (None, None)
    assert marks(rating_printed="－") == (None, "－")


def test_the_printed_mark_stays_while_the_rating_does(admin: httpx.Client):
    change(admin, "/evaluations/1", rating_printed="A拡")
    row = change(admin, "/evaluations/1", rating="A", rationale="理由だけの訂正")
    assert (row["rating"], row["rating_printed"]) == ("A", "A拡")


def test_a_new_row_is_printed_as_it_is_rated(admin: httpx.Client):
    made = [
        make(admin, "evaluations", measure_id=1, fiscal_year=2018, **given)
        for given in ({"rating": "A"}, {"rating": "B", "rating_printed": "B改"}, {"rating_printed": "－"}, {})
    ]
    marks = [(row["rating"], row["rating_printed"]) for row in made]
    assert marks == [("A", "A"), ("B", "B改"), (None, "－"), (None, None)]


def test_a_new_code_joins_an_open_scale_in_the_usual_order(town: Service, admin: httpx.Client):
    stand = revision(admin)
    make(admin, "evaluations", measure_id=1, fiscal_year=2018, rating="C")
    assert log(town, after=stand) == [
        ("plan", "update", PLAN),
        ("evaluation", "create", f"{PLAN}/1-1-1/2018/1"),
    ]
    change(admin, "/evaluations/2", rating="S")
    assert admin.get(f"/plans/{PLAN}").json()["ratings"] == [
        {"code": code, "label": None, "description": None} for code in "SABC"
    ]
    stand = revision(admin)
    make(admin, "evaluations", measure_id=1, fiscal_year=2018, rating="C")
    assert [entity for entity, _, _ in log(town, after=stand)] == ["evaluation"]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ("×○◎△", "◎○△×"),
        (["c", "a", "b"], "abc"),
        (["完了", "未完", "継続"], ["完了", "未完", "継続"]),
        (["A", "△コロナ", "S"], ["A", "△コロナ", "S"]),
    ],
)
def test_a_scale_grows_as_its_marks_are_usually_ranked(codes, expected, admin: httpx.Client):
    make_plan(admin)
    make(admin, "sections", plan="kawagoe-kosodate", code="1")
    measure = make(admin, "measures", plan="kawagoe-kosodate", section="1", code="1", title="施策")
    for code in codes:
        make(admin, "evaluations", measure_id=measure["id"], fiscal_year=2020, rating=code)
    assert scale(admin, "kawagoe-kosodate") == list(expected)


def test_a_code_is_never_folded(admin: httpx.Client):
    for code in ("a", "Ａ", "ａ", "B  b", "b"):
        row = make(admin, "evaluations", measure_id=1, fiscal_year=2018, rating=code)
        assert (row["rating"], row["rating_printed"]) == (code, code)
    assert scale(admin) == ["A", "B", "a", "Ａ", "ａ", "B  b", "b"]


def test_what_a_code_means_stays_when_another_joins(admin: httpx.Client):
    told = {"code": "B", "label": "概ね順調", "description": "8割以上"}
    change(admin, "/plans/1", ratings=[{"code": "A"}, told])
    make(admin, "evaluations", measure_id=1, fiscal_year=2018, rating="C")
    assert admin.get("/plans/1").json()["ratings"] == [
        {"code": "A", "label": None, "description": None},
        told,
        {"code": "C", "label": None, "description": None},
    ]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/evaluations", {"measure_id": 1, "fiscal_year": 2018, "rating": "C"}),
        (
            "POST",
            "/evaluations",
            {"measure_id": 1, "fiscal_year": 2018, "rating": "a", "rating_printed": "A"},
        ),
        ("PATCH", "/evaluations/1", {"rating": "Ａ"}),
    ],
)
def test_a_closed_scale_refuses_a_code_it_does_not_know(method, path, body, admin: httpx.Client):
    change(admin, "/plans/1", ratings_closed=True)
    [error] = refused(admin, method, path, body)
    rating = body["rating"]
    assert error == {
        "pointer": "/rating",
        "detail": f"評価 {rating} はこの計画の評価区分にありません。使えるのは A, B です。",
    }


def test_a_closed_scale_accepts_its_own_codes_and_none(admin: httpx.Client):
    change(admin, "/plans/1", ratings_closed=True)
    assert change(admin, "/evaluations/1", rating="B")["rating"] == "B"
    assert change(admin, "/evaluations/1", rating=None)["rating"] is None
    assert make(admin, "evaluations", measure_id=1, fiscal_year=2018, rating="A")["rating"] == "A"


def test_a_code_in_use_cannot_leave_the_scale(admin: httpx.Client):
    change(admin, "/plans/1", ratings=[{"code": "A"}, {"code": "B"}, {"code": "C"}])
    assert refused(admin, "PATCH", "/plans/1", {"ratings": [{"code": "A"}, {"code": "C"}]}, 409) == []
    assert refused(admin, "PATCH", "/plans/1", {"ratings": [{"code": "A"}, {"code": "b"}]}, 409) == []
    change(admin, "/plans/1", ratings=[{"code": "A"}, {"code": "B"}])
    assert scale(admin) == ["A", "B"]


# ---------------------------------------------------------------------------------------------------------
# Whose change wins


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("noun", NOUNS)
def test_a_change_must_say_what_it_has_seen(noun, method, office: httpx.Client):
    before = office.get(FIRST[noun])
    etag = before.headers["etag"]

    def attempt(if_match: str | None) -> httpx.Response:
        body = {"json": {}} if method == "PATCH" else {}
        headers = {} if if_match is None else {"If-Match": if_match}
        return office.request(method, FIRST[noun], headers=headers, **body)

    without = attempt(None)
    assert (without.status_code, without.json()["type"]) == (428, "/docs/problems/precondition-required")
    for stale in ('"stale"', f"W/{etag}", etag.strip('"'), "", '"*"', f'W/{etag}, "other"'):
        answer = attempt(stale)
        assert (answer.status_code, answer.headers.get("etag")) == (412, etag), stale
        assert answer.json()["type"] == "/docs/problems/precondition-failed"
        assert ("引用符" in answer.json()["detail"]) == ('"' not in stale), stale
    assert office.get(FIRST[noun]).json() == before.json()


@pytest.mark.parametrize("form", ["{}", '"other", {}', "*", '{},"other"'])
def test_a_change_is_made_by_who_has_seen_the_row_as_it_is(form, admin: httpx.Client):
    etag = admin.get("/evaluations/1").headers["etag"]
    headers = {"If-Match": form.format(etag)}
    assert admin.patch("/evaluations/1", json={"rationale": "新"}, headers=headers).status_code == 200
    etag = admin.get("/evaluations/1").headers["etag"]
    headers = {"If-Match": form.format(etag)}
    assert admin.delete("/evaluations/1", headers=headers).status_code == 204


def test_the_second_of_two_who_saw_the_same_row_is_refused(admin: httpx.Client):
    etag = admin.get("/plans/1").headers["etag"]
    first = admin.patch("/plans/1", json={"licence": "CC BY 4.0"}, headers={"If-Match": etag})
    second = admin.patch("/plans/1", json={"licence": "CC0"}, headers={"If-Match": etag})
    assert (first.status_code, second.status_code) == (200, 412)
    assert second.headers["etag"] == first.headers["etag"]
    again = admin.patch("/plans/1", json={"licence": "CC0"}, headers={"If-Match": second.headers["etag"]})
    assert again.json()["licence"] == "CC0"


@pytest.mark.parametrize("patch", [{"title": "新しい名称"}, {"section": "2"}])
def test_a_row_that_shows_its_measure_changes_with_it(patch, admin: httpx.Client):
    etag = admin.get("/evaluations/1").headers["etag"]
    change(admin, "/measures/1", **patch)
    seen = admin.get("/evaluations/1", headers={"If-None-Match": etag})
    assert seen.status_code == 200
    assert seen.json()["version"] == 1
    answer = admin.patch("/evaluations/1", json={"rationale": "理由"}, headers={"If-Match": etag})
    assert (answer.status_code, answer.headers["etag"]) == (412, seen.headers["etag"])


def test_no_write_is_lost_to_if_none_match(admin: httpx.Client):
    """It is made, or refused with 412 (RFC 9110, 13.1.2); 304 is for reading."""
    for if_none_match in ("*", admin.get("/plans/1").headers["etag"]):
        headers = {"If-Match": "*", "If-None-Match": if_none_match}
        answer = admin.patch("/plans/1", json={"licence": "CC BY 4.0"}, headers=headers)
        licence = admin.get("/plans/1").json()["licence"]
        assert (answer.status_code, licence) in ((200, "CC BY 4.0"), (412, None))


@pytest.mark.parametrize("noun", NOUNS)
def test_what_is_not_there_cannot_be_changed(noun, office: httpx.Client):
    for method, body in (("PATCH", {}), ("DELETE", None)):
        for headers in (ANY, {}):
            answer = office.request(method, f"/{noun}/999", json=body, headers={**JSON, **headers})
            assert (answer.status_code, answer.json()["type"]) == (404, "/docs/problems/not-found")


# ---------------------------------------------------------------------------------------------------------
# Removing rows


def above(entity: str, key: str) -> list[tuple[str, str]]:
    """What a row stands below, as far as its key tells."""
    plan, *rest = key.split("/")
    measure = [("measure", f"{plan}/{rest[0]}")] if entity == "evaluation" else []
    return [*measure, ("plan", plan)] if rest else []


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("/evaluations/1", {"evaluation": 1}),
        ("/measures/24", {"evaluation": 3, "measure": 1}),
        ("/sections/4", {"evaluation": 7, "measure": 5, "section": 1}),
        (f"/plans/{PLAN}", {"evaluation": 26, "measure": 24, "section": 4, "document": 1, "plan": 1}),
    ],
)
def test_what_stands_below_goes_too_and_each_row_is_logged_children_first(
    path, counts, town: Service, admin: httpx.Client
):
    tables = ("plan", "section", "measure", "evaluation", "document")

    def count() -> dict[str, int]:
        return {name: admin.get(f"/{name}s").json()["metadata"]["resultset"]["count"] for name in tables}

    before, stand = count(), revision(admin)
    answer = admin.delete(path, headers=ANY)
    assert (answer.status_code, answer.content) == (204, b"")
    assert count() == {name: before[name] - counts.get(name, 0) for name in tables}
    assert admin.get(path).status_code == 404
    assert admin.delete(path, headers=ANY).status_code == 404

    gone = log(town, after=stand)
    assert {entity: sum(e == entity for e, _, _ in gone) for entity in counts} == counts
    assert len(gone) == sum(counts.values()) == revision(admin) - stand
    assert {op for _, op, _ in gone} == {"delete"}
    place = {(entity, key): n for n, (entity, _, key) in enumerate(gone)}
    for (entity, key), n in place.items():
        assert all(n < place[parent] for parent in above(entity, key) if parent in place)
        if entity == "measure":
            assert all(n < section for (kind, _), section in place.items() if kind == "section")


@pytest.mark.parametrize("noun", NOUNS)
def test_an_id_is_never_used_again(noun, admin: httpx.Client):
    sent, _ = AT_LEAST[noun]
    ids = []
    for _ in range(3):
        ids.append(make(admin, noun, **sent)["id"])
        admin.delete(f"/{noun}/{ids[-1]}", headers=ANY)
    assert ids == sorted(set(ids))
    assert [admin.get(f"/{noun}/{id}").status_code for id in ids] == [404, 404, 404]


@pytest.mark.parametrize("noun", NOUNS)
def test_a_key_that_is_made_again_counts_its_versions_on(noun, admin: httpx.Client):
    sent, _ = AT_LEAST[noun]
    first = make(admin, noun, **sent)
    etag = admin.get(f"/{noun}/{first['id']}").headers["etag"]
    admin.delete(f"/{noun}/{first['id']}", headers=ANY)
    second = make(admin, noun, **sent)
    assert (first["version"], second["version"]) == (1, 3)
    assert second["key"] == first["key"]
    assert admin.get(f"/{noun}/{second['id']}").headers["etag"] != etag
    assert admin.get(f"/{noun}/{first['id']}").status_code == 404


def test_rows_below_a_plan_that_is_made_again_count_their_versions_on_too(admin: httpx.Client):
    plan = admin.get(f"/plans/{PLAN}").json()
    admin.delete(f"/plans/{PLAN}", headers=ANY)
    fields = {name: plan[name] for name in WRITABLE["plans"]}
    assert make(admin, "plans", slug=PLAN, **fields)["version"] == 3
    assert make(admin, "sections", plan=PLAN, code="1")["version"] == 3
    assert make(admin, "measures", plan=PLAN, section="1", code="1-1-1", title="施策")["version"] == 3
    assert make(admin, "evaluations", plan=PLAN, measure_code="1-1-1", fiscal_year=2017)["version"] == 3
    assert make(admin, "evaluations", plan=PLAN, measure_code="1-1-1", fiscal_year=2018)["version"] == 1
