#!/usr/bin/env bash
# Runs a command with a throw-away Postgres beside it, and with the independent clients installed, where they can be had;
# the tests that need one that is missing say so.
set -uo pipefail

find_postgres() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }

install_postgres() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
    # Only the programs are wanted: no cluster is made and no service is started.
    mkdir -p /etc/postgresql-common
    grep -qs '^create_main_cluster' /etc/postgresql-common/createcluster.conf ||
        echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf
    (apt-get install -y -qq postgresql || { apt-get update -qq && apt-get install -y -qq postgresql; }) >/dev/null 2>&1
}

as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

start_postgres() {
    bin=$(find_postgres)
    [ -n "$bin" ] || { install_postgres; bin=$(find_postgres); }
    [ -n "$bin" ] || { echo "Postgres is not installed: the tests that need it are skipped"; return 1; }
    folder=$(mktemp -d /tmp/upstairs-postgres.XXXXXX)
    if [ "$(id -u)" = 0 ]; then chown postgres "$folder"; fi
    as_postgres "$bin/initdb" -D "$folder/data" -A trust -U upstairs --no-sync -E UTF8 >/dev/null 2>&1 || return 1
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    as_postgres "$bin/pg_ctl" -D "$folder/data" -w -l "$folder/log" \
        -o "-p $port -h 127.0.0.1 -k '' -c fsync=off -c max_connections=200" start >/dev/null 2>&1 || return 1
    trap 'as_postgres "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1; rm -rf "$folder"' EXIT
    export POSTGRES_FOR_TESTS="postgresql://upstairs@127.0.0.1:$port/postgres"
}

"$(dirname "$0")/clients.sh" || echo "not every client could be installed: the tests that need it are skipped"
"$(dirname "$0")/peers.sh" ${REAL_MODEL_FOR_TESTS:+--cache} || echo "not every peer could be installed: the tests that need it are skipped"
"$(dirname "$0")/chromium.sh" >/dev/null && "$(dirname "$0")/apps-host.sh" || true
[ -n "${POSTGRES_FOR_TESTS:-}" ] || start_postgres || true
"$@"
