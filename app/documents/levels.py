"""What the cells of a header that stand above each other say together: 一次 below 評価, 計画 below 令和5年度.

A merged cell stands in each of its columns. The lowest cell says most; those above it tell a year, or what it leaves
open.
"""

from collections.abc import Mapping, Sequence

from app.documents.reading import Row
from app.documents.vocabulary import Header, header, is_measured, is_rater, spaced, year_alone

Spans = Mapping[tuple[int, int], int]


def spread(row: Row, below: Row, spans: Spans | None) -> Row:
    """An upper row of a header, whose merged cells stand in each of their columns."""
    cells = [*row.cells, *[""] * (len(below.cells) - len(row.cells))]
    merged = {column: last for (line, column), last in (spans or {}).items() if line == row.line}
    for column, last in sorted(merged.items()):
        if row.cell(column).strip():
            cells[column - 1 : last] = [row.cell(column)] * len(cells[column - 1 : last])
    if not merged:  # a blank cell above a word means the one on its left
        for place in range(1, len(cells)):
            if not cells[place].strip() and below.cell(place + 1).strip():
                cells[place] = cells[place - 1]
    return Row(row.line, cells)


def year_of(texts: Sequence[str]) -> tuple[int | None, int | None]:
    """The year that the texts of a column tell, and one that has no era."""
    found = [said for text in texts for said in (header(text), year_alone(text)) if said]
    return (
        next((said.year for said in found if said.year is not None), None),
        next((said.bare for said in found if said.bare is not None), None),
    )


def rated(texts: Sequence[str]) -> list[str]:
    """一次評価, where 一次 stands below 評価."""
    if not any(map(is_rater, texts[:1])):
        return []
    forms = [spaced(text).replace("評価", f"{spaced(texts[0])}評価", 1) for text in texts[1:]]
    return [form for form in forms if (said := header(form)) and said.field == "rating"][:1]


def said_by(texts: Sequence[str], year: int | None) -> Header | None:
    """What the texts of a column say together."""
    lowest, *upper = texts
    said = header(lowest)
    if year is not None and (said is None or said.field in ("title", None)):  # 計画 below H30 is no title
        said = header(f"{year}年度{lowest}") or said
    if said and said.field == "implementation" and any(map(is_measured, upper)):
        return None
    together = [*(form for text in upper for form in (lowest + text, text + lowest)), *upper]
    return said or next((found for form in together if (found := header(form))), None)
