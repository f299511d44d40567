// The simulated beacon chain (crates/assay/examples/simulated_chain.rs) as a process: blocks, and proofs posted to nodes.
import { spawn } from "node:child_process";
import fs from "node:fs";
import readline from "node:readline";
import { until } from "../real/lib/tools.mjs";

export class SimulatedChain {
  /** `engines`: Engine API that each beacon node calls, in order. */
  constructor({ binary, out, pids, engines, listen = "127.0.0.1", slotMs, proofTypes = [1], proofSize = 20_000, proofDelayMs = 200 }) {
    this.jwt = `${out}/jwt.hex`;
    this.blocks = []; // {slot, block_root, request_root, at_ms}, as made
    this.proven = new Map(); // slot -> {by, at_ms, posted, failed}
    this.runs = 0; // `begin`s that are done
    const log = fs.openSync(`${out}/chain.log`, "a");
    const flags = ["--listen", listen, "--jwt", this.jwt, "--slot-ms", String(slotMs), "--proof-types", proofTypes.join(","),
      "--proof-size", String(proofSize), "--proof-delay-ms", String(proofDelayMs), ...engines.flatMap((url) => ["--engine", url])];
    this.child = spawn(binary, flags, { stdio: ["pipe", "pipe", log] });
    fs.closeSync(log);
    fs.appendFileSync(pids, `${this.child.pid}\n`);
    this.child.on("exit", (code, signal) => { this.exit = { code, signal }; });
    this.child.stdin.on("error", () => {});
    readline.createInterface({ input: this.child.stdout }).on("line", (line) => {
      const said = JSON.parse(line);
      if (said.event === "up") this.addresses = said;
      if (said.event === "block") this.blocks.push(said);
      if (said.event === "proven") this.proven.set(said.slot, said);
      if (said.event === "done") this.runs += 1;
    });
  }

  check() { if (this.exit && !this.ending) throw Error(`the simulated chain ended: ${JSON.stringify(this.exit)}; see its log`); }
  up() { return until("the simulated chain", 30_000, () => { this.check(); return this.addresses; }); }
  say(line) { this.check(); this.child.stdin.write(`${line}\n`); }
  prove(urls) { this.say(`prove ${urls.join(" ")}`); }
  types(list) { this.say(`types ${list.join(",")}`); }
  /** Validator `who` signs rubbish beside each proof; null: nobody does. */
  forge(who) { this.say(`forge ${who ?? "off"}`); }
  /** What the execution client of node `n` (from 0) does wrong: none, syncing, invalid, error, hang. */
  execution(n, fault) { this.say(`execution ${n} ${fault}`); }
  finality(moves) { this.say(`finality ${moves ? "moves" : "stalls"}`); }

  /** Makes a block in each of the next `slots` slots; `done` says when it has. */
  begin(slots, slotMs) {
    const runs = this.runs;
    // On a busy machine slots are left out.
    this.say(`begin ${slots}`);
    return { done: () => until(`${slots} blocks`, 2 * slots * slotMs + 60_000, () => { this.check(); return this.runs > runs; }) };
  }

  async end() {
    this.ending = true;
    this.child.stdin.end();
    await until("the end of the simulated chain", 10_000, () => this.exit).catch(() => this.child.kill("SIGKILL"));
  }
}
