#!/usr/bin/env bash
# A node under attack by many identities: crates/network/benches/abuse. Options are the bench's; ends with 1 if an
# honest proof came late or the node's memory passed the limit (400 MiB).
#   testnet/abuse/run.sh [--slots 10] [--slot-ms 6000] [--each 4] [--limit-mib 400]      ABUSE_BIN=file: built already
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=${ABUSE_BIN:-}
if [ -z "$bin" ]; then
  bin=$(cargo build --release -p assay-network --bench abuse --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/abuse-[^"]*\)".*/\1/p' | tail -1)
fi
[ -x "$bin" ] || { echo "the bench was not built" >&2; exit 1; }
exec "$bin" "$@"
