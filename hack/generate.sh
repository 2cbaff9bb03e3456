#!/bin/sh
# Writes the CRDs from the Rust types, into crds/ and the chart. With --check it only tells whether that would change
# something.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
folders="crds charts/muster/files/crds"

cargo build --workspace --all-targets
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"$target/debug/muster" crds --dir "$fresh"
for folder in $folders; do
    if [ "${1:-}" != --check ]; then
        mkdir -p "$folder"
        rm -f "$folder"/*.yaml
        cp "$fresh"/*.yaml "$folder"
    elif ! diff -ru "$folder" "$fresh"; then
        echo "$folder is not what the Rust types say: run make generate" >&2
        exit 1
    fi
done
