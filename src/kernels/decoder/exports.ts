// The decoder's compiled kernels as WebAssembly exports them: addresses, counts and bits in. assembly/decoder/ has the contract
// of each.

/** What the decoder's module exports. Numbers named for arrays are byte addresses; assembly/ has their shapes. */
export interface DecoderExports {
  heapBase(): number;

  crc32TableBytes(): number;
  crc32Table(table: number): void;
  crc32(crc: number, x: number, count: number, table: number): number;

  widen(w: number, dtype: number, factors: number, cols: number, y: number): void;
  f32ToF16(x: number, y: number, count: number): number;

  signs(seed: number, masks: number, count: number): void;
  rotate(x: number, masks: number, cols: number, groupSize: number, y: number): void;

  exponential(x: number, y: number, count: number): void;
  angles(frequencies: number, half: number, position: number, y: number): void;
  rmsNorm(x: number, weights: number, count: number, cols: number, epsilon: number, y: number): void;
  rope(x: number, heads: number, half: number, table: number, interleaved: number): void;
  softmax(x: number, count: number): void;
  siluTimes(gate: number, up: number, count: number): void;
  clampedGate(x: number, y: number, count: number): void;
  geluTimes(gate: number, up: number, count: number): void;
  reluSquared(x: number, count: number): void;
  add(x: number, y: number, count: number): void;
  multiply(x: number, y: number, count: number): void;
  sigmoidTimes(x: number, gate: number, count: number): void;
  scale(x: number, factor: number, count: number): void;
  sigmoid(x: number, count: number): void;
  softCap(x: number, cap: number, count: number): void;
  attend(
    q: number,
    y: number,
    tokens: number,
    heads: number,
    stride: number,
    dim: number,
    valueDim: number,
    keys: number,
    values: number,
    kind: number,
    first: number,
    window: number,
    scale: number,
    cap: number,
    sinks: number,
    tile: number,
    span: number,
    scratch: number,
  ): void;
  keepCodes(x: number, dim: number, bits: number, masks: number, to: number, scale: number, scratch: number): void;
  attendCodes(
    q: number,
    y: number,
    tokens: number,
    heads: number,
    stride: number,
    dim: number,
    more: number,
    keys: number,
    row: number,
    keyScales: number,
    moreScales: number,
    values: number,
    valueRow: number,
    valueScales: number,
    bits: number,
    masks: number,
    first: number,
    window: number,
    scale: number,
    cap: number,
    sinks: number,
    tile: number,
    span: number,
    scratch: number,
  ): void;

  route(
    logits: number,
    count: number,
    experts: number,
    correction: number,
    sigmoid: number,
    groups: number,
    taken: number,
    two: number,
    top: number,
    normalize: number,
    factor: number,
    chosen: number,
    weights: number,
    scratch: number,
  ): void;
  convolve(
    x: number,
    stride: number,
    channels: number,
    tokens: number,
    weights: number,
    bias: number,
    taps: number,
    state: number,
    rowStride: number,
    first: number,
    silu: number,
    y: number,
    yStride: number,
  ): void;
  unitNorm(x: number, count: number, cols: number, stride: number, epsilon: number, factor: number): void;
  deltaGates(decay: number, rate: number, bias: number, beta: number, heads: number): void;
  deltaRule(
    q: number,
    k: number,
    v: number,
    stride: number,
    decay: number,
    beta: number,
    gateStride: number,
    tokens: number,
    keys: number,
    values: number,
    state: number,
    first: number,
    y: number,
    yStride: number,
  ): void;
  routeBack(
    logits: number,
    count: number,
    experts: number,
    sigmoid: number,
    top: number,
    normalize: number,
    factor: number,
    chosen: number,
    dWeights: number,
    dLogits: number,
    scratch: number,
  ): void;
  denseRows(
    w: number,
    dtype: number,
    rows: number,
    cols: number,
    x: number,
    count: number,
    y: number,
    stride: number,
    scratch: number,
  ): void;
  writeRows(points: number, p: number, n: number, table: number): void;
  codeRows(
    packed: number,
    scales: number,
    rows: number,
    cols: number,
    groupSize: number,
    table: number,
    p: number,
    bits: number,
    x: number,
    count: number,
    y: number,
    stride: number,
    scratch: number,
  ): void;
  quantizeActivation(x: number, count: number, cols: number, groupSize: number, to: number): void;
  matmul(
    packed: number,
    rowBytes: number,
    scales: number,
    rows: number,
    cols: number,
    groupSize: number,
    table: number,
    x: number,
    count: number,
    y: number,
    stride: number,
    scratch: number,
  ): void;
  bandRows(packed: number, rows: number, codes: number, bits: number, to: number, scratch: number): void;
  bandScales(scales: number, rows: number, groups: number, to: number): void;
  unbandRow(bands: number, row: number, count: number, bits: number, packed: number, scratch: number): void;
  unbandScales(scales: number, row: number, groups: number, to: number): void;
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

  addTransposed(
    w: number,
    dtype: number,
    rows: number,
    cols: number,
    stride: number,
    d: number,
    count: number,
    dStride: number,
    y: number,
    yStride: number,
    scratch: number,
  ): void;
  rmsNormBack(x: number, weights: number, d: number, count: number, cols: number, epsilon: number): void;
  siluTimesBack(gate: number, up: number, d: number, dUp: number, count: number): void;
  geluTimesBack(gate: number, up: number, d: number, dUp: number, count: number): void;
  clampedGateBack(x: number, d: number, dx: number, count: number): void;
  reluSquaredBack(x: number, d: number, count: number): void;
  attendBack(
    q: number,
    dy: number,
    dq: number,
    tokens: number,
    heads: number,
    stride: number,
    dim: number,
    keys: number,
    values: number,
    dk: number,
    dv: number,
    kvStride: number,
    window: number,
    scale: number,
    cap: number,
    sinks: number,
    scratch: number,
  ): void;
  sigmoidTimesBack(x: number, gate: number, d: number, dGate: number, count: number): void;
  deltaStates(
    k: number,
    v: number,
    stride: number,
    decay: number,
    beta: number,
    gateStride: number,
    tokens: number,
    keys: number,
    columns: number,
    kept: number,
  ): void;
  deltaBack(
    q: number,
    k: number,
    stride: number,
    decay: number,
    beta: number,
    gateStride: number,
    tokens: number,
    keys: number,
    columns: number,
    kept: number,
    dy: number,
    yStride: number,
    dq: number,
    dk: number,
    dv: number,
    dDecay: number,
    dBeta: number,
    ds: number,
  ): void;

  addGram(
    x: number,
    count: number,
    stride: number,
    weights: number,
    from: number,
    to: number,
    s: number,
    scratch: number,
  ): void;
}
