"""年度: a fiscal year runs from April to March and is known by the Gregorian year it starts in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from unicodedata import normalize

from app.kit.numbers import whole
from app.kit.text import excerpt, refusal

if TYPE_CHECKING:  # who only reads years does not wait until pydantic is there
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

FIRST, LAST = 1868, 2199


class Era(NamedTuple):
    letter: str
    name: str
    begins: int


ERAS = (
    Era("R", "令和", 2019),
    Era("H", "平成", 1989),
    Era("S", "昭和", 1926),
    Era("T", "大正", 1912),
    Era("M", "明治", 1868),
)


@cache
def label(year: int) -> str:
    """平成29年度 for 2017: the year that an era begins in bears its name."""
    era = next(era for era in ERAS if era.begins <= year)
    return f"{era.name}{year - era.begins + 1 if year > era.begins else '元'}年度"


# ---------------------------------------------------------------------------------------------------------
# Reading what people write

BEGINS = {spelling: era.begins for era in ERAS for spelling in (era.letter, era.name, era.name[0])}
KANJI = "一二三四五六七八九"
TO_ASCII = str.maketrans("〇" + KANJI, "0123456789")

GREGORIAN = "18(?:6[89]|[7-9][0-9])|19[0-9][0-9]|2[01][0-9][0-9]"  # FIRST to LAST
COUNT = "[1-9][0-9]|0?[1-9]"
NUMBER = f"[1-9]?十[1-9]?|{COUNT}|元"
YEAR = re.compile(f"(?:FY|西暦)?({GREGORIAN})|({'|'.join(BEGINS)})({NUMBER})")
SPELLED = re.compile(rf"(?:{YEAR.pattern})(?:年度?)?(?:\((?:{YEAR.pattern})(?:年度?)?\)(?:年?度)?)?")
WITHOUT_ERA = re.compile(f"({NUMBER})(?:年度?)?")
LONGEST = 60  # more than any spelling needs: normalising a long hostile text takes quadratic time


class NoYear(ValueError):
    """What is no fiscal year, and how to write one."""

    def __init__(self, ja: str, en: str) -> None:
        super().__init__(en)
        self.ja, self.en = ja, en


@lru_cache(maxsize=1_000)  # a table says the same few in every row
def parse(text: str) -> int:
    """The fiscal year that 2017, FY2017, H29, 平成二十九年度, ㍻29年度, 平成29(2017)年度 or their kin mean.

    An era may go on after its end: plans of before 2019 speak of 平成32年度.
    """
    if len(text) > LONGEST:
        raise _unreadable(text)
    plain = re.sub(r"[ \t\n]", "", normalize("NFKC", text)).translate(TO_ASCII).upper()
    if bare := WITHOUT_ERA.fullmatch(plain):
        raise _without_era(text, _number(bare[1]))
    if not SPELLED.fullmatch(plain):
        raise _unreadable(text)
    years = [
        int(gregorian) if gregorian else BEGINS[era] + _number(number) - 1
        for gregorian, era, number in YEAR.findall(plain)
    ]
    if len(set(years)) > 1:
        raise NoYear(
            f"「{excerpt(text)}」の {years[0]} 年度と {years[1]} 年度が食い違っています。",
            f'"{excerpt(text)}" contradicts itself: {years[0]} and {years[1]} are different fiscal years.',
        )
    return years[0]


def _number(text: str) -> int:
    """29, 2十9 and 元 as integers."""
    tens, ten, ones = text.replace("元", "1").partition("十")
    return 10 * int(tens or 1) + int(ones or 0) if ten else int(tens)


def _without_era(text: str, number: int) -> NoYear:
    heisei, reiwa = number + BEGINS["H"] - 1, number + BEGINS["R"] - 1
    return NoYear(
        f"「{excerpt(text)}」には元号がありません。平成なら H{number}、平成{number}年度、{heisei} のように、"
        f"令和なら R{number}、令和{number}年度、{reiwa} のように書いてください。",
        f'"{excerpt(text)}" names no era: write H{number}, 平成{number}年度 or {heisei} for Heisei, '
        f"R{number}, 令和{number}年度 or {reiwa} for Reiwa.",
    )


def _unreadable(text: str | None = None) -> NoYear:
    ja, en = ("この値", "This") if text is None else (f"「{excerpt(text)}」", f'"{excerpt(text)}"')
    return NoYear(
        f"{ja}は年度として読めません。2017、FY2017、2017年度、H29、平成29年度、令和元年度、平成29(2017)年度"
        f"のように書いてください({FIRST}〜{LAST}年度)。",
        f"{en} is not a fiscal year: write it like 2017, FY2017, 2017年度, H29, 平成29年度, 令和元年度 or "
        f"平成29(2017)年度, from {FIRST} to {LAST}.",
    )


# ---------------------------------------------------------------------------------------------------------
# Types for requests


def _read(value: Any) -> int:
    try:
        return parse(value) if isinstance(value, str) else _in_bounds(whole(value))
    except NoYear as error:
        raise refusal("fiscal_year", error.ja, error.en) from None


def _in_bounds(number: Any) -> int:
    if isinstance(number, int) and FIRST <= number <= LAST:
        return number
    if type(number) is int and 1 <= number <= 99:
        raise _without_era(str(number), number)
    raise _unreadable()


# No pattern: all that is read has none that a person could read, and a narrower one would refuse good spellings
# in forms and generated clients, before the service can say what is wrong.
STRING = {"type": "string", "maxLength": LONGEST}
INTEGER = {"type": "integer", "minimum": FIRST, "maximum": LAST}
TOLD: dict[str, Any] = {
    "description": "年度(4月から翌年3月まで)。2017、FY2017、2017年度、H29、平成29年度、平成二十九年度、"
    "㍻29年度、R元、令和元年度などと書けます。全角も空白も可。平成29(2017)年度のような併記は、両方が一致すれば可。"
    "元号のない 29 は不可。 "
    "Fiscal year, from April to March, known by the year it starts in or by its Japanese era: any of the "
    "spellings above, in full or half width, with or without spaces. Both parts of 平成29(2017)年度 must "
    "agree. A bare 29 has no era and is refused.",
    "examples": ["2017", "H29", "平成29年度"],
}


@dataclass(frozen=True, eq=False)
class Written:
    """Reads a fiscal year; the schema tells how it may be written."""

    accepted: Mapping[str, Any]
    shown: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(_read, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> "JsonSchemaValue":
        return dict(self.accepted if handler.mode == "validation" else self.shown)


FiscalYear = Annotated[int, Written({"anyOf": [INTEGER, STRING], **TOLD}, INTEGER)]
FiscalYearParameter = Annotated[int, Written({**STRING, **TOLD}, {**STRING, **TOLD})]
