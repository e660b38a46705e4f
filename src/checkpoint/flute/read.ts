// Checkpoints of HIGGS as transformers has it (the layout of FLUTE) and as tinyquant has it, to be read as any other: their weights are
// decoded to F32 as they are read. Of transformers, per module (N outputs, K' inputs padded to whole transforms, b bits):
//
//   .weight I16 [N·b/16, K']   .scales F16 [N, K'/group]   .tables F16 [2^b]   .tables2 F16 [2^b, 2^b, 2]: the points of a pair of codes

import { FormatError } from '../../errors.ts';
import { show } from '../../excerpt.ts';
import type { Folder } from '../../source/source.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { sliceExactly } from '../safetensors/file.ts';
import { decodeText, type Json, parseStrict } from '../safetensors/json.ts';
import { type CheckpointTensor, placeOf } from '../tensor.ts';
import { codedTensor, hadamardRuns, smallFloats } from './rows.ts';
import { tinyquantTensors } from './tinyquant.ts';
import { type FluteBits, TILE_ROWS, unpackTile } from './words.ts';

/** Longest config.json that is read, in bytes. */
const CONFIG_LIMIT = 16 << 20;

/** What config.json says of all weights. */
interface FluteSettings {
  readonly bits: FluteBits;
  readonly groupSize: number;
  readonly hadamardSize: number;
  /** Inputs of a module before they were padded. */
  inputsOf(name: string): unknown;
}

/**
 * The checkpoint with decoded weights in place of codes.
 * @throws {FormatError} when a part of a weight is missing or its shape is another, or config.json does not say what it must
 */
export async function readHiggs(folder: Folder, checkpoint: Checkpoint): Promise<Checkpoint> {
  const isFlute = checkpoint.tensors.some(({ name }) => name.endsWith('.tables2'));
  const tensors = isFlute ? fluteTensors(checkpoint, await settingsOf(folder)) : await tinyquantTensors(checkpoint);
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  return { ...checkpoint, tensors, get: (name) => byName.get(name) };
}

function fluteTensors(checkpoint: Checkpoint, settings: FluteSettings): CheckpointTensor[] {
  const modules = new Set(
    checkpoint.tensors.flatMap(({ name }) => (name.endsWith('.tables2') ? [name.slice(0, -8)] : [])),
  );
  return checkpoint.tensors.flatMap((tensor) => {
    const [, module = '', part] = /^(.*)\.(weight|scales|tables|tables2)$/.exec(tensor.name) ?? [];
    if (!modules.has(module)) return [tensor];
    return part === 'weight' ? [fluteTensor(tensor, module, checkpoint, settings)] : [];
  });
}

function fluteTensor(
  packed: CheckpointTensor,
  module: string,
  checkpoint: Checkpoint,
  { bits, groupSize, hadamardSize, inputsOf }: FluteSettings,
): CheckpointTensor {
  const scales = checkpoint.get(`${module}.scales`);
  const points = checkpoint.get(`${module}.tables2`)!;
  const [words, padded] = packed.shape as [number, number];
  const rows = (words * 16) / bits;
  const fail = (message: string): never => {
    throw new FormatError(message, placeOf(packed));
  };
  if (packed.dtype !== 'I16' || packed.shape.length !== 2)
    fail(`weight must be an I16 matrix: got ${packed.dtype} ${show([...packed.shape])}`);
  if (rows % TILE_ROWS[bits] !== 0 || padded % hadamardSize !== 0 || rows * padded === 0) {
    fail(
      `shape must be whole tiles of ${TILE_ROWS[bits]} rows and whole transforms of ${hadamardSize}: got ${show([...packed.shape])}`,
    );
  }
  const groups = padded / groupSize;
  if (String(scales?.shape) !== String([rows, groups]))
    fail(`scales must be [${rows}, ${groups}]: got ${show(scales ? [...scales.shape] : undefined)}`);
  if (String(points.shape) !== String([2 ** bits, 2 ** bits, 2]))
    fail(`tables2 must be [${2 ** bits}, ${2 ** bits}, 2]: got ${show([...points.shape])}`);
  const inputs = inputsOf(module);
  const cols =
    Number.isSafeInteger(inputs) && Math.ceil(Number(inputs) / hadamardSize) * hadamardSize === padded
      ? Number(inputs)
      : padded;
  const step = TILE_ROWS[bits];
  const wordsOf = async (row: number) => new Uint32Array(await packed.read(row * padded * 2, (row + 32) * padded * 2));

  return codedTensor({
    ...{ name: packed.name, rows, cols, step, codes: packed },
    byteLength: packed.byteLength + scales!.byteLength + points.byteLength,
    async decode(tile) {
      const [pairs, factors, values] = await Promise.all([
        unpackTile(wordsOf, tile, rows, padded / 2, bits),
        smallFloats(scales!, tile * step * groups, (tile + 1) * step * groups),
        smallFloats(points),
      ]);
      return decodeRows(pairs, factors, values, { padded, cols, groupSize, hadamardSize });
    },
  });
}

interface Widths {
  readonly padded: number;
  readonly cols: number;
  readonly groupSize: number;
  readonly hadamardSize: number;
}

// Points times scales, rotated back: (rows, cols) of what was padded.
function decodeRows(
  pairs: Uint8Array,
  factors: Float32Array,
  points: Float32Array,
  { padded, cols, groupSize, hadamardSize }: Widths,
): Float32Array<ArrayBuffer> {
  const rows = (pairs.length * 2) / padded;
  const out = new Float32Array(rows * cols);
  const row = new Float32Array(padded);
  const factor = 1 / Math.sqrt(hadamardSize);
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < padded; i++) {
      const point = points[2 * pairs[(r * padded + i) >> 1] + (i & 1)];
      row[i] = point * factors[Math.floor((r * padded + i) / groupSize)];
    }
    hadamardRuns(row, hadamardSize);
    for (let i = 0; i < cols; i++) out[r * cols + i] = row[i] * factor;
  }
  return out;
}

async function settingsOf(folder: Folder): Promise<FluteSettings> {
  const file = `${folder.name}/config.json`;
  const fail = (message: string): never => {
    throw new FormatError(message, { file });
  };
  if (!(await folder.list()).includes('config.json')) fail('a checkpoint of HIGGS must have config.json: it has none');
  const source = await folder.open('config.json');
  if (source.byteLength > CONFIG_LIMIT)
    fail(`config.json must have at most ${CONFIG_LIMIT} bytes: it has ${source.byteLength}`);
  const text = decodeText(new Uint8Array(await sliceExactly(source, file, 0, source.byteLength)), file, 'config');
  const config = parseStrict(text, file, { subject: 'config' });
  const about = membersOf(membersOf(config).quantization_config);
  const { bits = 4, group_size: groupSize = 256, hadamard_size: hadamardSize = 512 } = about;
  if (bits !== 2 && bits !== 3 && bits !== 4) return fail(`bits must be 2, 3 or 4: got ${show(bits)}`);
  if (groupSize !== 64 && groupSize !== 128 && groupSize !== 256)
    return fail(`group_size must be 64, 128 or 256: got ${show(groupSize)}`);
  const size = Number(hadamardSize);
  if (typeof hadamardSize !== 'number' || !Number.isInteger(Math.log2(size)) || size < groupSize || size > 1 << 15)
    return fail(`hadamard_size must be a power of two from group_size to 32768: got ${show(hadamardSize)}`);
  const { text_config: textConfig = config } = membersOf(config);
  const sizes = membersOf(textConfig);
  const [dim, heads] = [Number(sizes.hidden_size), Number(sizes.num_attention_heads)];
  return {
    ...{ bits, groupSize, hadamardSize: size },
    inputsOf(module) {
      if (/\.(down_proj|w2|fc2)$/.test(module)) return sizes.intermediate_size;
      if (/\.(o_proj|out_proj|dense)$/.test(module)) return heads * Number(sizes.head_dim ?? dim / heads);
      return dim;
    },
  };
}

function membersOf(json: Json | undefined): Readonly<Record<string, Json | undefined>> {
  return json instanceof Map ? Object.fromEntries(json) : {};
}
