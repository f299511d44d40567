// The two rigs: real execution clients and a real beacon node around the nodes under test.
import { spawn } from "node:child_process";
import fs from "node:fs";
import { data, http, script, until } from "./tools.mjs";

/** minibeacon: Electra at genesis, Fulu from epoch 1; ethrex. */
export function minibeacon(parts) { return minibeaconWith(parts, ""); }

/** The same, and Gloas from epoch 2, or `gloasEpoch`. */
export function gloas(parts) { return minibeaconWith(parts, String(parts.gloasEpoch ?? 2)); }

function minibeaconWith({ rig, out, base, slotSeconds }, gloas) {
  const dir = `${rig}/minibeacon`, run = `${out}/minibeacon`, log = `${out}/rig.log`;
  const rest = `http://127.0.0.1:${base}`;
  const env = { RUN: run, BASE: String(base), SECONDS_PER_SLOT: String(slotSeconds), GENESIS_DELAY: "12", FULU: "1", GLOAS: gloas };
  return {
    // The first slot of the fork that this is about.
    fork: gloas ? "gloas" : "fulu", firstSlot: 8 * Number(gloas || 1), slotSeconds, validators: 64, preset: "minimal",
    beacon: rest, otherBeacon: rest,
    execution: `http://127.0.0.1:${base + 12}`, executionAlone: `http://127.0.0.1:${base + 12}`,
    jwtFile: `${run}/jwt.hex`,
    forkchoice: gloas ? "engine_forkchoiceUpdatedV4" : "engine_forkchoiceUpdatedV3",
    async startExecution() { await script(`${dir}/run.sh`, ["els"], env, log, 900_000); },
    async startBeacon(engine) { await script(`${dir}/run.sh`, ["node"], { ...env, ENGINES: engine }, log, 120_000); },
    /** What the beacon node makes of each block, by block root. */
    async view() {
      const status = (await http(`${rest}/admin/status?blocks=512`)).json;
      return new Map(status.followers[0].blocks.map((b) => [b.root, { optimistic: b.status !== "VALID", first: b.first, status: b.status, validBy: b.validBy, ms: b.ms, tries: b.tries }]));
    },
    /** forkchoiceUpdated VALID clears the optimistic status. */
    forkchoiceValidates: true,
    /** At the next slot the newest blocks, so many, are replaced by as many and one more. */
    async reorg(depth) {
      const answer = await http(`${rest}/admin/reorg?depth=${depth}`, { method: "POST", timeout: (slotSeconds * 4 + 30) * 1000 });
      if (answer.status !== 200) throw Error(`reorg: ${answer.status} ${answer.bytes}`);
      return answer.json;
    },
    /** Kills the execution client behind the gate, which keeps nothing. */
    async killExecution() {
      const pid = Number(fs.readFileSync(`${run}/el1.pid`, "utf8"));
      process.kill(pid, "SIGKILL");
      await until("the execution client is gone", 20_000, () => { try { process.kill(pid, 0); return false; } catch { return true; } });
    },
    /** Starts it again, as the rig does; it ends with the rig. */
    async startExecutionAgain() {
      const el = fs.openSync(`${run}/el1.log`, "a");
      const args = [`${run}/el-genesis.json`, `${run}/jwt.hex`, `127.0.0.1:${base + 11}`, `127.0.0.1:${base + 12}`];
      const child = spawn(process.env.ETHREX_BIN, args, { stdio: ["ignore", el, el], detached: true });
      child.unref();
      fs.closeSync(el);
      fs.writeFileSync(`${run}/el1.pid`, `${child.pid}\n`);
    },
    /** The beacon node gives every payload again from a slot on. */
    async resend(from) { await http(`${rest}/admin/resend?follower=0&from=${from}`, { method: "POST" }); },
    async version() { return (await data(`${rest}/eth/v1/node/version`)).version; },
  };
}

/** Lodestar 1.5.1 at Capella: A with all validators, B its follower, whose execution endpoint is the gate. */
export function lodestar({ rig, out, base, slotSeconds, blocks }) {
  const dir = `${rig}/capella`, run = `${out}/lodestar`, log = `${out}/rig.log`;
  const a = `http://127.0.0.1:${base + 4}`, b = `http://127.0.0.1:${base + 14}`, proxy = `http://127.0.0.1:${base + 13}`;
  const env = { RUN: run, BASE: String(base), SLOT: String(slotSeconds), EL: process.env.ASSAY_REAL_CAPELLA_EL ?? "ethrex" };
  return {
    fork: "capella", firstSlot: 1, slotSeconds, validators: 8, preset: "minimal",
    beacon: b, otherBeacon: a,
    execution: proxy, executionAlone: `http://127.0.0.1:${base + 12}`,
    jwtFile: `${run}/jwt.hex`,
    forkchoice: "engine_forkchoiceUpdatedV2",
    async startExecution() { await script(`${dir}/up.sh`, ["els"], env, log, 900_000); },
    async startBeacon(engine) { await script(`${dir}/up.sh`, ["cls"], { ...env, ENGINE_B: engine }, log, 240_000); },
    view() { return until("a view without finality moving meanwhile", 20_000, () => this.viewOnce()); },
    async viewOnce() {
      const seen = new Map();
      // What is finalized has left its fork choice, and is called valid whatever it was told: nothing can be learnt of it.
      const { finalized } = await data(`${b}/eth/v1/beacon/states/head/finality_checkpoints`);
      const finalSlot = Number(finalized.epoch) * 8;
      // Asked for by slot: by root this version calls every block but the finalized one valid.
      for (const block of blocks()) {
        if (finalSlot > 0 && block.slot <= finalSlot) continue;
        const answer = await http(`${b}/eth/v1/beacon/headers?slot=${block.slot}`);
        if (answer.status === 200 && answer.json.data.some((h) => h.root === block.root)) seen.set(block.root, { optimistic: answer.json.execution_optimistic });
      }
      // Finality may have moved meanwhile.
      const { finalized: now } = await data(`${b}/eth/v1/beacon/states/head/finality_checkpoints`);
      if (now.epoch !== finalized.epoch) throw Error("finality moved while the view was read");
      return seen;
    },
    /** Only newPayload VALID does. */
    forkchoiceValidates: false,
    /** The execution client takes so long for a newPayload. */
    async slowExecution(ms) { await http(`${proxy}/ctl?delay=${ms}`); },
    async version() { return (await data(`${b}/eth/v1/node/version`)).version; },
  };
}

/** A proxy of the rig that tells the beacon node SYNCING whatever is answered behind it. */
export async function maskingProxy({ rig, out, port, upstream, pids }) {
  const log = fs.openSync(`${out}/mask.log`, "a");
  const child = spawn("node", [`${rig}/capella/proxy.mjs`, String(port), upstream, `${out}/mask.jsonl`], { stdio: ["ignore", log, log] });
  fs.closeSync(log);
  fs.appendFileSync(pids, `${child.pid}\n`);
  const url = `http://127.0.0.1:${port}`;
  await until("the masking proxy", 20_000, async () => (await http(`${url}/ctl?np=mask&fcu=mask`)).status === 200);
  return { url, end: () => child.kill("SIGKILL") };
}
