#!/bin/bash
# Builds what the Kubernetes tests run against, from Go modules, once, into the cache:
#   $CACHE/kubernetes/<version>/{kube-apiserver,kubectl}   $CACHE/kubernetes/{etcd,helm}-<version>
# `binaries.sh [helm] [VERSION…]` prints a line for each stage and nothing when all is there. A version brings etcd along.
set -eu
cd "$(dirname "$0")/../.."

etcd=3.7.3
helm=4.3.1
root=${XDG_CACHE_HOME:-$HOME/.cache}/sotto/kubernetes
stage=$PWD/tests/stage.sh
export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=false -mod=mod"

have_all() {
  for wanted in "$@"; do
    case $wanted in
      helm) [ -x "$root/helm-$helm" ] || return 1 ;;
      *) [ -x "$root/etcd-$etcd" ] && [ -x "$root/$wanted/kube-apiserver" ] || return 1 ;;
    esac
  done
}
have_all "$@" && exit 0

is_new_enough() { go version 2>/dev/null | grep -qE ' go1\.(2[6-9]|[3-9][0-9])'; }
is_new_enough || tests/setup.sh go
export PATH="${XDG_CACHE_HOME:-$HOME/.cache}/sotto/tools/bin:$PATH"

# Go names each module that it fetches: only of interest when it fails.
quietly() {
  local said
  said=$("$@" 2>&1) || { echo "$said" >&2; return 1; }
}

# Kubernetes replaces its own libraries by folders of its repository; a module outside of it names
# their published versions instead.
wrapper_module() {
  local version=$1 folder=$2 upstream
  upstream=$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
  {
    echo "module sotto.dev/kubernetes-binaries"
    sed -n 's/^go [0-9.]*$/&/p' "$upstream"
    echo "require k8s.io/kubernetes v$version"
    sed -nE 's#^[[:space:]]*(k8s\.io/[a-z0-9.-]+) => \./staging/.*#replace \1 => \1 v0.'"${version#1.}"'#p' "$upstream"
    sed -n '/^godebug/,/^)/p' "$upstream"
  } >"$folder/go.mod"
  cat >"$folder/tools.go" <<'GO'
//go:build tools

package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
GO
}

build_kubernetes() {
  local version=$1 folder minor=${1#1.}
  folder=$(mktemp -d "$root/build.XXXXXX")
  trap "rm -rf '$folder'" EXIT
  wrapper_module "$version" "$folder"
  local info=k8s.io/component-base/version
  (
    cd "$folder"
    quietly go mod tidy
    go build -o bin/ -ldflags "-s -w -X $info.gitVersion=v$version -X $info.gitMajor=1 -X $info.gitMinor=${minor%%.*}" \
      k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl
  )
  mv -T "$folder/bin" "$root/$version"
}

# One program of one module, under a name that carries its version. A module of its own, because
# `go install` refuses modules that replace others.
build_program() {
  local name=$1 package=${2%@*} version=${2#*@} folder
  folder=$(mktemp -d "$root/build.XXXXXX")
  trap "rm -rf '$folder'" EXIT
  (
    cd "$folder"
    quietly go mod init sotto.dev/program
    quietly go get "$package@$version"
    go build -o program -ldflags "-s -w" "$package"
  )
  mv "$folder/program" "$root/$name"
}

case "${1:-}" in
  --kubernetes) build_kubernetes "$2"; exit ;;
  --program) build_program "$2" "$3"; exit ;;
esac
# Go's own caches take ten times what they are needed for.
mkdir -p "$root/go"
export GOMODCACHE="$root/go/modules" GOCACHE="$root/go/build"
trap 'chmod -R u+w "$root/go"; rm -rf "$root/go"' EXIT
for wanted in "$@"; do
  if [ "$wanted" = helm ]; then
    [ -x "$root/helm-$helm" ] || "$stage" "build helm $helm (once, some three minutes)" \
      "$0" --program "helm-$helm" "helm.sh/helm/v4/cmd/helm@v$helm"
    continue
  fi
  [ -x "$root/etcd-$etcd" ] || "$stage" "build etcd $etcd (once, a minute or two)" \
    "$0" --program "etcd-$etcd" "go.etcd.io/etcd/server/v3@v$etcd"
  [ -x "$root/$wanted/kube-apiserver" ] || "$stage" "build Kubernetes $wanted (once, some six minutes)" \
    "$0" --kubernetes "$wanted"
done
