"""`make bench`: fills the databases, asks everybody in turns, and tells what came of it."""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import product

from app.kit.settings import ROOT
from bench import once, report
from bench.databases import FOLDER, PostgreSQL, SQLite, postgresql
from bench.driving import missing, version
from bench.figures import Figures, state
from bench.questions import ASKED
from bench.reading import CORES, HITS, Round, check, cost, limit, turn
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
ONCE = ("search", "POST", "bulk", "import", "export", "start", "workers")
SIZES = (26, 1_000, 10_000, 100_000, 1_000_000)


Part = tuple[str, Callable[[], object]]
Place = SQLite | PostgreSQL


def main() -> int:
    options = _options()
    if complaint := missing():
        print(complaint, file=sys.stderr)
        return 1
    signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(1)
    )  # whatever was started is ended then, too
    logging.disable(logging.WARNING)  # of the service, where it runs in this process
    file = FOLDER / f"figures-{state()}.json"
    figures = Figures()
    if not options.again:
        figures.read(file)
    figures.versions["wrk"] = version()
    with ExitStack() as stack:
        for database in options.databases:
            place = SQLite() if database == "sqlite" else stack.enter_context(postgresql())
            if isinstance(place, PostgreSQL):
                figures.versions["PostgreSQL"] = place.version
            for name, measure in _parts(options, place, figures):
                start = time.monotonic()
                measure()
                figures.write(file)
                print(f"{database}: {name}, {time.monotonic() - start:.0f} s", flush=True)
    lines = report.lines(figures, options.rows)
    print("\n".join(lines))
    if options.write:
        report.write(ROOT / "docs" / "benchmarks.md", [*lines, report.PICTURE])
        (ROOT / "docs" / "benchmarks.svg").write_text(report.plot(figures), "utf-8")
    return 0


def _parts(options: argparse.Namespace, place: Place, figures: Figures) -> Iterator[Part]:
    """What is to be measured on this database, in order; each is done before the next is asked for."""
    kinds = [kind for kind in ASKED if kind in options.only]
    if kinds:
        yield from _turns(options, place, figures, kinds)
    if "growth" in options.only:
        for round, rows in product(range(1, options.rounds + 1), options.sizes):
            now = Round(place.name, rows, "pinned", options.seconds, figures)
            url = place.of("shinchoku", rows)
            alone = partial(cost, Shinchoku(), url, kinds or [*ASKED], now)
            yield f"one at a time at {rows:,} rows, round {round}", alone
    usual, largest = options.rows, max(options.sizes)
    of_their_own: dict[str, tuple[int, str, Callable[[Round], None]]] = {
        "search": (largest, "unpinned", partial(once.searches, place)),
        "POST": (usual, "pinned", partial(once.posts, place, options.peers)),
        "bulk": (usual, "unpinned", partial(once.bulks, place, options.peers)),
        "import": (100_000, "unpinned", partial(once.imports, place)),
        "export": (largest, "unpinned", partial(once.exports, place, options.peers)),
        "start": (26, "unpinned", partial(once.starts, place)),
        "workers": (usual, "unpinned", partial(once.workers, place)),
    }
    for name, round in product(ONCE, range(1, options.rounds + 1)):
        if name in options.only:
            rows, setting, measure = of_their_own[name]
            now = Round(place.name, rows, setting, options.seconds, figures)
            yield f"{name}, round {round}", partial(measure, now)


def _turns(options: argparse.Namespace, place: Place, figures: Figures, kinds: list[str]) -> Iterator[Part]:
    """Everybody in turn, round after round."""
    live = [LIVE[name]() for name in LIVE if name in options.peers and place.name in LIVE[name].databases]
    sizes: dict[str, int] = {}
    yield "as many rows", lambda: sizes.update(check(live, place.of, options.rows, kinds))
    lengths = {kind: sizes[kind] for kind in HITS if kind in sizes} | {"304": 0}
    limits = [LIMITS[name](lengths) for name in LIMITS if name in options.peers]
    every: list[Server] = [Shinchoku(), *live]
    for setting, round in product(options.settings, range(1, options.rounds + 1)):
        now = Round(place.name, options.rows, setting, options.seconds, figures)
        for constant in limits:
            yield f"{constant.name}, {setting}, round {round}", partial(limit, constant, [*lengths], now)
        for server in every:
            url = place.of(server.data, options.rows)
            yield f"{server.name}, {setting}, round {round}", partial(turn, server, url, kinds, now)


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
