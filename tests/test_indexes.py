"""Every filter and every order of a list has an index, on both databases, and so has every word of a search."""

import re
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from app.changes import save
from app.evaluations import EVALUATIONS, EvaluationQuery
from app.kit import listing, search
from app.kit.database import Database
from app.kit.text import terms
from app.measures import MEASURES, MeasureQuery
from app.models import EVALUATION, MEASURE, Evaluation
from app.sections import SECTIONS, SectionQuery
from tests.conftest import Backend, Service, opened

FILTERS: dict[str, list[dict[str, Any]]] = {
    "/sections": [{}, {"plan": "fujimi-yumetsunagu"}, {"municipality": "112356"}],
    "/measures": [
        {},
        {"plan": "fujimi-yumetsunagu"},
        {"municipality": "112356"},
        {"section": "3"},
        {"measure": "4-2-1"},
        {"plan": "fujimi-yumetsunagu", "section": "3"},
        {"plan": "fujimi-yumetsunagu", "fiscal_year": "H29", "rating": "B"},
    ],
    "/evaluations": [
        {},
        {"plan": "fujimi-yumetsunagu"},
        {"municipality": "112356"},
        {"section": "3"},
        {"measure": "4-2-1"},
        {"fiscal_year": "H29"},
        {"rating": "B"},
        {"rating": "none"},
        {"rating": "A,B"},
        {"rating": "B,none"},
        {"department": "福祉課"},
        {"fiscal_year": "H29", "rating": "B"},
        {"fiscal_year": "H29", "rating": "A,B,none"},
        {"plan": "fujimi-yumetsunagu", "section": "3"},
        {"plan": "fujimi-yumetsunagu", "fiscal_year": "H29"},
        {"plan": "fujimi-yumetsunagu", "rating": "A,B"},
        {"plan": "fujimi-yumetsunagu", "department": "福祉課"},
    ],
}
LISTINGS = {"/sections": SECTIONS, "/measures": MEASURES, "/evaluations": EVALUATIONS}
QUERIES = {"/sections": SectionQuery, "/measures": MeasureQuery, "/evaluations": EvaluationQuery}
SORTS = [(path, f"{way}{name}") for path, of in LISTINGS.items() for name in of.sorts for way in ("", "-")]


def test_no_filter_of_these_lists_is_forgotten():
    looked_into = {
        "q",
        "measure_id",
        "limit",
        "cursor",
        "sort",
        "fields",
        "expand",
    }  # words have tests of their own
    of_rows = {"fiscal_year", "rating", "department"}  # of the rows of a measure: below
    for path, query in QUERIES.items():
        asked = {name for filters in FILTERS[path] for name in filters}
        missing = {*query.model_fields} - asked - looked_into
        assert missing == ({"department"} if path == "/measures" else set()), missing
        assert of_rows <= asked or path != "/evaluations"


@pytest.fixture
def plans(library: Service) -> "Plans":
    return Plans(library)


class Plans:
    """How the database would carry out the statement of a list, if it had very many rows."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.database = service.database

    def of(self, path: str, *, bitmaps: bool = False, **query: Any) -> list[str]:
        with self.service.overheard() as said:
            asked = {"params": query, "headers": {"Shinchoku-Revision": "1"}}  # answered anew
            assert self.service.anyone.get(path, **asked).status_code == 200
        [rows] = [each for each in said if "ORDER BY" in each[0] and "LIMIT" in each[0]]
        return self.explained(*rows, bitmaps=bitmaps)

    def explained(self, statement: str, parameters: Any, *, bitmaps: bool) -> list[str]:
        with self.database.engine.connect() as connection:
            if self.database.sqlite:
                steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                return [step[3] for step in steps]
            # With so few rows it would rather read and sort them all.
            others = ["seqscan", "sort", "hashjoin", "mergejoin", "material"]
            for way in others if bitmaps else ["bitmapscan", *others]:
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
            return [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)]

    def sorted_in_memory(self, steps: list[str]) -> list[str]:
        """Steps that need all rows before they give one."""
        return [step for step in steps if "TEMP B-TREE" in step or "Sort" in step]

    def read_whole(self, table: str, steps: list[str]) -> list[str]:
        """Steps that read this table without an index."""
        whole = f"(SCAN|Seq Scan on) {table}(?!_pair)"
        return [step for step in steps if re.match(whole, step.strip(" ->")) and "USING" not in step]


@pytest.mark.parametrize(
    ("path", "filters"), [(path, filters) for path, some in FILTERS.items() for filters in some]
)
def test_what_a_filter_leaves_comes_out_of_an_index_in_order(
    path: str, filters: dict[str, Any], plans: Plans
):
    steps = plans.of(path, **filters)
    assert plans.read_whole(path[1:-1], steps) == [], steps
    merged = "," in filters.get("rating", "")  # the first rows of each rating are put together
    assert merged or plans.sorted_in_memory(steps) == [], steps
    if filters and plans.database.sqlite:
        assert [step for step in steps if step.startswith(f"SEARCH {path[1:-1]} USING")], steps


@pytest.mark.parametrize(("path", "sort"), SORTS)
def test_rows_come_in_each_order_out_of_an_index(path: str, sort: str, plans: Plans):
    steps = plans.of(path, sort=sort)
    assert plans.sorted_in_memory(steps) == [], steps
    assert sort.endswith("id") or plans.read_whole(path[1:-1], steps) == [], steps


def test_of_several_ratings_only_the_first_rows_of_each_are_sorted(plans: Plans):
    steps = plans.of("/evaluations", rating="A,B", limit=3)
    found = [step for step in steps if "rating" in step and ("SEARCH" in step or "Index" in step)]
    assert len(found) >= 2, steps


@pytest.mark.parametrize(
    "query", [{"rating": "B"}, {"fiscal_year": "H29"}, {"department": "福祉課"}, {"q": "食堂"}]
)
def test_measures_are_found_by_their_rows_and_not_one_by_one(query: dict[str, str], plans: Plans):
    steps = plans.of("/measures", bitmaps=True, **query)
    assert plans.read_whole("measure", steps) == [], steps
    assert plans.read_whole("evaluation", steps) == [], steps


@pytest.mark.parametrize("path", ["/measures", "/evaluations"])
def test_a_word_is_looked_up_and_not_looked_for(path: str, plans: Plans):
    steps = plans.of(path, bitmaps=True, q="食堂")
    assert any("evaluation_pair" in step for step in steps), steps
    assert plans.read_whole("evaluation", steps) == [], steps
    if plans.database.sqlite:
        assert any(step.startswith(f"SEARCH {path[1:-1]} USING INTEGER PRIMARY KEY") for step in steps), steps


# ---------------------------------------------------------------------------------------------------------
# What an index finds is what is there

ALPHABET = "支援学習食堂子ども居場所a1-ｶﾞ①㈱%_\\'\"*() 　\n～"


@pytest.fixture(scope="module")
def texts(backend: Backend) -> Iterator[Database]:
    """The seed, and rows of characters in no order."""
    url = backend.seeded()
    chance = Random(5)
    with opened(url) as database:
        with database.writing() as session:
            made = []
            for number in range(300):
                text = "".join(chance.choices(ALPHABET, k=chance.randrange(1, 40))).strip() or "空"
                made.append(
                    {
                        "measure_id": number % 24 + 1,
                        "fiscal_year": 2018,
                        "ordinal": number // 24 + 1,
                        "implementation": text,
                        "rating": "A",
                    }
                )
            save(session, Evaluation, made)
        yield database
    backend.drop(url)


def some_words() -> list[str]:
    chance = Random(6)
    made = ["".join(chance.choices(ALPHABET, k=chance.randrange(1, 5))) for _ in range(300)]
    usual = [
        "支援",
        "学習",
        "食堂",
        "子ども",
        "ひとり親",
        "居場所づくり",
        "貧困",
        "支",
        "a",
        *"%_*-",
        "\\",
        "'",
        '"',
    ]
    return [*usual, *made, "支援 学習", "学習 a", "ども食"]


def test_a_search_finds_what_reading_every_text_finds(texts: Database):
    found_something = 0
    with texts.reading() as session:
        for table in (MEASURE, EVALUATION):
            rows = dict(session.execute(sa.select(table.c.id, table.c.folded)).all())
            for words in map(terms, some_words()):
                there = {id for id, text in rows.items() if all(word in text for word in words)}
                for way in (search.holding, search.reading):
                    assert {*session.scalars(sa.select(table.c.id).where(*way(table, words)))} == there, words
                found_something += bool(there)
    assert found_something > 100


def test_what_is_found_first_does_not_depend_on_how_it_is_looked_for(
    house: Service, monkeypatch: pytest.MonkeyPatch
):
    asked = [
        (path, {**query, "limit": limit})
        for path in ("/measures", "/evaluations")
        for query in ({"q": "支援"}, {"q": "子ども 支"}, {"rating": "A"}, {"q": "学習", "rating": "A,B"})
        for limit in (2, 5)
    ]

    def pages() -> list[Any]:
        house.database.counted.clear()
        found = []
        for path, query in asked:
            seen: dict[str, Any] = {}
            while seen.get("next", "") is not None:
                more = {"cursor": seen["next"]} if seen else {}
                answer = house.anyone.get(
                    path, params=query | more, headers={"Shinchoku-Revision": "1"}
                ).json()
                seen = answer["metadata"]["resultset"]
                found.append((path, seen["count"], [row["id"] for row in answer["results"]]))
        return found

    usual = pages()
    monkeypatch.setattr(listing, "MANY", 0)
    assert pages() == usual
    assert len(usual) > len(asked)


def test_a_changed_text_is_found_by_its_new_words_and_no_more_by_the_old(texts: Database):
    def found(word: str) -> set[int]:
        with texts.reading() as session:
            return {*session.scalars(sa.select(EVALUATION.c.id).where(*search.holding(EVALUATION, [word])))}

    with texts.reading() as session:
        id, measure = session.execute(sa.select(EVALUATION.c.id, EVALUATION.c.measure_id).limit(1)).one()
        pairs = sa.text(
            f"SELECT count(*) FROM {search.index_of('evaluation')} WHERE evaluation_pair MATCH :word"
        )
    with texts.writing() as session:
        save(session, Evaluation, [{"id": id, "implementation": "蝸牛を観察した"}])
    assert found("蝸牛") == {id}
    with texts.writing() as session:
        save(session, Evaluation, [{"id": id, "implementation": "蛍を観察した"}])
    assert found("蝸牛") == set()
    if texts.sqlite:  # nor does the index know it any more
        with texts.reading() as session:
            assert session.scalar(pairs, {"word": '"{}"'.format("蝸牛".encode("utf-16-be").hex())}) == 0
    assert measure
