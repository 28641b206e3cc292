"""HTTP manners: what every address does with HEAD, OPTIONS, conditions, other origins, other languages, and faults."""

import gzip
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI

from app.kit import keys
from app.kit.logs import JsonLines
from app.kit.settings import ROOT, Settings
from app.main import create_app
from tests.conftest import KAWAGOE, Backend, Service, running, started
from tests.processes import caller

ELSEWHERE = {"Origin": "https://example.jp"}
JSON = {"Content-Type": "application/json"}


def operations(client: httpx.Client) -> dict[str, set[str]]:
    """Every address of the OpenAPI text, with the methods that it documents there."""
    paths: dict[str, dict[str, Any]] = client.get("/openapi.json").json()["paths"]
    return {
        path.replace("{id}", "1").replace("{form}", "tsv"): {method.upper() for method in found}
        for path, found in paths.items()
    }


def readable(client: httpx.Client) -> list[str]:
    """Every address that answers GET, with the query that it cannot do without."""
    needed = {
        "/plans/1/transitions": "?from=H29&to=H30",
        "/plans/1/document.tsv": "?fiscal_year=H29",
    }
    documented = [path for path, methods in operations(client).items() if "GET" in methods]
    assert len(documented) > 20
    return [path + needed.get(path, "") for path in documented] + ["/openapi.json"]


def public(client: httpx.Client) -> list[str]:
    return [path for path in readable(client) if path not in ("/livez", "/readyz")]


def without_date(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answer.headers.multi_items() if name != "date"]


def listed(answer: httpx.Response, header: str) -> set[str]:
    """The items of a header that is a list."""
    return {item.strip() for item in answer.headers.get(header, "").split(",")}


LEAKS = re.compile(
    r'Traceback|File "|\.py\b|site-packages|sqlalchemy|psycopg|sqlite3|SELECT |INSERT |/var/lib|'
    + re.escape(str(ROOT))
)


def problem(answer: httpx.Response, status: int, slug: str, **members: Any) -> dict[str, Any]:
    """The answer's body, which is a problem of this kind, complete and without a word too many."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["content-language"] in ("ja", "en")
    assert answer.headers["cache-control"] == "no-store"
    assert "Accept-Language" in listed(answer, "vary")
    body: dict[str, Any] = answer.json()
    assert list(body)[:5] == ["type", "title", "status", "detail", "instance"]
    assert not body.keys() - {"type", "title", "status", "detail", "instance", "errors", "existing"}
    assert body["type"] == f"/docs/problems/{slug}"
    assert body["status"] == status
    assert body["instance"] == answer.request.url.path
    assert body["detail"]
    assert {name: body[name] for name in members} == members
    assert not LEAKS.search(answer.text)
    return body


# ---------------------------------------------------------------------------------------------------------
# HEAD, OPTIONS, Allow


def test_head_answers_like_get_without_the_body(read: httpx.Client):
    # What is streamed has its length and its coding only once it has been made.
    known = [path for path in readable(read) if "." not in path]
    for path in [*known, "/nope", "/plans/nope", "/plans?nope=1", "/plans/1/"]:
        for headers in ({}, {"Accept-Encoding": "identity"}, ELSEWHERE):
            got, head = read.get(path, headers=headers), read.head(path, headers=headers)
            assert (path, head.status_code, without_date(head)) == (path, got.status_code, without_date(got))
            assert head.content == b""
            assert got.content != b""


def test_head_of_a_stream_begins_none(read: httpx.Client):
    got, head = read.get("/snapshot.jsonl"), read.head("/snapshot.jsonl")
    assert (head.status_code, head.content) == (200, b"")
    assert {name: head.headers[name] for name in ("etag", "content-type", "shinchoku-revision")} == {
        name: got.headers[name] for name in ("etag", "content-type", "shinchoku-revision")
    }


def test_head_answers_the_pages_for_people_too(read: httpx.Client):
    for path in ("/", "/docs"):
        got, head = read.get(path), read.head(path)
        assert (head.status_code, without_date(head), head.content) == (
            got.status_code,
            without_date(got),
            b"",
        )


def test_every_address_allows_what_it_documents_and_nothing_else(read: httpx.Client):
    expected = {
        path: {*methods, "HEAD", "OPTIONS"} for path, methods in operations(read).items() if "GET" in methods
    }
    expected |= {path: {"GET", "HEAD", "OPTIONS"} for path in ("/", "/docs", "/openapi.json")}
    assert {path: listed(read.options(path), "allow") for path in expected} == expected
    assert {path: listed(read.put(path), "allow") for path in expected} == expected


def test_options_has_no_body(read: httpx.Client):
    answer = read.options("/plans/1")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


@pytest.mark.parametrize("method", ["PUT", "POST", "TRACE", "PROPFIND"])
def test_another_method_is_refused_and_the_right_ones_are_named(method, read: httpx.Client):
    answer = read.request(method, "/plans/1")
    problem(
        answer,
        405,
        "method-not-allowed",
        title="このアドレスでは使えないメソッドです",
        detail="使えるメソッド: DELETE, GET, HEAD, OPTIONS, PATCH",
    )
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


# ---------------------------------------------------------------------------------------------------------
# Conditions and caches


def test_a_public_answer_may_be_kept_and_is_asked_for_again_each_time(read: httpx.Client):
    for path in public(read):
        answer = read.get(path)
        assert (path, answer.status_code, answer.headers["cache-control"]) == (path, 200, "public, no-cache")


def test_the_state_of_the_service_is_not_kept(read: httpx.Client):
    for path in ("/livez", "/readyz"):
        assert read.get(path).headers["cache-control"] == "no-store"


def test_a_reader_who_has_the_answer_already_does_not_get_it_again(read: httpx.Client):
    for path in public(read):
        tag = read.get(path).headers["etag"]
        assert re.fullmatch(r'"[!#-~]+"', tag)
        for known in (tag, f"W/{tag}", f'"other", {tag}', f'W/"other",W/{tag} , "third"', "*"):
            for answer in (
                read.get(path, headers={"If-None-Match": known}),
                read.head(path, headers={"If-None-Match": known}),
            ):
                assert (path, known, answer.status_code, answer.content) == (path, known, 304, b"")
                assert answer.headers["etag"] in (tag, tag.replace('-gzip"', '"') if known == "*" else tag)
                assert answer.headers["cache-control"] == "public, no-cache"
                assert "content-type" not in answer.headers


def test_what_is_known_may_be_said_in_several_lines(read: httpx.Client):
    tag = read.get("/plans/1").headers["etag"]
    lines = [("If-None-Match", '"other"'), ("If-None-Match", tag)]
    assert read.get("/plans/1", headers=lines).status_code == 304


def test_compressed_bytes_have_a_tag_of_their_own_of_the_same_row(admin: httpx.Client):
    path = "/plans/1"
    plain = admin.get("/evaluations", headers={"Accept-Encoding": "identity"}).headers["etag"]
    small = admin.get("/evaluations", headers={"Accept-Encoding": "gzip"}).headers["etag"]
    assert small == plain[:-1] + '-gzip"'
    tag = admin.get(path).headers["etag"]
    proxied = tag[:-1] + '-gzip"'
    change = admin.patch(
        path, json={"licence": "CC0"}, headers=[("If-Match", '"other"'), ("If-Match", proxied)]
    )
    assert change.status_code == 200
    weak = admin.patch(path, json={"licence": None}, headers={"If-Match": f"W/{change.headers['etag']}"})
    assert (weak.status_code, "弱い ETag" in weak.json()["detail"]) == (412, True)


@pytest.mark.parametrize("path", ["/plans%0A", "/plans/1%0A", "/evaluations/summary%0A", "/livez%0A"])
def test_an_address_with_a_newline_behind_it_is_another_address(path: str, read: httpx.Client):
    assert read.get(path).status_code == 404


def test_a_reader_who_has_something_else_gets_the_answer(read: httpx.Client):
    for path in public(read):
        whole = read.get(path)
        tag = whole.headers["etag"]
        for known in ('"other"', 'W/"other"', tag.strip('"'), f"w/{tag}", f'"{tag[2:]}', ""):
            answer = read.get(path, headers={"If-None-Match": known})
            assert (path, known, answer.status_code) == (path, known, 200)
            assert answer.content == whole.content


def test_a_condition_does_not_hide_what_is_wrong_with_a_request(read: httpx.Client):
    for path, status in (
        ("/plans?nope=1", 422),
        ("/measures?cursor=nope", 422),
        ("/measures/999", 404),
        ("/measures/999/timeline", 404),
        ("/plans/nope/completeness", 404),
        ("/measures/999/history", 404),
        ("/documents/999/content", 404),
        ("/evaluations/summary?group_by=nope", 422),
        ("/plans/999/document.xlsx?fiscal_year=H29", 404),
        ("/plans/1/document.tsv?fiscal_year=H01", 404),
    ):
        assert (path, read.get(path, headers={"If-None-Match": "*"}).status_code) == (path, status)


def test_the_tag_of_a_list_changes_with_every_write_and_only_then(admin: httpx.Client):
    def tags() -> list[str]:
        return [admin.get(path).headers["etag"] for path in public(admin) if path.count("/") == 1]

    before = tags()
    assert tags() == before
    plan = admin.get("/plans/1").json()
    same = admin.patch("/plans/1", json={"title": plan["title"]}, headers={"If-Match": "*"})
    assert (same.status_code, tags()) == (200, before)
    admin.patch("/plans/1", json={"licence": "CC BY 4.0"}, headers={"If-Match": "*"})
    after = tags()
    for path, old, new in zip(
        (path for path in public(admin) if path.count("/") == 1), before, after, strict=True
    ):
        assert (path, new == old) == (path, path == "/openapi.json")
    answer = admin.get("/measures", headers={"If-None-Match": before[0]})
    assert answer.status_code == 200


def test_a_large_answer_is_sent_compressed_to_whom_that_is_agreeable(read: httpx.Client):
    plain = read.get("/evaluations", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with read.stream("GET", "/evaluations", headers={"Accept-Encoding": "br, gzip"}) as answer:
        sent = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(sent) < len(plain.content) / 4
    assert gzip.decompress(sent) == plain.content


def test_a_small_answer_is_sent_as_it_is(read: httpx.Client):
    answer = read.get("/livez", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers


def test_caches_are_told_what_an_answer_depends_on(read: httpx.Client):
    whole = read.get("/evaluations", headers={"Accept-Encoding": "gzip"})
    plain = read.get("/evaluations", headers={"Accept-Encoding": "identity"})
    known = read.get("/evaluations", headers={"If-None-Match": whole.headers["etag"]})
    assert [listed(answer, "vary") for answer in (whole, plain, known)] == [{"Accept-Encoding", "Origin"}] * 3


# ---------------------------------------------------------------------------------------------------------
# Front ends of other origins


def test_any_site_may_read_and_sees_the_headers_that_it_needs(read: httpx.Client):
    for path in readable(read):
        answer = read.get(path, headers=ELSEWHERE)
        assert (path, answer.headers["access-control-allow-origin"]) == (path, "*")
        assert {"ETag", "Link", "Location"} <= listed(answer, "access-control-expose-headers")
        assert "access-control-allow-credentials" not in answer.headers
    assert "access-control-allow-origin" not in read.get("/plans").headers


def test_any_site_may_ask_and_is_told_the_same_when_nothing_has_changed(read: httpx.Client):
    tag = read.get("/plans").headers["etag"]
    answer = read.get("/plans", headers={"If-None-Match": tag, **ELSEWHERE})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (304, "*")


def preflight(client: httpx.Client, path: str, method: str, headers: str, **more: str) -> httpx.Response:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return client.options(path, headers=ELSEWHERE | asked | more)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "DELETE"])
def test_a_front_end_may_write_with_a_key_and_a_condition(method, read: httpx.Client):
    answer = preflight(read, "/measures/1", method, "authorization, content-type, if-match,if-none-match")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert method in listed(answer, "access-control-allow-methods")
    assert {"Authorization", "Content-Type", "If-Match", "If-None-Match"} <= listed(
        answer, "access-control-allow-headers"
    )
    assert int(answer.headers["access-control-max-age"]) > 0


@pytest.mark.parametrize(("method", "headers"), [("PUT", "content-type"), ("PATCH", "if-match, x-evil")])
def test_a_refused_preflight_is_a_problem_like_any_other(method, headers, read: httpx.Client):
    answer = preflight(read, "/measures/1", method, headers)
    problem(answer, 400, "malformed", title="要求を読み取れません")
    english = preflight(read, "/measures/1", method, headers, **{"Accept-Language": "en"})
    problem(english, 400, "malformed", title="The request cannot be read")


@pytest.fixture(scope="module")
def choosy(backend: Backend) -> Iterator[Service]:
    """A service whose settings name the one site that may call it, and a small body."""
    url = backend.seeded()
    with started(url, cors_origins=["https://example.jp"], max_body_bytes=1_000) as service:
        yield service
    backend.drop(url)


def test_where_sites_are_named_only_those_may_call(choosy: Service):
    other = {"Origin": "https://example.com"}
    for path in ("/plans", "/nope"):
        allowed, refused = (choosy.anyone.get(path, headers=headers) for headers in (ELSEWHERE, other))
        assert allowed.headers["access-control-allow-origin"] == "https://example.jp"
        assert "access-control-allow-origin" not in refused.headers
        assert "Origin" in listed(allowed, "vary") & listed(refused, "vary")
    asked = {"Access-Control-Request-Method": "PATCH"}
    assert choosy.anyone.options("/plans", headers=ELSEWHERE | asked).status_code == 204
    problem(choosy.anyone.options("/plans", headers=other | asked), 400, "malformed")


# ---------------------------------------------------------------------------------------------------------
# Problems

REFUSALS: list[tuple[int, str, str, str, str, str, dict[str, Any]]] = [
    (
        400,
        "malformed",
        "要求を読み取れません",
        "The request cannot be read",
        "POST",
        "/plans",
        {"content": b"\xff"},
    ),
    (401, "unauthorized", "有効なキーが必要です", "A valid key is needed", "POST", "/plans", {"json": {}}),
    (
        403,
        "forbidden",
        "このキーでは許可されていません",
        "This key may not do that",
        "DELETE",
        "/plans/1",
        {},
    ),
    (404, "not-found", "見つかりません", "Not found", "GET", "/measures/999", {}),
    (404, "not-found", "見つかりません", "Not found", "GET", "/nope", {}),
    (
        405,
        "method-not-allowed",
        "このアドレスでは使えないメソッドです",
        "The method is not allowed here",
        "PUT",
        "/",
        {},
    ),
    (
        409,
        "conflict",
        "既にあるデータと衝突します",
        "It collides with what is there",
        "POST",
        "/sections",
        {"json": {"plan": "fujimi-yumetsunagu", "code": "1"}},
    ),
    (
        412,
        "precondition-failed",
        "別の更新が先に行われました",
        "Somebody changed it in the meantime",
        "DELETE",
        "/plans/1",
        {"headers": {"If-Match": '"old"'}},
    ),
    (
        415,
        "unsupported-media-type",
        "対応していない形式です",
        "This media type is not understood",
        "POST",
        "/plans",
        {"content": "{}", "headers": {"Content-Type": "text/plain"}},
    ),
    (422, "invalid", "入力に誤りがあります", "The input is not valid", "GET", "/plans?limit=0", {}),
    (428, "precondition-required", "If-Match が必要です", "If-Match is needed", "DELETE", "/plans/1", {}),
]


@pytest.mark.parametrize(("status", "slug", "japanese", "english", "method", "path", "request_"), REFUSALS)
def test_every_refusal_has_one_shape_in_both_languages_and_for_every_site(
    status, slug, japanese, english, method, path, request_, town: Service
):
    key = {401: "", 403: town.key("editor", KAWAGOE)}.get(status) or town.key()
    headers = {**JSON, **ELSEWHERE, **request_.get("headers", {})}
    if status != 401:
        headers["Authorization"] = f"Bearer {key}"
    sent = {name: value for name, value in request_.items() if name != "headers"}
    for language, title in (("ja", japanese), ("en", english)):
        answer = town.anyone.request(method, path, headers={**headers, "Accept-Language": language}, **sent)
        problem(answer, status, slug, title=title)
        assert answer.headers["content-language"] == language
        assert answer.headers["access-control-allow-origin"] == "*"
        assert ("。" in answer.json()["detail"]) == (language == "ja") or status in (405, 409)


def test_a_problem_is_exactly_this(read: httpx.Client):
    assert read.get("/measures/999").json() == {
        "type": "/docs/problems/not-found",
        "title": "見つかりません",
        "status": 404,
        "detail": "見つかりません。削除された可能性もあります。",
        "instance": "/measures/999",
    }


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        (None, "ja"),
        ("", "ja"),
        ("ja", "ja"),
        ("en", "en"),
        ("EN-gb", "en"),
        ("en-US,en;q=0.9", "en"),
        ("ja,en;q=0.9", "ja"),
        ("ja-JP, en-US;q=0.7", "ja"),
        ("en;q=0.9,ja;q=0.8", "en"),
        ("en;q=0.5,ja", "ja"),
        ("en; q=0.9 , ja; q=0.1", "en"),
        ("en,ja", "ja"),
        ("fr", "ja"),
        ("fr,en;q=0.5", "en"),
        ("*", "ja"),
        ("*,en;q=0.5", "ja"),
        ("en,*;q=0.5", "en"),
        ("en;q=0", "ja"),
        ("ja;q=0,en;q=0.1", "en"),
        ("ja;q=0,*", "en"),
        ("*,ja;q=0.1", "en"),
        ("english", "ja"),
        ("en;q=much", "ja"),
        (",,;;=,en", "en"),
        ("en;" * 2000, "ja"),
    ],
)
def test_problems_are_japanese_unless_english_is_preferred(accepted, language, read: httpx.Client):
    headers = {} if accepted is None else {"Accept-Language": accepted}
    answer = read.get("/nope", headers=headers)
    problem(answer, 404, "not-found", title={"ja": "見つかりません", "en": "Not found"}[language])
    assert answer.headers["content-language"] == language


def test_data_is_the_same_in_every_language(read: httpx.Client):
    answers = [read.get("/measures", headers={"Accept-Language": language}) for language in ("ja", "en")]
    assert answers[0].content == answers[1].content
    assert not any("content-language" in answer.headers for answer in answers)


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/plan",
        "/Plans",
        "/plans.json",
        "/plans//1",
        "/plans/1/nope",
        "/plans/1/history/1",
        "/measures/1/transitions",
        "/evaluations/summary/1",
        "/docs/nope",
        "/openapi.yaml",
        "/favicon.ico",
        "/計画",
        "/.env",
        "/" + "a" * 400,
    ],
)
def test_an_unknown_address_is_not_found(path, read: httpx.Client):
    expected = {
        "title": "見つかりません",
        "detail": "このアドレスには何もありません。/docs に一覧があります。",
    }
    for method in ("GET", "POST", "OPTIONS"):
        problem(read.request(method, path), 404, "not-found", **expected)


def test_an_address_with_a_slash_at_its_end_is_another_one(read: httpx.Client):
    for path in [*operations(read), "/openapi.json", "/docs"]:
        problem(read.get(f"{path}/"), 404, "not-found")


@pytest.mark.parametrize(
    ("path", "instance"),
    [
        ("/nope%3Fa%23b", "/nope%3Fa%23b"),
        ("/nope?a=1#b", "/nope"),
        ("//plans", "//plans"),
        ("/%1B[31m%E2%80%A8", "/\\u001b[31m\\u2028"),
        ("/%E8%A8%88%E7%94%BB", "/計画"),
    ],
)
def test_the_instance_is_the_address_with_nothing_hidden_in_it(path, instance, library: Service):
    answer = raw(library, f"GET {path.partition('#')[0]} HTTP/1.1\r\nHost: town\r\nConnection: close\r\n\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["instance"] == instance


def raw(service: Service, request: str) -> bytes:
    """What the service answers to these very bytes."""
    url = service.anyone.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b""
        while received := connection.recv(65536):
            answer += received
    return answer


# ---------------------------------------------------------------------------------------------------------
# Bodies


def body_of(size: int) -> bytes:
    return b'{"title": "' + b"a" * (size - 13) + b'"}'


def chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 100):
        yield body[start : start + 100]


@pytest.mark.parametrize("how", ["declared", "in chunks"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_body_may_be_as_large_as_the_settings_say_and_no_larger(how, method, choosy: Service):
    path = "/plans" if method == "POST" else "/plans/1"

    def send(size: int) -> httpx.Response:
        body = body_of(size)
        assert len(body) == size
        content = body if how == "declared" else chunks(body)
        return choosy.anyone.request(method, path, content=content, headers={**JSON, **ELSEWHERE})

    problem(send(1_000), 401, "unauthorized")
    refused = send(1_001)
    problem(
        refused,
        413,
        "too-large",
        title="送信データが大きすぎます",
        detail="本文は 1,000 バイト以内にしてください。",
    )
    assert refused.headers["access-control-allow-origin"] == "https://example.jp"
    assert choosy.anyone.get("/livez").status_code == 200


def test_a_body_that_is_declared_too_large_is_not_waited_for(choosy: Service):
    head = "POST /plans HTTP/1.1\r\nHost: town\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
    started = time.monotonic()
    answer = raw(choosy, head)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json-patch+json",
        "application/geo+json",
        "application/octet-stream; name=json",
        "json",
    ],
)
def test_a_body_of_another_media_type_is_refused_and_the_right_one_is_named(media_type, read: httpx.Client):
    headers = {} if media_type is None else {"Content-Type": media_type}
    posted = read.post("/plans", content=b"{}", headers=headers)
    detail = "Content-Type を application/json にして JSON を送ってください。"
    problem(posted, 415, "unsupported-media-type", detail=detail)
    assert posted.headers["accept-post"] == "application/json"
    patched = read.patch("/plans/1", content=b"{}", headers=headers)
    problem(patched, 415, "unsupported-media-type")
    assert patched.headers["accept-patch"] == "application/merge-patch+json, application/json"


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON;charset=utf-8", "application/merge-patch+json"]
)
def test_json_is_known_by_all_its_names(media_type, editor: httpx.Client):
    headers = {"Content-Type": media_type, "If-Match": "*"}
    assert editor.patch("/plans/1", content=b"{}", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"title": }', b"{'title': 1}", b"{} {}", b"nope", b"[1,]", b"\x00"]
)
def test_what_is_no_json_is_refused_at_its_beginning(body, admin: httpx.Client):
    answer = admin.post("/plans", content=body, headers=JSON)
    problem(answer, 422, "invalid")
    (error,) = answer.json()["errors"]
    assert error["pointer"] == ""


@pytest.mark.parametrize(
    "body",
    [b"\xff", b'{"title": "\x83w"}', b"[" * 100_000, b'{"a":' * 50_000],
    ids=lambda body: body[:8].hex(),
)
def test_what_cannot_be_read_at_all_is_malformed(body, admin: httpx.Client):
    detail = "本文を JSON として読み取れません。UTF-8 の JSON を送ってください。"
    problem(admin.post("/plans", content=body, headers=JSON), 400, "malformed", detail=detail)


# ---------------------------------------------------------------------------------------------------------
# Faults of ours, and a database that is away


@contextmanager
def serving(app: FastAPI) -> Iterator[httpx.Client]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        with caller(f"http://127.0.0.1:{port}") as anyone:
            yield anyone
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def faulty(backend: Backend) -> Iterator[httpx.Client]:
    """A service with two routes that fail in a way nobody has foreseen."""
    url = backend.empty()
    app = create_app(Settings(database_url=url))

    @app.get("/fails/{name}")
    def fails(name: str) -> None:
        raise RuntimeError("SELECT secret FROM api_key -- /var/lib/shinchoku.db")

    @app.post("/fails")
    async def fails_too(body: dict[str, Any]) -> None:
        raise KeyError(body["secret"])

    with serving(app) as client:
        yield client
    backend.drop(url)


@pytest.mark.parametrize(
    ("language", "title", "detail"),
    [
        ("ja", "サーバーで問題が起きました", "処理中に問題が起きました。記録を残しました。"),
        ("en", "Something broke on the server", "The request could not be finished. It has been logged."),
    ],
)
def test_a_fault_of_ours_tells_nothing_but_that_it_happened(
    language, title, detail, faulty: httpx.Client, caplog: pytest.LogCaptureFixture
):
    headers = {**ELSEWHERE, "Accept-Language": language}
    for answer in (
        faulty.get("/fails/here", headers=headers),
        faulty.post("/fails", json={"secret": "0x5ec2e7"}, headers=headers),
    ):
        body = problem(answer, 500, "broken", title=title, detail=detail)
        assert len(body) == 5
        assert "secret" not in answer.text
        assert "0x5ec2e7" not in answer.text
        assert answer.headers["access-control-allow-origin"] == "*"
        assert {"ETag", "Link", "Location"} <= listed(answer, "access-control-expose-headers")
    head = faulty.head("/fails/here", headers=headers)
    assert (head.status_code, head.content) == (500, b"")
    assert caplog.text.count("RuntimeError: SELECT secret FROM api_key") == 2
    assert faulty.get("/livez").status_code == 200


def test_a_fault_of_the_database_is_not_taken_for_its_absence(
    backend: Backend, caplog: pytest.LogCaptureFixture
):
    url = backend.seeded()
    with running(url) as service:
        with service.database.writing() as session:
            session.execute(sa.text("ALTER TABLE section RENAME COLUMN label TO other"))
        body = problem(service.anyone.get("/sections"), 500, "broken")
        assert "label" not in json.dumps(body)
        assert "label" in caplog.text  # for those who run it
    backend.drop(url)


def test_a_key_in_an_address_is_not_logged(read: httpx.Client, caplog: pytest.LogCaptureFixture):
    key = keys.make()
    with caplog.at_level("INFO", logger="shinchoku.requests"):
        assert read.get("/plans", params={"key": key.plain}).status_code == 422
        read.get("/livez")  # by then the first one is logged
    logged = " ".join(str(vars(record)) for record in caplog.records)
    assert (key.secret in logged, f"shk_{key.id}_…" in logged) == (False, True)


@pytest.fixture
def stranded(backend: Backend) -> Iterator[httpx.Client]:
    """A service whose database is not there."""
    url = backend.empty()
    backend.drop(url)
    missing = url.replace("sqlite:///", "sqlite:////nowhere")
    with started(missing, busy_timeout=1) as service:
        yield service.anyone


def test_while_the_database_is_away_the_service_says_so_and_when_to_come_back(stranded: httpx.Client):
    for path in ("/plans", "/measures/1", "/evaluations/summary", "/readyz"):
        answer = stranded.get(path, headers=ELSEWHERE)
        problem(
            answer,
            503,
            "unavailable",
            title="しばらくしてからお試しください",
            detail="データベースが混み合っているか、停止しています。数秒後にもう一度お試しください。",
        )
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["access-control-allow-origin"] == "*"
    assert stranded.get("/livez").json() == {"status": "ok"}


def test_a_service_is_ready_when_its_database_is_in_its_newest_form(read: httpx.Client, faulty: httpx.Client):
    assert read.get("/readyz").json() == {"status": "ok", "revision": 56}
    detail = "データベースの移行が必要です。shinchoku migrate を実行してください。"
    problem(faulty.get("/readyz"), 503, "unavailable", detail=detail)


# ---------------------------------------------------------------------------------------------------------
# Logs

HOSTILE = "%0D%0A%7B%22level%22:%22info%22%7D%1B[31m%00%7F%C2%85%E2%80%A8%E2%80%A9%FF"


def lines_of(written: str) -> list[dict[str, Any]]:
    """What was logged: one JSON object a line, in letters that no terminal and no reader of lines acts on."""
    assert re.fullmatch(r"[\n\x20-\x7e]*", written)
    return [json.loads(line) for line in written.splitlines()]


@pytest.fixture
def served(backend: Backend) -> Iterator["subprocess.Popen[bytes]"]:
    """The service as people start it, with its log in a pipe."""
    url = backend.seeded()
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve", "--port", "0"],
        cwd=ROOT,
        env=os.environ | {"SHINCHOKU_DATABASE_URL": url},
        stderr=subprocess.PIPE,
    )
    with process:
        yield process
        process.kill()
    backend.drop(url)


def test_a_request_is_one_line_of_the_log_whatever_stands_in_it(served: "subprocess.Popen[bytes]"):
    assert served.stderr
    written = b""
    while not (started := re.search(rb"http://127\.0\.0\.1:(\d+)", written)):
        more = served.stderr.readline()
        assert more, written
        written += more

    def send(request: bytes) -> None:
        with socket.create_connection(("127.0.0.1", int(started[1])), timeout=10) as connection:
            connection.sendall(request)
            while connection.recv(65536):
                pass

    path = f"/plans/{HOSTILE}?q={HOSTILE}".encode()
    headers = b"Host: town\r\nUser-Agent: a\tb\x85c\r\nX-Forwarded-For: \xe2\x80\xa8\r\nConnection: close\r\n"
    send(b"GET " + path + b" HTTP/1.1\r\n" + headers + b"\r\n")
    send(b"GET /plans HTTP/1.1\r\nHost: town\r\nUser-Agent: \x1b[31m\x00\r\n\r\n")  # not even HTTP
    send(b"GET /livez HTTP/1.1\r\n" + headers + b"\r\n")
    served.terminate()
    written += served.communicate(timeout=10)[1]

    lines = lines_of(written.decode())
    for line in lines:
        assert list(line)[:4] == ["time", "level", "logger", "message"]
    requests = [line for line in lines if line["logger"] == "shinchoku.requests"]
    assert [(line["method"], line["path"], line["query"], line["status"]) for line in requests] == [
        (
            "GET",
            '/plans/\r\n{"level":"info"}\x1b[31m\x00\x7f\x85\u2028\u2029\ufffd',
            f"q={HOSTILE}",
            422,
        ),
        ("GET", "/livez", "", 200),
    ]


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What is logged while the test runs, as the service would write it."""
    written = StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


def test_a_fault_is_one_line_of_the_log_with_all_that_is_known_of_it(faulty: httpx.Client, log: StringIO):
    assert faulty.get(f"/fails/{HOSTILE}").status_code == 500
    (line,) = [line for line in lines_of(log.getvalue()) if line["message"] == "unforeseen"]
    assert (line["level"], line["logger"]) == ("error", "shinchoku.requests")
    assert line["path"] == '/fails/\r\n{"level":"info"}\x1b[31m\x00\x7f\x85\u2028\u2029\ufffd'
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("RuntimeError: SELECT secret FROM api_key -- /var/lib/shinchoku.db")
