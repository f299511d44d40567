// Small things that every part uses: waiting with a bound, HTTP with a bound, child processes.
import { execFile, spawn } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";

export const sleep = (ms) => new Promise((ok) => setTimeout(ok, ms));

/** Asks `ask` until it gives something true; an error with what was waited for after `ms`. */
export async function until(what, ms, ask) {
  const end = Date.now() + ms;
  let last;
  while (true) {
    try {
      const got = await ask();
      if (got) return got;
      last = "not yet";
    } catch (error) {
      last = error.message;
    }
    if (Date.now() > end) throw Error(`never within ${ms} ms: ${what} (${last})`);
    await sleep(150);
  }
}

/** One HTTP call: {status, json, bytes}. No answer within `timeout` ms is an error. */
export async function http(url, { method = "GET", headers = {}, body, timeout = 10_000 } = {}) {
  const answer = await fetch(url, { method, headers, body, signal: AbortSignal.timeout(timeout) });
  const bytes = Buffer.from(await answer.arrayBuffer());
  let json = null;
  try { json = JSON.parse(bytes.toString()); } catch { /* SSZ, or empty */ }
  return { status: answer.status, headers: answer.headers, json, bytes };
}

/** `data` of a GET that answers 200. */
export async function data(url) {
  const answer = await http(url);
  if (answer.status !== 200) throw Error(`${url}: ${answer.status} ${answer.bytes.toString().slice(0, 200)}`);
  return answer.json.data;
}

/** Runs a program to its end; its standard output. */
export const run = (program, args, { timeout = 60_000, ...options } = {}) =>
  new Promise((ok, no) =>
    execFile(program, args, { timeout, killSignal: "SIGKILL", maxBuffer: 64 << 20, ...options }, (error, stdout, stderr) =>
      error ? no(Error(`${program} ${args[0]}: ${error.message} ${stderr}`)) : ok(stdout)));

/** Runs a script of the rig, whose children outlive it: its output goes to a file, so that nothing waits for them. */
export function script(file, args, env, log, timeout) {
  return new Promise((ok, no) => {
    const out = fs.openSync(log, "a");
    const child = spawn(file, args, { env: { ...process.env, ...env }, stdio: ["ignore", out, out] });
    const timer = setTimeout(() => child.kill("SIGKILL"), timeout);
    child.on("error", no);
    child.on("exit", (code) => {
      clearTimeout(timer);
      fs.closeSync(out);
      if (code === 0) ok();
      else no(Error(`${file} ${args.join(" ")}: exit code ${code}; see ${log}`));
    });
  });
}

/** An Engine API token; `secret` as hex. */
export function token(secret, iat = Math.floor(Date.now() / 1000)) {
  const b64 = (x) => Buffer.from(x).toString("base64url");
  const head = `${b64('{"alg":"HS256","typ":"JWT"}')}.${b64(JSON.stringify({ iat }))}`;
  const key = Buffer.from(secret.trim().replace(/^0x/, ""), "hex");
  return `${head}.${crypto.createHmac("sha256", key).update(head).digest("base64url")}`;
}

/** One Engine API call: {status, json}. */
export function engineCall(url, bearer, method, params) {
  const headers = { "content-type": "application/json", ...(bearer ? { authorization: `Bearer ${bearer}` } : {}) };
  return http(url, { method: "POST", headers, body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }) });
}

/** Events of one topic as they come, with the time they came at. Ends with the stream. */
export function listen(url) {
  const events = [];
  const stop = new AbortController();
  const open = (async () => {
    const answer = await fetch(url, { signal: stop.signal });
    if (answer.status !== 200) throw Error(`${url}: ${answer.status}`);
    (async () => {
      let held = "";
      for await (const chunk of answer.body) {
        held += Buffer.from(chunk).toString();
        const parts = held.split("\n\n");
        held = parts.pop();
        for (const part of parts) {
          const line = part.split("\n").find((l) => l.startsWith("data:"));
          if (line) events.push({ at_ms: Date.now(), ...JSON.parse(line.slice(5)) });
        }
      }
    })().catch(() => {});
  })();
  return { events, open, close: () => stop.abort() };
}
