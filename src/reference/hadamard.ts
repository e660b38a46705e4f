// Scalar twin of assembly/hadamard.ts: random signs and the unnormalised Sylvester–Hadamard transform, natural order.

const f = Math.fround;

function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Sign masks: 0x80000000 for -1, 0 for +1. */
export function signs(seed: number, count: number): Uint32Array {
  const start = mix(seed);
  return Uint32Array.from({ length: count }, (_, i) => {
    const word = mix((start + Math.imul((i >>> 5) + 1, 0x9e3779b9)) | 0);
    return ((word >>> (i & 31)) & 1) * 0x80000000;
  });
}

/** The transform, in place; stages in ascending h. */
export function hadamard(x: Float32Array): void {
  for (let h = 1; h < x.length; h *= 2) {
    for (let i = 0; i < x.length; i++) {
      if (i & h) continue;
      const a = x[i];
      const b = x[i + h];
      x[i] = f(a + b);
      x[i + h] = f(a - b);
    }
  }
}

/** The groups of a row: its width cut into the largest powers of two, none above `groupSize`, in descending order. */
export function groupsOf(cols: number, groupSize: number): { start: number; size: number }[] {
  const groups: { start: number; size: number }[] = [];
  for (let start = 0; start < cols; ) {
    const size = Math.min(groupSize, 2 ** (31 - Math.clz32(cols - start)));
    groups.push({ start, size });
    start += size;
  }
  return groups;
}

/** Flips the sign of each element whose mask is set. */
export function flip(x: Float32Array, masks: Uint32Array): Float32Array {
  return x.map((value, i) => (masks[i] ? -value : value));
}

/** ỹ = (1/√g) H (s ∘ x), group by group. */
export function rotate(x: Float32Array, masks: Uint32Array, groupSize: number): Float32Array {
  const y = flip(x, masks);
  for (const { start, size } of groupsOf(x.length, groupSize)) {
    const group = y.subarray(start, start + size);
    hadamard(group);
    const factor = f(1 / f(Math.sqrt(size)));
    for (let i = 0; i < size; i++) group[i] = f(group[i] * factor);
  }
  return y;
}
