"""Rows as the driver gives them. To make SQLAlchemy's own kind of rows takes longer than to read them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from app.kit.session import Session

FETCHED = 250  # rows at a time: of more, the memory is taken anew each time, which costs more than to fill it


def fetch(
    session: Session, statement: sa.Select[Any], given: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """All rows of a statement that finds few."""
    with session.connection().execute(statement, given) as found:
        return _read(found, statement, found.cursor_strategy.fetchall(found, found.cursor))


def fetched(session: Session, statement: sa.Select[Any]) -> Iterator[list[dict[str, Any]]]:
    """The rows, some at a time. Where there is a server, the others stay there meanwhile."""
    with session.connection().execute(statement, execution_options={"stream_results": True}) as found:
        while some := found.cursor_strategy.fetchmany(found, found.cursor, FETCHED):
            yield _read(found, statement, some)


def _read(
    found: sa.CursorResult[Any], statement: sa.Select[Any], rows: Sequence[Sequence[Any]]
) -> list[dict[str, Any]]:
    compiled = found.context.compiled  # one and the same whenever the same is asked
    known = _READERS.get(compiled)
    if known is None:
        known = _READERS[compiled] = _readers(found, statement)
    names, readers = known
    read = [dict(zip(names, row, strict=True)) for row in rows]
    for name, reader in readers:
        for row in read:
            row[name] = reader(row[name])
    return read


Readers = tuple[list[str], list[tuple[str, Callable[[Any], Any]]]]
_READERS: WeakKeyDictionary[Any, Readers] = WeakKeyDictionary()


def _readers(found: sa.CursorResult[Any], statement: sa.Select[Any]) -> Readers:
    """What the columns are called, and what is to be done with the values of some of them."""
    dialect = found.dialect
    names = list(found.keys())
    readers: list[tuple[str, Callable[[Any], Any]]] = []
    for name, column in zip(names, statement.selected_columns, strict=True):
        if read := column.type.dialect_impl(dialect).result_processor(dialect, None):
            kind = getattr(column.type, "impl_instance", column.type)  # what a decorated type is in the end
            # Many rows have their times in common.
            readers.append((name, lru_cache(read) if kind.python_type is datetime else read))
    return names, readers
