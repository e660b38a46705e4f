// Prompts beyond a model's life: keys and values of their ids, as they stand in the cache, in a store of the caller's. They are kept in pieces,
//
//   SHA-256 of what follows, 32 bytes │ the ids, 64 × u32 │ their rows, as cache.ts writes them out
//
// whose names are hashes of all ids up to their end and of what the model is: of prompts with one beginning it is kept once, and what another
// model, another kind of cache or another release wrote is never found. What is not as it was written is left out and removed.

import { version } from '../../../package.json';
import { having, type Reader, text } from '../../check.ts';
import type { Batcher, FilledSequence } from './batch.ts';

/** Where prompts are kept: files, or whatever else has names. What its methods throw costs time, and no text. */
export interface PromptStore {
  /** Tells the model from others, and from itself after a change. */
  readonly identity: string;
  /** Whether there are bytes of this name. It is asked of all pieces that a text used, the first one last: a store may go by it. */
  has(name: string): boolean | Promise<boolean>;
  /** The bytes of a name; undefined where there are none. */
  read(name: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Keeps bytes; a reader finds all of them or none. */
  write(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Removes the bytes of a name. */
  remove(name: string): Promise<void>;
}

/** Prompts of a model, in a store. */
export interface Prompts {
  /** Has a sequence that was opened for these ids begin with more of them. */
  fill(sequence: FilledSequence, ids: readonly number[]): Promise<void>;
  /** Keeps what a sequence that is closed held, when there is time. */
  keep(ids: readonly number[]): void;
  /** Waits until what is to be kept is written. */
  close(): Promise<void>;
}

/** Ids of a piece. */
const PIECE = 64;
/** Bytes of a digest. */
const DIGEST = 32;
/** Texts that wait to be written, at most: of more the oldest are let go. */
const WAITING_LIMIT = 64;

const storeLike = having<PromptStore>('a store', ['has', 'read', 'write', 'remove']);

/** A store as a caller gives it. */
export const givenPromptStore: Reader<PromptStore> = (subject, value) => {
  const store = storeLike(subject, value);
  text(`identity of ${subject}`, store.identity);
  return store;
};

/** @param kind of the cache and of what it is computed from, beside the model */
export function openPrompts(store: PromptStore, kind: string, batcher: Batcher): Prompts {
  const seed = new TextEncoder().encode(JSON.stringify([version, PIECE, kind, store.identity]));
  let waiting: (readonly number[])[] = [];
  let writing: Promise<void> | undefined;

  // Names of the whole pieces of ids.
  async function namesOf(ids: readonly number[]): Promise<string[]> {
    const names: string[] = [];
    let before: Uint8Array<ArrayBuffer> = seed;
    for (let from = 0; from + PIECE <= ids.length; from += PIECE) {
      before = await sha256(joined(before, bytesOf(ids.slice(from, from + PIECE))));
      names.push(Array.from(before, (byte) => byte.toString(16).padStart(2, '0')).join(''));
    }
    return names;
  }

  // The rows of a piece that is whole.
  async function rowsIn(name: string, ids: readonly number[]): Promise<Uint8Array | undefined> {
    const bytes = await store.read(name);
    if (!bytes) return undefined;
    const [digest, rest] = [bytes.subarray(0, DIGEST), bytes.subarray(DIGEST)];
    const expected = bytesOf(ids);
    if (isSame(digest, await sha256(rest)) && isSame(rest.subarray(0, expected.length), expected))
      return rest.subarray(expected.length);
    await store.remove(name);
    return undefined;
  }

  async function write(ids: readonly number[]): Promise<void> {
    const names = await namesOf(ids);
    // The first piece last: it is what the others are of no use without.
    for (let i = names.length - 1; i >= 0; i--) {
      if (await store.has(names[i])) continue;
      const rows = batcher.read(ids, i * PIECE, PIECE);
      if (!rows) continue;
      const rest = joined(bytesOf(ids.slice(i * PIECE, (i + 1) * PIECE)), rows);
      await store.write(names[i], joined(await sha256(rest), rest));
    }
  }

  async function writeAll(): Promise<void> {
    for (let ids = waiting.shift(); ids; ids = waiting.shift()) await write(ids).catch(() => {});
    writing = undefined;
  }

  return {
    async fill(sequence, ids) {
      try {
        // The last id is run in any case.
        const names = await namesOf(ids.slice(0, -1));
        for (let i = Math.floor(sequence.ids.length / PIECE); i < names.length; i++) {
          const piece = ids.slice(i * PIECE, (i + 1) * PIECE);
          const rows = await rowsIn(names[i], piece);
          if (!rows) return;
          sequence.truncate(i * PIECE);
          if (!sequence.append(piece, rows)) return;
        }
      } catch {
        // The store is at fault: the ids are run.
      }
    },
    keep(ids) {
      if (ids.length < PIECE) return;
      waiting = [...waiting, ids].slice(-WAITING_LIMIT);
      writing ??= writeAll();
    },
    async close() {
      await writing;
    },
  };
}

const bytesOf = (ids: readonly number[]) => new Uint8Array(Uint32Array.from(ids).buffer);

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

const isSame = (one: Uint8Array, other: Uint8Array) =>
  one.length === other.length && one.every((byte, i) => byte === other[i]);
