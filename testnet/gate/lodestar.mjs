// A Lodestar 1.5.1 behind the gate: it takes VALID from newPayload alone and never asks again. Started by run.sh.
//   lodestar-proofs-only   there is no execution client: it follows and finalizes
//   lodestar-wait          require-proofs, newPayload waits for the proof: nothing is optimistic
import { Checks, must, quantiles } from "../lib/network.mjs";
import { AssayNode } from "../real/lib/node.mjs";
import { Blocks, Prover } from "../real/lib/prover.mjs";
import { lodestar } from "../real/lib/rigs.mjs";
import { data, sleep, until } from "../real/lib/tools.mjs";
import { Poster } from "./poster.mjs";

const { ASSAY: binary, RIG: rig, OUT_DIR: out, SCENARIO: name } = process.env;
const base = Number(process.env.BASE), slotSeconds = Number(process.env.SLOT || 3);
const faults = (process.env.FAULT ?? "").split(",").filter(Boolean);
const fault = (which) => faults.includes(which);
const checks = new Checks(`${out}/observed.json`, name, { faults });
const check = (id, test) => checks.check(id, test);
const patience = (slots) => (slots * slotSeconds + 40) * 1000;
const waits = name === "lodestar-wait";

let blocks;
const world = lodestar({ rig, out, base, slotSeconds, blocks: () => blocks.byRoot.values() });
await world.startExecution();
const enginePort = base + 30;
const common = (port) => ["--listen-address", "127.0.0.1", "--port", String(port), "--http-port", "0", "--disable-quic", "--disable-discovery",
  "--proof-engine-endpoint", "dev", "--proof-types", "1", "--retention-epochs", "64", "--log-level", process.env.ASSAY_TESTNET_LOG ?? "info"];
const execution = waits
  ? ["--execution-endpoint", world.execution, "--execution-jwt", world.jwtFile, "--import-policy", "require-proofs", ...(fault("no-wait") ? [] : ["--wait-for-proofs", "4000"])]
  : ["--engine-jwt", world.jwtFile, "--import-policy", "proofs-only"];
const pids = `${out}/pids`;
const gate = new AssayNode("gate", { binary, out, pids, flags: [...common(base + 31), "--beacon-node", world.beacon, "--engine-port", String(enginePort), ...execution] });
const other = new AssayNode("other", { binary, out, pids, flags: null });
gate.spawn();
await world.startBeacon(`http://127.0.0.1:${enginePort}`);
await gate.up();
other.flags = [...common(base + 41), "--beacon-node", world.otherBeacon, "--peer", gate.endpoints.p2p];
other.spawn();
await other.up();
checks.say(`up: ${await world.version()}`);

blocks = new Blocks({ binary, beacon: world.otherBeacon, work: `${out}/blocks`, preset: world.preset });
const prover = new Prover({ binary, beacon: world.otherBeacon, work: `${out}/proofs` });
const poster = new Poster({ blocks, prover, delay: () => (fault("no-proofs") ? 1e9 : 0), nodes: () => [other], poll: 60 });

// ---- what B says of its head, all the time
const looks = [];
let watching = true;
const watch = (async () => {
  while (watching) {
    try {
      const [mine, others] = await Promise.all([world.beacon, world.otherBeacon].map((url) => data(`${url}/eth/v1/node/syncing`)));
      looks.push({ slot: Number(others.head_slot), behind: Number(others.head_slot) - Number(mine.head_slot), optimistic: mine.is_optimistic });
    } catch { /* asked again */ }
    await sleep(500);
  }
})();
const finalized = async (url) => (await data(`${url}/eth/v1/beacon/states/head/finality_checkpoints`)).finalized;

await check("finalizes", async () => {
  return until("finality at the follower", patience(8 * 7), async () => {
    if (poster.problem) checks.observed.prover_problem = poster.problem;
    const [mine, others] = [await finalized(world.beacon), await finalized(world.otherBeacon)];
    if (Number(mine.epoch) < 2) throw Error(`epoch ${mine.epoch}, the validators' node ${others.epoch}`);
    must(Number(mine.epoch) < Number(others.epoch) || mine.root === others.root, `another root is final: ${mine.root}, ${others.root}`);
    return { follower: mine, validators: others };
  });
});
await check("follows", async () => {
  const late = looks.filter((look) => look.slot >= 8);
  const near = late.filter((look) => look.behind <= 2).length;
  must(late.length > 20 && near * 10 >= late.length * 9, `${near} of ${late.length} looks within two slots`);
  const same = await until("one head at both", patience(3), async () => {
    const [mine, others] = await Promise.all([world.beacon, world.otherBeacon].map((url) => data(`${url}/eth/v1/beacon/headers/head`)));
    return mine.root === others.root && { slot: mine.header.message.slot, root: mine.root };
  });
  return { looks: late.length, within_two_slots: near, ...same };
});
await check("payloads turn VALID", async () => {
  const rows = await until("ten payloads that are VALID", patience(6), async () => {
    const list = [...(await gate.payloads()).values()].filter((row) => row.verdict === "VALID" && row.proofs.length > 0);
    if (list.length < 10) throw Error(`${list.length}`);
    return list;
  });
  for (const row of rows) if (!waits) must(row.execution_status === "UNKNOWN", `without an execution client: ${JSON.stringify(row)}`);
  const invalid = [...(await gate.payloads()).values()].filter((row) => row.verdict === "INVALID" || row.conflict);
  must(invalid.length === 0, JSON.stringify(invalid[0]));
  const first = rows.filter((row) => row.told_valid && !row.told_syncing_first);
  return { valid: rows.length, told_valid_at_once: first.length, seen_to_proven_ms: quantiles(rows.map((row) => Math.max(0, row.proven_at_ms - row.seen_at_ms))) };
});
if (waits) {
  await check("nothing stays optimistic", async () => {
    const rows = [...(await gate.payloads()).values()].filter((row) => row.proofs.length > 0 && row.told_valid);
    const waited = rows.filter((row) => !row.told_syncing_first).length;
    must(waited * 10 >= rows.length * 8, `${waited} of ${rows.length} were told VALID at once`);
    const late = looks.filter((look) => look.slot >= 8), optimistic = late.filter((look) => look.optimistic).length;
    must(optimistic * 5 <= late.length, `optimistic in ${optimistic} of ${late.length} looks`);
    // By slot: by root this version calls every block valid.
    const view = await world.view();
    const newest = [...blocks.byRoot.values()].sort((a, b) => b.slot - a.slot).filter((b) => view.has(b.root)).slice(1, 7);
    must(newest.length >= 4 && newest.every((b) => view.get(b.root).optimistic === false), JSON.stringify(newest.map((b) => [b.slot, view.get(b.root)])));
    return { told_valid_at_once: waited, of: rows.length, optimistic_looks: optimistic, looks: late.length };
  });
}
const late = looks.filter((look) => look.slot >= 8);
checks.observed.looks = { all: late.length, optimistic: late.filter((look) => look.optimistic).length };
watching = false;
await watch;
await poster.end();
checks.observed.status = await gate.status();
await check("clean end", async () => {
  const ends = [await gate.end(), await other.end()];
  for (const exit of ends) must(exit.code === 0 && exit.ms < 10_000, JSON.stringify(exit));
  return ends.map((exit) => exit.ms);
});
checks.observed.complaints = { gate: gate.complaints(), other: other.complaints() };
await checks.write();
checks.say(checks.ok ? "every check passed" : "a check failed");
process.exit(checks.ok ? 0 : 1);
