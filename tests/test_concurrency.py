"""Many at once: nothing lost, nothing twice, no gap, and no fault."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from random import Random
from threading import Barrier, Event
from typing import Any, TypeVar

import httpx
import pytest
import sqlalchemy as sa
from anyio.to_thread import run_sync

import app.changes
from app.changes import STAND_READ, save
from app.kit import search
from app.kit.bulk import insert
from app.kit.database import Database, passes
from app.kit.session import Session
from app.models import CHANGE, EVALUATION, FEED, Plan, now
from tests.conftest import FUJIMI, Backend, Service, opened, started
from tests.processes import caller, serving
from tests.test_changes import assert_that_log_and_tables_agree, write_at_random

PLAN = "fujimi-yumetsunagu"
ANY = {"If-Match": "*"}
WRITERS = 8

T = TypeVar("T")


def address_of(service: Service) -> str:
    return service.database.engine.url.render_as_string(hide_password=False)


@pytest.fixture
def another(town: Service) -> Iterator[str]:
    """A second process that serves the same database."""
    with serving(address_of(town), log_level="error") as served:
        yield str(served.client.base_url)


def all_at_once(service: Service, job: Callable[[int, httpx.Client], T], *others: str) -> list[T]:
    """What each writer got, all having started together, each with a client of its own."""
    key = service.key("admin", last_used_at=now())  # noting its first use would make them queue
    together = Barrier(WRITERS)
    servers = [str(service.anyone.base_url), *others]

    def work(n: int) -> T:
        url = servers[n % len(servers)]
        with caller(url, key) as writer:
            writer.get("/livez")
            together.wait()
            return job(n, writer)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(work, range(WRITERS)))


# ---------------------------------------------------------------------------------------------------------


def assert_ordinals_without_gaps(service: Service, *others: str) -> None:
    row = {"measure_id": 1, "fiscal_year": 2018}
    answers = all_at_once(
        service, lambda n, client: [client.post("/evaluations", json=row) for _ in range(10)], *others
    )
    made = [answer for each in answers for answer in each]
    assert Counter(answer.status_code for answer in made) == {201: 10 * WRITERS}
    assert sorted(answer.json()["ordinal"] for answer in made) == list(range(1, 10 * WRITERS + 1))
    assert_that_log_and_tables_agree(service)


def test_ordinals_are_given_out_once_and_without_gaps(town: Service):
    assert_ordinals_without_gaps(town)


def test_ordinals_are_given_out_once_by_two_processes_too(town: Service, another: str):
    assert_ordinals_without_gaps(town, another)


def test_a_code_that_all_use_first_joins_the_scale_once(town: Service):
    def rate(n: int, client: httpx.Client) -> int:
        body = {"measure_id": n + 1, "fiscal_year": 2018, "rating": "C"}
        return client.post("/evaluations", json=body).status_code

    assert all_at_once(town, rate) == [201] * WRITERS
    plan = town.anyone.get(f"/plans/{PLAN}").json()
    assert [rating["code"] for rating in plan["ratings"]] == ["A", "B", "C"]
    assert plan["version"] == 2
    assert_that_log_and_tables_agree(town)


def test_one_of_those_who_make_the_same_plan_makes_it(town: Service):
    slugs = [f"p{n}" for n in range(12)]

    def make(n: int, client: httpx.Client) -> list[httpx.Response]:
        plan = {"title": f"計画{n}", "municipality_code": FUJIMI, "municipality": "富士見市"}
        return [client.post("/plans", json={"slug": slug, **plan}) for slug in slugs]

    for slug, *answers in zip(slugs, *all_at_once(town, make), strict=True):
        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: WRITERS - 1}
        [made] = [answer for answer in answers if answer.status_code == 201]
        assert made.json() == town.anyone.get(f"/plans/{slug}").json()
        others = [answer.json().get("existing") for answer in answers if answer is not made]
        assert others == [made.headers["location"]] * (WRITERS - 1)
    assert_that_log_and_tables_agree(town)


def test_plans_are_written_side_by_side(town: Service):
    def write(n: int, client: httpx.Client) -> list[int]:
        plan = {"slug": f"p{n}", "title": "計画", "municipality_code": FUJIMI, "municipality": "富士見市"}
        section = {"plan": f"p{n}", "code": "1"}
        measure = {"plan": f"p{n}", "section": "1", "code": "1", "title": "施策"}
        row = {"plan": f"p{n}", "measure_code": "1", "fiscal_year": 2017, "rating": "◎"}
        steps = [("plans", plan), ("sections", section), ("measures", measure), *[("evaluations", row)] * 5]
        return [client.post(f"/{noun}", json=body).status_code for noun, body in steps]

    assert all_at_once(town, write) == [[201] * 8] * WRITERS
    assert_that_log_and_tables_agree(town)


def test_a_plan_goes_whole_while_others_add_to_it(town: Service):
    bodies = [
        ("sections", {"plan": PLAN, "code": "節{}"}),
        ("measures", {"plan": PLAN, "section": "1", "code": "施策{}", "title": "施策"}),
        ("evaluations", {"plan": PLAN, "measure_code": "1-1-1", "fiscal_year": 2018, "rating": "C"}),
        ("evaluations", {"measure_id": 2, "fiscal_year": 2018}),
    ]

    def work(n: int, client: httpx.Client) -> Counter[int]:
        answered: Counter[int] = Counter()
        for step in range(20):
            if n == 0 and step == 10:
                answer = client.delete(f"/plans/{PLAN}", headers=ANY)
            elif n == 1:
                answer = client.patch(f"/evaluations/{step + 1}", json={"rating": "D"}, headers=ANY)
            else:
                noun, body = bodies[n % len(bodies)]
                numbered = {k: v.format(f"{n}-{step}") if isinstance(v, str) else v for k, v in body.items()}
                answer = client.post(f"/{noun}", json=numbered)
            answered[answer.status_code] += 1
        return answered

    answered = all_at_once(town, work)
    assert set().union(*answered) <= {200, 201, 204, 404, 409, 412}
    assert answered[0][204] == 1
    assert town.anyone.get(f"/plans/{PLAN}").status_code == 404
    assert town.anyone.get("/evaluations").json()["metadata"]["resultset"]["count"] == 0
    assert_that_log_and_tables_agree(town)


# ---------------------------------------------------------------------------------------------------------
# Readers


def follow(service: Service, done: Event) -> int:
    """Read the log as it grows, over and over; tells how often."""
    looked = 0
    with opened(address_of(service)) as database:
        with database.reading() as session:
            seen = session.scalars(sa.select(FEED.c.seq)).one()
        with caller(service.anyone.base_url) as reader:
            last_look = False
            while not last_look:
                last_look = done.is_set()
                answer = reader.get("/plans?limit=1")
                assert answer.status_code == 200
                told = answer.json()["metadata"]["revision"]
                with database.reading() as session:
                    new = session.scalars(
                        sa.select(CHANGE.c.seq).where(CHANGE.c.seq > seen).order_by(CHANGE.c.seq)
                    ).all()
                    stand = session.scalars(sa.select(FEED.c.seq)).one()
                assert list(new) == list(range(seen + 1, stand + 1))
                assert told <= stand
                assert told >= seen
                seen, looked = stand, looked + 1
                time.sleep(0.01)
    return looked


def assert_readers_miss_nothing(service: Service, *others: str) -> None:
    done = Event()
    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(follow, service, done) for _ in range(3)]
        try:
            answered = all_at_once(service, lambda n, client: write_at_random(client, Random(n), 15), *others)
        finally:
            done.set()
        assert all(reader.result() > 3 for reader in readers)
    assert set().union(*answered) <= {200, 201, 204, 404, 409, 412}
    assert_that_log_and_tables_agree(service)


def test_a_reader_never_sees_a_change_before_the_one_it_follows(town: Service):
    assert_readers_miss_nothing(town)


def test_a_reader_misses_nothing_of_what_two_processes_write(town: Service, another: str):
    assert_readers_miss_nothing(town, another)


# ---------------------------------------------------------------------------------------------------------
# Too many


@contextmanager
def writer_that_takes_its_time(service: Service) -> Iterator[None]:
    with opened(address_of(service)) as database, database.writing() as session:
        session.execute(sa.update(FEED).values(seq=FEED.c.seq))
        yield


@pytest.fixture
def impatient(backend: Backend) -> Iterator[Service]:
    """A service that lets nobody wait for more than half a second."""
    url = backend.seeded()
    with started(url, busy_timeout=0.5) as service:
        yield service
    backend.drop(url)


def test_who_waits_too_long_for_another_writer_is_put_off(impatient: Service):
    section = {"plan": PLAN, "code": "5"}
    with impatient.holder(impatient.key("admin")) as admin:
        admin.timeout = 5
        with writer_that_takes_its_time(impatient):
            answer = admin.post("/sections", json=section)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert int(answer.headers["retry-after"]) > 0
            assert admin.get("/sections").status_code == 200
        assert admin.post("/sections", json=section).status_code == 201
    assert_that_log_and_tables_agree(impatient)


def test_many_rows_that_cannot_wait_any_longer_are_put_off(impatient: Service):
    rows = ["番号\t事業名\tH30実績\t評価", *(f"9-{n}\t施策{n}\ta\tA" for n in range(100))]
    sent = {"params": {"name": "a.tsv", "plan": PLAN}, "content": "\n".join(rows).encode()}
    held = "UPDATE feed SET seq = seq" if impatient.database.sqlite else "LOCK TABLE measure IN SHARE MODE"
    with impatient.holder(impatient.key("admin", last_used_at=now())) as admin:
        with impatient.database.writing() as session:
            session.execute(sa.text(held))
            answer = admin.post("/imports", **sent)
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True), answer.text
        assert admin.post("/imports", **sent).json()["created"]["evaluation"] == 100
    assert_that_log_and_tables_agree(impatient)


def test_a_statement_that_takes_too_long_is_ended(backend: Backend):
    if backend.name == "sqlite":  # which answers for itself, on one machine
        return
    url = backend.seeded()
    with started(url, statement_timeout=1) as service:
        with service.database.writing() as session:
            # As if there were a million rows: each one takes its time.
            session.execute(sa.text("ALTER TABLE section RENAME TO all_sections"))
            session.execute(sa.text("CREATE VIEW section AS SELECT s.* FROM all_sections s, pg_sleep(2)"))
        start = time.monotonic()
        answer = service.anyone.get("/sections")
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert time.monotonic() - start < 4
        assert service.anyone.get("/plans").status_code == 200
    backend.drop(url)


TOWN = {"title": "計画", "municipality_code": "112356", "municipality": "富士見市"}


def test_a_write_that_is_cancelled_while_it_commits_is_whole_or_nothing(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
):
    """As when a server that is told to stop waits no longer: the thread that commits goes on."""
    url, begun, told = backend.seeded(), Event(), Event()

    def wait_before_the_log(session: Session, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        if table is CHANGE and not told.is_set():
            begun.set()
            told.wait(10)
        insert(session, table, rows)

    async def cancelled(database: Database) -> None:
        async def write() -> None:
            async with database.turn(writes=True) as session:
                await run_sync(save, session, Plan, [{"slug": "cut", **TOWN}])

        writing = asyncio.create_task(write())
        await run_sync(begun.wait, 10)
        writing.cancel()
        asyncio.get_running_loop().call_later(0.2, told.set)
        with suppress(asyncio.CancelledError):
            await writing
        await asyncio.sleep(1)

    monkeypatch.setattr(app.changes, "insert", wait_before_the_log)
    with opened(url) as database:
        asyncio.run(cancelled(database))
        with database.writing() as session:
            save(session, Plan, [{"slug": "next", **TOWN}])
        with database.reading() as session:
            there = session.scalar(sa.text("SELECT count(*) FROM plan WHERE slug = 'cut'"))
            logged = session.scalar(sa.select(sa.func.count()).where(CHANGE.c.key == "cut"))
            last = session.scalar(sa.select(sa.func.max(CHANGE.c.seq)))
            assert (there, last) == (logged, session.scalar(sa.select(FEED.c.seq)))
    backend.drop(url)


def test_a_connection_that_broke_is_given_up_and_the_next_request_has_another(backend: Backend):
    if backend.name == "sqlite":  # where there is none to break
        return
    url = backend.seeded()
    with opened(url) as database, opened(url) as other:
        with database.reading() as session:
            process = session.scalar(sa.text("SELECT pg_backend_pid()"))
            with other.writing() as elsewhere:
                assert elsewhere.scalar(sa.select(sa.func.pg_terminate_backend(process, 10_000)))
            with pytest.raises(sa.exc.OperationalError, match="terminating connection") as told:
                STAND_READ.fetch(session)
            assert passes(told.value)
            assert session.connection().invalidated
        with database.reading() as session:
            assert STAND_READ.fetch(session)
    backend.drop(url)


def test_what_is_copied_and_put_off_is_told_as_any_other_statement_is(backend: Backend):
    if backend.name == "sqlite":  # which has no COPY
        return
    url = backend.seeded()
    row = {"id": 1, "folded": "食堂"}
    with opened(url) as database, opened(url) as other, other.writing() as holder:
        holder.execute(sa.text("LOCK TABLE evaluation_pair IN EXCLUSIVE MODE"))
        with database.reading() as session:
            session.execute(sa.text("SET TRANSACTION READ WRITE"))
            session.execute(sa.text("SET LOCAL lock_timeout = 100"))
            with pytest.raises(sa.exc.OperationalError) as told:
                search.follow(session, EVALUATION, [(None, row)])
            assert passes(told.value)
    backend.drop(url)
