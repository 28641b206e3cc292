"""How a workbook shows its numbers: 126 as 126件, -5 as ▲ 5, 46113 as 令和8年度. Simple formats only."""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

from app.fiscal_years import ERAS

Part = tuple[str, str]  # what kind of part of a format it is, and what stands there

LONGEST = 255  # characters that spreadsheet programs take as a format
MOST_DECIMALS = 10
UNITS = [Decimal(1).scaleb(-decimals) for decimals in range(MOST_DECIMALS + 1)]
TOO_LARGE = 1e13
# Without a name: what is no text, as colours and room for a sign. Anything else makes a format one that is not simple.
PART = re.compile(
    r"""(?P<section>;)|"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|[_*].|\[(?:[a-z]{3,7}|color ?[0-9]+)\]"""
    r"|\[\$(?P<currency>[^\[\]-]*)(?:-(?:0*411|ja-jp(?:-x-gannen)?))?\]"
    r"|(?P<digits>General|[#0?][#0?,]*(?:\.[#0?]*)?|\.[#0?]+)|\s*(?P<percent>%)"
    r"|(?P<date>g+|e+|y+|m+|d+)|(?P<plain>[-+ ().¥$]|[^\x00-\x7f])|(?P<other>.)",
    re.I | re.S,
)
DIGITS = re.compile(rf"General|(?:[#?]*,[#?]*[#?0]|[#?]*0*)(?:\.[0#?]{{0,{MOST_DECIMALS}}})?", re.I)
DATES = {"yyyy", "yy", "m", "mm", "d", "dd", "ggg", "gg", "g", "ee", "e"}
# Each era began within its first year.
BEGAN = (date(2019, 5, 1), date(1989, 1, 8), date(1926, 12, 25), date(1912, 7, 30), date(1868, 1, 25))

# Formats that have a number only, as they are in Japanese.
ACCOUNTING = '_ {0}* {1}_ ;_ {0}* -{1}_ ;_ {0}* "-"_ ;_ @_ '
ERA_DAY, ERA_SHORT = '[$-411]ggge"年"m"月"d"日"', "[$-411]ge.m.d"
BUILT_IN = {
    **{1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?"},
    **{5: "¥#,##0;¥-#,##0", 6: "¥#,##0;¥-#,##0", 7: "¥#,##0.00;¥-#,##0.00", 8: "¥#,##0.00;¥-#,##0.00"},
    **{13: "# ??/??", 37: "#,##0;-#,##0", 38: "#,##0;-#,##0", 39: "#,##0.00;-#,##0.00", 48: "##0.0E+0"},
    **{40: "#,##0.00;-#,##0.00", 41: ACCOUNTING.format("", "#,##0"), 42: ACCOUNTING.format("¥", "#,##0")},
    **{43: ACCOUNTING.format("", "#,##0.00"), 44: ACCOUNTING.format("¥", "#,##0.00")},
    **dict.fromkeys((27, 36, 50, 57), ERA_SHORT),
    **dict.fromkeys((28, 29, 51, 54, 58), ERA_DAY),
    **{30: "m/d/yy", 31: 'yyyy"年"m"月"d"日"', 32: 'h"時"mm"分"', 33: 'h"時"mm"分"ss"秒"'},
    **dict.fromkeys((34, 52, 55), 'yyyy"年"m"月"'),
    **dict.fromkeys((35, 53, 56), 'm"月"d"日"'),
}
AS_IT_IS = ("", "general", "@")


def plain(number: float) -> str:
    """A number without a format."""
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


@dataclass(frozen=True, slots=True)
class Section:
    """What one of the sections of a format prints. Nothing: it is not simple, or hides the number."""

    before: str = ""
    digits: str = ""
    after: str = ""
    shift: int = 0  # a percentage is shown in hundredths
    day: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    sections: list[Section]
    first_year: str  # of an era
    day_zero: date

    @classmethod
    def of(cls, code: str, from_1904: bool) -> "Format":
        parts: list[list[Part]] = [[]] if len(code) <= LONGEST else [[("other", code)]]
        for part in PART.finditer(code, 0, LONGEST):
            if part.lastgroup == "section":
                parts.append([])
            elif part.lastgroup:
                parts[-1].append((part.lastgroup, part[part.lastgroup]))
        first_year = "元" if "x-gannen" in code.lower() else "1"
        return cls(
            [_section(its) for its in parts],
            first_year,
            date(1904, 1, 1) if from_1904 else date(1899, 12, 30),
        )

    def shown(self, number: float) -> str | None:
        """A number as it is shown, or None where that is not simple."""
        if not abs(number) < TOO_LARGE:
            return None
        section, sign = self.sections[0], "-" if number < 0 else ""
        if number < 0 and len(self.sections) > 1:
            section, sign = self.sections[1], ""
        elif number == 0 and len(self.sections) > 2:
            section = self.sections[2]
        if section.day:
            return self._day(section.day, number)
        digits = _digits(section.digits, abs(number), section.shift) if section.digits else ""
        if sign and not re.search("[1-9]", digits):  # -0.01 in whole numbers
            sign = ""
        text = sign + section.before + digits + section.after
        return text if text and not text.isspace() else None

    def _day(self, parts: tuple[Part, ...], number: float) -> str | None:
        if not 61 <= number < 2_900_000:  # spreadsheets count a 29 February 1900
            return None
        day = self.day_zero + timedelta(int(number))
        began, era = next(each for each in zip(BEGAN, ERAS, strict=True) if each[0] <= day)
        year = day.year - began.year + 1
        shown = {
            **{"yyyy": f"{day.year}", "yy": f"{day:%y}", "m": f"{day.month}", "mm": f"{day:%m}"},
            **{"d": f"{day.day}", "dd": f"{day:%d}", "ggg": era.name, "gg": era.name[0], "g": era.letter},
            **{"e": f"{year}" if year > 1 else self.first_year, "ee": f"{year:02}"},
        }
        return "".join(shown[text.lower()] if kind == "date" else text for kind, text in parts)


def _section(parts: list[Part]) -> Section:
    kinds = [kind for kind, _ in parts]
    texts = [text for _, text in parts]
    if "other" in kinds or kinds.count("digits") > 1 or kinds.count("percent") > kinds.count("digits"):
        return Section()
    if "date" in kinds:
        dates = {text.lower() for kind, text in parts if kind == "date"}
        return Section(day=tuple(parts)) if dates <= DATES and "digits" not in kinds else Section()
    place = kinds.index("digits") if "digits" in kinds else len(parts)
    digits = "".join(texts[place : place + 1])
    if not DIGITS.fullmatch(digits):
        return Section()
    return Section(
        "".join(texts[:place]), digits, "".join(texts[place + 1 :]), 2 if "percent" in kinds else 0
    )


def _digits(form: str, number: float, shift: int) -> str:
    if form.lower() == "general":
        return plain(number)
    whole, point, decimals = form.partition(".")
    rounded = Decimal(int(number))
    if shift or decimals or rounded != number:
        exact = Decimal(f"{number:.15g}").scaleb(shift)  # spreadsheets know 15 digits of a number
        rounded = exact.quantize(UNITS[len(decimals)], ROUND_HALF_UP)
    before, _, after = (f"{rounded:,f}" if "," in whole else f"{rounded:f}").partition(".")
    if before == "0" and "0" not in whole:
        before = ""
    always = len(decimals.rstrip("#?"))  # decimals that are shown even where they are 0
    return before.zfill(whole.count("0")) + point + after[:always] + after[always:].rstrip("0")
