#!/bin/sh
# Builds kube-apiserver, etcd, kube-controller-manager, kubectl and helm from the modules that go.mod pins, once, into
# the user's cache folder. Prints the folder. With --check it only says whether there is something to build.
set -eu
cd "$(dirname "$0")"

version=$(sed -n 's|^[[:space:]]*k8s.io/kubernetes v\([0-9.]*\).*|\1|p' go.mod | head -n 1)
if command -v sha256sum >/dev/null; then sum=sha256sum; else sum="shasum -a 256"; fi
hash=$(cat go.mod go.sum | $sum | cut -c 1-8)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/muster
folder=$cache/kube-$version-$hash

if [ -d "$folder" ]; then
    echo "$folder"
    exit 0
fi
if [ "${1:-}" = --check ]; then
    exit 1
fi

say() { echo "$@" >&2; }
say "Building Kubernetes $version (API server, etcd, kubectl) and helm from source: once, usually 6 to 8 minutes."
mkdir -p "$cache"
building=$(mktemp -d "$cache/kube-building.XXXXXX")
trap 'rm -rf "$building"' EXIT
trap 'exit 130' INT TERM HUP

export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOBIN="$building/bin"
say "  fetching modules ..."
if ! go list -deps tool >"$building/packages" 2>"$building/errors"; then
    cat "$building/errors" >&2
    exit 1
fi
total=$(($(wc -l <"$building/packages")))
# Without the version the server calls itself v0.0.0-master and refuses to emulate versions.
go install -v -trimpath -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=v$version" tool 2>&1 | {
    packages=0 shown=0
    while IFS= read -r line; do
        case $line in
        *[!a-zA-Z0-9./_~-]*) say "$line" ;;
        *)
            packages=$((packages + 1)) tenth=$((packages * 10 / total))
            if [ "$tenth" -gt "$shown" ]; then
                shown=$tenth
                say "  compiled $packages of $total packages"
            fi
            ;;
        esac
    done
}
for binary in server kube-apiserver kube-controller-manager kubectl helm; do
    if [ ! -x "$building/bin/$binary" ]; then
        say "The build did not make $binary; the reason stands above."
        exit 1
    fi
done
# A rename, so that a build that was stopped is never taken for a whole one. Somebody else may have been faster.
mv "$building/bin" "$folder" 2>/dev/null || [ -d "$folder" ]
say "  done: $folder"
echo "$folder"
