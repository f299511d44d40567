// One scenario of links that fail: node partition.mjs cut|lossy
// Environment: ASSAY, CHAIN (binaries), OUT_DIR, DOWN, HEAL, FAULT. Exit code 0 only if every check passed.
import { spawn } from "node:child_process";
import fs from "node:fs";
import { run, sleep, until } from "../real/lib/tools.mjs";
import { Checks, Network, must } from "../lib/network.mjs";
import { HOST, RATE, apiAddress, divided, inside, link, lossy, p2pAddress, trunk } from "./links.mjs";

const name = process.argv[2];
const { ASSAY: binary, CHAIN: chainBinary, OUT_DIR: out, FAULT: fault = "" } = process.env;
const down = Number(process.env.DOWN) * 1000;
const COUNT = 4;
const DELAY_MS = 100, LOSS = 0.01;
const { slotMs, proofSize } = { cut: { slotMs: 4000, proofSize: 100_000 }, lossy: { slotMs: 6000, proofSize: 100_000 } }[name];
/** After a cut everything is everywhere within so many ms. */
const HEALED = Number(process.env.HEAL) * 1000;

const pids = `${out}/pids`;
const checks = new Checks(`${out}/observed.json`, name, { nodes: COUNT, slot_ms: slotMs, proof_size: proofSize, rate: RATE, fault });
let wires = { by: "veth", end: async () => null };
if (name === "cut") divided(COUNT);
else {
  const worse = { "no-delay": { delayMs: 0, loss: 0 }, unusable: { delayMs: DELAY_MS, loss: 0.7 } }[fault] ?? {};
  wires = await lossy(COUNT, { delayMs: DELAY_MS, loss: LOSS, ...worse, pids: (pid) => fs.appendFileSync(pids, `${pid}\n`) });
  checks.observed.delay_ms = DELAY_MS;
  checks.observed.loss = LOSS;
}
checks.observed.links_by = wires.by;
checks.say(`links by ${wires.by === "veth" ? "veth and tbf" : `${wires.by} and tbf`}`);

const network = new Network({
  binary, chainBinary, out, pids, base: 9000, slotMs, proofSize, proofDelayMs: 300, listen: HOST,
  places: Array.from({ length: COUNT }, (_, i) => ({ p2p: p2pAddress(i + 1), api: apiAddress(i + 1), wrap: inside(i + 1) })),
});
const { chain } = network;

/** What the link from node 1 to the last really does. */
async function probe() {
  const probe = new URL("probe.mjs", import.meta.url).pathname;
  const [program, ...wrap] = inside(COUNT);
  const server = spawn(program, [...wrap, "node", probe, "serve", p2pAddress(COUNT), "7"], { stdio: ["ignore", "pipe", "inherit"] });
  fs.appendFileSync(pids, `${server.pid}\n`);
  try {
    await until("the probe", 10_000, () => new Promise((ok) => server.stdout.once("data", () => ok(true))));
    const [first, ...inner] = inside(1);
    const ask = async (...args) => JSON.parse(await run(first, [...inner, "node", probe, ...args], { timeout: 60_000 }));
    return { ...(await ask("echo", p2pAddress(COUNT), "7", "500")), ...(name === "cut" ? await ask("bulk", p2pAddress(COUNT), "7", "20000000") : {}) };
  } finally {
    server.kill("SIGKILL");
  }
}

async function passed(nodes, blocks, within) {
  must(blocks.length > 0, "no block");
  await network.hold(nodes, blocks, within + 20_000);
  const times = await network.times(nodes, blocks);
  must(times.last_node.max <= within, `a proof took ${times.last_node.max} ms from the first node to the last`);
  return { proofs: blocks.length, ...times };
}

const some = async (slots) => {
  const before = chain.blocks.length;
  await chain.begin(slots, slotMs).done();
  const blocks = chain.blocks.slice(before);
  await until("the proofs of all blocks are posted", 20_000, () => blocks.every((block) => chain.proven.has(block.slot)));
  // The last slot's proofs are still on their way.
  await sleep(1500);
  return blocks;
};

async function start() {
  await network.start();
  await checks.check("found", async () => {
    const found = await network.found(network.nodes, COUNT - 1, 90_000);
    return { ms: found.map((f) => f.ms), peers: found.map((f) => f.peers) };
  });
  // Proofs come in on both sides, slot about.
  chain.prove([network.nodes[0].endpoints.http, network.nodes[COUNT - 1].endpoints.http]);
}

/** Cuts, goes on on both sides for `down`, joins again, and waits until all hold everything. */
async function cutAndHeal(what, cut, join, sides) {
  const slots = Math.ceil(down / slotMs);
  if (fault !== "no-cut") cut();
  checks.say(`${what}: down for ${slots} slots`);
  const blocks = await some(slots);
  await checks.check(`${what}-divided`, async () => {
    // Each side has what was posted there, and nothing of the other's.
    const result = {};
    for (const [side, nodes] of Object.entries(sides)) {
      const urls = new Set(nodes.map((node) => node.endpoints.http));
      const here = blocks.filter((block) => urls.has(chain.proven.get(block.slot)?.by));
      const there = blocks.filter((block) => !here.includes(block));
      must(here.length > 0, `no proof was posted ${side}`);
      await network.hold(nodes, here, 15_000);
      for (const node of nodes) {
        const missing = await network.missing(node, there);
        must(missing.length === there.length, `${node.name} has ${there.length - missing.length} proofs from beyond the cut`);
      }
      result[side] = { posted: here.length, beyond: there.length };
    }
    return result;
  });
  if (fault !== "stay-down") join();
  const began = Date.now();
  await checks.check(`${what}-healed`, async () => {
    const took = await network.hold(network.nodes, blocks, HEALED);
    return { ms: took };
  });
  await checks.check(`${what}-passed-again`, async () => ({ since_ms: Date.now() - began, ...(await passed(network.nodes, await some(4), slotMs)) }));
  await checks.check(`${what}-peers-again`, async () => {
    const found = await network.found(network.nodes, COUNT - 1, HEALED);
    return { since_ms: Date.now() - began, peers: found.map((f) => f.peers) };
  });
}

try {
  await checks.check("links", async () => {
    const seen = await probe();
    if (name === "cut") must(seen.mbit_per_second > 25 && seen.mbit_per_second < 55, `${seen.mbit_per_second} Mbit/s`);
    else {
      must(seen.rtt_ms.p50 >= 2 * DELAY_MS && seen.rtt_ms.p50 < 2 * DELAY_MS + 60, `round trip ${JSON.stringify(seen)}`);
      must(seen.lost > 0 && seen.lost < 0.06, `of datagrams there and back ${seen.lost} are lost`);
    }
    return seen;
  });
  await start();
  if (name === "cut") {
    await checks.check("passed", async () => passed(network.nodes, await some(5), slotMs));
    const half = COUNT / 2;
    await cutAndHeal("trunk", () => trunk(false), () => trunk(true), { left: network.nodes.slice(0, half), right: network.nodes.slice(half) });
    await cutAndHeal("one-node", () => link(COUNT, false), () => link(COUNT, true), { others: network.nodes.slice(0, -1), alone: network.nodes.slice(-1) });
  } else {
    await checks.check("passed", async () => passed(network.nodes, await some(12), 2 * slotMs));
    await checks.check("still-connected", async () => {
      const found = await network.found(network.nodes, COUNT - 1, 30_000);
      return { peers: found.map((f) => f.peers) };
    });
  }
  await checks.check("clean-end", async () => {
    const complaints = {};
    for (const node of network.nodes) {
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
  await network.end().catch(() => {});
  checks.observed.relay = await wires.end();
  await checks.write();
}
process.exit(checks.ok ? 0 : 1);
