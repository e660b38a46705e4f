// Every kernel on seeded Gaussian weights, one core: weights/s, GB/s, and × a copy of the same bytes in the same run.
//   node build/bench/kernels.js [--json] [pattern]

import Benchmark from 'benchmark';
import { largeGrids } from '../src/grids/large.ts';
import { smallGrids } from '../src/grids/small.ts';
import { type Arena, arena } from '../src/kernels/arena.ts';
import type { KernelExports } from '../src/kernels/exports.ts';
import { bytesPerRow, groupsPerRow } from '../src/kernels/layout.ts';
import { loadKernels } from '../src/kernels/load.ts';
import { normals } from '../tests/bits.ts';

interface Row {
  name: string;
  /** Weights that one call handles, and bytes that it reads and writes. */
  weights: number;
  bytes: number;
  call(): void;
}

interface Result {
  name: string;
  /** Best and median of the samples. */
  weightsPerSecond: number;
  medianWeightsPerSecond: number;
  gigabytesPerSecond: number;
  /** Throughput over that of copying the same bytes, in this run. */
  timesCopy: number;
}

const [COLS, ROWS] = [4096, 16];
const COUNT = COLS * ROWS;
const json = process.argv.includes('--json');
const pattern = new RegExp(process.argv.slice(2).find((argument) => !argument.startsWith('--')) ?? '');

const kernels = await loadKernels();
const memory = arena(kernels.memory, kernels.heapBase());
const results = suites(kernels, memory).map(({ title, rows }) => ({
  title,
  rows: rows.filter(({ name }) => pattern.test(name)).map(measure),
}));

if (json) {
  console.log(JSON.stringify(results));
} else {
  for (const { title, rows } of results.filter(({ rows }) => rows.length > 0)) {
    console.log(`\n### ${title}\n\n| | M weights/s (best) | (median) | GB/s | × copy |\n|---|---|---|---|---|`);
    for (const row of rows) {
      const speeds = [row.weightsPerSecond, row.medianWeightsPerSecond].map((speed) => (speed / 1e6).toPrecision(4));
      console.log(
        `| ${row.name} | ${speeds.join(' | ')} | ${row.gigabytesPerSecond.toPrecision(3)} | ${row.timesCopy.toPrecision(2)} |`,
      );
    }
  }
}

function suites(kernels: KernelExports, { alloc, place }: Arena): { title: string; rows: Row[] }[] {
  const w = place(normals(COUNT).map((z) => z * 0.02));
  const z = place(normals(COUNT, 2));
  const zeros = place(new Float32Array(COUNT)); // other values would grow with every call
  const y = alloc(COUNT * 4);
  const half = alloc(COUNT * 2);
  kernels.f32ToF16(w, half, COUNT);
  const masks = alloc(COLS * 4);
  kernels.signs(0, masks, COLS);
  const codes = place(Uint16Array.from({ length: COUNT + 8 }, (_, i) => (i * 2654435761) & 3));
  const packed = alloc(COUNT * 2);
  const scales = alloc(COUNT);
  const sums = alloc(ROWS * 16);
  const scratch = alloc((COLS + 64) * 14);
  const x = place(normals(COLS, 3));
  const grids = [...smallGrids, ...largeGrids].map((grid) => {
    const table = alloc(kernels.gridTableBytes(grid.p, grid.n));
    kernels.gridTable(place(grid.points), grid.p, grid.n, table);
    return { ...grid, table };
  });
  const row = (name: string, bytes: number, call: () => void): Row => ({ name, weights: COUNT, bytes, call });
  return [
    {
      title: 'Conversions',
      rows: [
        row('f16ToF32', COUNT * 6, () => kernels.f16ToF32(half, y, COUNT)),
        row('bf16ToF32', COUNT * 6, () => kernels.bf16ToF32(half, y, COUNT)),
        row('f8ToF32', COUNT * 5, () => kernels.f8ToF32(half, y, COUNT)),
        row('f32ToF16', COUNT * 6, () => kernels.f32ToF16(w, half, COUNT)),
        row('f32ToBf16', COUNT * 6, () => kernels.f32ToBf16(w, half, COUNT)),
      ],
    },
    {
      title: 'Hadamard transform, in place, f32',
      rows: [16, 64, 256, 1024, 4096].map((n) =>
        row(`hadamard ${n}`, COUNT * 8, () => {
          for (let i = 0; i < COUNT; i += n) kernels.hadamard(zeros + i * 4, n);
        }),
      ),
    },
    {
      title: 'Packing',
      rows: [2, 3, 4, 5, 6, 8, 9, 10, 12].flatMap((bits) => [
        row(`pack ${bits}`, COUNT * (2 + bits / 8), () => kernels.pack(codes, COUNT, bits, packed)),
        row(`unpack ${bits}`, COUNT * (2 + bits / 8), () => kernels.unpack(packed, COUNT, bits, codes)),
      ]),
    },
    {
      title: 'Exact nearest grid point',
      rows: grids.map(({ name, p, n, table }) =>
        row(`nearest ${name}`, COUNT * (4 + 2 / p), () =>
          kernels[`nearest${p}`](z, Math.floor(COUNT / p), table, n, codes),
        ),
      ),
    },
    {
      title: 'Encode from f32, all steps, groups of 1024',
      rows: grids.map(({ name, p, bits, table }) =>
        row(`encode ${name}`, COUNT * (4 + bits / p / 8), () =>
          kernels.encode(w, 0, 0, ROWS, COLS, masks, 1024, table, p, bits, packed, scales, sums, scratch),
        ),
      ),
    },
    {
      title: 'Dequantize to f32 and matvec from packed codes, groups of 1024',
      rows: grids.flatMap(({ name, p, bits, table }) => [
        row(`dequantize ${name}`, ROWS * (COLS * 4 + bytesPerRow(COLS, p, bits) + 2 * groupsPerRow(COLS, 1024)), () =>
          kernels.dequantize(packed, scales, ROWS, COLS, masks, 1024, table, p, bits, y, scratch),
        ),
        row(`matvec ${name}`, ROWS * (bytesPerRow(COLS, p, bits) + 2 * groupsPerRow(COLS, 1024)), () =>
          kernels.matvec(packed, scales, ROWS, COLS, 1024, table, p, bits, x, y, scratch),
        ),
      ]),
    },
  ];
}

function measure({ name, weights, bytes, call }: Row): Result {
  const times = sample(name, call);
  const from = new Uint8Array(Math.ceil(bytes / 2));
  const to = new Uint8Array(from.length);
  const copy = sample(`copy for ${name}`, () => to.set(from))[0]!;
  const best = times[0]!;
  return {
    name,
    weightsPerSecond: weights / best,
    medianWeightsPerSecond: weights / times[Math.floor(times.length / 2)]!,
    gigabytesPerSecond: bytes / best / 1e9,
    timesCopy: copy / best,
  };
}

// Seconds of one call, sorted.
function sample(name: string, call: () => void): number[] {
  const benchmark = new Benchmark(name, call, { maxTime: 0.5, minSamples: 10 });
  benchmark.run();
  if (benchmark.error) throw benchmark.error;
  return benchmark.stats.sample.sort((a: number, b: number) => a - b);
}
