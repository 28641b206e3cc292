"""What is asked: each question in thousands of variations, so that no answer can come out of a cache unless it should.

The first variation is the one that a hit asks again and again; a miss goes through the others, each once.
"""

import itertools
import random
from collections.abc import Callable
from typing import Any

from bench import data

Asked = dict[str, Any]

TEXT = {
    "L": "a page of 50 measures by section and rating",
    "D": "one measure with its evaluations",
    "E": "a page of 100 evaluations by year and rating",
    "S": "a plan's summary by section and year",
    "SA": "a summary of everything, by plan and section",
    "SY": "a summary of everything, by year",
    "Q": "a page of 50 evaluations that hold a frequent word of two characters",
    "QR": "the same with a rare word",
    "P1": "a page of 50 evaluations near the start of the list",
    "P": "a page of 50 evaluations in the middle of the list",
    "C": "a page of 100 changes",
}
PAGE, LIST = 50, 100


def asked(kind: str, rows: int) -> list[Asked]:
    """The usual question first, then its variations in no order."""
    first, *others = ASKED[kind](rows)
    random.Random(kind).shuffle(others)
    return [first, *others]


def _around(number: int) -> list[int]:
    """Lengths of a page, the usual one first; the others are as long on average."""
    return [number, *(each for each in range(number - 29, number + 30) if each != number)]


def _ratings() -> list[tuple[str, ...]]:
    """One to three of them, in any order; the usual one first."""
    return [("B",), ("A",), ("C",), ("S",)] + [
        some for size in (2, 3) for some in itertools.permutations(data.RATINGS, size)
    ]


def _pages(rows: int) -> list[Asked]:
    sections = [str(n) for n in range(1, data.SECTIONS + 1)]
    return _all(section=sections, ratings=_ratings(), limit=_around(PAGE))


def _details(rows: int) -> list[Asked]:
    return _all(id=range(1, -(-rows // len(data.YEARS)) + 1))


def _rows(rows: int) -> list[Asked]:
    return _all(
        year=[2017, *(year for year in data.YEARS if year != 2017)], ratings=_ratings(), limit=_around(LIST)
    )


def _of_a_plan(rows: int) -> list[Asked]:
    # Some say what goes without saying: the question is the same, the address is another.
    orders = [*itertools.permutations(("plan", "section", "fiscal_year"))]
    plans = [f"plan-{n}" for n in range(1, data.plans_of(rows) + 1)]
    return _all(plan=plans, group_by=orders, unit=(False, True), ratings=[(), data.RATINGS])


def _of_all(*groups: tuple[str, ...]) -> Callable[[int], list[Asked]]:
    ratings = [(), *_ratings(), *itertools.permutations(data.RATINGS)]
    return lambda rows: _all(group_by=groups, ratings=ratings, unit=(False, True))


def _words(rows: int) -> list[Asked]:
    frequent = data.words()
    return _all(word=["支援", *(word for word in frequent if word != "支援")], limit=_around(PAGE))


def _rare_words(rows: int) -> list[Asked]:
    towns = [data.town(number) for number in range(data.plans_of(rows) // data.shape_of(rows).plans)]
    return _all(word=towns, limit=_around(PAGE))


def _places(middle: bool) -> Callable[[int], list[Asked]]:
    def places(rows: int) -> list[Asked]:
        start = rows // 2 if middle else 0
        return _all(after=range(start, start + min(20_000, rows // 3)), limit=[PAGE])

    return places


def _changes(rows: int) -> list[Asked]:
    return _all(after=range(0, min(20_000, rows // 2)), limit=[LIST])


def _all(**parts: Any) -> list[Asked]:
    return [dict(zip(parts, chosen, strict=True)) for chosen in itertools.product(*parts.values())]


ASKED: dict[str, Callable[[int], list[Asked]]] = {
    "L": _pages,
    "D": _details,
    "E": _rows,
    "S": _of_a_plan,
    "SA": _of_all(("section",), ("plan", "section"), ("section", "plan")),
    "SY": _of_all(("fiscal_year",)),
    "Q": _words,
    "QR": _rare_words,
    "P1": _places(middle=False),
    "P": _places(middle=True),
    "C": _changes,
}
