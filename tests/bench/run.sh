#!/bin/bash
# Builds the peers into the cache and Sotto for release, then compares them in one run.
# ROUNDS=5 SECONDS_EACH=5 make bench
set -eu
cd "$(dirname "$0")/../.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sotto
tools=$cache/tools/bin
target=${CARGO_TARGET_DIR:-$PWD/target}
boringtun=0.7.1
wireguard_go=v0.0.0-20260522210424-ecfc5a8d5446

command -v wg >/dev/null || {
  [ "$(id -u)" = 0 ] || { echo "bench: run this once: sudo apt-get install -y wireguard-tools" >&2; exit 1; }
  tests/stage.sh "install wireguard-tools" apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends wireguard-tools
}
command -v go >/dev/null || { echo "bench: wireguard-go needs Go 1.23 or newer: install it as https://go.dev/doc/install says" >&2; exit 1; }
"$tools/boringtun-cli" --version 2>/dev/null | grep -q "$boringtun" ||
  tests/stage.sh "build boringtun-cli $boringtun" \
    cargo install --locked --quiet --root "$cache/tools" --version "$boringtun" boringtun-cli
go version -m "$tools/wireguard" 2>/dev/null | grep -q "$wireguard_go" ||
  tests/stage.sh "build wireguard-go $wireguard_go" \
    env GOBIN="$tools" GOFLAGS=-trimpath go install "golang.zx2c4.com/wireguard@$wireguard_go"
tests/stage.sh "build Sotto for release" cargo build --locked --quiet --release --workspace --bins
PATH="$tools:$PATH" exec "$target/release/bench" --rounds "${ROUNDS:-3}" --seconds "${SECONDS_EACH:-4}" "$@"
