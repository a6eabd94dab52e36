#!/bin/bash
# Makes the images that the cluster's tests run, as archives that containerd imports, once, in the cache:
#   $CACHE/kubernetes/images-<key>/{pause,agnhost,coredns,debian}.tar
# No registry is asked. `debian.tar` holds nginx:1.21 and ubuntu:focal, names that manifests of the field use, for one
# small Debian with nginx, curl and tcpdump. `images.sh VERSION` prints the folder on its last line.
set -eu
cd "$(dirname "$0")/../.."

version=$1
coredns=1.14.7
root=${XDG_CACHE_HOME:-$HOME/.cache}/sotto/kubernetes
stage=$PWD/tests/stage.sh
archive=$PWD/tests/cluster/archive.py
key=$(cat "$0" "$archive" | sha256sum | cut -c1-12)
place=$root/images-$version-$key

# The system's own mirror: the first that apt has.
mirror() { apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -1; }

debian() {
  local folder=$1
  debootstrap --variant=minbase \
    --include=nginx-light,curl,tcpdump,iproute2,iputils-ping,netcat-openbsd,procps,ca-certificates \
    bookworm "$folder" "$(mirror)" >"$folder.log" 2>&1 || { tail -20 "$folder.log" >&2; return 1; }
  # A pod has no way to a package mirror here, and needs none.
  rm -rf "$folder"/var/lib/apt/lists/* "$folder"/var/cache/apt/* "$folder"/usr/share/{doc,man,locale}/*
  printf '#!/bin/sh\nexit 0\n' >"$folder/usr/bin/apt"
  ln -sf /dev/stdout "$folder/var/log/nginx/access.log"
  ln -sf /dev/stderr "$folder/var/log/nginx/error.log"
  echo '<!DOCTYPE html><html><head><title>Welcome to nginx!</title></head></html>' >"$folder/var/www/html/index.html"
}

make_all() {
  local work
  work=$(mktemp -d "$root/images.XXXXXX")
  trap "rm -rf '$work'" EXIT
  mkdir -p "$work"/{out,agnhost,coredns,debian}
  cp "$root/$version/agnhost" "$work/agnhost/agnhost"
  cp "$root/coredns-$coredns" "$work/coredns/coredns"
  debian "$work/debian"
  "$archive" "$work/out/agnhost.tar" "$work/agnhost" \
    registry.k8s.io/e2e-test-images/agnhost:2.53='["/agnhost"]' registry.k8s.io/pause:3.10='["/agnhost","pause"]'
  "$archive" "$work/out/coredns.tar" "$work/coredns" registry.k8s.io/coredns/coredns:v$coredns='["/coredns"]'
  "$archive" "$work/out/debian.tar" "$work/debian" \
    docker.io/library/nginx:1.21='["nginx","-g","daemon off;"]' docker.io/library/ubuntu:focal='["/bin/bash"]'
  rm -rf "$root"/images-"$version"-*
  mv -T "$work/out" "$place"
}

case "${2:-}" in
  --make) make_all; exit ;;
esac
if [ ! -d "$place" ]; then
  tests/setup.sh cluster
  "$stage" "make the cluster's images (once, a minute)" "$0" "$version" --make >&2
fi
echo "$place"
