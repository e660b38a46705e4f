// SHA-256 of what α depends on: config.json, generation_config.json (its ends of text) and the weights' files. WebCrypto hashes whole buffers
// alone, so a file is hashed by pieces of 2 MiB, and the digests are hashed again: SHA-256 of, for each file in the order of names,
//
//   <name> <length in bytes>\n     UTF-8
//   SHA-256 of each piece          32 bytes each

import type { LoadProgress } from '../model/loading/load.ts';
import { digest, hexOf } from '../source/sha256.ts';
import type { Folder } from '../source/source.ts';

/** As much as is read at a time where blocks are encoded; of larger ones the copies that WebCrypto makes leave the cache. */
const PIECE_BYTES = 2 << 20;
const USE = 'to keep sensitivities';
const MEASURED = /^((generation_)?config\.json|.*\.(safetensors|gguf))$/;

/** SHA-256 of a text in UTF-8, as hexadecimal digits. */
export async function sha256Text(text: string): Promise<string> {
  return hexOf(await digest(new TextEncoder().encode(text), USE));
}

/** SHA-256 of the files of a model that its sensitivities depend on, as hexadecimal digits. */
export async function digestOf(
  folder: Folder,
  { onCheck, signal }: { onCheck?: ((progress: LoadProgress) => void) | undefined; signal?: AbortSignal | undefined },
): Promise<string> {
  const measured = (await folder.list()).filter((name) => MEASURED.test(name)).sort();
  const isGguf = !measured.some((name) => name.endsWith('.safetensors')); // else it is another model
  const names = measured.filter((name) => isGguf || !name.endsWith('.gguf'));
  const sources = await Promise.all(names.map((name) => folder.open(name)));
  const bytes = sources.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let spare: ArrayBuffer | undefined;
  let bytesDone = 0;
  for (const [i, source] of sources.entries()) {
    const { byteLength } = source;
    parts.push(new TextEncoder().encode(`${names[i]} ${byteLength}\n`));
    for (let at = 0; at < byteLength; at += PIECE_BYTES) {
      signal?.throwIfAborted();
      const end = Math.min(byteLength, at + PIECE_BYTES);
      const piece = await source.slice(at, end, spare?.byteLength === end - at ? spare : undefined);
      parts.push(await digest(piece, USE));
      spare = piece;
      bytesDone += piece.byteLength;
      onCheck?.({ tensor: names[i], bytesDone, bytes });
    }
  }
  return hexOf(await digest(await new Blob(parts).arrayBuffer(), USE));
}
