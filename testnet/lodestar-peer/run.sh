#!/usr/bin/env bash
# A real Lodestar 1.5.1 keeps an `assay node` as a peer: status, ping, metadata both ways, no goodbye, still connected at the end, its score
# of us watched; a second Lodestar, which knows nobody but us, finds us by our record and syncs its blocks from us.
#   testnet/lodestar-peer/run.sh
# Environment:
#   MINUTES=10          how long it is watched            SLOT=3        seconds of a slot
#   ASSAY_REALNET=dir   the rig (default: ../shared/realnet beside the repository), installed: testnet/real/run.sh does that
#   ASSAY_BIN=file      this binary instead of building one (PROFILE=release)
#   BASE=26600          first of the fifty ports          OUT=testnet/lodestar-peer/run
#   FAULT=name          breaks a check on purpose: README.md
# Exit codes: 0 every check passed; 1 a check failed, or something did not start; 77 the rig is not there: skipped.
# Observations, the scores over time among them: OUT/lodestar-peer/observed.json.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$HERE/../lib/common.sh"
case "${1:-}" in "") ;; *) sed -n '2,13p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; [ "$1" = --help ] || [ "$1" = -h ]; exit ;; esac
need_tools node
RIG=""
for place in "${ASSAY_REALNET:-}" "$HERE/../real/work" "$REPO/../shared/realnet"; do
  if [ -n "$place" ] && [ -e "$place/capella/cl/node_modules/.bin/lodestar" ]; then RIG="$(cd "$place" && pwd)"; break; fi
done
[ -n "$RIG" ] || { echo "skipped: no installed rig (testnet/real/run.sh installs it; ASSAY_REALNET names another place)" >&2; exit 77; }
if [ -z "${EL:-}" ]; then
  export ETHREX_BIN="${ETHREX_BIN:-$RIG/minibeacon/el-ethrex/target/release/el-ethrex}"
  EL=ethrex; [ -x "$ETHREX_BIN" ] || EL=ethereumjs
fi
binaries
stop_rig() { [ -z "$DIR" ] || RUN="$DIR/rig" "$RIG/capella/down.sh" > /dev/null 2>&1 || true; finish; }
trap stop_rig EXIT
trap 'exit 1' INT TERM
begin_run "${OUT:-$HERE/run}/lodestar-peer"
failed=0
ASSAY="$ASSAY_BIN" RIG="$RIG" OUT_DIR="$DIR" BASE="${BASE:-26600}" SLOT="${SLOT:-3}" MINUTES="${MINUTES:-10}" EL="$EL" \
  timeout -k 5 "${TIMEOUT:-3600}" node "$HERE/peer.mjs" &
CHILD=$!
wait "$CHILD" || failed=1
CHILD=""
exit $failed
