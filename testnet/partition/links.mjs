// Network namespaces, one a node, joined by links that can be cut, slowed and made to lose.
//   node links.mjs down        removes all of them, and nothing else
// Every name begins with `asy`. A namespace has two links: `m0` for the APIs of node, beacon node and execution client, which is
// always whole, and `p0` for libp2p and discovery, which is the one that suffers.
import { execFileSync, spawn } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import readline from "node:readline";

const here = path.dirname(fileURLToPath(import.meta.url));
const MOST = 8;
export const RATE = "50mbit";
export const space = (n) => `asy-${n}`;
export const apiAddress = (n) => `10.214.0.${10 + n}`;
export const p2pAddress = (n) => `10.213.0.${10 + n}`;
export const HOST = "10.214.0.1";
export const inside = (n) => ["ip", "netns", "exec", space(n)];

function ip(...args) { execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] }); }
function tc(...args) { execFileSync("tc", args, { stdio: ["ignore", "ignore", "pipe"] }); }
const tried = (work) => { try { work(); return true; } catch { return false; } };
const tcInside = (n, ...args) => execFileSync("ip", ["netns", "exec", space(n), "tc", ...args], { stdio: ["ignore", "ignore", "pipe"] });

export function removeAll() {
  for (let n = 1; n <= MOST; n++) {
    tried(() => ip("netns", "del", space(n)));
    for (const link of [`asym${n}`, `asyp${n}`, `asyu${n}`]) tried(() => ip("link", "del", link));
  }
  for (const link of ["asyt1", "asym", "asyl", "asyr"]) tried(() => ip("link", "del", link));
}

/** Why there can be no namespaces here; null where there can. */
export function whyNot() {
  if (process.getuid() !== 0) return "network namespaces need root";
  try {
    ip("netns", "add", "asy-0");
    ip("netns", "del", "asy-0");
    return null;
  } catch (error) {
    return `no network namespaces: ${String(error.stderr ?? error.message).trim()}`;
  }
}

function bridge(name, address) {
  ip("link", "add", name, "type", "bridge");
  if (address) ip("addr", "add", `${address}/24`, "dev", name);
  ip("link", "set", name, "up");
}

function cable(n, outer, inner, address, to) {
  ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", space(n));
  ip("link", "set", outer, "master", to, "up");
  ip("-n", space(n), "addr", "add", `${address}/24`, "dev", inner);
  ip("-n", space(n), "link", "set", inner, "up");
}

function spaces(count) {
  removeAll();
  bridge("asym", HOST);
  for (let n = 1; n <= count; n++) {
    ip("netns", "add", space(n));
    ip("-n", space(n), "link", "set", "lo", "up");
    cable(n, `asym${n}`, "m0", apiAddress(n), "asym");
  }
}

const tbf = ["tbf", "rate", RATE, "burst", "64kb", "latency", "400ms"];

/** Two bridges with a trunk between them: the first half of the nodes left, the others right. 50 Mbit/s a node, both ways. */
export function divided(count) {
  spaces(count);
  bridge("asyl");
  bridge("asyr");
  ip("link", "add", "asyt1", "type", "veth", "peer", "name", "asyt2");
  ip("link", "set", "asyt1", "master", "asyl", "up");
  ip("link", "set", "asyt2", "master", "asyr", "up");
  for (let n = 1; n <= count; n++) {
    cable(n, `asyp${n}`, "p0", p2pAddress(n), n <= count / 2 ? "asyl" : "asyr");
    tc("qdisc", "add", "dev", `asyp${n}`, "root", ...tbf);
    tcInside(n, "qdisc", "add", "dev", "p0", "root", ...tbf);
  }
}
export const trunk = (up) => ip("link", "set", "asyt1", up ? "up" : "down");
export const link = (n, up) => ip("-n", space(n), "link", "set", "p0", up ? "up" : "down");

/** Links with delay and loss at 50 Mbit/s; says by what: `netem` or `relay`, and how to end it. */
export async function lossy(count, { delayMs, loss, pids }) {
  spaces(count);
  bridge("asyl");
  const kernel = tried(() => {
    tc("qdisc", "add", "dev", "asyl", "root", "netem", "delay", "1ms");
    tc("qdisc", "del", "dev", "asyl", "root");
  });
  if (kernel) {
    for (let n = 1; n <= count; n++) {
      cable(n, `asyp${n}`, "p0", p2pAddress(n), "asyl");
      tc("qdisc", "add", "dev", `asyp${n}`, "root", ...tbf);
      tcInside(n, "qdisc", "add", "dev", "p0", "root", "netem", "delay", `${delayMs}ms`, "loss", `${loss * 100}%`, "limit", "100000");
    }
    return { by: "netem", end: async () => null };
  }
  // A process that holds the other end of every link, and hands packets on late, or not at all.
  const numbers = Array.from({ length: count }, (_, i) => i + 1);
  const names = numbers.map((n) => `asyu${n}`);
  const child = spawn("python3", [`${here}/relay.py`, "--delay-ms", String(delayMs), "--loss", String(loss),
    ...numbers.flatMap((n) => ["--link", `${names[n - 1]}=${p2pAddress(n)}`])], { stdio: ["pipe", "pipe", "inherit"] });
  pids(child.pid);
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.value !== "ready") throw Error("the relay did not start");
  for (const n of numbers) {
    ip("link", "set", names[n - 1], "netns", space(n), "name", "p0");
    ip("-n", space(n), "addr", "add", `${p2pAddress(n)}/24`, "dev", "p0");
    ip("-n", space(n), "link", "set", "p0", "up", "mtu", "1500");
    tcInside(n, "qdisc", "add", "dev", "p0", "root", ...tbf);
  }
  return {
    by: "relay",
    async end() {
      child.stdin.end();
      const counted = await lines.next();
      return counted.value ? JSON.parse(counted.value) : null;
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url) && process.argv[2] === "down") removeAll();
