"""Reading a file: from bytes to rows of cells, each exactly as printed."""

import codecs
from dataclasses import dataclass

ENCODINGS = {
    "utf-8": "utf-8",
    "utf-8-sig": "utf-8-sig",
    "utf-16": "utf-16",
    "cp932": "cp932",
    "shift_jis": "cp932",  # the codec of that name fails on ① and ～, which city files are full of
}
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

# No plan is this large: a file that is must not cost memory before it is refused.
MOST_LINES = 150_000
MOST_CELLS = 1_500_000


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Sheet:
    encoding: str
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a document that was not understood: where it stands, what is wrong and what to do."""

    line: int | None
    column: int | None
    text: str
    ja: str
    en: str


class Unreadable(Exception):
    """A file that has no rows to speak of."""

    def __init__(self, line: int | None, ja: str, en: str) -> None:
        super().__init__(en)
        self.problem = Problem(line, None, "", ja, en)


def read(content: bytes, encoding: str | None = None) -> Sheet:
    text, encoding = _decode(content, encoding)
    lines, cells = text.count("\n") + 1, text.count("\n") + text.count("\t") + 1
    if lines > MOST_LINES or cells > MOST_CELLS:
        raise Unreadable(
            None,
            f"ファイルが大きすぎます（{lines:,} 行、{cells:,} セル）。"
            f"{MOST_LINES:,} 行、{MOST_CELLS:,} セル以内に分けてください。",
            f"The file is too large ({lines:,} lines, {cells:,} cells). "
            f"Split it into files of at most {MOST_LINES:,} lines and {MOST_CELLS:,} cells.",
        )
    # Only \n and \r\n end a line here: str.splitlines() would also break at U+2028 and others inside a cell.
    printed = text.removesuffix("\n").split("\n")
    return Sheet(encoding, [Row(n, line.removesuffix("\r").split("\t")) for n, line in enumerate(printed, 1)])


def _decode(content: bytes, told: str | None) -> tuple[str, str]:
    if told is not None and told.lower() not in ENCODINGS:
        allowed = ", ".join(ENCODINGS)
        raise Unreadable(
            None,
            f"この文字コードは扱えません。次のいずれかを指定してください: {allowed}",
            f"This encoding is not supported. Name one of: {allowed}",
        )
    marked = [name for mark, name in MARKS.items() if content.startswith(mark)]
    candidates = [ENCODINGS[told.lower()]] if told is not None else marked or ["utf-8", "cp932"]
    failures = []
    for name in candidates:
        try:
            return content.decode(name).removeprefix("\ufeff"), name
        except UnicodeDecodeError as failure:
            failures.append(failure)
    furthest = max(failures, key=lambda failure: failure.start)  # most likely the encoding that was meant
    line = furthest.object[: furthest.start].decode(furthest.encoding, "ignore").count("\n") + 1
    tried = ", ".join(candidates)
    raise Unreadable(
        line,
        f"文字として読めないバイトがあります（{tried} として読みました）。"
        "ファイルを UTF-8 で保存し直すか、正しい文字コードを指定してください。",
        f"A byte here is not text in {tried}. Save the file as UTF-8 or name its encoding.",
    )
