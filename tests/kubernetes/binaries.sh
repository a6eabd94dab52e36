#!/bin/bash
# Builds what the Kubernetes tests run against, from Go modules, once, into the cache:
#   $CACHE/kubernetes/<version>/{kube-apiserver,kubectl}   $CACHE/kubernetes/{etcd,helm}-<version>
#   for the cluster also <version>/{kubelet,kube-proxy,kube-scheduler,kube-controller-manager,agnhost},
#   containerd-<version>/, cni-plugins-<version>/, coredns-<version>, cnitool-<version>
# `binaries.sh [helm] [cni] [VERSION…] [cluster:VERSION]` prints a line for each stage and nothing when all is there.
# A version brings etcd along; `cni` is the plugins and cnitool alone.
set -eu
cd "$(dirname "$0")/../.."

etcd=3.7.3
helm=4.3.1
containerd=2.4.2
coredns=1.14.7
cni_plugins=1.9.1
cni=1.3.1
root=${XDG_CACHE_HOME:-$HOME/.cache}/sotto/kubernetes
stage=$PWD/tests/stage.sh
export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=false -mod=mod"

have() {
  case $1 in
    helm) [ -x "$root/helm-$helm" ] ;;
    cni) [ -x "$root/cni-plugins-$cni_plugins/portmap" ] && [ -x "$root/cnitool-$cni" ] ;;
    cluster:*) have "${1#cluster:}" && have cni && [ -x "$root/${1#cluster:}/kubelet" ] &&
      [ -x "$root/${1#cluster:}/agnhost" ] && [ -x "$root/containerd-$containerd/containerd" ] &&
      [ -x "$root/coredns-$coredns" ] ;;
    *) [ -x "$root/etcd-$etcd" ] && [ -x "$root/$1/kube-apiserver" ] ;;
  esac
}
have_all() { for wanted in "$@"; do have "$wanted" || return 1; done; }
have_all "$@" && exit 0

is_new_enough() { go version 2>/dev/null | grep -qE ' go1\.(2[6-9]|[3-9][0-9])'; }
is_new_enough || tests/setup.sh go
export PATH="${XDG_CACHE_HOME:-$HOME/.cache}/sotto/tools/bin:$PATH"

# Go names each module that it fetches: only of interest when it fails.
quietly() {
  local said
  said=$("$@" 2>&1) || { echo "$said" >&2; return 1; }
}

# Kubernetes replaces its own libraries by folders of its repository; a module outside of it names their published
# versions instead: `wrapper_module VERSION FOLDER COMMAND…`.
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
  {
    printf '//go:build tools\n\npackage tools\n\nimport (\n'
    printf '\t_ "k8s.io/kubernetes/%s"\n' "${@:3}"
    printf ')\n'
  } >"$folder/tools.go"
}

# Into the version's folder: `build_kubernetes VERSION COMMAND…`, each a package of Kubernetes without its prefix.
build_kubernetes() {
  local version=$1 folder minor=${1#1.}
  shift
  minor=${minor%%.*}
  folder=$(mktemp -d "$root/build.XXXXXX")
  trap "rm -rf '$folder'" EXIT
  wrapper_module "$version" "$folder" "$@"
  local info=k8s.io/component-base/version
  (
    cd "$folder"
    quietly go mod tidy
    go build -o bin/ -ldflags "-s -w -X $info.gitVersion=v$version -X $info.gitMajor=1 -X $info.gitMinor=$minor" \
      "${@/#/k8s.io/kubernetes/}"
  )
  mkdir -p "$root/$version"
  mv "$folder"/bin/* "$root/$version/"
}

# Packages of one module at one version: a single one becomes the file NAME, several the folder NAME. In a module of
# their own, because `go install` refuses modules that replace others.
build_programs() {
  local name=$1 version=$2 folder
  shift 2
  folder=$(mktemp -d "$root/build.XXXXXX")
  trap "rm -rf '$folder'" EXIT
  (
    cd "$folder"
    quietly go mod init sotto.dev/programs
    quietly go get "${@/%/@v$version}"
    mkdir bin
    go build -tags no_btrfs -o bin/ -ldflags "-s -w" "$@"
  )
  if [ $# = 1 ]; then mv -T "$folder"/bin/* "$root/$name"; else mv -T "$folder/bin" "$root/$name"; fi
}

case "${1:-}" in
  --kubernetes) build_kubernetes "${@:2}"; exit ;;
  --programs) build_programs "${@:2}"; exit ;;
esac
# Go's own caches take ten times what they are needed for.
mkdir -p "$root/go"
export GOMODCACHE="$root/go/modules" GOCACHE="$root/go/build"
trap 'chmod -R u+w "$root/go"; rm -rf "$root/go"' EXIT

# `programs NAME VERSION MINUTES PACKAGE…`: builds them if NAME-VERSION is not there.
programs() {
  [ -e "$root/$1-$2" ] || "$stage" "build $1 $2 (once, $3)" "$0" --programs "$1-$2" "$2" "${@:4}"
}

# `kubernetes VERSION MINUTES COMMAND…`: builds them if the last of them is not there.
kubernetes() {
  local last=${*: -1}
  [ -x "$root/$1/${last##*/}" ] || "$stage" "build Kubernetes $1: ${*:3} (once, $2)" \
    "$0" --kubernetes "$1" "${@:3}"
}

server() {
  programs etcd "$etcd" "a minute or two" go.etcd.io/etcd/server/v3
  kubernetes "$1" "some six minutes" cmd/kube-apiserver cmd/kubectl
}

cni() {
  local plugins=github.com/containernetworking/plugins/plugins
  programs cni-plugins "$cni_plugins" "seconds" $plugins/main/{loopback,ptp,bridge} $plugins/meta/{portmap,bandwidth} \
    $plugins/ipam/host-local
  programs cnitool "$cni" "seconds" github.com/containernetworking/cni/cnitool
}

node() {
  local containerd_v2=github.com/containerd/containerd/v2/cmd
  programs containerd "$containerd" "a minute" $containerd_v2/{containerd,containerd-shim-runc-v2,ctr}
  programs coredns "$coredns" "two minutes" github.com/coredns/coredns
  kubernetes "$1" "some four minutes" cmd/kube-proxy cmd/kube-scheduler cmd/kube-controller-manager \
    test/images/agnhost cmd/kubelet
}

for wanted in "$@"; do
  case $wanted in
    helm) programs helm "$helm" "some three minutes" helm.sh/helm/v4/cmd/helm ;;
    cni) cni ;;
    cluster:*) server "${wanted#cluster:}"; cni; node "${wanted#cluster:}" ;;
    *) server "$wanted" ;;
  esac
done
