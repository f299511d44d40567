#!/usr/bin/env bash
# A node under attack by many identities, over TCP with yamux and with mplex, and over QUIC: crates/network/benches/abuse.
#   testnet/abuse/run.sh [library|node]...      (default: both), then -- and options of the bench, such as --each 40
# Victims:
#   library   the network's host alone, in the bench, between two honest ones; an honest proof of 1 MiB each slot
#   node      a whole `assay node` over the simulated chain, between two others that know it alone; a proof of 1 MiB each slot
# Ends with 1 if an honest proof or answer came late, the victim's memory passed the limit (400 MiB), or what was sent and
# arrived is not found in a counter.
# Environment: ABUSE_BIN, ASSAY_BIN, CHAIN_BIN (binaries instead of building them), SLOTS=6 (of each group), PROFILE=release, BASE=24600 (first port),
#   OUT=testnet/abuse/run. To see the comparison fail: `-- --blind not_snappy`.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$HERE/../lib/common.sh"
usage() { sed -n '2,11p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; }
victims=()
while [ $# -gt 0 ]; do
  case "$1" in
    library|node) victims+=("$1"); shift ;;
    --) shift; break ;;
    -h|--help) usage; exit 0 ;;
    *) usage >&2; exit 1 ;;
  esac
done
[ "${#victims[@]}" -gt 0 ] || victims=(library node)
if [ -z "${ABUSE_BIN:-}" ]; then
  ABUSE_BIN=$(cd "$REPO" && cargo build --release -p assay-network --bench abuse --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/abuse-[^"]*\)".*/\1/p' | tail -1)
fi
[ -x "$ABUSE_BIN" ] || { echo "the bench was not built" >&2; exit 1; }
failed=0
for victim in "${victims[@]}"; do
  if [ "$victim" = library ]; then
    "$ABUSE_BIN" --slots "${SLOTS:-6}" "$@" || failed=1
    continue
  fi
  need_tools node
  binaries chain
  trap finish EXIT
  trap 'exit 1' INT TERM
  begin_run "${OUT:-$HERE/run}/node"
  ASSAY="$ASSAY_BIN" CHAIN="$CHAIN_BIN" ABUSE="$ABUSE_BIN" OUT_DIR="$DIR" BASE="${BASE:-24600}" SLOTS="${SLOTS:-6}" \
    timeout -k 5 "${TIMEOUT:-900}" node "$HERE/abuse.mjs" "$@" &
  CHILD=$!
  wait "$CHILD" || failed=1
  CHILD=""
  finish
done
exit $failed
