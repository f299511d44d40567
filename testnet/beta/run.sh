#!/usr/bin/env bash
# Revision beta over a real beacon node and a real execution client: envelopes, and the boundary between the revisions.
#   testnet/beta/run.sh [gloas|boundary]...      (default: gloas boundary)
# Scenarios, each with skipped slots, reorgs and envelopes that never come:
#   gloas      minibeacon at Gloas; a prover of the shape of zkboost 0.10, an Engine API proxy before the execution client,
#              posts lists of envelopes to an `assay node`, whose peer is a second one
#   boundary   Fulu, then Gloas: `assay prover` makes what each slot asks for, and from Gloas on that prover too
# Environment:
#   ASSAY_REALNET=dir    the rig (default: ../shared/realnet beside the repository); copied to testnet/beta/work
#   ASSAY_BIN=file       this binary instead of building one        ETHREX_BIN=file   this el-ethrex instead of building one
#   PROFILE=dev          profile of the build                       BASE=28700        first port of the fifty that are used
#   GLOAS=n              first epoch of Gloas (8 slots each): 2 in gloas, 3 in boundary      SLOT=3   seconds of a slot
#   ENVELOPE_PROVER=file this prover instead of building one        TIMEOUT=900       seconds that one scenario may take
#   SECONDS_PROVEN=300   how long blocks are proven
#   FAULT=name           breaks a check on purpose: README.md       OUT=testnet/beta/run
# Exit codes: 0 every check passed; 1 a check failed, or something did not start; 77 the rig is not there: skipped.
# Observations: OUT/<scenario>/observed.json; logs beside it.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$HERE/../lib/common.sh"
. "$HERE/../lib/rig.sh"
usage() { sed -n '2,17p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; }
for scenario in "$@"; do
  case "$scenario" in gloas|boundary) ;; -h|--help) usage; exit 0 ;; *) usage >&2; exit 1 ;; esac
done
[ $# -gt 0 ] || set -- gloas boundary
need_rig minibeacon
need_tools node npm
PROFILE="${PROFILE:-dev}" binaries
if [ -z "${ENVELOPE_PROVER:-}" ]; then
  (cd "$REPO" && cargo build --profile "${PROFILE:-dev}" -p assay --example envelope_prover)
  ENVELOPE_PROVER="$REPO/target/$([ "${PROFILE:-dev}" = dev ] && echo debug || echo "$PROFILE")/examples/envelope_prover"
fi
export ENVELOPE_PROVER
WORK="$HERE/work"
take_rig "$WORK" minibeacon
run_scenarios "$HERE/beta.mjs" 28700 "$@"
