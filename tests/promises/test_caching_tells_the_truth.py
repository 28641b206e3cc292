"""Two processes on one database: what one has written, the other shows at once, whatever the reader has kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import httpx
import pytest

from app.kit.database import Database
from app.kit.session import FIRST_STEPS, Session, first_step
from app.kit.standing import Stand
from tests.conftest import Backend, running
from tests.processes import caller, serving
from tests.promises.conftest import Prove, scale
from tests.promises.load import admin_key

NUMBER, PROMISE = 10, "caching tells the truth"
INTERLEAVINGS = scale(60, 10_000)
ADDRESSES = (
    "/sections/1",
    "/sections?limit=1",
    "/plans/fujimi-yumetsunagu/history?limit=1",
    "/changes?limit=1000",
    "/snapshot.jsonl",
    "/evaluations/summary?group_by=section",
)

SHOWING = {"/sections/1", "/sections?limit=1", "/evaluations/summary?group_by=section"}  # the label itself


def interleave(writer: httpx.Client, readers: list[httpx.Client], times: int) -> tuple[int, int]:
    """How many answers there were after a write, and how many of these were the old ones."""
    chance = Random(10)
    kept: dict[tuple[int, str], str] = {}
    asked = stale = 0
    for n in range(times):
        wrote = writer.patch("/sections/1", json={"label": f"{n}"}, headers={"If-Match": "*"})
        assert wrote.status_code == 200
        revision = int(wrote.headers["Shinchoku-Revision"])
        for who, reader in enumerate(readers):
            path = ADDRESSES[0] if chance.random() < 0.5 else chance.choice(ADDRESSES)
            known = {"If-None-Match": kept[who, path]} if (who, path) in kept else {}
            answer = reader.request(chance.choice(["GET", "GET", "HEAD"]), path, headers=known)
            assert answer.status_code in (200, 304)
            assert answer.headers["Cache-Control"] == "public, no-cache"
            asked += 1
            shown = int(answer.headers.get("Shinchoku-Revision", -1))
            # Each of these writes changes what each of these addresses shows.
            stale += answer.status_code == 304 or (shown != -1 and shown < revision)
            if answer.status_code == 200:
                kept[who, path] = answer.headers["ETag"]
                if answer.content and path in SHOWING:  # a new tag on an old body would be as bad
                    stale += f'"{n}"' not in answer.text
            again = reader.get(path, headers={"If-None-Match": kept.get((who, path), "")})
            stale += again.status_code not in (200, 304)
    return asked, stale


def test_no_answer_is_older_than_the_last_write(backend: Backend, proved: Prove):
    url = backend.seeded()
    key = admin_key(url)
    with (
        serving(url, log_level="error") as one,
        serving(url, log_level="error") as other,
        caller(one.client.base_url, key) as writer,
    ):
        asked, stale = interleave(writer, [other.client, one.client], INTERLEAVINGS)
    assert stale == 0
    proved(
        f"{INTERLEAVINGS:,} writes and {asked:,} conditional reads interleaved over two processes: 0 stale"
    )
    backend.drop(url)


@contextmanager
def revision_not_checked() -> Iterator[None]:
    """Every request is told the state that the first one saw."""
    first: dict[str, Any] = {}

    @first_step
    def stand(session: Session) -> None:
        first.setdefault("revision", session.info["revision"])
        session.info["revision"] = first["revision"]

    try:
        yield
    finally:
        FIRST_STEPS.remove(stand)


def test_a_revision_that_is_not_checked_would_be_noticed(backend: Backend, proved: Prove):
    url = backend.seeded()
    key = admin_key(url)
    with (
        running(url) as other,
        serving(url, log_level="error") as one,
        revision_not_checked(),
        caller(one.client.base_url, key) as writer,
    ):
        asked, stale = interleave(writer, [other.anyone], 40)
    assert stale > 0
    proved(f"planted fault, revision not checked: {stale} of {asked} reads stale, and noticed")
    backend.drop(url)


def test_kept_answers_whose_revision_is_not_checked_would_be_noticed(
    backend: Backend, proved: Prove, monkeypatch: pytest.MonkeyPatch
):
    url = backend.seeded()
    key = admin_key(url)
    with (
        running(url) as other,
        serving(url, log_level="error") as one,
        caller(one.client.base_url, key) as writer,
    ):
        ask = Database.stand

        async def once(self: Database) -> Stand | None:
            return self.__dict__.setdefault("first", await ask(self))

        monkeypatch.setattr(Database, "stand", once)
        _, stale = interleave(writer, [other.anyone], 1)
        assert stale == 0
        asked, stale = interleave(writer, [other.anyone], 40)
    assert stale > 0
    proved(
        f"planted fault, kept answers whose revision is not checked: {stale} of {asked} stale, and noticed"
    )
    backend.drop(url)
