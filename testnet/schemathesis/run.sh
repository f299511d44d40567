#!/usr/bin/env bash
# A node's HTTP API against its own OpenAPI document: schemathesis, from PyPI, asks what the document allows and what it
# does not. Ends with 1 on a 500, an answer that the document does not name, or one of another shape. The node runs over
# the simulated network of `assay devnet`, which comes to Gloas first: proofs of both revisions are there to be asked for.
# Options go to schemathesis.
#   testnet/schemathesis/run.sh [--max-examples 100] [--seed 1]
# ASSAY_BIN: built already. SCHEMATHESIS_VENV: where its virtual environment is, or is made.
set -euo pipefail
cd "$(dirname "$0")/../.."
config=$PWD/testnet/schemathesis/schemathesis.toml
version=4.32.5
bin=${ASSAY_BIN:-}
if [ -z "$bin" ]; then
  cargo build -p assay --quiet
  bin=${CARGO_TARGET_DIR:-target}/debug/assay
fi
bin=$(realpath "$bin")
home=$(mktemp -d)
venv=$(realpath -m "${SCHEMATHESIS_VENV:-$home/venv}")
if [ ! -x "$venv/bin/schemathesis" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi

# Two nodes, so that there are peers to tell of; longer than any run takes.
"$bin" devnet --nodes 2 --slots 3000 --slot-ms 1000 --gloas-epoch 1 --proof-size 2000 --datadir "$home/net" > "$home/devnet.log" 2>&1 &
devnet=$!
end() {
  kill -TERM "$devnet" 2> /dev/null || true
  wait "$devnet" 2> /dev/null || true
  rm -rf "$home"
}
trap end EXIT
file=
for _ in $(seq 300); do
  file=$(find "$home" -path '*/net/*' -name endpoints.json | sort | tail -1)
  [ -n "$file" ] && break
  kill -0 "$devnet" 2> /dev/null || { cat "$home/devnet.log"; exit 1; }
  sleep 0.2
done
[ -n "$file" ] || { echo "no node came up" >&2; cat "$home/devnet.log" >&2; exit 1; }
url=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["http"])' "$file")
# Until there are proofs to be served, of either revision.
ready=
for _ in $(seq 300); do
  python3 - "$url" <<'PY' && ready=1 && break
import json, sys, urllib.request
pool = json.load(urllib.request.urlopen(sys.argv[1] + "/eth/v1/beacon/pool/execution_proofs"))
names = {name for proof in pool["data"] for name in proof["message"]}
sys.exit(0 if {"public_input", "beacon_block_root"} <= names else 1)
PY
  sleep 0.2
done
[ -n "$ready" ] || { echo "no proofs of both revisions" >&2; cat "$home/devnet.log" >&2; exit 1; }

# It keeps what it found in the directory it runs in.
(cd "$home" && "$venv/bin/schemathesis" --config-file "$config" run "$url/openapi.json" "$@")
# The node is still there, and nothing in it has ended.
python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + "/assay/v1/status").read()' "$url"
if grep -rhE 'panicked|"level":"ERROR"' "$home/net" --include='*.log' | head -5 | grep .; then
  echo "a node's log has this" >&2
  exit 1
fi
echo "no 500, nothing that the document does not say"
