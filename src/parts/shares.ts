// Parts of a plan, for machines that share the work. Tensors go to parts whole, the costliest first, each to the part that has least to do so far
// (Graham's LPT rule: no part has more than 4/3 of what the best division has). Ties go to the lower index: every machine
// finds the same shares, and asks no other.

import { integer, needed, object, type Reader, text } from '../check.ts';
import type { Grid } from '../grids/grid.ts';
import { type LayoutOptions, layOut, type Plan, type PlanItem } from '../quantize/plan.ts';
import { itemSeconds } from './rates.ts';

/** Most parts of a run: twice the array that large clusters allow by default. */
export const PARTS_LIMIT = 4096;

/** Which part of how many. */
export interface Part {
  /** From 1 to `count`. */
  readonly index: number;
  /** How many parts there are. */
  readonly count: number;
  /** Tells the input's weights from others with the same headers: parts of several inputs are not merged. */
  readonly input?: string;
  /** A text for whoever merges: `mergeParts` gives it back. */
  readonly about?: string;
}

const given = object<Part>('a part', {
  index: needed(integer(1, PARTS_LIMIT)),
  count: needed(integer(1, PARTS_LIMIT)),
  input: text,
  about: text,
});

/** A part as a caller gives it. @throws {RangeError} when there are fewer */
export const givenPart: Reader<Part> = (subject, value) => {
  const part = given(subject, value);
  if (part.index <= part.count) return part;
  throw new RangeError(`index of ${subject} must be at most its count ${part.count}: got ${part.index}`);
};

/** What a part does. */
export interface Share {
  /** Tensors of the input, in the order of the plan. */
  readonly items: readonly PlanItem[];
  /** What one core is predicted to take. */
  readonly seconds: number;
}

/** Divides a plan. @returns `count` shares; some are empty where there are fewer tensors */
export function sharesOf(plan: Plan, count: number, scaleSearch = false): Share[] {
  const costs = plan.items.flatMap((item, order) =>
    item.kind === 'grid' ? [] : [{ item, order, seconds: itemSeconds(item, scaleSearch) }],
  );
  const shares = Array.from({ length: count }, () => ({ own: [] as typeof costs, seconds: 0 }));
  for (const cost of [...costs].sort((a, b) => b.seconds - a.seconds || a.order - b.order)) {
    const least = shares.reduce((best, share) => (share.seconds < best.seconds ? share : best));
    least.own.push(cost);
    least.seconds += cost.seconds;
  }
  return shares.map(({ own, seconds }) => {
    return { items: own.sort((a, b) => a.order - b.order).map(({ item }) => item), seconds };
  });
}

/** The plan of one part: its tensors, in files of its own that are a quantized checkpoint, with the grids that they need. */
export function planPart(plan: Plan, { index, count }: Part, options: LayoutOptions, scaleSearch: boolean): Plan {
  const partItems = sharesOf(plan, count, scaleSearch)[index - 1].items;
  const used = new Set<Grid>(
    partItems.flatMap((item) => (item.kind === 'quantize' ? [item.quantized.scheme.grid] : [])),
  );
  const items = [...plan.items.filter((item) => item.kind === 'grid' && used.has(item.grid)), ...partItems];
  const shards = layOut(items, {}, options);
  let [bytesIn, weights] = [0, 0];
  for (const item of partItems) {
    bytesIn += inputBytes(item);
    if (item.kind === 'quantize') weights += item.quantized.rows * item.quantized.cols;
  }
  return { items, shards, bytesIn, bytesOut: shards.reduce((sum, { byteLength }) => sum + byteLength, 0), weights };
}

/** Bytes of the input that an item is made of. */
export function inputBytes(item: PlanItem): number {
  if (item.kind === 'grid') return 0;
  const factors = item.kind === 'quantize' ? (item.tensor.factors?.byteLength ?? 0) : 0;
  return (item.tensor.encoded ?? item.tensor).byteLength + factors;
}
