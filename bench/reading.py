"""The questions that only read: in turns, server after server, round after round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.driving import Failed, Figure, drive
from bench.figures import Figures, Key
from bench.questions import Asked, asked
from bench.servers import Running, Server, Shinchoku

CORES = {"pinned": (0, 1), "unpinned": (None, None)}  # of the server and of the load
HITS = ("L", "D", "E", "S")
WARM = 10  # variations that are asked before the clock runs

Databases = Callable[[str, int], str]


@dataclass(frozen=True)
class Round:
    """On which database, with how many rows, where and how long is measured, and where the figures go."""

    database: str
    rows: int
    setting: str
    seconds: float
    figures: Figures

    def note(self, server: str, what: str, figure: Figure | dict[str, float]) -> None:
        self.figures.add(Key(self.database, self.rows, self.setting, server, what), figure)


def check(servers: Sequence[Server], databases: Databases, rows: int, kinds: Sequence[str]) -> dict[str, int]:
    """Each server gives as many rows as Shinchoku does; tells how long Shinchoku's usual answers are."""
    expected: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}
    for server in [Shinchoku(), *servers]:
        questions = _questions(server, kinds, rows)
        url = databases(server.data, rows)
        server.prepare(url, questions)
        with server.running(url) as running:
            for kind, variations in questions.items():
                found = []
                for one in (variations[0], variations[len(variations) // 2], variations[-1]):
                    answer = running.client.get(server.path(kind, one)).raise_for_status()
                    found.append(server.rows(kind, answer.json()))
                    sizes.setdefault(kind, len(answer.content))
                if found != expected.setdefault(kind, found):
                    raise Failed(f"{server.name} gives {found} rows for {kind}, and not {expected[kind]}")
    return sizes


def turn(server: Server, url: str, kinds: Sequence[str], round: Round) -> None:
    """One server's turn: misses of all questions at 16 connections, and hits where somebody keeps answers."""
    questions = _questions(server, kinds, round.rows)
    server.prepare(url, questions)
    own, load = CORES[round.setting]
    with server.running(url, own) as running:
        for kind, variations in questions.items():
            usual, *paths = (server.path(kind, one) for one in variations)
            for path in paths[-WARM:]:
                running.client.get(path).raise_for_status()
            round.note(
                server.name,
                f"{kind} miss",
                drive(running, paths[:-WARM] or [usual], round.seconds, core=load, headers=server.anew),
            )
            if kind in HITS and isinstance(server, Shinchoku):
                running.client.get(usual)
                round.note(server.name, f"{kind} hit", drive(running, [usual], round.seconds, core=load))
        if "L" in questions and isinstance(server, Shinchoku):
            usual = server.path("L", questions["L"][0])
            known = [f"If-None-Match: {_tag(running, usual)}"]
            round.note(
                server.name, "304 hit", drive(running, [usual], round.seconds, core=load, headers=known)
            )
        round.note(server.name, "memory", {"loaded": running.memory()})


def limit(server: Server, kinds: Sequence[str], round: Round) -> None:
    """The same for a server without a database: every answer is a hit."""
    own, load = CORES[round.setting]
    with server.running("", own) as running:
        for kind in kinds:
            round.note(
                server.name, f"{kind} hit", drive(running, [server.path(kind, {})], round.seconds, core=load)
            )


def cost(server: Server, url: str, kinds: Sequence[str], round: Round) -> None:
    """What one question costs who is alone: misses over one connection."""
    questions = _questions(server, kinds, round.rows)
    server.prepare(url, questions)
    own, load = CORES[round.setting]
    with server.running(url, own) as running:
        for kind, variations in questions.items():
            usual, *paths = (server.path(kind, one) for one in variations)
            running.client.get(usual).raise_for_status()
            round.note(
                server.name,
                f"{kind} cost",
                drive(running, paths or [usual], round.seconds, 1, core=load, headers=server.anew),
            )


def _questions(server: Server, kinds: Sequence[str], rows: int) -> dict[str, list[Asked]]:
    return {kind: asked(kind, rows) for kind in kinds if server.can(kind)}


def _tag(running: Running, path: str) -> str:
    tag = running.client.get(path).headers["ETag"]
    if running.client.get(path, headers={"If-None-Match": tag}).status_code != 304:
        raise Failed(f"{path} is not answered 304")
    return str(tag)
