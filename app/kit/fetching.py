"""Many rows read one after another, as the driver gives them."""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

FETCHED = 250  # rows at a time: of more, the memory is taken anew each time, which costs more than to fill it


def fetched(session: Session, statement: sa.Select[Any]) -> Iterator[list[dict[str, Any]]]:
    """The rows, some at a time. Where there is a server, the others stay there meanwhile.

    To make SQLAlchemy's own kind of rows takes longer than to read them.
    """
    connection = session.connection()
    dialect = connection.dialect
    with connection.execute(statement, execution_options={"stream_results": True}) as found:
        names = list(found.keys())
        reads = {}
        for name, column in zip(names, statement.selected_columns, strict=True):
            if read := column.type.dialect_impl(dialect).result_processor(dialect, None):
                kind = getattr(
                    column.type, "impl_instance", column.type
                )  # what a decorated type is in the end
                # Many rows have their times in common.
                reads[name] = lru_cache(read) if kind.python_type is datetime else read
        while some := found.cursor_strategy.fetchmany(found, found.cursor, FETCHED):
            rows = [dict(zip(names, row, strict=True)) for row in some]
            for name, read in reads.items():
                for row in rows:
                    row[name] = read(row[name])
            yield rows
