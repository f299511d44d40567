// One scenario of revision beta over minibeacon and ethrex: node beta.mjs gloas|boundary
// Environment: ASSAY (binary), ENVELOPE_PROVER (binary), RIG, OUT_DIR, BASE, SLOT, GLOAS, SECONDS_PROVEN, FAULT. Exit code 0 only if
// every check passed.
import { Checks, must, quantiles } from "../lib/network.mjs";
import { writeKeystores } from "../prover/keystore.mjs";
import { Ledger } from "../prover/ledger.mjs";
import { AssayNode } from "../real/lib/node.mjs";
import { gloas } from "../real/lib/rigs.mjs";
import { data, http, sleep, until } from "../real/lib/tools.mjs";
import { AssayProver, EnvelopeProver } from "./processes.mjs";

const PROOFS = "/eth/v1/beacon/execution_proofs";
const name = process.argv[2], both = name === "boundary";
const { ASSAY: binary, RIG: rig, OUT_DIR: out, FAULT = "" } = process.env;
const fault = (what) => FAULT.split(",").includes(what);
const base = Number(process.env.BASE), slotSeconds = Number(process.env.SLOT), provenSeconds = Number(process.env.SECONDS_PROVEN);
const gloasEpoch = Number(process.env.GLOAS || (both ? 3 : 2)), boundary = 8 * gloasEpoch;
const slotMs = slotSeconds * 1000, pids = `${out}/pids`;
/** Who proves which types, and signs for whom; `assay prover` before the boundary and after it, the other after it. */
const assays = { types: both ? [1] : [], validators: [3, 5], keys: fault("other-keys") ? [9] : [3, 5] };
const envelopes = { types: both ? [2, 3] : [1, 2, 3], validator: 7, spoilEvery: fault("no-spoiling") ? 0 : 4 };
const typesAt = (slot) => (slot < boundary ? assays.types : [...assays.types, ...envelopes.types]);
const checks = new Checks(`${out}/observed.json`, name, { slot_s: slotSeconds, seconds: provenSeconds, gloas_epoch: gloasEpoch, fault: FAULT });

const world = gloas({ rig, out, base, slotSeconds, gloasEpoch });
const admin = async (call) => {
  const answer = await http(`${world.beacon}/admin/${call}`, { method: "POST", timeout: 60_000 });
  must(answer.status === 200, `${call}: ${answer.status} ${answer.bytes}`);
};
const head = () => data(`${world.beacon}/eth/v1/beacon/headers/head`);
const headSlot = async () => Number((await head()).header.message.slot);
const nodeFlags = (port, ...more) => ["--beacon-node", world.beacon, "--http-port", String(port), "--listen-address", "127.0.0.1",
  "--port", String(port + 2), "--quic-port", String(port + 3), "--disable-discovery", "--proof-engine-endpoint", "dev",
  "--proof-types", "1,2,3", "--log-level", process.env.ASSAY_TESTNET_LOG ?? "info", ...more];

/** Values of a node's metrics by name with labels. */
async function metrics(node) {
  const text = (await http(node.url("/metrics"))).bytes.toString();
  const rows = text.split("\n").map((line) => /^(assay\S+) (\S+)/.exec(line)).filter(Boolean);
  return rows.map(([, key, value]) => ({ key, value: Number(value) }));
}
const verdicts = async (node, source) => Object.fromEntries((await metrics(node))
  .filter(({ key, value }) => key.startsWith("assay_verification_verdicts_total{") && key.includes(`source="${source}"`) && value > 0)
  .map(({ key, value }) => [key.slice(key.indexOf("{")), value]));

const revision = fault("old-network") ? ["--revision", "alpha"] : [];
checks.say("execution clients, a prover before one of them, beacon node, two nodes");
await world.startExecution();
const prover = new EnvelopeProver("envelope-prover", { out, pids });
const firstUrl = `http://127.0.0.1:${base + 30}`;
prover.start({
  listen: `127.0.0.1:${base + 20}`, upstream: world.execution, beacon: firstUrl, ...envelopes, seed: fault("other-proofs") ? "another" : null,
});
await prover.up();
const first = new AssayNode("first", {
  binary, out, pids,
  // The prover sees what the node passes on to its execution client.
  flags: nodeFlags(base + 30, "--execution-endpoint", fault("no-proxy") ? world.execution : prover.engine,
    "--execution-jwt", world.jwtFile, "--engine-port", String(base + 31), ...revision),
});
first.spawn();
await world.startBeacon(`http://127.0.0.1:${base + 31}`);
await first.up();
const second = new AssayNode("second", {
  binary, out, pids,
  flags: nodeFlags(base + 40, "--peer", first.endpoints.p2p,
    ...(fault("deaf") ? ["--dev-seed", "another"] : []), ...(fault("old-revision") ? ["--revision", "alpha"] : revision)),
});
second.spawn();
await second.up();
const ledger = new Ledger({ beacon: world.beacon, nodes: [first, second], types: typesAt, fork: (slot) => (slot >= boundary ? "gloas" : "fulu") });
await ledger.open();
const other = both ? new AssayProver("assay-prover", { binary, out, pids, port: base + 38 }) : null;
other?.start({ beacon: world.beacon, postTo: firstUrl, types: assays.types, more: revision, ...writeKeystores(out, assays.keys) });

let from = Infinity;
const faults = { reorgs: [], skipped: [], withheld: [] };
await checks.check("starts", async () => {
  await prover.ready();
  must(prover.validator === envelopes.validator, `validator ${prover.validator}`);
  await until("a peer", 60_000, async () => (await second.status()).network.connected_peers > 0);
  await until("the first blocks", 120_000, async () => {
    must(!other?.exit, `assay prover ended: ${JSON.stringify(other?.exit)}`);
    return (await headSlot()) >= (both ? 4 : boundary + 2);
  });
  from = (await headSlot()) + 1;
  return { from_slot: from, validator: prover.validator };
});

// What happens to the chain, at which part of the time.
const began = Date.now();
const wait = async (part) => sleep(Math.max(0, began + part * provenSeconds * 1000 - Date.now()));
async function reorg(depth) {
  if (fault("no-reorgs")) return;
  const done = await world.reorg(depth);
  faults.reorgs.push(done);
  checks.say(`reorg of depth ${depth}: ${JSON.stringify(done).slice(0, 200)}`);
}
async function skip(slots) {
  faults.skipped.push({ after: await headSlot(), slots });
  await admin(`skip?slots=${slots}`);
}
await checks.check("chain", async () => {
  await wait(0.15);
  await skip(2);
  if (both) {
    // Blocks on both sides of the boundary are replaced.
    await until("Gloas", (provenSeconds + 60) * 1000, async () => (await headSlot()) >= boundary + 1);
    await reorg(3);
  } else {
    await wait(0.3);
    await reorg(2);
  }
  await wait(0.6);
  faults.withheld.push(await headSlot());
  if (!fault("no-withholding")) await admin("withhold?slots=2");
  await wait(0.75);
  await reorg(2);
  await wait(1);
  await admin("pause");
  // The last block's proofs.
  await sleep(3 * slotMs);
  return faults;
});

const blocks = ledger.from(from), proven = blocks.filter((b) => b.payload), canonical = new Set();
for (let root = (await head()).root; root;) {
  canonical.add(root);
  const { message } = (await data(`${world.beacon}/eth/v1/beacon/headers/${root}`)).header;
  root = Number(message.slot) > from ? message.parent_root : null;
}
const sides = { before: proven.filter((b) => b.slot < boundary), after: proven.filter((b) => b.slot >= boundary) };
const lacking = (n) => proven.filter((b) => typesAt(b.slot).some((type) => !b.held[n].has(type)))
  .map((b) => ({ slot: b.slot, root: b.root, has: [...b.held[n].keys()] }));
await checks.check("every-block", () => {
  must(proven.length >= 0.6 * provenSeconds / slotSeconds, `${proven.length} blocks only`);
  must([...canonical].every((root) => ledger.blocks.has(root)), "blocks that were not seen");
  const missing = lacking(0);
  must(missing.length === 0, `without all proofs: ${JSON.stringify(missing)}`);
  const orphaned = proven.filter((b) => !canonical.has(b.root)).map((b) => b.slot);
  must(orphaned.length >= 2, "no block was replaced");
  return { blocks: proven.length, of_these_replaced: orphaned, slots: [proven[0].slot, proven.at(-1).slot] };
});
await checks.check("second-node", async () => {
  const missing = lacking(1);
  must(missing.length === 0, `not at the second node: ${JSON.stringify(missing)}`);
  const by = {};
  for (const { source } of ledger.accepted[1].events) by[source] = (by[source] ?? 0) + 1;
  // Envelopes travel by gossip alone.
  const late = ledger.accepted[1].events.filter((event) => event.source !== "gossip" && Number(event.slot) >= boundary);
  must(by.gossip > 0 && late.length === 0, JSON.stringify(by));
  return { proofs_by_source: by };
});
await checks.check("containers", async () => {
  const wrong = [], roots = new Map(prover.posted().map((report) => [report.block_root, report.new_payload_request_root]));
  for (const block of proven) {
    for (const [n, held] of block.held.entries()) {
      for (const [type, { named }] of held) {
        const right = block.slot < boundary ? named.alpha && named.alpha !== block.root : named.beta === block.root;
        if (!right) wrong.push({ slot: block.slot, node: n, type, named });
      }
    }
  }
  must(wrong.length === 0, `of the wrong revision: ${JSON.stringify(wrong)}`);
  // The request root that the prover computed is the one that the node knows the payload by.
  const known = new Map(ledger.accepted[0].events.map((event) => [event.block_root, event.new_payload_request_root]));
  const foreign = [...roots].filter(([block, root]) => known.get(block) !== root);
  must(roots.size > 0 && foreign.length === 0, `request roots that the node does not know: ${JSON.stringify(foreign)}`);
  return { alpha: sides.before.length, beta: sides.after.length };
});
await checks.check("signers", () => {
  const wrong = proven.flatMap((b) => [...b.held[0]].filter(([type, { validator }]) => (assays.types.includes(type)
    ? Number(validator) !== assays.validators[b.slot % assays.validators.length] : Number(validator) !== envelopes.validator))
    .map(([type, { validator }]) => ({ slot: b.slot, type, validator })));
  must(wrong.length === 0, JSON.stringify(wrong));
  return { assay_prover: assays.validators, envelopes: envelopes.validator };
});
await checks.check("none-twice", async () => {
  const twice = [...ledger.counted(0)].filter(([, count]) => count !== 1);
  must(twice.length === 0, `accepted more than once: ${JSON.stringify(twice)}`);
  must(!ledger.from(0).some((b) => b.twice), "two proofs of a type");
  must(prover.failed().length === 0, `payloads that were given up: ${JSON.stringify(prover.failed())}`);
  const named = prover.posted().map((report) => report.block_root);
  must(named.length > 0 && new Set(named).size === named.length, `${named.length} lists, of ${new Set(named).size} blocks`);
  return { payloads: named.length, tries: quantiles(prover.posted().map((report) => report.tries)) };
});
await checks.check("indexed-errors", async () => {
  const spoiled = prover.posted().map((report) => report.spoiled).filter(Boolean);
  must(spoiled.length >= 3, `${spoiled.length} forged envelopes`);
  // The client itself holds each answer against the document, and that the good ones of the list were kept.
  must(spoiled.every((s) => s.code === 400 && s.index === envelopes.types.length), JSON.stringify(spoiled));
  const judged = await verdicts(first, "http");
  const rejected = Object.entries(judged).filter(([key]) => key.includes('verdict="reject"')).reduce((sum, [, value]) => sum + value, 0);
  must(rejected >= spoiled.length, JSON.stringify(judged));
  return { forged: spoiled.length, says: spoiled[0].message, verdicts: judged };
});
await checks.check("no-envelope-no-proof", () => {
  const without = blocks.filter((b) => !b.payload);
  must(without.length >= 2, `${without.length} blocks without envelopes`);
  must(without.every((b) => b.held.every((held) => held.size === 0)), "a proof of a payload that never came");
  return { slots: without.map((b) => b.slot) };
});
if (both) {
  await checks.check("boundary", () => {
    must(sides.before.length > 0 && sides.after.length > 0, "not both forks");
    const replaced = proven.filter((b) => !canonical.has(b.root)).map((b) => b.slot);
    must(replaced.some((slot) => slot < boundary) && replaced.some((slot) => slot >= boundary), `replaced: ${replaced}, boundary ${boundary}`);
    const early = prover.posted().filter((report) => report.slot < boundary);
    must(early.length === 0, `envelopes of Fulu: ${JSON.stringify(early)}`);
    return { before: sides.before.length, after: sides.after.length, boundary_slot: boundary };
  });
}
await checks.check("other-revision", async () => {
  // What names a payload is refused where its fork has envelopes, and says why.
  const block = sides.after.at(-1), answer = await http(first.url(`${PROOFS}/${block.root}`));
  must(answer.json?.data?.length > 0, `no proof of slot ${block.slot} to begin with`);
  const [{ message, ...rest }] = answer.json.data, root = ledger.accepted[0].events.find((e) => e.block_root === block.root)?.new_payload_request_root;
  const { beacon_block_root: _, ...stated } = message;
  const alpha = { ...rest, message: { ...stated, public_input: { new_payload_request_root: root } } };
  const refused = await http(first.url(PROOFS), {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify([answer.json.data[0], alpha]),
  });
  const failures = refused.json?.failures ?? [];
  must(refused.status === 400 && failures.length === 1 && failures[0].index === 1 && /revision/.test(failures[0].message), `${refused.status} ${refused.bytes}`);
  return failures[0];
});
await checks.check("log", () => {
  const complaints = { first: first.complaints(), second: second.complaints(), ...(other ? { prover: other.complaints() } : {}) };
  // Development proofs are told of at start, and so is what is not there yet.
  const own = Object.entries(complaints).flatMap(([who, texts]) => Object.keys(texts).filter((text) => /panick|ERROR/.test(text)
    || (who === "prover" && !/INSECURE|prove nothing/i.test(text))).map((text) => `${who}: ${text}`));
  must(own.length === 0, JSON.stringify(own));
  return complaints;
});
const genesis = Number((await data(`${world.beacon}/eth/v1/beacon/genesis`)).genesis_time);
checks.observed.ms_into_slot = [0, 1].map((n) =>
  quantiles(proven.flatMap((b) => [...b.held[n].values()].map((proof) => proof.at_ms - 1000 * genesis - slotMs * b.slot))));
await ledger.close();
await checks.check("clean-end", async () => {
  const signal = fault("sigkill") ? "SIGKILL" : "SIGTERM", ends = { second: await second.end(signal) };
  if (other) ends.assay_prover = await other.end();
  ends.envelope_prover = await prover.end();
  ends.first = await first.end();
  for (const [which, exit] of Object.entries(ends)) must(exit.code === 0 && exit.ms < 10_000, `${which}: ${JSON.stringify(exit)}`);
  return ends;
});
checks.say(checks.ok ? `every check passed (${checks.observed.checks.length}); ms into the slot ${JSON.stringify(checks.observed.ms_into_slot)}` : "FAILED");
process.exit(checks.ok ? 0 : 1);
