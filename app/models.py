"""The data model: a plan has sections, a section has measures, a measure has evaluations, year by year.

Each noun is declared in two steps. Its *fields* are what people may write; they carry their meaning, their
bounds and the Japanese term, and every shape of the API is made of them. Its *table* adds what the service
keeps for itself. Tables are written through `changes.save` and `changes.remove` only, so that every write is
numbered and logged.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, ClassVar

import sqlalchemy as sa
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic import Field as Described
from sqlmodel import Field, SQLModel

from app.fiscal_years import FiscalYear
from app.kit.numbers import LARGEST, whole
from app.kit.text import MANY_LINES, SOME_LINE, SOME_LINES, Form, PlainObject, excerpt, fold, natural, refusal
from app.municipalities import MunicipalityCode

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows only under INTEGER
# Both databases sort text by code point, whatever locale the server was installed with.
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


# ---------------------------------------------------------------------------------------------------------
# Values

Title = Annotated[str, Described(min_length=1, max_length=500), SOME_LINE]
Label = Annotated[str, Described(min_length=1, max_length=100), SOME_LINE]
Prose = Annotated[str, Described(min_length=1, max_length=10_000), SOME_LINES]
Extra = Annotated[str, Described(max_length=10_000), MANY_LINES]
Mark = Annotated[str, Described(min_length=1, max_length=20), SOME_LINE]
WebAddress = Annotated[
    str,
    Described(max_length=500),
    Form(
        r"^https?://[^\s/?#\u0000-\u001f\u007f-\u009f]+[^\s\u0000-\u001f\u007f-\u009f]*$",
        "http:// または https:// で始まる URL を書いてください。",
        "Give an http:// or https:// URL.",
    ),
]
Slug = Annotated[
    str,
    Described(max_length=64, examples=["fujimi-yumetsunagu"]),
    Form(
        r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
        "英小文字で始まる、英小文字・数字・ハイフンの名前にしてください。例: fujimi-yumetsunagu",
        "Begin with a lower-case letter; use lower-case letters, digits and single hyphens: fujimi-yumetsunagu",
    ),
]
# A code stands inside a natural key, between slashes, and in comma lists.
Code = Annotated[
    str,
    Described(max_length=64),
    Form(
        r"^[^\s/,\u0000-\u001f\u007f-\u009f]+$",
        "空白・スラッシュ・コンマ・制御文字を含まない 1 文字以上にしてください。例: 4-2-1",
        "Give one character or more, without spaces, slashes, commas or control characters: 4-2-1",
    ),
]
Position = Annotated[int, Described(strict=True, ge=0, le=LARGEST), BeforeValidator(whole)]


MOST_RATINGS = 100  # of a scale: a column with more is no rating
RatingCode = Annotated[
    str,
    Described(min_length=1, max_length=20),
    Form(
        r"^(?!none$)[^\s,\u0000-\u001f\u007f-\u009f]([^,\u0000-\u001f\u007f-\u009f]*[^\s,\u0000-\u001f\u007f-\u009f])?$",
        "前後に空白がなく、コンマ・制御文字を含まない記号にしてください。none は「評価なし」を探す語なので使えません。",
        "Give a mark without commas, control characters or spaces around it; none is the word for what is not rated.",
    ),
]


class Rating(BaseModel):
    """One code of a plan's rating scale. It means what the plan's own documents say, or nothing."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)

    code: Annotated[
        RatingCode,
        Described(description="The code, exactly as the plan uses it (評価の記号)", examples=["A"]),
    ]
    label: (
        Annotated[
            Label, Described(description="What the source calls it (評価の名称); null when it does not say")
        ]
        | None
    ) = None
    description: (
        Annotated[
            Prose, Described(description="How the source explains it (評価の基準); null when it does not say")
        ]
        | None
    ) = None


def _distinct(ratings: list[Rating]) -> list[Rating]:
    codes = [rating.code for rating in ratings]
    if twice := sorted({code for code in codes if codes.count(code) > 1}):
        raise refusal(
            "ratings",
            f"評価の記号が重複しています: {', '.join(map(excerpt, twice))}",
            f"Each code may stand once in the scale: {', '.join(map(excerpt, twice))} stands twice.",
        )
    return ratings


# ---------------------------------------------------------------------------------------------------------
# What people may write


class PlanFields(SQLModel):
    title: Title = Field(sa_type=Text, description="Title as published (計画名)")
    municipality_code: MunicipalityCode = Field(sa_type=Text)
    municipality: Label = Field(sa_type=Text, description="Name of the municipality (市区町村名)")
    first_fiscal_year: FiscalYear | None = Field(
        default=None,
        sa_type=sa.Integer,
        description="First fiscal year of the plan's term (計画期間の初年度)",
    )
    last_fiscal_year: FiscalYear | None = Field(
        default=None,
        sa_type=sa.Integer,
        description="Last fiscal year of the plan's term (計画期間の最終年度)",
    )
    ratings: Annotated[list[Rating], Described(max_length=MOST_RATINGS), AfterValidator(_distinct)] = Field(
        default_factory=list,
        sa_type=sa.JSON,
        description="The plan's own rating scale, best first as far as known (評価の区分)",
    )
    ratings_closed: Annotated[bool, Described(strict=True)] = Field(
        default=False,
        description="True once someone who knows has declared the scale complete and its order right. "
        "Until then a code that appears for the first time joins the scale (評価区分の確定)",
    )
    licence: Label | None = Field(
        default=None,
        sa_type=Text,
        description="Licence of the published data; null when the source names none (利用条件)",
    )
    source_url: WebAddress | None = Field(
        default=None, sa_type=Text, description="Where the municipality publishes the plan (掲載ページ)"
    )

    @model_validator(mode="after")
    def begins_before_it_ends(self) -> "PlanFields":
        first, last = self.first_fiscal_year, self.last_fiscal_year
        if first is not None and last is not None and first > last:
            raise refusal(
                "term",
                f"計画期間の初年度 ({first}) が最終年度 ({last}) より後です。",
                f"The plan's first fiscal year ({first}) is after its last ({last}).",
            )
        return self


class SectionFields(SQLModel):
    label: Label | None = Field(
        default=None, sa_type=Text, description="Number as printed (節の表記), e.g. 第1節"
    )
    title: Title | None = Field(
        default=None, sa_type=Text, description="Title (節の名称); null when the source has none"
    )
    position: Position | None = Field(
        default=None, sa_type=sa.BigInteger, description="Place in the plan, counted from 1 (並び順)"
    )


class MeasureFields(SQLModel):
    title: Title = Field(sa_type=Text, description="Title as published (施策名・計画)")
    path: Annotated[list[Label], Described(max_length=10)] = Field(
        default_factory=list,
        sa_type=sa.JSON,
        description='Its numbering as printed, from the outside in (番号の表記), e.g. ["第1節", "1", "①"]',
    )
    position: Position | None = Field(
        default=None, sa_type=sa.BigInteger, description="Place in the plan, counted from 1 (並び順)"
    )


class EvaluationFields(SQLModel):
    implementation: Prose | None = Field(
        default=None, sa_type=Text, description="What was done in the year (実施内容)"
    )
    rating: RatingCode | None = Field(
        default=None,
        sa_type=Text,
        description="Code of the plan's own scale (評価); null when the year was not rated. It has no meaning that "
        "the plan's documents do not give it",
    )
    rating_printed: Mark | None = Field(
        default=None,
        sa_type=Text,
        description="The mark as printed (評価の表記); the code itself when left out",
    )
    rationale: Prose | None = Field(
        default=None, sa_type=Text, description="Reasons and open issues (理由・課題等)"
    )
    next_plan: Prose | None = Field(
        default=None,
        sa_type=Text,
        description="What is intended for the following fiscal year (次年度計画内容)",
    )
    department: Label | None = Field(
        default=None,
        sa_type=Text,
        description="Department in charge (担当課); null when the source does not say",
    )
    extra: Annotated[dict[Label, Extra], Described(max_length=50), PlainObject()] = Field(
        default_factory=dict,
        sa_type=sa.JSON,
        description="Columns of the source that have no field of their own, under their printed names (その他の列)",
    )


# ---------------------------------------------------------------------------------------------------------
# What the service keeps


class Row(SQLModel):
    """What every row of the five nouns carries. Ids are never used again; a version counts the changes of one key."""

    # What is made of the other columns, to search, to sort and to find; no reader is told.
    DERIVED: ClassVar[frozenset[str]] = frozenset({"folded"})

    @staticmethod
    def derived(row: Mapping[str, Any], parent: Mapping[str, Any]) -> dict[str, Any]:
        """What follows from the other columns and from the parent."""
        return {}

    id: int | None = Field(default=None, primary_key=True, sa_type=Id)
    version: int = Field(sa_type=sa.BigInteger)
    created_at: datetime
    updated_at: datetime


class Plan(PlanFields, Row, table=True):
    """計画"""

    __table_args__ = (
        sa.UniqueConstraint("slug"),
        sa.Index(None, "scale"),
        {"sqlite_autoincrement": True},
    )

    slug: str = Field(sa_type=Text)
    origin: str | None = Field(default=None, sa_type=Text)  # the service that it is a copy from
    folded: str = Field(sa_type=Text)
    scale: str = Field(sa_type=Text, sa_column_kwargs={"server_default": ""})

    DERIVED = frozenset({"folded", "scale"})

    @staticmethod
    def derived(row: Mapping[str, Any], parent: Mapping[str, Any]) -> dict[str, Any]:
        return {"folded": folded(row["title"], row["municipality"]), "scale": scale(row["ratings"])}


class Document(Row, table=True):
    """資料: a file as it came."""

    __table_args__ = (sa.UniqueConstraint("plan_id", "sha256"), {"sqlite_autoincrement": True})

    plan_id: int = Field(foreign_key="plan.id", sa_type=Id)
    sha256: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    media_type: str = Field(sa_type=Text)
    encoding: str | None = Field(sa_type=Text)
    fiscal_year: int | None = Field(sa_type=sa.Integer)
    size: int = Field(sa_type=sa.BigInteger)
    report: dict[str, Any] = Field(sa_type=sa.JSON)
    content: bytes = Field(sa_type=sa.LargeBinary)


EMPTY = {"server_default": ""}  # in rows that were there before the column


class Placed(Row):
    """What a row below a plan carries to be found without its parents: an index ends in the place, so that whatever
    is found comes in the order in which plans are read."""

    DERIVED = frozenset({"folded", "municipality_code", "section", "code_order", "place"})

    municipality_code: str = Field(sa_type=Text, sa_column_kwargs=EMPTY)
    place: str = Field(sa_type=Text, sa_column_kwargs=EMPTY)


def _found_by(*names: str) -> tuple[sa.Index, ...]:
    """The filters and orders of a list."""
    return (sa.Index(None, "place", unique=True), *(sa.Index(None, name, "place") for name in names))


class Section(SectionFields, Placed, table=True):
    """節"""

    __table_args__ = (
        sa.UniqueConstraint("plan_id", "code"),
        *_found_by("municipality_code", "code_order", "updated_at"),
        {"sqlite_autoincrement": True},
    )

    plan_id: int = Field(foreign_key="plan.id", sa_type=Id)
    code: str = Field(sa_type=Text)
    code_order: str = Field(sa_type=Text)

    @staticmethod
    def derived(row: Mapping[str, Any], parent: Mapping[str, Any]) -> dict[str, Any]:
        order = code_order(row["code"])
        return {
            "municipality_code": parent["municipality_code"],
            "code_order": order,
            "place": place(parent["slug"], order),
        }


class Measure(MeasureFields, Placed, table=True):
    """施策"""

    __table_args__ = (
        sa.UniqueConstraint("plan_id", "code"),
        *_found_by("municipality_code", "section", "code_order", "title", "updated_at"),
        {"sqlite_autoincrement": True},
    )

    plan_id: int = Field(foreign_key="plan.id", sa_type=Id)
    section_id: int = Field(foreign_key="section.id", index=True, sa_type=Id)
    section: str = Field(sa_type=Text, sa_column_kwargs=EMPTY)
    code: str = Field(sa_type=Text)
    code_order: str = Field(sa_type=Text)
    folded: str = Field(sa_type=Text)

    @staticmethod
    def derived(row: Mapping[str, Any], parent: Mapping[str, Any]) -> dict[str, Any]:
        order = code_order(row["code"])
        return {
            "municipality_code": parent["municipality_code"],
            "section": parent["code"],
            "code_order": order,
            "place": place(parent["slug"], order),
            "folded": folded(row["title"]),
        }


class Evaluation(EvaluationFields, Placed, table=True):
    """年度評価: one printed row about one measure in one fiscal year."""

    __table_args__ = (
        sa.UniqueConstraint("measure_id", "fiscal_year", "ordinal"),
        *_found_by("municipality_code", "section", "code_order", "fiscal_year", "rating", "department"),
        *_found_by("ordinal", "updated_at")[1:],
        sa.Index(None, "fiscal_year", "rating", "place"),
        sa.Index(None, "measure_id", "rating"),  # to count measures by their ratings
        {"sqlite_autoincrement": True},
    )

    measure_id: int = Field(foreign_key="measure.id", sa_type=Id)
    section: str = Field(sa_type=Text, sa_column_kwargs=EMPTY)
    code_order: str = Field(sa_type=Text, sa_column_kwargs=EMPTY)
    fiscal_year: int = Field(sa_type=sa.Integer)
    ordinal: int = Field(sa_type=sa.BigInteger)
    document_id: int | None = Field(default=None, foreign_key="document.id", index=True, sa_type=Id)
    source_line: int | None = Field(default=None, sa_type=sa.BigInteger)
    folded: str = Field(sa_type=Text)

    @staticmethod
    def derived(row: Mapping[str, Any], parent: Mapping[str, Any]) -> dict[str, Any]:
        texts = (row[name] for name in ("implementation", "rationale", "next_plan", "department"))
        return {
            "municipality_code": parent["municipality_code"],
            "section": parent["section"],
            "code_order": parent["code_order"],
            "place": place(parent["place"], str(row["fiscal_year"]), natural(str(row["ordinal"]))),
            "folded": "\n".join(filter(None, (parent["folded"], folded(*texts)))),
            "rating_printed": row["rating_printed"] or row["rating"],
        }


class Tally(SQLModel, table=True):
    """How many evaluations of a section have which rating in a fiscal year, and how many of all (see `tallies`)."""

    __table_args__ = (sa.Index(None, "municipality_code"),)

    plan: str = Field(primary_key=True, sa_type=Text)
    municipality_code: str = Field(primary_key=True, sa_type=Text)
    section: str = Field(primary_key=True, sa_type=Text)
    fiscal_year: int = Field(primary_key=True, sa_type=sa.Integer, sa_column_kwargs={"autoincrement": False})
    rating: str = Field(primary_key=True, sa_type=Text)  # empty where there is none
    n: int = Field(sa_type=sa.BigInteger)


REMOVALS = sa.text("op = 'delete'")  # few, and looked for whenever a key is new


class Change(SQLModel, table=True):
    """変更履歴: every change in order; `data` is the row after it, as JSON text."""

    __table_args__ = (
        sa.Index(None, "entity", "entity_id", "seq"),
        sa.Index(None, "entity", "key", "seq"),
        sa.Index(None, "plan", "seq"),
        sa.Index(None, "municipality_code", "seq"),
        sa.Index("ix_change_removals", "entity", "key", sqlite_where=REMOVALS, postgresql_where=REMOVALS),
    )

    seq: int = Field(primary_key=True, sa_type=sa.BigInteger, sa_column_kwargs={"autoincrement": False})
    entity: str = Field(sa_type=Text)
    entity_id: int = Field(sa_type=sa.BigInteger)
    key: str = Field(sa_type=Text)
    plan: str = Field(sa_type=Text)
    municipality_code: str = Field(sa_type=Text)
    op: str = Field(sa_type=Text)
    version: int = Field(sa_type=sa.BigInteger)
    at: datetime
    api_key_id: str | None = Field(default=None, sa_type=Text)
    data: str | None = Field(default=None, sa_type=Text)


class Feed(SQLModel, table=True):
    """The revision: how many changes this database has seen, and in which life of it.

    Of the changes up to the horizon only the last one of each key is kept.
    """

    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)

    id: int = Field(primary_key=True, sa_type=sa.Integer, sa_column_kwargs={"autoincrement": False})
    epoch: str = Field(sa_type=Text)
    seq: int = Field(sa_type=sa.BigInteger)
    horizon: int = Field(default=0, sa_type=sa.BigInteger, sa_column_kwargs={"server_default": "0"})


class Source(SQLModel, table=True):
    """Another Shinchoku that this database keeps a copy of: what was asked for, and how far the copy is."""

    address: str = Field(primary_key=True, sa_type=Text)
    cursor: str | None = Field(default=None, sa_type=Text)
    revision: int | None = Field(default=None, sa_type=sa.BigInteger)
    synced_at: datetime | None = None


class Role(StrEnum):
    EDITOR = "editor"
    ADMIN = "admin"


class ApiKey(SQLModel, table=True):
    """Who may write: an editor within one municipality, an admin everywhere. The secret is kept as its SHA-256."""

    __tablename__ = "api_key"
    __table_args__ = (
        sa.CheckConstraint("role = 'admin' OR municipality_code IS NOT NULL", name="editor_has_municipality"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    name: str = Field(sa_type=Text)
    role: str = Field(sa_type=Text)
    municipality_code: str | None = Field(default=None, sa_type=Text)
    secret_sha256: str = Field(sa_type=Text)
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


APART = "\0"  # in no text, and folding leaves it as it is


def folded(*texts: str | None) -> str:
    """What a search looks through. Fields stay apart, so that no word is found across two of them."""
    return fold(APART.join(filter(None, texts))).replace(APART, "\n")


def code_order(code: str) -> str:
    """What codes sort by: their numbers, and for 1 and 01 how they are written."""
    return f"{natural(code)} {code}"


def meaning(ratings: Iterable[Mapping[str, Any]]) -> list[tuple[str, str | None]]:
    """What two plans have in common whose ratings may be counted together: codes, order and labels."""
    return [(rating["code"], rating["label"]) for rating in ratings]


def scale(ratings: Iterable[Mapping[str, Any]]) -> str:
    """The same as a short text, which is equal where that is."""
    return sha256(json.dumps(meaning(ratings), ensure_ascii=False).encode()).hexdigest()[:16]


TAB = "\t"  # sorts before whatever a slug or a code may hold


def place(*parts: str) -> str:
    """Where a row stands among those of all plans. It never changes, as nothing does that it is made of."""
    return TAB.join(parts)


def around(slug: str) -> tuple[str, str]:
    """Between which two places all of a plan stand."""
    return f"{slug}{TAB}", f"{slug}{chr(ord(TAB) + 1)}"


def now() -> datetime:
    return datetime.now(UTC)


# The tables as SQL knows them: queries are written with these.
PLAN, DOCUMENT, SECTION, MEASURE, EVALUATION, TALLY, CHANGE, FEED, SOURCE, API_KEY = (
    SQLModel.metadata.tables[name]
    for name in (
        "plan",
        "document",
        "section",
        "measure",
        "evaluation",
        "tally",
        "change",
        "feed",
        "source",
        "api_key",
    )
)

# A natural key as one string, the parent's first.
PLAN_KEY = PLAN.c.slug
DOCUMENT_KEY = PLAN.c.slug + "/" + DOCUMENT.c.sha256
SECTION_KEY = PLAN.c.slug + "/" + SECTION.c.code
MEASURE_KEY = PLAN.c.slug + "/" + MEASURE.c.code
EVALUATION_KEY = (
    MEASURE_KEY
    + "/"
    + sa.cast(EVALUATION.c.fiscal_year, sa.Text)
    + "/"
    + sa.cast(EVALUATION.c.ordinal, sa.Text)
)
