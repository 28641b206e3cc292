"""`make bench`: fills the databases, asks everybody in turns, and tells what came of it."""

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

from app.kit.settings import ROOT
from bench import once, report
from bench.databases import FOLDER, PostgreSQL, SQLite, postgresql
from bench.driving import missing
from bench.figures import Figures, state
from bench.questions import ASKED
from bench.reading import CORES, HITS, check, cost, limit, turn
from bench.servers import (
    PEERS,
    Datasette,
    DatasetteAtItsBest,
    FastAPIConstant,
    Raw,
    RestFramework,
    Server,
    Shinchoku,
    Textbook,
)

LIVE: dict[str, type[Server]] = {
    each.name: each for each in (Textbook, RestFramework, Datasette, DatasetteAtItsBest)
}
LIMITS = {"raw": Raw, "constant": FastAPIConstant}
ONCE = ("POST", "bulk", "import", "export", "start", "workers")
SIZES = (26, 1_000, 10_000, 100_000, 1_000_000)


def main() -> int:
    options = _options()
    if complaint := missing():
        print(complaint, file=sys.stderr)
        return 1
    file = FOLDER / f"figures-{state()}.json"
    figures = Figures()
    figures.read(file)
    if options.again:
        figures = Figures()
    with ExitStack() as stack:
        for name in options.databases:
            place = SQLite() if name == "sqlite" else stack.enter_context(postgresql())
            for part in _parts(options, place, figures):
                part()
                figures.write(file)
    lines = report.lines(figures, options.rows)
    print("\n".join(lines))
    if options.write:
        report.write(ROOT / "docs" / "benchmarks.md", lines)
        (ROOT / "docs" / "benchmarks.svg").write_text(report.plot(figures), "utf-8")
    return 0


def _parts(
    options: argparse.Namespace, place: SQLite | PostgreSQL, figures: Figures
) -> list[Callable[[], None]]:
    """What is to be measured on this database, in order: each round goes once through all of it."""
    kinds = [kind for kind in ASKED if kind in options.only]
    live = [LIVE[name]() for name in LIVE if name in options.peers and place.name in LIVE[name].databases]
    parts: list[Callable[[], None]] = []
    sizes: dict[str, int] = {}

    def add(name: str, run: Callable[[], None]) -> None:
        def told() -> None:
            start = time.monotonic()
            run()
            print(f"{place.name}: {name}, {time.monotonic() - start:.0f} s", flush=True)

        parts.append(told)

    def checked() -> None:
        sizes.update(check([Shinchoku(), *live], place.of, options.rows, kinds))

    def limited(name: str, setting: str) -> None:
        of_hits = {kind: sizes[kind] for kind in HITS if kind in sizes} | {"304": 0}
        limit(LIMITS[name](of_hits), kinds, options.rows, options.seconds, setting, figures, place.name)

    def asked(server: Server, setting: str) -> None:
        url = place.of(server.data, options.rows)
        turn(server, url, options.rows, kinds, options.seconds, setting, figures, place.name)

    if kinds:
        add("same rows from everybody", checked)
        for setting in options.settings:
            for round in range(1, options.rounds + 1):
                for name in (name for name in LIMITS if name in options.peers and {*HITS} & {*kinds}):
                    add(f"{name}, {setting}, round {round}", lambda n=name, s=setting: limited(n, s))
                for server in (Shinchoku(), *live):
                    add(f"{server.name}, {setting}, round {round}", lambda v=server, s=setting: asked(v, s))
    if "growth" in options.only:
        wanted = kinds or [*ASKED]
        for round in range(1, options.rounds + 1):
            for rows in options.sizes:
                add(
                    f"one at a time at {rows:,} rows, round {round}",
                    lambda n=rows: cost(
                        Shinchoku(), place.of("shinchoku", n), n, wanted, options.seconds, figures, place.name
                    ),
                )
    largest = max(options.sizes)
    runs: dict[str, Callable[[], None]] = {
        "POST": lambda: once.posts(place, options.rows, options.seconds, figures, options.peers),
        "bulk": lambda: once.bulks(place, options.rows, figures, options.peers),
        "import": lambda: once.imports(place, figures),
        "export": lambda: once.exports(place, largest, figures, options.peers),
        "start": lambda: once.starts(place, figures),
        "workers": lambda: once.workers(place, options.rows, options.seconds, figures),
    }
    for name in (name for name in ONCE if name in options.only):
        for round in range(1, options.rounds + 1):
            add(f"{name}, round {round}", runs[name])
    return parts


def _options() -> argparse.Namespace:
    def names(*allowed: str) -> Callable[[str], list[str]]:
        def read(text: str) -> list[str]:
            chosen = text.split(",") if text else []
            for name in chosen:
                if name not in allowed:
                    raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(allowed)}")
            return chosen

        return read

    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser = argparse.ArgumentParser(prog="make bench", description="How fast, beside whom")
    everything = (*ASKED, *ONCE, "growth")
    peers = (*LIMITS, *LIVE)
    parser.add_argument("--rows", type=int, default=100_000, help="evaluations that everybody is asked about")
    parser.add_argument(
        "--sizes", type=numbers, default=[*SIZES], help="evaluations, for the cost against size"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is told")
    parser.add_argument("--seconds", type=float, default=2, help="that one question is asked for")
    parser.add_argument("--only", type=names(*everything), default=[*everything], help=", ".join(everything))
    parser.add_argument("--peers", type=names(*peers), default=[*peers], help=", ".join(peers))
    parser.add_argument(
        "--databases",
        type=names("sqlite", "postgresql"),
        default=["sqlite", "postgresql"],
        help="sqlite, postgresql",
    )
    parser.add_argument("--settings", type=names(*CORES), default=[*CORES], help=", ".join(CORES))
    parser.add_argument(
        "--again", action="store_true", help="forget what was measured of the same code before"
    )
    parser.add_argument(
        "--write", action="store_true", help="into docs/benchmarks.md and docs/benchmarks.svg"
    )
    options = parser.parse_args()
    if not PEERS.exists() and options.peers:
        parser.error("the peers are not installed: use `make bench`")
    return options


if __name__ == "__main__":
    sys.exit(main())
