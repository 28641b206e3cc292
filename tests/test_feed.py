"""The feed: who follows it misses nothing, is told when it cannot go on, and can prove that its copy is equal."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from app.changes import ENTITIES
from app.kit.settings import ROOT
from app.models import CHANGE, FEED
from tests.conftest import FUJIMI, KAWAGOE, Backend, Service, opened, running, started
from tests.processes import Served, caller, serving
from tests.test_changes import write_at_random

PLAN = "fujimi-yumetsunagu"
ANY = {"If-Match": "*"}


def got(client: httpx.Client, path: str, **parameters: Any) -> dict[str, Any]:
    answer = client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def next_of(page: dict[str, Any]) -> str:
    cursor: str = page["metadata"]["resultset"]["next"]
    return cursor


def all_changes(client: httpx.Client, limit: int = 100, **filters: str) -> list[dict[str, Any]]:
    """Every change from the beginning, the pages having been held against each other."""
    page = got(client, "/changes", limit=limit, **filters)
    changes = page["results"]
    assert page["metadata"]["after"] == 0
    while page["metadata"]["more"]:
        before = page["metadata"]
        page = got(client, "/changes", limit=limit, after=next_of(page), **filters)
        assert page["metadata"]["after"] == before["through"] < page["metadata"]["through"]
        changes += page["results"]
    assert page["metadata"]["through"] == page["metadata"]["revision"]
    return changes


def end_of(client: httpx.Client, **filters: str) -> str:
    page = got(client, "/changes", limit=1000, **filters)
    while page["metadata"]["more"]:
        page = got(client, "/changes", limit=1000, after=next_of(page), **filters)
    return next_of(page)


def snapshot(client: httpx.Client, **filters: str) -> tuple[dict[str, Any], dict[tuple[str, str], Any]]:
    answer = client.get("/snapshot.jsonl", params=filters)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/jsonl"
    head, *rows = [json.loads(line) for line in answer.text.splitlines()]
    assert head["entity"] == "snapshot"
    assert head["rows"] == len(rows)
    return head, {(row["entity"], row["key"]): row for row in rows}


def applied(copy: dict[tuple[str, str], Any], changes: list[dict[str, Any]]) -> None:
    for change in changes:
        name = change["entity"], change["key"]
        if change["op"] == "delete":
            del copy[name]
        else:
            copy[name] = {
                "entity": name[0],
                "key": name[1],
                "version": change["version"],
                "data": change["data"],
            }


def digest_of(copy: dict[tuple[str, str], Any]) -> str:
    lines = sorted(f"{entity} {key} {row['version']}\n" for (entity, key), row in copy.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def assert_equal_to(client: httpx.Client, copy: dict[tuple[str, str], Any], **filters: str) -> None:
    proof = got(client, "/changes/digest", **filters)
    assert (proof["count"], proof["digest"]) == (len(copy), digest_of(copy))
    assert copy == snapshot(client, **filters)[1]


# ---------------------------------------------------------------------------------------------------------
# Reading it


def test_the_seed_is_56_changes_in_order(read: httpx.Client):
    changes = all_changes(read, limit=7)
    assert [change["seq"] for change in changes] == list(range(1, 57))
    assert {change["op"] for change in changes} == {"create"}
    kinds = [change["entity"] for change in changes]
    assert [kinds.count(name) for name in ENTITIES] == [1, 1, 4, 24, 26]
    assert list(changes[-1]) == ["seq", "entity", "key", "op", "version", "at", "data"]
    assert changes[-1]["key"] == f"{PLAN}/4-2-1/2017/3"
    assert changes[-1]["data"]["document"] == changes[1]["data"]["sha256"]


def test_a_page_tells_how_many_follow_and_where_it_ends(read: httpx.Client):
    page = got(read, "/changes", limit=10)
    state = {name: page["metadata"][name] for name in ("more", "after", "through", "revision")}
    assert state == {"more": True, "after": 0, "through": 10, "revision": 56}
    page = got(read, "/changes", limit=46, after=next_of(page))
    assert page["metadata"]["resultset"]["count"] == 46
    assert (page["metadata"]["more"], page["metadata"]["through"]) == (False, 56)
    page = got(read, "/changes", after=next_of(page))
    assert page["results"] == []
    assert (page["metadata"]["after"], page["metadata"]["through"], page["metadata"]["more"]) == (
        56,
        56,
        False,
    )
    assert next_of(page)


def test_nobody_learns_who_wrote(town: Service, admin: httpx.Client):
    admin.patch("/sections/1", json={"title": "題"}, headers=ANY)
    assert not {"by", "api_key_id"} & all_changes(town.anyone)[-1].keys()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_copy_made_from_the_beginning_is_the_copy_made_from_a_snapshot(
    seed: int, town: Service, admin: httpx.Client
):
    head, copy = snapshot(town.anyone)
    write_at_random(admin, Random(seed), 60)
    page = got(town.anyone, "/changes", after=head["cursor"], limit=1000)
    applied(copy, page["results"])
    assert_equal_to(town.anyone, copy)
    from_the_beginning: dict[tuple[str, str], Any] = {}
    applied(from_the_beginning, all_changes(town.anyone))
    assert from_the_beginning == copy


def test_a_copy_of_a_part_is_that_part(town: Service, admin: httpx.Client):
    parts: list[dict[str, str]] = [
        {"plan": PLAN},
        {"plan": "p1"},
        {"municipality": FUJIMI},
        {"municipality": KAWAGOE},
        {"municipality": KAWAGOE, "plan": "p2"},
        {"plan": "nowhere"},
    ]
    starts = [snapshot(town.anyone, **part) for part in parts]
    write_at_random(admin, Random(7), 120)
    for part, (head, copy) in zip(parts, starts, strict=True):
        page = got(town.anyone, "/changes", after=head["cursor"], limit=1000, **part)
        assert page["metadata"]["through"] == page["metadata"]["revision"]
        assert page["metadata"]["resultset"]["count"] == len(page["results"])
        applied(copy, page["results"])
        assert_equal_to(town.anyone, copy, **part)


def test_parents_come_before_their_children(town: Service):
    _, copy = snapshot(town.anyone)
    order = list(ENTITIES)
    kinds = [order.index(entity) for entity, _ in copy]
    assert kinds == sorted(kinds)


def test_what_is_known_already_is_not_sent_again(read: httpx.Client):
    for path in ("/changes", "/changes/digest", "/snapshot.jsonl"):
        tag = read.get(path).headers["etag"]
        assert read.get(path, headers={"If-None-Match": tag}).status_code == 304


# ---------------------------------------------------------------------------------------------------------
# Cursors that cannot go on


def refusal(client: httpx.Client, cursor: str, **filters: str) -> tuple[int, str]:
    answer = client.get("/changes", params={"after": cursor, **filters})
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


def test_garbage_is_refused(read: httpx.Client):
    good = end_of(read)
    for bad in ("", "x", "1", "=", "あ", good[:-1], good + "A", good[::-1], "AAAA" * 20, f"{good}\n"):
        assert refusal(read, bad) == (422, "invalid"), bad


def test_a_cursor_belongs_to_its_filters(read: httpx.Client):
    assert refusal(read, end_of(read), plan=PLAN) == (422, "invalid")
    assert refusal(read, end_of(read, plan=PLAN)) == (422, "invalid")
    assert refusal(read, end_of(read, plan=PLAN), municipality=FUJIMI) == (422, "invalid")


def test_a_cursor_of_another_life_is_gone(town: Service):
    cursor = end_of(town.anyone)
    with town.database.writing() as session:
        session.execute(sa.update(FEED).values(epoch="another"))
    assert refusal(town.anyone, cursor) == (410, "gone")


def test_a_cursor_from_the_future_is_refused(town: Service, admin: httpx.Client):
    before = end_of(town.anyone)
    admin.patch("/sections/1", json={"title": "題"}, headers=ANY)
    cursor = end_of(town.anyone)
    with town.database.writing() as session:
        session.execute(sa.delete(CHANGE).where(CHANGE.c.seq > 50))
        session.execute(sa.update(FEED).values(seq=50))
    assert refusal(town.anyone, cursor) == (409, "conflict")
    assert refusal(town.anyone, before) == (409, "conflict")


def test_who_comes_too_late_is_told_so(town: Service):
    first = next_of(got(town.anyone, "/changes", limit=10))
    second = next_of(got(town.anyone, "/changes", limit=20))
    with town.database.writing() as session:
        session.execute(sa.update(FEED).values(horizon=20))
    assert refusal(town.anyone, first) == (410, "gone")
    assert town.anyone.get("/changes").status_code == 410
    assert got(town.anyone, "/changes", after=second)["results"][0]["seq"] == 21


# ---------------------------------------------------------------------------------------------------------
# Waiting


@pytest.fixture
def neighbour(town: Service) -> Iterator[Service]:
    """A second server on the same database."""
    with running(town.url) as service:
        yield service


def test_a_write_wakes_who_waits_whichever_server_made_it(town: Service, neighbour: Service):
    cursor = end_of(town.anyone)
    for writer in (town, neighbour):
        with ThreadPoolExecutor() as pool, writer.holder(writer.key("admin")) as client:
            waiting = pool.submit(got, town.anyone, "/changes", after=cursor, wait=20)
            time.sleep(0.3)
            assert not waiting.done()
            start = time.monotonic()
            client.patch("/sections/1", json={"title": str(start)}, headers=ANY)
            page = waiting.result()
            assert time.monotonic() - start < 2
        assert [change["key"] for change in page["results"]] == [f"{PLAN}/1"]
        cursor = next_of(page)


def test_who_waits_for_another_plan_sleeps_on(town: Service, admin: httpx.Client):
    cursor = end_of(town.anyone, plan="p1")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(got, town.anyone, "/changes", after=cursor, wait=20, plan="p1")
        time.sleep(0.2)
        admin.patch("/sections/1", json={"title": "題"}, headers=ANY)
        time.sleep(0.5)
        assert not waiting.done()
        body = {"slug": "p1", "title": "計画", "municipality_code": KAWAGOE, "municipality": "川越市"}
        admin.post("/plans", json=body)
        assert [change["key"] for change in waiting.result()["results"]] == ["p1"]


def test_waiting_ends(town: Service):
    cursor = end_of(town.anyone)
    start = time.monotonic()
    page = got(town.anyone, "/changes", after=cursor, wait=1)
    assert 0.9 < time.monotonic() - start < 5
    assert (page["results"], next_of(page)) == ([], cursor)


def test_who_waits_holds_no_connection(town: Service):
    cursor = end_of(town.anyone)
    with ThreadPoolExecutor(30) as pool:
        waiting = [
            pool.submit(httpx.get, f"{town.anyone.base_url}/changes?wait=3&after={cursor}", timeout=20)
            for _ in range(30)
        ]
        time.sleep(0.5)
        start = time.monotonic()
        assert town.anyone.get("/plans").status_code == 200
        assert time.monotonic() - start < 2
        assert all(each.result().status_code == 200 for each in waiting)


def test_waiting_ends_with_the_server(backend: Any):
    url = backend.seeded()
    with ThreadPoolExecutor() as pool:
        with started(url) as service:
            cursor = end_of(service.anyone)
            waiting = pool.submit(
                httpx.get, f"{service.anyone.base_url}/changes?wait=30&after={cursor}", timeout=40
            )
            time.sleep(0.5)
            start = time.monotonic()
        assert waiting.result().status_code == 200
        assert time.monotonic() - start < 5
    backend.drop(url)


def test_who_goes_away_is_not_waited_for(backend: Any):
    """A server that stops would otherwise wait for those who have left long ago."""
    url = backend.seeded()
    with started(url) as service:
        cursor = end_of(service.anyone)
        with pytest.raises(httpx.ReadTimeout):
            service.anyone.get(f"/changes?wait=30&after={cursor}", timeout=0.5)
        start = time.monotonic()
    assert time.monotonic() - start < 5
    backend.drop(url)


# ---------------------------------------------------------------------------------------------------------
# As events


def events(service: Service, number: int, headers: dict[str, str], **parameters: Any) -> list[dict[str, str]]:
    """The first events of a stream."""
    found: list[dict[str, str]] = []
    event: dict[str, str] = {}
    sent = {"Accept": "text/event-stream", **headers}
    with (
        caller(service.anyone.base_url) as reader,
        reader.stream("GET", "/changes", params=parameters, headers=sent) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line and name:
                event[name] = value
            elif "data" in event:
                found.append(event)
                event = {}
                if len(found) == number:
                    return found
            else:
                event = {}
    return found


def test_a_browser_hears_of_changes_and_takes_the_stream_up_again(town: Service, admin: httpx.Client):
    whole = events(town, 56, {})
    assert [json.loads(event["data"])["seq"] for event in whole] == list(range(1, 57))
    assert {event["event"] for event in whole} == {"change"}
    again = events(town, 6, {"Last-Event-ID": whole[49]["id"]})
    assert [json.loads(event["data"])["seq"] for event in again] == list(range(51, 57))

    with ThreadPoolExecutor() as pool:
        heard = pool.submit(events, town, 1, {"Last-Event-ID": whole[-1]["id"]})
        time.sleep(0.5)
        admin.patch("/sections/1", json={"title": "題"}, headers=ANY)
        [event] = heard.result()
    assert json.loads(event["data"])["data"]["title"] == "題"


def test_a_stream_that_cannot_go_on_is_refused_as_any_other(read: httpx.Client):
    headers = {"Accept": "text/event-stream", "Last-Event-ID": "nonsense"}
    assert read.get("/changes", headers=headers).status_code == 422


def test_a_stream_whose_source_is_restored_says_so_and_ends(town: Service, admin: httpx.Client):
    with ThreadPoolExecutor() as pool:
        heard = pool.submit(events, town, 99, {}, after=end_of(town.anyone))
        time.sleep(0.5)
        with town.database.writing() as session:
            session.execute(sa.update(FEED).values(epoch="another"))
        admin.patch("/sections/1", json={"title": "題"}, headers=ANY)
        [event] = heard.result()
    assert (event["event"], json.loads(event["data"])["status"]) == ("problem", 410)


# ---------------------------------------------------------------------------------------------------------
# The client of the README


def test_the_client_of_the_readme_keeps_a_correct_copy(town: Service, admin: httpx.Client):
    text = (ROOT / "README.md").read_text("utf-8")
    [code] = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    space: dict[str, Any] = {}
    exec(code, space)  # noqa: S102 (it is ours)
    copy: dict[tuple[str, str], Any] = {}
    turns = iter([True])
    url = str(town.anyone.base_url)
    cursor = space["keep_a_copy"](url, copy, None, lambda: next(turns, False))
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        kept = pool.submit(space["keep_a_copy"], url, copy, cursor, lambda: not stop.is_set())
        write_at_random(admin, Random(3), 60)
        with town.database.writing() as session:
            session.execute(sa.update(FEED).values(epoch="restored"))
        write_at_random(admin, Random(4), 60)
        time.sleep(1)
        stop.set()
        admin.patch("/sections/1", json={"position": 99}, headers=ANY)
        kept.result()
    assert {name: row["version"] for name, row in copy.items()} == {
        name: row["version"] for name, row in snapshot(town.anyone)[1].items()
    }


# ---------------------------------------------------------------------------------------------------------
# The revision in the header


def test_every_answer_that_shows_data_tells_its_revision(town: Service, admin: httpx.Client):
    for path in ("/plans", "/plans/1", "/evaluations/summary", "/changes", "/snapshot.jsonl", "/plans/99"):
        assert town.anyone.get(path).headers["shinchoku-revision"] == "56", path
    done = admin.patch("/sections/1", json={"title": "題"}, headers=ANY)
    assert done.headers["shinchoku-revision"] == "57"
    assert admin.patch("/sections/1", json={}, headers=ANY).headers["shinchoku-revision"] == "57"
    assert admin.delete("/plans/1", headers=ANY).headers["shinchoku-revision"] == str(57 + 56)


def test_what_is_no_revision_is_refused(read: httpx.Client):
    answer = read.get("/plans", headers={"Shinchoku-Revision": "latest"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "Shinchoku-Revision"


def test_the_digest_is_the_same_on_another_database_with_the_same_rows(town: Service):
    with opened(town.url) as database, database.reading() as session:
        keys = session.scalars(sa.select(CHANGE.c.key)).all()
    assert got(town.anyone, "/changes/digest")["count"] == len(set(keys)) == 52 + 4


def fill(url: str, rows: int) -> None:
    """So many evaluations more, past the log: only reading them is looked at."""
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows) SELECT i FROM n"
    )
    made = (
        "INSERT INTO evaluation "
        "(measure_id, fiscal_year, ordinal, place, implementation, extra, folded, version, created_at, updated_at) "
        "SELECT 1, 2018, i, 'x' || i, :text, '{}', 'x', 1, created_at, updated_at "
        f"FROM measure, ({numbers}) AS numbers WHERE measure.id = 1"
    )
    with opened(url) as database, database.writing() as session:
        session.execute(sa.text(made), {"rows": rows, "text": "子どもの居場所となる場所の確保・支援" * 5})


def test_a_snapshot_of_many_rows_needs_little_memory(backend: Backend):
    url = backend.seeded()
    fill(url, 60_000)
    with serving(url) as served:
        served.client.get("/snapshot.jsonl?plan=none")
        before, size = most_memory(served), 0
        with served.client.stream("GET", "/snapshot.jsonl") as answer:
            for some in answer.iter_bytes():
                size += len(some)
        assert size > 20_000_000
        assert most_memory(served) - before < 15_000_000
    backend.drop(url)


def most_memory(served: Served) -> int:
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    return 1024 * int(re.findall(r"VmHWM:\s*([0-9]+) kB", status)[0])


def test_a_number_that_came_twice_is_not_taken_for_the_same(town: Service, admin: httpx.Client):
    """As when a standby takes over that lacks the last change: the life is the same, the change is another."""
    path = "/sections/1"
    admin.patch(path, json={"title": "失われた"}, headers=ANY)
    lost, kept = end_of(town.anyone), next_of(got(town.anyone, "/changes", limit=56))
    tag = town.anyone.get("/sections").headers["ETag"]
    with town.database.writing() as session:
        session.execute(sa.delete(CHANGE).where(CHANGE.c.seq == 57))
        session.execute(sa.update(FEED).values(seq=56))
        session.execute(sa.text("UPDATE section SET title = NULL, version = 1 WHERE id = 1"))
    admin.patch(path, json={"title": "その後"}, headers=ANY)
    assert town.state().seq == 57
    assert refusal(town.anyone, lost) == (410, "gone")
    [change] = got(town.anyone, "/changes", after=kept)["results"]
    assert change["data"]["title"] == "その後"
    assert town.anyone.get("/sections", headers={"If-None-Match": tag}).status_code == 200
