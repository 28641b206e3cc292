"""Text: what may be written, how it is compared and sorted, and how it is quoted back."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any
from unicodedata import category, normalize

if TYPE_CHECKING:  # who only compares text does not wait until pydantic is there
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema, PydanticCustomError

# NFKC has already turned ～ － ‑ into one of these or into ASCII. The vowel mark ー is a letter, not a dash.
DASHES = re.compile("[−‐‒–—―]")
WAVE = "〜"


def fold(text: str) -> str:
    """The form in which text is searched and matched: one width, one case, one dash, one tilde, no space."""
    plain = DASHES.sub("-", normalize("NFKC", text).casefold()).replace(WAVE, "~")
    folded = "".join(plain.split())
    # Letters and marks that a space kept apart may combine now that it is gone.
    return folded if folded == text else fold(folded)


def terms(query: str) -> list[str]:
    """The words of a query, each folded and named once."""
    return list(dict.fromkeys(map(fold, query.split())))


def marked(text: str, wanted: Sequence[str]) -> list[tuple[str, bool]]:
    """The text in pieces: which of them are among the wanted words, which come folded."""
    folded = fold(text)
    if not any(word in folded for word in wanted):
        return [(text, False)]
    letters = list(_letters(text))
    parts = [_fold_letter(letter) for letter in letters]
    if "".join(parts) != folded:  # letters that combine over a space: what is where, nobody can say
        return [(text, False)]
    owner = [place for place, part in enumerate(parts) for _ in part]
    hit = [False] * len(letters)
    for word in wanted:
        start = folded.find(word)
        while start >= 0:
            first, last = owner[start], owner[start + len(word) - 1]
            hit[first : last + 1] = [True] * (last + 1 - first)
            start = folded.find(word, start + 1)
    pieces = groupby(zip(letters, hit, strict=True), key=lambda pair: pair[1])
    return [("".join(letter for letter, _ in piece), found) for found, piece in pieces]


def _letters(text: str) -> Iterator[str]:
    """Each character with the marks that belong to it."""
    letter = ""
    for char in text:
        if letter and category(char) not in ("Mn", "Mc", "Me") and char not in "ﾞﾟ":
            yield letter
            letter = ""
        letter += char
    if letter:
        yield letter


@lru_cache(maxsize=10_000)
def _fold_letter(letter: str) -> str:
    return fold(letter)


def natural(text: str) -> str:
    """A key that sorts text as people count: 1-2 before 1-10."""
    return re.sub("0*([0-9]+)", lambda number: f"{len(number[1]):02}{number[1]}", text)


def excerpt(text: str, length: int = 40) -> str:
    """The beginning of a text, fit for an error message: what cannot be seen is spelled out, as \\u0000."""
    shown = "".join(
        char if char.isprintable() or char == "\u3000" else f"\\u{ord(char):04x}"
        for char in text[: length + 1]
    )
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def said(texts: dict[str, Any]) -> dict[str, Any]:
    """But those that are blank, which say as much as none."""
    return {name: text for name, text in texts.items() if not isinstance(text, str) or text.strip()}


def refusal(kind: str, ja: str, en: str) -> "PydanticCustomError":
    """What a validator raises: why the value cannot be, in both languages."""
    from pydantic_core import PydanticCustomError

    return PydanticCustomError(kind, "{en}", {"ja": ja, "en": en})


@dataclass(frozen=True)
class Characters:
    """What a string may not hold, as the inside of a character class: `Annotated[str, Field(…), ONE_LINE]`.

    It comes after the limits of length, so that those are the string's own and count characters.
    """

    refused: str
    blank: bool = True  # whether it may be empty, or made of spaces alone

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        from pydantic_core import core_schema

        # Ahead of the string's own check, which does not say where a lone surrogate stands.
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> "JsonSchemaValue":
        any_number = f"[^{self.refused}]*"
        one_seen = "" if self.blank else rf"[^\s{self.refused}]{any_number}"
        return {**handler(schema), "pattern": f"^{any_number}{one_seen}$"}

    def _check(self, value: Any) -> Any:
        # JSON Schema cannot name lone surrogates: to many of its readers they are halves of good characters.
        found = re.search(rf"[{self.refused}\ud800-\udfff]", value) if isinstance(value, str) else None
        if found:
            code, place = f"U+{ord(found[0]):04X}", found.start() + 1
            raise refusal(
                "text",
                f"{place}文字目に、使えない文字 {code} があります。",
                f"Character {place} is {code}, which is not allowed here.",
            )
        if not self.blank and isinstance(value, str) and value.isspace():
            raise refusal(
                "blank", "空白だけの値は登録できません。", "Spaces alone say nothing: give a text, or null."
            )
        return value


@dataclass(frozen=True)
class Form:
    """The form that `Annotated[str, …]` must have, and the sentence that tells a person so."""

    pattern: str
    ja: str
    en: str

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> "JsonSchemaValue":
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, value: str) -> str:
        if not re.search(self.pattern.removesuffix("$") + r"\Z", value):
            raise refusal("form", self.ja, self.en)
        return value


class PlainObject:
    """Tells the schema of a `dict` with constrained names in the words that forbid all other names."""

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> "JsonSchemaValue":
        told = handler(schema)
        [(pattern, value)] = told.pop("patternProperties").items()
        return {
            **told,
            "propertyNames": {**told["propertyNames"], "pattern": pattern},
            "additionalProperties": value,
        }


# The last two are no characters, and XML has no way to write them.
CONTROLS = r"\u0000-\u001f\u007f-\u009f\ufffe\uffff"
CONTROLS_IN_PROSE = CONTROLS.replace(r"\u001f", r"\u0008\u000b-\u001f")  # tab and newline are text
ONE_LINE, MANY_LINES = Characters(CONTROLS), Characters(CONTROLS_IN_PROSE)
SOME_LINE, SOME_LINES = Characters(CONTROLS, blank=False), Characters(CONTROLS_IN_PROSE, blank=False)
