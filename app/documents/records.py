"""Our own exports and snapshots, read back: rows that name their fields as the API does."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import orjson

from app import fiscal_years
from app.documents.reading import Problem, Records, Row, Sheet
from app.documents.tables import LONGEST, MOST_PROBLEMS, ONE_LINE, UNKEEPABLE, rest
from app.kit.numbers import LARGEST
from app.kit.text import ONE_LINE as ONE_LINE_CHARACTERS
from app.kit.text import excerpt

# What a row of each noun tells, besides what names it. Whatever else an export shows follows from these.
TOLD = {
    "plan": (
        "title",
        "municipality_code",
        "municipality",
        "first_fiscal_year",
        "last_fiscal_year",
        "ratings",
        "ratings_closed",
        "licence",
        "source_url",
    ),
    "section": ("label", "title", "position"),
    "measure": ("section", "title", "path", "position"),
    "evaluation": (
        "implementation",
        "rating",
        "rating_printed",
        "rationale",
        "next_plan",
        "department",
        "extra",
    ),
}
NAMES = {
    "plan": ("slug",),
    "section": ("plan", "code"),
    "measure": ("plan", "code"),
    "evaluation": ("plan", "measure_code", "fiscal_year", "ordinal"),
}
EVERY = ("id", "key", "municipality_code", "version", "created_at", "updated_at")
SHOWN = {
    "plan": ("origin",),
    "section": (),
    "measure": (),
    "evaluation": (
        "section",
        "measure_id",
        "measure_title",
        "fiscal_year_label",
        "document_id",
        "document",
        "source_line",
    ),
}
OWN = {noun: {*NAMES[noun], *TOLD[noun], *SHOWN[noun], *EVERY} for noun in TOLD}
COLUMNS = {name for names in OWN.values() for name in names} | {"entity", "data"}
NOUNS = {"plan": "計画", "section": "節", "measure": "施策", "evaluation": "年度評価"}
YEARS = {"first_fiscal_year", "last_fiscal_year"}
NUMBERS = {"ordinal", "position", *YEARS}
LISTS = {"path", "ratings", "extra"}
FORMS = {
    "path": ('["第1節", "1"] のような配列', 'an array such as ["第1節", "1"]'),
    "ratings": ('[{"code": "A"}] のような配列', 'an array such as [{"code": "A"}]'),
    "extra": (
        '{"列の名前": "文字列"} のようなオブジェクト',
        'an object such as {"name of a column": "its text"}',
    ),
}
TRUTHS = {"true": True, "false": False}
# The most characters that a text may have.
MOST = {
    name: LONGEST.get("rating" if name == "rating_printed" else name, 500)
    for names in TOLD.values()
    for name in names
    if name not in NUMBERS | LISTS | {"ratings_closed"}
}
SPREAD = re.compile(r"(path|extra)\.(.+)", re.S)
BEYOND = ""  # the name of a cell that no name stands above
PARTS = (list, dict)  # what has parts is no single value
ONE = re.compile(rf"[{ONE_LINE_CHARACTERS.refused}\ud800-\udfff]")


@dataclass
class Spoken:
    """The rows of each noun, and what was wrong with them."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in TOLD})
    problems: list[Problem] = field(default_factory=list)
    wrongs: int = 0  # of which the first are told
    lines: dict[tuple[Any, ...], int] = field(default_factory=dict)  # of each row, by what names it
    left: int = 0  # rows of documents, which cannot be made from what is told about them

    def wrong(self, line: int, text: Any, ja: str, en: str) -> None:
        self.wrongs += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(line, None, excerpt(str(text), 100), ja, en))


def in_our_words(sheet: Sheet) -> Records | None:
    """The rows of a table whose header is that of one of our lists; None for any other table."""
    filled = _filled(sheet)
    header = _header(filled)
    if len(header) < 2 or not all(map(_is_ours, header)) or len(set(header)) < len(header):
        return None
    spread = {name: (its[1], its[2]) for name in header if (its := SPREAD.fullmatch(name))}
    return Records(sheet.encoding, [(row.line, _object(header, spread, row)) for row in filled[1:]])


# Exports that cannot come back, told by their columns.
NOT_ROWS = (
    (
        {"rating", "count", "share"},
        "集計は、年度評価から数えたものです。取り込むには、年度評価の一覧を使ってください。",
        "A summary is counted from evaluations. Import the list of these.",
    ),
    (
        {"sha256", "media_type", "size"},
        "資料の一覧には資料の中身がありません。取り込むには、資料そのものを使ってください。",
        "A list of documents does not hold them. Import the documents themselves.",
    ),
)


def strangers(sheet: Sheet) -> list[Problem]:
    """What is wrong with the header of a table most of whose columns, but not all, are those of our lists."""
    filled = _filled(sheet)
    header = _header(filled)
    for columns, ja, en in NOT_ROWS:
        if columns <= {*header}:
            return [Problem(filled[0].line, None, "", ja, en)]
    named = [name for name in header if _is_ours(name)]
    if len(named) < 3 or len(named) <= len(header) / 2:
        return []
    problems = []
    for column, name in enumerate(header, 1):
        if not _is_ours(name):
            ja, en = _like(name)
            wrong = (
                f"一覧にこの名前の列はありません。{ja}"
                f"取り込まない列なら消し、残す列なら extra.{excerpt(name, 30)} としてください。",
                f"No list has a column of this name. {en}Remove it, or keep it as extra.{excerpt(name, 30)}.",
            )
        elif name in header[: column - 1]:
            wrong = (
                "この列は 2 つあります。どちらかを消してください。",
                "This column is there twice. Remove one.",
            )
        else:
            continue
        problems.append(Problem(filled[0].line, column, excerpt(name, 100), *wrong))
    return problems[:MOST_PROBLEMS]


def _filled(sheet: Sheet) -> list[Row]:
    return [row for row in sheet.rows if any(map(str.strip, row.cells))]


def _header(filled: Sequence[Row]) -> list[str]:
    cells = filled[0].cells if filled else []
    header = [cell if cell.startswith("extra.") else cell.strip() for cell in cells]
    while header and not header[-1]:
        header.pop()
    return header


def _is_ours(name: str) -> bool:
    return name in COLUMNS or SPREAD.fullmatch(name) is not None


def _object(header: Sequence[str], spread: Mapping[str, tuple[str, str]], row: Row) -> dict[str, Any]:
    """A row of cells as the object it was: what was spread over columns is put together again."""
    cells: dict[str, Any] = dict(zip(header, [cell or None for cell in row.cells], strict=False))
    if beyond := [cell for cell in row.cells[len(header) :] if cell.strip()]:
        cells[BEYOND] = beyond[0]
    if not spread:
        return cells
    told: dict[str, Any] = {}
    for name, cell in cells.items():
        if name not in spread:
            told[name] = cell
        elif spread[name][0] == "path":
            told.setdefault("path", []).extend([cell] if cell else [])
        else:
            told.setdefault("extra", {}).update({spread[name][1]: cell} if cell else {})
    return told


def understand(records: Records, plan: str | None = None) -> Spoken:
    """The rows, which are of this plan where they name none."""
    spoken = Spoken(problems=records.unclear[:MOST_PROBLEMS], wrongs=len(records.unclear))
    for line, whole in records.objects:
        entity, row = _entity(whole)
        if (
            plan is not None
            and entity is not None
            and "plan" in NAMES.get(entity, ())
            and not row.get("plan")
        ):
            row = {**row, "plan": _by_key(entity, row).get("plan", plan)}
        if entity in ("snapshot", "document"):
            spoken.left += entity == "document"
        elif entity is None:
            spoken.wrong(line, orjson.dumps(whole, default=str).decode(), *_no_row(whole))
        elif (made := _row(spoken, entity, row, line)) is not None:
            first = spoken.lines.setdefault((entity, *[made[name] for name in NAMES[entity]]), line)
            if first == line:
                spoken.rows[entity].append(made)
            else:
                spoken.wrong(
                    line,
                    "/".join(str(made[name]) for name in NAMES[entity]),
                    f"{first} 行目にも、同じキーの行があります。どちらかを消してください。",
                    f"Line {first} has the same key. Remove one of them.",
                )
    spoken.problems.sort(key=lambda problem: problem.line or 0)
    spoken.problems += rest(spoken.wrongs - len(spoken.problems))
    return spoken


def _no_row(row: Mapping[str, Any]) -> tuple[str, str]:
    """Why this is no row."""
    if "entity" in row:
        return (
            "変更履歴のこの行には、行の中身（data）がありません。削除は取り込めないので、この行を除いてください。",
            "This entry of the feed has no row (data). What was removed cannot be imported: leave it out.",
        )
    for columns, ja, en in NOT_ROWS:
        if columns <= row.keys():
            return ja, en
    if "code" in row:
        return (
            "節の行か施策の行か分かりません。節なら label（なければ null）、施策なら section を加えてください。",
            "This may be a section or a measure. Give a section its label (null if it has none), "
            "or a measure its section.",
        )
    return (
        "何の行か分かりません。計画・節・施策・年度評価の一覧やスナップショットの形にしてください。",
        "This is no row of a plan, section, measure or evaluation as lists and snapshots show them.",
    )


def _entity(row: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
    if row.get("entity") in ("snapshot", "document"):
        return row["entity"], row
    if "entity" in row:
        known = row["entity"] in TOLD and isinstance(row.get("data"), dict)
        return (row["entity"], row["data"]) if known else (None, row)
    if "sha256" in row:
        return "document", row
    if "slug" in row:
        return "plan", row
    if "measure_code" in row and ("fiscal_year" in row or "key" in row):
        return "evaluation", row
    key = row.get("key")
    if isinstance(key, str) and key.count("/") == 3:
        return "evaluation", row
    if "code" in row and ("section" in row or "path" in row):
        return "measure", row
    return ("section", row) if "code" in row and "label" in row else (None, row)


def _row(spoken: Spoken, entity: str, told: Mapping[str, Any], line: int) -> dict[str, Any] | None:
    row: dict[str, Any] = {"line": line}
    before = spoken.wrongs
    by_key = _by_key(entity, told)
    for name in NAMES[entity]:
        value = told.get(name)
        value = by_key.get(name) if value is None else value
        if value is None or isinstance(value, PARTS):
            spoken.wrong(line, "", f"{name} がありません。", f"{name} is missing.")
            return None
        value = value.strip() if isinstance(value, str) else value
        row[name] = value if name in ("fiscal_year", "ordinal") else str(value)
    if entity == "evaluation":
        row["fiscal_year"] = _year(spoken, row["fiscal_year"], line)
        row["ordinal"] = _number(spoken, row["ordinal"], line, "ordinal", least=1)
    said = told.get("fiscal_year_label")
    if entity == "evaluation" and said and row["fiscal_year"] not in (None, _year(spoken, said, line)):
        spoken.wrong(
            line,
            said,
            f"fiscal_year は {row['fiscal_year']} ですが、fiscal_year_label は {excerpt(str(said), 30)} です。"
            "違うほうを直すか、fiscal_year_label を空にしてください。",
            f"fiscal_year is {row['fiscal_year']}, and fiscal_year_label is {excerpt(str(said), 30)}. "
            "Correct what is wrong, or leave the label empty.",
        )
    for name, part in by_key.items():
        if row[name] is not None and str(row[name]) != part:
            spoken.wrong(
                line,
                told["key"],
                f"key は {excerpt(str(told['key']))} ですが、{name} は {excerpt(str(told[name]))} です。"
                "違うほうを直してください（表計算ソフトは 1-2 を日付に変えます）。"
                "新しい行なら key を空にしてください。",
                f"The key says {excerpt(str(told['key']))}, and {name} says {excerpt(str(told[name]))}. "
                "Correct what is wrong (spreadsheets make dates of 1-2), or leave the key empty for a new row.",
            )
    for name in told.keys() - OWN[entity]:
        if name not in COLUMNS:
            spoken.wrong(line, told[name] if name == BEYOND else name, *_stranger(name))
        elif told[name] not in (None, ""):  # lists that were put together have blank cells
            spoken.wrong(line, name, *_misplaced(name, entity))
    if entity == "evaluation":
        row["title"] = told.get("measure_title")
        row["section"] = told.get("section")
    for name in TOLD[entity]:
        if name in told:
            value = told[name]
            row[name] = value if _is_sound(name, value) else _value(spoken, name, value, line)
    return row if spoken.wrongs == before else None


def _stranger(name: str) -> tuple[str, str]:
    """What to do about a name that no row has."""
    if name == BEYOND:
        return (
            "この行には、見出しより右にもセルがあります。セルの中のコンマを引用符で囲むか、見出しに列の名前を書いてください。",
            "This line has a cell beyond its header. Quote a comma inside a cell, or name the column in the header.",
        )
    if name == "evaluations":
        return (
            "施策の中の年度評価は取り込めません。年度評価の一覧として送ってください。",
            "Evaluations inside a measure cannot be imported. Send them as a list of evaluations.",
        )
    ja, en = _like(name)
    return (
        f"一覧に {excerpt(name, 30)} という項目はありません。{ja}"
        "取り込まない項目なら消し、残すなら extra に入れてください。",
        f"No list has a field {excerpt(name, 30)}. {en}Remove it, or keep it within extra.",
    )


def _misplaced(name: str, noun: str) -> tuple[str, str]:
    """What to do about a name that is one of other rows."""
    like = next((own for own in (*NAMES[noun], *TOLD[noun], *SHOWN[noun]) if own.endswith(f"_{name}")), None)
    ja, en = (f"{like} ではありませんか。", f"Is it {like}? ") if like else ("", "")
    return (
        f"{NOUNS[noun]}の行に {name} という項目はありません。{ja}取り込まない項目なら消してください。",
        f"A row of {'an' if noun == 'evaluation' else 'a'} {noun} has no field {name}. {en}Remove it otherwise.",
    )


def _like(name: str) -> tuple[str, str]:
    """Which name was most likely meant."""
    like = get_close_matches(name, COLUMNS, 1)
    return (f"{like[0]} ではありませんか。", f"Is it {like[0]}? ") if like else ("", "")


def _by_key(entity: str, told: Mapping[str, Any]) -> dict[str, str]:
    """What the key names."""
    key = str(told.get("key") or "").split("/")
    return dict(zip(NAMES[entity], key, strict=True)) if len(key) == len(NAMES[entity]) and key[0] else {}


def _is_sound(name: str, value: Any) -> bool:
    """Whether `_value` would say nothing about a text, and leave it as it is: what can be seen at a glance."""
    return (
        type(value) is str
        and name in MOST
        and value.isprintable()
        and len(value) <= MOST[name]
        and value != ""
        and not value.isspace()
        and (name != "rating" or ("," not in value and value != "none"))
    )


def _value(spoken: Spoken, name: str, value: Any, line: int) -> Any:
    if name in LISTS:
        if isinstance(value, str):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                spoken.wrong(line, value, f"{name} は JSON で書いてください。", f"Write {name} as JSON.")
                return None
        empty: Any = {} if name == "extra" else []
        value = empty if value is None and name != "ratings" else value
        if not isinstance(value, type(empty)):
            ja, en = FORMS[name]
            spoken.wrong(line, value, f"{name} は {ja}にしてください。", f"{name} is {en}.")
        elif name == "extra":
            for label, text in value.items():
                if _text(spoken, "path", label, line) is None:
                    spoken.wrong(
                        line, text, "extra の列に名前がありません。", "A column of extra has no name."
                    )
                _text(spoken, "extra", text, line, blank=True, called=f"extra.{excerpt(label, 30)}")
        return value
    if name in YEARS and value is not None:
        return _year(spoken, value, line)
    if name in NUMBERS and value is not None:
        return _number(spoken, value, line, name, least=0)
    if name == "ratings_closed":
        if (closed := TRUTHS.get(str(value).lower())) is None:
            spoken.wrong(
                line, value, f"{name} は true か false にしてください。", f"{name} is true or false."
            )
        return closed
    return None if value is None else _text(spoken, name, value, line)


def _number(spoken: Spoken, value: Any, line: int, name: str, least: int) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST:
        return value
    if isinstance(value, str) and len(value) <= 16 and value.isascii() and value.isdecimal():
        number = int(value)
        if least <= number <= LARGEST:
            return number
    spoken.wrong(
        line,
        value,
        f"{name} は {least} 以上の整数にしてください。",
        f"{name} is a whole number from {least}.",
    )
    return None


def _year(spoken: Spoken, value: Any, line: int) -> Any:
    try:
        return fiscal_years.parse(str(value))
    except fiscal_years.NoYear as error:
        spoken.wrong(line, value, error.ja, error.en)
        return None


def _text(
    spoken: Spoken, name: str, value: Any, line: int, *, blank: bool = False, called: str | None = None
) -> Any:
    if not isinstance(value, str):
        called = called or name
        spoken.wrong(
            line,
            value,
            f"{called} は文字列にしてください（引用符で囲みます）。",
            f"{called} is a text: put it into quotation marks.",
        )
        return None
    most = MOST.get(name) or LONGEST[name]  # of a list or an object, each part is one
    one_line = name in ONE_LINE or name not in LONGEST
    if len(value) > most:
        spoken.wrong(
            line,
            value,
            f"{len(value):,} 文字あります。{most:,} 文字以内にしてください。",
            f"This has {len(value):,} characters. Shorten it to at most {most:,}.",
        )
    elif found := (ONE if one_line else UNKEEPABLE).search(value):
        spoken.wrong(
            line,
            value,
            f"使えない文字 U+{ord(found[0]):04X} が入っています。取り除いてください。",
            f"The character U+{ord(found[0]):04X} cannot be kept. Remove it.",
        )
    elif not blank and not value.strip():
        return None
    elif name == "rating" and ("," in value or value == "none"):
        spoken.wrong(
            line,
            value,
            "評価の記号にコンマと none は使えません。",
            "A rating holds no comma and is not none.",
        )
    return value
