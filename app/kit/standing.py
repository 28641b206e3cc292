"""Where the data stands, asked for every request at the smallest price."""

import asyncio
import sqlite3
import time
from typing import Any

import psycopg
import sqlalchemy as sa

PATIENCE = 1  # seconds that a request waits to be told: without, it is only answered anew
PAUSE = 1  # seconds in which a database that is away is not asked again

# A number that the answers show, the life and the horizon it is of, and whatever else tells two states apart.
Stand = tuple[Any, ...]


class Standing:
    """The state of the database, as a statement tells it, asked at the smallest price."""

    def __init__(self, url: sa.URL, statement: sa.Select[Any]) -> None:
        self._url = url
        self._sqlite = url.get_backend_name() == "sqlite"
        self._statement = str(statement.compile(dialect=url.get_dialect()()))
        self._file: sqlite3.Connection | None = None
        self._commits = -1  # of others, as SQLite counts them
        self._stand: Stand | None = None
        self._server: psycopg.AsyncConnection | None = None
        self._away_until = 0.0
        self._asking: asyncio.Task[Stand | None] | None = None
        self._next: asyncio.Task[Stand | None] | None = None

    async def now(self) -> Stand | None:
        """Nothing while the database is away, or not yet what it should be."""
        return self._of_file() if self._sqlite else await self._of_server()

    def _of_file(self) -> Stand | None:
        """To look whether anybody has committed takes two microseconds."""
        try:
            if self._file is None:
                self._file = sqlite3.connect(
                    str(self._url.database), timeout=0
                )  # who waits here keeps everybody
            (commits,) = self._file.execute("PRAGMA data_version").fetchone()
            if commits != self._commits:
                self._stand = self._file.execute(self._statement).fetchone()
                self._commits = commits
        except sqlite3.Error:
            return None
        return self._stand

    async def _of_server(self) -> Stand | None:
        """One question answers all who came before it was asked; those who come meanwhile share the next."""
        if time.monotonic() < self._away_until:
            return None
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._asking))
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(self._next)
        except TimeoutError:  # the table is locked, as by a restore, or the server does not answer at all
            self._away_until = time.monotonic() + PAUSE
            return None

    async def _ask_after(self, before: "asyncio.Task[Stand | None] | None") -> Stand | None:
        if before is not None:
            await asyncio.wait([before])  # whatever came of it
        self._asking, self._next = self._next, None
        try:
            if self._server is None or self._server.closed:
                address = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
                self._server = await psycopg.AsyncConnection.connect(
                    address, autocommit=True, connect_timeout=2
                )
            return await (await self._server.execute(self._statement, prepare=True)).fetchone()
        except (psycopg.Error, OSError):
            self._away_until = time.monotonic() + PAUSE
            return None

    async def close(self) -> None:
        if self._file:
            self._file.close()
        if waiting := [task for task in (self._asking, self._next) if task]:
            await asyncio.wait(waiting, timeout=PATIENCE)
        if self._server:
            await self._server.close()
