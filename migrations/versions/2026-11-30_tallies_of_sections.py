"""How many rows of each section have which rating, and how many of all plans: tallies that say more."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ROWS = "FROM evaluation JOIN measure ON measure.id = measure_id JOIN plan ON plan.id = plan_id"


def upgrade() -> None:
    _make_anew("section")
    op.execute(
        f"""
        INSERT INTO tally (plan, municipality_code, section, fiscal_year, rating, n)
        SELECT plan.slug, plan.municipality_code, measure.section, fiscal_year, coalesce(rating, ''), count(*) {ROWS}
        GROUP BY plan.slug, plan.municipality_code, measure.section, fiscal_year, coalesce(rating, '')
        """
    )
    op.execute(
        """
        INSERT INTO tally (plan, municipality_code, section, fiscal_year, rating, n)
        SELECT '', '', '', fiscal_year, rating, sum(n) FROM tally GROUP BY fiscal_year, rating
        """
    )
    op.create_index("ix_plan_scale", "plan", ["scale"])


def downgrade() -> None:
    op.drop_index("ix_plan_scale", "plan")
    _make_anew()
    op.create_index("ix_tally_fiscal_year_rating_n", "tally", ["fiscal_year", "rating", "n"])
    op.execute(
        f"""
        INSERT INTO tally (plan, municipality_code, fiscal_year, rating, n)
        SELECT plan.slug, plan.municipality_code, fiscal_year, coalesce(rating, ''), count(*) {ROWS}
        GROUP BY plan.slug, plan.municipality_code, fiscal_year, coalesce(rating, '')
        """
    )


def _make_anew(*more: str) -> None:
    """What the rows tell is counted again."""
    op.drop_table("tally")
    texts = ("plan", "municipality_code", *more)
    op.create_table(
        "tally",
        *(sa.Column(name, TEXT, nullable=False) for name in texts),
        sa.Column("fiscal_year", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("rating", TEXT, nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*texts, "fiscal_year", "rating", name="pk_tally"),
    )
    op.create_index("ix_tally_municipality_code", "tally", ["municipality_code"])
