"""What columns are called that no field holds: as printed, and apart from each other.

The year of a 基準値 is called by that. Where two columns have one name, or a name is only a year, the header above
them stands in front of it; where this does not tell them apart, it is asked.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence

from app.documents.reading import Row
from app.documents.tables import Column, Notes
from app.documents.vocabulary import WORDS, is_value, plain, year_alone

MOST_EXTRA = 50
YEARS = frozenset(WORDS["fiscal_year"].split())


def name(columns: Sequence[Column], row: Row, notes: Notes) -> None:
    """Give each of these columns a name of its own, or tell that there is none."""
    extra = [column for column in columns if column.field == "extra"]
    _name_years(columns)
    for column in [*_alike(extra), *(column for column in extra if year_alone(column.name))]:
        if column.above and not column.named and not column.name.startswith(column.above):
            column.name = f"{column.above} {column.name}"
    seen: set[str] = set()
    for column in _alike(extra):
        if column.name in seen:
            name = json.dumps(f"{column.name} {column.place}", ensure_ascii=False)
            told = f'{{"{column.place}": {{"field": "extra", "name": {name}}}}}'
            notes.wrong(
                f"「{column.name}」という列が 2 つあります。見出しを変えるか、mapping で名前を付けてください"
                f"（例: {told}）。",
                f"Two columns are called {column.name}. Rename one, or name it with mapping, such as {told}.",
                row,
                column.place,
            )
        seen.add(column.name)
    if len(extra) > MOST_EXTRA:
        notes.wrong(
            f"項目として読めない列が {len(extra)} 列あります。{MOST_EXTRA} 列以内にしてください。",
            f"{len(extra)} columns have no field of their own; there may be {MOST_EXTRA}.",
            row,
        )


def _name_years(columns: Sequence[Column]) -> None:
    """The year of a 基準値 above or beside it is called by that."""
    for at, column in enumerate(columns):
        if column.field == "extra" and not column.named and plain(column.name) in YEARS:
            beside = [column.above, *(other.name for other in columns[max(at - 1, 0) : at + 2])]
            of = next(filter(is_value, beside), None)
            column.name = f"{of} {column.name}" if of else column.name


def _alike(columns: Iterable[Column]) -> list[Column]:
    """Columns of one name that would be kept with the same evaluation."""
    by_name: dict[str, list[Column]] = defaultdict(list)
    for column in columns:
        by_name[column.name].append(column)
    found: list[Column] = []
    for its in by_name.values():
        years = [column.year for column in its]
        if len(its) > 1 and (None in years or len(set(years)) < len(its)):
            found += its
    return found
