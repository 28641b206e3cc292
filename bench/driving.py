"""Load: wrk, one thread of it, sends addresses over so many connections for so long."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.servers import PATIENCE, Running

SCRIPT = Path(__file__).with_name("drive.lua")
FEWEST = 5  # answers that a figure is made of
LONGEST = 20  # seconds that these may take


@dataclass(frozen=True)
class Figure:
    """Requests a second; half of them, and all but one in a hundred, took so many milliseconds; microseconds of a core
    that the server spent on each; how often the same addresses were asked."""

    rate: float
    p50: float
    p99: float
    cpu: float
    turns: float


class Failed(Exception):
    """Not every answer was a good one."""


def drive(
    server: Running,
    requests: Sequence[str],
    seconds: float,
    connections: int = 16,
    core: int | None = None,
    headers: Sequence[str] = (),
) -> Figure:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requests) + "\n")
        file.flush()
        while True:
            before = server.seconds()
            told = _wrk(server, file.name, seconds, connections, core, headers)
            spent = server.seconds() - before
            if told["requests"] >= FEWEST or seconds >= LONGEST:
                break
            seconds = LONGEST
    if told["failed"] or not told["requests"]:
        raise Failed(f"{told['failed']} of {told['requests']} failed: {requests[0][:200]}")
    number = told["requests"]
    return Figure(
        number / told["seconds"], told["p50"], told["p99"], spent / number * 1e6, number / len(requests)
    )


def _wrk(
    server: Running, file: str, seconds: float, connections: int, core: int | None, headers: Sequence[str]
) -> dict[str, float]:
    sent = [part for header in headers for part in ("-H", header)]
    shape = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={PATIENCE}s"]
    command = ["wrk", *shape, *sent, "-s", str(SCRIPT), server.base, "--", file]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds + PATIENCE,
        preexec_fn=(lambda: os.sched_setaffinity(0, {core})) if core is not None else None,
    )
    if done.returncode:
        raise Failed(done.stderr)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def version() -> str:
    told = subprocess.run(["wrk", "--version"], capture_output=True, text=True).stdout
    return told.split()[1].removeprefix("debian/")


def missing() -> str | None:
    if shutil.which("wrk") is None:
        return "The load comes from wrk, which is not installed. On Debian and Ubuntu: apt install wrk"
    return None
