#!/bin/sh
# Builds etcd, kube-apiserver, kubectl and helm, and with --all also kube-controller-manager, from the modules pinned in
# go.mod into the user's cache folder, unless they exist there. With --demo it uses the kubectl and the helm of the PATH if
# their versions fit. Prints the folder.
set -eu
cd "$(dirname "$0")"

case "$#$*" in
0 | 1--all | 1--demo) ;;
*)
    echo "usage: hack/kube/build.sh [--all | --demo]" >&2
    exit 2
    ;;
esac
say() { echo "$@" >&2; }

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

# Whether the PATH has a kubectl at most one minor version away, and the helm that docs/install.md asks for.
path_has_clients() {
    minor=$(kubectl version --client 2>/dev/null | sed -n 's/^Client Version: v1\.\([0-9]*\).*/\1/p')
    pinned=${version#1.}
    skew=$((${minor:-0} - ${pinned%%.*}))
    [ "$skew" -ge -1 ] && [ "$skew" -le 1 ] || return 1
    case $(helm version --short 2>/dev/null) in v4.*) ;; *) return 1 ;; esac
}

wanted="server kube-apiserver kubectl helm"
if [ "$*" = --all ]; then
    wanted="$wanted kube-controller-manager"
elif [ "$*" = --demo ] && ! { [ -x "$folder/kubectl" ] && [ -x "$folder/helm" ]; } && path_has_clients; then
    say "Using $(command -v kubectl) and $(command -v helm) from the PATH."
    wanted="server kube-apiserver"
fi
missing=
for binary in $wanted; do
    [ -x "$folder/$binary" ] || missing="$missing $binary"
done
if [ -z "$missing" ]; then
    echo "$folder"
    exit 0
fi

started=$(date +%s)
took() { echo "$((($(date +%s) - started) / 60)) min $((($(date +%s) - started) % 60)) s"; }
say "Building from source:$missing (Kubernetes $version; etcd is named server; usually 10 minutes) ..."
mkdir -p "$cache"

# Go runs in the background, because a shell notices a signal only when its foreground command has ended.
building= go= reader=
end() {
    trap '' INT TERM HUP
    for child in $go $reader; do kill "$child" 2>/dev/null || true; done
    wait
    [ -z "$building" ] || rm -rf "$building"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
building=$(mktemp -d "$cache/kube-building.XXXXXX")
ended() {
    status=0
    wait "$go" || status=$?
    go=
    return "$status"
}

packages=
for binary in $missing; do packages="$packages $(package "$binary")"; done
# The compiler spends a tenth of its time on garbage and debug information that the linker drops. What Go has compiled stays
# in its own cache when it is ended; GOTMPDIR is for what it would leave behind.
mkdir "$building/temporary"
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOBIN="$building/bin" GOGC="${GOGC:-400}" GOTMPDIR="$building/temporary"
say "  Kubernetes: fetching modules ..."
# shellcheck disable=SC2086 # A list of words.
../together.py go list -deps $packages >"$building/packages" 2>"$building/errors" &
go=$!
if ! ended; then
    cat "$building/errors" >&2
    exit 1
fi
total=$(($(wc -l <"$building/packages")))

progress() {
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
mkfifo "$building/output"
progress <"$building/output" &
reader=$!
# Without the version, the server reports v0.0.0-master and rejects version emulation.
# shellcheck disable=SC2086
../together.py go install -v -trimpath -gcflags=all=-dwarf=false \
    -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=v$version" $packages >"$building/output" 2>&1 &
go=$!
installed=0
ended || installed=$?
wait "$reader"
reader=
[ "$installed" -eq 0 ] || exit 1
mkdir -p "$folder"
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
