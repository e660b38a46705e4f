// Groups of rotations a grid may be made symmetric under: a point stands for its orbit.
// Such a grid has fewer free points: it is weighed and annealed that many times faster, and more often ends at the best grid
// (p2n64: 4 of 40 seeds without symmetry, 40 of 40 with a threefold axis). All groups here move every point but the origin
// (p = 3: the axis), so that none is forced onto a mirror.

/** The group's matrices, row-major (p, p), the identity first. */
export type Symmetry = readonly (readonly number[])[];

/** Points by symmetry: of each orbit one is free. */
export interface PointShape {
  /** The group of rotations that maps the grid to itself. */
  readonly symmetry: Symmetry;
  /** The origin is a point too. */
  readonly centre: boolean;
}

/** @returns all points: the seeds, their images under each further matrix, the origin; (matrices · seeds + centre, p) */
export function expand(seeds: Float64Array, p: number, { symmetry, centre }: PointShape): Float64Array {
  const n = seeds.length / p;
  const points = new Float64Array(symmetry.length * seeds.length + (centre ? p : 0));
  symmetry.forEach((matrix, m) => {
    for (let i = 0; i < n; i++) {
      for (let row = 0; row < p; row++) {
        let sum = 0;
        for (let k = 0; k < p; k++) sum += matrix[row * p + k] * seeds[i * p + k];
        points[(m * n + i) * p + row] = sum;
      }
    }
  });
  return points;
}

/** Where in `expand`'s points one of each orbit stands: the seeds, then the origin if it is a point. */
export function representatives(seeds: number, { symmetry, centre }: PointShape): Int32Array {
  const rows = Int32Array.from({ length: seeds + (centre ? 1 : 0) }, (_, i) => i);
  if (centre) rows[seeds] = symmetry.length * seeds;
  return rows;
}

/** No symmetry. */
export function none(p: number): Symmetry {
  return [Array.from({ length: p * p }, (_, i) => (i % (p + 1) === 0 ? 1 : 0))];
}

/** p = 2, 4: turns of plane j by `speeds[j]` / `order` of a whole turn; the speeds are coprime to the order. */
export function planeTurns(order: number, ...speeds: readonly number[]): Symmetry {
  const p = 2 * speeds.length;
  return Array.from({ length: order }, (_, power) => {
    const matrix = new Array<number>(p * p).fill(0);
    speeds.forEach((speed, j) => {
      const angle = (2 * Math.PI * ((power * speed) % order)) / order;
      const corner = 2 * j * (p + 1);
      matrix[corner] = Math.cos(angle);
      matrix[corner + 1] = -Math.sin(angle);
      matrix[corner + p] = Math.sin(angle);
      matrix[corner + p + 1] = Math.cos(angle);
    });
    return matrix;
  });
}

/** p = 3: turns about the third axis by 1 / `order`, each of which also reflects the axis; `order` even. */
export function improperTurns(order: number): Symmetry {
  return Array.from({ length: order }, (_, power) => {
    const angle = (2 * Math.PI * power) / order;
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    return [c, -s, 0, s, c, 0, 0, 0, power % 2 === 0 ? 1 : -1];
  });
}
