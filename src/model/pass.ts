// What one pass through the model does: up to `batch` tokens of one sequence or of many, each sequence's a segment. All threads
// read it from memory: a few words, and for every segment
//
//   count   position of the first   row of the cache of position 0   outputs   slot       (i32 each)

/** Consecutive tokens of one sequence. */
export interface Segment {
  /** Tokens. */
  readonly count: number;
  /** Position of the first. */
  readonly position: number;
  /** The row of the cache that holds the sequence's position 0. */
  readonly start: number;
  /** Tokens at its end whose hidden states are normed. */
  readonly outputs: number;
  /** The recurrent state of the sequence, where the model keeps any: at position 0 it is begun. */
  readonly slot: number;
}

/** What goes through the model at once: segments of sequences. */
export interface Pass {
  /** Tokens of all segments, which follow one another in this order. */
  readonly count: number;
  /** Tokens of one sequence each. */
  readonly segments: readonly Segment[];
  /** Whether logits of the outputs are wanted, or hidden states alone. */
  readonly logits: boolean;
}

const SEGMENT_WORDS = 5;

/** Bytes of the segments of a pass, at most one a token. */
export function segmentBytes(batch: number): number {
  return batch * SEGMENT_WORDS * 4;
}

/** A pass of these segments. */
export function passOf(segments: readonly Segment[], logits: boolean): Pass {
  return { count: segments.reduce((sum, { count }) => sum + count, 0), segments, logits };
}

/** One sequence in the cache's first rows, of which nothing is put out. */
export function wholeSequence(count: number): Pass {
  return passOf([{ count, position: 0, start: 0, outputs: 0, slot: 0 }], false);
}

/** Puts a pass where all threads find it. @returns the words that tell of it */
export function writePass({ segments, logits }: Pass, table: Int32Array): [segments: number, logits: number] {
  for (const [i, { count, position, start, outputs, slot }] of segments.entries()) {
    table.set([count, position, start, outputs, slot], i * SEGMENT_WORDS);
  }
  return [segments.length, logits ? 1 : 0];
}

/** The pass that `writePass` put there. */
export function readPass([count, logits]: ArrayLike<number> & Iterable<number>, table: Int32Array): Pass {
  const segments: Segment[] = [];
  for (let at = 0; at < count * SEGMENT_WORDS; at += SEGMENT_WORDS) {
    const [count, position, start, outputs, slot] = table.subarray(at, at + SEGMENT_WORDS);
    segments.push({ count, position, start, outputs, slot });
  }
  return passOf(segments, logits === 1);
}
