#!/usr/bin/env bash
# The mesh measurement with a link of its own for every node: network namespaces on one bridge, each link shaped with
# tbf in both directions. Run as root: testnet/mesh/shaped.sh [--rate 50mbit] [--nodes 16] [options of the bench]
# Options of the bench: crates/network/benches/mesh/main.rs. MESH_BIN names a bench that is built already.
set -euo pipefail

cd "$(dirname "$0")/../.."
rate=50mbit
nodes=16
rest=()
while [ $# -gt 0 ]; do
  case "$1" in
    --rate) rate=$2; shift 2 ;;
    --nodes) nodes=$2; shift 2 ;;
    *) rest+=("$1"); shift ;;
  esac
done
[ "$(id -u)" = 0 ] || { echo "network namespaces need root" >&2; exit 1; }

bin=${MESH_BIN:-}
if [ -z "$bin" ]; then
  bin=$(cargo build --release -p assay-network --bench mesh --message-format=json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/mesh-[^"]*\)".*/\1/p' | tail -1)
fi
[ -x "$bin" ] || { echo "the bench was not built" >&2; exit 1; }

# A prefix of this run's own, so that two runs and whatever else is there stay apart.
prefix="am$$n"
bridge="am$$"
subnet=10.213.77
clean() {
  for ((i = 0; i < nodes; i++)); do ip netns del "$prefix$i" 2>/dev/null || true; done
  ip link del "$bridge" 2>/dev/null || true
}
trap clean EXIT

ip link add "$bridge" type bridge
ip link set "$bridge" up
for ((i = 0; i < nodes; i++)); do
  ip netns add "$prefix$i"
  ip link add "${bridge}v$i" type veth peer name eth0 netns "$prefix$i"
  ip link set "${bridge}v$i" master "$bridge" up
  ip -n "$prefix$i" addr add "$subnet.$((i + 1))/24" dev eth0
  ip -n "$prefix$i" link set lo up
  ip -n "$prefix$i" link set eth0 up
  # Up, where the node sends; and down, where the bridge sends to it.
  ip netns exec "$prefix$i" tc qdisc add dev eth0 root tbf rate "$rate" burst 128kb latency 200ms
  tc qdisc add dev "${bridge}v$i" root tbf rate "$rate" burst 128kb latency 200ms
done
echo "$nodes namespaces, links of $rate each way (tbf)"
"$bin" --nodes "$nodes" --namespaces "$prefix" --subnet "$subnet" ${rest[@]+"${rest[@]}"}
