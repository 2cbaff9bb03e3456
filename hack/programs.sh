#!/bin/sh
# Builds what `make demo` and `make dev` run, and nothing else: Kubernetes, unless envtest binaries and helm are there, and
# beside it muster, its agent, the sandbox and the program that starts all of them. With --all also
# kube-controller-manager, which `make dev` runs. Whatever ends this script ends both builds.
set -eu
cd "$(dirname "$0")/.."

case "$#$*" in
0 | 1--all) ;;
*)
    echo "usage: hack/programs.sh [--all]" >&2
    exit 2
    ;;
esac
kube=${1:---demo}
if [ "$kube" = --demo ] && [ -n "${KUBEBUILDER_ASSETS:-}" ] && command -v helm >/dev/null; then kube=; fi
hack/tools.sh --world ${kube:+--go}

set -- cargo build --profile demo -p muster -p muster-agent -p muster-sandbox -p muster-world
# The Rust build takes longer: one crate, the EC2 SDK, keeps one core busy for minutes, and most others wait for it.
# Therefore Kubernetes gets only the time that Rust leaves; at equal priority both are done minutes later.
if [ -n "$kube" ]; then set -- "$@" -- nice -n 19 hack/kube/build.sh "$kube"; fi
echo "Building muster (the first time 10 to 17 minutes) ..."
exec hack/together.py "$@" >/dev/null
