"""Lists and documents as files: /evaluations.csv and its kin, /plans/{id}/document.tsv"""

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote

import sqlalchemy as sa
from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field
from sqlmodel import Session
from starlette.convertors import Convertor, register_url_convertor

from app import fiscal_years
from app.changes import SOFTWARE, Revision, revision
from app.documents.reading import Row as Line
from app.documents.reading import Sheet
from app.documents.recognising import recognise
from app.documents.routes import DOCUMENTS, DocumentAsked
from app.documents.vocabulary import EXACT, PRINTED
from app.documents.writing import MEDIA_TYPES, MOST_ROWS_OF_A_SHEET, write
from app.evaluations import EVALUATIONS, EvaluationAsked
from app.fiscal_years import FiscalYearParameter
from app.kit.database import Seen, database_of, turn_of
from app.kit.errors import Finding, Invalid, NotFound, Say
from app.kit.http import PUBLIC, NotModified, Streamed, dumps, unless_known
from app.kit.listing import Listing, order_of
from app.measures import MEASURES, MeasureAsked
from app.models import EVALUATION, MEASURE, PLAN, SECTION
from app.plans import PLANS, PlanAsked, PlanInPath, plan_id
from app.sections import SECTIONS, SectionAsked
from app.summaries import SummaryQuery, summed

router = APIRouter()


class _Form(Convertor[str]):
    """The suffix of an address. With any other there is nothing at it."""

    regex = "csv|tsv|xlsx|jsonl"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("form", _Form())

Form = Annotated[
    Literal["csv", "tsv", "xlsx", "jsonl"],
    Path(description="CSV, TSV, XLSX, or JSON with one row a line (形式)", examples=["csv"]),
]
Encoding = Annotated[
    Literal["utf-8", "cp932"],
    Field(
        description="Character encoding of CSV and TSV. What has no form in cp932 is refused, with a list (文字コード)"
    ),
]
FETCHED = 1_000  # rows at a time

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
    statement = listing.select(*conditions).order_by(*order).execution_options(yield_per=FETCHED)
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
        with session.execute(statement) as found:
            for some in found.mappings().partitions():
                for row in some:
                    yield _cells(listing.finish(dict(row)), names, spread)

    yield from write(form, rows, encoding)


def _lines(
    session: Session, statement: sa.Select[Any], listing: Listing, names: Sequence[str]
) -> Generator[bytes]:
    whole = len(names) == len(listing.columns)
    with session.execute(statement) as found:
        for some in found.mappings().partitions():
            rows = (listing.finish(dict(row)) for row in some)
            if not whole:
                rows = ({name: row[name] for name in names} for row in rows)
            yield b"\n".join(map(dumps, rows)) + b"\n"


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
        if session.get_bind().dialect.name == "postgresql":
            keys = sa.select(sa.func.json_object_keys(some.c.extra).label("key")).distinct()
        else:
            each = sa.func.json_each(some.c.extra).table_valued("key")
            keys = sa.select(each.c.key).select_from(some).join(each, sa.true()).distinct()
        spread["extra"] = [f"extra.{key}" for key in sorted(session.scalars(keys))]
    return spread


def _cells(row: Mapping[str, Any], names: Sequence[str], spread: Mapping[str, Sequence[str]]) -> list[Any]:
    cells: list[Any] = []
    for name in names:
        value = row[name]
        if name == "path" and name in spread:
            cells += [*value, *[None] * (len(spread[name]) - len(value))]
        elif name == "extra" and name in spread:
            cells += [value.get(column.removeprefix("extra.")) for column in spread[name]]
        else:
            cells.append(value)
    return cells


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
    count = listing.count(session, conditions)
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


# ---------------------------------------------------------------------------------------------------------
# A year of a plan in the form of its documents

COLUMNS = ("implementation", "rating", "rationale", "next_plan")


def document_rows(session: Session, plan: int, year: int) -> list[list[str]]:
    """Title, subtitle, header and one row for each evaluation, as the first document of this service has them.

    Where such a table would not be read back as it was (a code that its number does not say, a row out of order),
    it says what it means in four more columns.
    """
    title = session.scalars(sa.select(PLAN.c.title).where(PLAN.c.id == plan)).one()
    statement = EVALUATIONS.select(PLAN.c.id == plan, EVALUATION.c.fiscal_year == year).add_columns(
        MEASURE.c.path.label("path"), SECTION.c.label.label("label")
    )
    ordered = statement.order_by(MEASURE.c.code_order, MEASURE.c.id, EVALUATION.c.ordinal)
    rows = [dict(row) for row in session.execute(ordered).mappings()]
    if not rows:
        raise NotFound(
            f"{fiscal_years.label(year)}の評価は登録されていません。",
            f"The plan has no evaluation in fiscal year {year}.",
        )
    table = _table(title, year, rows, exact=False)
    return table if _says(table, rows) else _table(title, year, rows, exact=True)


def _table(title: str, year: int, rows: Sequence[Mapping[str, Any]], *, exact: bool) -> list[list[str]]:
    labels = max(1, *(len(row["path"]) for row in rows))
    extra = sorted({name for row in rows for name in row["extra"]})
    department = any(row["department"] is not None for row in rows)
    years = {"implementation": year, "next_plan": year + 1}
    header = [
        PRINTED["path"],
        *[""] * (labels - 1),
        PRINTED["title"],
        *(f"{_short(years[name])}{PRINTED[name]}" if name in years else PRINTED[name] for name in COLUMNS),
        *([PRINTED["department"]] if department else []),
        *(f"extra.{name}" if exact else name for name in extra),
        *(PRINTED[name] for name in EXACT if exact),
    ]
    lines = [[title], [f"({fiscal_years.label(year)}進捗状況評価結果)"], [], header]
    for row in rows:
        texts = [row["implementation"], row["rating_printed"], row["rationale"], row["next_plan"]]
        told = [row["measure_code"], row["section"], str(row["ordinal"]), row["rating"]] if exact else []
        cells = [
            *row["path"],
            *[""] * (labels - len(row["path"])),
            row["measure_title"],
            *texts,
            *([row["department"]] if department else []),
            *(row["extra"].get(name) for name in extra),
            *told,
        ]
        lines.append([cell or "" for cell in cells])
    return lines


def _short(year: int) -> str:
    """H29 for 2017, as headers have it."""
    era = next(era for era in fiscal_years.ERAS if era.begins <= year)
    return f"{era.letter}{year - era.begins + 1}"


def _says(table: Sequence[Sequence[str]], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an import would read these rows out of the table."""
    found = recognise(Sheet(None, [Line(n, list(cells)) for n, cells in enumerate(table, 1)]))
    if found.problems or len(found.evaluations) != len(rows):
        return False
    return all(
        (
            read.section_code,
            read.section_label,
            read.path,
            read.code,
            read.title,
            read.fiscal_year,
            read.ordinal,
            read.rating,
            read.rating_printed,
            read.department,
            {name: text for name, text in row["extra"].items() if text.strip()},
            *(getattr(read, name) for name in COLUMNS),
        )
        == (
            row["section"],
            row["label"],
            row["path"],
            row["measure_code"],
            row["measure_title"],
            row["fiscal_year"],
            row["ordinal"],
            row["rating"],
            row["rating_printed"],
            row["department"],
            read.extra,
            *(row[name] for name in COLUMNS),
        )
        for read, row in zip(found.evaluations, rows, strict=True)
    )


def document_exported(session: Session, plan: int, year: int, form: str) -> Generator[bytes]:
    table = document_rows(session, plan, year)
    yield from write(form, lambda: table)


# ---------------------------------------------------------------------------------------------------------
# Routes


async def _answer(
    request: Request,
    make: Callable[[Session], Generator[bytes]],
    form: str,
    stem: str,
    japanese: str,
    encoding: str,
    seen: int | None,
) -> Response:
    """A file, made while it is sent, from one snapshot."""
    variant = form if encoding == "utf-8" else f"{form}-{encoding}"

    def tag(stand: Revision) -> str:
        return f'"{stand.epoch[:8]}-{stand.seq}-{SOFTWARE}-{variant}"'

    async with turn_of(request, seen=seen) as session:
        stand = await run_sync(revision, session)
        unless_known(request, tag(stand), made=False)
    snapshots: list[Revision] = []

    def begun(session: Session) -> Generator[bytes]:
        snapshots.append(revision(session))
        yield from make(session)

    pieces = database_of(request).stream(begun, stand.seq)
    first = await anext(pieces, b"")  # what goes wrong before it is still a problem with a status
    try:
        unless_known(request, tag(snapshots[0]))
    except NotModified:
        await pieces.aclose()
        raise

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    request.state.revision = snapshots[0].seq
    charset = {"utf-8": "utf-8", "cp932": "windows-31j"}[encoding] if form in ("csv", "tsv") else None
    headers = {
        **PUBLIC,
        "ETag": tag(snapshots[0]),
        "Content-Type": MEDIA_TYPES[form] + (f"; charset={charset}" if charset else ""),
        "Content-Disposition": f'attachment; filename="{stem}.{form}"; '
        f"filename*=UTF-8''{quote(f'{japanese}.{form}', safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    return Streamed(all_pieces(), headers=headers)


def _content(*forms: str) -> dict[int | str, dict[str, Any]]:
    text, binary = {"type": "string"}, {"type": "string", "format": "binary"}
    content = {MEDIA_TYPES[form]: {"schema": binary if form == "xlsx" else text} for form in forms}
    return {200: {"description": "The file", "content": content}}


def _export_of(export: Export) -> Any:
    class Asked(export.asked):  # type: ignore[name-defined,misc]
        encoding: Encoding = "utf-8"

    async def export_list(
        request: Request, form: Form, query: Annotated[Asked, Query()], seen: Seen = None
    ) -> Response:
        return await _answer(
            request,
            lambda session: exported(session, export, form, query, query.encoding),
            form,
            export.noun,
            export.japanese,
            query.encoding,
            seen,
        )

    return export_list


for _export in EXPORTS.values():
    router.get(
        f"/{_export.noun}.{{form:form}}",
        response_class=Response,
        responses=_content(*MEDIA_TYPES),
        name=f"export_{_export.noun}",
        tags=[_export.noun],
        description=f"{_export.japanese}のファイル: all rows of the list with the same filters, as a file. "
        "Its columns are the fields; lists and objects take one column for each of their parts. A text that a "
        "spreadsheet would run as a formula has an apostrophe before it, which an import takes away again.",
    )(_export_of(_export))


class SummaryAsked(SummaryQuery):
    encoding: Encoding = "utf-8"


@router.get(
    "/evaluations/summary.{form:form}",
    response_class=Response,
    responses=_content(*MEDIA_TYPES),
    tags=["evaluations"],
)
async def export_summary(
    request: Request, form: Form, query: Annotated[SummaryAsked, Query()], seen: Seen = None
) -> Response:
    """評価の集計のファイル: one row for each group and rating. The totals over all groups are not in it."""

    def make(session: Session) -> Generator[bytes]:
        return summary_exported(session, form, query, query.encoding)

    return await _answer(request, make, form, "summary", "評価集計", query.encoding, seen)


@router.get(
    "/plans/{id}/document.{form:form}",
    response_class=Response,
    responses=_content("tsv", "xlsx"),
    tags=["plans"],
)
async def export_document(
    request: Request,
    which: PlanInPath,
    form: Annotated[Literal["tsv", "xlsx"], Path(description="TSV or XLSX (形式)", examples=["tsv"])],
    fiscal_year: FiscalYearParameter,
    seen: Seen = None,
) -> Response:
    """年度の表: a year of the plan as a table, in the form in which towns publish it: number, title, what was done,
    rating, reasons, next plan. An import reads it back without a change."""

    def make(session: Session) -> Generator[bytes]:
        yield from document_exported(session, plan_id(session, which), fiscal_year, form)

    label = fiscal_years.label(fiscal_year)
    return await _answer(request, make, form, f"document-{fiscal_year}", f"{label}進捗状況", "utf-8", seen)
