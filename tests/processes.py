"""The service and its commands as processes.

To start one takes a second, in which the code is read; most are therefore begun as forks of one that has read it
already. Clients do not read whom the world trusts either.
"""

import multiprocessing
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from app.cli import main
from app.kit.settings import ROOT

SPAWN, FORKS = multiprocessing.get_context("spawn"), multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["app.cli", "app.main", "tests.promises.writer"])


NOBODY = ssl.SSLContext(
    ssl.PROTOCOL_TLS_CLIENT
)  # is trusted: who that might be takes longer to read than most tests


def caller(address: str | httpx.URL, key: str | None = None, patience: float = 30) -> httpx.Client:
    """What speaks to a service, with a key or as anyone."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=address, headers=headers, timeout=patience, verify=NOBODY)


def environment(**settings: str) -> dict[str, str]:
    """Ours without the settings of whoever runs the tests, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHINCHOKU_")}
    return kept | {f"SHINCHOKU_{name.upper()}": value for name, value in settings.items()}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Process:
    """What runs a function, with settings and files for what it says; `fresh` reads the code first."""

    def __init__(
        self,
        run: Callable[..., object],
        *arguments: Any,
        output: str | Path = os.devnull,
        errors: str | Path | None = None,
        fresh: bool = False,
        **settings: str,
    ) -> None:
        given = (run, arguments, environment(**settings), str(output), str(errors or output))
        self.process = (SPAWN if fresh else FORKS).Process(target=_begin, args=given)
        self.process.start()
        assert self.process.pid
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, patience: float = 30) -> int:
        self.process.join(patience)
        assert self.process.exitcode is not None, "it does not end"
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """With all that it has begun."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has only just begun, and leads no group yet
                os.killpg(self.pid, signal.SIGKILL)
            self.process.kill()
        self.wait()


def _begin(
    run: Callable[..., object],
    arguments: tuple[Any, ...],
    environment: dict[str, str],
    output: str,
    errors: str,
) -> None:
    os.setsid()
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0)
    for descriptor, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.exit(run(*arguments))  # type: ignore[arg-type]


def _end_with_the_tests() -> None:
    tests = multiprocessing.parent_process()
    assert tests
    tests.join()
    os.killpg(0, signal.SIGKILL)


def shinchoku(
    *arguments: str | Path, patience: float = 60, fresh: bool = False, **settings: str
) -> subprocess.CompletedProcess[str]:
    """A command, its exit code and what it said."""
    given = [str(argument) for argument in arguments]
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as errors:
        process = Process(main, given, output=out.name, errors=errors.name, fresh=fresh, **settings)
        try:
            return subprocess.CompletedProcess(given, process.wait(patience), out.read(), errors.read())
        finally:
            process.kill()


class Served:
    """A running `shinchoku serve`."""

    def __init__(self, url: str, *options: str, fresh: bool = False, **settings: str) -> None:
        self.port = free_port()
        descriptor, self.output = tempfile.mkstemp()
        os.close(descriptor)
        arguments = ["serve", "--port", str(self.port), *options]
        settings["database_url"] = url
        self.process = Process(main, arguments, output=self.output, fresh=fresh, **settings)
        self.client = caller(f"http://127.0.0.1:{self.port}")

    def up(self) -> bool:
        try:
            return self.client.get("/livez").status_code == 200
        except httpx.TransportError:
            return False

    def said(self) -> str:
        return Path(self.output).read_text()

    def get(self, path: str) -> Any:
        return self.client.get(path).json()

    def stand(self) -> tuple[int, int]:
        """How many evaluations there are, and the revision."""
        metadata = self.get("/evaluations?limit=1")["metadata"]
        return metadata["resultset"]["count"], metadata["revision"]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


@contextmanager
def serving(url: str, *options: str, fresh: bool = False, **settings: str) -> Iterator[Served]:
    served = Served(url, *options, fresh=fresh, **settings)
    try:
        give_up = time.monotonic() + 30
        while not served.up():
            assert served.process.poll() is None, served.said()
            assert time.monotonic() < give_up, served.said()
            time.sleep(0.02)
        yield served
    finally:
        served.client.close()
        served.process.kill()
        os.unlink(served.output)
