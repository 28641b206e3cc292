"""The marks that measures are rated with, and the codes that they stand for: ◎, B拡, △コロナ.

What says that there is no rating, as a dash or 評価対象外 does, stands for no code. Words after a sign explain it,
and so does what follows a letter in brackets or after a colon: they are no part of the code, unless they hold a
second mark outside brackets (○→◎), which is not for us to choose from. A footnote's mark is none either.
"""

import re
from functools import lru_cache

from app.documents.numbering import ASCII
from app.kit.text import fold

# The dashes are many because converters turn the one of CP932 into different characters.
PRINTED = (
    *"-‐‑‒–—―−－ー─／/＼",
    *("--", "ーー", "――"),
    *("評価対象外", "対象外", "評価なし", "評価無し", "未評価", "評価せず", "評価不能", "評価不可"),
    *("該当なし", "該当無し", "なし", "無し"),
)
UNRATED = {fold(mark) for mark in PRINTED}
# These say that a measure is not carried out, or no more, unless a legend or the plan's scale has them as ratings.
TICKS = {*"○〇◯●✓✔☑レ"}  # in a column that asks whether
STOPPED = {"休止", "廃止", "中止", "完了", "終了"}
SYMBOLS = "◎○〇◯●△▲▽▼×✕☓✖☆★◇◆□■"
# What is one mark to whoever reads it, in one width and one shape: Ａ and A, 〇 and ○, ✕ and ×.
ALIKE = ASCII | str.maketrans("◯〇✕✖☓", "○○×××")
MODIFIED = re.compile(
    rf"([{SYMBOLS}])(?![{SYMBOLS}]).+|([A-ZＡ-Ｚa-zａ-ｚ0-9])\s*(?:[(（].+[)）]|[:：].+)", re.S
)
# A sign, but for that of a loss (▲5%), or a letter or figure by itself: B in A、B, and not in B社.
SECOND = re.compile(rf"(?![▲△][0-9０-９])[{SYMBOLS}]|(?<!\w)[A-ZＡ-Ｚa-zａ-ｚ](?!\w)")
SECOND_FIGURE = re.compile(r"(?<!\w)[0-9０-９](?!\w)")
BRACKETED = re.compile(r"[(（\[［【〔「][^(（\[［【〔「)）\]］】〕」]*[)）\]］】〕」]")  # the innermost
# Nothing is tried twice (++): a long cell would take minutes.
FOOTNOTE = re.compile(r"(?:\s*+[（(]?(?:※|[*＊注]\s*+(?=[0-9０-９]))[0-9０-９\s,，、]*+[)）]?)++$")

LONGEST = 100  # a cell that is longer holds no mark, and whoever reads on will say so


@lru_cache
def code_of(mark: str) -> str | None:
    if len(mark) > LONGEST:
        return mark
    mark = FOOTNOTE.sub("", mark) or mark
    if not mark.strip() or fold(mark) in UNRATED:
        return None
    # Why there is none may stand behind it, or it stands in brackets itself.
    bare = fold(BRACKETED.sub("", mark) or mark[1:-1])
    if bare in UNRATED and not SECOND.search(mark):
        return None
    if bare in STOPPED and not SECOND.search(mark):
        return bare
    found = MODIFIED.fullmatch(mark)
    first = found and (found[1] or found[2])
    return first if first and not _has_second(first, mark) else mark


def _has_second(first: str, mark: str) -> bool:
    """Whether another mark stands beside the first, outside brackets."""
    rest = mark[len(first) :]
    while (outside := BRACKETED.sub(" ", rest)) != rest:
        rest = outside
    return bool(SECOND.search(rest) or (first.isdecimal() and SECOND_FIGURE.search(rest)))
