// An `assay node` as a process: started, asked, killed, ended, always by its process id.
import { spawn } from "node:child_process";
import fs from "node:fs";
import { data, http, listen, until } from "./tools.mjs";

const PROOFS = "/eth/v1/beacon/execution_proofs";

export class AssayNode {
  /**
   * `out`: folder of data directory and log. `pids`: file that names every process, for who ends what is left over.
   * `wrap`: a command that becomes the node, with its arguments (a network namespace).
   */
  constructor(name, { binary, out, pids, flags, wrap = [] }) {
    Object.assign(this, { name, binary, pids, flags, wrap, datadir: `${out}/${name}`, log: `${out}/${name}.log`, exit: null });
  }

  spawn(flags = this.flags) {
    fs.mkdirSync(this.datadir, { recursive: true });
    const log = fs.openSync(this.log, "a");
    // Settings of whoever runs this are not those of the node.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("ASSAY_")));
    this.exit = null;
    this.endpoints = null;
    const [program, ...args] = [...this.wrap, this.binary, "node", "--datadir", this.datadir, ...flags];
    this.child = spawn(program, args, { env, stdio: ["ignore", log, log] });
    fs.closeSync(log);
    fs.appendFileSync(this.pids, `${this.child.pid}\n`);
    const child = this.child;
    this.ended = new Promise((ok) => child.on("exit", (code, signal) => {
      this.exit = { code, signal };
      ok(this.exit);
    }));
  }

  /** Waits until it says where it listens. */
  async up(ms = 90_000) {
    await until(`${this.name} listens`, ms, () => {
      if (this.exit) throw Error(`${this.name} ended: ${JSON.stringify(this.exit)}; see ${this.log}`);
      const found = JSON.parse(fs.readFileSync(`${this.datadir}/endpoints.json`, "utf8"));
      return found.pid === this.child.pid && (this.endpoints = found);
    });
  }

  async kill() {
    this.child.kill("SIGKILL");
    return this.ended;
  }

  /** Asks it to end; {code, signal, ms}. What does not end within `ms` is killed. */
  async end(signal = "SIGTERM", ms = 15_000) {
    const started = Date.now();
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill("SIGKILL"), ms);
    const exit = await this.ended;
    clearTimeout(timer);
    return { ...exit, ms: Date.now() - started };
  }

  url(path) { return this.endpoints.http + path; }
  status() { return data(this.url("/assay/v1/status")); }
  /** Rows of the gate by block hash. */
  async payloads() {
    const rows = await data(this.url("/assay/v1/payloads?limit=4096"));
    return new Map(rows.map((row) => [row.block_hash, row]));
  }
  post(bytes) {
    return http(this.url(PROOFS), { method: "POST", headers: { "content-type": "application/octet-stream" }, body: bytes });
  }
  /** Proofs of a block, as JSON. */
  proofs(blockId) { return data(this.url(`${PROOFS}/${blockId}`)); }
  /** Proofs of a block, as SSZ. */
  async proofsSsz(blockId) {
    return (await http(this.url(`${PROOFS}/${blockId}`), { headers: { accept: "application/octet-stream" } })).bytes;
  }
  listen() { return listen(this.url("/eth/v1/events?topics=execution_proof")); }

  /** Warnings and errors of the log, counted by their text. */
  complaints() {
    const counts = {};
    // eslint-disable-next-line no-control-regex
    const plain = fs.readFileSync(this.log, "utf8").replace(/\x1b\[[0-9;]*m/g, "");
    for (const line of plain.split("\n")) {
      const found = /^\S+\s+(WARN|ERROR)\s+(.*)$/.exec(line) ?? /(panicked at .*)$/.exec(line);
      if (!found) continue;
      const text = found.slice(1).join(" ").replace(/0x[0-9a-f]{8,}|\b\d+\b/g, "#").slice(0, 200);
      counts[text] = (counts[text] ?? 0) + 1;
    }
    return counts;
  }
}
