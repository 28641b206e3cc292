"""Lists and the summary as the rows of a file, a few at a time."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel

from app.documents.routes import DOCUMENTS, DocumentAsked
from app.documents.writing import MOST_ROWS_OF_A_SHEET, write
from app.evaluations import EVALUATIONS, EvaluationAsked
from app.kit.errors import Finding, Invalid, Say
from app.kit.fetching import fetched
from app.kit.http import dumps
from app.kit.listing import Listing, order_of
from app.kit.session import Session
from app.measures import MEASURES, MeasureAsked
from app.models import EVALUATION, MEASURE
from app.plans import PLANS, PlanAsked
from app.sections import SECTIONS, SectionAsked
from app.summaries import SummaryQuery, summed

# What has parts of its own has no place in one cell: it is in JSON only.
NESTED = {"ratings", "report"}


@dataclass(frozen=True)
class Export:
    """A list as a file: its name, and the query that it takes."""

    noun: str
    japanese: str
    listing: Listing
    asked: type[BaseModel]


EXPORTS = {
    each.noun: each
    for each in (
        Export("plans", "計画一覧", PLANS, PlanAsked),
        Export("sections", "節一覧", SECTIONS, SectionAsked),
        Export("measures", "施策一覧", MEASURES, MeasureAsked),
        Export("evaluations", "年度評価一覧", EVALUATIONS, EvaluationAsked),
        Export("documents", "資料一覧", DOCUMENTS, DocumentAsked),
    )
}


def exported(session: Session, export: Export, form: str, query: Any, encoding: str) -> Generator[bytes]:
    """All rows of the list in this form, a few at a time."""
    listing = export.listing
    conditions = query.conditions()
    order = [column.desc() if down else column.asc() for column, down in order_of(listing, query.sort)]
    statement = listing.select(*conditions).order_by(*order)
    picked = query.fields.split(",") if query.fields else list(listing.columns)
    names = [name for name in listing.columns if name in picked]  # in the order of the list
    if form == "jsonl":
        yield from _lines(session, statement, listing, names)
        return
    if query.fields and (nested := NESTED.intersection(picked)):
        raise _nested(sorted(nested)[0])
    names = [name for name in names if name not in NESTED]
    if form == "xlsx":
        _refuse_long(session, listing, conditions)
    spread = _spread(session, listing, conditions, names)
    header = [column for name in names for column in spread.get(name, [name])]

    def rows() -> Iterator[Sequence[Any]]:
        yield header
        for some in fetched(session, statement):
            for row in some:
                yield _cells(listing.finish(row), header, spread)

    yield from write(form, rows, encoding)


def _lines(
    session: Session, statement: sa.Select[Any], listing: Listing, names: Sequence[str]
) -> Generator[bytes]:
    whole = len(names) == len(listing.columns)
    for some in fetched(session, statement):
        rows = [listing.finish(row) for row in some]
        if not whole:
            rows = [{name: row[name] for name in names} for row in rows]
        yield b"\n".join([dumps(row) for row in rows]) + b"\n"


def _spread(
    session: Session, listing: Listing, conditions: Sequence[sa.ColumnElement[bool]], names: Sequence[str]
) -> dict[str, list[str]]:
    """A list or an object takes as many columns as its rows need: one datum a cell."""
    spread: dict[str, list[str]] = {}
    if "path" in names:
        most = sa.select(sa.func.max(sa.func.json_array_length(MEASURE.c.path)))
        length = session.scalar(most.select_from(listing.source).where(*conditions)) or 0
        spread["path"] = [f"path.{place}" for place in range(1, length + 1)]
    if "extra" in names:
        rows = sa.select(EVALUATION.c.extra).select_from(listing.source).where(*conditions)
        some = rows.where(sa.cast(EVALUATION.c.extra, sa.Text) != "{}").subquery()
        if not session.sqlite:
            keys = sa.select(sa.func.json_object_keys(some.c.extra).label("key")).distinct()
        else:
            each = sa.func.json_each(some.c.extra).table_valued("key")
            keys = sa.select(each.c.key).select_from(some).join(each, sa.true()).distinct()
        spread["extra"] = [f"extra.{key}" for key in sorted(session.scalars(keys))]
    return spread


def _cells(row: dict[str, Any], header: Sequence[str], spread: Mapping[str, Sequence[str]]) -> list[Any]:
    for name, columns in spread.items():
        if name == "path":
            row |= zip_longest(columns, row["path"])
        else:
            row |= ((column, row["extra"].get(column.removeprefix("extra."))) for column in columns)
    return [row[column] for column in header]


def _nested(name: str) -> Invalid:
    return Invalid(
        Finding(
            Say(
                f"{name} は表のセルに入りません。JSON か .jsonl で取得してください。",
                f"{name} has no place in a cell. Ask for JSON or .jsonl.",
            ),
            parameter="fields",
        )
    )


def _refuse_long(session: Session, listing: Listing, conditions: Sequence[sa.ColumnElement[bool]]) -> None:
    count = session.scalar(listing.counting(*conditions)) or 0
    if count > MOST_ROWS_OF_A_SHEET:
        raise Invalid(
            Finding(
                Say(
                    f"{count:,} 行あり、1 つのシートに入りません。条件で絞るか、.csv で取得してください。",
                    f"{count:,} rows do not fit on one sheet. Filter them, or ask for .csv.",
                ),
                parameter="form",
            )
        )


# ---------------------------------------------------------------------------------------------------------
# The summary: one row for each group and rating


def summary_rows(session: Session, query: SummaryQuery) -> tuple[list[str], list[list[Any]]]:
    names, results, total = summed(session, query)
    groups = results if query.group_by else [total]
    shown = [name for name in (groups[0] if groups else {}) if name not in ("ratings", *TALLY)]
    counted = [name for name in TALLY if groups and name in groups[0]]
    rows = []
    for group in groups:
        for rating in group["ratings"] or [{"rating": None, "count": None, "share": None}]:
            rows.append(
                [
                    *(group[name] for name in shown),
                    *(rating[name] for name in ("rating", "count", "share")),
                    *(group[name] for name in counted),
                ]
            )
    return [*(shown or names), "rating", "count", "share", *counted], rows


TALLY = ("total", "rated", "unrated", "mixed")


def summary_exported(session: Session, form: str, query: SummaryQuery, encoding: str) -> Generator[bytes]:
    header, rows = summary_rows(session, query)
    if form == "jsonl":
        yield b"".join(dumps(dict(zip(header, row, strict=True))) + b"\n" for row in rows)
    else:
        yield from write(form, lambda: [header, *rows], encoding)
