// The small files that verbs read whole: texts, plans, sensitivities.

import { FileError } from '../errors.ts';
import { openFile } from '../source/file.ts';

/** Largest file or input that is read whole, in bytes: a text of it has some 60 million tokens, weeks of measuring. */
const WHOLE_FILE_LIMIT = 256 << 20;

/** Reads a regular file. @throws {FileError} when it cannot be read, is anything else, or has more than WHOLE_FILE_LIMIT bytes */
export async function readBytes(path: string): Promise<Uint8Array> {
  const file = await openFile(path);
  try {
    checkWhole(path, file.byteLength);
    const bytes = new Uint8Array(await file.slice(0, file.byteLength));
    if (await file.hasMore()) {
      throw new FileError(
        'read',
        path,
        undefined,
        'it has more bytes than its size says: copy it to a regular file first',
      );
    }
    return bytes;
  } finally {
    await file.close();
  }
}

/** Reads standard input to its end. @throws {FileError} when it has more than WHOLE_FILE_LIMIT bytes */
export async function readInput(): Promise<string> {
  const pieces: Uint8Array[] = [];
  let byteLength = 0;
  for await (const piece of process.stdin) {
    byteLength += (piece as Uint8Array).length;
    checkWhole('standard input', byteLength);
    pieces.push(piece as Uint8Array);
  }
  return new TextDecoder().decode(Buffer.concat(pieces));
}

function checkWhole(path: string, byteLength: number): void {
  if (byteLength > WHOLE_FILE_LIMIT) {
    throw new FileError(
      'read',
      path,
      undefined,
      `it must have at most ${WHOLE_FILE_LIMIT} bytes, and has ${byteLength} or more`,
    );
  }
}

/** A text in UTF-8. @throws {FileError} when it cannot be read */
export async function readTextFile(path: string): Promise<string> {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(await readBytes(path));
}
