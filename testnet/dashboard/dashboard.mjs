// One state of the network, as the dashboard shows it. Run by run.sh.
import fs from "node:fs";
import { Checks, Network, must } from "../lib/network.mjs";
import { sleep, until } from "../real/lib/tools.mjs";
import { Browser, PHONE, WIDE, overflow, texts } from "./browser.mjs";

const name = process.argv[2];
const out = process.env.OUT_DIR, fault = process.env.FAULT ?? "";
const SLOT_MS = 2000, PATIENCE = 40_000;
const checks = new Checks(`${out}/observed.json`, name, { fault });
const network = new Network({
  binary: process.env.ASSAY, chainBinary: process.env.CHAIN, out, pids: `${out}/pids`, base: Number(process.env.BASE),
  places: [0, 1, 2].map(() => ({ p2p: "127.0.0.1", api: "127.0.0.1" })), slotMs: SLOT_MS, proofSize: 40_000, proofDelayMs: 300,
  proofTypes: [1, 2], listen: "127.0.0.1",
  flags: () => ["--import-policy", "require-proofs", "--required-proofs", "2", "--alert-after-slots", "3", "--max-db-size", "1GiB"],
});
const { chain } = network;
let browser;

const dashboard = (node) => `${node.endpoints.http}/dashboard`;

/** Pictures of a node's page: wide in both colours, and as a phone has it. */
async function pictures(node, suffix = "", path = "") {
  for (const [kind, about] of [
    ["light", { viewport: WIDE }], ["dark", { viewport: WIDE, colorScheme: "dark" }],
    ["phone", { viewport: PHONE }], ["phone-dark", { viewport: PHONE, colorScheme: "dark" }],
  ]) {
    const { page, context, troubles } = await browser.open(dashboard(node) + path, about);
    await page.waitForSelector(path ? "#payload h2" : "#slots tbody tr");
    await sleep(400);
    await page.screenshot({ path: `${out}/${name}${suffix}-${kind}.png`, fullPage: kind !== "phone-dark" });
    const wider = await overflow(page);
    await context.close();
    must(wider <= 0, `${kind}: the page is ${wider} pixels wider than its window`);
    must(troubles.length === 0, troubles.join("; "));
  }
}

const headline = (page) => page.textContent("#headline");

/** Waits until the page says so. */
const says = (page, what, selector, pattern, ms = PATIENCE) => until(what, ms, async () => {
  const all = await texts(page, selector);
  const found = all.find((text) => pattern.test(text));
  if (!found) throw Error(`it says: ${JSON.stringify(all).slice(0, 300)}`);
  return found;
});

async function healthy() {
  const [node, second] = network.nodes;
  chain.prove(network.nodes.map((one) => one.endpoints.http));
  if (fault === "mute") chain.prove([]);
  const run = chain.begin(24, SLOT_MS);
  const { page, troubles } = await browser.open(dashboard(second));
  await checks.check("live", () => says(page, "the stream is open", "#live", /Live/));
  await checks.check("verified-cells", () => until("ten verified proofs of each type", PATIENCE, async () => {
    const cells = await texts(page, "#slots tbody td .state");
    const verified = cells.filter((text) => text.includes("verified")).length;
    if (verified < 20) throw Error(`${verified} so far`);
    return { verified, valid: cells.filter((text) => text.includes("VALID")).length };
  }));
  await checks.check("nothing-to-do", async () => {
    await says(page, "nothing to do", "#headline", /Nothing to do/);
    return texts(page, "#problems li");
  });
  await checks.check("peers-and-provers", async () => ({
    peer: await says(page, "peers that take part", "#peers tbody tr", /takes part/),
    prover: await says(page, "the prover", "#provers tbody tr", /^0\b/),
  }));
  await checks.check("every-state-has-a-sign-and-a-word", async () => {
    const bare = (await texts(page, ".state")).filter((text) => !/^\S+ \S/.test(text));
    must(bare.length === 0, `bare: ${bare}`);
  });
  await checks.check("keyboard", async () => {
    await page.focus("#count");
    await page.keyboard.press("Tab");
    const href = await page.evaluate(() => document.activeElement.getAttribute("href"));
    must(href?.startsWith("#/payload/0x"), `the next stop is ${href}`);
    // What is new in the table does not take the focus away.
    await sleep(2 * SLOT_MS);
    const after = await page.evaluate(() => document.activeElement.getAttribute("href"));
    must(after === href, `the focus went from ${href} to ${after}`);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#payload h2");
    await says(page, "the payload", "#payload", /Proven; 2 distinct types needed/);
    const focus = await page.evaluate(() => document.activeElement.id);
    must(focus === "main", `the focus is at ${focus}`);
    await page.goBack();
    await page.waitForSelector("#slots tbody tr", { state: "visible" });
    return { href };
  });
  await checks.check("pictures", () => pictures(second));
  await checks.check("payload-page", async () => {
    const href = await page.$eval("#slots tbody tr:nth-child(6) a", (link) => link.getAttribute("href"));
    await pictures(second, "-payload", href);
    return href;
  });
  await checks.check("unknown-payload", async () => {
    const { page: other, context } = await browser.open(`${dashboard(second)}#/payload/0x${"12".repeat(32)}`);
    const said = await says(other, "that it is not known", "#payload", /does not know/);
    await context.close();
    return said;
  });
  await checks.check("hostile-text", async () => {
    // Every text of the answer is markup that would run if it became any.
    const hostile = '"><img src=x onerror="window.ran=1"><script>window.ran=1</script>';
    const turn = (value, key) => typeof value === "string" && !["state", "verdict", "level", "import_policy", "execution_client"].includes(key) ? hostile
      : Array.isArray(value) ? value.map((one) => turn(one, key))
        : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([k, one]) => [k, turn(one, k)])) : value;
    const { page: other, context, troubles: errors } = await browser.open(dashboard(second), {
      prepare: (fresh) => fresh.route("**/assay/v1/dashboard*", async (route) => {
        const answer = await route.fetch();
        await route.fulfill({ response: answer, json: turn(await answer.json()) });
      }),
    });
    await other.waitForSelector("#slots tbody tr");
    await sleep(500);
    const found = await other.evaluate(() => ({ images: document.images.length, scripts: document.scripts.length, ran: window.ran ?? null }));
    await context.close();
    must(found.images === 0 && found.scripts === 1 && found.ran === null, JSON.stringify(found));
    must(errors.length === 0, errors.join("; "));
    return found;
  });
  await checks.check("polls-without-stream", async () => {
    const { page: other, context } = await browser.open(dashboard(node), {
      prepare: (fresh) => fresh.route("**/eth/v1/events*", (route) => route.fulfill({ status: 503, body: "{}" })),
    });
    await says(other, "that there is no stream", "#live", /No event stream/);
    const before = await other.textContent("#slots tbody th");
    await until("a newer slot", 4 * SLOT_MS + 6000, async () => (await other.textContent("#slots tbody th")) !== before);
    await context.close();
  });
  await run.done();
  await checks.check("node-goes-and-comes-back", async () => {
    await second.kill();
    await says(page, "that the node is away", "#headline", /does not answer/, 30_000);
    await page.screenshot({ path: `${out}/${name}-away.png` });
    second.spawn();
    await second.up();
    await says(page, "that it is live again", "#live", /Live/, 60_000);
    return says(page, "its state", "#headline", /Nothing to do|to look at|Act now/);
  });
  await checks.check("no-trouble", async () => must(troubles.length === 0, troubles.join("; ")));
}

async function missing() {
  const [node] = network.nodes;
  chain.prove(network.nodes.map((one) => one.endpoints.http));
  await chain.begin(6, SLOT_MS).done();
  if (fault !== "proven") chain.types([1]);
  await chain.begin(6, SLOT_MS).done();
  if (fault !== "proven") chain.prove([]);
  await chain.begin(7, SLOT_MS).done();
  const more = chain.begin(8, SLOT_MS);
  const { page, troubles } = await browser.open(dashboard(node));
  await checks.check("told", () => says(page, "that proofs are missing", "#problems li", /payloads? lacks? (its|their) proofs|payloads lack/));
  await checks.check("head-held", () => says(page, "that the head is held back", "#problems li", /head is SYNCING/));
  await checks.check("cells", async () => {
    const cells = await texts(page, "#slots tbody td .state");
    const counts = Object.fromEntries(["verified", "missing", "awaited"].map((word) => [word, cells.filter((text) => text.includes(word)).length]));
    must(counts.verified > 5 && counts.missing > 5, JSON.stringify(counts));
    return counts;
  });
  await checks.check("pictures", () => pictures(node));
  await checks.check("payload-page", async () => {
    const href = await page.$eval("#slots tbody tr:nth-child(7) a", (link) => link.getAttribute("href"));
    await pictures(node, "-payload", href);
  });
  await more.done();
  await checks.check("no-trouble", async () => must(troubles.length === 0, troubles.join("; ")));
}

async function disagreement() {
  const [node] = network.nodes;
  chain.prove(network.nodes.map((one) => one.endpoints.http));
  await chain.begin(6, SLOT_MS).done();
  // A validator signs rubbish, and the first node's execution client turns against what it has executed.
  if (fault !== "agree") chain.forge(9);
  await chain.begin(6, SLOT_MS).done();
  if (fault !== "agree") chain.execution(0, "invalid");
  const more = chain.begin(6, SLOT_MS);
  const { page, troubles } = await browser.open(dashboard(node));
  await checks.check("conflict", () => says(page, "that the operator has to decide", "#problems li", /INVALID what the beacon node was told/));
  await checks.check("disagreement", () => says(page, "that execution and proofs disagree", "#problems li", /Execution and proofs disagree/));
  await checks.check("act-now", () => says(page, "that somebody has to act", "#headline", /Act now/));
  await checks.check("invalid-proofs", async () => ({
    problem: await says(page, "invalid proofs", "#problems li", /found invalid.*validator 9/s),
    prover: await says(page, "their signer", "#provers tbody tr", /^9[^]*(in view|contained)/),
    cell: await says(page, "whose it was", "#slots tbody td", /invalid by 9/),
  }));
  await checks.check("pictures", () => pictures(node));
  await checks.check("payload-page", async () => {
    const href = await page.$eval("#problems a", (link) => link.getAttribute("href"));
    await pictures(node, "-payload", href);
  });
  await more.done();
  await checks.check("no-trouble", async () => must(troubles.length === 0, troubles.join("; ")));
}

async function syncing() {
  const node = network.nodes.at(-1), others = network.nodes.slice(0, -1);
  chain.prove(others.map((one) => one.endpoints.http));
  chain.finality(false);
  await chain.begin(4, SLOT_MS).done();
  await node.end();
  await chain.begin(20, SLOT_MS).done();
  // It comes back beside an execution client that has lost its chain.
  if (fault !== "executed") chain.execution(2, "syncing");
  const more = chain.begin(12, SLOT_MS);
  // Slow enough to be seen: each proof takes its time.
  node.spawn([...node.flags, "--dev-delay-ms", "1500"]);
  await node.up();
  const { page, troubles } = await browser.open(dashboard(node));
  await checks.check("fetches", () => says(page, "that proofs are fetched", "#queues > div", /Proofs to fetch from peers[^]*[1-9]|Being fetched[^]*[1-9]/));
  await checks.check("early-pictures", () => pictures(node, "-early"));
  await checks.check("head-syncing", () => says(page, "that the head is SYNCING", "#problems li", /head is SYNCING/));
  await checks.check("execution-syncing", () => says(page, "what holds payloads back", "#slots tbody td", /execution client does not say VALID/));
  await checks.check("pictures", () => pictures(node));
  await more.done();
  await checks.check("no-trouble", async () => must(troubles.length === 0, troubles.join("; ")));
}

try {
  await network.start();
  await network.found(network.nodes, 2, 60_000);
  browser = await Browser.start(process.env.CHROMIUM);
  await { healthy, missing, disagreement, syncing }[name]();
} catch (error) {
  await checks.check("ran", async () => { throw error; });
} finally {
  await browser?.end();
  await network.end();
  await checks.write();
}
checks.say(`pictures: ${fs.readdirSync(out).filter((file) => file.endsWith(".png")).length}`);
process.exit(checks.ok ? 0 : 1);
