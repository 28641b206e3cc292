"""Lists, the summary and a year of a plan as files: /evaluations.csv and its kin, /plans/{id}/document.tsv"""

from collections.abc import AsyncIterator, Callable, Generator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field
from starlette.convertors import Convertor, register_url_convertor

from app import fiscal_years
from app.changes import Revision, revision
from app.documents.files import EXPORTS, Export, exported, summary_exported
from app.documents.reprinting import document_exported
from app.documents.writing import MEDIA_TYPES
from app.fiscal_years import FiscalYearParameter
from app.kit.database import Seen, database_of, turn_of
from app.kit.http import PUBLIC, NotModified, Streamed, unless_known
from app.kit.session import Session
from app.plans import PlanInPath, plan_id
from app.summaries import SummaryQuery

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

    async with turn_of(request, seen=seen) as session:
        stand = await run_sync(revision, session)
        unless_known(request, stand.tag(variant), made=False)
    snapshots: list[Revision] = []

    def begun(session: Session) -> Generator[bytes]:
        snapshots.append(revision(session))
        yield from make(session)

    pieces = database_of(request).stream(begun, stand.seq)
    first = await anext(pieces, b"")  # what goes wrong before it is still a problem with a status
    try:
        unless_known(request, snapshots[0].tag(variant))
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
        "ETag": snapshots[0].tag(variant),
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
