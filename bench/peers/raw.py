"""The limit of the server: a constant body, without a framework. SIZES tells how long the body of each path is."""

import json
import os
from typing import Any

BODIES = {f"/{name}": b"x" * size for name, size in json.loads(os.environ["SIZES"]).items()}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = BODIES[scope["path"]]
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
