"""One API on two databases: a generated log of requests gets the same answers from SQLite and from PostgreSQL.

`SHINCHOKU_REQUESTS=10000 SHINCHOKU_SEED=7 pytest tests/test_two_databases.py` replays a longer log, or another one.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.conftest import FUJIMI, KAWAGOE, Backend, Service, running
from tests.postgres import postgres
from tests.processes import caller

REQUESTS = int(os.environ.get("SHINCHOKU_REQUESTS", "600"))
SEED = int(os.environ.get("SHINCHOKU_SEED", "1"))

# ---------------------------------------------------------------------------------------------------------
# What is asked and written: above all what databases are known to see differently

# Case, width, accents, order, wildcards, trailing blanks, characters beyond 16 bits, quotes.
WORDS = [
    "支援", "学習", "食堂", "ひとり親", "貧困", "居場所", "教室 支援", "　支援　", "a", "A", "ａ", "Ａ", "ä", "Ä",
    "a\u0308", "ß", "SS", "İ", "ı", "é", "e\u0301", "É", "z", "Z", "あ", "ア", "ｱ", "か", "が", "ガ", "ｶﾞ", "ー",
    "−", "-", "〜", "～", "①", "1", "１", "01", "10", "2", "Ⅳ", "㍻", "㈱", "%", "_", "100%", "a_b", "\\", "'", '"',
    "''", "; --", "*", "?", "[a]", "a ", " a", "a  b", " ", "null", "NULL", "none", "𠮷野家", "👨\u200d👩\u200d👧",
    "\u200b", "\u00a0", "\ufeffa", "\ue000", "\u2028", "a\tb", "é" * 99, "支" * 100, "長" * 500,
]  # fmt: skip
REFUSED = ["", "a\nb", "a\0b", "a\x7f", "\x85", "\ufffe" * 501, "長" * 10_001, 1, None, [], {}, True]
CODES = [
    "1", "2", "3", "4", "9", "10", "01", "1-1-1", "4-2-1", "1-2", "1-10", "1-2-4", "(1)ア", "①", "a", "A", "あ", "ä",
    "Z", "x" * 64, "%", "_", "é", "e\u0301", "٣", "a/b", "a b", "a,b", "", "x" * 65,
]  # fmt: skip
MARKS = ["A", "B", "C", "S", "a", "Ａ", "◎", "○", "△コロナ", "B拡", "－", "完了", "none", "Z" * 20]
RATINGS = [*MARKS, "A,B", "A,none", "none,none", "", ",", "Z" * 21, "é", "Z" * 201]
YEARS = [
    "2017", "H29", "平成30年度", "令和元年度", "2018", "2016", "1868", "2199", "平成２９年度", "R2", "29", "2200", "",
    "年度",
]  # fmt: skip
YEARS_IN_BODIES: list[Any] = [
    2017,
    2018,
    "H29",
    "平成30年度",
    *YEARS,
    1867,
    2200,
    2.5,
    2017.0,
    None,
    True,
    [],
]
NUMBERS = [
    "1", "2", "24", "26", "27", "0", "-1", "1000", "1001", "2147483647", "2147483648", "9007199254740991",
    "9007199254740992", "9223372036854775807", "9223372036854775808", "1.0", "1e2", "１", "", "a",
]  # fmt: skip
INTEGERS = [
    1, 2, 3, 10, 0, -1, 2**31 - 1, 2**31, 2**53 - 1, 2**53, 2**63, 1_000_000, 1_000_001, 1.0, 1.5, "1", None, True,
]  # fmt: skip
PLANS = [
    "fujimi-yumetsunagu",
    "kawagoe",
    "b",
    "a-1",
    "a-01",
    "a",
    "zz-top",
    "Fujimi-Yumetsunagu",
    "1",
    "",
    "a_b",
    "%",
]
MUNICIPALITIES = [FUJIMI, KAWAGOE, "11235", "１１２３５６", "112357", "999999", "", "a"]
NOUNS = ("plans", "sections", "measures", "evaluations", "documents")
FILTERS = {
    "municipality": MUNICIPALITIES,
    "plan": PLANS,
    "section": CODES,
    "measure": CODES,
    "measure_id": NUMBERS,
    "fiscal_year": YEARS,
    "rating": RATINGS,
    "department": [*WORDS, *WORDS, "\0", "長" * 101],
    "q": [*WORDS, *WORDS, "", "\0", "支援" * 101],
}
TAKEN = {
    "plans": ("municipality", "q"),
    "sections": ("municipality", "plan"),
    "measures": ("municipality", "plan", "section", "measure", "fiscal_year", "rating", "department", "q"),
    "evaluations": tuple(FILTERS),
    "documents": ("municipality", "plan", "fiscal_year"),
}
SORTS = {
    "plans": ["slug", "title", "municipality_code", "updated_at", "id"],
    "sections": ["plan", "code", "updated_at", "id"],
    "measures": ["plan", "code", "title", "updated_at", "id"],
    "evaluations": ["plan", "code", "fiscal_year", "ordinal", "updated_at", "id"],
    "documents": ["plan", "name", "size", "updated_at", "id"],
}
FIELDS = [
    "id",
    "key",
    "plan",
    "title",
    "code",
    "rating",
    "extra",
    "path",
    "version",
    "department",
    "evaluations",
    "nothing",
]
GROUPS = ["municipality", "plan", "section", "fiscal_year", "department", "nothing"]


@dataclass
class Asked:
    """A request as both are asked it. What one service alone knows, its tags and its cursors, is named only."""

    method: str
    path: str
    query: list[tuple[str, Any]] = field(default_factory=list)
    body: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    who: str = "admin"
    tag: str | None = (
        None  # the header that carries the tag which this service gave for the row, last or before
    )
    stale: bool = False
    goes_on: bool = False  # from where the page before ended

    def __str__(self) -> str:
        body = repr(self.raw or "") if self.body is None else json.dumps(self.body, ensure_ascii=False)[:500]
        seen = f"{self.tag}: <{'older' if self.stale else 'last'} tag>" if self.tag else ""
        where = f"{self.path}?{urlencode(self.query)}" + ("&cursor=<next>" if self.goes_on else "")
        return f"{self.method} {where} {self.headers or ''} {seen} {body} by {self.who}"


class Log:
    """Makes up one request after the other. It learns which rows there are, from either service."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.largest = dict.fromkeys(NOUNS, 26)
        self.mistakes = 0
        self.last = Asked("GET", "/evaluations")
        self.kinds: list[tuple[int, Callable[[], Asked]]] = [
            (24, self.a_list),
            (8, self.a_next_page),
            (10, self.a_row),
            (6, self.a_summary),
            (6, self.a_report),
            (5, self.a_history),
            (6, self.an_unchanged_answer),
            (20, self.a_new_row),
            (18, self.a_change),
            (5, self.a_removal),
            (8, self.a_mistake),
        ]

    def __iter__(self) -> Iterator[Asked]:
        yield from self.a_second_town()
        weights, makers = zip(*self.kinds, strict=True)
        while True:
            yield self.random.choices(makers, weights)[0]()

    def a_second_town(self) -> Iterator[Asked]:
        """Plans beside the first one, so that there is something to tell apart."""
        for slug, code in zip(PLANS[1:4], (KAWAGOE, KAWAGOE, FUJIMI), strict=True):
            yield Asked(
                "POST",
                "/plans",
                body={"slug": slug, "title": slug, "municipality_code": code, "municipality": "市"},
            )
            for section in CODES[:4]:
                yield Asked("POST", "/sections", body={"plan": slug, "code": section})
                measure = {"plan": slug, "section": section, "code": f"{section}-1-1", "title": self.text()}
                yield Asked("POST", "/measures", body=measure)
                row = {"plan": slug, "measure_code": f"{section}-1-1", "fiscal_year": 2017, "rating": "B"}
                yield Asked("POST", "/evaluations", body=row)

    def learn(self, asked: Asked, answer: httpx.Response) -> None:
        if answer.status_code == 201:
            _, noun, id = answer.headers["Location"].split("/")
            self.largest[noun] = max(self.largest[noun], int(id))

    # One value, mostly a good one: pools begin with what exists.

    def one(self, pool: list[Any]) -> Any:
        return self.random.choice(pool[:4] if self.random.random() < 0.7 else pool)

    def text(self) -> Any:
        return self.random.choice(WORDS if self.chance(0.97) else REFUSED)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def noun(self) -> str:
        return self.random.choices(NOUNS, (3, 4, 6, 10, 1))[0]

    def id(self, noun: str) -> str:
        if noun == "plans" and self.chance(0.7):
            return str(self.one(PLANS)) or "a"
        return (
            str(self.random.randint(1, self.largest[noun] + 2))
            if self.chance(0.9)
            else self.one(NUMBERS) or "0"
        )

    def some(self, pool: list[str], most: int = 3) -> list[str]:
        return [self.random.choice(pool) for _ in range(self.random.randint(1, most))]

    # Reading

    def a_list(self) -> Asked:
        noun = self.noun()
        query = [(name, str(self.one(FILTERS[name]))) for name in TAKEN[noun] if self.chance(0.25)]
        if self.chance(0.7):
            limit = self.one(NUMBERS) if self.chance(0.2) else self.random.randint(1, 30)
            query.append(("limit", str(limit)))
        if self.chance(0.6):
            names = [self.random.choice(("", "-")) + name for name in self.some(SORTS[noun])]
            query.append(("sort", ",".join(names) if self.chance(0.95) else "nothing"))
        if self.chance(0.2):
            query.append(("fields", ",".join(self.some(FIELDS, 4))))
        if noun == "measures" and self.chance(0.3):
            query.append(("expand", "evaluations"))
        self.last = Asked("GET", f"/{noun}", query)
        return self.last

    def a_next_page(self) -> Asked:
        return Asked("GET", self.last.path, self.last.query, goes_on=True)

    def a_row(self) -> Asked:
        noun = self.noun()
        tail = "/content" if noun == "documents" and self.chance(0.5) else ""
        query = [("expand", "evaluations")] if noun == "measures" and self.chance(0.4) else []
        return Asked(
            self.random.choice(("GET", "GET", "GET", "HEAD")), f"/{noun}/{self.id(noun)}{tail}", query
        )

    def a_summary(self) -> Asked:
        query = [(name, str(self.one(FILTERS[name]))) for name in FILTERS if self.chance(0.12)]
        if self.chance(0.8):
            query.append(("group_by", ",".join(self.some(GROUPS[:5] if self.chance(0.9) else GROUPS))))
        if self.chance(0.5):
            query.append(("unit", self.random.choice(("evaluation", "measure", "measure", "nothing"))))
        return Asked("GET", "/evaluations/summary", query)

    def a_report(self) -> Asked:
        match self.random.randint(1, 3):
            case 1:
                years = [("from", str(self.one(YEARS))), ("to", str(self.one(YEARS)))]
                return Asked("GET", f"/plans/{self.id('plans')}/transitions", years)
            case 2:
                year = [("fiscal_year", str(self.one(YEARS)))] if self.chance(0.5) else []
                return Asked("GET", f"/plans/{self.id('plans')}/completeness", year)
            case _:
                return Asked("GET", f"/measures/{self.id('measures')}/timeline")

    def a_history(self) -> Asked:
        noun = self.noun()
        query = [("limit", str(self.random.randint(1, 3)))] if self.chance(0.5) else []
        self.last = Asked("GET", f"/{noun}/{self.id(noun)}/history", query)
        return self.last

    def an_unchanged_answer(self) -> Asked:
        noun = self.noun()
        path = self.random.choice((f"/{noun}", f"/{noun}/{self.id(noun)}", "/evaluations/summary"))
        return Asked("GET", path, tag="If-None-Match", stale=self.chance(0.2))

    # Writing

    def fields_of(self, noun: str) -> dict[str, Any]:
        all_of_them: dict[str, dict[str, Callable[[], Any]]] = {
            "plans": {
                "title": lambda: self.text(),
                "municipality": lambda: self.text(),
                "municipality_code": lambda: self.one(MUNICIPALITIES),
                "first_fiscal_year": lambda: self.one(YEARS_IN_BODIES),
                "last_fiscal_year": lambda: self.one(YEARS_IN_BODIES),
                "ratings": lambda: (
                    [{"code": code} for code in self.some(MARKS, 4)]
                    if self.chance(0.3)
                    else [{"code": code} for code in "ABC"]
                ),
                "ratings_closed": lambda: self.chance(0.1),
                "licence": lambda: self.text(),
                "source_url": lambda: self.one(
                    ["https://example.jp/", None, "http://例え.jp/計画", "ftp://a", "a"]
                ),
            },
            "sections": {
                "label": lambda: self.text(),
                "title": lambda: self.text(),
                "position": lambda: self.one(INTEGERS),
            },
            "measures": {
                "title": lambda: self.text(),
                "path": lambda: [self.text() for _ in range(self.random.randint(0, 3))],
                "position": lambda: self.one(INTEGERS),
                "section": lambda: self.one(CODES),
            },
            "evaluations": {
                "implementation": lambda: self.text(),
                "rating": lambda: self.one([*MARKS, None]),
                "rating_printed": lambda: self.one([*MARKS, None]),
                "rationale": lambda: self.text(),
                "next_plan": lambda: self.text(),
                "department": lambda: self.text(),
                "extra": lambda: {str(self.text()): self.text() for _ in range(self.random.randint(0, 3))},
            },
        }
        made = {name: make() for name, make in all_of_them.get(noun, {}).items() if self.chance(0.25)}
        if self.chance(0.02):
            made[self.random.choice(("id", "version", "nothing", "key"))] = 1
        return made

    def a_new_row(self) -> Asked:
        noun = self.random.choices(NOUNS[:4], (2, 4, 6, 10))[0]
        needed: dict[str, dict[str, Any]] = {
            "plans": {
                "slug": self.one(PLANS[1:]),
                "title": self.text(),
                "municipality_code": self.one([KAWAGOE, *MUNICIPALITIES]),
                "municipality": "川越市",
            },
            "sections": {"plan": self.one(PLANS), "code": self.new_code()},
            "measures": {
                "plan": self.one(PLANS),
                "section": self.one(CODES),
                "code": self.new_code(),
                "title": self.text(),
            },
            "evaluations": {"fiscal_year": self.one(YEARS_IN_BODIES)},
        }
        row = {**self.fields_of(noun), **needed[noun]}
        if noun == "evaluations":
            if self.chance(0.6):
                row["measure_id"] = self.random.randint(1, self.largest["measures"] + 1)
            if "measure_id" not in row or self.chance(0.05):
                row |= {"plan": self.one(PLANS), "measure_code": self.one(CODES[7:])}
            if self.chance(0.2):
                row["ordinal"] = self.one(INTEGERS)
        if self.chance(0.02):
            row.pop(self.random.choice(list(row)))
        return Asked("POST", f"/{noun}", body=row, who=self.writer())

    def new_code(self) -> str:
        return (
            self.random.choice(CODES)
            if self.chance(0.4)
            else f"{self.one(CODES)}-{self.random.randint(1, 30)}"
        )

    def writer(self) -> str:
        return self.random.choices(("admin", "fujimi", "kawagoe", "anyone", "stranger"), (80, 8, 6, 3, 3))[0]

    def conditions(self) -> dict[str, Any]:
        kind = self.random.choices(("last", "older", "any", "none", "odd"), (55, 10, 20, 8, 7))[0]
        match kind:
            case "last" | "older":
                return {"tag": "If-Match", "stale": kind == "older"}
            case "any":
                return {"headers": {"If-Match": "*"}}
            case "odd":
                odd = ('"a"', 'W/"a"', "a", "", '"a", *', "*, *")
                return {"headers": {"If-Match": self.random.choice(odd)}}
        return {}

    def a_change(self) -> Asked:
        noun = self.random.choices(NOUNS[:4], (2, 3, 5, 10))[0]
        path = f"/{noun}/{self.id(noun)}"
        return Asked("PATCH", path, body=self.fields_of(noun), who=self.writer(), **self.conditions())

    def a_removal(self) -> Asked:
        noun = self.random.choices(NOUNS[:4], (1, 2, 4, 10))[0]
        # The first plan holds most rows: once it is gone, there is little left to ask about.
        id = self.one(PLANS[1:]) or "a" if noun == "plans" else self.id(noun)
        return Asked("DELETE", f"/{noun}/{id}", who=self.writer(), **self.conditions())

    def a_mistake(self) -> Asked:
        """One after the other, so that each is made."""
        noun = self.noun()
        path = f"/{noun}/{self.id(noun)}"
        self.mistakes += 1
        made = [
            Asked("GET", f"/{noun}", [("nothing", "1")]),
            Asked("GET", f"/{noun}", [("limit", "1"), ("limit", "1")]),
            Asked("GET", f"/{noun}", [("cursor", self.random.choice(("", "a", "AAAA", "é", "a" * 2_001)))]),
            Asked("GET", f"/{noun}/"),
            Asked("GET", "/nothing"),
            Asked("PUT", path, body={}),
            Asked("POST", path, body={}),
            Asked("OPTIONS", path),
            Asked("POST", "/plans", raw=self.random.choice((b"[" * 99_999, b"\xff"))),
            Asked("POST", "/sections", raw=self.random.choice((b"{", b"null", b"[]", b'"a"', b""))),
            Asked("POST", "/measures", raw=b"{}", headers={"Content-Type": "text/plain"}),
            Asked("POST", "/sections", body={"plan": PLANS[0], "code": self.random.choice("1234")}),
            Asked("PATCH", path, raw=b'{"title": "\\ud800"}', headers={"If-Match": "*"}),
            Asked("GET", path, headers={"Accept-Language": self.random.choice(("en", "fr", "en;q=0.1, ja"))}),
            Asked("DELETE", path, who="anyone"),
            Asked("DELETE", "/plans/1"),
        ]
        return made[self.mistakes % len(made)]


# ---------------------------------------------------------------------------------------------------------
# Replaying it


class Side:
    """One of the services, its keys, and what it has told so far."""

    def __init__(self, service: Service) -> None:
        keys = {
            "admin": service.key("admin"),
            "fujimi": service.key("editor", FUJIMI),
            "kawagoe": service.key("editor", KAWAGOE),
            "stranger": f"shk_00000000_{'0' * 64}",
        }
        self.clients = {"anyone": caller(service.anyone.base_url)}
        self.clients |= {name: service.holder(key) for name, key in keys.items()}
        self.tags: dict[str, list[str]] = {}
        self.next: str | None = None

    def ask(self, asked: Asked) -> httpx.Response:
        headers = {"Content-Type": "application/json", **asked.headers}
        if asked.tag and (seen := self.tags.get(asked.path)):
            headers[asked.tag] = seen[-2 if asked.stale and len(seen) > 1 else -1]
        query = [*asked.query, *([("cursor", self.next)] if asked.goes_on and self.next else [])]
        content = asked.raw if asked.body is None else json.dumps(asked.body).encode()
        answer = self.clients[asked.who].request(
            asked.method, asked.path, params=query, content=content, headers=headers
        )
        if "ETag" in answer.headers and answer.status_code in (200, 201, 412):
            known = self.tags.setdefault(answer.headers.get("Location", asked.path), [])
            if not known or known[-1] != answer.headers["ETag"]:
                known.append(answer.headers["ETag"])
        if asked.method == "GET" and answer.status_code == 200 and "json" in answer.headers["Content-Type"]:
            self.next = answer.json().get("metadata", {}).get("resultset", {}).get("next")
        return answer

    def close(self) -> None:
        for client in self.clients.values():
            client.close()


COMPARED = (
    "Allow", "Cache-Control", "Content-Disposition", "Content-Language", "Content-Type", "Location", "Retry-After",
    "Vary", "WWW-Authenticate",
)  # fmt: skip


def comparable(answer: httpx.Response) -> dict[str, Any]:
    """All of an answer but what must differ: times, who wrote, and tags and cursors that are made of these."""
    is_json = "json" in answer.headers.get("Content-Type", "") and answer.content
    return {
        "status": answer.status_code,
        "headers": {name: answer.headers[name] for name in COMPARED if name in answer.headers},
        "has": [name for name in ("ETag", "Link") if name in answer.headers],
        "body": untimed(json.loads(answer.content)) if is_json else answer.content,
    }


def untimed(value: Any) -> Any:
    if isinstance(value, dict):
        hidden = {"created_at", "updated_at", "at", "by", "next"}
        return {
            name: ("…" if inner is not None else None) if name in hidden else untimed(inner)
            for name, inner in value.items()
        }
    return [untimed(item) for item in value] if isinstance(value, list) else value


def same(asked: Asked, number: int, sides: tuple[Side, Side]) -> httpx.Response:
    """Ask both, and see that they say the same, in the same order too."""
    one, other = (side.ask(asked) for side in sides)
    left, right = comparable(one), comparable(other)
    said = f"SHINCHOKU_SEED={SEED}, request {number}: {asked}\nSQLite     {left}\nPostgreSQL {right}"
    assert left["status"] < 500, said
    assert right["status"] < 500, said
    assert json_text(left) == json_text(right), said
    return one


def json_text(value: dict[str, Any]) -> str:
    """With the order of names, which `==` would not see."""
    return json.dumps(value, default=repr)


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    with postgres() as server:
        backends = (Backend("sqlite", tmp_path, None), Backend("postgresql", tmp_path, server))
        with running(backends[0].seeded()) as one, running(backends[1].seeded()) as other:
            both = (Side(one), Side(other))
            yield both
            for side in both:
                side.close()


def test_a_log_of_requests_gets_the_same_answers_from_both(sides):
    statuses: Counter[int] = Counter()
    log = Log(SEED)
    for number, asked in zip(range(REQUESTS), log, strict=False):
        answer = same(asked, number, sides)
        log.learn(asked, answer)
        statuses[answer.status_code] += 1
    for noun in NOUNS:
        for path in (f"/{noun}", *(f"/{noun}/{id}/history" for id in range(1, log.largest[noun] + 1))):
            answer = same(Asked("GET", path, [("limit", "1000")]), REQUESTS, sides)
            assert not answer.is_success or answer.json()["metadata"]["resultset"]["next"] is None
    print(f"seed {SEED}: {statuses.total()} requests, {dict(sorted(statuses.items()))}")
    # The log is not all of one kind.
    wanted = {200, 201, 204, 304, 400, 401, 403, 404, 405, 409, 412, 415, 422, 428}
    assert statuses.keys() >= wanted, wanted - statuses.keys()
    assert sum(statuses[status] for status in (200, 201, 204, 304)) > REQUESTS * 0.4


def test_one_row_more_on_one_side_is_noticed(sides):
    extra = {"measure_id": 24, "fiscal_year": 2017, "rating": "A"}
    assert sides[1].ask(Asked("POST", "/evaluations", body=extra)).status_code == 201
    with pytest.raises(AssertionError, match="request 0: GET /evaluations"):
        same(Asked("GET", "/evaluations"), 0, sides)
