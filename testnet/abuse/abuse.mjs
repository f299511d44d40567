// A whole `assay node` under attack: node abuse.mjs [options of the bench]
// Environment: ASSAY, CHAIN, ABUSE (binaries), OUT_DIR, BASE, SLOTS (of each group of attacks). Exit code 0 only if every check
// passed.
//
// Three nodes over the simulated chain. The first is the victim; the others know it alone, so that a proof posted to the second
// reaches the third through the victim or not at all. Proofs of type 2 are never made: attackers name them for payloads
// that are known. First a validator signs an invalid proof, so that the victim contains it.
import { spawn } from "node:child_process";
import fs from "node:fs";
import readline from "node:readline";
import { sleep, until } from "../real/lib/tools.mjs";
import { Checks, Network, must } from "../lib/network.mjs";

const { ASSAY: binary, CHAIN: chainBinary, ABUSE: abuse, OUT_DIR: out } = process.env;
const base = Number(process.env.BASE), slots = Number(process.env.SLOTS), slotMs = 6000;
// The bench's groups (one where kinds are named), the roll call and what it waits for between them.
const attacked = (process.argv.includes("--only") ? 1 : 3) * slots, besides = 120;
// It signs rubbish; the prover's own is another.
const contained = 7;
const checks = new Checks(`${out}/observed.json`, "abuse", { slots, slot_ms: slotMs });
const network = new Network({
  binary, chainBinary, out, pids: `${out}/pids`, base, slotMs, proofSize: 1 << 20, proofDelayMs: 300, proofTypes: [1, 2],
  places: Array.from({ length: 3 }, () => ({ p2p: "127.0.0.1", api: "127.0.0.1" })),
  // The run is longer than finality takes, and at its end every proof is asked for.
  flags: (n) => ["--retention-epochs", "100", ...(n === 0 ? ["--enable-mplex"] : ["--disable-discovery", "--peer", network.nodes[0].endpoints.p2p])],
});
const { chain } = network;

/** The bench, told of every new payload; its lines, and its exit code. */
function attack(victim) {
  const child = spawn(abuse, ["--record", victim.endpoints.enr, "--metrics", `${new URL(victim.endpoints.http).host}/metrics`,
    "--pid", String(victim.child.pid), "--proof-type", "2", "--contained", String(contained), "--slots", String(slots), "--slot-ms", String(slotMs), ...process.argv.slice(2)],
    { stdio: ["pipe", "pipe", "inherit"] });
  fs.appendFileSync(`${out}/pids`, `${child.pid}\n`);
  child.stdin.on("error", () => {});
  const lines = [];
  readline.createInterface({ input: child.stdout }).on("line", (line) => { lines.push(line); console.log(line); });
  const ended = new Promise((ok) => child.on("exit", (code, signal) => ok({ code, signal })));
  return { child, lines, ended };
}

try {
  await network.start({ boot: false });
  const [victim, one, other] = network.nodes;
  await checks.check("between", async () => {
    const found = await network.found([victim], 2, 60_000);
    for (const node of [one, other]) must((await node.status()).network.connected_peers === 1, `${node.name} knows others too`);
    return found;
  });
  chain.types([1]);
  chain.forge(contained);
  chain.prove([victim.endpoints.http]);
  // More than the attack takes: what is left is not waited for.
  chain.begin(attacked + besides, slotMs);
  // Where the good proof is verified first, the other is not looked at: then it is the next block's.
  await checks.check("contained", () => until("a validator is contained", 20 * slotMs, async () => {
    const metrics = await (await fetch(victim.url("/metrics"))).text();
    const times = Number(/validators_contained_total (\d+)/.exec(metrics)?.[1] ?? 0);
    if (times === 0) throw Error("none so far");
    return { times };
  }));
  chain.forge(null);
  chain.prove([one.endpoints.http]);
  const begun = chain.blocks.length;
  while (chain.blocks.length < begun + 2) await sleep(200);
  const { child, lines, ended } = attack(victim);
  let over = null, told = begun + 1;
  ended.then((exit) => { over = exit; });
  const first = chain.blocks.length;
  while (!over) {
    if (chain.blocks.length > told) {
      told = chain.blocks.length;
      // The newest but one: that it is known, and proven, is sure.
      const { request_root, slot, block_root } = chain.blocks[told - 2];
      child.stdin.write(`payload ${request_root} ${slot} ${block_root}\n`);
    }
    await sleep(200);
  }
  await checks.check("attacked", async () => {
    must(over.code === 0, `the attack's own checks: ${lines.filter((line) => line.includes("FAILED")).join("; ") || JSON.stringify(over)}`);
    return lines.at(-1);
  });
  // The last block may still be on its way to be proven.
  const blocks = chain.blocks.slice(first, -1).filter((block) => chain.proven.has(block.slot));
  await checks.check("honest-proofs", async () => {
    must(blocks.length >= attacked, `${blocks.length} blocks were proven meanwhile`);
    await network.hold([victim, other], blocks, slotMs);
    const times = await network.times(network.nodes, blocks);
    must(times.last_node.max <= slotMs, `a proof took ${times.last_node.max} ms from the first node to the last`);
    return { proofs: blocks.length, ...times };
  });
  await checks.check("clean-end", async () => {
    for (const node of network.nodes) {
      const exit = await node.end();
      must(exit.code === 0, `${node.name}: ${JSON.stringify(exit)}`);
      must(!Object.keys(node.complaints()).some((text) => text.includes("panicked")), node.log);
    }
  });
} catch (error) {
  await checks.check("ran", async () => { throw error; });
} finally {
  await network.end();
  await checks.write();
}
process.exit(checks.ok ? 0 : 1);
