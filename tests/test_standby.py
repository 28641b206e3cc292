"""Reads from a standby of PostgreSQL: never older than what was seen, and answered while either one is away."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx
import psycopg
import pytest
import sqlalchemy as sa

import app.kit.database
from tests.conftest import Backend, Service, started
from tests.postgres import Server, postgres_of_our_own
from tests.test_feed import end_of, got

ANY = {"If-Match": "*"}


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    with postgres_of_our_own() as primary, postgres_of_our_own(primary) as standby:
        yield primary, standby


@pytest.fixture
def pair(
    servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    primary, standby = servers
    monkeypatch.setattr(app.kit.database, "STANDBY_PAUSE", 0.2)
    backend = Backend("postgresql", tmp_path_factory.mktemp("pair"), primary)
    url = backend.seeded()
    replay(standby, "resume")
    # A service that asks too early takes the standby for away, and answers from the primary for a while.
    wait_until(lambda: stand_of(standby, url) == 56)
    with started(url, read_database_url=standby.url(str(sa.make_url(url).database))) as service:
        yield service
        replay(standby, "resume")
    backend.drop(url)
    backend.drop(backend._seeded)


def replay(standby: Server, what: str) -> None:
    address = standby.address.set(drivername="postgresql").render_as_string()
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"SELECT pg_wal_replay_{what}()".encode())


def stand_of(standby: Server, url: str) -> int:
    """The revision that the standby has reached, -1 while it lacks the database."""
    name = str(sa.make_url(url).database)
    address = standby.address.set(drivername="postgresql", database=name).render_as_string()
    try:
        with psycopg.connect(address) as connection:
            found = connection.execute("SELECT seq FROM feed").fetchone()
    except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
        return -1
    return int(found[0]) if found else -1


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def revision_of(answer: httpx.Response) -> int:
    return int(answer.headers.get("Shinchoku-Revision", -1))


def test_who_tells_what_it_has_seen_gets_nothing_older(pair: Service, servers: tuple[Server, Server]):
    replay(servers[1], "pause")
    with pair.holder(pair.key("admin")) as admin:
        wrote = admin.patch("/sections/1", json={"title": "書いたばかり"}, headers=ANY)
    assert revision_of(wrote) == 57
    plain = pair.anyone.get("/sections/1")
    assert (revision_of(plain), plain.json()["title"]) == (56, None)  # so it is the standby that answers
    seen = pair.anyone.get("/sections/1", headers={"Shinchoku-Revision": "57"})
    assert (revision_of(seen), seen.json()["title"]) == (57, "書いたばかり")
    snapshot = pair.anyone.get("/snapshot.jsonl", headers={"Shinchoku-Revision": "57"})
    assert revision_of(snapshot) == 57
    replay(servers[1], "resume")
    wait_until(lambda: revision_of(pair.anyone.get("/sections/1")) == 57)


def test_who_waits_for_a_change_does_not_wait_for_the_standby(pair: Service, servers: tuple[Server, Server]):
    cursor = end_of(pair.anyone)
    replay(servers[1], "pause")
    with ThreadPoolExecutor() as pool, pair.holder(pair.key("admin")) as admin:
        waiting = pool.submit(got, pair.anyone, "/changes", after=cursor, wait=20)
        time.sleep(0.5)
        start = time.monotonic()
        admin.patch("/sections/1", json={"title": "題"}, headers=ANY)
        assert [change["seq"] for change in waiting.result()["results"]] == [57]
        assert time.monotonic() - start < 5


def test_a_cursor_from_the_primary_is_good_while_the_standby_lags(
    pair: Service, servers: tuple[Server, Server]
):
    cursor = end_of(pair.anyone)
    replay(servers[1], "pause")
    with pair.holder(pair.key("admin")) as admin:
        admin.patch("/sections/1", json={"title": "題"}, headers=ANY)
    page = got(pair.anyone, "/changes", after=cursor, wait=5)
    assert [change["seq"] for change in page["results"]] == [57]
    again = got(pair.anyone, "/changes", after=page["metadata"]["resultset"]["next"])
    assert (again["results"], again["metadata"]["revision"]) == ([], 57)


def test_a_standby_that_is_away_is_missed_by_nobody(pair: Service, servers: tuple[Server, Server]):
    _, standby = servers
    standby.halt()
    try:
        with pair.holder(pair.key("admin")) as admin:
            admin.patch("/sections/1", json={"title": "題"}, headers=ANY)
        for _ in range(10):
            answer = pair.anyone.get("/sections/1")
            assert (answer.status_code, revision_of(answer)) == (200, 57)
    finally:
        standby.resume()
    wait_until(lambda: stand_of(standby, pair.url) == 57)
    replay(standby, "pause")
    with pair.holder(pair.key("admin")) as admin:
        admin.patch("/sections/1", json={"title": "別の題"}, headers=ANY)
    news = (f"/evaluations?limit={limit}" for limit in count(1))  # what was asked before is known to be newer
    wait_until(lambda: revision_of(pair.anyone.get(next(news))) == 57)  # it answers again, and is behind


def test_while_the_primary_is_away_the_standby_still_answers(pair: Service, servers: tuple[Server, Server]):
    primary, _ = servers
    with pair.holder(pair.key("admin")) as admin:
        primary.halt()
        try:
            assert pair.anyone.get("/evaluations?limit=1").json()["metadata"]["resultset"]["count"] == 26
            refused = admin.post("/sections", json={"plan": "fujimi-yumetsunagu", "code": "9"})
            assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
        finally:
            primary.resume()
        again = admin.post("/sections", json={"plan": "fujimi-yumetsunagu", "code": "9"})
        assert again.status_code == 201


def test_a_number_that_was_never_reached_is_taken_for_the_newest(pair: Service):
    answer = pair.anyone.get("/sections/1", headers={"Shinchoku-Revision": "99999"})
    assert (answer.status_code, revision_of(answer)) == (200, 56)


def test_more_at_once_than_there_are_connections_are_answered(pair: Service):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: pair.anyone.get("/measures?limit=5"), range(100)))
    assert {answer.status_code for answer in answers} == {200}


def test_what_a_standby_shows_of_an_old_life_is_not_kept_for_the_new_one(
    pair: Service, servers: tuple[Server, Server]
):
    replay(servers[1], "pause")
    with pair.database.writing() as session:  # as a restore of a backup with as many changes
        session.execute(sa.text("UPDATE section SET title = '戻した題' WHERE id = 1"))
        session.execute(sa.text("UPDATE feed SET epoch = 'another'"))
    assert pair.anyone.get("/sections/1").json()["title"] is None
    replay(servers[1], "resume")
    wait_until(lambda: pair.anyone.get("/sections/1").json()["title"] == "戻した題", seconds=5)
