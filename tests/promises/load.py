"""Clients that write as fast as they are answered, and remember what was acknowledged."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import httpx
import sqlalchemy as sa

from app.kit import keys
from app.models import API_KEY, EVALUATION, now
from tests.conftest import opened
from tests.processes import caller

PLAN = "fujimi-yumetsunagu"


def admin_key(url: str) -> str:
    key = keys.make()
    with opened(url) as database, database.writing() as session:
        row = {
            "id": key.id,
            "name": "test",
            "role": "admin",
            "secret_sha256": key.sha256,
            "created_at": now(),
        }
        session.execute(sa.insert(API_KEY).values(row | {"last_used_at": now()}))
    return key.plain


class Writers:
    def __init__(self, server: str | httpx.URL, key: str, number: int = 4) -> None:
        self.server, self.key = server, key
        self.acknowledged: set[int] = set()  # the ids of rows whose making was answered
        self.refused: list[httpx.Response] = []
        self.ended = threading.Event()
        self.numbers = count(1)
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(number)]

    def work(self) -> None:
        while not self.ended.is_set():
            try:
                with caller(self.server, self.key) as client:
                    while not self.ended.is_set():
                        n = next(self.numbers)
                        row = {"measure_id": n % 24 + 1, "fiscal_year": 2018, "implementation": f"第{n}回"}
                        answer = client.post("/evaluations", json=row)
                        if answer.status_code == 201:
                            self.acknowledged.add(answer.json()["id"])
                        else:
                            self.refused.append(answer)
                            self.ended.wait(0.05)
            except httpx.TransportError:
                self.ended.wait(0.05)

    @contextmanager
    def at_work(self) -> Iterator["Writers"]:
        for thread in self.threads:
            thread.start()
        try:
            yield self
        finally:
            self.ended.set()
            for thread in self.threads:
                thread.join(60)


def ids_in(url: str) -> set[int]:
    with opened(url) as database, database.reading() as session:
        return set(session.scalars(sa.select(EVALUATION.c.id)))
