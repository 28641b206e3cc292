"""HTTP manners that hold for every route: JSON out, tags and conditions, HEAD, Allow, size limits, last resort."""

import hashlib
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any, cast
from urllib.parse import unquote_plus

import anyio
import orjson
from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.middleware.cors import CORSMiddleware
from fastapi.params import ParamTypes
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.kit import keys
from app.kit.errors import (
    Broken,
    Finding,
    Invalid,
    Malformed,
    MethodNotAllowed,
    PreconditionFailed,
    PreconditionRequired,
    Problem,
    Say,
    TooLarge,
    UnsupportedMedia,
    nothing_here,
    problem_response,
)
from app.kit.text import excerpt

log = logging.getLogger("shinchoku.requests")

PUBLIC = {"Cache-Control": "public, no-cache"}  # keep it, and ask each time whether it is still true


def dumps(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


# ---------------------------------------------------------------------------------------------------------
# Answers and conditions


def tag(body: bytes) -> str:
    """A strong tag of what is shown: it changes exactly when the answer does."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


class NotModified(Exception):
    """The reader already has this answer."""

    def __init__(self, etag: str, vary: str) -> None:
        self.etag = etag
        self.vary = vary


def unless_known(request: Request, etag: str, vary: str = "Accept-Encoding", *, made: bool = True) -> None:
    """Ends the request with 304 when `If-None-Match` names this tag, or `*` and there is an answer to be known.

    Before it is `made`, only its tag tells that there is one.
    """
    given = ",".join(request.headers.getlist("if-none-match"))  # a list may be spread over several lines
    if given and (made or given.strip() != "*") and _names(given, etag, weak=True):
        compressed = etag[:-1] + '-gzip"'
        raise NotModified(compressed if compressed in given else etag, vary)


def answer(
    request: Request, value: Any, *, etag: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """A public answer as JSON with its tag: the given one, or one made of the body."""
    body = dumps(value)
    etag = etag or tag(body)
    unless_known(request, etag)
    return Response(body, headers={**PUBLIC, "ETag": etag, **(headers or {})}, media_type="application/json")


@asynccontextmanager
async def while_connected(request: Request) -> AsyncGenerator[None]:
    """What is awaited inside ends when the client goes away. For requests whose body nobody reads."""
    async with anyio.create_task_group() as group:

        async def depart() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(depart)
        yield
        group.cancel_scope.cancel()


async def _nothing() -> AsyncGenerator[bytes]:
    yield b""


class Streamed(StreamingResponse):
    """An answer of any length. What makes it ends when the reader goes away, and does not begin for a HEAD."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(cast(AsyncGenerator[bytes], self.body_iterator)):
            if scope.get("head"):
                self.body_iterator = _nothing()
            await super().__call__(scope, receive, send)


def written(value: Any, *, created_at: str | None = None) -> Response:
    """The row after a write with its tag; when it was made just now, 201 and where it is."""
    body = dumps(value)
    headers = {"ETag": tag(body)}
    if created_at is None:
        return Response(body, headers=headers, media_type="application/json")
    return Response(body, 201, {**headers, "Location": created_at}, "application/json")


def _if_match(
    request: Request,
    given: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="The `ETag` of the row as you have seen it, or `*` for whatever it is now",
            examples=["*"],
        ),
    ] = None,
) -> str | None:
    lines = request.headers.getlist("if-match")  # a list may be spread over several lines
    return ",".join(lines) if lines else None


IfMatch = Annotated[str | None, Depends(_if_match)]


def must_match(if_match: str | None, etag: str) -> None:
    if if_match is None:
        raise PreconditionRequired(
            "If-Match ヘッダーに、読み取ったときの ETag を付けてください (どの版でもよければ *)。",
            "Send the ETag you read in If-Match (or * for any version), so that nobody's change is overwritten unseen.",
        )
    if '"' not in if_match and if_match.strip() != "*":
        raise PreconditionFailed(
            "If-Match には、読み取ったときの ETag を引用符も含めてそのまま付けてください (どの版でもよければ *)。",
            "Send the ETag in If-Match as you read it, with its quotation marks (or * for any version).",
            headers={"ETag": etag},
        )
    if not _names(if_match, etag, weak=False) and _names(if_match, etag, weak=True):
        raise PreconditionFailed(
            "弱い ETag (W/ 付き) では更新できません。途中のプロキシが付けた W/ を除いて送ってください。",
            "A weak tag (W/…) proves nothing here. Send it without the W/ that a proxy has put before it.",
            headers={"ETag": etag},
        )
    if not _names(if_match, etag, weak=False):
        raise PreconditionFailed(
            "読み取ったあとに別の更新がありました。もう一度読み取り、変更をやり直してください。",
            "It was changed since you read it. Read it again and redo your change.",
            headers={"ETag": etag},
        )


def _names(given: str, etag: str, *, weak: bool) -> bool:
    """RFC 9110: If-None-Match compares weakly, If-Match strongly."""
    if given.strip() == "*":
        return True
    # The compressed form of an answer has a tag of its own, of the same row.
    tags = [re.sub('-gzip"$', '"', part.strip()) for part in given.split(",")]
    return etag in ([part.removeprefix("W/") for part in tags] if weak else tags)


# ---------------------------------------------------------------------------------------------------------
# What a route takes


async def strict(request: Request) -> None:
    """Refuse what the route does not know, so that a typing error is never taken for an answer."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    if query := request.scope["query_string"]:
        _refuse_unknown(query, route)
    if route.body_field is not None:
        patch = request.method == "PATCH"
        accepted = ["application/merge-patch+json", "application/json"][not patch :]
        if _media_type(request.headers.get("content-type", "")) not in accepted:
            raise UnsupportedMedia(
                f"Content-Type を {' か '.join(accepted)} にして JSON を送ってください。",
                f"Send JSON with Content-Type: {' or '.join(accepted)}.",
                headers={"Accept-Patch" if patch else "Accept-Post": ", ".join(accepted)},
            )


def _refuse_unknown(query: bytes, route: APIRoute) -> None:
    known = parameters_of(route)
    allowed = ", ".join(sorted(known))
    given: list[str] = []
    findings: list[Finding] = []
    for part in filter(None, query.split(b"&")):
        raw_name, _, raw_value = part.partition(b"=")
        name = unquote_plus(raw_name.decode("latin-1"))
        try:
            unquote_plus(raw_value.decode("ascii"), errors="strict")
        except ValueError:
            says = Say(
                "値を UTF-8 でパーセントエンコードしてください。", "Percent-encode the value as UTF-8."
            )
        else:
            if name not in known:
                ja = f"使えるのは {allowed} です。" if known else "ここでは何も指定できません。"
                en = f"Allowed here: {allowed}." if known else "None is allowed here."
                says = Say(f"このパラメーターはありません。{ja}", f"There is no such parameter. {en}")
            elif name in given:
                says = Say(
                    "一度だけ指定してください。複数の値はコンマで区切ります。",
                    "Give it only once; several values are separated by commas.",
                )
            else:
                given.append(name)
                continue
        findings.append(Finding(says, parameter=excerpt(name, 100)))
    if findings:
        raise Invalid(*findings)


_parameters: dict[str, frozenset[str]] = {}


def parameters_of(route: APIRoute) -> frozenset[str]:
    """The names of the route's query parameters."""
    if route.unique_id not in _parameters:
        _parameters[route.unique_id] = frozenset(
            str(field.alias)
            for field in get_flat_params(route.dependant)
            # The fields of a query model do not say where they stand.
            if getattr(field.field_info, "in_", ParamTypes.query) is ParamTypes.query
        )
    return _parameters[route.unique_id]


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def allowed_methods(app: FastAPI, scope: Scope) -> list[str]:
    """Every method that the address answers, for a true `Allow`."""
    methods = {
        method
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ()
        if context.matches({**scope, "method": method})[0] is Match.FULL
    }
    if not methods or "GET" in methods:  # without a route of its own it is a static file
        methods |= {"GET", "HEAD"}
    return sorted({*methods, "OPTIONS"})


def method_not_allowed(app: FastAPI, scope: Scope) -> Problem:
    allow = ", ".join(allowed_methods(app, scope))
    return MethodNotAllowed(f"使えるメソッド: {allow}", f"Allowed here: {allow}", headers={"Allow": allow})


# ---------------------------------------------------------------------------------------------------------
# Around the application


class Manners:
    """Answers HEAD as GET without the body, bounds bodies, and turns an unforeseen fault into a plain 500."""

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        larger: Mapping[str, int],
        tell: Callable[[Request, Problem], Response],
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.larger = larger  # addresses that take more
        self.tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        head = scope["method"] == "HEAD"
        most = self.larger.get(scope["path"], self.max_body_bytes)
        state = scope.setdefault("state", {})
        inner: Scope = {**scope, "method": "GET", "head": True} if head else scope
        started = False
        size = 0

        async def bounded_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise _too_large(most)
            return message

        async def bare_send(message: Message) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.start":
                message = {**message, "headers": _headers(message["headers"], state)}
            if head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            declared = Headers(scope=scope).get("content-length", "0")
            if declared.isdecimal() and int(declared) > most:
                raise _too_large(most)
            if scope["path"].endswith("\n"):  # a route would match all the same
                raise nothing_here()
            await self.app(inner, bounded_receive, bare_send)
        except Exception as error:
            if started:
                raise
            problem = error if isinstance(error, Problem) else None
            if problem is None:
                log.exception("unforeseen", extra={"path": scope["path"]})
                problem = Broken(
                    "処理中に問題が起きました。記録を残しました。",
                    "The request could not be finished. It has been logged.",
                )
            await self.tell(Request(scope), problem)(scope, receive, bare_send)


def _too_large(most: int) -> TooLarge:
    return TooLarge(
        f"本文は {most:,} バイト以内にしてください。",
        f"A body may have at most {most:,} bytes.",
        headers={"Connection": "close"},
    )


def _headers(headers: list[tuple[bytes, bytes]], state: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """With the revision that it shows. Compressed bytes are other bytes and have another tag (RFC 9110, 8.8.3.3)."""
    if (b"content-encoding", b"gzip") in headers:
        headers = [(k, v[:-1] + b'-gzip"' if k == b"etag" else v) for k, v in headers]
    shown = [(b"shinchoku-revision", b"%d" % state["revision"])] if "revision" in state else []
    return [*headers, *shown]


class Cors(CORSMiddleware):
    """Starlette's, with refusals in the shape of all others."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope) if scope["type"] == "http" else Headers()
        preflight = "origin" in asked and "access-control-request-method" in asked
        if not preflight or scope["method"] != "OPTIONS":
            await super().__call__(scope, receive, send)
            return
        response = self.preflight_response(asked)
        headers = {
            name: value
            for name, value in response.headers.items()
            if name not in ("content-length", "content-type")
        }
        if response.status_code == 200:
            response = Response(status_code=204, headers=headers)
        else:
            problem = Malformed(
                "このサイトからの呼び出し、このメソッド、またはこのヘッダーは許可されていません。",
                "Calls from this site, by this method or with these headers, are not allowed.",
                headers=headers,
            )
            response = problem_response(Request(scope), problem)
        await response(scope, receive, send)


class Protocol(HttpToolsProtocol):
    """uvicorn's, with a problem for what is not even HTTP, such as an address that is not percent-encoded.

    When the server is about to stop, those who wait for something hear of it (`farewell` of the lifespan's state).
    """

    def shutdown(self) -> None:
        if farewell := self.app_state.get("farewell"):
            farewell()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        unread: Scope = {"type": "http", "path": "/", "query_string": b"", "headers": [], "server": None}
        answer = problem_response(
            Request(unread),
            Malformed(
                # In both languages: what was sent cannot be asked for its own.
                *[
                    "HTTP として読み取れません。アドレスの日本語や空白はパーセントエンコードし、"
                    "メソッドを確かめてください。 "
                    "This is not HTTP. Percent-encode what is not ASCII in an address, and spaces; check the method."
                ]
                * 2,
                headers={"Connection": "close"},
            ),
        )
        head = b"".join(b"%s: %s\r\n" % header for header in answer.raw_headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + bytes(answer.body))
        self.transport.close()


class RequestLog:
    """One line a request: method, address, status, milliseconds."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not log.isEnabledFor(logging.INFO):
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 0

        async def watching_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watching_send)
        finally:
            log.info(
                "request",
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "query": keys.masked(scope["query_string"].decode("latin-1")),
                    "status": status,
                    "ms": round((time.perf_counter() - start) * 1000, 1),
                },
            )
