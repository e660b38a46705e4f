// The head of the table that the searches for the nearest point and decoding read, and the bounds that the searches rest on.
//
//   0       u32 cells along an axis (0: there are no cells), f32 how far out they serve, f32 cells per unit, u32 of the search's own
//   16      n rows of 16 bytes (p = 4: 20):  p = 1  g, ½g², code, 0     p = 2  g0, g1, ½‖g‖², code     p = 3, 4  g…, ½‖g‖²
//   then    p = 1: four vectors, byte i of the points 0 to 15 in vector i
//   then    cells: line.ts (p = 1), plane.ts (p = 2), space.ts (p = 3, 4)

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

/** Where the bytes of the first sixteen points stand, for p = 1. */
// @ts-ignore: decorator
@inline
export function bytesOf(table: usize, n: usize): usize {
  return table + HEADER + (n << 4);
}

/** Where the cells start. */
// @ts-ignore: decorator
@inline
export function cellsOf(table: usize, p: usize, n: usize): usize {
  return table + HEADER + n * rowStride(p) + (p == 1 ? 64 : 0);
}

/**
 * Writes the rows of a grid, (n, p) at `points`, of a table that has no cells yet; the bytes, too, of up to 16 points in one
 * dimension. ½‖g‖² is summed left to right.
 */
export function writeRows(points: usize, p: usize, n: usize, table: usize): void {
  memory.fill(table, 0, HEADER);
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
    for (let byte: usize = 0; p == 1 && n <= 16 && byte < 4; byte++) {
      store<u8>(bytesOf(table, n) + (byte << 4) + j, load<u8>(row + byte));
    }
    row += stride;
  }
}

/** Writes the header: `along` cells over [-reach, reach] on each axis. */
export function writeHeader(table: usize, along: usize, reach: f64): void {
  store<u32>(table, <u32>along);
  store<f32>(table, <f32>(reach * INNER), 4);
  store<f32>(table, <f32>(<f64>along / (2 * reach)), 8);
}

/** The largest coordinate of any point, a little enlarged. */
export function reachOf(table: usize, p: usize, n: usize): f32 {
  let reach: f32 = 0;
  for (let j: usize = 0; j < n; j++) {
    for (let i: usize = 0; i < p; i++) reach = max(reach, abs(load<f32>(rowsOf(table) + j * rowStride(p) + (i << 2))));
  }
  return reach * <f32>1.001;
}

/**
 * What the f32 scores of two points may err by together, for |z_i| ≤ reach: each of 2p + 1 roundings a score by half a unit in the
 * last place of a value below p · reach² · 2.
 */
export function slackOf(p: usize, reach: f64): f64 {
  return 2 * <f64>(2 * p + 1) * 2 * <f64>p * reach * reach * (1.0 / 16777216);
}

/** How much wider than its cell the region of the z is that f32 arithmetic sends there. */
// @ts-ignore: decorator
@inline
export function blurOf(reach: f64): f64 {
  return reach * (1.0 / 1048576);
}

// 1.5 · 2^23: added to an f32 below 2^22 it rounds it to an integer, which is then in the low bits.
const MAGIC: f32 = 12582912;
const MAGIC_BITS: i32 = 0x4b400000;

/** The integers nearest to z · factor + offset, whose magnitude is below 2^22; beyond that something larger, down to -1.5 · 2^23. */
// @ts-ignore: decorator
@inline
export function placeOf(z: v128, factor: v128, offset: v128): v128 {
  const place = f32x4.add(f32x4.mul(z, factor), offset);
  return i32x4.sub(f32x4.add(place, f32x4.splat(MAGIC)), i32x4.splat(MAGIC_BITS));
}

/** As placeOf, of cells 0 to 65535. At the border of two cells either will do, for cells take in a little of their surroundings. */
// @ts-ignore: decorator
@inline
export function cellOf(z: v128, perUnit: v128, centre: v128): v128 {
  const place = f32x4.add(f32x4.mul(z, perUnit), centre);
  return v128.and(f32x4.add(place, f32x4.splat(MAGIC)), i32x4.splat(0xffff));
}
