"""The OpenAPI text shows real rows of the seed, and its requests can be sent as they stand."""

import json
import os
from typing import Any

import httpx

from app.pages.docs import EXAMPLES
from tests.conftest import Service

ASKED = {
    "list_plans": "/plans",
    "read_plan": "/plans/fujimi-yumetsunagu",
    "list_sections": "/sections?limit=2",
    "read_section": "/sections/1",
    "list_measures": "/measures?rating=B&fiscal_year=H29&limit=2",
    "read_measure": "/measures/22",
    "list_evaluations": "/evaluations?measure=4-2-1&limit=1",
    "read_evaluation": "/evaluations/26",
    "summarise_evaluations": "/evaluations/summary?group_by=section",
    "compare_years": "/plans/fujimi-yumetsunagu/transitions?from=H29&to=H29",
    "follow_measure": "/measures/10/timeline",
    "find_gaps": "/plans/fujimi-yumetsunagu/completeness",
    "list_documents": "/documents",
    "read_document": "/documents/1",
    "read_plan_history": "/plans/fujimi-yumetsunagu/history",
    "read_section_history": "/sections/1/history",
    "read_measure_history": "/measures/22/history",
    "read_evaluation_history": "/evaluations/26/history",
    "read_document_history": "/documents/1/history",
    "list_changes": "/changes?limit=2",
    "read_changes_digest": "/changes/digest",
    "live": "/livez",
    "ready": "/readyz",
}
SENT = {
    "create_plan": ("POST", "/plans"),
    "create_section": ("POST", "/sections"),
    "create_measure": ("POST", "/measures"),
    "create_evaluation": ("POST", "/evaluations"),
    "import_file": ("POST", "/imports"),
    "change_plan": ("PATCH", "/plans/fujimi-yumetsunagu"),
    "change_section": ("PATCH", "/sections/1"),
    "change_measure": ("PATCH", "/measures/22"),
    "change_evaluation": ("PATCH", "/evaluations/26"),
}


def undated(value: Any) -> Any:
    """Without what depends on the hour at which the seed was read."""
    if isinstance(value, dict):
        moving = ("created_at", "updated_at", "at", "epoch", "next")
        return {name: undated(inner) for name, inner in value.items() if name not in moving}
    return [undated(item) for item in value] if isinstance(value, list) else value


def shortened(value: Any) -> Any:
    """Long lists are shown by their beginning."""
    if isinstance(value, dict):
        return {name: shortened(inner) for name, inner in value.items()}
    return [shortened(item) for item in value[:8]] if isinstance(value, list) else value


def test_each_answer_shown_is_the_real_one(read: httpx.Client, library: Service):
    """`make generate` writes the file anew."""
    answers = {name: shortened(read.get(path).json()) for name, path in ASKED.items()}
    shown = json.loads(EXAMPLES.read_text("utf-8"))
    with library.holder(library.key()) as clerk:
        tried = clerk.post("/imports", params={"dry_run": True}, json=shown["requests"]["import_file"])
        answers["import_file"] = tried.json()
    if os.environ.get("SHINCHOKU_WRITE_EXAMPLES"):
        EXAMPLES.write_text(
            json.dumps(shown | {"answers": answers}, ensure_ascii=False, indent=1) + "\n", "utf-8"
        )
    else:
        assert undated(shown["answers"]) == undated(answers)


def test_every_operation_with_a_json_body_shows_one(read: httpx.Client):
    described = read.get("/openapi.json").json()
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            for media, body in operation.get("requestBody", {}).get("content", {}).items():
                assert not media.endswith("json") or "example" in body, f"{method} {path} shows no request"
            answer = operation["responses"].get("200", {}).get("content", {}).get("application/json")
            unshown = method == "patch" or path.endswith("/content")  # the row that was sent; a file
            assert answer is None or unshown or "example" in answer, f"{method} {path} shows no answer"


def test_the_requests_shown_are_accepted_one_after_the_other(admin: httpx.Client):
    """They make an invented plan: who tries them on a real service writes nothing about a real town."""
    shown = json.loads(EXAMPLES.read_text("utf-8"))["requests"]
    assert shown.keys() == SENT.keys()
    for name, (method, path) in SENT.items():
        before = admin.get(path).json()
        headers = {"If-Match": "*"} if method == "PATCH" else {}
        answer = admin.request(method, path, json=shown[name], headers=headers)
        assert answer.status_code in (200, 201), answer.text
        assert method == "POST" or answer.json() == before
