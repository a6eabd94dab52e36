#!/bin/bash
# Installs what the make verbs need and says what it cannot install. Does nothing when all is there.
# `setup.sh` alone: Debian packages and the Rust toolchain. `setup.sh cargo-deny`, `setup.sh verifpal`:
# that tool. `setup.sh go`: Go, where there is none or an old one. `setup.sh images`: what builds images. `setup.sh
# cluster`: what a whole cluster takes more.
set -eu
cd "$(dirname "$0")/.."

packages="build-essential conntrack curl ethtool iperf3 iproute2 iptables iputils-ping kmod nftables nginx-light
  openssl procps python3 tcpdump util-linux"
cargo_deny=0.20.2
verifpal=1.6.7
go=1.26.8
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sotto
export PATH="$cache/tools/bin:$HOME/.cargo/bin:$PATH"

missing_packages() {
  for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done
}

# A package that brings a service would start it: no installation of ours may open a port.
without_services() {
  local policy=/usr/sbin/policy-rc.d
  if [ -e $policy ]; then "$@"; return; fi
  trap "rm -f $policy" EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
  "$@"
  rm -f $policy
  trap - EXIT
}

install_packages() {
  local missing
  missing=$(missing_packages | tr '\n' ' ')
  [ -n "$missing" ] || return 0
  local line="apt-get install -y --no-install-recommends $missing"
  if [ "$(id -u)" != 0 ]; then
    echo "setup: run this once: sudo apt-get update && sudo $line" >&2
    exit 1
  fi
  tests/stage.sh "refresh the package lists" apt-get update -qq
  export DEBIAN_FRONTEND=noninteractive
  # Another apt-get may hold the lock for a while.
  without_services tests/stage.sh "install $missing" \
    bash -c "apt-get -o DPkg::Lock::Timeout=300 -qq ${line#apt-get } >/dev/null"
}

install_toolchain() {
  if ! command -v rustup >/dev/null && ! command -v cargo >/dev/null; then
    if [ "$(id -u)" = 0 ] && apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [0-9]'; then
      tests/stage.sh "install rustup" apt-get -o DPkg::Lock::Timeout=300 -qq install -y rustup
    else
      echo "setup: rustup is missing: install it as https://rustup.rs says, then run make again" >&2
      exit 1
    fi
  fi
  command -v rustup >/dev/null || return 0
  rustup toolchain list | grep -q "^$(channel)" ||
    tests/stage.sh "install Rust $(channel)" \
      rustup toolchain install "$(channel)" --profile minimal --component rustfmt --component clippy
}

channel() { sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml; }

install_cargo_deny() {
  cargo deny --version 2>/dev/null | grep -qx "cargo-deny $cargo_deny" ||
    tests/stage.sh "build cargo-deny $cargo_deny (once, some five minutes)" \
      cargo install --locked --quiet --root "$cache/tools" --version "$cargo_deny" cargo-deny
}

# Asks for a newer Rust than it needs. GPL-3: a tool that is run, never linked.
install_verifpal() {
  cargo install --root "$cache/tools" --list 2>/dev/null | grep -q "^verifpal v$verifpal" ||
    tests/stage.sh "build verifpal $verifpal (once, some five minutes)" \
      cargo install --locked --quiet --ignore-rust-version --root "$cache/tools" --version "$verifpal" verifpal
}

# Go's toolchains are Go modules too: any Go, Debian's as well, fetches and verifies this one.
install_go() {
  local there="$cache/tools/go-$go/bin/go" folder
  mkdir -p "$cache/tools/bin"
  if [ ! -x "$there" ]; then
    command -v go >/dev/null || [ -x /usr/bin/go ] || tests/stage.sh "install golang-go" \
      bash -c "apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends golang-go >/dev/null"
    folder=$(cd / && GOFLAGS=-modcacherw go mod download -json "golang.org/toolchain@v0.0.1-go$go.linux-$(dpkg --print-architecture)" |
      sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    cp -a "$folder" "$cache/tools/go-$go"
    # Modules carry no permission to execute.
    chmod -R u+w "$cache/tools/go-$go"
    chmod +x "$cache/tools/go-$go"/bin/* "$cache/tools/go-$go"/pkg/tool/*/*
  fi
  ln -sf "$there" "$cache/tools/bin/go"
}

case "${1:-}" in
  go) install_go; exit ;;
  cargo-deny) install_cargo_deny; exit ;;
  verifpal) install_verifpal; exit ;;
  images)
    command -v dpkg-query >/dev/null || { echo "setup: images are made of Debian's packages, on a Debian" >&2; exit 1; }
    packages="binutils buildah uidmap"
    install_packages
    exit ;;
  cluster) packages="debootstrap runc"; install_packages; exit ;;
esac
if command -v dpkg-query >/dev/null; then
  install_packages
else
  echo "setup: not a Debian: needed are the programs of these packages:" $packages >&2
fi
if [ "$(id -u)" = 0 ] && [ ! -e /dev/net/tun ]; then
  modprobe tun || echo "setup: /dev/net/tun is missing: load the kernel module tun" >&2
fi
install_toolchain
