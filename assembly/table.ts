// The table that the searches for the nearest point read: the grid's points, and cells that say which few of them can be
// nearest to anything in a cell.
//
//   0       u32 cells along an axis (0: there are no cells), f32 how far out they serve, f32 cells per unit
//   16      n rows of 16 bytes (p = 4: 20):  p = 1  g, ½g², code, 0     p = 2  g0, g1, ½‖g‖², code     p = 3, 4  g…, ½‖g‖²
//   p = 1   cells of 16 bytes: g, ½g² of each of two neighbours; then a u16 for each cell, the first one's code
//   p = 2   cells of a u32: three codes of 10 bits, ascending, the last ones repeating the first
//   p = 3, 4  n / 4 blocks of neighbours, four points by coordinate: g0 ×4, g1 ×4, …, ½‖g‖² ×4, code ×4; then for each cell, and one
//           for all that is beyond the cells, a u32, where its list starts, one more for the end; then the lists, u16 blocks

const CELLS1: usize = 1024;
// The cells serve |z| up to a little less than their extent R: a quarter of a cell or less, so that rounding stays inside.
const INNER: f64 = 0.9995;
const HEADER: usize = 16;

// Cells of p = 3 and 4: 16³ = 8⁴, over [-SPACE_REACH, SPACE_REACH]; one weight in 700 lies beyond.
export const SPACE_CELLS: usize = 4096;
const SPACE_REACH: f64 = 3.2;
// Room for the lists of the cells; the stored grids fill a quarter of it at most.
const LIST_LIMIT: usize = SPACE_CELLS * 64;
// Points of a cell that are compared with one another; the stored grids have a thousand at most.
const CANDIDATES_LIMIT: usize = 2048;

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
  return p == 1 ? CELLS1 : p == 2 ? (n <= 256 ? 128 : 256) : p == 3 ? 16 : 8;
}

/** Bytes of a block of four points. */
// @ts-ignore: decorator
@inline
export function blockSize(p: usize): usize {
  return (p + 2) << 4;
}

/** Where the starts of the cells' lists are, p = 3 and 4. */
// @ts-ignore: decorator
@inline
export function startsOf(table: usize, p: usize, n: usize): usize {
  return cellsOf(table, p, n) + (n >> 2) * blockSize(p);
}

/** Size of the table in bytes. */
export function gridTableBytes(p: usize, n: usize): usize {
  const along = cellsAlong(p, n);
  const cells: usize =
    p == 1 ? along * 18
    : p == 2 ? along * along * 4
    : (n >> 2) * blockSize(p) + (SPACE_CELLS + 2) * 4 + LIST_LIMIT * 2 + n * 9; // the last is room to build in, and the list of all
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
  const along = cellsAlong(p, n);
  let fits = false;
  if (p > 2) fits = spaceCells(table, p, n, along);
  else if (n <= 1024) fits = p == 1 ? lineCells(table, n, along) : planeCells(table, n, along); // codes have 10 bits there
  if (fits) store<u32>(table, <u32>along);
}

// The largest coordinate of any point, a little enlarged.
function reachOf(table: usize, p: usize, n: usize): f32 {
  let reach: f32 = 0;
  for (let j: usize = 0; j < n; j++) {
    for (let i: usize = 0; i < p; i++) reach = max(reach, abs(load<f32>(rowsOf(table) + j * rowStride(p) + (i << 2))));
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

// Cells over [-R, R]^p, as in the plane. What competes in a cell is a list of blocks, for a block is compared at a stroke.
function spaceCells(table: usize, p: usize, n: usize, along: usize): bool {
  const width = (2 * SPACE_REACH) / <f64>along;
  store<f32>(table, <f32>(SPACE_REACH * INNER), 4);
  store<f32>(table, <f32>(1 / width), 8);
  const slack = slackOf(p, max(SPACE_REACH, <f64>reachOf(table, p, n)));
  const half = width / 2 + blurOf(SPACE_REACH);
  const blocks = cellsOf(table, p, n);
  const size = blockSize(p);
  const starts = startsOf(table, p, n);
  const lists = starts + (SPACE_CELLS + 2) * 4;
  const scratch = lists + LIST_LIMIT * 2 + n;
  gather(table, p, n, blocks, scratch);

  let length: usize = 0;
  let x0: f64 = 0, x1: f64 = 0, x2: f64 = 0, x3: f64 = 0;
  for (let cell: usize = 0; cell < SPACE_CELLS; cell++) {
    store<u32>(starts + (cell << 2), <u32>length);
    x0 = -SPACE_REACH + (<f64>(cell % along) + 0.5) * width;
    x1 = -SPACE_REACH + (<f64>((cell / along) % along) + 0.5) * width;
    x2 = -SPACE_REACH + (<f64>((cell / along / along) % along) + 0.5) * width;
    x3 = p == 4 ? -SPACE_REACH + (<f64>(cell / along / along / along) + 0.5) * width : 0;
    let nearest = blocks;
    for (let b: usize = 0; b < n; b++) {
      const point = pointOf(blocks, size, b);
      if (lead(point, nearest, p, x0, x1, x2, x3, 0) > 0) nearest = point;
    }
    let found: usize = 0;
    for (let b: usize = 0; b < n; b++) {
      if (lead(pointOf(blocks, size, b), nearest, p, x0, x1, x2, x3, half) < -slack) continue;
      store<u32>(scratch + (found << 2), <u32>b);
      found++;
    }
    if (found > CANDIDATES_LIMIT) return false;
    let last: usize = usize.MAX_VALUE;
    for (let i: usize = 0; i < found; i++) {
      const b = <usize>load<u32>(scratch + (i << 2));
      if (b >> 2 == last) continue;
      const point = pointOf(blocks, size, b);
      let beaten = false;
      for (let k: usize = 0; k < found && !beaten; k++) {
        const other = pointOf(blocks, size, <usize>load<u32>(scratch + (k << 2)));
        beaten = k != i && lead(point, other, p, x0, x1, x2, x3, half) < -slack;
      }
      if (beaten) continue;
      if (length == LIST_LIMIT) return false;
      last = b >> 2;
      store<u16>(lists + (length << 1), <u16>last);
      length++;
    }
  }
  store<u32>(starts + (SPACE_CELLS << 2), <u32>length);
  for (let block: usize = 0; block < n >> 2; block++) store<u16>(lists + ((length + block) << 1), <u16>block);
  store<u32>(starts + ((SPACE_CELLS + 1) << 2), <u32>(length + (n >> 2)));
  return true;
}

// Point number b in the order of the blocks: its first coordinate; the next one is 16 bytes further.
// @ts-ignore: decorator
@inline
function pointOf(blocks: usize, size: usize, b: usize): usize {
  return blocks + (b >> 2) * size + ((b & 3) << 2);
}

// As `advantage`, for points in blocks.
function lead(a: usize, b: usize, p: usize, x0: f64, x1: f64, x2: f64, x3: f64, half: f64): f64 {
  const d0 = <f64>load<f32>(a) - <f64>load<f32>(b);
  const d1 = <f64>load<f32>(a, 16) - <f64>load<f32>(b, 16);
  const d2 = <f64>load<f32>(a, 32) - <f64>load<f32>(b, 32);
  let sum = x0 * d0 + x1 * d1 + x2 * d2 + half * (abs(d0) + abs(d1) + abs(d2));
  if (p == 3) return sum - (<f64>load<f32>(a, 48) - <f64>load<f32>(b, 48));
  const d3 = <f64>load<f32>(a, 48) - <f64>load<f32>(b, 48);
  sum += x3 * d3 + half * abs(d3);
  return sum - (<f64>load<f32>(a, 64) - <f64>load<f32>(b, 64));
}

// Fills the blocks with points that lie together: in the order of their coordinates' bits, interleaved (Morton's curve).
function gather(table: usize, p: usize, n: usize, blocks: usize, scratch: usize): void {
  const rows = rowsOf(table);
  const stride = rowStride(p);
  for (let j: usize = 0; j < n; j++) {
    let key: u64 = 0;
    for (let bit = 7; bit >= 0; bit--) {
      for (let i: usize = 0; i < p; i++) {
        const place = (load<f32>(rows + j * stride + (i << 2)) + 4.5) * (256.0 / 9.0);
        const eight = <u32>max<f32>(0, min<f32>(255, <f32>place));
        key = (key << 1) | ((eight >> bit) & 1);
      }
    }
    store<u64>(scratch + (j << 3), (key << 16) | j);
  }
  // Shell's sort, Ciura's gaps.
  for (let gap: usize = 1750; gap > 0; gap = gap > 701 ? 701 : gap > 301 ? 301 : gap > 132 ? 132 : gap > 57 ? 57 : gap > 23 ? 23 : gap > 10 ? 10 : gap > 4 ? 4 : gap > 1 ? 1 : 0) {
    for (let i = gap; i < n; i++) {
      const item = load<u64>(scratch + (i << 3));
      let at = i;
      for (; at >= gap && load<u64>(scratch + ((at - gap) << 3)) > item; at -= gap) {
        store<u64>(scratch + (at << 3), load<u64>(scratch + ((at - gap) << 3)));
      }
      store<u64>(scratch + (at << 3), item);
    }
  }
  for (let b: usize = 0; b < n; b++) {
    const code = <usize>(load<u64>(scratch + (b << 3)) & 0xffff);
    const point = pointOf(blocks, blockSize(p), b);
    for (let i: usize = 0; i <= p; i++) store<f32>(point + (i << 4), load<f32>(rows + code * stride + (i << 2)));
    store<u32>(point + ((p + 1) << 4), <u32>code);
  }
}
