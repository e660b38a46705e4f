// The digest of a file whose ranges are read in about their order: many at once, some of them again. What comes early waits, up to
// WAITING_LIMIT bytes; a file that is read otherwise has no digest, and its reader is told so.

import type { Digest } from './sha256.ts';

/** Most bytes of one file that wait for those in front of them: a few blocks of weights for each of a machine's workers. */
const WAITING_LIMIT = 64 << 20;

/** The digest of a file as its ranges come. */
export interface FileDigest {
  /** Takes the bytes from `start` on; they may change afterwards. @returns the digest, once: when the last byte is in it */
  take(start: number, bytes: Uint8Array): string | undefined;
  /** How much of the file is in it: `some` where bytes were read, and not all. */
  state(): 'none' | 'some' | 'all';
}

/** @param byteLength of the file */
export function digestInOrder(byteLength: number, digest: Digest): FileDigest {
  const waiting = new Map<number, Uint8Array>(); // by start
  let [position, held, isRead] = [0, 0, false];

  function add(start: number, bytes: Uint8Array): void {
    digest.update(bytes.subarray(position - start));
    position = start + bytes.length;
  }

  function addWaiting(): void {
    for (let isMoving = true; isMoving; ) {
      isMoving = false;
      for (const [start, bytes] of waiting) {
        if (start > position) continue;
        waiting.delete(start);
        held -= bytes.length;
        if (start + bytes.length > position) {
          add(start, bytes);
          isMoving = true;
        }
      }
    }
  }

  return {
    take(start, bytes) {
      isRead ||= bytes.length > 0;
      if (position === byteLength || start + bytes.length <= position) return undefined;
      if (start <= position) {
        add(start, bytes);
        addWaiting();
      } else if (held + bytes.length <= WAITING_LIMIT && (waiting.get(start)?.length ?? 0) < bytes.length) {
        held += bytes.length - (waiting.get(start)?.length ?? 0);
        waiting.set(start, bytes.slice());
      }
      return position === byteLength ? digest.digest('hex') : undefined;
    },
    state: () => (position === byteLength ? 'all' : isRead ? 'some' : 'none'),
  };
}
