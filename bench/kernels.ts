// Every kernel but encode, on one core.

import type { KernelExports } from '../src/kernels/exports.ts';
import { bytesPerRow, groupsPerRow } from '../src/kernels/layout.ts';
import { medianOf, takeTurns } from './measure.ts';
import { COLS, GROUP_SIZE, type Operands } from './operands.ts';
import { column, type Row, speedColumns, type Table, timed } from './table.ts';

// Comparing every point is slow: 8192 weights take up to 10 ms.
const BRUTE_FORCE_WEIGHTS = 8192;

export function kernelTables(operands: Operands): Table[] {
  return [conversions, rotation, packing, search, gridTables, restoring, checks].map((table) => table(operands));
}

function conversions({ kernels, count, f32, bf16, f16, f8, zeros, y }: Operands): Table {
  const row = (name: string, bytesPerWeight: number, call: () => void) =>
    timed({ name, weights: count, bytes: count * bytesPerWeight, call });
  return {
    title: 'Conversions',
    columns: speedColumns,
    rows: [
      row('f16ToF32', 6, () => kernels.f16ToF32(f16, y, count)),
      row('bf16ToF32', 6, () => kernels.bf16ToF32(bf16, y, count)),
      row('f8ToF32', 5, () => kernels.f8ToF32(f8, y, count)),
      row('f32ToF16', 6, () => kernels.f32ToF16(f32, y, count)),
      row('f32ToBf16', 6, () => kernels.f32ToBf16(f32, y, count)),
      row('scaleBlocks 128', 8, () => kernels.scaleBlocks(zeros, count, f32, 128)),
    ],
  };
}

function rotation({ kernels, rows, count, f32, zeros, masks, y }: Operands): Table {
  const row = (name: string, bytes: number, call: () => void) => timed({ name, weights: count, bytes, call });
  const sizes = [16, 64, 256, 1024, 4096];
  return {
    title: 'Hadamard transform, f32: alone in place, and with signs and 1/√g from one place to another',
    columns: speedColumns,
    rows: [
      ...sizes.map((n) =>
        row(`hadamard ${n}`, count * 8, () => {
          for (let i = 0; i < count; i += n) kernels.hadamard(zeros + i * 4, n);
        }),
      ),
      ...sizes.map((n) =>
        row(`rotate ${n}`, count * 8, () => {
          for (let i = 0; i < rows; i++) kernels.rotate(f32 + i * COLS * 4, masks, COLS, n, y + i * COLS * 4);
        }),
      ),
      timed({
        name: `signs ${COLS}`,
        weights: COLS,
        bytes: COLS * 4,
        call: () => kernels.signs(1, y, COLS),
      }),
    ],
  };
}

function packing({ kernels, count, codes, y }: Operands): Table {
  return {
    title: 'Packing: weights are codes here',
    columns: speedColumns,
    rows: [2, 3, 4, 5, 6, 8, 9, 10, 12].flatMap((bits) => {
      const size = { weights: count, bytes: count * (2 + bits / 8) };
      return [
        timed({ name: `pack ${bits}`, ...size, call: () => kernels.pack(codes, count, bits, y) }),
        timed({ name: `unpack ${bits}`, ...size, call: () => kernels.unpack(y, count, bits, codes) }),
      ];
    }),
  };
}

function search({ kernels, count, normal, points, y, packed }: Operands): Table {
  return {
    title: 'Exact nearest grid point',
    columns: [...speedColumns, column('× brute force', 'timesBruteForce', 3)],
    rows: points.map(({ name, p, n, table, everyPoint }) => {
      const nearest = kernels[`nearest${p}`] as KernelExports['nearest2']; // which alone takes scratch
      const few = Math.min(count, BRUTE_FORCE_WEIGHTS);
      return timed({
        name: `nearest ${name}`,
        weights: count,
        bytes: count * (4 + 2 / p),
        call: () => nearest(normal, Math.floor(count / p), table, n, y, packed),
        bruteForce: { weights: few, call: () => nearest(normal, Math.floor(few / p), everyPoint, n, y, packed) },
      });
    }),
  };
}

function gridTables({ kernels, points }: Operands): Table {
  return {
    title: 'Tables of grids, built once at load',
    columns: [
      column('ms (best)', 'seconds', 3, 1e-3),
      column('(median)', 'medianSeconds', 3, 1e-3),
      { title: 'KB', key: 'bytes', text: (bytes) => (bytes / 1e3).toFixed(1) },
    ],
    rows: points.map(({ name, p, n, pointsAt, table }): Row => {
      return {
        name: `gridTable ${name}`,
        measure: () => {
          const times = takeTurns([() => kernels.gridTable(pointsAt, p, n, table)])[0];
          return { seconds: times[0], medianSeconds: medianOf(times), bytes: kernels.gridTableBytes(p, n) };
        },
      };
    }),
  };
}

function restoring({ kernels, grids, rows, count, masks, packed, scales, activations, y, scratch }: Operands): Table {
  return {
    title: 'Dequantize to f32 and matvec from packed codes, groups of 1024',
    columns: speedColumns,
    rows: grids.flatMap(({ name, grid, p, bits, table }) => {
      const codeBytes = rows * (bytesPerRow(COLS, grid) + 2 * groupsPerRow(COLS, GROUP_SIZE));
      return [
        timed({
          name: `dequantize ${name}`,
          weights: count,
          bytes: count * 4 + codeBytes,
          call: () => kernels.dequantize(packed, scales, rows, COLS, masks, GROUP_SIZE, table, p, bits, y, scratch),
        }),
        timed({
          name: `matvec ${name}`,
          weights: count,
          bytes: codeBytes,
          call: () => kernels.matvec(packed, scales, rows, COLS, GROUP_SIZE, table, p, bits, activations, y, scratch),
        }),
      ];
    }),
  };
}

function checks({ kernels, memory, count, f32, normal, bf16, sums }: Operands): Table {
  const crcTable = memory.alloc(kernels.crc32TableBytes());
  kernels.crc32Table(crcTable);
  return {
    title: 'Sums and checksums',
    columns: speedColumns,
    rows: [
      timed({
        name: 'crc32 of bf16',
        weights: count,
        bytes: count * 2,
        call: () => kernels.crc32(0, bf16, count * 2, crcTable),
      }),
      timed({
        name: 'compare',
        weights: count,
        bytes: count * 8,
        call: () => kernels.compare(f32, normal, count, sums),
      }),
      timed({
        name: 'groupScale 1024',
        weights: count,
        bytes: count * 4,
        call: () => {
          for (let i = 0; i < count; i += GROUP_SIZE) kernels.groupScale(f32 + i * 4, GROUP_SIZE);
        },
      }),
    ],
  };
}
