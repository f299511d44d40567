#!/usr/bin/env bash
# Drives real clients: two `assay node`s, one of them between a real beacon node and a real execution client.
#   testnet/real/run.sh [--scenario minibeacon|gloas|lodestar] [--profile NAME] [--out FILE]
# Scenarios (minibeacon, then lodestar, unless one is named):
#   minibeacon   Fulu: minibeacon (consensus code of Lodestar 1.48) and ethrex
#   gloas        the same, and on to Gloas
#   lodestar     Capella: two Lodestar 1.5.1 beacon nodes, the gate behind the one without validators
# Environment:
#   ASSAY_REALNET=dir      the rig (default: ../shared/realnet beside the repository); its scripts are copied to testnet/real/work
#   ASSAY_BIN=file         this binary instead of building one          ETHREX_BIN=file   this el-ethrex instead of building one
#   ASSAY_REAL_BASE=24600  first port of the hundred that are used      ASSAY_REAL_SLOT=3 seconds of a slot
#   ASSAY_REAL_TIMEOUT=600 seconds that one scenario may take (without the building of the rig)
#   ASSAY_REAL_FAULT=name  breaks a check on purpose: README.md         ASSAY_REAL_LOG=debug  log level of the nodes
# Exit codes: 0 every check passed; 1 a check failed, or something did not start; 77 the rig is not there: skipped.
# What was observed is written as JSON to --out (default testnet/real/run/observed.json); logs are in testnet/real/run.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
REPO="$(cd "$HERE/../.." && pwd)"
. "$HERE/../lib/rig.sh"
RUN="${ASSAY_REAL_RUN:-$HERE/run}" WORK="$HERE/work"
PROFILE=dev SCENARIOS="minibeacon lodestar" OUT="$RUN/observed.json"
usage() { sed -n '2,17p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; }
while [ $# -gt 0 ]; do
  case "$1" in
    --scenario) case "${2:-}" in minibeacon|gloas|lodestar) SCENARIOS="$2" ;; *) usage >&2; exit 1 ;; esac; shift 2 ;;
    --profile) PROFILE="${2:?--profile needs a name}"; shift 2 ;;
    --out) OUT="$(realpath -m "${2:?--out needs a file}")"; shift 2 ;;
    -h|--help) usage; exit 0 ;;
    *) usage >&2; exit 1 ;;
  esac
done

need_rig minibeacon capella
for tool in node npm; do
  command -v "$tool" > /dev/null || { echo "$tool is needed" >&2; exit 1; }
done

# The binary.
if [ -z "${ASSAY_BIN:-}" ]; then
  (cd "$REPO" && cargo build --profile "$PROFILE" -p assay)
  ASSAY_BIN="$REPO/target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")/assay"
fi
ASSAY_BIN="$(realpath "$ASSAY_BIN")"
[ -x "$ASSAY_BIN" ] || { echo "no binary at $ASSAY_BIN" >&2; exit 1; }

take_rig "$WORK" minibeacon capella

# Whatever happens, what was started is ended: the rig by its own pid files, ours by the ids they were started with.
DIR="" CHILD=""
finish() {
  [ -n "$DIR" ] || return 0
  if [ -n "$CHILD" ] && kill "$CHILD" 2> /dev/null; then wait "$CHILD" || true; fi
  if [ -f "$DIR/pids" ]; then
    while read -r pid; do
      case "$(ps -o args= -p "$pid" 2> /dev/null)" in *"$DIR"*) kill -9 "$pid" 2> /dev/null || true ;; esac
    done < "$DIR/pids"
    rm -f "$DIR/pids"
  fi
  RUN="$DIR/minibeacon" "$WORK/minibeacon/stop.sh" > /dev/null 2>&1 || true
  RUN="$DIR/lodestar" "$WORK/capella/down.sh" > /dev/null 2>&1 || true
  DIR=""
}
trap finish EXIT
trap 'exit 1' INT TERM

failed=0
base="${ASSAY_REAL_BASE:-24600}"
for scenario in $SCENARIOS; do
  DIR="$RUN/$scenario"
  [ ! -e "$DIR/pids" ] || { echo "$DIR is in use, or was left by a run that was killed: remove $DIR/pids" >&2; DIR=""; exit 1; }
  rm -rf "$DIR"
  mkdir -p "$DIR"
  : > "$DIR/pids"
  ASSAY="$ASSAY_BIN" RIG="$WORK" OUT="$DIR" BASE="$base" SLOT="${ASSAY_REAL_SLOT:-3}" \
    timeout -k 5 "${ASSAY_REAL_TIMEOUT:-600}" node "$HERE/lib/scenario.mjs" "$scenario" &
  CHILD=$!
  wait "$CHILD" || failed=1
  CHILD=""
  finish
  base=$((base + 50))
done

# One file for all.
node -e '
  const fs = require("fs"), [out, run, ...names] = process.argv.slice(1);
  const read = (name) => { try { return JSON.parse(fs.readFileSync(`${run}/${name}/observed.json`)); } catch { return { scenario: name, ok: false, checks: [] }; } };
  const scenarios = names.map(read);
  fs.mkdirSync(require("path").dirname(out), { recursive: true });
  fs.writeFileSync(out, JSON.stringify({ ok: scenarios.every((s) => s.ok), scenarios }, null, 1) + "\n");
' "$OUT" "$RUN" $SCENARIOS
echo "observed: $OUT"
exit $failed
