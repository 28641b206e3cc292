"""The schema's history: bring a database to its newest form, and tell whether it is there."""

from functools import cache

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.kit.database import Database
from app.kit.session import Session
from app.kit.settings import ROOT


def configuration(database: Database | None = None) -> Config:
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("script_location", str(ROOT / "migrations").replace("%", "%%"))
    config.attributes["database"] = database
    return config


def upgrade(database: Database, to: str = "head") -> None:
    command.upgrade(configuration(database), to)


def downgrade(database: Database, to: str) -> None:
    command.downgrade(configuration(database), to)


@cache
def newest() -> str | None:
    return ScriptDirectory.from_config(configuration()).get_current_head()


def current(session: Session) -> str | None:
    """The form that the database is in; None when it has never been migrated."""
    if not sa.inspect(session.connection()).has_table("alembic_version"):
        return None
    found: str | None = session.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found
