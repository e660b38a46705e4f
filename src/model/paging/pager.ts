// Experts that share slots of a memory, because it has not room for all. Before an expert runs thread 0 reads it, at once, to a slot, unless it
// is in one: of those that are in slots the one that was not asked for longest goes out. The other threads wait meanwhile.
//
//   slots      │ 4/17 │ 5/2 │ 4/3 │ …      block / expert, of any block of the memory
//   table      17: 0   3: 2   …            slot of each expert that was asked for last: what threads read
//
// Weights are stored as loading/ stores them, so it changes no bit where an expert lies, nor how often it was read.

import { type CheckpointTensor, placeOf } from '../../checkpoint/tensor.ts';
import { UnsupportedError } from '../../errors.ts';
import type { Experts } from '../blocks/mixture.ts';
import type { Load } from '../layout.ts';
import { type Linear, moved, rowsApartOf, scaleBytesOf, storeRows, storingScratchBytes } from '../linear.ts';
import { type Filling, loadedTensors } from '../loading/batches.ts';
import { type Check, isStacked, keepSpares } from '../loading/load.ts';
import type { ModelLayout } from '../memories.ts';
import type { Thread } from '../team.ts';
import { type Prefetched, readAhead, type Span } from './ahead.ts';
import { likelyExperts } from './likely.ts';

/** What became of experts that share slots since the model was loaded. */
export interface Paging {
  /** Routed experts of the model, and how many fit its memory at once. */
  readonly experts: number;
  /** Experts that fit the memory at once. */
  readonly slots: number;
  /** Experts that a pass asked for and that were in a slot, or were read; an expert counts once a pass and layer. */
  hits: number;
  /** Experts that were read. */
  misses: number;
  /** Bytes of the file that were read for them. */
  bytesRead: number;
  /** What became of experts that were asked for ahead. */
  readonly prefetch: Readonly<Prefetched>;
}

/** Reads experts of a memory to its slots. */
interface Pager {
  /**
   * Has these experts of a block in slots, at most as many as there are slots, and tells the table of them.
   * @param tokens of the pass, with the last experts of the block; 0 before
   */
  fetch(block: number, experts: readonly number[], tokens: number): void;
}

/** What the pagers of a model count. */
export function pagingOf({ routed: { count, slots } }: ModelLayout): Paging | undefined {
  if (slots === 0) return undefined;
  const prefetch = { hits: 0, misses: 0, foreseen: 0, mistaken: 0, bytesWasted: 0 };
  return { experts: count, slots, hits: 0, misses: 0, bytesRead: 0, prefetch };
}

/** @throws {UnsupportedError} when an expert cannot be read at once: names its tensor */
export function checkPageable({ memories }: ModelLayout): void {
  const fixed = memories
    .flatMap(({ pages }) => pages.flat(2))
    .flatMap(loadedTensors)
    .find(({ readSync }) => !readSync);
  if (!fixed) return;
  const message =
    'memory must hold all experts, as this source or dtype cannot be read at once: quantize it to a local directory';
  throw new UnsupportedError('reading at once', message, placeOf(fixed));
}

/** Tokens of a pass whose next experts are guessed, its first: one thread does it while the others wait. */
const GUESSED_TOKENS = 16;

/**
 * @param thread thread 0
 * @param check undefined where no checksums are noted; those of stacks are checked already
 */
export function openPager(place: Filling, thread: Thread, paging: Paging, check: Check | undefined): Pager {
  const { kernels, buffer, layout } = place;
  const { pages, pool, blocks, state } = layout;
  const routed = blocks.filter((block): block is Experts => block.kind === 'experts' && block.slots !== undefined);
  const table = new Int32Array(buffer, pool.table);
  const slotOf = new Map<Page, number>(); // the one that was not asked for longest first
  const checked = new Set<CheckpointTensor>();
  const spares = keepSpares();
  const paged = pages.map((experts) => experts.map((loads): Page => ({ loads, spans: loads.flatMap(spansOf) })));
  const mayAsk = paged.flat().some(({ spans }) => spans.some(({ tensor }) => tensor.prefetch));
  const ahead = readAhead<Page>(paging.prefetch, mayAsk);

  function read({ loads }: Page, slot: number): void {
    for (const load of loads) {
      if (!('first' in load)) continue;
      const parts = loadedTensors(load);
      const unchecked = check && !isStacked(load) ? parts.filter((part) => !checked.has(part)) : [];
      if (unchecked.length > 0) kernels.crc32Table(layout.staging.address);
      const crcs = parts.map(() => 0);
      for (const { part, start, end, offset } of storing(
        place,
        moved(load.linear, pool.first + slot * pool.bytes),
        load.first,
      )) {
        const tensor = parts[part];
        if (tensor.readInto) tensor.readInto(start, end, new Uint8Array(buffer, offset, end - start));
        else new Uint8Array(buffer, offset).set(spares.keep(tensor.readSync!(start, end, spares.take(end - start))));
        paging.bytesRead += end - start;
        if (unchecked.length > 0) crcs[part] = kernels.crc32(crcs[part], offset, end - start, layout.staging.address);
      }
      for (const part of unchecked) {
        check!(part, crcs[parts.indexOf(part)]);
        checked.add(part);
      }
    }
  }

  // A slot that nobody has, or that of the expert that was not asked for longest.
  function takeSlot(): number {
    if (slotOf.size < pool.count) return slotOf.size;
    const [[page, slot]] = slotOf;
    slotOf.delete(page);
    return slot;
  }

  // The next block may be in another memory: nobody guesses its experts.
  function guessNext(block: number, tokens: number): void {
    if (!ahead.waits() || block + 1 === routed.length) return;
    const likely = likelyExperts(thread, state, routed[block + 1], Math.min(tokens, GUESSED_TOKENS));
    const missing = likely.map((expert) => paged[block + 1][expert]).filter((page) => !slotOf.has(page));
    ahead.guess(missing.slice(0, pool.count));
  }

  return {
    fetch(block, experts, tokens) {
      const missing = experts.filter((expert) => {
        const page = paged[block][expert];
        const slot = slotOf.get(page);
        if (slot === undefined) return true;
        slotOf.delete(page);
        slotOf.set(page, slot);
        table[expert] = slot;
        return false;
      });
      paging.hits += experts.length - missing.length;
      paging.misses += missing.length;
      const wanted = missing.map((expert) => paged[block][expert]);
      ahead.wanted(wanted);
      ahead.together(wanted);
      for (const [i, page] of wanted.entries()) {
        const slot = takeSlot();
        const began = performance.now();
        read(page, slot);
        ahead.read(page, performance.now() - began);
        slotOf.set(page, slot);
        table[missing[i]] = slot;
      }
      if (tokens === 0) return;
      ahead.settle();
      guessNext(block, tokens);
    },
  };
}

/** Room behind a block of rows for its scales, which are fewer bytes. */
const MARGIN = 64;

/** Bytes `start` to `end` of a weight's part, codes or scales, and where they are to be put. */
interface WantedBytes {
  readonly part: number;
  readonly start: number;
  readonly end: number;
  readonly offset: number;
}

/** Stores a weight by bytes that it asks for: whoever goes on has put them there. @param start row of the tensor that is its first */
function* storing(place: Filling, linear: Linear, start: number): Generator<WantedBytes> {
  const { kernels, buffer, layout } = place;
  const tableBytes = kernels.crc32TableBytes();
  const staging = layout.staging.address + tableBytes;
  const room = layout.staging.byteLength - tableBytes - MARGIN;
  const memory = new Uint8Array(buffer);
  const { rows, rowBytes } = linear;
  const scaleBytes = scaleBytesOf(linear);
  const rest = room - storingScratchBytes(linear);
  const scratch = staging + rest + MARGIN;
  const apart = rowsApartOf(linear);
  const step = Math.max(1, Math.floor(rest / (rowBytes + scaleBytes) / apart)) * apart;
  for (let first = 0; first < rows; first += step) {
    const end = Math.min(rows, first + step);
    const scales = staging + (end - first) * rowBytes + MARGIN;
    const [from, to] = [start + first, start + end];
    yield { part: 0, start: from * rowBytes, end: to * rowBytes, offset: staging };
    if (scaleBytes > 0) yield { part: 1, start: from * scaleBytes, end: to * scaleBytes, offset: scales };
    storeRows(kernels, memory, linear, first, end - first, staging, scales, scratch);
  }
}

interface Page {
  readonly loads: readonly Load[];
  /** What is read for it. */
  readonly spans: readonly Span[];
}

function spansOf(load: Load): Span[] {
  if (!('first' in load)) return [];
  const { linear, first } = load;
  const widths = [linear.rowBytes, linear.type === 'codes' ? linear.scaleBytes : 0];
  return loadedTensors(load).map((tensor, part) => {
    const start = first * widths[part];
    return { tensor, start, end: start + linear.rows * widths[part] };
  });
}
