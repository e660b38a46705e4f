// Groups of rotations and reflections a grid may be made symmetric under: a point stands for its orbit.
// Such a grid has fewer free points, so it is weighed and annealed that many times faster, and every group here moves all
// points but those of a thin set, so that little or nothing is lost. In p = 4, quaternion groups multiply from the left
// and fix no point but 0; the lattice D4 (Hurwitz's quaternions), the best one for rounding, has this symmetry itself.

/** The group's matrices, row-major (p, p), the identity first. */
export type Symmetry = readonly (readonly number[])[];

export interface Shape {
  readonly symmetry: Symmetry;
  readonly centre: boolean;
}

/** @returns all points: orbit after orbit of the matrices, the seeds themselves first; (matrices · seeds, p) */
export function expand(seeds: Float64Array, p: number, symmetry: Symmetry, centre = false): Float64Array {
  const n = seeds.length / p;
  const points = new Float64Array(symmetry.length * seeds.length + (centre ? p : 0));
  symmetry.forEach((matrix, m) => {
    for (let i = 0; i < n; i++) {
      for (let row = 0; row < p; row++) {
        let sum = 0;
        for (let k = 0; k < p; k++) sum += matrix[row * p + k]! * seeds[i * p + k]!;
        points[(m * n + i) * p + row] = sum;
      }
    }
  });
  return points;
}

/** The group that `generators` span. */
function span(p: number, generators: readonly (readonly number[])[]): Symmetry {
  const identity = Array.from({ length: p * p }, (_, i) => (i % (p + 1) === 0 ? 1 : 0));
  const group: (readonly number[])[] = [identity];
  for (const known of group) {
    for (const generator of generators) {
      const product = identity.map((_, i) => {
        const [row, column] = [Math.floor(i / p), i % p];
        let sum = 0;
        for (let k = 0; k < p; k++) sum += known[row * p + k]! * generator[k * p + column]!;
        return sum;
      });
      if (!group.some((other) => other.every((v, i) => Math.abs(v - product[i]!) < 1e-9))) group.push(product);
    }
  }
  return group;
}

/** Left multiplication by the quaternion a + bi + cj + dk. */
const times = (a: number, b: number, c: number, d: number) => [a, -b, -c, -d, b, a, -d, c, c, d, a, -b, d, -c, b, a];
const half = Math.SQRT1_2;

/** No symmetry. */
export const none = (p: number) => span(p, []);
/** ±x: 2. */
export const opposite = (p: number) => span(p, [none(p)[0]!.map((v) => -v)]);
/** A quarter turn that also reflects its axis: 4. */
export const quarter = span(3, [[0, -1, 0, 1, 0, 0, 0, 0, -1]]);
/** Half turns about the three axes: 4. */
export const halves = span(3, [
  [-1, 0, 0, 0, -1, 0, 0, 0, 1],
  [1, 0, 0, 0, -1, 0, 0, 0, -1],
]);
/** Half turns about the three axes, and ±x: 8. */
export const boxes = span(3, [...halves, ...opposite(3)]);
/** The quaternions ±1, ±i: 4. */
export const complex = span(4, [times(0, 1, 0, 0)]);
/** The quaternions ±1, ±i, ±j, ±k: 8. */
export const quaternion = span(4, [times(0, 1, 0, 0), times(0, 0, 1, 0)]);
/** Generalised quaternions: 16. */
export const quaternion16 = span(4, [times(half, half, 0, 0), times(0, 0, 1, 0)]);
/** Eighth roots of one: 8. */
export const eighth = span(4, [times(half, half, 0, 0)]);

export const turns = (order: number, a: number, b: number) => {
  const [s, t] = [(2 * Math.PI * a) / order, (2 * Math.PI * b) / order];
  const [c, d, e, f] = [Math.cos(s), Math.sin(s), Math.cos(t), Math.sin(t)];
  return span(4, [[c, -d, 0, 0, d, c, 0, 0, 0, 0, e, -f, 0, 0, f, e]]);
};
export const turn = (order: number) => {
  const s = (2 * Math.PI) / order;
  return span(3, [[Math.cos(s), -Math.sin(s), 0, Math.sin(s), Math.cos(s), 0, 0, 0, 1]]);
};
export const roto = (order: number) => {
  const s = (2 * Math.PI) / order;
  return span(3, [[Math.cos(s), -Math.sin(s), 0, Math.sin(s), Math.cos(s), 0, 0, 0, -1]]);
};
export const q = (order: number) => {
  const s = (4 * Math.PI) / order;
  return span(4, [times(Math.cos(s), Math.sin(s), 0, 0), times(0, 0, 1, 0)]);
};
export const spin = (order: number) => {
  const s = (2 * Math.PI) / order;
  return span(2, [[Math.cos(s), -Math.sin(s), Math.sin(s), Math.cos(s)]]);
};
