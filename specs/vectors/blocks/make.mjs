// Makes ../blocks.json: whole blocks, payload requests and envelopes of every fork in both presets; see ../README.md.
// @lodestar/types takes its preset from the environment, so this file runs itself once for each.
import {execFileSync} from "node:child_process";
import {createHash} from "node:crypto";
import {writeFileSync} from "node:fs";
import {fileURLToPath} from "node:url";

const FORKS = ["phase0", "altair", "bellatrix", "capella", "deneb", "electra", "fulu", "gloas"];
const hex = (bytes) => "0x" + Buffer.from(bytes).toString("hex");
const sha256 = (data) => createHash("sha256").update(data).digest();

// Bytes and numbers that follow from a seed.
function dice(seed) {
  let n = 0;
  const bytes = (len) => {
    const out = [];
    while (out.length < len) out.push(...sha256(`${seed} ${n++}`));
    return Uint8Array.from(out.slice(0, len));
  };
  return {bytes, below: (limit) => Buffer.from(bytes(4)).readUInt32LE() % limit};
}

// A random value of a type, in the JSON that the type reads. `most` is the most elements of a list.
function random(type, d, most) {
  const bits = (len) => {
    const bytes = d.bytes(Math.ceil(len / 8));
    if (len % 8) bytes[bytes.length - 1] &= (1 << len % 8) - 1;
    return bytes;
  };
  const delimited = (len) => {
    const bytes = Uint8Array.from([...bits(len), 0].slice(0, Math.floor(len / 8) + 1));
    bytes[Math.floor(len / 8)] |= 1 << len % 8;
    return hex(bytes);
  };
  const name = type.constructor.name + " " + type.typeName;
  if (type.fields) {
    const out = {};
    for (const [key, field] of Object.entries(type.fields)) out[type.getJsonFieldName?.(key) ?? jsonKey(type, key)] = random(field, d, most);
    return out;
  }
  if (type.elementType) {
    const length = type.length ?? Math.min(type.limit ?? most, d.below(most + 1));
    return Array.from({length}, () => random(type.elementType, d, most));
  }
  if (type.lengthBits !== undefined) return hex(bits(type.lengthBits));
  if (type.lengthBytes !== undefined) return hex(d.bytes(type.lengthBytes));
  if (/bitlist/i.test(name)) return delimited(d.below(40));
  if (/bytelist|transaction|BlockAccessList/i.test(name)) return hex(d.bytes(Math.min(type.limitBytes ?? 70, d.below(70))));
  if (/boolean/i.test(name)) return d.below(2) === 1;
  if (type.byteLength !== undefined) {
    // Numbers of JavaScript hold 53 bits.
    const size = Math.min(type.byteLength, /bigint/i.test(type.constructor.name) ? 32 : 6);
    return BigInt(hex(d.bytes(size))).toString();
  }
  throw Error(`no value for ${name}`);
}

const jsonKey = (type, key) => type.jsonKeyToFieldName
  ? Object.entries(type.jsonKeyToFieldName).find(([, field]) => field === key)[0]
  : type.fieldsEntries.find((entry) => entry.fieldName === key).jsonKey;

// JSON with sorted keys, in lower case: what `json_sha256` is of.
const sorted = (value) =>
  Array.isArray(value)
    ? value.map(sorted)
    : value && typeof value === "object"
      ? Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]))
      : value;
const jsonHash = (type, value) => hex(sha256(JSON.stringify(sorted(type.toJson(value))).toLowerCase()));

const versionedHash = (commitment) => {
  const hash = Uint8Array.from(sha256(commitment));
  hash[0] = 1;
  return hash;
};

async function main(preset) {
  const {ssz} = await import("@lodestar/types");
  const cases = [];
  const add = (name, fork, container, type, value, more = {}) => {
    const base = {name: `${name} ${fork} ${preset}`, preset, fork, type: container};
    cases.push({...base, ssz: hex(type.serialize(value)), root: hex(type.hashTreeRoot(value)), json_sha256: jsonHash(type, value), ...more});
  };
  for (const fork of FORKS) {
    // A fork that changes nothing takes its parent's types.
    const types = {...ssz.electra, ...ssz[fork]};
    const has = (since) => FORKS.indexOf(fork) >= FORKS.indexOf(since);
    const values = (container, type, seed) => [
      ["default", type.defaultValue()],
      ["random", type.fromJson(random(type, dice(`${seed} ${container} ${fork}`), 2))],
    ];
    for (const [name, block] of values("SignedBeaconBlock", types.SignedBeaconBlock, "block")) {
      const more = {block_root: hex(types.BeaconBlock.hashTreeRoot(block.message))};
      const body = block.message.body;
      if (name === "random" && has("bellatrix") && !has("gloas")) {
        const request = {executionPayload: body.executionPayload};
        if (has("deneb")) {
          request.versionedHashes = body.blobKzgCommitments.map(versionedHash);
          request.parentBeaconBlockRoot = block.message.parentRoot;
        }
        if (has("electra")) request.executionRequests = body.executionRequests;
        more.new_payload_request_root = hex(types.NewPayloadRequest.hashTreeRoot(request));
      }
      add(name, fork, "SignedBeaconBlock", types.SignedBeaconBlock, block, more);
    }
    const others = [];
    if (has("bellatrix")) others.push("ExecutionPayload", "NewPayloadRequest");
    if (has("bellatrix") && !has("gloas")) others.push("ExecutionPayloadHeader");
    if (has("gloas")) others.push("SignedExecutionPayloadEnvelope");
    for (const container of others)
      for (const [name, value] of values(container, types[container], preset)) add(name, fork, container, types[container], value);
  }
  return cases;
}

if (process.argv[2] === "--part") {
  process.stdout.write(JSON.stringify(await main(process.env.LODESTAR_PRESET)));
} else {
  const cases = ["mainnet", "minimal"].flatMap((preset) =>
    JSON.parse(
      execFileSync(process.execPath, [fileURLToPath(import.meta.url), "--part"], {
        env: {...process.env, LODESTAR_PRESET: preset},
        maxBuffer: 1 << 28,
      })
    )
  );
  writeFileSync(new URL("../blocks.json", import.meta.url), JSON.stringify({cases}, null, 1) + "\n");
}
