// One scenario of nodes that find each other: node discovery.mjs two|idle|twenty|absent|behind-finality
// Environment: ASSAY, CHAIN (binaries), OUT_DIR, BASE, SLOTS, FAULT. Exit code 0 only if every check passed.
import fs from "node:fs";
import { sleep, until } from "../real/lib/tools.mjs";
import { Checks, Network, must } from "../lib/network.mjs";

const name = process.argv[2];
const { ASSAY: binary, CHAIN: chainBinary, OUT_DIR: out, FAULT: fault = "" } = process.env;
const base = Number(process.env.BASE), away = Number(process.env.SLOTS);
const scenario = {
  two: { nodes: 2, slotMs: 2000, slots: 8 },
  idle: { nodes: 2, slotMs: 6000, slots: 20 },
  twenty: { nodes: 20, slotMs: 6000, slots: 8 },
  absent: { nodes: 4, slotMs: 1000, slots: 10 },
  "behind-finality": { nodes: 4, slotMs: 1000, slots: 10, finality: true },
}[name];
const { nodes: count, slotMs } = scenario;
/** A proof reaches every node within so many ms of the first that had it. */
const WITHIN = 4000;
/** All have found each other within so many ms of the last one's start. */
const FOUND = 60_000;
/** An idle node takes at most so many MiB. */
const IDLE_MIB = 100;
/** A node that comes back has everything within so many ms. */
const BACK = 120_000;

const checks = new Checks(`${out}/observed.json`, name, { nodes: count, slot_ms: slotMs, fault });
const network = new Network({
  binary, chainBinary, out, pids: `${out}/pids`, base, slotMs, proofSize: fault === "busy" ? 4_000_000 : 20_000, proofDelayMs: 300,
  places: Array.from({ length: count }, () => ({ p2p: "127.0.0.1", api: "127.0.0.1" })),
  flags: (n) => [
    // A star: nobody looks for anybody, all hang on the boot node.
    ...(fault === "star" ? ["--disable-discovery", ...(n > 0 ? ["--peer", network.nodes[0].endpoints.p2p] : [])] : []),
    // It wants what lies before the serve range too, which is nobody's to serve.
    ...(scenario.finality && n === count - 1 && fault !== "contented" ? ["--retention-epochs", "1000"] : []),
    ...(fault === "deaf" && n === count - 1 ? ["--dev-seed", "another"] : []),
  ],
});
const { chain } = network;

/** The proofs of these blocks are everywhere, and came soon. */
async function passed(nodes, blocks) {
  must(blocks.length > 0, "no block");
  await network.hold(nodes, blocks, 30_000);
  const times = await network.times(nodes, blocks);
  must(times.last_node.max <= WITHIN, `a proof took ${times.last_node.max} ms from the first node to the last`);
  return { proofs: blocks.length, ...times };
}

async function findEachOther() {
  checks.say(`${count} nodes start`);
  const began = Date.now();
  await network.start({ boot: fault !== "no-boot-node" });
  const started = Date.now() - began;
  // Of twenty nobody needs to know everybody.
  const wanted = Math.min(count - 1, 5);
  await checks.check("found", async () => {
    const found = await network.found(network.nodes, wanted, FOUND);
    return { started_ms: started, wanted, ms: found.map((f) => f.ms), peers: found.map((f) => f.peers) };
  });
}

async function together() {
  await findEachOther();
  if (fault !== "mute") chain.prove([network.nodes.at(-1).endpoints.http]);
  await chain.begin(scenario.slots, slotMs).done();
  await checks.check("passed", () => passed(network.nodes, chain.blocks));
  if (count <= 2) return;
  // The boot node is one among others.
  const [boot, ...others] = network.nodes;
  await boot.kill();
  await sleep(slotMs);
  const before = chain.blocks.length;
  await chain.begin(3, slotMs).done();
  await checks.check("without-boot-node", () => passed(others, chain.blocks.slice(before)));
}

/** Resident memory of a node in MiB: now, and at most since it was started. */
function memory(node) {
  const status = fs.readFileSync(`/proc/${node.child.pid}/status`, "utf8");
  const mib = (field) => Math.round(Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)[1]) / 102.4) / 10;
  return { now: mib("VmRSS"), most: mib("VmHWM") };
}

/** Two minutes of a chain without proofs. */
async function idle() {
  await findEachOther();
  if (fault === "busy") chain.prove([network.nodes[0].endpoints.http]);
  await chain.begin(scenario.slots, slotMs).done();
  await checks.check("memory", async () => {
    const taken = Object.fromEntries(network.nodes.map((node) => [node.name, memory(node)]));
    for (const node of network.nodes) {
      must((await node.status()).head_slot >= scenario.slots / 2, `${node.name} does not follow the chain`);
      must(taken[node.name].most <= IDLE_MIB, `${node.name} took ${taken[node.name].most} MiB`);
    }
    return taken;
  });
}

/** Every proof that a peer of `node` serves is at `node`, byte for byte; else what is not. */
async function holdsWhatPeersServe(node, peers, blocks) {
  let served = 0;
  const lacking = [];
  for (const block of blocks) {
    const theirs = await Promise.all(peers.map((peer) => peer.proofsSsz(block.block_root).catch(() => Buffer.alloc(0))));
    const proof = theirs.find((bytes) => bytes.length > 200);
    if (!proof) continue;
    served += 1;
    const ours = await node.proofsSsz(block.block_root).catch(() => Buffer.alloc(0));
    if (!ours.equals(proof)) lacking.push(block.slot);
  }
  return { served, lacking };
}

async function absent() {
  if (!scenario.finality) chain.finality(false);
  await findEachOther();
  chain.prove([network.nodes[1].endpoints.http]);
  await chain.begin(scenario.slots, slotMs).done();
  await checks.check("passed", () => passed(network.nodes, chain.blocks));
  const node = network.nodes.at(-1), peers = network.nodes.slice(0, -1);
  const code = (await node.end()).code;
  const from = chain.blocks.length;
  checks.say(`${node.name} is down for ${away} slots`);
  await chain.begin(away, slotMs).done();
  const missed = chain.blocks.slice(from);
  await checks.check("peers-hold", async () => {
    must(code === 0, `${node.name} ended with ${code}`);
    const { served } = await holdsWhatPeersServe(peers[0], peers, missed);
    must(scenario.finality ? served > 0 && served < missed.length : served === missed.length, `peers serve ${served} of ${missed.length}`);
    return { missed: missed.length, served };
  });
  const began = Date.now();
  if (fault === "refuses") node.flags = [...node.flags, "--dev-seed", "another"];
  node.spawn();
  await node.up();
  const up = Date.now() - began;
  await checks.check("holds-all", async () => {
    let last;
    await until("every proof that peers serve", BACK, async () => {
      last = await holdsWhatPeersServe(node, peers, missed);
      must(last.served > 0, "peers serve nothing");
      if (last.lacking.length > 0) throw Error(`${last.lacking.length} of ${last.served} missing, slots ${last.lacking.slice(0, 5)}...`);
      return true;
    });
    const status = await node.status();
    return { ms: Date.now() - began, up_ms: up, ...last, by_source: status.proofs.by_source, sync: status.sync ?? null };
  });
  if (scenario.finality) {
    await checks.check("not-obtainable", () => until("what nobody serves is told as not obtainable", BACK, async () => {
      const { sync } = await node.status();
      const told = `${sync.missing} missing, ${sync.not_obtainable} of them not obtainable`;
      if (!(sync.not_obtainable > 0 && sync.missing === sync.not_obtainable)) throw Error(told);
      const errors = Object.keys(node.complaints()).filter((text) => text.includes("ERROR"));
      must(errors.length === 0, `it is told as an error: ${errors[0]}`);
      return { ms: Date.now() - began, missing: sync.missing, not_obtainable: sync.not_obtainable };
    }));
  }
  const before = chain.blocks.length;
  await chain.begin(5, slotMs).done();
  await checks.check("passed-again", () => passed(network.nodes, chain.blocks.slice(before)));
}

try {
  await { two: together, twenty: together, idle, absent, "behind-finality": absent }[name]();
  await checks.check("clean-end", async () => {
    const complaints = {};
    for (const node of network.nodes) {
      if (node.exit?.signal === "SIGKILL") continue;
      const exit = await node.end();
      must(exit.code === 0, `${node.name}: ${JSON.stringify(exit)}`);
      for (const [text, times] of Object.entries(node.complaints())) complaints[text] = (complaints[text] ?? 0) + times;
    }
    must(!Object.keys(complaints).some((text) => text.includes("panicked")), JSON.stringify(complaints));
    checks.observed.complaints = complaints;
  });
} catch (error) {
  await checks.check("ran", async () => { throw error; });
} finally {
  await network.end();
  await checks.write();
}
process.exit(checks.ok ? 0 : 1);
