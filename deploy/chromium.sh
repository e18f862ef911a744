#!/usr/bin/env bash
# Chromium for tests/browser, from Debian's packages where it is missing and this may install it: prints where it is.
# CHROMIUM_FOR_TESTS names another one. Exits 75 when there is none.
set -uo pipefail

find_chromium() { command -v "${CHROMIUM_FOR_TESTS:-chromium}" || command -v chromium-browser; }

install_chromium() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    local get=(apt-get install -y -qq --no-install-recommends chromium)
    "${get[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${get[@]}"; } >/dev/null 2>&1
}

find_chromium || { install_chromium && find_chromium; } ||
    { echo "Chromium is not installed: the tests in a browser are skipped" >&2; exit 75; }
