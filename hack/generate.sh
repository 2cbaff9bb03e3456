#!/bin/sh
# Writes what is generated from the Rust types: the CRDs, into crds/ and the chart, and the pages that describe them. With
# --check it only tells whether that would change something.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}

cargo build --workspace --all-targets
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
mkdir "$fresh/crds" "$fresh/pages"
"$target/debug/muster" crds --dir "$fresh/crds"
"$target/debug/muster" crds --reference "$fresh/pages"

# $1: --check or nothing; $2: what is fresh; $3: where it belongs.
put() {
    if [ "$1" != --check ]; then
        mkdir -p "$3"
        rm -f "$3"/*
        cp "$2"/* "$3"
    elif ! diff -ru "$3" "$2"; then
        echo "$3 is not what the Rust types say: run make generate" >&2
        exit 1
    fi
}
put "${1:-}" "$fresh/crds" crds
put "${1:-}" "$fresh/crds" charts/muster/files/crds
put "${1:-}" "$fresh/pages" docs/reference
