// The exact choice under a budget: a dynamic programme over the tensors near the break of the linear relaxation.
//
// Taking hull steps from the steepest on until one does not fit (slope λ) gives choices that are optimal for their bits; the
// optimum differs from them in few tensors. A state is what has been changed so far: bits and loss against those choices.
// Tensors come in by how close their own next steps are to λ, those still to come have slopes of at most `up` and at least
// `down`, and so every completion of a state with t bits free costs at least loss − up · t (down, where t < 0). A state that can
// beat neither the best complete one nor its bits goes, and so does one that has no less loss than another with no more bits.
// What is left when no state is left is the optimum.

import { type Item, type Problem, slopeOf } from './hull.ts';

/** One choice for each tensor. */
export interface Allocation {
  /** Indices into each tensor's choices. */
  readonly choices: readonly number[];
  /** Σ bits; never above the budget. */
  readonly bits: number;
  /** Σ losses, summed in the order of the tensors. */
  readonly loss: number;
  /** No choice under this budget has a loss below `loss − gap`, but for the rounding to units. 0: this is the optimum. */
  readonly gap: number;
}

/** Most states kept, and most worked on in all, before the search gives up the proof: instances built to be hard exist. */
export interface Limits {
  readonly states: number;
  readonly work: number;
}
const LIMITS: Limits = { states: 1 << 16, work: 1 << 23 };

/**
 * The choice of the least loss, and of these the one of the fewest bits.
 * @param budget bits
 * @throws {RangeError} when no choice is that small
 */
export function solve(problem: Problem, budget: number, limits: Limits = LIMITS): Allocation {
  const { items, steps, least, lattice } = problem;
  if (!(budget >= least)) throw new RangeError(`budget must be at least ${least} bits: got ${budget}`);
  const chosen = new Int32Array(items.length); // positions in hulls
  let free = Math.floor((Math.min(budget, Number.MAX_SAFE_INTEGER) - least) / lattice) * lattice;
  let slope = 0;
  for (const step of steps) {
    const { bits, hull } = items[step.item]!;
    const more = bits[hull[step.to]!]! - bits[hull[step.to - 1]!]!;
    if (more > free) {
      slope = step.slope;
      break;
    }
    free -= more;
    chosen[step.item] = step.to;
  }
  const positions = items.map(({ hull }, i) => hull[chosen[i]!]!);
  const gap = slope === 0 ? 0 : improve(problem, chosen, positions, free, slope, limits);
  return allocationOf(problem, positions, gap);
}

function allocationOf({ tensors, items, unit }: Problem, positions: readonly number[], gap: number): Allocation {
  const choices = positions.map((at, i) => items[i]!.index[at]!);
  let [bits, loss] = [0, 0];
  for (const [i, j] of choices.entries()) {
    bits += tensors[i]!.bits[j]!;
    loss += tensors[i]!.losses[j]!;
  }
  return { choices, bits, loss, gap: gap * unit };
}

// States: `bits` rise, `losses` fall; `nodes` lead to the changes.
interface States {
  count: number;
  bits: Float64Array;
  losses: Float64Array;
  nodes: Int32Array;
}

const statesOf = (size: number): States => ({
  count: 0,
  bits: new Float64Array(size),
  losses: new Float64Array(size),
  nodes: new Int32Array(size),
});

// Searches around `positions`, and moves them to the best found. Returns how far, in units, the optimum can be below.
function improve(
  { items, lattice }: Problem,
  chosen: Int32Array,
  positions: number[],
  free: number,
  slope: number,
  limits: Limits,
): number {
  const next = nextItems(items, chosen);
  // Changes, as lists from the last to the first: node k is [node before, tensor, position].
  const changes: number[] = [-1, -1, -1];
  let best = { loss: 0, bits: 0, node: 0 };
  let dropped = Infinity; // least bound of the states that the limits took
  let work = 0;
  let states = statesOf(1);
  states.count = 1;

  while (states.count > 0) {
    const taken = next.take(slope);
    if (taken < 0) break;
    const { up, down } = next;
    const item = items[taken]!;
    const from = positions[taken]!;
    const boundOf = (loss: number, left: number) => (left < 0 ? loss - down * left : loss - up * left);
    // Losses are whole: better by half a unit is better by one. Equal loss counts only with fewer bits.
    const enough = () => best.loss + Math.max(-0.5, 0.5 - up * (free - best.bits + lattice));

    const moves = [{ to: from, bits: 0, loss: 0 }];
    for (let to = 0; to < item.bits.length; to++) {
      const [bits, loss] = [item.bits[to]! - item.bits[from]!, item.losses[to]! - item.losses[from]!];
      const hope = loss + slope * (bits - free);
      if (to !== from && hope <= best.loss + 1) moves.push({ to, bits, loss });
    }

    // The moved states of each move are in order already: they are merged, the fewest bits first.
    const merged = statesOf(states.count * moves.length);
    const at = new Int32Array(moves.length);
    let lowest = Infinity;
    for (;;) {
      let [first, bits, loss] = [-1, Infinity, Infinity];
      for (let m = 0; m < moves.length; m++) {
        const s = at[m]!;
        if (s === states.count) continue;
        const moved = states.bits[s]! + moves[m]!.bits;
        if (moved > bits) continue;
        const own = states.losses[s]! + moves[m]!.loss;
        if (moved < bits || own < loss) [first, bits, loss] = [m, moved, own];
      }
      if (first < 0) break;
      const s = at[first]!++;
      if (loss >= lowest) continue;
      lowest = loss;
      const left = free - bits;
      const isBest = left >= 0 && (loss < best.loss || (loss === best.loss && bits < best.bits));
      if (!isBest && boundOf(loss, left) > enough()) continue;
      let node = states.nodes[s]!;
      if (first > 0) {
        node = changes.length / 3;
        changes.push(states.nodes[s]!, taken, moves[first]!.to);
      }
      if (isBest) best = { loss, bits, node };
      const k = merged.count++;
      [merged.bits[k], merged.losses[k], merged.nodes[k]] = [bits, loss, node];
    }
    work += states.count * moves.length;
    const size = work > limits.work ? 0 : limits.states;
    dropped = Math.min(
      dropped,
      thin(merged, size, (k) => boundOf(merged.losses[k]!, free - merged.bits[k]!), enough()),
    );
    states = merged;
  }
  for (let node = best.node; node > 0; node = changes[3 * node]!)
    positions[changes[3 * node + 1]!] = changes[3 * node + 2]!;
  return Math.max(0, best.loss - dropped);
}

// Drops the states that the best complete one has overtaken and, beyond `size`, those of the highest bounds.
// Returns the least bound of the latter.
function thin(states: States, size: number, boundOf: (k: number) => number, enough: number): number {
  const bounds = Float64Array.from({ length: states.count }, (_, k) => boundOf(k));
  const open = bounds.filter((bound) => bound <= enough);
  const limit = open.length > size ? open.sort()[size]! : Infinity;
  let [count, room] = [0, size];
  for (let k = 0; k < states.count; k++) {
    if (bounds[k]! > enough || bounds[k]! >= limit || room-- <= 0) continue;
    states.bits[count] = states.bits[k]!;
    states.losses[count] = states.losses[k]!;
    states.nodes[count++] = states.nodes[k]!;
  }
  states.count = count;
  return limit;
}

// Hands out the items, the ones whose next hull steps are closest to a slope first.
function nextItems(items: readonly Item[], chosen: Int32Array) {
  const slopes = (direction: 1 | -1) =>
    items.flatMap((item, i) => {
      const [from, to] = [item.hull[chosen[i]!]!, item.hull[chosen[i]! + direction]];
      return to === undefined ? [] : [{ item: i, slope: slopeOf(item, from, to) }];
    });
  const ups = slopes(1).sort((a, b) => b.slope - a.slope);
  const downs = slopes(-1).sort((a, b) => a.slope - b.slope);
  const isTaken = new Uint8Array(items.length);
  let [u, d] = [0, 0];
  const next = {
    /** Steepest step up and flattest step down of the items that are left. */
    up: ups[0]?.slope ?? 0,
    down: downs[0]?.slope ?? Infinity,
    /** @returns an item, or −1 if none is left */
    take(slope: number): number {
      const [up, down] = [ups[u], downs[d]];
      const isUp = up !== undefined && (down === undefined || up.slope * down.slope >= slope * slope);
      const item = (isUp ? up : down)?.item;
      if (item === undefined) return -1;
      isTaken[item] = 1;
      while (u < ups.length && isTaken[ups[u]!.item]) u++;
      while (d < downs.length && isTaken[downs[d]!.item]) d++;
      next.up = ups[u]?.slope ?? 0;
      next.down = downs[d]?.slope ?? Infinity;
      return item;
    },
  };
  return next;
}
