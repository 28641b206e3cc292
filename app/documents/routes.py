"""資料: /documents and /imports"""

import tempfile
from contextlib import ExitStack
from email.message import EmailMessage
from typing import Annotated, Any
from urllib.parse import quote

import sqlalchemy as sa
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import AfterValidator, BeforeValidator, Field

from app.access import bearer, writer
from app.changes import PLANS_BY_SLUG, RevisionRead, hold, revision
from app.documents.importing import explain, take_in, understood
from app.documents.previewing import MOST_LINES
from app.documents.reading import MEDIA_TYPES, NO_FORM
from app.documents.refusing import Refused
from app.documents.reports import ImportReport
from app.documents.told import Told
from app.fiscal_years import FiscalYearParameter
from app.kit.database import Reading, brief, turn_of
from app.kit.errors import Finding, Invalid, PreconditionFailed, Say
from app.kit.http import PUBLIC, answer, dumps, unless_known
from app.kit.listing import Listing, PageQuery, page
from app.kit.numbers import LARGEST, digits
from app.kit.session import Session
from app.kit.text import SOME_LINE
from app.models import CHANGE, DOCUMENT, DOCUMENT_KEY, PLAN
from app.shapes import Ending, Heading, InPlan, PlanSlug, RowId, page_of

# What the web calls the encodings that Python reads.
CHARSETS = {"utf-8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16", "cp932": "windows-31j"}

TEXT, BINARY = {"type": "string"}, {"type": "string", "format": "binary"}

router = APIRouter(prefix="/documents", tags=["documents"])

DOCUMENTS = Listing(
    source=DOCUMENT.join(PLAN),
    columns={
        "id": DOCUMENT.c.id,
        "key": DOCUMENT_KEY,
        "plan": PLAN.c.slug,
        "municipality_code": PLAN.c.municipality_code,
        **{
            name: DOCUMENT.c[name]
            for name in ("sha256", "name", "media_type", "encoding", "fiscal_year", "size", "report")
        },
        "version": DOCUMENT.c.version,
        "created_at": DOCUMENT.c.created_at,
        "updated_at": DOCUMENT.c.updated_at,
    },
    sorts={
        "id": DOCUMENT.c.id,
        "plan": PLAN.c.slug,
        "name": DOCUMENT.c.name,
        "size": DOCUMENT.c.size,
        "updated_at": DOCUMENT.c.updated_at,
    },
    order="id",
    place=DOCUMENT.c.id,
)


class DocumentShape(Ending, Heading):
    plan: PlanSlug
    municipality_code: Annotated[str, Field(description="Municipality of the plan (市区町村コード)")]
    sha256: Annotated[str, Field(description="SHA-256 of the bytes, in hexadecimal (ハッシュ値)")]
    name: Annotated[str, Field(description="File name as given (ファイル名)")]
    media_type: Annotated[str, Field(description="Media type (形式)")]
    encoding: Annotated[str | None, Field(description="Character encoding it was read in (文字コード)")]
    fiscal_year: Annotated[
        int | None, Field(description="The year it reports on; null when it reports on several (年度)")
    ]
    size: Annotated[int, Field(ge=0, description="Bytes (サイズ)")]
    report: Annotated[
        dict[str, Any], Field(description="What was understood when it was read (取り込み結果)")
    ]


DocumentPage = page_of("Document", DocumentShape)


class DocumentAsked(InPlan):
    fiscal_year: FiscalYearParameter | None = None
    sort: Annotated[str, DOCUMENTS.sorting] = DOCUMENTS.order
    fields: Annotated[str, DOCUMENTS.choosing] | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        year = [] if self.fiscal_year is None else [DOCUMENT.c.fiscal_year == self.fiscal_year]
        return [*super().conditions(), *year]


class DocumentQuery(PageQuery, DocumentAsked):
    pass


@router.get("", response_model=DocumentPage)
def list_documents(
    request: Request, query: Annotated[DocumentQuery, Query()], session: Reading, revision: RevisionRead
) -> Response:
    """資料の一覧: the published files that rows were read from."""
    return page(request, session, DOCUMENTS, query.wanted, query, revision)


@router.get("/{id:digits}", response_model=DocumentShape)
@brief
def read_document(request: Request, id: RowId, session: Reading) -> Response:
    """資料."""
    return answer(request, DOCUMENTS.one(session, id))


@router.get(
    "/{id:digits}/content",
    response_class=Response,
    responses={
        200: {"content": {kind: {"schema": {} if "json" in kind else TEXT} for kind in MEDIA_TYPES.values()}}
    },
)
def read_document_content(request: Request, id: RowId, session: Reading) -> Response:
    """資料の原本: the file as it came, byte for byte."""
    document = DOCUMENTS.one(session, id)
    etag = f'"{document["sha256"]}"'
    unless_known(request, etag)
    content = session.scalars(sa.select(DOCUMENT.c.content).where(DOCUMENT.c.id == id)).one()
    charset = CHARSETS.get(document["encoding"])
    headers = {
        **PUBLIC,
        "ETag": etag,
        "Content-Type": document["media_type"] + (f"; charset={charset}" if charset else ""),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(document['name'], safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(content, headers=headers)


# ---------------------------------------------------------------------------------------------------------
# Imports

imports = APIRouter(tags=["documents"])


def _readable(mapping: str) -> str:
    Told.model_validate({"mapping": mapping})
    return mapping


class ImportQuery(Told):
    dry_run: Annotated[
        bool, Field(description="Answer the same report and change nothing (試し読み)", examples=[True])
    ] = False
    preview: Annotated[
        int,
        Field(
            ge=0,
            le=MOST_LINES,
            description="Show the table as printed in the report: so many lines of each sheet, and as many again that "
            f"have errors or warnings; 0 for none, at most {MOST_LINES} (表の表示)",
            examples=[50],
        ),
        BeforeValidator(digits),
    ] = 0
    revision: (
        Annotated[
            int,
            Field(
                ge=0,
                le=LARGEST,
                description="The `revision` of the report of a dry run, so that what was seen there is what is "
                "written: 412 and nothing is written if the plan has been changed since. Changes of other plans do "
                "not matter (試し読みのリビジョン)",
                examples=[56],
            ),
            BeforeValidator(digits),
        ]
        | None
    ) = None
    name: (
        Annotated[
            str,
            Field(
                max_length=255,
                description="File name, whose suffix says what kind it is; else that of `Content-Disposition` "
                "(ファイル名)",
                examples=["fujimi-h30.xlsx"],
            ),
            SOME_LINE,
        ]
        | None
    ) = None
    mapping: (
        Annotated[
            str,
            Field(
                max_length=20_000,
                description='What columns are, as JSON: `{"column number or header": "field"}`, or the `mapping` of a '
                'report, corrected. A field may be `{"field": "rating", "fiscal_year": "R5"}` or '
                '`{"field": "extra", "name": "決算額"}`. It wins over recognition (列の対応)',
                examples=['{"5": "implementation"}'],
            ),
            AfterValidator(_readable),
        ]
        | None
    ) = None  # type: ignore[assignment]


# One form for all: clients that are generated from several stumble over them.
FILE = {
    "requestBody": {
        "required": True,
        "description": "The file itself. Its name tells what kind it is; where there is none, its own media type does: "
        + ", ".join(sorted(MEDIA_TYPES.values())),
        "content": {"application/octet-stream": {"schema": BINARY}},
    }
}


@imports.post("/imports", response_model=ImportReport, openapi_extra=FILE, responses={412: {}})
async def import_file(
    request: Request,
    query: Annotated[ImportQuery, Query()],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Response:
    """資料の取り込み: a table as the municipality has it (TSV, CSV, XLSX, XLS, ODS), or rows as lists and snapshots
    show them (JSON, JSONL). All of it is written or nothing, and the same file twice changes nothing.

    What was not understood comes as one list of `errors`, each with `line`, `column`, `text` and `detail`. A plan that
    does not exist yet is made when `municipality_code` and `municipality` are given; its title is `title`, or that of
    the document.
    """
    async with turn_of(request, writes=True) as session:  # who may not write sends no file
        await run_sync(writer, session, credentials)
    name = _name(request, query)
    lines = query.preview
    own = {"dry_run", "preview", "revision", "name"}
    told = Told.model_validate(query.model_dump(exclude=own, exclude_none=True))
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        async for some in request.stream():
            await run_sync(file.write, some)
        openings = request.app.state.openings
        opening = understood(file, name, told, lines)
        found = await run_sync(stack.enter_context, opening, limiter=openings)

        def write() -> dict[str, Any]:
            if query.revision is not None:
                _must_be_as_tried(
                    session, {slug or told.plan for slug in found.head["parts"]}, query.revision
                )
            report = take_in(session, found, file, name, told, writer(session, credentials))
            if query.dry_run:
                session.rollback()
            return report

        try:
            async with turn_of(request, writes=True) as session:
                report = await run_sync(write)
        except Refused as refused:
            await run_sync(explain, refused, found, file, name, told, lines, limiter=openings)
            raise
        if query.dry_run and report["created"]["document"]:
            report["document"] = None
        report = {"dry_run": query.dry_run, **report, "revision": session.info["revision"]}
        if lines:
            report["table"] = found.head["table"]
    return Response(dumps(report), media_type="application/json")


def _must_be_as_tried(session: Session, slugs: set[str | None], tried: int) -> None:
    """A plan that is held changes no more."""
    hold(session, PLANS_BY_SLUG, [(slug,) for slug in slugs])
    changed = sa.exists().where(CHANGE.c.plan.in_(slugs), CHANGE.c.seq > tried)
    if tried > (now := revision(session).seq):
        ja = f"ここのリビジョンは {now} で、{tried} の試し読みは別のデータに対するものです。"
        en = f"Revision {tried} is not reached here, at {now}: that dry run was of other data."
    elif session.scalar(sa.select(changed)):
        ja, en = "試し読みのあとに、この計画が更新されました。", "The plan was changed after the dry run."
    else:
        return
    raise PreconditionFailed(
        f"{ja}何も書き込んでいません。もう一度試し読みをして、内容を確かめてください。",
        f"{en} Nothing was written. Try it once more and look at what would come of it.",
    )


def _name(request: Request, query: ImportQuery) -> str:
    """What the file is called: that also tells its kind."""
    if query.name is not None:
        return query.name
    told = EmailMessage()
    try:
        told["Content-Disposition"] = request.headers.get("content-disposition", "")
        name = told.get_filename() or ""
    except (ValueError, LookupError, IndexError):
        name = ""
    name = name.replace("\\", "/").rpartition("/")[2].strip()
    if 0 < len(name) <= 255 and name.isprintable():
        return name
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    for suffix, its in MEDIA_TYPES.items():
        if its == media_type:
            return f"import{suffix}"
    if media_type == "multipart/form-data":
        raise Invalid(Finding(Say(*NO_FORM), parameter="Content-Type"))
    says = Say(
        "ファイル名を name か Content-Disposition で指定してください。拡張子から形式が分かります。",
        "Give the file's name in name or in Content-Disposition: its suffix says what kind it is.",
    )
    raise Invalid(Finding(says, parameter="name"))
