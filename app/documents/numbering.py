"""The numbers by which towns count their measures: 第1節, 4 1)①, 1-(1)-①, (1)ア, 001."""

import re
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import numeric

KANA = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン"
ASCII = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
PLAIN = ASCII | str.maketrans("　〇一二三四五六七八九", " 0123456789")
# What may stand before a number: how a town calls the parts of its plan.
CALLED = (
    "基本目標|基本方針|基本施策|基本方向|重点目標|重点施策|重点項目|施策目標|施策の方向性?|施策の柱|個別施策|"
    "基本課題|基本戦略|重点課題|政策目標|施策の基本方向|施策|事業|取組|目標|方針|方向性?|柱|分野|項目|課題|No\\.?|NO\\.?|no\\.?|№|#"
)
NUMBER = (
    "(?P<tens>[1-9]?)十(?P<ones>[1-9]?)|(?P<digits>[0-9]{1,5})(?![0-9])"
    "|(?P<sign>[①-⑳㉑-㉟㊱-㊿⑴-⒛❶-❿Ⅰ-Ⅻ])"
    rf"|(?P<kana>[{KANA}])(?=[\s).,:、]|$)"
)
ONE = re.compile(
    rf"(?:第\s*(?:{NUMBER})\s*[部章節項編款目条号]".replace("?P<", "?P<a_")
    + rf"|(?P<called>{CALLED})?\s*(?:\(\s*(?:{NUMBER})\s*\)".replace("?P<", "?P<b_").replace(
        "b_called", "called"
    )
    + rf"|(?:{NUMBER})(?P<closed>\)?)))".replace("?P<", "?P<c_").replace("c_closed", "closed")
)
# 【柱１】子どもの学び, 【柱１ 子どもの学び】
BRACKETED = re.compile(r"([【〔〈《\[［](.{1,100}?)[】〕〉》\]］])\s*(.*)", re.S)
BETWEEN = re.compile(r"\s*[-‐‑–—−ー_./:]?\s*")
LETTERED = re.compile(r"\s*[-‐‑–—−_.]\s*[A-Za-z](?![A-Za-z])")
BOUNDARY = re.compile(r"[\s.:、,]+")
ONE_OF_SEVERAL = "[(]?(?:[0-9]+|[①-⑳⑴-⒛Ⅰ-Ⅻ])[)]?"
NO_NUMBER = {
    # What a spreadsheet makes of a number such as 1-1.
    "date": re.compile(r"(?:19|20)[0-9]{2}([-/.])[01]?[0-9]\1[0-3]?[0-9]|[01]?[0-9]月[0-3]?[0-9]日"),
    # 2,3 and ①～③ are no 2-3.
    "several": re.compile(rf"{ONE_OF_SEVERAL}\s*[,、・~〜]\s*{ONE_OF_SEVERAL}"),
}


@dataclass(frozen=True, slots=True)
class Label:
    """A printed number, what it counts, and what follows it in the same cell."""

    printed: str
    numbers: tuple[int, ...]
    rest: str
    # ①, (1) and ア begin anew under each heading; 12 or 001 may run through the whole plan.
    relative: bool


@lru_cache(maxsize=50_000)
def label(text: str) -> Label | None:
    """The number that a cell begins with, or None when it begins with none.

    What follows has to be set off from it: in 3歳児健診 and 24時間対応 the figure is part of the name.
    """
    text = text.strip()
    if len(text) > 600:
        return None
    if found := BRACKETED.fullmatch(text):
        return _bracketed(*found.groups())
    plain = text.translate(PLAIN)
    if no_number(text):
        return None
    numbers: list[int] = []
    ends: list[tuple[int, bool]] = []  # after each number: where it ends, and whether it is set off by itself
    position = start = 0
    styles: list[str] = []
    while found := ONE.match(plain, start):
        value, style = _value(found)
        if styles and start == position and style == styles[-1] and plain[start - 1] != ")":
            return None  # ①② is no 1-2
        numbers.append(value)
        styles.append(style)
        position = found.end()
        set_off = style != "digits" or bool(found["called"] or found["closed"])
        ends.append((position, set_off))
        start = BETWEEN.match(plain, position).end()  # type: ignore[union-attr]
    for count in range(len(ends), 0, -1):
        end, set_off = ends[count - 1]
        gap = BOUNDARY.match(plain, end)
        if LETTERED.match(plain, end):
            return None  # 1-①-a is no 1-1
        if end == len(plain) or gap or set_off:
            rest = text[gap.end() if gap else end :].strip()
            return Label(
                text[:end].strip(), tuple(numbers[:count]), rest, styles[0] not in ("digits", "called")
            )
    return None


def _bracketed(bracket: str, inside: str, after: str) -> Label | None:
    found = label(inside)
    if found is None or (found.rest and after):
        return None
    return found if found.rest else Label(bracket, found.numbers, after, found.relative)


def no_number(text: str) -> str | None:
    """What a cell begins with that looks like a number and is none: a date, or several numbers."""
    plain = text.strip().translate(PLAIN)
    return next((kind for kind, form in NO_NUMBER.items() if form.match(plain)), None)


def numbers(text: str) -> tuple[int, ...] | None:
    """What a cell counts that holds a number and nothing else."""
    found = label(text)
    return found.numbers if found and not found.rest else None


KINDS = re.compile(
    "(?P<digits>[0-9０-９]+)|(?P<kanji>[一二三四五六七八九十]+)|(?P<circled>[①-⑳])|(?P<roman>[Ⅰ-Ⅻ]+)"
)


def style(heading: str) -> str:
    """How a heading is numbered: those of one style stand beside each other, those of another below."""
    found = label(heading)
    printed = found.printed if found else heading
    if bracketed := BRACKETED.fullmatch(heading.strip()):  # 【柱１】学び and 【柱２ 遊び】
        printed = heading.strip()[0] + (printed if printed != bracketed[1] else bracketed[2])
    return KINDS.sub(lambda number: str(number.lastgroup), printed)


def _value(found: re.Match[str]) -> tuple[int, str]:
    for kind in "abc":
        style = {"a": "第", "b": "()", "c": "called" if found["called"] else "digits"}[kind]
        if digits := found[f"{kind}_digits"]:
            return int(digits), style
        if sign := found[f"{kind}_sign"]:
            return int(numeric(sign)), "sign" if kind == "c" else style
        if kana := found[f"{kind}_kana"]:
            return KANA.index(kana) + 1, "kana" if kind == "c" else style
        if found[f"{kind}_tens"] is not None:
            return 10 * int(found[f"{kind}_tens"] or 1) + int(found[f"{kind}_ones"] or 0), style
    raise AssertionError(found)
