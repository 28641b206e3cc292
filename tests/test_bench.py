"""The benchmark measures what it says: the rows it makes, the questions it asks, the table it writes.

How fast anything is, is told by `make bench` alone.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any
from xml.etree import ElementTree

import pytest
import sqlalchemy as sa

from bench import data, report
from bench.databases import fill_postgresql_peer, fill_shinchoku, fill_sqlite_peer
from bench.driving import Failed
from bench.figures import Figures, Key
from bench.questions import ASKED, asked
from bench.reading import check
from bench.servers import Datasette, RestFramework, Running, Shinchoku, Textbook
from tests.conftest import Backend

ROWS = 1_300


def evaluations(rows: int) -> list[data.Evaluation]:
    return [row for book in data.books(rows) for row in book.evaluations]


@pytest.mark.parametrize("rows", [1, 26, 600, 601, ROWS])
def test_there_are_as_many_rows_as_asked_for_and_fewer_are_the_first_of_more(rows: int) -> None:
    found = evaluations(rows)
    assert len(found) == rows
    assert [row.id for row in found] == list(range(1, rows + 1))
    assert found == evaluations(2_000)[:rows]
    measures = [measure for book in data.books(rows) for measure in book.measures]
    assert [measure.id for measure in measures] == list(range(1, -(-rows // 10) + 1))
    assert {row.measure_id for row in found} == {measure.id for measure in measures}


def test_the_texts_are_as_long_as_those_of_the_seed() -> None:
    found = evaluations(6_000)
    for name, length in (("implementation", 26), ("rationale", 20), ("next_plan", 16)):
        assert abs(mean(len(getattr(row, name)) for row in found) - length) < 1, name


def test_frequent_words_are_frequent_and_rare_ones_rare() -> None:
    texts = [f"{row.implementation}\n{row.rationale}\n{row.next_plan}" for row in evaluations(6_000)]
    for word in data.words():
        assert sum(word in text for text in texts) > 200, word
    for number in range(10):
        assert sum(data.town(number) in text for text in texts) == 10
    assert (
        len({data.town(number) for number in range(1_667)}) == 1_667
    )  # as many plans as a million rows have


@pytest.mark.parametrize("kind", ASKED)
def test_no_variation_of_a_question_comes_twice(kind: str) -> None:
    variations = [tuple(one.items()) for one in asked(kind, 100_000)]
    assert len(set(variations)) == len(variations) > 100
    assert asked(kind, 100_000) == asked(kind, 100_000)


# ---------------------------------------------------------------------------------------------------------
# The same questions to everybody


class OurTextbook(Textbook):
    """In the environment of the tests, which has all that it needs."""

    def command(self, port: int, database: str) -> list[str | Path]:
        return [sys.executable, "-m", "uvicorn", *super().command(port, database)[1:]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bench")
    ours, theirs = folder / "ours.db", folder / "theirs.db"
    fill_shinchoku(f"sqlite:///{ours}", data.books(ROWS))
    fill_sqlite_peer(theirs, data.books(ROWS))
    return {"shinchoku": f"sqlite:///{ours}", "peers": f"sqlite:///{theirs}"}


@pytest.fixture(scope="module")
def shinchoku(filled: dict[str, str]) -> Iterator[tuple[Shinchoku, Running]]:
    server = Shinchoku()
    server.prepare(filled["shinchoku"], {kind: asked(kind, ROWS) for kind in ASKED})
    with server.running(filled["shinchoku"]) as running:
        yield server, running


def expected(kind: str, asked: dict[str, Any]) -> int:
    """How many rows the answer must have, from the data themselves."""
    books = list(data.books(ROWS))
    sections = {section.id: section for book in books for section in book.sections}
    measures = {measure.id: measure for book in books for measure in book.measures}
    plans = {book.plan.id: book.plan for book in books}
    rows = evaluations(ROWS)
    codes = asked.get("ratings") or data.RATINGS
    if kind == "L":
        rated = {row.measure_id for row in rows if row.rating in codes}
        return min(
            asked["limit"], sum(sections[measures[id].section_id].code == asked["section"] for id in rated)
        )
    if kind == "D":
        return sum(row.measure_id == asked["id"] for row in rows)
    if kind == "E":
        return min(
            asked["limit"], sum(row.fiscal_year == asked["year"] and row.rating in codes for row in rows)
        )
    if kind in ("Q", "QR"):
        texts = [
            (measures[row.measure_id].title, row.implementation, row.rationale, row.next_plan) for row in rows
        ]
        return min(asked["limit"], sum(any(asked["word"] in text for text in some) for some in texts))
    if kind in ("S", "SA", "SY"):
        groups = set()
        for row in rows:
            measure = measures[row.measure_id]
            told = {
                "plan": plans[measure.plan_id].slug,
                "section": (measure.plan_id, sections[measure.section_id].code),
                "fiscal_year": row.fiscal_year,
            }
            if row.rating in codes and asked.get("plan") in (None, told["plan"]):
                groups.add((row.rating, *(told[name] for name in asked["group_by"])))
        return len(groups)
    return int(asked["limit"])  # of a list with more rows than that after each of the places


@pytest.mark.parametrize("kind", ASKED)
def test_shinchoku_gives_the_rows_that_a_question_is_about(
    shinchoku: tuple[Shinchoku, Running], kind: str
) -> None:
    server, running = shinchoku
    variations = asked(kind, ROWS)
    for one in (*variations[:3], *variations[-3:]):
        answer = running.client.get(server.path(kind, one)).raise_for_status().json()
        assert server.rows(kind, answer) == expected(kind, one) > 0, one


def test_a_page_begins_after_as_many_rows_as_it_says(shinchoku: tuple[Shinchoku, Running]) -> None:
    server, running = shinchoku
    whole = running.client.get("/evaluations?limit=1000").json()["results"]
    for kind in ("P1", "P"):
        for one in asked(kind, ROWS)[:3]:
            if one["after"] < 1000:
                first = running.client.get(server.path(kind, one)).json()["results"][0]
                assert first == whole[one["after"]]
    after = next(one for one in asked("C", ROWS) if one["after"] > 5)
    assert running.client.get(server.path("C", after)).json()["results"][0]["seq"] == after["after"] + 1


def test_a_textbook_service_gives_as_many_and_one_that_gives_fewer_is_noticed(filled: dict[str, str]) -> None:
    class Short(OurTextbook):
        name = "short"

        def P(self, after: int, limit: int) -> str:
            return super().P(after, limit - 1)

    with pytest.raises(Failed, match=r"short gives \[49, 49, 49\] rows for P, and not \[50, 50, 50\]"):
        check([OurTextbook(), Short()], lambda who, rows: filled[who], ROWS, [*ASKED])


def test_both_databases_of_ours_and_of_the_peers_hold_the_same_rows(backend: Backend, tmp_path: Path) -> None:
    ours, theirs = backend.empty(), backend.empty()
    fill_shinchoku(ours, data.books(30))
    if backend.name == "sqlite":
        fill_sqlite_peer(Path(theirs.removeprefix("sqlite:///")), data.books(30))
    else:
        fill_postgresql_peer(theirs.replace("+psycopg", ""), data.books(30))
    statement = sa.text(
        "SELECT evaluation.id, measure_id, fiscal_year, ordinal, implementation, rating, rationale, next_plan, "
        "department FROM evaluation JOIN measure ON measure.id = measure_id JOIN section ON section.id = section_id "
        "JOIN plan ON plan.id = section.plan_id ORDER BY evaluation.id"
    )
    for url in (ours, theirs):
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            assert [*map(tuple, connection.execute(statement))] == [*map(tuple, evaluations(30))]
        engine.dispose()
        backend.drop(url)


@pytest.mark.parametrize("server", [Textbook, RestFramework, Datasette])
def test_every_peer_is_asked_every_question(server: type[Textbook | Datasette]) -> None:
    peer = server()
    peer.environment("sqlite:///peers.db")
    addresses = {peer.path(kind, one) for kind in ("L", "D", "E", "S", "Q") for one in asked(kind, ROWS)[:20]}
    assert all(peer.can(kind) for kind in ASKED)
    assert len(addresses) > 80
    assert all(address.isascii() for address in addresses)


# ---------------------------------------------------------------------------------------------------------
# The table


def measured(**rates: float) -> Figures:
    figures = Figures()
    for server, rate in rates.items():
        for factor in (0.5, 1, 4):
            key = Key("sqlite", 100_000, "pinned", server.replace("_", "-"), "L miss")
            figures.add(
                key,
                {
                    "rate": rate * factor,
                    "p50": 8,
                    "p99": 12.5,
                    "cpu": 400,
                    "turns": 1.5 * (server == "shinchoku"),
                },
            )
    return figures


def test_the_table_holds_medians_against_the_aims_and_says_what_is_not_met() -> None:
    told = report.lines(measured(shinchoku=2_000, drf=250, textbook=300), 100_000)
    assert "| L miss beside Django REST Framework | ≥ 10 × | 8 × | **no** |" in told
    assert "| L miss beside FastAPI + SQLModel | ≥ 6 × | 6.67 × | yes |" in told
    assert "| L miss beside Datasette at its best | ≥ 7 × |  | not measured |" in told
    assert "| L miss, p99 | ≤ 10 ms | 12.5 ms | **no** |" in told
    assert (
        "| L miss |  |  | 2,000\\* (8/12.5 ms, 400 µs) | 300 (8/12.5 ms, 400 µs) | 250 (8/12.5 ms, 400 µs) |  |  |"
        in told
    )
    assert "\\* There were not enough variations: some were asked more than once." in told
    assert "* Nowhere in these tables." in told


def test_where_somebody_else_is_faster_the_table_says_so() -> None:
    figures = measured(shinchoku=100, datasette_best=344, textbook=90)
    for server, seconds in (("shinchoku", 3), ("datasette", 2), ("textbook", 4)):
        figures.add(Key("sqlite", 1_000, "unpinned", server, "export"), {"seconds": seconds})
    told = report.lines(figures, 100_000)
    assert [line for line in told if "as fast" in line] == [
        "* L miss, pinned: Datasette at its best, 3.44 × as fast",
        "* export, unpinned: Datasette, 1.5 × as fast",
    ]


def test_figures_are_kept_between_runs(tmp_path: Path) -> None:
    file, again = tmp_path / "folder" / "figures.json", Figures()
    figures = measured(shinchoku=100)
    figures.versions["wrk"] = "4.1"
    figures.write(file)
    again.read(file)
    assert again.versions == {"wrk": "4.1"}
    assert again.measured == measured(shinchoku=100).measured
    again.read(tmp_path / "none.json")
    assert again.rounds() == 3


def test_the_table_is_written_between_its_marks(tmp_path: Path) -> None:
    file = tmp_path / "benchmarks.md"
    report.write(file, ["first"])
    text = file.read_text("utf-8")
    file.write_text(text.replace("# How fast", "# How fast, by us") + "\nThe end.\n", "utf-8")
    report.write(file, ["second", "third"])
    assert (
        file.read_text("utf-8")
        == text.replace("# How fast", "# How fast, by us").replace("first", "second\nthird") + "\nThe end.\n"
    )


def test_the_drawing_has_a_line_for_each_question_that_was_measured() -> None:
    figures = Figures()
    for rows, cost in ((26, 0.5), (1_000, 0.6), (100_000, 40)):
        figures.add(Key("sqlite", rows, "pinned", "shinchoku", "L cost"), {"p50": cost})
        figures.add(Key("sqlite", rows, "pinned", "shinchoku", "D cost"), {"p50": 0.4})
    drawn = ElementTree.fromstring(report.plot(figures))  # noqa: S314 (our own)
    lines = drawn.findall("{*}polyline")
    texts = [text.text for text in drawn.findall("{*}text")]
    assert len(lines) == 2
    level, rising = (
        [float(point.split(",")[1]) for point in line.get("points", "").split()] for line in lines
    )
    assert level[0] == level[-1]
    assert rising[0] > rising[1] > rising[2]  # upwards on the page
    assert {"D  0.4 ms", "L  40 ms", "26", "1,000", "100,000"} <= set(texts)
