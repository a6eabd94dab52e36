#!/bin/sh
# Asks Verifpal whether the handshake and the agreement keep their promises, and whether they break where
# they must: the model is only believed because its control fails. Needs `verifpal` on PATH
# (cargo install verifpal --ignore-rust-version; a GPL-3 tool that is run, never linked).
#
# A verdict is one letter and digit per query of model.vp.in, in order: secrecy of the request and of the page,
# authenticity of both, equal PRKs; 0 holds, 1 is broken.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT INT TERM
command -v verifpal >/dev/null || { echo "proofs: verifpal is not on PATH; run make proofs" >&2; exit 1; }

# caller: Alice also calls Mallory; responder: Bob also answers Mallory; pair: the two alone.
model() { # name side leaked-now kem-strength leaked-later-by-alice leaked-later-by-bob
    alice="" bob="" names="s/gpeer/gb/g;s/gcaller/ga/g" scenarios=""
    case $2 in
    caller) alice="knows public gpeer" names="s/gcaller/ga/g" scenarios="scenarios[ Alice[gpeer = gb] Alice[gpeer = gm] ]" ;;
    responder) bob="knows public gcaller" names="s/gpeer/gb/g" scenarios="scenarios[ Bob[gcaller = ga] Bob[gcaller = gm] ]" ;;
    esac
    sed "$names" "$here/model.vp.in" | sed "s/@ALICE_PEER@/$alice/;s/@BOB_PEER@/$bob/;s/@SCENARIOS@/$scenarios/
        s/@LEAK_NOW_ALICE@/$3/;s/@KEM@/$4/;s/@LEAK_LATER_ALICE@/$5/;s/@LEAK_LATER_BOB@/$6/" > "$out/$1.vp"
}

passed=0 failed=0
check() { # name sessions expected what-it-says
    got=$(verifpal verify --result-code --sessions "$2" "$out/$1.vp" 2>&1 | tail -n 1)
    if [ "$got" = "$3" ]; then passed=$((passed + 1)); echo "ok   $1: $4"
    else failed=$((failed + 1)); echo "FAIL $1: $4: expected $3, verifpal says $got"; fi
}

model pair pair "" "" "" ""
check pair 2 c0c0a0a0e0 "two sessions at once mix nothing up"
model caller caller "" "" "" ""
check caller 1 c0c0a0a0e0 "Alice calls a certified, dishonest node too"
model responder responder "" "" "" ""
check responder 1 c0c0a0a0e0 "Bob answers a certified, dishonest node too"
model later caller "" "" "leaks a, ea" "leaks b, eb"
check later 1 c0c0a0a0e0 "recorded now, X25519 broken later: still secret"
model kem caller "" "[weak]" "" ""
check kem 1 c0c0a0a0e0 "ML-KEM broken: still secret"
model stolen caller "leaks a" "" "" ""
check stolen 1 c0c1a1a0e0 "a stolen key speaks as its node, and nobody else speaks to that node"
model control caller "" "[weak]" "leaks a, ea" "leaks b, eb"
check control 1 c1c1a0a0e0 "control: X25519 and ML-KEM both broken, secrecy must fail"

echo "proofs: $passed passed, $failed failed"
[ "$failed" = 0 ]
