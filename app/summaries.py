"""How it is going: summary, transitions, timeline and completeness, counted by the database."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache, partial
from operator import itemgetter
from typing import Annotated, Any, Literal, NamedTuple

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from app import fiscal_years
from app.changes import RevisionRead
from app.evaluations import EVALUATIONS, EvaluationFilters, EvaluationShape
from app.fiscal_years import FiscalYearParameter
from app.kit.database import Reading, brief, database_of
from app.kit.errors import Finding, Invalid, Say
from app.kit.fetching import Prepared, fetch
from app.kit.http import answer, unless_known
from app.kit.listing import Names, shape_of
from app.kit.remembering import remembered
from app.kit.session import Session
from app.measures import MEASURES, MeasureShape, evaluations_of
from app.models import EVALUATION, MEASURE, PLAN, SECTION, TALLY
from app.plans import PLANS, PlanInPath, plan_id
from app.shapes import InPlan, RowId

router = APIRouter()

Scale = list[dict[str, Any]]
Count = Mapping[str, Any]

# ---------------------------------------------------------------------------------------------------------
# Summary


class Kind(NamedTuple):
    """What groups of a kind show, the code first and then the label if there is one, and what they are sorted by."""

    shown: Mapping[str, sa.ColumnElement[Any]]
    order: sa.ColumnElement[Any]


# Of rows, the others are of their measures.
YEAR: sa.ColumnElement[Any] = sa.column("fiscal_year")
DEPARTMENT: sa.ColumnElement[Any] = sa.column("department")
GROUPS = {
    "municipality": Kind(
        {"municipality": PLAN.c.municipality_code, "municipality_label": PLAN.c.municipality},
        PLAN.c.municipality_code,
    ),
    "plan": Kind({"plan": PLAN.c.slug, "plan_label": PLAN.c.title}, PLAN.c.slug),
    "section": Kind({"section": SECTION.c.code, "section_label": SECTION.c.label}, SECTION.c.code_order),
    "fiscal_year": Kind({"fiscal_year": YEAR}, YEAR),
    "department": Kind({"department": DEPARTMENT}, DEPARTMENT),
}


class RatingCount(BaseModel):
    rating: Annotated[str, Field(description="Code of the scale (評価)")]
    count: Annotated[int, Field(ge=0, description="How many (件数)")]
    share: Annotated[
        float | None,
        Field(
            ge=0, le=1, description="count / rated, four decimals, half up; null when nothing is rated (割合)"
        ),
    ]


class Tally(BaseModel):
    total: Annotated[int, Field(ge=0, description="Rows, or measures, in all (総数)")]
    rated: Annotated[int, Field(ge=0, description="Of these rated: the denominator of the shares (評価あり)")]
    unrated: Annotated[int, Field(ge=0, description="Of these not rated (評価なし)")]
    ratings: Annotated[
        list[RatingCount] | None,
        Field(
            description="Every code of the scale, zero or not; null in a total over different scales (評価別)"
        ),
    ]
    mixed: (
        Annotated[
            int,
            Field(
                ge=0,
                description="Only with `unit=measure`: measures whose rows disagree, within `rated` (評価が割れた施策)",
            ),
        ]
        | SkipJsonSchema[None]
    ) = None


class Group(Tally):
    """A tally, and what it is of: the code and label of each group that was asked for."""

    municipality: (
        Annotated[str, Field(description="Municipality code (市区町村コード)")] | SkipJsonSchema[None]
    ) = None
    municipality_label: Annotated[str, Field(description="Its name (市区町村名)")] | SkipJsonSchema[None] = (
        None
    )
    plan: Annotated[str, Field(description="Plan slug (計画)")] | SkipJsonSchema[None] = None
    plan_label: Annotated[str, Field(description="Its title (計画名)")] | SkipJsonSchema[None] = None
    section: Annotated[str, Field(description="Section code (節コード)")] | SkipJsonSchema[None] = None
    section_label: Annotated[str | None, Field(description="Its label as printed (節の表記)")] = None
    fiscal_year: Annotated[int, Field(description="Fiscal year (年度)")] | SkipJsonSchema[None] = None
    fiscal_year_label: (
        Annotated[str, Field(description="The same as printed in Japan (年度の表記)")] | SkipJsonSchema[None]
    ) = None
    department: Annotated[str | None, Field(description="Department (担当課); null when not known")] = None


class SummaryMetadata(BaseModel):
    unit: Annotated[
        Literal["evaluation", "measure"], Field(description="What is counted: rows, or measures (集計単位)")
    ]
    group_by: Annotated[
        list[str],
        Field(
            description="What the groups are. Section codes belong to their plan: over several plans `section` "
            "becomes `plan, section` (集計軸)"
        ),
    ]
    denominator: Annotated[Literal["rated"], Field(description="What the shares are shares of (分母)")]
    revision: Annotated[
        int, Field(ge=0, description="The state of the database that this answer shows (リビジョン)")
    ]


class Summary(BaseModel):
    metadata: Annotated[SummaryMetadata, Field(description="What was counted, and how (集計の条件)")]
    results: Annotated[
        list[Group], Field(description="One tally for each group; empty without `group_by` (結果)")
    ]
    total: Annotated[Tally, Field(description="The same without groups (合計)")]


class SummaryQuery(EvaluationFilters):
    group_by: (
        Annotated[
            str,
            Names(
                tuple(GROUPS),
                "One group for each of these together, several by comma; sections come with their plan (集計軸)",
            ),
        ]
        | None
    ) = None
    unit: Annotated[
        Literal["evaluation", "measure"], Field(description="Count rows, or measures (集計単位)")
    ] = "evaluation"


@router.get("/evaluations/summary", response_model=Summary, tags=["evaluations"])
async def summarise_evaluations(
    request: Request, query: Annotated[SummaryQuery, Query()], session: Reading, revision: RevisionRead
) -> Response:
    """評価の集計: counts by rating, with the filters of the list. The filters come first: a unit is judged by the
    rows that they leave.

    The unit and the denominator are part of the answer; what is not rated is counted apart. With `unit=measure`
    a measure counts once in each group, as `mixed` when its rows there disagree: name a fiscal year, or group by
    it, unless all years are meant together.

    A rating counts only within its own scale. Plans are summed when their scales are the same (codes, order,
    labels); else the answer is 422 until they are grouped by plan or one is named.
    """

    def counted() -> Response:
        # Whether the reader has it already is asked last: a refusal comes first (RFC 9110, 13.2.1).
        return answer(request, summary(session, query, revision.seq), etag=revision.etag)

    return await database_of(request).run(counted, short=query.plan is not None)


def summary(session: Session, query: SummaryQuery, revision: int) -> dict[str, Any]:
    names, results, total = summed(session, query)
    return {
        "metadata": {"unit": query.unit, "group_by": names, "denominator": "rated", "revision": revision},
        "results": results,
        "total": total,
    }


def summed(session: Session, query: SummaryQuery) -> tuple[list[str], list[dict[str, Any]], dict[str, Any]]:
    """What the groups are, a tally for each, and one of all."""
    names = list(dict.fromkeys(query.group_by.split(","))) if query.group_by else []
    counts = _counts(session, query, names)
    if "section" in names and "plan" not in names and len({row["plan_id"] for row in counts}) > 1:
        names.insert(names.index("section"), "plan")
    scales = _scales(session, query, counts)

    groups: dict[tuple[Any, ...], list[Count]] = defaultdict(list)
    if names:
        key_of = itemgetter(*(f"_order_{name}" for name in names), *names)
        for row in counts:
            groups[key_of(row)].append(row)
    results = []
    for key in sorted(groups, key=partial(_nulls_last, len(names))):
        rows = groups[key]
        scale, *others = {row["scale"] for row in rows}
        if others:
            raise _not_summable()
        first = min(rows, key=itemgetter("plan_id"))  # plans may name their municipality differently
        results.append({**_shown(first, names), **_tally(rows, scales[scale], query.unit)})

    if len(scales) > 1 and counts and "plan" not in names:
        raise _not_summable()
    common = None if len(scales) > 1 else next(iter(scales.values()), [])
    overall = counts if query.unit == "evaluation" else _counts(session, query, [])
    return names, results, _tally(overall, common, query.unit)


def _counts(session: Session, query: SummaryQuery, names: Sequence[str]) -> Sequence[Count]:
    """How many units of each group, of each plan, have which rating: (group…, plan_id, scale, code, mixed, n).

    Plans of one scale are told as one, where nothing is asked that the tallies do not know.
    """
    given = query.given()

    def known(kind: str, make: Callable[[SummaryQuery, Sequence[str]], sa.Select[Any]]) -> Prepared:
        key = kind, shape_of(query, given), *names
        return remembered(_known, MOST_KNOWN, key, lambda: Prepared(make(query, names)))

    summable = _tallied(query, names) and {*names} <= {"fiscal_year"}
    if summable and (any_plan := known("scale", _of_one_scale).fetch(session, given)):
        ours = {"_plan": any_plan[0]["id"], "_scale": any_plan[0]["scale"]}
        return known("together", _together).fetch(session, {**given, **ours})
    return known("apart", _apart).fetch(session, given)


MOST_KNOWN = 500  # statements
_known: dict[tuple[Any, ...], Prepared] = {}


def _of_one_scale(query: SummaryQuery, names: Sequence[str]) -> sa.Select[Any]:
    """Any of the plans, if all have one scale: the first of an index is the last, too."""
    here = InPlan.where(query, PLAN)
    first, last = (
        sa.select(PLAN.c.scale).where(*here).order_by(order).limit(1).correlate(None).scalar_subquery()
        for order in (PLAN.c.scale.asc(), PLAN.c.scale.desc())
    )
    return sa.select(PLAN.c.id, PLAN.c.scale).where(*here, first == last).limit(1)


def _tallied(query: SummaryQuery, names: Sequence[str]) -> bool:
    return query.unit == "evaluation" and query.tallied and "department" not in names


def _apart(query: SummaryQuery, names: Sequence[str]) -> sa.Select[Any]:
    """Plans are always told apart, so that scales can be compared. The few groups that are left learn their names."""
    found = (_of_tallies if _tallied(query, names) else _of_rows)(query, names).subquery()
    named = found.join(PLAN, found.c.plan_id == PLAN.c.id)
    if "section" in names:
        named = named.join(SECTION, found.c.section_id == SECTION.c.id)
    shown: dict[str, sa.ColumnElement[Any]] = {}
    for name in dict.fromkeys((*names, "plan")):
        shown |= {**GROUPS[name].shown, f"_order_{name}": GROUPS[name].order}
    columns = (column.label(label) for label, column in shown.items())
    counts = (PLAN.c.scale, *(found.c[name] for name in ("plan_id", "code", "mixed", "n")))
    return sa.select(*columns, *counts).select_from(named)


def _of_tallies(query: SummaryQuery, names: Sequence[str]) -> sa.Select[Any]:
    by = [TALLY.c[name] for name in ("section", "fiscal_year") if name in names]
    counted = sa.select(TALLY.c.plan, *by, TALLY.c.rating, N).where(*query.tallies(apart=True))
    each = counted.group_by(TALLY.c.plan, *by, TALLY.c.rating).subquery()
    told = [PLAN.c.id.label("plan_id"), *(each.c[column.name] for column in by if column.name != "section")]
    source: sa.FromClause = each.join(PLAN, each.c.plan == PLAN.c.slug)
    if "section" in names:
        source = source.join(SECTION, (SECTION.c.plan_id == PLAN.c.id) & (SECTION.c.code == each.c.section))
        told.append(SECTION.c.id.label("section_id"))
    return sa.select(*told, _code(each.c.rating), sa.false().label("mixed"), each.c.n).select_from(source)


N = sa.cast(sa.func.sum(TALLY.c.n), sa.BigInteger).label("n")


def _code(rating: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    return sa.func.nullif(rating, "").label("code")


def _of_rows(query: SummaryQuery, names: Sequence[str]) -> sa.Select[Any]:
    """Rows are counted by measure, which an index has in order, then by plan and section."""
    measure, rating = EVALUATION.c.measure_id, EVALUATION.c.rating
    own = [EVALUATION.c[name] for name in names if name in ("fiscal_year", "department")]
    by = [measure, *own, rating]
    unit: dict[str, sa.ColumnElement[Any]] = {"code": rating, "mixed": sa.false(), "n": sa.func.count()}
    if query.unit == "measure":
        by.pop()
        first, last = sa.func.min(rating), sa.func.max(rating)
        mixed = sa.func.coalesce(first != last, sa.false())
        unit = {"code": sa.case((mixed, sa.null()), else_=first), "mixed": mixed, "n": sa.literal(1)}
    told = (column.label(name) for name, column in unit.items())
    each = sa.select(measure, *own, *told).where(*query.conditions()).group_by(*by).subquery()

    section = [MEASURE.c.section_id] if "section" in names else []
    apart = [MEASURE.c.plan_id, *section, *(each.c[column.name] for column in own), each.c.code, each.c.mixed]
    n = sa.cast(sa.func.sum(each.c.n), sa.BigInteger).label("n")
    of_measures = each.join(MEASURE, each.c.measure_id == MEASURE.c.id)
    return sa.select(*apart, n).select_from(of_measures).group_by(*apart)


def _together(query: SummaryQuery, names: Sequence[str]) -> sa.Select[Any]:
    """All plans as if they were this one."""
    years = [column for name in names for column in (TALLY.c[name], TALLY.c[name].label(f"_order_{name}"))]
    plan = sa.bindparam("_plan", type_=PLAN.c.id.type).label("plan_id")
    scale = sa.bindparam("_scale", type_=PLAN.c.scale.type).label("scale")
    counted = sa.select(*years, plan, scale, _code(TALLY.c.rating), sa.false().label("mixed"), N)
    return counted.where(*query.tallies()).group_by(*(TALLY.c[name] for name in names), TALLY.c.rating)


def _shown(row: Count, names: Sequence[str]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in names:
        shown |= {label: row[label] for label in GROUPS[name].shown}
        if name == "fiscal_year":
            shown["fiscal_year_label"] = fiscal_years.label(row["fiscal_year"])
    return shown


def _nulls_last(number: int, key: tuple[Any, ...]) -> list[tuple[bool, Any, str]]:
    """Of a key with what each name sorts by, and then the names."""
    orders, codes = key[:number], key[number:]
    return [
        (order is None, 0 if order is None else order, str(code))
        for order, code in zip(orders, codes, strict=True)
    ]


def _scales(session: Session, query: SummaryQuery, counts: Sequence[Count]) -> dict[str, Scale]:
    """The scales of the plans counted; where nothing was, of those that were asked for."""
    plans = [*{row["scale"]: row["plan_id"] for row in counts}.values()]
    if not plans:
        asked = sa.select(sa.func.min(PLAN.c.id)).where(*InPlan.where(query, PLAN)).group_by(PLAN.c.scale)
        plans = [*session.scalars(asked, query.given())]
    if len(plans) == 1:
        found = SCALE_OF.fetch(session, {"plan": plans[0]})
    else:
        found = fetch(session, SCALES.where(PLAN.c.id.in_(plans)))
    return {plan["scale"]: plan["ratings"] for plan in found}


SCALES = sa.select(PLAN.c.scale, PLAN.c.ratings)
SCALE_OF = Prepared(SCALES.where(PLAN.c.id == sa.bindparam("plan")))


def _not_summable() -> Invalid:
    return Invalid(
        Finding(
            Say(
                "評価区分が異なる計画は合計しません。group_by に plan を加えるか、plan で計画を一つ指定してください。",
                "Plans with different rating scales are not summed. Group by plan, or name one with plan=.",
            ),
            parameter="group_by",
        )
    )


def _tally(rows: Iterable[Count], scale: Scale | None, unit: str) -> dict[str, Any]:
    by_code: Counter[str | None] = Counter()
    mixed = 0
    for row in rows:
        if row["mixed"]:
            mixed += row["n"]
        else:
            by_code[row["code"]] += row["n"]
    unrated = by_code.pop(None, 0)
    rated = by_code.total() + mixed
    ratings = scale and [
        {"rating": code, "count": by_code[code], "share": _share(by_code[code], rated)}
        for code in (rating["code"] for rating in scale)
    ]
    tally: dict[str, Any] = {"total": rated + unrated, "rated": rated, "unrated": unrated, "ratings": ratings}
    return tally if unit == "evaluation" else tally | {"mixed": mixed}


@lru_cache(10_000)
def _share(count: int, rated: int) -> float | None:
    if rated == 0:
        return None
    return float((Decimal(count) / rated).quantize(Decimal("0.0001"), ROUND_HALF_UP))


# ---------------------------------------------------------------------------------------------------------
# Transitions


class Move(BaseModel):
    measure_id: Annotated[int, Field(description="The measure's `id` (施策)")]
    section: Annotated[str, Field(description="Section code (節コード)")]
    code: Annotated[str, Field(description="The measure's code (施策コード)")]
    title: Annotated[str, Field(description="The measure's title (施策名)")]
    before: Annotated[
        list[str | None],
        Field(
            alias="from",
            description="Its ratings in the first year, by row; empty when it has none (比較元の評価)",
        ),
    ]
    after: Annotated[
        list[str | None],
        Field(
            alias="to",
            description="Its ratings in the second year, by row; empty when it has none (比較先の評価)",
        ),
    ]


class MatrixCell(BaseModel):
    before: Annotated[str, Field(alias="from", description="Rating in the first year (比較元の評価)")]
    after: Annotated[str, Field(alias="to", description="Rating in the second year (比較先の評価)")]
    count: Annotated[int, Field(ge=0, description="Measures that moved so (施策数)")]


class TransitionsMetadata(BaseModel):
    plan: Annotated[str, Field(description="Plan slug (計画)")]
    before: Annotated[int, Field(alias="from", description="The first fiscal year (比較元の年度)")]
    before_label: Annotated[
        str, Field(alias="from_label", description="The same as printed in Japan (年度の表記)")
    ]
    after: Annotated[int, Field(alias="to", description="The second fiscal year (比較先の年度)")]
    after_label: Annotated[
        str, Field(alias="to_label", description="The same as printed in Japan (年度の表記)")
    ]
    unit: Annotated[Literal["measure"], Field(description="What is counted (集計単位)")]
    order: Annotated[
        Literal["assumed", "declared"],
        Field(
            description="`assumed` until the plan's scale is declared complete, as `ratings_closed` (順序の根拠)"
        ),
    ]
    revision: Annotated[
        int, Field(ge=0, description="The state of the database that this answer shows (リビジョン)")
    ]


class Transitions(BaseModel):
    metadata: Annotated[TransitionsMetadata, Field(description="What was compared, and how (比較の条件)")]
    matrix: Annotated[
        list[MatrixCell], Field(description="Every pair of codes of the scale, zero or not (推移表)")
    ]
    improved: Annotated[list[Move], Field(description="Rated better in the second year (改善)")]
    unchanged: Annotated[list[Move], Field(description="Rated the same (同じ)")]
    worsened: Annotated[list[Move], Field(description="Rated worse (後退)")]
    added: Annotated[list[Move], Field(description="With rows in the second year only (追加)")]
    removed: Annotated[list[Move], Field(description="With rows in the first year only (なくなった)")]
    mixed: Annotated[list[Move], Field(description="With rows that disagree within a year (評価が割れた)")]
    unrated: Annotated[
        list[Move], Field(description="With rows in both years, in one of them not rated (評価なし)")
    ]


@router.get("/plans/{id}/transitions", response_model=Transitions, tags=["plans"])
def compare_years(
    request: Request,
    which: PlanInPath,
    before: Annotated[FiscalYearParameter, Query(alias="from")],
    after: Annotated[FiscalYearParameter, Query(alias="to")],
    session: Reading,
    revision: RevisionRead,
) -> Response:
    """評価の推移: how each measure's rating moved from one fiscal year to another.

    A measure stands in exactly one of the lists. Better and worse follow the order of the plan's own scale.
    """
    plan = PLANS.one(session, plan_id(session, which))
    unless_known(request, revision.etag)
    return answer(request, transitions(session, plan, before, after, revision.seq), etag=revision.etag)


def transitions(
    session: Session, plan: Mapping[str, Any], before: int, after: int, revision: int
) -> dict[str, Any]:
    codes = [rating["code"] for rating in plan["ratings"]]
    lists: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("improved", "unchanged", "worsened", "added", "removed", "mixed", "unrated")
    }
    matrix: Counter[tuple[str, str]] = Counter()
    for move in _moves(session, plan["id"], before, after):
        old, new = (set(move[year]) - {None} for year in ("from", "to"))
        lists[_kind(move, old, new, codes)].append(move)
        if len(old) == len(new) == 1:
            matrix[old.pop(), new.pop()] += 1
    return {
        "metadata": {
            "plan": plan["slug"],
            "from": before,
            "from_label": fiscal_years.label(before),
            "to": after,
            "to_label": fiscal_years.label(after),
            "unit": "measure",
            "order": "declared" if plan["ratings_closed"] else "assumed",
            "revision": revision,
        },
        "matrix": [{"from": old, "to": new, "count": matrix[old, new]} for old in codes for new in codes],
        **lists,
    }


def _moves(session: Session, plan: int, before: int, after: int) -> Iterable[dict[str, Any]]:
    rows = EVALUATIONS.select(PLAN.c.id == plan, EVALUATION.c.fiscal_year.in_((before, after))).order_by(
        MEASURE.c.code_order, MEASURE.c.id, EVALUATION.c.ordinal
    )
    moves: dict[int, dict[str, Any]] = {}
    for row in session.execute(rows):
        move = moves.setdefault(
            row.measure_id,
            {
                "measure_id": row.measure_id,
                "section": row.section,
                "code": row.measure_code,
                "title": row.measure_title,
                "from": [],
                "to": [],
            },
        )
        for name, year in (("from", before), ("to", after)):
            if row.fiscal_year == year:
                move[name].append(row.rating)
    return moves.values()


def _kind(move: Mapping[str, Any], old: set[str], new: set[str], codes: list[str]) -> str:
    if not move["from"]:
        return "added"
    if not move["to"]:
        return "removed"
    if len(old) > 1 or len(new) > 1:
        return "mixed"
    if not old or not new:
        return "unrated"
    steps = codes.index(min(new)) - codes.index(min(old))
    return "unchanged" if steps == 0 else "improved" if steps < 0 else "worsened"


# ---------------------------------------------------------------------------------------------------------
# Timeline


class Promise(BaseModel):
    evaluation_id: Annotated[
        int, Field(description="The evaluation of the year before that says so (年度評価)")
    ]
    ordinal: Annotated[int, Field(description="Which of its rows (枝番)")]
    next_plan: Annotated[str, Field(description="What it intended for this year (次年度計画内容)")]


class TimelineYear(BaseModel):
    fiscal_year: Annotated[int, Field(description="Fiscal year (年度)")]
    fiscal_year_label: Annotated[str, Field(description="The same as printed in Japan (年度の表記)")]
    planned: Annotated[
        list[Promise],
        Field(
            description="What the year before had planned for it; empty when that year has no row or says nothing "
            "(前年度の計画)"
        ),
    ]
    evaluations: Annotated[
        list[EvaluationShape], Field(description="What was done, and how it was rated, by row (年度評価)")
    ]


class TimelineMetadata(BaseModel):
    measure: Annotated[MeasureShape, Field(description="The measure (施策)")]
    revision: Annotated[
        int, Field(ge=0, description="The state of the database that this answer shows (リビジョン)")
    ]


class Timeline(BaseModel):
    metadata: Annotated[TimelineMetadata, Field(description="Whose timeline it is (対象)")]
    results: Annotated[
        list[TimelineYear], Field(description="Years with an evaluation, oldest first (年度ごとの経過)")
    ]


@router.get("/measures/{id:digits}/timeline", response_model=Timeline, tags=["measures"])
@brief
def follow_measure(request: Request, id: RowId, session: Reading, revision: RevisionRead) -> Response:
    """施策の経過: year under year, what had been promised, what was done, how it was rated, what comes next.

    A year is missing when the measure has no evaluation in it; its promise is still read in the year before.
    """
    measure = MEASURES.one(session, id)
    unless_known(request, revision.etag)
    return answer(request, timeline(session, measure, revision.seq), etag=revision.etag)


def timeline(session: Session, measure: Mapping[str, Any], revision: int) -> dict[str, Any]:
    years: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in evaluations_of(session, measure["id"]):
        years[row["fiscal_year"]].append(row)
    results = [
        {
            "fiscal_year": year,
            "fiscal_year_label": fiscal_years.label(year),
            "planned": [
                {"evaluation_id": row["id"], "ordinal": row["ordinal"], "next_plan": row["next_plan"]}
                for row in years.get(year - 1, ())
                if row["next_plan"] is not None
            ],
            "evaluations": evaluations,
        }
        for year, evaluations in years.items()
    ]
    return {"metadata": {"measure": measure, "revision": revision}, "results": results}


# ---------------------------------------------------------------------------------------------------------
# Completeness


class MeasureNamed(BaseModel):
    id: Annotated[int, Field(description="The measure's `id` (施策)")]
    key: Annotated[str, Field(description="Its natural key (自然キー)")]
    title: Annotated[str, Field(description="Its title (施策名)")]


class EvaluationNamed(BaseModel):
    id: Annotated[int, Field(description="The evaluation's `id` (年度評価)")]
    key: Annotated[str, Field(description="Its natural key (自然キー)")]
    measure_title: Annotated[str, Field(description="Its measure's title (施策名)")]


class CompletenessMetadata(BaseModel):
    plan: Annotated[str, Field(description="Plan slug (計画)")]
    fiscal_year: Annotated[int | None, Field(description="The year looked at; null for all (年度)")]
    measures: Annotated[int, Field(ge=0, description="Measures of the plan (施策数)")]
    evaluations: Annotated[
        int, Field(ge=0, description="Its evaluations, in the year looked at (年度評価数)")
    ]
    revision: Annotated[
        int, Field(ge=0, description="The state of the database that this answer shows (リビジョン)")
    ]


class Completeness(BaseModel):
    metadata: Annotated[CompletenessMetadata, Field(description="What was looked at (確認の条件)")]
    measures_without_evaluation: Annotated[list[MeasureNamed], Field(description="評価のない施策")]
    without_implementation: Annotated[list[EvaluationNamed], Field(description="実施内容のない行")]
    without_rating: Annotated[list[EvaluationNamed], Field(description="評価のない行")]
    without_rationale: Annotated[list[EvaluationNamed], Field(description="理由・課題等のない行")]
    without_next_plan: Annotated[list[EvaluationNamed], Field(description="次年度計画内容のない行")]


@router.get("/plans/{id}/completeness", response_model=Completeness, tags=["plans"])
def find_gaps(
    request: Request,
    which: PlanInPath,
    session: Reading,
    revision: RevisionRead,
    fiscal_year: FiscalYearParameter | None = None,
) -> Response:
    """未記入の確認: what is missing. With `fiscal_year` only that year is looked at."""
    plan = PLANS.one(session, plan_id(session, which))
    unless_known(request, revision.etag)
    return answer(request, completeness(session, plan, fiscal_year, revision.seq), etag=revision.etag)


def completeness(
    session: Session, plan: Mapping[str, Any], fiscal_year: int | None, revision: int
) -> dict[str, Any]:
    in_year = [EVALUATION.c.fiscal_year == fiscal_year] if fiscal_year is not None else []
    of_plan = MEASURE.c.plan_id == plan["id"]
    evaluated = sa.exists().where(EVALUATION.c.measure_id == MEASURE.c.id, *in_year)
    of_row = ("implementation", "rating", "rationale", "next_plan")
    rows = EVALUATIONS.select(of_plan, *in_year, sa.or_(*(EVALUATION.c[name].is_(None) for name in of_row)))
    gaps = session.execute(
        rows.order_by(MEASURE.c.code_order, EVALUATION.c.fiscal_year, EVALUATION.c.ordinal)
    ).all()
    bare = session.execute(MEASURES.select(of_plan, ~evaluated).order_by(MEASURE.c.code_order, MEASURE.c.id))
    measures, evaluations = session.execute(
        sa.select(
            sa.select(sa.func.count()).where(of_plan).scalar_subquery(),
            sa.select(sa.func.count())
            .select_from(EVALUATION.join(MEASURE))
            .where(of_plan, *in_year)
            .scalar_subquery(),
        )
    ).one()
    return {
        "metadata": {
            "plan": plan["slug"],
            "fiscal_year": fiscal_year,
            "measures": measures,
            "evaluations": evaluations,
            "revision": revision,
        },
        "measures_without_evaluation": [{"id": row.id, "key": row.key, "title": row.title} for row in bare],
        **{
            f"without_{name}": [
                {"id": row.id, "key": row.key, "measure_title": row.measure_title}
                for row in gaps
                if row._mapping[name] is None
            ]
            for name in of_row
        },
    }
