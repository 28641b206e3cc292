"""Whoever asked before the end is answered; a database that is away, and one that is crowded, is survived."""

import asyncio
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import sqlalchemy as sa

from app.models import FEED
from tests.conftest import Backend, Here, opened, started
from tests.postgres import Server
from tests.processes import caller, serving
from tests.promises.conftest import Prove, scale
from tests.promises.load import admin_key
from tests.test_feed import end_of

NUMBER, PROMISE = 17, "it stops and starts well"
STOPS = scale(1, 10)
IN_FLIGHT = 16
CROWD = scale(200, 1_000)


def ask(base: httpx.URL, key: str, cursor: str, n: int) -> int:
    with caller(base, key, patience=60) as client:
        if n % 2:
            return client.get("/changes", params={"after": cursor, "wait": 20}).status_code
        row = {"measure_id": n + 1, "fiscal_year": 2018}
        return client.post("/evaluations", json=row).status_code


def test_who_asked_before_the_end_is_answered(backend: Backend, proved: Prove):
    answered = 0
    for _ in range(STOPS):
        url = backend.seeded()
        key = admin_key(url)
        with (
            serving(url, "--workers", "2", log_level="error") as served,
            ThreadPoolExecutor(IN_FLIGHT) as pool,
        ):
            cursor = end_of(served.client)
            with (
                opened(url) as database,
                database.writing() as session,
            ):  # those who write have to wait for this
                session.execute(sa.update(FEED).values(seq=FEED.c.seq))
                asked = [pool.submit(ask, served.client.base_url, key, cursor, n) for n in range(IN_FLIGHT)]
                time.sleep(1)
                served.process.send_signal(signal.SIGTERM)
                time.sleep(0.5)
            statuses = [each.result() for each in asked]
            assert statuses == [201, 200] * (IN_FLIGHT // 2)
            assert served.process.wait(30) in (0, -signal.SIGTERM)
        answered += IN_FLIGHT
        backend.drop(url)
    proved(
        f"{STOPS} × SIGTERM with {IN_FLIGHT} requests in flight at two workers: {answered} of {answered} answered"
    )


def test_a_database_that_goes_and_comes_back_is_met_without_a_restart(
    lasting: tuple[Backend, Server | None], proved: Prove
):
    backend, server = lasting
    if server is None:  # a file does not go away
        return
    url = backend.seeded()
    slowest = 0.0
    with started(url, busy_timeout=2) as service, service.holder(service.key("admin")) as admin:
        for n in range(scale(1, 5)):
            server.halt()
            for _ in range(10):
                start = time.monotonic()
                for answer in (
                    service.anyone.get("/plans"),
                    admin.post("/sections", json={"plan": "x", "code": "1"}),
                ):
                    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
                assert time.monotonic() - start < 10
            assert service.anyone.get("/livez").status_code == 200
            server.resume()
            back = time.monotonic()
            while service.anyone.get("/plans").status_code != 200:
                assert time.monotonic() - back < 5
            slowest = max(slowest, time.monotonic() - back)
            section = {"plan": "fujimi-yumetsunagu", "code": f"n{n}"}
            assert admin.post("/sections", json=section).status_code == 201
    proved(
        f"database away {scale(1, 5)} times: 503 with Retry-After, back within {slowest:.1f} s without a restart"
    )
    backend.drop(url)


def test_a_crowd_is_answered_or_put_off(backend: Backend, here: Here, proved: Prove):
    url = backend.seeded()
    with started(url, pool_size=5, busy_timeout=1) as service:
        key = service.key("admin")

        async def ask() -> list[httpx.Response]:
            async with httpx.AsyncClient(
                base_url=service.anyone.base_url,
                headers={"Authorization": f"Bearer {key}"},
                limits=httpx.Limits(max_connections=None),
                timeout=120,
            ) as client:
                row = {"measure_id": 1, "fiscal_year": 2018}
                some = (
                    client.post("/evaluations", json=row)
                    if n % 8 == 0
                    else client.get("/evaluations?limit=200")
                    for n in range(CROWD)
                )
                return await asyncio.gather(*some)

        answers = asyncio.run(ask())
        statuses = {answer.status_code for answer in answers}
        assert statuses <= {200, 201, 503}
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
        put_off = sum(answer.status_code == 503 for answer in answers)
        assert service.anyone.get("/plans").status_code == 200
    assert here("doctor", database_url=url)[0] == 0
    proved(
        f"{CROWD:,} requests at once on 5 connections: {CROWD - put_off:,} answered, {put_off:,} put off, 0 failed"
    )
    backend.drop(url)
