"""The service: its routers are its table of contents."""

import gc
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import sqlalchemy.exc
from anyio import CapacityLimiter
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException

from app import evaluations, feed, health, measures, plans, sections, summaries
from app.changes import STAND
from app.documents import exporting
from app.documents import routes as documents
from app.kit import http
from app.kit.caching import Kept
from app.kit.database import Database, busy, passes
from app.kit.errors import Conflict, from_http_exception, from_validation
from app.kit.http import PUBLIC, Cors, Manners, NotModified, RequestLog
from app.kit.settings import Settings
from app.mcp import Assistants
from app.pages import catalog, docs, guide, html, importing, views
from app.pages.html import tell

log = logging.getLogger("shinchoku")

DESCRIPTION = """\
自治体の計画の進捗を、誰でも問い合わせられる形で公開する API です。\
施策ごとに、年度の実施内容・評価・理由・次年度計画を、公表された資料のまま保持します。

An open API for how public plans are going: each measure with what was done in a fiscal year, how that was rated \
and why, and what was promised for the next one, exactly as published.

* A fiscal year (年度) runs from 1 April to 31 March and is named by the year it begins in: 平成29年度 is 2017.
* A rating means what its own plan's documents say, or nothing: A is not "achieved" unless the source says so.
* What the source does not say is null.
* Reading is open. Writing needs a key, and `If-Match` for what exists already.
* Lists come page by page: `next` of an answer is the `cursor` of the page after it.
* Errors are problems (RFC 9457), in Japanese or English (`Accept-Language`); `errors` names each part that is wrong.

[手引き Guide](guide) · [項目 Dictionary](dictionary) · [エラー Problems](docs/problems) · [計画 Pages](.)
"""

TAGS = [
    {"name": "plans", "description": "計画: a plan of a municipality, with its own rating scale"},
    {"name": "sections", "description": "節: the parts of a plan"},
    {"name": "measures", "description": "施策: what the plan sets out to do"},
    {
        "name": "evaluations",
        "description": "年度評価: what was done about a measure in a year, and how it was rated",
    },
    {"name": "documents", "description": "資料: the published files that the rows were read from"},
    {"name": "changes", "description": "変更: the feed and the snapshot, for those who keep a copy"},
    {"name": "health", "description": "稼働状況: for those who run the service"},
]


# The framework would look before each request whether somebody wants OpenTelemetry: who does says so beforehand.
UNTRACED: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        gc.collect()
        gc.freeze()  # what is there by now stays, and need not be looked through for what is no longer used
        async with assistants.running():
            yield {"farewell": lambda: app.state.database.watch.end()}
        await app.state.database.close()

    app = FastAPI(
        title="Shinchoku 進捗",
        version=version("shinchoku"),
        summary="計画の施策ごとに、実施内容・評価・理由・次の予定を、公表されたとおりに。 "
        "How public plans are really going: measures, what was done, how it was rated, what comes next",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        license_info={"name": "MIT", "identifier": "MIT"},
        lifespan=lifespan,
        dependencies=[Depends(http.strict)],
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        telemetry=None if any(name.startswith("OTEL_") for name in os.environ) else UNTRACED,
    )
    app.state.settings = settings
    app.state.database = open_database(settings)
    app.state.openings = CapacityLimiter(2)  # files that are opened at once
    assistants = Assistants(app)
    for router in (
        plans.router,
        sections.router,
        exporting.router,
        summaries.router,  # before /evaluations/{id}
        measures.router,
        evaluations.router,
        documents.router,
        documents.imports,
        feed.router,
        health.router,
        views.router,
        guide.router,
        catalog.router,
        importing.router,
        html.router,
        docs.router,
    ):
        app.include_router(router)
    app.mount("/docs/assets", docs.assets)
    app.router.routes += assistants.routes
    app.openapi = lambda: docs.describe(app)  # type: ignore[method-assign]

    app.add_middleware(GZipMiddleware, minimum_size=1_000)
    app.add_middleware(
        Manners,
        max_body_bytes=settings.max_body_bytes,
        larger={"/imports": settings.max_import_bytes},
        tell=tell,
    )
    app.add_middleware(
        Cors,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "If-Match",
            "If-None-Match",
            "Accept-Language",
            "Last-Event-ID",
            "Shinchoku-Revision",
        ],
        expose_headers=[
            "ETag",
            "Link",
            "Location",
            "Retry-After",
            "Allow",
            "WWW-Authenticate",
            "Content-Disposition",
            "Shinchoku-Revision",
        ],
        max_age=86_400,
    )
    _answer_errors(app)
    # What is kept is sent before anything else is asked, the framework's own layers included.
    layers = app.build_middleware_stack
    app.build_middleware_stack = lambda: RequestLog(Kept(layers()))  # type: ignore[method-assign]
    return app


def open_database(settings: Settings) -> Database:
    return Database(
        settings.database_url,
        settings.pool_size,
        settings.busy_timeout,
        read_url=settings.read_database_url,
        statement_timeout=settings.statement_timeout,
        stand=STAND,
    )


def _answer_errors(app: FastAPI) -> None:
    """Whatever goes wrong below becomes one of our problems."""

    @app.exception_handler(NotModified)
    async def not_modified(request: Request, error: NotModified) -> Response:
        headers = {**PUBLIC, "ETag": error.etag, "Vary": error.vary}
        return Response(status_code=304, headers=headers)

    @app.exception_handler(HTTPException)
    async def http_exception(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            if request.method == "OPTIONS":
                allow = ", ".join(http.allowed_methods(app, request.scope))
                return Response(status_code=204, headers={"Allow": allow})
            return tell(request, http.method_not_allowed(app, request.scope))
        return tell(request, from_http_exception(error))

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> Response:
        body = getattr(request.scope.get("route"), "body_field", None)
        fields = body.field_info.annotation.model_fields if body else ()
        return tell(request, from_validation(error, tuple(fields)))

    @app.exception_handler(sqlalchemy.exc.IntegrityError)
    async def collision(request: Request, error: sqlalchemy.exc.IntegrityError) -> Response:
        problem = Conflict(
            "同時に行われた別の更新と衝突しました。読み直して、もう一度お試しください。",
            "It collided with another write at the same moment. Read again and retry.",
        )
        return tell(request, problem)

    @app.exception_handler(sqlalchemy.exc.ProgrammingError)
    @app.exception_handler(sqlalchemy.exc.OperationalError)
    @app.exception_handler(sqlalchemy.exc.TimeoutError)
    async def away(request: Request, error: Exception) -> Response:
        if not passes(error):
            raise error
        log.warning("database away", extra={"error": str(getattr(error, "orig", error))})
        return tell(request, busy())
