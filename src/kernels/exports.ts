// The compiled kernels as WebAssembly exports them: addresses, counts and bits in. assembly/ has the contract of each.

/** What the core's module exports. Numbers named for arrays are byte addresses; assembly/ has their shapes. */
export interface KernelExports {
  /** The module's linear memory. */
  readonly memory: WebAssembly.Memory;
  /** First address that the module leaves to the caller. */
  heapBase(): number;

  /** `count` f16 at `x` to f32 at `y`, exactly. */
  f16ToF32(x: number, y: number, count: number): void;
  /** `count` bf16 at `x` to f32 at `y`, exactly. */
  bf16ToF32(x: number, y: number, count: number): void;
  /** `count` f8_e4m3 at `x` to f32 at `y`, exactly. */
  f8ToF32(x: number, y: number, count: number): void;
  /** Multiplies a row of `cols` f32 by the factor of each `blockCols` columns. */
  scaleBlocks(x: number, cols: number, factors: number, blockCols: number): void;
  /** A row of `cols` weights of any dtype to f32 at `y`, times its factors where it has some. */
  widen(w: number, dtype: number, factors: number, cols: number, y: number): void;
  /** `count` f32 to f16, to nearest even. @returns 1 if a result is infinite or NaN, else 0 */
  f32ToF16(x: number, y: number, count: number): number;
  /** `count` f32 to bf16, to nearest even. */
  f32ToBf16(x: number, y: number, count: number): void;

  /** Masks of `count` random signs, a u32 each: 0 or the sign bit. */
  signs(seed: number, masks: number, count: number): void;
  /** The unnormalised transform of `n` f32, in place. */
  hadamard(x: number, n: number): void;
  /** (1/√g) H (s ∘ x), group by group, of `cols` f32 at `x`, to `y`. */
  rotate(x: number, masks: number, cols: number, groupSize: number, y: number): void;

  /** Bytes of the table of a grid. */
  gridTableBytes(p: number, n: number): number;
  /** Builds the table that finds the nearest of `n` points of `p` f32. */
  gridTable(points: number, p: number, n: number, table: number): void;
  /** Bytes of the table of a trellis. */
  trellisTableBytes(): number;
  /** Builds the table of a trellis from its integers. */
  trellisTable(tables: number, step: number, zero: number, bits: number, table: number): void;
  /** The best codes of a row of four interleaved sequences, `steps` each. */
  viterbi(z: number, steps: number, table: number, codes: number, inputs: number, slices: number): void;
  /** Bytes of the table of a trellis by labels. */
  labelTableBytes(): number;
  /** Builds the table of a trellis by labels from its integers. */
  labelTable(tables: number, step: number, zero: number, bits: number, third: number, table: number): void;
  /** The best codes of two rows of a trellis by labels. */
  labelPaths(
    z0: number,
    z1: number,
    steps: number,
    table: number,
    codes0: number,
    codes1: number,
    scratch: number,
  ): void;
  /** Codes of `count` single weights: the nearest of `n` points. */
  nearest1(z: number, count: number, table: number, n: number, codes: number): void;
  /** Codes of `count` pairs of weights. */
  nearest2(z: number, count: number, table: number, n: number, codes: number, scratch: number): void;
  /** Codes of `count` vectors of three weights. */
  nearest3(z: number, count: number, table: number, n: number, codes: number): void;
  /** Codes of `count` vectors of four weights. */
  nearest4(z: number, count: number, table: number, n: number, codes: number): void;

  /** `count` u16 codes to dense bits, little-endian. */
  pack(codes: number, count: number, bits: number, packed: number): void;
  /** Dense bits to `count` u16 codes. */
  unpack(packed: number, count: number, bits: number, codes: number): void;

  /** @returns the scale of a group of `n` f32, its root mean square, as the bits of an f16 */
  groupScale(x: number, n: number): number;
  /** The first step of `encode`: rows of weights to rotated, scaled rows and scales. */
  rotateRows(
    w: number,
    dtype: number,
    factors: number,
    rows: number,
    cols: number,
    masks: number,
    groupSize: number,
    z: number,
    scales: number,
    sums: number,
    scratch: number,
  ): number;
  /** The second step of `encode`: rotated rows to codes, and their errors. */
  roundRows(
    z: number,
    rows: number,
    cols: number,
    groupSize: number,
    table: number,
    p: number,
    bits: number,
    scales: number,
    codes: number,
    rounded: number,
    sums: number,
    scratch: number,
  ): void;
  /** The third step of `encode`: (rows, vectors) codes to (rows, bytesPerRow). */
  packRows(codes: number, rows: number, vectors: number, bits: number, packed: number): void;
  /** Rows of weights to packed codes and f16 scales; errors to `sums`. */
  encode(
    w: number,
    dtype: number,
    factors: number,
    rows: number,
    cols: number,
    masks: number,
    groupSize: number,
    table: number,
    p: number,
    bits: number,
    search: boolean,
    packed: number,
    scales: number,
    sums: number,
    scratch: number,
  ): number;
  /** Packed codes and scales to (rows, cols) f32. */
  dequantize(
    packed: number,
    scales: number,
    rows: number,
    cols: number,
    masks: number,
    groupSize: number,
    table: number,
    p: number,
    bits: number,
    y: number,
    scratch: number,
  ): void;
  /** y = Ŵ x, of the rotated `x`: (cols) to (rows). */
  matvec(
    packed: number,
    scales: number,
    rows: number,
    cols: number,
    groupSize: number,
    table: number,
    p: number,
    bits: number,
    x: number,
    y: number,
    scratch: number,
  ): void;

  /** Factors a symmetric (n, n) f64 matrix as U D Uᵀ, in place. @returns n, or the first column from the last whose d is not above 0 */
  factorUdu(h: number, n: number, scratch: number): number;
  /**
   * Makes integers of b, (k, n) f32, in panels of eight columns: its rows go to the pairs from `first` on, of `pairs` in each panel. Of what
   * is not finite they are 0 here and in `packFactors`: errors and factors of statistics, which are checked, are finite.
   */
  packPairs(
    b: number,
    ldb: number,
    k: number,
    n: number,
    to: number,
    pairs: number,
    first: number,
    scales: number,
  ): void;
  /** Makes integers of a, (m, k) f32 by strides, times the scales of b's rows: i16 to `to`, 1 / t of 128 terms each to `factors`. */
  packFactors(
    a: number,
    rowStride: number,
    colStride: number,
    m: number,
    k: number,
    scales: number,
    to: number,
    factors: number,
  ): void;
  /** c += a · b of these integers: c (m, n) f32, of b the first `k` rows. */
  addProducts(
    c: number,
    ldc: number,
    a: number,
    factors: number,
    b: number,
    pairs: number,
    m: number,
    k: number,
    n: number,
  ): void;
  /** c += a · b in f32, by single rows: (m, n), (m, k) by strides, (k, n). */
  accumulate(
    c: number,
    ldc: number,
    a: number,
    rowStride: number,
    colStride: number,
    b: number,
    ldb: number,
    m: number,
    k: number,
    n: number,
  ): void;
  /** Scales of a rotated row by its weights with what is fed back to them; ratios of the RMS to them. */
  targetScales(
    z: number,
    fed: number,
    sequences: number,
    lane: number,
    cols: number,
    groupSize: number,
    factors: number,
    scales: number,
    ratios: number,
  ): void;
  /** Takes a sequence of a rotated row for the search with feedback, with σ, 1 / σ and targets. */
  takeSequence(
    row: number,
    first: number,
    stride: number,
    count: number,
    steps: number,
    scales: number,
    ratios: number,
    groups: number,
    z: number,
    sigmas: number,
    inverses: number,
    fed: number,
    across: number,
    own: number,
    working: number,
  ): void;
  /** Notes what the search chose, and what it missed, in the row. */
  noteSequence(
    steps: number,
    z: number,
    sigmas: number,
    values: number,
    missed: number,
    own: number,
    diagonals: number,
    errors: number,
    others: number,
    sums: number,
  ): void;
  /** Σ D r² of residuals, f32; D in f64. */
  weighResiduals(steps: number, residuals: number, diagonals: number): number;
  /** Bytes of the table that the search with feedback reads. */
  refineTableBytes(): number;
  /** Builds that table from a trellis' own. */
  refineTable(from: number, bits: number, labels: number, table: number): void;
  /** Errors that each survivor of the search carries itself. */
  refineOwn(table: number): number;
  /** U of those errors is in units of 2^-(this). */
  refineOwnBits(table: number): number;
  /** Bytes that the search of `steps` works in. */
  refineScratchBytes(steps: number, table: number): number;
  /** What the search needs to choose the state anew at which a sequence begins and ends. */
  prepareSeam(u: number, stride: number, reach: number, ds: number, to: number): void;
  /** The cheapest path of a sequence with error feedback. */
  refineSequence(
    steps: number,
    z: number,
    fed: number,
    own: number,
    inverses: number,
    sigmas: number,
    ds: number,
    products: number,
    recent: number,
    first: number,
    table: number,
    codes: number,
    stride: number,
    values: number,
    work: number,
  ): void;
  /** Bytes that the search over points of a row works in. */
  refinePointsBytes(cols: number): number;
  /** The codes of a row of grid points with error feedback. */
  refinePoints(
    cols: number,
    z: number,
    fed: number,
    inverses: number,
    sigmas: number,
    rows: number,
    squares: number,
    begins: number,
    ends: number,
    table: number,
    p: number,
    n: number,
    sweeps: number,
    codes: number,
    values: number,
    missed: number,
    work: number,
  ): void;

  /** Σ (x − y)² and Σ x² of `count` f32, as two f64 at `sums`. */
  compare(x: number, y: number, count: number, sums: number): void;
  /** Bytes of the table of CRC-32. */
  crc32TableBytes(): number;
  /** Builds the table of CRC-32. */
  crc32Table(table: number): void;
  /** CRC-32 of `count` bytes at `x`, after bytes of CRC-32 `crc`. */
  crc32(crc: number, x: number, count: number, table: number): number;
}
