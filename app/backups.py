"""Backups: a consistent copy of the database while others write, and the way back, into a new life of it."""

import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import sqlalchemy as sa
from alembic.util import CommandError
from sqlmodel import SQLModel

from app.changes import ENTITIES
from app.kit import migrations, search
from app.kit.database import Database
from app.kit.watch import CHANNEL
from app.models import FEED

PATIENCE = 20  # seconds that a restore waits for those who are at work: everybody else waits, too


TABLES = (
    *SQLModel.metadata.tables,
    *(search.index_of(entity.name) for entity in ENTITIES.values() if entity.searched),
    "alembic_version",
)  # whatever else is in the database is not ours


class Unusable(Exception):
    """No backup can be made here, or the file is none: the sentence tells what to do."""


def back_up(database: Database, file: Path) -> None:
    """Write the database, as it is at one moment, to a file that is there whole or not at all."""
    if file.exists():
        raise Unusable(f"{file} is there already, and a backup never overwrites one: give another name")
    try:
        with TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as folder:
            made = Path(folder) / "backup"
            if database.sqlite:
                with (
                    closing(sqlite3.connect(_path(database))) as source,
                    closing(sqlite3.connect(made)) as copy,
                ):
                    _copy(source, copy)
                    copy.execute("PRAGMA journal_mode=DELETE")  # a file alone, also where it is only read
            else:
                ours = [f"--table={name}" for name in TABLES]
                plain = ("--format=custom", "--no-owner", "--no-privileges")
                _run(database, "pg_dump", *plain, *ours, f"--file={made}")
            _reach_the_disk(made)
            made.rename(file)
            _reach_the_disk(file.parent)
    except OSError as error:
        raise Unusable(f"{file} cannot be written: {error.strerror}") from None
    except sqlite3.Error as error:
        raise Unusable(f"{file} cannot be written: {error}") from None


def restore(database: Database, file: Path) -> None:
    """Make the database what the backup says, in one transaction, and begin a new life of it.

    Whoever follows the changes from before is then told that the place is gone, and begins anew.
    """
    if not file.is_file():
        raise Unusable(f"there is no file {file}")
    if database.sqlite:
        _restore_sqlite(database, file)
    else:
        _restore_postgresql(database, file)


def _restore_sqlite(database: Database, file: Path) -> None:
    """The new life is prepared in a copy: a service that is running shows the old state or the new one, whole."""
    with TemporaryDirectory(prefix="shinchoku-") as folder:
        prepared = Path(folder) / "prepared.db"
        try:
            with closing(sqlite3.connect(_to_read(file), uri=True)) as source:
                if source.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                    raise Unusable(f"{file} is damaged")
                with closing(sqlite3.connect(prepared)) as copy:
                    _copy(source, copy)
            new = Database(f"sqlite:///{prepared}", pool_size=1, busy_timeout=10)
            try:
                with new.reading() as session:
                    session.execute(sa.select(FEED.c.epoch)).one()
                migrations.upgrade(new)
                with new.writing() as session:
                    session.execute(sa.update(FEED).values(epoch=uuid4().hex))
            finally:
                new.dispose()
        except CommandError:
            raise Unusable(f"{file} was made by a newer version of Shinchoku") from None
        except (OSError, sqlite3.OperationalError) as error:
            raise Unusable(f"{file} cannot be read: {error}") from None
        except (sqlite3.DatabaseError, sa.exc.SQLAlchemyError):
            raise Unusable(f"{file} is no backup of Shinchoku's SQLite database") from None
        try:
            with (
                closing(sqlite3.connect(prepared)) as source,
                closing(sqlite3.connect(_path(database))) as target,
            ):
                _copy(source, target)
        except sqlite3.Error as error:
            raise Unusable(f"{_path(database)} cannot be written: {error}") from None


def _to_read(file: Path) -> str:
    """The address at which SQLite reads the file and leaves nothing beside it.

    An older backup says that it has a log (WAL), which SQLite would make anew, also in order to read. Where there is
    none, nobody has the file open, and it can be read as one that never changes.
    """
    with file.open("rb") as opened:
        logged = opened.read(20)[18:] == b"\x02\x02"
    file = file.resolve()
    alone = logged and not file.with_name(f"{file.name}-wal").is_file()
    return f"{file.as_uri()}?mode=ro" + ("&immutable=1" if alone else "")


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """All pages in one step: one moment of the source, one transaction of the target."""
    end = time.monotonic() + PATIENCE

    def wait(status: int, remaining: int, total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > end:
            raise Unusable("others write all the time: stop the service and try again")

    source.backup(target, progress=wait, sleep=0.05)


def _restore_postgresql(database: Database, file: Path) -> None:
    """The backup as a script, and around it, in the same transaction, what ends the old life and begins the new."""
    tables = ", ".join(f'"{name}"' for name in TABLES)
    with TemporaryDirectory(prefix="shinchoku-") as folder:
        script = Path(folder) / "script.sql"
        _run(
            database,
            "pg_restore",
            "--no-owner",
            "--no-privileges",
            f"--file={script}",
            str(file),
            connects=False,
        )
        if "CREATE TABLE public.feed" not in script.read_text("utf-8"):
            raise Unusable(f"{file} is no backup of Shinchoku's PostgreSQL database")
        steps = [
            f"--command=SET lock_timeout = '{PATIENCE}s'",
            # Every request looks at this table first: those under way end in peace, and the next ones wait here.
            "--command=DO $$ BEGIN IF to_regclass('feed') IS NOT NULL THEN LOCK TABLE feed; END IF; END $$",
            f"--command=DROP TABLE IF EXISTS {tables} CASCADE",
            f"--file={script}",
            "--command=RESET search_path",
            f"--command=UPDATE feed SET epoch = '{uuid4().hex}'",  # noqa: S608 (of our own making)
            f"--command=NOTIFY {CHANNEL}",  # who waits for a change learns that there will be none
        ]
        _run(
            database,
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--single-transaction",
            "--set=ON_ERROR_STOP=1",
            *steps,
        )
    migrations.upgrade(database)


def _run(database: Database, tool: str, *options: str, connects: bool = True) -> None:
    """One of PostgreSQL's own tools. The password goes by the environment, where other users cannot read it."""
    found = shutil.which(tool)
    if found is None:
        raise Unusable(
            f"{tool} of PostgreSQL is needed and not in PATH: install PostgreSQL's client programs"
        )
    url = database.engine.url.set(drivername="postgresql")
    address = url.set(password=None).render_as_string() if connects else None
    environment = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    ran = subprocess.run(  # noqa: S603 (our own command line)
        [found, *([f"--dbname={address}"] if address else []), *options],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise Unusable(f"{tool} failed: {ran.stderr.strip()}")


def _path(database: Database) -> str:
    return str(database.engine.url.database)


def _reach_the_disk(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
