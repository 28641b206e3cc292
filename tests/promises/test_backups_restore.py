"""Backups are taken while others write, and each one is a whole database in a life of its own."""

import time
from pathlib import Path
from random import Random

import sqlalchemy as sa

from app.models import FEED
from tests.conftest import Backend, Here, opened
from tests.processes import serving
from tests.promises.conftest import Prove, scale
from tests.promises.load import Writers, admin_key, ids_in

NUMBER, PROMISE = 16, "backups restore"
TIMES = scale(3, 20)


def epoch(url: str) -> str:
    with opened(url) as database, database.reading() as session:
        return session.scalars(sa.select(FEED.c.epoch)).one()


def test_each_backup_made_during_writes_is_restored_whole(
    backend: Backend, here: Here, tmp_path: Path, proved: Prove
):
    chance = Random(16)
    url, key = backend.seeded(), ""
    key = admin_key(url)
    lives = {epoch(url)}
    with serving(url, log_level="error") as served, Writers(served.client.base_url, key).at_work() as writers:
        for n in range(TIMES):
            time.sleep(chance.random() * 0.3)
            before = set(writers.acknowledged)
            assert here("backup", tmp_path / f"{n}", database_url=url)[0] == 0
            new = backend.empty()
            assert here("restore", tmp_path / f"{n}", database_url=new)[0] == 0
            assert here("doctor", database_url=new)[0] == 0
            assert before <= ids_in(new)
            lives.add(epoch(new))
            backend.drop(new)
    assert len(lives) == TIMES + 1
    assert writers.refused == []
    proved(
        f"{TIMES} of {TIMES} backups during {len(writers.acknowledged):,} writes: "
        "all acknowledged before are there, doctor content, a new epoch each"
    )
    backend.drop(url)
