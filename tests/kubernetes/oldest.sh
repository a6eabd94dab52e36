#!/bin/bash
# Runs what differs between API servers against another Kubernetes: `oldest.sh VERSION`.
set -u
cd "$(dirname "$0")/../.."

status=0
for part in the_chart two_nodes kl01_ kl12_a nl04_ cp15_ nd01_a nd12_ nd15_ aw06_ aw08_objects; do
  SOTTO_KUBERNETES=$1 tests/stage.sh "tests against Kubernetes $1: $part" \
    cargo test --locked -p sotto-tests --test kubernetes -- $part || status=1
done
exit $status
