#!/usr/bin/env bash
# The verifiers of SP1 and ZisK: built, tested with real proofs, and in one scenario from a prover over a node and gossip
# to a second node. CI does not do this: SP1's verifier alone is some hundred crates and minutes of building.
#   testnet/native/run.sh [--lint] [--bench]
# PROFILE=dev|release (default release) for the scenario; the verifiers' own tests run in release, as operators have them.
# CARGO_TARGET_DIR (default target/native) keeps this apart from other builds. The proofs lie in `proofs` beside the
# reference vectors (ASSAY_VECTORS, default shared/vectors beside the repository).
set -euo pipefail
cd "$(dirname "$0")/../.."
lint='' bench=''
for word in "$@"; do
  case "$word" in
    --lint) lint=1 ;;
    --bench) bench=1 ;;
    *) echo "usage: testnet/native/run.sh [--lint] [--bench]" >&2; exit 2 ;;
  esac
done
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target/native}" CARGO_TERM_COLOR=never
vectors="${ASSAY_VECTORS:-$PWD/../shared/vectors}"
[ -f "$vectors/../proofs/sp1/proof.bin" ] || { echo "no proofs beside $vectors" >&2; exit 1; }
profile="${PROFILE:-release}"
began=$SECONDS
step() { printf '\n== %s (after %d s)\n' "$*" "$((SECONDS - began))"; }

step "nothing of it in the default build"
for crate in sp1-verifier proofman-verifier; do
  if cargo tree --workspace --locked --edges normal,build --invert "$crate" 2> /dev/null | grep -q .; then
    echo "$crate is in the default build" >&2
    exit 1
  fi
done
# ZisK's prover in C++ stays out of it: what stands in its place has no build script.
cargo tree -p assay --features native-sp1,native-zisk --locked --invert proofman-starks-lib-c --depth 0 |
  grep -q 'patches/proofman-starks-lib-c' || { echo "proofman-starks-lib-c is not the empty one" >&2; exit 1; }
if command -v cargo-deny > /dev/null 2>&1; then
  step "dependency policy, with the verifiers"
  cargo deny --offline --all-features check bans licenses sources
else
  echo "skipped: licences, sources and bans of the verifiers' crates (cargo-deny is not installed)"
fi

step "the verifiers with real proofs"
cargo test -p assay-native-verifiers --features sp1,zisk --locked --release -- --nocapture

step "prover, node, gossip, second node ($profile)"
profile_flag=()
[ "$profile" = dev ] || profile_flag=(--profile "$profile")
cargo test "${profile_flag[@]}" -p assay --features native-sp1,native-zisk --locked --test native -- --nocapture

if [ -n "$lint" ]; then
  step "lints of what CI does not build"
  cargo clippy -p assay-native-verifiers --features sp1,zisk --all-targets --locked --quiet -- -D warnings
  cargo clippy -p assay --features native-sp1,native-zisk --test native --locked --quiet -- -D warnings
fi
if [ -n "$bench" ]; then
  step "how long it takes"
  cargo bench -p assay-native-verifiers --features sp1,zisk --locked --bench verify
fi
step "all of it passed"
