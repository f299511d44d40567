#!/usr/bin/env bash
# The import policies with real clients.
#   testnet/gate/run.sh [--minutes 30] [--seed 1]         four followers at once, one policy each, through Electra, Fulu and Gloas, with
#                                                         reorgs, empty slots, late proofs, execution clients that restart, kill -9
#   testnet/gate/run.sh --scenario lodestar-proofs-only   a Lodestar 1.5.1 without an execution client follows and finalizes
#   testnet/gate/run.sh --scenario lodestar-wait          require-proofs with --wait-for-proofs: its head is not optimistic
# Environment:
#   ASSAY_REALNET=dir   the rig (default: ../shared/realnet beside the repository), installed: testnet/real/run.sh does that
#   ASSAY_BIN=file      this binary instead of building one (PROFILE=release)     ETHREX_BIN=file   this el-ethrex
#   BASE=29700          first of the hundred ports                               OUT=testnet/gate/run
#   SLOT=2              seconds of a slot (Lodestar: 3)                          FAULT=name   breaks a check on purpose: README.md
# Exit codes: 0 every check passed; 1 a check failed, or something did not start; 77 the rig is not there: skipped.
# What was observed: OUT/<scenario>/observed.json, logs beside it.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$HERE/../lib/common.sh"
usage() { sed -n '2,14p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; }
SCENARIO=followers MINUTES=30 SEED=1
while [ $# -gt 0 ]; do
  case "$1" in
    --scenario) case "${2:-}" in followers|lodestar-proofs-only|lodestar-wait) SCENARIO="$2" ;; *) usage >&2; exit 1 ;; esac; shift 2 ;;
    --minutes) MINUTES="${2:?--minutes needs a number}"; shift 2 ;;
    --seed) SEED="${2:?--seed needs a number}"; shift 2 ;;
    -h|--help) usage; exit 0 ;;
    *) usage >&2; exit 1 ;;
  esac
done
need_tools node
part=minibeacon; [ "$SCENARIO" = followers ] || part=capella/cl
RIG=""
for place in "${ASSAY_REALNET:-}" "$HERE/../real/work" "$REPO/../shared/realnet"; do
  if [ -n "$place" ] && [ -e "$place/$part/node_modules" ]; then RIG="$(cd "$place" && pwd)"; break; fi
done
[ -n "$RIG" ] || { echo "skipped: no installed rig (testnet/real/run.sh installs it; ASSAY_REALNET names another place)" >&2; exit 77; }
export ETHREX_BIN="${ETHREX_BIN:-$RIG/minibeacon/el-ethrex/target/release/el-ethrex}"
[ -x "$ETHREX_BIN" ] || { echo "skipped: no el-ethrex at $ETHREX_BIN (testnet/real/run.sh builds it)" >&2; exit 77; }
binaries
# The rig by its own pid files, what is ours by the ids it was started with.
stop_all() {
  [ -n "$DIR" ] || return 0
  local dir="$DIR"
  finish
  RUN="$dir/rig" "$RIG/minibeacon/stop.sh" > /dev/null 2>&1 || true
  RUN="$dir/lodestar" "$RIG/capella/down.sh" > /dev/null 2>&1 || true
}
trap stop_all EXIT
trap 'exit 1' INT TERM
begin_run "${OUT:-$HERE/run}/$SCENARIO"
script=followers.mjs; [ "$SCENARIO" = followers ] || script=lodestar.mjs
failed=0
ASSAY="$ASSAY_BIN" RIG="$RIG" OUT_DIR="$DIR" BASE="${BASE:-29700}" SLOT="${SLOT:-}" MINUTES="$MINUTES" SEED="$SEED" SCENARIO="$SCENARIO" \
  timeout -k 5 "${TIMEOUT:-$((MINUTES * 60 + 1200))}" node "$HERE/$script" &
CHILD=$!
wait "$CHILD" || failed=1
CHILD=""
exit $failed
