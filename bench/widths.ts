// Three ways to group rows whose width is no multiple of 1024, on N(0, 1) weights and p2n256: bits per weight and t².
//   single   the largest power of two up to 1024 that divides the width      pad   zeros up to the next multiple of 1024
//   powers   descending powers of two, 896 = 512 + 256 + 128 (what the format does)

import { load } from '../src/index.ts';
import { normals } from '../tests/bits.ts';

const WEIGHTS = 400_000;
const grid = 'p2n256';
const higgs = await load();

function measure(cols: number, groupSize: number, paddedCols = cols): { bpw: number; t2: number } {
  const rows = Math.ceil(WEIGHTS / cols);
  const weights = new Float32Array(rows * paddedCols);
  const samples = normals(rows * cols, cols);
  for (let row = 0; row < rows; row++) weights.set(samples.subarray(row * cols, (row + 1) * cols), row * paddedCols);
  const matrix = higgs.quantize(weights, { rows, cols: paddedCols, grid, groupSize });
  // Of a padded row only the first cols weights count, in the error as in the bits.
  const restored = higgs.dequantize(matrix);
  let [error, norm] = [0, 0];
  for (let i = 0; i < weights.length; i++) {
    if (i % paddedCols >= cols) continue;
    error += (weights[i] - restored[i]) ** 2;
    norm += weights[i] ** 2;
  }
  return { bpw: (matrix.bitsPerWeight * paddedCols) / cols, t2: error / norm };
}

console.log('| width | single: g | bpw | t² | pad to 1024: bpw | t² | powers: bpw | t² |');
console.log('|---|---|---|---|---|---|---|---|');
for (const cols of [172, 352, 576, 768, 896, 1000, 1536, 2304, 4864, 8960, 11008, 18944]) {
  const divisor = Math.max(16, Math.min(1024, cols & -cols));
  const single = measure(cols, divisor);
  const pad = measure(cols, 1024, Math.ceil(cols / 1024) * 1024);
  const powers = measure(cols, 1024);
  const cells = [single, pad, powers].map(({ bpw, t2 }) => `${bpw.toFixed(3)} | ${t2.toFixed(5)}`);
  console.log(`| ${cols} | ${divisor} | ${cells.join(' | ')} |`);
}
