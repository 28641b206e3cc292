"""Transactions, one after the other: statements in, rows out.

SQLAlchemy's own sessions know objects, which nobody here makes of rows, and that would take longer than a short
question.
"""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

Given = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class Session:
    """A transaction begins with the first statement and ends with `commit`, `rollback` or `close`; the next statement
    begins another.

    `info` is what is known about the session; what is noted in `unsettled` is forgotten when its transaction ends.
    """

    def __init__(self, engine: sa.Engine, **info: Any) -> None:
        self.dialect = engine.dialect
        self.info = info
        self.unsettled: dict[str, Any] = {}
        self._engine = engine
        self._connection: sa.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def sqlite(self) -> bool:
        return self.dialect.name == "sqlite"

    def connection(self) -> sa.Connection:
        """Where the transaction is, which begins if there is none."""
        if self._connection is None:
            self._connection = self._engine.connect()
            try:
                self._connection.begin()
                self._begun()
            except BaseException:
                self.close()
                raise
        return self._connection

    def _begun(self) -> None:
        """What is to be done first in each transaction."""

    def execute(self, statement: sa.Executable, given: Given = None) -> sa.CursorResult[*tuple[Any, ...]]:
        return self.connection().execute(statement, given)

    def scalar(self, statement: sa.Executable, given: Mapping[str, Any] | None = None) -> Any:
        return self.connection().scalar(statement, given)

    def scalars(
        self, statement: sa.Executable, given: Mapping[str, Any] | None = None
    ) -> sa.ScalarResult[Any]:
        return self.connection().scalars(statement, given)

    def commit(self) -> None:
        if self._connection is not None:
            for step in LAST_STEPS:
                step(self)
            self._connection.commit()
        self.close()

    def rollback(self) -> None:
        self.close()

    def close(self) -> None:
        """Leave no trace of what was not committed."""
        self.unsettled.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


Step = Callable[[Session], None]
LAST_STEPS: list[Step] = []


def last_step(step: Step) -> Step:
    """What is to be done in each transaction, before it commits."""
    LAST_STEPS.append(step)
    return step


class Turn(Session):
    """A session of a request: what state it sees is known before anything is asked."""

    def _begun(self) -> None:
        for step in FIRST_STEPS:
            step(self)


FIRST_STEPS: list[Step] = []


def first_step(step: Step) -> Step:
    """What is to be done first in each transaction of a request."""
    FIRST_STEPS.append(step)
    return step
