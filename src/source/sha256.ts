// SHA-256 by WebCrypto, which hashes whole buffers alone.

import { UnsupportedError } from '../errors.ts';

/**
 * @param use what it is for, in a message: "to keep sensitivities"
 * @throws {UnsupportedError} where the runtime has no crypto.subtle
 */
export async function digest(
  bytes: ArrayBuffer | Uint8Array<ArrayBuffer>,
  use: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const { subtle } = globalThis.crypto ?? {};
  if (subtle) return new Uint8Array(await subtle.digest('SHA-256', bytes));
  const message = `runtime must have crypto.subtle ${use}: it is missing, as in pages without https`;
  throw new UnsupportedError('crypto.subtle', message);
}

/** Bytes as hexadecimal digits. */
export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
