// One scenario of a prover over minibeacon and ethrex: node prover.mjs fulu|gloas|inside
// Environment: ASSAY (binary), RIG, OUT_DIR, BASE, SLOT, GLOAS, SECONDS_PROVEN, FAULT. Exit code 0 only if every check passed.
import { spawn } from "node:child_process";
import fs from "node:fs";
import { Checks, must, quantiles } from "../lib/network.mjs";
import { AssayNode } from "../real/lib/node.mjs";
import { gloas, minibeacon } from "../real/lib/rigs.mjs";
import { data, http, sleep, until } from "../real/lib/tools.mjs";
import { writeKeystores } from "./keystore.mjs";
import { Ledger } from "./ledger.mjs";

const name = process.argv[2];
const { ASSAY: binary, RIG: rig, OUT_DIR: out, FAULT: fault = "" } = process.env;
const base = Number(process.env.BASE), slotSeconds = Number(process.env.SLOT), provenSeconds = Number(process.env.SECONDS_PROVEN);
const gloasEpoch = name === "fulu" ? null : Number(process.env.GLOAS || 3);
const boundary = gloasEpoch === null ? Infinity : 8 * gloasEpoch;
const types = [1, 2], validators = [3, 5], slotMs = slotSeconds * 1000;
const inside = name === "inside";
const pids = `${out}/pids`;
const checks = new Checks(`${out}/observed.json`, name, { slot_s: slotSeconds, seconds: provenSeconds, gloas_epoch: gloasEpoch, fault });

const parts = { rig, out, base, slotSeconds, gloasEpoch };
const world = gloasEpoch === null ? minibeacon(parts) : gloas(parts);
const admin = async (call) => {
  const answer = await http(`${world.beacon}/admin/${call}`, { method: "POST", timeout: 60_000 });
  must(answer.status === 200, `${call}: ${answer.status} ${answer.bytes}`);
  return answer.json;
};
const headSlot = async () => Number((await data(`${world.beacon}/eth/v1/beacon/headers/head`)).header.message.slot);

const keystores = writeKeystores(out, validators);
const keyFlags = ["--keystores", keystores.keys, "--password-file", keystores.password];
const nodeFlags = (port, seed = "assay-dev") => ["--revision", "alpha", "--beacon-node", world.beacon, "--http-port", String(port), "--listen-address", "127.0.0.1",
  "--port", String(port + 2), "--quic-port", String(port + 3), "--disable-discovery", "--proof-engine-endpoint", "dev",
  "--dev-seed", seed, "--proof-types", types.join(","), "--log-level", process.env.ASSAY_TESTNET_LOG ?? "info"];

/** `assay prover` as a process. */
class ProverProcess {
  constructor(name, port, { keys, password }) {
    Object.assign(this, { log: `${out}/${name}.log`, port, keyFlags: ["--keystores", keys, "--password-file", password], exit: null });
  }
  start(postTo) {
    const log = fs.openSync(this.log, "a");
    const flags = ["prover", "--revision", "alpha", "--beacon-node", world.beacon, "--post-to", postTo, "--proof-engine-endpoint", "dev", "--proof-types",
      types.join(","), ...this.keyFlags, "--metrics-port", String(this.port), "--log-level", process.env.ASSAY_TESTNET_LOG ?? "info"];
    this.child = spawn(binary, flags, { stdio: ["ignore", log, log] });
    fs.closeSync(log);
    fs.appendFileSync(pids, `${this.child.pid}\n`);
    this.ended = new Promise((ok) => this.child.on("exit", (code, signal) => ok((this.exit = { code, signal }))));
  }
  get metricsUrl() { return `http://127.0.0.1:${this.port}/metrics`; }
  complaints() { return AssayNode.prototype.complaints.call(this); }
  async end() {
    const began = Date.now();
    this.child.kill(fault === "sigkill" ? "SIGKILL" : "SIGTERM");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), 15_000);
    const exit = await this.ended;
    clearTimeout(timer);
    return { ...exit, ms: Date.now() - began };
  }
}

/** Values of a metrics page by name with labels. */
async function metrics(url) {
  const text = (await http(url)).bytes.toString();
  const rows = text.split("\n").filter((line) => line && !line.startsWith("#")).map((line) => /^(\S+) (\S+)/.exec(line));
  return new Map(rows.filter(Boolean).map(([, key, value]) => [key, Number(value)]));
}

checks.say("execution clients, beacon node, two nodes, a prover");
await world.startExecution();
const first = new AssayNode("first", {
  binary, out, pids,
  flags: [...nodeFlags(base + 30), "--execution-endpoint", world.execution, "--execution-jwt", world.jwtFile, "--engine-port", String(base + 31),
    ...(inside ? ["--prover", ...keyFlags] : [])],
});
first.spawn();
await world.startBeacon(`http://127.0.0.1:${base + 31}`);
await first.up();
const second = new AssayNode("second", {
  binary, out, pids, flags: [...nodeFlags(base + 40, fault === "deaf" ? "another" : undefined), "--peer", first.endpoints.p2p],
});
second.spawn();
await second.up();
const ledger = new Ledger({ beacon: world.beacon, nodes: [first, second], types, fork: (slot) => (slot >= boundary ? "gloas" : "fulu") });
await ledger.open();
const prover = inside ? null : new ProverProcess("prover", base + 38, keystores);
// Where nobody listens.
const nowhere = `http://127.0.0.1:${base + 49}`;
prover?.start(fault === "no-door" ? nowhere : first.endpoints.http);
const metricsUrl = prover ? prover.metricsUrl : first.url("/metrics");

let from = Infinity;
const faults = { reorgs: [], skipped: [], withheld: [] };
await checks.check("starts", async () => {
  await until("both validators are active", 120_000, async () => {
    must(!prover?.exit, `the prover ended: ${JSON.stringify(prover?.exit)}`);
    return (await metrics(metricsUrl)).get("assay_signer_active_validators") === validators.length;
  });
  await until("a peer", 60_000, async () => (await second.status()).network.connected_peers > 0);
  // Deep enough for a reorg.
  await until("the first blocks", 120_000, async () => (await headSlot()) >= 4);
  from = (await headSlot()) + 1;
  return { from_slot: from };
});

// What happens to the chain, at which part of the time.
const began = Date.now(), at = (part) => began + part * provenSeconds * 1000;
const wait = async (part) => sleep(Math.max(0, at(part) - Date.now()));
async function reorg(depth) {
  const done = await world.reorg(depth);
  faults.reorgs.push(done);
  checks.say(`reorg of depth ${depth}: ${JSON.stringify(done).slice(0, 200)}`);
}
async function skip(slots) {
  const head = await headSlot();
  await admin(`skip?slots=${slots}`);
  faults.skipped.push({ after: head, slots });
  checks.say(`${slots} slots stay empty after slot ${head}`);
}
// Another prover with other keys posts the same proofs.
if (fault === "rival") {
  const rival = new ProverProcess("rival", base + 39, writeKeystores(`${out}/rival-keys`, [9]));
  rival.start(first.endpoints.http);
}
if (fault === "deaf-prover") setTimeout(() => { prover.child.kill("SIGSTOP"); setTimeout(() => prover.child.kill("SIGCONT"), 12 * slotMs); }, 4 * slotMs);
await checks.check("chain", async () => {
  await wait(0.15);
  await skip(2);
  if (boundary < Infinity) {
    // Blocks on both sides of the boundary are replaced.
    await until("Gloas", (provenSeconds + 60) * 1000, async () => (await headSlot()) >= boundary + 1);
    await reorg(3);
  } else {
    await wait(0.3);
    await reorg(2);
  }
  await wait(0.5);
  await skip(3);
  if (boundary < Infinity) {
    await wait(0.6);
    faults.withheld.push(await headSlot());
    await admin("withhold?slots=2");
  }
  await wait(0.75);
  await reorg(2);
  await wait(1);
  await admin("pause");
  // The budget of the last block's proofs.
  await sleep(3 * slotMs);
  return faults;
});

const blocks = ledger.from(from), proven = blocks.filter((b) => b.payload);
const canonical = new Set();
for (let root = (await data(`${world.beacon}/eth/v1/beacon/headers/head`)).root; root;) {
  canonical.add(root);
  const { message } = (await data(`${world.beacon}/eth/v1/beacon/headers/${root}`)).header;
  root = Number(message.slot) > from ? message.parent_root : null;
}
await checks.check("every-block", () => {
  const missing = proven.filter((b) => b.held[0].size !== types.length).map((b) => ({ slot: b.slot, root: b.root, has: [...b.held[0].keys()] }));
  must(proven.length >= 0.6 * provenSeconds / slotSeconds, `${proven.length} blocks only`);
  must([...canonical].filter((root) => !ledger.blocks.has(root)).length === 0, "blocks that were not seen");
  must(missing.length === 0, `without all proofs: ${JSON.stringify(missing)}`);
  const orphaned = proven.filter((b) => !canonical.has(b.root));
  must(orphaned.length >= 2, "no block was replaced");
  return { blocks: proven.length, of_these_replaced: orphaned.map((b) => b.slot), slots: [proven[0].slot, proven.at(-1).slot] };
});
await checks.check("none-twice", async () => {
  const twice = [...ledger.counted(0)].filter(([, count]) => count !== 1);
  must(twice.length === 0, `accepted more than once: ${JSON.stringify(twice)}`);
  must(!ledger.from(0).some((b) => b.twice), "two proofs of a type");
  const counts = await metrics(metricsUrl), node = await metrics(first.url("/metrics"));
  const count = (what) => counts.get(`assay_prover_${what}_total`);
  const held = ledger.counted(0).size;
  const seen = { requested: count("requested"), proved: count("proved"), too_late: count("too_late"), failed: count("failed"), accepted: held };
  must(seen.requested === held && seen.proved === held && seen.too_late === 0 && seen.failed === 0, JSON.stringify(seen));
  const source = inside ? "prover" : "http";
  const verdicts = [...node].filter(([key, value]) => key.startsWith("assay_verification_verdicts_total{") && key.includes(`source="${source}"`) && value > 0);
  must(verdicts.length === 1 && verdicts[0][0].includes('verdict="accept"') && verdicts[0][1] === held, JSON.stringify(verdicts));
  return seen;
});
await checks.check("second-node", () => {
  const missing = proven.filter((b) => b.held[1].size !== types.length).map((b) => b.slot);
  must(missing.length === 0, `not at the second node: slots ${missing}`);
  // What gossip announced and did not bring at once may have been asked for meanwhile.
  const by = {};
  for (const { source } of ledger.accepted[1].events) by[source] = (by[source] ?? 0) + 1;
  must(by.gossip > 0 && Object.keys(by).every((source) => ["gossip", "req_resp"].includes(source)), JSON.stringify(by));
  return { proofs_by_source: by };
});
if (boundary < Infinity) {
  await checks.check("boundary", () => {
    const sides = { fulu: proven.filter((b) => b.slot < boundary), gloas: proven.filter((b) => b.slot >= boundary) };
    must(sides.fulu.length > 0 && sides.gloas.length > 0, "not both forks");
    const replaced = proven.filter((b) => !canonical.has(b.root)).map((b) => b.slot);
    must(replaced.some((slot) => slot < boundary) && replaced.some((slot) => slot >= boundary), `replaced: ${replaced}, boundary ${boundary}`);
    return { fulu: sides.fulu.length, gloas: sides.gloas.length, boundary_slot: boundary };
  });
  await checks.check("no-envelope-no-proof", () => {
    const without = blocks.filter((b) => !b.payload);
    must(without.length >= 2, `${without.length} blocks without envelopes`);
    must(without.every((b) => b.held.every((held) => held.size === 0)), "a proof of a payload that never came");
    return { slots: without.map((b) => b.slot) };
  });
}
await checks.check("turns", () => {
  const wrong = proven.filter((b) => [...b.held[0].values()].some((proof) => Number(proof.validator) !== validators[b.slot % validators.length]));
  must(wrong.length === 0, `another validator's turn: slots ${wrong.map((b) => b.slot)}`);
  return { validators };
});
await checks.check("log", () => {
  const complaints = (prover ?? first).complaints();
  // Development proofs are told of at start, and so is an execution client that is not there yet.
  const own = Object.keys(complaints).filter((text) => /prov|proof|sign/i.test(text) && !/INSECURE|prove nothing/i.test(text));
  must(own.length === 0, JSON.stringify(own));
  return complaints;
});
const genesis = Number((await data(`${world.beacon}/eth/v1/beacon/genesis`)).genesis_time);
checks.observed.ms_into_slot = [0, 1].map((n) =>
  quantiles(proven.flatMap((b) => [...b.held[n].values()].map((proof) => proof.at_ms - 1000 * genesis - slotMs * b.slot))));
await ledger.close();
await checks.check("clean-end", async () => {
  const ends = { first: null, second: await second.end() };
  if (prover) ends.prover = await prover.end();
  ends.first = await first.end(inside && fault === "sigkill" ? "SIGKILL" : "SIGTERM");
  for (const [which, exit] of Object.entries(ends)) must(exit.code === 0 && exit.ms < 10_000, `${which}: ${JSON.stringify(exit)}`);
  return ends;
});
checks.say(checks.ok ? `every check passed (${checks.observed.checks.length}); ms into the slot ${JSON.stringify(checks.observed.ms_into_slot)}` : "FAILED");
process.exit(checks.ok ? 0 : 1);
