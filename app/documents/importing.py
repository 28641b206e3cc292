"""From a recognised table to rows: all of it or nothing, and twice is once."""

import hashlib
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlmodel import Session

from app import plans
from app.changes import Saved, hold, save
from app.documents.reading import Problem as Unclear
from app.documents.reading import Unreadable, read
from app.documents.recognising import Recognised, recognise
from app.kit.errors import Finding, Invalid, Say
from app.kit.text import excerpt
from app.models import (
    DOCUMENT,
    EVALUATION,
    EVALUATION_KEY,
    MEASURE,
    PLAN,
    SECTION,
    Document,
    Evaluation,
    EvaluationFields,
    Label,
    Measure,
    Plan,
    Section,
    Slug,
)
from app.municipalities import MunicipalityCode

MEDIA_TYPES = {".txt": "text/tab-separated-values", ".tsv": "text/tab-separated-values"}


class Told(BaseModel):
    """What a document does not say about itself: given beside it, as `seed/fujimi-h29.toml` does."""

    model_config = ConfigDict(extra="forbid")

    plan: Slug
    municipality_code: MunicipalityCode | None = None
    municipality: Label | None = None
    encoding: str | None = None


class Refused(Invalid):
    """A document with lines that were not understood. Nothing of it was written."""

    def __init__(self, unclear: Iterable[Unclear]) -> None:
        self.unclear = list(unclear)
        super().__init__(*(Finding(Say(each.ja, each.en)) for each in self.unclear))


def import_document(session: Session, content: bytes, name: str, told: Told) -> dict[str, Any]:
    """Write what the document says and tell what came of it. The transaction is the caller's."""
    if (suffix := PurePath(name).suffix.lower()) not in MEDIA_TYPES:
        raise Invalid(
            Finding(
                Say(
                    f"{excerpt(suffix) or name} のファイルは読めません。タブ区切りの .txt か .tsv で保存してください。",
                    f"A file of {excerpt(suffix) or name} cannot be read. Save it tab-separated, as .txt or .tsv.",
                )
            )
        )
    try:
        sheet = read(content, told.encoding)
    except Unreadable as unreadable:
        raise Refused([unreadable.problem]) from None
    table = recognise(sheet)
    if table.problems:
        raise Refused(table.problems)

    plan, made = _plan(session, table, told)
    before = dict(
        session.execute(
            sa.select(MEASURE.c.code, MEASURE.c.title)
            .where(MEASURE.c.plan_id == plan)
            .order_by(MEASURE.c.code_order)
        ).all()
    )
    titles = {row.code: row.title for row in table.evaluations}
    renamed = [code for code in titles if before.get(code, titles[code]) != titles[code]]
    if renamed:
        raise _renamed(before, titles, renamed)
    codes = list(dict.fromkeys(row.rating for row in table.evaluations if row.rating is not None))
    joined = plans.admit_ratings(session, plan, codes) if not made.created else codes
    warnings = [
        {
            "ja": f"評価 {code} を評価区分に加えました。意味は資料にないため、空欄です。",
            "en": f"The rating {code} joined the plan's scale. The document does not say what it means.",
        }
        for code in joined
    ]
    report = {
        "title": table.title,
        "subtitle": table.subtitle,
        "fiscal_years": table.fiscal_years,
        "rows": len(table.evaluations),
        "mapping": table.mapping,
        "warnings": warnings,
    }
    document = _document(session, plan, content, name, sheet.encoding, table, report)
    sections = _sections(session, plan, table)
    measures = _measures(session, plan, table)
    evaluations = _evaluations(session, plan, document.ids[0], table)
    warnings += _left_out(session, plan, table, evaluations.ids)
    counts = {
        "plan": made,
        "document": document,
        "section": sections,
        "measure": measures,
        "evaluation": evaluations,
    }
    return {
        "document": document.ids[0],
        **report,
        **{
            what: {entity: getattr(saved, what) for entity, saved in counts.items()}
            for what in ("created", "updated", "unchanged")
        },
        "measures": {
            "new": [code for code in titles if code not in before],
            "missing": [code for code in before if code not in titles],
            "renamed": renamed,
        },
    }


def _left_out(session: Session, plan: int, table: Recognised, ids: list[int]) -> list[dict[str, str]]:
    """What the plan has and this document does not say: it stays, and somebody should know."""
    title = session.scalar(sa.select(PLAN.c.title).where(PLAN.c.id == plan))
    rows = session.execute(
        sa.select(EVALUATION.c.id, EVALUATION_KEY)
        .join(MEASURE, EVALUATION.c.measure_id == MEASURE.c.id)
        .join(PLAN, MEASURE.c.plan_id == PLAN.c.id)
        .where(PLAN.c.id == plan, EVALUATION.c.fiscal_year.in_(table.fiscal_years))
        .order_by(EVALUATION.c.id)
    )
    seen = set(ids)
    warnings = [
        {
            "ja": f"{key} は登録されていますが、この資料にはありません。不要であれば削除してください。",
            "en": f"{key} is on record and not in this document. Remove it if it should go.",
        }
        for id, key in rows
        if id not in seen
    ]
    if title != table.title:
        warnings.append(
            {
                "ja": f"計画名は「{title}」のままです。この資料では「{table.title}」です。",
                "en": f"The plan keeps its title {title!r}; this document says {table.title!r}.",
            }
        )
    return warnings


def _plan(session: Session, table: Recognised, told: Told) -> tuple[int, Saved]:
    which = PLAN.c.slug == told.plan
    hold(session, sa.select(PLAN.c.id).where(which))
    there = session.execute(sa.select(PLAN.c.id, PLAN.c.municipality_code).where(which)).one_or_none()
    if there is not None:
        if told.municipality_code not in (None, there.municipality_code):
            raise Invalid(
                Finding(
                    Say(
                        f"計画 {told.plan} は自治体 {there.municipality_code} のもので、{told.municipality_code} "
                        "のものではありません。計画名か自治体コードを確かめてください。",
                        f"The plan {told.plan} is one of municipality {there.municipality_code} and not of "
                        f"{told.municipality_code}. Check the plan's name or the municipality code.",
                    ),
                    parameter="municipality_code",
                )
            )
        return there.id, Saved([there.id], 0, 0, 1)
    if told.municipality_code is None or told.municipality is None:
        raise Invalid(
            Finding(
                Say(
                    f"計画 {told.plan} はまだありません。作成するには municipality_code と municipality が必要です。",
                    f"There is no plan {told.plan} yet. To make it, tell municipality_code and municipality.",
                ),
                parameter="municipality_code",
            )
        )
    codes = list(dict.fromkeys(row.rating for row in table.evaluations if row.rating is not None))
    plans.check_codes(codes, len(codes))
    made = save(
        session,
        Plan,
        [
            {
                "slug": told.plan,
                "title": table.title,
                "municipality_code": told.municipality_code,
                "municipality": told.municipality,
                "ratings": plans.in_usual_order(
                    [{"code": code, "label": None, "description": None} for code in codes]
                ),
            }
        ],
    )
    return made.ids[0], made


def _document(
    session: Session,
    plan: int,
    content: bytes,
    name: str,
    encoding: str,
    table: Recognised,
    report: dict[str, Any],
) -> Saved:
    sha256 = hashlib.sha256(content).hexdigest()
    same = (DOCUMENT.c.plan_id == plan) & (DOCUMENT.c.sha256 == sha256)
    if (there := session.scalar(sa.select(DOCUMENT.c.id).where(same))) is not None:
        return Saved([there], 0, 0, 1)
    row = {
        "plan_id": plan,
        "sha256": sha256,
        "name": name,
        "media_type": MEDIA_TYPES[PurePath(name).suffix.lower()],
        "encoding": encoding,
        "fiscal_year": table.fiscal_years[0] if len(table.fiscal_years) == 1 else None,
        "size": len(content),
        "report": report,
        "content": content,
    }
    return save(session, Document, [row])


def _sections(session: Session, plan: int, table: Recognised) -> Saved:
    labels = {row.section_code: row.section_label for row in table.evaluations}
    positions = _positions(session, SECTION, plan, labels)
    return save(
        session,
        Section,
        [
            {"plan_id": plan, "code": code, "label": label, "position": positions[code]}
            for code, label in labels.items()
        ],
    )


def _measures(session: Session, plan: int, table: Recognised) -> Saved:
    rows = {row.code: row for row in table.evaluations}
    positions = _positions(session, MEASURE, plan, rows)
    sections = _ids(session, SECTION, plan)
    return save(
        session,
        Measure,
        [
            {
                "plan_id": plan,
                "code": code,
                "section_id": sections[row.section_code],
                "title": row.title,
                "path": row.path,
                "position": positions[code],
            }
            for code, row in rows.items()
        ],
    )


def _evaluations(session: Session, plan: int, document: int, table: Recognised) -> Saved:
    measures = _ids(session, MEASURE, plan)
    # What the document has no column for, it does not contradict.
    told = {column["field"] for column in table.mapping} & set(EvaluationFields.model_fields)
    told |= {"rating_printed"} if "rating" in told else set()
    return save(
        session,
        Evaluation,
        [
            {
                "measure_id": measures[row.code],
                "fiscal_year": row.fiscal_year,
                "ordinal": row.ordinal,
                **{name: getattr(row, name) for name in told},
                "document_id": document,
                "source_line": row.line,
            }
            for row in table.evaluations
        ],
    )


def _ids(session: Session, table: sa.Table, plan: int) -> dict[str, int]:
    ids = sa.select(table.c.code, table.c.id).where(table.c.plan_id == plan)
    return dict(session.execute(ids).all())


def _positions(session: Session, table: sa.Table, plan: int, codes: Iterable[str]) -> dict[str, int | None]:
    """Where each stands in the plan: what is known keeps its place, what is new follows in the document's order."""
    there = sa.select(table.c.code, table.c.position).where(table.c.plan_id == plan)
    positions: dict[str, int | None] = dict(session.execute(there).all())
    last = max((position for position in positions.values() if position is not None), default=0)
    for code in codes:
        if code not in positions:
            last += 1
            positions[code] = last
    return positions


def _renamed(before: dict[str, str], after: dict[str, str], codes: list[str]) -> Invalid:
    return Invalid(
        *(
            Finding(
                Say(
                    f"施策 {code} の名称が「{before[code]}」から「{after[code]}」に変わっています。"
                    "名称変更であれば、先に施策の名称を更新してください。",
                    f"Measure {code} was called {before[code]!r} and is now {after[code]!r}. "
                    "If it was renamed, change its title first.",
                )
            )
            for code in codes
        )
    )
