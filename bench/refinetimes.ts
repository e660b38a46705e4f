// Where the time of encoding with error feedback goes, beside plain encoding: nanoseconds a weight, one thread. Every call of a kernel has
// the least of its own times over all turns, so that what else a machine does shows little; plain encoding goes 16 rows a call. All of it is
// the least processor time of a matrix. H and G are those of neighbours that correlate, H in blocks of at most 1024 columns.

import type { Grid } from '../src/grids/grid.ts';
import { instantiateKernels } from '../src/kernels/instantiate.ts';
import { type Kernels, wrapKernels } from '../src/kernels/kernels.ts';
import { kernelBytes } from '../src/kernels/load.ts';
import { normals } from '../tests/bits.ts';
import { type Cells, type Column, column, type Row, type Table } from './table.ts';

const GROUP_SIZE = 1024;
const PLAIN_ROWS = 16;
const TURNS = 4;

/** Parts by the kernels that they call. */
const parts = {
  search: ['refineSequence', 'refinePoints'],
  factors: ['factorUdu'],
  products: ['addProducts', 'packFactors', 'packPairs', 'accumulate'],
};

const columns: readonly Column[] = [
  column('plain', 'plain', 3),
  column('search', 'search', 3),
  column('÷ plain', 'searchRatio', 2),
  column('factors', 'factors', 3),
  column('products', 'products', 3),
  column('rest', 'rest', 3),
  column('all', 'all', 3),
  column('÷ plain', 'ratio', 3),
];

/** One row a shape and grid. @param shapes as `1024x4096`: rows × columns */
export function timesTable(shapes: readonly string[], grids: readonly Grid[]): Table {
  const rows = shapes.flatMap((shape) =>
    grids.map(
      (grid): Row => ({ name: `${grid.name}, ${shape.replace('x', ' × ')}`, measure: () => times(shape, grid) }),
    ),
  );
  return { title: 'Time of encoding with feedback, ns a weight', columns, rows };
}

async function times(shape: string, grid: Grid): Promise<Cells> {
  const [rows, cols] = shape.split('x').map(Number);
  const names: string[] = [];
  const taken: number[] = [];
  const exports = await instantiateKernels(kernelBytes);
  const noted = Object.fromEntries(
    Object.entries(exports).map(([name, own]: [string, unknown]) => {
      if (typeof own !== 'function') return [name, own];
      // What takes long is timed by the processor: another process would come in between.
      const clock = parts.factors.includes(name) ? processorTime : () => performance.now();
      const call = (...given: unknown[]) => {
        const began = clock();
        const found: unknown = own(...given);
        taken.push(clock() - began);
        names.push(name);
        return found;
      };
      return [name, call];
    }),
  ) as unknown as typeof exports;
  const [plainly, kernels]: Kernels[] = [wrapKernels(await instantiateKernels(kernelBytes)), wrapKernels(noted)];
  const matrix = { rows, cols, grid, groupSize: Math.min(GROUP_SIZE, cols), seed: 1 };
  const values = normals(rows * cols, 1);
  const weights = (first: number, count: number) => {
    return { bytes: new Uint8Array(values.slice(first * cols, (first + count) * cols).buffer), dtype: 'F32' as const };
  };
  const width = Math.min(GROUP_SIZE, cols);
  const inputs = Array.from({ length: Math.ceil(cols / width) }, (_, i) =>
    correlated(Math.min(width, cols - i * width)),
  );
  const weighing = { inputs, outputs: correlated(rows), damping: 0.05, outputDamping: 0.05 };
  const plain = new Float64Array(Math.ceil(rows / PLAIN_ROWS)).fill(Number.POSITIVE_INFINITY);
  let [least, of]: [number[], string[]] = [[], []];
  let whole = Number.POSITIVE_INFINITY;
  for (let turn = 0; turn < TURNS; turn++) {
    for (let block = 0; block < plain.length; block++) {
      const count = Math.min(PLAIN_ROWS, rows - block * PLAIN_ROWS);
      const given = weights(block * PLAIN_ROWS, count);
      const began = performance.now();
      plainly.encode({ ...matrix, rows: count }, given);
      plain[block] = Math.min(plain[block], performance.now() - began);
    }
    const given = weights(0, rows);
    for (const all of [names, taken]) all.length = 0;
    kernels.refine(matrix, given, weighing);
    const again = weights(0, rows);
    const began = processorTime();
    plainly.refine(matrix, again, weighing);
    whole = Math.min(whole, processorTime() - began);
    // The first turn also makes tables, which stay.
    const isAlike = least.length === taken.length;
    least = taken.map((time, i) => (isAlike ? Math.min(time, least[i]) : time));
    of = [...names];
  }
  const each = (all: Iterable<number>) => ([...all].reduce((sum, time) => sum + time, 0) / (rows * cols)) * 1e6;
  const spent = (kinds: readonly string[]) => each(least.filter((_, i) => kinds.includes(of[i])));
  const found = {
    plain: each(plain),
    all: each([whole]),
    search: spent(parts.search),
    factors: spent(parts.factors),
    products: spent(parts.products),
  };
  const rest = found.all - found.search - found.factors - found.products;
  return { ...found, rest, searchRatio: found.search / found.plain, ratio: found.all / found.plain };
}

// Milliseconds of this process.
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

// Neighbours correlate by 0.8; variances differ.
function correlated(n: number): Float32Array<ArrayBuffer> {
  const square = new Float32Array(n * n);
  const logs = normals(n, 2);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) square[i * n + j] = 0.8 ** Math.abs(i - j) * Math.exp((logs[i] + logs[j]) / 2);
  }
  return square;
}
