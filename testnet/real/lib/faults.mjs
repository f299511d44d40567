// Each check can fail: the fault that breaks it on purpose, by name. ASSAY_REAL_FAULT=<name> puts it in.
export const CHECKS = {
  "jwt-refused": { fault: "leaked-secret", what: "the calls that must be refused are signed with the right secret" },
  "peers": { fault: "no-peer", what: "the second node is not told of the first" },
  "syncing-first": { fault: "observe", what: "the gate runs under observe instead of require-proofs" },
  "request-root": { fault: "flip-block", what: "one byte of the payload's state root is flipped in the blocks that the roots are taken from" },
  "posted": { fault: "wrong-seed", what: "the proofs are made under another development seed" },
  "turned-valid": { fault: "mute-prover", what: "the proofs are made but not posted" },
  "sse-gossip": { fault: "no-peer", what: "the second node is not told of the first" },
  "served-by-both": { fault: "no-peer", what: "the second node is not told of the first" },
  "unproven-stays": { fault: "prove-held", what: "the payload that must stay without a proof gets one" },
  "forged-refused": { fault: "forge-real", what: "the forged proofs are good ones" },
  "released": { fault: "keep-held", what: "the missing proof is not posted" },
  "restart-proofs": { fault: "wipe", what: "the data directories are deleted while the nodes are down" },
  "restart-verdicts": { fault: "wipe", what: "the data directories are deleted while the nodes are down" },
  "restart-follow": { fault: "moved-engine", what: "after the restart the gate listens on another port than the beacon node calls" },
  "beacon-agrees": { fault: "mask", what: "a proxy between beacon node and gate turns every VALID into SYNCING" },
  "reorg": { fault: "prove-orphans", only: ["minibeacon", "gloas"], what: "the replaced payloads are proven too" },
  "execution-dead": { fault: "el-stays", only: ["minibeacon", "gloas"], what: "the execution client is not killed" },
  "execution-restarted": { fault: "el-gone", only: ["minibeacon", "gloas"], what: "it is not started again" },
  "observe-unchanged": { fault: "still-require", what: "the gate goes on under require-proofs" },
  "clean-end": { fault: "sigkill", what: "the nodes are killed instead of asked to end" },
};

const known = new Set(Object.values(CHECKS).map((c) => c.fault));
const given = (process.env.ASSAY_REAL_FAULT ?? "").split(",").filter(Boolean);
for (const name of given) {
  if (!known.has(name)) throw Error(`ASSAY_REAL_FAULT=${name}: no such fault; there are ${[...known].join(", ")}`);
}

/** Whether a fault is put in. */
export const fault = (name) => given.includes(name);
export const faults = given;
