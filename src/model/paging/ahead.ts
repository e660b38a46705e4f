// Reads ahead: experts come from the disk to the system's cache on threads of the runtime, while the model's threads do other work.
//
//   - Of a layer's experts that must be read all are asked for at once: a disk serves many better than one after the other.
//   - Of the next layer's those are asked for that its router names already (likely.ts), if such guesses came true lately.
//
// What the system's cache has is only a copy away, which a second copy delays: so nothing is asked for while reads do not wait. It
// changes no bit what is asked for, and when.

import type { CheckpointTensor } from '../../checkpoint/tensor.ts';

/** What became of experts that were asked for ahead. */
export interface Prefetched {
  /** Experts that were read: of those that were asked for before, and of the others. */
  hits: number;
  /** Experts that were read and had not been asked for before. */
  misses: number;
  /** Experts of a next layer that its router named early and that were in no slot: those that it then wanted, and the others. */
  foreseen: number;
  /** Experts that were named early and not wanted. */
  mistaken: number;
  /** Bytes that were asked for and not wanted. */
  bytesWasted: number;
}

/** A part of a tensor that an expert is made of. */
export interface Span {
  /** The tensor. */
  readonly tensor: CheckpointTensor;
  /** First byte, counted from the start of the tensor. */
  readonly start: number;
  /** The byte after the last. */
  readonly end: number;
}

/** A copy from the system's cache takes less: milliseconds of each read, and bytes in one. */
const READ_MS = 0.02;
const COPY_BYTES = 3e6;
/** Guesses are followed while of the last ones, some tens, so many came true for each that did not. */
const TRUE_OF_FALSE = 1.5;
const KEPT = 31 / 32;
const ENOUGH = 4;

/** Who asks for experts ahead. @template Page an expert */
interface Ahead<Page> {
  /** Whether reads wait for a disk, so that guesses are of use. */
  waits(): boolean;
  /** Asks for experts of one layer that will be read one after the other; the first is read at once. */
  together(pages: readonly Page[]): void;
  /** Tells that an expert was read, and what that took. */
  read(page: Page, ms: number): void;
  /** Takes guesses for the next layer, the best first. */
  guess(pages: readonly Page[]): void;
  /** Tells which of the guessed experts the layer wanted. */
  wanted(pages: readonly Page[]): void;
  /** Tells that the layer wants no more. */
  settle(): void;
}

/** @param mayAsk whether the experts' source can be asked */
export function readAhead<Page extends { readonly spans: readonly Span[] }>(
  prefetched: Prefetched,
  mayAsk: boolean,
): Ahead<Page> {
  const asked = new Set<Page>();
  const guessed = new Set<Page>();
  let slow = false;
  let [right, wrong] = [0, 0];
  const bytesOf = ({ spans }: Page) => spans.reduce((sum, { start, end }) => sum + end - start, 0);
  const ask = (page: Page) => {
    if (asked.has(page)) return;
    asked.add(page);
    for (const { tensor, start, end } of page.spans) tensor.prefetch?.(start, end);
  };
  return {
    waits: () => slow,
    together(pages) {
      if (slow) for (const page of pages.slice(1)) ask(page);
    },
    read(page, ms) {
      if (asked.delete(page)) prefetched.hits++;
      else {
        prefetched.misses++;
        slow = mayAsk && ms > page.spans.length * READ_MS + bytesOf(page) / COPY_BYTES;
      }
    },
    guess(pages) {
      const isTrusted = right > ENOUGH && right > TRUE_OF_FALSE * wrong;
      for (const page of pages) {
        guessed.add(page);
        if (isTrusted) ask(page);
      }
    },
    wanted(pages) {
      for (const page of pages)
        if (guessed.delete(page)) [right, prefetched.foreseen] = [right + 1, prefetched.foreseen + 1];
    },
    settle() {
      for (const page of guessed) if (asked.delete(page)) prefetched.bytesWasted += bytesOf(page);
      prefetched.mistaken += guessed.size;
      [right, wrong] = [right * KEPT, (wrong + guessed.size) * KEPT];
      guessed.clear();
    },
  };
}
