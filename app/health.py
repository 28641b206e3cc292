"""Whether the service is up and able to answer: /livez, /readyz"""

from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.kit import migrations
from app.kit.database import database_of
from app.kit.errors import Unavailable
from app.kit.http import dumps
from app.models import FEED

router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: Annotated[Literal["ok"], Field(description="Always ok: what is not ok answers 503 (状態)")]


class Readiness(Health):
    revision: Annotated[int, Field(ge=0, description="The state of the database (リビジョン)")]


@router.get("/livez", response_model=Health)
async def live() -> Response:
    """稼働確認: the process answers."""
    return Response(b'{"status":"ok"}', headers={"Cache-Control": "no-store"}, media_type="application/json")


@router.get("/readyz", response_model=Readiness)
def ready(request: Request) -> Response:
    """準備確認: the database is reachable and in the form that this version needs; else 503."""
    with database_of(request).reading() as session:
        if migrations.current(session) != migrations.newest():
            raise Unavailable(
                "データベースの移行が必要です。shinchoku migrate を実行してください。",
                "The database is not in its newest form. Run: shinchoku migrate",
                headers={"Retry-After": "10"},
            )
        body = dumps({"status": "ok", "revision": session.scalar(sa.select(FEED.c.seq))})
    return Response(body, headers={"Cache-Control": "no-store"}, media_type="application/json")
