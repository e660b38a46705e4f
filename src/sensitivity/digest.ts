// SHA-256 of what α depends on: config.json, generation_config.json (its ends of text) and the weights' files. WebCrypto hashes whole buffers
// alone, so a file is hashed by pieces of 8 MiB, and the digests are hashed again: SHA-256 of, for each file in the order of names,
//
//   <name> <length in bytes>\n     UTF-8
//   SHA-256 of each piece          32 bytes each

import { UnsupportedError } from '../errors.ts';
import type { LoadProgress } from '../model/load.ts';
import type { Folder } from '../source/source.ts';

const PIECE_BYTES = 8 << 20;
const MEASURED = /^((generation_)?config\.json|.*\.safetensors)$/;

/** SHA-256 of a text in UTF-8, as hexadecimal digits. */
export async function sha256(text: string): Promise<string> {
  return hexOf(await digest(new TextEncoder().encode(text)));
}

/** SHA-256 of the files of a model that its sensitivities depend on, as hexadecimal digits. */
export async function digestOf(
  folder: Folder,
  { onCheck, signal }: { onCheck?: ((progress: LoadProgress) => void) | undefined; signal?: AbortSignal | undefined },
): Promise<string> {
  const names = (await folder.list()).filter((name) => MEASURED.test(name)).sort();
  const sources = await Promise.all(names.map((name) => folder.open(name)));
  const bytes = sources.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const parts: (Uint8Array | Promise<Uint8Array>)[] = [];
  let bytesDone = 0;
  for (const [i, source] of sources.entries()) {
    parts.push(new TextEncoder().encode(`${names[i]} ${source.byteLength}\n`));
    for (let at = 0; at < source.byteLength; at += PIECE_BYTES) {
      signal?.throwIfAborted();
      const piece = await source.slice(at, Math.min(source.byteLength, at + PIECE_BYTES));
      await parts.at(-1); // a piece is hashed as the next one is read
      parts.push(digest(piece));
      bytesDone += piece.byteLength;
      onCheck?.({ tensor: names[i], bytesDone, bytes });
    }
  }
  const all = await new Blob((await Promise.all(parts)) as Uint8Array<ArrayBuffer>[]).arrayBuffer();
  return hexOf(await digest(all));
}

async function digest(bytes: ArrayBuffer | Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const { subtle } = globalThis.crypto ?? {};
  if (subtle) return new Uint8Array(await subtle.digest('SHA-256', bytes));
  const message = 'runtime must have crypto.subtle to keep sensitivities, which pages have by https: it has not';
  throw new UnsupportedError('crypto.subtle', message);
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
