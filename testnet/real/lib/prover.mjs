// Blocks as a beacon node serves them, and development proofs of their payloads, made and signed with the binary under test.
import crypto from "node:crypto";
import fs from "node:fs";
import { data, http, run } from "./tools.mjs";

/** Order of the BLS12-381 group. */
const ORDER = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001n;

/** Secret key of the interop validator `index`: SHA-256 of the index as 32 little-endian bytes, as a little-endian number. */
export function interopKey(index) {
  const seed = Buffer.alloc(32);
  seed.writeUInt32LE(index);
  const digest = crypto.createHash("sha256").update(seed).digest().reverse();
  return (BigInt(`0x${digest.toString("hex")}`) % ORDER).toString(16).padStart(64, "0");
}

/** The chain as a beacon node serves it: blocks by root, from slot 1 on. */
export class Blocks {
  constructor({ binary, beacon, work, preset, alter = (bytes) => bytes }) {
    Object.assign(this, { binary, beacon, work, preset, alter, byRoot: new Map(), parents: new Map() });
    fs.mkdirSync(work, { recursive: true });
  }

  /** Takes what is new up to the head; the canonical chain with its payloads, oldest first. */
  async refresh() {
    const chain = [];
    let root = (await data(`${this.beacon}/eth/v1/beacon/headers/head`)).root;
    while (true) {
      let parent = this.parents.get(root);
      if (parent === undefined) {
        const { message } = (await data(`${this.beacon}/eth/v1/beacon/headers/${root}`)).header;
        parent = Number(message.slot) > 0 ? message.parent_root : null;
        const block = parent && (await this.#read(root, message));
        if (block) this.byRoot.set(root, block);
        // Gloas: a payload may come after its block, or never; it is asked for again while its block is the head.
        if (block || parent === null || chain.length > 0) this.parents.set(root, parent);
      }
      if (parent === null) return chain;
      if (this.byRoot.has(root)) chain.unshift(this.byRoot.get(root));
      root = parent;
    }
  }

  async #read(root, message) {
    const url = `${this.beacon}/eth/v2/beacon/blocks/${root}`;
    const answer = await http(url, { headers: { accept: "application/octet-stream" } });
    if (answer.status !== 200) throw Error(`${url}: ${answer.status}`);
    const fork = answer.headers.get("eth-consensus-version");
    // Older beacon nodes answer with JSON whatever they are asked for.
    const encoding = answer.json ? "json" : "ssz";
    const file = `${this.work}/block-${message.slot}-${root.slice(2, 10)}.${encoding}`;
    fs.writeFileSync(file, this.alter(encoding === "json" ? Buffer.from(JSON.stringify(answer.json.data)) : answer.bytes, encoding));
    const envelope = fork === "gloas" ? await this.#envelope(root, file) : [];
    if (!envelope) return null;
    const args = ["ssz", "payload", "--preset", this.preset, ...envelope, file];
    const payload = JSON.parse(await run(this.binary, args));
    return { ...payload, root, slot: Number(message.slot), parent: message.parent_root, fork: fork ?? answer.json?.version, encoding, file };
  }

  /** Gloas: the payload is in an envelope of its own; null while there is none. */
  async #envelope(root, file) {
    const url = `${this.beacon}/eth/v1/beacon/execution_payload_envelope/${root}`;
    const answer = await http(url, { headers: { accept: "application/octet-stream" } });
    if (answer.status === 404) return null;
    if (answer.status !== 200) throw Error(`${url}: ${answer.status}`);
    fs.writeFileSync(`${file}.envelope.ssz`, answer.bytes);
    return ["--envelope", `${file}.envelope.ssz`];
  }
}

/** Makes signed proofs. */
export class Prover {
  /** `revision`: of every fork; else beta from Gloas on and alpha before. */
  constructor({ binary, beacon, work, seed = "assay-dev", revision = null }) {
    Object.assign(this, { binary, beacon, work, seed, revision, made: 0 });
    fs.mkdirSync(work, { recursive: true });
  }

  key(index) {
    const file = `${this.work}/key-${index}.hex`;
    if (!fs.existsSync(file)) fs.writeFileSync(file, interopKey(index), { mode: 0o600 });
    return file;
  }

  /** SSZ bytes of a SignedExecutionProof of a block's payload, in beta of its envelope. `alter` changes the unsigned one, `keyOf` names another signer. */
  async prove(block, { validator, proofType = 1, size = 20_000, alter, keyOf = validator }) {
    const name = `${this.work}/proof-${block.slot}-${this.made++}`;
    const beta = (this.revision ?? (block.fork === "gloas" ? "beta" : "alpha")) === "beta";
    // Revision beta: an envelope that names the block, of a proof for this chain.
    const named = beta ? ["--beacon-block-root", block.root, "--chain-id", await this.#chainId()] : [];
    await run(this.binary, ["dev-proof", "--new-payload-request-root", block.new_payload_request_root, "--proof-type", String(proofType),
      "--size", String(size), "--dev-seed", this.seed, ...named, "-o", `${name}.ssz`]);
    if (alter) fs.writeFileSync(`${name}.ssz`, alter(fs.readFileSync(`${name}.ssz`)));
    await run(this.binary, ["sign", `${name}.ssz`, "--key-file", this.key(keyOf), "--validator-index", String(validator),
      "--beacon-node", this.beacon, "--slot", String(block.slot), ...(this.revision ? ["--revision", this.revision] : []), "-o", `${name}.signed.ssz`]);
    return fs.readFileSync(`${name}.signed.ssz`);
  }

  async #chainId() {
    this.chain ??= String((await data(`${this.beacon}/eth/v1/config/spec`)).DEPOSIT_CHAIN_ID);
    return this.chain;
  }
}
