# Verbs of the project. Each installs what it needs first (`make setup`) and shows its stages.
# The bare cargo lines are in CONTRIBUTING.md.

SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sotto
# A fresh clone on a CI machine finds built dependencies in the cache.
ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(CACHE)/target
endif
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
STAGE := tests/stage.sh
# The newest and the oldest supported Kubernetes.
NEWEST := 1.37.2
OLDEST := 1.33.13
SIM := crates/tunnel-core-sim/Cargo.toml
VECTORS := crates/tunnel-core/tests/vectors/key_schedule
export PATH := $(CACHE)/tools/bin:$(HOME)/.cargo/bin:$(PATH)

.PHONY: help needs-root setup build check gen images whole test test-netns test-api sim proofs demo demo-kubernetes cluster cluster-down cluster-eve test-cluster matrix bench bench-cni bench-pods bench-kubernetes soak clean
.DEFAULT_GOAL := help

help:
	@echo "make demo        the story: two nodes, Eve, Mallory, a killed daemon (about a minute after the build)"
	@echo "make demo-kubernetes  the same story with a Kubernetes API server as the store"
	@echo "make cluster     a whole Kubernetes with Sotto on this machine, until make cluster-down"
	@echo "make cluster-down  takes that cluster away"
	@echo "make cluster-eve what somebody reads on the switch between the nodes of that cluster"
	@echo "make test        build and run every test"
	@echo "make check       format, lints, docs, licences and bans, the tidy test"
	@echo "make test-netns  only the tests of real programs in network namespaces"
	@echo "make test-api    only the tests against real Kubernetes API servers, oldest and newest"
	@echo "make test-cluster  only the tests on a whole Kubernetes: kubelets, containers, reboots"
	@echo "make gen         write deploy/crds and deploy/sotto.yaml anew"
	@echo "make images      OCI images of daemon, controller and CLI: target/images (PROFILE=debug: quick, not optimised)"
	@echo "make sim         more seeds for the simulator: SEEDS=100000"
	@echo "make proofs      what Verifpal says of handshake and agreement"
	@echo "make matrix      every case of the fault matrix with the tests that cover it"
	@echo "make bench       throughput against other userspace WireGuards"
	@echo "make bench-cni   ADD and DEL against the reference ptp plugin: BENCHMARKS.md"
	@echo "make bench-pods  fifty pods at once on a node, against ptp: BENCHMARKS.md"
	@echo "make soak        half an hour at changing load on a whole Kubernetes (SOAK='--minutes 5')"
	@echo "make bench-kubernetes  what up to 500 nodes cost an API server: BENCHMARKS.md"
	@echo "make setup       install what the others need (they call it themselves)"
	@echo "make clean       remove what was built"

setup:
	@tests/setup.sh

build: setup
	@$(STAGE) "build the programs" cargo build --locked --workspace --bins
	@$(STAGE) "build the tests" cargo test --locked --workspace --no-run
	@$(STAGE) "build the positive control (tunnels without encryption)" \
	  cargo build --locked -p sotto-node --features plaintext-control --target-dir $(TARGET)/plaintext-control

check: setup
	@tests/setup.sh cargo-deny
	@$(STAGE) "format" cargo fmt --all --check
	@$(STAGE) "lints" cargo clippy --locked --workspace --all-targets -- -D warnings
	@$(STAGE) "lints of the positive control" \
	  cargo clippy --locked -p sotto-node --features plaintext-control -- -D warnings
	@$(STAGE) "format and lints of the simulator" bash -c "cargo fmt --manifest-path $(SIM) --check && \
	  cargo clippy --locked --manifest-path $(SIM) --target-dir $(TARGET)/simulator --all-targets -- -D warnings"
	@$(STAGE) "docs" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	@$(STAGE) "licences, bans, sources" cargo deny --offline check licenses bans sources
	@$(STAGE) "advisories" tests/advisories.sh
	@$(STAGE) "key schedule: another language computes the same vectors" \
	  bash -c "set -o pipefail; python3 $(VECTORS).py | diff - $(VECTORS).txt"
	@$(MAKE) --no-print-directory gen
	@$(STAGE) "generated files are as committed" git diff --exit-code -- deploy
	@$(STAGE) "tidy: what may depend on what, file lengths" cargo test --locked --workspace --test tidy

# The whole workspace is named, or its dependencies would be built anew with other features.
gen: setup
	@$(STAGE) "CustomResourceDefinitions" bash -c \
	  "cargo build --locked --workspace --example crds && $(TARGET)/debug/examples/crds deploy/crds"
	@tests/kubernetes/binaries.sh helm
	@$(STAGE) "manifest of the chart" deploy/render.sh

images: setup
	@tests/setup.sh images
	@tests/kubernetes/binaries.sh cni
	@deploy/images/build.sh

# Kubernetes and the images before the tests, which would fail without them; the oldest API server after them.
test: build
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) --no-print-directory whole && tests/kubernetes/binaries.sh $(OLDEST); fi
	@$(STAGE) "tests" env SOTTO_KUBERNETES=$(NEWEST) cargo test --locked --workspace --no-fail-fast
	@if [ "$$(id -u)" = 0 ]; then tests/kubernetes/oldest.sh $(OLDEST); \
	  else echo "==> tests against Kubernetes $(OLDEST): NOT RUN, they need root"; fi
	@if [ "$$(id -u)" = 0 ]; then $(STAGE) "tun, sockets and lanes in namespaces" \
	  cargo test --locked --workspace --lib --no-fail-fast -- --ignored; \
	  else echo "==> tun, sockets and lanes in namespaces: NOT RUN, they need root"; fi
	@$(STAGE) "simulator" cargo test --locked --release --manifest-path $(SIM) --target-dir $(TARGET)/simulator
	@$(MAKE) --no-print-directory proofs

proofs: setup
	@tests/setup.sh verifpal
	@$(STAGE) "proofs of the protocol (Verifpal)" tests/proofs/run.sh

test-api: build
	@tests/kubernetes/binaries.sh helm $(NEWEST) $(OLDEST)
	@$(STAGE) "tests against Kubernetes $(NEWEST)" \
	  env SOTTO_KUBERNETES=$(NEWEST) cargo test --locked -p sotto-tests --test kubernetes
	@tests/kubernetes/oldest.sh $(OLDEST)

test-netns: build
	@tests/kubernetes/binaries.sh cni
	@$(STAGE) "tests in network namespaces" cargo test --locked -p sotto-tests --test netns

# What a whole Kubernetes runs: its own programs, the tests' images, and Sotto's, not optimised.
whole: setup
	@tests/setup.sh cluster
	@tests/kubernetes/binaries.sh helm cluster:$(NEWEST)
	@tests/cluster/images.sh $(NEWEST) >/dev/null
	@PROFILE=debug $(MAKE) --no-print-directory images

cluster: whole
	@$(TARGET)/debug/cluster up

cluster-down:
	@if [ -x $(TARGET)/debug/cluster ]; then $(TARGET)/debug/cluster down; else echo "No cluster stands."; fi

cluster-eve:
	@if [ -x $(TARGET)/debug/cluster ]; then $(TARGET)/debug/cluster eve $(EVE); else echo "No cluster stands: make cluster" >&2; exit 1; fi

test-cluster: whole
	@$(STAGE) "tests on a whole Kubernetes" env SOTTO_KUBERNETES=$(NEWEST) cargo test --locked --workspace --test cluster

sim: setup
	@$(STAGE) "simulator" cargo test --locked --release --manifest-path $(SIM) --target-dir $(TARGET)/simulator

demo demo-kubernetes cluster cluster-down cluster-eve test-cluster test-netns test-api bench-cni bench-pods bench-kubernetes soak: needs-root

needs-root:
	@[ "$$(id -u)" = 0 ] || { echo "namespaces, tun and nft need root: run sudo make $(MAKECMDGOALS)" >&2; exit 1; }

demo: setup
	@$(STAGE) "build the programs" cargo build --locked --workspace --bins
	@$(TARGET)/debug/demo $(DEMO)

demo-kubernetes: setup
	@tests/kubernetes/binaries.sh $(NEWEST)
	@$(STAGE) "build the programs" cargo build --locked --workspace --bins
	@SOTTO_KUBERNETES=$(NEWEST) $(TARGET)/debug/demo --kubernetes $(DEMO)

matrix: setup
	@$(STAGE) "list the tests" tests/list.sh $(TARGET)/tests.txt $(SIM) $(TARGET)
	@cargo run --locked --quiet -p sotto-tests --bin matrix -- tests/MATRIX.md $(TARGET)/tests.txt

bench: setup
	@tests/bench/run.sh

bench-cni: setup
	@tests/kubernetes/binaries.sh cni
	@$(STAGE) "build the plugin for release" cargo build --locked --release -p sotto-cni
	@$(STAGE) "build the benchmark" cargo build --locked --workspace --bins
	@SOTTO_BIN_DIR=$(TARGET)/release $(TARGET)/debug/bench-cni $(BENCH)

soak: whole
	@$(TARGET)/debug/soak $(SOAK)

# With the images that a release would have, as the reference plugins are built.
bench-pods: whole
	@$(MAKE) --no-print-directory images
	@$(TARGET)/debug/bench-pods $(BENCH)

bench-kubernetes: setup
	@tests/kubernetes/binaries.sh $(NEWEST)
	@$(STAGE) "build the programs" cargo build --locked --workspace --bins
	@$(TARGET)/debug/bench-kubernetes $(BENCH)

clean:
	cargo clean
	rm -rf $(TARGET)/plaintext-control $(TARGET)/simulator
