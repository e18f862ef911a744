#!/usr/bin/env bash
# aimock, a server that plays the model providers, pinned by hash, in .tools/, for tests/providers/test_aimock.py.
# Exits 75 when it can't be had.
set -uo pipefail
cd "$(dirname "$0")/.."
. deploy/node.sh

installed Node install_node && installed aimock npm_ci .tools/aimock deploy/aimock || exit 75
