"""The database: SQLite or PostgreSQL, one transaction a request, ended in one place before the answer leaves."""

import logging
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial, wraps
from typing import Annotated, Any, ParamSpec, TypeVar

import anyio
import orjson
import psycopg
import sqlalchemy as sa
from anyio.to_thread import run_sync
from fastapi import Depends, Header, Request
from pydantic import BeforeValidator, Field
from sqlalchemy import event

from app.kit.errors import Unavailable
from app.kit.numbers import LARGEST, digits
from app.kit.session import FIRST_STEPS, Session
from app.kit.standing import Stand, Standing
from app.kit.watch import Watch

log = logging.getLogger("shinchoku")


T = TypeVar("T")
P = ParamSpec("P")


class Database:
    """An engine with its two kinds of session and a place in the queue for each.

    A *reading* session sees one snapshot: on PostgreSQL a read-only REPEATABLE READ transaction, on SQLite a
    WAL snapshot. A *writing* session sees what is committed; on SQLite it takes the one write lock at its
    first statement, because a transaction that reads first and writes later fails instead of waiting.

    The statement `stand` tells the state of the data: its number, its life, its horizon, whatever else tells two apart.

    With a `read_url` the requests that read go to that standby, unless it is away or lacks what their client has
    seen.
    """

    def __init__(
        self,
        url: str,
        pool_size: int,
        busy_timeout: float,
        *,
        read_url: str | None = None,
        statement_timeout: float = 0,
        stand: sa.Select[Any] | None = None,
    ) -> None:
        self.sqlite = sa.make_url(url).get_backend_name() == "sqlite"
        self._patience = busy_timeout
        self._statement_timeout = statement_timeout
        self._pool_size = pool_size
        self.engine = self._engine(url)
        if self.sqlite:
            self._reads = self.engine.execution_options(writes=False)
            self._writes = self.engine.execution_options(writes=True)
        else:
            self._reads = self.engine.execution_options(**READ_ONLY)
            self._writes = self.engine.execution_options()
        self._standby = self._engine(read_url).execution_options(**READ_ONLY) if read_url else None
        self._standby_away_until = 0.0
        self._connections = anyio.CapacityLimiter(pool_size)
        self._writers = anyio.CapacityLimiter(1 if self.sqlite else pool_size)
        # Who reads for long leaves at least half of the connections to all others.
        self._streams = anyio.CapacityLimiter(max(1, pool_size // 2))
        self.watch = Watch(self.engine.url)
        self._standing = Standing(self.engine.url, stand) if stand is not None else None
        self.counted: dict[Any, int] = {}  # how long lists are, which sessions tell each other

    def _engine(self, url: str) -> sa.Engine:
        engine = sa.create_engine(
            url,
            pool_size=self._pool_size,
            max_overflow=0,
            pool_timeout=self._patience,
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
            **({} if self.sqlite else _postgresql(self._patience, self._statement_timeout)),
        )
        if self.sqlite:
            _speak_sqlite(engine, self._patience)
        return engine

    def dispose(self) -> None:
        self.engine.dispose()
        if self._standby:
            self._standby.dispose()

    async def stand(self) -> Stand | None:
        """What tells one state of the data from another, if it is told what does, and the database is there."""
        return await self._standing.now() if self._standing else None

    async def close(self) -> None:
        await self.watch.close()
        if self._standing:
            await self._standing.close()
        self.dispose()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with closing(Session(self._reads)) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Commits when the block ends well, and leaves no trace when it does not."""
        with closing(Session(self._writes)) as session:
            yield session
            session.commit()

    @asynccontextmanager
    async def turn(self, *, writes: bool, seen: int | None = None) -> AsyncIterator[Session]:
        """The same for requests: they wait for their turn on the event loop and not inside a thread.

        Who has `seen` a revision reads that one or a later one, from wherever it is.
        """
        async with self._waiting(self._writers if writes else None), self._waiting(self._connections):
            session = None if writes else await self._on_standby(seen)
            session = session or self._turn(self._writes if writes else self._reads)
            try:
                if not writes:
                    await self.quick(session.connection)
                yield session
                if writes:
                    await run_sync(session.commit)
            finally:
                if self.sqlite:
                    session.close()
                else:
                    with anyio.CancelScope(shield=True):
                        await run_sync(session.close)

    def _turn(self, engine: sa.Engine) -> Session:
        return Session(engine, *FIRST_STEPS, counted=self.counted)

    async def quick(self, step: Callable[[], T]) -> T:
        """What is done with a file in less time than it takes to hand it to a thread; a server is waited for in one."""
        return step() if self.sqlite else await run_sync(step)

    async def run(self, step: Callable[[], T], *, short: bool) -> T:
        """What may take longer is done in a thread, where it keeps nobody."""
        return await self.quick(step) if short else await run_sync(step)

    async def _on_standby(self, seen: int | None) -> Session | None:
        """A session on the standby, if there is one, it is not away, and it has what was seen."""
        if self._standby is None or time.monotonic() < self._standby_away_until:
            return None
        session = self._turn(self._standby)
        good = False
        try:
            await run_sync(session.connection)
            good = seen is None or session.info["revision"] >= seen
        except (sa.exc.OperationalError, sa.exc.ProgrammingError) as error:  # away, or not yet migrated
            self._standby_away_until = time.monotonic() + STANDBY_PAUSE
            log.warning("standby away", extra={"error": str(error.orig)})
        finally:
            if not good:
                with anyio.CancelScope(shield=True):
                    await run_sync(session.close)
        return session if good else None

    async def stream(
        self, make: Callable[[Session], Generator[bytes]], seen: int | None = None
    ) -> AsyncGenerator[bytes]:
        """Bytes of any number, made in a thread while they are sent, from one snapshot."""
        async with self._waiting(self._streams), self.turn(writes=False, seen=seen) as session:
            made = make(session)
            try:
                while (some := await run_sync(next, made, None)) is not None:
                    yield some
            finally:
                with anyio.CancelScope(shield=True):
                    await run_sync(made.close)

    @asynccontextmanager
    async def _waiting(self, limiter: anyio.CapacityLimiter | None) -> AsyncIterator[None]:
        if limiter is None:
            yield
            return
        holder = object()
        try:
            limiter.acquire_on_behalf_of_nowait(holder)
        except anyio.WouldBlock:
            try:
                with anyio.fail_after(self._patience):
                    await limiter.acquire_on_behalf_of(holder)
            except TimeoutError:
                raise busy() from None
        try:
            yield
        finally:
            limiter.release_on_behalf_of(holder)


SQLITE_PASSES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN}
STANDBY_PAUSE = 5  # seconds in which a standby that is away is not asked again
READ_ONLY = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def _postgresql(busy_timeout: float, statement_timeout: float) -> dict[str, Any]:
    # Who waits for another writer is put off in the end, as on SQLite.
    limits = {"lock_timeout": busy_timeout, "statement_timeout": statement_timeout}
    options = " ".join(f"-c {name}={int(seconds * 1000)}" for name, seconds in limits.items())
    # To compile what is guessed to be much takes longer than to find the little that it is.
    options += " -c jit=off"
    return {
        "pool_pre_ping": True,
        "connect_args": {"options": options, "connect_timeout": max(2, int(busy_timeout))},
    }


def passes(error: Exception) -> bool:
    """Whether it is the database that is away, busy or not migrated yet, so that waiting helps; else it is a fault."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, sqlite3.Error):
        # The lower byte tells the kind, the others which of it.
        kind = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        return kind in SQLITE_PASSES or str(cause).startswith("no such table")
    if isinstance(cause, psycopg.Error):
        return isinstance(cause, psycopg.OperationalError | psycopg.errors.UndefinedTable)
    return isinstance(error, sa.exc.TimeoutError)


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
        # Who only reads locks nothing yet.
        how = "BEGIN IMMEDIATE" if connection.get_execution_options().get("writes", False) else "BEGIN"
        try:
            connection.connection.cursor().execute(how)
        except sqlite3.Error as error:
            raise sa.exc.DBAPIError.instance(how, None, error, sqlite3.Error) from error


def database_of(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


Seen = Annotated[
    Annotated[int, Field(ge=0, le=LARGEST), BeforeValidator(digits)] | None,
    Header(
        alias="Shinchoku-Revision",
        description="The `Shinchoku-Revision` of an answer that you have seen, such as that to your own write: "
        "this one will not be older, whichever server answers (既読リビジョン)",
        examples=[56],
    ),
]


@asynccontextmanager
async def turn_of(
    request: Request, *, writes: bool = False, seen: int | None = None
) -> AsyncIterator[Session]:
    """The request's turn; its answer then says which revision it shows."""
    session: Session | None = None
    try:
        async with database_of(request).turn(writes=writes, seen=seen) as session:
            yield session
    finally:
        if session is not None and "revision" in session.info:
            request.state.revision = session.info["revision"]
            request.state.shown = session.info.get("shown")


async def _reading(request: Request, seen: Seen = None) -> AsyncIterator[Session]:
    async with turn_of(request, seen=seen) as session:
        yield session


async def _writing(request: Request) -> AsyncIterator[Session]:
    async with turn_of(request, writes=True) as session:
        yield session


# The function scope ends a transaction before the answer is sent: what was answered is what was committed.
Reading = Annotated[Session, Depends(_reading, scope="function")]
Writing = Annotated[Session, Depends(_writing, scope="function")]


def brief(endpoint: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """For an endpoint that reads a few rows by an index. Longer work belongs in a thread, where it keeps nobody."""

    @wraps(endpoint)
    async def answer(*arguments: P.args, **given: P.kwargs) -> T:
        database = database_of(given["request"])  # type: ignore[arg-type]
        return await database.quick(partial(endpoint, *arguments, **given))

    return answer
