"""The limit of the framework: a constant body from an endpoint with four checked parameters."""

import json
import os
from typing import Annotated

from fastapi import FastAPI, Query, Response

BODIES = {name: b"x" * size for name, size in json.loads(os.environ["SIZES"]).items()}

app = FastAPI()


@app.get("/{name}")
async def read(
    name: str,
    section: Annotated[str, Query(max_length=64)] = "1",
    rating: Annotated[str, Query(max_length=200)] = "A",
    fiscal_year: Annotated[int, Query(ge=1900, le=2100)] = 2017,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    return Response(BODIES[name], media_type="application/json")
