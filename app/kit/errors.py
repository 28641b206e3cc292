"""Every error is a fact with a status, and all have one shape: RFC 9457, in Japanese or in English.

Problem
├── Malformed             400  the request cannot be read at all
├── Unauthorized          401  no key, or one that is not valid (any more)
├── Forbidden             403  a valid key that may not do this
├── NotFound              404  no such row or address
├── MethodNotAllowed      405
├── Conflict              409  the request collides with what is there
├── Gone                  410  a place in the log that is no longer there: begin anew
├── PreconditionFailed    412  somebody changed the row in the meantime
├── TooLarge              413
├── UnsupportedMedia      415
├── Invalid               422  the input is readable but wrong; `errors` says where
├── PreconditionRequired  428  a write must say which version it has seen
├── Broken                500  a fault of ours
└── Unavailable           503  the database is busy or away; try again
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.kit.text import excerpt

MOST_FINDINGS = 100  # nobody reads more, and an answer should not grow with nonsense


class Say(NamedTuple):
    """One sentence in both languages."""

    ja: str
    en: str


@dataclass(frozen=True)
class Finding:
    """What is wrong with one part of the input: a parameter, a place in a JSON body as a pointer, or one in a file."""

    says: Say
    parameter: str | None = None
    pointer: str | None = None
    place: Mapping[str, Any] = field(default_factory=dict)


class Problem(HTTPException):
    """Base of all errors. `says` is the detail; `members` are further members of the answer."""

    status: ClassVar[int] = 500
    slug: ClassVar[str]
    title: ClassVar[Say]

    def __init__(
        self,
        ja: str,
        en: str,
        *,
        findings: Sequence[Finding] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(self.status, en, headers)
        self.says = Say(ja, en)
        self.findings = findings
        self.members = members


class Malformed(Problem):
    status, slug = 400, "malformed"
    title = Say("要求を読み取れません", "The request cannot be read")


class Unauthorized(Problem):
    status, slug = 401, "unauthorized"
    title = Say("有効なキーが必要です", "A valid key is needed")


class Forbidden(Problem):
    status, slug = 403, "forbidden"
    title = Say("このキーでは許可されていません", "This key may not do that")


class NotFound(Problem):
    status, slug = 404, "not-found"
    title = Say("見つかりません", "Not found")


class MethodNotAllowed(Problem):
    status, slug = 405, "method-not-allowed"
    title = Say("このアドレスでは使えないメソッドです", "The method is not allowed here")


class Conflict(Problem):
    status, slug = 409, "conflict"
    title = Say("既にあるデータと衝突します", "It collides with what is there")


class Gone(Problem):
    status, slug = 410, "gone"
    title = Say("もう続きを読めません", "It cannot be continued from here any more")


class PreconditionFailed(Problem):
    status, slug = 412, "precondition-failed"
    title = Say("別の更新が先に行われました", "Somebody changed it in the meantime")


class TooLarge(Problem):
    status, slug = 413, "too-large"
    title = Say("送信データが大きすぎます", "The body is too large")


class UnsupportedMedia(Problem):
    status, slug = 415, "unsupported-media-type"
    title = Say("対応していない形式です", "This media type is not understood")


class Invalid(Problem):
    status, slug = 422, "invalid"
    title = Say("入力に誤りがあります", "The input is not valid")

    def __init__(self, *findings: Finding, count: int | None = None) -> None:
        some = count or len(findings)
        super().__init__(
            findings[0].says.ja if some == 1 else f"{some} か所に誤りがあります。errors を確認してください。",
            findings[0].says.en if some == 1 else f"{some} parts of the input are wrong; see errors.",
            findings=findings[:MOST_FINDINGS],
        )


class PreconditionRequired(Problem):
    status, slug = 428, "precondition-required"
    title = Say("If-Match が必要です", "If-Match is needed")


class Broken(Problem):
    status, slug = 500, "broken"
    title = Say("サーバーで問題が起きました", "Something broke on the server")


class Unavailable(Problem):
    status, slug = 503, "unavailable"
    title = Say("しばらくしてからお試しください", "Please try again in a moment")


PROBLEMS = tuple(Problem.__subclasses__())


def problem_body(request: Request, problem: Problem) -> dict[str, Any]:
    english = reads_english(request)

    def pick(says: Say) -> str:
        return says.en if english else says.ja

    body: dict[str, Any] = {
        "type": f"/docs/problems/{problem.slug}",
        "title": pick(problem.title),
        "status": problem.status,
        "detail": pick(problem.says),
        "instance": excerpt(request.url.path, 500),
        **problem.members,
    }
    if problem.findings:
        body["errors"] = [
            {
                **found.place,
                **{
                    name: value
                    for name, value in (
                        ("parameter", found.parameter),
                        ("pointer", found.pointer),
                        ("detail", pick(found.says)),
                    )
                    if value is not None
                },
            }
            for found in problem.findings
        ]
    return body


def problem_response(request: Request, problem: Problem) -> Response:
    return Response(
        orjson.dumps(problem_body(request, problem)),
        problem.status,
        {
            "Content-Language": "en" if reads_english(request) else "ja",
            "Vary": "Accept-Language",
            "Cache-Control": "no-store",
            **(problem.headers or {}),
        },
        "application/problem+json",
    )


def reads_english(request: Request) -> bool:
    return prefers_english(request.headers.get("accept-language", ""))


def prefers_english(accept_language: str) -> bool:
    """Japanese unless the reader ranks English above it."""
    quality: dict[str, float] = {}
    for part in accept_language.split(","):
        tag, _, weight = part.partition(";")
        language = tag.strip().partition("-")[0].lower()
        try:
            q = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            q = 0.0
        quality[language] = max(quality.get(language, 0.0), q)
    others = quality.get("*", 0.0)
    return quality.get("en", others) > quality.get("ja", others)


# ---------------------------------------------------------------------------------------------------------
# What the frameworks below us find, told in our words


def from_http_exception(error: HTTPException) -> Problem:
    """Starlette's and FastAPI's own errors: no route, or a body that is not even JSON."""
    if isinstance(error, Problem):
        return error
    if error.status_code == 404:
        return nothing_here()
    return Malformed(
        "本文を JSON として読み取れません。UTF-8 の JSON を送ってください。",
        "The body cannot be read as JSON: send JSON in UTF-8.",
    )


def nothing_here() -> NotFound:
    return NotFound(
        "このアドレスには何もありません。/docs に一覧があります。",
        "Nothing is at this address; /docs lists what is.",
    )


def from_validation(error: RequestValidationError, fields: Sequence[str] = ()) -> Problem:
    """What is wrong with a request whose body has these fields."""
    errors = error.errors()
    findings: list[Finding] = []
    for each in errors[:MOST_FINDINGS]:
        if (found := _finding(each, fields)) not in findings:  # two may read one header
            findings.append(found)
    return Invalid(*findings, count=len(findings) if len(errors) <= MOST_FINDINGS else len(errors))


def _finding(error: Mapping[str, Any], fields: Sequence[str]) -> Finding:
    place, *inner = error["loc"]
    says = _sentence(error)
    if error["type"] == "extra_forbidden" and len(inner) == 1 and fields:
        names = ", ".join(fields)
        says = Say(
            f"この項目は書き込めません。書き込めるのは {names} です。",
            f"There is no such field, or it cannot be written; these can: {names}.",
        )
    if place == "body":
        if inner and inner[-1] == "[key]":  # a name that cannot be: its place is the object that it stands in
            inner = inner[:-2]
        if error["type"] == "json_invalid":
            return Finding(says, pointer="")
        return Finding(says, pointer="".join(f"/{_escaped(step)}" for step in inner))
    return Finding(says, parameter=excerpt(str(inner[0] if inner else place), 100))


def _escaped(step: Any) -> str:
    """A step of a JSON pointer (RFC 6901)."""
    return excerpt(str(step).replace("~", "~0").replace("/", "~1"), 100)


def _sentence(error: Mapping[str, Any]) -> Say:
    context = {"name": error["loc"][-1], **(error.get("ctx") or {})}
    if error["type"] == "missing" and error["loc"] == ("body",):
        return Say("JSON の本文が必要です。", "A JSON body is required.")
    if "ja" in context and "en" in context:
        return Say(context["ja"], context["en"])
    if "expected" in context:  # "'a', 'b' or 'c'"
        context["expected"] = context["expected"].replace(" or ", ", ")
    if found := _SENTENCES.get(error["type"]):
        return Say(*(text.format_map(context) for text in found))
    return Say("値が正しくありません。", "The value is not valid.")


_SENTENCES = {
    "missing": Say("{name} は必須です。", "{name} is required."),
    "extra_forbidden": Say(
        "この項目は受け付けていません。", "There is no such field, or it cannot be written."
    ),
    "json_invalid": Say("JSON として読み取れません。", "This is not valid JSON."),
    "string_type": Say("文字列を指定してください。", "Give a string."),
    "string_unicode": Say("正しい Unicode 文字列ではありません。", "This is not valid Unicode."),
    "string_too_short": Say(
        "{min_length} 文字以上にしてください。", "Give at least {min_length} characters."
    ),
    "string_too_long": Say("{max_length} 文字以内にしてください。", "Give at most {max_length} characters."),
    "string_pattern_mismatch": Say(
        "形式が違います。次の形にしてください: {pattern}", "The form is wrong; it must match {pattern}"
    ),
    "int_type": Say("整数を指定してください。", "Give an integer."),
    "int_parsing": Say("整数を指定してください。", "Give an integer."),
    "int_parsing_size": Say("数が大きすぎます。", "The number is too large."),
    "int_from_float": Say("整数を指定してください。", "Give an integer."),
    "bool_type": Say("true か false を指定してください。", "Give true or false."),
    "bool_parsing": Say("true か false を指定してください。", "Give true or false."),
    "greater_than_equal": Say("{ge} 以上にしてください。", "It must be at least {ge}."),
    "less_than_equal": Say("{le} 以下にしてください。", "It must be at most {le}."),
    "list_type": Say("配列を指定してください。", "Give an array."),
    "dict_type": Say("オブジェクトを指定してください。", "Give an object."),
    "model_type": Say("オブジェクトを指定してください。", "Give an object."),
    "model_attributes_type": Say("JSON のオブジェクトを指定してください。", "Give a JSON object."),
    "too_long": Say("{max_length} 個以内にしてください。", "Give at most {max_length} items."),
    "literal_error": Say("次のいずれかを指定してください: {expected}", "Give one of: {expected}"),
    "enum": Say("次のいずれかを指定してください: {expected}", "Give one of: {expected}"),
}
