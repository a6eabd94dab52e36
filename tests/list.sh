#!/bin/bash
# Writes the names of all tests, those of the simulator too, to a file.
set -eu
list=$1 simulator=$2 target=$3
cargo test --locked --workspace --quiet -- --list >"$list"
if [ -e "$simulator" ]; then
  cargo test --locked --release --quiet --manifest-path "$simulator" --target-dir "$target/simulator" -- --list >>"$list"
fi
# Each question to Verifpal is a test too.
sed -n 's/^check \([a-z]*\) .*/proofs::p12_\1: test/p' tests/proofs/run.sh >>"$list"
