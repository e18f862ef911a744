"""Where the rest of a result lies that is too large to be handed on: an artifact of the run."""

from engine.runs import RunRef
from server.store.runs import SqlRunStore
from skills.running import Keep


def keep_as_artifact(runs: SqlRunStore, run: RunRef, path: str, key: str) -> Keep:
    """Return what stores a whole text under `path` of the run and says its URI; a repeat stores nothing twice."""

    async def keep(text: str) -> str:
        await runs.write_artifact(run, path, text.encode(), mime="text/plain; charset=utf-8", key=key)
        return f"run://{run.run_id}/artifacts/{path}"

    return keep
