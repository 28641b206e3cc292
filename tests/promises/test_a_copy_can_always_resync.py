"""Cursors that are no good, and a source that is restored under the eyes of its copies: never wrong data."""

import json
import string
import threading
from pathlib import Path
from random import Random

import httpx

from tests.conftest import FUJIMI, KAWAGOE, Backend, Here, running
from tests.processes import serving
from tests.promises.conftest import Prove, scale
from tests.promises.load import Writers, admin_key
from tests.promises.test_no_change_is_lost import Copy
from tests.test_feed import end_of, got, next_of

NUMBER, PROMISE = 7, "a copy can always resync"
FORGERIES = scale(150, 2_000)
RESTORES = scale(2, 10)


def test_a_cursor_that_was_not_issued_for_this_is_never_answered(backend: Backend, here: Here, proved: Prove):
    chance = Random(7)
    url, other = backend.seeded(), backend.seeded()
    with running(url) as town, running(other) as elsewhere, town.holder(town.key("admin")) as admin:
        ask = town.anyone
        good = next_of(got(ask, "/changes", limit=20))
        here("restore", backup(here, other), database_url=other)
        bad = {
            "of another database": end_of(elsewhere.anyone),
            "of other filters": end_of(ask, municipality=FUJIMI),
        }
        for name, cursor in bad.items():
            assert ask.get("/changes", params={"after": cursor}).status_code in (410, 422), name
        assert ask.get("/changes", params={"after": good, "municipality": KAWAGOE}).status_code == 422
        for _ in range(FORGERIES):
            place = chance.randrange(len(good))
            forged = (
                good[:place] + chance.choice(string.ascii_letters + string.digits + "-_") + good[place + 1 :]
            )
            answer = ask.get("/changes", params={"after": forged})
            assert forged == good or answer.status_code in (409, 410, 422)
        admin.patch("/sections/1", json={"title": "題"}, headers={"If-Match": "*"})
        here("compact", "--keep-changes", "1", database_url=url)
        assert ask.get("/changes", params={"after": good}).status_code == 410
    proved(f"expired, foreign, misused and {FORGERIES:,} tampered cursors: 409, 410 or 422, never data")
    for each in (url, other):
        backend.drop(each)


def backup(here: Here, url: str, name: str = "backup") -> Path:
    from tempfile import mkdtemp

    file = Path(mkdtemp()) / name
    assert here("backup", file, database_url=url)[0] == 0
    return file


class Faithful(Copy):
    """A copy that begins anew when it is told to, and is never told anything that it cannot check."""

    resyncs = 0

    def step(self, wait: int) -> bool:
        try:
            return super().step(wait)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 503:  # as during a restore: the same again, a little later
                self.ended.wait(0.2)
                return True
            if error.response.status_code != 410:
                raise
            self.resyncs += 1
            self.begin()
            return True


def test_copies_of_a_source_that_is_restored_become_equal(
    backend: Backend, here: Here, tmp_path: Path, proved: Prove
):
    url = backend.seeded()
    key = admin_key(url)
    resyncs = 0
    with serving(url, log_level="error") as source:
        copies = [Faithful(source.client.base_url) for _ in range(2)]
        for copy in copies:
            copy.start()
        for n in range(RESTORES):
            file = tmp_path / f"backup-{n}"
            with Writers(source.client.base_url, key, 2).at_work() as writers:
                pause = threading.Event()
                pause.wait(0.3)
                assert here("backup", file, database_url=url)[0] == 0
                pause.wait(0.3)
                assert here("restore", file, database_url=url)[0] == 0
                pause.wait(0.3)
            assert writers.acknowledged
        for copy in copies:
            copy.ended.set()
            copy.join(60)
            assert not copy.is_alive()
            resyncs += copy.resyncs
        _, *rows = map(json.loads, source.client.get("/snapshot.jsonl").content.splitlines())
        there = {(row["entity"], row["key"]): (row["version"], row["data"]) for row in rows}
        assert all(copy.rows == there for copy in copies)
        assert resyncs >= len(copies)
        for copy in copies:
            copy.client.close()
    assert here("doctor", database_url=url)[0] == 0
    proved(
        f"{RESTORES} backups restored under writers and 2 live copies: {resyncs} resyncs, both equal to the source"
    )
    backend.drop(url)
