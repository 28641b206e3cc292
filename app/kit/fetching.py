"""Statements as the driver takes them and rows as it gives them. What SQLAlchemy does on the way there and back takes
longer than a short statement."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, cast
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from app.kit.session import Session

Given = Mapping[str, Any]
Statement = sa.Select[Any] | sa.Insert | sa.Update

FETCHED = 250  # rows at a time: of more, the memory is taken anew each time, which costs more than to fill it


def fetch(session: Session, statement: sa.Select[Any], given: Given | None = None) -> list[dict[str, Any]]:
    """All rows of a statement that finds few."""
    with session.connection().execute(statement, given) as found:
        return _read(found, statement, found.cursor_strategy.fetchall(found, found.cursor))


def fetched(session: Session, statement: sa.Select[Any]) -> Iterator[list[dict[str, Any]]]:
    """The rows, some at a time. Where there is a server, the others stay there meanwhile."""
    with session.connection().execute(statement, execution_options={"stream_results": True}) as found:
        while some := found.cursor_strategy.fetchmany(found, found.cursor, FETCHED):
            yield _read(found, statement, some)


class Prepared:
    """A statement that is asked again and again with other values of its parameters.

    To find again what is compiled already, and to tell what came of it, takes SQLAlchemy several times as long as a
    short question. So what is asked often is compiled apart, once for each kind of database, and given to the driver.
    """

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self._compiled: dict[str, _Compiled] = {}
        self._asked = 0

    def fetch(self, session: Session, given: Given | None = None) -> list[dict[str, Any]]:
        """All its rows, which are few."""
        if (compiled := self._often(session.dialect)) is None:
            return fetch(session, cast(sa.Select[Any], self.statement), given)
        return _made(compiled.readers, compiled.rows(session, given or {}))

    def scalar(self, session: Session, given: Given | None = None) -> Any:
        """The one value that it asks for, as the driver gives it; nothing where there is no row."""
        if (compiled := self._often(session.dialect)) is None:
            return session.scalar(self.statement, given)
        rows = compiled.rows(session, given or {})
        return rows[0][0] if rows else None

    def run(self, session: Session, rows: Sequence[Given]) -> None:
        """Do this with the values of each row. They all name the same columns."""
        if (compiled := self._often(session.dialect, len(rows))) is None:
            session.execute(self.statement, rows)
        else:
            session.drive(compiled.text, compiled.written(rows))

    def _often(self, dialect: sa.Dialect, times: int = 1) -> "_Compiled | None":
        """To compile it takes longer than to ask it some times, and some words are looked for only once."""
        self._asked += times
        if self._asked <= SELDOM:
            return None
        if dialect.name not in self._compiled:
            self._compiled[dialect.name] = _Compiled(self.statement, dialect)
        return self._compiled[dialect.name]


SELDOM = 5  # times


class _Compiled:
    """What a kind of database is told, and what is to be done with the values on the way there and back."""

    def __init__(self, statement: Statement, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.readers: Readers = ([], [])
        if isinstance(statement, sa.Select):
            self.readers = _readers(dialect, statement.selected_columns.keys(), statement)
        self.text = str(compiled)
        self._places = compiled.positiontup
        self._parameters = [
            (name, parameter, writer(dialect, parameter.type))
            for parameter, name in compiled.bind_names.items()
        ]

    def rows(self, session: Session, given: Given) -> Sequence[Sequence[Any]]:
        values = self._values(given)
        with session.driven(self.text, values) as cursor:
            session.dialect.do_execute(cursor, self.text, values)
            rows: Sequence[Sequence[Any]] = cursor.fetchall()
            return rows

    def _values(self, given: Given) -> Any:
        values = {}
        for name, parameter, write in self._parameters:
            key = parameter.key
            value = given[key] if parameter.required or key in given else parameter.effective_value
            values[name] = value if write is None else write(value)
        return values if self._places is None else tuple(values[name] for name in self._places)

    def written(self, rows: Sequence[Given]) -> list[Any]:
        """The values of rows, column by column, which takes less than row by row."""
        columns: dict[str, Iterable[Any]] = {}
        for name, parameter, write in self._parameters:
            cells = map(itemgetter(parameter.key), rows)
            columns[name] = cells if write is None else map(write, cells)
        if self._places is not None:
            return list(zip(*(columns[name] for name in self._places), strict=True))
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _read(
    found: sa.CursorResult[Any], statement: sa.Select[Any], rows: Sequence[Sequence[Any]]
) -> list[dict[str, Any]]:
    compiled = found.context.compiled  # one and the same whenever the same is asked
    known = _READERS.get(compiled)
    if known is None:
        known = _READERS[compiled] = _readers(found.dialect, list(found.keys()), statement)
    return _made(known, rows)


def _made(by: "Readers", rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    names, readers = by
    read = [dict(zip(names, row, strict=True)) for row in rows]
    for name, reader in readers:
        for row in read:
            row[name] = reader(row[name])
    return read


Readers = tuple[list[str], list[tuple[str, Callable[[Any], Any]]]]
_READERS: WeakKeyDictionary[Any, Readers] = WeakKeyDictionary()


def _readers(dialect: sa.Dialect, names: list[str], statement: sa.Select[Any]) -> Readers:
    """What the columns are called, and what is to be done with the values of some of them."""
    readers: list[tuple[str, Callable[[Any], Any]]] = []
    for name, column in zip(names, statement.selected_columns, strict=True):
        if read := column.type.dialect_impl(dialect).result_processor(dialect, None):
            readers.append((name, _each_once(read, column.type)))
    return names, readers


Way = Callable[[Any], Any]


def writer(dialect: sa.Dialect, type: sa.types.TypeEngine[Any]) -> Way | None:
    """What is to be done with values of this type on the way there."""
    write = type.dialect_impl(dialect).bind_processor(dialect)
    return write and _each_once(write, type)


def _each_once(way: Way, type: sa.types.TypeEngine[Any]) -> Way:
    """Many rows have their times in common."""
    kind = getattr(type, "impl_instance", type)  # what a decorated type is in the end
    return lru_cache(way) if kind.python_type is datetime else way
