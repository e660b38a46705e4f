// The decoder's compiled kernels as WebAssembly exports them: addresses, counts and bits in. assembly/decoder/ has the contract
// of each.

/** What the decoder's module exports. Numbers named for arrays are byte addresses; assembly/ has their shapes. */
export interface DecoderExports {
  /** First address that the module leaves to the caller. */
  heapBase(): number;

  /** Bytes of the table of CRC-32. */
  crc32TableBytes(): number;
  /** Builds the table of CRC-32. */
  crc32Table(table: number): void;
  /** CRC-32 of `count` bytes at `x`, after bytes of CRC-32 `crc`. */
  crc32(crc: number, x: number, count: number, table: number): number;

  /** A row of `cols` weights of any dtype to f32 at `y`, times its factors where it has some. */
  widen(w: number, dtype: number, factors: number, cols: number, y: number): void;
  /** `count` f32 to f16, to nearest even. @returns 1 if a result is infinite or NaN, else 0 */
  f32ToF16(x: number, y: number, count: number): number;

  /** Masks of `count` random signs, a u32 each: 0 or the sign bit. */
  signs(seed: number, masks: number, count: number): void;
  /** (1/√g) H (s ∘ x), group by group, of `cols` f32 at `x`, to `y`. */
  rotate(x: number, masks: number, cols: number, groupSize: number, y: number): void;

  /** e^x of `count` f32. */
  exponential(x: number, y: number, count: number): void;
  /** Cosines and sines of `half` frequencies at a position. */
  angles(frequencies: number, half: number, position: number, y: number): void;
  /** Norms `count` vectors of `cols` f32. */
  rmsNorm(x: number, weights: number, count: number, cols: number, epsilon: number, y: number): void;
  /** Turns `heads` heads of 2 · `half` f32 at `x`, in place. */
  rope(x: number, heads: number, half: number, table: number, interleaved: number): void;
  /** Softmax of `count` f32, in place. */
  softmax(x: number, count: number): void;
  /** gate = silu(gate) ∘ up. */
  siluTimes(gate: number, up: number, count: number): void;
  /** The clamped gate of gpt-oss, of gate and up in turn. */
  clampedGate(x: number, y: number, count: number): void;
  /** gate = gelu(gate) ∘ up. */
  geluTimes(gate: number, up: number, count: number): void;
  /** x = max(x, 0)², in place. */
  reluSquared(x: number, count: number): void;
  /** x += y. */
  add(x: number, y: number, count: number): void;
  /** x = x ∘ y. */
  multiply(x: number, y: number, count: number): void;
  /** x = x ∘ σ(gate). */
  sigmoidTimes(x: number, gate: number, count: number): void;
  /** x = factor · x. */
  scale(x: number, factor: number, count: number): void;
  /** x = σ(x), in place. */
  sigmoid(x: number, count: number): void;
  /** x = cap · tanh(x / cap), in place. */
  softCap(x: number, cap: number, count: number): void;
  /** Attention of query heads over keys and values that are floats. */
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
  /** A vector of `dim` f32 to codes of 8 or 4 bits and a scale. */
  keepCodes(x: number, dim: number, bits: number, masks: number, to: number, scale: number, scratch: number): void;
  /** Attention of query heads over keys and values that are codes. */
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

  /** The `top` experts of `count` tokens, and their weights, from (count, experts) logits. */
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
  /** A causal convolution of each channel over tokens; its state is the last taps − 1 inputs. */
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
  /** Brings `count` vectors of `cols` f32 to length 1, times `factor`. */
  unitNorm(x: number, count: number, cols: number, stride: number, epsilon: number, factor: number): void;
  /** Decays and betas of `heads` heads from their logits, in place. */
  deltaGates(decay: number, rate: number, bias: number, beta: number, heads: number): void;
  /** The gated delta rule over tokens: y = qᵀ S, S (keys, values). */
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
  /** Gradients of the router's logits from those of the experts' weights. */
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
  /** `rows` elements of y = W x for `count` vectors, of floats. */
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
  /** Writes a grid's points as the rows that `codeRows` reads. */
  writeRows(points: number, p: number, n: number, table: number): void;
  /** `rows` elements of y = Ŵ x for `count` rotated vectors, of codes, in f32. */
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
  /** `count` rotated vectors to integers with a scale a group. */
  quantizeActivation(x: number, count: number, cols: number, groupSize: number, to: number): void;
  /** `rows` elements of y = Ŵ x for `count` vectors, of codes and integers. */
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
  /** Packed codes of rows to pairs of bands of four rows. */
  bandRows(packed: number, rows: number, codes: number, bits: number, to: number, scratch: number): void;
  /** Scales of rows to those of pairs of bands, (pairs, groups, 8) f16. */
  bandScales(scales: number, rows: number, groups: number, to: number): void;
  /** A row of a band back to packed codes. */
  unbandRow(bands: number, row: number, count: number, bits: number, packed: number, scratch: number): void;
  /** The scales of a row of a band. */
  unbandScales(scales: number, row: number, groups: number, to: number): void;
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

  /** y += Wᵀ d for `count` gradients. */
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
  /** Gradients through a norm, in place. */
  rmsNormBack(x: number, weights: number, d: number, count: number, cols: number, epsilon: number): void;
  /** Gradients through silu(gate) ∘ up. */
  siluTimesBack(gate: number, up: number, d: number, dUp: number, count: number): void;
  /** Gradients through gelu(gate) ∘ up. */
  geluTimesBack(gate: number, up: number, d: number, dUp: number, count: number): void;
  /** Gradients through the clamped gate. */
  clampedGateBack(x: number, d: number, dx: number, count: number): void;
  /** Gradients through max(x, 0)², in place. */
  reluSquaredBack(x: number, d: number, count: number): void;
  /** Gradients through attention: of queries, keys and values. */
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
  /** Gradients through x ∘ σ(gate). */
  sigmoidTimesBack(x: number, gate: number, d: number, dGate: number, count: number): void;
  /** The states of the delta rule before each token, kept for `deltaBack`. */
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
  /** Gradients through the delta rule, from the last token to the first. */
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

  /** S += Σ w x xᵀ over `count` vectors, the lower triangle from row `from` to before `to`. */
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
