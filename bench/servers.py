"""Who is asked: Shinchoku and its peers, how each is started, and what each question is called there."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import urlencode

import httpx
import sqlalchemy as sa

from app.changes import mark_of
from app.evaluations import EVALUATIONS, EvaluationQuery
from app.feed import FeedQuery, cursor_of
from app.kit.database import Database
from app.kit.listing import _bound as bound_to
from app.kit.listing import order_of, seal
from app.kit.session import Session
from app.kit.settings import ROOT
from app.models import CHANGE, FEED
from bench.questions import Asked

PEERS = ROOT / ".venv-bench" / "bin"
PATIENCE = 60
SUMMED = {"plan": "plan.slug", "section": "section.code", "fiscal_year": "evaluation.fiscal_year"}


class Running:
    """A server that answers."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process, self.port, self.base = process, port, f"http://127.0.0.1:{port}"
        plain = {"Accept-Encoding": "identity"}
        self.client = httpx.Client(base_url=self.base, timeout=PATIENCE, headers=plain)

    def processes(self) -> list[Path]:
        """Its own and those that it has begun."""
        return [
            stat.parent
            for stat in Path("/proc").glob("[0-9]*/stat")
            if (fields := _stat(stat)) and int(fields[2]) == self.process.pid
        ]

    def seconds(self) -> float:
        """Of a core, used so far."""
        stats = [_stat(process / "stat") for process in self.processes()]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats if fields) / os.sysconf("SC_CLK_TCK")

    def memory(self, name: str = "VmRSS") -> float:
        """In MB; VmHWM is the most there ever was."""
        lines = [
            line for process in self.processes() for line in (process / "status").read_text().splitlines()
        ]
        return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1000


def _stat(file: Path) -> list[str]:
    """What stands behind the name, from the state on."""
    try:
        return file.read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return []


class Server:
    """One that can be asked. Each question has a method that makes its address; where there is none, it is left out."""

    name: ClassVar[str]
    databases: ClassVar[Sequence[str]] = ("sqlite", "postgresql")
    data: ClassVar[str] = "peers"
    ready: ClassVar[str] = "/"
    anew: ClassVar[Sequence[str]] = ()  # headers of a question whose answer is not to be one that is kept

    def command(self, port: int, database: str) -> list[str | Path]:
        raise NotImplementedError

    def environment(self, database: str) -> dict[str, str]:
        return {"DATABASE": database}

    def prepare(self, database: str, questions: dict[str, list[Asked]]) -> None:
        """Whatever has to be known before it can be asked."""

    def can(self, kind: str) -> bool:
        return hasattr(self, kind)

    def path(self, kind: str, asked: Asked) -> str:
        path: str = getattr(self, kind)(**asked)
        return path

    def rows(self, kind: str, body: Any) -> int:
        """How many rows there are in an answer; of a summary, how many counts that are not zero."""
        raise NotImplementedError

    @contextmanager
    def running(self, database: str, core: int | None = None) -> Iterator[Running]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SHINCHOKU_")}
        command = [*map(str, self.command(port, database))]
        process = subprocess.Popen(
            command,
            env=kept | self.environment(database),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=(lambda: os.sched_setaffinity(0, {core})) if core is not None else None,
        )
        server = Running(process, port)
        try:
            end = time.monotonic() + PATIENCE
            while not self._answers(server):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{self.name} does not start: {' '.join(command)}")
                time.sleep(0.01)
            yield server
        finally:
            server.client.close()
            _end(process)

    def _answers(self, server: Running) -> bool:
        try:
            return server.client.get(self.ready).status_code < 500
        except httpx.TransportError:
            return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _query(path: str, **parameters: Any) -> str:
    told = {name: value for name, value in parameters.items() if value not in (None, "", ())}
    return f"{path}?{urlencode(told, doseq=True, safe=',')}"


# ---------------------------------------------------------------------------------------------------------


class Shinchoku(Server):
    name = "shinchoku"
    data = "shinchoku"
    ready = "/readyz"
    anew = ("Shinchoku-Revision: 1",)

    def __init__(self, workers: int = 1, seed: str = "") -> None:
        self.workers, self.seed = workers, seed
        self.cursors: dict[str, dict[int, str]] = {}

    def command(self, port: int, database: str) -> list[str | Path]:
        workers = ["--workers", str(self.workers)]
        return [sys.executable, "-m", "app.cli", "serve", "--port", str(port), *workers]

    def environment(self, database: str) -> dict[str, str]:
        return {
            "SHINCHOKU_DATABASE_URL": database,
            "SHINCHOKU_SEED": self.seed,
            "SHINCHOKU_LOG_LEVEL": "warning",
        }

    def prepare(self, database: str, questions: dict[str, list[Asked]]) -> None:
        """Cursors for every place that is asked for. Following the pages to them would take too long."""
        opened = Database(database, pool_size=1, busy_timeout=PATIENCE)
        try:
            with opened.reading() as session:
                for kind in questions.keys() & {"P", "P1", "C"}:
                    places = [one["after"] for one in questions[kind]]
                    between = _changes_between if kind == "C" else _pages_between
                    self.cursors[kind] = between(session, min(places), max(places))
        finally:
            opened.dispose()

    def rows(self, kind: str, body: Any) -> int:
        if kind == "D":
            return len(body["evaluations"])
        if kind in ("S", "SA", "SY"):
            return sum(1 for group in body["results"] for rating in group["ratings"] if rating["count"])
        return len(body["results"])

    def L(self, section: str, ratings: Sequence[str], limit: int) -> str:
        return _query("/measures", section=section, rating=",".join(ratings), limit=limit)

    def D(self, id: int) -> str:
        return f"/measures/{id}?expand=evaluations"

    def E(self, year: int, ratings: Sequence[str], limit: int) -> str:
        return _query("/evaluations", fiscal_year=year, rating=",".join(ratings), limit=limit)

    def S(
        self,
        group_by: Sequence[str],
        ratings: Sequence[str] = (),
        unit: bool = False,
        plan: str | None = None,
    ) -> str:
        told = {"plan": plan, "group_by": ",".join(group_by), "rating": ",".join(ratings)}
        return _query("/evaluations/summary", **told, unit="evaluation" if unit else None)

    SA = SY = S

    def Q(self, word: str, limit: int) -> str:
        return _query("/evaluations", q=word, limit=limit)

    QR = Q

    def P(self, after: int, limit: int) -> str:
        return _query("/evaluations", limit=limit, cursor=self.cursors["P"].get(after))

    def P1(self, after: int, limit: int) -> str:
        return _query("/evaluations", limit=limit, cursor=self.cursors["P1"].get(after))

    def C(self, after: int, limit: int) -> str:
        return _query("/changes", limit=limit, after=self.cursors["C"].get(after))


def _pages_between(session: Session, first: int, last: int) -> dict[int, str]:
    """Cursors of the pages of `/evaluations` that begin after so many rows: each is made of the row before."""
    order = [column for column, _ in order_of(EVALUATIONS, EVALUATIONS.order)]
    first = max(first, 1)
    rows = sa.select(*order).select_from(EVALUATIONS.source).order_by(*order).offset(first - 1)
    found = session.execute(rows.limit(last - first + 1))
    request: Any = SimpleNamespace(url=SimpleNamespace(path="/evaluations"))
    bound = bound_to(request, EvaluationQuery())
    return {place: seal(list(row), bound) for place, row in enumerate(found, first)}


def _changes_between(session: Session, first: int, last: int) -> dict[int, str]:
    """Cursors of the pages of `/changes` that begin after these."""
    epoch = session.scalar(sa.select(FEED.c.epoch))
    changes = sa.select(CHANGE.c.seq, CHANGE.c.at).where(CHANGE.c.seq.between(first, last))
    return {seq: cursor_of(str(epoch), seq, mark_of(at), FeedQuery()) for seq, at in session.execute(changes)}


class Constant(Server):
    """A limit: the answers are as long as Shinchoku's and say nothing."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.sizes = sizes

    def command(self, port: int, database: str) -> list[str | Path]:
        return _uvicorn(f"bench.peers.{self.name}:app", port)

    def environment(self, database: str) -> dict[str, str]:
        return {"SIZES": json.dumps(self.sizes | {"": 2})}

    def path(self, kind: str, asked: Asked) -> str:
        return f"/{kind}"


class Raw(Constant):
    name = "raw"


class FastAPIConstant(Constant):
    name = "constant"
    ready = "/docs"

    def path(self, kind: str, asked: Asked) -> str:
        return f"/{kind}?section=2&rating=B&fiscal_year=2017&limit=50"


class Textbook(Server):
    name = "textbook"
    ready = "/openapi.json"

    def command(self, port: int, database: str) -> list[str | Path]:
        return _uvicorn("bench.peers.textbook:app", port)

    def rows(self, kind: str, body: Any) -> int:
        return len(body["evaluations"] if kind == "D" else body)

    def L(self, section: str, ratings: Sequence[str], limit: int) -> str:
        return _query("/measures", section=section, rating=ratings, limit=limit)

    def D(self, id: int) -> str:
        return f"/measures/{id}"

    def E(self, year: int, ratings: Sequence[str], limit: int) -> str:
        return _query("/evaluations", fiscal_year=year, rating=ratings, limit=limit)

    def S(
        self,
        group_by: Sequence[str],
        ratings: Sequence[str] = (),
        unit: bool = False,
        plan: str | None = None,
    ) -> str:
        return _query("/summary", group_by=_grouped(group_by), plan=plan, rating=ratings)

    SA = SY = S

    def Q(self, word: str, limit: int) -> str:
        return _query("/evaluations", q=word, limit=limit)

    QR = Q

    def P(self, after: int, limit: int) -> str:
        return _query("/evaluations", offset=after, limit=limit)

    P1 = C = P


class RestFramework(Textbook):
    name = "drf"
    ready = "/measures/1"

    def command(self, port: int, database: str) -> list[str | Path]:
        threads = ["--worker-class", "gthread", "--threads", "4", "--keep-alive", "60"]
        return [PEERS / "gunicorn", "bench.peers.drf:app", "--bind", f"127.0.0.1:{port}", *threads]

    def rows(self, kind: str, body: Any) -> int:
        if kind in ("S", "SA", "SY"):
            return len(body)
        return len(body["evaluations"] if kind == "D" else body["results"])

    def L(self, section: str, ratings: Sequence[str], limit: int) -> str:
        return super().L(section, [",".join(ratings)], limit)

    def E(self, year: int, ratings: Sequence[str], limit: int) -> str:
        return super().E(year, [",".join(ratings)], limit)

    def S(
        self,
        group_by: Sequence[str],
        ratings: Sequence[str] = (),
        unit: bool = False,
        plan: str | None = None,
    ) -> str:
        told = {"group_by": ",".join(_grouped(group_by)), "plan": plan, "rating": ",".join(ratings)}
        return _query("/evaluations/summary", **told)

    SA = SY = S

    def Q(self, word: str, limit: int) -> str:
        return _query("/evaluations", search=word, limit=limit)

    QR = Q


class Datasette(Server):
    """As it comes. What its tables cannot answer is asked in SQL."""

    name = "datasette"
    databases = ("sqlite",)
    ready = "/-/versions.json"
    options: ClassVar[dict[str, Any]] = {}

    def command(self, port: int, database: str) -> list[str | Path]:
        # Its own bounds of a second, a thousand rows and 100 MB are too narrow for some of the questions.
        bounds = {"sql_time_limit_ms": 60_000, "max_returned_rows": 20_000, "max_csv_mb": 0}
        settings = [part for name, value in bounds.items() for part in ("--setting", name, str(value))]
        return [PEERS / "datasette", *self._served(database), "--port", str(port), *settings]

    def _served(self, database: str) -> list[str]:
        return [database.removeprefix("sqlite:///")]

    def environment(self, database: str) -> dict[str, str]:
        self.stem = Path(database).stem
        return {}

    def rows(self, kind: str, body: Any) -> int:
        return len(body["rows"])

    def _table(self, table: str, **filters: Any) -> str:
        return _query(f"/{self.stem}/{table}.json", **filters, **self.options)

    def _sql(self, sql: str, **told: Any) -> str:
        return _query(f"/{self.stem}.json", sql=" ".join(sql.split()), **told)

    def L(self, section: str, ratings: Sequence[str], limit: int) -> str:
        marks = ", ".join(f"'{code}'" for code in ratings)
        in_section = f"section_id in (select id from section where code = '{section}')"
        rated = f"exists (select 1 from evaluation where measure_id = measure.id and rating in ({marks}))"
        return self._table("measure", _where=[in_section, rated], _size=limit)

    def D(self, id: int) -> str:
        return self._table("evaluation", measure_id=id)

    def E(self, year: int, ratings: Sequence[str], limit: int) -> str:
        return self._table("evaluation", fiscal_year=year, rating__in=",".join(ratings), _size=limit)

    def S(
        self,
        group_by: Sequence[str],
        ratings: Sequence[str] = (),
        unit: bool = False,
        plan: str | None = None,
    ) -> str:
        groups = ", ".join(SUMMED[name] for name in _grouped(group_by))
        where = ["plan.slug = :plan"] * (plan is not None)
        if ratings:
            where.append(f"rating in ({', '.join(repr(code) for code in ratings)})")
        named = "join measure on measure.id = measure_id join section on section.id = section_id "
        named += "join plan on plan.id = measure.plan_id"
        sql = f"""
            select {groups}, rating, count(*) from evaluation {named if "plan" in groups else ""}
            {"where" if where else ""} {" and ".join(where)} group by {groups}, rating
        """
        return self._sql(sql, plan=plan)

    SA = SY = S

    def Q(self, word: str, limit: int) -> str:
        like = " or ".join(
            f"{name} like :q" for name in ("implementation", "rationale", "next_plan", "title")
        )
        sql = f"""
            select evaluation.*, measure.code, measure.title from evaluation
            join measure on measure.id = measure_id where {like} order by evaluation.id limit {limit}
        """
        return self._sql(sql, q=f"%{word}%")

    QR = Q

    def P(self, after: int, limit: int) -> str:
        return self._table("evaluation", _next=after, _size=limit)

    P1 = C = P


class DatasetteAtItsBest(Datasette):
    """For a file that nobody writes: no counts, no facets."""

    name = "datasette-best"
    options: ClassVar[dict[str, Any]] = {"_nocount": 1, "_nofacet": 1, "_nosuggest": 1}

    def _served(self, database: str) -> list[str]:
        return ["-i", *super()._served(database)]


def _uvicorn(app: str, port: int) -> list[str | Path]:
    quick = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    return [PEERS / "uvicorn", app, "--port", str(port), *quick]


def _grouped(names: Sequence[str]) -> list[str]:
    """Sections belong to their plan: Shinchoku groups by both, and so do the others."""
    return [*names] if "plan" in names or "section" not in names else ["plan", *names]
