"""What is not asked over and over: writes, files, the start; each on a database of its own."""

import csv
import io
import json
import os
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from itertools import islice, product
from typing import Any

import httpx
import psycopg

from app.kit.settings import ROOT
from bench import data
from bench.databases import KEY, PostgreSQL, SQLite, fill_shinchoku
from bench.driving import Failed, drive
from bench.inside import inside
from bench.questions import asked
from bench.reading import CORES, Round
from bench.servers import Datasette, RestFramework, Running, Server, Shinchoku, Textbook

Place = SQLite | PostgreSQL
SEED = ROOT / "seed" / "fujimi-h29.txt"
HEADERS = {"Authorization": f"Bearer {KEY.plain}", "Content-Type": "application/json"}
TO_COME = range(2025, 2045)  # years that have no rows yet
POSTS, INSERTS, BULK = 60_000, 500, 10_000
TEXTS = {
    "implementation": "関係機関や地域団体と学習支援教室に関する会議を3回開催",
    "rating": "B",
    "rationale": "学習支援教室の担い手の確保が課題となっている",
    "next_plan": "学習支援教室の対象者の拡大を検討",
}


def searches(place: Place, round: Round) -> None:
    """What a search costs the database, without the rest of the request."""
    for kind in ("Q", "QR"):
        spent = inside(place.of("shinchoku", round.rows), round.rows, kind)
        round.note("shinchoku", f"{kind} inside", {"p50": spent})


# ---------------------------------------------------------------------------------------------------------
# Writes


def posts(place: Place, peers: list[str], round: Round) -> None:
    """A row each, acknowledged when it is safe: by many at once, and by one alone."""
    own, load = CORES[round.setting]
    new = list(islice(_new_rows(data.books(round.rows)), POSTS))
    headers = [f"{name}: {value}" for name, value in HEADERS.items()]
    for server in (Shinchoku(), *_among(peers, RestFramework(), Textbook())):
        measure = "measure" if server.name == "drf" else "measure_id"
        bodies = [_json({measure: id, "fiscal_year": year, **TEXTS}) for id, year in new]
        lines = [f"/evaluations\t{body}" for body in bodies]
        half = len(lines) // 2
        with place.copy(place.of(server.data, round.rows)) as url, server.running(url, own) as running:
            many = drive(running, lines[:half], round.seconds, core=load, headers=headers)
            alone = drive(running, lines[half:], round.seconds, 1, core=load, headers=headers)
        round.note(server.name, "POST", many)
        round.note(server.name, "POST cost", alone)
    with place.copy(place.of("peers", round.rows)) as url:
        rows = [(id, year, 1, *TEXTS.values()) for id, year in new[:INSERTS]]
        round.note("driver", "POST cost", {"p50": _bare_inserts(url, rows)})


def _new_rows(books: Iterable[data.Book]) -> Iterable[tuple[int, int]]:
    """Measures and years that have no row yet."""
    measures = [measure.id for book in books for measure in book.measures]
    return ((measure, year) for year, measure in product(TO_COME, measures))


def _among(peers: list[str], *servers: Server) -> list[Server]:
    return [server for server in servers if server.name in peers]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _bare_inserts(url: str, rows: Iterable[tuple[Any, ...]]) -> float:
    """The median of a plain INSERT … COMMIT by the driver, in milliseconds."""
    names = ("measure_id", "fiscal_year", "ordinal", *TEXTS)
    columns = ", ".join((*names, "version", "created_at", "updated_at"))
    marks = ", ".join("?" * len(names))
    insert = f"INSERT INTO evaluation ({columns}) VALUES ({marks}, 1, '2026-04-01', '2026-04-01')"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            return (
                statistics.median(_seconds(partial(connection.execute, insert, row)) for row in rows) * 1000
            )
    with psycopg.connect(url, autocommit=True) as server:
        execute = partial(server.execute, insert.replace("?", "%s").encode())
        return statistics.median(_seconds(partial(execute, row)) for row in rows) * 1000


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def bulks(place: Place, peers: list[str], round: Round) -> None:
    """Ten thousand rows in one request, half of them new."""
    books = list(data.books(round.rows))
    named = {
        measure.id: {"plan": book.plan.slug, "measure_code": measure.code}
        for book in books
        for measure in book.measures
    }
    there = ((row.measure_id, row.fiscal_year) for book in books for row in book.evaluations)
    old = list(islice(there, BULK // 2))
    rows = old + list(islice(_new_rows(books), BULK - len(old)))
    told = [(id, {"fiscal_year": year, "ordinal": 1, **TEXTS}) for id, year in rows]
    ours, theirs = [named[id] | row for id, row in told], [{"measure_id": id} | row for id, row in told]
    shinchoku, textbook = Shinchoku(), Textbook()
    with place.copy(place.of("shinchoku", round.rows)) as url, shinchoku.running(url) as running:
        spent, report = _sent(running, "POST", "/imports", _json(ours))
        _confirm(report, created=len(rows) - len(old), updated=len(old))
    round.note(shinchoku.name, "bulk", {"seconds": spent})
    for peer in _among(peers, textbook):
        with place.copy(place.of(peer.data, round.rows)) as url, peer.running(url) as running:
            spent, _ = _sent(running, "PUT", "/evaluations", _json(theirs))
        round.note(peer.name, "bulk", {"seconds": spent})


def imports(place: Place, round: Round) -> None:
    """A file of evaluations into a database that has only the plans and their sections."""
    books = list(data.books(round.rows))
    content = _table(books)
    with place.empty() as url:
        fill_shinchoku(url, [book._replace(measures=[], evaluations=[]) for book in books])
        with Shinchoku().running(url) as running:
            spent, report = _sent(running, "POST", "/imports", content, "text/csv")
            _confirm(report, created=round.rows)
            round.note("shinchoku", "import", {"seconds": spent, "peak": running.memory("VmHWM")})


def _table(books: Iterable[data.Book]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    named = ("plan", "section", "measure_code", "measure_title", "fiscal_year", "ordinal")
    writer.writerow([*named, *TEXTS, "department"])
    for book in books:
        sections = {section.id: section.code for section in book.sections}
        measures = {measure.id: measure for measure in book.measures}
        for row in book.evaluations:
            measure = measures[row.measure_id]
            where = (book.plan.slug, sections[measure.section_id], measure.code, measure.title)
            texts = (getattr(row, name) for name in TEXTS)
            writer.writerow([*where, row.fiscal_year, row.ordinal, *texts, row.department])
    return text.getvalue()


def _sent(
    running: Running, method: str, path: str, content: str, media_type: str = "application/json"
) -> tuple[float, Any]:
    """How long it took until the answer was there, and the answer."""
    body, headers = content.encode(), HEADERS | {"Content-Type": media_type}
    running.client.get("/openapi.json")  # the connection is there, and the code is read
    start = time.perf_counter()
    answer = running.client.request(method, path, content=body, headers=headers, timeout=600)
    spent = time.perf_counter() - start
    if answer.is_error:
        raise Failed(answer.text[:500])
    return spent, answer.json() if answer.content else None


def _confirm(report: dict[str, Any], **expected: int) -> None:
    for what, number in expected.items():
        if report[what]["evaluation"] != number:
            raise Failed(f"{report[what]} {what}, not {number}")


# ---------------------------------------------------------------------------------------------------------
# Files out, and the process itself


def exports(place: Place, peers: list[str], round: Round) -> None:
    """All evaluations as a file, in the form that each streams."""
    _exported(Shinchoku(), "/evaluations.jsonl", place.of("shinchoku", round.rows), round)
    datasette = Datasette()
    if place.name in datasette.databases and datasette.name in peers:
        url = place.of("peers", round.rows)
        datasette.environment(url)
        _exported(datasette, f"/{datasette.stem}/evaluation.csv?_stream=on&_size=max", url, round)


def _exported(server: Server, path: str, url: str, round: Round) -> None:
    size = lines = 0
    with server.running(url) as running:
        start = time.perf_counter()
        with running.client.stream("GET", path, timeout=600) as answer:
            for piece in answer.iter_raw():
                size += len(piece)
                lines += piece.count(b"\n")
        spent = time.perf_counter() - start
        peak = running.memory("VmHWM")
    if lines - round.rows not in (0, 1):  # with a header or without
        raise Failed(f"{server.name} wrote {lines} lines, and not {round.rows}")
    round.note(server.name, "export", {"seconds": spent, "peak": peak, "megabytes": size / 1e6})


def starts(place: Place, round: Round) -> None:
    """From the command to the first good answer, with the seed: still to be read, or there already."""
    server = Shinchoku(seed=str(SEED))
    with place.empty() as url:
        environment = {**os.environ, **server.environment(url)}
        migrate = [*map(str, server.command(0, url)[:3]), "migrate"]
        run = partial(subprocess.run, migrate, cwd=ROOT, env=environment, check=True, capture_output=True)
        told = {"migrate": _seconds(run)}
        for name in ("seeding", "seeded"):
            start = time.perf_counter()
            with server.running(url) as running:
                told[name] = time.perf_counter() - start
                time.sleep(1)
                told["memory"] = running.memory()
    round.note(server.name, "start", told)


def workers(place: Place, round: Round) -> None:
    """Two against one, with the load beside them."""
    url = place.of("shinchoku", round.rows)
    for number in (1, 2):
        server = Shinchoku(workers=number)
        usual, *others = (server.path("L", one) for one in asked("L", round.rows))
        with server.running(url) as running:
            _warm(running, others[-50:])
            round.note(f"{number} workers", "L miss", drive(running, others[:-50], round.seconds))
            round.note(f"{number} workers", "L hit", drive(running, [usual], round.seconds))


def _warm(running: Running, paths: Iterable[str]) -> None:
    """Each over a connection of its own, so that every worker gets some."""
    for path in paths:
        httpx.get(running.base + path).raise_for_status()
