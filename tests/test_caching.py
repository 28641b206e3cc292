"""Kept answers: what is asked again at the same revision needs no table, and what is not the same is asked anew."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from app.changes import compact
from app.kit import caching, standing
from tests.conftest import Service
from tests.test_feed import end_of, got

ANY = {"If-Match": "*"}
ADDRESSES = (
    "/sections",
    "/sections/1",
    "/sections/1/history",
    "/evaluations?q=支援",
    "/evaluations/summary",
    "/p/fujimi-yumetsunagu",
)


@contextmanager
def tables_away(town: Service) -> Iterator[None]:
    """Nothing but the number of the last change can be read."""
    names = ("plan", "section", "measure", "evaluation")
    with town.database.writing() as session:
        for name in names:
            session.execute(sa.text(f"ALTER TABLE {name} RENAME TO {name}_away"))
    try:
        yield
    finally:
        with town.database.writing() as session:
            for name in names:
                session.execute(sa.text(f"ALTER TABLE {name}_away RENAME TO {name}"))


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_asked_again_is_sent_as_it_was(town: Service, address: str):
    manners = ({}, {"Accept-Encoding": "gzip"}, {"Accept-Language": "en"}, {"Origin": "https://example.jp"})
    first = [town.anyone.get(address, headers=headers) for headers in manners]
    head = town.anyone.head(address)
    known = {"If-None-Match": first[0].headers["ETag"]}
    assert town.anyone.get(address, headers=known).status_code == 304
    with tables_away(town):
        for answer, headers in zip(first, manners, strict=True):
            again = town.anyone.get(address, headers=headers)
            assert (again.status_code, again.content) == (200, answer.content)
            assert dict(again.headers) == dict(answer.headers) | {"date": again.headers["date"]}
        assert town.anyone.head(address).headers["ETag"] == head.headers["ETag"]
        assert town.anyone.get(address, headers=known).status_code == 304


@pytest.mark.parametrize("address", ["/sections", "/sections/1"])
def test_what_is_asked_with_a_key_is_not_kept(town: Service, admin: httpx.Client, address: str):
    admin.patch("/sections/1", json={"title": "題"}, headers=ANY)
    assert admin.get(address).status_code == 200
    with tables_away(town):
        assert town.anyone.get(address).status_code in (500, 503)
    assert town.anyone.get(address).status_code == 200  # an error is not kept either
    with tables_away(town):
        assert admin.get(address).status_code in (500, 503)


def test_every_write_ends_what_was_kept(town: Service, admin: httpx.Client):
    for n in range(5):
        for address in ADDRESSES[:3]:
            town.anyone.get(address)
        assert admin.patch("/sections/1", json={"title": f"第{n}回"}, headers=ANY).status_code == 200
        for address in ADDRESSES[:3]:
            assert f"第{n}回" in town.anyone.get(address).text


def test_who_waits_for_changes_is_not_sent_what_others_have_waited_for(town: Service):
    cursor = end_of(town.anyone)
    for _ in range(2):
        start = monotonic()
        assert got(town.anyone, "/changes", after=cursor, wait=1)["results"] == []
        assert monotonic() - start > 0.9


def test_what_is_kept_takes_no_more_memory_than_it_may(
    town: Service, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
):
    admin.patch("/sections/1", json={"title": "題"}, headers=ANY)
    monkeypatch.setattr(caching, "MOST_BYTES", 40_000)
    for n in range(1, 27):
        town.anyone.get(f"/evaluations?limit={n}")
    with tables_away(town):
        assert town.anyone.get("/evaluations?limit=26").status_code == 200
        assert town.anyone.get("/evaluations?limit=1").status_code in (500, 503)


def test_what_many_ask_for_at_once_is_counted_once(
    town: Service, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
):
    admin.patch("/sections/1", json={"title": "題"}, headers=ANY)
    monkeypatch.setattr(caching, "MOST_BYTES", 150_000)
    town.anyone.get("/sections/1")
    with ThreadPoolExecutor(16) as many:
        for n in (20, 21, 22):
            asked = [many.submit(town.anyone.get, f"/evaluations?limit={n}") for _ in range(16)]
            assert {one.result().status_code for one in asked} == {200}
    with tables_away(town):
        assert town.anyone.get("/sections/1").status_code == 200


def test_one_failure_to_ask_where_the_data_stands_is_over_with_its_cause(
    town: Service, monkeypatch: pytest.MonkeyPatch
):
    if town.database.sqlite:  # where there is nobody to connect to
        return

    async def refuse(*arguments: Any, **named: Any) -> Any:
        raise OSError("no more files")

    url = town.url
    town.leave()
    town.move(url)
    with monkeypatch.context() as bad:
        bad.setattr(psycopg.AsyncConnection, "connect", refuse)
        assert {town.anyone.get("/sections").status_code for _ in range(3)} == {200}
    sleep(standing.PAUSE + 0.1)
    assert town.anyone.get("/sections/1").status_code == 200
    with tables_away(town):
        assert town.anyone.get("/sections/1").status_code == 200


def test_a_database_that_is_being_restored_keeps_nobody_from_what_is_not_in_it(town: Service):
    if town.database.sqlite:  # where nobody waits for a lock to read
        return
    with town.database.writing() as session:
        session.execute(sa.text("LOCK TABLE feed"))
        start = monotonic()
        assert town.anyone.get("/docs").status_code == 200
        assert monotonic() - start < 4
    assert town.anyone.get("/sections").status_code == 200


def test_a_history_that_was_kept_while_the_log_was_compacted_is_that_of_afterwards(
    town: Service, admin: httpx.Client
):
    for n in range(3):
        admin.patch("/sections/1", json={"title": f"第{n}回"}, headers=ANY)
    with town.database.writing() as session:  # as `compact` begins
        session.execute(sa.text("UPDATE feed SET horizon = seq"))
    during = town.anyone.get("/sections/1/history").json()
    compact(town.database, town.state().seq)
    assert during == admin.get("/sections/1/history").json() == town.anyone.get("/sections/1/history").json()
