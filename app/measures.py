"""施策: /measures"""

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ConfigDict, Field, model_validator

from app.access import Held, WriterKnown, changing
from app.changes import RevisionRead, holding, remove, save
from app.evaluations import EVALUATIONS, EvaluationShape, InMeasure
from app.kit.database import Reading, Writing, brief
from app.kit.fetching import Prepared, fetch
from app.kit.http import answer, written
from app.kit.listing import Listing, Names, PageQuery, Wanted, listed, page
from app.kit.session import Session
from app.models import EVALUATION, MEASURE, MEASURE_KEY, PLAN, SECTION, Code, Measure, MeasureFields
from app.plans import held_plan, no_parent, taken
from app.shapes import Ending, Heading, Partial, PlanSlug, RowId, page_of, patched

router = APIRouter(prefix="/measures", tags=["measures"])

MEASURES = Listing(
    source=MEASURE.join(PLAN),
    columns={
        "id": MEASURE.c.id,
        "key": MEASURE_KEY,
        "plan": PLAN.c.slug,
        "municipality_code": MEASURE.c.municipality_code,
        "section": MEASURE.c.section,
        "code": MEASURE.c.code,
        **{name: MEASURE.c[name] for name in MeasureFields.model_fields},
        "version": MEASURE.c.version,
        "created_at": MEASURE.c.created_at,
        "updated_at": MEASURE.c.updated_at,
    },
    sorts={
        "id": MEASURE.c.id,
        "plan": PLAN.c.slug,
        "code": MEASURE.c.code_order,
        "title": MEASURE.c.title,
        "updated_at": MEASURE.c.updated_at,
    },
    order="plan,code",
    place=MEASURE.c.place,
)

MeasureToChange = Annotated[
    Held,
    Depends(changing(MEASURES, holding(MEASURE.join(PLAN), MEASURE.c.id))),
]

EXPAND = Names(("evaluations",), "Embed these (埋め込み)")


class MeasureSection(MeasureFields):
    section: Annotated[
        Code, Field(description="Code of its section in the same plan (節コード)", examples=["4"])
    ]


class NewMeasure(MeasureSection):
    model_config = ConfigDict(extra="forbid")  # type: ignore[assignment]

    plan: PlanSlug
    code: Annotated[
        Code, Field(description="Code within the plan; it never changes (施策コード)", examples=["4-2-1"])
    ]


class MeasurePatch(Partial, MeasureSection):
    """What is to change in a measure. Its plan and code never do; it may move to another section."""


class MeasureShape(Ending, MeasureSection, Heading):
    plan: PlanSlug
    municipality_code: Annotated[str, Field(description="Municipality of the plan (市区町村コード)")]
    code: Annotated[
        str, Field(description="Code within the plan; it never changes (施策コード)", examples=["4-2-1"])
    ]


class ExpandedMeasure(MeasureShape):
    evaluations: Annotated[
        list[EvaluationShape], Field(description="Its evaluations, by year and row (年度評価)")
    ]


MeasurePage = page_of("Measure", MeasureShape, ExpandedMeasure)


class MeasureAsked(InMeasure):
    OF = MEASURE

    sort: Annotated[str, MEASURES.sorting] = MEASURES.order
    fields: Annotated[str, MEASURES.choosing] | None = None

    @property
    def short(self) -> bool:
        return not self.q and (self.few or not self.about_rows)

    def wanted(self) -> Wanted:
        if self.few or not (self.about_rows or self.q):
            return Wanted(self.conditions())
        return Wanted(self.conditions(), early=self.conditions(early=True), found_by=self._rows())

    def conditions(self, *, early: bool = False) -> list[sa.ColumnElement[bool]]:
        """A measure is found by a row of its own that fits in all respects, or by its title alone."""
        of_plan = self.where(MEASURE)
        words = self.on_words(MEASURE, early=early)
        if not (self.on_row() or words):
            return of_plan
        rows = self._rows(early=early)
        fits = sa.exists(rows.where(EVALUATION.c.measure_id == MEASURE.c.id))
        found = fits if early or self.few else MEASURE.c.id.in_(rows)
        return [*of_plan, found if self.on_row() else sa.or_(sa.and_(*words), found)]

    def _rows(self, *, early: bool = False) -> sa.Select[Any]:
        fitting = (*self.on_row(), *self.on_words(EVALUATION, early=early))
        return sa.select(EVALUATION.c.measure_id).where(*fitting)


class MeasureQuery(PageQuery, MeasureAsked):
    expand: Annotated[str, EXPAND] | None = None
    fields: (
        Annotated[str, Names((*MEASURES.columns, "evaluations"), MEASURES.choosing.description)] | None
    ) = None

    @model_validator(mode="after")
    def shows_what_it_embeds(self) -> "MeasureQuery":
        """`expand` and the field of that name ask for the same."""
        if self.fields and self.expand:
            self.fields += ",evaluations"
        elif self.fields and "evaluations" in self.fields.split(","):
            self.expand = "evaluations"
        return self


@router.get("", response_model=MeasurePage)
@listed
def list_measures(
    request: Request, query: Annotated[MeasureQuery, Query()], session: Reading, revision: RevisionRead
) -> Response:
    """施策の一覧. Codes sort by their numbers: 1-2 before 1-10.

    `fiscal_year`, `rating`, `department` and `q` select measures that have one evaluation which fits them all;
    `q` also looks in the title. `expand=evaluations` embeds all evaluations of each measure.
    """

    def expand(measures: list[dict[str, Any]]) -> None:
        if query.expand:
            embed_evaluations(session, measures)

    return page(request, session, MEASURES, query.wanted, query, revision, expand)


BY_YEAR = (EVALUATION.c.measure_id, EVALUATION.c.fiscal_year, EVALUATION.c.ordinal)
OF_MEASURE = Prepared(
    EVALUATIONS.select(EVALUATION.c.measure_id == sa.bindparam("measure")).order_by(*BY_YEAR)
)
OF_MEASURES = EVALUATIONS.select(
    EVALUATION.c.measure_id.in_(sa.bindparam("measures", expanding=True))
).order_by(*BY_YEAR)


def evaluations_of(session: Session, measure: int) -> list[dict[str, Any]]:
    """All evaluations of one measure."""
    return [EVALUATIONS.finish(row) for row in OF_MEASURE.fetch(session, {"measure": measure})]


def embed_evaluations(
    session: Session, measures: list[dict[str, Any]], *conditions: sa.ColumnElement[bool]
) -> None:
    """Each measure's evaluations, or those of them that fit."""
    by_id: dict[int, list[dict[str, Any]]] = {measure["id"]: [] for measure in measures}
    rows = OF_MEASURES.where(*conditions) if conditions else OF_MEASURES
    for row in fetch(session, rows, {"measures": [*by_id]}):
        by_id[row["measure_id"]].append(EVALUATIONS.finish(row))
    for measure in measures:
        measure["evaluations"] = by_id[measure["id"]]


@router.post("", status_code=201, response_model=MeasureShape)
def create_measure(new: NewMeasure, writer: WriterKnown, session: Writing) -> Response:
    """施策の登録."""
    plan = held_plan(session, writer, new.plan)
    same = (MEASURE.c.plan_id == plan.id) & (MEASURE.c.code == new.code)
    if existing := session.scalar(sa.select(MEASURE.c.id).where(same)):
        raise taken(f"/measures/{existing}")
    row = new.model_dump(exclude={"plan", "section"})
    row |= {"plan_id": plan.id, "section_id": _section_id(session, new.plan, new.section)}
    [id] = save(session, Measure, [row]).ids
    return written(MEASURES.one(session, id), created_at=f"/measures/{id}")


def _section_id(session: Session, plan: str, code: str) -> int:
    found = sa.select(SECTION.c.id).join(PLAN).where(PLAN.c.slug == plan, SECTION.c.code == code)
    id: int | None = session.scalar(found)
    if id is None:
        raise no_parent("section", f"section {plan}/{code}")
    return id


@router.get("/{id:digits}", response_model=MeasureShape | ExpandedMeasure)
@brief
def read_measure(
    request: Request, id: RowId, session: Reading, expand: Annotated[str, EXPAND, Query()] | None = None
) -> Response:
    """施策. `expand=evaluations` embeds its evaluations; for `If-Match`, take the `ETag` of the answer without it."""
    measure = MEASURES.one(session, id)
    if expand:
        measure["evaluations"] = evaluations_of(session, id)
    return answer(request, measure)


@router.patch("/{id:digits}", response_model=MeasureShape)
def change_measure(held: MeasureToChange, patch: MeasurePatch, session: Writing) -> Response:
    """施策の更新."""
    fields = patched(MeasureSection, held.row, patch)
    fields["section_id"] = _section_id(session, held.row["plan"], fields.pop("section"))
    held.confirm()
    save(session, Measure, [{"id": held.row["id"], **fields}])
    return written(MEASURES.one(session, held.row["id"]))


@router.delete("/{id:digits}", status_code=204)
def remove_measure(held: MeasureToChange, session: Writing) -> None:
    """施策の削除. Its evaluations go with it."""
    held.confirm()
    remove(session, Measure, [held.row["id"]])
