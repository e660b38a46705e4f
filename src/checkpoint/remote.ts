// A checkpoint on a server: Hugging Face's file names below one address.

import { text } from '../check.ts';
import { FileError, FormatError } from '../errors.ts';
import { show } from '../excerpt.ts';
import { type HttpOptions, httpOptions, openUrl, urlOf } from '../source/http.ts';
import type { Folder, Source } from '../source/source.ts';
import { INDEX_NAME, readIndex, SINGLE_NAME } from './checkpoint.ts';

// What goes along with the weights where it is there; there is no way to ask for a listing.
const SIDE_FILES = [
  ...['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'],
  ...['added_tokens.json', 'vocab.json', 'merges.txt', 'tokenizer.model', 'chat_template.jinja', 'chat_template.json'],
];

/**
 * Opens the checkpoint below an address: `model.safetensors` or an index and its shards, and the files beside them.
 * @param address such as `https://example.org/models/llama/`; with or without the last slash
 * @throws {RangeError} when the address is no whole URL
 * @throws {FileError} when the server refuses, other than by 404
 * @throws {FormatError} when there is neither a model.safetensors nor an index
 */
export async function urlFolder(address: string | URL, options: HttpOptions = {}): Promise<Folder> {
  const base = new URL(urlOf('address', address));
  const settings = httpOptions('options', options);
  const addressOf = (name: string): URL => {
    const url = new URL(base);
    url.pathname = `${base.pathname.replace(/\/*$/, '/')}${encodeURIComponent(name)}`;
    return url;
  };
  const found = new Map<string, Source>();
  const probe = async (name: string): Promise<boolean> => {
    try {
      found.set(name, await openUrl(String(addressOf(name)), settings));
      return true;
    } catch (error) {
      if (error instanceof FileError && error.code === '404') return false;
      throw error;
    }
  };
  const folder: Folder = {
    name: `${base.origin}${base.pathname.replace(/\/*$/, '')}`,
    list: async () => [...found.keys()].sort(),
    open: async (name) => {
      const source = found.get(text('name', name));
      if (!source) throw new FormatError(`folder must have the file ${show(name)}: it has not`, { file: folder.name });
      return source;
    },
  };
  if (!(await probe(SINGLE_NAME))) {
    if (!(await probe(INDEX_NAME))) {
      throw new FormatError(`address must have ${SINGLE_NAME} or ${INDEX_NAME}: it has neither`, { file: folder.name });
    }
    const shards = new Set((await readIndex(folder)).values());
    for (const shard of [...shards].sort()) await probe(shard);
  }
  for (const name of SIDE_FILES) await probe(name);
  return folder;
}
