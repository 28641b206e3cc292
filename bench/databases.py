"""The databases that are asked: Shinchoku's own and the peers', with the same rows, kept between runs.

Shinchoku's is written through `changes.save`, so that its log is there and true. Each is made once; whoever writes
gets a copy.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.sql import SQL, Identifier

from app.changes import save
from app.kit import keys, migrations
from app.kit.database import Database
from app.kit.settings import ROOT
from app.models import API_KEY, Evaluation, Measure, Plan, Section, now
from bench import data
from tests.postgres import find_binaries, hand_over, unprivileged

FOLDER = Path(os.environ.get("BENCH_DIR") or Path(tempfile.gettempdir()) / "shinchoku-bench")
SCHEMA = ROOT / "bench" / "peers" / "schema.sql"
KEY = keys.Key("be7c4be7", "be7c4" * 12 + "0000")  # opens nothing but these databases
WHEN = "2026-04-01 00:00:00+00:00"
TOGETHER = 10  # plans that are written in one transaction


# ---------------------------------------------------------------------------------------------------------
# The same rows, for Shinchoku and for the peers


def fill_shinchoku(url: str, books: Iterable[data.Book]) -> None:
    database = Database(url, pool_size=2, busy_timeout=60)
    try:
        migrations.upgrade(database)
        with database.writing() as session:
            holder = {"id": KEY.id, "name": "bench", "role": "admin", "secret_sha256": KEY.sha256}
            session.execute(sa.insert(API_KEY).values(holder | {"created_at": now()}))
        for some in _in_groups(books, TOGETHER):
            with database.writing() as session:
                save(session, Plan, [_plan(book.plan) for book in some])
                save(session, Section, [_row(each) for book in some for each in book.sections])
                save(session, Measure, [_row(each) for book in some for each in book.measures])
                save(session, Evaluation, [_row(each) for book in some for each in book.evaluations])
        if not database.sqlite:  # what its autovacuum would do a minute later
            alone = database.engine.execution_options(isolation_level="AUTOCOMMIT")
            with alone.connect() as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")
    finally:
        database.dispose()


def _plan(plan: data.Plan) -> dict[str, Any]:
    scale = [{"code": code, "label": None, "description": None} for code in data.RATINGS]
    return {**_row(plan), "ratings": scale, "ratings_closed": True}


def _row(row: Any) -> dict[str, Any]:
    """Without its id, which the database gives: the same one, as rows come in order."""
    return {name: value for name, value in row._asdict().items() if name != "id"}


def peer_rows(book: data.Book) -> dict[str, list[tuple[Any, ...]]]:
    kept = (1, WHEN, WHEN)
    return {
        "plan": [book.plan],
        "section": [*book.sections],
        "measure": [(*row[:4], json.dumps(row.path), *row[5:], *kept) for row in book.measures],
        "evaluation": [(*row, *kept) for row in book.evaluations],
    }


def fill_sqlite_peer(file: Path, books: Iterable[data.Book]) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA.read_text())
        for some in _in_groups(books, TOGETHER):
            with connection:
                for book in some:
                    for table, rows in peer_rows(book).items():
                        marks = ", ".join("?" * len(rows[0]))
                        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fill_postgresql_peer(url: str, books: Iterable[data.Book]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        serial = SCHEMA.read_text().replace("id INTEGER PRIMARY KEY", "id BIGSERIAL PRIMARY KEY")
        connection.execute(serial.replace("TIMESTAMP", "TIMESTAMPTZ").encode())
        for some in _in_groups(books, TOGETHER):
            with connection.transaction(), connection.cursor() as cursor:
                for book in some:
                    for table, rows in peer_rows(book).items():
                        with cursor.copy(SQL("COPY {} FROM STDIN").format(Identifier(table))) as copy:
                            for row in rows:
                                copy.write_row(row)
        for table in ("plan", "section", "measure", "evaluation"):
            reached = SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), max(id)) FROM {}")
            connection.execute(reached.format(table, Identifier(table)))
        connection.execute("VACUUM ANALYZE")


def _in_groups(books: Iterable[data.Book], size: int) -> Iterator[list[data.Book]]:
    group: list[data.Book] = []
    for book in books:
        group.append(book)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


# ---------------------------------------------------------------------------------------------------------
# Where they are kept


def recipe() -> str:
    """Another one means other databases."""
    files = [ROOT / "app" / "models.py", ROOT / "bench" / "data.py", SCHEMA, Path(__file__)]
    files += sorted((ROOT / "migrations" / "versions").glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:10]


class SQLite:
    """Databases as files."""

    name = "sqlite"

    def of(self, who: str, rows: int) -> str:
        """The URL of the one of Shinchoku or the peers with so many rows, which is only to be read."""
        file = FOLDER / f"{who}_{rows}_{recipe()}.db"
        if not file.exists():
            FOLDER.mkdir(parents=True, exist_ok=True)
            for outdated in FOLDER.glob(f"{who}_{rows}_*"):
                outdated.unlink()
            print(f"filling {file.name} …", flush=True)
            making = file.with_suffix(".making")
            if who == "shinchoku":
                fill_shinchoku(f"sqlite:///{making}", data.books(rows))
            else:
                fill_sqlite_peer(making, data.books(rows))
            making.rename(file)
        return f"sqlite:///{file}"

    @contextmanager
    def copy(self, url: str) -> Iterator[str]:
        file = Path(url.removeprefix("sqlite:///"))
        with tempfile.TemporaryDirectory(dir=FOLDER, prefix="copy-") as folder:
            yield f"sqlite:///{shutil.copy(file, folder)}"

    @contextmanager
    def empty(self) -> Iterator[str]:
        with tempfile.TemporaryDirectory(dir=FOLDER, prefix="empty-") as folder:
            yield f"sqlite:///{folder}/empty.db"


class PostgreSQL:
    """Databases of a server whose data lives on disk and is safe there: what it acknowledges costs what it costs."""

    name = "postgresql"

    def __init__(self, socket: Path, version: str) -> None:
        self.version = version
        self._address = f"postgresql://postgres@/{{}}?host={socket}"

    def of(self, who: str, rows: int) -> str:
        name = f"{who}_{rows}_{recipe()}"
        with psycopg.connect(self._address.format("postgres"), autocommit=True) as connection:
            there = [name for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall()]
            if name in there:
                return self._address.format(name)
            for outdated in there:
                if outdated.startswith(f"{who}_{rows}_"):
                    self._drop(outdated)
            print(f"filling {name} on PostgreSQL …", flush=True)
            making = f"{name}_making"
            with self._made(making):
                fill = fill_shinchoku if who == "shinchoku" else fill_postgresql_peer
                fill(self._address.format(making), data.books(rows))
                renamed = SQL("ALTER DATABASE {} RENAME TO {}")
                connection.execute(renamed.format(Identifier(making), Identifier(name)))
        return self._address.format(name)

    @contextmanager
    def copy(self, url: str) -> Iterator[str]:
        with self._made("copy", template=str(sa.make_url(url).database)) as copy:
            yield copy

    @contextmanager
    def empty(self) -> Iterator[str]:
        with self._made("empty") as empty:
            yield empty

    @contextmanager
    def _made(self, name: str, template: str = "template0") -> Iterator[str]:
        self._drop(name)
        create = SQL("CREATE DATABASE {} TEMPLATE {}")
        with psycopg.connect(self._address.format("postgres"), autocommit=True) as connection:
            connection.execute(create.format(Identifier(name), Identifier(template)))
        try:
            yield self._address.format(name)
        finally:
            self._drop(name)

    def _drop(self, name: str) -> None:
        with psycopg.connect(self._address.format("postgres"), autocommit=True) as connection:
            connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A server of our own, which goes on from the data that it had the last time."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    FOLDER.chmod(0o755)  # PostgreSQL may run as somebody else
    binaries = find_binaries(None, FOLDER)
    version = subprocess.check_output([binaries / "postgres", "--version"], text=True).split()[2]
    folder = FOLDER / f"postgresql-{version}"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        hand_over(folder)
        _run(binaries / "initdb", "-D", folder, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        (folder / "ready").touch()
    control = (binaries / "pg_ctl", "-D", folder, "-w")
    if _run(*control, "status", check=False) == 0:
        raise SystemExit(
            "PostgreSQL still runs: another run goes on, or one was killed. "
            f"To end it: {' '.join(map(str, control))} stop"
        )
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as socket:  # its path must be short
        hand_over(Path(socket))
        memory = "-c shared_buffers=2GB -c max_wal_size=8GB"  # of 128 MB and 1 GB: millions of rows are more
        options = f"-k {socket} -c listen_addresses='' -c max_connections=300 {memory}"
        _run(*control, "-l", Path(socket) / "log", "-o", options, "start")
        try:
            yield PostgreSQL(Path(socket), version)
        finally:
            _run(*control, "-m", "fast", "stop")


def _run(*command: str | Path, check: bool = True) -> int:
    told = subprocess.run(command, cwd="/", check=check, stdout=subprocess.DEVNULL, **unprivileged())
    return told.returncode
