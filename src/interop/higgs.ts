// A checkpoint in the layout that transformers has for HIGGS (src/checkpoint/flute/ reads it back): codes as FLUTE multiplies them, everything
// else in F16. Rows are padded with zeros to whole transforms; there are no signs but those that the weights have.

import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { type FluteBits, packPairs, TILE_ROWS } from '../checkpoint/flute/words.ts';
import type { TensorSpec } from '../checkpoint/safetensors/layout.ts';
import { type CheckpointTensor, placeOf } from '../checkpoint/tensor.ts';
import { UnsupportedError } from '../errors.ts';
import { type Grid, isTrellis, type PointGrid } from '../grids/grid.ts';
import { f32ToF16, floatBits } from '../numerics/float.ts';
import { naming, piecesOf } from '../quantize/blocks.ts';
import { convertFloats, isFloat } from '../quantize/convert.ts';
import { inOrder } from '../quantize/pipeline.ts';
import { type PlainBlock, type RestoreOptions, type RestoreReport, writePlain } from '../quantize/restore.ts';
import { choose } from '../quantize/select.ts';
import type { OutputFolder } from '../source/source.ts';

/** What the weights become. */
export interface HiggsOptions extends RestoreOptions {
  /** Of one or two dimensions, 2 to 4 bits. */
  readonly grid: PointGrid;
  /** Weights of a transform, and of a stored scale: 64, 128 or 256, which divides it. */
  readonly hadamardSize: number;
  /** Weights that share a stored scale: 64, 128 or 256. */
  readonly groupSize: number;
  /** Leaves the tensors whose names match as they are. */
  readonly exclude?: RegExp | undefined;
}

/** What was written, and what config.json has to say of it. */
export interface HiggsReport extends RestoreReport {
  /** `quantization_config` for config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Modules whose bias transformers' own module leaves out. */
  readonly biased: readonly string[];
}

/** Bits of a weight. @throws {RangeError} when FLUTE has no such grid */
export function fluteBits(grid: Grid): FluteBits {
  const bits = isTrellis(grid) ? 0 : Math.log2(grid.n) / grid.p;
  if (bits === 2 || bits === 3 || bits === 4) if (grid.p <= 2) return bits;
  throw new RangeError(`grid must be of one or two dimensions and 2 to 4 bits, such as p2n256: got ${grid.name}`);
}

interface ExportItem {
  readonly tensor: CheckpointTensor;
  /** Set if it becomes codes. */
  readonly module?: string;
  readonly rows: number;
  readonly cols: number;
  readonly padded: number;
}

/**
 * Writes the checkpoint.
 * @throws {UnsupportedError} when the layout cannot hold a tensor: names it and the reason
 * @throws {FormatError} when a weight is not finite, or does not fit F16
 */
export async function exportHiggs(
  checkpoint: Checkpoint,
  output: OutputFolder,
  options: HiggsOptions,
): Promise<HiggsReport> {
  const { grid, groupSize, hadamardSize } = options;
  const bits = fluteBits(grid);
  const items = checkpoint.tensors.map((tensor) => itemOf(tensor, options, bits));
  const specs = items.map((item) =>
    item.module === undefined ? [passedSpec(item.tensor)] : specsOf(item, bits, groupSize),
  );
  const blocks = inOrder(tasks(items, { ...options, bits: bits }), 2);
  const bytes = checkpoint.tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const metadata = Object.fromEntries(checkpoint.metadata);
  const report = await writePlain({ specs, blocks, bytes, metadata }, output, options);
  const converted = items.filter(({ module }) => module !== undefined);
  const linear = /(?<!norm)\.weight$/;
  const kept = items.flatMap(({ tensor: { name, shape }, module }) =>
    module === undefined && shape.length === 2 && linear.test(name) && !/embed/.test(name) ? [name.slice(0, -7)] : [],
  );
  return {
    ...report,
    biased: converted.flatMap(({ module }) => (checkpoint.get(`${module}.bias`) ? [module!] : [])),
    config: {
      ...{ quant_method: 'higgs', bits, p: grid.p },
      modules_to_not_convert: [...new Set(['lm_head', ...kept])],
      ...{ hadamard_size: hadamardSize, group_size: groupSize },
      tune_metadata: Object.fromEntries(converted.map((item) => [item.module, tuning(item, bits, groupSize)])),
    },
  };
}

// What FLUTE asks of a layout: that of templates of 32 rows on a GPU of 108 multiprocessors. Another GPU packs it again.
function tuning({ rows, padded }: ExportItem, bits: number, groupSize: number): Record<string, unknown> {
  return {
    ...{ M: 1, N: rows, K: padded, num_bits: bits, group_size: groupSize, num_sms: 108 },
    ...{ dtype: 'torch.float16', device: 'cuda:0', template_id: bits === 4 ? 32 : 8 },
  };
}

function itemOf(
  tensor: CheckpointTensor,
  { grid, hadamardSize, groupSize, exclude }: HiggsOptions,
  bits: FluteBits,
): ExportItem {
  const [rows = 0, cols = 0] = tensor.shape;
  const none = { tensor, rows, cols, padded: cols };
  const choice = choose(tensor, { scheme: { grid, groupSize: hadamardSize, seed: null }, exclude });
  if ('unknown' in choice || 'reason' in choice) return none;
  const refuse = (feature: string, reason: string): never => {
    throw new UnsupportedError(
      feature,
      `weights must fit the layout of FLUTE: ${reason}; --exclude leaves it as it is`,
      placeOf(tensor),
    );
  };
  if (tensor.shape.length !== 2 || /(^|[._])experts?([._]|$)/.test(tensor.name))
    refuse('experts', 'FLUTE has no layout of experts');
  if (!isFloat(tensor.dtype)) refuse(`dtype ${tensor.dtype}`, `it is ${tensor.dtype}, not F32, F16 or BF16`);
  if (rows % TILE_ROWS[bits] !== 0)
    refuse('rows', `${rows} rows are not a multiple of ${TILE_ROWS[bits]}, which ${bits} bits need`);
  if (cols % groupSize !== 0) refuse('columns', `${cols} columns are not a multiple of the ${groupSize} of a group`);
  const padded = Math.ceil(cols / hadamardSize) * hadamardSize;
  return { tensor, module: tensor.name.replace(/\.weight$/, ''), rows, cols, padded };
}

function passedSpec({ name, shape, dtype, byteLength }: CheckpointTensor): TensorSpec {
  if (!isFloat(dtype)) return { name, shape, dtype, byteLength };
  return { name, shape, dtype: 'F16', byteLength: dtype === 'F32' ? byteLength / 2 : byteLength };
}

function specsOf({ module, rows, padded }: ExportItem, bits: number, groupSize: number): TensorSpec[] {
  const [size, groups] = [2 ** bits, padded / groupSize];
  const spec = (part: string, dtype: string, shape: number[]) => {
    return { name: `${module}.${part}`, dtype, shape, byteLength: shape.reduce((product, each) => product * each, 2) };
  };
  return [
    spec('weight', 'I16', [(rows * bits) / 16, padded]),
    spec('scales', 'F16', [rows, groups]),
    spec('tables', 'F16', [size]),
    spec('tables2', 'F16', [size, size, 2]),
  ];
}

type ExportMeans = HiggsOptions & { readonly bits: FluteBits };

function* tasks(items: readonly ExportItem[], means: ExportMeans): Generator<() => Promise<PlainBlock>> {
  for (const item of items) {
    const { tensor } = item;
    if (item.module === undefined) {
      const { dtype } = tensor;
      for (const { isLast, byteLength, read } of piecesOf(tensor)) {
        yield async () => {
          const bytes = await read();
          const half = isFloat(dtype) ? new Uint8Array(convertFloats(bytes.buffer, dtype, 'F16', tensor)) : bytes;
          return { bytes: half, bytesRead: byteLength, isLast };
        };
      }
      continue;
    }
    let tables: Promise<readonly Uint8Array[]> | undefined;
    for (let part = 0; part < 4; part++) {
      yield async () => {
        tables ??= encoded(item, means);
        const bytes = (await tables)[part];
        return { bytes, bytesRead: part === 0 ? tensor.byteLength : 0, isLast: true };
      };
    }
  }
}

// Words, scales, and the two tables of a weight.
async function encoded({ tensor, rows, cols, padded }: ExportItem, means: ExportMeans): Promise<readonly Uint8Array[]> {
  const { grid, hadamardSize, groupSize, pool, bits } = means;
  const pairs = new Uint8Array((rows * padded) / 2);
  const repeated = hadamardSize / groupSize;
  const scales = new Uint16Array((rows * padded) / groupSize);
  const step = Math.max(1, Math.floor((1 << 20) / padded));
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    const weights = { bytes: await paddedRows(tensor, first, count, cols, padded), dtype: tensor.dtype as 'F32' };
    const matrix = { rows: count, cols: padded, grid, groupSize: hadamardSize, seed: null };
    const job = { kind: 'encode', matrix, weights, options: { firstRow: first } } as const;
    const block = await naming(tensor, pool.run(job));
    unpackPairs(block.packed, bits, pairs.subarray((first * padded) / 2, ((first + count) * padded) / 2), grid.p === 1);
    const index = (first * padded) / groupSize;
    for (let i = 0; i < block.scales.length * repeated; i++) scales[index + i] = block.scales[Math.floor(i / repeated)];
  }
  const words = packPairs(pairs, rows, padded / 2, bits);
  return [words, scales, ...tablesOf(grid, bits)].map(({ buffer }) => new Uint8Array(buffer));
}

// Rows with zeros behind them, up to whole transforms.
async function paddedRows(
  tensor: CheckpointTensor,
  first: number,
  count: number,
  cols: number,
  padded: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const width = tensor.dtype === 'F32' ? 4 : 2;
  const bytes = new Uint8Array(await tensor.read(first * cols * width, (first + count) * cols * width));
  if (cols === padded) return bytes;
  const wide = new Uint8Array(count * padded * width);
  for (let row = 0; row < count; row++) {
    wide.set(bytes.subarray(row * cols * width, (row + 1) * cols * width), row * padded * width);
  }
  return wide;
}

// The dense stream of codes as pairs: the code of two dimensions, or those of two weights, the first above the second.
function unpackPairs(packed: Uint8Array, bits: FluteBits, pairs: Uint8Array, isSingle: boolean): void {
  const width = 2 * bits;
  const mask = (1 << width) - 1;
  for (let i = 0; i < pairs.length; i++) {
    const index = i * width;
    const word = packed[index >> 3] | ((packed[(index >> 3) + 1] ?? 0) << 8);
    const pair = (word >> (index & 7)) & mask;
    pairs[i] = isSingle ? ((pair << bits) & mask) | (pair >> bits) : pair;
  }
}

// The points in F16: of one dimension and of pairs, or of two and, unused, their numbers.
function tablesOf({ points, p }: PointGrid, bits: FluteBits): [Uint16Array<ArrayBuffer>, Uint16Array<ArrayBuffer>] {
  const half = (value: number) => f32ToF16(floatBits(value));
  const size = 2 ** bits;
  const single = Uint16Array.from({ length: size }, (_, i) => half(p === 1 ? points[i] : i));
  const pairs = Uint16Array.from({ length: size * size * 2 }, (_, i) => {
    const [row, col] = [Math.floor(i / 2 / size), Math.floor(i / 2) % size];
    return half(p === 2 ? points[i] : points[i % 2 ? col : row]);
  });
  return [single, pairs];
}
