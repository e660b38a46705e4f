// Checkpoints that others have quantized, as those of plain weights: config.json names the method, and each weight is decoded as it is
// read. What they have lost stays lost: quantized again, errors add.

import { FormatError } from '../../errors.ts';
import type { Folder } from '../../source/source.ts';
import { sliceExactly } from '../safetensors/file.ts';
import { decodeText, parseStrict } from '../safetensors/json.ts';
import type { CheckpointTensor } from '../tensor.ts';
import { bitsandbytes } from './bitsandbytes.ts';
import { compressed } from './compressed.ts';
import { unread } from './decoded.ts';
import { transposed } from './transposed.ts';

/** Largest config.json that is read for it: as a family's. */
const CONFIG_BYTES = 1 << 20;

/**
 * The tensors with weights in place of codes; as they are where config.json names none of these methods.
 * @throws {UnsupportedError} when it names a kind of one that is not read
 * @throws {FormatError} when it is too large to be read, or parts of a weight do not fit
 */
export async function unpacked(
  folder: Folder,
  tensors: readonly CheckpointTensor[],
): Promise<readonly CheckpointTensor[]> {
  const source = await folder.open('config.json');
  const file = `${folder.name}/config.json`;
  if (source.byteLength > CONFIG_BYTES) {
    const message = `config must have at most ${CONFIG_BYTES} bytes where tensors are codes, to say of what: it has ${source.byteLength}`;
    throw new FormatError(message, { file });
  }
  const text = decodeText(new Uint8Array(await sliceExactly(source, file, 0, source.byteLength)), file, 'config');
  const json = parseStrict(text, file, { subject: 'config' });
  const config = json instanceof Map ? (json.get('quantization_config') ?? json.get('compression_config')) : undefined;
  if (!(config instanceof Map)) return tensors;
  const method = String(config.get('quant_method'));
  const parts = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  if (method === 'awq' || method === 'gptq') return transposed(tensors, parts, method, config, file);
  if (method === 'compressed-tensors') return compressed(tensors, parts, config, file);
  if (method !== 'bitsandbytes') return tensors;
  if (config.get('load_in_8bit') === true) unread(file, 'bits of bitsandbytes', '4', '8');
  return bitsandbytes(tensors, parts);
}
