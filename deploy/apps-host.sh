#!/usr/bin/env bash
# The host of tests/browser: the official app-bridge of MCP Apps with the official client, pinned by hash, in .tools/.
# Exits 75 when they can't be had.
set -uo pipefail
cd "$(dirname "$0")/.."
. deploy/node.sh

installed Node install_node && installed "the host of MCP Apps" npm_ci .tools/apps-host deploy/apps-host || exit 75
