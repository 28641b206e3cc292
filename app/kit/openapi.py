"""The OpenAPI text, completed: every problem, header and condition that the routes share is told once, here."""

import json
import re
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.kit.errors import PROBLEMS

Schema = dict[str, Any]

PROBLEM: Schema = {
    "type": "object",
    "description": "An error (RFC 9457), in Japanese, or in English where Accept-Language prefers it.",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "What kind of problem it is (問題の種類)",
            "enum": [f"/docs/problems/{problem.slug}" for problem in PROBLEMS],
        },
        "title": {"type": "string", "description": "The kind in words (種類の名称)"},
        "status": {"type": "integer", "description": "The HTTP status (状態コード)"},
        "detail": {"type": "string", "description": "What happened, and what to do (説明と対処)"},
        "instance": {"type": "string", "description": "The address that was asked for (要求されたアドレス)"},
        "existing": {
            "type": "string",
            "description": "With 409: the row that has this key already (既にある行)",
        },
        "report": {
            "type": "object",
            "description": "Of an imported file: what was understood all the same, with `preview` the `table` as well "
            "(読み取れた内容)",
        },
        "errors": {
            "type": "array",
            "description": "With 404 and 422: each part of the input that is wrong (誤りの一覧)",
            "items": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "parameter": {"type": "string", "description": "The parameter (パラメーター)"},
                    "pointer": {
                        "type": "string",
                        "description": "The place in the body, as a JSON pointer (本文中の位置)",
                    },
                    "sheet": {"type": "string", "description": "Of an imported file: the sheet (シート)"},
                    "line": {
                        "type": ["integer", "null"],
                        "description": "Of an imported file: the line (行)",
                    },
                    "column": {"type": ["integer", "null"], "description": "The column, counted from 1 (列)"},
                    "text": {"type": "string", "description": "What stands there (セルの内容)"},
                    "detail": {
                        "type": "string",
                        "description": "What is wrong with it, and what would be right (誤りと正しい形)",
                    },
                },
            },
        },
    },
}

HEADERS: Schema = {
    "ETag": {
        "description": "Tag of this answer, for If-None-Match and If-Match",
        "schema": {"type": "string"},
    },
    "Location": {"description": "Where the new row is", "schema": {"type": "string"}},
    "Link": {"description": 'The next page, as rel="next"; absent on the last', "schema": {"type": "string"}},
    "Allow": {"description": "The methods that this address answers", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "How to send a key", "schema": {"type": "string"}},
    "Shinchoku-Revision": {
        "description": "The state of the database that this answer shows or has made (リビジョン)",
        "schema": {"type": "integer"},
    },
}


IF_NONE_MATCH: Schema = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of the answer you have; 304 when it is still true",
    "schema": {"type": "string"},
}


def describe(app: FastAPI, requests: Schema, answers: Schema) -> Schema:
    """The application's OpenAPI text, with examples by operation."""
    schema = _renamed(
        get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
            license_info=app.license_info,
        )
    )
    components = schema["components"]
    components["schemas"]["Problem"] = PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["headers"] = HEADERS
    components["responses"] = {
        problem.slug: {
            "description": f"{problem.title.en} ({problem.title.ja})",
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {
                        "type": f"/docs/problems/{problem.slug}",
                        "title": problem.title.ja,
                        "status": problem.status,
                        "detail": "…",
                        "instance": "/evaluations",
                    },
                }
            },
            **_headers(*_headers_of(problem.status)),
        }
        for problem in PROBLEMS
    }
    schema["paths"] = dict(sorted(schema["paths"].items(), key=_place(list(schema["paths"]))))
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation)
            name = operation["operationId"]
            _exemplify(operation.get("requestBody"), requests.get(name))
            _exemplify(operation["responses"].get("200"), answers.get(name))
    return schema


def _place(paths: list[str]) -> Callable[[tuple[str, Any]], tuple[int, int]]:
    """Each noun's addresses together, the short ones first."""
    nouns = list(dict.fromkeys(path.split("/")[1] for path in paths))
    return lambda item: (nouns.index(item[0].split("/")[1]), item[0].count("/"))


def _exemplify(place: Schema | None, example: Any) -> None:
    if place and example is not None:
        for media, content in place["content"].items():
            if media.endswith("json"):
                content["example"] = example


def _renamed(schema: Schema) -> Schema:
    """Clients call a row by its noun, which here is the table's name; what they send of it is new."""
    names = {}
    for name in schema["components"]["schemas"]:
        base, _, way = name.removesuffix("Shape").partition("-")
        names[name] = f"New{base}" if way == "Input" else base
    written = json.dumps(schema)
    for old, new in names.items():
        written = written.replace(f'#/components/schemas/{old}"', f'#/components/schemas/{new}"')
    renamed: Schema = json.loads(written)
    models = renamed["components"]["schemas"]
    renamed["components"]["schemas"] = dict(
        sorted((names.get(name, name), _untitled(model)) for name, model in models.items())
    )
    return renamed


def _untitled(model: Any) -> Any:
    """Without the titles that only repeat a field's name."""
    if isinstance(model, dict):
        return {
            name: _untitled(value)
            for name, value in model.items()
            if not (name == "title" and isinstance(value, str))
        }
    return [_untitled(item) for item in model] if isinstance(model, list) else model


def _complete(path: str, method: str, operation: Schema) -> None:
    # A docstring begins with the Japanese name of what the route does; the operation's own name says it in English.
    japanese = re.split(r"[.:]", operation["description"], maxsplit=1)[0]
    operation["summary"] = f"{japanese} ({operation['operationId'].replace('_', ' ')})"
    for parameter in operation.get("parameters", ()):
        # Where a list of allowed names describes itself, the parameter says it too.
        schema = parameter["schema"] = _not_null(parameter["schema"])
        parameter["required"] |= parameter["name"] == "If-Match"
        parameter.setdefault("description", schema.pop("description", ""))
        if parameter["required"] and parameter["in"] != "header" and "examples" in schema:
            parameter["example"] = schema["examples"][0]  # what a page to try it out begins with
    responses = operation["responses"]
    responses.pop("422", None)
    declared = {int(status) for status in responses if int(status) >= 400}
    for status in sorted({*_statuses(path, method, operation), *declared}):
        slug = next(problem.slug for problem in PROBLEMS if problem.status == status)
        responses[str(status)] = {"$ref": f"#/components/responses/{slug}"}
    if method == "patch":
        content = operation["requestBody"]["content"]
        # Plain JSON is taken too, but clients that are generated from two choices stumble over them.
        content["application/merge-patch+json"] = content.pop("application/json")
    if method == "get" and not path.endswith("z"):
        operation.setdefault("parameters", []).append(IF_NONE_MATCH)
        responses["200"] |= _headers(
            "ETag",
            *(
                ["Shinchoku-Revision"]
                if any(it["name"] == "Shinchoku-Revision" for it in operation["parameters"])
                else []
            ),
            *(["Link"] if "limit" in {parameter["name"] for parameter in operation["parameters"]} else []),
        )
        responses["304"] = {"description": "Nothing has changed since If-None-Match", **_headers("ETag")}
    elif method == "patch":
        responses["200"] |= _headers("ETag", "Shinchoku-Revision")
    elif method == "post" and "201" in responses:
        responses["201"] |= _headers("ETag", "Location", "Shinchoku-Revision")


def _not_null(schema: Schema) -> Schema:
    """A parameter that may be left out cannot be sent as null."""
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            schema = {**choice, **{name: value for name, value in schema.items() if name != "anyOf"}}
    return {name: value for name, value in schema.items() if name != "title"}


def _statuses(path: str, method: str, operation: Schema) -> list[int]:
    statuses = [422, 500, 503]
    if "{" in path or method == "post":
        statuses += [404]
    if method != "get":
        statuses += [401, 403, 409]
    if "requestBody" in operation:
        statuses += [400, 413, 415]
    if method in ("patch", "delete"):
        statuses += [412, 428]
    return sorted(statuses)


def _headers_of(status: int) -> list[str]:
    return {401: ["WWW-Authenticate"], 405: ["Allow"], 412: ["ETag"], 503: ["Retry-After"]}.get(status, [])


def _headers(*names: str) -> Schema:
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}} if names else {}
