// Scalar twin of assembly/line.ts, plane.ts, space.ts and every.ts: every point compared, the first largest score wins.

const f = Math.fround;

/** Rows of p + 1 f32: the point, then ½‖g‖². */
export function gridTable(points: Float32Array, p: number): Float32Array {
  const n = points.length / p;
  const table = new Float32Array(n * (p + 1)); // (n, p + 1)
  for (let j = 0; j < n; j++) {
    let norm = 0;
    for (let i = 0; i < p; i++) {
      const g = points[j * p + i];
      table[j * (p + 1) + i] = g;
      norm = f(norm + f(g * g));
    }
    table[j * (p + 1) + p] = f(norm * 0.5);
  }
  return table;
}

/** Code of each vector of p elements of `z`; the last vector is padded with zeros. */
export function nearest(z: Float32Array, table: Float32Array, p: number): Uint16Array {
  const n = table.length / (p + 1);
  const codes = new Uint16Array(Math.ceil(z.length / p));
  for (let v = 0; v < codes.length; v++) {
    let best = -Infinity;
    for (let j = 0; j < n; j++) {
      let score = f((z[v * p] ?? 0) * table[j * (p + 1)]);
      for (let i = 1; i < p; i++) score = f(score + f((z[v * p + i] ?? 0) * table[j * (p + 1) + i]));
      score = f(score - table[j * (p + 1) + p]);
      if (score > best) {
        best = score;
        codes[v] = j;
      }
    }
  }
  return codes;
}
