// Makes the vectors of this folder; see README.md.
import {createHash} from "node:crypto";
import {writeFileSync} from "node:fs";
import {
  BooleanType,
  ByteListType,
  ByteVectorType,
  ContainerType,
  ListBasicType,
  ListCompositeType,
  ProgressiveByteListType,
  ProgressiveContainerType,
  UintBigintType,
  UintNumberType,
} from "@chainsafe/ssz";
import {bls12_381} from "@noble/curves/bls12-381.js";

const hex = (bytes) => "0x" + Buffer.from(bytes).toString("hex");
const sha256 = (...parts) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
};
const le64 = (n) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(n));
  return bytes;
};
// Bytes that follow from a seed.
const seeded = (seed, len) => {
  const out = [];
  for (let i = 0; out.length < len; i++) out.push(...sha256(Buffer.from(`${seed} ${i}`)));
  return Uint8Array.from(out.slice(0, len));
};

const uint8 = new UintNumberType(1);
const uint64 = new UintBigintType(8);
const Bytes32 = new ByteVectorType(32);
const ProofTypes = new ListBasicType(uint8, 4);

const dataTypes = {
  progressive: () => new ProgressiveByteListType(),
  bytelist: (limit) => new ByteListType(limit),
};
const signed = (message) =>
  new ContainerType({message, validatorIndex: uint64, signature: new ByteVectorType(96)});

function alpha(data) {
  const PublicInput = new ContainerType({newPayloadRequestRoot: Bytes32});
  const ExecutionProof = new ContainerType({proofData: data, proofType: uint8, publicInput: PublicInput});
  return {PublicInput, ExecutionProof, SignedExecutionProof: signed(ExecutionProof)};
}

function beta(data) {
  const PublicInput = new ProgressiveContainerType(
    {
      newPayloadRequestRoot: Bytes32,
      successfulValidation: new BooleanType(),
      chainId: uint64,
      schemaId: new UintNumberType(2),
    },
    [true, true, true, true]
  );
  const ExecutionProof = new ContainerType({proofData: data, proofType: uint8, publicInput: PublicInput});
  const ExecutionProofEnvelope = new ContainerType({proofData: data, proofType: uint8, beaconBlockRoot: Bytes32});
  return {PublicInput, ExecutionProof, ExecutionProofEnvelope, SignedExecutionProofEnvelope: signed(ExecutionProofEnvelope)};
}

const ProofByRootIdentifier = new ContainerType({blockRoot: Bytes32, proofTypes: ProofTypes});
const requests = {
  ProofTypes,
  ProofByRootIdentifier,
  ProofByRootIdentifiers: new ListCompositeType(ProofByRootIdentifier, 128),
  ExecutionProofsByRange: new ContainerType({startSlot: uint64, count: uint64, proofTypes: ProofTypes}),
  ExecutionProofStatus: new ContainerType({blockRoot: Bytes32, slot: uint64, proofTypes: ProofTypes}),
};

const cases = [];
const add = (name, type, value, extra = {}) =>
  cases.push({name, ...extra, ssz: hex(type.serialize(value)), root: hex(type.hashTreeRoot(value))});

const U64_MAX = 2n ** 64n - 1n;
add("empty", requests.ProofTypes, [], {type: "ProofTypes"});
add("full", requests.ProofTypes, [0, 1, 254, 255], {type: "ProofTypes"});
const identifier = (n) => ({blockRoot: seeded(`block ${n}`, 32), proofTypes: seeded(`types ${n}`, n % 5).reduce((a, t) => [...a, t], [])});
for (const n of [0, 4]) add(`types ${n}`, requests.ProofByRootIdentifier, identifier(n), {type: "ProofByRootIdentifier"});
for (const n of [0, 1, 5, 128]) {
  const list = Array.from({length: n}, (_, i) => identifier(i));
  add(`identifiers ${n}`, requests.ProofByRootIdentifiers, list, {type: "ProofByRootIdentifiers"});
}
add("zero", requests.ExecutionProofsByRange, {startSlot: 0n, count: 0n, proofTypes: []}, {type: "ExecutionProofsByRange"});
add("most", requests.ExecutionProofsByRange, {startSlot: U64_MAX, count: U64_MAX, proofTypes: [1, 2, 3, 4]}, {type: "ExecutionProofsByRange"});
add("zero", requests.ExecutionProofStatus, {blockRoot: new Uint8Array(32), slot: 0n, proofTypes: []}, {type: "ExecutionProofStatus"});
add("some", requests.ExecutionProofStatus, {blockRoot: seeded("status", 32), slot: 12345678n, proofTypes: [7, 9]}, {type: "ExecutionProofStatus"});

// Lengths around the seams: chunks, progressive subtrees of 1, 4, 16, 64, ... chunks.
const LENGTHS = [0, 1, 32, 33, 161, 673];
const LARGE = [307200, 4194304];
const FORMS = [
  {form: "progressive"},
  {form: "bytelist", limit: 307200},
  {form: "bytelist", limit: 4194304},
];
for (const {form, limit} of FORMS) {
  const of = {alpha: alpha(dataTypes[form](limit)), beta: beta(dataTypes[form](limit))};
  const setting = {proof_data_form: form, ...(limit ? {max_proof_size: limit} : {})};
  const message = (proofData, n) => ({proofData, proofType: n % 256});
  for (const len of LENGTHS) {
    const data = seeded(`proof ${len}`, len);
    const root = seeded(`root ${len}`, 32);
    const signature = {validatorIndex: BigInt(len) * 1000003n, signature: seeded(`signature ${len}`, 96)};
    const proof = {...message(data, len), publicInput: {newPayloadRequestRoot: root}};
    add(`len ${len}`, of.alpha.ExecutionProof, proof, {type: "ExecutionProof", revision: "alpha", ...setting});
    add(`len ${len}`, of.alpha.SignedExecutionProof, {message: proof, ...signature}, {type: "SignedExecutionProof", revision: "alpha", ...setting});
    const envelope = {...message(data, len), beaconBlockRoot: root};
    add(`len ${len}`, of.beta.SignedExecutionProofEnvelope, {message: envelope, ...signature}, {type: "SignedExecutionProofEnvelope", revision: "beta", ...setting});
    const input = {newPayloadRequestRoot: root, successfulValidation: len % 2 === 1, chainId: BigInt(len), schemaId: 0x1501};
    add(`len ${len}`, of.beta.ExecutionProof, {...message(data, len), publicInput: input}, {type: "ExecutionProof", revision: "beta", ...setting});
    if (form === "progressive") {
      add(`chain ${len}`, of.beta.PublicInput, input, {type: "PublicInput", revision: "beta"});
    }
  }
  for (const len of LARGE.filter((len) => !limit || len <= limit)) {
    const block = seeded("block", 61);
    const data = new Uint8Array(len).map((_, i) => block[i % block.length]);
    const root = seeded(`root ${len}`, 32);
    const proof = {...message(data, 5), publicInput: {newPayloadRequestRoot: root}};
    cases.push({
      name: `len ${len}`,
      type: "ExecutionProof",
      revision: "alpha",
      ...setting,
      proof_data: {len, block: hex(block)},
      proof_type: 5,
      new_payload_request_root: hex(root),
      ssz_sha256: hex(sha256(of.alpha.ExecutionProof.serialize(proof))),
      root: hex(of.alpha.ExecutionProof.hashTreeRoot(proof)),
    });
  }
}

// Signatures over proofs of `alpha`.
const bls = bls12_381.longSignatures;
const DST = "BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";
const Bytes4 = new ByteVectorType(4);
const ForkData = new ContainerType({currentVersion: Bytes4, genesisValidatorsRoot: Bytes32});
const SigningData = new ContainerType({objectRoot: Bytes32, domain: Bytes32});
const signatures = [];
for (const [n, [version, domainType]] of [
  ["06000000", "0f000000"],
  ["07000000", "0f000000"],
  ["07000001", "0d000000"],
  ["deadbeef", "0f000000"],
].entries()) {
  const type = alpha(dataTypes.progressive()).ExecutionProof;
  const proof = {proofData: seeded(`signed ${n}`, 100 + n), proofType: n, publicInput: {newPayloadRequestRoot: seeded(`signed root ${n}`, 32)}};
  const currentVersion = Uint8Array.from(Buffer.from(version, "hex"));
  const genesisValidatorsRoot = seeded(`genesis ${n}`, 32);
  const forkDataRoot = ForkData.hashTreeRoot({currentVersion, genesisValidatorsRoot});
  const domain = Uint8Array.from([...Buffer.from(domainType, "hex"), ...forkDataRoot.slice(0, 28)]);
  const proofRoot = type.hashTreeRoot(proof);
  const signingRoot = SigningData.hashTreeRoot({objectRoot: proofRoot, domain});
  // Below the order of the group: the first byte is small.
  const privkey = seeded(`key ${n}`, 32);
  privkey[0] &= 0x3f;
  const signature = bls.sign(bls.hash(signingRoot, DST), privkey);
  signatures.push({
    name: `signature ${n}`,
    privkey: hex(privkey),
    pubkey: hex(bls.getPublicKey(privkey).toBytes(true)),
    fork_version: "0x" + version,
    genesis_validators_root: hex(genesisValidatorsRoot),
    domain_type: "0x" + domainType,
    domain: hex(domain),
    proof_ssz: hex(type.serialize(proof)),
    proof_root: hex(proofRoot),
    signing_root: hex(signingRoot),
    signature: hex(bls.Signature.toBytes(signature)),
  });
}

// Digests, topics and message ids.
const digests = [];
for (const [n, [version, blobs]] of [
  ["05000000", null],
  ["06000000", {epoch: 364032, max_blobs_per_block: 9}],
  ["06000000", {epoch: 412672, max_blobs_per_block: 15}],
  ["07000001", {epoch: 0, max_blobs_per_block: 9}],
].entries()) {
  const currentVersion = Uint8Array.from(Buffer.from(version, "hex"));
  const genesisValidatorsRoot = seeded(`network ${n}`, 32);
  const digest = ForkData.hashTreeRoot({currentVersion, genesisValidatorsRoot}).slice(0, 4);
  if (blobs) {
    const mask = sha256(le64(blobs.epoch), le64(blobs.max_blobs_per_block));
    digest.forEach((_, i) => (digest[i] ^= mask[i]));
  }
  const topic = `/eth2/${Buffer.from(digest).toString("hex")}/execution_proof/ssz_snappy`;
  const data = seeded(`message ${n}`, 50 + n);
  const id = (domain) => hex(sha256(Buffer.from(domain, "hex"), le64(topic.length), topic, data).slice(0, 20));
  digests.push({
    name: `digest ${n}`,
    fork_version: "0x" + version,
    genesis_validators_root: hex(genesisValidatorsRoot),
    blob_parameters: blobs,
    fork_digest: hex(digest),
    topic,
    data: hex(data),
    message_id_if_valid_snappy: id("01000000"),
    message_id_if_invalid_snappy: id("00000000"),
  });
}

const write = (name, list) =>
  writeFileSync(new URL(name, import.meta.url), JSON.stringify({cases: list}, null, 1) + "\n");
write("containers.json", cases);
write("signing.json", signatures);
write("digests.json", digests);
