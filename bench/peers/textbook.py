"""What FastAPI's and SQLModel's own tutorials lead to: relationships, response models, pages by offset."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import field_validator
from sqlalchemy.orm import contains_eager, joinedload, selectinload
from sqlmodel import Field, Relationship, Session, SQLModel, col, create_engine, func, or_, select


class Plan(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    slug: str
    title: str
    municipality_code: str
    municipality: str


class Section(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    plan_id: int = Field(foreign_key="plan.id")
    code: str
    label: str
    title: str
    position: int


class MeasureBase(SQLModel):
    code: str
    path: str
    title: str
    position: int
    version: int = 1
    created_at: datetime
    updated_at: datetime


class Measure(MeasureBase, table=True):
    id: int | None = Field(default=None, primary_key=True)
    plan_id: int = Field(foreign_key="plan.id")
    section_id: int = Field(foreign_key="section.id")
    plan: Plan = Relationship()
    section: Section = Relationship()
    evaluations: list["Evaluation"] = Relationship(back_populates="measure")


class EvaluationFields(SQLModel):
    measure_id: int = Field(foreign_key="measure.id")
    fiscal_year: int
    ordinal: int = 1
    implementation: str | None = None
    rating: str | None = None
    rationale: str | None = None
    next_plan: str | None = None
    department: str | None = None


class Evaluation(EvaluationFields, table=True):
    id: int | None = Field(default=None, primary_key=True)
    version: int = 1
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    measure: Measure = Relationship(back_populates="evaluations")


class PlanName(SQLModel):
    slug: str
    municipality_code: str


class SectionCode(SQLModel):
    code: str


class MeasureShape(MeasureBase):
    id: int
    path: list[str]
    plan: PlanName
    section: SectionCode

    @field_validator("path", mode="before")
    @classmethod
    def read(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value


class MeasureName(SQLModel):
    id: int
    code: str
    title: str
    plan: PlanName
    section: SectionCode


class EvaluationAlone(EvaluationFields):
    id: int
    version: int
    created_at: datetime
    updated_at: datetime


class EvaluationShape(EvaluationAlone):
    measure: MeasureName


class MeasureWithEvaluations(MeasureShape):
    evaluations: list[EvaluationAlone]


class Count(SQLModel):
    plan: str | None = None
    section: str | None = None
    fiscal_year: int | None = None
    rating: str
    count: int


engine = create_engine(os.environ["DATABASE"].replace("postgresql://", "postgresql+psycopg://"))
app = FastAPI()


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session)]
Limit = Annotated[int, Query(le=1000)]
NAMED = joinedload(Evaluation.measure).options(joinedload(Measure.plan), joinedload(Measure.section))


@app.get("/measures", response_model=list[MeasureShape])
def read_measures(
    session: SessionDep,
    section: str | None = None,
    rating: Annotated[list[str] | None, Query()] = None,
    offset: int = 0,
    limit: Limit = 100,
) -> Any:
    statement = (
        select(Measure).join(Section).options(contains_eager(Measure.section), joinedload(Measure.plan))
    )
    if section:
        statement = statement.where(Section.code == section)
    if rating:
        statement = statement.where(col(Measure.evaluations).any(col(Evaluation.rating).in_(rating)))
    return session.exec(statement.order_by(col(Measure.id)).offset(offset).limit(limit)).all()


@app.get("/measures/{id}", response_model=MeasureWithEvaluations)
def read_measure(id: int, session: SessionDep) -> Any:
    options = joinedload(Measure.plan), joinedload(Measure.section), selectinload(Measure.evaluations)
    measure = session.exec(select(Measure).where(Measure.id == id).options(*options)).first()
    if measure is None:
        raise HTTPException(404)
    return measure


@app.get("/evaluations", response_model=list[EvaluationShape])
def read_evaluations(
    session: SessionDep,
    fiscal_year: int | None = None,
    rating: Annotated[list[str] | None, Query()] = None,
    q: str | None = None,
    offset: int = 0,
    limit: Limit = 100,
) -> Any:
    statement = select(Evaluation).options(NAMED)
    if fiscal_year:
        statement = statement.where(Evaluation.fiscal_year == fiscal_year)
    if rating:
        statement = statement.where(col(Evaluation.rating).in_(rating))
    if q:
        texts = (Evaluation.implementation, Evaluation.rationale, Evaluation.next_plan)
        titled = col(Evaluation.measure).has(col(Measure.title).contains(q))
        statement = statement.where(or_(titled, *(col(text).contains(q) for text in texts)))
    return session.exec(statement.order_by(col(Evaluation.id)).offset(offset).limit(limit)).all()


@app.get("/summary", response_model=list[Count])
def read_summary(
    session: SessionDep,
    group_by: Annotated[list[str], Query()],
    plan: str | None = None,
    section: str | None = None,
    rating: Annotated[list[str] | None, Query()] = None,
) -> Any:
    columns = {"plan": Plan.slug, "section": Section.code, "fiscal_year": Evaluation.fiscal_year}
    groups = [col(columns[name]).label(name) for name in group_by]
    code = col(Evaluation.rating).label("rating")
    statement = select(*groups, code, func.count().label("count")).select_from(Evaluation)
    if plan or section or "plan" in group_by or "section" in group_by:
        statement = statement.join(Measure).join(Section).join(Plan, Measure.plan_id == Plan.id)
    for column, value in ((Plan.slug, plan), (Section.code, section)):
        if value:
            statement = statement.where(column == value)
    if rating:
        statement = statement.where(col(Evaluation.rating).in_(rating))
    return session.exec(statement.group_by(*groups, code).order_by(*groups, code)).mappings().all()


@app.post("/evaluations", response_model=EvaluationAlone, status_code=201)
def create_evaluation(new: EvaluationFields, session: SessionDep) -> Any:
    evaluation = Evaluation.model_validate(new)
    session.add(evaluation)
    session.commit()
    session.refresh(evaluation)
    return evaluation


@app.put("/evaluations", status_code=204)
def put_evaluations(rows: list[EvaluationFields], session: SessionDep) -> None:
    """One by one, as objects."""
    for row in rows:
        key = (Evaluation.measure_id, row.measure_id), (Evaluation.fiscal_year, row.fiscal_year)
        same = select(Evaluation).where(*(column == value for column, value in key))
        evaluation = session.exec(same.where(Evaluation.ordinal == row.ordinal)).first()
        if evaluation is None:
            session.add(Evaluation.model_validate(row))
            continue
        evaluation.sqlmodel_update(row.model_dump())
        evaluation.version += 1
        session.add(evaluation)
    session.commit()
