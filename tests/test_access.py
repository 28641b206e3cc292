"""Who may do what: reading is open, an editor writes within one municipality, an admin everywhere."""

import logging
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.models import API_KEY, CHANGE, now
from tests.conftest import FUJIMI, KAWAGOE, Service

PLAN = "fujimi-yumetsunagu"


@pytest.fixture(scope="module")
def roles(hall: Service) -> dict[str, str | None]:
    """What each of them sends as Authorization."""
    known = hall.key("admin")
    soon, past = now() + timedelta(hours=1), now() - timedelta(seconds=1)
    return {
        "nobody": None,
        "not a bearer": f"Basic {known}",
        "no scheme": known,
        "no key": "Bearer",
        "garbage": "Bearer é",
        "unknown key": f"Bearer shk_00000000_{'0' * 64}",
        "wrong secret": f"Bearer {known[:-1]}{'1' if known[-1] == '0' else '0'}",
        "cut off": f"Bearer {known[:-1]}",
        "another case": f"Bearer {known.upper()}",
        "revoked admin": f"Bearer {hall.key('admin', revoked_at=now())}",
        "revoked editor": f"Bearer {hall.key('editor', FUJIMI, revoked_at=now())}",
        "expired admin": f"Bearer {hall.key('admin', expires_at=past)}",
        "editor elsewhere": f"Bearer {hall.key('editor', KAWAGOE)}",
        "editor here": f"Bearer {hall.key('editor', FUJIMI)}",
        "editor here for now": f"bearer {hall.key('editor', FUJIMI, expires_at=soon)}",
        "admin": f"Bearer {known}",
    }


WELCOME = ("editor here", "editor here for now", "admin")

number = count(1)
NEW: dict[str, dict[str, Any]] = {  # {} is a number that makes the key new
    "plans": {"slug": "p{}", "title": "計画", "municipality_code": FUJIMI, "municipality": "富士見市"},
    "sections": {"plan": PLAN, "code": "節{}"},
    "measures": {"plan": PLAN, "section": "1", "code": "施策{}", "title": "施策"},
    "evaluations": {"plan": PLAN, "measure_code": "1-1-1", "fiscal_year": 2018},
}
# Each route that writes, with a body and what the holder of a good key is answered.
ROUTES: dict[tuple[str, str], tuple[Any, int]] = {
    ("POST", "/plans"): (NEW["plans"], 201),
    ("POST", "/sections"): (NEW["sections"], 201),
    ("POST", "/measures"): (NEW["measures"], 201),
    ("POST", "/evaluations"): (NEW["evaluations"], 201),
    ("POST", "/imports"): (
        {"plan": PLAN, "measure_code": "1-1-1", "fiscal_year": "2019", "ordinal": "{}"},
        200,
    ),
    ("PATCH", "/plans/{id}"): ({"licence": "CC0"}, 200),
    ("PATCH", "/sections/{id}"): ({"title": "節"}, 200),
    ("PATCH", "/measures/{id}"): ({"title": "別の施策"}, 200),
    ("PATCH", "/evaluations/{id}"): ({"rating": "A"}, 200),
    ("DELETE", "/plans/{id}"): (None, 204),
    ("DELETE", "/sections/{id}"): (None, 204),
    ("DELETE", "/measures/{id}"): (None, 204),
    ("DELETE", "/evaluations/{id}"): (None, 204),
}


def numbered(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    n = next(number)
    return {name: value.format(n) if isinstance(value, str) else value for name, value in body.items()}


def ask(
    service: Service, method: str, path: str, authorization: str | None, body: Any = None, if_match: str = "*"
) -> httpx.Response:
    headers = {"If-Match": if_match} if method in ("PATCH", "DELETE") and if_match else {}
    if authorization is not None:
        headers["Authorization"] = authorization
    encoded = [(name, value.encode("latin-1")) for name, value in headers.items()]
    return service.anyone.request(method, path, headers=encoded, **({} if body is None else {"json": body}))


def revision(service: Service) -> int:
    found: int = service.anyone.get("/plans").json()["metadata"]["revision"]
    return found


def test_every_route_that_writes_stands_in_the_table(hall: Service):
    described = hall.anyone.get("/openapi.json").json()["paths"]
    writing = {
        (method.upper(), path)
        for path, operations in described.items()
        for method in operations
        if method not in ("get", "head", "options")
    }
    assert writing == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_route_writes_for_those_who_may_and_for_nobody_else(method, path, hall: Service, roles):
    body, welcome = ROUTES[method, path]
    noun = path.split("/")[1]
    outcome = {}
    for role, authorization in roles.items():
        where = path
        if "{id}" in path:
            made = ask(hall, "POST", f"/{noun}", roles["admin"], numbered(NEW[noun]))
            where = path.format(id=made.json()["id"])
        before = revision(hall)
        answer = ask(hall, method, where, authorization, numbered(body))
        outcome[role] = (answer.status_code, revision(hall) > before)
        if role not in WELCOME:
            assert answer.headers["content-type"] == "application/problem+json"
            assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)

    refused = dict.fromkeys(roles, (401, False)) | {"editor elsewhere": (403, False)}
    assert outcome == refused | dict.fromkeys(WELCOME, (welcome, True))


def test_who_has_no_key_is_told_how_to_send_one(hall: Service):
    answer = hall.anyone.post("/plans", json={}, headers={"Accept-Language": "en"})
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json() == {
        "type": "/docs/problems/unauthorized",
        "title": "A valid key is needed",
        "status": 401,
        "detail": "Send a key as Authorization: Bearer shk_…",
        "instance": "/plans",
    }


def test_who_has_the_key_of_another_municipality_is_told_where_it_writes(hall: Service, roles):
    answer = ask(hall, "PATCH", "/plans/1", roles["editor elsewhere"], {"licence": "CC0"})
    assert answer.status_code == 403
    assert answer.json()["detail"] == f"このキーで書き込めるのは {KAWAGOE} のデータだけです。"


def test_without_a_key_nothing_is_told_about_what_is_there(hall: Service, roles):
    attempts = [
        ask(hall, "PATCH", "/plans/1", roles["unknown key"], {"licence": "CC0"}, if_match=""),
        ask(hall, "PATCH", "/plans/1", roles["unknown key"], {"licence": "CC0"}, if_match='"stale"'),
        ask(hall, "PATCH", "/plans/999", roles["unknown key"], {"licence": "CC0"}),
        ask(hall, "PATCH", "/plans/1", roles["unknown key"], {"title": ""}),
        ask(hall, "POST", "/plans", roles["unknown key"], {"slug": PLAN}),
        ask(hall, "DELETE", "/evaluations/999", roles["unknown key"]),
    ]
    assert [(answer.status_code, "etag" in answer.headers) for answer in attempts] == [(401, False)] * 6


@pytest.mark.parametrize("way", [{"plan": PLAN, "measure_code": "1-1-1"}, {"measure_id": 1}])
def test_an_editor_elsewhere_adds_nothing_here_however_the_measure_is_named(way, hall: Service, roles):
    before = revision(hall)
    answer = ask(
        hall, "POST", "/evaluations", roles["editor elsewhere"], {**way, "fiscal_year": 2018, "rating": "Z"}
    )
    assert answer.status_code == 403
    assert revision(hall) == before


def test_reading_stays_open_whatever_is_sent_as_a_key(hall: Service, roles):
    query = {
        "/plans/{id}/transitions": "?from=H29&to=H30",
        "/plans/{id}/document.{form}": "?fiscal_year=H29",
    }
    for path, operations in hall.anyone.get("/openapi.json").json()["paths"].items():
        if "get" in operations:
            address = path.format(id=1, form="tsv") + query.get(path, "")
            without = hall.anyone.get(address)
            assert without.status_code == 200, address
            for role, authorization in roles.items():
                answer = ask(hall, "GET", address, authorization)
                assert (answer.status_code, answer.content) == (200, without.content), (role, address)


def test_a_plan_stays_with_its_municipality(town: Service):
    move = {"municipality_code": KAWAGOE, "municipality": "川越市"}
    whose = [town.key("editor", FUJIMI), town.key("editor", KAWAGOE), town.key("admin")]
    answers = [ask(town, "PATCH", f"/plans/{PLAN}", f"Bearer {key}", move) for key in whose]
    assert [answer.status_code for answer in answers] == [422, 403, 422]
    assert [error["pointer"] for error in answers[2].json()["errors"]] == ["/municipality_code"]
    assert town.anyone.get(f"/plans/{PLAN}").json()["municipality_code"] == FUJIMI
    same = {"municipality_code": "11235", "municipality": "富士見市"}
    assert ask(town, "PATCH", f"/plans/{PLAN}", f"Bearer {whose[0]}", same).status_code == 200


def test_an_editor_may_give_the_own_code_in_five_digits(town: Service):
    here = f"Bearer {town.key('editor', FUJIMI)}"
    body = {"slug": "p", "title": "計画", "municipality_code": "11235", "municipality": "富士見市"}
    assert ask(town, "POST", "/plans", here, body).status_code == 201


@pytest.mark.parametrize(
    ("column", "moment"), [("revoked_at", now()), ("expires_at", now() - timedelta(seconds=1))]
)
def test_a_key_ends_with_the_next_request(column, moment, town: Service):
    key = town.key("admin")
    path, authorization = "/sections/1", f"Bearer {key}"
    assert ask(town, "PATCH", path, authorization, {"title": "一"}).status_code == 200
    with town.database.writing() as session:
        session.execute(sa.update(API_KEY).values({column: moment}))
    assert ask(town, "PATCH", path, authorization, {"title": "二"}).status_code == 401
    assert town.anyone.get(path).json()["title"] == "一"


# ---------------------------------------------------------------------------------------------------------
# Keys


def test_the_log_tells_which_key_wrote(town: Service):
    keys = [town.key("admin"), town.key("editor", FUJIMI)]
    for n, key in enumerate(keys):
        assert ask(town, "PATCH", "/plans/1", f"Bearer {key}", {"licence": str(n)}).status_code == 200
    with town.database.reading() as session:
        by = session.scalars(sa.select(CHANGE.c.api_key_id).order_by(CHANGE.c.seq)).all()
    assert by[-2:] == [key.split("_")[1] for key in keys]
    assert set(by[:-2]) == {None}


def last_used(town: Service) -> Any:
    with town.database.reading() as session:
        return session.scalars(sa.select(API_KEY.c.last_used_at)).one()


@pytest.mark.parametrize(
    ("before", "moves"),
    [(None, True), (timedelta(days=40), True), (timedelta(minutes=61), True), (timedelta(minutes=5), False)],
    ids=["never", "long ago", "an hour ago", "just now"],
)
def test_the_last_use_of_a_key_is_kept_to_the_hour(before, moves, town: Service):
    used = before and now() - before
    authorization = f"Bearer {town.key('editor', FUJIMI, last_used_at=used)}"
    start = now()
    assert ask(town, "PATCH", "/sections/1", authorization, {"title": "節"}).status_code == 200
    if moves:
        assert start <= last_used(town) <= now()
    else:
        assert last_used(town) == used


def test_using_a_key_is_no_change_of_the_data(town: Service):
    before = revision(town)
    assert ask(town, "PATCH", "/sections/1", f"Bearer {town.key('admin')}", {}).status_code == 200
    assert last_used(town) is not None
    assert revision(town) == before


def everything_in(town: Service) -> str:
    """Every cell of every table, and on SQLite every byte of the files."""
    tables = sa.MetaData()
    with town.database.engine.connect() as connection:
        tables.reflect(
            connection, only=lambda name, _: "_pair" not in name
        )  # an index, which nobody can read
        cells = [
            repr(row) for table in tables.tables.values() for row in connection.execute(sa.select(table))
        ]
    file = town.database.engine.url.database if town.database.sqlite else None
    stored = [Path(f"{file}{end}").read_bytes().decode("latin-1") for end in ("", "-wal")] if file else []
    return "\n".join(cells + stored)


def test_no_secret_is_in_the_database_or_the_logs(town: Service, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    known = town.key("admin")
    wrong = f"{known[:-4]}beef"
    revoked = town.key("admin", revoked_at=now())
    for key in (known, wrong, revoked):
        ask(town, "PATCH", "/plans/1", f"Bearer {key}", {"licence": "CC0"})
        ask(town, "PATCH", "/plans/1", f"Bearer {key}", {"title": ""})
        ask(town, "POST", "/plans", f"Basic {key}", {})
        ask(town, "GET", "/plans", f"Bearer {key}")

    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert {record.name for record in ours} >= {"shinchoku.requests"}
    logged = "\n".join(str(record.__dict__) for record in ours)
    stored = everything_in(town)
    for key in (known, wrong, revoked):
        id, secret = key.split("_")[1:]
        assert id in stored
        assert secret[:32] not in stored
        assert secret[:32] not in logged
