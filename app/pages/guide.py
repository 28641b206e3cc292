"""What developers read: the guide, the problems and the data dictionary, from docs/ and from the shapes."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markupsafe import Markup, escape
from pydantic import BaseModel

from app.documents.routes import DOCUMENTS, DocumentShape
from app.evaluations import EVALUATIONS, EvaluationShape
from app.feed import Change
from app.kit.errors import PROBLEMS, nothing_here
from app.kit.http import PUBLIC, answer, tag, unless_known
from app.kit.settings import ROOT
from app.measures import MEASURES, MeasureShape
from app.pages.dictionary import MEANINGS
from app.pages.html import HEADERS, VARY, AnyPage, PageRoute, dress_of, language_of, rendered
from app.plans import PLANS, PlanShape
from app.sections import SECTIONS, SectionShape

router = APIRouter(include_in_schema=False, route_class=PageRoute)

DOCS = ROOT / "docs"

# Each noun with its shape and its fields in the order of the answers.
NOUNS: dict[str, tuple[str, type[BaseModel], Iterable[str]]] = {
    "plan": ("計画", PlanShape, PLANS.columns),
    "section": ("節", SectionShape, SECTIONS.columns),
    "measure": ("施策", MeasureShape, MEASURES.columns),
    "evaluation": ("年度評価", EvaluationShape, EVALUATIONS.columns),
    "document": ("資料", DocumentShape, DOCUMENTS.columns),
    "change": ("変更", Change, Change.model_fields),
}
JAPANESE_FROM = "\u3000"
JAPANESE = r" ?\(([^()]*[ぁ-んァ-ヶ一-龠][^()]*)\)"


# ---------------------------------------------------------------------------------------------------------
# Markdown


def _with_ids(self: RendererHTML, tokens: Any, place: int, options: Any, env: Any) -> str:
    """Headings can be linked to."""
    words = tokens[place + 1].content
    tokens[place].attrSet("id", re.sub(r"[^\w-]", "", words.lower().replace(" ", "-")))
    return self.renderToken(tokens, place, options, env)


def _scrolled(self: RendererHTML, tokens: Any, place: int, options: Any, env: Any) -> str:
    """Code scrolls by itself, by keyboard too."""
    return (
        f'<pre tabindex="0" class="{tokens[place].info}"><code>{escape(tokens[place].content)}</code></pre>\n'
    )


def _joined(self: RendererHTML, tokens: Any, place: int, options: Any, env: Any) -> str:
    """A line that goes on in Japanese goes on without a space."""
    before, after = (tokens[place + step].content[edge:][:1] for step, edge in ((-1, -1), (1, 0)))
    return "" if before > JAPANESE_FROM and after > JAPANESE_FROM else "\n"


MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
MARKDOWN.add_render_rule("heading_open", _with_ids)
MARKDOWN.add_render_rule("fence", _scrolled)
MARKDOWN.add_render_rule("softbreak", _joined)


@cache
def _written(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def _html(text: str) -> Markup:
    return Markup(MARKDOWN.render(text))  # noqa: S704 — our own files, in which HTML is text


def _page(request: Request, template: str, **told: Any) -> Response:
    """A page that changes with the service itself only."""
    etag = tag(f"{dress_of(request)} {request.url.path}".encode())
    unless_known(request, etag, VARY)
    return rendered(request, template, {**PUBLIC, "ETag": etag}, **told)


@router.get("/guide")
async def guide(request: Request, asked: AnyPage) -> Response:
    name = "guide.md" if language_of(request).english else "guide.ja.md"
    title, text = _written(name).split("\n", 1)
    return _page(request, "text.html", title=title.removeprefix("# "), text=_html(text))


@router.get("/examples/plan.html")
async def example(request: Request) -> Response:
    """The page for other sites, as text to be copied, with the address of this service in it."""
    text = (ROOT / "examples" / "plan.html").read_text("utf-8")
    body = text.replace("http://127.0.0.1:8000", str(escape(str(request.base_url).rstrip("/")))).encode()
    etag = tag(body)
    unless_known(request, etag)
    return Response(body, headers={**PUBLIC, **HEADERS, "ETag": etag}, media_type="text/plain")


# ---------------------------------------------------------------------------------------------------------
# Problems

ONLY_JAPANESE, ONLY_ENGLISH = ("いつ", "どうする"), ("When", "What to do")


def _in_one_language(section: str, english: bool) -> str:
    """Without the points that say the same in the other language."""
    other = "|".join(ONLY_JAPANESE if english else ONLY_ENGLISH)
    return re.sub(rf"^\* \*\*({other})\*\* .*\n(  .*\n)*", "", section, flags=re.M)


@router.get("/docs/problems")
async def problems(request: Request, asked: AnyPage) -> Response:
    return _page(request, "problems.html", problems=PROBLEMS)


@router.get("/docs/problems/{slug}")
async def problem(request: Request, slug: str, asked: AnyPage) -> Response:
    known = next((problem for problem in PROBLEMS if problem.slug == slug), None)
    if known is None:
        raise nothing_here()
    section = _written("problems.md").split(f"\n## {slug}\n", 1)[1].split("\n## ", 1)[0]
    english = language_of(request).english
    title = known.title.en if english else known.title.ja
    text = _html(_in_one_language(section, english))
    return _page(request, "text.html", title=title, text=text, lead=f"{known.status} {slug}")


# ---------------------------------------------------------------------------------------------------------
# What each field means


class FieldTold(NamedTuple):
    name: str
    term: str  # in Japanese
    kind: str
    nullable: bool
    english: str
    japanese: str


TYPES = {
    "string": ("文字列", "text"),
    "integer": ("整数", "integer"),
    "number": ("数", "number"),
    "boolean": ("真偽", "true or false"),
    "array": ("配列", "list"),
    "object": ("オブジェクト", "object"),
}


@cache
def schema_of(noun: str) -> dict[str, Any]:
    """The JSON Schema of a noun's rows, as they are answered."""
    japanese, shape, _ = NOUNS[noun]
    schema = shape.model_json_schema(mode="serialization", by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"/schemas/{noun}.json",
        **schema,
        "title": f"{noun} ({japanese})",
    }


def fields_of(noun: str, english: bool) -> list[FieldTold]:
    found = []
    for name in NOUNS[noun][2]:
        schema = schema_of(noun)["properties"][name]
        choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
        kinds = [str(choice.get("type", "object")) for choice in choices]
        kind = TYPES[kinds[0]][english]
        form = choices[0].get("format")
        if form == "date-time":
            kind = "date and time" if english else "日時"
        told = schema.get("description", "")
        *_, term = re.findall(JAPANESE, told)
        found.append(
            FieldTold(
                name,
                term,
                kind,
                any(choice.get("type") == "null" for choice in schema.get("anyOf", ())),
                re.sub(JAPANESE, "", told).rpartition("。 ")[2],
                MEANINGS.get(f"{noun}.{name}") or MEANINGS[name],
            )
        )
    return found


@router.get("/dictionary")
async def dictionary(request: Request, asked: AnyPage) -> Response:
    english = language_of(request).english
    nouns = [(noun, japanese, fields_of(noun, english)) for noun, (japanese, _, _) in NOUNS.items()]
    return _page(request, "dictionary.html", nouns=nouns)


@router.get("/schemas/{noun}.json")
async def schema(request: Request, noun: str) -> Response:
    if noun not in NOUNS:
        raise nothing_here()
    return answer(request, schema_of(noun), headers={"Content-Type": "application/schema+json"})
