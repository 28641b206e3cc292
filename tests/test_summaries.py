"""How it is going: counts by rating, moves from year to year, promises and what is missing."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import count, groupby
from typing import Any, NamedTuple

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import FUJIMI, KAWAGOE, Backend, running

Row = dict[str, Any]

Mark = str | tuple[str | None, str | None] | None  # a rating, or a rating and a department
Told = Mapping[str, Mapping[int, Sequence[Mark]]]  # the rows of each measure, year by year


@pytest.fixture(scope="module")
def workshop(backend: Backend) -> Iterator[httpx.Client]:
    url = backend.seeded()
    with running(url) as service, service.holder(service.key()) as admin:
        yield admin
    backend.drop(url)


@pytest.fixture
def desk(workshop: httpx.Client) -> httpx.Client:
    """The workshop, cleared of what others have made there: the seed is its only plan."""
    for plan in got(workshop, "/plans", limit=1000)["results"]:
        if plan["slug"] != "fujimi-yumetsunagu":
            answer = workshop.delete(f"/plans/{plan['id']}", headers={"If-Match": "*"})
            assert answer.status_code == 204
    return workshop


def post(client: httpx.Client, path: str, **row: Any) -> Row:
    answer = client.post(path, json=row)
    assert answer.status_code == 201, answer.text
    made: Row = answer.json()
    return made


def make(
    client: httpx.Client, slug: str, told: Told, scale: Sequence[str | Row] = "ABC", **plan: Any
) -> None:
    """A plan with these measures and evaluations; the first number of a code is its section's."""
    post(
        client,
        "/plans",
        **{"slug": slug, "title": f"計画 {slug}", "municipality_code": KAWAGOE, "municipality": "川越市"}
        | plan,
        ratings=[{"code": code} if isinstance(code, str) else code for code in scale],
    )
    for section in dict.fromkeys(code.split("-")[0] for code in told):
        post(client, "/sections", plan=slug, code=section, label=f"第{section}章")
    for code, years in told.items():
        measure = post(
            client, "/measures", plan=slug, section=code.split("-")[0], code=code, title=f"施策 {code}"
        )
        for year, evaluations in years.items():
            for each in evaluations:
                rating, department = each if isinstance(each, tuple) else (each, None)
                post(
                    client,
                    "/evaluations",
                    measure_id=measure["id"],
                    fiscal_year=year,
                    rating=rating,
                    department=department,
                )


def got(client: httpx.Client, path: str, **query: Any) -> Row:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    body: Row = answer.json()
    return body


def summary(client: httpx.Client, **query: Any) -> Row:
    return got(client, "/evaluations/summary", **query)


def counts(tally: Row) -> dict[str, int]:
    return {each["rating"]: each["count"] for each in tally["ratings"]}


def shares(tally: Row) -> dict[str, float | None]:
    return {each["rating"]: each["share"] for each in tally["ratings"]}


# ---------------------------------------------------------------------------------------------------------
# What is counted


def test_a_measure_whose_rows_disagree_is_mixed_and_counts_as_rated(desk: httpx.Client):
    make(
        desk,
        "kodomo",
        {
            "1-1": {2020: ["A", "B"]},
            "1-2": {2020: ["A", "A"]},
            "1-3": {2020: ["B", None]},
            "1-4": {2020: [None, None]},
            "1-5": {},
        },
    )
    body = summary(desk, plan="kodomo", unit="measure")
    revision = got(desk, "/readyz")["revision"]
    assert body == {
        "metadata": {"unit": "measure", "group_by": [], "denominator": "rated", "revision": revision},
        "results": [],
        "total": {
            "total": 4,
            "rated": 3,
            "unrated": 1,
            "ratings": [
                {"rating": "A", "count": 1, "share": 0.3333},
                {"rating": "B", "count": 1, "share": 0.3333},
                {"rating": "C", "count": 0, "share": 0.0},
            ],
            "mixed": 1,
        },
    }
    by_row = summary(desk, plan="kodomo")["total"]
    assert by_row == {
        "total": 8,
        "rated": 5,
        "unrated": 3,
        "ratings": [
            {"rating": "A", "count": 3, "share": 0.6},
            {"rating": "B", "count": 2, "share": 0.4},
            {"rating": "C", "count": 0, "share": 0.0},
        ],
    }


def test_a_measure_that_changed_over_the_years_is_mixed_only_where_years_are_put_together(
    desk: httpx.Client,
):
    make(desk, "kodomo", {"1-1": {2020: ["B"], 2021: ["A"]}, "1-2": {2020: ["A"]}})
    body = summary(desk, plan="kodomo", unit="measure", group_by="fiscal_year")
    assert [(group["fiscal_year"], group["mixed"], counts(group)) for group in body["results"]] == [
        (2020, 0, {"A": 1, "B": 1, "C": 0}),
        (2021, 0, {"A": 1, "B": 0, "C": 0}),
    ]
    assert (body["total"]["total"], body["total"]["mixed"]) == (2, 1)
    assert counts(body["total"]) == {"A": 1, "B": 0, "C": 0}
    of_year = summary(desk, plan="kodomo", unit="measure", fiscal_year="R2")["total"]
    assert (of_year["mixed"], counts(of_year)) == (0, {"A": 1, "B": 1, "C": 0})


def test_a_measure_counts_once_in_each_group_and_once_in_the_total(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2020: [("A", "福祉課"), ("B", "教育課"), ("B", "教育課")]}})
    body = summary(desk, plan="kodomo", unit="measure", group_by="department")
    assert [(group["department"], group["total"], counts(group)) for group in body["results"]] == [
        ("教育課", 1, {"A": 0, "B": 1, "C": 0}),
        ("福祉課", 1, {"A": 1, "B": 0, "C": 0}),
    ]
    assert (body["total"]["total"], body["total"]["mixed"]) == (1, 1)


def test_what_is_not_rated_stands_apart_and_takes_no_share(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2020: ["A", None, None, "B"]}})
    assert summary(desk, plan="kodomo")["total"] == {
        "total": 4,
        "rated": 2,
        "unrated": 2,
        "ratings": [
            {"rating": "A", "count": 1, "share": 0.5},
            {"rating": "B", "count": 1, "share": 0.5},
            {"rating": "C", "count": 0, "share": 0.0},
        ],
    }


def test_where_nothing_is_rated_no_code_has_a_share(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2020: [None]}, "2-1": {2020: ["A"]}})
    unrated, rated = summary(desk, plan="kodomo", group_by="section")["results"]
    assert (unrated["rated"], counts(unrated)) == (0, {"A": 0, "B": 0, "C": 0})
    assert shares(unrated) == {"A": None, "B": None, "C": None}
    assert shares(rated) == {"A": 1.0, "B": 0.0, "C": 0.0}


def test_every_code_of_the_scale_appears_in_its_order_used_or_not(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2020: ["△", "◎"]}}, scale="◎○△×")
    total = summary(desk, plan="kodomo")["total"]
    assert list(counts(total).items()) == [("◎", 1), ("○", 0), ("△", 1), ("×", 0)]
    nothing = summary(desk, plan="kodomo", fiscal_year="R3")
    assert nothing["total"] == {
        "total": 0,
        "rated": 0,
        "unrated": 0,
        "ratings": [{"rating": code, "count": 0, "share": None} for code in "◎○△×"],
    }
    grouped = summary(desk, plan="kodomo", fiscal_year="R3", group_by="section")
    assert (grouped["results"], grouped["total"]) == ([], nothing["total"])


def test_a_code_counts_as_soon_as_it_joins_the_scale(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2020: ["B"]}}, scale="")
    assert counts(summary(desk, plan="kodomo")["total"]) == {"B": 1}
    post(desk, "/evaluations", plan="kodomo", measure_code="1-1", fiscal_year="R3", rating="A")
    assert list(counts(summary(desk, plan="kodomo")["total"]).items()) == [("A", 1), ("B", 1)]


def test_shares_have_four_decimals_half_up_and_need_not_add_up_to_one(desk: httpx.Client):
    make(
        desk,
        "kodomo",
        {
            "1-1": {2020: ["A", *"B" * 7]},
            "2-1": {2020: ["A", *"B" * 15]},
            "3-1": {2020: ["A", *"B" * 31]},
            "4-1": {2020: ["A", "B", "C"]},
            "5-1": {2020: ["A", "A", "B"]},
        },
    )
    found = {
        group["section"]: tuple(shares(group).values())
        for group in summary(desk, plan="kodomo", group_by="section")["results"]
    }
    assert found == {
        "1": (0.125, 0.875, 0.0),
        "2": (0.0625, 0.9375, 0.0),
        "3": (0.0313, 0.9688, 0.0),  # 0.03125 and 0.96875
        "4": (0.3333, 0.3333, 0.3333),
        "5": (0.6667, 0.3333, 0.0),
    }


# ---------------------------------------------------------------------------------------------------------
# Groups


def test_groups_carry_their_codes_and_labels(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2019: [("A", "福祉課")]}}, title="こども計画")
    (group,) = summary(desk, plan="kodomo", group_by="municipality,plan,section,fiscal_year,department")[
        "results"
    ]
    assert group == {
        "municipality": KAWAGOE,
        "municipality_label": "川越市",
        "plan": "kodomo",
        "plan_label": "こども計画",
        "section": "1",
        "section_label": "第1章",
        "fiscal_year": 2019,
        "fiscal_year_label": "令和元年度",
        "department": "福祉課",
        "total": 1,
        "rated": 1,
        "unrated": 0,
        "ratings": [
            {"rating": "A", "count": 1, "share": 1.0},
            {"rating": "B", "count": 0, "share": 0.0},
            {"rating": "C", "count": 0, "share": 0.0},
        ],
    }


def test_groups_stand_in_the_order_in_which_they_were_asked_for(desk: httpx.Client):
    make(
        desk,
        "kodomo",
        {
            "10-1": {2020: ["A"], 2021: ["B"]},
            "2-1": {2021: ["B", "B"], 2020: ["C"]},
        },
    )
    by_section = summary(desk, plan="kodomo", group_by="section,fiscal_year")
    assert by_section["metadata"]["group_by"] == ["section", "fiscal_year"]
    assert [(group["section"], group["fiscal_year"], group["total"]) for group in by_section["results"]] == [
        ("2", 2020, 1),
        ("2", 2021, 2),
        ("10", 2020, 1),
        ("10", 2021, 1),
    ]
    by_year = summary(desk, plan="kodomo", group_by="fiscal_year,section,fiscal_year")
    assert by_year["metadata"]["group_by"] == ["fiscal_year", "section"]
    assert [(group["fiscal_year"], group["section"], group["total"]) for group in by_year["results"]] == [
        (2020, "2", 1),
        (2020, "10", 1),
        (2021, "2", 2),
        (2021, "10", 1),
    ]
    assert by_section["total"] == by_year["total"]
    assert counts(by_year["total"]) == {"A": 1, "B": 3, "C": 1}


def test_sections_whose_codes_count_the_same_are_two_groups(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2020: ["A"]}, "01-1": {2020: ["B", "B"]}})
    groups = summary(desk, plan="kodomo", group_by="section")["results"]
    assert [(group["section"], group["total"]) for group in groups] == [("01", 2), ("1", 1)]


def test_the_group_without_a_department_comes_last(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2020: ["A", ("B", "福祉課"), ("A", "教育課"), ("C", "福祉課")]}})
    for group_by, name in (("department", None), ("section,department", "1")):
        groups = summary(desk, plan="kodomo", group_by=group_by)["results"]
        assert [(group.get("section"), group["department"], group["total"]) for group in groups] == [
            (name, "教育課", 1),
            (name, "福祉課", 2),
            (name, None, 1),
        ]


def test_sections_of_several_plans_stay_with_their_plans(desk: httpx.Client):
    make(desk, "b-kankyo", {"1-1": {2020: ["A"]}, "2-1": {2020: ["B"]}}, title="環境計画")
    make(desk, "a-kodomo", {"1-1": {2020: ["B"]}}, title="こども計画")
    body = summary(desk, municipality=KAWAGOE, group_by="section")
    assert body["metadata"]["group_by"] == ["plan", "section"]
    assert [
        (group["plan"], group["plan_label"], group["section"], counts(group)) for group in body["results"]
    ] == [
        ("a-kodomo", "こども計画", "1", {"A": 0, "B": 1, "C": 0}),
        ("b-kankyo", "環境計画", "1", {"A": 1, "B": 0, "C": 0}),
        ("b-kankyo", "環境計画", "2", {"A": 0, "B": 1, "C": 0}),
    ]
    by_year = summary(desk, municipality=KAWAGOE, group_by="fiscal_year,section")
    assert by_year["metadata"]["group_by"] == ["fiscal_year", "plan", "section"]
    of_one = summary(desk, plan="b-kankyo", group_by="section")
    assert of_one["metadata"]["group_by"] == ["section"]
    assert "plan" not in of_one["results"][0]


@pytest.mark.parametrize("group_by", ["measure", "", "section,", "section,plans", "rating", "-section"])
def test_an_unknown_group_is_refused_and_the_known_ones_are_named(group_by, read: httpx.Client):
    answer = read.get("/evaluations/summary", params={"group_by": group_by})
    allowed = "municipality, plan, section, fiscal_year, department"
    assert (answer.status_code, answer.json()["errors"]) == (
        422,
        [{"parameter": "group_by", "detail": f"次の名前をコンマ区切りで指定してください: {allowed}"}],
    )


@pytest.mark.parametrize("unit", ["", "row", "Measure", "measures"])
def test_an_unknown_unit_is_refused_and_the_known_ones_are_named(unit, read: httpx.Client):
    answer = read.get("/evaluations/summary", params={"unit": unit})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["parameter"]) == (422, "unit")
    assert "evaluation" in error["detail"]
    assert "measure" in error["detail"]


# ---------------------------------------------------------------------------------------------------------
# Scales


def labelled(*labels: str | None) -> list[Row]:
    return [{"code": code, "label": label} for code, label in zip("AB", labels, strict=True)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("AB", "ABC"),
        ("AB", "BA"),
        ("AB", "ab"),
        ("AB", "ＡＢ"),
        ("AB", "◎○"),
        (labelled("順調", "遅れ"), labelled("順調", "中止")),
        (labelled("順調", None), labelled(None, None)),
    ],
)
def test_plans_with_different_scales_are_not_summed(one, other, desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2020: ["A"]}}, scale=one)
    make(desk, "kankyo", {"1-1": {2020: [other[0] if isinstance(other, str) else "A"]}}, scale=other)
    detail = (
        "評価区分が異なる計画は合計しません。group_by に plan を加えるか、plan で計画を一つ指定してください。"
    )
    for unit in ("evaluation", "measure"):
        for groups in ({}, {"group_by": "fiscal_year"}, {"group_by": "municipality,department"}):
            answer = desk.get("/evaluations/summary", params={"municipality": KAWAGOE, "unit": unit} | groups)
            assert (answer.status_code, answer.json()) == (
                422,
                {
                    "type": "/docs/problems/invalid",
                    "title": "入力に誤りがあります",
                    "status": 422,
                    "detail": detail,
                    "instance": "/evaluations/summary",
                    "errors": [{"parameter": "group_by", "detail": detail}],
                },
            )


def test_the_ways_that_the_refusal_names_lead_out_of_it(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2020: ["A", "B"]}}, scale="AB")
    make(desk, "kankyo", {"1-1": {2020: ["◎"]}, "2-1": {2020: [None]}}, scale="◎○")
    answer = desk.get(
        "/evaluations/summary", params={"municipality": KAWAGOE}, headers={"Accept-Language": "en"}
    )
    assert answer.json()["detail"] == (
        "Plans with different rating scales are not summed. Group by plan, or name one with plan=."
    )
    body = summary(desk, municipality=KAWAGOE, group_by="plan")
    assert [(group["plan"], counts(group)) for group in body["results"]] == [
        ("kankyo", {"◎": 1, "○": 0}),
        ("kodomo", {"A": 1, "B": 1}),
    ]
    assert body["total"] == {"total": 4, "rated": 3, "unrated": 1, "ratings": None}
    by_measure = summary(desk, municipality=KAWAGOE, group_by="plan", unit="measure")
    assert by_measure["total"] == {"total": 3, "rated": 2, "unrated": 1, "ratings": None, "mixed": 1}
    for group_by in ("plan,section", "section", "fiscal_year,plan"):
        assert len(summary(desk, municipality=KAWAGOE, group_by=group_by)["results"]) in (2, 3)
    assert counts(summary(desk, plan="kankyo")["total"]) == {"◎": 1, "○": 0}


def test_a_filter_that_leaves_one_scale_leaves_nothing_to_refuse(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2020: ["A"]}}, scale="AB")
    make(desk, "kankyo", {"1-1": {2021: ["◎"]}}, scale="◎○")
    assert counts(summary(desk, municipality=KAWAGOE, fiscal_year="R2")["total"]) == {"A": 1, "B": 0}
    assert counts(summary(desk, municipality=KAWAGOE, fiscal_year="R3")["total"]) == {"◎": 1, "○": 0}
    nothing = {"total": 0, "rated": 0, "unrated": 0, "ratings": None}
    assert summary(desk, municipality=KAWAGOE, fiscal_year="R4")["total"] == nothing


def test_plans_with_the_same_scale_are_summed_also_over_municipalities(desk: httpx.Client):
    explained = [{"code": "A", "description": "計画どおり"}, {"code": "B"}]
    make(desk, "kodomo", {"1-1": {2020: ["A", "B"]}}, scale="AB")
    make(desk, "kankyo", {"1-1": {2020: ["B"]}}, scale=explained)
    make(desk, "fujimi-kankyo", {"1-1": {2020: ["B"]}}, scale="AB", municipality_code=FUJIMI)
    body = summary(desk, fiscal_year="R2", group_by="municipality")
    assert [(group["municipality"], counts(group)) for group in body["results"]] == [
        (KAWAGOE, {"A": 1, "B": 2}),
        (FUJIMI, {"A": 0, "B": 1}),
    ]
    assert counts(body["total"]) == {"A": 1, "B": 3}
    assert counts(summary(desk)["total"]) == {"A": 17 + 1, "B": 9 + 3}


def test_a_scale_that_comes_to_differ_is_no_longer_summed(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2020: ["A"]}}, scale="AB")
    assert summary(desk)["total"]["total"] == 27
    post(desk, "/evaluations", plan="kodomo", measure_code="1-1", fiscal_year="R2", rating="C")
    assert desk.get("/evaluations/summary").status_code == 422


# ---------------------------------------------------------------------------------------------------------
# Against a plain count

YEARS = {2020: "令和2年度", 2021: "令和3年度"}
MARKS = st.tuples(st.sampled_from(["A", "B", "C", None]), st.sampled_from(["福祉課", "教育課", None]))
LIBRARIES = st.dictionaries(
    st.sampled_from(["1-1", "1-2", "2-1", "10-1"]),
    st.dictionaries(st.sampled_from(list(YEARS)), st.lists(MARKS, max_size=3), max_size=2),
    max_size=3,
)
GROUPINGS = ["", "section", "fiscal_year", "department", "fiscal_year,section", "department,fiscal_year"]


class Counted(NamedTuple):
    """An evaluation as far as it is counted."""

    measure: str
    section: int
    fiscal_year: int
    department: str | None
    rating: str | None


def half_up(part: int, whole: int) -> float | None:
    return float((Fraction(part, whole) * 10_000 + Fraction(1, 2)) // 1) / 10_000 if whole else None


def tally(evaluations: Iterable[Counted], unit: str) -> Row:
    marks: list[str | None]
    if unit == "evaluation":
        marks = [each.rating for each in evaluations]
    else:
        of_measure: dict[str, set[str]] = {}
        for each in evaluations:
            of_measure.setdefault(each.measure, set()).update([each.rating] if each.rating else [])
        marks = [
            None if not ratings else "mixed" if len(ratings) > 1 else next(iter(ratings))
            for ratings in of_measure.values()
        ]
    found = Counter(marks)
    rated = len(marks) - found[None]
    return {
        "total": len(marks),
        "rated": rated,
        "unrated": found[None],
        "ratings": [
            {"rating": code, "count": found[code], "share": half_up(found[code], rated)} for code in "ABC"
        ],
        **({"mixed": found["mixed"]} if unit == "measure" else {}),
    }


def shown(names: Sequence[str], of: Counted) -> Row:
    labels: dict[str, Row] = {
        "section": {"section": str(of.section), "section_label": f"第{of.section}章"},
        "fiscal_year": {"fiscal_year": of.fiscal_year, "fiscal_year_label": YEARS[of.fiscal_year]},
        "department": {"department": of.department},
    }
    return {label: value for name in names for label, value in labels[name].items()}


def grouped(evaluations: Sequence[Counted], names: Sequence[str], unit: str) -> list[Row]:
    def place(of: Counted) -> list[tuple[bool, Any]]:
        return [(getattr(of, name) is None, getattr(of, name) or "") for name in names]

    groups = groupby(sorted(evaluations, key=place), key=place) if names else ()
    return [
        {**shown(names, members[0]), **tally(members, unit)}
        for members in (list(group) for _, group in groups)
    ]


numbers = count(1)


@settings(max_examples=10, deadline=None)
@given(LIBRARIES)
def test_a_summary_says_what_a_plain_count_says(
    workshop: httpx.Client, told: dict[str, dict[int, list[tuple[str | None, str | None]]]]
):
    slug = f"keikaku-{next(numbers)}"
    make(workshop, slug, told)
    evaluations = [
        Counted(code, int(code.split("-")[0]), year, department, rating)
        for code, years in told.items()
        for year, marks in years.items()
        for rating, department in marks
    ]
    for unit in ("evaluation", "measure"):
        for group_by in GROUPINGS:
            names = group_by.split(",") if group_by else []
            query = {"group_by": group_by} if names else {}
            body = summary(workshop, plan=slug, unit=unit, **query)
            assert body == {
                "metadata": {
                    "unit": unit,
                    "group_by": names,
                    "denominator": "rated",
                    "revision": body["metadata"]["revision"],
                },
                "results": grouped(evaluations, names, unit),
                "total": tally(evaluations, unit),
            }


# ---------------------------------------------------------------------------------------------------------
# Transitions

MOVED: Told = {
    "1-1": {2020: ["B"], 2021: ["A"]},
    "1-2": {2020: ["C", "C"], 2021: ["B"]},
    "1-10": {2020: ["A"], 2021: ["S", None]},
    "2-1": {2020: ["A"], 2021: ["A"]},
    "2-2": {2020: ["S"], 2021: ["C"]},
    "3-1": {2021: ["A", None]},
    "3-2": {2020: ["B"], 2022: ["A"]},
    "4-1": {2020: ["A", "B"], 2021: ["A"]},
    "4-2": {2020: ["A"], 2021: ["C", "A", "C"]},
    "5-1": {2020: ["A"], 2021: [None]},
    "5-2": {2020: [None], 2021: [None]},
    "6-1": {2022: ["A"]},
    "6-2": {},
}


def transitions(client: httpx.Client, plan: str, **years: str) -> Row:
    return got(client, f"/plans/{plan}/transitions", **years)


def test_every_measure_stands_in_the_list_that_tells_how_it_moved(desk: httpx.Client):
    make(desk, "kodomo", MOVED, scale="SABC", ratings_closed=True)
    ids = {row["code"]: row["id"] for row in got(desk, "/measures", plan="kodomo")["results"]}

    def move(code: str, old: list[str | None], new: list[str | None]) -> Row:
        return {
            "measure_id": ids[code],
            "section": code.split("-")[0],
            "code": code,
            "title": f"施策 {code}",
            "from": old,
            "to": new,
        }

    pairs = Counter({("B", "A"): 1, ("C", "B"): 1, ("A", "S"): 1, ("A", "A"): 1, ("S", "C"): 1})
    expected = {
        "metadata": {
            "plan": "kodomo",
            "from": 2020,
            "from_label": "令和2年度",
            "to": 2021,
            "to_label": "令和3年度",
            "unit": "measure",
            "order": "declared",
            "revision": got(desk, "/readyz")["revision"],
        },
        "matrix": [{"from": old, "to": new, "count": pairs[old, new]} for old in "SABC" for new in "SABC"],
        "improved": [
            move("1-1", ["B"], ["A"]),
            move("1-2", ["C", "C"], ["B"]),
            move("1-10", ["A"], ["S", None]),
        ],
        "unchanged": [move("2-1", ["A"], ["A"])],
        "worsened": [move("2-2", ["S"], ["C"])],
        "added": [move("3-1", [], ["A", None])],
        "removed": [move("3-2", ["B"], [])],
        "mixed": [move("4-1", ["A", "B"], ["A"]), move("4-2", ["A"], ["C", "A", "C"])],
        "unrated": [move("5-1", ["A"], [None]), move("5-2", [None], [None])],
    }
    assert transitions(desk, "kodomo", **{"from": "R2", "to": "R3"}) == expected
    plan = got(desk, "/plans/kodomo")
    assert transitions(desk, str(plan["id"]), **{"from": "2020", "to": "令和三年度"}) == expected


def test_looking_back_turns_every_move_around(desk: httpx.Client):
    make(desk, "kodomo", MOVED, scale="SABC")
    forth = transitions(desk, "kodomo", **{"from": "R2", "to": "R3"})
    back = transitions(desk, "kodomo", **{"from": "R3", "to": "R2"})

    def turned(name: str) -> list[Row]:
        return [move | {"from": move["to"], "to": move["from"]} for move in back[name]]

    for name, opposite in (("improved", "worsened"), ("added", "removed")):
        assert (forth[name], forth[opposite]) == (turned(opposite), turned(name))
    for name in ("unchanged", "mixed", "unrated"):
        assert forth[name] == turned(name)
    assert {(cell["from"], cell["to"], cell["count"]) for cell in forth["matrix"]} == {
        (cell["to"], cell["from"], cell["count"]) for cell in back["matrix"]
    }


def test_a_year_compared_with_itself_shows_no_move(desk: httpx.Client):
    make(desk, "kodomo", MOVED, scale="SABC")
    body = transitions(desk, "kodomo", **{"from": "R2", "to": "R2"})
    assert body["improved"] == body["worsened"] == body["added"] == body["removed"] == []
    assert [move["code"] for move in body["unchanged"]] == [
        "1-1",
        "1-2",
        "1-10",
        "2-1",
        "2-2",
        "3-2",
        "4-2",
        "5-1",
    ]


def test_better_and_worse_follow_the_plans_own_order_assumed_until_it_is_declared(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {2020: ["1"], 2021: ["2"]}}, scale="12")
    years = {"from": "R2", "to": "R3"}
    body = transitions(desk, "kodomo", **years)
    assert (body["metadata"]["order"], len(body["worsened"])) == ("assumed", 1)
    turned = {"ratings": [{"code": "2"}, {"code": "1"}], "ratings_closed": True}
    assert desk.patch("/plans/kodomo", json=turned, headers={"If-Match": "*"}).status_code == 200
    body = transitions(desk, "kodomo", **years)
    assert (body["metadata"]["order"], len(body["improved"])) == ("declared", 1)


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ({}, {"from", "to"}),
        ({"from": "H29"}, {"to"}),
        ({"from": "29", "to": "30"}, {"from", "to"}),
        ({"from": "H29", "to": "H30", "fiscal_year": "H29"}, {"fiscal_year"}),
    ],
)
def test_two_fiscal_years_are_asked_for(query, parameters, read: httpx.Client):
    answer = read.get("/plans/fujimi-yumetsunagu/transitions", params=query)
    assert answer.status_code == 422
    assert {error["parameter"] for error in answer.json()["errors"]} == parameters


# ---------------------------------------------------------------------------------------------------------
# Timeline


def test_a_timeline_holds_each_year_against_what_the_year_before_had_planned(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {}, "1-2": {2019: ["A"]}})
    (measure,) = got(desk, "/measures", plan="kodomo", measure="1-1")["results"]

    def evaluation(year: str, done: str, rating: str | None, next_plan: str | None) -> Row:
        return post(
            desk,
            "/evaluations",
            measure_id=measure["id"],
            fiscal_year=year,
            implementation=done,
            rating=rating,
            next_plan=next_plan,
        )

    latest = evaluation("R4", "再開した", "B", "続ける")
    second = [evaluation("R2", "2か所で開いた", "A", "3か所にする"), evaluation("R2", "広報した", None, None)]
    first = [
        evaluation("R1", "準備した", "B", "開設する"),
        evaluation("R1", "調査した", "B", None),
        evaluation("R1", "協議した", "C", "広報する"),
    ]
    assert got(desk, f"/measures/{measure['id']}/timeline") == {
        "metadata": {"measure": measure, "revision": got(desk, "/readyz")["revision"]},
        "results": [
            {
                "fiscal_year": 2019,
                "fiscal_year_label": "令和元年度",
                "planned": [],
                "evaluations": first,
            },
            {
                "fiscal_year": 2020,
                "fiscal_year_label": "令和2年度",
                "planned": [
                    {"evaluation_id": first[0]["id"], "ordinal": 1, "next_plan": "開設する"},
                    {"evaluation_id": first[2]["id"], "ordinal": 3, "next_plan": "広報する"},
                ],
                "evaluations": second,
            },
            {
                # Nothing is known of R3, so nothing that it planned; what R2 planned was not for R4.
                "fiscal_year": 2022,
                "fiscal_year_label": "令和4年度",
                "planned": [],
                "evaluations": [latest],
            },
        ],
    }


def test_a_measure_that_was_never_evaluated_has_an_empty_timeline(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {}})
    (measure,) = got(desk, "/measures", plan="kodomo")["results"]
    assert got(desk, f"/measures/{measure['id']}/timeline") == {
        "metadata": {"measure": measure, "revision": got(desk, "/readyz")["revision"]},
        "results": [],
    }


@pytest.mark.parametrize(
    "path",
    ["/measures/999/timeline", "/plans/999/completeness", "/plans/no-plan/transitions?from=H29&to=H30"],
)
def test_what_is_not_there_is_not_found(path, read: httpx.Client):
    answer = read.get(path)
    assert (answer.status_code, answer.json()["type"]) == (404, "/docs/problems/not-found")


# ---------------------------------------------------------------------------------------------------------
# Completeness


def test_completeness_names_every_measure_and_row_with_a_gap(desk: httpx.Client):
    make(desk, "kodomo", {"1-1": {}, "1-2": {}, "1-10": {}, "2-1": {}})
    measures = {row["code"]: row for row in got(desk, "/measures", plan="kodomo")["results"]}
    whole = {"implementation": "開いた", "rating": "A", "rationale": "予定どおり", "next_plan": "続ける"}

    def evaluation(code: str, year: str, *gaps: str) -> Row:
        row = {"measure_id": measures[code]["id"], "fiscal_year": year}
        made = post(
            desk, "/evaluations", **row, **{name: text for name, text in whole.items() if name not in gaps}
        )
        return {name: made[name] for name in ("id", "key", "measure_title")}

    def measure(code: str) -> Row:
        return {name: measures[code][name] for name in ("id", "key", "title")}

    bare = evaluation("1-10", "R2", *whole)
    unrated = evaluation("1-2", "R2", "rating")
    evaluation("1-2", "R2")
    later = evaluation("1-2", "R3", "rationale", "next_plan")
    evaluation("1-1", "R3")

    body: Row = {
        "metadata": {
            "plan": "kodomo",
            "fiscal_year": None,
            "measures": 4,
            "evaluations": 5,
            "revision": got(desk, "/readyz")["revision"],
        },
        "measures_without_evaluation": [measure("2-1")],
        "without_implementation": [bare],
        "without_rating": [unrated, bare],
        "without_rationale": [later, bare],
        "without_next_plan": [later, bare],
    }
    assert got(desk, "/plans/kodomo/completeness") == body
    assert got(desk, "/plans/kodomo/completeness", fiscal_year="令和2年度") == {
        "metadata": body["metadata"] | {"fiscal_year": 2020, "evaluations": 3},
        "measures_without_evaluation": [measure("1-1"), measure("2-1")],
        "without_implementation": [bare],
        "without_rating": [unrated, bare],
        "without_rationale": [bare],
        "without_next_plan": [bare],
    }


def test_a_plan_without_anything_is_missing_nothing(desk: httpx.Client):
    make(desk, "kodomo", {})
    assert got(desk, "/plans/kodomo/completeness") == {
        "metadata": {
            "plan": "kodomo",
            "fiscal_year": None,
            "measures": 0,
            "evaluations": 0,
            "revision": got(desk, "/readyz")["revision"],
        },
        "measures_without_evaluation": [],
        "without_implementation": [],
        "without_rating": [],
        "without_rationale": [],
        "without_next_plan": [],
    }


def test_a_municipality_that_two_plans_name_differently_has_one_name(desk: httpx.Client):
    make(desk, "first", {"1-1": {2017: ["A"]}}, municipality="川越市")
    make(desk, "second", {"1-1": {2017: ["A", ("B", "福祉課")]}}, municipality="川越")
    for group_by in ("municipality", "municipality,department"):
        found = got(desk, "/evaluations/summary", municipality=KAWAGOE, group_by=group_by)
        names = [group["municipality_label"] for group in found["results"] if group.get("department") is None]
        assert names == ["川越市"]


def test_a_refusal_comes_before_what_the_reader_knows(desk: httpx.Client):
    make(desk, "other", {"1-1": {2017: ["x"]}}, scale="xy")
    known = {"If-None-Match": "*"}
    assert desk.get("/evaluations/summary", headers=known).status_code == 422
    assert desk.get("/evaluations/summary?plan=other", headers=known).status_code == 304
