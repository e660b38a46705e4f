// The table that the searches for the nearest point read: the grid's points (rows.ts), and cells that say which few of them can be
// nearest to anything in a cell.

import { lineBytes, lineCells } from './line';
import { planeBytes, planeCells } from './plane';
import { cellsOf, rowsOf, rowStride } from './rows';
import { spaceBytes, spaceCells } from './space';

/** Size of the table in bytes. */
export function gridTableBytes(p: usize, n: usize): usize {
  return cellsOf(0, p, n) + (p == 1 ? lineBytes() : p == 2 ? planeBytes(n) : spaceBytes(p, n));
}

/** Builds the table of a grid, (n, p) at `points`. ½‖g‖² is summed left to right. */
export function gridTable(points: usize, p: usize, n: usize, table: usize): void {
  store<u32>(table, 0);
  const stride = rowStride(p);
  let row = rowsOf(table);
  for (let j: usize = 0; j < n; j++) {
    let norm: f32 = 0;
    for (let i: usize = 0; i < p; i++) {
      const g = load<f32>(points);
      store<f32>(row + (i << 2), g);
      norm += g * g;
      points += 4;
    }
    store<f32>(row + (p << 2), norm * <f32>0.5);
    if (p <= 2) store<u32>(row + ((p + 1) << 2), <u32>j);
    if (p == 1) store<u32>(row, 0, 12);
    row += stride;
  }
  if (p == 1) lineCells(table, n);
  else if (p == 2) planeCells(table, n);
  else spaceCells(table, p, n);
}
