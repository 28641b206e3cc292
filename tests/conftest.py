"""The service as its users meet it: over HTTP, on a real server, on SQLite and on PostgreSQL."""

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser

from app.cli import KEEP_ALIVE, beside, main
from app.documents.importing import import_document
from app.documents.told import Told
from app.kit import fetching, keys, migrations
from app.kit.database import Database
from app.kit.http import Protocol
from app.kit.settings import ROOT, Settings
from app.main import create_app, open_database
from app.models import API_KEY, FEED, now
from tests.browser import chromium, launched
from tests.postgres import Server, postgres
from tests.processes import caller

fetching.SELDOM = 0  # here, what is asked for the first time is answered as what is asked often

SEED = ROOT / "seed" / "fujimi-h29.txt"
FUJIMI, KAWAGOE = "112356", "112011"


class Backend:
    """Makes databases: empty ones, and copies of one that is migrated and holds the seed."""

    def __init__(self, name: str, folder: Path, server: Server | None) -> None:
        self.name = name
        self._folder = folder
        self._server = server
        self._made = 0
        self._seeded = self.empty()
        with opened(self._seeded) as database:
            migrations.upgrade(database)
            with database.writing() as session:
                import_document(session, SEED.read_bytes(), SEED.name, Told.model_validate(beside(SEED)))

    def empty(self) -> str:
        return self._make(None)

    def seeded(self) -> str:
        return self._make(self._seeded)

    def _make(self, template: str | None) -> str:
        self._made += 1
        name = f"shinchoku_test_{os.getpid()}_{self._made}"
        if self._server:
            return self._server.create_database(name, template and sa.make_url(template).database)
        file = self._folder / f"{name}.db"
        if template:
            shutil.copy(str(sa.make_url(template).database), file)
        return f"sqlite:///{file}"

    def drop(self, url: str) -> None:
        if self._server:
            self._server.drop_database(str(sa.make_url(url).database))


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url, pool_size=5, busy_timeout=10)
    try:
        yield database
    finally:
        database.dispose()


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """For what has nothing to do with the kind of database."""
    return Backend("sqlite", tmp_path_factory.mktemp("databases"), None)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
    else:
        with postgres() as server:
            made = Backend("postgresql", tmp_path_factory.mktemp("databases"), server)
            yield made
            made.drop(made._seeded)


@dataclass
class Service:
    """A running service with its database, and clients that speak to it."""

    app: FastAPI
    loop: asyncio.AbstractEventLoop
    anyone: httpx.Client

    @property
    def database(self) -> Database:
        database: Database = self.app.state.database
        return database

    @property
    def url(self) -> str:
        return self.database.engine.url.render_as_string(hide_password=False)

    def leave(self) -> None:
        """Closes the database, as for a stop."""
        asyncio.run_coroutine_threadsafe(self.database.close(), self.loop).result()

    def move(self, url: str) -> None:
        """Goes on with another database, as if it had just been started on that."""
        self.app.state.database = open_database(Settings(database_url=url))

    def key(self, role: str = "admin", municipality_code: str | None = None, **columns: Any) -> str:
        key = keys.make()
        with self.database.writing() as session:
            row = {
                "id": key.id,
                "name": "test",
                "role": role,
                "municipality_code": municipality_code,
                "secret_sha256": key.sha256,
                "created_at": now(),
            }
            session.execute(sa.insert(API_KEY).values(row | columns))
        return key.plain

    def state(self) -> Any:
        with self.database.reading() as session:
            return session.execute(sa.select(FEED)).one()

    def holder(self, key: str) -> httpx.Client:
        return caller(self.anyone.base_url, key)

    @contextmanager
    def overheard(self) -> Iterator[list[tuple[str, Any]]]:
        """What the service says to its database meanwhile, transactions aside: each statement with its values."""
        said: list[tuple[str, Any]] = []
        self.state()  # what is said to a server that was never asked anything is said by now
        dialect = self.database.engine.dialect
        usual = dialect.do_execute

        def do_execute(cursor: Any, statement: str, values: Any, context: Any = None) -> None:
            if not statement.startswith("BEGIN"):
                said.append((statement, values))
            usual(cursor, statement, values, context)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dialect, "do_execute", do_execute)
            yield said


@contextmanager
def started(url: str, port: int = 0, **settings: Any) -> Iterator[Service]:
    """A service that begins here, in a thread and on a port of its own, and stops in the end."""
    app = create_app(Settings(database_url=url, **settings))
    config = uvicorn.Config(
        app,
        port=port,
        http=Protocol,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE,
    )
    server = uvicorn.Server(config)
    runner = asyncio.Runner(loop_factory=config.get_loop_factory())

    def serve() -> None:
        with runner:
            runner.run(server.serve())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        with caller(f"http://127.0.0.1:{port}") as anyone:
            yield Service(app, runner.get_loop(), anyone)
    finally:
        server.should_exit = True
        thread.join()


IDLE: list[tuple[ExitStack, Service]] = []  # those that wait for another database


@contextmanager
def running(url: str) -> Iterator[Service]:
    """A service on this database, which may have served others before: to start and stop one takes longer."""
    if IDLE:
        stack, service = IDLE.pop()
        service.move(url)
    else:
        stack = ExitStack()
        service = stack.enter_context(started(url))
    try:
        yield service
    finally:
        service.leave()
        IDLE.append((stack, service))


def pytest_sessionfinish() -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda idle: idle[0].close(), IDLE))


@contextmanager
def lent(backend: Backend) -> Iterator[Service]:
    """The service with a copy of the seed, which goes with it."""
    url = backend.seeded()
    with running(url) as service:
        yield service
        url = service.url  # it may have moved
    backend.drop(url)


@pytest.fixture(scope="session")
def library(backend: Backend) -> Iterator[Service]:
    """A service with the seed, for tests that only read."""
    with lent(backend) as service:
        yield service


@pytest.fixture
def read(library: Service) -> httpx.Client:
    return library.anyone


@pytest.fixture(scope="session")
def house(backend: Backend) -> Iterator[Service]:
    with lent(backend) as service:
        yield service


@pytest.fixture
def town(backend: Backend, house: Service) -> Iterator[Service]:
    """A service with an untouched copy of the seed, for tests that write."""
    before = house.state()
    yield house
    if house.state() == before:
        with house.database.writing() as session:
            session.execute(sa.delete(API_KEY))
    else:
        written = house.url
        house.leave()
        house.move(backend.seeded())
        backend.drop(written)


@pytest.fixture(scope="module")
def hall(backend: Backend) -> Iterator[Service]:
    """One service for many attempts: each works on rows of its own."""
    with lent(backend) as service:
        yield service


@pytest.fixture
def admin(town: Service) -> Iterator[httpx.Client]:
    with town.holder(town.key("admin")) as client:
        yield client


@pytest.fixture
def editor(town: Service) -> Iterator[httpx.Client]:
    with town.holder(town.key("editor", FUJIMI)) as client:
        yield client


@pytest.fixture(scope="module")  # while it is there, this thread has an event loop
def browser() -> Iterator[Browser]:
    executable = chromium()
    if executable is None:
        assert not os.environ.get("CI"), "no Chromium on this machine, and none could be installed"
        pytest.skip("no Chromium on this machine: the tests in a browser are left out")
    with launched(executable) as found:
        yield found


Here = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """The exit code of a command and what it says, without a process of its own: that takes a second to start."""

    def run(*arguments: str | Path, **settings: str) -> tuple[int, str, str]:
        for name in filter(lambda name: name.startswith("SHINCHOKU_"), list(os.environ)):
            monkeypatch.delenv(name)
        for name, value in settings.items():
            monkeypatch.setenv(f"SHINCHOKU_{name.upper()}", value)
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(str(stop.code))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
