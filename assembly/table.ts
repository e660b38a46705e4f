// The table that the searches for the nearest point read: the grid's points, and for p = 1 and 2 the cells that say which
// few points can be nearest to anything in a cell.
//
//   0       u32 cells along an axis (0: there are no cells), f32 how far out they serve, f32 cells per unit
//   16      n rows of 16 bytes (p = 4: 20):  p = 1  g, ½g², code, 0     p = 2  g0, g1, ½‖g‖², code     p = 3, 4  g…, ½‖g‖²
//   p = 1   cells of 16 bytes: g, ½g² of each of two neighbours; then a u16 for each cell, the first one's code
//   p = 2   cells of a u32: three codes of 10 bits, ascending, the last ones repeating the first

const CELLS1: usize = 1024;
// The cells serve |z| up to a little less than their extent R: a quarter of a cell or less, so that rounding stays inside.
const INNER: f64 = 0.9995;
const HEADER: usize = 16;

/** Bytes between two rows of points. */
// @ts-ignore: decorator
@inline
export function rowStride(p: usize): usize {
  return p == 4 ? 20 : 16;
}

/** Where the rows start. */
// @ts-ignore: decorator
@inline
export function rowsOf(table: usize): usize {
  return table + HEADER;
}

/** Where the cells start. */
// @ts-ignore: decorator
@inline
export function cellsOf(table: usize, p: usize, n: usize): usize {
  return table + HEADER + n * rowStride(p);
}

// With 128 cells over the points' extent no cell meets more than three of 256 points, a corner of their Voronoi diagram.
// @ts-ignore: decorator
@inline
function cellsAlong(p: usize, n: usize): usize {
  return p == 1 ? CELLS1 : n <= 256 ? 128 : 256;
}

/** Size of the table in bytes. */
export function gridTableBytes(p: usize, n: usize): usize {
  const along = cellsAlong(p, n);
  const cells: usize = p == 1 ? along * 18 : p == 2 ? along * along * 4 : 0;
  return HEADER + n * rowStride(p) + cells;
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
  // Codes have 10 bits in the cells.
  if (p > 2 || n > 1024) return;
  const along = cellsAlong(p, n);
  if (p == 1 ? lineCells(table, n, along) : planeCells(table, n, along)) store<u32>(table, <u32>along);
}

// The largest coordinate of any point, a little enlarged.
function reachOf(table: usize, p: usize, n: usize): f32 {
  let reach: f32 = 0;
  for (let j: usize = 0; j < n; j++) {
    for (let i: usize = 0; i < p; i++) reach = max(reach, abs(load<f32>(rowsOf(table) + j * 16 + (i << 2))));
  }
  return reach * <f32>1.001;
}

// What the f32 scores of two points may err by together, for |z_i| ≤ reach: each of 2p + 1 roundings a score by half a unit
// in the last place of a value below p · reach² · 2.
function slackOf(p: usize, reach: f64): f64 {
  return 2 * <f64>(2 * p + 1) * 2 * <f64>p * reach * reach * (1.0 / 16777216);
}

// How much wider than its cell the region of the z is that f32 arithmetic sends there.
// @ts-ignore: decorator
@inline
function blurOf(reach: f64): f64 {
  return reach * (1.0 / 1048576);
}

// Cells over [-R, R], the outermost ones without end. At most two points may compete in a cell, and they must be neighbours.
function lineCells(table: usize, n: usize, along: usize): bool {
  const rows = rowsOf(table);
  for (let j: usize = 1; j < n; j++) if (!(load<f32>(rows + j * 16) > load<f32>(rows + j * 16 - 16))) return false;
  const reach = <f64>reachOf(table, 1, n);
  const width = (2 * reach) / <f64>along;
  store<f32>(table, <f32>(reach * INNER), 4);
  store<f32>(table, <f32>(1 / width), 8);
  const slack = slackOf(1, reach);
  const cells = cellsOf(table, 1, n);
  const codes = cells + along * 16;
  // Between neighbours a < b the score's difference is (b - a) z - (b² - a²) / 2; it decides wherever it exceeds the slack.
  let first: usize = 0;
  for (let cell: usize = 0; cell < along; cell++) {
    const low = -reach + <f64>cell * width - blurOf(reach);
    const high = low + width + 2 * blurOf(reach);
    while (cell > 0 && first + 1 < n && margin(rows + first * 16, low) > slack) first++;
    let second = first;
    if (first + 1 < n && (cell + 1 == along || margin(rows + first * 16, high) >= -slack)) second = first + 1;
    if (second + 1 < n && (cell + 1 == along || margin(rows + second * 16, high) >= -slack)) return false;
    v128.store(cells + cell * 16, v128.shuffle<f64>(v128.load(rows + first * 16), v128.load(rows + second * 16), 0, 2));
    store<u16>(codes + (cell << 1), <u16>first);
  }
  return true;
}

// By how much the next point's score is above this one's at z.
function margin(row: usize, z: f64): f64 {
  const a = <f64>load<f32>(row);
  const b = <f64>load<f32>(row, 16);
  return (b - a) * z - (<f64>load<f32>(row, 20) - <f64>load<f32>(row, 4));
}

// Cells over [-R, R]². A point competes in a cell unless another one beats it all over the cell by more than the slack: a
// difference of scores is linear, so its least value is at a corner.
function planeCells(table: usize, n: usize, along: usize): bool {
  const rows = rowsOf(table);
  const reach = <f64>reachOf(table, 2, n);
  const width = (2 * reach) / <f64>along;
  store<f32>(table, <f32>(reach * INNER), 4);
  store<f32>(table, <f32>(1 / width), 8);
  const slack = slackOf(2, reach);
  const half = width / 2 + blurOf(reach);
  let cell = cellsOf(table, 2, n);
  for (let iy: usize = 0; iy < along; iy++) {
    const y = -reach + (<f64>iy + 0.5) * width;
    for (let ix: usize = 0; ix < along; ix++) {
      const x = -reach + (<f64>ix + 0.5) * width;
      let nearest = rows;
      for (let row = rows + 16; row < rows + n * 16; row += 16) {
        if (advantage(row, nearest, x, y, 0) > 0) nearest = row;
      }
      // Candidates against the nearest to the centre alone; then against one another. At most eight are kept.
      let c0: usize = 0, c1: usize = 0, c2: usize = 0, c3: usize = 0, c4: usize = 0, c5: usize = 0, c6: usize = 0, c7: usize = 0;
      let found = 0;
      for (let row = rows; row < rows + n * 16; row += 16) {
        if (advantage(row, nearest, x, y, half) < -slack) continue;
        if (found == 0) c0 = row;
        else if (found == 1) c1 = row;
        else if (found == 2) c2 = row;
        else if (found == 3) c3 = row;
        else if (found == 4) c4 = row;
        else if (found == 5) c5 = row;
        else if (found == 6) c6 = row;
        else if (found == 7) c7 = row;
        else return false;
        found++;
      }
      let codes: u32 = 0;
      let kept = 0;
      for (let i = 0; i < found; i++) {
        const row = i == 0 ? c0 : i == 1 ? c1 : i == 2 ? c2 : i == 3 ? c3 : i == 4 ? c4 : i == 5 ? c5 : i == 6 ? c6 : c7;
        let beaten = false;
        for (let k = 0; k < found && !beaten; k++) {
          const other = k == 0 ? c0 : k == 1 ? c1 : k == 2 ? c2 : k == 3 ? c3 : k == 4 ? c4 : k == 5 ? c5 : k == 6 ? c6 : c7;
          beaten = k != i && advantage(row, other, x, y, half) < -slack;
        }
        if (beaten) continue;
        const code = load<u32>(row, 12);
        if (kept == 0) codes = code | (code << 10) | (code << 20);
        else if (kept == 1) codes = (codes & ~(1023 << 10)) | (code << 10);
        else if (kept == 2) codes = (codes & ~(1023 << 20)) | (code << 20);
        else return false;
        kept++;
      }
      store<u32>(cell, codes);
      cell += 4;
    }
  }
  return true;
}

// The most by which the score of the point at `row` exceeds that at `other` within `half` of (x, y).
function advantage(row: usize, other: usize, x: f64, y: f64, half: f64): f64 {
  const dx = <f64>load<f32>(row) - <f64>load<f32>(other);
  const dy = <f64>load<f32>(row, 4) - <f64>load<f32>(other, 4);
  return x * dx + y * dy - (<f64>load<f32>(row, 8) - <f64>load<f32>(other, 8)) + half * (abs(dx) + abs(dy));
}
