#!/bin/bash
# Builds the images as OCI archives, with no container daemon and no registry: target/images/<name>.tar, to be loaded by
# `ctr -n k8s.io images import` and to be pushed by `skopeo copy oci-archive:…`. PROFILE=debug: not optimised, quick.
#
# Each Containerfile only copies a root folder, target/images/root/<name>, laid out here: our programs, and of Debian's
# packages nothing but the programs, libraries and copyrights that they need. `docker buildx build --file
# deploy/images/<name>/Containerfile target/images/root/<name>` makes the same image.
set -eu
cd "$(dirname "$0")/../.."

profile=${PROFILE:-release}
repository=${REPOSITORY:-ghcr.io/sotto-dev}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sotto
plugins=$cache/kubernetes/cni-plugins-1.9.1
built=${CARGO_TARGET_DIR:-target}/$profile
images=target/images
debian=$images/debian
stage=tests/stage.sh
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
revision=$(git rev-parse HEAD)
[ -z "$(git status --porcelain)" ] || revision=$revision-dirty
# Files and image are as old as the commit: the same sources make the same image.
timestamp=$(git log -1 --format=%ct)
# What the node's image has of Debian. nft: 1.0.6 at least, as in Debian 12.
packages="nftables iptables libc6 libgcc-s1"

compile() {
  case $profile in
    release) cargo build --locked --release -p sotto-node -p sotto-controller -p sotto ;;
    # With the features that tests have too: nothing is built twice.
    debug) cargo build --locked --workspace --bins ;;
    *) echo "images: PROFILE is release or debug, not $profile" >&2; return 1 ;;
  esac
  # Runs on whatever the node has: it needs no library.
  cargo rustc --locked --profile "${profile/debug/dev}" -p sotto-cni --bin sotto-cni -- -C target-feature=+crt-static
  install -D "$built/sotto-cni" "$images/sotto-cni"
}

# The packages with all that they depend on, as apt verifies them; on a machine that has nothing installed yet.
fetch() {
  local apt="apt-get -q -y --no-install-recommends -o Dir::State::status=$PWD/$images/none
    -o Dir::Cache::archives=$cache/images -o APT::Sandbox::User=root -o Debug::NoLocking=true"
  : >"$images/none"
  mkdir -p "$cache/images/partial"
  $apt install --download-only $packages >/dev/null || {
    apt-get update -qq
    $apt install --download-only $packages >/dev/null
  }
  rm -rf "$debian"
  mkdir -p "$debian/control"
  local file archive
  $apt install --simulate $packages | sed -nE 's/^Inst ([^ ]+) \(([^ ]+) .*\[(.*)\]\).*/\1_\2_\3/p' | while read -r file; do
    archive=$cache/images/${file//:/%3a}.deb
    dpkg-deb -x "$archive" "$debian"
    dpkg-deb -f "$archive" >"$debian/control/$(dpkg-deb -f "$archive" Package)"
  done
}

# `put ROOT FOLDER PROGRAM…`: with the libraries of each.
put() {
  local root=$1 folder=$1$2 program
  mkdir -p "$folder"
  for program in "${@:3}"; do
    install -m 755 "$program" "$folder/"
    strip --strip-debug "$folder/${program##*/}"
    libraries "$root" "$folder/${program##*/}"
  done
}

libraries() {
  local loader soname there to
  loader=$(readelf -lW "$2" | sed -n 's/.*interpreter: \(.*\)\]/\1/p')
  for soname in $loader $(readelf -dW "$2" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
    to=/usr/lib/$(gcc -print-multiarch)/$soname
    if [ "$soname" = "$loader" ]; then to=$loader; fi
    # Libraries name the loader too, which is where programs want it.
    if [ -e "$1$to" ] || [ -e "$1/lib64/$soname" ]; then continue; fi
    there=$(find "$debian"/{,usr/}lib/ -name "${soname##*/}" -print -quit)
    [ -n "$there" ] || { echo "images: no package has ${soname##*/}, which ${2##*/} needs" >&2; return 1; }
    mkdir -p "$(dirname "$1$to")"
    install -m 755 "$(readlink -f "$there")" "$1$to"
    libraries "$1" "$there"
  done
}

# `papers ROOT PACKAGE…`: licences, and what scanners for vulnerabilities read.
papers() {
  local root=$1 package
  install -D -m 644 LICENSE "$root/usr/share/doc/sotto/copyright"
  install -D -m 644 /usr/lib/os-release "$root/etc/os-release"
  echo "hosts: files dns" >"$root/etc/nsswitch.conf"
  for package in "${@:2}"; do
    install -D -m 644 "$debian/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
    install -D -m 644 "$debian/control/$package" "$root/var/lib/dpkg/status.d/$package"
  done
}

lay_out() {
  local roots=$images/root node=$images/root/sotto-node/ name family
  rm -rf "$roots"
  put "$node" usr/local/bin "$built/sotto-node"
  put "$node" usr/sbin "$debian"/usr/sbin/{nft,xtables-nft-multi,xtables-legacy-multi}
  put "$node" "usr/lib/$(gcc -print-multiarch)/xtables" "$debian/usr/lib/$(gcc -print-multiarch)"/xtables/*.so
  for family in iptables ip6tables; do
    for name in $family $family-nft; do ln -s xtables-nft-multi "$node/usr/sbin/$name"; done
    ln -s xtables-legacy-multi "$node/usr/sbin/$family-legacy"
  done
  put "$node" usr/libexec/sotto/cni "$images/sotto-cni"
  for name in portmap bandwidth loopback; do
    install -m 755 "$plugins/$name" "$node/usr/libexec/sotto/cni/sotto-$name"
  done
  papers "$node" $(ls "$debian/control")
  for name in sotto-controller sotto; do
    put "$roots/$name/" usr/local/bin "$built/$name"
    papers "$roots/$name/" libc6 libgcc-s1
  done
}

pack() {
  local name=$1 storage=$images/storage
  local buildah="buildah --root $storage --runroot $storage-run --storage-driver vfs"
  rm -f "$images/$name.tar"
  $buildah bud --quiet --isolation chroot --timestamp "$timestamp" \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" \
    --file "deploy/images/$name/Containerfile" --tag "$repository/$name:$version" "$images/root/$name" >/dev/null
  $buildah push --quiet "$repository/$name:$version" "oci-archive:$images/$name.tar:$repository/$name:$version"
  $buildah rmi --all >/dev/null
  rm -rf "$storage" "$storage-run"
}

mkdir -p "$images"
case "${1:-}" in
  "") ;;
  *) "$@"; exit ;;
esac
$stage "build the programs ($profile)" "$0" compile
$stage "fetch and unpack Debian's $packages" "$0" fetch
$stage "lay out the root folders" "$0" lay_out
for name in sotto-node sotto-controller sotto; do
  $stage "image $repository/$name:$version" "$0" pack "$name"
done
$stage "what the images hold" deploy/images/check.sh "$repository" "$version"
