"""What runs wait for from outside, and which events were sent."""

import sqlalchemy as sa
from alembic import op

import content.database

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "event_waits",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("step", sa.String(length=200), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("correlation", sa.String(length=64), nullable=False),
        sa.Column("until", content.database.Timestamp(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "run_id", "step", name=op.f("pk_event_waits")),
    )
    op.create_index(
        op.f("ix_event_waits_tenant_name_correlation"), "event_waits", ["tenant", "name", "correlation"], unique=False
    )
    op.create_table(
        "sent_events",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("key", sa.String(length=150), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("at", content.database.Timestamp(timezone=True), nullable=False),
        sa.Column("outcome", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "subject", "key", name=op.f("pk_sent_events")),
    )
