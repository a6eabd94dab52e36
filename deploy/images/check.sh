#!/bin/bash
# Says whether the archives of build.sh hold what they should: labels, user, and programs that run in nothing but their
# image. The daemon's own preflight shows that its nft can load the guard on this kernel. `check.sh REPOSITORY VERSION`.
set -eu
cd "$(dirname "$0")/../../target/images"
repository=$1
version=$2

fail() { echo "images: $*" >&2; exit 1; }

# Prints the image's configuration and unpacks its layers into check/NAME.
unpack() {
  python3 - "$1" "$repository/$1:$version" <<'PYTHON'
import io, json, os, sys, tarfile
name, reference = sys.argv[1:]
archive = tarfile.open(name + ".tar")
blob = lambda one: archive.extractfile("blobs/" + one["digest"].replace(":", "/")).read()
entry, = json.load(archive.extractfile("index.json"))["manifests"]
assert entry["annotations"]["org.opencontainers.image.ref.name"] == reference, entry
manifest = json.loads(blob(entry))
for layer in manifest["layers"]:
    tarfile.open(fileobj=io.BytesIO(blob(layer))).extractall(os.path.join("check", name))
print(json.dumps(json.loads(blob(manifest["config"]))["config"]))
PYTHON
}

# `labelled NAME USER CONFIG`
labelled() {
  python3 - "$@" "$version" <<'PYTHON'
import json, sys
name, user, config, version = sys.argv[1:]
config = json.loads(config)
labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
for key in "title", "description", "version", "licenses", "source", "revision":
    assert labels.get(key), f"{name} has no label {key}"
assert labels["title"] == name and labels["version"] == version, labels
assert config.get("User", "") == user, f"{name} runs as {config.get('User')!r}"
assert config["Entrypoint"] == ["/usr/local/bin/" + name], config
PYTHON
}

# In the image and a network of its own, as root, which a user can be of such a network too.
inside() {
  local root=check/$1 user=()
  shift
  [ "$(id -u)" = 0 ] || user=(--map-root-user)
  mkdir -p "$root"/{proc,sys,dev}
  unshare "${user[@]}" --mount --net --pid --fork bash -c '
    root=$1; shift
    mount -t proc proc "$root/proc" && mount --rbind /sys "$root/sys" && mount --rbind /dev "$root/dev"
    ip link set lo up && ip link add eth0 type veth peer name switch && ip address add 198.51.100.1/24 dev eth0 && ip link set eth0 up
    chroot "$root" "$@"' inside "$root" "$@"
}

# `expect NAME TEXT COMMAND…`
expect() {
  local name=$1 text=$2 said
  shift 2
  said=$(inside "$name" "$@" 2>&1) || fail "$name: $*: $said"
  case $said in *"$text"*) ;; *) fail "$name: $* says: $said" ;; esac
}

rm -rf --one-file-system check
for name in sotto-node sotto-controller sotto; do
  user=65532:65532
  [ "$name" != sotto-node ] || user=
  labelled "$name" "$user" "$(unpack "$name")"
  expect "$name" "$name $version" "/usr/local/bin/$name" --version
done
expect sotto-node "nftables v1." nft --version
for program in iptables ip6tables iptables-legacy ip6tables-legacy; do expect sotto-node "tables v1." $program --version; done
expect sotto-node "xtables" iptables -m comment --help
# Nothing of the image is at hand on the node that runs these.
for plugin in sotto-cni sotto-portmap sotto-bandwidth sotto-loopback; do
  file=check/sotto-node/usr/libexec/sotto/cni/$plugin
  ! readelf -lW "$file" | grep -q interpreter || fail "$plugin needs libraries of its node"
  CNI_COMMAND=VERSION "$file" <<<'{"cniVersion":"1.1.0"}' | grep -q '"1.1.0"' || fail "$plugin does not run"
done
claims='{"kubernetes.io":{"node":{"name":"alice","uid":"8d2d5c1e-98a1-4b4e-9d21-6f2f0d4c7a11"}}}'
printf 'e30.%s.e30' "$(base64 --wrap=0 <<<"$claims" | tr -d '=' | tr '/+' '_-')" >check/sotto-node/token
expect sotto-node "" sotto-node check --node-name alice --endpoint 198.51.100.1 --pin "sha256:$(printf '%064d' 0)" --settings '
  trust_domain = "sotto.test"
  cluster_pod_ranges = ["10.244.0.0/16"]
  underlay_ranges = ["198.51.100.0/24"]
  state_directory = "/var/lib/sotto"
  runtime_directory = "/run/sotto"
  machine_id_file = "/proc/sys/kernel/random/boot_id"
  [kubernetes]
  token_file = "/token"'
rm -rf --one-file-system check
for name in sotto-node sotto-controller sotto; do
  echo "$(du -h --apparent-size "$name.tar" | cut -f1) target/images/$name.tar: $repository/$name:$version"
done
