"""What rows carry to be found without their parents: the municipality, the section, the order, the place."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

# By table: the new columns, what they are made of, and what each row is found by.
COLUMNS = {
    "section": ("municipality_code", "place"),
    "measure": ("municipality_code", "section", "place"),
    "evaluation": ("municipality_code", "section", "code_order", "place"),
}
FILLED = (
    """
    UPDATE section SET municipality_code = plan.municipality_code, place = plan.slug || :tab || code_order
    FROM plan WHERE plan.id = section.plan_id
    """,
    """
    UPDATE measure SET municipality_code = plan.municipality_code, section = section.code,
        place = plan.slug || :tab || measure.code_order
    FROM plan, section WHERE plan.id = measure.plan_id AND section.id = measure.section_id
    """,
    """
    UPDATE evaluation SET municipality_code = measure.municipality_code, section = measure.section,
        code_order = measure.code_order,
        place = measure.place || :tab || fiscal_year || :tab
            || '0' || length(CAST(ordinal AS TEXT)) || CAST(ordinal AS TEXT),
        folded = CASE WHEN evaluation.folded = '' THEN measure.folded
            WHEN measure.folded = '' THEN evaluation.folded
            ELSE measure.folded || :newline || evaluation.folded END
    FROM measure WHERE measure.id = evaluation.measure_id
    """,
)
FOUND_BY = {
    "section": ("municipality_code", "code_order", "updated_at"),
    "measure": ("municipality_code", "section", "code_order", "title", "updated_at"),
    "evaluation": (
        *("municipality_code", "section", "code_order", "fiscal_year", "rating", "department"),
        *("ordinal", "updated_at"),
    ),
}


REMOVALS = sa.text("op = 'delete'")


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for name in columns:
            op.add_column(table, sa.Column(name, TEXT, nullable=False, server_default=""))
    for statement in FILLED:
        marks = {"tab": "\t", "newline": "\n"}
        op.execute(sa.text(statement).bindparams(**{k: v for k, v in marks.items() if f":{k}" in statement}))
    op.drop_index("ix_evaluation_fiscal_year_rating", "evaluation")
    for table, names in FOUND_BY.items():
        op.create_index(f"ix_{table}_place", table, ["place"], unique=True)
        for name in names:
            op.create_index(f"ix_{table}_{name}_place", table, [name, "place"])
    op.create_index(
        "ix_evaluation_fiscal_year_rating_place", "evaluation", ["fiscal_year", "rating", "place"]
    )
    op.create_index(
        "ix_change_removals", "change", ["entity", "key"], sqlite_where=REMOVALS, postgresql_where=REMOVALS
    )


def downgrade() -> None:
    op.drop_index("ix_change_removals", "change")
    op.drop_index("ix_evaluation_fiscal_year_rating_place", "evaluation")
    for table, names in FOUND_BY.items():
        op.drop_index(f"ix_{table}_place", table)
        for name in names:
            op.drop_index(f"ix_{table}_{name}_place", table)
    op.create_index("ix_evaluation_fiscal_year_rating", "evaluation", ["fiscal_year", "rating"])
    op.execute(
        sa.text(
            """
            UPDATE evaluation SET folded = substr(evaluation.folded, length(measure.folded) + 2)
            FROM measure WHERE measure.id = evaluation.measure_id AND measure.folded <> ''
            """
        )
    )
    for table, columns in COLUMNS.items():
        for name in columns:
            op.drop_column(table, name)
