// bitsandbytes in four bits: weights in row order, two a byte, the first in the high half; each is a level of a table times the largest
// magnitude of its block. Those magnitudes may be codes of a second table, with a factor for 256 of them and one offset for all.
//
//   <m>.weight                                        U8 (⌈weights / 2⌉, 1)
//   <m>.weight.absmax                                 F32, or U8 where they are codes (blocks)
//   <m>.weight.quant_map                              F32 (16)
//   <m>.weight.nested_absmax, .nested_quant_map       F32 (⌈blocks / 256⌉), (256)
//   <m>.weight.quant_state.bitsandbytes__nf4          U8: JSON with shape, blocksize, nested_blocksize, nested_offset

import { FormatError } from '../../errors.ts';
import { show } from '../../excerpt.ts';
import { decodeText, parseStrict } from '../safetensors/json.ts';
import { type CheckpointTensor, placeOf } from '../tensor.ts';
import { decodedTensor, floatValues, neededPart, type TensorsByName } from './decoded.ts';

const STATE = /^(.+)\.quant_state\.bitsandbytes__(nf4|fp4)$/;
const PART = /^(.+)\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.bitsandbytes__(?:nf4|fp4))$/;
/** Longest description in bytes. */
const STATE_LIMIT = 1 << 16;

/** The weights of a checkpoint, in place of their parts. Reads each one's description. */
export async function bitsandbytes(
  tensors: readonly CheckpointTensor[],
  parts: TensorsByName,
): Promise<CheckpointTensor[]> {
  const decoded = new Map<string, CheckpointTensor>();
  const states = tensors.filter(({ name }) => STATE.test(name));
  await Promise.all(
    states.map(async (state) => {
      const [, name, kind] = STATE.exec(state.name)!;
      decoded.set(name, matrixOf(name, kind, parts, state, await stateOf(state)));
    }),
  );
  return tensors.flatMap((tensor) => {
    const [, owner] = PART.exec(tensor.name) ?? [];
    return owner !== undefined && decoded.has(owner) ? [] : [decoded.get(tensor.name) ?? tensor];
  });
}

interface QuantState {
  readonly shape: readonly [rows: number, cols: number];
  readonly block: number;
  readonly nestedBlock: number;
  readonly offset: number;
}

async function stateOf(tensor: CheckpointTensor): Promise<QuantState> {
  const { file, byteLength } = tensor;
  const fail = (message: string): never => {
    throw new FormatError(message, placeOf(tensor));
  };
  if (tensor.dtype !== 'U8' || byteLength > STATE_LIMIT)
    fail(`description must be U8, ${STATE_LIMIT} bytes at most: it is ${tensor.dtype}, ${byteLength} bytes`);
  const text = decodeText(new Uint8Array(await tensor.read()), file, 'description');
  const json = parseStrict(text, file, { subject: 'description' });
  if (!(json instanceof Map)) return fail(`description must be a JSON object: got ${show(json)}`);
  const integer = (value: unknown, subject: string): number =>
    Number.isSafeInteger(value) && Number(value) > 0
      ? Number(value)
      : fail(`${subject} must be an integer above 0: got ${show(value)}`);
  const shape = json.get('shape');
  if (!Array.isArray(shape) || shape.length !== 2) return fail(`shape must be two sizes: got ${show(shape)}`);
  const offset = json.get('nested_offset') ?? 0;
  if (!Number.isFinite(offset)) return fail(`nested_offset must be a number: got ${show(offset)}`);
  return {
    shape: [integer(shape[0], 'shape'), integer(shape[1], 'shape')],
    block: integer(json.get('blocksize'), 'blocksize'),
    nestedBlock: integer(json.get('nested_blocksize') ?? 256, 'nested_blocksize'),
    offset: offset as number,
  };
}

function matrixOf(
  name: string,
  kind: string,
  parts: TensorsByName,
  state: CheckpointTensor,
  about: QuantState,
): CheckpointTensor {
  const [rows, cols] = about.shape;
  const weights = rows * cols;
  const codes = parts.get(name);
  if (codes?.dtype !== 'U8' || codes.byteLength !== Math.ceil(weights / 2)) {
    throw new FormatError(
      `description must be of ${Math.ceil(weights / 2)} bytes of codes: there are ${codes?.byteLength ?? 'none'}`,
      placeOf(state),
    );
  }
  const blocks = Math.ceil(weights / about.block);
  const table = neededPart(parts, codes, `${name}.quant_map`, ['F32'], [16]);
  const largest = neededPart(parts, codes, `${name}.absmax`, ['F32', 'U8'], [blocks]);
  const isNested = largest.dtype === 'U8';
  const nested = isNested
    ? {
        largest: neededPart(parts, codes, `${name}.nested_absmax`, ['F32'], [Math.ceil(blocks / about.nestedBlock)]),
        table: neededPart(parts, codes, `${name}.nested_quant_map`, ['F32'], [256]),
      }
    : undefined;
  const scalesOf = async (first: number, last: number): Promise<Float32Array> => {
    if (!nested) return floatValues(largest, first, last);
    const [scales, outer, levels] = await Promise.all([
      largest.read(first, last),
      floatValues(nested.largest),
      floatValues(nested.table),
    ]);
    return Float32Array.from(new Uint8Array(scales), (code, i) => {
      const product = Math.fround(levels[code] * outer[Math.floor((first + i) / about.nestedBlock)]);
      return product + about.offset;
    });
  };
  const all = [codes, table, largest, ...(nested ? [nested.largest, nested.table] : [])];
  return decodedTensor({
    ...{
      name,
      rows,
      cols,
      codes,
      code: kind.toUpperCase(),
      byteLength: all.reduce((sum, { byteLength }) => sum + byteLength, 0),
    },
    async rowsOf(first, count) {
      const [start, end] = [first * cols, (first + count) * cols];
      const firstBlock = Math.floor(start / about.block);
      const [pairs, levels, scales] = await Promise.all([
        codes.read(start >> 1, Math.ceil(end / 2)),
        floatValues(table),
        scalesOf(firstBlock, Math.ceil(end / about.block)),
      ]);
      const bytes = new Uint8Array(pairs);
      const values = new Float32Array(end - start);
      for (let i = start; i < end; i++) {
        const pair = bytes[(i >> 1) - (start >> 1)];
        values[i - start] = levels[i & 1 ? pair & 15 : pair >> 4] * scales[Math.floor(i / about.block) - firstBlock];
      }
      return values;
    },
  });
}
