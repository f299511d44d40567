// Four followers of one chain, each with a gate under a policy of its own. Started by run.sh, which documents the environment.
import { spawn } from "node:child_process";
import fs from "node:fs";
import { Checks, must, quantiles } from "../lib/network.mjs";
import { AssayNode } from "../real/lib/node.mjs";
import { Blocks, Prover } from "../real/lib/prover.mjs";
import { http, script, sleep, until } from "../real/lib/tools.mjs";
import { plan as makePlan, proofDelay } from "./plan.mjs";
import { Poster } from "./poster.mjs";

const { ASSAY: binary, RIG: rig, OUT_DIR: out } = process.env;
const base = Number(process.env.BASE), slotSeconds = Number(process.env.SLOT || 2);
const seed = Number(process.env.SEED), minutes = Number(process.env.MINUTES);
const faults = (process.env.FAULT ?? "").split(",").filter(Boolean);
const fault = (name) => faults.includes(name);
const pids = `${out}/pids`, run = `${out}/rig`, rest = `http://127.0.0.1:${base}`;
const plan = makePlan(seed, Math.max(90, Math.round((minutes * 60) / slotSeconds)));
const checks = new Checks(`${out}/observed.json`, "followers", { seed, minutes, faults, plan });

// ---- the world: the rig's execution clients, the gates in front of three of them, the rig's beacon node
const POLICIES = [
  { name: "observe", flags: [] },
  // Longer than proofs are late, in payloads.
  { name: "require-proofs", flags: ["--proof-lag", String(Math.ceil(8 / slotSeconds) + 3)] },
  { name: "accept-proofs", flags: [] },
  { name: "proofs-only", flags: [] },
];
const env = {
  RUN: run, BASE: String(base), SECONDS_PER_SLOT: String(slotSeconds), FOLLOWER_ELS: "3", GENESIS_DELAY: "25", EL: "ethrex",
  FULU: String(plan.fulu), GLOAS: String(plan.gloas), REST_VIEW: "primary", KEEP_BLOCKS: String(plan.slots + 64), QUIET: "",
};
checks.say(`${plan.slots} slots of ${slotSeconds} s, Fulu at slot ${8 * plan.fulu}, Gloas at ${8 * plan.gloas}, ${plan.steps.length} steps, seed ${seed}`);
await script(`${rig}/minibeacon/run.sh`, ["els"], env, `${out}/rig.log`, 120_000);
const jwt = `${run}/jwt.hex`;
const elPorts = (index) => ({ http: base + 10 * index + 11, engine: base + 10 * index + 12 });
const nodes = POLICIES.map(({ name, flags }, index) => {
  const port = base + 50 + 10 * index;
  const execution = name === "proofs-only" ? ["--engine-jwt", jwt] : ["--execution-endpoint", `http://127.0.0.1:${elPorts(index).engine}`, "--execution-jwt", jwt];
  const node = new AssayNode(name, {
    binary, out, pids,
    flags: ["--revision", "alpha", "--beacon-node", rest, ...execution, "--engine-port", String(port + 1), "--http-port", "0",
      "--listen-address", "127.0.0.1", "--port", String(port + 3), "--disable-quic", "--disable-discovery",
      "--proof-engine-endpoint", "dev", "--proof-types", "1", "--retention-epochs", "64",
      "--import-policy", name, ...flags, "--log-level", process.env.ASSAY_TESTNET_LOG ?? "info"],
  });
  return Object.assign(node, { index, engine: `http://127.0.0.1:${port + 1}`, p2pPort: port + 3, up_: false, rows: new Map() });
});
const byName = new Map(nodes.map((node) => [node.name, node]));
const engines = nodes.map((node) => node.engine).join(",");
await script(`${rig}/minibeacon/run.sh`, ["node"], { ...env, ENGINES: engines }, `${out}/rig.log`, 120_000);
nodes[0].spawn();
await nodes[0].up();
for (const node of nodes.slice(1)) {
  node.flags = [...node.flags, "--peer", nodes[0].endpoints.p2p];
  node.spawn();
}
for (const node of nodes) {
  await node.up();
  node.up_ = true;
}
const status = async (blocks = 64) => (await http(`${rest}/admin/status?blocks=${blocks}`)).json;
const admin = (path) => http(`${rest}/admin/${path}`, { method: "POST", timeout: 60_000 });

// ---- proofs
const blocks = new Blocks({ binary, beacon: rest, work: `${out}/blocks`, preset: "minimal" });
const prover = new Prover({ binary, beacon: rest, work: `${out}/proofs`, seed: fault("wrong-seed") ? "another" : undefined, revision: "alpha" });
const poster = new Poster({
  blocks, prover,
  delay: (block) => (fault("no-proofs") && block.slot > plan.slots / 2 ? 1e9 : proofDelay(seed, block)),
  nodes: () => nodes.filter((node) => node.up_),
});

// ---- what is seen of each follower, all the time
const looks = new Map(nodes.map((node) => [node.name, { looks: 0, optimistic: 0, behind: 0 }]));
const orphans = new Set();
let watching = true;
const steps = [], failedSteps = [];
const watch = (async () => {
  while (watching) {
    await Promise.all(nodes.map(async (node) => {
      if (!node.up_) return;
      try { for (const [hash, row] of await node.payloads()) node.rows.set(hash, row); } catch { /* down, or just killed */ }
    }));
    try {
      const now = await status(4);
      for (const node of nodes) {
        const { head } = now.followers[node.index], seen = looks.get(node.name);
        seen.looks += 1;
        seen.optimistic += head.optimistic ? 1 : 0;
        seen.behind += head.root === now.head.root ? 0 : 1;
      }
    } catch { /* asked again */ }
    await sleep(1000);
  }
})();

// ---- the plan
async function perform(step) {
  const node = byName.get(step.who), seen = { ...step, at: new Date().toISOString() };
  const pidFile = node && `${run}/el${node.index + 1}.pid`;
  switch (step.act) {
    case "skip": await admin(`skip?slots=${step.slots}`); break;
    case "withhold": await admin(`withhold?slots=${step.slots}`); break;
    case "reorg": {
      const answer = await admin(`reorg?depth=${step.depth}`);
      seen.status = answer.status;
      seen.note = answer.status === 200 ? null : answer.json?.message;
      for (const block of answer.json?.data?.orphaned ?? []) orphans.add(block.execHash);
      break;
    }
    case "kill-execution": process.kill(Number(fs.readFileSync(pidFile, "utf8")), "SIGKILL"); break;
    case "start-execution": {
      if (fault("el-gone")) break;
      const ports = elPorts(node.index), log = fs.openSync(`${run}/el${node.index + 1}.log`, "a");
      const child = spawn(process.env.ETHREX_BIN, [`${run}/el-genesis.json`, jwt, `127.0.0.1:${ports.http}`, `127.0.0.1:${ports.engine}`],
        { stdio: ["ignore", log, log], detached: true });
      child.unref();
      fs.closeSync(log);
      fs.writeFileSync(pidFile, `${child.pid}\n`);
      break;
    }
    case "resend": seen.answer = (await admin(`resend?follower=${node.index}&from=1`)).json; break;
    case "kill": {
      node.up_ = false;
      node.before = new Map(await node.payloads().catch(() => node.rows));
      await node.kill();
      if (fault("wipe")) fs.rmSync(node.datadir, { recursive: true });
      break;
    }
    case "start": {
      node.spawn();
      await node.up();
      const after = await node.payloads();
      // No VALID that was told has become less; what left the tree was finalized.
      seen.valid_before = [...node.before.values()].filter((row) => row.told_valid).length;
      seen.lost = [...node.before].filter(([hash, row]) => row.told_valid && after.has(hash) && !after.get(hash).told_valid).map(([, row]) => row.slot);
      seen.there = [...node.before.keys()].filter((hash) => after.has(hash)).length;
      node.up_ = true;
      break;
    }
  }
  steps.push(seen);
  checks.say(`slot ${step.slot}: ${step.act} ${step.who ?? step.slots ?? step.depth ?? ""}${seen.note ? ` (${seen.note})` : ""}`);
}
const genesis = (await status(1)).genesis_time;
const slotNow = () => Math.floor((Date.now() / 1000 - genesis) / slotSeconds);
const under = [];
for (const step of plan.steps) {
  const due = (genesis + step.slot * slotSeconds) * 1000 - 400; // what is to happen in this slot is asked for before it
  await sleep(Math.max(0, due - Date.now()));
  // A reorg answers when it is done; what follows does not wait for it.
  under.push(perform(step).catch((error) => failedSteps.push({ ...step, why: error.message })));
}
await sleep(Math.max(0, (genesis + plan.slots * slotSeconds) * 1000 - Date.now()));
await Promise.all(under);
await admin("pause");
checks.say("the chain stands still; what is left of proofs comes");
checks.observed.steps = steps;

const check = (id, test) => checks.check(id, test);
await check("steps", async () => {
  must(failedSteps.length === 0, JSON.stringify(failedSteps));
  const reorgs = steps.filter((s) => s.act === "reorg");
  const done = reorgs.filter((s) => s.status === 200).length;
  must(done > 0 && done * 2 >= reorgs.length, `${done} of ${reorgs.length} reorgs: ${reorgs.find((s) => s.note)?.note}`);
  return { reorgs: done, of: reorgs.length, skips: steps.filter((s) => s.act === "skip").length, withheld: steps.filter((s) => s.act === "withhold").length };
});

await check("posted", async () => {
  await until("every proof is posted", 60_000, async () => {
    // The newest block may be younger than the poster's last look.
    const unseen = (await blocks.refresh()).filter((block) => !poster.proofs.has(block.root));
    if (unseen.length) throw Error(`${unseen.length} blocks not seen yet, first slot ${unseen[0].slot}`);
    if (poster.open.length) throw Error(`${poster.open.length} open, first ${JSON.stringify(poster.open[0].last ?? poster.problem)} slot ${poster.open[0].slot}`);
    return true;
  });
  must(poster.refused.length === 0, `${poster.refused.length} refused: ${JSON.stringify(poster.refused[0]?.last)}`);
  return { proofs: poster.posted.length, late_ms: quantiles(poster.posted.map((p) => p.delay)) };
});
const chain = await blocks.refresh();
const forks = {};
for (const block of chain) forks[block.fork] = (forks[block.fork] ?? 0) + 1;

await check("forks", async () => {
  for (const fork of ["electra", "fulu", "gloas"]) must(forks[fork] >= 5, `${forks[fork] ?? 0} blocks of ${fork}`);
  return forks;
});

for (const node of nodes) {
  await check(`head ${node.name}`, async () => {
    const seen = await until("the producer's head, valid", 40_000, async () => {
      const now = await status(4), { head, fcu } = now.followers[node.index];
      if (head.root !== now.head.root) throw Error(`its head is at slot ${head.slot}, the producer's at ${now.head.slot}`);
      if (head.optimistic) throw Error(`its head at slot ${head.slot} is optimistic, fcU ${fcu.last?.status}`);
      return { slot: head.slot, root: head.root, fcu: fcu.last?.status };
    });
    return seen;
  });
  await check(`verdicts ${node.name}`, async () => {
    const canonical = new Set(chain.map((b) => b.block_hash));
    const wanted = poster.posted.filter((p) => canonical.has(p.block_hash));
    must(wanted.length >= chain.length, `${wanted.length} proofs for ${chain.length} payloads`);
    await until("every proven payload is VALID", 30_000, async () => {
      for (const [hash, row] of await node.payloads()) node.rows.set(hash, row);
      const missing = wanted.filter((p) => !node.rows.has(p.block_hash));
      // What left the tree between two looks was finalized.
      if (missing.length > wanted.length / 50) throw Error(`${missing.length} of ${wanted.length} were never seen, first slot ${missing[0].slot}`);
      const bad = wanted.map((p) => node.rows.get(p.block_hash)).filter((row) => row && row.verdict !== "VALID");
      if (bad.length) throw Error(`${bad.length} are not, first ${JSON.stringify(bad[0])}`);
      return true;
    });
    const rows = [...node.rows.values()];
    const invalid = rows.filter((row) => row.verdict === "INVALID" || row.conflict);
    must(invalid.length === 0, `INVALID or in conflict: ${JSON.stringify(invalid[0])}`);
    const counts = (await status(plan.slots)).followers[node.index].counts;
    must(!Object.keys(counts).some((word) => word.startsWith("INVALID")), JSON.stringify(counts));
    const after = (from, to) => quantiles(rows.filter((r) => r[from] && r[to]).map((r) => Math.max(0, r[to] - r[from])));
    return { payloads: wanted.length, seen: rows.length, of_orphans: rows.filter((r) => orphans.has(r.block_hash)).length,
      seen_to_proven_ms: after("seen_at_ms", "proven_at_ms"), seen_to_told_valid_ms: after("seen_at_ms", "told_valid_at_ms") };
  });
}

await check("restart keeps verdicts", async () => {
  const restarts = steps.filter((s) => s.act === "start");
  must(restarts.length === 2, `${restarts.length} restarts`);
  for (const seen of restarts) must(seen.lost.length === 0 && seen.there > 0, `${seen.who}: ${JSON.stringify(seen)}`);
  return restarts.map(({ who, valid_before, there }) => ({ who, valid_before, there }));
});

await check("proofs carry accept-proofs", async () => {
  // From the death of its execution client to the slot in which it is given the payloads again.
  const [killed, given] = ["kill-execution", "resend"].map((act) => steps.find((s) => s.act === act && s.who === "accept-proofs").slot);
  const told = [...byName.get("accept-proofs").rows.values()].filter((r) => r.slot > killed + 1 && r.slot < given - 1 && r.told_valid
    && r.told_valid_at_ms < (genesis + given * slotSeconds) * 1000);
  must(told.length >= 3, `${told.length} payloads of slots ${killed} to ${given} were told VALID meanwhile`);
  return { slots: [killed, given], told_valid: told.length };
});

await check("a lag costs nothing", async () => {
  const seen = looks.get("require-proofs"), own = looks.get("observe");
  const share = (s) => Math.round((1000 * s.optimistic) / s.looks) / 10;
  // The time without an execution client, and the restart, are its own.
  must(share(seen) < 12, `require-proofs is optimistic in ${share(seen)} % of looks`);
  return { optimistic_percent: Object.fromEntries([...looks].map(([name, s]) => [name, share(s)])), observe: own };
});

checks.observed.looks = Object.fromEntries(looks);
checks.observed.memory_kib = Object.fromEntries(nodes.map((node) => [node.name, Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${node.child.pid}/status`, "utf8"))?.[1])]));
checks.observed.status = Object.fromEntries(await Promise.all(nodes.map(async (node) => [node.name, await node.status()])));
watching = false;
await watch;
await poster.end();
await check("clean end", async () => {
  const ends = await Promise.all(nodes.map((node) => node.end(fault("sigkill") ? "SIGKILL" : "SIGTERM")));
  for (const [i, exit] of ends.entries()) must(exit.code === 0 && exit.ms < 10_000, `${nodes[i].name}: ${JSON.stringify(exit)}`);
  return ends.map((e) => e.ms);
});
checks.observed.complaints = Object.fromEntries(nodes.map((node) => [node.name, node.complaints()]));
await checks.write();
checks.say(checks.ok ? `every check passed (${checks.observed.checks.length})` : "a check failed");
process.exit(checks.ok ? 0 : 1);
