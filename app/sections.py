"""節: /sections"""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ConfigDict, Field

from app.access import Held, WriterKnown, changing
from app.changes import RevisionRead, holding, remove, save
from app.kit.database import Reading, Writing, brief
from app.kit.http import answer, written
from app.kit.listing import Listing, PageQuery, listed, page
from app.models import PLAN, SECTION, SECTION_KEY, Code, Section, SectionFields
from app.plans import held_plan, taken
from app.shapes import Ending, Heading, InPlan, Partial, PlanSlug, RowId, page_of, patched

router = APIRouter(prefix="/sections", tags=["sections"])

SECTIONS = Listing(
    source=SECTION.join(PLAN),
    columns={
        "id": SECTION.c.id,
        "key": SECTION_KEY,
        "plan": PLAN.c.slug,
        "municipality_code": SECTION.c.municipality_code,
        "code": SECTION.c.code,
        **{name: SECTION.c[name] for name in SectionFields.model_fields},
        "version": SECTION.c.version,
        "created_at": SECTION.c.created_at,
        "updated_at": SECTION.c.updated_at,
    },
    sorts={
        "id": SECTION.c.id,
        "plan": PLAN.c.slug,
        "code": SECTION.c.code_order,
        "updated_at": SECTION.c.updated_at,
    },
    order="plan,code",
    place=SECTION.c.place,
)

SectionToChange = Annotated[
    Held,
    Depends(changing(SECTIONS, holding(SECTION.join(PLAN), SECTION.c.id))),
]


class SectionCode(SectionFields):
    code: Annotated[
        Code, Field(description="Code within the plan; it never changes (節コード)", examples=["1"])
    ]


class NewSection(SectionCode):
    model_config = ConfigDict(extra="forbid")  # type: ignore[assignment]

    plan: PlanSlug


class SectionPatch(Partial, SectionFields):
    """What is to change in a section. Its plan and code never do."""


class SectionShape(Ending, SectionCode, Heading):
    plan: PlanSlug
    municipality_code: Annotated[str, Field(description="Municipality of the plan (市区町村コード)")]


SectionPage = page_of("Section", SectionShape)


class SectionAsked(InPlan):
    OF = SECTION

    sort: Annotated[str, SECTIONS.sorting] = SECTIONS.order
    fields: Annotated[str, SECTIONS.choosing] | None = None


class SectionQuery(PageQuery, SectionAsked):
    pass


@router.get("", response_model=SectionPage)
@listed
def list_sections(
    request: Request, query: Annotated[SectionQuery, Query()], session: Reading, revision: RevisionRead
) -> Response:
    """節の一覧. Codes sort by their numbers: 2 before 10."""
    return page(request, session, SECTIONS, query.wanted, query, revision)


@router.post("", status_code=201, response_model=SectionShape)
def create_section(new: NewSection, writer: WriterKnown, session: Writing) -> Response:
    """節の登録."""
    plan = held_plan(session, writer, new.plan)
    row = new.model_dump(exclude={"plan"}) | {"plan_id": plan.id}
    same = (SECTION.c.plan_id == plan.id) & (SECTION.c.code == new.code)
    if existing := session.scalar(sa.select(SECTION.c.id).where(same)):
        raise taken(f"/sections/{existing}")
    [id] = save(session, Section, [row]).ids
    return written(SECTIONS.one(session, id), created_at=f"/sections/{id}")


@router.get("/{id:digits}", response_model=SectionShape)
@brief
def read_section(request: Request, id: RowId, session: Reading) -> Response:
    """節."""
    return answer(request, SECTIONS.one(session, id))


@router.patch("/{id:digits}", response_model=SectionShape)
def change_section(held: SectionToChange, patch: SectionPatch, session: Writing) -> Response:
    """節の更新."""
    fields = patched(SectionFields, held.row, patch)
    held.confirm()
    save(session, Section, [{"id": held.row["id"], **fields}])
    return written(SECTIONS.one(session, held.row["id"]))


@router.delete("/{id:digits}", status_code=204)
def remove_section(held: SectionToChange, session: Writing) -> None:
    """節の削除. Its measures and their evaluations go with it."""
    held.confirm()
    remove(session, Section, [held.row["id"]])
