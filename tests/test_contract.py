"""The OpenAPI text is complete and committed, and the service keeps it: five thousand requests made from the text.

Those for the edges of each value have a number of their own, some 4,000, and go to PostgreSQL alone; the others, some
450, go to both. `SHINCHOKU_CASES=50000 SHINCHOKU_SEED=7 pytest tests/test_contract.py` sends so many to each,
edges and all.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

from app.kit.settings import ROOT
from tests.conftest import KAWAGOE, Backend, Service

COMMITTED = ROOT / "docs" / "openapi.json"
CASES = int(os.environ.get("SHINCHOKU_CASES", "0"))
SEED = int(os.environ.get("SHINCHOKU_SEED", "1"))

Operation = tuple[str, str, dict[str, Any]]

# ---------------------------------------------------------------------------------------------------------
# The text


@pytest.fixture(scope="session")
def text(library: Service) -> dict[str, Any]:
    answer: dict[str, Any] = library.anyone.get("/openapi.json").raise_for_status().json()
    return answer


def operations(text: dict[str, Any]) -> Iterator[Operation]:
    for path, methods in text["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def resolved(text: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = text
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        node = target
    return node


def inside(node: Any, place: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in the text, with its place."""
    if isinstance(node, dict):
        yield place, node
    for name, inner in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(inner, dict | list) and name not in ("example", "examples"):
            yield from inside(inner, f"{place}/{name}")


def test_the_text_is_valid_openapi_3_1(text):
    assert text["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(text).validate()
    for name, schema in text["components"]["schemas"].items():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        assert "properties" in schema, f"{name} says nothing"
    for place, node in inside(text):
        assert resolved(text, node) is not None, place


def test_the_committed_text_is_the_one_that_is_served(text):
    if os.environ.get("SHINCHOKU_WRITE_OPENAPI"):
        COMMITTED.parent.mkdir(exist_ok=True)
        COMMITTED.write_text(json.dumps(text, ensure_ascii=False, indent=1) + "\n", "utf-8")
    committed = json.loads(COMMITTED.read_text("utf-8")) if COMMITTED.exists() else None
    assert committed == text, (
        "docs/openapi.json is not what the service serves. If the contract is meant to change, write it anew with "
        "`make generate` and commit it."
    )


def test_every_operation_says_what_it_is(text):
    declared = {tag["name"] for tag in text["tags"] if tag["description"]}
    names = [operation["operationId"] for _, _, operation in operations(text)]
    assert len(names) == len(set(names))
    for method, path, operation in operations(text):
        where = f"{method} {path}"
        assert operation["tags"], where
        assert set(operation["tags"]) <= declared, where
        assert operation["summary"].strip(), where
        assert operation["description"].strip(), where
        assert re.fullmatch("[a-z]+(_[a-z]+)*", operation["operationId"]), where
        for status, answer in operation["responses"].items():
            assert resolved(text, answer)["description"], f"{where} {status}"


def test_every_parameter_header_and_property_is_described(text):
    silent = [
        f"{method} {path} {parameter['name']}"
        for method, path, operation in operations(text)
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    ]
    for place, node in inside(text):
        if place.endswith("/headers"):
            silent += [
                f"{place}/{name}" for name, it in node.items() if not resolved(text, it).get("description")
            ]
        if isinstance(node.get("properties"), dict):
            silent += [
                f"{place}/{name}" for name, it in node["properties"].items() if not described(text, it)
            ]
    assert not silent


def described(text: dict[str, Any], schema: dict[str, Any]) -> bool:
    """By itself, by what it refers to, or by its one alternative to null."""
    if schema.get("description") or resolved(text, schema).get("description"):
        return True
    real = [choice for choice in schema.get("anyOf", []) if choice.get("type") != "null"]
    return len(real) == 1 and described(text, real[0])


def test_every_operation_documents_its_problems_and_conditions(text):
    for method, path, operation in operations(text):
        where = f"{method} {path}"
        expected = {"422", "500", "503"}
        if "{" in path:
            expected |= {"404"}
        if method != "get":
            expected |= {"401", "403"}
        if "requestBody" in operation:
            expected |= {"400", "409", "413", "415"}
        if method in ("patch", "delete"):
            expected |= {"412", "428"}
        assert expected <= operation["responses"].keys(), where
        assert bool(operation.get("security")) == (method != "get"), where
        for status, answer in operation["responses"].items():
            if status >= "400":
                content = resolved(text, answer)["content"]
                assert list(content) == ["application/problem+json"], f"{where} {status}"
                problem = resolved(text, content["application/problem+json"]["schema"])
                assert {"type", "title", "status", "detail"} <= set(problem["required"]), f"{where} {status}"
        headers = {it["name"]: it for it in operation.get("parameters", []) if it["in"] == "header"}
        if "412" in operation["responses"] and path != "/imports":  # there it is asked for by `revision`
            assert headers["If-Match"]["required"], f"{where}: without If-Match it answers 428"
        if "304" in operation["responses"]:
            assert "If-None-Match" in headers, f"{where}: 304 is the answer to If-None-Match"


def test_bodies_are_closed_and_examples_fit_them(text):
    for method, path, operation in operations(text):
        where = f"{method} {path}"
        for content in operation.get("requestBody", {}).get("content", {}).values():
            if path == "/imports":  # a file is no body of fields
                continue
            assert resolved(text, content["schema"]).get("additionalProperties") is False, (
                f"{where}: a field that does not exist is refused, and the text must say so"
            )
        bodies = [operation.get("requestBody", {})]
        bodies += [resolved(text, answer) for answer in operation["responses"].values()]
        for body in bodies:
            for content in body.get("content", {}).values():
                if "example" in content:
                    whole = {**content["schema"], "components": text["components"]}
                    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
                    validator.validate(content["example"])


# ---------------------------------------------------------------------------------------------------------
# Requests made from the text. What follows is run by schemathesis, in a process of its own.

# Names and ids that exist, so that valid requests also reach rows; all else is made from the text alone.
SETTINGS = """
continue-on-failure = true
seed = {seed}

[auth.openapi.key]
bearer = "{key}"

[phases.coverage]
enabled = {edges}

[generation]
max-examples = {examples}
database = "none"

# A key that is missing is a 401, and an If-Match that is missing a 428.
[checks.missing_required_header]
expected-statuses = [401, 428]

[reports.json]
path = "{report}"

[dictionaries]
plan = {{ values = ["fujimi-yumetsunagu"] }}
plans = {{ values = ["fujimi-yumetsunagu", "1", "2", "rei-kodomo"] }}
passing = {{ values = ["2", "3", "kieru", "kieru-2", "kieru-3"] }}
section = {{ values = ["1", "2", "3", "4"] }}
measure = {{ values = ["1-1-1", "2-1-2", "3-2-1", "4-2-1"] }}
id = {{ values = [1, 2, 3, 4, 12, 23, 24, 25, 26] }}
year = {{ values = [2016, 2017, 2018, "H29", "平成30年度"] }}
years = {{ values = ["2016", "2017", "FY2018", "H29", "平成３０年度", "平成29(2017)年度"] }}
rating = {{ values = ["A", "B", "C"] }}
municipality = {{ values = ["112356", "11235", "112011"] }}
seen = {{ values = ["*"] }}
patience = {{ values = [0] }}

[parameters]
"path.id" = {{ dictionary = "id", probability = 0.7 }}
"query.plan" = {{ dictionary = "plan", probability = 0.5 }}
"query.section" = {{ dictionary = "section", probability = 0.5 }}
"query.measure" = {{ dictionary = "measure", probability = 0.5 }}
"query.rating" = {{ dictionary = "rating", probability = 0.5 }}
"query.municipality" = {{ dictionary = "municipality", probability = 0.7 }}
"query.fiscal_year" = {{ dictionary = "years", probability = 0.8 }}
"query.from" = {{ dictionary = "years", probability = 0.9 }}
"query.to" = {{ dictionary = "years", probability = 0.9 }}
"body.first_fiscal_year" = {{ dictionary = "year", probability = 0.9 }}
"body.last_fiscal_year" = {{ dictionary = "year", probability = 0.9 }}
"query.wait" = {{ dictionary = "patience", probability = 1.0 }}
"header.If-Match" = {{ dictionary = "seen", probability = 0.8 }}
"body.plan" = {{ dictionary = "plan", probability = 0.8 }}
"body.section" = {{ dictionary = "section", probability = 0.8 }}
"body.measure_id" = {{ dictionary = "id", probability = 0.7 }}
"body.measure_code" = {{ dictionary = "measure", probability = 0.8 }}
"body.fiscal_year" = {{ dictionary = "year", probability = 0.9 }}
"body.municipality_code" = {{ dictionary = "municipality", probability = 0.8 }}

[[operations]]
include-name = "DELETE /plans/{{id}}"
parameters = {{ "path.id" = {{ dictionary = "passing", probability = 0.9 }} }}

[[operations]]
include-path-regex = "^/plans/"
parameters = {{ "path.id" = {{ dictionary = "plans", probability = 0.7 }} }}

# Whether a file is what its name says, no text about its address can tell.
[[operations]]
include-path = "/imports"
checks = {{ positive_data_acceptance = {{ enabled = false }} }}
"""


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]
) -> None:
    """The plan that all others ask about stays: whoever deletes it, or a part of it, has not seen it last."""
    noun = case.path.split("/")[1]
    kept = {"plans": {"1", "fujimi-yumetsunagu"}, "sections": set("1234"), "measures": set("1234")}
    shown = case.method == "DELETE" and str(case.path_parameters.get("id")) in kept.get(noun, ())
    if shown and "If-Match" in case.headers:
        case.headers["If-Match"] = '"seen by nobody"'


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,
    failure: Failure,
    case: schemathesis.Case[Any],
    response: schemathesis.Response,
) -> bool:
    """Whether a failure is one. A valid request may be refused for what JSON Schema cannot say, and for that only.

    Each reason is looked for in the request itself, so that no other refusal hides behind it.
    """
    if isinstance(failure, UseAfterFree):  # the one address where a row that is removed still has its answer
        return not case.path.endswith("/history")
    if isinstance(
        failure, AcceptedNegativeData
    ):  # a header that nobody knows harms nobody, and all of them are text
        unknown = "x-schemathesis-unknown-property" in case.headers
        return not unknown and not str(case.headers.get("Shinchoku-Revision", "")).isdecimal()
    if not isinstance(failure, RejectedPositiveData):
        return True
    if response.status_code == 412:  # what the row's tag is now, and where the data stands, no schema knows
        return case.headers.get("If-Match", "*") == "*" and "revision" not in case.query
    if response.status_code != 422:
        return True
    errors = json.loads(response.content).get("errors", [])
    return not errors or not all(beyond_json_schema(error, case) for error in errors)


def beyond_json_schema(error: dict[str, str], case: schemathesis.Case[Any]) -> bool:
    query = case.query or {}
    body: dict[str, Any] = case.body if isinstance(case.body, dict) else {}
    match error.get("parameter"), error.get("pointer"):
        case "cursor", None:  # only the service can issue one
            return "cursor" in query
        case "municipality", None:
            return has_wrong_check_digit(query.get("municipality"))
        case "group_by", None:  # whether the scales of all plans are the same
            return "plan" not in query and "plan" not in query.get("group_by", "").split(",")
        case ("fiscal_year" | "from" | "to") as year, None:  # it is described in words
            return year in query
        case None, ("/fiscal_year" | "/first_fiscal_year" | "/last_fiscal_year") as year:
            return isinstance(body.get(year[1:]), str)
        case "after", None:  # only the service can issue one
            return "after" in query
        case None, "/municipality_code":  # a plan stays with its own
            return case.method == "PATCH" or has_wrong_check_digit(body.get("municipality_code"))
        case None, "/rating":  # whether the plan's scale is closed
            return bool(body.get("rating"))
        case None, "/ratings":  # uniqueItems compares whole items, and not their codes
            codes = [rating["code"] for rating in body["ratings"]]
            return len(codes) != len(set(codes))
        case None, "":  # the first year of a term after its last one, which the row may already have
            return not body.keys().isdisjoint({"first_fiscal_year", "last_fiscal_year"})
    return False


def has_wrong_check_digit(code: Any) -> bool:
    if not re.fullmatch("[0-9]{6}", str(code)):
        return False
    weighed = sum(weight * int(digit) for weight, digit in zip((6, 5, 4, 3, 2), code[:5], strict=True))
    return int(code[5]) != (11 - weighed % 11) % 10


# ---------------------------------------------------------------------------------------------------------
# And back in pytest


def test_requests_made_from_the_text_are_answered_as_it_says(town: Service, backend: Backend, tmp_path: Path):
    with town.holder(town.key("admin")) as admin:  # plans that may go, and come back
        for slug in ("kieru", "kieru-2", "kieru-3"):
            passing = {"slug": slug, "title": "計画", "municipality_code": KAWAGOE, "municipality": "川越市"}
            assert admin.post("/plans", json=passing).status_code == 201
    report = tmp_path / "report.json"
    settings = tmp_path / "schemathesis.toml"
    edges = bool(CASES) or backend.name == "postgresql"
    # Besides the edges, each example makes about 50 requests.
    examples = max(6, (CASES - 4_000) // 50)
    settings.write_text(
        SETTINGS.format(
            seed=SEED, key=town.key("admin"), edges=str(edges).lower(), examples=examples, report=report
        ),
        "utf-8",
    )
    address = f"{town.anyone.base_url}/openapi.json"
    command = ["-m", "schemathesis.cli", "--config-file", str(settings), "run", address, "--no-color"]
    run = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": __file__},
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"SHINCHOKU_SEED={SEED} SHINCHOKU_CASES={CASES}\n{run.stdout}\n{run.stderr}"
    assert run.returncode == 0, said

    told = json.loads(report.read_text("utf-8"))
    print(f"seed {SEED}: {told['test_cases']['generated']} requests")
    assert told["complete"], said
    assert not told["failures"], said
    assert not told["errors"], said
    assert told["test_cases"]["generated"] >= (CASES or (4_500 if edges else 400)), said
    phases = {"examples", "fuzzing", "stateful"} | ({"coverage"} if edges else set())
    assert {name for name, phase in told["phases"].items() if phase["status"] == "success"} == phases
    # It was not all refused: every operation did what it is for.
    served = {
        operation: sum(phase["accepted"] for phase in phases.values())
        for operation, phases in told["valid_rates"].items()
    }
    assert len(served) == told["operations"]["total"]
    unserved = {operation for operation, times in served.items() if not times}
    assert unserved <= {"POST /imports"}  # no table is made from a text about an address
