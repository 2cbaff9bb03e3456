#!/bin/sh
# Builds what `make demo` and `make dev` run, and nothing else: Kubernetes, unless envtest binaries and helm are there, and
# beside it muster, its agent, the sandbox and the program that starts all of them. With --all also
# kube-controller-manager, which `make dev` runs. Each stage says how long it took.
set -eu
cd "$(dirname "$0")/.."

started=$(date +%s)
took() { echo "$((($(date +%s) - started) / 60)) min $((($(date +%s) - started) % 60)) s"; }

kube=
if [ -n "$*" ] || [ -z "${KUBEBUILDER_ASSETS:-}" ] || ! command -v helm >/dev/null; then
    hack/kube/build.sh "$@" >/dev/null &
    kube=$!
    trap 'kill "$kube" 2>/dev/null || true' EXIT
    trap 'exit 130' INT TERM HUP
fi
echo "Building muster ..."
cargo build --profile demo -p muster -p muster-agent -p muster-sandbox -p muster-world
echo "  muster: done in $(took)"
if [ -n "$kube" ]; then
    wait "$kube" || exit 1
    trap - EXIT
fi
