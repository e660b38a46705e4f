// The table that the searches for the nearest point read: the grid's points (rows.ts), and cells that say which few of them can be
// nearest to anything in a cell. A point is left out only if another one beats it all over the cell by more than f32 scores can err; the
// few that stay are compared as every.ts compares all. A grid whose cells would hold too many has none.

import { lineBytes, lineCells } from './line';
import { planeBytes, planeCells } from './plane';
import { cellsOf, writeRows } from './rows';
import { spaceBytes, spaceCells } from './space';

/** Size of the table in bytes. */
export function gridTableBytes(p: usize, n: usize): usize {
  return cellsOf(0, p, n) + (p == 1 ? lineBytes() : p == 2 ? planeBytes(n) : spaceBytes(p, n));
}

/** Builds the table of a grid, (n, p) at `points`. */
export function gridTable(points: usize, p: usize, n: usize, table: usize): void {
  writeRows(points, p, n, table);
  if (p == 1) lineCells(table, n);
  else if (p == 2) planeCells(table, n);
  else spaceCells(table, p, n);
}
