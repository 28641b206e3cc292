"""Transactions, one after the other: statements in, rows out.

SQLAlchemy's own sessions keep objects, which nobody here makes of rows; to open and close one takes longer than a short
question.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import sqlalchemy as sa

Given = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class Session:
    """A transaction begins with the first statement and ends with `commit` or `rollback`; the next statement begins
    another, until `close`.

    `info` is what is known about the session. What is noted in `unsettled` is forgotten when its transaction ends; what
    `settled` holds becomes known when it commits.
    """

    def __init__(self, engine: sa.Engine, *first: "Step", **info: Any) -> None:
        self.dialect = engine.dialect
        self.sqlite = engine.dialect.name == "sqlite"
        self.info = info
        self.unsettled: dict[str, Any] = {}
        self.settled: dict[str, Any] = {}
        self._engine = engine
        self._first = first
        self._closed = False
        self._connection: sa.Connection | None = None

    def connection(self) -> sa.Connection:
        """Where the transaction is, which begins if there is none."""
        if self._closed:
            self.rollback()
            raise sa.exc.ResourceClosedError("a session that was closed begins no other transaction")
        if self._connection is None:
            self._connection = self._engine.connect()
            try:
                self._connection.begin()
                for step in self._first:
                    step(self)
            except BaseException:
                self.rollback()
                raise
        return self._connection

    def execute(self, statement: sa.Executable, given: Given = None) -> sa.CursorResult[*tuple[Any, ...]]:
        return self.connection().execute(statement, given)

    def scalar(self, statement: sa.Executable, given: Mapping[str, Any] | None = None) -> Any:
        return self.connection().scalar(statement, given)

    def scalars(
        self, statement: sa.Executable, given: Mapping[str, Any] | None = None
    ) -> sa.ScalarResult[Any]:
        return self.connection().scalars(statement, given)

    def drive(self, statement: str, rows: Sequence[Any]) -> None:
        """The driver does this with the values of each row."""
        with self.driven(statement, rows) as cursor:
            if len(rows) == 1:
                self.dialect.do_execute(cursor, statement, rows[0])
            else:
                self.dialect.do_executemany(cursor, statement, rows)

    @contextmanager
    def driven(self, statement: str, values: Any = None) -> Iterator[Any]:
        """A cursor of the driver itself. Its errors are told as those of any other statement are, and a connection that
        broke is given up."""
        connection, dialect = self.connection(), self.dialect
        try:
            with closing(connection.connection.cursor()) as cursor:
                yield cursor
        except dialect.loaded_dbapi.Error as error:
            lost = dialect.is_disconnect(error, connection.connection, None)
            if lost:
                connection.invalidate(error)
            raise sa.exc.DBAPIError.instance(
                statement,
                values,
                error,
                dialect.loaded_dbapi.Error,
                connection_invalidated=lost,
                dialect=dialect,
            ) from error

    def commit(self) -> None:
        if self._connection is not None:
            for step in LAST_STEPS:
                step(self)
            self.connection().commit()
            self.info.update(self.settled)
        self.rollback()

    def rollback(self) -> None:
        """Leave no trace of what was not committed."""
        self.unsettled.clear()
        self.settled.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """For good: a thread that goes on with it, since whoever waited for it was cancelled, commits nothing."""
        self._closed = True
        self.rollback()


Step = Callable[[Session], None]
FIRST_STEPS: list[Step] = []
LAST_STEPS: list[Step] = []


def first_step(step: Step) -> Step:
    """What is to be done first in each transaction of a request."""
    FIRST_STEPS.append(step)
    return step


def last_step(step: Step) -> Step:
    """What is to be done in each transaction, before it commits."""
    LAST_STEPS.append(step)
    return step
