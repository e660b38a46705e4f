// Products with a quantized matrix by the decoder's kernels, one thread, seeded random codes: GMAC/s by grid and by the number of
// activations, by each build and form that this runtime takes; and dense weights. The minimum over rounds that measure all in turn.
// A matrix of 131072 rows of 1024 columns, 64 MB at 4 bits, shows what short rows from memory cost; one that caches hold cannot.
//   node build/bench/decoder.js [pattern] [rounds] [rows × cols, 4096x4096] [numbers of activations, 1,64]

import { largeGrids } from '../src/grids/large.ts';
import { smallGrids } from '../src/grids/small.ts';
import { trellises } from '../src/grids/trellises.ts';
import { arena } from '../src/kernels/arena.ts';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { activationBytes } from '../src/kernels/decoder/sizes.ts';
import { integerTable, isBanded, setForm } from '../src/kernels/decoder/table.ts';
import { f32ToBf16, f32ToF16 } from '../src/reference/float.ts';
import { normals, uniform } from '../tests/bits.ts';
import {
  builds,
  type DenseDtype,
  type LinearPlan,
  multiply,
  planDense,
  planQuantized,
  scratchBytes,
  storeDense,
} from '../tests/products.ts';

const GROUP_SIZE = 1024;
const F16_SCALE = 0x2c00; // 1/16
const QUANTIZE = 'quantizeActivation';

interface Measured {
  name: string;
  build: string;
  count: number;
  macs: number;
  call(): void;
  /** Seconds of the quickest call. */
  best: number;
}

const pattern = new RegExp(process.argv[2] ?? '');
const rounds = Number(process.argv[3] ?? 12);
const [ROWS, COLS] = (process.argv[4] ?? '4096x4096').split('x').map(Number) as [number, number];
const counts = (process.argv[5] ?? '1,64').split(',').map(Number);
const MANY = Math.max(...counts);
const all: Measured[] = [];
const timed = builds.filter(([build]) => build !== 'debug');
for (const [build, bytes, form] of timed) all.push(...(await productsOf(build, bytes, form)));

for (let round = 0; round < rounds; round++) {
  for (const measured of all) {
    // About 50 ms each, so that the engine compiles what it runs and a burst of the machine spoils one round alone.
    const end = performance.now() + 50;
    do {
      const start = performance.now();
      measured.call();
      measured.best = Math.min(measured.best, (performance.now() - start) / 1000);
    } while (performance.now() < end);
  }
}

const columns = timed.flatMap(([build]) => counts.map((count) => ({ build, count })));
console.log(`${ROWS} × ${COLS}, groups of ${GROUP_SIZE}, GMAC/s (quantizing: million columns/s)\n`);
console.log(`| | ${columns.map(({ build, count }) => `${build}, ${count}`).join(' | ')} |`);
console.log(`|---|${'---|'.repeat(columns.length)}`);
for (const name of new Set(all.map(({ name }) => name))) {
  const cells = columns.map(({ build, count }) => {
    const row = all.find((measured) => measured.name === name && measured.build === build && measured.count === count);
    return row ? (row.macs / row.best / (name === QUANTIZE ? 1e6 : 1e9)).toPrecision(3) : '';
  });
  console.log(`| ${name} | ${cells.join(' | ')} |`);
}

async function productsOf(build: string, bytes: Uint8Array<ArrayBuffer>, form: number): Promise<Measured[]> {
  const memory = new WebAssembly.Memory({ initial: 2048, maximum: 65536 });
  const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } });
  const kernels = instance.exports as unknown as DecoderExports;
  const { alloc, place, bytes: view } = arena(memory, kernels.heapBase());

  const random = uniform(1);
  const codes = alloc(ROWS * COLS);
  const x = place(normals(COLS * MANY + 32));
  const y = alloc(ROWS * MANY * 4);
  const plans = [...smallGrids, ...largeGrids, ...trellises].map((grid) => {
    const plan = planQuantized({ rows: ROWS, cols: COLS }, { ...grid, groupSize: GROUP_SIZE });
    const table = integerTable(grid);
    if (isBanded(grid)) setForm(table, form);
    return { name: grid.name, plan, table: place(table) };
  });
  const widest = plans.reduce((a, b) => (a.plan.bytes > b.plan.bytes ? a : b)).plan;
  const quantized = alloc(MANY * activationBytes(COLS, GROUP_SIZE));
  const scratch = alloc(scratchBytes(widest, MANY));
  const scales = alloc(widest.rows * widest.groups * 2 + 64);
  new Uint16Array(memory.buffer, scales, widest.rows * widest.groups).fill(F16_SCALE);
  const codeBytes = view(codes, ROWS * COLS);
  for (let i = 0; i < codeBytes.length; i++) codeBytes[i] = random() * 256;
  kernels.quantizeActivation(x, MANY, COLS, GROUP_SIZE, quantized);

  const measured = (name: string, count: number, macs: number, call: () => void): Measured[] =>
    pattern.test(name) ? [{ name, build, count, macs, call, best: Number.POSITIVE_INFINITY }] : [];
  const product = (name: string, plan: LinearPlan, address: number, table: number, x: number): Measured[] =>
    counts.flatMap((count) => {
      const rows = { fromRow: 0, toRow: count === 1 ? ROWS : Math.max(16, Math.ceil(ROWS / count / 16) * 16) };
      return measured(name, count, rows.toRow * COLS * count, () =>
        multiply(kernels, plan, address, table, { x, count, y, ...rows, scratch }),
      );
    });
  return [
    // The random bytes serve as codes of every width; the scales stand elsewhere, for all.
    ...plans.flatMap(({ name, plan, table }) =>
      product(name, { ...plan, scalesAt: scales - codes }, codes, table, quantized),
    ),
    ...(['F32', 'F16', 'BF16'] as const)
      .filter((dtype) => pattern.test(`dense ${dtype}`))
      .flatMap((dtype) => {
        const plan = planDense({ rows: ROWS, cols: COLS }, dtype);
        const dense = alloc(plan.bytes);
        const block = bitsOf(
          normals(COLS * 64, 5).map((value) => value * 0.02),
          dtype,
        );
        for (let row = 0; row < ROWS; row += 64) storeDense(memory.buffer, plan, dense, block, row);
        return product(`dense ${dtype}`, plan, dense, 0, x);
      }),
    ...measured(QUANTIZE, MANY, COLS * MANY, () => kernels.quantizeActivation(x, MANY, COLS, GROUP_SIZE, quantized)),
  ];
}

function bitsOf(values: Float32Array<ArrayBuffer>, dtype: DenseDtype): Uint8Array {
  const bits = new Uint32Array(values.buffer);
  if (dtype === 'F32') return new Uint8Array(bits.buffer);
  return new Uint8Array(Uint16Array.from(bits, dtype === 'F16' ? f32ToF16 : f32ToBf16).buffer);
}
