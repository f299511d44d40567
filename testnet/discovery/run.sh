#!/usr/bin/env bash
# Nodes on this machine that know one boot node find each other and pass proofs, over the simulated chain.
#   testnet/discovery/run.sh [two|idle|twenty|absent|behind-finality]...      (default: two twenty absent)
# Scenarios:
#   two, twenty       so many nodes; twenty also goes on without its boot node
#   idle              two nodes over a chain without proofs for two minutes: what memory they take
#   absent            one of four nodes is down for SLOTS slots (300: an hour of them, which are shorter here) and comes back; finality
#                     stalls, so that all of them are in the serve range
#   behind-finality   the same while finality moves: what lies before the serve range is nobody's to serve
# Environment: ASSAY_BIN, CHAIN_BIN (binaries instead of building them), PROFILE=release, BASE=23600 (first port), SLOTS=300,
#   FAULT=name (breaks a check on purpose: README.md), OUT=testnet/discovery/run
# Exit codes: 0 every check passed; 1 a check failed, or something did not start. Observations: OUT/<scenario>/observed.json.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$HERE/../lib/common.sh"
usage() { sed -n '2,13p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; }
for scenario in "$@"; do
  case "$scenario" in two|idle|twenty|absent|behind-finality) ;; -h|--help) usage; exit 0 ;; *) usage >&2; exit 1 ;; esac
done
[ $# -gt 0 ] || set -- two twenty absent
need_tools node
binaries chain
trap finish EXIT
trap 'exit 1' INT TERM
failed=0
for scenario in "$@"; do
  begin_run "${OUT:-$HERE/run}/$scenario"
  ASSAY="$ASSAY_BIN" CHAIN="$CHAIN_BIN" OUT_DIR="$DIR" BASE="${BASE:-23600}" SLOTS="${SLOTS:-300}" \
    timeout -k 5 "${TIMEOUT:-1200}" node "$HERE/discovery.mjs" "$scenario" &
  CHILD=$!
  wait "$CHILD" || failed=1
  CHILD=""
  finish
done
exit $failed
