"""Many rows in few statements, whose text does not depend on how many there are: each is compiled once."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

import orjson
import sqlalchemy as sa

from app.kit.session import Session

FEW = 50  # rows for which an INSERT costs less than what COPY needs to begin


def among(
    session: Session, columns: Sequence[sa.ColumnElement[Any]], keys: Collection[Sequence[Any]]
) -> sa.ColumnElement[bool]:
    """Whether these columns together are one of the keys."""
    if len(keys) == 1:
        [key] = keys
        return sa.and_(*(column == value for column, value in zip(columns, key, strict=True)))
    if session.sqlite:
        each = sa.func.json_each(orjson.dumps([*keys]).decode()).table_valued("value").c.value
        wanted = sa.select(*(sa.func.json_extract(each, f"$[{n}]") for n in range(len(columns))))
        return sa.tuple_(*columns).in_(wanted)

    def listed(n: int, values: Iterable[Any]) -> sa.BindParameter[Any]:
        return sa.bindparam(None, list(values), sa.ARRAY(columns[n].type))

    # The first column by itself, for the index: by the keys alone the planner may read the whole table.
    first = columns[0] == sa.any_(listed(0, {key[0] for key in keys}))
    if len(columns) == 1:
        return first
    names = [f"n{n}" for n in range(len(columns))]
    lists = [listed(n, (key[n] for key in keys)) for n in range(len(columns))]
    wanted = sa.select(sa.func.unnest(*lists).table_valued(*names).render_derived())
    return first & sa.tuple_(*columns).in_(wanted)


def expect_many(session: Session) -> None:
    """Until the transaction ends, rows are found by indexes, however few there were when it began.

    PostgreSQL plans by what it last counted, and goes on by the plan: it would read a table that is being filled whole.
    """
    if not session.sqlite and "many" not in session.unsettled:
        session.execute(sa.text("SET LOCAL plan_cache_mode = force_custom_plan"))
        session.execute(sa.text("SET LOCAL enable_seqscan = off"))
        session.unsettled["many"] = True


REACHED = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")


def fresh_ids(session: Session, table: sa.Table, number: int) -> list[int]:
    """Ids that no row has had. On SQLite, the transaction that writes is alone."""
    if session.sqlite:
        first = (session.scalar(REACHED, {"name": table.name}) or 0) + 1
        return list(range(first, first + number))
    following = sa.func.nextval(sa.func.pg_get_serial_sequence(table.name, "id"))
    series = sa.func.generate_series(1, number).table_valued("n")
    return list(session.scalars(sa.select(following).select_from(series)))


def insert(session: Session, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows that all name the same columns."""
    if len(rows) <= FEW:
        session.execute(sa.insert(table), rows)
        return
    dialect = session.dialect
    names = list(rows[0])

    def column(name: str) -> Iterable[Any]:
        cells, kind = map(itemgetter(name), rows), table.c[name].type
        write = kind.dialect_impl(dialect).bind_processor(dialect)
        if write is None:
            return cells
        # All rows of a write have their time in common.
        timed = getattr(kind, "impl_instance", kind).python_type is datetime
        return map(lru_cache(write) if timed else write, cells)

    written = zip(*map(column, names), strict=True)
    prepare = dialect.identifier_preparer
    into = f"{prepare.format_table(table)} ({', '.join(map(prepare.quote, names))})"
    if session.sqlite:
        marks = ", ".join("?" * len(names))
        statement = f"INSERT INTO {into} VALUES ({marks})"  # noqa: S608 (names of ours, quoted)
        session.connection().exec_driver_sql(statement, list(written))
        return
    statement = f"COPY {into} FROM STDIN"
    with session.driven(statement) as cursor, cursor.copy(statement.encode()) as copy:
        for row in written:
            copy.write_row(row)
