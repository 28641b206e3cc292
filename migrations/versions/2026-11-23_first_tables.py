"""The first tables: plan, document, section, measure, evaluation; change and feed; api_key."""

from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _noun(
        "plan",
        sa.Column("slug", TEXT, nullable=False),
        sa.Column("title", TEXT, nullable=False),
        sa.Column("municipality_code", TEXT, nullable=False),
        sa.Column("municipality", TEXT, nullable=False),
        sa.Column("first_fiscal_year", sa.Integer()),
        sa.Column("last_fiscal_year", sa.Integer()),
        sa.Column("ratings", sa.JSON(), nullable=False),
        sa.Column("ratings_closed", sa.Boolean(), nullable=False),
        sa.Column("licence", TEXT),
        sa.Column("source_url", TEXT),
        sa.Column("folded", TEXT, nullable=False),
        sa.UniqueConstraint("slug", name="uq_plan_slug"),
    )
    _noun(
        "document",
        _parent("plan"),
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("media_type", TEXT, nullable=False),
        sa.Column("encoding", TEXT),
        sa.Column("fiscal_year", sa.Integer()),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        _of("document", "plan"),
        sa.UniqueConstraint("plan_id", "sha256", name="uq_document_plan_id_sha256"),
    )
    _noun(
        "section",
        _parent("plan"),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("label", TEXT),
        sa.Column("title", TEXT),
        sa.Column("position", sa.BigInteger()),
        sa.Column("code_order", TEXT, nullable=False),
        _of("section", "plan"),
        sa.UniqueConstraint("plan_id", "code", name="uq_section_plan_id_code"),
    )
    _noun(
        "measure",
        _parent("plan"),
        _parent("section"),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("title", TEXT, nullable=False),
        sa.Column("path", sa.JSON(), nullable=False),
        sa.Column("position", sa.BigInteger()),
        sa.Column("code_order", TEXT, nullable=False),
        sa.Column("folded", TEXT, nullable=False),
        _of("measure", "plan"),
        _of("measure", "section"),
        sa.UniqueConstraint("plan_id", "code", name="uq_measure_plan_id_code"),
    )
    op.create_index("ix_measure_section_id", "measure", ["section_id"])
    _noun(
        "evaluation",
        _parent("measure"),
        sa.Column("fiscal_year", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("implementation", TEXT),
        sa.Column("rating", TEXT),
        sa.Column("rating_printed", TEXT),
        sa.Column("rationale", TEXT),
        sa.Column("next_plan", TEXT),
        sa.Column("department", TEXT),
        sa.Column("extra", sa.JSON(), nullable=False),
        sa.Column("document_id", ID),
        sa.Column("source_line", sa.BigInteger()),
        sa.Column("folded", TEXT, nullable=False),
        _of("evaluation", "measure"),
        _of("evaluation", "document"),
        sa.UniqueConstraint(
            "measure_id", "fiscal_year", "ordinal", name="uq_evaluation_measure_id_fiscal_year_ordinal"
        ),
    )
    op.create_index("ix_evaluation_document_id", "evaluation", ["document_id"])
    op.create_index("ix_evaluation_fiscal_year_rating", "evaluation", ["fiscal_year", "rating"])

    op.create_table(
        "change",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entity", TEXT, nullable=False),
        sa.Column("entity_id", sa.BigInteger(), nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("op", TEXT, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("api_key_id", TEXT),
        sa.Column("data", TEXT),
        sa.PrimaryKeyConstraint("seq", name="pk_change"),
    )
    op.create_index("ix_change_entity_entity_id_seq", "change", ["entity", "entity_id", "seq"])
    removals = sa.text("op = 'delete'")
    op.create_index(
        "ix_change_deleted", "change", ["entity", "key"], sqlite_where=removals, postgresql_where=removals
    )
    feed = op.create_table(
        "feed",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", TEXT, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_feed"),
        sa.CheckConstraint("id = 1", name=op.f("ck_feed_one_row")),
    )
    op.bulk_insert(feed, [{"id": 1, "epoch": uuid4().hex, "seq": 0}])
    op.create_table(
        "api_key",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("municipality_code", TEXT),
        sa.Column("secret_sha256", TEXT, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
        sa.CheckConstraint(
            "role = 'admin' OR municipality_code IS NOT NULL", name=op.f("ck_api_key_editor_has_municipality")
        ),
    )


def downgrade() -> None:
    for table in ("api_key", "feed", "change", "evaluation", "measure", "section", "document", "plan"):
        op.drop_table(table)


def _noun(name: str, *columns: Any) -> None:
    """A table whose rows are versioned and whose ids are never used again."""
    op.create_table(
        name,
        sa.Column("id", ID, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
        sqlite_autoincrement=True,
    )


def _parent(name: str) -> sa.Column[Any]:
    return sa.Column(f"{name}_id", ID, nullable=False)


def _of(name: str, parent: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([f"{parent}_id"], [f"{parent}.id"], name=f"fk_{name}_{parent}_id_{parent}")
