"""The words of table headers: which field a town means by them, and which of them we print ourselves."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import normalize

from app import fiscal_years
from app.documents.marks import SYMBOLS

# The first word of each is the one that our own documents print. Spaces, widths and brackets make no difference.
WORDS = {
    "path": "項目 番号 No No. 施策番号 事業番号 取組番号 計画番号 整理番号 管理番号 通番 通し番号 連番 "
    "項番 施策No 施策No. 事業No 事業No. 取組No 取組No. №",
    "section": "節 章 部 編 基本目標 基本方針 基本施策 基本方向 施策の方向 施策の方向性 施策の柱 柱 分野 "
    "施策分野 政策 大項目 中項目 小項目 大分類 中分類 小分類 目標 重点目標 重点項目 重点施策 "
    "施策目標 施策体系 体系 大施策 中施策 個別目標 基本課題 基本戦略 重点課題 政策目標 施策の基本方向",
    "title": "計画 取組 事業名 施策名 施策 事業 取組名 計画名 施策・事業名 施策名・事業名 事業・取組 "
    "事業・取組名 施策・事業 事業名・取組名 取組・事業名 具体的施策 具体的な施策 具体的取組 "
    "具体的な取組 主な取組 主な事業 主要施策 主要事業 個別施策 個別施策名 個別事業 個別事業名 事務事業 事務事業名 "
    "計画事業 計画事業名 推進事業 推進施策 施策の名称 事業の名称 取組の名称 施策名称 事業名称 取組名称 名称 取組項目 "
    "計画項目 施策項目 事業項目 計画・事業名",
    "implementation": "実施内容 実績 取組状況 実施状況 取組実績 実施実績 事業実績 取組結果 実施結果 取組内容・実績 "
    "取組の状況 実績内容 事業の実績 活動実績 実施内容・実績 実績・成果 取組内容・成果 "
    "実施した内容 主な実績 取組・実績 事業実施状況 実施状況・実績 取組の実績 取組の実施状況 "
    "施策の実施状況",
    "rating": "評価 評価結果 進捗状況 自己評価 進捗 進捗度 達成度 達成状況 評価区分 判定 進捗評価 進捗区分 "
    "評定 進捗状況評価 進捗状況の評価 達成状況の評価 達成度評価 ランク 評価ランク 評価点 "
    "進捗度評価 達成状況評価",
    "rationale": "理由・課題 理由 課題 評価理由 評価の理由 評価の根拠 評価理由・課題 評価の理由・課題 "
    "成果・課題 成果と課題 課題・問題点 問題点・課題 課題・改善点 今後の課題 現状と課題 "
    "課題と対応 課題・改善策 課題・改善点等 事業の課題 取組の課題 判断理由 判定理由 評価の判断理由 自己評価の理由 "
    "所見 評価コメント 評価の説明 備考 問題点",
    "next_plan": "計画内容 次年度計画内容 次年度計画 次年度の計画 次年度の計画内容 次年度の取組 "
    "次年度の取組内容 次年度の予定 次年度以降の取組 次年度に向けた取組 今後の取組 今後の方向性 "
    "今後の方針 今後の予定 今後の計画 今後の展開 今後の取組予定 今後の取組方針 今後の取組内容 "
    "今後の対応 翌年度計画 翌年度の計画 翌年度の取組 来年度計画 来年度の計画 来年度の取組 "
    "今後の方向 次年度の方針 次年度の方向性 次年度以降の方向性 次期計画の方向性 次期計画への方向性 "
    "取組予定 実施予定 以降の取組 以降の計画 以降の予定 以降の方向性 以降の方針",
    "department": "担当課 所管課 担当部署 所管部署 担当 所管 主管課 担当課名 所管課名 担当所属 担当部課 "
    "担当部局 担当係 課名 部署 部署名 関係課 担当課・係 担当部・課 主管 担当課室 "
    "所属 所属名 所属課 実施課 主担当 主担当課 主担当部署 主管部署 主管部課 所管部課 所管部局 所管部 部課名 課・係名 "
    "担当部署名 所管部署名 担当グループ 担当班 関係各課 関係部署",
    "fiscal_year": "年度 実施年度 評価年度 対象年度 報告年度",
    "code": "施策コード",
    "section_code": "節コード",
    "ordinal": "枝番",
    "rating_code": "評価コード",
}
RUNNING = {"番号", "no", "no.", "通番", "通し番号", "連番", "項番", "整理番号", "管理番号"}  # may count rows
EXACT = ("code", "section_code", "ordinal", "rating_code")  # where our own documents have to say all of it
YEARLY = ("implementation", "rating", "rationale", "next_plan")
FIELDS = (*WORDS, "extra", "ignore")  # what an explicit mapping may say of a column
PRINTED = {field: words.split()[0] for field, words in WORDS.items()} | {"rationale": "理由・課題等"}
WEAK = {"備考", "所見", "今後の課題", "問題点"}  # give way where another column is meant more plainly
UNSURE = dict.fromkeys(("取組内容", "取組の内容", "事業内容", "事業の内容"), ("title", "implementation"))
OUTER = ("section", "extra")  # what numbered headings without a known name may be
DATED = ("implementation", "next_plan", "title")  # what R5取組 may be

LONGEST = 100
EFFORT = re.compile("取り?組み?")
AND = re.compile("および|及び|並びに|[/／、,，&]")
VAGUE = re.compile("等(?=$|・)|欄$")
MARK = re.compile(r"[（(\[【〔〈<《].*?[)）\]】〕〉>》]|[※*＊]\d*|[\s:。.]+$")
GREGORIAN = r"(?:FY|西暦)?(?P<gregorian>(?:19|20|21)\d\d)(?:年度|年)?"
ERA = (
    r"(?<![A-Za-z])(?P<era>明治|大正|昭和|平成|令和|[MTSHR])"
    r"(?P<count>[0-9]{1,2}|元|[一二三四五六七八九]?十[一二三四五六七八九]?|[一二三四五六七八九])"
)
YEAR = re.compile(
    rf"{ERA}(?:年度|年)?(?:\({GREGORIAN}\)(?:年度|年)?)?|{GREGORIAN.replace('?P<gregorian>', '')}"
)
BARE = re.compile(r"(?<![0-9A-Za-z.])(?P<bare>[0-9]{1,2}|元)(?:年度|(?=実|評|計|取|理|進|達|課|予|の))")
DATE = re.compile(
    "(?:[./・][0-9]{1,2}|[0-9]{1,2}月)(?:[./・]?[0-9]{1,2}日?)?(?:末日?|時点|現在|の)*"
)  # behind a year
OF = "(?:の|における|分の?|末(?:時点|現在)?(?:の|における)?)"
OF_YEAR = re.compile(f"^(?:年度(?=.)|(?:当該|本|今|当|同)年度){OF}?")
MAIN = re.compile("^(?:主な|主要な|具体的な?)")
LINKED = re.compile(f"^{OF}")
AT_END = re.compile("^(?:年度)?(?:末(?:時点|現在)?)?")  # of the year, which nothing follows
PLANNED = re.compile("(?:予定|計画|方針|見込み?)(?:内容)?$")
BESIDE_YEAR = re.compile(
    r"(?:年度|の|における|主な|進捗|実績|取組|実施|評価|結果|報告|事業|施策|状況|内容|管理|成果|一覧|表|書|分|末|時点|現在"
    r"|[()\[\]【】〔〕〈〉《》<>‹›:・、,.■□●○◆◇▼▽▲△◎*-])*"
)
EARLIER = re.compile("^(?:前々?|昨|一昨)(?:年度|年|回)")
NO_RESULT = re.compile("(指標|予算|決算|目標|数値|事業費|金額|基準|値|前期|累計).*(実績|状況)$")
# 実績 below it is a figure; below a goal (基本目標) it is none.
MEASURED = re.compile("指標|事業費|予算|決算|(?<!基本)(?<!施策)(?<!政策)(?<!重点)目標|数値")
MONEY = re.compile(r"[(\[](?:単位[:・]?)?[百千万億]*円[)\]]")
BY_WHOM = re.compile(
    "第?[一二三1-3]次|最終|総合|内部|外部|自己|庁内|行政|市民|委員会?|有識者|事務局|担当課|所管課|主管課"
    "|.{0,6}(?:会議|協議会|審議会)"
)
VALUE = re.compile(".{0,10}(基準|現状|現況|目標|当初|策定時の?)(値|数値)")
RATED = re.compile(".{1,10}評価(結果|区分)?$")
AMOUNT = re.compile(
    rf"約?[-▲△−]?[0-9][0-9,.]*(%|割|点|件|人|名|回|個|校|園|か所|箇所|世帯|団体|円|千円|万円|億円)?|[A-Z]|[{SYMBOLS}]"
)
RATE = re.compile(r"約?[-▲△−]?(?:[0-9][0-9,.]*%|[0-9]+\.[0-9]+|[0-9]{2,})")  # 5 may be a mark


@dataclass(frozen=True, slots=True)
class Header:
    """What a header cell says: one field, or several that it might mean, and the year that it gives."""

    fields: tuple[str, ...]
    year: int | None = None
    bare: int | None = None  # a year without its era
    weak: bool = False

    @property
    def field(self) -> str | None:
        return self.fields[0] if len(self.fields) == 1 else None


def plain(text: str) -> str:
    """A header as it is compared: one width, no spaces, one spelling of what is spelled in several ways."""
    text = "".join(normalize("NFKC", text).split())
    text = AND.sub("・", EFFORT.sub("取組", text))
    return VAGUE.sub("", text).replace("・・", "・")


BY_WORD = {plain(word).lower(): field for field, words in WORDS.items() for word in words.split()}
KNOWN = frozenset(BY_WORD)


@lru_cache(maxsize=20_000)
def header(cell: str) -> Header | None:
    """The field that a header cell names and the fiscal year it gives; None for any other cell."""
    if len(cell) > LONGEST or not cell.strip():
        return None
    year, bare, words = _take_year(plain(cell))
    if year == _SEVERAL:  # a term in brackets, as in 計画（H29～H33）, says nothing about the column
        year, bare, words = _take_year(MARK.sub("", plain(cell)))
    if year == _SEVERAL or cell.startswith("extra."):
        return None
    if EARLIER.match(words) or MONEY.search(words):
        return None
    words = LINKED.sub("", words) if year is not None or bare is not None else words
    for form in dict.fromkeys((words, MARK.sub("", words), words.strip("()[]【】〔〕"))):
        found = _fields(_bare_words(form), dated=year is not None or bare is not None)
        if found and not (found[0] == ("title",) and OF_YEAR.match(form)):  # 年度計画 is what was planned
            return Header(found[0], year, bare, found[1])
    return None


def year_alone(cell: str) -> Header | None:
    """A header cell that tells a fiscal year and nothing else, as one above several columns does."""
    if len(cell) > LONGEST or not cell.strip():
        return None
    year, bare, words = _take_year(plain(cell))
    if (
        year != _SEVERAL
        and (year or bare is not None)
        and not MARK.sub("", AT_END.sub("", words)).strip("()・")
    ):
        return Header((), year, bare)
    return None


def year_told(cell: str) -> tuple[int | None, bool]:
    """The year of a line that says little else (2. 令和5年度の取組状況), and whether it is about what is planned."""
    year, _, words = _take_year(plain(cell[:LONGEST]))
    planned = PLANNED.search(words)
    if year in (None, _SEVERAL) or not BESIDE_YEAR.fullmatch(words[: planned.start()] if planned else words):
        return None, False
    return year, planned is not None


def without_year(line: str) -> str | None:
    """What a line says besides the one year that it tells."""
    year, _, words = _take_year(plain(line[:LONGEST]))
    return None if year in (None, _SEVERAL) else words


def year_in(cell: str) -> tuple[int | None, int | None]:
    """The one year that a header cell tells, with or without its era, whatever its other words are."""
    year, bare, _ = _take_year(plain(cell[:LONGEST]))
    return (None, None) if year == _SEVERAL else (year, bare)


def is_rater(cell: str) -> bool:
    """Who rates, or at which turn, as it stands below 評価."""
    return BY_WHOM.fullmatch(plain(cell[:LONGEST])) is not None


def is_value(cell: str) -> bool:
    """A header of values that the work is held against, such as 基準値, whose year is another one."""
    return VALUE.fullmatch(plain(cell[:LONGEST])) is not None


def is_measured(cell: str) -> bool:
    """A header above those of figures, such as 成果指標, whose 実績 tells no work."""
    return len(cell) <= LONGEST and MEASURED.search(plain(cell)) is not None


def is_amount(cell: str) -> bool:
    """A number, perhaps with its unit, or a mark: what stands below headers."""
    return len(cell) <= LONGEST and AMOUNT.fullmatch("".join(normalize("NFKC", cell).split())) is not None


def is_rate(cell: str) -> bool:
    """How much was reached, in percent or so: 80%, 98.5, 102."""
    return len(cell) <= LONGEST and RATE.fullmatch("".join(normalize("NFKC", cell).split())) is not None


_SEVERAL = -1


def _take_year(words: str) -> tuple[int | None, int | None, str]:
    """The one year that the words give, with or without its era, and the words without it."""
    found = list(YEAR.finditer(words))
    if len(found) > 1:
        same = None if any(DATE.match(words, name.end()) for name in found) else _same_year(found)
        return (
            (_SEVERAL, None, words) if same is None else (same, None, YEAR.sub("", words).replace("()", ""))
        )
    if found and (date := DATE.match(words, found[0].end())):  # of 令和6年3月末 the fiscal year is not plain
        return None, None, words[: found[0].start()] + words[date.end() :]
    if found:
        try:
            year = fiscal_years.parse(found[0][0].removesuffix("年度").removesuffix("年"))
        except fiscal_years.NoYear:
            return None, None, words
        return year, None, words[: found[0].start()] + words[found[0].end() :]
    if bare := BARE.search(words):
        number = 1 if bare["bare"] == "元" else int(bare["bare"])
        return None, number, words[: bare.start()] + words[bare.end() :]
    return None, None, words


def _same_year(found: Iterable[re.Match[str]]) -> int | None:
    """The year that is told by two names, as 平成31年度 and 令和元年度."""
    try:
        years = {fiscal_years.parse(name[0].removesuffix("年度").removesuffix("年")) for name in found}
    except fiscal_years.NoYear:
        return None
    return years.pop() if len(years) == 1 else None


def _bare_words(words: str) -> str:
    return MARK.sub("", OF_YEAR.sub("", words)).strip("・:.()")


def _fields(words: str, *, dated: bool) -> tuple[tuple[str, ...], bool] | None:
    if words in ("計画", "予定") and dated:  # H30計画: a title has no year
        return ("next_plan",), False
    if dated and MAIN.sub("", words) in ("取組", *UNSURE):  # 主な取組 of a year, too
        return DATED, False
    if field := BY_WORD.get(words.lower()):
        return (field,), words in WEAK
    if main := MAIN.match(words):  # 主な取組内容 is 取組内容, but 主な目標 are no sections
        found = _fields(words[main.end() :], dated=dated)
        return found if found and not {*YEARLY}.isdisjoint(found[0]) else None
    if words in UNSURE:
        return UNSURE[words], False
    if NO_RESULT.search(words):
        return None
    if RATED.fullmatch(words):
        return ("rating",), False
    parts = [part for part in words.split("・") if part]
    ahead = "今後の" if words.startswith("今後の") else ""  # 今後の課題・方向性
    meant = {BY_WORD.get(part.lower()) or BY_WORD.get(ahead + part.lower()) for part in parts}
    if len(parts) > 1 and len(meant) == 1 and None not in meant:
        return (BY_WORD[parts[0].lower()],), False
    if len(parts) > 1 and None not in meant:
        return tuple(sorted(str(field) for field in meant)), False
    return None


# ---------------------------------------------------------------------------------------------------------
# Years in the lines above a table

TOLD = re.compile(
    rf"(?:{ERA}年度|(?:FY|西暦)?(?P<g>(?:19|20|21)\d\d)年度|{ERA.replace('?P<era>', '').replace('?P<count>', '')}"
    r"(?=の?(?:進捗|実績|評価|取組|実施|結果|報告)|[\s)】]|$)|(?<!\d)(?:19|20|21)\d\d(?=の?(?:実績|進捗)))"
)
REPORTED = re.compile(r"^(?:の|における|\s|\(\d{4}年度?\))*(?:進捗|実績|評価|実施|取組|結果|報告|事業)")
REPORT = re.compile(
    "進捗|進行管理|(?:実施|取組|取り組み|達成)状況|実績|報告|評価(?:結果|表|書|シート|一覧|$)|点検|検証"
)
MADE = re.compile(r"\s*(?:改[定訂]|策定|制定|作成|公表|発行|版|第\s*\d+\s*[回号])")
RANGE = re.compile(r"[~〜～\-－–]|から")


def years_of(line: str) -> tuple[list[int], list[int], list[int]]:
    """The fiscal years that a line names: those that it says it reports on, those that it may be about, and all.

    It is not about the ends of a term, nor about the year in which something was made.
    """
    text = normalize("NFKC", line)
    reported: list[int] = []
    about: list[int] = []
    every: list[int] = []
    for found in TOLD.finditer(text):
        try:
            year = fiscal_years.parse(found[0].strip())
        except fiscal_years.NoYear:
            continue
        before, after = text[: found.start()].rstrip(), text[found.end() :].lstrip()
        in_range = bool(RANGE.search(before[-2:]) or RANGE.match(after[:2]))
        every.append(year)
        if in_range or MADE.match(after):
            continue
        about.append(year)
        if REPORTED.match(after):
            reported.append(year)
    return reported, about, every


def of_a_year(title: str) -> bool:
    """Whether a title is rather that of a yearly report than that of its plan."""
    return bool(years_of(title)[1]) or REPORT.search(title) is not None


def spaced(text: str) -> str:
    """A header's name as a column of its own: printed, on one line."""
    return re.sub(r"\s*\n\s*", "", text).strip().translate(dict.fromkeys(range(32)))[:LONGEST]
