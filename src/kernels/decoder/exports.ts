// The decoder's kernels as WebAssembly exports them: addresses and counts in. assembly/decoder/ has the contract of each.

/** Dense weights times activations; see assembly/decoder/dense.ts. */
export type Dense = (
  w: number,
  cols: number,
  x: number,
  count: number,
  y: number,
  rows: number,
  fromRow: number,
  toRow: number,
  scratch: number,
) => void;

export interface LinearExports {
  activationBytes(cols: number, groupSize: number): number;
  quantizeActivation(x: number, count: number, cols: number, groupSize: number, to: number): void;

  matmulScratchBytes(cols: number, groupSize: number, count: number): number;
  matmul(
    packed: number,
    rowBytes: number,
    scales: number,
    cols: number,
    groupSize: number,
    table: number,
    x: number,
    count: number,
    y: number,
    rows: number,
    fromRow: number,
    toRow: number,
    scratch: number,
  ): void;

  denseF32: Dense;
  denseF16: Dense;
  denseBf16: Dense;
}
