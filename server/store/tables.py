"""The tables of the run model. The tenant leads every key."""

import sqlalchemy as sa

from content.database import Document, Timestamp, metadata

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("run_id", sa.String(40), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("definition", sa.String(200), nullable=False),
    sa.Column("version", sa.String(80), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("principal", Document, nullable=False),
    sa.Column("subject", sa.String(256), nullable=False),
    sa.Column("parent_id", sa.String(40)),
    sa.Column("root_id", sa.String(40), nullable=False),
    sa.Column("input", Document, nullable=False),
    sa.Column("input_digest", sa.String(64), nullable=False),
    sa.Column("idempotency_key", sa.String(200)),
    sa.Column("budget", Document, nullable=False),
    sa.Column("spent", Document, nullable=False),
    sa.Column("position", sa.Text, nullable=False, server_default=""),
    sa.Column("waits_for", sa.Text, nullable=False, server_default=""),
    sa.Column("result", Document),
    sa.Column("error", sa.Text),
    sa.Column("last_seq", sa.Integer, nullable=False, server_default="0"),
    sa.Column("audit_seq", sa.Integer, nullable=False, server_default="0"),
    sa.Column("audit_head", sa.String(64), nullable=False, server_default=""),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
    sa.Column("finished_at", Timestamp),
    sa.Column("continues", sa.String(40)),
    sa.UniqueConstraint("tenant", "subject", "idempotency_key"),
    sa.Index(None, "tenant", "status", "created_at"),
    sa.Index(None, "tenant", "parent_id"),
    sa.Index(None, "status", "updated_at"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("run_id", sa.String(40), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("type", sa.String(64), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("data", Document, nullable=False),
    sa.UniqueConstraint("tenant", "run_id", "key"),
    sa.Index(None, "tenant", "run_id", "type", "seq"),
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("run_id", sa.String(40), primary_key=True),
    sa.Column("key", sa.String(200), primary_key=True),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("task_id", sa.String(40), primary_key=True),
    sa.Column("run_id", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("node", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("form", Document),
    sa.Column("decisions", Document, nullable=False),
    sa.Column("seat", Document, nullable=False),
    sa.Column("context", Document, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("deadline", Timestamp),
    sa.Column("answer", Document),
    sa.Column("answered_by", sa.String(256)),
    sa.Column("answered_at", Timestamp),
    sa.Column("quorum", sa.Integer, nullable=False, server_default="1"),
    sa.Column("votes", Document, nullable=False, server_default="[]"),
    sa.Column("delegation", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("claimed_by", sa.String(256)),
    sa.Index(None, "tenant", "status", "created_at"),
    sa.Index(None, "tenant", "run_id"),
)

event_waits = sa.Table(
    "event_waits",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("run_id", sa.String(40), primary_key=True),
    sa.Column("step", sa.String(200), primary_key=True),
    sa.Column("node", sa.Text, nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("fields", sa.Text, nullable=False),
    sa.Column("correlation", sa.String(64), nullable=False),
    sa.Column("until", Timestamp),
    sa.Index(None, "tenant", "name", "correlation"),
)

sent_events = sa.Table(
    "sent_events",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("subject", sa.String(256), primary_key=True),
    sa.Column("key", sa.String(150), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("outcome", Document),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("run_id", sa.String(40), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("actor", sa.String(256), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("node", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("data", Document, nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.UniqueConstraint("tenant", "run_id", "key"),
)

anchors = sa.Table(
    "audit_anchors",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.String(40), nullable=False),
    sa.Column("audit_seq", sa.Integer, nullable=False),
    sa.Column("head", sa.String(64), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("previous_signature", sa.String(200), nullable=False),
    sa.Column("signature", sa.String(200), nullable=False),
    sa.Index(None, "tenant", "run_id"),
)

effects = sa.Table(
    "effects",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("key", sa.String(250), primary_key=True),
    sa.Column("run_id", sa.String(40), nullable=False),
    sa.Column("begun_at", Timestamp, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("outcome", Document),
    sa.Column("finished_at", Timestamp),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("run_id", sa.String(40), primary_key=True),
    sa.Column("path", sa.String(400), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("mime", sa.String(120), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.UniqueConstraint("tenant", "run_id", "path", "key"),
)

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("created_by", sa.String(256), nullable=False),
)

capacity_gates = sa.Table(
    "capacity_gates",
    metadata,
    # One for all tenants that call on the account: a provider counts by its keys, and knows no tenants.
    sa.Column("gate", sa.String(400), primary_key=True),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("account", sa.String(100), nullable=False),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("state", Document, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
)

capacity_tickets = sa.Table(
    "capacity_tickets",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("gate", sa.String(400), primary_key=True),
    sa.Column("ticket", sa.String(250), primary_key=True),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("tag", sa.Double, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("requests", sa.Double, nullable=False),
    sa.Column("input_tokens", sa.Double, nullable=False),
    sa.Column("output_tokens", sa.Double, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
    sa.Index(None, "gate", "state", "priority", "tag"),
    sa.Index(None, "gate", "expires"),
)

capacity_users = sa.Table(
    "capacity_users",
    metadata,
    sa.Column("tenant", sa.String(63), primary_key=True),
    sa.Column("gate", sa.String(400), primary_key=True),
)
