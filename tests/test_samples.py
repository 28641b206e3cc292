"""Tables of invented towns, in many forms: each is understood as the file beside it says, and twice is once."""

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Service

SAMPLES = Path(__file__).parent / "samples"
FILES = sorted(file for file in SAMPLES.iterdir() if file.suffix not in (".toml", ".json", ".md"))


@pytest.fixture(scope="module")
def clerk(hall: Service) -> Iterator[httpx.Client]:
    with hall.holder(hall.key("admin")) as client:
        yield client


def told(file: Path) -> dict[str, Any]:
    """What stands beside the file, as parameters."""
    notes = file.with_suffix(".toml")
    beside = tomllib.loads(notes.read_text("utf-8")) if notes.exists() else {}
    return {name: json.dumps(value) if name == "mapping" else value for name, value in beside.items()}


def send(client: httpx.Client, file: Path, **parameters: Any) -> httpx.Response:
    return client.post(
        "/imports", params={"name": file.name, **told(file), **parameters}, content=file.read_bytes()
    )


def rows(client: httpx.Client, path: str, plan: str, *fields: str) -> list[dict[str, Any]]:
    query = {"plan": plan, "fields": ",".join(fields), "limit": 1000}
    found: list[dict[str, Any]] = client.get(path, params=query).raise_for_status().json()["results"]
    return found


def understood(client: httpx.Client, report: dict[str, Any], plan: str) -> dict[str, Any]:
    """What came of a file, in the words of the API."""
    warnings = [
        {name: warning[name] for name in ("sheet", "line", "column", "en") if name in warning}
        for warning in report["warnings"]
    ]
    whole = client.get(f"/plans/{plan}").json()
    evaluation = ("measure_code", "fiscal_year", "ordinal", "implementation", "rating", "rating_printed")
    return {
        **{name: report[name] for name in ("title", "subtitle", "fiscal_years", "mapping", "sheets")},
        "warnings": warnings,
        "plan": {name: whole[name] for name in ("title", "municipality_code", "municipality")},
        "ratings": {rating["code"]: rating["label"] for rating in whole["ratings"]},
        "sections": rows(client, "/sections", plan, "code", "label", "title"),
        "measures": rows(client, "/measures", plan, "section", "code", "title", "path"),
        "evaluations": rows(
            client,
            "/evaluations",
            plan,
            *evaluation,
            *("rationale", "next_plan", "department", "extra", "source_line"),
        ),
    }


def slug(file: Path) -> str:
    found = told(file).get("plan") or json.loads(file.read_text("utf-8").split("\n")[0])["key"]
    return str(found)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_table_is_understood_as_the_file_beside_it_says(file: Path, clerk: httpx.Client):
    """SHINCHOKU_WRITE_SAMPLES=1 writes the files anew, to be read by a person."""
    tried = send(clerk, file, dry_run=True)
    assert tried.status_code == 200, tried.text
    assert clerk.get(f"/plans/{slug(file)}").status_code == 404
    done = send(clerk, file)
    assert done.status_code == 200, done.text
    report = done.json()
    same = ("created", "mapping", "measures", "warnings", "fiscal_years")
    assert {name: report[name] for name in same} == {name: tried.json()[name] for name in same}
    found = understood(clerk, report, slug(file))
    beside = file.with_suffix(".json")
    if os.environ.get("SHINCHOKU_WRITE_SAMPLES"):
        beside.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
    assert found == json.loads(beside.read_text("utf-8"))
    assert clerk.get(f"/documents/{report['document']}/content").content == file.read_bytes()

    again = send(clerk, file).json()
    assert again["created"] == again["updated"] == dict.fromkeys(again["created"], 0)
    assert again["revision"] == report["revision"]
