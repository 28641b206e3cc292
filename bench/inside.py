"""What a question costs the database alone: the service in this process, with every call of the driver timed."""

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Sequence
from typing import Any

import httpx
import psycopg
from sqlalchemy import event

from app.kit.settings import Settings
from app.main import create_app
from bench.driving import Failed
from bench.questions import asked
from bench.servers import PATIENCE, Shinchoku

NUMBER = 50  # of requests
LONGEST = 20  # seconds that they may take together
CALLS = ("execute", "fetchone", "fetchmany", "fetchall", "__next__")
spent: list[float] = []


def _timed(cursor: Any) -> Any:
    """A kind of cursor that notes how long its calls take."""

    def noted(name: str) -> Any:
        call = getattr(cursor, name)

        def timed(self: Any, *arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(self, *arguments, **named)
            finally:
                spent.append(time.perf_counter() - start)

        return timed

    return type("Timed", (cursor,), {name: noted(name) for name in CALLS if hasattr(cursor, name)})


class TimedConnection(sqlite3.Connection):
    kind = _timed(sqlite3.Cursor)

    def cursor(self, *arguments: Any) -> Any:
        return super().cursor(self.kind)


def inside(url: str, rows: int, kind: str) -> float:
    """The median over some of its variations, in milliseconds."""
    server = Shinchoku()
    questions = {kind: asked(kind, rows)}
    server.prepare(url, questions)
    paths = [server.path(kind, one) for one in questions[kind][: NUMBER + 1]]
    return statistics.median(asyncio.run(_answered(url, paths))) * 1000


async def _answered(url: str, paths: Sequence[str]) -> list[float]:
    app = create_app(Settings(database_url=url, seed=None))
    database = app.state.database

    @event.listens_for(database.engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, named: dict[str, Any]) -> None:
        if database.sqlite:
            named["factory"] = TimedConnection
        else:
            named["cursor_factory"] = _timed(psycopg.Cursor)

    times = []
    end = time.monotonic() + LONGEST
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://inside", timeout=PATIENCE
        ) as client:
            for path in paths:
                spent.clear()
                (await client.get(path)).raise_for_status()
                times.append(sum(spent))
                if time.monotonic() > end and len(times) > 2:
                    break
    finally:
        database.dispose()
    if not all(times):
        raise Failed(f"the driver was not called for {paths[0]}")
    return times[1:]  # the first opens the database
