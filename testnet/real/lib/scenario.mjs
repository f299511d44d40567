// One scenario: real execution clients, a real beacon node, and two nodes of Assay: `gate` between the beacon node and its
// execution client, `other` beside a beacon node, without an execution client. Proofs are posted to `other`.
//   node scenario.mjs minibeacon|gloas|lodestar      environment: ASSAY, RIG, OUT, BASE, SLOT; ASSAY_REAL_FAULT
// Writes OUT/observed.json; exit code 0 only if every check passed.
import fs from "node:fs";
import { CHECKS, fault, faults } from "./faults.mjs";
import { AssayNode } from "./node.mjs";
import { Blocks, Prover } from "./prover.mjs";
import { gloas, lodestar, maskingProxy, minibeacon } from "./rigs.mjs";
import { data, engineCall, run, sleep, token, until } from "./tools.mjs";

const name = process.argv[2];
const { ASSAY: binary, RIG: rig, OUT: out } = process.env;
const base = Number(process.env.BASE), slotSeconds = Number(process.env.SLOT);
const pids = `${out}/pids`;
/** Bound of one wait, in slots of this scenario and seconds for a busy machine. */
const patience = (slots) => (slots * slotSeconds + 30) * 1000;

fs.mkdirSync(out, { recursive: true });
const observed = { scenario: name, started: new Date().toISOString(), faults, checks: [] };
const write = () => fs.writeFileSync(`${out}/observed.json`, `${JSON.stringify(observed, null, 1)}\n`);
const say = (text) => console.log(`${new Date().toISOString().slice(11, 19)} ${name}: ${text}`);

/** One check: `test` throws, or gives what was observed. */
async function check(id, test) {
  const started = Date.now();
  let row;
  try { row = { check: id, ok: true, observed: await test() }; }
  catch (error) { row = { check: id, ok: false, why: error.message }; }
  observed.checks.push({ ...row, ms: Date.now() - started, fault: CHECKS[id].fault });
  write();
  say(row.ok ? `ok   ${id}` : `FAIL ${id}: ${row.why}`);
  return row.ok;
}
function must(condition, what) { if (!condition) throw Error(what); }
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// ---- the world
let blocks;
const world = { minibeacon, gloas, lodestar }[name]({ rig, out, base, slotSeconds, blocks: () => blocks.byRoot.values() });
const enginePort = base + 30;
const engineUrl = `http://127.0.0.1:${enginePort}`;
const common = (ports) => ["--listen-address", "127.0.0.1", "--port", String(ports), "--http-port", "0",
  "--proof-engine-endpoint", "dev", "--proof-types", "1,2", "--retention-epochs", "64", "--log-level", process.env.ASSAY_REAL_LOG ?? "info"];
const gateFlags = (policy, port = enginePort) => [...common(base + 31), "--beacon-node", world.beacon,
  "--execution-endpoint", world.execution, "--execution-jwt", world.jwtFile, "--engine-port", String(port), "--import-policy", policy];
const gate = new AssayNode("gate", { binary, out, pids, flags: gateFlags(fault("observe") ? "observe" : "require-proofs") });
const other = new AssayNode("other", { binary, out, pids, flags: null });

let mask = null;
say("execution clients start");
await world.startExecution();
const secret = fs.readFileSync(world.jwtFile, "utf8");
gate.spawn();
let called = engineUrl;
if (fault("mask")) {
  mask = await maskingProxy({ rig, out, port: base + 32, upstream: engineUrl, pids });
  called = mask.url;
}
say("beacon node starts");
await world.startBeacon(called);
await gate.up();
other.flags = [...common(base + 41), "--beacon-node", world.otherBeacon, ...(fault("no-peer") ? [] : ["--peer", gate.endpoints.p2p])];
other.spawn();
await other.up();
observed.versions = { assay: (await gate.status()).version, beacon: await world.version() };
observed.fork = world.fork;
say(`up: ${observed.versions.beacon}, gate ${gate.endpoints.http}, other ${other.endpoints.http}`);

// ---- blocks and proofs
blocks = new Blocks({
  binary, beacon: world.otherBeacon, work: `${out}/blocks`, preset: world.preset,
  alter: (bytes, encoding) => (fault("flip-block") ? flipStateRoot(bytes, encoding) : bytes),
});
/** Flips a byte of the payload, found by the block hash that stands 264 bytes or more behind it: its state root. */
function flipStateRoot(bytes, encoding) {
  if (encoding === "json") {
    const block = JSON.parse(bytes.toString());
    const payload = block.message.body.execution_payload;
    payload.state_root = payload.state_root.slice(0, -1) + (payload.state_root.endsWith("0") ? "1" : "0");
    return Buffer.from(JSON.stringify(block));
  }
  // The payload is the container that begins with the parent's hash; the fault needs the chain's, found from the block before.
  const parents = [...blocks.byRoot.values()].map((b) => Buffer.from(b.block_hash.slice(2), "hex"));
  const copy = Buffer.from(bytes);
  for (const parent of parents) {
    const at = copy.indexOf(parent);
    if (at >= 0) copy[at + 32 + 20] ^= 1; // parent_hash, fee_recipient, state_root
  }
  return copy;
}
const prover = new Prover({ binary, beacon: world.otherBeacon, work: `${out}/proofs`, seed: fault("wrong-seed") ? "another" : undefined });
const posted = new Map(); // block root -> {slot, bytes, at_ms, status}
const held = new Set();   // slots whose blocks get no proof
let proving = false;
let posting = Promise.resolve(); // what is under way
let ended = false;
let problem = null;       // of the prover
const HONEST = 3;

async function post(block) {
  const bytes = await prover.prove(block, { validator: HONEST });
  const record = { slot: block.slot, root: block.root, request_root: block.new_payload_request_root, bytes, at_ms: Date.now(), status: null };
  if (!fault("mute-prover")) {
    const answer = await other.post(bytes);
    record.status = answer.status;
    record.answer = answer.json;
    record.took_ms = Date.now() - record.at_ms;
  }
  return record;
}
const prove = (async () => {
  while (!ended) {
    if (proving) {
      try {
        for (const block of await blocks.refresh()) {
          if (!proving || ended) break;
          if (posted.has(block.root) || held.has(block.slot)) continue;
          posting = post(block);
          const record = await posting;
          // 503: this node's own view is a moment behind.
          if (record.status !== 503) posted.set(block.root, record);
          else { observed.post_again = (observed.post_again ?? 0) + 1; await sleep(200); break; }
        }
        problem = null;
      } catch (error) { problem = error.message; }
    }
    await sleep(150);
  }
})();
const pauseProver = async () => { proving = false; await posting.catch(() => {}); await sleep(100); };

/** Rows of the gate for the blocks of the chain, oldest first: [{block, row}]. */
async function rows(chain) {
  const found = await gate.payloads();
  return chain.map((block) => ({ block, row: found.get(block.block_hash) })).filter(({ row }) => row);
}
const verdicts = (list) => list.map(({ block, row }) => `${block.slot} ${row.verdict}`).join(", ");

// ---- the checks
await check("peers", async () => {
  const counts = await until("each node has a peer", patience(4), async () => {
    const c = [(await gate.status()).network.connected_peers, (await other.status()).network.connected_peers];
    if (c.includes(0)) throw Error(`peers ${c}`);
    return c;
  });
  return { gate: counts[0], other: counts[1] };
});

await check("jwt-refused", async () => {
  const wrong = fault("leaked-secret") ? secret : "11".repeat(32);
  const now = Math.floor(Date.now() / 1000);
  const calls = { none: null, wrong: token(wrong), stale: token(fault("leaked-secret") ? secret : wrong, now - 3600), garbage: "x.y.z" };
  if (!fault("leaked-secret")) calls.stale = token(secret, now - 3600);
  const seen = {};
  for (const [kind, bearer] of Object.entries(calls)) {
    const answer = await engineCall(engineUrl, bearer, "engine_exchangeCapabilities", [[]]);
    seen[kind] = answer.status;
    must(answer.status === 401, `a call with ${kind} token: HTTP ${answer.status}, expected 401`);
  }
  const good = await engineCall(engineUrl, token(secret), "engine_exchangeCapabilities", [[]]);
  must(good.status === 200 && Array.isArray(good.json?.result), `the right token: HTTP ${good.status}`);
  return { ...seen, right: good.status, capabilities: good.json.result.length };
});

await check("syncing-first", async () => {
  const seen = await until("three payloads at the gate", patience(8), async () => {
    const list = await rows(await blocks.refresh());
    return list.filter(({ row }) => row.execution_status === "VALID").length >= 3 && list;
  });
  for (const { block, row } of seen) {
    must(row.verdict === "SYNCING" && row.told_syncing_first && !row.told_valid, `slot ${block.slot} without a proof: ${JSON.stringify(row)}`);
  }
  const view = await world.view();
  for (const { block } of seen) must(view.get(block.root)?.optimistic, `slot ${block.slot}: the beacon node takes it for valid`);
  return { payloads: seen.length, held_by: [...new Set(seen.map(({ row }) => row.held_by))], beacon: [...view.values()].slice(-3) };
});

const gateEvents = gate.listen(), otherEvents = other.listen();
await Promise.all([gateEvents.open, otherEvents.open]);
proving = true;
let target = null;
await check("turned-valid", async () => {
  const list = await until("payloads of the fork that turned VALID", patience(world.firstSlot + 12), async () => {
    if (problem) throw Error(problem);
    const all = await rows(await blocks.refresh());
    const mine = all.filter(({ block, row }) => block.slot >= world.firstSlot && row.verdict === "VALID" && row.told_syncing_first);
    if (mine.length >= 3 && (!world.forkchoiceValidates || mine.filter(({ row }) => row.told_valid).length >= 2)) return all;
    throw Error(verdicts(all.slice(-6)));
  });
  target = list.filter(({ row }) => row.verdict === "VALID").at(-1).block;
  must(list.some(({ block }) => block.fork === world.fork), `no block of ${world.fork}`);
  return { payloads: list.length, up_to_slot: target.slot, last: list.slice(-4).map(({ row }) => row) };
});

await check("posted", async () => {
  must(posted.size > 0, `nothing was posted (${problem})`);
  const bad = [...posted.values()].filter((p) => p.status !== 200);
  must(bad.length === 0, `${bad.length} of ${posted.size} refused: ${bad[0]?.status} ${JSON.stringify(bad[0]?.answer)}`);
  return { posted: posted.size };
});

await check("request-root", async () => {
  await blocks.refresh();
  const found = await gate.payloads();
  const pairs = [...blocks.byRoot.values()].map((block) => ({ block, row: found.get(block.block_hash) })).filter(({ row }) => row);
  must(pairs.length >= 3, "too few payloads to compare");
  for (const { block, row } of pairs) {
    must(row.new_payload_request_root === block.new_payload_request_root,
      `slot ${block.slot}: by the Engine API ${row.new_payload_request_root}, by the block ${block.new_payload_request_root}`);
  }
  return { compared: pairs.length, encodings: [...new Set(pairs.map(({ block }) => block.encoding))], forks: [...new Set(pairs.map(({ block }) => block.fork))] };
});

await check("sse-gossip", async () => {
  const wanted = [...posted.values()].slice(0, 5);
  must(wanted.length > 0, "nothing was posted");
  const find = (events, p) => events.find((e) => e.new_payload_request_root === p.request_root);
  await until("an event at the gate for each posted proof", patience(1), () => wanted.every((p) => find(gateEvents.events, p)));
  const delays = wanted.map((p) => {
    const there = find(gateEvents.events, p), here = find(otherEvents.events, p);
    must(there.source === "gossip", `slot ${p.slot}: at the gate from ${there.source}`);
    must(here?.source === "http", `slot ${p.slot}: at the node it was posted to from ${here?.source}`);
    must(there.validator_index === String(HONEST) && there.proof_type === "1", JSON.stringify(there));
    return there.at_ms - p.at_ms;
  });
  return { event: find(gateEvents.events, wanted[0]), ms_after_post: delays };
});

/** Every acknowledged proof, at both nodes, by block root and in the bytes that were posted. */
async function servedByBoth(list) {
  for (const node of [gate, other]) {
    for (const p of list) {
      const ssz = await node.proofsSsz(p.root);
      // A list of one container: an offset of 4 bytes, then the container.
      must(ssz.length === p.bytes.length + 4 && ssz.subarray(4).equals(p.bytes), `${node.name}, slot ${p.slot}: not the proof that was posted (${ssz.length} bytes)`);
    }
  }
  return list.length;
}
const acknowledged = () => [...posted.values()].filter((p) => p.status === 200);

await check("served-by-both", async () => {
  const list = acknowledged();
  must(list.length > 0, "nothing was posted");
  await until("every posted proof at both nodes", patience(1), () => servedByBoth(list));
  for (const node of [gate, other]) {
    const p = list.at(-1);
    const bySlot = await node.proofs(p.slot), byRoot = await node.proofs(p.root);
    must(bySlot.length === 1 && same(bySlot, byRoot), `${node.name}: by slot and by root differ`);
    must(bySlot[0].validator_index === String(HONEST), JSON.stringify(bySlot).slice(0, 200));
    await until(`${node.name}: proofs of head`, patience(2), async () => (await node.proofs("head")).length === 1);
  }
  return { proofs: list.length };
});

// A hole: one payload without a proof, its descendants proven.
await pauseProver();
let hole = null;
await check("unproven-stays", async () => {
  const from = (await blocks.refresh()).at(-1).slot;
  for (let slot = from + 1; slot <= from + 2; slot++) held.add(slot);
  if (fault("prove-held")) held.clear();
  proving = true;
  const after = await until("a payload without a proof, and three proven ones after it", patience(10), async () => {
    if (problem) throw Error(problem);
    const list = (await rows(await blocks.refresh())).filter(({ block }) => block.slot > from);
    hole ??= list[0]?.block ?? null;
    // The first block is the hole; what comes after it is proven.
    if (hole) for (const slot of [...held]) if (slot !== hole.slot) held.delete(slot);
    return list.filter(({ row }) => row.proofs.length > 0).length >= 3 && list;
  });
  const own = after.find(({ block }) => block.root === hole.root).row;
  must(own.proofs.length === 0 && own.verdict === "SYNCING" && own.execution_status === "VALID", `slot ${hole.slot}: ${JSON.stringify(own)}`);
  for (const { block, row } of after) must(row.verdict === "SYNCING" && !row.told_valid, `slot ${block.slot}, behind a hole: ${JSON.stringify(row)}`);
  const view = await world.view();
  for (const { block } of after) must(view.get(block.root)?.optimistic !== false, `slot ${block.slot}: the beacon node takes it for valid`);
  return { slot: hole.slot, descendants: after.length - 1, held_by: after.map(({ row }) => row.held_by) };
});
await pauseProver();

await check("forged-refused", async () => {
  must(hole, "there is no block without a proof");
  const real = fault("forge-real");
  const before = { gate: (await gate.status()).proofs, other: (await other.status()).proofs };
  const good = await prover.prove(hole, { validator: 4 });
  const flip = (bytes, at) => { const copy = Buffer.from(bytes); copy[at < 0 ? copy.length + at : at] ^= 1; return copy; };
  const forged = real ? { real: good } : {
    "a byte of the proof": flip(good, -5000),
    "a byte of the signature": flip(good, 40),
    "another validator's key": await prover.prove(hole, { validator: 4, keyOf: 5 }),
    "a validator that does not exist": await prover.prove(hole, { validator: 4000 }),
    "a proof that the engine refuses, signed": await prover.prove(hole, { validator: 6, alter: (b) => flip(b, -100) }),
    "no proof at all": Buffer.from("no proof at all"),
    "nothing": Buffer.alloc(0),
  };
  const seen = {};
  for (const [kind, bytes] of Object.entries(forged)) {
    const answer = await other.post(bytes);
    seen[kind] = { status: answer.status, message: answer.json?.failures?.[0]?.message ?? answer.json?.message };
    must(answer.status === 400, `${kind}: HTTP ${answer.status} ${JSON.stringify(answer.json)}`);
  }
  await sleep(1000);
  const row = (await gate.payloads()).get(hole.block_hash);
  must(row.proofs.length === 0 && row.verdict === "SYNCING", JSON.stringify(row));
  for (const node of [gate, other]) {
    must((await node.proofs(hole.root)).length === 0, `${node.name} serves a forged proof`);
    const status = await node.status();
    must(status.proofs.accepted === before[node.name].accepted, `${node.name} accepted something`);
    must(status.network.connected_peers > 0, `${node.name} lost its peer`);
  }
  return seen;
});

await check("released", async () => {
  must(hole, "there is no block without a proof");
  held.clear();
  if (fault("keep-held")) held.add(hole.slot);
  proving = true;
  const done = await until("the hole and what is behind it is VALID", patience(6), async () => {
    if (problem) throw Error(problem);
    const list = (await rows(await blocks.refresh())).filter(({ block }) => block.slot >= hole.slot);
    const good = list.filter(({ row }) => row.verdict === "VALID");
    if (good.some(({ block }) => block.root === hole.root) && good.length >= 4) return good;
    throw Error(verdicts(list));
  });
  return { slots: done.map(({ block }) => block.slot), hole_proven_at_ms: done[0].row.proven_at_ms, valid_at_ms: done.map(({ row }) => row.valid_at_ms) };
});

// SIGKILL, both.
await pauseProver();
// What is acknowledged by one alone dies with its gossip: only req/resp would bring it to the other.
await until("every acknowledged proof at both nodes", patience(2), () => servedByBoth(acknowledged())).catch((error) => say(error.message));
const beforeKill = { proofs: acknowledged(), valid: [...(await gate.payloads()).values()].filter((row) => row.verdict === "VALID") };
gateEvents.close();
otherEvents.close();
say("both nodes are killed");
observed.killed = { gate: await gate.kill(), other: await other.kill() };
if (fault("wipe")) for (const node of [gate, other]) fs.rmSync(node.datadir, { recursive: true });
await sleep(1000);
const restarted = Date.now();
gate.spawn(fault("moved-engine") ? gateFlags("require-proofs", base + 33) : gate.flags);
await gate.up();
if (fault("wipe")) other.flags = other.flags.map((flag) => (flag.startsWith("/ip4/") ? gate.endpoints.p2p : flag));
other.spawn();
await other.up();
observed.restart_ms = Date.now() - restarted;

await check("restart-proofs", async () => {
  must(beforeKill.proofs.length > 0, "nothing was posted before");
  return { proofs: await until("every acknowledged proof at both nodes", patience(2), () => servedByBoth(beforeKill.proofs)), ms_after_start: Date.now() - restarted };
});

await check("restart-verdicts", async () => {
  must(beforeKill.valid.length > 0, "nothing was VALID before");
  const found = await gate.payloads();
  for (const row of beforeKill.valid) {
    const now = found.get(row.block_hash);
    // What is behind the finalized block goes by and by: it is VALID for good.
    if (!now) continue;
    must(now.verdict === "VALID" && now.proofs.length === row.proofs.length && (now.told_valid || !row.told_valid), `slot ${row.slot}: before ${JSON.stringify(row)}, now ${JSON.stringify(now)}`);
  }
  const there = beforeKill.valid.filter((row) => found.has(row.block_hash)).length;
  must(there > 0, "none of the payloads is there");
  return { valid_before: beforeKill.valid.length, there };
});

await check("restart-follow", async () => {
  const events = gate.listen();
  await events.open;
  await until("each node has a peer", patience(4), async () => (await gate.status()).network.connected_peers > 0);
  const from = (await blocks.refresh()).at(-1).slot;
  proving = true;
  const list = await until("two new payloads that turned VALID", patience(12), async () => {
    if (problem) throw Error(problem);
    const all = (await rows(await blocks.refresh())).filter(({ block }) => block.slot > from);
    if (all.filter(({ row }) => row.verdict === "VALID" && row.told_syncing_first).length >= 2) return all;
    throw Error(verdicts(all));
  });
  const gossiped = events.events.filter((e) => e.source === "gossip").length;
  events.close();
  must(gossiped > 0, "no event of a proof by gossip");
  return { slots: list.map(({ block }) => block.slot), events: gossiped };
});

await check("beacon-agrees", async () => {
  // Lodestar takes VALID from newPayload alone: it is VALID at once where the proof is faster than the execution client.
  if (world.slowExecution) await world.slowExecution(Math.round(slotSeconds * 600));
  const agreement = await until("the beacon node's view is the gate's", patience(10), async () => {
    if (problem) throw Error(problem);
    const chain = await blocks.refresh();
    const [before, view, after] = [await rows(chain), await world.view(), await rows(chain)];
    let told = false, valid = 0, optimistic = 0;
    const wrong = [];
    // From the newest on: VALID for a block holds for its ancestors.
    for (let i = after.length - 1; i >= 0; i--) {
      const { block, row } = after[i];
      const seen = view.get(block.root);
      told ||= row.told_valid;
      const settled = before[i]?.block === block && before[i].row.told_valid === row.told_valid;
      if (!seen || !settled) continue;
      if (seen.optimistic) optimistic++; else valid++;
      // The other way round holds only where fcU VALID counts.
      if (!seen.optimistic && !told) wrong.push(`slot ${block.slot}: VALID at the beacon node, never told so`);
      if (world.forkchoiceValidates && seen.optimistic && told) wrong.push(`slot ${block.slot}: told VALID, optimistic at the beacon node`);
    }
    const wasSyncing = after.filter(({ block, row }) => row.told_syncing_first && view.get(block.root)?.optimistic === false).length;
    if (wrong.length || wasSyncing < 3) throw Error(wrong[0] ?? `the beacon node takes ${valid} for valid, ${wasSyncing} of them SYNCING first; ${optimistic} are optimistic`);
    return { valid, optimistic, syncing_first_valid_now: wasSyncing };
  });
  if (world.slowExecution) await world.slowExecution(0);
  return agreement;
});

// Two branches: each payload is judged by its own proofs.
if (world.reorg) await check("reorg", async () => {
  await pauseProver();
  const from = (await blocks.refresh()).at(-1).slot;
  await until("two payloads without a proof", patience(8), async () => {
    const list = (await rows(await blocks.refresh())).filter(({ block, row }) => block.slot > from && row.execution_status === "VALID");
    return list.length >= 2;
  });
  await world.reorg(2);
  // The view asked for is the follower's, which comes after.
  const orphaned = await until("blocks that were replaced", patience(3), async () => {
    const chain = await blocks.refresh();
    const gone = [...blocks.byRoot.values()].filter((b) => b.slot > from && !chain.some((c) => c.root === b.root));
    return gone.length > 0 && gone.sort((a, b) => a.slot - b.slot);
  });
  if (fault("prove-orphans")) for (const block of orphaned) await post(block);
  proving = true;
  const branch = await until("the new branch is VALID", patience(8), async () => {
    if (problem) throw Error(problem);
    const list = (await rows(await blocks.refresh())).filter(({ block }) => block.slot > from);
    if (list.filter(({ row }) => row.verdict === "VALID").length >= 3) return list;
    throw Error(verdicts(list));
  });
  const of = async (block) => (await gate.payloads()).get(block.block_hash);
  for (const block of orphaned) {
    const row = await of(block);
    must(row?.verdict === "SYNCING" && row.proofs.length === 0 && !row.told_valid, `slot ${block.slot}, replaced: ${JSON.stringify(row)}`);
  }
  // A proof counts on its own branch all the same.
  const record = await post(orphaned[0]);
  must(record.status === 200, `a proof of a replaced payload: ${record.status} ${JSON.stringify(record.answer)}`);
  await until("the replaced payload is proven", patience(1), async () => (await of(orphaned[0])).verdict === "VALID");
  for (const block of orphaned.slice(1)) must((await of(block)).verdict === "SYNCING", `slot ${block.slot} by its parent's proof`);
  return { replaced: orphaned.map((b) => b.slot), branch: branch.map(({ block, row }) => `${block.slot} ${row.verdict}`) };
});

// The execution client dies; it keeps nothing.
if (world.killExecution) {
  const valid = [...(await gate.payloads()).values()].filter((row) => row.verdict === "VALID" && row.told_valid);
  const elOffline = async () => (await data(gate.url("/eth/v1/node/syncing"))).el_offline;
  const keptAll = async () => {
    const found = await gate.payloads();
    for (const before of valid) {
      const now = found.get(before.block_hash);
      must(!now || (now.verdict !== "INVALID" && now.told_valid), `slot ${before.slot}, told VALID before: ${JSON.stringify(now)}`);
    }
    for (const row of found.values()) must(row.verdict !== "INVALID", `slot ${row.slot} is INVALID: ${JSON.stringify(row)}`);
  };
  let deadFrom = 0;
  await check("execution-dead", async () => {
    proving = true;
    deadFrom = (await blocks.refresh()).at(-1).slot;
    if (!fault("el-stays")) await world.killExecution();
    const answer = await until("an error in the place of an answer", patience(1), async () => {
      const a = await engineCall(engineUrl, token(secret), "engine_exchangeCapabilities", [[]]);
      if (a.status !== 200 || !a.json?.error) throw Error(`HTTP ${a.status} ${a.bytes.toString().slice(0, 200)}`);
      return a.json;
    });
    must(answer.error.code === -32603 && answer.id === 1, JSON.stringify(answer));
    must(await elOffline(), "el_offline is not said");
    await sleep(slotSeconds * 1500);
    await keptAll();
    const late = [...(await gate.payloads()).values()].filter((row) => row.slot > deadFrom && row.verdict === "VALID" && row.told_valid);
    must(late.length === 0, `told VALID without an execution client: ${JSON.stringify(late[0])}`);
    return { error: answer.error, el_offline: true };
  });
  await check("execution-restarted", async () => {
    if (!fault("el-gone") && !fault("el-stays")) await world.startExecutionAgain();
    await until("the gate reaches it again", patience(2), async () => {
      const a = await engineCall(engineUrl, token(secret), "engine_exchangeCapabilities", [[]]);
      return Array.isArray(a.json?.result);
    });
    await keptAll();
    await world.resend(1);
    const list = await until("new payloads that turned VALID, and the beacon node agrees", patience(14), async () => {
      if (problem) throw Error(problem);
      const all = (await rows(await blocks.refresh())).filter(({ block }) => block.slot > deadFrom);
      const good = all.filter(({ row }) => row.verdict === "VALID" && row.told_valid);
      const view = await world.view();
      if (good.filter(({ block }) => view.get(block.root)?.optimistic === false).length >= 2) return good;
      throw Error(verdicts(all));
    });
    await keptAll();
    must(!(await elOffline()), "el_offline is still said");
    return { slots: list.map(({ block }) => block.slot) };
  });
}

// What became of each payload, for the record.
const finalRows = await rows(await blocks.refresh()), finalView = await world.view();
observed.payloads = finalRows.map(({ block, row }) => ({
  slot: block.slot, fork: block.fork, block_root: block.root, block_hash: block.block_hash, request_root: block.new_payload_request_root,
  verdict: row.verdict, told_syncing_first: row.told_syncing_first, told_valid: row.told_valid,
  posted_at_ms: posted.get(block.root)?.at_ms ?? null, post_took_ms: posted.get(block.root)?.took_ms ?? null,
  seen_at_ms: row.seen_at_ms, execution_ms: row.execution_valid_at_ms && row.execution_valid_at_ms - row.seen_at_ms,
  post_to_proven_ms: posted.get(block.root) && row.proven_at_ms ? row.proven_at_ms - posted.get(block.root).at_ms : null,
  proven_to_told_valid_ms: row.told_valid_at_ms && row.proven_at_ms ? row.told_valid_at_ms - row.proven_at_ms : null,
  beacon: finalView.get(block.root) ?? null,
}));
observed.status = { gate: await gate.status(), other: await other.status() };

// The same gate under observe: nothing about imports changes.
await pauseProver();
const ends = { gate: await gate.end(fault("sigkill") ? "SIGKILL" : "SIGTERM") };
gate.spawn(gateFlags(fault("still-require") || fault("moved-engine") ? "require-proofs" : "observe"));
await gate.up();
await check("observe-unchanged", async () => {
  // What the gate had before is not what it says under observe, whatever the beacon node's view shows of it yet.
  const had = [...(await gate.payloads()).values()].map((row) => row.slot ?? 0);
  const from = Math.max((await blocks.refresh()).at(-1).slot, ...had);
  const list = await until("two payloads without a proof", patience(10), async () => {
    const all = (await rows(await blocks.refresh())).filter(({ block, row }) => block.slot > from && row.execution_status === "VALID");
    return all.length >= 2 && all;
  });
  for (const { block, row } of list) must(row.proofs.length === 0 && !row.told_syncing_first && row.told_valid, `slot ${block.slot}: ${JSON.stringify(row)}`);
  const counts = (await gate.status()).gate;
  must(counts.lowered === 0 && counts.import_policy === "observe", JSON.stringify(counts));
  // The gate's answer to a call is the execution client's own.
  const zero = `0x${"00".repeat(32)}`;
  const answers = [];
  for (const url of [engineUrl, world.executionAlone]) {
    const state = { headBlockHash: list[0].block.block_hash, safeBlockHash: zero, finalizedBlockHash: zero };
    answers.push((await engineCall(url, token(secret), world.forkchoice, [state, null])).bytes.toString());
  }
  must(answers[0] === answers[1], `the gate ${answers[0]}, the execution client ${answers[1]}`);
  await until("the beacon node takes them for valid", patience(3), async () => {
    const view = await world.view();
    return list.every(({ block }) => view.get(block.root)?.optimistic === false);
  });
  return { slots: list.map(({ block }) => block.slot), answer: JSON.parse(answers[0]).result };
});

await check("clean-end", async () => {
  ends.observing_gate = await gate.end(fault("sigkill") ? "SIGKILL" : "SIGTERM");
  ends.other = await other.end(fault("sigkill") ? "SIGKILL" : "SIGTERM");
  for (const [which, exit] of Object.entries(ends)) must(exit.code === 0 && exit.ms < 10_000, `${which}: ${JSON.stringify(exit)}`);
  return ends;
});

ended = true;
await prove;
mask?.end();
observed.complaints = { gate: gate.complaints(), other: other.complaints() };
observed.ended = new Date().toISOString();
observed.ok = observed.checks.every((c) => c.ok) && observed.checks.length === Object.values(CHECKS).filter((c) => !c.only || c.only.includes(name)).length;
write();
const failed = observed.checks.filter((c) => !c.ok).map((c) => c.check);
say(observed.ok ? `every check passed (${observed.checks.length})` : `failed: ${failed.join(", ") || "not every check ran"}`);
process.exit(observed.ok ? 0 : 1);
