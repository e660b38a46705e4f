// What makes a quantized checkpoint load in transformers: a Python file beside the weights, and the line of config.json that has
// transformers import it. The file reads FORMAT.md; whatever is in the checkpoint it needs no change.

import program from '../../python/higgs_wasm.py';
import { FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { CONFIG_NAME, edited, PYTHON_CONFIG, PYTHON_NAME, quantizedConfig } from '../quantize/carry.ts';
import type { Folder } from '../source/source.ts';

/** Names and contents of the files that a quantized checkpoint gains or that change. */
type Additions = ReadonlyMap<string, string>;

/**
 * The files by which transformers loads a quantized checkpoint.
 * @throws {FormatError} when it has no config.json, or that is none of a quantized checkpoint
 */
export async function transformersFiles(folder: Folder): Promise<Additions> {
  const file = `${folder.name}/${CONFIG_NAME}`;
  if (!(await folder.list()).includes(CONFIG_NAME)) {
    throw new FormatError('checkpoint must have a config.json to load in transformers: it has none', {
      file: folder.name,
    });
  }
  const source = await folder.open(CONFIG_NAME);
  const bytes = new Uint8Array(await source.slice(0, source.byteLength));
  return new Map([
    [PYTHON_NAME, program],
    [CONFIG_NAME, edited(bytes, file, (content) => mapped(content, file))],
  ]);
}

// A class of the checkpoint's own that reads config.json goes along, where the Python file looks for it.
function mapped(content: Record<string, unknown>, file: string): Record<string, unknown> {
  const about = content.quantization_config as Record<string, unknown> | undefined;
  if (about?.quant_method !== 'higgs-wasm') {
    throw new FormatError(`quant_method must be higgs-wasm: got ${show(about?.quant_method)}`, { file });
  }
  const { AutoConfig: autoConfig, ...others } = (content.auto_map ?? {}) as Record<string, unknown>;
  const isForeign = autoConfig !== undefined && autoConfig !== PYTHON_CONFIG;
  const noted = quantizedConfig(content, { ...about, ...(isForeign && { auto_config: autoConfig }) }); // files of older releases have no note
  return { ...noted, auto_map: { AutoConfig: PYTHON_CONFIG, ...others } };
}
