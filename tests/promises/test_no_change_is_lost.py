"""Six writers, some of them killed, and three copies that follow: nothing missed, nothing else than the source."""

import itertools
import json
import threading
import time
from random import Random

import httpx
import pytest
import sqlalchemy as sa

from app.changes import save
from app.models import CHANGE, FEED, Plan
from tests.conftest import FUJIMI, Backend, opened
from tests.processes import Process, caller, serving
from tests.promises.conftest import Prove, scale
from tests.promises.writer import write

NUMBER, PROMISE = 4, "no change is ever lost"
WRITERS, COPIES = scale(3, 6), scale(2, 3)
RUNS = scale(1, 10)
COMMITS = scale(150, 10_000)


class Copy(threading.Thread):
    """What the README tells to do, with all it sees noted."""

    def __init__(self, source: httpx.URL) -> None:
        super().__init__(daemon=True)
        self.client = caller(source, patience=60)
        self.rows: dict[tuple[str, str], tuple[int, object]] = {}
        self.seen: list[int] = []
        self.start_at = self.at = 0
        self.cursor = ""
        self.ended = threading.Event()
        self.begin()

    def begin(self) -> None:
        head, *rows = map(json.loads, self.client.get("/snapshot.jsonl").content.splitlines())
        assert len(rows) == head["rows"]
        self.rows = {(row["entity"], row["key"]): (row["version"], row["data"]) for row in rows}
        self.start_at = self.at = head["revision"]
        self.cursor = head["cursor"]

    def run(self) -> None:
        while not self.ended.is_set() or self.step(0):
            self.step(1)

    def step(self, wait: int) -> bool:
        asked = {"after": self.cursor, "limit": 1000, "wait": wait}
        page = self.client.get("/changes", params=asked).raise_for_status().json()
        assert page["metadata"]["after"] == self.at
        for change in page["results"]:
            self.seen.append(change["seq"])
            self.rows[change["entity"], change["key"]] = (change["version"], change["data"])
            if change["op"] == "delete":
                del self.rows[change["entity"], change["key"]]
        self.at, self.cursor = page["metadata"]["through"], page["metadata"]["resultset"]["next"]
        return bool(page["results"])


def run(url: str, commits: int, chance: Random, *planted: str) -> tuple[int, int, int]:
    """How many commits there were, how many changes a copy missed, and how many rows it has otherwise."""
    with opened(url) as database, serving(url, log_level="error") as source:
        with database.reading() as session:
            before = session.scalars(sa.select(FEED.c.seq)).one()
        # Each transaction writes one section.
        commits_since = sa.select(sa.func.count()).where(CHANGE.c.seq > before, CHANGE.c.entity == "section")
        copies = [Copy(source.client.base_url) for _ in range(COPIES)]
        names = iter(range(10_000))

        def begin() -> Process:
            return Process(write, url, f"{chance.random()} {next(names)}", planted)

        writers = [begin() for _ in range(WRITERS)]
        for copy in copies:
            copy.start()
        try:
            done, last_kill = 0, time.monotonic()
            while done < commits:
                time.sleep(0.1)
                assert all(writer.poll() is None for writer in writers), "a writer fell over by itself"
                with database.reading() as session:
                    done = session.scalar(commits_since) or 0
                if time.monotonic() - last_kill > 1:
                    last_kill = time.monotonic()
                    one = chance.randrange(WRITERS)
                    writers[one].kill()
                    writers[one] = begin()
        finally:
            for writer in writers:
                writer.kill()
        for copy in copies:
            copy.ended.set()
            copy.join(120)
            assert not copy.is_alive()
        end = Copy(source.client.base_url)
        with database.reading() as session:
            first = copies[0].start_at
            log = session.scalars(
                sa.select(CHANGE.c.seq).where(CHANGE.c.seq > first).order_by(CHANGE.c.seq)
            ).all()
            seq = session.scalars(sa.select(FEED.c.seq)).one()
        gaps = sum(1 for one, other in itertools.pairwise(log) if other != one + 1)
        assert planted or (gaps == 0 and log[-1] == seq)
        missed = sum(len(set(log) - set(copy.seen)) for copy in copies)
        assert planted or all(copy.seen == list(log) for copy in copies)
        diverged = sum(
            sum(copy.rows.get(key) != end.rows.get(key) for key in copy.rows.keys() | end.rows.keys())
            for copy in copies
        )
        for copy in (*copies, end):
            copy.client.close()
    return done, missed, diverged


@pytest.fixture
def source(backend: Backend) -> str:
    url = backend.seeded()
    with opened(url) as database, database.writing() as session:
        plans = [
            {"slug": f"p{n}", "title": "計画", "municipality_code": FUJIMI, "municipality": "富士見市"}
            for n in range(6)
        ]
        save(session, Plan, plans)
    return url


def test_copies_miss_nothing_whatever_happens_to_the_writers(backend: Backend, source: str, proved: Prove):
    total = missed = diverged = 0
    for n in range(RUNS):
        done, lost, other = run(source, COMMITS, Random(n))
        total, missed, diverged = total + done, missed + lost, diverged + other
    assert (missed, diverged) == (0, 0)
    proved(
        f"{RUNS} × {COMMITS:,} commits of {WRITERS} writers ({total:,} in all), {COPIES} copies: "
        "0 missed, 0 diverged, 0 gaps"
    )
    backend.drop(source)


def test_numbers_from_a_sequence_would_be_noticed(backend: Backend, source: str, proved: Prove):
    if backend.name == "sqlite":  # which has one writer at a time, so that any numbers are in order
        return
    with opened(source) as database, database.writing() as session:
        session.execute(sa.text("CREATE SEQUENCE planted"))
        session.execute(sa.text("SELECT setval('planted', (SELECT seq FROM feed))"))
    done, missed, diverged = run(source, scale(200, 2_000), Random(1), "planted")
    assert missed > 0
    proved(
        f"planted fault, numbers from a sequence: {missed:,} missed and {diverged} diverged in {done:,} commits"
    )
    backend.drop(source)
