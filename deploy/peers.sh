#!/usr/bin/env bash
# The independent peers of tests/peers and of the benchmarks, pinned by hash, each in an environment of its own in
# .tools/peers/: deploy/peers.sh installs pydantic-ai; --bench litellm, and pydantic-ai with Temporal, as well; --cache a
# real model with a real prefix cache as well (llama.cpp and the weights of SmolLM2, 130 MB). Exits 75 when one of them
# can't be had.
set -uo pipefail
cd "$(dirname "$0")/.."
. deploy/node.sh

environment() {
    local home=.tools/peers/$1 pins=deploy/peers/$1.txt
    cmp -s "$pins" "$home/pins.txt" && return
    # Without what they would bring: every package that is used stands in the pins.
    .venv/bin/uv venv --quiet --clear --python .venv/bin/python "$home" &&
        .venv/bin/uv pip install --quiet --python "$home/bin/python" --no-deps --require-hashes --requirements "$pins" &&
        cp "$pins" "$home/pins.txt"
}

peers=(pydantic-ai)
for option in "$@"; do
    case $option in
    --bench) peers+=(litellm pydantic-ai-temporal) ;;
    --cache) peers+=(llamacpp) ;;
    *) echo "$option is none of --bench, --cache"; exit 64 ;;
    esac
done

failed=0
for peer in "${peers[@]}"; do
    installed "$peer" environment "$peer" || failed=75
done
exit $failed
