#!/usr/bin/env bash
# The official MCP conformance suite against the product's own server factory: deploy/conformance.sh [--scenario NAME] [REVISION]...
# Node and the suite, both pinned by hash, are installed into .tools/. Exits 75 when they can't be had.
set -euo pipefail
cd "$(dirname "$0")/.."

. deploy/node.sh
python=.venv/bin/python
suite=.tools/conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js

installed Node install_node || exit 75
installed "the conformance suite" npm_ci .tools/conformance deploy/conformance || exit 75

scenario=()
if [ "${1:-}" = --scenario ]; then scenario=(--scenario "$2"); shift 2; fi
[ $# -gt 0 ] || set -- 2025-11-25 2026-07-28

# The server ends with its standard input, so with this script, however that ends.
coproc SERVER { exec "$python" -m tests.conformance.serve; }
read -r url <&"${SERVER[0]}" || { echo "the server did not start"; exit 1; }

failed=0
for revision in "$@"; do
    if [ ${#scenario[@]} -gt 0 ]; then which=(--spec-version "$revision" --force); else which=(--requirements "$revision"); fi
    node "$suite" server --url "$url" "${which[@]}" "${scenario[@]}" || failed=1
done
exit $failed
