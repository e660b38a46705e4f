// Malformed checkpoints, one for each thing that can be wrong, and what the error must say of it.

import { normals } from './bits.ts';
import { fileOf, indexOf, rawTensor, safetensors, tensorOf } from './checkpoints.ts';
import { INDEX, K, otherFile, Q, shardFile, single, weight } from './command.ts';

const header = (text: string, data: Uint8Array | number = 0, length?: bigint) => ({
  'model.safetensors': fileOf(text, data, length),
});
const entry = (dtype: string, shape: unknown, offsets: unknown) =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });
const without = (dtype: string, index: number, value: number) => {
  const values = Array.from(normals(4 * 64, 5));
  values[index] = value;
  return single(Q, tensorOf(dtype, [4, 64], values));
};

/** A malformed checkpoint. */
export interface Fault {
  files: Record<string, Uint8Array | string>;
  says: RegExp;
  /** The file that the message must name; model.safetensors by default, '' for the directory. */
  file?: string;
  tensor?: string;
}

/** By what is wrong with them. */
export const FAULTS: Record<string, Fault> = {
  'an empty file': { files: { 'model.safetensors': '' }, says: /it is empty/ },
  '7 bytes': { files: { 'model.safetensors': '1234567' }, says: /at least the 8 bytes.*it has 7/ },
  'a header cut short': {
    files: header('{"a":', 0, 500n),
    says: /must end within the file: 500 bytes long, 5 are left/,
  },
  'a header length of 2^63': {
    files: header('{}', 0, 2n ** 63n),
    says: /at most 100000000 bytes.*9223372036854775808/,
  },
  'a header length of 2^64 - 1': { files: header('{}', 0, 2n ** 64n - 1n), says: /18446744073709551615/ },
  'a header of no bytes': { files: header('', 8), says: /header must be a JSON object: it is empty/ },
  'a header that is not JSON': { files: header('{"a" 1}'), says: /JSON/ },
  'a header that is not UTF-8': {
    files: { 'model.safetensors': fileOf(Uint8Array.of(0x7b, 0xff, 0x7d)) },
    says: /UTF-8/,
  },
  'a header that is an array': { files: header('[]'), says: /must be a JSON object/ },
  'a header that is a string': { files: header('"{}"'), says: /must be a JSON object/ },
  'a header that is nested without end': { files: header('{"a":'.repeat(100_000)), says: /deep|nest/ },
  'an entry that is null': { files: header('{"a":null}'), says: /entry must be an object: got null/, tensor: 'a' },
  'an entry without a shape': {
    files: header('{"a":{"dtype":"F32","data_offsets":[0,0]}}'),
    says: /shape is missing/,
    tensor: 'a',
  },
  'overlapping tensors': {
    files: header(`{"a":${entry('U8', [4], [0, 4])},"b":${entry('U8', [4], [2, 6])}}`, 6),
    says: /must not overlap tensor "a"/,
    tensor: 'b',
  },
  'a hole between tensors': {
    files: header(`{"a":${entry('U8', [2], [0, 2])},"b":${entry('U8', [2], [3, 5])}}`, 5),
    says: /must leave no hole after tensor "a"/,
    tensor: 'b',
  },
  'bytes behind the last tensor': {
    files: header(`{"a":${entry('U8', [2], [0, 2])}}`, 3),
    says: /must end with tensor "a"/,
  },
  'fractional offsets': {
    files: header(`{"a":${entry('U8', [2], [0.5, 2.5])}}`, 3),
    says: /two integers/,
    tensor: 'a',
  },
  'offsets in reverse': { files: header(`{"a":${entry('U8', [2], [2, 0])}}`, 2), says: /backwards/, tensor: 'a' },
  'offsets beyond the file': {
    files: header(`{"a":${entry('U8', [9], [0, 9])}}`, 2),
    says: /within the data/,
    tensor: 'a',
  },
  'a size that is not shape × dtype': {
    files: header(`{"a":${entry('F32', [2, 3], [0, 23])}}`, 23),
    says: /must span F32 \[2,\s?3\], 24 bytes: got .* 23 bytes/,
    tensor: 'a',
  },
  'a negative shape': {
    files: header(`{"a":${entry('F32', [-2, -3], [0, 24])}}`, 24),
    says: /integers from 0.*-2/,
    tensor: 'a',
  },
  'a shape beyond all bounds': {
    files: header(`{"a":${entry('F32', [2 ** 40, 2 ** 40], [0, 24])}}`, 24),
    says: /at most 2\^53/,
    tensor: 'a',
  },
  'a tensor named twice': {
    files: header(`{"a":${entry('U8', [2], [0, 2])},"a":${entry('U8', [2], [2, 4])}}`, 4),
    says: /must not repeat a key: "a" again/,
    tensor: 'a',
  },
  'a tensor named __proto__': { files: header(`{"__proto__":${entry('U8', [2], [0, 2])}}`, 2), says: /__proto__/ },
  'metadata that is no text': { files: header('{"__metadata__":{"a":1}}'), says: /__metadata__ must map strings/ },
  'an unknown dtype of a tensor to be quantized': {
    files: single(Q, rawTensor('Q4_K', [4, 64], 144)),
    says: /dtype must be one of F32, F16, BF16, F8_E4M3 to be quantized: .*Q4_K/,
    tensor: Q,
  },
  'a name that belongs to the format': {
    files: single('higgs.grid.p2n256', rawTensor('U8', [4], 4)),
    says: /reserved/,
    tensor: 'higgs.grid.p2n256',
  },
  'NaN in F32': { files: without('F32', 3 * 64 + 63, Number.NaN), says: /finite: \[3, 63\] is NaN/, tensor: Q },
  'NaN in F16': { files: without('F16', 0, Number.NaN), says: /finite: \[0, 0\] is NaN/, tensor: Q },
  'NaN in BF16': { files: without('BF16', 70, Number.NaN), says: /finite: \[1, 6\] is NaN/, tensor: Q },
  'NaN in F8_E4M3': { files: without('F8_E4M3', 129, Number.NaN), says: /finite: \[2, 1\] is NaN/, tensor: Q },
  'Inf in F32': { files: without('F32', 1, Number.POSITIVE_INFINITY), says: /finite: \[0, 1\] is Infinity/, tensor: Q },
  'Inf in F16': {
    files: without('F16', 1, Number.NEGATIVE_INFINITY),
    says: /finite: \[0, 1\] is -Infinity/,
    tensor: Q,
  },
  'Inf in BF16': {
    files: without('BF16', 1, Number.NEGATIVE_INFINITY),
    says: /finite: \[0, 1\] is -Infinity/,
    tensor: Q,
  },
  'an RMS above f16': {
    files: single(Q, tensorOf('F32', [4, 64], new Float32Array(256).fill(1e6))),
    says: /RMS of every group must be at most 65504.*row 0/,
    tensor: Q,
  },
  'NaN in a later block of a later tensor': {
    files: single(K, weight(4, 64), {
      [Q]: (() => {
        const values = new Float32Array(1100 * 1024).fill(0.25);
        values[1099 * 1024 + 5] = Number.NaN;
        return tensorOf('BF16', [1100, 1024], values);
      })(),
    }),
    says: /finite: \[1099, 5\] is NaN/,
    tensor: Q,
  },
  'factors of the wrong shape': {
    files: single(Q, weight(4, 200, 1, 'F8_E4M3'), { [`${Q}_scale_inv`]: tensorOf('F32', [1, 1], [1]) }),
    says: /_scale_inv must be F32 or BF16 \[1, 2\]: it is F32 \[1, 1\]/,
    tensor: Q,
  },
  'factors of the wrong dtype': {
    files: single(Q, weight(4, 128, 1, 'F8_E4M3'), { [`${Q}_scale_inv`]: tensorOf('F16', [1, 1], [1]) }),
    says: /must be F32 or BF16 \[1, 1\]: it is F16/,
    tensor: Q,
  },
  'factors of another kind': {
    files: single(Q, weight(4, 128, 1, 'F8_E4M3'), { [`${Q}_scale`]: tensorOf('F32', [1], [1]) }),
    says: /F8 scales must be 128 × 128 blocks/,
    tensor: Q,
  },
  'an index that names a missing shard': {
    files: {
      [INDEX]: indexOf({ [shardFile]: [Q], [otherFile]: [K] }),
      [shardFile]: safetensors({ [Q]: weight(4, 64) }),
    },
    says: /"model-00002-of-00002.safetensors" is missing/,
    file: INDEX,
  },
  'a shard that lacks a tensor': {
    files: { [INDEX]: indexOf({ [shardFile]: [Q, K] }), [shardFile]: safetensors({ [Q]: weight(4, 64) }) },
    says: /"model-00001-of-00002.safetensors" lacks it/,
    file: INDEX,
    tensor: K,
  },
  'a tensor in two shards': {
    files: {
      [INDEX]: indexOf({ [shardFile]: [Q], [otherFile]: [K] }),
      [shardFile]: safetensors({ [Q]: weight(4, 64) }),
      [otherFile]: safetensors({ [Q]: weight(4, 64), [K]: weight(4, 64) }),
    },
    says: /in one shard only/,
    file: otherFile,
    tensor: Q,
  },
  'a shard cut short': {
    files: {
      [INDEX]: indexOf({ [shardFile]: [Q] }),
      [shardFile]: safetensors({ [Q]: weight(4, 64) }).subarray(0, -1),
    },
    says: /within the data/,
    file: shardFile,
    tensor: Q,
  },
  'an index that is not JSON': { files: { [INDEX]: '{' }, says: /JSON/, file: INDEX },
  'an index without weight_map': { files: { [INDEX]: '{}' }, says: /weight_map must be an object/, file: INDEX },
  'an index that leads elsewhere': {
    files: { [INDEX]: indexOf({ '../x.safetensors': [Q] }) },
    says: /in the same folder/,
    file: INDEX,
    tensor: Q,
  },
  'two files and no index': {
    files: { 'a.safetensors': '', 'b.safetensors': '' },
    says: /2 \*\.safetensors and no index/,
    file: '',
  },
  'no weights': { files: { 'config.json': '{}' }, says: /none is there/, file: '' },
  'weights that are not safetensors': {
    files: { 'pytorch_model.bin': '' },
    says: /not safetensors \(pytorch_model.bin\)/,
    file: '',
  },
  'a config.json that is not JSON': {
    files: { ...single(Q, weight(4, 64)), 'config.json': '{"a": ' },
    says: /must be JSON/,
    file: 'config.json',
  },
  'a config.json that is not an object': {
    files: { ...single(Q, weight(4, 64)), 'config.json': '[1]' },
    says: /must be a JSON object/,
    file: 'config.json',
  },
};
