// The face of higgs-wasm/hub: models by their names.

import { callback, optionsOf, signalOf, text } from '../check.ts';
import { timeoutOf, tokenOf, urlOf } from '../source/http.ts';
import type { Folder } from '../source/source.ts';
import { type HubOptions, openRemote } from './remote.ts';

export type { HubOptions } from './remote.ts';

const hubOptions = optionsOf<HubOptions>({
  endpoint: urlOf,
  token: tokenOf,
  signal: signalOf,
  timeout: timeoutOf,
  fetch: callback,
});

/**
 * Opens a model by its name on a hub, or a checkpoint by its address. Nothing but small files is kept: whatever is read is a request.
 * @param name `hf:org/model`, `hf:org/model@revision/folder`, an address as browsers show it, or that of any folder of files
 * @throws {RangeError} when the name is neither
 * @throws {FileError} when the hub refuses; `code` is its status
 * @throws {FormatError} of what reads it, when a file is not the one that was opened
 * @example
 * const checkpoint = await higgs.open(await openHub('hf:org/model'));
 */
export async function openHub(name: string, options: HubOptions = {}): Promise<Folder> {
  return openRemote(text('name', name), hubOptions('options', options));
}
