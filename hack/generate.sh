#!/bin/sh
# Generates files from the Rust types: the CRDs in crds/ and in the chart, and the reference pages in docs/reference. With
# --check it writes nothing and fails if a file is outdated.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}

cargo build --workspace --all-targets
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
mkdir "$fresh/crds" "$fresh/pages"
"$target/debug/muster" crds --dir "$fresh/crds"
"$target/debug/muster" crds --reference "$fresh/pages"

# $1: --check or empty; $2: folder with the generated files; $3: destination.
put() {
    if [ "$1" != --check ]; then
        mkdir -p "$3"
        rm -f "$3"/*
        cp "$2"/* "$3"
    elif ! diff -ru "$3" "$2"; then
        echo "$3 does not match the Rust types: run make generate" >&2
        exit 1
    fi
}
put "${1:-}" "$fresh/crds" crds
put "${1:-}" "$fresh/crds" charts/muster/files/crds
put "${1:-}" "$fresh/pages" docs/reference
