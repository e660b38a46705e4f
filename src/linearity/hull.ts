// The problem of choosing one grid for each tensor (a multiple-choice knapsack), made ready: choices that no budget wants
// left out, losses in whole units so that every sum is exact, and the steps of each tensor's lower convex hull. As sums are exact,
// their order does not matter, equal losses are equal, and every runtime finds the same plan.

/** What a tensor may become: bits and predicted loss of each of its choices. */
export interface Choices {
  /** Size of the tensor by each choice, (choices), whole numbers. */
  readonly bits: readonly number[];
  /** Predicted loss by each choice, (choices), finite, not negative. */
  readonly losses: readonly number[];
}

/** A tensor's choices that are worth their bits: bits rise, losses fall. */
export interface Item {
  /** The index that the caller knows a choice by. */
  readonly index: readonly number[];
  /** Bits of each choice, ascending. */
  readonly bits: readonly number[];
  /** Loss of each choice, descending, in units. */
  readonly losses: readonly number[];
  /** Positions of the choices on the lower convex hull, from the first to the last. */
  readonly hull: readonly number[];
  /** The first item with the same bits and losses: experts may be alike by the thousand. */
  readonly twin: number;
}

/** From one choice on a tensor's hull to the next: loss saved a bit. */
interface HullStep {
  /** The tensor that it belongs to. */
  readonly item: number;
  /** Position in the item's hull of the choice that it leads to. */
  readonly to: number;
  /** Loss that it saves a bit. */
  readonly slope: number;
}

/** What is solved: each tensor's choices, and the order in which bits buy the most. */
export interface Problem {
  /** The choices of each tensor, as they were given. */
  readonly tensors: readonly Choices[];
  /** The same, without choices that are not worth their bits. */
  readonly items: readonly Item[];
  /** Of all tensors, the steepest first. */
  readonly steps: readonly HullStep[];
  /** Bits of the smallest choices, and of the least loss that can be had. */
  readonly least: number;
  /** Bits of the least loss that can be had. */
  readonly most: number;
  /** Totals of bits differ from `least` by multiples of this. */
  readonly lattice: number;
  /** Value of a unit of loss: a power of two. */
  readonly unit: number;
}

/**
 * Losses are whole units, and those of the worst choices together at most this many. Sums are exact then, and what a bound
 * loses in f64, a few parts in 2⁵³ of it, stays below half a unit (search.ts).
 */
const UNITS = 2 ** 48;
/** Losses of plans that are closer than this, in units, count as equal: 4 · 10⁻¹² of the loss of the worst plan. */
export const RESOLUTION = 2 ** 10;

/**
 * Prepares a problem, to be solved for any number of budgets.
 * @throws {RangeError} when a tensor has no choice, a number is out of range, or losses have no finite sum
 */
export function prepareProblem(tensors: readonly Choices[]): Problem {
  let worst = 0;
  for (const [i, { bits, losses }] of tensors.entries()) {
    if (bits.length === 0) throw new RangeError(`every tensor must have a choice: tensor ${i} has none`);
    for (const [j, loss] of losses.entries()) {
      if (!(loss >= 0 && loss < Infinity)) throw new RangeError(`losses must be finite and not negative: got ${loss}`);
      if (!Number.isSafeInteger(bits[j])) throw new RangeError(`bits must be whole numbers: got ${bits[j]}`);
    }
    worst += losses.reduce((most, loss) => Math.max(most, loss));
  }
  if (worst === Infinity)
    throw new RangeError(`sensitivities must be small enough to be summed: their losses exceed ${Number.MAX_VALUE}`);
  const unit = unitOf(worst);
  const twins = new Map<string, number>();
  const items = tensors.map((choices, i): Item => {
    const item = itemOf(choices, unit);
    const key = `${item.bits} ${item.losses}`;
    if (!twins.has(key)) twins.set(key, i);
    return { ...item, twin: twins.get(key)! };
  });
  const steps = items.flatMap((item, i) =>
    item.hull
      .slice(1)
      .map((_, k): HullStep => ({ item: i, to: k + 1, slope: slopeOf(item, item.hull[k], item.hull[k + 1]) })),
  );
  steps.sort((a, b) => b.slope - a.slope);
  let [least, most, lattice] = [0, 0, 0];
  for (const { bits } of items) {
    least += bits[0];
    most += bits.at(-1)!;
    for (const size of bits) lattice = divisor(lattice, size - bits[0]);
  }
  return { tensors, items, steps, least, most, lattice: Math.max(1, lattice), unit };
}

/** Loss saved a bit between two choices of an item. */
export function slopeOf({ bits, losses }: Pick<Item, 'bits' | 'losses'>, from: number, to: number): number {
  return (losses[from] - losses[to]) / (bits[to] - bits[from]);
}

// The power of two that makes `worst` at most UNITS units. By steps: Math.log2 may differ between engines.
function unitOf(worst: number): number {
  let unit = 1;
  while (worst > UNITS * unit) unit *= 2;
  while (unit > 2 ** -900 && worst <= UNITS * (unit / 2)) unit /= 2;
  return unit;
}

function itemOf({ bits, losses }: Choices, unit: number): Omit<Item, 'twin'> {
  const units = losses.map((loss) => Math.round(loss / unit));
  const order = [...bits.keys()].sort((a, b) => bits[a] - bits[b] || units[a] - units[b] || a - b);
  const index: number[] = [];
  for (const j of order) if (index.length === 0 || units[j] < units[index.at(-1)!]) index.push(j);
  const item = { index, bits: index.map((j) => bits[j]), losses: index.map((j) => units[j]), hull: [0] };
  for (let next = 1; next < index.length; next++) {
    // A slope that does not fall would put its choice above the line between its neighbours.
    while (item.hull.length > 1) {
      const [before, last] = item.hull.slice(-2) as [number, number];
      if (slopeOf(item, last, next) < slopeOf(item, before, last)) break;
      item.hull.pop();
    }
    item.hull.push(next);
  }
  return item;
}

function divisor(a: number, b: number): number {
  while (b > 0) [a, b] = [b, a % b];
  return a;
}
