"""The tables of what was measured, beside what was aimed at, and the drawing of cost against size."""

import math
import os
import platform
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from app.kit.settings import ROOT
from bench.figures import Figures, Key
from bench.questions import TEXT

BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"
HEAD = """\
# How fast

`make bench` measures Shinchoku beside others that answer the same questions from the same rows.
[bench/README.md](../bench/README.md) says how.
Shared machines are fast today and slow tomorrow, so what counts are the ratios within one run.
A *hit* is a question that was asked before at the same revision, a *miss* one that is new; the others keep no answers.

"""
PICTURE = "![Milliseconds of one question, by the number of rows](benchmarks.svg)"
SHOWN = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
SERVERS = ("shinchoku", "textbook", "drf", "datasette", "datasette-best")
NAMES = {
    "shinchoku": "Shinchoku",
    "raw": "uvicorn alone",
    "constant": "FastAPI, constant",
    "textbook": "FastAPI + SQLModel",
    "drf": "Django REST Framework",
    "datasette": "Datasette",
    "datasette-best": "Datasette at its best",
    "driver": "the driver alone",
}
LIVE = SERVERS[1:]
OTHERS = ("POST", "POST cost", "Q inside", "QR inside", "bulk", "import", "export", "start", "memory")
LARGEST, SMALLEST = 1_000_000, 26


# ---------------------------------------------------------------------------------------------------------
# What was aimed at


@dataclass(frozen=True)
class Aim:
    """A figure and its bound. The figure is None while it has not been measured."""

    text: str
    bound: float
    figure: float | None
    unit: str = "×"
    least: bool = True  # whether the bound is the least or the most

    @property
    def met(self) -> bool | None:
        if self.figure is None:
            return None
        return self.figure >= self.bound if self.least else self.figure <= self.bound

    def row(self) -> str:
        met = {True: "yes", False: "**no**", None: "not measured"}[self.met]
        sign = "≥" if self.least else "≤"
        told = "" if self.figure is None else _told(self.figure, self.unit)
        return f"| {self.text} | {sign} {_told(self.bound, self.unit)} | {told} | {met} |"


def _told(number: float, unit: str) -> str:
    return f"{_rounded(number)} {unit}"


def _rounded(number: float) -> str:
    """Three digits are more than such figures are good for."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def aims(figures: Figures, on: str, rows: int) -> Iterator[Aim]:
    def of(server: str, what: str, name: str, setting: str = "pinned", size: int = rows) -> float | None:
        return figures.get(Key(on, size, setting, server, what), name)

    def rate(server: str, what: str, setting: str = "pinned") -> float | None:
        return of(server, what, "rate", setting)

    def cost(kind: str, size: int = LARGEST) -> float | None:
        return of("shinchoku", f"{kind} cost", "p50", size=size)

    def beside(
        what: str, server: str, bound: float, setting: str = "pinned", other: str | None = None
    ) -> Aim:
        pinned = "" if setting == "pinned" else ", unpinned"
        ratio = _ratio(rate("shinchoku", what, setting), rate(server, other or what, setting))
        return Aim(f"{what} beside {NAMES[server]}{pinned}", bound, ratio)

    sqlite = on == "sqlite"
    for kind in ("L", "D", "E", "S", "304"):
        yield beside(f"{kind} hit", "raw", 0.6)
        yield beside(f"{kind} hit", "constant", 3)
        if kind != "304":
            yield beside(f"{kind} hit", "drf", 75, "unpinned", f"{kind} miss")
    misses = {"L": (10, 6, 7, 0.45), "D": (13, 6, 4, 0.65), "E": (7, 5, 5, 0.3)} if sqlite else {}
    for kind, (drf, textbook, datasette, constant) in misses.items():
        yield beside(f"{kind} miss", "drf", drf)
        yield beside(f"{kind} miss", "textbook", textbook)
        yield beside(f"{kind} miss", "datasette-best", datasette)
        yield beside(f"{kind} miss", "constant", constant, other=f"{kind} hit")
    for peer in ("drf", "textbook", "datasette-best") if sqlite else ():
        yield beside("L miss", peer, 12, "unpinned")
    for kind in ("S", "SA", "SY"):
        yield Aim(f"{kind} miss at {LARGEST:,} rows", 5, cost(kind), "ms", least=False)
        # With 26 rows there is one section only; from 1,000 on, one plan's answer is as long as another's.
        for size in (SMALLEST, 1_000):
            growth = _ratio(cost(kind), cost(kind, size))
            yield Aim(f"{kind} miss at {LARGEST:,} rows beside {size:,}", 1.2, growth, least=False)
        for peer in LIVE if sqlite else LIVE[:2]:
            yield beside(f"{kind} miss", peer, 200)
    if sqlite:
        yield beside("C miss", "drf", 8)
    yield Aim("P beside P1", 1.2, _ratio(cost("P"), cost("P1")), least=False)
    for kind in ("Q", "QR"):
        yield Aim(
            f"{kind} at {LARGEST:,} rows, in the database",
            1 if sqlite else 10,
            of("shinchoku", f"{kind} inside", "p50", "unpinned", LARGEST),
            "ms",
            least=False,
        )
    for kind in ("L", "D", "E", "C", "P", "Q") if sqlite else ():
        yield Aim(f"{kind} miss, p99", 10, of("shinchoku", f"{kind} miss", "p99"), "ms", least=False)
    bulk = of("shinchoku", "bulk", "seconds", "unpinned")
    yield Aim("bulk of 10,000 rows", 0.2, bulk, "s", least=False)
    yield Aim(
        f"bulk beside {NAMES['textbook']}", 25, _ratio(of("textbook", "bulk", "seconds", "unpinned"), bulk)
    )
    if sqlite:
        yield beside("POST", "drf", 8)
        post = _ratio(of("shinchoku", "POST cost", "p50"), of("driver", "POST cost", "p50"))
        yield Aim("POST, alone, beside the driver's INSERT … COMMIT", 3, post, least=False)
    imported = of("shinchoku", "import", "seconds", "unpinned", 100_000)
    yield Aim("import of 100,000 rows of CSV", 6, imported, "s", least=False)
    export = of("shinchoku", "export", "seconds", "unpinned", LARGEST)
    yield Aim(f"export of {LARGEST:,} rows", 5, export, "s", least=False)
    peak = of("shinchoku", "export", "peak", "unpinned", LARGEST)
    yield Aim("export, memory at most", 80, peak, "MB", least=False)
    if sqlite:
        streamed = _ratio(of("datasette", "export", "seconds", "unpinned", LARGEST), export)
        yield Aim("export beside Datasette's CSV stream", 4, streamed)
        yield Aim(
            "start to ready, seeded",
            2,
            of("shinchoku", "start", "seeding", "unpinned", SMALLEST),
            "s",
            least=False,
        )
        idle = of("shinchoku", "start", "memory", "unpinned", SMALLEST)
        yield Aim("idle memory", 80, idle, "MB", least=False)
        yield Aim(
            "two workers beside one, L miss",
            1.7,
            _ratio(rate("2 workers", "L miss", "unpinned"), rate("1 workers", "L miss", "unpinned")),
        )


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None


# ---------------------------------------------------------------------------------------------------------
# Tables


def lines(figures: Figures, rows: int) -> list[str]:
    databases = [name for name in SHOWN if any(key.database == name for key in figures.measured)]
    told = [*_circumstances(figures), "", *(f"* {kind}: {text}" for kind, text in TEXT.items()), ""]
    for database in databases:
        told += [f"## {SHOWN[database]}", ""]
        told += ["| aim | bound | figure | met |", "|---|---|---|---|"]
        told += [aim.row() for aim in aims(figures, database, rows)]
        for setting in ("pinned", "unpinned"):
            told += _rates(figures, database, rows, setting)
        told += _wins(figures, database)
        told += _costs(figures, database)
        told += _others(figures, database)
        told += [""]
    return told


def _circumstances(figures: Figures) -> list[str]:
    libraries = ("fastapi", "sqlalchemy", "sqlmodel", "pydantic", "uvicorn")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory:.0f} GiB of memory, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        + ", ".join(f"{name} {number}" for name, number in figures.versions.items())
        + ".",
        "The service: " + ", ".join(f"{name} {version(name)}" for name in libraries) + ".",
        "The others: " + ", ".join(f"{name} {number}" for name, number in _locked()) + ".",
        f"Each figure is the median of its rounds, of which there are at least {figures.rounds()}.",
    ]


def _locked() -> list[tuple[str, str]]:
    lock = (ROOT / "bench" / "requirements.lock").read_text()
    wanted = ("datasette", "django", "djangorestframework", "django-filter", "gunicorn")
    older = re.findall(r"^([a-z-]+)==(\S+)(?! ; python_full_version >=)", lock, re.M)
    first: dict[str, str] = {}
    for name, number in older:
        first.setdefault(name, number)
    return [(name, first[name]) for name in wanted]


def _rates(figures: Figures, database: str, rows: int, setting: str) -> Iterator[str]:
    """Requests a second, and the milliseconds that half and all but one in a hundred took."""

    def cell(server: str, what: str) -> str:
        key = Key(database, rows, setting, server, what)
        if (rate := figures.get(key, "rate")) is None:
            return ""
        p50, p99, cpu = (figures.get(key, name) or 0 for name in ("p50", "p99", "cpu"))
        again = "\\*" if what.endswith("miss") and (figures.get(key, "turns") or 0) > 1 else ""
        return f"{_rounded(rate)}{again} ({_rounded(p50)}/{_rounded(p99)} ms, {cpu:,.0f} µs)"

    table = []
    for what in [f"{kind} {how}" for kind in (*TEXT, "304") for how in ("hit", "miss")]:
        servers = ("raw", "constant", *SERVERS)
        cells = [cell(server, what) for server in servers]
        if any(cells):
            table.append(f"| {what} | {' | '.join(cells)} |")
    if not table:
        return
    where = {"pinned": "the server on one core, the load on the other", "unpinned": "server and load on both"}
    yield from ("", f"### {rows:,} rows, 16 connections, {setting}: {where[setting]}", "")
    yield "Requests a second (p50/p99, time of a core that the server spent on one)."
    yield from ("", f"| | {' | '.join(NAMES[server] for server in ('raw', 'constant', *SERVERS))} |")
    yield "|---" * (len(SERVERS) + 3) + "|"
    yield from table
    if any("\\*" in row for row in table):
        yield from ("", "\\* There were not enough variations: some were asked more than once.")


def _wins(figures: Figures, database: str) -> Iterator[str]:
    """Where somebody else is faster."""
    told = []
    for key in figures.measured:
        ours = key._replace(server="shinchoku")
        if key.database != database or key.server not in LIVE or ours not in figures.measured:
            continue
        rates = figures.get(key, "rate"), figures.get(ours, "rate")
        seconds = figures.get(ours, "seconds"), figures.get(key, "seconds")
        ratio = _ratio(*rates) or _ratio(*seconds) or 0
        if ratio > 1:
            told.append(f"* {key.what}, {key.setting}: {NAMES[key.server]}, {_rounded(ratio)} × as fast")
    if any(key.database == database and key.server in LIVE for key in figures.measured):
        yield from ("", "### Where others are faster", "")
        yield from sorted(told) or ["* Nowhere in these tables."]


def _costs(figures: Figures, database: str) -> Iterator[str]:
    """Milliseconds of one who is alone, at each size."""
    keys = [key for key in figures.measured if key.database == database and key.what.endswith(" cost")]
    keys = [key for key in keys if key.server == "shinchoku" and not key.what.startswith("POST")]
    sizes = sorted({key.rows for key in keys})
    if not sizes:
        return
    yield from ("", "### One question at a time, by size", "")
    yield "Milliseconds (p50) of Shinchoku for a miss over one connection."
    yield from ("", f"| | {' | '.join(f'{size:,}' for size in sizes)} |", "|---" * (len(sizes) + 1) + "|")
    for kind in TEXT:
        cells = [
            figures.get(Key(database, size, "pinned", "shinchoku", f"{kind} cost"), "p50") for size in sizes
        ]
        if any(cells):
            yield f"| {kind} | {' | '.join(_rounded(cell) if cell else '' for cell in cells)} |"


def _others(figures: Figures, database: str) -> Iterator[str]:
    """Whatever else was measured, as it is."""
    told = []
    for key, rounds in figures.measured.items():
        if key.database != database or (key.what not in OTHERS and not key.server.endswith("workers")):
            continue
        values = [
            f"{name} {_rounded(value)}"
            for name in rounds[0]
            if name != "turns" and (value := figures.get(key, name)) is not None
        ]
        told.append(
            f"| {key.what} | {NAMES.get(key.server, key.server)} | {key.rows:,} | {key.setting} | {', '.join(values)} |"
        )
    if told:
        yield from (
            "",
            "### Writes, files, start and memory",
            "",
            "| | who | rows | | |",
            "|---|---|---|---|---|",
        )
        yield from told


def write(file: Path, told: Sequence[str]) -> None:
    """Into the place between the marks; what people wrote around it stays."""
    text = file.read_text("utf-8") if file.exists() else f"{HEAD}{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    file.write_text(before + "\n".join([BEGIN, *told, END]) + after, "utf-8")


# ---------------------------------------------------------------------------------------------------------
# The drawing

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 64, 150, 48, 52
STROKES = ("", "7 4", "2 3", "10 3 2 3")
INKS = ("#1f4e79", "#a04000", "#2e6b3a")


def plot(figures: Figures) -> str:
    """Cost against size, both by powers of ten: what stays level does not grow."""
    panels = []
    for database in SHOWN:
        lines = {
            kind: [
                (key.rows, cost)
                for key in sorted(figures.measured)
                if key.database == database and key.server == "shinchoku" and key.what == f"{kind} cost"
                if (cost := figures.get(key, "p50"))
            ]
            for kind in TEXT
        }
        if any(lines.values()):
            panels.append((database, {kind: line for kind, line in lines.items() if line}))
    height = HEIGHT * max(1, len(panels))
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="Milliseconds of one question, by rows" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for place, (database, lines) in enumerate(panels):
        drawn += _panel(SHOWN[database], lines, place * HEIGHT)
    return "\n".join([*drawn, "</svg>", ""])


def _panel(title: str, lines: dict[str, list[tuple[int, float]]], down: int) -> Iterator[str]:
    points = [point for line in lines.values() for point in line]
    across = _scale([size for size, _ in points], LEFT, WIDTH - RIGHT)
    up = _scale([cost for _, cost in points], down + HEIGHT - BOTTOM, down + TOP)
    yield f'<text x="{LEFT}" y="{down + 24}" font-size="15">{title}: milliseconds of one question, by rows</text>'
    for power in _powers([cost for _, cost in points]):
        y = up(power)
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{power:g}</text>'
    for size in sorted({size for size, _ in points}):
        x = across(size)
        yield f'<text x="{x:.1f}" y="{down + HEIGHT - BOTTOM + 20}" text-anchor="middle">{size:,}</text>'
    taken: list[float] = []
    for n, (kind, line) in enumerate(sorted(lines.items(), key=lambda item: item[1][-1][1])):
        ink, stroke = INKS[n % len(INKS)], STROKES[n // len(INKS) % len(STROKES)]
        path = " ".join(f"{across(size):.1f},{up(cost):.1f}" for size, cost in line)
        yield f'<polyline points="{path}" fill="none" stroke="{ink}" stroke-width="2" stroke-dasharray="{stroke}"/>'
        y = up(line[-1][1])
        y = min([y, *(other - 13 for other in taken)])  # names do not lie on each other
        taken.append(y)
        x = across(line[-1][0])
        yield f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{ink}">{kind}  {_rounded(line[-1][1])} ms</text>'


def _powers(values: Sequence[float]) -> list[float]:
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def _scale(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """From the powers of ten around the values to the page; sizes stand between the first and the last."""
    powers = _powers(values)
    low, high = math.log10(powers[0]), math.log10(powers[-1])
    return lambda value: start + (math.log10(value) - low) / (high - low) * (end - start)
