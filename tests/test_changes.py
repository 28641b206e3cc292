"""The log and the tables say the same: numbered without gaps, one transaction a request, nothing forgotten."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.models import CHANGE, FEED
from tests.conftest import FUJIMI, KAWAGOE, Service

PLAN = "fujimi-yumetsunagu"
ANY = {"If-Match": "*"}
NOUNS = ("plans", "documents", "sections", "measures", "evaluations")

# ---------------------------------------------------------------------------------------------------------
# The log held against what anyone can read

# What the API shows of a row beside what the row is: its place, and what follows from others.
SHOWN_ONLY = {
    "key",
    "municipality_code",
    "measure_id",
    "measure_title",
    "fiscal_year_label",
    "document_id",
    "origin",
}


def rows_by_key(client: httpx.Client, revision: int) -> dict[tuple[str, str], Any]:
    """Every row that the API shows at this revision, in the form in which the log keeps it."""
    found: dict[tuple[str, str], Any] = {}
    sha256 = {None: None} | {row["id"]: row["sha256"] for row in client.get("/documents").json()["results"]}
    for noun in NOUNS:
        body = client.get(f"/{noun}?limit=1000").json()
        assert body["metadata"]["resultset"]["next"] is None
        assert body["metadata"]["revision"] == revision
        for row in body["results"]:
            kept = {name: value for name, value in row.items() if name not in SHOWN_ONLY}
            if noun == "plans":
                kept["municipality_code"] = row["municipality_code"]
            if noun == "evaluations":
                kept["document"] = sha256[row["document_id"]]
                del kept["section"]
            found[noun.removesuffix("s"), row["key"]] = kept
    return found


def log_of(service: Service) -> tuple[int, list[sa.Row[Any]]]:
    with service.database.reading() as session:
        last = session.scalars(sa.select(FEED.c.seq)).one()
        return last, list(session.execute(sa.select(CHANGE).order_by(CHANGE.c.seq)).all())


def assert_that_log_and_tables_agree(service: Service) -> None:
    last, entries = log_of(service)
    assert [entry.seq for entry in entries] == list(range(1, last + 1))

    lives = defaultdict(list)
    for entry in entries:
        lives[entry.entity, entry.key].append(entry)
    for name, life in lives.items():
        assert [entry.version for entry in life] == list(range(1, len(life) + 1)), name
        there = False
        for entry in life:
            assert (entry.op == "create") == (not there), name
            there = entry.op != "delete"
            data = json.loads(entry.data) if there else None
            assert (entry.data is None) == (not there), name
            assert data is None or (data["id"], data["version"]) == (entry.entity_id, entry.version), name

    left = {name: json.loads(life[-1].data) for name, life in lives.items() if life[-1].op != "delete"}
    assert left == rows_by_key(service.anyone, last)


# ---------------------------------------------------------------------------------------------------------
# Writing at random


def some_text(chance: Random) -> str | None:
    return chance.choice([None, "設置", "見直し～継続", "“新規” ①", "a\nb"])


def some_body(noun: str, chance: Random) -> dict[str, Any]:
    """A new row among few possible keys, so that many exist already and some have no parent."""
    plan = {"plan": chance.choice([PLAN, "p1", "p2"])}
    code = chance.choice(["1", "1-1-1", "1-1-2", "x"])
    if noun == "plans":
        where = {"municipality_code": chance.choice([FUJIMI, KAWAGOE]), "municipality": "市"}
        return {"slug": chance.choice(["p1", "p2", "p3"]), "title": "計画", **where}
    if noun == "sections":
        return plan | {"code": code, "title": chance.choice(["節", None])}
    if noun == "measures":
        return plan | {"section": chance.choice("123"), "code": code, "title": "施策"}
    return plan | {
        "measure_code": code,
        "fiscal_year": chance.choice(["H29", "H30", 2020]),
        "ordinal": chance.choice([None, None, None, 1, 2]),
        "rating": chance.choice([None, *"AABC◎"]),
        "implementation": some_text(chance),
    }


def some_patch(noun: str, chance: Random) -> dict[str, Any]:
    if noun == "plans":
        return {"licence": chance.choice([None, "CC0"]), "first_fiscal_year": chance.choice([2016, 2017])}
    if noun == "sections":
        return {"position": chance.choice([None, 1, 2]), "label": chance.choice([None, "第1節"])}
    if noun == "measures":
        return {"title": chance.choice(["施策", "別の施策"]), "section": chance.choice("123")}
    return {"rating": chance.choice([None, *"ABCD"]), "rationale": some_text(chance)}


def write_at_random(client: httpx.Client, chance: Random, requests: int) -> Counter[int]:
    """Any writer's day; tells how often each status was answered."""
    answered: Counter[int] = Counter()
    for _ in range(requests):
        noun = chance.choices(["plans", "sections", "measures", "evaluations"], [1, 2, 4, 8])[0]
        method = chance.choices(["POST", "PATCH", "DELETE"], [5, 4, 1])[0]
        if method == "POST":
            answer = client.post(f"/{noun}", json=some_body(noun, chance))
        else:
            rows = client.get(f"/{noun}?fields=id&limit=1000").json()["results"]
            path = f"/{noun}/{chance.choice([*(row['id'] for row in rows), 999])}"
            tag = chance.choice(["*", "*", '"stale"', client.get(path).headers.get("etag", "*")])
            body = {"json": some_patch(noun, chance)} if method == "PATCH" else {}
            answer = client.request(method, path, headers={"If-Match": tag}, **body)
        answered[answer.status_code] += 1
    return answered


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_is_written_the_log_says_what_the_tables_say(seed, town: Service, admin: httpx.Client):
    assert_that_log_and_tables_agree(town)
    answered = write_at_random(admin, Random(seed), 150)
    assert set(answered) == {200, 201, 204, 404, 409, 412}
    assert_that_log_and_tables_agree(town)


def test_a_plan_that_goes_takes_all_its_rows_out_of_both(town: Service, admin: httpx.Client):
    assert admin.delete(f"/plans/{PLAN}", headers=ANY).status_code == 204
    assert_that_log_and_tables_agree(town)
    assert rows_by_key(town.anyone, log_of(town)[0]) == {}


# ---------------------------------------------------------------------------------------------------------
# One request, one transaction


@contextmanager
def disk_full_for(service: Service, entity: str) -> Iterator[None]:
    """The database refuses to log changes of this entity, which is the last thing that a request asks of it."""
    if service.database.sqlite:
        install = [
            f"CREATE TRIGGER refuse BEFORE INSERT ON change WHEN NEW.entity = '{entity}' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        ]
        undo = "DROP TRIGGER refuse"
    else:
        install = [
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE integrity_constraint_violation; END $$",
            "CREATE TRIGGER refuse BEFORE INSERT ON change FOR EACH ROW "
            f"WHEN (NEW.entity = '{entity}') EXECUTE FUNCTION refuse()",
        ]
        undo = "DROP TRIGGER refuse ON change"
    with service.database.writing() as session:
        for statement in install:
            session.execute(sa.text(statement))
    try:
        yield
    finally:
        with service.database.writing() as session:
            session.execute(sa.text(undo))


def everything(service: Service) -> list[bytes]:
    return [service.anyone.get(f"/{noun}?limit=1000").content for noun in NOUNS]


@pytest.mark.parametrize(
    ("method", "path", "body", "entity"),
    [
        ("POST", "/evaluations", {"measure_id": 1, "fiscal_year": 2018, "rating": "C"}, "evaluation"),
        ("PATCH", "/evaluations/1", {"rating": "C"}, "evaluation"),
        ("PATCH", "/evaluations/1", {"rating": "C"}, "plan"),
        ("DELETE", f"/plans/{PLAN}", None, "plan"),
        ("DELETE", "/measures/24", None, "evaluation"),
    ],
)
def test_a_request_that_fails_half_way_leaves_nothing(
    method, path, body, entity, town: Service, admin: httpx.Client
):
    before, log = everything(town), log_of(town)
    with disk_full_for(town, entity):
        failed = admin.request(method, path, json=body, headers=ANY)
        assert (failed.is_error, failed.headers["Shinchoku-Revision"]) == (True, str(log[0]))
        assert everything(town) == before
        assert log_of(town) == log
    assert admin.request(method, path, json=body, headers=ANY).is_success
    assert_that_log_and_tables_agree(town)


def test_what_one_request_changes_is_numbered_without_interruption(town: Service, admin: httpx.Client):
    before, _ = log_of(town)
    made = admin.post("/evaluations", json={"measure_id": 1, "fiscal_year": 2018, "rating": "C"}).json()
    last, entries = log_of(town)
    assert [(entry.seq - before, entry.entity, entry.op) for entry in entries[before:]] == [
        (1, "plan", "update"),
        (2, "evaluation", "create"),
    ]
    assert last == before + 2
    assert json.loads(entries[-1].data) == rows_by_key(town.anyone, last)["evaluation", made["key"]]


def test_what_is_refused_takes_no_number(town: Service, admin: httpx.Client):
    before = log_of(town)
    refused = [
        admin.post("/plans", json={"slug": PLAN}),
        admin.post("/sections", json={"plan": PLAN, "code": "1"}),
        admin.post("/measures", json={"plan": "nowhere", "section": "1", "code": "1", "title": "x"}),
        admin.patch("/plans/1", json={"licence": "CC0"}),
        admin.patch("/plans/1", json={"licence": "CC0"}, headers={"If-Match": '"stale"'}),
        admin.delete("/plans/999", headers=ANY),
        town.anyone.delete("/plans/1", headers=ANY),
    ]
    assert [answer.status_code for answer in refused] == [422, 409, 404, 428, 412, 404, 401]
    assert log_of(town) == before


def test_every_list_tells_the_revision_it_shows(town: Service, admin: httpx.Client):
    admin.patch("/sections/1", json={"title": "節"}, headers=ANY)
    last, _ = log_of(town)
    paths = [*(f"/{noun}" for noun in NOUNS), "/plans/1/history", "/evaluations/summary", "/readyz"]
    told = {path: town.anyone.get(path).json() for path in paths}
    assert {path: body.get("metadata", body)["revision"] for path, body in told.items()} == dict.fromkeys(
        paths, last
    )


# ---------------------------------------------------------------------------------------------------------
# History


def test_the_history_of_a_row_outlives_it_newest_first(town: Service, admin: httpx.Client):
    by = str(admin.headers["authorization"]).split("_")[1]
    path, (seeded, entries) = "/evaluations/26", log_of(town)
    key = f"{PLAN}/4-2-1/2017/3"
    first = rows_by_key(town.anyone, seeded)["evaluation", key]
    admin.patch(path, json={"rating": "B", "rationale": None}, headers=ANY)
    second = rows_by_key(town.anyone, seeded + 1)["evaluation", key]
    admin.delete(path, headers=ANY)

    body = admin.get(f"{path}/history").json()
    times = [version.pop("at") for version in body["results"]]
    common = {"entity": "evaluation", "key": key}
    assert body == {
        "metadata": {"resultset": {"count": 3, "limit": 100, "next": None}, "revision": seeded + 2},
        "results": [
            {"seq": seeded + 2, **common, "op": "delete", "version": 3, "by": by, "data": None},
            {"seq": seeded + 1, **common, "op": "update", "version": 2, "by": by, "data": second},
            {"seq": entries[-1].seq, **common, "op": "create", "version": 1, "by": None, "data": first},
        ],
    }
    assert (first["rating"], second["rating"], second["rationale"]) == ("A", "B", None)
    assert times == sorted(times, reverse=True)
    assert all(time.endswith("Z") for time in times)
    assert times[1] >= second["updated_at"]


def test_a_history_reads_on_page_by_page_while_it_grows(town: Service, admin: httpx.Client):
    for n in range(6):
        admin.patch("/sections/1", json={"title": f"節{n}"}, headers=ANY)
    whole = admin.get("/sections/1/history").json()["results"]
    assert [version["version"] for version in whole] == [7, 6, 5, 4, 3, 2, 1]

    seen, address = [], "/sections/1/history?limit=3"
    while address:
        page = admin.get(address)
        assert page.json()["metadata"]["resultset"]["count"] >= 7
        seen += page.json()["results"]
        following = page.json()["metadata"]["resultset"]["next"]
        assert ("next" in page.links) == (following is not None)
        address = page.links["next"]["url"] if following else ""
        admin.patch("/sections/1", json={"title": f"後の{len(seen)}"}, headers=ANY)
    assert seen == whole


def test_a_plan_has_one_history_by_slug_and_one_for_each_id(town: Service, admin: httpx.Client):
    body = {"slug": "p", "title": "計画", "municipality_code": FUJIMI, "municipality": "富士見市"}
    first = admin.post("/plans", json=body).json()["id"]
    admin.delete("/plans/p", headers=ANY)
    second = admin.post("/plans", json=body).json()["id"]

    def told(name: object) -> list[tuple[str, int]]:
        results = admin.get(f"/plans/{name}/history").json()["results"]
        return [(version["op"], version["version"]) for version in results]

    assert told("p") == [("create", 3), ("delete", 2), ("create", 1)]
    assert told(first) == [("delete", 2), ("create", 1)]
    assert told(second) == [("create", 3)]


@pytest.mark.parametrize("noun", NOUNS)
def test_every_row_has_a_history_from_its_beginning(noun, town: Service):
    row = town.anyone.get(f"/{noun}/1").json()
    [version] = town.anyone.get(f"/{noun}/1/history").json()["results"]
    assert (version["entity"], version["key"], version["op"]) == (
        noun.removesuffix("s"),
        row["key"],
        "create",
    )
    assert (version["data"]["id"], version["by"]) == (1, None)
    assert version["at"] >= version["data"]["created_at"] == row["created_at"]


@pytest.mark.parametrize("noun", NOUNS)
def test_what_never_was_has_no_history(noun, town: Service):
    for answer in (town.anyone.get(f"/{noun}/999/history"), town.anyone.get("/plans/nowhere/history")):
        assert (answer.status_code, answer.json()["type"]) == (404, "/docs/problems/not-found")


@pytest.mark.parametrize("query", ["sort=seq", "op=delete", "cursor=x", "limit=0", "limit=1001"])
def test_a_history_refuses_what_it_does_not_know(query, town: Service):
    answer = town.anyone.get(f"/sections/1/history?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, query.split("=")[0])


def test_a_history_does_not_read_on_from_that_of_another_row(town: Service, admin: httpx.Client):
    for path in ("/sections/1", "/sections/2"):
        admin.patch(path, json={"title": "節"}, headers=ANY)
    cursor = admin.get("/sections/1/history?limit=1").json()["metadata"]["resultset"]["next"]
    assert admin.get(f"/sections/1/history?cursor={cursor}").status_code == 200
    assert admin.get(f"/sections/2/history?cursor={cursor}").status_code == 422
