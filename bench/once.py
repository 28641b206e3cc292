"""What is not asked over and over: writes, files, the start; each on a database of its own."""

import csv
import io
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from app.kit.settings import ROOT
from bench import data
from bench.databases import KEY, PostgreSQL, SQLite, fill_shinchoku
from bench.driving import Failed, drive
from bench.figures import Figures, Key
from bench.questions import asked
from bench.reading import CORES
from bench.servers import Datasette, RestFramework, Server, Shinchoku, Textbook

SEED = ROOT / "seed" / "fujimi-h29.txt"
AUTHORIZED = {"Authorization": f"Bearer {KEY.plain}"}
JSON = "Content-Type: application/json"
BULK, IMPORTED = 10_000, 100_000
TO_COME = range(2025, 2045)  # years that have no rows yet
Place = SQLite | PostgreSQL


def posts(place: Place, rows: int, seconds: float, figures: Figures, peers: list[str]) -> None:
    """A row each, acknowledged when it is safe: by many at once, and by one alone."""
    own, load = CORES["pinned"]
    sent = [
        (measure, year)
        for year in TO_COME
        for measure in range(1, max(2, rows // len(data.YEARS)))
    ][:60_000]  # fmt: skip
    servers: list[Server] = [
        Shinchoku(),
        *(each for each in (RestFramework(), Textbook()) if each.name in peers),
    ]
    for server in servers:
        named = "measure" if server.name == "drf" else "measure_id"
        bodies = [
            "/evaluations\t"
            + json.dumps({named: measure, "fiscal_year": year, **_texts(0)}, ensure_ascii=False)
            for measure, year in sent
        ]
        headers = [
            JSON,
            *([f"Authorization: {AUTHORIZED['Authorization']}"] if server.data == "shinchoku" else []),
        ]
        half = len(bodies) // 2
        with place.copy(place.of(server.data, rows)) as url, server.running(url, own) as running:
            many = drive(running, bodies[:half], seconds, core=load, headers=headers)
            one = drive(running, bodies[half:], seconds, connections=1, core=load, headers=headers)
        figures.add(Key(place.name, rows, "pinned", server.name, "POST"), many)
        figures.add(Key(place.name, rows, "pinned", server.name, "POST cost"), one)
    with place.copy(place.of("peers", rows)) as url:
        spent = _bare_inserts(url, [(measure, year, 1, *_texts(0).values()) for measure, year in sent[:500]])
    figures.add(Key(place.name, rows, "pinned", "driver", "POST cost"), {"p50": spent})


def _texts(turn: int) -> dict[str, str]:
    return {
        "implementation": f"関係機関や地域団体と学習支援教室に関する会議を{turn + 3}回開催",
        "rating": "B",
        "rationale": "学習支援教室の担い手の確保が課題となっている",
        "next_plan": "学習支援教室の対象者の拡大を検討",
    }


def _bare_inserts(url: str, rows: list[tuple[Any, ...]]) -> float:
    """The median of a plain INSERT … COMMIT by the driver, in milliseconds."""
    names = ("measure_id", "fiscal_year", "ordinal", *_texts(0))
    columns = ", ".join((*names, "version", "created_at", "updated_at"))
    marks = ", ".join("?" * len(names))
    insert = f"INSERT INTO evaluation ({columns}) VALUES ({marks}, 1, '2026-04-01', '2026-04-01')"
    times = []

    def each(execute: Any) -> None:
        for row in rows:
            start = time.perf_counter()
            execute(row)
            times.append(time.perf_counter() - start)

    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            each(lambda row: connection.execute(insert, row))
    else:
        with psycopg.connect(url, autocommit=True) as server:
            each(lambda row: server.execute(insert.replace("?", "%s").encode(), row))
    return sorted(times)[len(times) // 2] * 1000


def bulks(place: Place, rows: int, figures: Figures, peers: list[str]) -> None:
    """Ten thousand rows in one request, half of them new."""
    books = list(data.books(rows))
    measures = {measure.id: (book.plan, measure) for book in books for measure in book.measures}
    old = [(row.measure_id, row.fiscal_year) for book in books for row in book.evaluations][: BULK // 2]
    new = [(measure, year) for year in TO_COME for measure in measures][: BULK - len(old)]
    ours = [
        {
            "plan": measures[id][0].slug,
            "measure_code": measures[id][1].code,
            "fiscal_year": year,
            "ordinal": 1,
            **_texts(1),
        }
        for id, year in old + new
    ]
    theirs = [{"measure_id": id, "fiscal_year": year, "ordinal": 1, **_texts(1)} for id, year in old + new]
    asked: list[tuple[Server, str, str, Any]] = [(Shinchoku(), "POST", "/imports", ours)]
    if "textbook" in peers:
        asked.append((Textbook(), "PUT", "/evaluations", theirs))
    for server, method, path, sent in asked:
        with place.copy(place.of(server.data, rows)) as url, server.running(url) as running:
            running.client.get(server.ready)
            body = json.dumps(sent, ensure_ascii=False).encode()
            start = time.perf_counter()
            answer = running.client.request(
                method,
                path,
                content=body,
                headers={**AUTHORIZED, "Content-Type": "application/json"},
                timeout=600,
            )
            spent = time.perf_counter() - start
            if answer.is_error:
                raise Failed(answer.text[:500])
            if server.data == "shinchoku":
                _confirm(answer.json(), created=len(new), updated=len(old))
        figures.add(Key(place.name, rows, "unpinned", server.name, "bulk"), {"seconds": spent})


def _confirm(report: dict[str, Any], **expected: int) -> None:
    for what, number in expected.items():
        if report[what]["evaluation"] != number:
            raise Failed(f"{report[what]} {what}, not {number}")


def imports(on: Place, figures: Figures, rows: int = IMPORTED) -> None:
    """A file of evaluations into a database that has only the plans and their sections."""
    books = list(data.books(rows))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        [
            "plan",
            "section",
            "measure_code",
            "measure_title",
            "fiscal_year",
            "ordinal",
            *_texts(0),
            "department",
        ]
    )
    for book in books:
        measures = {measure.id: measure for measure in book.measures}
        for row in book.evaluations:
            measure = measures[row.measure_id]
            texts = (getattr(row, name) for name in _texts(0))
            place = (measure.code.split("-")[0], measure.code, measure.title, row.fiscal_year, row.ordinal)
            writer.writerow([book.plan.slug, *place, *texts, row.department])
    content = text.getvalue().encode()
    server = Shinchoku()
    with on.empty() as url:
        fill_shinchoku(url, [book._replace(measures=[], evaluations=[]) for book in books])
        with server.running(url) as running:
            start = time.perf_counter()
            answer = running.client.post(
                "/imports", content=content, headers={**AUTHORIZED, "Content-Type": "text/csv"}, timeout=600
            )
            spent = time.perf_counter() - start
            if answer.is_error:
                raise Failed(answer.text[:500])
            _confirm(answer.json(), created=rows)
            told = {"seconds": spent, "peak": running.memory("VmHWM")}
    figures.add(Key(on.name, rows, "unpinned", server.name, "import"), told)


def exports(place: Place, rows: int, figures: Figures, peers: list[str]) -> None:
    """All evaluations as a file, in the form that each writes fastest."""
    servers: list[tuple[Server, str]] = [(Shinchoku(), "/evaluations.jsonl")]
    if place.name == "sqlite" and "datasette" in peers:
        datasette = Datasette()
        datasette.environment(place.of("peers", rows))
        servers.append((datasette, f"/{datasette.stem}/evaluation.csv?_stream=on&_size=max"))
    for server, path in servers:
        with server.running(place.of(server.data, rows)) as running:
            start, size, lines = time.perf_counter(), 0, 0
            with running.client.stream("GET", path, timeout=600) as answer:
                for piece in answer.iter_raw():
                    size += len(piece)
                    lines += piece.count(b"\n")
            spent = time.perf_counter() - start
            if not rows <= lines <= rows + 1:
                raise Failed(f"{server.name} wrote {lines} lines, and not {rows}")
            told = {"seconds": spent, "peak": running.memory("VmHWM"), "megabytes": size / 1e6}
        figures.add(Key(place.name, rows, "unpinned", server.name, "export"), told)


def starts(place: Place, figures: Figures) -> None:
    """From the command to the first good answer, with the 26 rows of the seed: still to be read, or there already."""
    server = Shinchoku(seed=str(SEED))
    with place.empty() as url:
        environment = {**os.environ, **server.environment(url)}
        migrate = [*server.command(0, url)[:3], "migrate"]
        start = time.perf_counter()
        subprocess.run(list(map(str, migrate)), cwd=ROOT, env=environment, check=True, capture_output=True)
        told = {"migrate": time.perf_counter() - start}
        for name in ("seeding", "seeded"):
            with _timed(server, url) as (running, spent):
                told[name] = spent
                time.sleep(1)
                told["memory"] = running.memory()
    figures.add(Key(place.name, 26, "unpinned", server.name, "start"), told)


@contextmanager
def _timed(server: Server, url: str) -> Iterator[tuple[Any, float]]:
    start = time.perf_counter()
    with server.running(url) as running:
        yield running, time.perf_counter() - start


def workers(place: Place, rows: int, seconds: float, figures: Figures) -> None:
    """Two against one, with the load beside them."""
    url = place.of("shinchoku", rows)
    for number in (1, 2):
        server = Shinchoku(workers=number)
        questions = {"L": asked("L", rows)}
        with server.running(url) as running:
            usual, *others = (server.path("L", one) for one in questions["L"])
            for path in others[-50:]:
                running.client.get(path)
            for what, paths in (("L miss", others), ("L hit", [usual])):
                key = Key(place.name, rows, "unpinned", f"{number} workers", what)
                figures.add(key, drive(running, paths, seconds))
