// Products with codes of a trellis by labels against their scalar twins, bit by bit, in every build that this runtime takes.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkTrellis, type Trellis } from '../src/grids/trellis.ts';
import { arena } from '../src/kernels/arena.ts';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { activationBytes, bandScratchBytes, unbandScratchBytes } from '../src/kernels/decoder/sizes.ts';
import { integerTable, setForm } from '../src/kernels/decoder/table.ts';
import { groupsOf } from '../src/reference/hadamard.ts';
import { type LabelTrellis, labelValues } from '../src/reference/labels.ts';
import * as twin from '../src/reference/linear.ts';
import { pack } from '../src/reference/pack.ts';
import { normals, sameBits, uniform } from './bits.ts';
import { builds, multiply, planQuantized, scratchBytes, storeBanded } from './products.ts';

const trellises = [3, 4, 5, 6].flatMap((bits) =>
  [
    [3, 3],
    [3, 3, 2],
  ].map((kept, i): Trellis & LabelTrellis => {
    const next = uniform(10 * bits + i);
    const most = bits === 6 ? 150 : 60;
    const table = Array.from({ length: 2 ** Math.min(bits, 4) }, (_, i) => (i === 0 ? 0 : Math.floor(next() * most)));
    const labels = Array.from({ length: 8 }, (_, i) => (i === 3 ? 0 : Math.floor(next() * 50)));
    const entries = Array.from({ length: 32 }, (_, i) => (i < 16 ? table[i % table.length] : labels[i % 8]));
    const tables = Uint8Array.from(entries);
    return { name: `t${bits}`, p: 1, bits, mse: 1, step: Math.fround(0.03 + i / 100), zero: 50 + bits, kept, tables };
  }),
);
const nameOf = ({ bits, kept }: LabelTrellis): string => `${bits} bits, labels of (${kept})`;

const WIDTHS = [...Array.from({ length: 40 }, (_, i) => i + 1), 64, 65, 100, 172, 576, 1000];

for (const [build, bytes, form] of builds) {
  const linear = new WebAssembly.Memory({ initial: 16, maximum: 65536 });
  // In two steps: hosts that forbid compiling bytes give the module (tests/runtimes/compiled.ts).
  const instance = await WebAssembly.instantiate(await WebAssembly.compile(bytes), { env: { memory: linear } });
  const kernels = instance.exports as unknown as DecoderExports;
  const memory = arena(linear, kernels.heapBase());
  const { alloc, place, copy } = memory;
  const test = suite(`products with a trellis by labels (${build})`);

  // Products of some rows with some activations, and what the twin has for them.
  function compare(
    trellis: Trellis & LabelTrellis,
    rows: number,
    cols: number,
    groupSize: number,
    count: number,
  ): void {
    memory.reset();
    const label = `${nameOf(trellis)}: ${count} times ${rows} × ${cols}, groups of ${groupSize}`;
    const next = uniform(rows * 31 + cols);
    const codes = Array.from({ length: rows }, () =>
      Uint16Array.from({ length: Math.ceil(cols / 4) * 4 }, () => next() * 2 ** trellis.bits),
    );
    const groups = groupsOf(cols, groupSize).length;
    const scales = Uint16Array.from({ length: rows * groups }, () => 0x2800 + next() * 0x1000);
    const x = Array.from({ length: count }, (_, i) => normals(cols, 100 + i).map((value) => value * (i + 0.5)));
    const integers = codes.map((row) =>
      Int16Array.from(labelValues(row, { ...trellis, step: 1, zero: 0 }), (u) => u - trellis.zero),
    );
    const wanted = x.flatMap((activation) => {
      const quantized = twin.quantizeActivation(activation, groupSize, trellis.bits <= 4);
      return integers.map((row, i) =>
        twin.multiply(row, trellis.step, scales.subarray(i * groups, (i + 1) * groups), quantized),
      );
    });

    const plan = planQuantized({ rows, cols }, { ...trellis, groupSize });
    const address = alloc(plan.bytes);
    memory.bytes(address, plan.bytes).fill(0xff);
    const packed = Uint8Array.from(codes.flatMap((row) => [...pack(row, trellis.bits)]));
    const banding = alloc(bandScratchBytes(cols));
    const packedAt = place(Uint8Array.from([...packed, ...new Uint8Array(16)]));
    storeBanded(kernels, plan, address, codes[0].length, trellis.bits, packedAt, place(scales), banding);
    const [row, unbanding] = [alloc(packed.length / rows), alloc(unbandScratchBytes(cols))];
    kernels.unbandRow(address, rows - 1, codes[0].length, trellis.bits, row, unbanding);
    sameBits(copy(Uint8Array, row, packed.length / rows), packed.slice(-packed.length / rows), `last row, ${label}`);
    const from = place(Float32Array.from([...x.flatMap((part) => [...part]), ...new Float32Array(32)]));
    const quantized = alloc(count * activationBytes(cols, groupSize));
    kernels.quantizeActivation(from, count, cols, groupSize, quantized);
    const scratch = alloc(scratchBytes(plan, count) + 16);
    memory.bytes(scratch, scratchBytes(plan, count) + 16).fill(0xa5);
    const y = place(new Float32Array(count * rows).fill(-7));
    const bytes = integerTable(trellis);
    setForm(bytes, form);
    const table = place(bytes);
    multiply(kernels, plan, address, table, { x: quantized, count, y, fromRow: 0, toRow: rows, scratch });
    sameBits(copy(Float32Array, y, count * rows), Float32Array.from(wanted), label);
    assert.ok(memory.bytes(scratch + scratchBytes(plan, count), 16).every((byte) => byte === 0xa5));
  }

  for (const trellis of trellises) {
    test(`matmul() equals its twin for ${nameOf(trellis)}`, () => {
      checkTrellis(trellis);
      for (const cols of WIDTHS) {
        for (const count of [1, 2, 5]) {
          compare(trellis, 1 + (cols % 6), cols, 1024, count);
          compare(trellis, 2, cols, 16 << (cols % 4), count);
        }
      }
      for (const [rows, cols, groupSize] of [
        [20, 4096, 1024],
        [3, 6144, 4096],
        [5, 3000, 2048],
      ] as const) {
        for (const count of [1, 3]) compare(trellis, rows, cols, groupSize, count);
      }
    });
  }

  test.run();
}
