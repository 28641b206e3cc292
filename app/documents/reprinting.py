"""A year of a plan as a table of the kind that towns publish, which an import reads back as it was."""

from collections.abc import Container, Generator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from app import fiscal_years
from app.documents.marks import STOPPED
from app.documents.reading import Row as Line
from app.documents.reading import Sheet
from app.documents.recognising import recognise
from app.documents.vocabulary import EXACT, PRINTED
from app.documents.writing import write
from app.evaluations import EVALUATIONS
from app.kit.errors import NotFound
from app.kit.session import Session
from app.models import EVALUATION, MEASURE, PLAN, SECTION

COLUMNS = ("implementation", "rating", "rationale", "next_plan")


def document_rows(session: Session, plan: int, year: int) -> list[list[str]]:
    """Title, subtitle, header and one row for each evaluation, as the first document of this service has them.

    Where such a table would not be read back as it was (a code that its number does not say, a row out of order),
    it says what it means in four more columns.
    """
    title, scale = session.execute(sa.select(PLAN.c.title, PLAN.c.ratings).where(PLAN.c.id == plan)).one()
    statement = EVALUATIONS.select(PLAN.c.id == plan, EVALUATION.c.fiscal_year == year).join(
        SECTION, MEASURE.c.section_id == SECTION.c.id
    )
    ordered = statement.add_columns(MEASURE.c.path, SECTION.c.label).order_by(EVALUATION.c.place)
    rows = [dict(row) for row in session.execute(ordered).mappings()]
    if not rows:
        raise NotFound(
            f"{fiscal_years.label(year)}の評価は登録されていません。",
            f"The plan has no evaluation in fiscal year {year}.",
        )
    table = _table(title, year, rows, exact=False)
    unrated = STOPPED - {rating["code"] for rating in scale}
    return table if _says(table, rows, unrated) else _table(title, year, rows, exact=True)


def _table(title: str, year: int, rows: Sequence[Mapping[str, Any]], *, exact: bool) -> list[list[str]]:
    labels = max(1, *(len(row["path"]) for row in rows))
    extra = sorted({name for row in rows for name in row["extra"]})
    department = any(row["department"] is not None for row in rows)
    years = {"implementation": year, "next_plan": year + 1}
    header = [
        PRINTED["path"],
        *[""] * (labels - 1),
        PRINTED["title"],
        *(f"{_short(years[name])}{PRINTED[name]}" if name in years else PRINTED[name] for name in COLUMNS),
        *([PRINTED["department"]] if department else []),
        *(f"extra.{name}" if exact else name for name in extra),
        *(PRINTED[name] for name in EXACT if exact),
    ]
    lines = [[title], [f"({fiscal_years.label(year)}進捗状況評価結果)"], [], header]
    for row in rows:
        texts = [row["implementation"], row["rating_printed"], row["rationale"], row["next_plan"]]
        told = [row["measure_code"], row["section"], str(row["ordinal"]), row["rating"]] if exact else []
        cells = [
            *row["path"],
            *[""] * (labels - len(row["path"])),
            row["measure_title"],
            *texts,
            *([row["department"]] if department else []),
            *(row["extra"].get(name) for name in extra),
            *told,
        ]
        lines.append([cell or "" for cell in cells])
    return lines


def _short(year: int) -> str:
    """H29 for 2017, as headers have it."""
    era = next(era for era in fiscal_years.ERAS if era.begins <= year)
    return f"{era.letter}{year - era.begins + 1}"


def _says(
    table: Sequence[Sequence[str]], rows: Sequence[Mapping[str, Any]], unrated: Container[str | None]
) -> bool:
    """Whether an import would read these rows out of the table, where these marks are no ratings."""
    found = recognise(Sheet(None, [Line(n, list(cells)) for n, cells in enumerate(table, 1)]))
    if found.problems or len(found.evaluations) != len(rows):
        return False
    return all(
        (
            read.section_code,
            read.section_label,
            read.path,
            read.code,
            read.title,
            read.fiscal_year,
            read.ordinal,
            None if read.rating in unrated else read.rating,
            read.rating_printed,
            read.department,
            {name: text for name, text in row["extra"].items() if text.strip()},
            *(getattr(read, name) for name in COLUMNS if name != "rating"),
        )
        == (
            row["section"],
            row["label"],
            row["path"],
            row["measure_code"],
            row["measure_title"],
            row["fiscal_year"],
            row["ordinal"],
            row["rating"],
            row["rating_printed"],
            row["department"],
            read.extra,
            *(row[name] for name in COLUMNS if name != "rating"),
        )
        for read, row in zip(found.evaluations, rows, strict=True)
    )


def document_exported(session: Session, plan: int, year: int, form: str) -> Generator[bytes]:
    table = document_rows(session, plan, year)
    yield from write(form, lambda: table)
