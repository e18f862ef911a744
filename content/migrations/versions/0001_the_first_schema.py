"""The first schema."""

import sqlalchemy as sa
from alembic import op

import content.database
from content.tables import create_full_text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "artifacts",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("path", sa.String(length=400), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("mime", sa.String(length=120), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "run_id", "path", "version", name=op.f("pk_artifacts")),
        sa.UniqueConstraint("tenant", "run_id", "path", "key", name=op.f("uq_artifacts_tenant_run_id_path_key")),
    )
    op.create_table(
        "audit",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("at", content.database.Timestamp(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "run_id", "seq", name=op.f("pk_audit")),
        sa.UniqueConstraint("tenant", "run_id", "key", name=op.f("uq_audit_tenant_run_id_key")),
    )
    op.create_table(
        "audit_anchors",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("audit_seq", sa.Integer(), nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.Column("at", content.database.Timestamp(timezone=True), nullable=False),
        sa.Column("previous_signature", sa.String(length=200), nullable=False),
        sa.Column("signature", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "seq", name=op.f("pk_audit_anchors")),
    )
    op.create_index(op.f("ix_audit_anchors_tenant_run_id"), "audit_anchors", ["tenant", "run_id"], unique=False)
    op.create_table(
        "changes",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "run_id", "key", name=op.f("pk_changes")),
    )
    op.create_table(
        "collection_children",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("parent_id", sa.String(length=40), nullable=False),
        sa.Column("child_id", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "parent_id", "child_id", name=op.f("pk_collection_children")),
    )
    op.create_index(
        op.f("ix_collection_children_tenant_child_id"), "collection_children", ["tenant", "child_id"], unique=False
    )
    op.create_table(
        "collection_members",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("collection_id", sa.String(length=40), nullable=False),
        sa.Column("object_id", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "collection_id", "object_id", name=op.f("pk_collection_members")),
    )
    op.create_index(
        op.f("ix_collection_members_tenant_object_id"), "collection_members", ["tenant", "object_id"], unique=False
    )
    op.create_table(
        "collections",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("collection_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("owner", sa.String(length=256), nullable=False),
        sa.Column("content_types", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "collection_id", name=op.f("pk_collections")),
        sa.UniqueConstraint("tenant", "owner", "name", name=op.f("uq_collections_tenant_owner_name")),
    )
    op.create_table(
        "content_grants",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("resource_id", sa.String(length=40), nullable=False),
        sa.Column("right", sa.String(length=8), nullable=False),
        sa.Column("grantee", sa.String(length=300), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "resource_id", "right", "grantee", name=op.f("pk_content_grants")),
    )
    op.create_index(op.f("ix_content_grants_tenant_grantee"), "content_grants", ["tenant", "grantee"], unique=False)
    op.create_table(
        "definition_drafts",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("author", sa.String(length=256), nullable=False),
        sa.Column("updated_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "kind", "name", name=op.f("pk_definition_drafts")),
    )
    op.create_table(
        "definition_label_moves",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("from_number", sa.Integer(), nullable=True),
        sa.Column("to_number", sa.Integer(), nullable=False),
        sa.Column("by", sa.String(length=256), nullable=False),
        sa.Column("at", content.database.Timestamp(timezone=True), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "kind", "name", "seq", name=op.f("pk_definition_label_moves")),
    )
    op.create_table(
        "definition_labels",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "kind", "name", "label", name=op.f("pk_definition_labels")),
    )
    op.create_table(
        "definition_versions",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("author", sa.String(length=256), nullable=False),
        sa.Column("publisher", sa.String(length=256), nullable=False),
        sa.Column("published_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "kind", "name", "number", name=op.f("pk_definition_versions")),
    )
    op.create_table(
        "doomed_blobs",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "digest", name=op.f("pk_doomed_blobs")),
    )
    op.create_table(
        "effects",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(length=250), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("begun_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("finished_at", content.database.Timestamp(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "key", name=op.f("pk_effects")),
    )
    op.create_table(
        "events",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("at", content.database.Timestamp(timezone=True), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "run_id", "seq", name=op.f("pk_events")),
        sa.UniqueConstraint("tenant", "run_id", "key", name=op.f("uq_events_tenant_run_id_key")),
    )
    op.create_index(
        op.f("ix_events_tenant_run_id_type_seq"), "events", ["tenant", "run_id", "type", "seq"], unique=False
    )
    op.create_table(
        "executions",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("execution_id", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("key", sa.String(length=250), nullable=False),
        sa.Column("interaction", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=True),
        sa.Column("provider", sa.String(length=80), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("finish", sa.String(length=40), nullable=False),
        sa.Column("valid", sa.Boolean(), nullable=True),
        sa.Column("usd", sa.Double(), nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("record", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("at", content.database.Timestamp(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "execution_id", name=op.f("pk_executions")),
        sa.UniqueConstraint("tenant", "subject", "key", name=op.f("uq_executions_tenant_subject_key")),
    )
    op.create_index(op.f("ix_executions_tenant_at"), "executions", ["tenant", "at"], unique=False)
    op.create_index(
        op.f("ix_executions_tenant_interaction_at"), "executions", ["tenant", "interaction", "at"], unique=False
    )
    op.create_index(op.f("ix_executions_tenant_run_id"), "executions", ["tenant", "run_id"], unique=False)
    op.create_table(
        "index_generations",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_index_generations")),
    )
    op.create_table(
        "object_facets",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("object_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column(
            "value",
            sa.String(length=200).with_variant(sa.String(length=200, collation="C"), "postgresql"),
            nullable=False,
        ),
        sa.Column("number", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "object_id", "name", "value", name=op.f("pk_object_facets")),
    )
    op.create_index(
        op.f("ix_object_facets_tenant_name_value"), "object_facets", ["tenant", "name", "value"], unique=False
    )
    op.create_table(
        "object_versions",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("object_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mime", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("structure_digest", sa.String(length=64), nullable=True),
        sa.Column("extractor", sa.String(length=200), nullable=False),
        sa.Column("report", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("language", sa.String(length=40), nullable=False),
        sa.Column("page_count", sa.Integer(), nullable=False),
        sa.Column("passage_count", sa.Integer(), nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.Column("created_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.Column("published_at", content.database.Timestamp(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "object_id", "number", name=op.f("pk_object_versions")),
    )
    op.create_index(op.f("ix_object_versions_tenant_digest"), "object_versions", ["tenant", "digest"], unique=False)
    op.create_index(
        op.f("ix_object_versions_tenant_object_id_digest"),
        "object_versions",
        ["tenant", "object_id", "digest"],
        unique=False,
    )
    op.create_index(
        op.f("ix_object_versions_tenant_structure_digest"),
        "object_versions",
        ["tenant", "structure_digest"],
        unique=False,
    )
    op.create_table(
        "objects",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("object_id", sa.String(length=40), nullable=False),
        sa.Column("home_id", sa.String(length=40), nullable=False),
        sa.Column("scope", sa.String(length=300), nullable=False),
        sa.Column("name", sa.String(length=400), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("content_type", sa.String(length=200), nullable=False),
        sa.Column("tags", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("properties", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("owner", sa.String(length=256), nullable=False),
        sa.Column("inherits", sa.Boolean(), nullable=False),
        sa.Column("provenance", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("current_version", sa.Integer(), nullable=True),
        sa.Column("created_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.Column("updated_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "object_id", name=op.f("pk_objects")),
        sa.UniqueConstraint("tenant", "scope", "name", name=op.f("uq_objects_tenant_scope_name")),
    )
    op.create_index(op.f("ix_objects_tenant_home_id"), "objects", ["tenant", "home_id"], unique=False)
    op.create_index(op.f("ix_objects_tenant_owner"), "objects", ["tenant", "owner"], unique=False)
    op.create_table(
        "passage_vectors",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("object_id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant", "model_id", "object_id", "version", "number", name=op.f("pk_passage_vectors")
        ),
    )
    op.create_table(
        "passages",
        sa.Column("row", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("object_id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.Column("gap", sa.Text(), nullable=False),
        sa.Column("heading_path", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("boxes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("heading", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("row", name=op.f("pk_passages")),
        sa.UniqueConstraint(
            "tenant", "object_id", "version", "number", name=op.f("uq_passages_tenant_object_id_version_number")
        ),
    )
    op.create_table(
        "runs",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("definition", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=80), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("principal", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("parent_id", sa.String(length=40), nullable=True),
        sa.Column("root_id", sa.String(length=40), nullable=False),
        sa.Column("input", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("input_digest", sa.String(length=64), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("budget", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("spent", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("position", sa.Text(), server_default="", nullable=False),
        sa.Column("waits_for", sa.Text(), server_default="", nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("last_seq", sa.Integer(), server_default="0", nullable=False),
        sa.Column("audit_seq", sa.Integer(), server_default="0", nullable=False),
        sa.Column("audit_head", sa.String(length=64), server_default="", nullable=False),
        sa.Column("created_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.Column("updated_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.Column("finished_at", content.database.Timestamp(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "run_id", name=op.f("pk_runs")),
        sa.UniqueConstraint(
            "tenant", "subject", "idempotency_key", name=op.f("uq_runs_tenant_subject_idempotency_key")
        ),
    )
    op.create_index(op.f("ix_runs_status_updated_at"), "runs", ["status", "updated_at"], unique=False)
    op.create_index(op.f("ix_runs_tenant_parent_id"), "runs", ["tenant", "parent_id"], unique=False)
    op.create_index(op.f("ix_runs_tenant_status_created_at"), "runs", ["tenant", "status", "created_at"], unique=False)
    op.create_table(
        "secrets",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_secrets")),
    )
    op.create_table(
        "tasks",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("task_id", sa.String(length=40), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("form", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("decisions", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("seat", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("context", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at", content.database.Timestamp(timezone=True), nullable=False),
        sa.Column("deadline", content.database.Timestamp(timezone=True), nullable=True),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("answered_by", sa.String(length=256), nullable=True),
        sa.Column("answered_at", content.database.Timestamp(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "task_id", name=op.f("pk_tasks")),
    )
    op.create_index(op.f("ix_tasks_tenant_run_id"), "tasks", ["tenant", "run_id"], unique=False)
    op.create_index(
        op.f("ix_tasks_tenant_status_created_at"), "tasks", ["tenant", "status", "created_at"], unique=False
    )
    create_full_text(op.get_bind())
