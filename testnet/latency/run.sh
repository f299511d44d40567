#!/usr/bin/env bash
# What the Engine API endpoint adds to engine_newPayload with a payload of 1 MB: against calling the execution client directly, and beside
# nginx (Debian's) as a plain proxy, in turns of one run. Goal: in the median at most 1 ms or 2 %, and less than nginx.
#   testnet/latency/run.sh [--rounds 101]
# Environment:
#   OUT=testnet/latency/run   where measured.json is written
#   LOAD=0.5                  load of the machine per core above which nothing is measured (any: whatever it is)
# It needs nginx in PATH (Debian: nginx, or nginx-light); nothing of its configuration is read. Worth its figures on an idle machine only.
# Exit codes: 0 the goal is met; 1 it is missed, or something failed; 77 nginx is not there, or the machine is busy: skipped.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
REPO="$(cd "$HERE/../.." && pwd)"
usage() { sed -n '2,9p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; }
ROUNDS=101
while [ $# -gt 0 ]; do
  case "$1" in
    --rounds) ROUNDS="${2:?--rounds needs a number}"; shift 2 ;;
    -h|--help) usage; exit 0 ;;
    *) usage >&2; exit 1 ;;
  esac
done
PATH="$PATH:/usr/sbin"
command -v nginx > /dev/null || { echo "skipped: nginx is not installed" >&2; exit 77; }
(cd "$REPO" && cargo bench -p assay-gate --bench new_payload --no-run)
busy="$(awk -v cores="$(nproc)" -v limit="${LOAD:-0.5}" 'limit != "any" && $1 / cores > limit { print $1 }' /proc/loadavg)"
# Building is load too.
if [ -n "$busy" ]; then sleep 60; busy="$(awk -v cores="$(nproc)" -v limit="${LOAD:-0.5}" 'limit != "any" && $1 / cores > limit { print $1 }' /proc/loadavg)"; fi
[ -z "$busy" ] || { echo "skipped: the machine is busy (load $busy); LOAD=any measures all the same" >&2; exit 77; }
OUT="${OUT:-$HERE/run}"
mkdir -p "$OUT"
OUT="$(realpath "$OUT")"
nginx -v
cd "$REPO"
exec cargo bench -p assay-gate --bench new_payload -- --check --rounds "$ROUNDS" --json "$OUT/measured.json"
