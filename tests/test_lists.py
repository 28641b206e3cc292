"""Lists: what is in them, in which order, which rows a filter keeps, and how a reader gets through all of them."""

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from itertools import combinations
from random import Random
from typing import Any
from unicodedata import normalize
from urllib.parse import urlencode

import httpx
import pytest

from app.documents.importing import import_document
from app.documents.told import Told
from app.kit import fetching, listing, migrations
from app.kit.database import Database
from tests.conftest import FUJIMI, KAWAGOE, Backend, Service, opened, running

Row = dict[str, Any]

LISTS = {"/plans": 1, "/sections": 4, "/measures": 24, "/evaluations": 26, "/documents": 1}
FIELDS = {
    "/plans": "id key slug title municipality_code municipality first_fiscal_year last_fiscal_year ratings "
    "ratings_closed licence source_url origin version created_at updated_at",
    "/sections": "id key plan municipality_code code label title position version created_at updated_at",
    "/measures": "id key plan municipality_code section code title path position version created_at updated_at",
    "/evaluations": "id key plan municipality_code section measure_id measure_code measure_title fiscal_year "
    "fiscal_year_label ordinal implementation rating rating_printed rationale next_plan department extra "
    "document_id source_line version created_at updated_at",
    "/documents": "id key plan municipality_code sha256 name media_type encoding fiscal_year size report "
    "version created_at updated_at",
}
SORTS = {
    "/plans": "id slug title municipality_code updated_at",
    "/sections": "id plan code updated_at",
    "/measures": "id plan code title updated_at",
    "/evaluations": "id plan code fiscal_year ordinal updated_at",
    "/documents": "id plan name size updated_at",
}
PARAMETERS = {
    "/plans": "cursor fields limit municipality q sort",
    "/sections": "cursor fields limit municipality plan sort",
    "/measures": "cursor department expand fields fiscal_year limit measure municipality plan q rating section sort",
    "/evaluations": "cursor department fields fiscal_year limit measure measure_id municipality plan q rating "
    "section sort",
    "/documents": "cursor fields fiscal_year limit municipality plan sort",
}
EACH_SORT = [(path, name) for path, names in SORTS.items() for name in names.split()]


def got(client: httpx.Client, path: str, **query: Any) -> Row:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    body: Row = answer.json()
    return body


def rows(client: httpx.Client, path: str, **query: Any) -> list[Row]:
    results: list[Row] = got(client, path, **query)["results"]
    return results


def keys(client: httpx.Client, path: str, **query: Any) -> list[str]:
    return [row["key"] for row in rows(client, path, **query)]


def codes(client: httpx.Client, path: str, **query: Any) -> list[str]:
    return [row["code"] for row in rows(client, path, **query)]


def refused(answer: httpx.Response) -> list[Row]:
    assert answer.status_code == 422, answer.text
    errors: list[Row] = answer.json()["errors"]
    return errors


def pages(client: httpx.Client, path: str, **query: Any) -> Iterator[list[Row]]:
    """Every page from the first to the last, each found by the link that the one before gives."""
    answer = client.get(path, params=query)
    count = answer.json()["metadata"]["resultset"]["count"]
    shown = 0
    while True:
        assert answer.status_code == 200, answer.text
        resultset = answer.json()["metadata"]["resultset"]
        assert (resultset["count"], resultset["limit"]) == (count, query["limit"])
        shown += len(answer.json()["results"])
        assert shown <= count
        yield answer.json()["results"]
        if resultset["next"] is None:
            assert "link" not in answer.headers
            return
        address = f"{path}?{urlencode(query | {'cursor': resultset['next']})}"
        assert answer.headers["link"] == f'<{address}>; rel="next"'
        answer = client.get(answer.links["next"]["url"])


# ---------------------------------------------------------------------------------------------------------
# A small library whose rows were not written in the order in which they are read


def _measure(code: str, title: str) -> Row:
    return {"plan": "kawagoe-kodomo", "section": code.split("-")[0], "code": code, "title": title}


def _evaluation(code: str, year: int, rating: str | None, department: str | None, done: str) -> Row:
    return {
        "plan": "kawagoe-kodomo",
        "measure_code": code,
        "fiscal_year": year,
        "rating": rating,
        "department": department,
        "implementation": done,
    }


WRITTEN = [
    ("/plans", {"slug": slug, "title": title, "municipality_code": code, "municipality": municipality})
    for slug, title, code, municipality in (
        ("kawagoe-kodomo", "川越こども計画", KAWAGOE, "川越市"),
        ("kawagoe-kankyo", "川越環境計画", KAWAGOE, "川越市"),
        ("fujimi-kankyo", "富士見環境計画", FUJIMI, "富士見市"),
    )
]
WRITTEN += [("/sections", {"plan": "kawagoe-kodomo", "code": code}) for code in ("10", "1", "2")]
WRITTEN += [
    ("/measures", _measure("10-1", "相談窓口")),
    ("/measures", _measure("1-10", "学習支援")),
    ("/measures", _measure("1-2", "子ども食堂")),
    ("/measures", _measure("2-1", "居場所")),
    ("/measures", _measure("1-1", "学習支援")),
]
WRITTEN += [
    ("/evaluations", _evaluation(*told))
    for told in (
        ("1-2", 2019, "A", "こども課", "食堂を開いた"),
        ("1-2", 2018, "B", "こども課", "準備した"),
        ("1-10", 2019, "C", "福祉課", "教材を増やした"),
        ("1-10", 2018, "A", "福祉課", "教室を開いた"),
        ("1-10", 2018, None, "こども課", "教材を配った"),
        ("1-10", 2018, "B", None, "教室を閉じた"),
        ("1-1", 2019, "A", "福祉課", "教室を開いた"),
        ("1-1", 2018, "S", "福祉課", "準備した"),
        ("10-1", 2018, None, None, "窓口を準備した"),
        ("10-1", 2019, "B", "福祉課", "窓口を開いた"),
    )
]
FILES = [
    ("kawagoe-kankyo", "b.txt", "H30", "H31", "緑化", "植樹", "◎"),
    ("fujimi-kankyo", "c.tsv", "H30", "H31", "節電", "点検", "○"),
    ("kawagoe-kankyo", "a.tsv", "R元", "R2", "緑化", "間伐と植樹", "◎"),
]


def _file(year: str, following: str, title: str, done: str, rating: str) -> bytes:
    header = f"項目\t\t\t計画\t{year}実施内容\t評価\t理由・課題等\t{following}計画内容"
    return f"環境計画\n\n{header}\n第1節\t1\t①\t{title}\t{done}\t{rating}\t\t継続\n".encode()


@pytest.fixture(scope="module")
def small(backend: Backend) -> Iterator[Service]:
    url = backend.empty()
    with opened(url) as database:
        migrations.upgrade(database)
    with running(url) as service:
        with service.holder(service.key()) as admin:
            for path, row in WRITTEN:
                admin.post(path, json=row)
        for plan, name, *told in FILES:
            with service.database.writing() as session:
                import_document(session, _file(*told), name, Told(plan=plan))
        yield service
    backend.drop(url)


@pytest.fixture
def shelf(small: Service) -> httpx.Client:
    return small.anyone


def test_the_small_library_holds_what_was_written(shelf: httpx.Client):
    assert {path: got(shelf, path)["metadata"]["resultset"]["count"] for path in LISTS} == {
        "/plans": 3,
        "/sections": 5,
        "/measures": 7,
        "/evaluations": 13,
        "/documents": 3,
    }


# ---------------------------------------------------------------------------------------------------------
# The envelope, and what the rows in it look like


@pytest.mark.parametrize(("path", "count"), LISTS.items())
def test_a_list_says_how_many_match_how_many_it_shows_and_at_which_revision(path, count, read: httpx.Client):
    body = got(read, path)
    assert body["metadata"] == {
        "resultset": {"count": count, "limit": 100, "next": None},
        "revision": 1 + 1 + 4 + 24 + 26,
    }
    assert list(body) == ["metadata", "results"]
    assert len(body["results"]) == count


@pytest.mark.parametrize("path", LISTS)
def test_a_list_that_matches_nothing_is_empty(path, read: httpx.Client):
    assert got(read, path, municipality=KAWAGOE) == {
        "metadata": {"resultset": {"count": 0, "limit": 100, "next": None}, "revision": 56},
        "results": [],
    }


@pytest.mark.parametrize("path", LISTS)
def test_a_row_in_a_list_is_the_row_at_its_own_address(path, shelf: httpx.Client):
    for row in rows(shelf, path):
        assert got(shelf, f"{path}/{row['id']}") == row


@pytest.mark.parametrize(("path", "names"), FIELDS.items())
def test_a_row_has_all_its_fields_in_their_order(path, names, read: httpx.Client):
    assert {tuple(row) for row in rows(read, path)} == {tuple(names.split())}


def test_a_count_is_of_all_that_match_and_not_of_the_page(read: httpx.Client):
    body = got(read, "/evaluations", section=4, limit=2)
    assert body["metadata"]["resultset"]["count"] == 7
    assert len(body["results"]) == 2


# ---------------------------------------------------------------------------------------------------------
# Order

IN_ORDER = {
    "/plans": ["fujimi-kankyo", "kawagoe-kankyo", "kawagoe-kodomo"],
    "/sections": [
        "fujimi-kankyo/1",
        "kawagoe-kankyo/1",
        "kawagoe-kodomo/1",
        "kawagoe-kodomo/2",
        "kawagoe-kodomo/10",
    ],
    "/measures": [
        "fujimi-kankyo/1-1-1",
        "kawagoe-kankyo/1-1-1",
        "kawagoe-kodomo/1-1",
        "kawagoe-kodomo/1-2",
        "kawagoe-kodomo/1-10",
        "kawagoe-kodomo/2-1",
        "kawagoe-kodomo/10-1",
    ],
    "/evaluations": [
        "fujimi-kankyo/1-1-1/2018/1",
        "kawagoe-kankyo/1-1-1/2018/1",
        "kawagoe-kankyo/1-1-1/2019/1",
        "kawagoe-kodomo/1-1/2018/1",
        "kawagoe-kodomo/1-1/2019/1",
        "kawagoe-kodomo/1-2/2018/1",
        "kawagoe-kodomo/1-2/2019/1",
        "kawagoe-kodomo/1-10/2018/1",
        "kawagoe-kodomo/1-10/2018/2",
        "kawagoe-kodomo/1-10/2018/3",
        "kawagoe-kodomo/1-10/2019/1",
        "kawagoe-kodomo/10-1/2018/1",
        "kawagoe-kodomo/10-1/2019/1",
    ],
}


@pytest.mark.parametrize(("path", "expected"), IN_ORDER.items())
def test_without_a_wish_rows_stand_as_a_plan_is_read_and_codes_as_people_count(
    path, expected, shelf: httpx.Client
):
    assert keys(shelf, path) == expected


def test_without_a_wish_documents_stand_in_the_order_in_which_they_came(shelf: httpx.Client):
    assert [row["name"] for row in rows(shelf, "/documents")] == ["b.txt", "c.tsv", "a.tsv"]


def rank(name: str) -> Callable[[Row], Any]:
    """By what a row is sorted: codes by the numbers in them, all else by its value."""
    if name == "code":
        return lambda row: [int(number) for number in (row.get("code") or row["measure_code"]).split("-")]
    return lambda row: row[name]


@pytest.mark.parametrize(("path", "name"), EACH_SORT)
def test_rows_are_sorted_by_every_name_in_both_directions(path, name, shelf: httpx.Client):
    rising, falling = ([rank(name)(row) for row in rows(shelf, path, sort=sign + name)] for sign in ("", "-"))
    assert rising == sorted(rising) != falling
    assert falling == sorted(falling, reverse=True)
    assert len(rising) == len(falling) >= 3


def test_rows_are_sorted_by_several_names_each_in_its_direction(shelf: httpx.Client):
    found = rows(shelf, "/evaluations", plan="kawagoe-kodomo", sort="-fiscal_year,code,-ordinal")
    assert [(row["fiscal_year"], row["measure_code"], row["ordinal"]) for row in found] == [
        (2019, "1-1", 1),
        (2019, "1-2", 1),
        (2019, "1-10", 1),
        (2019, "10-1", 1),
        (2018, "1-1", 1),
        (2018, "1-2", 1),
        (2018, "1-10", 3),
        (2018, "1-10", 2),
        (2018, "1-10", 1),
        (2018, "10-1", 1),
    ]


def test_a_name_that_is_given_twice_counts_where_it_stands_first(shelf: httpx.Client):
    once, twice = (keys(shelf, "/evaluations", sort=sort) for sort in ("-code,plan", "-code,plan,code"))
    assert once == twice


def test_what_is_remembered_of_a_count_does_not_grow_with_what_was_asked(library: Service):
    library.database.counted.clear()
    for times in (1, 5_000):
        sort = ",".join(["-code"] * times)
        assert unkept(library, "/evaluations", limit=1, sort=sort, section="3") == 200
    [(bound, *_)] = library.database.counted  # they are the same
    assert len(bound) == 16


@pytest.mark.parametrize(("path", "names"), SORTS.items())
def test_an_unknown_order_is_refused_and_the_known_ones_are_named(path, names, read: httpx.Client):
    detail = f"次の名前をコンマ区切りで指定してください（前に - を付けると降順）: {', '.join(names.split())}"
    for sort in ("nothing", "", "id,", ",id", "+id", "--id", "ID", "id;drop"):
        assert refused(read.get(path, params={"sort": sort})) == [{"parameter": "sort", "detail": detail}]


# ---------------------------------------------------------------------------------------------------------
# Filters

Filter = tuple[str, Callable[[Row], bool]]


def folded(*texts: str | None) -> str:
    return "\n".join("".join(normalize("NFKC", text).casefold().split()) for text in texts if text)


def mentions(row: Row, word: str) -> bool:
    texts = (
        row[name] for name in ("measure_title", "implementation", "rationale", "next_plan", "department")
    )
    return word in folded(*texts)


OF_ROW: dict[str, Filter] = {
    "fiscal_year": ("H30", lambda row: row["fiscal_year"] == 2018),
    "rating": ("A,none", lambda row: row["rating"] in ("A", None)),
    "department": ("福祉課", lambda row: row["department"] == "福祉課"),
    "q": ("教室", lambda row: mentions(row, "教室")),
}
OF_MEASURE: dict[str, Filter] = {
    "municipality": ("11201", lambda row: row["municipality_code"] == KAWAGOE),
    "plan": ("kawagoe-kodomo", lambda row: row["plan"] == "kawagoe-kodomo"),
    "section": ("1", lambda row: row["section"] == "1"),
    "measure": ("1-10", lambda row: (row.get("code") or row["measure_code"]) == "1-10"),
}


def subsets(filters: dict[str, Filter]) -> list[dict[str, Filter]]:
    return [dict(some) for size in (2, len(filters)) for some in combinations(filters.items(), size)]


def query_of(filters: dict[str, Filter]) -> dict[str, str]:
    return {name: value for name, (value, _) in filters.items()}


@pytest.mark.parametrize(("name", "filter"), (OF_ROW | OF_MEASURE).items())
def test_every_filter_keeps_some_evaluations_and_drops_others(name, filter, shelf: httpx.Client):
    value, fits = filter
    everything = rows(shelf, "/evaluations")
    kept = rows(shelf, "/evaluations", **{name: value})
    assert kept == [row for row in everything if fits(row)]
    assert 0 < len(kept) < len(everything)


def test_filters_of_evaluations_combine(shelf: httpx.Client):
    everything = rows(shelf, "/evaluations")
    for filters in subsets(OF_ROW | OF_MEASURE):
        expected = [row for row in everything if all(fits(row) for _, fits in filters.values())]
        body = got(shelf, "/evaluations", **query_of(filters))
        assert (query_of(filters), body["results"]) == (query_of(filters), expected)
        assert body["metadata"]["resultset"]["count"] == len(expected)


def test_filters_of_measures_combine_and_one_evaluation_must_fit_them_all(shelf: httpx.Client):
    everything = rows(shelf, "/measures", expand="evaluations")
    for filters in subsets(OF_ROW | OF_MEASURE):
        of_measure = [fits for name, (_, fits) in filters.items() if name in OF_MEASURE]
        of_row = [fits for name, (_, fits) in filters.items() if name in OF_ROW]
        expected = [
            measure["key"]
            for measure in everything
            if all(fits(measure) for fits in of_measure)
            and (not of_row or any(all(fits(row) for fits in of_row) for row in measure["evaluations"]))
        ]
        assert (query_of(filters), keys(shelf, "/measures", **query_of(filters))) == (
            query_of(filters),
            expected,
        )


def test_a_measure_is_not_found_by_what_two_of_its_evaluations_say(shelf: httpx.Client):
    assert codes(shelf, "/measures", rating="S", department="福祉課") == ["1-1"]
    assert codes(shelf, "/measures", rating="S", fiscal_year="R1") == []


def test_a_measure_without_evaluations_is_found_by_what_is_its_own(shelf: httpx.Client):
    assert codes(shelf, "/measures", section="2") == ["2-1"]
    assert codes(shelf, "/measures", q="居場所") == ["2-1"]
    assert codes(shelf, "/measures", q="居場所", rating="none") == []


@pytest.mark.parametrize(
    ("rating", "ordinals"),
    [("A", [1]), ("B", [3]), ("none", [2]), ("B,A", [1, 3]), ("none,B,none", [2, 3]), ("a", []), ("Ａ", [])],
)
def test_ratings_are_asked_for_by_their_codes_and_none_is_what_was_not_rated(
    rating, ordinals, shelf: httpx.Client
):
    found = rows(shelf, "/evaluations", measure="1-10", fiscal_year="H30", rating=rating)
    assert [row["ordinal"] for row in found] == ordinals


def test_evaluations_are_found_by_the_id_of_their_measure(shelf: httpx.Client):
    for measure in rows(shelf, "/measures", expand="evaluations"):
        assert rows(shelf, "/evaluations", measure_id=measure["id"]) == measure["evaluations"]


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/plans", {"municipality": KAWAGOE}, ["kawagoe-kankyo", "kawagoe-kodomo"]),
        ("/plans", {"q": "こども"}, ["kawagoe-kodomo"]),
        ("/plans", {"q": "環境 川越市"}, ["kawagoe-kankyo"]),
        ("/plans", {"q": "環境", "municipality": FUJIMI}, ["fujimi-kankyo"]),
        ("/sections", {"plan": "kawagoe-kankyo"}, ["kawagoe-kankyo/1"]),
        ("/sections", {"municipality": FUJIMI}, ["fujimi-kankyo/1"]),
        ("/sections", {"municipality": FUJIMI, "plan": "kawagoe-kankyo"}, []),
    ],
)
def test_filters_of_plans_and_sections(path, query, expected, shelf: httpx.Client):
    assert keys(shelf, path, **query) == expected


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"plan": "kawagoe-kankyo"}, ["b.txt", "a.tsv"]),
        ({"municipality": FUJIMI}, ["c.tsv"]),
        ({"fiscal_year": "平成30年度"}, ["b.txt", "c.tsv"]),
        ({"fiscal_year": "2018", "municipality": KAWAGOE}, ["b.txt"]),
        ({"fiscal_year": "R2"}, []),
    ],
)
def test_filters_of_documents(query, names, shelf: httpx.Client):
    assert [row["name"] for row in rows(shelf, "/documents", **query)] == names


@pytest.mark.parametrize("name", ["plan", "section", "measure", "department", "rating", "municipality"])
def test_an_empty_filter_is_not_taken_for_no_filter(name, read: httpx.Client):
    answer = read.get("/evaluations", params={name: ""})
    assert answer.status_code == 422 or answer.json()["metadata"]["resultset"]["count"] == 0


@pytest.mark.parametrize("name", ["plan", "section", "measure", "department", "rating", "q"])
def test_a_filter_with_a_nul_is_refused(name, read: httpx.Client):
    for path in ("/evaluations", "/measures", "/evaluations/summary"):
        (error,) = refused(read.get(path, params={name: "\0"}))
        assert error["parameter"] == name


# ---------------------------------------------------------------------------------------------------------
# Fields and expansion


@pytest.mark.parametrize(("path", "names"), FIELDS.items())
def test_any_of_the_fields_can_be_picked(path, names, shelf: httpx.Client):
    whole = rows(shelf, path)
    for picked in [*names.split(), names.replace(" ", ",")]:
        expected = [{name: row[name] for name in picked.split(",")} for row in whole]
        assert rows(shelf, path, fields=picked) == expected


def test_picked_fields_keep_their_order_and_stand_once(shelf: httpx.Client):
    assert [list(row) for row in rows(shelf, "/sections", fields="code,id,code", limit=1)] == [["id", "code"]]


@pytest.mark.parametrize(("path", "names"), FIELDS.items())
def test_an_unknown_field_is_refused_and_the_known_ones_are_named(path, names, read: httpx.Client):
    allowed = [*names.split(), *(["evaluations"] if path == "/measures" else [])]
    detail = f"次の名前をコンマ区切りで指定してください: {', '.join(allowed)}"
    for fields in ("nothing", "", "id,", "id;key", "-id", "content", "folded"):
        assert refused(read.get(path, params={"fields": fields})) == [
            {"parameter": "fields", "detail": detail}
        ]


def test_expansion_embeds_all_evaluations_of_a_measure_by_year_and_row(shelf: httpx.Client):
    plain = rows(shelf, "/measures")
    expanded = rows(shelf, "/measures", expand="evaluations")
    of_all = rows(shelf, "/evaluations", sort="fiscal_year,ordinal")
    assert expanded == [
        {**measure, "evaluations": [row for row in of_all if row["measure_id"] == measure["id"]]}
        for measure in plain
    ]
    assert sum(len(measure["evaluations"]) for measure in expanded) == 13


def test_expansion_embeds_all_evaluations_whichever_the_filter_found(shelf: httpx.Client):
    (measure,) = rows(shelf, "/measures", rating="S", expand="evaluations")
    assert [row["rating"] for row in measure["evaluations"]] == ["S", "A"]


def test_a_single_measure_expands_as_it_does_in_the_list(shelf: httpx.Client):
    for measure in rows(shelf, "/measures", expand="evaluations"):
        assert got(shelf, f"/measures/{measure['id']}", expand="evaluations") == measure


def test_the_embedded_evaluations_can_be_picked_too(shelf: httpx.Client):
    found = rows(shelf, "/measures", measure="2-1", expand="evaluations", fields="code,evaluations")
    assert found == [{"code": "2-1", "evaluations": []}]


@pytest.mark.parametrize("path", ["/measures", "/measures/1"])
@pytest.mark.parametrize("expand", ["plan", "", "evaluations,plan"])
def test_an_unknown_expansion_is_refused(path, expand, read: httpx.Client):
    assert refused(read.get(path, params={"expand": expand})) == [
        {"parameter": "expand", "detail": "次の名前をコンマ区切りで指定してください: evaluations"}
    ]


# ---------------------------------------------------------------------------------------------------------
# Pages


@pytest.mark.parametrize("limit", [1, 2, 25, 26, 27, 1000])
def test_a_page_has_as_many_rows_as_were_asked_for(limit, read: httpx.Client):
    body = got(read, "/evaluations", limit=limit)
    assert len(body["results"]) == min(limit, 26)
    assert body["metadata"]["resultset"]["limit"] == limit
    assert (body["metadata"]["resultset"]["next"] is None) == (limit >= 26)


@pytest.mark.parametrize(
    ("limit", "detail"),
    [
        ("0", "1 以上にしてください。"),
        ("-1", "1 以上にしてください。"),
        ("1001", "1000 以下にしてください。"),
        ("9" * 30, "1000 以下にしてください。"),
        *(
            (text, "整数を指定してください。")
            for text in ("", "abc", "1.0", "1e2", "１０", "1_0", "+1", "0x1", " 1")
        ),
    ],
)
def test_a_limit_out_of_bounds_is_refused(limit, detail, read: httpx.Client):
    for path in LISTS:
        assert refused(read.get(path, params={"limit": limit})) == [{"parameter": "limit", "detail": detail}]


@pytest.mark.parametrize(
    ("path", "sort"),
    [*EACH_SORT, ("/evaluations", "fiscal_year,-code"), ("/evaluations", "fiscal_year,-ordinal,code,-plan")],
)
def test_a_reader_who_follows_the_links_sees_each_row_once(path, sort, shelf: httpx.Client):
    for order in (sort, f"-{sort}"):
        whole = rows(shelf, path, sort=order)
        for limit in (1, 2, 7):
            assert [row for page in pages(shelf, path, limit=limit, sort=order) for row in page] == whole


@pytest.mark.parametrize("path", LISTS)
def test_a_reader_without_a_wish_sees_each_row_once(path, shelf: httpx.Client):
    whole = rows(shelf, path)
    for limit in (1, 2, 7):
        assert [row for page in pages(shelf, path, limit=limit) for row in page] == whole


def test_the_longest_titles_do_not_stop_a_reader(admin: httpx.Client):
    titles = [letter * 500 for letter in ("計", "𠮷", '"', "\\")]
    for number, title in enumerate(titles):
        row = {"plan": "fujimi-yumetsunagu", "section": "1", "code": f"{'9-' * 30}{number}", "title": title}
        assert admin.post("/measures", json=row).status_code == 201
    for sort in ("title", "-title,plan,updated_at,code"):
        seen = [row["title"] for page in pages(admin, "/measures", limit=1, sort=sort) for row in page]
        assert seen == sorted(seen, reverse=sort.startswith("-"))
        assert set(titles) < set(seen)


def test_links_keep_the_filters_as_they_were_given(read: httpx.Client):
    query = {"q": "ひとり　親", "fiscal_year": "平成２９年度", "rating": "A,none", "fields": "key"}
    whole = keys(read, "/evaluations", **query)
    assert len(whole) > 1
    assert [row["key"] for page in pages(read, "/evaluations", limit=1, **query) for row in page] == whole


def test_the_page_size_and_the_fields_may_change_on_the_way(shelf: httpx.Client):
    whole = keys(shelf, "/measures")
    cursor = got(shelf, "/measures", limit=2)["metadata"]["resultset"]["next"]
    rest = rows(shelf, "/measures", limit=500, cursor=cursor, fields="key", sort="plan,code")
    assert rest == [{"key": key} for key in whole[2:]]
    rest = rows(shelf, "/measures", limit=500, cursor=cursor, fields="key", expand="evaluations")
    assert [row["key"] for row in rest] == whole[2:]


@pytest.mark.parametrize("query", ["fields=code,evaluations", "fields=code&expand=evaluations"])
def test_to_ask_for_the_evaluations_is_to_embed_them(query: str, read: httpx.Client):
    measure = read.get(f"/measures?measure=4-2-1&{query}").json()["results"][0]
    assert list(measure) == ["code", "evaluations"]
    assert [row["ordinal"] for row in measure["evaluations"]] == [1, 2, 3]


def test_a_reader_who_is_on_the_way_sees_every_row_that_stays_once(town: Service, admin: httpx.Client):
    codes_at_first = codes(town.anyone, "/measures")

    def make(code: str) -> None:
        row = {"plan": "fujimi-yumetsunagu", "section": "1", "code": code, "title": code}
        assert admin.post("/measures", json=row).status_code == 201

    def unmake(code: str) -> None:
        (row,) = rows(admin, "/measures", measure=code)
        assert admin.delete(f"/measures/{row['id']}", headers={"If-Match": "*"}).status_code == 204

    changes = [
        [(unmake, "1-1-1"), (unmake, "1-1-5"), (make, "1-1-0")],  # behind the reader, and where they stand
        [(unmake, "1-2-4"), (unmake, "1-3-1"), (make, "1-4-1")],  # where they stand, and ahead
        [(make, "1-1-1"), (make, "4-9-9")],
    ]
    answer = town.anyone.get("/measures", params={"limit": 5, "fields": "code"})
    seen = [row["code"] for row in answer.json()["results"]]
    while "next" in answer.links:
        for change, code in changes.pop(0) if changes else ():
            change(code)
        answer = town.anyone.get(answer.links["next"]["url"])
        seen += [row["code"] for row in answer.json()["results"]]
    assert changes == []
    assert seen == [*codes_at_first[:10], "1-4-1", *codes_at_first[11:], "4-9-9"]


# ---------------------------------------------------------------------------------------------------------
# Cursors

NOT_THIS_CURSOR = {
    "parameter": "cursor",
    "detail": "cursor は、同じ条件と並び順の前のページの next をそのまま渡してください。",
}


def cursor_of(client: httpx.Client, path: str, **query: Any) -> str:
    cursor: str = got(client, path, limit=1, **query)["metadata"]["resultset"]["next"]
    return cursor


@pytest.mark.parametrize(
    "other",
    [
        {"sort": "-code"},
        {"sort": "code,plan"},
        {"sort": "id"},
        {"section": "1"},
        {"plan": "fujimi-yumetsunagu"},
        {"municipality": FUJIMI},
        {"fiscal_year": "2017"},
        {"rating": "A"},
        {"department": "福祉課"},
        {"q": "支援"},
        {"measure": "1-1-1"},
    ],
)
def test_a_cursor_holds_only_for_its_own_filters_and_order(other, read: httpx.Client):
    for path in ("/measures", "/evaluations"):
        cursor = cursor_of(read, path)
        assert refused(read.get(path, params={"cursor": cursor} | other)) == [NOT_THIS_CURSOR]
        assert read.get(path, params={"cursor": cursor}).status_code == 200


def test_ratings_are_the_same_question_in_whatever_order(library: Service):
    read, tail = library.anyone, {"limit": "3", "plan": "fujimi-yumetsunagu"}
    first = read.get("/evaluations", params={"rating": "B,none,A"} | tail).json()
    with library.overheard() as said:
        again = read.get("/evaluations", params={"rating": "A, B ,none,B"} | tail).json()
    assert counts(said) == []
    assert again == first
    cursor = first["metadata"]["resultset"]["next"]
    assert read.get("/evaluations", params={"rating": "none,A,B", "cursor": cursor} | tail).status_code == 200


def test_a_cursor_of_one_list_is_refused_by_another(shelf: httpx.Client):
    for path in LISTS:
        for other in LISTS.keys() - {path}:
            assert refused(shelf.get(other, params={"cursor": cursor_of(shelf, path)})) == [NOT_THIS_CURSOR]


def test_a_cursor_of_one_history_is_refused_by_another(admin: httpx.Client):
    for id in (1, 2):
        admin.patch(f"/measures/{id}", json={"title": "新しい名称"}, headers={"If-Match": "*"})
    cursor = cursor_of(admin, "/measures/1/history")
    assert admin.get("/measures/1/history", params={"cursor": cursor}).status_code == 200
    assert refused(admin.get("/measures/2/history", params={"cursor": cursor})) == [NOT_THIS_CURSOR]


def test_a_cursor_that_was_changed_anywhere_is_refused(read: httpx.Client):
    cursor = cursor_of(read, "/measures")
    changed = [
        cursor[:place] + ("A" if letter != "A" else "B") + cursor[place + 1 :]
        for place, letter in enumerate(cursor)
    ]
    changed += [cursor[:length] for length in range(len(cursor))]
    changed += [cursor + more for more in ("A", "AAAA", "=", "====", "!!!!", " ", "\n")]
    changed += [cursor[:8] + more + cursor[8:] for more in ("....", " ", "あ")]
    accepted = [text for text in changed if read.get("/measures", params={"cursor": text}).status_code != 422]
    assert accepted == []


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "0",
        "あ",
        "%",
        "null",
        "../../etc/passwd",
        urlsafe_b64encode(b"[1]").decode(),
        urlsafe_b64encode(b"123456789[1]").decode(),
        urlsafe_b64encode(b"123456789" + b"[" * 1000).decode(),
    ],
)
def test_what_is_no_cursor_is_refused(cursor, read: httpx.Client):
    for path in LISTS:
        assert refused(read.get(path, params={"cursor": cursor})) == [NOT_THIS_CURSOR]


def test_a_cursor_has_a_maximum(read: httpx.Client):
    assert refused(read.get("/plans", params={"cursor": "A" * 4001})) == [
        {"parameter": "cursor", "detail": "4000 文字以内にしてください。"}
    ]


# ---------------------------------------------------------------------------------------------------------
# What is not known is refused

NO_SUCH_PARAMETER = "このパラメーターはありません。"


@pytest.mark.parametrize(("path", "names"), PARAMETERS.items())
def test_an_unknown_parameter_is_refused_and_the_known_ones_are_named(path, names, read: httpx.Client):
    detail = f"{NO_SUCH_PARAMETER}使えるのは {', '.join(names.split())} です。"
    answer = read.get(path, params={"limt": "5"})
    assert (answer.status_code, answer.json()) == (
        422,
        {
            "type": "/docs/problems/invalid",
            "title": "入力に誤りがあります",
            "status": 422,
            "detail": detail,
            "instance": path,
            "errors": [{"parameter": "limt", "detail": detail}],
        },
    )


@pytest.mark.parametrize("path", LISTS)
def test_a_row_takes_no_parameters(path, read: httpx.Client):
    known = "使えるのは expand です。" if path == "/measures" else "ここでは何も指定できません。"
    assert refused(read.get(f"{path}/1", params={"limit": "1"})) == [
        {"parameter": "limit", "detail": NO_SUCH_PARAMETER + known}
    ]


def test_all_unknown_parameters_are_named_at_once(read: httpx.Client):
    answer = read.get("/sections?Plan=a&sections=1&limit=5", headers={"Accept-Language": "en"})
    allowed = "There is no such parameter. Allowed here: cursor, fields, limit, municipality, plan, sort."
    assert (answer.status_code, answer.json()) == (
        422,
        {
            "type": "/docs/problems/invalid",
            "title": "The input is not valid",
            "status": 422,
            "detail": "2 parts of the input are wrong; see errors.",
            "instance": "/sections",
            "errors": [
                {"parameter": "Plan", "detail": allowed},
                {"parameter": "sections", "detail": allowed},
            ],
        },
    )


@pytest.mark.parametrize("name", ["%E8%A8%88%E7%94%BB", "", "%00", "plan%5B%5D", "plan%20", "%EF%BD%90lan"])
def test_a_name_that_only_resembles_a_parameter_is_unknown(name, read: httpx.Client):
    (error,) = refused(read.get(f"/plans?{name}=1"))
    assert error["detail"].startswith(NO_SUCH_PARAMETER)


@pytest.mark.parametrize(
    "query", ["limit=1&limit=2", "limit=1&limit=1", "sort=id&sort=-id", "limit=1&%6Cimit=1"]
)
def test_a_parameter_is_given_once(query, read: httpx.Client):
    once = {
        "parameter": query.partition("=")[0],
        "detail": "一度だけ指定してください。複数の値はコンマで区切ります。",
    }
    for path in LISTS:
        assert refused(read.get(f"{path}?{query}")) == [once]


@pytest.mark.parametrize("value", ["%FF", "%E5%AD", "%ED%A0%80", "%83w%8FK"])
def test_a_value_that_is_not_utf_8_is_refused(value, read: httpx.Client):
    (error,) = refused(read.get(f"/evaluations?limit=1&q={value}"))
    assert error == {"parameter": "q", "detail": "値を UTF-8 でパーセントエンコードしてください。"}


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("fiscal_year=29", "H29"),
        ("municipality=1", "112356"),
        ("measure_id=0", "1 以上"),
        ("measure_id=9007199254740992", "9007199254740991 以下"),
        ("rating=A,,B", "none"),
        ("rating=A,%20", "none"),
        ("rating=%E3%80%80", "none"),
        ("q=" + "a" * 201, "200 文字以内"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_could(query, named, read: httpx.Client):
    (error,) = refused(read.get(f"/evaluations?{query}"))
    assert error["parameter"] == query.partition("=")[0]
    assert named in error["detail"]


def test_everything_that_is_wrong_with_the_values_is_told_at_once(read: httpx.Client):
    errors = refused(read.get("/evaluations?limit=0&sort=x&fields=y&fiscal_year=29&municipality=1&rating=,"))
    assert {error["parameter"] for error in errors} == {
        "limit",
        "sort",
        "fields",
        "fiscal_year",
        "municipality",
        "rating",
    }


# ---------------------------------------------------------------------------------------------------------
# Cost


def counts(said: list[tuple[str, Any]]) -> list[str]:
    return [statement for statement, _ in said if re.search(r"count\(\*\)|sum\(tally", statement)]


def unkept(service: Service, path: str, **query: Any) -> int:
    """Asks so that the answer is made anew, and tells its status."""
    return service.anyone.get(path, params=query, headers={"Shinchoku-Revision": "1"}).status_code


@pytest.mark.parametrize(
    ("path", "query", "number"),
    [
        *((path, {}, 2) for path in LISTS),  # the revision and the rows
        ("/evaluations", {"q": "支援", "section": "3", "rating": "A,none", "sort": "-fiscal_year,code"}, 2),
        ("/measures", {"expand": "evaluations"}, 3),
        ("/measures/1/history", {}, 3),
    ],
)
def test_a_list_takes_the_same_few_statements_whatever_the_size_of_its_pages(
    path, query, number, library: Service
):
    library.database.counted.clear()
    counted = []
    for limit in (1, 2, 1000):
        with library.overheard() as said:
            assert unkept(library, path, limit=limit, **query) == 200
        counted.append(len(counts(said)))
        assert len(said) == number + counted[-1], said
    assert counted[0] <= 1
    assert counted[1:] == [0, 0]  # counted once, or all on one page


@pytest.mark.parametrize(
    "path",
    ["/evaluations?q=支援&rating=A,none&limit=3", "/measures/1?expand=evaluations", "/changes?limit=2"],
)
def test_what_is_asked_often_is_answered_as_it_was_at_first(
    path: str, library: Service, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(listing, "_known", {})
    monkeypatch.setattr(fetching, "SELDOM", 10**9)
    anew = {"Shinchoku-Revision": "1"}
    seldom = library.anyone.get(path, headers=anew)
    assert seldom.status_code == 200
    monkeypatch.setattr(fetching, "SELDOM", 0)
    assert library.anyone.get(path, headers=anew).content == seldom.content


def test_a_list_is_counted_anew_once_something_has_changed(town: Service, admin: httpx.Client):
    def count() -> int:
        page = town.anyone.get("/sections?limit=1", headers={"Shinchoku-Revision": "1"}).json()
        return int(page["metadata"]["resultset"]["count"])

    before = count()
    new = {"plan": "fujimi-yumetsunagu", "code": "9"}
    assert admin.post("/sections", json=new).status_code == 201
    with town.overheard() as said:
        assert (count(), count()) == (before + 1, before + 1)
    assert len(counts(said)) == 1


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ({"fiscal_year": "H29", "rating": "A,none"}, ["tally"]),
        ({"measure": "4-2-1", "q": "支援"}, ["evaluation"]),
        ({"q": "支援"}, ["evaluation_pair"]),
        ({"section": "3", "fiscal_year": "H29"}, ["evaluation"]),
        ({"section": "3", "municipality": "112356"}, ["tally"]),
        ({"plan": "fujimi-yumetsunagu"}, ["tally"]),
    ],
)
def test_a_count_looks_up_only_what_is_asked_about(
    query: dict[str, str], tables: list[str], library: Service
):
    library.database.counted.clear()
    with library.overheard() as said:
        assert unkept(library, "/evaluations", limit=1, **query) == 200
    [count] = counts(said)
    assert re.findall(r'(?:FROM|JOIN) "?(\w+)', count) == tables


@pytest.mark.parametrize(
    ("path", "query", "at_once"),
    [
        ("/evaluations", {"fiscal_year": "H29", "rating": "B"}, True),
        ("/evaluations", {"plan": "fujimi-yumetsunagu", "section": "3"}, True),
        ("/evaluations", {"rating": "A,B,C,D,E"}, True),
        ("/evaluations", {"rating": "A,B,C,D,E,F"}, False),
        ("/evaluations", {"limit": 1000}, False),
        ("/evaluations", {"q": "食堂"}, False),
        ("/evaluations", {"department": "福祉課"}, False),
        ("/measures", {"section": "3"}, True),
        ("/measures", {"rating": "B", "limit": 3}, False),
        ("/measures", {"expand": "evaluations"}, False),
        ("/sections", {}, True),
        ("/evaluations/summary", {"plan": "fujimi-yumetsunagu", "group_by": "section"}, True),
        ("/evaluations/summary", {"group_by": "section"}, False),
    ],
)
def test_what_may_take_long_is_read_where_it_keeps_nobody(
    path: str, query: dict[str, Any], at_once: bool, library: Service, monkeypatch: pytest.MonkeyPatch
):
    library.database.counted.clear()
    run, told = Database.run, []

    async def note(self: Database, step: Any, *, short: bool) -> Any:
        told.append(short)
        return await run(self, step, short=short)

    monkeypatch.setattr(Database, "run", note)
    assert unkept(library, path, **query) == 200
    assert told == [at_once]
    if query.get("rating") == "B":  # once they are counted, it does not take long any more
        assert unkept(library, path, **query) == 200
        assert told == [at_once, True]


def test_questions_that_are_asked_alike_are_each_answered_by_their_own_values(library: Service):
    every = library.anyone.get("/evaluations", params={"limit": 1000}).json()["results"]
    values: dict[str, list[Any]] = {
        "plan": [*{row["plan"] for row in every}, "no-such-plan"],
        "municipality": [*{row["municipality_code"] for row in every}, "131016"],
        "section": ["1", "3", "4", "9"],
        "measure": ["1-1-1", "4-2-1", "9-9-9"],
        "measure_id": [1, 5, 24, 999],
        "fiscal_year": [2017, 2018],
        "rating": ["A", "B", "none", "A,B", "B,none", "none,A"],
    }
    chance = Random(29)

    def fits(row: dict[str, Any], asked: dict[str, Any]) -> bool:
        ratings = [None if code == "none" else code for code in asked.get("rating", "").split(",")]
        names = {"municipality": "municipality_code", "measure": "measure_code"}
        others = {name: value for name, value in asked.items() if name != "rating"}
        return ("rating" not in asked or row["rating"] in ratings) and all(
            row[names.get(name, name)] == value for name, value in others.items()
        )

    for _ in range(200):
        asked = {name: chance.choice(values[name]) for name in chance.sample([*values], chance.randint(1, 3))}
        expected = [row for row in every if fits(row, asked)]
        found = library.anyone.get("/evaluations", params={**asked, "limit": chance.randint(1, 50)}).json()
        assert found["metadata"]["resultset"]["count"] == len(expected), asked
        assert found["results"] == expected[: found["metadata"]["resultset"]["limit"]], asked
        total = library.anyone.get(
            "/evaluations/summary", params={**asked, "group_by": "plan,section"}
        ).json()
        assert total["total"]["total"] == len(expected), asked


@pytest.mark.parametrize("path", LISTS)
def test_a_row_takes_one_statement_beside_the_revision_and_one_more_to_find_a_plan(path, library: Service):
    with library.overheard() as said:
        assert unkept(library, f"{path}/1") == 200
    assert len(said) == (3 if path == "/plans" else 2), said
