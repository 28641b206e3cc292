"""Waking those who wait for a commit, of this process or of another, without asking the database over and over."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
import sqlalchemy as sa

from app.kit.errors import Unavailable

CHANNEL = "shinchoku"  # where PostgreSQL tells of commits; the payload is the number of the last change
LOOK = 0.02  # seconds between two looks at SQLite's counter of commits: a look costs two microseconds
MOST_WAITING = 1_000


class Bell(asyncio.Event):
    """Rings after each commit that comes once it is cleared: clear it, look, and only then wait."""

    async def rings(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), seconds)


class Watch:
    """Hands out bells. It looks only as long as somebody has one."""

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        self._bells: set[Bell] = set()
        self._looking: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.heard = 0  # the last change that PostgreSQL told of: a standby may not have it yet
        self.ended = False  # the server is about to stop: nobody should wait any more

    @asynccontextmanager
    async def bell(self) -> AsyncIterator[Bell]:
        if len(self._bells) >= MOST_WAITING:
            raise Unavailable(
                "変更を待っている接続が多すぎます。しばらくしてからお試しください。",
                "Too many are waiting for changes. Try again later.",
                headers={"Retry-After": "30"},
            )
        bell = Bell()
        self._bells.add(bell)
        try:
            if self._looking is None or self._looking.done():
                self._ready.clear()
                look = self._look_at_sqlite if self._url.get_backend_name() == "sqlite" else self._listen
                self._looking = asyncio.create_task(look())
            with suppress(TimeoutError):  # a database that is away is the reader's to find out
                await asyncio.wait_for(self._ready.wait(), 5)
            yield bell
        finally:
            self._bells.discard(bell)

    def end(self) -> None:
        self.ended = True
        self._ring()

    async def close(self) -> None:
        self.end()
        if self._looking:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

    def _ring(self) -> None:
        for bell in self._bells:
            bell.set()

    async def _look_at_sqlite(self) -> None:
        """`data_version` moves when any other connection, of whatever process, has committed."""
        connection = sqlite3.connect(str(self._url.database), isolation_level=None)
        try:
            seen = None
            while self._bells:
                (now,) = connection.execute("PRAGMA data_version").fetchone()
                if now != seen:
                    seen = now
                    self._ready.set()
                    self._ring()
                await asyncio.sleep(LOOK)
        finally:
            connection.close()

    async def _listen(self) -> None:
        address = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        patience = 0.1
        while not self.ended:
            try:
                async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    patience = 0.1
                    self._ready.set()
                    self._ring()  # what came before this was not heard
                    async for notice in connection.notifies():
                        self.heard = int(notice.payload or 0)
                        self._ring()
            except psycopg.Error:
                self._ring()
                await asyncio.sleep(patience)
                patience = min(2 * patience, 5)
