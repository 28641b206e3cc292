"""What all pages for people share: templates, the reader's language, tags, a strict policy, errors as pages."""

import hashlib
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

import jinja2
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from markupsafe import Markup, escape
from pydantic import BaseModel, Field, model_validator

from app import fiscal_years
from app.changes import Revision, RevisionRead
from app.kit.database import Reading
from app.kit.errors import Problem, problem_body, problem_response, reads_english
from app.kit.http import PUBLIC, tag, unless_known
from app.kit.session import Session
from app.kit.settings import Settings
from app.kit.text import marked

HERE = Path(__file__).parent

# No script at all, no style but ours, nothing from another host, and no page may be framed by another site.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # what was searched for is nobody else's business
    "X-Content-Type-Options": "nosniff",
}
VARY = "Accept-Language, Accept-Encoding"

# Another form of the pages is another answer at the same revision.
FORM = hashlib.blake2b(
    b"".join(
        file.read_bytes()
        for file in sorted(HERE.rglob("*"))
        if file.suffix in (".html", ".css", ".js", ".py")
    ),
    digest_size=6,
).hexdigest()


class PageRoute(APIRoute):
    """A route whose errors are pages too, where a browser asks, and whose address says only what is asked."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def tidied(request: Request) -> Response:
            address = tidy(request)
            return RedirectResponse(address, 303) if address else await handle(request)

        return tidied


router = APIRouter(include_in_schema=False, route_class=PageRoute)


class Asked(BaseModel):
    """What every page takes. A form sends its empty fields too; they ask for nothing."""

    lang: Annotated[Literal["ja", "en"], Field(description="Language of the page (言語)")] | None = None

    @model_validator(mode="before")
    @classmethod
    def without_empty_fields(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value != ""}


AnyPage = Annotated[Asked, Query()]


@dataclass(frozen=True)
class Language:
    """What language a page is in, and whether its address says so: then the links on it do too."""

    english: bool
    asked: bool

    def say(self, ja: str, en: str) -> str:
        return en if self.english else ja

    def year(self, year: int) -> str:
        """平成29年度（2017）, as printed and as stored."""
        printed = fiscal_years.label(year)
        return f"FY{year} ({printed})" if self.english else f"{printed}（{year}）"

    def year_shown(self, year: int) -> Markup:
        """The same within a text: a screen reader speaks its Japanese part as Japanese."""
        if self.english:
            return Markup('FY{} (<span lang="ja">{}</span>)').format(year, fiscal_years.label(year))
        return escape(self.year(year))

    def short(self, year: int) -> str:
        return f"FY{year}" if self.english else fiscal_years.label(year)

    def to(self, path: str, **parameters: Any) -> str:
        given = {name: value for name, value in parameters.items() if value is not None}
        if self.asked and "lang" not in given:
            given["lang"] = "en" if self.english else "ja"
        return f"{path}?{urlencode(given)}" if given else path


def language_of(request: Request) -> Language:
    asked = request.query_params.get("lang")
    if asked in ("ja", "en"):
        return Language(asked == "en", True)
    return Language(reads_english(request), False)


def settings_of(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def dress_of(request: Request) -> str:
    """What makes a page another one where its data is the same."""
    return f"{FORM} {language_of(request)} {settings_of(request).publisher}"


@dataclass(frozen=True)
class View:
    """A page in the making: what its reader asked for, and the state of the database that it shows."""

    request: Request
    session: Session
    revision: Revision
    language: Language

    @property
    def _etag(self) -> str:
        return tag(f"{self.revision.etag} {dress_of(self.request)}".encode())

    def unless_known(self) -> None:
        unless_known(self.request, self._etag, VARY)

    def show(self, template: str, headers: Mapping[str, str] | None = None, **told: Any) -> Response:
        return rendered(self.request, template, {**PUBLIC, "ETag": self._etag, **(headers or {})}, **told)


def view(request: Request, session: Reading, revision: RevisionRead) -> View:
    return View(request, session, revision, language_of(request))


Viewed = Annotated[View, Depends(view)]


# ---------------------------------------------------------------------------------------------------------
# Templates


def percent(count: int, of: int) -> str:
    """One decimal, half up: 65.4 %; a dash where there is nothing to divide."""
    if not of:
        return "–"
    return f"{(Decimal(100 * count) / of).quantize(Decimal('0.1'), ROUND_HALF_UP)} %"


def data_behind(noun: str, form: str = "", **filters: Any) -> str:
    """The address of the same data for programs: as JSON, or with `form` as CSV or in another form."""
    given = {name: value for name, value in filters.items() if value is not None}
    return f"/{noun}{form}" + (f"?{urlencode(given, safe=',')}" if given else "")


PATTERNS = 12  # how many the stylesheet can draw; a longer scale begins anew


@dataclass(frozen=True)
class Segment:
    """A part of a stacked bar. Patterns tell codes apart; none of them says that a code is good or bad."""

    code: str | None
    kind: str  # rated, mixed or unrated
    pattern: str
    count: int
    left: float  # in percent of the bar
    width: float

    @property
    def middle(self) -> float:
        return round(self.left + self.width / 2, 2)

    @property
    def label(self) -> str:
        return f"{self.code} {self.count}" if self.code else str(self.count)

    @property
    def label_width(self) -> int:
        """In pixels, generously."""
        return 12 + sum(8 if char.isascii() else 14 for char in self.label)

    @property
    def has_room(self) -> bool:
        return self.width * 3 > self.label_width  # of a bar of 300 pixels, as on a phone


def segments(tally: Mapping[str, Any]) -> list[Segment]:
    counted: list[tuple[str | None, str, str, int]] = [
        (each["rating"], "rated", f"p{place % PATTERNS}", each["count"])
        for place, each in enumerate(tally["ratings"] or ())
    ]
    counted.append((None, "mixed", "mixed", tally.get("mixed", 0)))
    counted.append((None, "unrated", "unrated", tally["unrated"]))
    found, left = [], 0
    for code, kind, pattern, count in counted:
        if count:
            start, end = (round(100 * place / tally["total"], 2) for place in (left, left + count))
            found.append(Segment(code, kind, pattern, count, start, round(end - start, 2)))
        left += count
    return found


def lines(pieces: Iterable[tuple[str, bool]]) -> list[list[tuple[str, bool]]]:
    """Marked pieces, line by line."""
    found: list[list[tuple[str, bool]]] = [[]]
    for text, hit in pieces:
        first, *more = text.split("\n")
        found[-1].append((first, hit))
        found += [[(line, hit)] for line in more]
    return found


def together(rows: Iterable[Mapping[str, Any]], name: str) -> list[tuple[Any, list[Mapping[str, Any]]]]:
    """Neighbours with the same value, in their own order."""
    return [(value, list(group)) for value, group in groupby(rows, key=lambda row: row[name])]


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.globals.update(
    percent=percent,
    patterns_drawn=PATTERNS,
    data_behind=data_behind,
    segments=segments,
    marked=marked,
    lines=lines,
    together=together,
    form=FORM,
)
ENVIRONMENT.filters["path"] = lambda text: quote(str(text), safe="")


def rendered(
    request: Request, template: str, headers: Mapping[str, str], status: int = 200, **told: Any
) -> Response:
    language = language_of(request)
    asked = {name: value for name, value in request.query_params.items() if value}
    path = path_of(request)

    def here(**changes: Any) -> str:
        """This address with some parameters changed, or without those that become None."""
        given = {name: value for name, value in (asked | changes).items() if value is not None}
        return path + (f"?{urlencode(given)}" if given else "")

    text = ENVIRONMENT.get_template(template).render(
        language=language,
        lang="en" if language.english else "ja",
        t=language.say,
        year=language.year_shown,
        to=language.to,
        here=here,
        path=path,
        publisher=settings_of(request).publisher,
        **told,
    )
    return Response(
        text,
        status,
        {
            **HEADERS,
            "Content-Language": "en" if language.english else "ja",
            "Vary": "Accept-Language",
            **headers,
        },
        "text/html",
    )


def path_of(request: Request) -> str:
    """The path as it was sent, percent-encoded."""
    raw: bytes = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    return raw.decode("latin-1")


# What social networks and newsletters add to a link that is shared.
ADDED = re.compile("utm_.*|(d|fb|g|gb|ms|tt|tw|wb|y)clk?id|igshid|mc_[ce]id")


def tidy(request: Request) -> str | None:
    """The address without the empty fields of a form, so that what is shared is short, and without what other sites
    added to it; None when it is that."""
    asked = request.query_params.multi_items()
    kept = [(name, value) for name, value in asked if value and not ADDED.fullmatch(name)]
    if kept == asked:
        return None
    return path_of(request) + (f"?{urlencode(kept)}" if kept else "")


# ---------------------------------------------------------------------------------------------------------
# Errors


def tell(request: Request, problem: Problem) -> Response:
    """A problem as a page where a browser asked for one, and as JSON everywhere else."""
    route = request.scope.get("route")
    of_page = route is None or isinstance(route, PageRoute)
    if not (of_page and "text/html" in request.headers.get("accept", "")):
        return problem_response(request, problem)
    body = problem_body(request, problem)
    headers = {**(problem.headers or {}), "Cache-Control": "no-store", "Vary": "Accept, Accept-Language"}
    return rendered(request, "problem.html", headers, problem.status, problem=body)


# ---------------------------------------------------------------------------------------------------------
# What the pages are dressed in

LASTING = {"Cache-Control": "public, max-age=31536000, immutable"}
MEDIA = {"style.css": "text/css", "icon.svg": "image/svg+xml"}


def _asset(request: Request, name: str, v: str | None) -> Response:
    """An address with the version in it never changes its answer."""
    body = (HERE / name).read_bytes()
    etag = tag(body)
    unless_known(request, etag)
    keeping = LASTING if v == FORM else PUBLIC
    return Response(body, headers={**keeping, "ETag": etag}, media_type=MEDIA[name])


@router.get("/style.css")
async def style(request: Request, v: str | None = None) -> Response:
    return _asset(request, "style.css", v)


@router.get("/icon.svg")
async def icon(request: Request, v: str | None = None) -> Response:
    return _asset(request, "icon.svg", v)
