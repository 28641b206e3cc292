"""What copies need: the plan and the municipality of each change, how far back the log goes, where a plan came from."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
CHANGE = sa.table(
    "change",
    *(sa.column(name, sa.Text) for name in ("entity", "key", "data", "plan", "municipality_code")),
    sa.column("seq", sa.BigInteger),
)


def upgrade() -> None:
    op.add_column("plan", sa.Column("origin", TEXT))
    op.add_column("feed", sa.Column("horizon", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "source",
        sa.Column("address", TEXT, nullable=False),
        sa.Column("cursor", TEXT),
        sa.Column("revision", sa.BigInteger()),
        sa.Column("synced_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("address", name="pk_source"),
    )
    op.drop_index("ix_change_deleted", "change")  # (entity, key, seq) below serves it as well
    op.add_column("change", sa.Column("plan", TEXT))
    op.add_column("change", sa.Column("municipality_code", TEXT))
    _tell_places()
    with op.batch_alter_table("change") as change:
        change.alter_column("plan", existing_type=TEXT, nullable=False)
        change.alter_column("municipality_code", existing_type=TEXT, nullable=False)
    op.create_index("ix_change_entity_key_seq", "change", ["entity", "key", "seq"])
    op.create_index("ix_change_plan_seq", "change", ["plan", "seq"])
    op.create_index("ix_change_municipality_code_seq", "change", ["municipality_code", "seq"])


def _tell_places() -> None:
    """A key begins with its plan; where that lay, the plan's own entries say."""
    connection = op.get_bind()
    parts = "substr(key, 1, instr(key, '/') - 1)"
    if connection.dialect.name == "postgresql":
        parts = "split_part(key, '/', 1)"
    connection.execute(
        sa.text(f"UPDATE change SET plan = CASE WHEN entity = 'plan' THEN key ELSE {parts} END")  # noqa: S608
    )
    # The code of a plan that moved is the last one that it had.
    entries = sa.select(CHANGE.c.key, CHANGE.c.data).order_by(CHANGE.c.seq)
    plans = connection.execute(entries.where(CHANGE.c.entity == "plan", CHANGE.c.data.is_not(None)))
    codes = {key: json.loads(data)["municipality_code"] for key, data in plans}
    for key, code in codes.items():
        connection.execute(sa.update(CHANGE).where(CHANGE.c.plan == key).values(municipality_code=code))


def downgrade() -> None:
    for index in ("entity_key", "plan", "municipality_code"):
        op.drop_index(f"ix_change_{index}_seq", "change")
    # Column by column: a table that is rebuilt would forget which ids it has given out.
    for table, column in (
        ("change", "municipality_code"),
        ("change", "plan"),
        ("feed", "horizon"),
        ("plan", "origin"),
    ):
        op.drop_column(table, column)
    removals = sa.text("op = 'delete'")
    op.create_index(
        "ix_change_deleted", "change", ["entity", "key"], sqlite_where=removals, postgresql_where=removals
    )
    op.drop_table("source")
