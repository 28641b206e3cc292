"""The database: SQLite or PostgreSQL, one transaction a request, ended in one place before the answer leaves."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

import anyio
import orjson
import sqlalchemy as sa
from anyio.to_thread import run_sync
from fastapi import Depends, Request
from sqlalchemy import event
from sqlmodel import Session

from app.kit.errors import Unavailable


class Database:
    """An engine with its two kinds of session and a place in the queue for each.

    A *reading* session sees one snapshot: on PostgreSQL a read-only REPEATABLE READ transaction, on SQLite a
    WAL snapshot. A *writing* session sees what is committed; on SQLite it takes the one write lock at its
    first statement, because a transaction that reads first and writes later fails instead of waiting.
    """

    def __init__(self, url: str, pool_size: int, busy_timeout: float) -> None:
        parsed = sa.make_url(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        options: dict[str, Any] = {} if self.sqlite else _postgresql(busy_timeout)
        self.engine = sa.create_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=busy_timeout,
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
            **options,
        )
        if self.sqlite:
            _speak_sqlite(self.engine, busy_timeout)
            self._reads = self.engine.execution_options(writes=False)
            self._writes = self.engine.execution_options(writes=True)
        else:
            self._reads = self.engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            self._writes = self.engine.execution_options()
        self._patience = busy_timeout
        self._connections = anyio.CapacityLimiter(pool_size)
        self._writers = anyio.CapacityLimiter(1 if self.sqlite else pool_size)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with Session(self._reads, autoflush=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Commits when the block ends well, and leaves no trace when it does not."""
        with Session(self._writes, autoflush=False) as session:
            yield session
            session.commit()

    @asynccontextmanager
    async def turn(self, *, writes: bool) -> AsyncIterator[Session]:
        """The same for requests: they wait for their turn on the event loop and not inside a thread."""
        async with self._waiting(self._writers if writes else None), self._waiting(self._connections):
            session = Session(self._writes if writes else self._reads, autoflush=False)
            try:
                yield session
                if writes:
                    await run_sync(session.commit)
            finally:
                with anyio.CancelScope(shield=True):
                    await run_sync(session.close)

    @asynccontextmanager
    async def _waiting(self, limiter: anyio.CapacityLimiter | None) -> AsyncIterator[None]:
        if limiter is None:
            yield
            return
        holder = object()
        try:
            with anyio.fail_after(self._patience):
                await limiter.acquire_on_behalf_of(holder)
        except TimeoutError:
            raise busy() from None
        try:
            yield
        finally:
            limiter.release_on_behalf_of(holder)


def _postgresql(busy_timeout: float) -> dict[str, Any]:
    # Who waits for another writer is put off in the end, as on SQLite.
    return {"pool_pre_ping": True, "connect_args": {"options": f"-c lock_timeout={int(busy_timeout * 1000)}"}}


def busy() -> Unavailable:
    return Unavailable(
        "データベースが混み合っているか、停止しています。数秒後にもう一度お試しください。",
        "The database is busy or away. Try again in a few seconds.",
        headers={"Retry-After": "2"},
    )


def _speak_sqlite(engine: sa.Engine, busy_timeout: float) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late; ours is below
        for pragma in (
            f"busy_timeout={int(busy_timeout * 1000)}",
            "journal_mode=WAL",
            "synchronous=FULL",  # what was acknowledged survives a power cut
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def database_of(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _reading(request: Request) -> AsyncIterator[Session]:
    async with database_of(request).turn(writes=False) as session:
        yield session


async def _writing(request: Request) -> AsyncIterator[Session]:
    async with database_of(request).turn(writes=True) as session:
        yield session


# The function scope ends a transaction before the answer is sent: what was answered is what was committed.
Reading = Annotated[Session, Depends(_reading, scope="function")]
Writing = Annotated[Session, Depends(_writing, scope="function")]
