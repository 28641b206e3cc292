"""Legends: what a document says that its marks mean (凡例 ◎：達成 ○：おおむね達成)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.documents.reading import Row

MARK = "[◎○〇◯●△▲▽▼×✕☆★◇◆□■]|[SABCDEFＳＡＢＣＤＥＦ](?![A-Za-zＡ-Ｚａ-ｚ])"
PAIR = re.compile(
    rf"(?:^|[\s　、，,;；／/|｜「(（【\[…】\])）:：]|凡例|評価|区分|基準)\s*(?P<mark>{MARK})"
    r"\s*(?:[:：＝=…‥・]+|\s|[-－―]+|→)\s*"
)
# A quick look, for the many rows that are none.
BEGINS = re.compile(rf"[\s※＊*【\[（(〔「]*(?:凡|評|記|{MARK})")
HEADS = re.compile(
    r"[【\[（(〔]?\s*(凡\s*例|評価の?区分|評価の?基準|評価の?凡例|評価の?記号|評価の?目安|記号の?説明)"
)


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
        text = " ".join(dict.fromkeys(cell.strip() for cell in cells)).lstrip("※＊* ")
        if HEADS.match(text):
            heads.add(place)
        elif not PAIR.match(text) or (len(cells) > 2 and not PAIR.match(cells[0].strip() + " ")):
            continue
        found[place] = _pairs(text)
    taken: set[int] = set()
    for place, pairs in found.items():
        near = {place - 1, place + 1} & found.keys()
        if (
            place in heads
            or len(pairs) > 1
            or (len(rows[place].filled()) <= 2 and any(found[other] for other in near))
        ):
            taken.add(place)
    codes: dict[str, str] = {}
    for place in sorted(taken):
        codes |= {mark: meaning for mark, meaning in found[place].items() if mark not in codes}
    return Legend(codes, frozenset(taken))


def _pairs(text: str) -> dict[str, str]:
    marks = list(PAIR.finditer(text))
    pairs: dict[str, str] = {}
    for mark, following in zip(marks, [*marks[1:], None], strict=False):
        meaning = text[mark.end() : following.start() if following else len(text)]
        meaning = meaning.strip(" 　、，,;；／/|｜・…」】]\n")
        if meaning.count("(") < meaning.count(")") or meaning.count("（") < meaning.count("）"):
            meaning = meaning.rstrip(")）")
        if meaning:
            pairs.setdefault(mark["mark"], " ".join(meaning.split())[:100])
    return pairs
