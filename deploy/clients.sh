#!/usr/bin/env bash
# The independent clients of tests/clients, pinned by hash, into .tools/: the official TypeScript client and the
# Inspector on Node, pydantic-ai in an environment of its own. Exits 75 when one of them can't be had.
set -uo pipefail
cd "$(dirname "$0")/.."
. deploy/node.sh

install_pydantic_ai() {
    local home=.tools/pydantic-ai pins=deploy/clients/pydantic-ai.txt
    cmp -s "$pins" "$home/pins.txt" && return
    .venv/bin/uv venv --quiet --clear --python .venv/bin/python "$home" &&
        .venv/bin/uv pip install --quiet --python "$home/bin/python" --require-hashes --requirements "$pins" &&
        cp "$pins" "$home/pins.txt"
}

failed=0
if installed Node install_node; then
    installed "the clients on Node" npm_ci .tools/clients deploy/clients || failed=75
else
    failed=75
fi
installed pydantic-ai install_pydantic_ai || failed=75
exit $failed
