// The dashboard: reads /assay/v1/dashboard whenever an event comes, a slot has passed or the page is looked at again, and
// shows it. Whatever comes from the node becomes text, never markup.
"use strict";

const TOPICS = ["execution_proof", "gate_verdict", "gate_alarm"];
const AFTER_EVENT_MS = 150;
const POLL_MS = 3000;
const HIDDEN_POLL_MS = 30000;
const ANSWER_TIMEOUT_MS = 10000;
const REOPEN_FIRST_MS = 1000;
const REOPEN_LONGEST_MS = 30000;

const byId = (id) => document.getElementById(id);
// Relative: right behind a proxy that serves the node under a path of its own, too.
const node = (path) => path;

// ---- making and changing elements

const ATTRIBUTES = ["href", "title", "role", "scope", "data-label", "data-key", "aria-label", "colspan"];

/** An element; `about` has `class`, `text` and attributes of the list above; children are elements or text. */
function el(tag, about = {}, ...children) {
  const made = document.createElement(tag);
  if (about.class) made.className = about.class;
  if (about.text !== undefined) made.textContent = String(about.text);
  for (const name of ATTRIBUTES) if (about[name] !== undefined) made.setAttribute(name, String(about[name]));
  for (const child of children.flat()) if (child !== null && child !== undefined) made.append(child);
  return made;
}

/** Makes `old` like `fresh`, leaving what is the same where it is: focus, selection and place stay. */
function become(old, fresh) {
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  become_children(old, [...fresh.childNodes]);
}

function become_children(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let place = old.firstChild;
  for (const wanted of fresh) {
    const key = wanted.dataset?.key;
    const known = key ? keyed.get(key) : place;
    const like = known && known.nodeType === wanted.nodeType && known.nodeName === wanted.nodeName
      && (key || !known.dataset?.key);
    if (!like) {
      old.insertBefore(wanted, place);
      continue;
    }
    if (known === place) place = place.nextSibling;
    else old.insertBefore(known, place);
    if (known.nodeType === Node.TEXT_NODE) {
      if (known.data !== wanted.data) known.data = wanted.data;
    } else become(known, wanted);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

const show = (id, ...children) => become_children(byId(id), children.flat().filter((child) => child !== null));

/** Text that is read out when it changes, so only when it does. */
function say(id, text, style) {
  const place = byId(id);
  if (place.textContent !== text) place.textContent = text;
  if (style !== undefined && place.className !== style) place.className = style;
}

// ---- words

const state = (kind, sign, word, title) => el("span", { class: `state ${kind}`, title }, `${sign} ${word}`);

const number = (value) => value === null || value === undefined ? "unknown" : Number(value).toLocaleString("en");
/** A slot or an epoch: as commands and routes take it. */
const plain = (value) => value === null || value === undefined ? "unknown" : String(value);
const short = (hash) => hash ? `${hash.slice(0, 8)}…${hash.slice(-4)}` : "unknown";
const or = (value, other) => value === null || value === undefined ? other : value;

function bytes(count) {
  if (count === null || count === undefined) return "unknown";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0, left = count;
  while (left >= 1024 && at < units.length - 1) { left /= 1024; at += 1; }
  return `${at === 0 ? left : left.toFixed(left < 10 ? 2 : 1)} ${units[at]}`;
}

function seconds(ms) {
  if (ms === null || ms === undefined) return "";
  const size = Math.abs(ms);
  if (size < 60000) return `${(ms / 1000).toFixed(size < 9950 ? 2 : 1)} s`;
  if (size < 7200000) return `${Math.round(ms / 60000)} min`;
  return `${Math.round(ms / 3600000)} h`;
}

function ago(ms) {
  const past = Math.max(0, ms);
  if (past < 100000) return `${Math.round(past / 1000)} s ago`;
  if (past < 7200000) return `${Math.round(past / 60000)} min ago`;
  return `${Math.round(past / 3600000)} h ago`;
}

const LEVELS = {
  critical: ["bad", "✗", "act now"],
  warning: ["warn", "!", "look"],
  note: ["wait", "i", "note"],
};
const VERDICTS = { VALID: ["good", "✓"], SYNCING: ["wait", "◐"], INVALID: ["bad", "✗"] };
const PROOFS = {
  verified: ["good", "✓", "verified"],
  arrived: ["wait", "◐", "arrived"],
  invalid: ["bad", "✗", "invalid"],
  awaited: ["", "…", "awaited"],
  missing: ["warn", "–", "missing"],
  not_needed: ["", "–", "none, not needed"],
};
const HELD = {
  execution_client: "execution client does not say VALID",
  proofs: "proofs of its own",
  ancestor: "an ancestor",
  unknown_ancestor: "an ancestor that was not seen",
  conflict: "your decision of a conflict",
  other_request_root: "another payload has its block hash",
  unreadable: "a request or answer that could not be read",
  other_latest_valid_hash: "execution client names another payload",
  unknown_payload: "the payload was not seen",
  not_persisted: "its records are not on disk",
};
const WAITS = {
  unknown_payload: "payload not seen yet",
  validator_unavailable: "validator's record not to be had",
  engine_unavailable: "proof engine does not answer",
};
const SOURCES = { gossip: "gossip", req_resp: "asked for", http: "HTTP", prover: "own prover" };
const EXECUTION = {
  online: ["good", "✓", "answers"],
  offline: ["bad", "✗", "no answer"],
  none: ["", "–", "none, by policy"],
  not_served: ["", "–", "not gated"],
};
const POLICIES = {
  observe: "the execution client decides",
  "require-proofs": "VALID once executed and proven",
  "accept-proofs": "proofs stand in for a slow execution client",
  "proofs-only": "proofs decide alone",
};

const word = (words, key) => words[key] ?? String(key);
const verdict = (said) => said ? state(...or(VERDICTS[said], ["", "?"]), said) : state("", "–", "not gated");
const payloadLink = (hash) => hash
  ? el("a", { class: "mono", href: `#/payload/${encodeURIComponent(hash)}`, title: hash, text: short(hash) })
  : el("span", { text: "unknown" });

// ---- parts of the page

function table(id, columns, rows) {
  const head = el("thead", { role: "rowgroup" }, el("tr", { role: "row" },
    columns.map((name) => el("th", { scope: "col", role: "columnheader", text: name }))));
  show(id, head, el("tbody", { role: "rowgroup" }, rows));
}

/** The cells of a row; the first names it. */
function row(key, columns, cells, style) {
  const made = cells.map((cell, at) => {
    const inside = cell instanceof Node || Array.isArray(cell) ? [cell].flat() : [String(or(cell, ""))];
    if (at === 0) return el("th", { scope: "row", role: "rowheader" }, ...inside);
    const blank = inside.every((part) => part === "");
    return el("td", { role: "cell", "data-label": columns[at], class: blank ? "blank" : undefined }, el("div", {}, ...inside));
  });
  return el("tr", { role: "row", "data-key": key, class: style }, made);
}

const pairs = (id, list) => show(id, list.map(([name, value]) =>
  el("div", { "data-key": name }, el("dt", { text: name }), el("dd", {}, value instanceof Node ? value : String(value)))));

function problems(data) {
  const worst = data.problems[0]?.level;
  const serious = data.problems.filter((problem) => problem.level !== "note").length;
  const critical = data.problems.filter((problem) => problem.level === "critical").length;
  if (critical > 0) say("headline", `✗ Act now: ${critical} problem${critical === 1 ? "" : "s"}`, "headline bad");
  else if (worst === "warning") say("headline", `! ${serious} to look at`, "headline warn");
  else say("headline", "✓ Nothing to do", "headline good");
  document.title = `${critical > 0 ? `✗ ${critical} ` : serious > 0 ? `! ${serious} ` : ""}Assay ${data.network.name}`;
  show("problems", data.problems.map((problem) => {
    const [kind, sign, name] = or(LEVELS[problem.level], ["", "?", problem.level]);
    const text = el("span", { text: `${problem.text} ` });
    if (problem.block_hash) text.append(payloadLink(problem.block_hash));
    return el("li", { "data-key": problem.kind }, state(kind, sign, name),
      el("div", {}, text, el("span", { class: "advice", text: problem.advice })));
  }));
}

function facts(data) {
  const { chain, gate, store, peers, engines } = data;
  const behind = chain.head_slot === null ? null : Math.max(0, chain.current_slot - chain.head_slot);
  const up = engines.filter((engine) => engine.healthy).length;
  const types = data.proof_types.map((type) => {
    const entry = data.entries.find((one) => one.proof_type === type);
    return entry && entry.name ? `${type} (${entry.name})` : String(type);
  }).join(", ");
  const list = [
    ["Slot", plain(chain.current_slot), `epoch ${plain(Math.floor(chain.current_slot / data.network.slots_per_epoch))}`],
    ["Head", chain.head_slot === null ? "unknown" : `slot ${plain(chain.head_slot)}`,
      behind === null ? "the view has no head" : behind === 0 ? "at the clock" : `${number(behind)} behind the clock`],
    ["Head's verdict", verdict(gate.head_verdict), gate.head_held_by ? `waits for: ${word(HELD, gate.head_held_by)}`
      : gate.head ? "the beacon node's last fork choice" : "no fork choice came yet"],
    ["Proven without a gap", gate.newest_proven_slot === null ? "nothing yet" : `slot ${plain(gate.newest_proven_slot)}`,
      gate.unproven > 0 ? `${number(gate.unproven)} held back for proofs` : "nothing is held back for proofs"],
    ["Finalized", `epoch ${plain(chain.finalized_epoch)}`, chain.synced ? "follows the beacon node" : "has not caught up with the beacon node"],
    ["Policy", gate.import_policy, `${word(POLICIES, gate.import_policy)}${gate.import_policy === "observe" ? ""
      : `; ${gate.required_proofs} proof${gate.required_proofs === 1 ? "" : "s"} needed`}${gate.proof_lag ? `, ${gate.proof_lag} behind` : ""}`],
    ["Execution client", state(...or(EXECUTION[gate.execution_client], ["", "?", gate.execution_client])),
      `${number(gate.unanswered)} call${gate.unanswered === 1 ? "" : "s"} without an answer`],
    ["Proof engines", engines.length === 0 ? state("", "–", "none") : up === engines.length
      ? state("good", "✓", `${up} of ${engines.length}`) : state("bad", "✗", `${up} of ${engines.length}`),
      types ? `verify type${data.proof_types.length === 1 ? "" : "s"} ${types}` : "nothing is verified"],
    ["Peers", peers.proof_aware > 0 ? state("good", "✓", String(peers.connected)) : state("warn", "!", String(peers.connected)),
      `${number(peers.proof_aware)} take part in proofs`],
    ["Proofs kept", number(store.proofs), bytes(store.proof_bytes)],
  ];
  show("facts", list.map(([name, value, note]) => el("div", { "data-key": name }, el("dt", { text: name }),
    el("dd", {}, value instanceof Node ? value : String(value)), el("dd", { class: "note", text: note }))));
}

function proofCell(proof) {
  const [kind, sign, name] = or(PROOFS[proof.state], ["", "?", proof.state]);
  const parts = [state(kind, sign, name)];
  const lines = [];
  if (proof.state === "verified") {
    if (proof.after_ms !== null) parts.push(" ", el("span", { class: "nobreak", title: "after the start of the slot", text: seconds(proof.after_ms) }));
    const by = proof.validator_index === null ? "unsigned" : `by ${proof.validator_index}`;
    lines.push(el("span", { class: "by", text: `${by}${proof.source ? `, ${word(SOURCES, proof.source)}` : ""}` }));
  }
  for (const held of proof.state === "verified" ? [] : proof.under_way) {
    const waits = held.waits_for ? `; waits: ${word(WAITS, held.waits_for)}` : "";
    lines.push(el("span", { class: "by", text: `by ${held.validator_index}, ${word(SOURCES, held.source)}, ${seconds(held.after_ms)}${waits}` }));
  }
  for (const wrong of proof.invalid) {
    lines.push(el("span", { class: "by attention", text: `✗ invalid by ${wrong.validator_index}, ${word(SOURCES, wrong.source)}, ${seconds(wrong.after_ms)}` }));
  }
  if (proof.refused > 0) lines.push(el("span", { class: "by", text: `${number(proof.refused)} refused unsigned or malformed` }));
  return [...parts, ...lines.flatMap((line) => [" ", line])];
}

function held(payload) {
  if (!payload.held_by) return "";
  if (payload.held_by_block) return [`${word(HELD, payload.held_by)} `, payloadLink(payload.held_by_block)];
  return word(HELD, payload.held_by);
}

function verdictCell(payload) {
  const parts = [verdict(payload.verdict)];
  const lines = [];
  if (payload.verdict && payload.execution_status !== payload.verdict) lines.push(`executed: ${payload.execution_status}`);
  if (payload.conflict) lines.push("conflict: decide");
  if (payload.anchor) lines.push("trusted");
  if (payload.released) lines.push("released without proofs");
  // A view that has not caught up does not know.
  if (payload.canonical === false && last?.chain.synced) lines.push("not on the head's chain");
  if (lines.length > 0) parts.push(" ", el("span", { class: `by${payload.conflict ? " attention" : ""}`, text: lines.join("; ") }));
  return parts;
}

function slots(data, now) {
  const types = [...new Set([...data.proof_types, ...data.slots.flatMap((slot) => slot.payloads.flatMap((payload) =>
    (payload.proofs ?? []).map((proof) => proof.proof_type)))])];
  const columns = ["Slot", "Payload", "Verdict", ...types.map((type) => `Proof type ${type}`), "Held back by"];
  const rows = [];
  // The newest first; a run of slots without a block is one row.
  const bare = (slot) => slot && slot.payloads.length === 0 && !slot.block_root;
  for (let at = 0; at < data.slots.length; at += 1) {
    const first = data.slots[at];
    let last_bare = at;
    while (bare(first) && bare(data.slots[last_bare + 1])) last_bare += 1;
    const slot = data.slots[last_bare], run = last_bare - at;
    at = last_bare;
    const name = [run > 0 ? `${plain(slot.slot)} to ${plain(first.slot)} ` : `${plain(slot.slot)} `,
      el("span", { class: "small", text: first.start_ms > now ? "next" : ago(now - first.start_ms) })];
    if (slot.payloads.length === 0) {
      const text = slot.block_root ? "block without a known payload" : run > 0 ? `no block in ${run + 1} slots` : "no block";
      rows.push(el("tr", { role: "row", class: "empty", "data-key": `${slot.slot}` },
        el("th", { scope: "row", role: "rowheader" }, ...name), el("td", { role: "cell", colspan: columns.length - 1, text })));
    }
    for (const payload of slot.payloads) {
      const proofs = types.map((type) => {
        const proof = (payload.proofs ?? []).find((one) => one.proof_type === type);
        return proof ? proofCell(proof) : "";
      });
      rows.push(row(`${slot.slot} ${payload.block_hash}`, columns,
        [name, payloadLink(payload.block_hash), verdictCell(payload), ...proofs, held(payload)]));
    }
  }
  const late = data.gate.overdue_after_slots;
  say("legend", `Times count from the start of the slot. A proof that has not come ${late} slot${late === 1 ? "" : "s"} after its own is missing.`);
  table("slots", columns, rows);
}

function provers(data, now) {
  const columns = ["Validator", "Accepted", "Types", "Median time", "Newest slot", "Last came by", "Invalid"];
  const rows = data.provers.map((prover) => {
    const bad = prover.contained_until_slot !== null
      ? [state("bad", "✗", `${number(prover.invalid)} in view`), el("span", { class: "by", text: `contained until slot ${plain(prover.contained_until_slot)}` })]
      : prover.invalid > 0 ? state("bad", "✗", `${number(prover.invalid)} in view`) : "none";
    return row(prover.validator_index, columns, [prover.validator_index, number(prover.accepted), prover.proof_types.join(", ") || "none",
      prover.median_ms === null ? "" : seconds(prover.median_ms), prover.newest_slot === null ? "" : plain(prover.newest_slot),
      prover.source === null ? "" : `${word(SOURCES, prover.source)}, ${ago(now - prover.last_at_ms)}`, bad]);
  });
  if (rows.length === 0) rows.push(nothing(columns, "No proof was accepted since start."));
  table("provers", columns, rows);
}

const nothing = (columns, text) => el("tr", { role: "row", class: "empty", "data-key": "nothing" },
  el("td", { role: "cell", colspan: columns.length, text }));

function peers(data) {
  const columns = ["Peer", "Says it is", "State", "Proofs", "Types", "Proven slot", "Head slot", "Score"];
  const rows = data.peers.rows.map((peer) => {
    const role = peer.proof_aware ? state("good", "✓", "takes part") : state("", "–", "no part");
    const record = peer.eproof === null ? "record unknown" : `eproof ${peer.eproof}`;
    return row(peer.peer_id, columns, [
      el("span", { class: "mono", title: `${peer.peer_id} ${or(peer.address, "")}`, text: `${peer.peer_id.slice(0, 6)}…${peer.peer_id.slice(-8)}` }),
      el("span", { class: "wrap", text: or(peer.agent, "unknown") }),
      `${peer.state}, ${or(peer.direction, "")}${peer.trusted ? ", trusted" : ""}`,
      [role, el("span", { class: "by", text: record })],
      peer.proof_types === null ? "" : peer.proof_types.join(", ") || "none",
      peer.proven_slot === null ? "" : peer.proven_slot === 0 ? "nothing yet" : plain(peer.proven_slot),
      peer.head_slot === null ? "" : plain(peer.head_slot),
      peer.score < -5 ? state("warn", "!", peer.score.toFixed(1)) : peer.score.toFixed(1),
    ]);
  });
  const more = data.peers.known > data.peers.rows.length ? `; ${number(data.peers.known)} known in all` : "";
  say("peers-count", `${number(data.peers.connected)} connected, ${number(data.peers.proof_aware)} of them take part in proofs${more}.`);
  if (rows.length === 0) rows.push(nothing(columns, "No peer."));
  table("peers", columns, rows);
}

function rest(data, now) {
  pairs("engines", data.engines.length === 0 ? [["None", "nothing is verified"]] : data.engines.map((engine) => {
    const health = engine.healthy ? state("good", "✓", "answers") : state("bad", "✗", "no answer");
    const about = [`type${engine.proof_types.length === 1 ? "" : "s"} ${engine.proof_types.join(", ")}`];
    if (engine.proves_nothing) about.push("proves nothing");
    if (engine.failures > 0) about.push(`${number(engine.failures)} calls failed`);
    if (!engine.healthy && engine.last_error) about.push(engine.last_error);
    return [engine.name, el("span", {}, health, ` ${about.join("; ")}`)];
  }));
  const { sync } = data.queues;
  const waiting = data.queues.without_verdict.map((one) =>
    [one.waits_for ? `Wait: ${word(WAITS, one.waits_for)}` : "Being judged", number(one.count)]);
  pairs("queues", [
    ...(waiting.length > 0 ? waiting : [["Proofs without a verdict", "none"]]),
    ...(data.queues.awaited_roots === 0 ? [] : [["Unknown payloads and blocks that proofs name",
      `${number(data.queues.awaited_roots)}; the first proof came ${ago(now - data.queues.awaited_since_ms)}`]]),
    ["Held in memory", bytes(data.queues.held_bytes)],
    ["Proofs to fetch from peers", `${number(sync.missing - sync.not_obtainable)}${sync.paused ? ", paused" : ""}`],
    ["Being fetched", `${number(sync.under_way)} in ${number(sync.requests)} requests`],
    ["No peer has them", number(sync.not_obtainable)],
    ["Peers that may be asked", number(sync.sources)],
    ...(sync.unreachable_from === null ? [] : [["Nobody can serve", `slots ${plain(sync.unreachable_from)} to ${plain(sync.unreachable_to)}`]]),
  ]);
  const { store } = data;
  pairs("store", [
    ["State", store.healthy === null ? state("bad", "✗", "unreadable") : store.healthy ? state("good", "✓", "written") : state("bad", "✗", "writes fail")],
    ["Proofs", `${number(store.proofs)}, ${bytes(store.proof_bytes)}`],
    ["Limit", store.limit_bytes === null ? "none" : bytes(store.limit_bytes)],
    ["File", bytes(store.file_bytes)],
    ["Free on the disk", bytes(store.disk_free_bytes)],
    ["Slots", store.oldest_slot === null ? "none" : `${plain(store.oldest_slot)} to ${plain(store.newest_slot)}`],
    ["Serves from slot", plain(store.serve_range_start)],
    ["Pruned since start", number(store.pruned)],
  ]);
  const { gate } = data;
  pairs("answers", [
    ["VALID", number(gate.answered_valid)],
    ["SYNCING", number(gate.answered_syncing)],
    ["INVALID", number(gate.answered_invalid)],
    ["Held back", number(gate.lowered)],
    ["VALID by proofs alone", number(gate.raised)],
    ["Payloads in view", number(gate.payloads)],
  ]);
  pairs("alarms", gate.alarms.length === 0 ? [["None", ""]] : gate.alarms.map((alarm) => [alarm.kind.replaceAll("_", " "),
    el("span", {}, `${number(alarm.count)}, last ${ago(now - alarm.last_at_ms)} `, alarm.block_hash ? payloadLink(alarm.block_hash) : null)]));
}

// ---- a payload's page

const TIMES = [
  ["seen_at_ms", "first heard of"],
  ["new_payload_at_ms", "newPayload came"],
  ["execution_valid_at_ms", "execution client said VALID"],
  ["proven_at_ms", "proven"],
  ["valid_at_ms", "verdict VALID"],
  ["told_syncing_at_ms", "beacon node told SYNCING"],
  ["told_valid_at_ms", "beacon node told VALID"],
];

function detail(held) {
  if (!held) return ["Nothing holds it back."];
  const parts = [`Held back by: ${word(HELD, held.kind)}`];
  if (held.need !== undefined) parts.push(` (${held.have} of ${held.need})`);
  if (held.execution_status) parts.push(` (it says ${held.execution_status})`);
  if (held.block_hash) parts.push(" ", payloadLink(held.block_hash));
  parts.push(`. Rule ${held.rule} of the gate.`);
  return parts;
}

function payloadPage(hash, payload, data) {
  const start = slotStart(data, payload.slot);
  const at = (ms) => ms === null || ms === undefined ? null : start === null ? new Date(ms).toISOString() : `${seconds(ms - start)} after slot start`;
  const back = el("p", {}, el("a", { href: "#/", text: "← all slots" }));
  const title = el("h2", { text: payload.slot === null ? "Payload" : `Payload of slot ${plain(payload.slot)}` });
  const names = [["Block hash", payload.block_hash], ["Parent hash", payload.parent_hash], ["Request root", payload.new_payload_request_root]];
  const ids = el("dl", { class: "pairs left" }, names.filter(([, value]) => value).map(([name, value]) => el("div", {},
    el("dt", { text: name }), el("dd", { class: "mono" }, name === "Parent hash" ? el("a", { href: `#/payload/${encodeURIComponent(value)}`, text: value }) : value))));
  const top = el("section", {}, title, el("p", {}, ...verdictCell(payload)), ids);
  if (!payload.in_tree) {
    top.append(el("p", { text: "Finality took it out of the gate's tree; only its verdict is remembered." }));
    return [back, top];
  }
  top.append(el("p", {}, ...detail(payload.held_by_detail)));
  const times = el("section", {}, el("h2", { text: "When" }), el("dl", { class: "pairs left" }, TIMES.map(([field, name]) =>
    el("div", {}, el("dt", { text: name }), el("dd", { text: at(payload[field]) ?? "not yet" })))));

  const seen = data.slots.flatMap((slot) => slot.payloads).find((one) => one.block_hash === hash);
  const proofLines = seen?.proofs ? seen.proofs.map((proof) => [proof.proof_type, proofCell(proof)])
    : payload.proofs.map((proof) => [proof.proof_type, [state("good", "✓", "verified"), ` ${at(proof.at_ms)}, by ${or(proof.validator_index, "nobody: unsigned")}`]]);
  const proofs = el("section", {}, el("h2", { text: "Proofs" }),
    el("p", { class: "small", text: `${payload.proven ? "Proven" : "Not proven"}; ${payload.required_proofs} distinct type${payload.required_proofs === 1 ? "" : "s"} needed.` }),
    proofLines.length === 0 ? el("p", { text: "None." }) : el("dl", { class: "pairs left" }, proofLines.map(([type, inside]) =>
      el("div", {}, el("dt", { text: `type ${type}` }), el("dd", {}, ...[inside].flat())))));
  const parts = [back, top, times, proofs];
  if (payload.holding_ancestors.length > 0) {
    parts.push(el("section", {}, el("h2", { text: "Ancestors that hold it back" }), el("ul", {}, payload.holding_ancestors.map((ancestor) =>
      el("li", {}, payloadLink(ancestor.block_hash), ` ${ancestor.slot === null ? "" : `slot ${plain(ancestor.slot)}: `}`, ...detail(ancestor.held_by))))));
  }
  parts.push(el("section", {}, el("h2", { text: "Changes of its verdict" }), payload.changes.length === 0 ? el("p", { text: "None in this run." })
    : el("ol", {}, payload.changes.map((change) => el("li", {}, `${at(change.at_ms)}: ${or(change.from, "unknown")} → ${change.to}, because: `
      + `${String(change.cause).replaceAll("_", " ")}${change.held_by ? `; held back by: ${word(HELD, change.held_by)} (rule ${change.rule})` : ""}`)))));
  return parts;
}

function slotStart(data, slot) {
  const known = data.slots[0];
  return slot === null || slot === undefined || !known ? null : known.start_ms + (slot - known.slot) * data.network.slot_ms;
}

async function payload(hash, data) {
  let parts;
  try {
    const answer = await read(`${node("assay/v1/payloads/")}${encodeURIComponent(hash)}`);
    parts = payloadPage(hash, answer.data, data);
  } catch (error) {
    parts = [el("p", {}, el("a", { href: "#/", text: "← all slots" })), el("section", {}, el("h2", { text: "Payload" }),
      el("p", { class: "mono wrap", text: hash }), el("p", { text: `${error.message}.` }))];
  }
  // Another page may have been asked for meanwhile.
  if (place() === hash) show("payload", parts);
}

// ---- reading and keeping up

let last = null, lastAt = 0, timer = null, due = Infinity, reading = false, again = false, failures = 0;
let stream = null, streaming = false, reopen = REOPEN_FIRST_MS;

async function read(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
  const body = await answer.json();
  if (!answer.ok) throw Error(body.message ?? `answer ${answer.status}`);
  return body;
}

/** The payload the address names; null for the overview. */
function place() {
  const found = /^#\/payload\/([^/]+)$/.exec(location.hash);
  try { return found ? decodeURIComponent(found[1]) : null; } catch { return null; }
}

function draw() {
  if (!last) return;
  const now = last.now_ms + (Date.now() - lastAt), hash = place();
  byId("overview").hidden = hash !== null;
  byId("payload").hidden = hash === null;
  say("network", last.network.name);
  say("version", `${last.version}, peer id ${last.network.peer_id}`);
  problems(last);
  if (hash !== null) { payload(hash, last); return; }
  facts(last);
  slots(last, now);
  provers(last, now);
  peers(last);
  rest(last, now);
}

async function refresh() {
  if (reading) { again = true; return; }
  reading = true;
  clearTimeout(timer);
  due = Infinity;
  try {
    const answer = await read(`${node("assay/v1/dashboard")}?slots=${encodeURIComponent(byId("count").value)}`);
    last = answer.data;
    lastAt = Date.now();
    failures = 0;
  } catch {
    failures += 1;
  }
  reading = false;
  try { draw(); } finally { standing(); }
  const pause = document.hidden ? HIDDEN_POLL_MS : streaming && last ? Math.min(12000, Math.max(1000, last.network.slot_ms / 2)) : POLL_MS;
  soon(again ? AFTER_EVENT_MS : pause);
  again = false;
}

/** A refresh in so many milliseconds, or sooner where one is due. */
function soon(ms) {
  const at = Date.now() + ms;
  if (at >= due) return;
  clearTimeout(timer);
  due = at;
  timer = setTimeout(refresh, ms);
}

/** Whether what is shown can be trusted. */
function standing() {
  if (failures > 0) {
    say("live", "✗ The node does not answer", "state bad");
    say("headline", "✗ The node does not answer; what is shown is old", "headline bad");
    document.title = "✗ Assay: no answer";
  } else if (streaming) say("live", "✓ Live", "state good");
  else say("live", "◐ No event stream: asks every few seconds", "state warn");
  age();
}

function age() {
  say("age", lastAt === 0 ? "" : `as of ${ago(Date.now() - lastAt)}`);
}

function listen() {
  stream = new EventSource(`${node("eth/v1/events")}?topics=${TOPICS.join(",")}`);
  stream.onopen = () => { streaming = true; reopen = REOPEN_FIRST_MS; soon(AFTER_EVENT_MS); standing(); };
  stream.onerror = () => {
    streaming = false;
    standing();
    soon(POLL_MS);
    // The browser comes again by itself where the stream broke, not where the node refused it.
    if (stream.readyState !== EventSource.CLOSED) return;
    setTimeout(listen, reopen);
    reopen = Math.min(REOPEN_LONGEST_MS, reopen * 2);
  };
  for (const topic of TOPICS) stream.addEventListener(topic, () => soon(AFTER_EVENT_MS));
}

addEventListener("hashchange", () => { draw(); byId("main").focus(); scrollTo(0, 0); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(0); });
byId("count").addEventListener("change", () => soon(0));
setInterval(age, 1000);
refresh();
listen();
