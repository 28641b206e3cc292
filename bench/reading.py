"""The questions that only read: in turns, server after server, round after round."""

from collections.abc import Callable, Sequence

from bench.driving import Failed, drive
from bench.figures import Figures, Key
from bench.questions import Asked, asked
from bench.servers import Running, Server, Shinchoku

CORES = {"pinned": (0, 1), "unpinned": (None, None)}  # of the server and of the load
HITS = ("L", "D", "E", "S")
WARM = 10  # variations that are asked before the clock runs

Databases = Callable[[str, int], str]


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


def turn(
    server: Server,
    url: str,
    rows: int,
    kinds: Sequence[str],
    seconds: float,
    setting: str,
    figures: Figures,
    on: str,
) -> None:
    """One server, one round: misses at 16 connections, and hits where somebody keeps answers."""
    questions = _questions(server, kinds, rows)
    server.prepare(url, questions)
    own, load = CORES[setting]
    with server.running(url, own) as running:
        for kind, variations in questions.items():
            for one in variations[-WARM:]:
                running.client.get(server.path(kind, one)).raise_for_status()
            paths = [server.path(kind, one) for one in variations[1:] or variations]
            key = Key(on, rows, setting, server.name, f"{kind} miss")
            figures.add(key, drive(running, paths, seconds, core=load))
            if kind in HITS and isinstance(server, Shinchoku):
                usual = server.path(kind, variations[0])
                running.client.get(usual)
                figures.add(key._replace(what=f"{kind} hit"), drive(running, [usual], seconds, core=load))
        if "L" in questions and isinstance(server, Shinchoku):
            known = _known(running, server.path("L", questions["L"][0]))
            usual = server.path("L", questions["L"][0])
            figure = drive(running, [usual], seconds, core=load, headers=[f"If-None-Match: {known}"])
            figures.add(Key(on, rows, setting, server.name, "304 hit"), figure)
        figures.add(Key(on, rows, setting, server.name, "memory"), {"loaded": running.memory()})


def limit(
    server: Server, kinds: Sequence[str], rows: int, seconds: float, setting: str, figures: Figures, on: str
) -> None:
    """The same for a server that answers without a database: every answer is a hit."""
    own, load = CORES[setting]
    with server.running("", own) as running:
        for kind in kinds:
            key = Key(on, rows, setting, server.name, f"{kind} hit")
            figures.add(key, drive(running, [server.path(kind, {})], seconds, core=load))


def cost(
    server: Server, url: str, rows: int, kinds: Sequence[str], seconds: float, figures: Figures, on: str
) -> None:
    """What one question costs who is alone: misses over one connection."""
    questions = _questions(server, kinds, rows)
    server.prepare(url, questions)
    own, load = CORES["pinned"]
    with server.running(url, own) as running:
        for kind, variations in questions.items():
            running.client.get(server.path(kind, variations[0])).raise_for_status()
            paths = [server.path(kind, one) for one in variations[1:] or variations]
            figure = drive(running, paths, seconds, connections=1, core=load)
            figures.add(Key(on, rows, "pinned", server.name, f"{kind} cost"), figure)


def _questions(server: Server, kinds: Sequence[str], rows: int) -> dict[str, list[Asked]]:
    return {kind: asked(kind, rows) for kind in kinds if server.can(kind)}


def _known(running: Running, path: str) -> str:
    tag = running.client.get(path).headers["ETag"]
    if running.client.get(path, headers={"If-None-Match": tag}).status_code != 304:
        raise Failed(f"{path} is not answered 304")
    return str(tag)
