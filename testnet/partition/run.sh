#!/usr/bin/env bash
# Four nodes in network namespaces over the simulated chain, with links that are cut, slow and lossy.
#   testnet/partition/run.sh [cut|lossy]...      (default: both)
# Scenarios:
#   cut      50 Mbit/s a node (tbf); the trunk between two halves goes down, both halves go on, it comes up: all hold everything. Then
#            the same with one node's link
#   lossy    100 ms of delay a way and 1 % loss at 50 Mbit/s: netem where the kernel has it, else relay.py; it says which
# Environment: ASSAY_BIN, CHAIN_BIN (binaries instead of building them), PROFILE=release, DOWN=60 (seconds of a cut), HEAL=120 (seconds to heal in),
#   FAULT=name (breaks a check on purpose: README.md), OUT=testnet/partition/run
# Needs root, iproute2 (ip, tc), node, and python3 where there is no netem. Exit codes: 0 every check passed; 1 a check failed, or something did
# not start; 77 no namespaces here: skipped. Observations: OUT/<scenario>/observed.json.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$HERE/../lib/common.sh"
usage() { sed -n '2,13p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; }
for scenario in "$@"; do
  case "$scenario" in cut|lossy) ;; -h|--help) usage; exit 0 ;; *) usage >&2; exit 1 ;; esac
done
[ $# -gt 0 ] || set -- cut lossy
need_tools node ip tc
why="$(node --input-type=module -e "import { whyNot } from '$HERE/links.mjs'; process.stdout.write(whyNot() ?? '')")"
[ -z "$why" ] || { echo "skipped: $why" >&2; exit 77; }
[ ! -e /run/netns/asy-1 ] || { echo "namespaces asy-* are there already: another run, or one that was killed ($HERE/links.mjs down removes them)" >&2; exit 1; }
binaries chain
trap 'finish; node "$HERE/links.mjs" down' EXIT
trap 'exit 1' INT TERM
failed=0
for scenario in "$@"; do
  begin_run "${OUT:-$HERE/run}/$scenario"
  ASSAY="$ASSAY_BIN" CHAIN="$CHAIN_BIN" OUT_DIR="$DIR" DOWN="${DOWN:-60}" HEAL="${HEAL:-120}" \
    timeout -k 5 "${TIMEOUT:-900}" node "$HERE/partition.mjs" "$scenario" &
  CHILD=$!
  wait "$CHILD" || failed=1
  CHILD=""
  finish
  node "$HERE/links.mjs" down
done
exit $failed
