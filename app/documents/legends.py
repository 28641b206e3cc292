"""Legends: what a document says that its marks mean (凡例 ◎：達成 ○：おおむね達成)."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from app.documents.marks import ALIKE, PRINTED, STOPPED, code_of
from app.documents.reading import Row
from app.documents.vocabulary import plain

MARK = "[◎○〇◯●△▲▽▼×✕☓✖☆★◇◆□■]|[SA-FＳＡ-Ｆa-eａ-ｅ](?![A-Za-zＡ-Ｚａ-ｚ])"
MARK += rf"|(?:{'|'.join(sorted(STOPPED))})(?=\s*[:：＝=])"
# What it may say of rows that are not rated: that is no code, and no part of the meaning before it.
NONE = rf"(?:{'|'.join(sorted(map(re.escape, PRINTED), key=len, reverse=True))})(?=\s*[:：＝=…‥])"
# In a line that says of itself to be a legend. Where nothing but a space follows, words do.
NUMBER = r"[0-9０-９](?=\s*[:：＝=…‥]|\s+[^\s0-9０-９(（,，])"
# Beside 完了 and the like, other words are marks, too.
WORD = r"[^\s　、，,;；／/:：＝=（(【】「」\[\]]{1,12}(?=\s*[:：＝=])"
PAIR, PAIR_OR_NUMBER, PAIR_OR_WORD = (
    re.compile(
        rf"(?:^|[\s　、，,;；／/|｜「(（【\[…】\])）:：]|凡例|評価|区分|基準)\s*(?P<mark>{mark})"
        r"\s*(?:[:：＝=…‥・]+|\s|[-－―]+(?![0-9０-９]+(?:[-－\s]|$))|→)\s*"
    )
    for mark in (f"{MARK}|{NONE}", f"{MARK}|{NONE}|{NUMBER}", f"{MARK}|{NONE}|{WORD}")
)
BETWEEN = " 　、，,;；／/|｜・…」】]\n"
INTRO = re.compile(r"[\s※＊*]*(?:[（(〔\[【]?注[0-9]*[)）〕\]】:：])?\s*")
# A quick look, for the many rows that are none.
BEGINS = re.compile(rf"[\s※＊*【\[（(〔「]*(?:凡|評|記|達|進|判|注|{MARK}|{NONE}|[0-9０-９]\s*[:：＝=…‥])")
NUMBERED = re.compile(r"\s*[0-9０-９]\s*[:：＝=…‥]\s*\S")
HEADS = re.compile(
    r"[【\[（(〔]?\s*(?:凡\s*例|評価の?区分|評価の?基準|評価の?凡例|評価の?記号|評価の?目安|記号の?説明"
    rf"|(?:評価|判定|達成度|進捗度|進捗状況|進捗)は?\s*[】\])）〕:：、，\s]\s*(?:(?:{MARK}|{NUMBER})\s*[:：＝=…‥]"
    rf"|{NUMBER}[^0-9０-９]+[\s、，,;；／/]{NUMBER}))"
)
# A（達成）、B（未達成）, perhaps after what they are.
CALLED = re.compile(
    r"[【\[（(〔]?\s*(?:凡\s*例|記号の?説明|(?:評価の?(?:区分|基準|凡例|記号|目安)?|判定|達成度|進捗度|進捗状況))"
    r"\s*[】\])）〕]?\s*[:：]?\s*"
)
IN_BRACKETS = re.compile(
    rf"(?:^|[\s　、，,;；／/|｜・])\s*(?P<mark>{MARK}|[0-9０-９]|{'|'.join((*STOPPED, *map(re.escape, PRINTED)))})"
    r"\s*[（(](?P<meaning>[^（()）]{1,100})[)）]"
)
MOST_NOTES = 2  # beside a legend
ANY_MARK = re.compile(rf"{MARK}|[0-9０-９]|{'|'.join(map(re.escape, PRINTED))}")
# What heads a legend, beside the table or below it, and what its meanings.
HEAD = re.compile("(?:評価の?|進捗の?)?(?:凡例|区分|基準|記号|目安)|記号の?説明|評価")
MEANINGS = re.compile("(?:評価の?|記号の?)?(?:内容|説明|意味|基準|目安|考え方|状況|状態)")
COUNT = re.compile(
    r"(?:[0-9０-９,]+\s*(?:事業|施策|取組|項目|件|個)?|事業|施策|取組|項目|件|個)(?:\s*[(（].*)?"
)  # how often a mark was given


@dataclass(frozen=True)
class Legend:
    codes: dict[str, str]  # each code with its label, in the order of the legend
    rows: frozenset[int]  # the rows that it takes


def read(rows: Sequence[Row]) -> Legend:
    """The pairs of marks and meanings in rows that hold nothing else.

    A row with one pair counts beside another such row or under a heading: a measure may begin with a letter.
    """
    found: dict[int, dict[str, str]] = {}
    heads: set[int] = set()
    for place, row in enumerate(rows):
        if not BEGINS.match(next(filter(str.strip, row.cells), "")):
            continue
        cells = [cell for cell in row.cells if cell.strip()]
        if len(cells) > 14 or sum(map(len, cells)) > 1_000:
            continue
        text = INTRO.sub("", " ".join(dict.fromkeys(cell.strip() for cell in cells)), count=1)
        bracketed = _in_brackets(text, alone=len(cells) == 1)
        numbered = all(map(NUMBERED.match, cells)) and (len(cells) > 1 or place - 1 in heads)
        if bracketed or HEADS.match(text) or numbered:
            heads.add(place)
        elif not PAIR.match(text) or (len(cells) > 2 and not _paired(cells)):
            continue
        found[place] = bracketed or _pairs(text, PAIR_OR_NUMBER if place in heads else PAIR)
    taken: set[int] = set()
    for place, pairs in found.items():
        near = {place - 1, place + 1} & found.keys()
        if (
            place in heads
            or len(pairs) > 1
            or (len(rows[place].filled()) <= 2 and any(found[other] for other in near))
        ):
            taken.add(place)
    for place in [place for place, row in enumerate(rows) if _named(row)]:
        below = [*takewhile(bool, map(_pair_of_cells, rows[place + 1 :]))]
        if len(below) > 1:  # in two columns below their header
            taken |= {*range(place, place + 1 + len(below))}
            for n, pair in enumerate(below, place + 1):
                found[n] = dict([pair]) if pair and code_of(pair[0]) is not None else {}
    codes: dict[str, str] = {}
    for place in sorted(taken & found.keys()):
        codes |= {mark: meaning for mark, meaning in found[place].items() if mark not in codes}
    return Legend(codes, frozenset(taken))


def _named(row: Row) -> bool:
    """Whether it says above two columns that marks stand in one, and what they mean in the other."""
    cells = [cell for cell in row.cells if cell.strip()]
    return len(cells) == 2 and is_head(cells[0]) and means(cells[1])


def _pair_of_cells(row: Row) -> tuple[str, str] | None:
    """A mark in one cell and its meaning in the other, where there are no more."""
    cells = [cell.strip() for cell in row.cells if cell.strip()]
    return (cells[0], cells[1]) if len(cells) == 2 and ANY_MARK.fullmatch(cells[0]) else None


def is_head(name: str) -> bool:
    """Whether a header says that a legend stands below it."""
    return len(name) < 40 and HEAD.fullmatch(plain(name).strip("()[]【】〔〕")) is not None


def means(name: str) -> bool:
    """Whether a header says that what marks mean stands below it."""
    return len(name) < 40 and MEANINGS.fullmatch(plain(name)) is not None


def is_pair(text: str) -> bool:
    return PAIR_OR_NUMBER.match(text.strip()) is not None


def beside(cells: Sequence[str], rated: Collection[str]) -> dict[str, str]:
    """The pairs of a column that has little else, each of them once and all marks that were given."""
    texts = [text for cell in cells if (text := cell.strip())]
    paired = list(filter(is_pair, texts))
    pairs: dict[str, str] = {}
    for text in paired:
        its = _pairs(text, PAIR_OR_NUMBER)
        if not pairs.keys().isdisjoint(its):
            return {}
        pairs |= its
    notes = len(texts) - len(paired)
    return pairs if len(pairs) > 1 and notes <= MOST_NOTES and _all_of(pairs, rated) else {}


def in_two(marks: Sequence[str], meanings: Sequence[str], rated: Collection[str]) -> dict[str, str]:
    """The same of two columns, the marks in one and what they mean in the other."""
    pairs = [(mark.strip(), meaning.strip()) for mark, meaning in zip(marks, meanings, strict=True)]
    told = [pair for pair in pairs if any(pair)]
    alone = all(mark and meaning and ANY_MARK.fullmatch(mark) for mark, meaning in told)
    found = {mark: meaning for mark, meaning in told if code_of(mark) is not None}
    return found if alone and len(dict(told)) == len(told) > 1 and _all_of(found, rated) else {}


def _all_of(pairs: Mapping[str, str], rated: Collection[str]) -> bool:
    """Whether all marks that were given are among them, in whatever width and shape."""
    return {mark.translate(ALIKE) for mark in pairs} >= {mark.translate(ALIKE) for mark in rated}


def _paired(cells: Sequence[str]) -> bool:
    """Whether each cell is a pair, or marks and meanings stand in turn. A measure may be called A-1."""
    return all(PAIR.match(f"{cell.strip()} ") for cell in cells) or all(
        re.fullmatch(MARK, cell.strip()) for cell in cells[::2]
    )


def _in_brackets(text: str, *, alone: bool) -> dict[str, str]:
    """The meanings that stand in brackets behind their marks, where the line holds several such pairs and no more."""
    called = CALLED.match(text)
    text = text[called.end() :] if called else text
    marks = list(IN_BRACKETS.finditer(text))
    if len(marks) < 2 or marks[0].start() or not (called or alone):
        return {}
    pairs: dict[str, str] = {}
    for mark, following in zip(marks, [*marks[1:], None], strict=False):
        meaning = mark["meaning"].strip()
        more = text[mark.end() : following.start() if following else len(text)].strip(BETWEEN)
        if (more and not more.startswith((":", "："))) or COUNT.fullmatch(meaning) or mark["mark"] in pairs:
            return {}
        pairs[mark["mark"]] = " ".join(f"{meaning}{more}".split())[:100]
    return {mark: meaning for mark, meaning in pairs.items() if code_of(mark) is not None}


def _open(text: str) -> bool:
    return sum(map(text.count, "(（")) > sum(map(text.count, ")）"))


def _pairs(text: str, pair: re.Pattern[str]) -> dict[str, str]:
    marks = list(pair.finditer(text))
    if STOPPED.intersection(mark["mark"] for mark in marks):
        marks = list(PAIR_OR_WORD.finditer(text))
    pairs: dict[str, str] = {}
    for mark, following in zip(marks, [*marks[1:], None], strict=False):
        end = following.start() if following else len(text)
        meaning = text[mark.end() : end]
        if _open(meaning) and text[end : end + 1] in (
            ")",
            "）",
        ):  # what closes it may stand before another mark
            meaning += text[end]
        meaning = meaning.strip(BETWEEN)
        if meaning.count("(") < meaning.count(")") or meaning.count("（") < meaning.count("）"):
            meaning = meaning.rstrip(")）")
        if not meaning or COUNT.fullmatch(meaning) or re.fullmatch(MARK, meaning):
            continue  # A B C D are marks, and none of them says what another means
        if code_of(mark["mark"]) is not None:
            pairs.setdefault(mark["mark"], " ".join(meaning.split())[:100])
    return pairs
