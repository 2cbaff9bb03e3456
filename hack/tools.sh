#!/bin/sh
# Checks for all tools that a build needs before the build starts, and lists every missing tool. With --go also for what
# builds Kubernetes, with --world for what the demo and the tests run.
set -u
cd "$(dirname "$0")/.."
missing=0 with_go= with_world=
for option in "$@"; do
    case $option in
    --go) with_go=yes ;;
    --world) with_world=yes ;;
    *)
        echo "usage: hack/tools.sh [--go] [--world]" >&2
        exit 2
        ;;
    esac
done

lacks() {
    missing=$((missing + 1))
    printf 'missing: %s\n         %s\n' "$1" "$2" >&2
}

# at_least <required> <found>: compares major and minor versions.
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -t . -k 1,1n -k 2,2n | head -n 1)" = "$1" ]
}

rust=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
if ! command -v cargo >/dev/null; then
    lacks "Rust $rust" "install rustup from https://rustup.rs, it brings the pinned version by itself"
elif ! said=$(cargo --version 2>&1 && rustc --version 2>&1); then
    lacks "Rust $rust" "run: rustup toolchain install $rust --profile minimal --component clippy,rustfmt"
elif ! at_least "${rust%.*}" "$(echo "$said" | sed -n 's/^rustc \([0-9]*\.[0-9]*\).*/\1/p')"; then
    lacks "Rust $rust (this is $(echo "$said" | tail -n 1))" "install rustup from https://rustup.rs"
fi

if [ -n "$with_go" ]; then
    go=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' hack/kube/go.mod)
    if ! command -v go >/dev/null; then
        lacks "Go $go or newer" "install it from https://go.dev/dl"
    else
        found=$(cd / && go env GOVERSION 2>/dev/null | sed 's/^go//')
        at_least "$go" "${found:-0}" || lacks "Go $go or newer (this is ${found:-unknown})" "install it from https://go.dev/dl"
    fi
fi

program='#include <stdlib.h>
int main(void) { return EXIT_SUCCESS; }'
object=$(mktemp) || exit 1
trap 'rm -f "$object"' EXIT
if ! command -v "${CC:-cc}" >/dev/null; then
    lacks "a C compiler" "Debian, Ubuntu: apt-get install build-essential; Fedora: dnf install gcc; macOS: xcode-select --install"
elif ! echo "$program" | "${CC:-cc}" -x c -o "$object" - >/dev/null 2>&1; then
    lacks "what a C compiler needs to make a program (headers of the C library)" \
        "Debian, Ubuntu: apt-get install build-essential; Fedora: dnf install glibc-devel; macOS: xcode-select --install"
fi

# What runs Kubernetes, and every build of it, needs Python.
if [ -n "$with_go$with_world" ]; then
    if ! command -v python3 >/dev/null; then
        lacks "Python 3.10 or newer" "Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python"
    elif ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        lacks "Python 3.10 or newer (this is $(python3 --version))" "install it from https://www.python.org/downloads"
    elif [ -n "$with_world" ] && ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
        lacks "Python's venv" "Debian, Ubuntu: apt-get install python3-venv"
    fi
fi

if [ -n "$with_world" ] && [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    absent=
    for binary in etcd kube-apiserver kubectl; do
        [ -x "$KUBEBUILDER_ASSETS/$binary" ] || absent="$absent $binary"
    done
    [ -z "$absent" ] || lacks "in KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS:$absent" \
        "unset it, or set it to the folder of envtest: export KUBEBUILDER_ASSETS=\$(setup-envtest use -p path)"
fi

if [ "$missing" -gt 0 ]; then
    echo "Nothing was built. Install what is missing, then run the same command again." >&2
    exit 1
fi
