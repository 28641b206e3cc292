"""What an import answers: how its file was understood, and what came of it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.documents.previewing import MOST_CHARACTERS, MOST_COLUMNS, MOST_IN_A_CELL


class Counts(BaseModel):
    plan: Annotated[int, Field(ge=0, description="Plans (計画)")]
    document: Annotated[int, Field(ge=0, description="Documents (資料)")]
    section: Annotated[int, Field(ge=0, description="Sections (節)")]
    measure: Annotated[int, Field(ge=0, description="Measures (施策)")]
    evaluation: Annotated[int, Field(ge=0, description="Evaluations (年度評価)")]


class MeasuresFound(BaseModel):
    new: Annotated[list[str], Field(description="Codes that the plan did not have (新しい施策)")]
    missing: Annotated[
        list[str], Field(description="Codes of the plan that the document does not have (今回ない施策)")
    ]
    renamed: Annotated[list[str], Field(description="Codes that now have another title (名称の変わった施策)")]


class ColumnShown(BaseModel):
    column: Annotated[int, Field(ge=1, description="Counted from 1 (列)")]
    header: Annotated[
        str, Field(description="Its header as printed, or the name that it is kept under; or empty (見出し)")
    ]
    field: Annotated[
        str | None, Field(description="What it was understood as; null where that is open (項目)")
    ]
    fiscal_year: Annotated[
        int | None, Field(description="The year of the evaluations that its cells belong to (年度)")
    ]


class LineShown(BaseModel):
    line: Annotated[int, Field(ge=1, description="Line of the sheet, counted from 1 (行)")]
    kind: Annotated[
        Literal[
            "title", "subtitle", "legend", "header", "heading", "measure", "repeat", "total", "note", "page"
        ]
        | None,
        Field(
            description="What the line was taken for; null where it was not understood or not read (行の種類)"
        ),
    ]
    code: Annotated[str | None, Field(description="Code of the measure that it is about (施策コード)")]
    cells: Annotated[
        list[str],
        Field(
            description=f"As printed, cut to {MOST_IN_A_CELL} characters, without blank ones at the end; at most "
            f"{MOST_COLUMNS} (セル)"
        ),
    ]


class SheetShown(BaseModel):
    sheet: Annotated[str | None, Field(description="Its name; null where the file has no sheets (シート)")]
    columns: Annotated[list[ColumnShown], Field(description="The columns of its first header (列)")]
    lines: Annotated[list[LineShown], Field(description="In the order of the sheet (行)")]
    left_out: Annotated[int, Field(ge=0, description="Further lines that are not blank (省いた行数)")]


class ImportReport(BaseModel):
    dry_run: Annotated[bool, Field(description="True when nothing was written (試し読み)")]
    document: Annotated[
        int | None,
        Field(description="The `id` under which the file is kept; null when it said nothing new (資料)"),
    ]
    title: Annotated[str | None, Field(description="The title that was found (題名)")]
    subtitle: Annotated[str | None, Field(description="The line in brackets below it (副題)")]
    fiscal_years: Annotated[list[int], Field(description="The years that it reports on (年度)")]
    rows: Annotated[int, Field(ge=0, description="Evaluations that were read (行数)")]
    mapping: Annotated[
        list[dict[str, Any]],
        Field(description="What each column was understood as; it may be corrected and sent back (列の対応)"),
    ]
    sheets: Annotated[list[str], Field(description="The sheets that were read (シート)")]
    warnings: Annotated[
        list[dict[str, Any]],
        Field(description="What somebody should know, each with its place and in both languages (注意)"),
    ]
    created: Annotated[Counts, Field(description="Rows that are new (新規)")]
    updated: Annotated[Counts, Field(description="Rows that changed (更新)")]
    unchanged: Annotated[Counts, Field(description="Rows that were so already (変更なし)")]
    measures: Annotated[MeasuresFound, Field(description="What became of the measures (施策)")]
    table: Annotated[
        list[SheetShown],
        Field(
            default_factory=list,
            description="With `preview`: the sheets that were read, as printed, or all of them where none was; "
            f"at most {MOST_CHARACTERS:,} characters (表)",
        ),
    ]
    revision: Annotated[int, Field(ge=0, description="The state of the database afterwards (リビジョン)")]
