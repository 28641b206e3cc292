"""Runs the migrations on the database of the settings, or on one that the caller hands over."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from sqlmodel import SQLModel

import app.models  # noqa: F401  (declares the tables)
from app.kit.database import Database
from app.kit.settings import Settings


def _plain_types(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Migrations outlive the models: they speak of SQLAlchemy's own types only."""
    if kind == "type" and type(item).__name__ == "UTCDateTime":
        return "sa.DateTime(timezone=True)"
    return False


def _compare_type(_context: Any, _inspected: Any, _declared: Any, found: Any, wanted: Any) -> bool | None:
    # SQLite has one integer, and tells it under several names.
    if isinstance(found, sa.Integer) and isinstance(wanted, sa.Integer) and _context.dialect.name == "sqlite":
        return False
    return None


def _ours(_item: Any, name: str | None, kind: str, reflected: bool, _: Any) -> bool:
    """Whether the models speak of it: the tables of full-text indexes are made by migrations alone."""
    return not (kind == "table" and reflected and name is not None and "_pair" in name)


def run() -> None:
    settings = Settings()
    database = context.config.attributes.get("database") or Database(
        settings.database_url, settings.pool_size, settings.busy_timeout
    )
    sqlite = database.sqlite
    # On SQLite the write lock comes first as well, so that of several who migrate at once each takes a turn.
    with database.engine.execution_options(writes=True).connect() as connection:
        if sqlite:
            # A batch migration rebuilds a table by dropping it: with foreign keys on, its children would go too.
            # The pragma works outside a transaction only.
            connection.connection.execute("PRAGMA foreign_keys=OFF")
        else:
            # Two servers that start together take turns.
            connection.execute(sa.text("SELECT pg_advisory_lock(7391)"))
            connection.commit()
        context.configure(
            connection=connection,
            target_metadata=SQLModel.metadata,
            render_as_batch=sqlite,
            transactional_ddl=True,  # on SQLite as well: a migration that fails leaves nothing behind
            render_item=_plain_types,
            compare_type=_compare_type,
            include_object=_ours,
        )
        try:
            with context.begin_transaction():
                context.run_migrations()
                if sqlite and (orphans := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()):
                    raise RuntimeError(f"the migration would leave {len(orphans)} rows without their parents")
        finally:
            if sqlite:
                connection.rollback()
                connection.connection.execute("PRAGMA foreign_keys=ON")
            else:
                connection.rollback()
                connection.execute(sa.text("SELECT pg_advisory_unlock(7391)"))
                connection.commit()


run()
