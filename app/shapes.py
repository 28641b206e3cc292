"""What the shapes of all nouns have in common: how a row begins and ends, a page of them, a patch of one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeVar

import sqlalchemy as sa
from fastapi import Path
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticUndefined
from sqlmodel import SQLModel
from starlette.convertors import Convertor, register_url_convertor

from app.kit.listing import Question, Wanted
from app.kit.numbers import LARGEST, digits
from app.kit.text import ONE_LINE, Form
from app.models import PLAN, TALLY, around
from app.municipalities import MunicipalityCode

Shape = TypeVar("Shape", bound=BaseModel)


class _Digits(Convertor[str]):
    """A row's id in an address. Anything else there is another address, so that `/evaluations/summary` is only that."""

    regex = "[0-9]{1,16}"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("digits", _Digits())

RowId = Annotated[
    int, Path(ge=1, le=LARGEST, description="The row's `id`", examples=[1]), BeforeValidator(digits)
]
PlanName = Annotated[
    str,
    Path(max_length=64, description="The plan's `id` or `slug`", examples=["fujimi-yumetsunagu"]),
    Form(
        r"^([1-9][0-9]{0,15}|[a-z][a-z0-9]*(-[a-z0-9]+)*)$",
        "計画の id (数字) か slug を指定してください。",
        "Give the plan's id, a number, or its slug.",
    ),
]
PlanSlug = Annotated[
    str,
    Field(min_length=1, max_length=64, description="The plan's slug (計画)", examples=["fujimi-yumetsunagu"]),
    ONE_LINE,
]
Words = Annotated[
    str,
    Field(
        max_length=200,
        description="Words that must all be found, separated by spaces, full-width ones too. Width, case and "
        "inner spaces do not matter (検索語)",
        examples=["学習支援"],
    ),
    ONE_LINE,
]


class Heading(SQLModel):
    """How a row of every noun begins."""

    model_config = ConfigDict(  # type: ignore[assignment]
        extra="forbid", json_schema_serialization_defaults_required=True
    )

    id: Annotated[int, Field(description="Identifier here, never used again for another row (内部番号)")]
    key: Annotated[str, Field(description="Natural key: the same in every copy of the data (自然キー)")]


class Ending(SQLModel):
    """How a row of every noun ends."""

    version: Annotated[int, Field(ge=1, description="Counts the changes of this key: 1, 2, 3… (版)")]
    created_at: Annotated[datetime, Field(description="When it was first written, UTC (登録日時)")]
    updated_at: Annotated[datetime, Field(description="When it was last changed, UTC (更新日時)")]


class Resultset(BaseModel):
    count: Annotated[int, Field(ge=0, description="How many rows match in all (該当件数)")]
    limit: Annotated[int, Field(description="Rows a page (1ページの件数)")]
    next: Annotated[
        str | None, Field(description="The `cursor` of the rows after these; null on the last page (続き)")
    ]


class ListMetadata(BaseModel):
    resultset: Annotated[Resultset, Field(description="Which part of the matching rows this is (結果の範囲)")]
    revision: Annotated[
        int, Field(ge=0, description="The state of the database that this answer shows (リビジョン)")
    ]


class Partial(SQLModel):
    """Mixed into a shape: any field may be left out, and one that is given must be valid."""

    model_config = ConfigDict(  # type: ignore[assignment]
        extra="forbid", json_schema_serialization_defaults_required=False
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for field in cls.model_fields.values():
            field.default = PydanticUndefined
            field.default_factory = _nothing
        cls.model_rebuild(force=True)


def _nothing() -> None:
    return None


def page_of(name: str, *shapes: type[BaseModel]) -> type[BaseModel]:
    """The model of a page: rows of one of the shapes, or with some of the first one's fields when `fields` asks so."""
    some = create_model(f"{name}Selection", __base__=(shapes[0], Partial))
    some.__doc__ = "The fields that `fields` names."
    row: Any = some
    for shape in reversed(shapes):
        row = shape | row
    rows: Any = list[row]
    page: type[BaseModel] = create_model(
        f"{name}Page",
        metadata=(ListMetadata, Field(description="About this page (メタデータ)")),
        results=(rows, Field(description="The rows, in order (結果)")),
    )
    return page


def patched(fields: type[Shape], row: Mapping[str, Any], patch: BaseModel) -> dict[str, Any]:
    """The row that a JSON merge patch (RFC 7396) would make, checked as a whole."""
    current = {name: row[name] for name in fields.model_fields}
    try:
        whole = fields.model_validate(_merged(current, patch.model_dump(exclude_unset=True)))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in found]) from None
    return whole.model_dump()


def _merged(current: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**current, **patch}
    for name, value in patch.items():
        if isinstance(value, dict):
            both = _merged(current[name], value)
            merged[name] = {inner: kept for inner, kept in both.items() if kept is not None}
    return merged


class InMunicipality(Question):
    """Filters are parameters that say what they mean in SQL, of the table whose rows are listed."""

    OF: ClassVar[sa.FromClause] = PLAN

    municipality: (
        Annotated[
            MunicipalityCode, Field(description="Municipality code, five or six digits (市区町村コード)")
        ]
        | None
    ) = None

    def given(self) -> dict[str, Any]:
        return {"municipality": self.municipality} if self.municipality else {}

    def value(self, name: str, of: sa.ColumnElement[Any]) -> sa.BindParameter[Any]:
        return sa.bindparam(name, self.given()[name], type_=of.type)

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        return self.where(self.OF)

    def wanted(self) -> Wanted:
        return Wanted(self.conditions())

    def where(self, of: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        """Of which municipality, and of which plan, rows of this table have to be."""
        code = of.c.municipality_code
        return [code == self.value("municipality", code)] if self.municipality else []


class InPlan(InMunicipality):
    plan: PlanSlug | None = None

    def given(self) -> dict[str, Any]:
        if not self.plan:
            return super().given()
        first, last = around(self.plan)
        return {**super().given(), "plan": self.plan, "plan__first": first, "plan__last": last}

    def where(self, of: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        """Said so that an index that ends in the place can tell."""
        found = super().where(of)
        if not self.plan:
            return found
        slug = of.c.slug if of is PLAN else of.c.plan if of is TALLY else None
        if slug is not None:
            return [*found, slug == self.value("plan", slug)]
        place = of.c.place
        return [*found, place > self.value("plan__first", place), place < self.value("plan__last", place)]
