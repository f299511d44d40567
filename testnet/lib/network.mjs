// Several nodes over the simulated chain, each with a beacon node and an execution client of its own.
import { AssayNode } from "../real/lib/node.mjs";
import { data, sleep, until } from "../real/lib/tools.mjs";
import { SimulatedChain } from "./chain.mjs";

/**
 * `places`: one object a node: {p2p, api, wrap}: address of libp2p, address of its APIs, wrapping command.
 * Every node gets its ports from `base` on, ten each.
 */
export class Network {
  constructor({ binary, chainBinary, out, pids, base, places, slotMs, proofSize, proofDelayMs, proofTypes = [1], listen, flags = () => [] }) {
    Object.assign(this, { binary, out, pids, slotMs, flags, places, proofTypes });
    this.ports = places.map((_, n) => base + 10 * n);
    const engines = places.map((place, n) => `http://${place.api}:${this.ports[n] + 1}`);
    this.chain = new SimulatedChain({ binary: chainBinary, out, pids, engines, listen, slotMs, proofSize, proofDelayMs, proofTypes });
    this.nodes = [];
  }

  /** Flags of a node; `boot` is the ENR of the one node that all know. */
  flagsOf(n, boot) {
    const { p2p, api } = this.places[n], port = this.ports[n];
    const { beacon, execution } = this.chain.addresses;
    return ["--beacon-node", beacon[n], "--execution-endpoint", execution[n], "--execution-jwt", this.chain.jwt,
      "--engine-address", api, "--engine-port", String(port + 1), "--http-address", api, "--http-port", String(port + 2),
      "--listen-address", p2p, "--port", String(port + 3), "--quic-port", String(port + 4),
      "--proof-engine-endpoint", "dev", "--proof-types", this.proofTypes.join(","), "--log-level", process.env.ASSAY_TESTNET_LOG ?? "info",
      ...(boot ? ["--boot-nodes", boot] : []), ...this.flags(n)];
  }

  /** Starts every node: the first, then all others, which know it alone. */
  async start({ boot = true } = {}) {
    await this.chain.up();
    for (let n = 0; n < this.places.length; n++) {
      const enr = n > 0 && boot ? this.nodes[0].endpoints.enr : null;
      const node = new AssayNode(`node-${n + 1}`, {
        binary: this.binary, out: this.out, pids: this.pids, flags: this.flagsOf(n, enr), wrap: this.places[n].wrap,
      });
      this.nodes.push(node);
      node.spawn();
      if (n === 0) await node.up();
    }
    await Promise.all(this.nodes.map((node) => node.up()));
  }

  /** Waits until each of `nodes` has as many peers; ms from now for each. */
  async found(nodes, count, ms) {
    const began = Date.now();
    return Promise.all(nodes.map((node) =>
      until(`${node.name} has ${count} peers`, ms, async () => {
        const peers = (await node.status()).network.connected_peers;
        if (peers < count) throw Error(`${peers} so far`);
        return { ms: Date.now() - began, peers };
      })));
  }

  /** Slots from `first` on that were proven and posted, and are not at `node`. */
  async missing(node, blocks) {
    const missing = [];
    for (const block of blocks) {
      const proofs = await node.proofs(block.block_root).catch(() => []);
      if (proofs.length === 0) missing.push(block.slot);
    }
    return missing;
  }

  /** Waits until every node has a proof of every block; what is missing, where it does not come to that. */
  async hold(nodes, blocks, ms) {
    const began = Date.now(), left = new Map(nodes.map((node) => [node, blocks]));
    const took = {};
    while (true) {
      for (const [node, open] of left) {
        const missing = new Set(await this.missing(node, open));
        if (missing.size === 0) {
          left.delete(node);
          took[node.name] = Date.now() - began;
        } else left.set(node, open.filter((block) => missing.has(block.slot)));
      }
      if (left.size === 0) return took;
      if (Date.now() - began > ms) {
        const what = [...left].map(([node, open]) => `${node.name}: ${open.length} (slots ${open.slice(0, 5).map((b) => b.slot)}...)`);
        throw Error(`after ${ms} ms proofs are missing at ${what.join("; ")}`);
      }
      await sleep(500);
    }
  }

  /** Milliseconds from the POST of a proof to when each node had it, of all nodes and blocks; {p50, p95, max, count}. */
  async times(nodes, blocks) {
    const all = [], last = [];
    const seen = await Promise.all(nodes.map((node) => data(node.url("/assay/v1/payloads?limit=4096"))));
    for (const block of blocks) {
      const of = seen.map((rows) => rows.find((row) => row.new_payload_request_root === block.request_root)?.proofs[0]?.at_ms);
      const began = Math.min(...of.filter(Boolean));
      const times = of.filter(Boolean).map((at) => at - began);
      if (of.every(Boolean)) last.push(Math.max(...times));
      all.push(...times);
    }
    return { each: quantiles(all), last_node: quantiles(last) };
  }

  async end() {
    await Promise.all(this.nodes.filter((node) => !node.exit).map((node) => node.end()));
    await this.chain.end();
  }
}

export function quantiles(times) {
  if (times.length === 0) return null;
  const sorted = [...times].sort((a, b) => a - b);
  const at = (percent) => sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)];
  return { count: sorted.length, p50: at(50), p95: at(95), max: sorted.at(-1) };
}

/** Checks, one after the other, into a file: `observed.json` of a scenario. */
export class Checks {
  constructor(file, name, extra = {}) {
    Object.assign(this, { file, name, observed: { scenario: name, started: new Date().toISOString(), ...extra, checks: [] } });
  }
  say(text) { console.log(`${new Date().toISOString().slice(11, 19)} ${this.name}: ${text}`); }
  async check(id, test) {
    const began = Date.now();
    let row;
    try { row = { check: id, ok: true, observed: (await test()) ?? null }; }
    catch (error) { row = { check: id, ok: false, why: error.message }; }
    this.observed.checks.push({ ...row, ms: Date.now() - began });
    this.write();
    this.say(row.ok ? `ok   ${id} ${JSON.stringify(row.observed)?.slice(0, 300)}` : `FAIL ${id}: ${row.why}`);
    return row.ok;
  }
  get ok() { return this.observed.checks.length > 0 && this.observed.checks.every((row) => row.ok); }
  async write() {
    const fs = await import("node:fs");
    fs.writeFileSync(this.file, `${JSON.stringify({ ...this.observed, ok: this.ok }, null, 1)}\n`);
  }
}

export function must(condition, what) { if (!condition) throw Error(what); }
