"""What was measured, kept in a file as it comes, so that a run can be done in parts."""

import hashlib
import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from app.kit.settings import ROOT
from bench.driving import Figure


class Key(NamedTuple):
    database: str
    rows: int
    setting: str
    server: str
    what: str


class Figures:
    """Of each thing all that was measured of it, round by round; what is told of it is the median."""

    def __init__(self, measured: Mapping[Key, list[dict[str, float]]] | None = None) -> None:
        self.measured = {key: [*rounds] for key, rounds in (measured or {}).items()}
        self.versions: dict[str, str] = {}  # of what is not in a lock

    def add(self, key: Key, figure: Figure | dict[str, float]) -> None:
        told = asdict(figure) if isinstance(figure, Figure) else figure
        self.measured.setdefault(key, []).append(told)

    def get(self, key: Key, name: str) -> float | None:
        rounds = [each[name] for each in self.measured.get(key, ()) if name in each]
        return statistics.median(rounds) if rounds else None

    def rounds(self) -> int:
        """The fewest that any of the figures is made of."""
        return min(map(len, self.measured.values()), default=0)

    def read(self, file: Path) -> None:
        if file.exists():
            told = json.loads(file.read_text())
            self.versions = told["versions"]
            for line in told["measured"]:
                self.measured[Key(*line["of"])] = line["rounds"]

    def write(self, file: Path) -> None:
        lines = [{"of": list(key), "rounds": rounds} for key, rounds in self.measured.items()]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"versions": self.versions, "measured": lines}))


def state() -> str:
    """Of the code that is measured: figures of another are not for the same table."""
    files = sorted(file for folder in ("app", "bench") for file in (ROOT / folder).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:10]
