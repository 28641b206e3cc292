"""The pages for people: / and everything under /p, from the same questions as the API."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from app.documents.routes import DOCUMENTS
from app.evaluations import DepartmentAsked, RatingAsked, SectionAsked
from app.fiscal_years import FiscalYearParameter
from app.kit.listing import Number, no_such_row, place_of, rows_from
from app.kit.session import Session
from app.kit.text import ONE_LINE, terms
from app.measures import MEASURES, MeasureQuery, embed_evaluations
from app.models import DOCUMENT, EVALUATION, MEASURE, PLAN, SECTION, TALLY
from app.pages.html import AnyPage, Asked, PageRoute, Viewed, data_behind
from app.pages.workbooks import cells_on, headers_of
from app.plans import PLANS, PlanQuery, has_usual_order, plan_id
from app.sections import SECTIONS
from app.shapes import RowId, Words
from app.summaries import SummaryQuery, completeness, summary, timeline, transitions

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Row = dict[str, Any]

Slug = Annotated[str, Path(min_length=1, max_length=64), ONE_LINE]
MeasureCode = Annotated[str, Path(min_length=1, max_length=64), ONE_LINE]
Cursor = Annotated[str, Field(max_length=4000)]

MEASURES_A_PAGE = 50
PLANS_A_PAGE = 100
LINES_A_PAGE = 400
MOST_OF_A_LINE = 20_000  # characters: a JSON document may be a single line of megabytes
MOST_STANDING_OUT = 8
MOST_LISTED = 20
MOST_TOLD = 100


# ---------------------------------------------------------------------------------------------------------
# The front page


class FrontQuery(Asked):
    q: Words | None = None
    cursor: Cursor | None = None


@router.get("/")
def front(view: Viewed, asked: Annotated[FrontQuery, Query()]) -> Response:
    query = PlanQuery(q=asked.q, cursor=asked.cursor, limit=PLANS_A_PAGE, sort="municipality_code,slug")
    place = place_of(view.request, PLANS, query)
    view.unless_known()
    found = rows_from(view.session, PLANS, query.wanted, query.limit, place)
    ids = [plan["id"] for plan in found.rows]
    return view.show(
        "front.html",
        asked=asked,
        found=found,
        words=terms(asked.q or ""),
        years=_years(view.session, ids),
        measures=_measures(view.session, ids),
        behind=[
            ("JSON", data_behind("plans", q=asked.q)),
            ("CSV", data_behind("plans", ".csv", q=asked.q)),
        ],
    )


def _years(session: Session, plans: Sequence[int]) -> dict[int, list[int]]:
    """The fiscal years that each plan has rows of, oldest first."""
    rows = (
        sa.select(PLAN.c.id, TALLY.c.fiscal_year)
        .join(TALLY, TALLY.c.plan == PLAN.c.slug)
        .where(PLAN.c.id.in_(plans))
        .distinct()
        .order_by(TALLY.c.fiscal_year)
    )
    years: dict[int, list[int]] = {plan: [] for plan in plans}
    for plan, year in session.execute(rows):
        years[plan].append(year)
    return years


def _measures(session: Session, plans: Sequence[int]) -> dict[int, int]:
    counted = sa.select(MEASURE.c.plan_id, sa.func.count()).where(MEASURE.c.plan_id.in_(plans))
    return dict.fromkeys(plans, 0) | dict(session.execute(counted.group_by(MEASURE.c.plan_id)).all())


# ---------------------------------------------------------------------------------------------------------
# A plan at a glance


class PlanAsked(Asked):
    fiscal_year: FiscalYearParameter | None = None
    unit: Literal["evaluation", "measure"] = "evaluation"


def _plan(session: Session, slug: str) -> Row:
    return PLANS.one(session, plan_id(session, PLAN.c.slug == slug))


def _sections(session: Session, plan: Row) -> dict[str, Row]:
    rows = SECTIONS.select(SECTION.c.plan_id == plan["id"]).order_by(SECTION.c.code_order)
    return {row["code"]: dict(row) for row in session.execute(rows).mappings()}


def _order(plan: Row) -> str | None:
    """How the order of the scale is known: declared, assumed from what is usual, or not at all."""
    if len(plan["ratings"]) < 2:
        return None
    if plan["ratings_closed"]:
        return "declared"
    return "assumed" if has_usual_order(plan["ratings"]) else None


@router.get("/p/{slug}")
def plan_at_a_glance(view: Viewed, slug: Slug, asked: Annotated[PlanAsked, Query()]) -> Response:
    plan = _plan(view.session, slug)
    view.unless_known()
    years = _years(view.session, [plan["id"]])[plan["id"]]
    year = asked.fiscal_year or (years[-1] if years else None)

    def counted(by: str, of: int | None) -> Row:
        query = SummaryQuery(plan=slug, fiscal_year=of, group_by=by, unit=asked.unit)
        return summary(view.session, query, view.revision.seq)

    sections = counted("section", year)
    order = _order(plan)
    filters: dict[str, Any] = {"plan": slug, "fiscal_year": year}
    documents = DOCUMENTS.select(DOCUMENT.c.plan_id == plan["id"]).order_by(DOCUMENT.c.id)
    return view.show(
        "plan.html",
        asked=asked,
        plan=plan,
        years=years,
        shown=year,
        sections=_sections(view.session, plan),
        summary=sections,
        by_year=counted("fiscal_year", None) if len(years) > 1 else None,
        order=order,
        lagging=_lagging(sections) if order else [],
        last_rated=_last_rated(view.session, plan, year) if order else None,
        gaps=_gaps(completeness(view.session, plan, year, view.revision.seq)) if year else {},
        most_listed=MOST_LISTED,
        documents=[dict(row) for row in view.session.execute(documents).mappings()],
        measures=_measures(view.session, [plan["id"]])[plan["id"]],
        behind=[
            ("JSON", data_behind("evaluations/summary", **filters, group_by="section", unit=asked.unit)),
            ("CSV", data_behind("evaluations", ".csv", **filters)),
        ],
    )


def _gaps(told: Row) -> dict[str, list[Row]]:
    """Of each kind of what is missing, the measures that it is missing of: a key begins with plan and measure."""
    return {
        kind: [
            {"code": row["key"].split("/")[1], "title": row.get("measure_title") or row["title"]}
            for row in rows
        ]
        for kind, rows in told.items()
        if kind != "metadata"
    }


def _lagging(summary: Row) -> list[Row]:
    """The groups in which the first code of the scale has a smaller share than in the plan, smallest first."""

    def share(tally: Row) -> float:
        return tally["ratings"][0]["count"] / tally["rated"] if tally["rated"] else 1.0

    overall = share(summary["total"])
    return sorted((group for group in summary["results"] if share(group) < overall), key=share)


def _last_rated(session: Session, plan: Row, year: int | None) -> Row | None:
    """The measures that have the last code that was given in the year, in the order of the scale."""
    given = set(
        session.scalars(
            sa.select(EVALUATION.c.rating)
            .join(MEASURE)
            .where(MEASURE.c.plan_id == plan["id"], EVALUATION.c.fiscal_year == year)
            .distinct()
        )
    )
    codes = [rating["code"] for rating in plan["ratings"] if rating["code"] in given]
    if len(codes) < 2:
        return None
    query = MeasureQuery(plan=plan["slug"], fiscal_year=year, rating=codes[-1])
    rows = MEASURES.select(*query.conditions()).order_by(MEASURE.c.code_order)
    found = [dict(row) for row in session.execute(rows).mappings()]
    return {"code": codes[-1], "count": len(found), "measures": found[:MOST_STANDING_OUT]}


# ---------------------------------------------------------------------------------------------------------
# All measures of a plan


class MeasuresAsked(Asked):
    """The filters of the API, by the same names; the plan stands in the address."""

    section: SectionAsked | None = None
    fiscal_year: FiscalYearParameter | None = None
    rating: RatingAsked | None = None
    department: DepartmentAsked | None = None
    q: Words | None = None
    cursor: Cursor | None = None


@router.get("/p/{slug}/measures")
def all_measures(view: Viewed, slug: Slug, asked: Annotated[MeasuresAsked, Query()]) -> Response:
    plan = _plan(view.session, slug)
    given = asked.model_dump(exclude={"lang", "cursor"}, exclude_none=True)
    query = MeasureQuery(plan=slug, cursor=asked.cursor, limit=MEASURES_A_PAGE, **given)
    place = place_of(view.request, MEASURES, query)
    view.unless_known()
    found = rows_from(view.session, MEASURES, query.wanted, query.limit, place)
    embed_evaluations(view.session, found.rows, *query.on_row(), *query.on_words(EVALUATION, early=True))
    if not (query.on_row() or query.q):
        for measure in found.rows:  # of several years, the newest one is shown
            newest = [row["fiscal_year"] for row in measure["evaluations"]][-1:]
            measure["evaluations"] = [row for row in measure["evaluations"] if row["fiscal_year"] in newest]
    return view.show(
        "measures.html",
        asked=asked,
        given=given,
        plan=plan,
        years=_years(view.session, [plan["id"]])[plan["id"]],
        sections=_sections(view.session, plan),
        departments=_departments(view.session, plan),
        marks=_marks(view.session, [measure["id"] for measure in found.rows]),
        found=found,
        all=_measures(view.session, [plan["id"]])[plan["id"]],
        words=terms(asked.q or ""),
        documents=_documents(view.session, plan),
        behind=[
            ("JSON", data_behind("measures", plan=slug, **given, expand="evaluations")),
            ("CSV", data_behind("evaluations", ".csv", plan=slug, **given)),
        ],
    )


def _departments(session: Session, plan: Row) -> list[str]:
    rows = sa.select(EVALUATION.c.department).join(MEASURE).distinct().order_by(EVALUATION.c.department)
    return list(
        session.scalars(rows.where(MEASURE.c.plan_id == plan["id"], EVALUATION.c.department.is_not(None)))
    )


def _marks(session: Session, measures: Sequence[int]) -> dict[int, dict[int, list[str | None]]]:
    """How each measure was rated, year by year and row by row."""
    rows = (
        sa.select(EVALUATION.c.measure_id, EVALUATION.c.fiscal_year, EVALUATION.c.rating_printed)
        .where(EVALUATION.c.measure_id.in_(measures))
        .order_by(EVALUATION.c.measure_id, EVALUATION.c.fiscal_year, EVALUATION.c.ordinal)
    )
    marks: dict[int, dict[int, list[str | None]]] = {measure: {} for measure in measures}
    for measure, year, mark in session.execute(rows):
        marks[measure].setdefault(year, []).append(mark)
    return marks


def _documents(session: Session, plan: Row) -> dict[int, str]:
    """The names of a plan's documents."""
    rows = sa.select(DOCUMENT.c.id, DOCUMENT.c.name).where(DOCUMENT.c.plan_id == plan["id"])
    return dict(session.execute(rows).all())


# ---------------------------------------------------------------------------------------------------------
# One measure over the years


@router.get("/p/{slug}/measures/{code}")
def one_measure(view: Viewed, slug: Slug, code: MeasureCode, asked: AnyPage) -> Response:
    plan = _plan(view.session, slug)
    of_plan = MEASURE.c.plan_id == plan["id"]
    id = view.session.scalar(sa.select(MEASURE.c.id).where(of_plan, MEASURE.c.code == code))
    if id is None:
        raise no_such_row()
    view.unless_known()
    measure = MEASURES.one(view.session, id)
    place = view.session.scalars(sa.select(MEASURE.c.code_order).where(MEASURE.c.id == id)).one()
    beside = sa.select(MEASURE.c.code, MEASURE.c.title).where(of_plan).limit(1)
    before = beside.where(MEASURE.c.code_order < place).order_by(MEASURE.c.code_order.desc())
    after = beside.where(MEASURE.c.code_order > place).order_by(MEASURE.c.code_order)
    return view.show(
        "measure.html",
        plan=plan,
        measure=measure,
        section=_sections(view.session, plan)[measure["section"]],
        timeline=timeline(view.session, measure, view.revision.seq)["results"],
        before=view.session.execute(before).one_or_none(),
        after=view.session.execute(after).one_or_none(),
        documents=_documents(view.session, plan),
        behind=[
            ("JSON", data_behind(f"measures/{id}/timeline")),
            ("CSV", data_behind("evaluations", ".csv", plan=slug, measure=code)),
        ],
    )


# ---------------------------------------------------------------------------------------------------------
# Two years side by side


class YearsAsked(Asked):
    before: Annotated[FiscalYearParameter | None, Field(alias="from")] = None
    after: Annotated[FiscalYearParameter | None, Field(alias="to")] = None


@router.get("/p/{slug}/compare")
def two_years(view: Viewed, slug: Slug, asked: Annotated[YearsAsked, Query()]) -> Response:
    """Without years, the two newest ones."""
    plan = _plan(view.session, slug)
    view.unless_known()
    years = _years(view.session, [plan["id"]])[plan["id"]]
    after = asked.after or (years[-1] if years else None)
    before = asked.before or next((year for year in reversed(years) if after and year < after), after)
    moves = None
    behind = []
    if before is not None and after is not None and before != after:
        moves = transitions(view.session, plan, before, after, view.revision.seq)
        behind = [
            ("JSON", f"/plans/{slug}/transitions?from={before}&to={after}"),
            *(
                (f"CSV {year}", data_behind("evaluations", ".csv", plan=slug, fiscal_year=year))
                for year in (before, after)
            ),
        ]
    return view.show(
        "compare.html",
        plan=plan,
        years=sorted({*years, *filter(None, (asked.before, asked.after))}),
        before=before,
        after=after,
        moves=moves,
        matrix=_matrix(plan, moves) if moves else {},
        stories=_stories(view.session, moves) if moves else {},
        order=_order(plan),
        behind=behind,
    )


def _matrix(plan: Row, moves: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Rows of the first year, columns of the second."""
    matrix: dict[str, dict[str, int]] = {rating["code"]: {} for rating in plan["ratings"]}
    for cell in moves["matrix"]:
        matrix[cell["from"]][cell["to"]] = cell["count"]
    return matrix


def _stories(session: Session, moves: Mapping[str, Any]) -> dict[int, Row]:
    """Of the measures that moved, the first ones: what the first year had planned, and what the second did, and why."""
    before, after = moves["metadata"]["from"], moves["metadata"]["to"]
    moved = [move["measure_id"] for move in moves["worsened"] + moves["improved"]][:MOST_TOLD]
    told: dict[int, Row] = {id: {"planned": [], "done": []} for id in moved}
    rows = (
        sa.select(EVALUATION)
        .where(EVALUATION.c.measure_id.in_(moved), EVALUATION.c.fiscal_year.in_((before, after)))
        .order_by(EVALUATION.c.measure_id, EVALUATION.c.ordinal)
    )
    for row in session.execute(rows).mappings():
        told[row["measure_id"]]["planned" if row["fiscal_year"] == before else "done"].append(dict(row))
    return told


# ---------------------------------------------------------------------------------------------------------
# Where a row comes from


class LineAsked(Asked):
    line: Number | None = None


@router.get("/p/{slug}/documents/{id:digits}")
def source_text(
    view: Viewed,
    slug: Slug,
    id: RowId,
    asked: Annotated[LineAsked, Query()],
) -> Response:
    """A document as it was read, line by line; of a spreadsheet, what was read from which line."""
    plan = _plan(view.session, slug)
    document = DOCUMENTS.one(view.session, id)
    if document["plan"] != slug:
        raise no_such_row()
    view.unless_known()
    text = lines_of(view.session, document)
    line, of_document = EVALUATION.c.source_line, EVALUATION.c.document_id == id
    count = len(text) or view.session.scalar(sa.select(sa.func.max(line)).where(of_document)) or 0
    start = max(0, min(asked.line or 1, count) - LINES_A_PAGE // 2)
    end = start + LINES_A_PAGE
    rows = (
        sa.select(
            line, MEASURE.c.code, MEASURE.c.title, EVALUATION.c.fiscal_year, EVALUATION.c.rating_printed
        )
        .join(MEASURE)
        .where(of_document, line.between(start + 1, end))
        .order_by(line, MEASURE.c.code_order, EVALUATION.c.fiscal_year, EVALUATION.c.ordinal)
    )
    found = [dict(row) for row in view.session.execute(rows).mappings()]
    asked_for = any(row["source_line"] == asked.line for row in found)
    cells = cells_on(view.session, document, asked.line) if asked.line and asked_for else []
    return view.show(
        "source.html",
        headers={"Cache-Control": "no-store"} if cells is None else {},
        plan=plan,
        document=document,
        asked=asked,
        start=start,
        end=end,
        printed=text[start:end],
        most_of_a_line=MOST_OF_A_LINE,
        count=count,
        rows=found,
        codes={row["source_line"]: row["code"] for row in found},
        cells=cells,
        headers_of_columns=headers_of(document),
        behind=[("JSON", f"/documents/{id}")],
    )


def lines_of(session: Session, document: Row) -> list[str]:
    """The lines of a document as its rows count them; none where it is no text."""
    if not document["encoding"]:
        return []
    content: bytes = session.scalars(
        sa.select(DOCUMENT.c.content).where(DOCUMENT.c.id == document["id"])
    ).one()
    text = content.decode(document["encoding"], errors="replace").removeprefix("\ufeff")
    # Not splitlines(): U+2028 and its like end none.
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
