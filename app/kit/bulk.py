"""Many rows in few statements, whose text does not depend on how many there are: each is compiled once."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

import orjson
import sqlalchemy as sa

from app.kit.fetching import Prepared, fetch, writer
from app.kit.session import Session

FEW = 50  # rows for which an INSERT costs less than what COPY needs to begin


class Lookup:
    """What a statement finds where some columns together are one of some keys."""

    def __init__(self, statement: sa.Select[Any], *columns: sa.ColumnElement[Any]) -> None:
        self._statement = statement
        self._columns = columns
        self._names = [f"key_{n}" for n in range(len(columns))]
        one = (column == sa.bindparam(name) for name, column in zip(self._names, columns, strict=True))
        self._of_one = Prepared(statement.where(*one))

    def fetch(self, session: Session, keys: Collection[Sequence[Any]]) -> list[dict[str, Any]]:
        if len(keys) == 1:
            [key] = keys
            return self._of_one.fetch(session, dict(zip(self._names, key, strict=True)))
        return fetch(session, self._statement.where(among(session, self._columns, keys)))


def among(
    session: Session, columns: Sequence[sa.ColumnElement[Any]], keys: Collection[Sequence[Any]]
) -> sa.ColumnElement[bool]:
    """Whether these columns together are one of the keys."""
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


_SEQUENCE = sa.table("sqlite_sequence", sa.column("name", sa.Text), sa.column("seq", sa.BigInteger))
REACHED = Prepared(sa.select(_SEQUENCE.c.seq).where(_SEQUENCE.c.name == sa.bindparam("table")))
NEXT = Prepared(
    sa.select(
        sa.func.nextval(sa.func.pg_get_serial_sequence(sa.bindparam("table", type_=sa.Text), "id")).label(
            "id"
        )
    ).select_from(sa.func.generate_series(1, sa.bindparam("number", type_=sa.Integer)).table_valued("n"))
)


def fresh_ids(session: Session, table: sa.Table, number: int) -> list[int]:
    """Ids that no row has had. On SQLite, the transaction that writes is alone."""
    if session.sqlite:
        first = (REACHED.scalar(session, {"table": table.name}) or 0) + 1
        return list(range(first, first + number))
    return [row["id"] for row in NEXT.fetch(session, {"table": table.name, "number": number})]


def insert(session: Session, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows that all name the same columns."""
    names = tuple(rows[0])
    if session.sqlite or len(rows) <= FEW:
        _inserting(table, names).run(session, rows)
        return

    def column(name: str) -> Iterable[Any]:
        cells, write = map(itemgetter(name), rows), writer(session.dialect, table.c[name].type)
        return cells if write is None else map(write, cells)

    prepare = session.dialect.identifier_preparer
    statement = f"COPY {prepare.format_table(table)} ({', '.join(map(prepare.quote, names))}) FROM STDIN"
    with session.driven(statement) as cursor, cursor.copy(statement.encode()) as copy:
        for row in zip(*map(column, names), strict=True):
            copy.write_row(row)


@cache
def _inserting(table: sa.Table, names: Sequence[str]) -> Prepared:
    return Prepared(sa.insert(table).values({name: sa.bindparam(name) for name in names}))


def overwrite(
    session: Session, table: sa.Table, fixed: Collection[str], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Give rows of the table, which are named by `id`, all values but those of the `fixed` columns."""
    names = tuple(name for name in rows[0] if name not in {"id", *fixed})
    values = [{"_id": row["id"], **{name: row[name] for name in names}} for row in rows]
    _overwriting(table, names).run(session, values)


@cache
def _overwriting(table: sa.Table, names: Sequence[str]) -> Prepared:
    values: dict[str, Any] = {name: sa.bindparam(name) for name in names}
    return Prepared(sa.update(table).where(table.c.id == sa.bindparam("_id")).values(values))
