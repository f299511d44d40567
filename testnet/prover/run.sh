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
usage() { sed -n '2,17p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; }
for scenario in "$@"; do
  case "$scenario" in fulu|gloas|inside) ;; -h|--help) usage; exit 0 ;; *) usage >&2; exit 1 ;; esac
done
[ $# -gt 0 ] || set -- fulu gloas inside
SOURCE="${ASSAY_REALNET:-$REPO/../shared/realnet}" WORK="$HERE/work"
if [ ! -x "$SOURCE/minibeacon/run.sh" ]; then
  echo "skipped: no rig at $SOURCE (ASSAY_REALNET names another place)" >&2
  exit 77
fi
need_tools node npm
PROFILE="${PROFILE:-dev}" binaries

# The rig: its scripts anew each time; what it installs and builds stays, and is taken over where it is there already.
SOURCE="$(cd "$SOURCE" && pwd)"
for part in minibeacon minibeacon/lib minibeacon/el-ethrex minibeacon/el-ethrex/src; do
  mkdir -p "$WORK/$part"
  find "$SOURCE/$part" -maxdepth 1 -type f -exec cp -p {} "$WORK/$part/" \;
done
MINIBEACON="$WORK/minibeacon"
if [ ! -e "$MINIBEACON/node_modules" ]; then
  if [ -d "$SOURCE/minibeacon/node_modules" ]; then
    ln -s "$SOURCE/minibeacon/node_modules" "$MINIBEACON/node_modules"
  else
    (cd "$MINIBEACON" && npm install --no-save --no-audit --no-fund --loglevel=error)
  fi
fi
if [ -z "${ETHREX_BIN:-}" ]; then
  ETHREX_BIN="$SOURCE/minibeacon/el-ethrex/target/release/el-ethrex"
  [ -x "$ETHREX_BIN" ] || ETHREX_BIN="$MINIBEACON/el-ethrex/target/release/el-ethrex"
fi
if [ ! -x "$ETHREX_BIN" ]; then
  echo "building el-ethrex (about 9 min on 2 cores)"
  (cd "$MINIBEACON/el-ethrex" && nice -n 10 cargo build --release --locked)
fi
export ETHREX_BIN

end_all() {
  local dir="$DIR"
  finish
  [ -z "$dir" ] || RUN="$dir/minibeacon" "$MINIBEACON/stop.sh" > /dev/null 2>&1 || true
}
trap end_all EXIT
trap 'exit 1' INT TERM
failed=0
for scenario in "$@"; do
  begin_run "${OUT:-$HERE/run}/$scenario"
  ASSAY="$ASSAY_BIN" RIG="$WORK" OUT_DIR="$DIR" BASE="${BASE:-21700}" SLOT="${SLOT:-3}" GLOAS="${GLOAS:-3}" \
    SECONDS_PROVEN="${SECONDS_PROVEN:-300}" timeout -k 5 "${TIMEOUT:-900}" node "$HERE/prover.mjs" "$scenario" &
  CHILD=$!
  wait "$CHILD" || failed=1
  CHILD=""
  end_all
done
exit $failed
