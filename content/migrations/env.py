"""Alembic's entry: migrations run on the connection that `Database.migrate` holds."""

from typing import Any

from alembic import context

from content.database import metadata


def _ours(_object: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
    # The full-text index keeps tables of its own, which no metadata describes.
    return not (kind == "table" and name is not None and name.startswith("passages_fts"))


def _run() -> None:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        include_object=_ours,
        transaction_per_migration=False,
        render_as_batch=False,
    )
    context.run_migrations()


_run()
