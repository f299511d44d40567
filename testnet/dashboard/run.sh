#!/usr/bin/env bash
# The dashboard in a real browser, over nodes of the simulated chain: what it says in each state, and pictures of it.
#   testnet/dashboard/run.sh [healthy|missing|disagreement|syncing]...      (default: all four)
# Needs node 20 or newer and a Chromium: Debian's (apt install chromium), or CHROMIUM=path. playwright-core comes from npm.
# CI has no browser: there the tests of crates/api hold page, script and routes together.
# Environment: ASSAY_BIN, CHAIN_BIN (binaries instead of building them), PROFILE=release, BASE=24600 (first port),
#   FAULT=name (breaks a check on purpose: README.md), OUT=testnet/dashboard/run
# Exit codes: 0 every check passed; 1 a check failed, or something did not start. Pictures and observed.json: OUT/<state>.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$HERE/../lib/common.sh"
PLAYWRIGHT=1.65.1
usage() { sed -n '2,9p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; }
for scenario in "$@"; do
  case "$scenario" in healthy|missing|disagreement|syncing) ;; -h|--help) usage; exit 0 ;; *) usage >&2; exit 1 ;; esac
done
[ $# -gt 0 ] || set -- healthy missing disagreement syncing
need_tools node npm
CHROMIUM="${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}"
[ -x "$CHROMIUM" ] || { echo "no Chromium: install Debian's chromium, or set CHROMIUM" >&2; exit 1; }
if [ ! -d "$HERE/work/node_modules/playwright-core" ]; then
  npm install --prefix "$HERE/work" --no-save --no-audit --no-fund --silent "playwright-core@$PLAYWRIGHT"
fi
binaries chain
trap finish EXIT
trap 'exit 1' INT TERM
failed=0
for scenario in "$@"; do
  begin_run "${OUT:-$HERE/run}/$scenario"
  ASSAY="$ASSAY_BIN" CHAIN="$CHAIN_BIN" CHROMIUM="$CHROMIUM" OUT_DIR="$DIR" BASE="${BASE:-24600}" \
    timeout -k 5 "${TIMEOUT:-300}" node "$HERE/dashboard.mjs" "$scenario" &
  CHILD=$!
  wait "$CHILD" || failed=1
  CHILD=""
  finish
done
exit $failed
