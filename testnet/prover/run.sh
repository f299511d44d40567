#!/usr/bin/env bash
# A prover over a real beacon node and a real execution client: every block proven, none missed, none twice.
#   testnet/prover/run.sh [fulu|gloas|inside]...      (default: fulu gloas inside)
# Scenarios, each with skipped slots and a reorg on the way:
#   fulu     minibeacon at Fulu; `assay prover` posts to an `assay node`, whose peer is a second one
#   gloas    the same across the boundary from Fulu to Gloas, and with envelopes that never come
#   inside   as gloas, the prover inside the node (`assay node --prover`)
# Environment:
#   ASSAY_REALNET=dir    the rig (default: ../shared/realnet beside the repository); copied to testnet/prover/work
#   ASSAY_BIN=file       this binary instead of building one        ETHREX_BIN=file   this el-ethrex instead of building one
#   PROFILE=dev          profile of the build                       BASE=21700        first port of the fifty that are used
#   GLOAS=3              first epoch of Gloas (8 slots each)        SLOT=3            seconds of a slot
#   SECONDS_PROVEN=300   how long blocks are proven                 TIMEOUT=900       seconds that one scenario may take
#   FAULT=name           breaks a check on purpose: README.md       OUT=testnet/prover/run
# Exit codes: 0 every check passed; 1 a check failed, or something did not start; 77 the rig is not there: skipped.
# Observations: OUT/<scenario>/observed.json; logs beside it.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$HERE/../lib/common.sh"
. "$HERE/../lib/rig.sh"
usage() { sed -n '2,17p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; }
for scenario in "$@"; do
  case "$scenario" in fulu|gloas|inside) ;; -h|--help) usage; exit 0 ;; *) usage >&2; exit 1 ;; esac
done
[ $# -gt 0 ] || set -- fulu gloas inside
need_rig minibeacon
need_tools node npm
PROFILE="${PROFILE:-dev}" binaries
WORK="$HERE/work"
take_rig "$WORK" minibeacon
run_scenarios "$HERE/prover.mjs" 21700 "$@"
