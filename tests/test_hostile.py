"""Whatever is sent, on every parameter and in every field that the OpenAPI text names, the answer is a clean one:
never a 5xx, never a dropped connection, every refusal a problem with the documented members, and nothing leaks.

Of the longest lists every second probe goes to SQLite and the others to PostgreSQL, place by place the other way
round; with SHINCHOKU_PROVE=1 all go to both.
"""

import gzip
import json
import re
import socket
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest

from app.kit.settings import ROOT
from tests.conftest import Backend, Service, started
from tests.promises.conftest import FULL

# ---------------------------------------------------------------------------------------------------------
# What is sent: texts for every parameter and string, JSON for every field, whole bodies, headers

TEXTS = {
    "nothing": "",
    "a blank": " ",
    "full-width blanks": "　　",
    "NUL": "\0",
    "a control character": "a\x01b",
    "delete": "a\x7fb",
    "a C1 control": "a\x85b",
    "escape": "\x1b[31mred\x1b[0m",
    "a tab": "a\tb",
    "newlines": "a\nb\r\nc\rd",
    "a header": "a\r\nX-Injected: yes\r\n\r\n<script>",
    "line separators": "a\u2028b\u2029c",
    "half a surrogate pair": "\ud800",
    "the other half": "a\udfffb",
    "a byte order mark": "\ufeffa",
    "noncharacters": "\ufffe\uffff\U0010ffff",
    "the replacement character": "\ufffd",
    "right to left": "\u202eabc\u202c\u2067def\u2069",
    "zero width": "a\u200b\u200c\u200d\u2060b",
    "ten thousand marks": "e" + "\u0301" * 10_000,
    "marks alone": "\u0301\u20dd\ufe0f",
    "sharp s and dotless i": "ßıİŉ",
    "characters beyond the first plane": "𠮷野家𩸽",
    "variants": "葛\U000e0100飾",
    "full-width digits": "１２３",
    "other digits": "٣४๓",
    "a superscript": "²",
    "zero": "0",
    "the text -0": "-0",
    "minus one": "-1",
    "underscores": "1_000",
    "an exponent": "1e3",
    "the text 1.0": "1.0",
    "the digits of 2^31": str(2**31),
    "2^53 - 1": str(2**53 - 1),
    "2^63 - 1": str(2**63 - 1),
    "the digits of 2^63": str(2**63),
    "-2^63 - 1": str(-(2**63) - 1),
    "the digits of 2^64": str(2**64),
    "20 digits": "9" * 20,
    "text of 5,000 digits": "9" * 5_000,
    "not a number": "NaN",
    "the text 1e400": "1e400",
    "the word null": "null",
    "the text of an object": '{"a":1}',
    "a dunder": "__class__",
    "a template": "{{7*7}}${7*7}%{7*7}#{7*7}",
    "format fields": "{0}{en}{ja}{min_length}%s%n%(x)s",
    "sql": "'; drop table plan; --",
    "union sql": "') union select secret_sha256 from api_key--",
    "sleeping sql": "1' and pg_sleep(9)--",
    "a backslash": "\\",
    "wildcards": "%_*?[a-z]",
    "a percent sign": "%",
    "full text operators": 'a AND (b OR NOT "c") NEAR d* | !e <-> f:*',
    "an unclosed quote": '"支援',
    "slashes": "a/b//c",
    "the way up": "../../../../etc/passwd",
    "a file": "file:///etc/passwd",
    "another host": "http://127.0.0.1:22/",
    "a script": "<script>alert(1)</script>",
    "a formula": "=cmd|' /c calc'!A0",
    "a hyphen alone": "-",
    "commas": ",",
    "commas around": ",a,,b,",
    "a thousand commas": "id," * 1_000,
    "many terms": "a " * 90,
    "an era that is none": "昭和99年度",
    "a year without an era": "29",
    "contradicting years": "平成29(2018)年度",
    "a year long gone": "0001",
    "a code with a wrong check digit": "112357",
    "a cursor of nothing": "AAAA",
    "a cursor that is no base64": "!!!=",
    "a cursor of null": "AAAAAAAAAAAAbnVsbA",
    "65 characters": "a" * 65,
    "501 characters": "a" * 501,
    "10,001 characters": "あ" * 2_000 + "a" * 8_001,
}

# Queries and paths as no client would encode them.
ENCODINGS = {
    "a byte that is no UTF-8": "%ff",
    "half a character": "%e3%81",
    "an overlong slash": "%c0%af",
    "an overlong NUL": "%e0%80%80",
    "a surrogate in bytes": "%ed%a0%80",
    "beyond Unicode": "%f4%90%80%80",
    "Shift_JIS": "%8ex%89%87",
    "a bare percent sign": "%",
    "no hexadecimal": "%zz",
    "encoded twice": "%2500%252e%252e%252f",
    "encoded CRLF": "%0d%0aX-Injected:%20yes",
    "encoded slashes": "%2f..%2f..%2fetc%2fpasswd",
    "a plus": "+",
    "a semicolon": "a;b=c",
    "an ampersand and an equals sign": "a&b=&=c&&",
    "brackets": "[]=1",
}

# JSON as it is written, for every field.
VALUES = {
    "null": "null",
    "true": "true",
    "a number": "12",
    "a negative number": "-1",
    "minus zero": "-0",
    "a fraction": "1.5",
    "a whole fraction": "3.0",
    "2^31": str(2**31),
    "2^53": str(2**53),
    "2^63": str(2**63),
    "2^64": str(2**64),
    "-2^64": str(-(2**64)),
    "1e400": "1e400",
    "-1e400": "-1e400",
    "1e-400": "1e-400",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "5,000 digits": "9" * 5_000,
    "an escaped surrogate": '"\\ud800"',
    "an escaped NUL": '"\\u0000"',
    "a surrogate pair in two escapes": '"\\ud83d\\ude00"',
    "an escape that is none": '"\\x41"',
    "raw control characters": '"\x01\x02"',
    "an empty list": "[]",
    "a list": "[1]",
    "a list of null": "[null]",
    "a list of lists": "[[[]]]",
    "a long list": "[" + "1," * 5_000 + "1]",
    "a list of everything": '["a", 1, null, true, {}, [], "a", "a"]',
    "an empty object": "{}",
    "an object": '{"a": 1}',
    "an object with an empty name": '{"": ""}',
    "an object with a NUL in a name": '{"\\u0000": "a"}',
    "an object with half a pair for a name": '{"\\ud800": "a"}',
    "an object with a dunder": '{"__proto__": {"a": 1}, "__class__": "a"}',
    "a name twice": '{"a": "1", "a": "2"}',
    "a pointer for a name": '{"a/b~c": [1], "~1": {}}',
    "1,000 deep": "[" * 1_000 + "]" * 1_000,
}

# The same where a single field is enough.
LARGE = {
    "500,000 digits": "9" * 500_000,
    "many names": "{" + ",".join(f'"{n}":"{n}"' for n in range(5_000)) + "}",
    "100,000 deep": "[" * 100_000 + "]" * 100_000,
    "100,000 objects deep": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a million characters": '"' + "a" * 1_000_000 + '"',
}

JSON_BODY = "application/json"
BODIES: dict[str, tuple[str | None, bytes]] = {
    "nothing": (JSON_BODY, b""),
    "blanks": (JSON_BODY, b" \r\n\t "),
    "null": (JSON_BODY, b"null"),
    "true": (JSON_BODY, b"true"),
    "a number": (JSON_BODY, b"1"),
    "a string": (JSON_BODY, b'"a"'),
    "a list": (JSON_BODY, b"[]"),
    "a list of objects": (JSON_BODY, b"[{}, {}]"),
    "NaN": (JSON_BODY, b"NaN"),
    "half of it": (JSON_BODY, b'{"title": "a'),
    "only a brace": (JSON_BODY, b"{"),
    "too many braces": (JSON_BODY, b"{}}"),
    "two objects": (JSON_BODY, b"{}{}"),
    "a comment": (JSON_BODY, b'{} // "a"'),
    "a trailing comma": (JSON_BODY, b'{"title": "a",}'),
    "single quotes": (JSON_BODY, b"{'title': 'a'}"),
    "a form": (JSON_BODY, b"title=a&slug=b"),
    "bytes that are no UTF-8": (JSON_BODY, b'{"title": "\xff\xfe"}'),
    "overlong UTF-8": (JSON_BODY, b'{"title": "\xc0\x80"}'),
    "a surrogate in bytes": (JSON_BODY, b'{"title": "\xed\xa0\x80"}'),
    "Shift_JIS": (JSON_BODY, '{"title": "支援"}'.encode("cp932")),
    "a byte order mark": (JSON_BODY, b'\xef\xbb\xbf{"title": "a"}'),
    "UTF-16": (JSON_BODY, '{"title": "支援"}'.encode("utf-16")),
    "UTF-16 without a mark": (JSON_BODY, '{"title": "支援"}'.encode("utf-16-be")),
    "UTF-32": (JSON_BODY, '{"title": "支援"}'.encode("utf-32")),
    "NUL bytes": (JSON_BODY, b"\0" * 100),
    "every byte": (JSON_BODY, bytes(range(256))),
    "100,000 lists deep": (JSON_BODY, b"[" * 100_000),
    "100,000 objects deep": (JSON_BODY, b'{"a":' * 100_000),
    "a name 10,000 times": (JSON_BODY, b"{" + b",".join([b'"title": "a"'] * 10_000) + b"}"),
    "20,000 unknown names": (
        JSON_BODY,
        b"{" + b",".join(b'"%d": %d' % (n, n) for n in range(20_000)) + b"}",
    ),
    "unknown names with control characters": (JSON_BODY, b'{"\\u0000\\u001b[31m\\ud800": 1, "\\u202e": 2}'),
    "an unknown name of 100,000 characters": (JSON_BODY, b'{"' + b"a" * 100_000 + b'": 1}'),
    "gzip": (JSON_BODY, gzip.compress(b'{"title": "a"}')),
    "no media type": (None, b"{}"),
    "an empty media type": ("", b"{}"),
    "a media type that is none": ("json", b"{}"),
    "only a slash": ("/", b"{}"),
    "plain text": ("text/plain", b"{}"),
    "a form's media type": ("application/x-www-form-urlencoded", b"title=a"),
    "a multipart form": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n',
    ),
    "a multipart form without a boundary": ("multipart/form-data", b"{}"),
    "XML": ("application/xml", b"<a/>"),
    "octets": ("application/octet-stream", b"{}"),
    "JSON lines": ("application/jsonl", b"{}\n{}"),
    "JSON patch": ("application/json-patch+json", b'[{"op": "remove", "path": "/title"}]'),
    "another charset": ("application/json; charset=utf-16", '{"title": "a"}'.encode("utf-16")),
    "a charset that is none": ("application/json; charset=nonsense", b"{}"),
    "broken parameters": ('application/json; charset="; =;;', b"{}"),
    "capitals": ("APPLICATION/JSON", b"{}"),
    "two media types": ("application/json, text/plain", b"{}"),
    "a very long media type": ("application/json; a=" + "b" * 10_000, b"{}"),
    "a media type in Japanese": ("application/ジェイソン", b"{}"),
}
# JSON all the same, if the service is so kind; all others must be refused.
UNDERSTOOD = {
    "a byte order mark",
    "UTF-16",
    "UTF-16 without a mark",
    "UTF-32",
    "a name 10,000 times",
    "capitals",
}
UNDERSTOOD |= {"another charset", "a charset that is none", "broken parameters", "a very long media type"}
COMPRESSED = {
    "gzip": gzip.compress(b'{"title": "a"}'),
    "gzip of zeros": gzip.compress(b"0" * 10_000_000),
    "deflate": zlib.compress(b'{"title": "a"}'),
    "br": b"\x0b\x02\x80{}\x03",
    "identity": b"{}",
    "gzip, gzip": gzip.compress(gzip.compress(b"{}")),
    "nonsense": b"{}",
}

SIGNS = {
    "nothing": b"",
    "a star": b"*",
    "stars": b"*, *",
    "a word": b"a",
    "a quote": b'"',
    "empty quotes": b'""',
    "a tag": b'"a"',
    "a weak tag": b'W/"a"',
    "a weak star": b"W/*",
    "a tag in single quotes": b"'a'",
    "commas": b",,,,",
    "tags": b'"a", W/"b" , "c,d", "e',
    "ten thousand commas": b"," * 10_000,
    "five thousand tags": b'"a",' * 5_000,
    "a number": b"1",
    "2^64": str(2**64).encode(),
    "blanks": b"  \t ",
    "bytes that are no UTF-8": b'"\xff\xfe"',
    "Latin letters": b"\xe9\xe8",
    "Japanese": "支援".encode(),
    "right to left": "\u202eabc".encode(),
    "sql": b"' or 1=1 --",
    "a template": b"{{7*7}}${jndi:ldap://127.0.0.1/a}",
    "semicolons": b";;;q=1",
    "English with a weight that is none": b"en;q=abc, ja;q=NaN",
    "English with weights beyond bounds": b"en;q=1e400, ja;q=-1",
    "five thousand languages": b"en-US;q=0.1," * 5_000,
    "every language": b"*",
    "a key's beginning": b"Bearer",
    "a key of nothing": b"Bearer ",
    "a key of blanks": b"Bearer     ",
    "a key that is none": b"Bearer a",
    "a key that nobody holds": b"Bearer shk_00000000_" + b"0" * 64,
    "a key with capitals": b"bEaReR SHK_00000000_" + b"A" * 64,
    "a key in full width": "Bearer ｓｈｋ_００００００００_".encode() + "０".encode() * 64,
    "a key with other digits": "Bearer shk_٣٣٣٣٣٣٣٣_".encode() + b"0" * 64,
    "a key with a newline's escape": b"Bearer shk_00000000_" + b"0" * 63 + b"%0a",
    "a long key": b"Bearer shk_" + b"0" * 10_000,
    "two keys": b"Bearer a, Bearer b",
    "a name and a password": b"Basic YTpi",
    "a broken password": b"Basic \xff",
    "a digest": b'Digest username="a"',
    "a range": b"bytes=0-0",
    "many ranges": b"bytes=" + b"0-," * 1_000,
    "a range beyond": b"bytes=99999999999999999999-",
    "a range back": b"bytes=9-0",
    "a date": b"Mon, 23 Nov 2026 00:00:00 GMT",
    "a date that is none": b"Mon, 99 Nov 99999 99:99:99 GMT",
    "an address": b"http://127.0.0.1/",
    "large": b"a" * 30_000,
}
HEADERS = (
    "Authorization", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range",
    "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Content-Type", "Content-Encoding",
    "Content-Language", "Content-MD5", "Cookie", "Date", "Expect", "Forwarded", "From", "Origin", "Prefer",
    "Referer", "TE", "Upgrade", "User-Agent", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
    "X-HTTP-Method-Override", "X-Original-URL", "X-Request-ID",
)  # fmt: skip

HEEDED = {
    "Authorization", "If-None-Match", "If-Modified-Since", "If-Range", "Range", "Accept", "Accept-Encoding",
    "Accept-Language", "Origin",
}  # fmt: skip
HEEDED_BY_WRITES = {
    "Authorization",
    "If-Match",
    "If-None-Match",
    "Content-Type",
    "Content-Encoding",
    "Expect",
}
FOR_OTHERS = {
    "nothing",
    "a template",
    "bytes that are no UTF-8",
    "Japanese",
    "five thousand tags",
    "large",
    "2^64",
}
KINDS = (
    "/evaluations?limit=1",
    "/evaluations/summary",
    "/plans?limit=0",
    "/documents/1/content",
    "/docs",
    "/nothing",
)

TARGETS = (
    "/plans/../../../../etc/passwd", "/plans/..%2f..%2fetc%2fpasswd", "/plans/%2e%2e/%2e%2e/etc/passwd",
    "/documents/1/content/../../../../etc/passwd", "/documents/..%2f1/content", "/documents/1%2fcontent",
    "/docs/assets/../../../../../etc/passwd", "/docs/assets/..%2f..%2f..%2f..%2fmodels.py",
    "/docs/assets/%2e%2e/%2e%2e/%2e%2e/docs.py", "/docs/assets/..%5c..%5cdocs.py", "/docs/assets/%00",
    "/docs/assets//etc/passwd", "/docs/assets/", "/docs/assets", "/docs/assets/" + "a" * 5_000,
    "/docs/assets/%ff", "/docs/assets/a%0d%0aX-Injected:%20yes", "/docs/assets/./././swagger-ui.css/..",
    "/docs/problems/../../app/main.py", "/docs/problems/nothing", "//plans", "/plans/", "/plans//", "/plans//1",
    "/plans/1/", "/plans/1//history", "/plans/1;a=b", "/plans;a=b", "/plans/.", "/plans/..", "/./plans", "/PLANS",
    "/plans%20", "/plans%00", "/%00", "/%ff", "/%", "/%2f", "/%2e", "/plans%2f1", "/plans?", "/plans?&", "/plans?=",
    "/plans?&&=&", "/plans?a", "/plans?limit", "/plans?limit=1&limit=2", "/plans?limit=1&Limit=2",
    "/plans?limit[]=1", "/plans?limit%5b0%5d=1", "/plans?%00=1", "/plans?%ff=1", "/plans?%0d%0aX-Injected:yes=1",
    "/plans?" + "a" * 30_000, "/plans?" + "&".join(f"a{n}=1" for n in range(2_000)), "/plans?" + "&" * 30_000,
    "/plans?" + "q=a&" * 2_000, "/" + "a" * 30_000, "/" + "a/" * 10_000, "/plans/" + "%61" * 5_000,
    "/evaluations/summary/", "/evaluations/summary/history", "/evaluations/Summary", "/measures/1/timeline/1",
    "/plans/1/transitions", "/plans/1/transitions?from=H29", "/plans.csv", "/plans.", "/plans.json.json",
    "/.env", "/.git/config", "/shinchoku.db", "/app/main.py", "/wp-login.php", "/cgi-bin/;id", "/admin",
    "/api/v1/plans", "/openapi.json/..", "/openapi.yaml", "/favicon.ico", "/robots.txt", "/metrics",
    "http://another.example/plans", "/\u202eplans", "/計画", "/plans/計画",
)  # fmt: skip
METHODS = (
    "TRACE",
    "PUT",
    "CONNECT",
    "PROPFIND",
    "PURGE",
    "SEARCH",
    "MERGE",
    "LOCK",
    "LINK",
    "M-SEARCH",
    "QUERY",
)

# ---------------------------------------------------------------------------------------------------------
# How it is sent: as bytes, for no client would send most of this


Headers = dict[str, str | bytes | None]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection that is kept; when the service closes it without a word, that is an error here."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.key = service.key("admin")
        self.address = (service.anyone.base_url.host, service.anyone.base_url.port)
        self.socket: socket.socket | None = None

    def ask(
        self,
        method: str,
        target: str,
        headers: Headers | None = None,
        body: bytes | None = None,
    ) -> Answer:
        given = {"Host": "shinchoku.example", "Authorization": f"Bearer {self.key}", **(headers or {})}
        if body is not None:
            given["Content-Length"] = str(len(body))
        lines = [f"{method} {quote(target, safe=PRINTABLE)} HTTP/1.1".encode()]
        for name, value in given.items():
            if value is not None:
                lines.append(
                    name.encode() + b": " + (value if isinstance(value, bytes) else value.encode("utf-8"))
                )
        return self.send(b"\r\n".join([*lines, b"", body or b""]), method)

    def send(self, request: bytes, method: str = "GET") -> Answer:
        fresh = self.socket is None
        if self.socket is None:
            self.socket = socket.create_connection(self.address, timeout=30)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        response = HTTPResponse(self.socket, method=method)
        try:
            self.socket.sendall(request)
            response.begin()
            body = response.read()
        except (OSError, HTTPException) as error:
            self.close()
            if fresh or not isinstance(error, ConnectionError):
                raise AssertionError(f"no answer to {request[:300]!r}: {error!r}") from error
            return self.send(request, method)  # the connection had been closed after the answer before
        headers = {name.lower(): value for name, value in response.getheaders()}
        if response.will_close:
            self.close()
        return Answer(response.status, headers, body)

    def close(self) -> None:
        if self.socket:
            self.socket.close()
        self.socket = None


PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))


@contextmanager
def wire(service: Service) -> Iterator[Wire]:
    opened = Wire(service)
    try:
        yield opened
    finally:
        opened.close()


# ---------------------------------------------------------------------------------------------------------
# What is a clean answer

MEMBERS = {"type", "title", "status", "detail", "instance", "errors", "existing", "report"}
INSIDE = re.compile(
    rb"traceback|sqlalchemy|psycopg|sqlite3?\b|pydantic|starlette|fastapi|uvicorn|site-packages|\bSELECT\b|\bINSERT\b"
    rb"|\.py\b|object at 0x|root:x:|" + re.escape(str(ROOT).encode()),
    re.IGNORECASE,
)
QUOTED = re.compile(rb"[./\\\w%-]*(models|docs|main)\.py|union select")  # our own words, quoted back


def faults(answer: Answer) -> Iterator[str]:
    """What is not clean about an answer."""
    if answer.status >= 500:
        yield f"{answer.status}"
    if "x-injected" in answer.headers:
        yield "a header of ours in the answer"
    if any(not char.isprintable() and char != "\t" for value in answer.headers.values() for char in value):
        yield f"control characters in the headers: {answer.headers!r}"
    if answer.status < 400:
        return
    if answer.headers.get("content-type") != "application/problem+json":
        yield f"{answer.status} as {answer.headers.get('content-type')}"
        return
    problem = json.loads(answer.body)
    if not {"type", "title", "status", "detail", "instance"} <= problem.keys() <= MEMBERS:
        yield f"members {sorted(problem)}"
    if problem.get("status") != answer.status:
        yield f"says {problem.get('status')} with status {answer.status}"
    if answer.status == 422 and not problem.get("errors"):
        yield "422 without errors"
    for error in problem.get("errors", []):
        known = {"parameter", "pointer", "detail", "sheet", "line", "column", "text"}
        if not error.keys() <= known or "detail" not in error:
            yield f"an error of {sorted(error)}"
        if not {"parameter", "pointer", "line"} & error.keys():
            yield "an error that is nowhere"
        if not re.fullmatch("(/([^~]|~[01])*)?", error.get("pointer", ""), re.DOTALL):
            yield f"{error['pointer']!r} is no JSON pointer"
        if error.get("pointer", "").endswith("/[key]"):
            yield f"{error['pointer']!r} leads nowhere"
    raw = [char for text in texts(problem) for char in text if not char.isprintable() and char != "\u3000"]
    if raw:
        yield f"{raw[:9]!r} quoted as they came"
    if leaked := INSIDE.search(QUOTED.sub(b"", answer.body)):
        yield f"{leaked[0]!r} leaks"
    if len(answer.body) > 50_000:
        yield f"a problem of {len(answer.body)} bytes"


def texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, inner in value.items():
                yield name
                yield from texts(inner)
        case list():
            for inner in value:
                yield from texts(inner)


class Findings(list[str]):
    """Collects what is not clean, so that one run shows all of it."""

    sent = 0

    def look(self, said: str, answer: Answer) -> Answer:
        self.sent += 1
        for fault in faults(answer):
            self.append(f"{said}: {fault}\n    {answer.body[:300].decode('utf-8', 'replace')}")
        return answer

    def are_none(self, at_least: int) -> None:
        print(f"{self.sent} requests")
        assert not self, f"{len(self)} of {self.sent}:\n" + "\n".join(self[:40])
        assert self.sent >= at_least


# ---------------------------------------------------------------------------------------------------------
# Where it is sent: everything that the OpenAPI text names

VALID = {
    "id": "1",
    "from": "H29",
    "to": "H30",
    "form": "tsv",
    "fiscal_year": "H29",
}


class Route(NamedTuple):
    method: str
    path: str
    operation: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.operation["operationId"])

    def target(self, probed: str = "", value: str = "") -> str:
        """The address with one parameter hostile and the required ones good."""
        path, query = self.path, []
        for parameter in self.operation.get("parameters", []):
            name, place = parameter["name"], parameter["in"]
            shown = value if name == probed else VALID.get(name, "")
            if place == "path":
                path = path.replace(f"{{{name}}}", shown)
            elif place == "query" and (name == probed or parameter["required"]):
                query.append(f"{name}={shown}")
        return path + ("?" + "&".join(query) if query else "")


def routes(service: Service) -> list[Route]:
    text = service.anyone.get("/openapi.json").json()
    return [
        Route(method.upper(), path, operation)
        for path, methods in text["paths"].items()
        for method, operation in methods.items()
    ]


def escaped(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def probes_of_parameters() -> dict[str, str]:
    return {name: escaped(text) for name, text in TEXTS.items()} | ENCODINGS


Place = tuple[str | int, ...]


def choices(text: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    while "$ref" in schema:
        schema = text["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    yield schema
    for choice in schema.get("anyOf", []):
        yield from choices(text, choice)


def fields(text: dict[str, Any], schema: dict[str, Any], place: Place = ()) -> Iterator[tuple[Place, bool]]:
    """Every place in a body, and whether text may stand there: fields, items of lists, their fields, values of maps."""
    for choice in choices(text, schema):
        below: dict[str | int, dict[str, Any]] = dict(choice.get("properties", {}))
        if "items" in choice:
            below[0] = choice["items"]
        if place and choice.get("type") == "object" and not below:
            below["所管"] = {"type": "string"}
        for step, inner in below.items():
            yield (*place, step), any(it.get("type") == "string" for it in choices(text, inner))
            yield from fields(text, inner, (*place, step))


HOLE = "a value that stands for another one"


def with_hole(body: dict[str, Any], place: Place) -> str:
    """The body as JSON text, with a hole where something else is to stand."""
    inner: Any = HOLE
    for step in reversed(place):
        item = {"code": "A", **inner} if isinstance(inner, dict) else inner
        inner = [item] if step == 0 else {step: inner}
    return json.dumps({**body, **inner})


def headers_of(route: Route) -> Headers:
    """A row must stay as it is when only its address is probed: nobody has seen it with this tag."""
    seen = {"If-Match": '"seen by nobody"'} if route.method in ("PATCH", "DELETE") else {}
    if (
        route.path == "/imports"
    ):  # a file of no kind: what is asked with it is looked at, and no process begun
        return {}
    return {**seen, **({"Content-Type": JSON_BODY} if "requestBody" in route.operation else {})}


# ---------------------------------------------------------------------------------------------------------


def test_there_are_enough_probes():
    assert len(TEXTS | ENCODINGS) == len(TEXTS) + len(ENCODINGS) >= 80
    assert len(TEXTS | VALUES | LARGE) == len(TEXTS) + len(VALUES) + len(LARGE) >= 80


Share = Callable[[dict[str, Any], int], dict[str, Any]]


@pytest.fixture(scope="session")
def share(backend: Backend) -> Share:
    """This database's share of what is sent to a place; places are counted, so that they take turns."""
    turn = int(backend.name == "postgresql")
    return lambda probes, place: probes if FULL else dict(list(probes.items())[(turn + place) % 2 :: 2])


def test_every_parameter_of_every_route(library: Service, share: Share):
    found = Findings()
    asked: Counter[str] = Counter()
    probes = probes_of_parameters()
    with wire(library) as line:
        for route in routes(library):
            body = b"{}" if "requestBody" in route.operation else None
            for parameter in route.operation.get("parameters", []):
                as_list = "{form}" in route.path and parameter["name"] not in ("form", "encoding")
                if parameter["in"] == "header" or as_list:  # a file takes the filters of its list
                    continue
                # One that other routes have as well is sent all of it once, and a third on each of them.
                asked[parameter["name"]] += 1
                place = asked.total()
                some = probes if asked[parameter["name"]] == 1 else dict(list(probes.items())[place % 3 :: 3])
                for name, value in share(some, place).items():
                    said = f"{route.method} {route.path} with {name} as {parameter['name']}"
                    target = route.target(parameter["name"], value)
                    found.look(said, line.ask(route.method, target, headers_of(route), body))
        assert line.ask("GET", "/readyz").status == 200
    found.are_none(at_least=1_500)


@pytest.fixture
def own_rows(admin: httpx.Client) -> dict[str, str]:
    """A plan with a row of each kind that may be written over, by the path of its noun."""
    plan = {
        "slug": "probed",
        "title": "計画",
        "municipality_code": "112011",
        "municipality": "川越市",
    }
    made = {}
    for noun, row in {
        "plans": plan,
        "sections": {"plan": "probed", "code": "1"},
        "measures": {"plan": "probed", "section": "1", "code": "1-1", "title": "施策"},
        "evaluations": {"plan": "probed", "measure_code": "1-1", "fiscal_year": 2017},
    }.items():
        answer = admin.post(f"/{noun}", json=row)
        assert answer.status_code == 201, answer.text
        made[noun] = answer.headers["Location"]
    return made


def test_every_field_of_every_body(town: Service, own_rows: dict[str, str], share: Share):
    found = Findings()
    text = town.anyone.get("/openapi.json").json()
    number = count(1)
    with wire(town) as line:
        for route in routes(town):
            content = route.operation.get("requestBody", {}).get("content", {}).get(JSON_BODY)
            if content is None or content["schema"].get("type") == "array":  # a file
                continue
            noun = route.path.split("/")[1]
            target = route.path if route.method == "POST" else own_rows[noun]
            headers: Headers = {
                "Content-Type": JSON_BODY,
                "If-Match": "*" if route.method == "PATCH" else None,
            }
            places = dict(fields(text, content["schema"]))
            assert len(places) >= 3
            for at, (place, takes_text) in enumerate(places.items()):
                # A change takes the same fields as a new row: there, each is sent another third of the texts.
                third = list(TEXTS)[at % 3 :: 3] if route.method == "PATCH" else TEXTS
                probes = {name: json.dumps(TEXTS[name]) for name in third} if takes_text else {}
                for name, value in share(probes | VALUES | (LARGE if at == 0 else {}), at).items():
                    body = dict(content["example"])
                    for key in ("slug", "code"):  # so that a value is not refused for an older row's sake
                        if key in body:
                            body[key] = f"p-{next(number)}"
                    said = f"{route.method} {route.path} with {name} at {place}"
                    raw = with_hole(body, place).replace(json.dumps(HOLE), value).encode("utf-8")
                    answer = found.look(said, line.ask(route.method, target, headers, raw))
                    if answer.status < 300 and name in TEXTS and place[0] not in READ_FREELY:
                        kept = json.loads(answer.body)
                        for step in place:
                            kept = kept[step]
                        assert kept == TEXTS[name], said
        for noun, rows in everything(line):
            found.look(f"all {noun}", rows)
            assert rows.status == 200
    found.are_none(at_least=1_900)


READ_FREELY = ("municipality_code", "fiscal_year", "first_fiscal_year", "last_fiscal_year")


def everything(line: Wire) -> Iterator[tuple[str, Answer]]:
    """Every page of every list: what has been accepted can be read."""
    for noun in ("plans", "sections", "measures", "evaluations", "documents"):
        cursor: str | None = ""
        while cursor is not None:
            page = line.ask("GET", f"/{noun}?limit=1000" + (f"&cursor={cursor}" if cursor else ""))
            yield noun, page
            cursor = json.loads(page.body)["metadata"]["resultset"]["next"]


def test_names_in_bodies(town: Service, own_rows: dict[str, str]):
    found = Findings()
    headers: Headers = {"Content-Type": JSON_BODY, "If-Match": "*"}
    with wire(town) as line:
        for name, key in TEXTS.items():
            for noun, target in own_rows.items():
                said = f"{noun} with {name} as a field"
                answer = found.look(said, line.ask("PATCH", target, headers, json.dumps({key: "a"}).encode()))
                if answer.status != 422:
                    found.append(f"{said}: {answer.status}")
            for value in ("a", None):  # and away again: there may be fifty
                said = f"a column named {name} with {value}"
                patch = json.dumps({"extra": {key: value}}).encode()
                answer = found.look(said, line.ask("PATCH", own_rows["evaluations"], headers, patch))
                if answer.status == 200:
                    assert json.loads(answer.body)["extra"] == ({key: value} if value else {}), said
    found.are_none(at_least=400)


def test_whole_bodies(town: Service, own_rows: dict[str, str], share: Share):
    found = Findings()
    with wire(town) as line:
        for place, route in enumerate(routes(town)):
            target = own_rows.get(route.path.split("/")[1]) if "{id}" in route.path else route.path
            if route.method not in ("POST", "PATCH") or target is None:
                continue
            for name, (media_type, body) in share(BODIES, place).items():
                headers: Headers = {"Content-Type": media_type, "If-Match": "*"}
                answer = found.look(
                    f"{route.method} {route.path} with {name}", line.ask(route.method, target, headers, body)
                )
                assert answer.status >= 400 or name in UNDERSTOOD, f"{route.method} {name}"
            for coding, body in share(COMPRESSED, place).items():
                headers = {"Content-Type": JSON_BODY, "Content-Encoding": coding, "If-Match": "*"}
                found.look(
                    f"{route.method} {route.path} in {coding}", line.ask(route.method, target, headers, body)
                )
    found.are_none(at_least=200)


def test_bodies_where_none_is_expected(library: Service, share: Share):
    found = Findings()
    with wire(library) as line:
        for place, route in enumerate(routes(library)):
            if "requestBody" not in route.operation:
                for name, (media_type, body) in share(BODIES, place).items():
                    headers = {**headers_of(route), "Content-Type": media_type}
                    said = f"{route.method} {route.path} with {name}"
                    found.look(said, line.ask(route.method, route.target(), headers, body))
    found.are_none(at_least=500)


def test_headers(town: Service, own_rows: dict[str, str], share: Share):
    found = Findings()
    with wire(town) as line:
        for place, header in enumerate(HEADERS):
            for name, value in share(SIGNS, place).items():
                if header not in HEEDED | HEEDED_BY_WRITES and name not in FOR_OTHERS:
                    continue
                for method, target, body in (
                    ("GET", "/plans/1", None),
                    *(((("PATCH", own_rows["sections"], b"{}"),)) if header in HEEDED_BY_WRITES else ()),
                    *((("GET", target, None) for target in KINDS) if header in HEEDED else ()),
                ):
                    given: Headers = {"Content-Type": JSON_BODY, "If-Match": "*", header: value}
                    found.look(
                        f"{method} {target} with {name} as {header}", line.ask(method, target, given, body)
                    )
        for place, tag in enumerate(("If-Match", "If-None-Match", "Authorization")):
            for name, value in share(SIGNS, place).items():
                given = {"Content-Type": JSON_BODY, "If-Match": "*", tag: value}
                said = f"DELETE with {name} as {tag}"
                answer = found.look(said, line.ask("DELETE", "/plans/999999", given))
                assert answer.status in (401, 404), said
    found.are_none(at_least=1_200)


def test_a_page_of_another_site_asks_first(library: Service):
    found = Findings()
    with wire(library) as line:
        for name, value in SIGNS.items():
            for header in ("Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"):
                given: Headers = {
                    "Origin": "https://another.example",
                    "Access-Control-Request-Method": "PATCH",
                    "Access-Control-Request-Headers": "if-match",
                    header: value,
                }
                for target in ("/plans/1", "/nothing"):
                    said = f"OPTIONS {target} with {name} as {header}"
                    found.look(said, line.ask("OPTIONS", target, given))
    found.are_none(at_least=200)


def test_keys_that_are_none(town: Service, own_rows: dict[str, str], share: Share):
    found = Findings()
    with wire(town) as line:
        for place, route in enumerate(routes(town)):
            if route.operation.get("security"):
                for name, value in share(SIGNS, place).items():
                    given = {**headers_of(route), "Authorization": value}
                    body = b"{}" if "requestBody" in route.operation else None
                    said = f"{route.method} {route.path} with {name} as a key"
                    answer = found.look(said, line.ask(route.method, route.target(), given, body))
                    assert answer.status == 401, said
                    assert answer.headers["www-authenticate"].startswith("Bearer"), said
    found.are_none(at_least=250)


def test_addresses_and_methods(library: Service):
    found = Findings()
    addresses = [*TARGETS, *(route.target() for route in routes(library)), "/", "/docs", "/openapi.json"]
    with wire(library) as line:
        for target in addresses:
            for method in ("GET", "HEAD", "OPTIONS", "POST", "PATCH", "DELETE", *METHODS):
                if method == "CONNECT":
                    continue
                said = f"{method} {target[:100]}"
                answer = line.ask(method, target, {"Authorization": None})
                if method == "HEAD":  # has no body to look at
                    assert answer.status < 500, said
                    assert answer.body == b"", said
                    continue
                found.look(said, answer)
                if method in METHODS:
                    assert answer.status in (404, 405), f"{said}: {answer.status}"
                if answer.status == 405:
                    allowed = answer.headers["allow"].split(", ")
                    assert method not in allowed, said
                    assert "GET" in allowed or "POST" in allowed, said
    found.are_none(at_least=1_500)


@pytest.fixture
def narrow(backend: Backend) -> Iterator[Service]:
    url = backend.seeded()
    with started(url, max_body_bytes=1_000, max_import_bytes=1_000) as service:
        yield service
    backend.drop(url)


def test_bodies_beyond_the_limit(narrow: Service):
    """Whether its length is declared or not; the answer comes although the rest is never read."""
    found = Findings()
    with wire(narrow) as line:
        for route in routes(narrow):
            head = f"{route.method} {route.target()} HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON_BODY}\r\n"
            head += f'Authorization: Bearer {line.key}\r\nIf-Match: "a"\r\n'
            declared = [1_001, 10**9, 2**31, 2**32, 2**53, 2**63 - 1]
            for length in declared if "requestBody" in route.operation else declared[:1]:
                answer = line.send(f"{head}Content-Length: {length}\r\n\r\n".encode())
                found.look(f"{route.method} {route.path}: {length} bytes", answer)
                assert answer.status == 413
                line.close()
            if "requestBody" in route.operation:
                chunks = b"".join(b"%x\r\n%s\r\n" % (100, b" " * 100) for _ in range(11))
                answer = line.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks)
                found.look(f"{route.method} {route.path}: 1,100 bytes in chunks", answer)
                assert answer.status == 413
                line.close()
        assert line.ask("GET", "/readyz").status == 200
    found.are_none(at_least=60)


def test_a_body_full_of_mistakes_costs_little(town: Service):
    """However many there are: the processor's time is measured, and not the clock of a busy machine."""
    plan = {"slug": "p", "title": "計画", "municipality_code": "112356", "municipality": "富士見市"}
    row = {"plan": "fujimi-yumetsunagu", "measure_code": "1-1-1", "fiscal_year": "H30"}
    measure = {"plan": "fujimi-yumetsunagu", "section": "1", "code": "p", "title": "施策"}
    bodies = {
        "unknown names": ("/plans", {str(n): 0 for n in range(200_000)}),
        "codes of a scale": ("/plans", {**plan, "ratings": [{}] * 300_000}),
        "labels": ("/measures", {**measure, "path": [0] * 300_000}),
        "columns": ("/evaluations", {**row, "extra": {str(n): 0 for n in range(200_000)}}),
        "lists": ("/plans", {**plan, "title": [[]] * 300_000}),
    }
    found = Findings()
    with wire(town) as line:
        for name, (target, body) in bodies.items():
            sent = json.dumps(body).encode()
            before = time.process_time()
            answer = found.look(f"many {name}", line.ask("POST", target, {"Content-Type": JSON_BODY}, sent))
            spent = time.process_time() - before
            assert answer.status in (413, 422)
            if spent > 1:
                found.append(f"{len(sent):,} bytes of wrong {name} take {spent:.1f} seconds")
    found.are_none(at_least=5)


NOT_HTTP = {
    "a method that is none": b"FOO /plans HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method in small letters": b"get /plans HTTP/1.1\r\nHost: a\r\n\r\n",
    "a long method": b"A" * 100_000 + b" /plans HTTP/1.1\r\nHost: a\r\n\r\n",
    "no version": b"GET /plans\r\nHost: a\r\n\r\n",
    "a version that is none": b"GET /plans HTTP/9.9\r\nHost: a\r\n\r\n",
    "no address": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "an address without a slash": b"GET plans HTTP/1.1\r\nHost: a\r\n\r\n",
    "a byte in the address": b"GET /plans/\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "a control character in the address": b"GET /plans/\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in the address": b"GET /plans/\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "another host and no address": b"GET http://another.example HTTP/1.1\r\nHost: a\r\n\r\n",
    "a blank in the address": b"GET /plans/a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "an address of 100,000 characters": b"GET /plans?q=" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in a header": b"GET /plans HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "a control character in a header": b"GET /plans HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n",
    "a header without a colon": b"GET /plans HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    "a header without a name": b"GET /plans HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n",
    "a folded header": b"GET /plans HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "a length that is none": b"POST /plans HTTP/1.1\r\nHost: a\r\nContent-Length: a\r\n\r\n",
    "a negative length": b"POST /plans HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "a length of 2^64": b"POST /plans HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
    "two lengths": b"POST /plans HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length and chunks": b"POST /plans HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks that are none": b"POST /plans HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a transfer coding that is none": b"POST /plans HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: a\r\n\r\n",
    "TLS": bytes.fromhex("160301020001000001fc0303") + b"a" * 500,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "nonsense": bytes(range(256)) * 10,
}


def test_what_is_no_http_harms_nobody(library: Service):
    """The server below refuses this before the service sees it, also as a problem; all others are served as before."""
    address = (library.anyone.base_url.host, library.anyone.base_url.port)
    for name, sent in NOT_HTTP.items():
        said = b""
        with socket.create_connection(address, timeout=10) as raw:
            with suppress(OSError):  # it may have been answered and ended before all was sent
                raw.sendall(sent)
                raw.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):  # as it is where something sent was not read
                while some := raw.recv(65_536):
                    said += some
        head, _, body = said.partition(b"\r\n\r\n")
        assert not re.match(rb"HTTP/1.1 5", head), name
        if re.match(rb"HTTP/1.1 4", head):
            assert b"\r\ncontent-type: application/problem+json" in head.lower(), f"{name}: {said!r}"
            assert json.loads(body)["status"] == int(head[9:12]), name
        assert len(body) < 5_000, name
        assert not INSIDE.search(body), f"{name}: {body!r}"
        assert library.anyone.get("/readyz").status_code == 200
