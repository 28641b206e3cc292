"""Which ratings a measure has, without its rows: an index."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_evaluation_measure_id_rating", "evaluation", ["measure_id", "rating"])


def downgrade() -> None:
    op.drop_index("ix_evaluation_measure_id_rating", "evaluation")
