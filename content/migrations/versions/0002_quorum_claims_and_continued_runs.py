"""What several people decide alike, who took a task, and which run goes on with a failed one."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("runs", sa.Column("continues", sa.String(length=40), nullable=True))
    op.add_column("tasks", sa.Column("quorum", sa.Integer(), server_default="1", nullable=False))
    op.add_column("tasks", sa.Column("votes", sa.JSON(none_as_null=True), server_default="[]", nullable=False))
    op.add_column("tasks", sa.Column("delegation", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("tasks", sa.Column("claimed_by", sa.String(length=256), nullable=True))
