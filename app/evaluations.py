"""年度評価: /evaluations"""

from functools import cache
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from app import fiscal_years
from app.access import Held, WriterKnown, changing
from app.changes import RevisionRead, hold, holding, remove, save
from app.fiscal_years import FiscalYear, FiscalYearParameter
from app.kit import search
from app.kit.bulk import Lookup
from app.kit.database import Reading, Writing, brief
from app.kit.errors import Conflict
from app.kit.fetching import Prepared
from app.kit.http import answer, written
from app.kit.listing import MOST_APART, Listing, Number, PageQuery, Wanted, listed, page
from app.kit.numbers import LARGEST, whole
from app.kit.session import Session
from app.kit.text import ONE_LINE, Form, PlainObject, refusal, terms
from app.models import (
    EVALUATION,
    EVALUATION_KEY,
    MEASURE,
    PLAN,
    TALLY,
    Code,
    Evaluation,
    EvaluationFields,
    Extra,
    Label,
    code_order,
)
from app.plans import admit_ratings, no_parent, taken
from app.shapes import Ending, Heading, InPlan, Partial, PlanSlug, RowId, Words, page_of, patched
from app.tallies import ALL

router = APIRouter(prefix="/evaluations", tags=["evaluations"])


def _labelled(row: dict[str, Any]) -> dict[str, Any]:
    row["fiscal_year_label"] = fiscal_years.label(row["fiscal_year"])
    return row


EVALUATIONS = Listing(
    source=EVALUATION.join(MEASURE).join(PLAN),
    columns={
        "id": EVALUATION.c.id,
        "key": EVALUATION_KEY,
        "plan": PLAN.c.slug,
        "municipality_code": EVALUATION.c.municipality_code,
        "section": EVALUATION.c.section,
        "measure_id": EVALUATION.c.measure_id,
        "measure_code": MEASURE.c.code,
        "measure_title": MEASURE.c.title,
        "fiscal_year": EVALUATION.c.fiscal_year,
        "fiscal_year_label": sa.null(),
        "ordinal": EVALUATION.c.ordinal,
        **{name: EVALUATION.c[name] for name in EvaluationFields.model_fields},
        "document_id": EVALUATION.c.document_id,
        "source_line": EVALUATION.c.source_line,
        "version": EVALUATION.c.version,
        "created_at": EVALUATION.c.created_at,
        "updated_at": EVALUATION.c.updated_at,
    },
    sorts={
        "id": EVALUATION.c.id,
        "plan": PLAN.c.slug,
        "code": EVALUATION.c.code_order,
        "fiscal_year": EVALUATION.c.fiscal_year,
        "ordinal": EVALUATION.c.ordinal,
        "updated_at": EVALUATION.c.updated_at,
    },
    order="plan,code,fiscal_year,ordinal",
    place=EVALUATION.c.place,
    finish=_labelled,
)

EvaluationToChange = Annotated[
    Held,
    Depends(changing(EVALUATIONS, holding(EVALUATION.join(MEASURE).join(PLAN), EVALUATION.c.id))),
]


# What a body must have besides being well formed: a whole name of a measure.
BY_ID: JsonDict = {"type": "integer", "description": "The measure's `id` (施策)"}
BY_PLAN: JsonDict = {"type": "string", "description": "The plan's slug (計画)"}
BY_CODE: JsonDict = {"type": "string", "description": "The measure's code in the plan (施策コード)"}

MOST_ROWS = 1_000_000  # of one measure in one year


class NewEvaluation(EvaluationFields):
    """The measure is named by `measure_id`, or by `plan` and `measure_code`."""

    model_config = ConfigDict(  # type: ignore[assignment]
        extra="forbid",
        # Not as alternatives, of which tools that make clients would read the halves alone.
        json_schema_extra={
            "if": {
                "required": ["plan", "measure_code"],
                "properties": {"plan": BY_PLAN, "measure_code": BY_CODE},
            },
            "else": {"required": ["measure_id"], "properties": {"measure_id": BY_ID}},
        },
    )

    measure_id: (
        Annotated[
            int,
            Field(strict=True, ge=1, le=LARGEST, description="The measure's `id` (施策)"),
            BeforeValidator(whole),
        ]
        | None
    ) = None
    plan: PlanSlug | None = None
    measure_code: (
        Annotated[Code, Field(description="The measure's code in the plan (施策コード)", examples=["4-2-1"])]
        | None
    ) = None
    fiscal_year: FiscalYear
    ordinal: (
        Annotated[
            int,
            Field(
                strict=True,
                ge=1,
                le=MOST_ROWS,
                description="Which of the measure's rows in the year, from 1; the next free one when left out (枝番)",
            ),
            BeforeValidator(whole),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def names_its_measure(self) -> "NewEvaluation":
        if self.measure_id is None and (self.plan is None or self.measure_code is None):
            raise refusal(
                "measure",
                "施策を measure_id か、plan と measure_code の組で指定してください。",
                "Name the measure by measure_id, or by plan and measure_code.",
            )
        return self


class EvaluationPatch(Partial, EvaluationFields):
    """What is to change in an evaluation. Its measure, fiscal year and ordinal never do.

    When `rating` changes without `rating_printed`, the printed mark follows it. `extra` is merged name by name.
    """

    extra: Annotated[  # type: ignore[assignment]
        dict[Label, Extra | None],
        Field(description="Columns to set, or with null to remove; at most 50 in the end (その他の列)"),
        PlainObject(),
    ]


class _Place(Heading):
    plan: PlanSlug
    municipality_code: Annotated[str, Field(description="Municipality of the plan (市区町村コード)")]
    section: Annotated[str, Field(description="Code of the measure's section (節コード)")]
    measure_id: Annotated[int, Field(description="The measure's `id` (施策)")]
    measure_code: Annotated[str, Field(description="The measure's code (施策コード)")]
    measure_title: Annotated[str, Field(description="The measure's title (施策名)")]
    fiscal_year: Annotated[
        int, Field(description="Fiscal year, as the Gregorian year in which it begins on 1 April (年度)")
    ]
    fiscal_year_label: Annotated[
        str, Field(description="The same as printed in Japan (年度の表記), e.g. 平成29年度")
    ]
    ordinal: Annotated[int, Field(description="Which of the measure's rows in the year, from 1 (枝番)")]


class _Source(Ending):
    document_id: Annotated[
        int | None,
        Field(description="The document it was read from (資料); null when it was entered by hand"),
    ]
    source_line: Annotated[int | None, Field(description="The 1-based line in that document (行)")]


class EvaluationShape(_Source, EvaluationFields, _Place):
    pass


EvaluationPage = page_of("Evaluation", EvaluationShape)


SectionAsked = Annotated[
    str, Field(min_length=1, max_length=64, description="Section code (節コード)", examples=["3"]), ONE_LINE
]
MeasureAsked = Annotated[
    str,
    Field(min_length=1, max_length=64, description="Measure code (施策コード)", examples=["4-2-1"]),
    ONE_LINE,
]
DepartmentAsked = Annotated[
    str, Field(min_length=1, max_length=100, description="Department, exactly as printed (担当課)"), ONE_LINE
]
# A code with or without spaces around it. Spaces alone are none: the tallies would take them for what is not rated.
_ASKED = r"[^,\u0000-\u001f\u007f-\u009f]*[^\s,\u0000-\u001f\u007f-\u009f][^,\u0000-\u001f\u007f-\u009f]*"


def _each_once(ratings: str) -> str:
    """In whatever order they are asked for, it is the same question."""
    return ",".join(sorted({code.strip() for code in ratings.split(",")}))


RatingAsked = Annotated[
    str,
    Field(
        max_length=200,
        description="Rating codes, several by comma; `none` finds what was not rated (評価)",
        examples=["B", "A,none"],
    ),
    Form(
        rf"^{_ASKED}(,{_ASKED})*$",
        "評価の記号を、複数ならコンマ区切りで指定してください。評価なしは none です。",
        "Give rating codes, several by comma; none is for what was not rated.",
    ),
    AfterValidator(_each_once),
]


class InMeasure(InPlan):
    """The filters on a measure and its rows in a year, for `/evaluations`, its summary and `/measures`."""

    OF = EVALUATION

    section: SectionAsked | None = None
    measure: MeasureAsked | None = None
    fiscal_year: FiscalYearParameter | None = None
    rating: RatingAsked | None = None
    department: DepartmentAsked | None = None
    q: Words | None = None

    def given(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in ("section", "fiscal_year", "department")}
        if self.measure is not None:
            named["measure"] = code_order(self.measure)
        ratings = {f"rating__{n}": code for n, code in enumerate(self._codes())}
        return {
            **super().given(),
            **{name: value for name, value in named.items() if value is not None},
            **ratings,
        }

    def wanted(self) -> Wanted:
        early = self.conditions(early=True) if self.q and not self.few else None
        number = None
        if self.tallied:
            number = sa.select(sa.func.sum(TALLY.c.n)).where(*self.tallies())
        elif [*self.model_dump(include={*EvaluationFilters.model_fields}, exclude_none=True)] == ["q"]:
            number = search.number(EVALUATION, terms(self.q or ""))
        return Wanted(self.conditions(), apart=self.ratings(), early=early, number=number)

    @property
    def tallied(self) -> bool:
        """Whether few tallies know all that is asked about."""
        others = (self.measure, self.department, self.q, None if self.few else self.section)
        return not any(each is not None for each in others)

    def tallies(self, *, apart: bool = False) -> list[sa.ColumnElement[bool]]:
        """Those that count what is asked about: those of all plans together, unless some are asked about, or are to be
        told `apart`."""
        of_all = TALLY.c.plan != ALL if apart else TALLY.c.plan == ALL
        which = [] if self.plan or self.municipality else [of_all]
        return [*which, *self.where(TALLY), *self.on_row(TALLY)]

    def conditions(self, *, early: bool = False) -> list[sa.ColumnElement[bool]]:
        return [*super().conditions(), *self.on_row(), *self.on_words(EVALUATION, early=early)]

    def where(self, of: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        found = super().where(of)
        if self.section is not None:
            found.append(of.c.section == self.value("section", of.c.section))
        if self.measure is not None:
            found.append(of.c.code_order == self.value("measure", of.c.code_order))
        return found

    def on_row(self, of: sa.FromClause = EVALUATION) -> list[sa.ColumnElement[bool]]:
        found: list[sa.ColumnElement[bool]] = []
        if self.fiscal_year is not None:
            found.append(of.c.fiscal_year == self.value("fiscal_year", of.c.fiscal_year))
        if self.department is not None:
            found.append(of.c.department == self.value("department", of.c.department))
        return [*found, sa.or_(*self.ratings(of))] if self.rating is not None else found

    @property
    def about_rows(self) -> bool:
        """Whether something is asked about that only evaluations have."""
        return any(each is not None for each in (self.fiscal_year, self.department, self.rating))

    def ratings(self, of: sa.FromClause = EVALUATION) -> list[sa.ColumnElement[bool]]:
        """The ratings that were asked for, each by itself: an index has the rows of each in order."""
        rating = of.c.rating
        none = rating == "" if of is TALLY else rating.is_(None)
        return [
            none if code is None else rating == self.value(f"rating__{n}", rating)
            for n, code in enumerate(self._codes())
        ]

    def _codes(self) -> list[str | None]:
        codes = self.rating.split(",") if self.rating else []
        return [None if code == "none" else code for code in codes]

    def on_words(self, of: sa.Table, *, early: bool = False) -> list[sa.ColumnElement[bool]]:
        """That a row has all words."""
        return (search.reading if early or self.few else search.holding)(of, terms(self.q or ""))

    @property
    def short(self) -> bool:
        return not self.q and (self.few or self.tallied)

    @property
    def in_order(self) -> bool:
        return self.few or len(self._codes()) <= MOST_APART

    @property
    def few(self) -> bool:
        """Whether it is asked about few rows, of which each may be looked at."""
        return bool(self.plan or self.municipality or self.measure)


class EvaluationFilters(InMeasure):
    measure_id: Annotated[Number, Field(description="The measure's `id` (施策)")] | None = None

    @property
    def tallied(self) -> bool:
        return super().tallied and self.measure_id is None

    def given(self) -> dict[str, Any]:
        return {**super().given(), **({"measure_id": self.measure_id} if self.measure_id else {})}

    def conditions(self, *, early: bool = False) -> list[sa.ColumnElement[bool]]:
        measure = EVALUATION.c.measure_id
        ours = [measure == self.value("measure_id", measure)] if self.measure_id else []
        return [*super().conditions(early=early), *ours]


class EvaluationAsked(EvaluationFilters):
    sort: Annotated[str, EVALUATIONS.sorting] = EVALUATIONS.order
    fields: Annotated[str, EVALUATIONS.choosing] | None = None


class EvaluationQuery(PageQuery, EvaluationAsked):
    pass


@router.get("", response_model=EvaluationPage)
@listed
def list_evaluations(
    request: Request, query: Annotated[EvaluationQuery, Query()], session: Reading, revision: RevisionRead
) -> Response:
    """年度評価の一覧. Without `sort` by plan, measure, year and row, as a plan is read.

    `q` looks in the measure's title and in implementation, rationale, next plan and department.
    """
    return page(request, session, EVALUATIONS, query.wanted, query, revision)


@router.post("", status_code=201, response_model=EvaluationShape)
def create_evaluation(new: NewEvaluation, writer: WriterKnown, session: Writing) -> Response:
    """年度評価の登録. A rating code that the plan's scale does not know joins it, unless the scale is closed."""
    measure = _held_measure(session, new)
    writer.must_be_allowed(measure["municipality_code"])
    year = {"measure": measure["id"], "fiscal_year": new.fiscal_year}
    if new.ordinal is None:
        ordinal = (LAST_OF_YEAR.scalar(session, year) or 0) + 1
        if ordinal > MOST_ROWS:
            raise Conflict(
                f"この年度には枝番 {MOST_ROWS:,} の行があり、次がありません。"
                "空いている番号を ordinal に指定してください。",
                f"There is no number after ordinal {MOST_ROWS:,} of this year. Name a free one in `ordinal`.",
            )
    else:
        ordinal = new.ordinal
        if existing := ROW_OF_YEAR.scalar(session, {**year, "ordinal": ordinal}):
            raise taken(f"/evaluations/{existing}")
    row = new.model_dump(exclude={"plan", "measure_code"}) | {"measure_id": measure["id"], "ordinal": ordinal}
    if new.rating is not None:
        admit_ratings(session, measure["plan_id"], [new.rating])
    [id] = save(session, Evaluation, [row]).ids
    return written(EVALUATIONS.one(session, id), created_at=f"/evaluations/{id}")


_YEAR = (
    EVALUATION.c.measure_id == sa.bindparam("measure"),
    EVALUATION.c.fiscal_year == sa.bindparam("fiscal_year"),
)
LAST_OF_YEAR = Prepared(sa.select(sa.func.max(EVALUATION.c.ordinal)).where(*_YEAR))
ROW_OF_YEAR = Prepared(
    sa.select(EVALUATION.c.id).where(*_YEAR, EVALUATION.c.ordinal == sa.bindparam("ordinal"))
)


@cache
def _measures_by(*names: str) -> tuple[Lookup, Lookup]:
    """Measures by what a body names them by; and their plans, to be held."""
    columns = {"measure_id": MEASURE.c.id, "plan": PLAN.c.slug, "measure_code": MEASURE.c.code}
    by = [columns[name] for name in names]
    source = MEASURE.join(PLAN)
    measures = sa.select(MEASURE.c.id, MEASURE.c.plan_id, PLAN.c.municipality_code).select_from(source)
    return Lookup(measures, *by), holding(source, *by)


def _held_measure(session: Session, new: NewEvaluation) -> dict[str, Any]:
    """The measure that a body names, its plan held."""
    named = {"measure_id": new.measure_id, "plan": new.plan, "measure_code": new.measure_code}
    given = {name: value for name, value in named.items() if value is not None}
    key = [tuple(given.values())]
    measures, plans = _measures_by(*given)
    hold(session, plans, key)
    measure = next(iter(measures.fetch(session, key)), None)
    if measure is None:
        if new.plan is not None and not session.scalar(sa.select(sa.exists().where(PLAN.c.slug == new.plan))):
            raise no_parent("plan", f"plan {new.plan}")
        if new.measure_id is None:
            raise no_parent("measure_code", f"measure {new.plan}/{new.measure_code}")
        raise no_parent(
            "measure_id", f"measure with the id {new.measure_id}" + " in that plan" * (new.plan is not None)
        )
    return measure


@router.get("/{id:digits}", response_model=EvaluationShape)
@brief
def read_evaluation(request: Request, id: RowId, session: Reading) -> Response:
    """年度評価."""
    return answer(request, EVALUATIONS.one(session, id))


@router.patch("/{id:digits}", response_model=EvaluationShape)
def change_evaluation(held: EvaluationToChange, patch: EvaluationPatch, session: Writing) -> Response:
    """年度評価の更新. When `rating` changes without `rating_printed`, the printed mark follows it."""
    fields = patched(EvaluationFields, held.row, patch)
    if fields["rating"] != held.row["rating"] and "rating_printed" not in patch.model_fields_set:
        fields["rating_printed"] = fields["rating"]
    if fields["rating"] is not None:
        plan = session.scalars(sa.select(PLAN.c.id).where(PLAN.c.slug == held.row["plan"])).one()
        admit_ratings(session, plan, [fields["rating"]])
    held.confirm()
    save(session, Evaluation, [{"id": held.row["id"], **fields}])
    return written(EVALUATIONS.one(session, held.row["id"]))


@router.delete("/{id:digits}", status_code=204)
def remove_evaluation(held: EvaluationToChange, session: Writing) -> None:
    """年度評価の削除."""
    held.confirm()
    remove(session, Evaluation, [held.row["id"]])
