// Proofs of every payload of the chain, each so late as the plan says, posted to the first node that takes it.
import { sleep } from "../real/lib/tools.mjs";

export class Poster {
  /** `delay(block)`: ms after the block was first seen. `nodes()`: where to post, in this order. */
  constructor({ blocks, prover, delay, nodes, validator = 3, poll = 200 }) {
    Object.assign(this, { blocks, prover, delay, nodes, validator, poll });
    this.proofs = new Map(); // block root -> {slot, block_hash, due, delay, posted_at, status}
    this.problem = null;
    this.ended = false;
    this.done = this.#run();
  }

  async #run() {
    while (!this.ended) {
      try {
        for (const block of await this.blocks.refresh()) {
          if (this.proofs.has(block.root)) continue;
          const delay = this.delay(block);
          this.proofs.set(block.root, { block, slot: block.slot, block_hash: block.block_hash, fork: block.fork, delay, due: Date.now() + delay, tries: 0 });
        }
        this.problem = null;
      } catch (error) { this.problem = error.message; }
      const now = Date.now();
      for (const proof of this.proofs.values()) if (!proof.status && !proof.busy && proof.due <= now) this.#post(proof);
      await sleep(this.poll);
    }
  }

  async #post(proof) {
    proof.busy = true;
    try {
      proof.bytes ??= await this.prover.prove(proof.block, { validator: this.validator });
      for (const node of this.nodes()) {
        proof.tries++;
        const answer = await node.post(proof.bytes).catch((error) => ({ status: 0, json: error.message }));
        proof.last = { node: node.name, status: answer.status, answer: answer.json };
        if (answer.status === 200 || answer.status === 400) {
          Object.assign(proof, { status: answer.status, posted_at: Date.now(), to: node.name });
          break;
        }
      }
    } catch (error) { this.problem = error.message; }
    if (!proof.status) proof.due = Date.now() + 500;
    proof.busy = false;
  }

  get open() { return [...this.proofs.values()].filter((p) => !p.status); }
  get posted() { return [...this.proofs.values()].filter((p) => p.status === 200); }
  get refused() { return [...this.proofs.values()].filter((p) => p.status === 400); }
  async end() { this.ended = true; await this.done; }
}
