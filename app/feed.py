"""The changes of this database for those who keep a copy: /changes, /changes/digest, /snapshot.jsonl, and histories.

The promise, in one sentence: who applies a snapshot and then every page of changes from its cursor on has the
rows of this database, and can prove it.

Pages join without a gap: each tells the revision that it begins `after` and the one that it goes `through`, and
holds every change between the two that fits its filters. A cursor belongs to one life of one database (the epoch)
and to its filters.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Generator
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

import orjson
import sqlalchemy as sa
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, Field

from app.changes import ENTITIES, Revision, RevisionRead, mark_of, outdated, revision
from app.kit.database import Reading, Seen, busy, database_of, turn_of
from app.kit.errors import Conflict, Finding, Gone, Invalid, Problem, Say, problem_body
from app.kit.fetching import Prepared, fetched
from app.kit.http import PUBLIC, Streamed, answer, dumps, unless_known, while_connected
from app.kit.listing import Listing, PageQuery, Wanted, no_such_row, page, seal, unseal
from app.kit.numbers import LARGEST, digits
from app.kit.session import Session
from app.models import CHANGE
from app.shapes import InPlan, ListMetadata, PlanName, Resultset, RowId

router = APIRouter()

LONGEST_WAIT = 30  # seconds: proxies give up on silence after a minute
HEARTBEAT = 15  # seconds of silence after which a stream says that it is alive
CHUNK = 250  # rows that a snapshot makes at a time: each may be a hundred kilobytes


# ---------------------------------------------------------------------------------------------------------
# The feed


class Change(BaseModel):
    seq: Annotated[int, Field(ge=1, description="Number of the change in this database (変更番号)")]
    entity: Annotated[str, Field(description="Which noun (種類)", examples=["evaluation"])]
    key: Annotated[
        str, Field(description="Natural key (自然キー)", examples=["fujimi-yumetsunagu/4-2-1/2017/3"])
    ]
    op: Annotated[Literal["create", "update", "delete"], Field(description="What happened (操作)")]
    version: Annotated[int, Field(ge=1, description="The row's version after it (版)")]
    at: Annotated[
        datetime, Field(description="When, UTC. The order is that of `seq`, not of the clock (日時)")
    ]
    data: Annotated[
        dict[str, Any] | None,
        Field(description="The row after it, its parents named by their keys; null when removed (データ)"),
    ]


class ChangesMetadata(BaseModel):
    resultset: Annotated[
        Resultset,
        Field(
            description="`count` is how many changes follow `after`; `next` is always a cursor (結果の範囲)"
        ),
    ]
    more: Annotated[bool, Field(description="Whether more is there already: ask again at once (続きの有無)")]
    epoch: Annotated[str, Field(description="Which life of which database this is (世代)")]
    after: Annotated[int, Field(ge=0, description="The revision that this page follows (開始位置)")]
    through: Annotated[
        int,
        Field(
            ge=0, description="The revision that this page goes through: the next one's `after` (終了位置)"
        ),
    ]
    revision: Annotated[int, Field(ge=0, description="The state of the database (リビジョン)")]


class ChangePage(BaseModel):
    metadata: Annotated[ChangesMetadata, Field(description="About this page (メタデータ)")]
    results: Annotated[list[Change], Field(description="The changes, oldest first (結果)")]


Cursor = Annotated[
    str,
    Field(
        max_length=200,
        description="Where to read on: `next` of the page before, or the `cursor` of a snapshot; from the very "
        "beginning when left out (続きの位置)",
    ),
]


class FeedQuery(InPlan):
    after: Cursor | None = None
    limit: Annotated[
        int, Field(ge=1, le=1000, description="Changes a page, 1 to 1000 (件数)"), BeforeValidator(digits)
    ] = 100
    wait: Annotated[
        int,
        Field(
            ge=0,
            le=LONGEST_WAIT,
            description=f"Seconds to wait for a change when there is none yet, 0 to {LONGEST_WAIT} (待ち時間)",
        ),
        BeforeValidator(digits),
    ] = 0


class Page(NamedTuple):
    """Every change that fits the filters between two revisions."""

    stand: Revision
    after: int
    through: int
    mark: str  # of the change that it goes through
    matching: int
    changes: list[dict[str, Any]]


class Position(NamedTuple):
    """What a cursor says: which change was the last one seen, in which life."""

    epoch: str
    seq: int
    mark: str


def _bound(query: InPlan) -> bytes:
    """What a cursor is bound to besides its database."""
    return dumps(["changes", query.municipality, query.plan])


def cursor_of(epoch: str, seq: int, mark: str, query: InPlan) -> str:
    return seal([epoch, seq, mark], _bound(query))


def _position(query: FeedQuery) -> Position | None:
    if query.after is None:
        return None
    try:
        epoch, seq, mark = unseal(query.after, _bound(query))
        if not (
            isinstance(epoch, str) and isinstance(mark, str) and type(seq) is int and 0 <= seq <= LARGEST
        ):
            raise ValueError
    except (ValueError, TypeError):
        raise Invalid(
            Finding(
                Say(
                    "after には、同じ条件で得た next か cursor をそのまま渡してください。",
                    "Pass the `next` or `cursor` that you got with the same filters, unchanged.",
                ),
                parameter="after",
            )
        ) from None
    return Position(epoch, seq, mark)


def _start(session: Session, position: Position | None, stand: Revision) -> int:
    """The revision that the reader has seen."""
    if position is None:
        seq = 0
    else:
        seq = position.seq
        if position.epoch != stand.epoch:
            raise Gone(
                "データベースが復元または交換されたため、続きを読めません。/snapshot.jsonl から始めてください。",
                "This database was restored or replaced since. Begin anew with /snapshot.jsonl.",
            )
        if seq > stand.seq:
            raise Conflict(
                f"この位置 ({seq}) は最新のリビジョン ({stand.seq}) より先です。/snapshot.jsonl から始めてください。",
                f"This place ({seq}) is ahead of the newest revision ({stand.seq}). Begin anew with /snapshot.jsonl.",
            )
    if seq < stand.horizon:
        raise Gone(
            "古い変更は整理されたため、ここからは読めません。/snapshot.jsonl から始めてください。",
            "The changes from here on are no longer kept. Begin with /snapshot.jsonl.",
        )
    if position is not None and position.mark != _mark(session, seq):
        raise Gone(
            "この位置の変更は別のものに置き換わっています。/snapshot.jsonl から始めてください。",
            "Another change stands at this place now: the database went back in between. "
            "Begin anew with /snapshot.jsonl.",
        )
    return seq


_AT = Prepared(sa.select(CHANGE.c.at).where(CHANGE.c.seq == sa.bindparam("seq")))


def _mark(session: Session, seq: int) -> str:
    found = _AT.fetch(session, {"seq": seq})
    return mark_of(found[0]["at"] if found else None)


def _page(session: Session, query: FeedQuery, position: Position | None) -> Page:
    stand = revision(session)
    after = _start(session, position, stand)
    of = query.model_dump(include={"plan", "municipality"}, exclude_none=True)
    given = {**of, "after": after, "limit": query.limit}
    rows, number = _changes(*of)
    count = number.scalar(session, given) if of else stand.seq - after  # no number is left out
    changes = [_written(row) for row in rows.fetch(session, given)]
    if len(changes) == count:
        return Page(stand, after, stand.seq, stand.mark, count, changes)
    last = changes[-1]
    return Page(stand, after, last["seq"], mark_of(last["at"]), count, changes)


@cache
def _changes(*of: str) -> tuple[Prepared, Prepared]:
    """The first changes after a number, of that plan or municipality, and how many there are."""
    seq, limit = CHANGE.c.seq, sa.bindparam("limit", type_=sa.Integer)
    columns = {"plan": CHANGE.c.plan, "municipality": CHANGE.c.municipality_code}
    wanted = [seq > sa.bindparam("after", type_=seq.type)]
    wanted += [columns[name] == sa.bindparam(name, type_=columns[name].type) for name in of]
    rows = sa.select(*(CHANGE.c[name] for name in Change.model_fields)).where(*wanted)
    number = sa.select(sa.func.count()).select_from(CHANGE).where(*wanted)
    return Prepared(rows.order_by(seq).limit(limit)), Prepared(number)


def _written(row: dict[str, Any]) -> dict[str, Any]:
    return row if row["data"] is None else row | {"data": orjson.Fragment(row["data"])}


@router.get(
    "/changes",
    response_model=ChangePage,
    tags=["changes"],
    responses={
        200: {
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string", "description": "With `Accept: text/event-stream`: for ever"}
                }
            }
        },
        409: {},
        410: {},
    },
)
async def list_changes(
    request: Request,
    query: Annotated[FeedQuery, Query()],
    seen: Seen = None,
    last_event_id: Annotated[
        str | None,
        Header(max_length=200, description="Of an event stream that is taken up again: instead of `after`"),
    ] = None,
) -> Response:
    """変更の一覧: every change in order, oldest first; the feed that copies follow.

    `next` is always a cursor: ask again with it, at once while `more` is true. `wait` holds the answer until
    there is a change. The first page begins `after` revision 0, each further one where the last went `through`;
    between the two nothing that fits the filters is left out, and without filters the numbers have no gap.

    A cursor that is too old, or of a database that was restored or replaced since, is answered 410, one that is
    ahead of this database 409: begin anew with `/snapshot.jsonl`.

    With `Accept: text/event-stream` the changes come as events (`id` is the cursor, `data` the change) as long as
    the reader listens; browsers take it up again by themselves.
    """
    if "text/event-stream" in request.headers.get("accept", ""):
        query.after = last_event_id or query.after
        return await _event_stream(request, query, seen)
    position = _position(query)
    seen = max(seen or 0, position.seq if position else 0)

    async def look(seen: int) -> Page:
        async with turn_of(request, seen=seen) as session:
            return await run_sync(_page, session, query, position)

    page = await look(seen)
    if page.changes or not query.wait:
        return _answered(request, query, page)
    request.state.waited = True  # who asks the same again is to wait, too
    watch, end = database_of(request).watch, time.monotonic() + query.wait
    async with watch.bell() as bell:
        seen = LARGEST  # first the primary itself: nobody tells when a standby gets what was written before
        while True:
            bell.clear()
            page = await look(seen)
            seen = page.stand.seq
            left = end - time.monotonic()
            if page.changes or left <= 0 or watch.ended:
                break
            async with while_connected(request):
                await bell.rings(left)
            if await request.is_disconnected():
                break
            seen = max(seen, watch.heard)
    return _answered(request, query, page)


def _answered(request: Request, query: FeedQuery, page: Page) -> Response:
    body = {
        "metadata": {
            "resultset": {
                "count": page.matching,
                "limit": query.limit,
                "next": cursor_of(page.stand.epoch, page.through, page.mark, query),
            },
            "more": page.through < page.stand.seq,
            "epoch": page.stand.epoch,
            "after": page.after,
            "through": page.through,
            "revision": page.stand.seq,
        },
        "results": page.changes,
    }
    return answer(request, body, etag=page.stand.etag)


async def _event_stream(request: Request, query: FeedQuery, seen: int | None) -> Response:
    """Whatever is wrong with the request is answered before the stream begins."""
    database = database_of(request)
    position = _position(query)
    async with turn_of(request, seen=max(seen or 0, position.seq if position else 0)) as session:
        first = await run_sync(_page, session, query, position)

    async def events() -> AsyncIterator[bytes]:
        page = first
        yield b"retry: 3000\n\n"
        async with database.watch.bell() as bell:
            while True:
                bell.clear()
                for change in page.changes:
                    id = cursor_of(page.stand.epoch, change["seq"], mark_of(change["at"]), query)
                    yield _event("change", change, id)
                if page.through == page.stand.seq:
                    if database.watch.ended:
                        return
                    await bell.rings(HEARTBEAT)
                    if not bell.is_set():
                        yield b": still here\n\n"
                reached = Position(page.stand.epoch, page.through, page.mark)
                last = max(page.stand.seq, database.watch.heard)
                try:
                    async with database.turn(writes=False, seen=last) as session:
                        page = await run_sync(_page, session, query, reached)
                except Problem as problem:
                    yield _event("problem", problem_body(request, problem))
                    return
                except sa.exc.OperationalError:  # the reader takes it up again when the database is back
                    yield _event("problem", problem_body(request, busy()))
                    return

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Streamed(events(), headers=headers, media_type="text/event-stream")


def _event(kind: str, data: Any, id: str | None = None) -> bytes:
    named = f"id: {id}\n".encode() if id else b""
    return named + f"event: {kind}\n".encode() + b"data: " + dumps(data) + b"\n\n"


# ---------------------------------------------------------------------------------------------------------
# Everything at once


class Digest(BaseModel):
    count: Annotated[int, Field(ge=0, description="How many rows there are, of all kinds (行数)")]
    digest: Annotated[
        str,
        Field(
            description="SHA-256, in hexadecimal, of one line for each row, sorted by code points and each ended by "
            "a newline: entity, key and version with a space between (ダイジェスト)"
        ),
    ]
    epoch: Annotated[str, Field(description="Which life of which database this is (世代)")]
    revision: Annotated[int, Field(ge=0, description="The state that it proves (リビジョン)")]


@router.get("/changes/digest", response_model=Digest, tags=["changes"])
def read_changes_digest(
    request: Request, query: Annotated[InPlan, Query()], session: Reading, revision: RevisionRead
) -> Response:
    """一致の確認: one hash over the key and version of every row. A copy with the same one is equal."""
    unless_known(request, revision.etag)
    count, digest = digest_of(session, query.conditions())
    told = {"count": count, "digest": digest, "epoch": revision.epoch, "revision": revision.seq}
    return answer(request, told, etag=revision.etag)


def digest_of(session: Session, conditions: list[sa.ColumnElement[bool]]) -> tuple[int, str]:
    """How many rows there are, and the hash that proves them."""
    count, whole = 0, hashlib.sha256()
    for name, entity in sorted(ENTITIES.items()):
        key, version = entity.record.selected_columns["_key"], entity.table.c.version
        rows = entity.record.with_only_columns(key, version).where(*conditions).order_by(key)
        with session.execute(rows.execution_options(yield_per=CHUNK)) as found:
            for some in found.partitions():
                count += len(some)
                whole.update("".join(f"{name} {key} {version}\n" for key, version in some).encode())
    return count, whole.hexdigest()


@router.get(
    "/snapshot.jsonl",
    response_class=Response,
    tags=["changes"],
    responses={
        200: {
            "description": "One JSON object a line",
            "content": {"application/jsonl": {"schema": {"type": "string"}}},
        }
    },
)
async def read_snapshot(request: Request, query: Annotated[InPlan, Query()], seen: Seen = None) -> Response:
    """全データ: one consistent picture of everything, and the cursor from which `/changes` goes on.

    The first line is `{"entity": "snapshot", "cursor", "epoch", "revision", "rows"}`, each further one
    `{"entity", "key", "version", "data"}`, parents before children. With filters the cursor is one for the same
    filters. An answer that ends before its `rows` is broken off.
    """
    async with turn_of(request, seen=seen) as session:
        stand = await run_sync(revision, session)
        unless_known(request, stand.tag("jsonl"))

    shown: list[Revision] = []
    lines = database_of(request).stream(lambda session: _lines(session, query, shown), stand.seq)
    first = await anext(lines)  # what goes wrong before it is still a problem with a status
    [stand] = shown
    request.state.revision = stand.seq

    async def all_lines() -> AsyncIterator[bytes]:
        yield first
        async for some in lines:
            yield some

    headers = {
        **PUBLIC,
        "ETag": stand.tag("jsonl"),
        "Content-Disposition": f'attachment; filename="shinchoku-{stand.seq}.jsonl"',
    }
    return Streamed(all_lines(), headers=headers, media_type="application/jsonl")


def _lines(session: Session, query: InPlan, shown: list[Revision]) -> Generator[bytes]:
    stand = revision(session)
    shown.append(stand)
    conditions = query.conditions()
    rows = sum(
        session.scalar(entity.record.with_only_columns(sa.func.count()).where(*conditions)) or 0
        for entity in ENTITIES.values()
    )
    head = {
        "entity": "snapshot",
        "cursor": cursor_of(stand.epoch, stand.seq, stand.mark, query),
        "epoch": stand.epoch,
        "revision": stand.seq,
        "rows": rows,
    }
    yield dumps(head) + b"\n"
    for name, entity in ENTITIES.items():
        records = entity.record.where(*conditions).order_by(entity.table.c.id)
        for some in fetched(session, records):
            yield b"".join(_line(name, record) for record in some)


def _line(entity: str, data: dict[str, Any]) -> bytes:
    key, _, _ = (data.pop(name) for name in ("_key", "_plan", "_municipality_code"))
    return dumps({"entity": entity, "key": key, "version": data["version"], "data": data}) + b"\n"


# ---------------------------------------------------------------------------------------------------------
# History


class Version(Change):
    by: Annotated[
        str | None, Field(description="Id of the key that wrote it; null for the command line (キーの番号)")
    ]


class VersionPage(BaseModel):
    metadata: Annotated[ListMetadata, Field(description="About this page (メタデータ)")]
    results: Annotated[list[Version], Field(description="The versions, newest first (結果)")]


HISTORY = Listing(
    source=CHANGE,
    columns={
        **{name: CHANGE.c[name] for name in ("seq", "entity", "key", "op", "version", "at")},
        "by": CHANGE.c.api_key_id,
        "data": CHANGE.c.data,
    },
    sorts={"seq": CHANGE.c.seq},
    order="-seq",
    place=CHANGE.c.seq,
    finish=_written,
)


def _history(
    request: Request,
    session: Session,
    query: PageQuery,
    revision: Revision,
    entity: str,
    which: sa.ColumnElement[bool],
) -> Response:
    of_row = [CHANGE.c.entity == entity, which]
    if not session.scalar(sa.select(sa.exists().where(*of_row))):
        raise no_such_row()
    left = [
        *of_row,
        ~outdated(revision.horizon),
    ]  # at a revision there is one answer, while a log is compacted, too
    return page(request, session, HISTORY, lambda: Wanted(left), query, revision)


HISTORY_TEXT = (
    "変更履歴: its versions, newest first; also of a row that has been removed, under the id it had."
)


@router.get("/plans/{id}/history", response_model=VersionPage, tags=["plans"], description=HISTORY_TEXT)
def read_plan_history(
    request: Request,
    id: PlanName,
    query: Annotated[PageQuery, Query()],
    session: Reading,
    revision: RevisionRead,
) -> Response:
    which = CHANGE.c.entity_id == int(id) if id.isdigit() else CHANGE.c.key == id
    return _history(request, session, query, revision, "plan", which)


def _history_of(entity: str) -> Any:
    def read_history(
        request: Request,
        id: RowId,
        query: Annotated[PageQuery, Query()],
        session: Reading,
        revision: RevisionRead,
    ) -> Response:
        return _history(request, session, query, revision, entity, CHANGE.c.entity_id == id)

    return read_history


for _entity in ("section", "measure", "evaluation", "document"):
    router.get(
        f"/{_entity}s/{{id:digits}}/history",
        response_model=VersionPage,
        name=f"read_{_entity}_history",
        tags=[f"{_entity}s"],
        description=HISTORY_TEXT,
    )(_history_of(_entity))
