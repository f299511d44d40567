// What happens in a run of the four followers: the same for the same seed and length.

/** Numbers from a seed (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return { next, below: (n) => Math.floor(next() * n) };
}

/** Milliseconds that the proof of a block comes late: 0 to 8000, by its place in the chain, not by when it is asked for. */
export function proofDelay(seed, block) {
  return random(seed ^ (block.slot * 0x9e3779b1) ^ parseInt(block.root.slice(2, 10), 16)).below(8001);
}

/**
 * `slots`: length. Fork epochs (8 slots each), and by slot what is done: skip, reorg, withhold (Gloas), and the faults, which
 * come in places of their own so that each can be looked at.
 */
export function plan(seed, slots) {
  const numbers = random(seed);
  const fulu = Math.max(1, Math.floor(slots / 8 / 4)), gloas = Math.max(fulu + 1, Math.floor(slots / 8 / 2));
  const part = (share) => Math.floor(slots * share);
  const faults = [
    { slot: part(0.3), act: "kill-execution", who: "accept-proofs" },
    { slot: part(0.3) + 10, act: "start-execution", who: "accept-proofs" },
    { slot: part(0.3) + 20, act: "resend", who: "accept-proofs" },
    { slot: part(0.42), act: "kill", who: "require-proofs" },
    { slot: part(0.42) + 2, act: "start", who: "require-proofs" },
    { slot: part(0.65), act: "kill-execution", who: "require-proofs" },
    { slot: part(0.65) + 5, act: "start-execution", who: "require-proofs" },
    { slot: part(0.65) + 6, act: "resend", who: "require-proofs" },
    { slot: part(0.78), act: "kill", who: "proofs-only" },
    { slot: part(0.78) + 2, act: "start", who: "proofs-only" },
  ];
  const chain = [];
  const forks = [8 * fulu, 8 * gloas];
  // Finality first, and an end in peace.
  for (let slot = 12 + numbers.below(6); slot < slots - 12; slot += 6 + numbers.below(8)) {
    // A branch over a fork boundary is beyond what the rig was made for.
    const near = forks.some((fork) => slot >= fork - 1 && slot <= fork + 5);
    const kind = numbers.below(10);
    if (kind < 4 && !near) chain.push({ slot, act: "reorg", depth: 1 + numbers.below(3) });
    else if (kind < 6 && slot > forks[1] + 2) chain.push({ slot, act: "withhold", slots: 1 });
    else chain.push({ slot, act: "skip", slots: 1 + numbers.below(2) });
  }
  return { seed, slots, fulu, gloas, steps: [...faults, ...chain].sort((a, b) => a.slot - b.slot) };
}
