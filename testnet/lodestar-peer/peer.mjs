// Watches a real Lodestar 1.5.1 with us as its peer. Environment: ASSAY, RIG, OUT_DIR, BASE, SLOT, MINUTES, EL, FAULT.
// Writes OUT_DIR/observed.json; exit code 0 only if every check passed.
import { spawn } from "node:child_process";
import fs from "node:fs";
import nodeHttp from "node:http";
import { AssayNode } from "../real/lib/node.mjs";
import { data as ask, script, sleep, until } from "../real/lib/tools.mjs";
import { Checks, must } from "../lib/network.mjs";

const { ASSAY: binary, RIG: rig, OUT_DIR: out, EL: el, FAULT: fault = "" } = process.env;
const base = Number(process.env.BASE), slot = Number(process.env.SLOT), minutes = Number(process.env.MINUTES);
const pids = `${out}/pids`, run = `${out}/rig`;
const A = { name: "A", rest: `http://127.0.0.1:${base + 4}`, p2p: base + 5, log: `${run}/clA/log` };
const B = { name: "B", rest: `http://127.0.0.1:${base + 14}`, p2p: base + 15, log: `${run}/clB/log`, engine: `http://127.0.0.1:${base + 13}` };
/** Where Lodestar disconnects a peer (its MIN_SCORE_BEFORE_DISCONNECT), and what counts as near it. */
const DISCONNECT = -20, NEAR = -5;
/** As of `tools`, with patience for a Lodestar that is busy: it is not what is checked here. */
async function data(url) {
  for (let left = 5; ; left--) {
    try { return await ask(url); }
    catch (error) { if (left === 0 || error.name !== "TimeoutError") throw error; }
  }
}

/** Between two looks. */
const LOOK = 10_000;

const checks = new Checks(`${out}/observed.json`, "lodestar-peer", { minutes, slot_seconds: slot, fault });
const samples = (checks.observed.samples = []);
const env = { RUN: run, BASE: String(base), SLOT: String(slot), EL: el, LODESTAR_LOG_LEVEL: "debug" };
const up = (what, more) => script(`${rig}/capella/up.sh`, [what], { ...env, ...more }, `${out}/rig.log`, 600_000);

/** The second Lodestar: follows, has no validators, and has one boot node: us. */
function startB(enr) {
  const dir = `${rig}/capella`, cl = `${dir}/cl`;
  fs.mkdirSync(`${run}/clB`, { recursive: true });
  const log = fs.openSync(B.log, "a");
  const forks = ["ALTAIR", "BELLATRIX", "CAPELLA"].map((fork) => `--params.${fork}_FORK_EPOCH=0`);
  const flags = ["beacon", ...forks, "--params.SECONDS_PER_SLOT", String(slot), "--params.TERMINAL_TOTAL_DIFFICULTY", "0", "--dataDir", "./data",
    "--rest.namespace", "*", "--listenAddress", "127.0.0.1", "--enr.ip", "127.0.0.1", "--network", "dev", "--genesisStateFile", `${run}/clA/genesis.ssz`,
    "--eth1", "false", "--execution.urls", B.engine, "--jwt-secret", `${run}/jwt.hex`, "--rest.port", String(base + 14), "--port", String(B.p2p),
    "--enr.tcp", String(B.p2p), "--enr.udp", String(B.p2p), "--bootnodes", enr, "--network.connectToDiscv5Bootnodes"];
  const child = spawn("node", [`${cl}/node_modules/.bin/lodestar`, ...flags], {
    cwd: `${run}/clB`, stdio: ["ignore", log, log], env: { ...process.env, LODESTAR_LOG_LEVEL: "debug", NODE_OPTIONS: `--require ${dir}/polyfill.cjs` },
  });
  fs.closeSync(log);
  fs.writeFileSync(`${run}/clB.pid`, `${child.pid}\n`);
}

/** A beacon node that is slow with its blocks: in front of A. */
async function slowBlocks(port) {
  const server = nodeHttp.createServer((request, answer) => {
    const wait = /\/beacon\/blocks\/\d+$/.test(request.url) || server.slow ? 20_000 : 0;
    setTimeout(() => {
      const upstream = nodeHttp.request(`${A.rest}${request.url}`, { method: request.method, headers: request.headers }, (from) => {
        answer.writeHead(from.statusCode, from.headers);
        from.pipe(answer);
      });
      upstream.on("error", () => answer.destroy());
      request.pipe(upstream);
    }, /\/beacon\/blocks\//.test(request.url) ? wait : 0);
  });
  await new Promise((ok) => server.listen(port, "127.0.0.1", ok));
  return { url: `http://127.0.0.1:${port}`, begin: () => { server.slow = true; } };
}

/** Lines of a Lodestar's log about us: requests it made of us (asked), requests of ours that it answered (answered), and what else. */
function about(lodestar, peerId) {
  // It shortens peer ids.
  const short = `${peerId.slice(0, 2)}...${peerId.slice(-6)}`;
  // eslint-disable-next-line no-control-regex
  const lines = fs.readFileSync(lodestar.log, "utf8").replace(/\x1b\[[0-9;]*m/g, "").split("\n").filter((line) => line.includes(short) || line.includes(peerId));
  const count = {};
  const add = (kind, line) => {
    const method = /method=([a-z_0-9]+)/.exec(line)?.[1] ?? "?";
    (count[kind] ??= {})[method] = (count[kind][method] ?? 0) + 1;
  };
  for (const line of lines) {
    // What it does not read to the end (one chunk is enough of a status) it never calls done: what failed is called an error.
    if (/Req\s+request sent/.test(line)) add("asked", line);
    else if (/Req\s+error/.test(line)) add("asked_in_vain", line);
    else if (/Resp\s+done/.test(line)) add("answered", line);
    else if (/Resp\s+error/.test(line)) add("answered_error", line);
  }
  return {
    ...count,
    connections: lines.filter((line) => /peer connected/i.test(line)).length,
    disconnections: lines.filter((line) => /peer disconnected/i.test(line)).length,
    goodbyes: lines.filter((line) => /goodbye|irrelevant/i.test(line)),
    errors: lines.filter((line) => /Re(q|sp)\s+error/.test(line)).map((line) => line.slice(0, 300)).slice(0, 10),
  };
}

/** What a Lodestar makes of us now. */
async function look(lodestar, peerId) {
  const peers = await data(`${lodestar.rest}/eth/v1/lodestar/peers`);
  const us = peers.find((peer) => peer.peer_id === peerId);
  const of = (rows) => rows.find((row) => (row.peer_id ?? row.peerId) === peerId) ?? {};
  const own = of(await data(`${lodestar.rest}/eth/v1/lodestar/lodestar-peer-score-stats`));
  const gossip = of(await data(`${lodestar.rest}/eth/v1/lodestar/gossip-peer-score-stats`));
  // A score near zero is forgotten, and so not in the answer.
  return {
    state: us?.state ?? "unknown", direction: us?.direction ?? null, agent: us?.agent_version ?? us?.agentVersion ?? null,
    score: own.score ?? 0, lodestar_score: own.lodestar_score ?? own.lodestarScore ?? 0, gossip_score: own.gossip_score ?? own.gossipScore ?? 0,
    known_to_gossip: Object.keys(gossip).length > 0, gossip, peers: peers.filter((peer) => peer.state === "connected").length,
  };
}

const headSlot = async (lodestar) => Number((await data(`${lodestar.rest}/eth/v1/beacon/headers/head`)).header.message.slot);

checks.say(`execution clients (${el}) and Lodestar A start`);
let node;
try {
  await up("els", { WITH_B: "1" });
  await up("cls", { WITH_B: "0" });
  const slow = fault === "slow-blocks" ? await slowBlocks(base + 40) : null;
  node = new AssayNode("assay", {
    binary, out, pids,
    flags: ["--beacon-node", slow?.url ?? A.rest, "--http-port", String(base + 30), "--listen-address", "127.0.0.1", "--port", String(base + 31),
      "--quic-port", String(base + 32), "--proof-engine-endpoint", "dev", "--log-level", process.env.ASSAY_TESTNET_LOG ?? "info",
      ...(fault === "no-mplex" ? [] : ["--enable-mplex"]),
      ...(fault === "other-network" ? ["--spec", "CAPELLA_FORK_VERSION=0x03000077"] : []),
      ...(fault === "no-discovery" ? ["--disable-discovery", "--peer", (await data(`${A.rest}/eth/v1/node/identity`)).p2p_addresses[0]] : []),
      ...(fault === "full" ? ["--target-peers", "1"] : [])],
  });
  node.spawn();
  await node.up();
  const us = await data(node.url("/eth/v1/node/identity"));
  const them = await data(`${A.rest}/eth/v1/node/identity`);
  checks.observed.versions = { assay: (await node.status()).version, lodestar: (await data(`${A.rest}/eth/v1/node/version`)).version };
  checks.observed.records = { ours: us.enr, theirs: them.enr };
  const began = Date.now();
  checks.say(`we are ${us.peer_id}, they are ${them.peer_id}; nobody told us of them but their own Beacon API`);
  await checks.check("connected", async () => {
    await until("A has us as a peer", 90_000, async () => (await look(A, us.peer_id)).state === "connected");
    return { ms: Date.now() - began };
  });

  // Two epochs for B to catch up with.
  let bAt = Date.now() + Math.min(16 * slot * 1000, minutes * 20_000), bStarted = false;
  const end = Date.now() + minutes * 60_000;
  let restarted = false;
  while (Date.now() < end) {
    const at = Math.round((Date.now() - began) / 1000);
    const sample = { at_s: at, a: await look(A, us.peer_id) };
    sample.took_ms = Date.now() - began - at * 1000;
    if (!bStarted && Date.now() > bAt) {
      slow?.begin();
      startB(us.enr);
      bStarted = true;
      checks.say("Lodestar B starts; its only boot node are we");
    }
    if (bStarted) sample.b = await look(B, us.peer_id).catch((error) => ({ why: error.message }));
    samples.push(sample);
    const show = (l) => (l ? `${l.state ?? l.why} score ${l.score?.toFixed?.(2)} (own ${l.lodestar_score?.toFixed?.(2)}, gossip ${l.gossip_score?.toFixed?.(2)})` : "-");
    checks.say(`${String(at).padStart(4)} s  A: ${show(sample.a)}  B: ${show(sample.b)}`);
    if (fault === "restart" && !restarted && Date.now() > end - minutes * 30_000) {
      restarted = true;
      await node.end();
      node.spawn();
      await node.up();
    }
    await sleep(Math.min(LOOK, Math.max(0, end - Date.now())));
  }
  samples.push({ at_s: Math.round((Date.now() - began) / 1000), a: await look(A, us.peer_id), b: await look(B, us.peer_id).catch((error) => ({ why: error.message })) });

  const a = (checks.observed.a = about(A, us.peer_id));
  const b = (checks.observed.b = fs.existsSync(B.log) ? about(B, us.peer_id) : {});
  for (const method of ["status", "ping", "metadata"]) {
    await checks.check(`${method}-both-ways`, async () => {
      // Of A and B: A, whom we dialled, asks for a status only where we have not asked it for five minutes; B, who dialled us, at once.
      const both = (kind) => (a[kind]?.[method] ?? 0) + (b[kind]?.[method] ?? 0);
      const counts = { asked_of_us: both("asked"), asked_by_us: both("answered"), in_vain: both("asked_in_vain") };
      must(counts.asked_of_us > 0 && counts.asked_by_us > 0 && counts.in_vain === 0, JSON.stringify(counts));
      return counts;
    });
  }
  await checks.check("no-goodbye", async () => {
    must(a.goodbyes.length === 0, a.goodbyes.slice(0, 3).join(" | "));
    must((b.goodbyes ?? []).length === 0, `B: ${(b.goodbyes ?? []).slice(0, 3).join(" | ")}`);
  });
  await checks.check("still-connected", async () => {
    const gone = samples.filter((sample) => sample.a.state !== "connected");
    must(samples.length > 0 && gone.length === 0, `not connected at ${gone.map((s) => s.at_s).slice(0, 5)} s`);
    must(a.disconnections === 0, `${a.disconnections} disconnections`);
    const ours = (await data(node.url("/eth/v1/node/peers"))).find((peer) => peer.peer_id === them.peer_id);
    must(ours?.state === "connected", `we call it ${ours?.state}`);
    return { samples: samples.length, direction: samples.at(-1).a.direction, agent: samples.at(-1).a.agent };
  });
  await checks.check("score", async () => {
    const scores = samples.flatMap((s) => [s.a, s.b]).filter((l) => l?.score !== undefined).map((l) => Math.min(l.score, l.lodestar_score));
    const lowest = Math.min(...scores);
    // Where it has no score of us at all, nothing was seen.
    must(samples.some((s) => s.a.known_to_gossip), "A's gossip never had us in its table of scores");
    must(lowest > NEAR, `${lowest}, and at ${DISCONNECT} it disconnects`);
    return { lowest, last: samples.at(-1).a.score, disconnects_at: DISCONNECT };
  });
  await checks.check("records-read", async () => {
    const known = await data(`${A.rest}/eth/v1/debug/discv5-kad-values`);
    must(known.includes(us.enr), `A's table has ${known.length} records, ours is not among them`);
    const peers = await data(node.url("/eth/v1/node/peers"));
    const record = peers.find((peer) => peer.peer_id === them.peer_id)?.enr;
    must(record?.startsWith("enr:"), `we have no record of A: ${record}`);
    return { in_its_table: known.length, same_as_its_own: record === them.enr };
  });
  await checks.check("blocks-from-us", async () => {
    const [ahead, behind] = [await headSlot(A), await headSlot(B)];
    const asked = b.asked?.beacon_blocks_by_range ?? 0;
    must(b.errors?.length === 0, `B got an error: ${b.errors?.[0]}`);
    must(asked > 0, `B asked us for no range: ${JSON.stringify(b.asked)} ${JSON.stringify(b.errors)}`);
    must((b.asked_in_vain?.beacon_blocks_by_range ?? 0) === 0, `ranges asked in vain: ${b.errors?.[0]}`);
    must(ahead - behind <= 2, `A is at slot ${ahead}, B at ${behind}`);
    return { ranges: asked, head_a: ahead, head_b: behind, by_root: b.asked?.beacon_blocks_by_root ?? 0 };
  });
  await checks.check("clean-end", async () => {
    const exit = await node.end();
    must(exit.code === 0, JSON.stringify(exit));
    checks.observed.complaints = node.complaints();
    must(!Object.keys(checks.observed.complaints).some((text) => text.includes("panicked")), "a panic");
    // A goodbye is in order now.
    await sleep(2000);
    return { ms: exit.ms, goodbyes: about(A, us.peer_id).goodbyes.slice(0, 2) };
  });
} catch (error) {
  await checks.check("ran", async () => { throw error; });
} finally {
  if (node?.child && !node.exit) await node.end().catch(() => {});
  await checks.write();
}
process.exit(checks.ok ? 0 : 1);
