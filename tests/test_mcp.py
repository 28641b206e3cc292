"""Assistants ask through a real client of the Model Context Protocol, and hear what the API says."""

import re
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest
from fastapi.testclient import TestClient
from mcp import Client

from app import mcp
from app.kit.settings import Settings
from app.main import create_app
from tests.conftest import Service
from tests.test_samples import SAMPLES, send

Ask = Callable[..., Any]
PLAN = "fujimi-yumetsunagu"


@pytest.fixture
def ask(read: httpx.Client) -> Ask:
    """Calls a tool; tells what it answers, or the text of its error."""

    async def call(tool: str, given: dict[str, Any]) -> Any:
        async with Client(f"{str(read.base_url).rstrip('/')}/mcp") as client:
            answer = await client.call_tool(tool, given)
            return answer.content[0].text if answer.is_error else answer.structured_content  # type: ignore[union-attr]

    return lambda tool, **given: anyio.run(call, tool, given)


def test_the_tools_say_what_they_are_and_only_read(read: httpx.Client):
    async def listed() -> Any:
        async with Client(f"{str(read.base_url).rstrip('/')}/mcp") as client:
            return client.instructions, (await client.list_tools()).tools

    instructions, tools = anyio.run(listed)
    assert "A rating is a mark of its own plan" in instructions
    assert sorted(tool.name for tool in tools) == [
        "compare_years",
        "find_measures",
        "find_plans",
        "follow_measure",
        "read_source",
        "search",
        "summarise",
    ]
    for tool in tools:
        assert tool.description
        assert tool.annotations.read_only_hint is True
        assert tool.input_schema["additionalProperties"] is False
        for given in tool.input_schema["properties"].values():
            assert re.search("'(description|enum)'", str(given)), (tool.name, given)


def test_a_tool_answers_what_the_api_answers(ask: Ask, read: httpx.Client):
    def told(path: str) -> Any:
        return read.get(path).json()

    measures = told(f"/measures?plan={PLAN}&fiscal_year=H29&rating=B")
    found = ask("find_measures", plan=PLAN, fiscal_year="H29", rating="B")
    assert (found["count"], found["results"]) == (9, measures["results"])
    assert ask("find_plans", q="富士見市") == {"count": 1, "results": told("/plans?q=富士見市")["results"]}
    rows = told("/evaluations?q=支援 教室")
    assert ask("search", q="支援　教室") == {"count": 1, "results": rows["results"]}
    assert (
        ask("search", q="支援", limit=2)["count"]
        == told("/evaluations?q=支援")["metadata"]["resultset"]["count"]
    )
    assert ask("follow_measure", plan=PLAN, measure="4-2-1") == told("/measures/24/timeline")
    assert ask("summarise", group_by=["section"], unit="measure") == told(
        "/evaluations/summary?group_by=section&unit=measure"
    )
    assert ask("compare_years", plan=PLAN, before="H29", after=2018) == told(
        f"/plans/{PLAN}/transitions?from=2017&to=2018"
    )


def test_a_row_is_read_in_its_source(ask: Ask):
    row = ask("search", q="ハローワーク")["results"][0]
    source = ask("read_source", document_id=row["document_id"], line=row["source_line"])
    assert source["document"]["name"] == "fujimi-h29.txt"
    lines = {line["line"]: line["text"] for line in source["lines"]}
    assert row["implementation"] in lines[row["source_line"]]
    assert list(lines) == [34, 35, 36, 37, 38]


def test_a_row_is_read_in_its_spreadsheet(town: Service, admin: httpx.Client):
    """Its cells, or where the file is."""
    report = send(admin, SAMPLES / "reiji.xlsx").raise_for_status().json()

    async def read(line: int) -> Any:
        async with Client(f"{str(town.anyone.base_url).rstrip('/')}/mcp") as client:
            told = {"document_id": report["document"], "line": line}
            return await client.call_tool("read_source", told)

    [line] = anyio.run(read, 6).structured_content["lines"]
    assert (line["line"], line["sheet"]) == (6, "Sheet1")
    assert line["cells"][1:4] == ["②", "産後ケア", "健康課"]
    answer = anyio.run(read, 99)
    assert answer.is_error
    assert f"/documents/{report['document']}/content" in answer.content[0].text


def test_what_is_wrong_is_told_in_words(ask: Ask):
    assert "There is no such row" in ask("follow_measure", plan="nope", measure="1")
    assert "There is no such row" in ask("follow_measure", plan=PLAN, measure="9")
    assert "names no era" in ask("summarise", fiscal_year="29")
    assert "less than or equal to 50" in ask("search", q="支援", limit=1000)
    assert "department\n  Extra inputs are not permitted" in ask("find_measures", department="福祉課")


def test_a_stream_that_would_stay_silent_is_not_opened(read: httpx.Client):
    answer = read.get("/mcp", headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")
    assert answer.headers["content-type"] == "application/problem+json"


def test_assistants_are_answered_in_each_life_of_the_service(library: Service):
    app = create_app(Settings(database_url=library.url))
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    headers = {"Accept": "application/json, text/event-stream"}
    for _ in range(2):
        with TestClient(app, base_url="http://localhost:8000") as client:
            assert client.post("/mcp", json=hello, headers=headers).status_code == 200


def test_without_the_extra_there_is_no_such_address(monkeypatch: pytest.MonkeyPatch, library: Service):
    def addresses() -> set[str]:
        app = create_app(Settings(database_url=library.url))
        app.state.database.dispose()
        return {getattr(route, "path", "") for route in app.router.routes}

    assert "/mcp" in addresses()
    monkeypatch.setattr(mcp, "INSTALLED", False)
    assert "/mcp" not in addresses()
