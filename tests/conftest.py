"""The service as its users meet it: over HTTP, on a real server, on SQLite and on PostgreSQL."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn

from app.cli import beside, main
from app.documents.importing import Told, import_document
from app.kit import keys, migrations
from app.kit.database import Database
from app.kit.http import Protocol
from app.kit.settings import ROOT, Settings
from app.main import create_app
from app.models import API_KEY, FEED, now
from tests.postgres import Server, postgres

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


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("databases")
    if request.param == "sqlite":
        yield Backend("sqlite", folder, None)
    else:
        with postgres() as server:
            made = Backend("postgresql", folder, server)
            yield made
            made.drop(made._seeded)


@dataclass
class Service:
    """A running service with its database, and clients that speak to it."""

    url: str
    database: Database
    anyone: httpx.Client

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
        return httpx.Client(
            base_url=self.anyone.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=30
        )


@contextmanager
def running(url: str, port: int = 0, **settings: Any) -> Iterator[Service]:
    """The service on a port of its own, in a thread."""
    app = create_app(Settings(database_url=url, **settings))
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, http=Protocol, log_config=None, access_log=False, lifespan="on")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield Service(url, app.state.database, client)
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def lent(backend: Backend) -> Iterator[Service]:
    """The service with a copy of the seed, which goes with it."""
    url = backend.seeded()
    with running(url) as service:
        yield service
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
def closing(backend: Backend) -> Iterator[Callable[[ExitStack], None]]:
    """Closes while other tests go on: a server looks ten times a second whether it is to stop."""
    with ThreadPoolExecutor(4) as pool:
        asked: list[Future[None]] = []
        yield lambda stack: asked.append(pool.submit(stack.close))
        for future in asked:
            future.result()


@pytest.fixture(scope="session")
def spare(
    backend: Backend, closing: Callable[[ExitStack], None]
) -> Iterator[list[tuple[ExitStack, Service]]]:
    """At most one service with an untouched copy of the seed, left over by a test that wrote nothing."""
    kept: list[tuple[ExitStack, Service]] = []
    yield kept
    for stack, _ in kept:
        closing(stack)


@pytest.fixture
def town(
    backend: Backend,
    spare: list[tuple[ExitStack, Service]],
    closing: Callable[[ExitStack], None],
) -> Iterator[Service]:
    """A service with a copy of the seed of its own, for tests that write."""
    if spare:
        stack, service = spare.pop()
    else:
        stack = ExitStack()
        url = backend.seeded()
        stack.callback(backend.drop, url)
        service = stack.enter_context(running(url))
    before = service.state()
    yield service
    if service.state() == before:
        with service.database.writing() as session:
            session.execute(sa.delete(API_KEY))
        spare.append((stack, service))
    else:
        closing(stack)


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
