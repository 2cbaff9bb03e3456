#!/bin/sh
# Builds etcd, kube-apiserver, kubectl and helm, and with --all also kube-controller-manager, from the modules pinned in
# go.mod into the user's cache folder, unless they exist there. Prints the folder.
set -eu
cd "$(dirname "$0")"

version=$(sed -n 's|^[[:space:]]*k8s.io/kubernetes v\([0-9.]*\).*|\1|p' go.mod | head -n 1)
if command -v sha256sum >/dev/null; then sum=sha256sum; else sum="shasum -a 256"; fi
hash=$(cat go.mod go.sum | $sum | cut -c 1-8)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/muster
folder=$cache/kube-$version-$hash

# The packages, by the names that Go gives their binaries.
package() {
    case $1 in
    server) echo go.etcd.io/etcd/server/v3 ;;
    helm) echo helm.sh/helm/v4/cmd/helm ;;
    *) echo "k8s.io/kubernetes/cmd/$1" ;;
    esac
}

wanted="server kube-apiserver kubectl helm"
if [ "${1:-}" = --all ]; then wanted="$wanted kube-controller-manager"; fi
missing=
for binary in $wanted; do
    [ -x "$folder/$binary" ] || missing="$missing $binary"
done
if [ -z "$missing" ]; then
    echo "$folder"
    exit 0
fi

say() { echo "$@" >&2; }
started=$(date +%s)
took() { echo "$((($(date +%s) - started) / 60)) min $((($(date +%s) - started) % 60)) s"; }
say "Building from source:$missing (Kubernetes $version; etcd is named server) ..."
mkdir -p "$folder"
building=$(mktemp -d "$cache/kube-building.XXXXXX")
trap 'rm -rf "$building"' EXIT
trap 'exit 130' INT TERM HUP

packages=
for binary in $missing; do packages="$packages $(package "$binary")"; done
# The compiler spends a tenth of its time on garbage and debug information that the linker drops.
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOBIN="$building/bin" GOGC="${GOGC:-400}"
say "  Kubernetes: fetching modules ..."
# shellcheck disable=SC2086 # A list of words.
if ! go list -deps $packages >"$building/packages" 2>"$building/errors"; then
    cat "$building/errors" >&2
    exit 1
fi
total=$(($(wc -l <"$building/packages")))
# Without the version, the server reports v0.0.0-master and rejects version emulation.
# shellcheck disable=SC2086
go install -v -trimpath -gcflags=all=-dwarf=false \
    -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=v$version" $packages 2>&1 | {
    compiled=0 shown=0
    while IFS= read -r line; do
        case $line in
        *[!a-zA-Z0-9./_~-]*) say "$line" ;;
        *)
            compiled=$((compiled + 1)) tenth=$((compiled * 10 / total))
            if [ "$tenth" -gt "$shown" ]; then
                shown=$tenth
                say "  Kubernetes: compiled $compiled of $total packages, $(took)"
            fi
            ;;
        esac
    done
}
for binary in $missing; do
    if [ ! -x "$building/bin/$binary" ]; then
        say "The build did not create $binary; see the errors above."
        exit 1
    fi
    # Renaming ensures that an interrupted build is never used.
    mv "$building/bin/$binary" "$folder/$binary"
done
say "  Kubernetes: done in $(took)"
echo "$folder"
