// The compiled kernels as WebAssembly exports them: addresses, counts and bits in. assembly/ has the contract of each.

/** What the core's module exports. Numbers named for arrays are byte addresses; assembly/ has their shapes. */
export interface KernelExports {
  readonly memory: WebAssembly.Memory;
  heapBase(): number;

  f16ToF32(x: number, y: number, count: number): void;
  bf16ToF32(x: number, y: number, count: number): void;
  f8ToF32(x: number, y: number, count: number): void;
  scaleBlocks(x: number, cols: number, factors: number, blockCols: number): void;
  widen(w: number, dtype: number, factors: number, cols: number, y: number): void;
  f32ToF16(x: number, y: number, count: number): number;
  f32ToBf16(x: number, y: number, count: number): void;

  signs(seed: number, masks: number, count: number): void;
  hadamard(x: number, n: number): void;
  rotate(x: number, masks: number, cols: number, groupSize: number, y: number): void;

  gridTableBytes(p: number, n: number): number;
  gridTable(points: number, p: number, n: number, table: number): void;
  trellisTableBytes(): number;
  trellisTable(tables: number, step: number, zero: number, bits: number, table: number): void;
  viterbi(z: number, steps: number, table: number, codes: number, inputs: number, slices: number): void;
  labelTableBytes(): number;
  labelTable(tables: number, step: number, zero: number, bits: number, third: number, table: number): void;
  labelPaths(
    z0: number,
    z1: number,
    steps: number,
    table: number,
    codes0: number,
    codes1: number,
    scratch: number,
  ): void;
  nearest1(z: number, count: number, table: number, n: number, codes: number): void;
  nearest2(z: number, count: number, table: number, n: number, codes: number, scratch: number): void;
  nearest3(z: number, count: number, table: number, n: number, codes: number): void;
  nearest4(z: number, count: number, table: number, n: number, codes: number): void;

  pack(codes: number, count: number, bits: number, packed: number): void;
  unpack(packed: number, count: number, bits: number, codes: number): void;

  groupScale(x: number, n: number): number;
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
  packRows(codes: number, rows: number, vectors: number, bits: number, packed: number): void;
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

  factorUdu(h: number, n: number, scratch: number): number;
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
  takeSequence(
    row: number,
    first: number,
    stride: number,
    count: number,
    steps: number,
    scales: number,
    groups: number,
    z: number,
    sigmas: number,
    inverses: number,
    fed: number,
    across: number,
    own: number,
    working: number,
  ): void;
  noteSequence(
    steps: number,
    z: number,
    sigmas: number,
    values: number,
    missed: number,
    own: number,
    diagonals: number,
    plain: number,
    errors: number,
    others: number,
    sums: number,
  ): void;
  refineTableBytes(): number;
  refineTable(from: number, bits: number, labels: number, table: number): void;
  refineScratchBytes(steps: number, table: number): number;
  refineSequence(
    steps: number,
    z: number,
    fed: number,
    own: number,
    inverses: number,
    sigmas: number,
    ds: number,
    coefficients: number,
    rows: number,
    ends: number,
    table: number,
    codes: number,
    stride: number,
    values: number,
    missed: number,
    work: number,
  ): void;
  refinePointsBytes(cols: number): number;
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

  compare(x: number, y: number, count: number, sums: number): void;
  crc32TableBytes(): number;
  crc32Table(table: number): void;
  crc32(crc: number, x: number, count: number, table: number): number;
}
