"""What a document does not say about itself: given beside it, by parameters, options or a .toml."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.documents.vocabulary import FIELDS, plain
from app.fiscal_years import FiscalYearParameter
from app.kit.text import ONE_LINE, excerpt, refusal
from app.models import Label, Slug, Title
from app.municipalities import MunicipalityCode


class ColumnTold(BaseModel):
    model_config = ConfigDict(extra="forbid")

    field: Annotated[str, Field(max_length=20)]
    fiscal_year: FiscalYearParameter | None = None
    name: Label | None = None  # that a column without a field of its own is kept under
    headers: list[str] = []  # that the report had seen there: those of another table are asked about


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise refusal(
            "mapping",
            f"mapping に「{excerpt(twice, 30)}」が 2 回あります。どちらかを消してください。",
            f"The mapping has {excerpt(twice, 30)} twice. Remove one of them.",
        )
    return told


def _mapping(given: Any) -> Any:
    """As JSON text, as an object of columns, or as a report lists it."""
    if isinstance(given, str):
        try:
            given = json.loads(given, object_pairs_hook=_each_once)
        except PydanticCustomError:
            raise
        except (ValueError, RecursionError):
            raise refusal(
                "mapping",
                'mapping は JSON で書いてください。例: {"3": "title"} (名前と値を二重引用符で囲みます)',
                'Write the mapping as JSON, with double quotation marks: {"3": "title"}',
            ) from None
    if isinstance(given, list):
        listed: dict[str, Any] = {}
        several: set[str] = set()
        for each in given:
            if not isinstance(each, dict) or not isinstance(each.get("column"), int):
                raise _no_mapping()
            told = {name: value for name, value in each.items() if name not in ("column", "header")}
            of_column = listed.setdefault(str(each["column"]), {**told, "headers": []})
            if of_column.get("field") != told.get("field"):
                # Tables of a document differ: their headers tell which is which.
                several.add(str(each["column"]))
            if of_column.get("fiscal_year") != told.get("fiscal_year"):
                of_column.pop("fiscal_year", None)  # sheets of several years tell theirs
            of_column["headers"] += [each["header"]] if isinstance(each.get("header"), str) else []
        given = {place: column for place, column in listed.items() if place not in several}
    if not isinstance(given, dict):
        raise _no_mapping()
    columns = {}
    for name, told in given.items():
        told = {"field": told} if isinstance(told, str) else told
        if not isinstance(told, dict) or told.get("field") not in FIELDS:
            raise _no_mapping()
        columns[name if name.isascii() and name.isdecimal() else plain(name)] = told
    return columns


def _no_mapping() -> Exception:
    fields = ", ".join(FIELDS)
    return refusal(
        "mapping",
        f'mapping は {{"列の番号か見出し": "項目"}} の形で書いてください。項目は {fields} のいずれかです。',
        f'Write the mapping like {{"column or header": "field"}}; the fields are {fields}.',
    )


class Told(BaseModel):
    """What a document does not say about itself: given beside it, as `seed/fujimi-h29.toml` does."""

    model_config = ConfigDict(extra="forbid")

    plan: Annotated[Slug, Field(description="Slug of the plan that the document is about (計画)")] | None = (
        None
    )
    municipality_code: (
        Annotated[
            MunicipalityCode,
            Field(description="Its municipality, to make a plan that does not exist yet (市区町村コード)"),
        ]
        | None
    ) = None
    municipality: (
        Annotated[Label, Field(description="The municipality's name, for the same (市区町村名)")] | None
    ) = None
    title: (
        Annotated[
            Title,
            Field(
                description="The title of that plan, where the document's own is that of a report (計画名)"
            ),
        ]
        | None
    ) = None
    encoding: (
        Annotated[
            str,
            Field(
                max_length=20,
                description="Character encoding, where it is not recognised: utf-8, utf-16, cp932 (文字コード)",
            ),
            ONE_LINE,
        ]
        | None
    ) = None
    fiscal_year: (
        Annotated[
            FiscalYearParameter, Field(description="The year it reports on, where it does not say (年度)")
        ]
        | None
    ) = None
    sheet: (
        Annotated[
            str,
            Field(
                max_length=300, description="Sheets to read, by comma; all with a table otherwise (シート名)"
            ),
            ONE_LINE,
        ]
        | None
    ) = None
    mapping: (
        Annotated[
            dict[str, ColumnTold],
            BeforeValidator(_mapping),
            Field(
                description="What columns are, by their number or header: it wins over recognition (列の対応)"
            ),
        ]
        | None
    ) = None
    numbering: (
        Annotated[
            Literal["order"],
            Field(description="Count measures without numbers in their order (番号のない計画)"),
        ]
        | None
    ) = None
    on_repeat: (
        Annotated[
            Literal["skip", "keep"],
            Field(description="What to do with rows that say 再掲 and differ from the first (再掲の行)"),
        ]
        | None
    ) = None
    on_rename: (
        Annotated[
            Literal["update"],
            Field(description="Give measures the titles that the document has (名称の変更)"),
        ]
        | None
    ) = None

    on_renumber: (
        Annotated[
            Literal["new"],
            Field(
                description="Take measures whose title is on record under another number as others (番号の変更)"
            ),
        ]
        | None
    ) = None

    def asked(self) -> dict[str, Any]:
        """What who reads the file needs of it."""
        return {
            "plan": self.plan,
            "fiscal_year": self.fiscal_year,
            "sheets": [name.strip() for name in self.sheet.split(",")] if self.sheet else [],
            "mapping": {name: column.model_dump() for name, column in (self.mapping or {}).items()},
            "numbering": self.numbering,
            "on_repeat": self.on_repeat,
        }
