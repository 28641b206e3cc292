"""Search: a word is looked up by its pairs of characters, which an index knows, and then looked for in the text itself.

Most Japanese words have two characters, too few for the indexes that databases bring. So the pairs of each text are
entries that we make: words of a full-text index (FTS5) on SQLite, an array with a GIN index on PostgreSQL. A word of
one character has no pair: for it the texts are read.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from app.kit.bulk import FEW
from app.kit.session import Session


def index_of(table: str) -> str:
    """The name of the table that knows which rows of this one have which pairs."""
    return f"{table}_pair"


def holding(table: sa.Table, words: Sequence[str]) -> list[sa.ColumnElement[bool]]:
    """Whether the rows of a table hold all of these words, found by the index."""
    paired = [word for word in words if len(word) > 1]
    return [*([_Paired(table.c.id, table, paired)] if paired else []), *reading(table, _looked_at(words))]


def _looked_at(words: Sequence[str]) -> list[str]:
    """The words that a row has to be read for. Of one that is a pair, the index knows all."""
    return [word for word in words if not len(word) == len(word.encode("utf-16-le")) / 2 == 2]


def number(table: sa.Table, words: Sequence[str]) -> sa.Select[Any] | None:
    """How many rows hold all of these words, where the index knows that without the rows."""
    return None if _looked_at(words) or not words else sa.select(_HowMany(sa.null(), table, words))


def reading(table: sa.Table, words: Sequence[str]) -> list[sa.ColumnElement[bool]]:
    """The same, found by reading the text of each row."""
    return [table.c.folded.contains(word, autoescape=True) for word in words]


Entry = Mapping[str, Any]  # a row with its `id` and its `folded` text


def follow(session: Session, table: sa.Table, rows: Iterable[tuple[Entry | None, Entry | None]]) -> None:
    """Tell the index what each row was and what it is, where there was or is one."""
    index = index_of(table.name)
    changed = [pair for pair in rows if len({row and row["folded"] for row in pair}) == 2]
    gone = [(row["id"], row["folded"]) for row, _ in changed if row]
    come = [(row["id"], row["folded"]) for _, row in changed if row]
    if session.sqlite:
        # Of an entry that goes, the index has to be told what it was.
        remove = f"INSERT INTO {index} ({index}, rowid, pairs) VALUES ('delete', ?, ?)"  # noqa: S608
        add = f"INSERT INTO {index} (rowid, pairs) VALUES (?, ?)"  # noqa: S608
        for statement, entries in ((remove, gone), (add, come)):
            if entries:
                session.drive(statement, [(id, _words(text)) for id, text in entries])
        return
    if gone:
        remove = f"DELETE FROM {index} WHERE id = ANY(%s)"  # noqa: S608
        session.drive(remove, [([id for id, _ in gone],)])
    if 0 < len(come) <= FEW:
        add = f"INSERT INTO {index} VALUES (%s, %s::INTEGER[])"  # noqa: S608
        session.drive(add, [(id, _array(text)) for id, text in come])
    elif come:
        statement = f"COPY {index} FROM STDIN"
        with session.driven(statement) as cursor, cursor.copy(statement.encode()) as copy:
            for id, text in come:
                copy.write_row((id, _array(text)))


def missed(session: Session, table: sa.Table, rows: Mapping[int, str]) -> set[int]:
    """Which of these rows, by id, a search would miss."""
    index = index_of(table.name)
    connection = session.connection()
    found: dict[int, set[str]] = defaultdict(set)
    if not session.sqlite:
        there = f"SELECT id, pairs FROM {index} WHERE id = ANY(%s)"  # noqa: S608
        for id, pairs in connection.exec_driver_sql(there, ([*rows],)):
            found[id].update(map(str, pairs))
        # A text of one character has no pair.
        return {id for id, text in rows.items() if {*_array(text)[1:-1].split(",")} - {"", *found[id]}}
    words = {id: {word for word in _words(text).split() if len(word) == PAIR} for id, text in rows.items()}
    with_word = f"SELECT rowid FROM {index} WHERE {index} MATCH ? AND rowid BETWEEN ? AND ?"  # noqa: S608
    for word in set().union(*words.values()):
        for (id,) in connection.exec_driver_sql(with_word, (f'"{word}"', min(rows), max(rows))):
            found[id].add(word)
    return {id for id, wanted in words.items() if not found[id] >= wanted}


PAIR = 8  # letters of the word for one: four bytes in hexadecimal

# Each pair is the four bytes of its two characters.


def _words(text: str) -> str:
    """All pairs as words of a full-text index; what is left over at an end is nothing that is ever asked for."""
    units = text.encode("utf-16-be")
    return f"{units.hex(' ', -4)} {units[2:].hex(' ', -4)}"


def _array(*texts: str) -> str:
    """All pairs as an array of PostgreSQL's four-byte integers."""
    pairs = array("i")
    for text in texts:
        units = text.encode("utf-16-le")
        for start in (0, 2):
            pairs.frombytes(units[start : start + (len(units) - start) // 4 * 4])
    return f"{{{','.join(map(str, set(pairs)))}}}"


class _Paired(FunctionElement[bool]):
    """Whether the index says that a row has all pairs of these words."""

    inherit_cache = True
    type = cast(Any, sa.types.NullType())  # a boolean would be compared with 1, which no index helps
    told = "{id} IN (SELECT {row} FROM {found})"

    def __init__(self, id: sa.ColumnElement[Any], table: sa.Table, words: Sequence[str]) -> None:
        units = [word.encode("utf-16-be") for word in words]
        pairs = dict.fromkeys(text[at : at + 4].hex() for text in units for at in range(0, len(text) - 2, 2))
        super().__init__(
            id,
            sa.literal_column(index_of(table.name)),
            sa.literal(" AND ".join(f'"{pair}"' for pair in pairs)),
            sa.literal(_array(*words)),
        )


class _HowMany(_Paired):
    """How many rows have all pairs of these words. It is told no id: with a column of the table, it would be asked for
    each of its rows."""

    inherit_cache = True
    type = sa.BigInteger()
    told = "(SELECT count(*) FROM {found})"


@compiles(_Paired, "sqlite")
def _in_words(element: _Paired, compiler: Any, **options: Any) -> str:
    id, index, words, _ = (compiler.process(each, **options) for each in element.clauses)
    return element.told.format(id=id, row="rowid", found=f"{index} WHERE {index} MATCH {words}")


@compiles(_Paired, "postgresql")
def _in_array(element: _Paired, compiler: Any, **options: Any) -> str:
    id, index, _, pairs = (compiler.process(each, **options) for each in element.clauses)
    return element.told.format(id=id, row="id", found=f"{index} WHERE pairs @> CAST({pairs} AS INTEGER[])")
