"""For assistants: seven read-only tools at /mcp (Model Context Protocol), where the extra `mcp` is installed."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
import sqlalchemy as sa
from anyio.abc import TaskStatus
from fastapi import FastAPI
from pydantic import Field
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.changes import SOFTWARE
from app.documents.routes import DOCUMENTS
from app.evaluations import EVALUATIONS, EvaluationFilters, MeasureAsked, RatingAsked, SectionAsked
from app.fiscal_years import FiscalYearParameter
from app.kit.database import Database
from app.kit.errors import Problem
from app.kit.listing import Listing, no_such_row
from app.kit.session import Session
from app.measures import MEASURES, MeasureQuery
from app.models import FEED, MEASURE, PLAN
from app.pages.views import lines_of
from app.pages.workbooks import cells_on
from app.plans import PLANS, PlanQuery, plan_id
from app.shapes import PlanSlug, Words
from app.summaries import SummaryQuery, summary, timeline, transitions

if TYPE_CHECKING:
    from mcp.server import MCPServer

INSTALLED = find_spec("mcp") is not None

INSTRUCTIONS = """\
How Japanese municipal plans are going, exactly as their yearly reports say: for each measure (施策) and fiscal year \
(年度, April to March, named by the year it begins in) what was done (実施内容), how it was rated (評価), why \
(理由・課題等) and what comes next (次年度計画内容). A rating is a mark of its own plan and means what that plan's \
documents say (find_plans tells), or nothing: where its label is null, do not turn it into "achieved" or a percentage. \
What is null, no document says. Texts are Japanese: quote them as they stand, name the document and line of a row, and \
the municipality and the licence of its plan."""

MOST_ROWS = 50
LINES_AROUND = 3

Plan = Annotated[PlanSlug, Field(description="The plan's slug, as rows name it in `plan`")]
Year = FiscalYearParameter
Limit = Annotated[int, Field(ge=1, le=MOST_ROWS, description="Rows at most")]


class Assistants:
    """Answers at /mcp, from the first question on: to read the library takes half a second and 25 MB."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.answers: ASGIApp | None = None
        self.first = anyio.Lock()
        # Without sessions nothing is ever sent to who opens a stream with GET.
        self.routes = [Route("/mcp", self, methods=["POST"])] if INSTALLED else []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as self.tasks:
            self.answers = None  # what answered in an earlier life of the service has ended with it
            yield
            self.tasks.cancel_scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.first:
            if self.answers is None:
                server = await anyio.to_thread.run_sync(_server, self.app)
                self.answers = await self.tasks.start(self._run, server)
        await self.answers(scope, receive, send)

    async def _run(self, server: "MCPServer", *, task_status: TaskStatus[ASGIApp]) -> None:
        from mcp.server.transport_security import TransportSecuritySettings

        # Reading is open to every host, so there is nothing that a rebound name could steal.
        anywhere = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        served = server.streamable_http_app(
            stateless_http=True, json_response=True, transport_security=anywhere
        )
        async with server.session_manager.run():
            task_status.started(served)
            await anyio.sleep_forever()


def _server(app: FastAPI) -> "MCPServer":
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.server.mcpserver.tools import Tool
    from mcp.types import ToolAnnotations

    tools: list[Tool] = []

    def tool(answer: Callable[..., Any]) -> None:
        made = Tool.from_function(
            answer, annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False)
        )
        # A filter that is not known is refused: without it the answer would be another one.
        known = made.fn_metadata.arg_model
        known.model_config["extra"] = "forbid"
        known.model_rebuild(force=True)
        made.parameters = known.model_json_schema(by_alias=True)
        tools.append(made)

    @contextmanager
    def asking() -> Iterator[Session]:
        database: Database = app.state.database
        try:
            with database.reading() as session:
                yield session
        except Problem as problem:
            raise ToolError(problem.says.en) from None

    @tool
    def find_plans(q: Words | None = None, limit: Limit = 20) -> dict[str, Any]:
        """計画を探す. Plans (計画) with their municipality, term, source and licence, and what the marks of their scale
        mean where a document says so. `q` looks for every word in the title and the municipality."""
        with asking() as session:
            return _first(session, PLANS, PlanQuery(q=q).conditions(), limit)

    @tool
    def find_measures(
        plan: Plan | None = None,
        section: SectionAsked | None = None,
        fiscal_year: Year | None = None,
        rating: RatingAsked | None = None,
        q: Words | None = None,
        limit: Limit = 20,
    ) -> dict[str, Any]:
        """施策を探す. Measures (施策) that have a row which fits; without filters all of them, in the order of their
        plans. `q` looks for every word in the title and in the texts of a row."""
        query = MeasureQuery(plan=plan, section=section, fiscal_year=fiscal_year, rating=rating, q=q)
        with asking() as session:
            return _first(session, MEASURES, query.conditions(), limit)

    @tool
    def search(
        q: Words,
        plan: Plan | None = None,
        fiscal_year: Year | None = None,
        rating: RatingAsked | None = None,
        limit: Limit = 20,
    ) -> dict[str, Any]:
        """言葉で探す. Rows of results (年度評価) that hold every word, with their texts, document and line. Width,
        case and spaces do not matter; two characters are enough."""
        query = EvaluationFilters(plan=plan, fiscal_year=fiscal_year, rating=rating, q=q)
        with asking() as session:
            return _first(session, EVALUATIONS, query.conditions(), limit)

    @tool
    def follow_measure(plan: Plan, measure: MeasureAsked) -> dict[str, Any]:
        """施策の経過. One measure, year under year: what had been planned, what was done, how it was rated, why,
        and what comes next."""
        with asking() as session:
            of_plan = MEASURE.c.plan_id == plan_id(session, PLAN.c.slug == plan)
            id = session.scalar(sa.select(MEASURE.c.id).where(of_plan, MEASURE.c.code == measure))
            if id is None:
                raise no_such_row()
            return timeline(session, MEASURES.one(session, id), _revision(session))

    @tool
    def summarise(
        plan: Plan | None = None,
        fiscal_year: Year | None = None,
        group_by: Annotated[
            list[Literal["municipality", "plan", "section", "fiscal_year", "department"]],
            Field(description="One group for each of these together"),
        ] = [],  # noqa: B006 — it is read only, and the schema shows it
        unit: Literal["evaluation", "measure"] = "evaluation",
    ) -> dict[str, Any]:
        """評価の集計. Counts and shares by rating, of rows or of measures. Plans with different scales are not added
        up: name one, or group by plan."""
        query = SummaryQuery(
            plan=plan, fiscal_year=fiscal_year, group_by=",".join(group_by) or None, unit=unit
        )
        with asking() as session:
            return summary(session, query, _revision(session))

    @tool
    def compare_years(plan: Plan, before: Year, after: Year) -> dict[str, Any]:
        """評価の推移. How the rating of each measure of a plan moved between two fiscal years. `order` says whether
        the order of the marks is declared by the plan or assumed."""
        with asking() as session:
            row = PLANS.one(session, plan_id(session, PLAN.c.slug == plan))
            return transitions(session, row, before, after, _revision(session))

    @tool
    def read_source(
        document_id: Annotated[int, Field(ge=1, description="The row's `document_id`")],
        line: Annotated[int, Field(ge=1, description="The row's `source_line`")],
    ) -> dict[str, Any]:
        """出典. The line of a published document that a row was read from, with the lines around it; of a spreadsheet,
        the cells of that line in each sheet that has it."""
        with asking() as session:
            document = DOCUMENTS.one(session, document_id)
            named = {name: document[name] for name in ("plan", "name", "sha256", "fiscal_year")}
            if not document["encoding"]:
                cells = cells_on(session, document, line)
                if not cells:
                    raise ToolError(
                        f"The cells of line {line} cannot be read here"
                        + (" at the moment; try again in a few seconds. " if cells is None else ". ")
                        + f"The file itself is at /documents/{document_id}/content."
                    )
                return {
                    "document": named,
                    "lines": [{"line": line, "sheet": sheet, "cells": its} for sheet, its in cells],
                }
            first = max(1, line - LINES_AROUND)
            lines = lines_of(session, document)[first - 1 : line + LINES_AROUND]
            return {
                "document": named,
                "lines": [{"line": number, "text": text} for number, text in enumerate(lines, first)],
            }

    return MCPServer(
        "shinchoku", title="Shinchoku 進捗", version=SOFTWARE, instructions=INSTRUCTIONS, tools=tools
    )


def _first(
    session: Session, listing: Listing, conditions: list[sa.ColumnElement[bool]], limit: int
) -> dict[str, Any]:
    """How many rows there are, and the first of them in the list's own order."""
    rows = session.execute(listing.select(*conditions).order_by(listing.place).limit(limit)).mappings()
    return {
        "count": session.scalar(listing.counting(*conditions)),
        "results": [listing.finish(dict(row)) for row in rows],
    }


def _revision(session: Session) -> int:
    seq: int = session.scalars(sa.select(FEED.c.seq)).one()
    return seq
