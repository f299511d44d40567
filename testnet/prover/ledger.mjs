// What was proven, block by block: the beacon node's blocks on one side, the proofs that nodes hold on the other.
import { http, listen, sleep } from "../real/lib/tools.mjs";

const PROOFS = "/eth/v1/beacon/execution_proofs";
/** A block whose proofs have not come after so long is asked for no more. */
const PATIENCE = 60_000;

export class Ledger {
  /** `beacon`: URL; `nodes`: AssayNodes that are up; `fork(slot)`: which fork a slot is of; `types`: of every slot, or a function of it. */
  constructor({ beacon, nodes, types, fork }) {
    const typesAt = typeof types === "function" ? types : () => types;
    Object.assign(this, { beacon, nodes, typesAt, fork, blocks: new Map(), ended: false });
    this.stream = listen(`${beacon}/eth/v1/events?topics=block`);
    this.accepted = nodes.map((node) => node.listen());
  }

  async open() {
    await Promise.all([this.stream.open, ...this.accepted.map((stream) => stream.open)]);
    this.keeping = this.#keep();
  }

  /** Asks for what is missing, again and again: orphaned blocks are asked for before finality takes them away. */
  async #keep() {
    let taken = 0;
    while (!this.ended) {
      for (; taken < this.stream.events.length; taken++) {
        const { block, slot, at_ms: at } = this.stream.events[taken];
        if (!this.blocks.has(block)) {
          this.blocks.set(block, { root: block, slot: Number(slot), seen_ms: at, payload: false, held: this.nodes.map(() => new Map()) });
        }
      }
      for (const block of this.blocks.values()) {
        if (Date.now() - block.seen_ms < PATIENCE && !this.#done(block)) await this.#ask(block).catch(() => {});
      }
      await sleep(250);
    }
  }

  #done(block) { return block.payload && block.held.every((held) => held.size === this.typesAt(block.slot).length); }

  async #ask(block) {
    if (!block.payload) {
      block.payload = this.fork(block.slot) !== "gloas"
        || (await http(`${this.beacon}/eth/v1/beacon/execution_payload_envelope/${block.root}`)).status === 200;
    }
    for (const [n, node] of this.nodes.entries()) {
      const answer = await http(node.url(`${PROOFS}/${block.root}`));
      if (answer.status !== 200) continue;
      for (const { message, validator_index: validator } of answer.json.data) {
        const known = block.held[n].get(Number(message.proof_type));
        if (known && known.validator !== validator) block.twice = true;
        // Which container it came in, and what that names: the payload by its request root, or the block.
        const named = message.public_input ? { alpha: message.public_input.new_payload_request_root } : { beta: message.beacon_block_root };
        if (!known) block.held[n].set(Number(message.proof_type), { validator, named, at_ms: Date.now() });
      }
      if (answer.json.data.length > this.typesAt(block.slot).length) block.twice = true;
    }
  }

  /** All blocks from a slot on, those of abandoned branches too, oldest first. */
  from(slot) { return [...this.blocks.values()].filter((b) => b.slot >= slot).sort((a, b) => a.slot - b.slot); }

  /** Events of accepted proofs at node `n`: how often each payload and type. */
  counted(n) {
    const counts = new Map();
    for (const event of this.accepted[n].events) {
      const key = `${event.new_payload_request_root}/${event.proof_type}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return counts;
  }

  async close() {
    this.ended = true;
    await this.keeping;
    this.stream.close();
    this.accepted.forEach((stream) => stream.close());
  }
}
