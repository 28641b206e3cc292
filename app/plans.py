"""計画: /plans"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy.exc import IntegrityError

from app.access import Held, Writer, WriterKnown, held_row
from app.changes import PLANS_BY_SLUG, RevisionRead, hold, holding, remove, save
from app.kit.database import Reading, Writing, brief
from app.kit.errors import Conflict, Finding, Invalid, NotFound, Say
from app.kit.fetching import Prepared
from app.kit.http import IfMatch, answer, written
from app.kit.listing import Listing, PageQuery, no_such_row, page
from app.kit.session import Session
from app.kit.text import excerpt, terms
from app.models import EVALUATION, MEASURE, MOST_RATINGS, PLAN, PLAN_KEY, Plan, PlanFields, RatingCode, Slug
from app.shapes import Ending, Heading, InMunicipality, Partial, PlanName, Words, page_of, patched

router = APIRouter(prefix="/plans", tags=["plans"])

PLANS = Listing(
    source=PLAN,
    columns={
        "id": PLAN.c.id,
        "key": PLAN_KEY,
        "slug": PLAN.c.slug,
        **{name: PLAN.c[name] for name in PlanFields.model_fields},
        "origin": PLAN.c.origin,
        "version": PLAN.c.version,
        "created_at": PLAN.c.created_at,
        "updated_at": PLAN.c.updated_at,
    },
    sorts={name: PLAN.c[name] for name in ("id", "slug", "title", "municipality_code", "updated_at")},
    order="slug",
    place=PLAN.c.slug,
)


class NewPlan(PlanFields):
    model_config = ConfigDict(extra="forbid")  # type: ignore[assignment]

    slug: Annotated[Slug, Field(description="Short name in addresses and keys; it never changes (識別名)")]


class PlanPatch(Partial, PlanFields):
    """What is to change in a plan. Its slug never does."""


class PlanShape(Ending, PlanFields, Heading):
    slug: Annotated[str, Field(description="Short name in addresses and keys; it never changes (識別名)")]
    origin: Annotated[
        str | None,
        Field(
            description="The service that this plan is a copy from, which alone can change it; null for one's own "
            "(複製元)"
        ),
    ]


PlanPage = page_of("Plan", PlanShape)


class PlanAsked(InMunicipality):
    q: Words | None = None
    sort: Annotated[str, PLANS.sorting] = PLANS.order
    fields: Annotated[str, PLANS.choosing] | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        found = [PLAN.c.folded.contains(term, autoescape=True) for term in terms(self.q or "")]
        return [*super().conditions(), *found]


class PlanQuery(PageQuery, PlanAsked):
    pass


def plan_in_path(id: PlanName) -> sa.ColumnElement[bool]:
    """Which plan the path means: by id or by slug."""
    return PLAN.c.id == int(id) if id.isdigit() else PLAN.c.slug == id


PlanInPath = Annotated[sa.ColumnElement[bool], Depends(plan_in_path)]


def plan_id(session: Session, which: sa.ColumnElement[bool]) -> int:
    found: int | None = session.scalar(sa.select(PLAN.c.id).where(which))
    if found is None:
        raise no_such_row()
    return found


BY_ID = holding(PLAN, PLAN.c.id)


def _plan_to_change(which: PlanInPath, writer: WriterKnown, session: Writing, if_match: IfMatch) -> Held:
    id = plan_id(session, which)
    return held_row(session, writer, PLANS, id, BY_ID, if_match)


PlanToChange = Annotated[Held, Depends(_plan_to_change)]


def held_plan(session: Session, writer: Writer, slug: str) -> sa.Row[Any]:
    """The plan that a body names by its slug, held, for a writer who may add to it."""
    hold(session, PLANS_BY_SLUG, [(slug,)])
    named = sa.select(PLAN.c.id, PLAN.c.municipality_code).where(PLAN.c.slug == slug)
    plan = session.execute(named).one_or_none()
    if plan is None:
        raise no_parent("plan", f"plan {slug}")
    writer.must_be_allowed(plan.municipality_code)
    return plan


def no_parent(field: str, named: str) -> NotFound:
    """What a body names as its parent is not there."""
    told = excerpt(named, 200)
    says = Say(
        f"{told} は登録されていません。先に登録してください。", f"There is no {told}. Create it first."
    )
    return NotFound(*says, findings=[Finding(says, pointer=f"/{field}")])


def taken(path: str) -> Conflict:
    return Conflict(
        f"同じキーのデータが既にあります: {path}",
        f"A row with this key exists already: {path}",
        existing=path,
    )


# ---------------------------------------------------------------------------------------------------------


@router.get("", response_model=PlanPage)
def list_plans(
    request: Request, query: Annotated[PlanQuery, Query()], session: Reading, revision: RevisionRead
) -> Response:
    """計画の一覧. Without `sort` in the order of their slugs. `q` looks in title and municipality."""
    return page(request, session, PLANS, query.wanted, query, revision)


@router.post("", status_code=201, response_model=PlanShape)
def create_plan(new: NewPlan, writer: WriterKnown, session: Writing) -> Response:
    """計画の登録. The slug is its name in every copy of the data, so it never changes."""
    writer.must_be_allowed(new.municipality_code)
    if existing := session.scalar(sa.select(PLAN.c.id).where(PLAN.c.slug == new.slug)):
        raise taken(f"/plans/{existing}")
    try:
        saved = save(session, Plan, [new.model_dump()])
    except IntegrityError:
        saved = None
    if saved is None or not saved.created:  # somebody made it at the same moment
        session.rollback()
        raise taken(f"/plans/{plan_id(session, PLAN.c.slug == new.slug)}")
    [id] = saved.ids
    return written(PLANS.one(session, id), created_at=f"/plans/{id}")


@router.get("/{id}", response_model=PlanShape)
@brief
def read_plan(request: Request, which: PlanInPath, session: Reading) -> Response:
    """計画."""
    return answer(request, PLANS.one(session, plan_id(session, which)))


@router.patch("/{id}", response_model=PlanShape)
def change_plan(held: PlanToChange, patch: PlanPatch, session: Writing) -> Response:
    """計画の更新. `ratings` is replaced as a whole: so a code that joined by mistake is taken out once no row uses it.
    `ratings_closed` declares the scale complete and its order, best first, right. A plan stays with its municipality.
    """
    fields = patched(PlanFields, held.row, patch)
    if fields["municipality_code"] != held.row["municipality_code"]:
        raise Invalid(
            Finding(
                Say(
                    "計画の自治体は変更できません。別の自治体の計画は、新しい計画として登録してください。",
                    "A plan stays with its municipality, so that copies of one lack nothing. Make a new plan instead.",
                ),
                pointer="/municipality_code",
            )
        )
    refuse_lost_codes(session, held.row["id"], fields["ratings"])
    held.confirm()
    save(session, Plan, [{"id": held.row["id"], **fields}])
    return written(PLANS.one(session, held.row["id"]))


@router.delete("/{id}", status_code=204)
def remove_plan(held: PlanToChange, session: Writing) -> None:
    """計画の削除. Everything in it goes with it, and each row is logged."""
    held.confirm()
    remove(session, Plan, [held.row["id"]])


# ---------------------------------------------------------------------------------------------------------
# The rating scale


RATING_CODE = TypeAdapter[str](RatingCode)


def check_codes(codes: Sequence[str], count: int) -> None:
    """Refuse codes that no scale can hold, or more of them than one does."""
    unfit = [code for code in codes if not fits(code)]
    if unfit or count > MOST_RATINGS:
        raise Invalid(Finding(cannot_join(unfit or codes), pointer="/rating"))


def fits(code: str) -> bool:
    """Whether a scale can hold this code."""
    try:
        RATING_CODE.validate_python(code)
    except ValidationError:
        return False
    return True


def cannot_join(codes: Sequence[str]) -> Say:
    told = excerpt(", ".join(codes), 100)
    return Say(
        f"評価の記号として使えません: {told} "
        f"(20 文字以内、前後の空白・コンマ・none は不可、1 つの計画に {MOST_RATINGS} 種類まで)",
        f"These cannot join the scale: {told} "
        "(up to 20 characters, no spaces around them, no commas, not none, "
        f"at most {MOST_RATINGS} codes a plan).",
    )


SCALE_AS_IT_IS = Prepared(
    sa.select(PLAN.c.ratings, PLAN.c.ratings_closed).where(PLAN.c.id == sa.bindparam("plan"))
)


def admit_ratings(session: Session, plan: int, codes: Iterable[str]) -> list[str]:
    """Let codes that the plan's scale does not know join it, unless it is closed; tells which did.

    Where the usual order of such codes is known the newcomer takes its place in it, else it comes last.
    """
    [(scale, closed)] = (row.values() for row in SCALE_AS_IT_IS.fetch(session, {"plan": plan}))
    known = [rating["code"] for rating in scale]
    new = [code for code in dict.fromkeys(codes) if code not in known]
    if new and closed:
        allowed = ", ".join(map(excerpt, known))
        ja = f"使えるのは {allowed} です。" if known else "区分は一つも登録されていません。"
        en = f"it has {allowed}." if known else "it has none at all."
        raise Invalid(
            Finding(
                Say(
                    f"評価 {excerpt(new[0])} はこの計画の評価区分にありません。{ja}",
                    f"The plan's scale is closed and has no {excerpt(new[0])}; {en}",
                ),
                pointer="/rating",
            )
        )
    check_codes(new, len(known) + len(new))
    if new:
        joined = scale + [{"code": code, "label": None, "description": None} for code in new]
        usual = in_usual_order(scale) == scale  # an order that somebody gave is not ours to change
        save(session, Plan, [{"id": plan, "ratings": in_usual_order(joined) if usual else joined}])
    return new


USUAL = ("SABCDEF", "ＳＡＢＣＤＥＦ", "abcdef", "◎○△▲×", "◎〇△▲×")


def _family(scale: list[dict[str, Any]]) -> str | None:
    """The usual family that all codes belong to, best first."""
    codes = {rating["code"] for rating in scale}
    return next((family for family in USUAL if codes <= set(family)), None)


def in_usual_order(scale: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Best first where all codes belong to one usual family; as they came where they do not."""
    family = _family(scale)
    return sorted(scale, key=lambda rating: family.index(rating["code"])) if family else scale


def has_usual_order(scale: list[dict[str, Any]]) -> bool:
    return _family(scale) is not None and in_usual_order(scale) == scale


def refuse_lost_codes(session: Session, plan: int, scale: list[dict[str, Any]]) -> None:
    in_use = (
        sa.select(EVALUATION.c.rating)
        .distinct()
        .join(MEASURE)
        .where(MEASURE.c.plan_id == plan, EVALUATION.c.rating.is_not(None))
    )
    lost = set(session.scalars(in_use)) - {rating["code"] for rating in scale}
    if lost:
        codes = ", ".join(map(excerpt, sorted(lost)))
        raise Conflict(
            f"評価 {codes} を使っている行があるため、評価区分から外せません。",
            f"Rows of this plan are rated {codes}; these codes cannot leave its scale.",
        )
