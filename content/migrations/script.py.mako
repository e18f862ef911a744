"""${message}."""

import sqlalchemy as sa
from alembic import op

import content.database

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Apply the revision."""
    ${upgrades if upgrades else "pass"}
