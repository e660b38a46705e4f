// Continuous batching: sequences of many callers go through the model together. A caller extends a sequence; between two passes
// whoever has ids to run gets a place in the next one. One id of each generation goes first, then slices of prompts, so that a long
// prompt does not hold up the others. An element of a pass does not depend on what is beside it: every result has the bits that it
// would have alone.
//
// A model may keep a recurrent state beside the rows of the cache. It stands for a number of ids, and cannot be cut: ids behind it are run
// again. Before the last pass of a prompt a copy is kept, so that whoever goes back behind the prompt, or begins with the same ids,
// runs few of them again.
//
// Of a sequence that is closed the rows stay until others need them: whoever begins with the same ids copies them.
// ExtendOptions, Sequence and OpenOptions have the shapes of src/text/language.ts, which is their original.

import { closed, StateError } from '../../errors.ts';
import type { Pass, Segment } from '../pass.ts';
import { passOf } from '../pass.ts';
import { pauses } from '../pause.ts';
import { type Holding, openRows } from './rows.ts';

/** What runs passes. */
export interface Engine {
  /** Most tokens of a pass. */
  readonly batch: number;
  /** Rows of the cache. */
  readonly rows: number;
  /** Recurrent states that it has room for; 0 if it keeps none. */
  readonly slots: number;
  /** Elements of a row of logits, and of a hidden state. */
  readonly widths: { readonly logits: number; readonly hidden: number };
  /**
   * Runs a pass.
   * @param emit called for each output, with its row of logits or of the last hidden states, valid during the call only
   */
  run(pass: Pass, ids: ArrayLike<number>, emit: (output: number, row: Float32Array) => void): void;
  /** Copies rows of the cache to others; both may overlap. */
  copy(from: number, to: number, count: number): void;
  /** Copies a recurrent state to another slot. */
  copyState(from: number, to: number): void;
  /** Bytes of `count` rows, written out; the rows; takes them. */
  rowsBytes(count: number): number;
  /** Bytes of `count` rows from `start` on. */
  read(start: number, count: number): Uint8Array<ArrayBuffer>;
  /** Takes bytes as `read` gave them. */
  write(start: number, count: number, rows: Uint8Array): void;
}

/** What `extend` gives of the ids. */
export interface ExtendOptions {
  /** Rows of which ids are wanted: the last one's if left out. */
  rows?: 'last' | 'all' | 'none';
  /** Rows of what: logits if left out, or hidden states behind the last norm. */
  of?: 'logits' | 'hidden';
  /** Takes each row as soon as it is there, instead of the result; valid during the call only. @param index of the id among those given */
  each?: (index: number, row: Float32Array) => void;
  /** Ends the call before the next pass; the ids that went through stay in the sequence. */
  signal?: AbortSignal;
}

/** Ids with a place in the cache. One call at a time. */
export interface Sequence {
  /** The ids whose keys and values are cached. */
  readonly ids: readonly number[];
  /**
   * Runs ids behind those that are there.
   * @returns (rows, vocabSize) logits, or (rows, dim) hidden states
   */
  extend(ids: ArrayLike<number>, options?: ExtendOptions): Promise<Float32Array<ArrayBuffer>>;
  /** Forgets the ids from `length` on. */
  truncate(length: number): void;
  /** Gives the place back. */
  close(): void;
}

/** A sequence that can be given what was read of another one. */
export interface FilledSequence extends Sequence {
  /**
   * Goes on with ids whose rows are there, as `read` gave them, instead of running them.
   * @returns whether it did: not where the sequence has lost its place, or has a recurrent state
   */
  append(ids: ArrayLike<number>, rows: Uint8Array): boolean;
}

/** What a sequence is to hold. */
export interface OpenOptions {
  /** Most ids that it will hold. */
  capacity: number;
  /** Ids that it will begin with: what another sequence holds of them is copied, but for the last, whose logits are to be computed. */
  ids?: ArrayLike<number>;
  /** Ends the wait for a place. */
  signal?: AbortSignal;
}

/** Runs sequences together: what waits goes into the next pass. */
export interface Batcher {
  /** Opens a sequence; waits for a place while the cache is full, in the order of the calls. */
  open(options: OpenOptions): Promise<FilledSequence>;
  /** Rows of `count` ids from `from` on, written out, where a sequence, open or not, begins with `ids` up to there. */
  read(ids: ArrayLike<number>, from: number, count: number): Uint8Array<ArrayBuffer> | undefined;
  /** How many passes there were so far, by the sequences that went through together. */
  readonly passes: readonly number[];
  /** Refuses all that is asked for from now on, and what waits. */
  close(reason: Error): void;
}

/** Ids of a prompt that go through with others' generations, at most: a pass of more would hold them up. */
const SLICE = 16;
/** Turns of the microtask queue in which those that have been answered may ask again, before a pass goes on without them. */
const TURNS = 64;
/** And those that pass before any other, so that calls made at once go through together. */
const FIRST_TURNS = 4;
/** A sequence that has not been extended for so long loses its place to those that wait, in milliseconds; what it held is run again. */
const FORGOTTEN_AFTER = 10_000;

// A recurrent state, and the number of ids that it stands for.
interface Held {
  readonly slot: number;
  length: number;
}

// A sequence as it is kept here.
interface HeldSequence {
  ids: number[];
  holding: Holding | undefined;
  /** Where the model has recurrent states: its own, and the copy of an earlier one. */
  state?: Held | undefined;
  kept?: Held | undefined;
  capacity: number;
  isOpen: boolean;
  lastUse: number;
}

// An `extend` under way.
interface PendingExtend {
  sequence: HeldSequence;
  ids: ArrayLike<number>;
  done: number;
  rows: 'last' | 'all' | 'none';
  logits: boolean;
  take(index: number, row: Float32Array): void;
  /** What `take` threw: it may not end a pass that others are in. */
  fault?: { error: unknown };
  signal: AbortSignal | undefined;
  settle(error?: unknown): void;
}

// An `open` that waits.
interface Waiting {
  sequence: HeldSequence;
  ids: ArrayLike<number>;
  settle(error?: unknown): void;
}

// How many of the first `most` ids are the same.
function lengthOfCommon(some: ArrayLike<number>, others: ArrayLike<number>, most: number): number {
  let length = 0;
  while (length < most && some[length] === others[length]) length++;
  return length;
}

/** @returns a batcher over an engine's cache */
export function openBatcher(engine: Engine): Batcher {
  const { batch, rows: count } = engine;
  const sequences = new Set<HeldSequence>(); // with a holding, open or not
  const holders = new Map<Holding, HeldSequence>();
  let waiting: Waiting[] = [];
  const expected = new Set<HeldSequence>(); // answered by the last pass
  let work: PendingExtend[] = [];
  const passes: number[] = [];
  let isRunning = false;
  let end: Error | undefined; // why nothing can be asked for any more
  const pause = pauses();
  const slots = Array.from({ length: engine.slots }, (_, i) => i); // those that nobody holds

  const rows = openRows(count, (holding, to) => {
    engine.copy(holding.start, to, Math.min(holding.size, holders.get(holding)?.ids.length ?? 0));
  });

  // The sequence that has most of what these ids begin with, how many, and its state behind them.
  function donorOf(ids: ArrayLike<number>): {
    donor: HeldSequence | undefined;
    length: number;
    source: Held | undefined;
  } {
    let best: ReturnType<typeof donorOf> = { donor: undefined, length: 0, source: undefined };
    for (const sequence of sequences) {
      let length = lengthOfCommon(sequence.ids, ids, Math.min(sequence.ids.length, ids.length - 1));
      const source = sequence.state && stateWithin(sequence, length);
      if (sequence.state) length = source?.length ?? 0;
      if (length > best.length) best = { donor: sequence, length, source };
    }
    return best;
  }

  // The later state of a sequence that stands for no more than `length` ids.
  function stateWithin({ state, kept }: HeldSequence, length: number): Held | undefined {
    return [state, kept].find((held) => held !== undefined && held.length <= length);
  }

  function give(held: Held | undefined): void {
    if (held) slots.push(held.slot);
  }

  // Whose slot others may have, of those but one: the copies of all, and what closed sequences hold.
  const spare = (but: HeldSequence | undefined) =>
    [...sequences].filter((sequence) => sequence !== but && (sequence.kept || !sequence.isOpen));

  // A free slot, if need be of who has not used its own for longest.
  function takeSlot(but: HeldSequence | undefined): number | undefined {
    while (slots.length === 0) {
      const [first] = spare(but).sort((a, b) => a.lastUse - b.lastUse);
      if (!first) return undefined;
      if (!first.kept) drop(first);
      give(first.kept);
      first.kept = undefined;
    }
    return slots.pop();
  }

  const hasSlot = (donor: HeldSequence | undefined) =>
    engine.slots === 0 || slots.length > 0 || donor?.kept !== undefined || spare(donor).length > 0;

  // Gives a sequence a state: the source's, if there is one. There is a slot.
  function holdState(sequence: HeldSequence, donor: HeldSequence | undefined, source: Held | undefined): void {
    if (engine.slots === 0) return;
    let slot = takeSlot(donor);
    if (slot === undefined) {
      slot = donor!.kept!.slot;
      donor!.kept = undefined;
    }
    if (source && source.slot !== slot) engine.copyState(source.slot, slot);
    sequence.state = { slot, length: source?.length ?? 0 };
  }

  // Copies a state before the last pass of a prompt.
  function keep(sequence: HeldSequence): void {
    const { state, kept } = sequence;
    if (!state || state.length === 0 || state.length === kept?.length) return;
    const slot = kept?.slot ?? takeSlot(sequence);
    if (slot === undefined) return;
    engine.copyState(state.slot, slot);
    sequence.kept = { slot, length: state.length };
  }

  // After ids were cut off: goes back to the copy, or to the beginning. What is missing is run again when ids follow.
  function goBack(sequence: HeldSequence): void {
    const { state, kept, ids } = sequence;
    if (kept && kept.length > ids.length) {
      give(kept);
      sequence.kept = undefined;
    }
    if (!state || state.length <= ids.length) return;
    if (sequence.kept) engine.copyState(sequence.kept.slot, state.slot);
    state.length = sequence.kept?.length ?? 0;
  }

  function hold(sequence: HeldSequence, holding: Holding): void {
    sequence.holding = holding;
    sequence.lastUse = performance.now(); // nobody takes its place before it has been used
    holders.set(holding, sequence);
    sequences.add(sequence);
  }

  function drop(sequence: HeldSequence): void {
    if (sequence.holding) {
      rows.give(sequence.holding);
      holders.delete(sequence.holding);
    }
    give(sequence.state);
    give(sequence.kept);
    sequence.state = undefined;
    sequence.kept = undefined;
    sequence.holding = undefined;
    sequences.delete(sequence);
  }

  // Gives a sequence its place, with what another one has of its ids. Whether there was room.
  function place(sequence: HeldSequence, ids: ArrayLike<number>): boolean {
    const { donor, length, source } = donorOf(ids);
    const lasting = () =>
      [...sequences].filter((other) => other !== donor && !other.isOpen).sort((a, b) => a.lastUse - b.lastUse);
    let room = rows.free;
    const leaving: HeldSequence[] = [];
    for (const other of lasting()) {
      if (room >= sequence.capacity) break;
      leaving.push(other);
      room += other.holding!.size;
    }
    if (room >= sequence.capacity && hasSlot(donor)) {
      for (const other of leaving) drop(other);
      holdState(sequence, donor, source);
      hold(sequence, rows.take(sequence.capacity)!);
      if (donor) {
        engine.copy(donor.holding!.start, sequence.holding!.start, length);
        donor.lastUse = performance.now();
      }
    } else if (donor && !donor.isOpen && room + donor.holding!.size >= sequence.capacity) {
      // There is no room for both: the one becomes the other.
      for (const other of leaving) drop(other);
      const holding = donor.holding!;
      donor.ids.length = length;
      goBack(donor);
      rows.resize(holding, sequence.capacity);
      holders.delete(holding);
      sequences.delete(donor);
      [sequence.state, sequence.kept] = [donor.state, donor.kept];
      [donor.holding, donor.state, donor.kept] = [undefined, undefined, undefined];
      hold(sequence, holding);
    } else return false;
    sequence.ids = Array.prototype.slice.call(ids, 0, length);
    return true;
  }

  // Places those that wait, in their order.
  function admit(): void {
    while (waiting.length > 0) {
      const { sequence, ids, settle } = waiting[0];
      if (!place(sequence, ids) && !(forget() && place(sequence, ids))) return;
      waiting.shift();
      settle();
    }
  }

  // Takes the places of sequences that nobody has extended for long. Whether there were any.
  function forget(): boolean {
    const before = performance.now() - FORGOTTEN_AFTER;
    const busy = new Set(work.map(({ sequence }) => sequence));
    const forgotten = [...sequences].filter(
      (sequence) => sequence.isOpen && sequence.lastUse < before && !busy.has(sequence),
    );
    for (const sequence of forgotten) drop(sequence);
    return forgotten.length > 0;
  }

  function compose(work: readonly PendingExtend[]): {
    pass: Pass;
    ids: number[];
    parts: { item: PendingExtend; count: number }[];
  } {
    const single = work.filter(({ ids, done }) => ids.length - done === 1).slice(0, batch);
    let left = batch - single.length;
    if (single.length > 0) left = Math.min(left, SLICE);
    const parts = single.map((item) => ({ item, count: 1 }));
    for (const item of work) {
      if (left === 0) break;
      if (item.ids.length - item.done === 1) continue;
      const count = Math.min(left, item.ids.length - item.done);
      parts.push({ item, count });
      left -= count;
    }
    const ids: number[] = [];
    let logits = false;
    const segments = parts.map(({ item, count }): Segment => {
      for (let j = 0; j < count; j++) ids.push(item.ids[item.done + j]);
      const isLast = item.done + count === item.ids.length;
      const outputs = item.rows === 'all' ? count : item.rows === 'last' && isLast ? 1 : 0;
      if (outputs > 0) logits ||= item.logits;
      const { ids: before, holding, state } = item.sequence;
      return { count, position: before.length, start: holding!.start, outputs, slot: state?.slot ?? 0 };
    });
    return { pass: passOf(segments, logits), ids, parts };
  }

  function step(): void {
    // Hidden states and logits are of passes of their own.
    const { logits } = work[0];
    const { pass, ids, parts } = compose(work.filter((item) => item.logits === logits));
    const outputs = parts.flatMap(({ item, count }, i) =>
      Array.from({ length: pass.segments[i].outputs }, (_, j) => ({
        item,
        index: item.done + count - pass.segments[i].outputs + j,
      })),
    );
    for (const { item, count } of parts) {
      if (item.ids.length > 1 && item.done + count === item.ids.length) keep(item.sequence);
    }
    engine.run(pass, ids, (output, row) => {
      const { item, index } = outputs[output];
      try {
        if (!item.fault) item.take(index, row);
      } catch (error) {
        item.fault = { error };
      }
    });
    while (passes.length <= parts.length) passes.push(0);
    passes[parts.length]++;
    const now = performance.now();
    for (const { item, count } of parts) {
      if (!work.includes(item)) continue; // closed meanwhile, by a `take`
      for (let j = 0; j < count; j++) item.sequence.ids.push(item.ids[item.done + j]);
      item.done += count;
      item.sequence.lastUse = now;
      if (item.sequence.state) item.sequence.state.length = item.sequence.ids.length;
    }
    const isDone = (item: PendingExtend) => item.done === item.ids.length || item.fault !== undefined;
    const finished = work.filter(isDone);
    // Whoever was served goes behind those that were not.
    const served = new Set(parts.map(({ item }) => item));
    work = [...work.filter((item) => !served.has(item)), ...work.filter((item) => served.has(item) && !isDone(item))];
    expected.clear();
    for (const item of finished) {
      if (item.rows === 'last') expected.add(item.sequence);
      item.settle(item.fault?.error);
    }
  }

  function fail(reason: Error): void {
    end ??= reason;
    for (const { settle } of [...work.splice(0), ...waiting.splice(0)]) settle(end);
  }

  async function loop(): Promise<void> {
    isRunning = true;
    try {
      for (;;) {
        for (let turn = 0; turn < TURNS && (turn < FIRST_TURNS || expected.size > 0); turn++) await undefined;
        await pause();
        work = work.filter((item) => {
          if (item.signal?.aborted) item.settle(item.signal.reason);
          return !item.signal?.aborted;
        });
        if (work.length === 0) return;
        step();
      }
    } catch (error) {
      fail(error as Error);
    } finally {
      isRunning = false;
      expected.clear();
    }
  }

  function start(): void {
    if (!isRunning) loop();
  }

  function sequenceOf(sequence: HeldSequence): FilledSequence {
    let isBusy = false;

    function checkOpen(): void {
      if (end) throw end;
      if (!sequence.isOpen) throw closed('sequence');
    }

    async function extend(ids: ArrayLike<number>, options: ExtendOptions = {}): Promise<Float32Array<ArrayBuffer>> {
      const { rows: wanted = 'last', of = 'logits', each, signal } = options;
      checkOpen();
      if (isBusy) throw new StateError('sequence must be idle: a call is under way');
      if (ids.length === 0) throw new RangeError('ids must have at least one token: got none');
      if (sequence.ids.length + ids.length > sequence.capacity) {
        throw new RangeError(
          `ids must fit the ${sequence.capacity} of the sequence: they end at ${sequence.ids.length + ids.length}`,
        );
      }
      isBusy = true;
      try {
        signal?.throwIfAborted();
        if (!sequence.holding) await comeBack(sequence, signal);
        else if (sequence.state && sequence.state.length < sequence.ids.length) await catchUp(sequence, signal);
        checkOpen();
        const width = engine.widths[of];
        const first = wanted === 'last' ? ids.length - 1 : 0;
        const kept = each || wanted === 'none' ? 0 : ids.length - first;
        const result = new Float32Array(kept * width);
        const take = each ?? ((index: number, row: Float32Array) => result.set(row, (index - first) * width));
        await new Promise<void>((resolve, reject) => {
          const settle = (error?: unknown) => (error === undefined ? resolve() : reject(error));
          work.push({ sequence, ids, done: 0, rows: wanted, logits: of === 'logits', take, signal, settle });
          expected.delete(sequence);
          start();
        });
        return result;
      } finally {
        isBusy = false;
      }
    }

    return {
      get ids() {
        return sequence.ids;
      },
      extend,
      truncate(length) {
        if (isBusy) throw new StateError('sequence must be idle: a call is under way');
        sequence.ids.length = Math.min(sequence.ids.length, length);
        goBack(sequence);
      },
      append(ids, rows) {
        if (isBusy || end || !sequence.isOpen || !sequence.holding || sequence.state) return false;
        if (sequence.ids.length + ids.length > sequence.capacity || rows.length !== engine.rowsBytes(ids.length))
          return false;
        engine.write(sequence.holding.start + sequence.ids.length, ids.length, rows);
        for (let i = 0; i < ids.length; i++) sequence.ids.push(ids[i]);
        sequence.lastUse = performance.now();
        return true;
      },
      close() {
        if (!sequence.isOpen) return;
        sequence.isOpen = false;
        for (const item of [...work, ...waiting].filter((item) => item.sequence === sequence))
          item.settle(closed('sequence'));
        work = work.filter((item) => item.sequence !== sequence);
        waiting = waiting.filter((item) => item.sequence !== sequence);
        sequence.lastUse = performance.now();
        expected.delete(sequence);
        if (sequence.holding && sequence.ids.length === 0) drop(sequence);
        else if (sequence.holding) rows.resize(sequence.holding, sequence.ids.length);
        admit();
      },
    };
  }

  // Runs what a sequence has not of these ids.
  async function runAgain(
    sequence: HeldSequence,
    ids: readonly number[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const lost = ids.slice(sequence.ids.length);
    if (lost.length === 0 || !sequence.isOpen || end) return;
    await new Promise<void>((resolve, reject) => {
      const settle = (error?: unknown) => (error === undefined ? resolve() : reject(error));
      work.push({ sequence, ids: lost, done: 0, rows: 'none', logits: true, take: () => {}, signal, settle });
      start();
    });
  }

  // A sequence whose state stands for fewer ids than it has runs the others again. Where that fails its ids are what they were.
  async function catchUp(sequence: HeldSequence, signal: AbortSignal | undefined): Promise<void> {
    const { ids } = sequence;
    sequence.ids = ids.slice(0, sequence.state!.length);
    try {
      await runAgain(sequence, ids, signal);
    } catch (error) {
      sequence.ids = ids;
      throw error;
    }
  }

  // A sequence that lost its place gets one again, and runs again what it held. Where that fails it has lost its place as before.
  async function comeBack(sequence: HeldSequence, signal: AbortSignal | undefined): Promise<void> {
    const { ids } = sequence;
    try {
      await placeOf(sequence, [...ids, -1], signal);
      await runAgain(sequence, ids, signal);
    } catch (error) {
      if (sequence.isOpen) {
        drop(sequence);
        sequence.ids = ids;
        admit();
      }
      throw error;
    }
  }

  function placeOf(sequence: HeldSequence, ids: ArrayLike<number>, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = () => {
        waiting.splice(waiting.indexOf(entry), 1);
        reject(signal!.reason);
        admit();
      };
      const entry: Waiting = {
        ...{ sequence, ids },
        settle(error) {
          signal?.removeEventListener('abort', abort);
          if (error === undefined) resolve();
          else reject(error);
        },
      };
      waiting.push(entry);
      signal?.addEventListener('abort', abort);
      admit();
      // Nobody may come back for what is forgotten: those that wait look again.
      if (waiting.includes(entry)) watch();
    });
  }

  let watcher: ReturnType<typeof setTimeout> | undefined;
  function watch(): void {
    watcher ??= setTimeout(() => {
      watcher = undefined;
      admit();
      if (waiting.length > 0) watch();
    }, FORGOTTEN_AFTER / 4);
  }

  return {
    passes,
    async open({ capacity, ids = [], signal }) {
      if (end) throw end;
      if (capacity > count)
        throw new RangeError(`capacity must be at most the ${count} rows of the cache: got ${capacity}`);
      signal?.throwIfAborted();
      const held: HeldSequence = { ids: [], holding: undefined, capacity, isOpen: true, lastUse: performance.now() };
      await placeOf(held, ids, signal);
      return sequenceOf(held);
    },
    read(ids, from, count) {
      const length = from + count;
      const begins = (sequence: HeldSequence) =>
        sequence.ids.length >= length && lengthOfCommon(sequence.ids, ids, length) === length;
      const holder = [...sequences].find(begins);
      return holder && engine.read(holder.holding!.start + from, count);
    },
    close(reason) {
      clearTimeout(watcher);
      fail(reason);
    },
  };
}
