"""資料: /documents"""

from typing import Annotated, Any
from urllib.parse import quote

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from app.changes import RevisionRead
from app.fiscal_years import FiscalYearParameter
from app.kit.database import Reading
from app.kit.http import PUBLIC, answer, unless_known
from app.kit.listing import Listing, PageQuery, page
from app.models import DOCUMENT, DOCUMENT_KEY, PLAN
from app.shapes import Ending, Heading, InPlan, PlanSlug, RowId, page_of

# What the web calls the encodings that Python reads.
CHARSETS = {"utf-8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16", "cp932": "windows-31j"}

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


class DocumentQuery(PageQuery, InPlan):
    fiscal_year: FiscalYearParameter | None = None
    sort: Annotated[str, DOCUMENTS.sorting] = DOCUMENTS.order
    fields: Annotated[str, DOCUMENTS.choosing] | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        year = [] if self.fiscal_year is None else [DOCUMENT.c.fiscal_year == self.fiscal_year]
        return [*super().conditions(), *year]


@router.get("", response_model=DocumentPage)
def list_documents(
    request: Request, query: Annotated[DocumentQuery, Query()], session: Reading, revision: RevisionRead
) -> Response:
    """資料の一覧: the published files that rows were read from."""
    return page(request, session, DOCUMENTS, query.conditions(), query, revision)


@router.get("/{id:digits}", response_model=DocumentShape)
def read_document(request: Request, id: RowId, session: Reading) -> Response:
    """資料."""
    return answer(request, DOCUMENTS.one(session, id))


@router.get(
    "/{id:digits}/content",
    response_class=Response,
    responses={200: {"content": {"text/tab-separated-values": {"schema": {"type": "string"}}}}},
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
