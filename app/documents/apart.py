"""Opening files apart: in a process of its own with limits, so that a hostile one costs the server nothing.

The parent passes the file as standard input and gets back lines of JSON in a file: first what the document says
as a whole, then its evaluations, some at a time. Neither the file nor its rows are ever whole in the parent's memory.
"""

import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from app.documents import records
from app.documents.previewing import MOST_CHARACTERS, Place, preview
from app.documents.reading import Problem, Records, Sheet, Unreadable, kind_of, read_file
from app.documents.recognising import recognise
from app.documents.tables import Asked, Recognised

ROOT = Path(__file__).resolve().parents[2]

MEMORY = 1 << 30  # bytes of address space
CPU = 20  # seconds
PATIENCE = 40  # seconds by the clock
CHUNK = 1_000  # evaluations a line
FREE: tuple[str, ...] = ("implementation", "rationale", "next_plan", "department", "extra")


@dataclass(frozen=True)
class Understood:
    """What a document says: a head with everything but its evaluations, and these, some at a time."""

    head: dict[str, Any]
    rows: IO[bytes]

    def evaluations(self) -> Iterator[list[dict[str, Any]]]:
        for line in self.rows:
            yield orjson.loads(line)

    @property
    def problems(self) -> list[Problem]:
        return [Problem(**each) for each in self.head["problems"]]

    @property
    def warnings(self) -> list[Problem]:
        return [Problem(**each) for each in self.head["warnings"]]


@contextmanager
def understood(
    file: IO[bytes],
    name: str,
    encoding: str | None,
    asked: Mapping[str, Any],
    lines: int = 0,
    places: Sequence[Place] = (),
) -> Iterator[Understood]:
    """The document in the file, read and recognised by a child. Whatever ends the child is the file's fault.

    With `lines` the head has a `table`: of each sheet so many lines as printed, and as many that are spoken of or
    stand at these places.
    """
    told = {"name": name, "encoding": encoding, "asked": asked, "lines": lines, "places": places[:lines]}
    with _answered(file, told) as out:
        head = orjson.loads(out.readline())
        yield Understood(head, out)


def printed(file: IO[bytes], name: str) -> list[tuple[str | None, int, list[str]]]:
    """Sheet, line and cells of each line of a workbook that is not blank, up to MOST_CHARACTERS of them."""
    with _answered(file, {"name": name, "encoding": None}) as out:
        return [orjson.loads(line) for line in out]


@contextmanager
def _answered(file: IO[bytes], told: Mapping[str, Any]) -> Iterator[IO[bytes]]:
    """What a child says of the file."""
    kind_of(told["name"])  # what cannot be read at all needs no child
    file.seek(0)
    with tempfile.TemporaryFile() as out:
        request = orjson.dumps(told).decode()
        try:
            ended = subprocess.run(  # noqa: S603  (nothing of the request is run: it is read as JSON)
                [sys.executable, "-m", "app.documents.apart", request],
                stdin=file,
                stdout=out,
                stderr=subprocess.DEVNULL,
                timeout=PATIENCE,
                cwd=ROOT,
                # A file that breaks out of its reader finds no secrets there.
                env={name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG") if name in os.environ},
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            ended = 1
        out.seek(0)
        if ended != 0:
            raise Unreadable(
                None,
                "このファイルは、決められたメモリーと時間の中では開けません。"
                "表の部分だけを新しいファイルに写して保存するか、ファイルを分けてください。",
                "This file cannot be opened within the limits of memory and time. "
                "Copy the table alone into a new file, or split it.",
            )
        yield out


# ---------------------------------------------------------------------------------------------------------
# In the child


def _limit() -> None:
    try:
        import resource
    except ImportError:  # where there are no such limits, the patience of the parent is left
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _main() -> None:
    _limit()
    gc.disable()  # a child makes no rings of objects, and to look for some in a large table takes a third of its time
    request = orjson.loads(sys.argv[1])
    content = sys.stdin.buffer.read()
    if "asked" not in request:
        _print(content, request["name"])
        return
    head: dict[str, Any] = {"problems": [], "warnings": []}
    rows: Iterator[list[dict[str, Any]]] = iter(())
    try:
        asked = request["asked"]
        plan = asked.pop("plan")
        source = read_file(content, request["name"], request["encoding"], asked["sheets"])
        del content
        sheets = [] if isinstance(source, Records) else source
        if len(sheets) == 1 and (ours := records.in_our_words(sheets[0])):
            source = ours
        found = None
        if isinstance(source, Records):
            head, rows = _of_records(source, plan)
            head["warnings"] += _unused(asked)
        elif len(sheets) == 1 and not asked["mapping"] and (wrong := records.strangers(sheets[0])):
            head["problems"] = [asdict(problem) for problem in wrong]
        else:
            found = recognise(sheets, Asked(**asked | {"sheets": tuple(asked["sheets"])}))
            head, rows = _of_tables(sheets, found)
        if request["lines"]:
            said = [(each["sheet"], each["line"]) for each in (*head["problems"], *head["warnings"])]
            head["table"] = preview(sheets, found, request["lines"], [*request["places"], *said])
    except Unreadable as unreadable:
        head["problems"] = [asdict(unreadable.problem)]
    out = sys.stdout.buffer
    out.write(orjson.dumps(head, option=orjson.OPT_NON_STR_KEYS) + b"\n")
    if not head["problems"]:
        for some in rows:
            out.write(orjson.dumps(some) + b"\n")


def _print(content: bytes, name: str) -> None:
    source = read_file(content, name)
    left = MOST_CHARACTERS
    for sheet in [] if isinstance(source, Records) else source:
        for row in sheet.rows:
            if row.filled():
                left -= sum(map(len, row.cells))
                if left < 0:
                    return
                sys.stdout.buffer.write(orjson.dumps([sheet.name, row.line, row.cells]) + b"\n")


def _of_tables(
    sheets: list[Sheet], found: Recognised
) -> tuple[dict[str, Any], Iterator[list[dict[str, Any]]]]:
    codes: dict[str, dict[str, Any]] = {}
    for evaluation in found.evaluations:
        if evaluation.rating is not None:
            codes.setdefault(evaluation.rating, {"line": evaluation.line, "sheet": evaluation.sheet})
    head = {
        "kind": "table",
        "encoding": sheets[0].encoding,
        "title": found.title,
        "subtitle": found.subtitle,
        "fiscal_years": found.fiscal_years,
        "mapping": found.mapping,
        "sheets": found.sheets,
        "legend": found.legend,
        "counted": found.counted,
        "problems": [asdict(problem) for problem in found.problems],
        "warnings": [asdict(problem) for problem in found.warnings],
        "rows": len(found.evaluations),
        "parts": {
            "": {
                "plan": {},
                "ratings": codes,
                "sections": [
                    {"code": code, "label": label, "title": title}
                    for code, (label, title) in found.sections.items()
                ],
                "measures": [
                    {
                        "line": measure.line,
                        "sheet": measure.sheet,
                        "code": measure.code,
                        "section": measure.section_code,
                        "title": measure.title,
                        "path": measure.path,
                    }
                    for measure in found.measures
                ],
                "named": {},
            }
        },
    }
    return head, _chunks(found)


def _chunks(found: Recognised) -> Iterator[list[dict[str, Any]]]:
    told = {mapped["field"] for mapped in found.mapping}
    rated = ("rating", "rating_printed") if "rating" in told else ()
    names = ("code", "fiscal_year", "ordinal", "line", *(name for name in FREE if name in told), *rated)
    for start in range(0, len(found.evaluations), CHUNK):
        yield [
            {name: getattr(evaluation, name) for name in names} | {"plan": ""}
            for evaluation in found.evaluations[start : start + CHUNK]
        ]


def _unused(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was told for tables and has no meaning for rows in our own words."""
    names = {"fiscal_year": "fiscal_year", "sheets": "sheet", "mapping": "mapping", "numbering": "numbering"}
    told = [name for field, name in names.items() if asked[field]]
    ja = f"項目の名前のある行なので、{'、'.join(told)} は使いませんでした。"
    en = f"These rows name their fields: {', '.join(told)} had no effect."
    return [asdict(Problem(None, None, "", ja, en))] * bool(told)


def _of_records(source: Records, plan: str | None) -> tuple[dict[str, Any], Iterator[list[dict[str, Any]]]]:
    spoken = records.understand(source, plan)
    parts: dict[str, dict[str, Any]] = {}

    def part(slug: str, row: dict[str, Any]) -> dict[str, Any]:
        nothing: dict[str, Any] = {"plan": {}, "ratings": {}, "sections": [], "measures": [], "named": {}}
        return parts.setdefault(slug, {"line": row["line"], **nothing})

    for row in spoken.rows["plan"]:
        part(row["slug"], row)["plan"] = row
    for noun in ("section", "measure"):
        for row in spoken.rows[noun]:
            part(row.pop("plan"), row)[f"{noun}s"].append(row)
    years: set[int] = set()
    evaluations = spoken.rows["evaluation"]
    for row in evaluations:
        row["code"] = row.pop("measure_code")
        years.add(row["fiscal_year"])
        its = part(row["plan"], row)
        if row.get("rating") is not None:
            its["ratings"].setdefault(row["rating"], {"line": row["line"]})
        title, section = row.pop("title"), row.pop("section")
        if row["code"] not in its["named"]:
            its["named"][row["code"]] = {"line": row["line"], "title": title, "section": section}
    if not spoken.problems and not parts:
        spoken.wrong(1, "", "取り込む行がありません。", "There is no row to import.")
    head = {
        "kind": "records",
        "encoding": source.encoding,
        "title": None,
        "subtitle": None,
        "fiscal_years": sorted(years),
        "mapping": [],
        "sheets": [],
        "legend": {},
        "counted": False,
        "problems": [asdict(problem) for problem in spoken.problems],
        "warnings": [
            asdict(
                Problem(
                    None,
                    None,
                    "",
                    f"資料の行が {spoken.left} 行ありますが、中身がないので読みませんでした。",
                    f"{spoken.left} rows are of documents; without their contents they were not read.",
                )
            )
        ]
        * bool(spoken.left),
        "rows": len(evaluations),
        "parts": parts,
    }
    return head, (evaluations[start : start + CHUNK] for start in range(0, len(evaluations), CHUNK))


if __name__ == "__main__":
    _main()
    sys.stdout.flush()
    os._exit(0)  # nothing is left to do, and to free a large table cell by cell takes its time, too
