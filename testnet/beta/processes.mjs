// The two provers as processes: `assay prover`, and the one that posts envelopes (crates/assay/examples/envelope_prover.rs).
import { spawn } from "node:child_process";
import fs from "node:fs";
import readline from "node:readline";
import { AssayNode } from "../real/lib/node.mjs";
import { until } from "../real/lib/tools.mjs";

class Process {
  constructor(name, { out, pids }) { Object.assign(this, { name, log: `${out}/${name}.log`, pids, exit: null }); }
  spawn(binary, flags, stdio) {
    const log = fs.openSync(this.log, "a");
    // Settings of whoever runs this are not those of the prover.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("ASSAY_")));
    this.child = spawn(binary, flags, { env, stdio: stdio(log) });
    fs.closeSync(log);
    fs.appendFileSync(this.pids, `${this.child.pid}\n`);
    this.ended = new Promise((ok) => this.child.on("exit", (code, signal) => ok((this.exit = { code, signal }))));
  }
  complaints() { return AssayNode.prototype.complaints.call(this); }
  /** `ask` makes it end; what does not is killed. */
  async ending(ask) {
    const began = Date.now();
    ask();
    const timer = setTimeout(() => this.child.kill("SIGKILL"), 15_000);
    const exit = await this.ended;
    clearTimeout(timer);
    return { ...exit, ms: Date.now() - began };
  }
}

/** `assay prover`. */
export class AssayProver extends Process {
  constructor(name, { binary, port, ...parts }) { super(name, parts); Object.assign(this, { binary, port }); }
  start({ beacon, postTo, types, keys, password, more = [] }) {
    this.spawn(this.binary, ["prover", "--beacon-node", beacon, "--post-to", postTo, "--proof-engine-endpoint", "dev", "--proof-types",
      types.join(","), "--keystores", keys, "--password-file", password, "--metrics-port", String(this.port), ...more], (log) => ["ignore", log, log]);
  }
  get metricsUrl() { return `http://127.0.0.1:${this.port}/metrics`; }
  end(signal = "SIGTERM") { return this.ending(() => this.child.kill(signal)); }
}

/** The prover of envelopes: proxy before the execution client at `upstream`, `beacon` for its beacon endpoint. */
export class EnvelopeProver extends Process {
  constructor(name, parts) { super(name, parts); this.reports = []; }
  start({ listen, upstream, beacon, validator, types, spoilEvery, seed }) {
    const flags = ["--listen", listen, "--upstream", upstream, "--beacon", beacon, "--interop", String(validator), "--proof-types",
      types.join(","), "--spoil-every", String(spoilEvery), ...(seed ? ["--dev-seed", seed] : [])];
    this.spawn(process.env.ENVELOPE_PROVER, flags, (log) => ["pipe", "pipe", log]);
    this.child.stdin.on("error", () => {});
    readline.createInterface({ input: this.child.stdout }).on("line", (line) => {
      const said = { at_ms: Date.now(), ...JSON.parse(line) };
      fs.appendFileSync(this.log, `${line}\n`);
      if (said.event === "up") this.engine = said.engine;
      else if (said.event === "ready") this.validator = said.validator_index;
      else this.reports.push(said);
    });
  }
  up() { return until(`${this.name} listens`, 30_000, () => { this.#alive(); return this.engine; }); }
  ready() { return until(`${this.name} knows its validator`, 90_000, () => { this.#alive(); return this.validator !== undefined; }); }
  #alive() { if (this.exit) throw Error(`${this.name} ended: ${JSON.stringify(this.exit)}; see ${this.log}`); }
  posted() { return this.reports.filter((report) => report.event === "posted"); }
  failed() { return this.reports.filter((report) => report.event !== "posted"); }
  end() { return this.ending(() => this.child.stdin.end()); }
}
