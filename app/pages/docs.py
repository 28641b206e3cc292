"""The OpenAPI text and a page to explore it: /openapi.json, /docs"""

from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles

from app.kit import openapi
from app.kit.http import answer
from app.pages.html import AnyPage

HERE = Path(__file__).parent
SWAGGER = "swagger-ui-5.35.0"
EXAMPLES = HERE / "examples.json"

router = APIRouter(include_in_schema=False)
assets = StaticFiles(directory=HERE / "vendor" / SWAGGER)

# Swagger UI writes inline styles; nothing else may come from anywhere but here.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

PAGE = """<!doctype html>
<html lang="ja">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Shinchoku 進捗 API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<div id="docs"></div>
<noscript>この画面には JavaScript が必要です。定義は <a href="openapi.json">openapi.json</a> にあります。</noscript>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/page.js"></script>
</html>
"""


@router.get("/docs")
async def explore(asked: AnyPage) -> Response:
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})


@router.get("/docs/page.js")
async def explore_script() -> Response:
    return FileResponse(HERE / "docs.js", media_type="text/javascript")


@router.get("/openapi.json")
async def openapi_text(request: Request) -> Response:
    return answer(request, request.app.openapi())


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI text, with real rows of the seed as examples."""
    if not app.openapi_schema:
        examples = orjson.loads(EXAMPLES.read_bytes())
        app.openapi_schema = openapi.describe(app, examples["requests"], examples["answers"])
    return app.openapi_schema
