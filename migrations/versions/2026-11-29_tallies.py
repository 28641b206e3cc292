"""How many rows have which rating: tallies, and which plans have the same scale."""

import json
from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
KEY = ("plan", "municipality_code", "fiscal_year", "rating")


def upgrade() -> None:
    op.add_column("plan", sa.Column("scale", TEXT, nullable=False, server_default=""))
    op.create_table(
        "tally",
        sa.Column("plan", TEXT, nullable=False),
        sa.Column("municipality_code", TEXT, nullable=False),
        sa.Column("fiscal_year", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("rating", TEXT, nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*KEY, name="pk_tally"),
    )
    op.create_index("ix_tally_fiscal_year_rating_n", "tally", ["fiscal_year", "rating", "n"])
    op.create_index("ix_tally_municipality_code", "tally", ["municipality_code"])
    op.execute(
        """
        INSERT INTO tally (plan, municipality_code, fiscal_year, rating, n)
        SELECT plan.slug, plan.municipality_code, fiscal_year, coalesce(rating, ''), count(*)
        FROM evaluation JOIN measure ON measure.id = measure_id JOIN plan ON plan.id = plan_id
        GROUP BY plan.slug, plan.municipality_code, fiscal_year, coalesce(rating, '')
        """
    )
    plan = sa.table("plan", sa.column("id"), sa.column("ratings", sa.JSON), sa.column("scale"))
    for id, ratings in op.get_bind().execute(sa.select(plan.c.id, plan.c.ratings)).all():
        meaning = [[rating["code"], rating["label"]] for rating in ratings]
        scale = sha256(json.dumps(meaning, ensure_ascii=False).encode()).hexdigest()[:16]
        op.execute(sa.update(plan).where(plan.c.id == id).values(scale=scale))


def downgrade() -> None:
    op.drop_table("tally")
    op.drop_column("plan", "scale")
