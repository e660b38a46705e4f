// Gathers statistics (sums.ts) beside sensitivities. Matrices of one block alone are in memory, so blocks are outside and sequences inside:
//
//   for each group of sequences:   embed all · each block forward, all · labels of all · each block back, all, its matrices to the file
//
// A group has as many sequences as a budget of bytes holds the residual streams of, before every block; at least one. Matrices begin as
// the groups before left them (growing.ts), so that sums are by sequence, then by token, whatever the groups are: the file's bytes depend
// neither on them nor on threads, memory or interruptions.

import { weightsOf } from '../model/blocks/blocks.ts';
import type { StatisticsKind } from '../statistics/matrices.ts';
import { type Gathering, type Growing, growFile, STREAM_BYTES } from './growing.ts';
import { type Measuring, meanOfTokens, savedAt, tailOf } from './program/measuring.ts';
import type { TokenCounter } from './progress.ts';
import { pieceOf } from './session.ts';
import { placeSequence, takeSequence, type Work } from './work.ts';

/** Sequences of a group: as many as `streamBytes` hold, at least one. */
export function sequencesPerGroup(
  measuring: Pick<Measuring, 'state' | 'workspace'>,
  { mode }: StatisticsKind,
  streamBytes = STREAM_BYTES,
): number {
  return Math.max(1, Math.floor(streamBytes / (roomOf(measuring, mode).floats * 4)));
}

/** The first sequence that has still to be done: its result or its statistics are missing. */
export function firstOf({ results }: Work, { mode, stored }: Gathering): number {
  const done = stored?.done ?? 0;
  return mode === 'inputs' ? done : Math.min(done, results.length);
}

/** Gathers statistics of all sequences, and records the results that are missing. */
export async function gatherStatistics(work: Work, gathering: Gathering, steps: TokenCounter): Promise<void> {
  const { session, sequences, results, record } = work;
  const { mode, streamBytes } = gathering;
  const { length } = sequences;
  const room = roomOf(session.measuring, mode);
  const size = Math.min(length, sequencesPerGroup(session.measuring, gathering, streamBytes));
  const kept = Array.from({ length: size }, () => new Float32Array(room.floats));
  for (let first = firstOf(work, gathering); first < length; ) {
    const done = gathering.stored?.done ?? 0;
    const noted = results.length;
    // All of a group have their statistics yet to be gathered, or none.
    const end = Math.min(first + size, first < done ? done : length);
    for (let i = first; i < end; i++) await takeSequence(work, i, steps);
    const file = first >= done ? await growFile(work, gathering, end) : undefined;
    try {
      const group = { first, kept: kept.slice(0, end - first), room, file };
      if (mode === 'inputs') {
        await groupForward(work, group, steps);
        await file?.finish();
      } else {
        const traces = await groupBack(work, group, steps);
        await file?.finish();
        for (const result of traces.slice(Math.max(0, noted - first))) record(result);
      }
    } catch (error) {
      await file?.abort(error);
      throw error;
    }
    first = end;
  }
}

/** What a sequence keeps: streams before the blocks and behind the last, then what goes from its labels to its embeddings. */
interface Room {
  readonly stream: number; // floats of one
  readonly tail: readonly { readonly address: number; readonly floats: number }[];
  readonly floats: number;
}

interface Group {
  readonly first: number;
  readonly kept: readonly Float32Array[];
  readonly room: Room;
  readonly file: Growing | undefined;
}

/** What a sequence keeps in its group. */
export function roomOf(measuring: Pick<Measuring, 'state' | 'workspace'>, mode: StatisticsKind['mode']): Room {
  const { state, workspace } = measuring;
  const stream = workspace.tokens * state.dim;
  if (mode === 'inputs') return { stream, tail: [], floats: stream };
  const tail = tailOf(measuring);
  const floats = (state.blocks.length + 1) * stream + tail.reduce((sum, region) => sum + region.floats, 0);
  return { stream, tail, floats };
}

// Copies between linear memory and what is kept.
function copies({ floats, state }: Measuring, { stream, tail }: Room) {
  const behind = (state.blocks.length + 1) * stream;
  return {
    put(kept: Float32Array, block: number, address: number): void {
      floats.set(kept.subarray(block * stream, (block + 1) * stream), address / 4);
    },
    take(kept: Float32Array, block: number, address: number): void {
      kept.set(floats.subarray(address / 4, address / 4 + stream), block * stream);
    },
    /** The first `count` regions of the tail. */
    putTail(kept: Float32Array, count = tail.length): void {
      let offset = behind;
      for (const region of tail.slice(0, count)) {
        floats.set(kept.subarray(offset, offset + region.floats), region.address / 4);
        offset += region.floats;
      }
    },
    takeTail(kept: Float32Array, count = tail.length): void {
      let offset = behind;
      for (const region of tail.slice(0, count)) {
        kept.set(floats.subarray(region.address / 4, region.address / 4 + region.floats), offset);
        offset += region.floats;
      }
    },
  };
}

async function groupForward({ session, sequences }: Work, group: Group, steps: TokenCounter): Promise<void> {
  const { measuring, run, bring } = session;
  const { state, workspace } = measuring;
  const { first, kept, room, file } = group;
  const { put, take } = copies(measuring, room);
  await bring(pieceOf.embedding);
  for (const [s, buffer] of kept.entries()) {
    placeSequence(session, sequences[first + s]!);
    run({ kind: 'embed' });
    take(buffer, 0, state.x);
  }
  for (const block of state.blocks.keys()) {
    await bring(pieceOf.block(block));
    await file?.begin(block);
    for (const buffer of kept) {
      put(buffer, 0, state.x);
      run({ kind: 'block', block });
      run({ kind: 'inputs', block });
      take(buffer, 0, state.x);
      await steps.next(workspace.tokens / state.blocks.length);
    }
    await file?.end(block);
  }
}

// As `traces` of fisher.ts has them, sequence by sequence.
async function groupBack({ session, sequences, seed }: Work, group: Group, steps: TokenCounter): Promise<number[][]> {
  const { measuring, run, bring } = session;
  const { state, workspace } = measuring;
  const { tokens, draws } = workspace;
  const { first, kept, room, file } = group;
  const { put, take, putTail, takeTail } = copies(measuring, room);
  const blocks = state.blocks.length;
  await bring(pieceOf.embedding);
  for (const [s, buffer] of kept.entries()) {
    placeSequence(session, sequences[first + s]!);
    run({ kind: 'embed' });
    take(buffer, 0, state.x);
  }
  for (let block = 0; block < blocks; block++) {
    await bring(pieceOf.block(block));
    for (const buffer of kept) {
      put(buffer, block, state.x);
      run({ kind: 'block', block });
      take(buffer, block + 1, state.x);
      await steps.next(tokens / (3 * blocks));
    }
  }
  await bring(pieceOf.end(state));
  const ends: number[][] = [];
  for (const [s, buffer] of kept.entries()) {
    placeSequence(session, sequences[first + s]!);
    put(buffer, blocks, state.x);
    put(buffer, blocks, savedAt(measuring, blocks));
    for (let token = 0; token < tokens; token += state.logitRows) {
      const count = Math.min(state.logitRows, tokens - token);
      run({ kind: 'labels', first: token, count, seed, sequence: first + s });
      await steps.next(0);
    }
    ends.push([meanOfTokens(measuring, 1), meanOfTokens(measuring, 0)]);
    takeTail(buffer);
  }
  const traces: number[][] = kept.map(() => []);
  for (let block = blocks - 1; block >= 0; block--) {
    await bring(pieceOf.block(block));
    await file?.begin(block);
    const rows = weightsOf(state.blocks[block]).length * draws;
    for (const [s, buffer] of kept.entries()) {
      put(buffer, block, savedAt(measuring, block));
      putTail(buffer, 1);
      run({ kind: 'back', block, gather: file !== undefined });
      takeTail(buffer, 1);
      file?.addWeights(block);
      traces[s].unshift(...Array.from({ length: rows }, (_, row) => meanOfTokens(measuring, row)));
      await steps.next((2 * tokens) / (3 * blocks));
    }
    await file?.end(block);
  }
  await bring(pieceOf.embedding);
  for (const [s, buffer] of kept.entries()) {
    placeSequence(session, sequences[first + s]!);
    putTail(buffer);
    run({ kind: 'embeddingBack' });
    traces[s].push(...Array.from({ length: draws }, (_, row) => meanOfTokens(measuring, row)), ...ends[s]);
    await steps.next(0);
  }
  return traces;
}
