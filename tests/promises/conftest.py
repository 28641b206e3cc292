"""How promises are counted and told: `make prove` runs the full figures and writes docs/promises.md."""

import os
import platform
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import psycopg
import pytest

from app.kit.settings import ROOT
from tests.conftest import Backend
from tests.postgres import Server, postgres_of_our_own

FULL = bool(os.environ.get("SHINCHOKU_PROVE"))
TABLE = ROOT / "docs" / "promises.md"
PROVED = pytest.StashKey[list["Proved"]]()
SERVER = pytest.StashKey[str]()


@dataclass(frozen=True)
class Proved:
    number: int
    promise: str
    where: str
    figure: str
    seconds: float


Prove = Callable[[str], None]


@pytest.fixture
def proved(request: pytest.FixtureRequest) -> Prove:
    """Notes what was seen. The promise is the module's; a planted fault says so in its figure."""
    start = time.monotonic()
    module = request.module

    def note(figure: str) -> None:
        name = request.node.callspec.params if hasattr(request.node, "callspec") else {}
        where = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}.get(str(name.get("backend")), "PostgreSQL")
        took = time.monotonic() - start
        row = Proved(module.NUMBER, module.PROMISE, where, figure, took)
        request.config.stash.setdefault(PROVED, []).append(row)

    return note


def scale(short: int, full: int) -> int:
    return full if FULL else short


@pytest.fixture(scope="session")
def lasting(
    backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Backend, Server | None]]:
    """Databases that keep what they acknowledged through a crash, as a real installation does."""
    if backend.name == "sqlite":
        yield backend, None
        return
    with postgres_of_our_own(options="") as server:
        yield Backend("postgresql", tmp_path_factory.mktemp("lasting"), server), server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = sorted(config.stash.get(PROVED, []), key=lambda row: (row.number, row.where, row.figure))
    if not FULL or not rows:
        return
    lines = written(rows)
    terminalreporter.write_line("\n" + "\n".join(lines))
    if terminalreporter.stats.get("failed") or terminalreporter.stats.get("error"):
        terminalreporter.write_line("not all of it held: docs/promises.md stays as it was")
    else:
        TABLE.write_text("\n".join(lines) + "\n", "utf-8")


def written(rows: list[Proved]) -> list[str]:
    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("fastapi", "sqlalchemy", "sqlmodel", "uvicorn")
    )
    with postgres_of_our_own() as server:
        address = server.address.set(drivername="postgresql").render_as_string()
        with psycopg.connect(address) as connection:
            postgresql = connection.info.parameter_status("server_version")
    return [
        "# Promises, as they were last proved",
        "",
        f"By `make prove` on {datetime.now(UTC):%Y-%m-%d}, on {os.cpu_count()} cores with Python "
        f"{platform.python_version()}, SQLite {sqlite3.sqlite_version} and PostgreSQL {postgresql}; {libraries}.",
        "Where it says *planted fault*, the test ran against a service that was broken on purpose, and noticed.",
        "`make test` runs all of it with smaller figures.",
        "",
        "| promise | on | seen | seconds |",
        "|---|---|---|---|",
        *(f"| {row.promise} | {row.where} | {row.figure} | {row.seconds:,.0f} |" for row in rows),
    ]
