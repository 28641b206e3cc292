"""Which pairs of characters the texts of measures and evaluations have: the index of searches."""

from array import array
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SOME = 1_000


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for table in ("measure", "evaluation"):
        if sqlite:
            op.execute(
                f"CREATE VIRTUAL TABLE {table}_pair USING fts5 "
                "(pairs, content = '', detail = none, columnsize = 0, tokenize = ascii)"
            )
        else:
            op.execute(
                f"CREATE TABLE {table}_pair (id BIGINT CONSTRAINT pk_{table}_pair PRIMARY KEY, "
                "pairs INTEGER[] NOT NULL)"
            )
            op.execute(f"CREATE INDEX ix_{table}_pair_pairs ON {table}_pair USING gin (pairs)")
        _enter(table, sqlite)


def _enter(table: str, sqlite: bool) -> None:
    connection = op.get_bind()
    into = "rowid, pairs" if sqlite else "id, pairs"
    entry = ":pairs" if sqlite else "CAST(:pairs AS INTEGER[])"
    add = sa.text(f"INSERT INTO {table}_pair ({into}) VALUES (:id, {entry})")  # noqa: S608
    some = sa.text(f"SELECT id, folded FROM {table} WHERE id > :last ORDER BY id LIMIT {SOME}")  # noqa: S608
    last = 0
    while rows := connection.execute(some, {"last": last}).all():
        written = _words if sqlite else _array
        connection.execute(add, [{"id": row.id, "pairs": written(row.folded)} for row in rows])
        last = rows[-1].id


def _words(text: str) -> str:
    units = text.encode("utf-16-be")
    return f"{units.hex(' ', -4)} {units[2:].hex(' ', -4)}"


def _array(text: str) -> Any:
    units = text.encode("utf-16-le")
    pairs = array("i")
    for start in (0, 2):
        pairs.frombytes(units[start : start + (len(units) - start) // 4 * 4])
    return f"{{{','.join(map(str, set(pairs)))}}}"


def downgrade() -> None:
    for table in ("evaluation", "measure"):
        op.drop_table(f"{table}_pair")
