"""Gates in front of models, and the tickets of who waits at them."""

import sqlalchemy as sa
from alembic import op

import content.database

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "capacity_gates",
        sa.Column("gate", sa.String(length=400), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=100), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("updated_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("gate", name=op.f("pk_capacity_gates")),
    )
    op.create_table(
        "capacity_tickets",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("gate", sa.String(length=400), nullable=False),
        sa.Column("ticket", sa.String(length=250), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("tag", sa.Double(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("requests", sa.Double(), nullable=False),
        sa.Column("input_tokens", sa.Double(), nullable=False),
        sa.Column("output_tokens", sa.Double(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "gate", "ticket", name=op.f("pk_capacity_tickets")),
    )
    op.create_index(op.f("ix_capacity_tickets_gate_expires"), "capacity_tickets", ["gate", "expires"], unique=False)
    op.create_index(
        op.f("ix_capacity_tickets_gate_state_priority_tag"),
        "capacity_tickets",
        ["gate", "state", "priority", "tag"],
        unique=False,
    )
    op.create_table(
        "capacity_users",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("gate", sa.String(length=400), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "gate", name=op.f("pk_capacity_users")),
    )
