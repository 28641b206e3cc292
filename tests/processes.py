"""The service and its commands as processes, as those who run it start them."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from app.kit.settings import ROOT


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "app.cli", *map(str, arguments)]


def environment(**settings: str) -> dict[str, str]:
    """Ours without the settings of whoever runs the tests, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHINCHOKU_")}
    return kept | {f"SHINCHOKU_{name.upper()}": value for name, value in settings.items()}


def shinchoku(
    *arguments: str | Path, patience: float = 60, **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        env=environment(**settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience,
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Served:
    """A running `shinchoku serve`."""

    def __init__(self, url: str, *options: str, **settings: str) -> None:
        self.port = free_port()
        self.output = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the process)
        self.process = subprocess.Popen(
            command("serve", "--port", str(self.port), *options),
            env=environment(database_url=url, **settings),
            cwd=ROOT,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def up(self) -> bool:
        try:
            return self.client.get("/livez").status_code == 200
        except httpx.TransportError:
            return False

    def said(self) -> str:
        self.output.seek(0)
        return self.output.read()

    def get(self, path: str) -> Any:
        return self.client.get(path).json()

    def stand(self) -> tuple[int, int]:
        """How many evaluations there are, and the revision."""
        metadata = self.get("/evaluations?limit=1")["metadata"]
        return metadata["resultset"]["count"], metadata["revision"]

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def serving(url: str, *options: str, **settings: str) -> Iterator[Served]:
    served = Served(url, *options, **settings)
    try:
        give_up = time.monotonic() + 30
        while not served.up():
            assert served.process.poll() is None, served.said()
            assert time.monotonic() < give_up, served.said()
            time.sleep(0.02)
        yield served
    finally:
        served.client.close()
        if served.process.poll() is None:
            os.killpg(served.process.pid, signal.SIGKILL)
            served.process.wait()
        served.output.close()
