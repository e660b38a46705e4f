// Tables that kernels look codes up in, kept in linear memory: building one takes up to half a second. What a caller gave is copied, as
// arrays may change.

import type { Arena } from './arena.ts';
import type { KernelExports } from './exports.ts';
import { type CodeGrid, isPaths } from './layout.ts';

/** Tables of grids that are kept; the stored grids are fewer. */
const TABLES_LIMIT = 64;
/** Addresses of tables. Ask first after a reset of the memory: what is not there yet is built, and the memory is reset again. */
export interface Tables {
  /** The table of a grid. */
  of(grid: CodeGrid): number;
  /** That of CRC-32. */
  checksum(): number;
}

/** @returns the tables of this memory; each grid's is built once */
export function keepTables(memory: Arena, exports: KernelExports): Tables {
  let checksum = 0;
  const kept: { grid: CodeGrid; table: number }[] = [];

  function pinned(byteLength: number): number {
    const address = memory.alloc(byteLength);
    memory.pin();
    return address;
  }

  function build(grid: CodeGrid): number {
    if (isPaths(grid) && grid.kept) {
      const table = pinned(exports.labelTableBytes());
      const third = 2 ** (grid.kept[2] ?? 0) - 1;
      exports.labelTable(memory.place(grid.tables), grid.step, grid.zero, grid.bits, third, table);
      return table;
    }
    if (isPaths(grid)) {
      const table = pinned(exports.trellisTableBytes());
      exports.trellisTable(memory.place(grid.tables), grid.step, grid.zero, grid.bits, table);
      return table;
    }
    const n = 2 ** grid.bits;
    const table = pinned(exports.gridTableBytes(grid.p, n));
    exports.gridTable(memory.place(grid.points), grid.p, n, table);
    return table;
  }

  return {
    of(grid) {
      const entry = kept.find((entry) => isSame(entry.grid, grid));
      if (entry) return entry.table;
      if (kept.length === TABLES_LIMIT) {
        kept.length = 0;
        checksum = 0;
        memory.clear();
      }
      const table = build(grid);
      memory.reset();
      kept.push({ grid: copyOf(grid), table });
      return table;
    },
    checksum() {
      if (checksum === 0) {
        checksum = pinned(exports.crc32TableBytes());
        exports.crc32Table(checksum);
      }
      return checksum;
    },
  };
}

function isSame(a: CodeGrid, b: CodeGrid): boolean {
  if (a.p !== b.p || a.bits !== b.bits) return false;
  if (isPaths(a)) {
    if (!isPaths(b) || a.step !== b.step || a.zero !== b.zero || String(a.kept) !== String(b.kept)) return false;
    return sameValues(a.tables, b.tables);
  }
  return !isPaths(b) && sameValues(a.points, b.points);
}

function copyOf(grid: CodeGrid): CodeGrid {
  return isPaths(grid) ? { ...grid, tables: grid.tables.slice() } : { ...grid, points: grid.points.slice() };
}

function sameValues(a: Float32Array | Uint8Array, b: Float32Array | Uint8Array): boolean {
  return a.length === b.length && a.every((value: number, i: number) => value === b[i]);
}
