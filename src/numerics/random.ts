// Seeded uniform numbers, the same in every runtime: SplitMix over 32 bits. The state steps by the odd constant ⌊2³² / φ⌋ and
// so visits every word; murmur3's finaliser, a bijection, spreads it. Two words make the 53 bits of a number.

/** @returns a generator of numbers in [0, 1), all of them multiples of 2⁻⁵³ */
export function uniform(seed: number): () => number {
  let state = finalise(seed >>> 0);
  const word = () => {
    state = (state + 0x9e3779b9) >>> 0;
    return finalise(state);
  };
  return () => {
    const high = word() >>> 5;
    const low = word() >>> 6;
    return (high * 67108864 + low) / 9007199254740992; // (2²⁶ high + low) / 2⁵³
  };
}

function finalise(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
