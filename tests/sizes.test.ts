// Sizes that src/kernels/ has again: each against its original in assembly/, which the debug build exports, and scratch by what
// kernels write of it. A size that is changed in one place alone fails here.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import decoderBytes from '../build/decoder.debug.wasm';
import coreBytes from '../build/higgs.debug.wasm';
import { largeGrids } from '../src/grids/large.ts';
import { smallGrids } from '../src/grids/small.ts';
import { trellises } from '../src/grids/trellises.ts';
import { type Arena, arena } from '../src/kernels/arena.ts';
import type { DecoderExports } from '../src/kernels/decoder/exports.ts';
import { createMemory, instantiateDecoder } from '../src/kernels/decoder/instantiate.ts';
import {
  activationBytes,
  bandRowBytes,
  bandScratchBytes,
  denseScratchBytes,
  GRAM_SCRATCH,
  productScratchBytes,
  READ_BEHIND,
  rowTableBytes,
  TILE_STRIDE,
  unbandScratchBytes,
} from '../src/kernels/decoder/sizes.ts';
import { integerTable, isBanded } from '../src/kernels/decoder/table.ts';
import type { KernelExports } from '../src/kernels/exports.ts';
import { instantiateKernels } from '../src/kernels/instantiate.ts';
import { bytesPerRow, type CodeGrid, codesPerRow, dtypeCodes, groupsPerRow, isPaths } from '../src/kernels/layout.ts';
import { bytesPerWeight, type WeightDtype } from '../src/kernels/operands.ts';
import {
  dimensionOf,
  encodeScratchBytes,
  FACTOR_COLS,
  roundScratchBytes,
  rowScratchBytes,
} from '../src/kernels/sizes.ts';
import { normals } from './bits.ts';

/** What the debug builds export beside the kernels: assembly/sizes.ts and assembly/decoder/sizes.ts. */
interface Originals {
  readonly F32: WebAssembly.Global;
  readonly F16: WebAssembly.Global;
  readonly BF16: WebAssembly.Global;
  readonly F8: WebAssembly.Global;
  readonly FACTOR_COLS: WebAssembly.Global;
  weightBytes(dtype: number): number;
  groupsOf(cols: number, groupSize: number): number;
  codesPerRow(cols: number, p: number): number;
  trellisDimension(): number;
  labelDimension(): number;
}
interface DecoderOriginals {
  readonly TILE_STRIDE: WebAssembly.Global;
  activationBytes(cols: number, groupSize: number): number;
  octsOf(cols: number): number;
  rowStride(p: number): number;
}

const test = suite('sizes');
const grids: readonly CodeGrid[] = [...smallGrids, ...largeGrids, ...trellises];
const widths = [
  1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 172, 576, 1000, 1023, 1024, 1025, 4096,
];
const groupSizes = [16, 32, 64, 256, 1024, 4096];

const core = (await instantiateKernels(coreBytes)) as KernelExports & Originals;
const decoderMemory = createMemory(1 << 24, false);
const decoder = (await instantiateDecoder(decoderBytes, decoderMemory)) as DecoderExports & DecoderOriginals;
const coreArena = arena(core.memory, core.heapBase());
const decoderArena = arena(decoderMemory, decoder.heapBase());

test('constants are those of the kernels', () => {
  const codes: Record<WeightDtype, WebAssembly.Global> = {
    F32: core.F32,
    F16: core.F16,
    BF16: core.BF16,
    F8_E4M3: core.F8,
  };
  for (const [dtype, { value }] of Object.entries(codes)) {
    assert.is(dtypeCodes[dtype as WeightDtype], value, dtype);
    assert.is(bytesPerWeight[dtype as WeightDtype], core.weightBytes(value), dtype);
  }
  assert.is(FACTOR_COLS, core.FACTOR_COLS.value);
  assert.is(TILE_STRIDE, decoder.TILE_STRIDE.value);
  assert.is(dimensionOf(trellises.find(({ kept }) => !kept)!), core.trellisDimension());
  assert.is(dimensionOf(trellises.find(({ kept }) => kept)!), core.labelDimension());
});

test('codes and groups of a row are those of the kernels', () => {
  for (const cols of widths) {
    for (const grid of grids) assert.is(codesPerRow(cols, grid), core.codesPerRow(cols, dimensionOf(grid)), `${cols}`);
    for (const groupSize of groupSizes) {
      assert.is(groupsPerRow(cols, groupSize), core.groupsOf(cols, groupSize));
      assert.is(activationBytes(cols, groupSize), decoder.activationBytes(cols, groupSize), `${cols}, ${groupSize}`);
    }
    for (const bits of [2, 3, 4]) assert.is(bandRowBytes(cols, bits), decoder.octsOf(cols) * 4 * bits);
  }
});

// A region of exactly so many bytes; `check` fails where what is behind it was written to.
function exactly(memory: Arena, byteLength: number, label: string): { address: number; check(): void } {
  const GUARD = 4096;
  const address = memory.alloc(byteLength + GUARD);
  memory.bytes(address, byteLength + GUARD).fill(0xa5);
  const check = () => {
    const behind = memory.bytes(address + byteLength, GUARD);
    const first = behind.findIndex((byte) => byte !== 0xa5);
    assert.ok(first < 0, `${label}: ${byteLength} bytes, and byte ${byteLength + first} was written`);
  };
  return { address, check };
}

function coreTable(grid: CodeGrid): number {
  if (isPaths(grid) && grid.kept) {
    const table = coreArena.alloc(core.labelTableBytes());
    const third = 2 ** (grid.kept[2] ?? 0) - 1;
    core.labelTable(coreArena.place(grid.tables), grid.step, grid.zero, grid.bits, third, table);
    return table;
  }
  if (isPaths(grid)) {
    const table = coreArena.alloc(core.trellisTableBytes());
    core.trellisTable(coreArena.place(grid.tables), grid.step, grid.zero, grid.bits, table);
    return table;
  }
  const n = 2 ** grid.bits;
  const table = coreArena.alloc(core.gridTableBytes(grid.p, n));
  core.gridTable(coreArena.place(grid.points), grid.p, n, table);
  return table;
}

for (const grid of grids) {
  test(`scratch of encoding and decoding is as large as the kernels need: ${'name' in grid ? grid.name : ''}`, () => {
    coreArena.clear();
    const table = coreTable(grid);
    coreArena.pin();
    const [p, bits] = [dimensionOf(grid), grid.bits];
    for (const cols of [1, 5, 31, 33, 100, 1025]) {
      coreArena.reset();
      const [rows, groupSize] = [2, 64];
      const [packedBytes, groups] = [bytesPerRow(cols, grid), groupsPerRow(cols, groupSize)];
      const w = coreArena.place(
        Uint16Array.from(new Uint32Array(normals(rows * cols, 2).buffer), (bits) => bits >>> 16),
      );
      const masks = coreArena.alloc(cols * 4 + 128);
      core.signs(1, masks, cols);
      const [packed, scales, sums] = [rows * packedBytes, rows * groups * 2, rows * 16].map(coreArena.alloc);
      for (const search of [false, true]) {
        const scratch = exactly(
          coreArena,
          encodeScratchBytes(cols, grid, search),
          `encode, ${cols} columns, ${search}`,
        );
        const dtype = dtypeCodes.BF16;
        core.encode(
          ...([w, dtype, 0, rows, cols, masks, groupSize, table, p, bits] as const),
          ...([search, packed, scales, sums, scratch.address] as const),
        );
        scratch.check();
      }
      const scratch = exactly(coreArena, rowScratchBytes(cols, 1), `dequantize, ${cols} columns`);
      const y = coreArena.alloc(rows * cols * 4);
      core.dequantize(packed, scales, rows, cols, masks, groupSize, table, p, bits, y, scratch.address);
      scratch.check();
      const x = coreArena.place(normals(cols));
      core.matvec(packed, scales, rows, cols, groupSize, table, p, bits, x, y, scratch.address);
      scratch.check();

      const [z, values] = [0, 0].map(() => coreArena.alloc(rows * (cols + 64) * 4));
      const codes = coreArena.alloc((rows * codesPerRow(cols, grid) + 64) * 2);
      const rotating = exactly(coreArena, (cols + 64) * 4, `rotateRows, ${cols} columns`);
      core.rotateRows(w, dtypeCodes.BF16, 0, rows, cols, masks, groupSize, z, scales, sums, rotating.address);
      rotating.check();
      const rounding = exactly(coreArena, roundScratchBytes(cols, grid), `roundRows, ${cols} columns`);
      const results = [scales, codes, values, sums, rounding.address] as const;
      core.roundRows(z, rows, cols, groupSize, table, p, bits, ...results);
      rounding.check();
    }
  });

  test(`scratch of products is as large as the kernels need: ${'name' in grid ? grid.name : ''}`, () => {
    const memory = decoderArena;
    memory.clear();
    const integers = memory.place(integerTable(grid));
    if (!isPaths(grid)) {
      const n = 2 ** grid.bits;
      const rowTable = exactly(memory, rowTableBytes(grid.p, n), `writeRows, ${n} points of ${grid.p}`);
      decoder.writeRows(memory.place(grid.points), grid.p, n, rowTable.address);
      rowTable.check();
      assert.is(rowTableBytes(grid.p, n), 16 + n * decoder.rowStride(grid.p) + (grid.p === 1 ? 64 : 0));
    }
    memory.pin();
    for (const cols of [1, 5, 33, 100, 1025, 4100]) {
      for (const groupSize of [16, 64, 4096]) {
        memory.reset();
        const [rows, most] = [9, 14];
        const groups = groupsPerRow(cols, groupSize);
        const label = `${cols} columns, groups of ${groupSize}`;
        const packed = memory.place(new Uint8Array(rows * bytesPerRow(cols, grid)).fill(0x5a));
        const scales = memory.place(new Uint16Array(16 * groups).fill(0x3c00));
        let [weights, rowBytes] = [packed, bytesPerRow(cols, grid)];
        if (isBanded(grid)) {
          rowBytes = bandRowBytes(cols, grid.bits);
          const bands = exactly(memory, 16 * rowBytes, `bands, ${label}`);
          const scratch = exactly(memory, bandScratchBytes(cols), `bandRows, ${label}`);
          decoder.bandRows(packed, rows, codesPerRow(cols, grid), grid.bits, bands.address, scratch.address);
          bands.check();
          scratch.check();
          const unbanding = exactly(memory, unbandScratchBytes(cols), `unbandRow, ${label}`);
          const row = memory.alloc(bytesPerRow(cols, grid));
          decoder.unbandRow(bands.address, 1, codesPerRow(cols, grid), grid.bits, row, unbanding.address);
          unbanding.check();
          weights = bands.address;
        }
        const x = memory.alloc(most * cols * 4 + READ_BEHIND);
        memory.floats(x, most * cols).set(normals(most * cols, 5));
        const y = memory.alloc(most * rows * 4);
        for (const count of [1, 2, 5, 12, most]) {
          const activation = exactly(memory, count * activationBytes(cols, groupSize), `quantizeActivation, ${label}`);
          decoder.quantizeActivation(x, count, cols, groupSize, activation.address);
          activation.check();
          const size = productScratchBytes(cols, groupSize, count);
          const scratch = exactly(memory, size, `matmul of ${count}, ${label}`);
          decoder.matmul(
            ...([weights, rowBytes, scales, rows, cols, groupSize, integers, activation.address, count] as const),
            ...([y, rows, scratch.address] as const),
          );
          scratch.check();
        }
      }
    }
  });
}

test('scratch of sums of outer products is as large as the kernel needs', () => {
  for (const n of [1, 5, 63, 64, 65, 130]) {
    for (const count of [1, 64, 70]) {
      decoderArena.reset();
      const [x, s] = [decoderArena.place(normals(count * n, n)), decoderArena.alloc(n * (n + 1) * 2)];
      const scratch = exactly(decoderArena, GRAM_SCRATCH, `addGram of ${count}, ${n} columns`);
      decoder.addGram(x, count, n, 0, 0, n, s, scratch.address);
      scratch.check();
    }
  }
});

test('scratch of products with plain weights is as large as the kernels need', () => {
  const memory = decoderArena;
  memory.clear();
  for (const cols of [1, 5, 33, 100, 1025]) {
    for (const dtype of ['F32', 'F16', 'BF16'] as const) {
      for (const count of [2, 6]) {
        memory.reset();
        const rows = 5;
        const w = memory.place(new Uint8Array(rows * cols * bytesPerWeight[dtype]).fill(0x3c));
        const x = memory.place(normals(count * cols));
        const y = memory.alloc(count * rows * 4);
        const scratch = exactly(memory, denseScratchBytes(cols), `denseRows of ${dtype}, ${cols} columns`);
        decoder.denseRows(w, dtypeCodes[dtype], rows, cols, x, count, y, rows, scratch.address);
        scratch.check();
      }
    }
  }
});

test.run();
