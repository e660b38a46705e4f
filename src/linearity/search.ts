// The exact choice under a budget: a dynamic programme over the tensors near the break of the linear relaxation.
//
// Taking hull steps from the steepest on until one does not fit (slope λ) gives choices that are optimal for their bits; the
// optimum differs from them in few tensors. A state is what has been changed so far: bits and loss against those choices.
// Tensors come in by how close their own next steps are to λ, those still to come have slopes of at most `up` and at least
// `down`, and so every completion of a state with t bits free costs at least loss − up · t (down, where t < 0). A state that can
// beat neither the best complete one nor its bits goes, and so does one that has no less loss than another with no more bits.
// When no state is left, the best complete one is the optimum. Tensors that are alike, experts under a prior for one, come in together,
// by the number of them that change. A narrow search goes first: its answer cuts the full one short.
//
// The loss exceeds the least by at most N · 2⁻⁴⁸ + 2⁻³⁸ of the worst plan's (N tensors), plus `gap`: 0 unless the limits were reached.

import { type Item, type Problem, RESOLUTION, slopeOf } from './hull.ts';

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
interface Limits {
  readonly states: number;
  readonly work: number;
}
const SEARCH_LIMITS: Limits = { states: 1 << 15, work: 1 << 23 };
/** For one of many solutions, such as the points of a curve. */
export const QUICK: Limits = { states: 1 << 13, work: 1 << 20 };

/**
 * The choice of the least loss, and of these the one of the fewest bits.
 * @param budget bits
 * @throws {RangeError} when no choice is that small
 */
export function solve(problem: Problem, budget: number, limits: Limits = SEARCH_LIMITS): Allocation {
  const { items, steps, least, lattice } = problem;
  if (!(budget >= least)) throw new RangeError(`budget must be at least ${least} bits: got ${budget}`);
  const chosen = new Int32Array(items.length); // positions in hulls
  let free = Math.floor((Math.min(budget, Number.MAX_SAFE_INTEGER) - least) / lattice) * lattice;
  let slope = 0;
  for (const step of steps) {
    const { bits, hull } = items[step.item];
    const more = bits[hull[step.to]] - bits[hull[step.to - 1]];
    if (more > free) {
      slope = step.slope;
      break;
    }
    free -= more;
    chosen[step.item] = step.to;
  }
  const positions = items.map(({ hull }, i) => hull[chosen[i]]);
  const gap = slope === 0 ? 0 : improve(problem, chosen, positions, free, slope, limits);
  return allocationOf(problem, positions, gap);
}

function allocationOf({ tensors, items, unit }: Problem, positions: readonly number[], gap: number): Allocation {
  const choices = positions.map((position, i) => items[i].index[position]);
  let [bits, loss] = [0, 0];
  for (const [i, j] of choices.entries()) {
    bits += tensors[i].bits[j];
    loss += tensors[i].losses[j];
  }
  return { choices, bits, loss, gap: gap * unit };
}

/** Twins that the narrow search moves. */
const FEW_TWINS = 8;

// States: `bits` rise, `losses` fall; `nodes` lead to the changes; `isFresh` where the last change was of the twin before.
interface States {
  count: number;
  bits: Float64Array;
  losses: Float64Array;
  nodes: Int32Array;
  isFresh: Uint8Array;
}

const statesOf = (size: number): States => ({
  count: 0,
  bits: new Float64Array(size),
  losses: new Float64Array(size),
  nodes: new Int32Array(size),
  isFresh: new Uint8Array(size),
});

function push(states: States, bits: number, loss: number, node: number, isFresh: number): void {
  const k = states.count++;
  states.bits[k] = bits;
  states.losses[k] = loss;
  states.nodes[k] = node;
  states.isFresh[k] = isFresh;
}

// Searches around `positions`, and moves them to the best found. Returns how far, in units, the optimum can be below.
function improve(
  { items, lattice }: Problem,
  chosen: Int32Array,
  positions: number[],
  free: number,
  slope: number,
  limits: Limits,
): number {
  // Changes, as lists from the last to the first: node k is [node before, tensor, position].
  const changes: number[] = [-1, -1, -1];
  let best = { loss: 0, bits: 0, node: 0 };
  let dropped = Infinity; // least bound of the states that the limits took
  const boundOf = (loss: number, bits: number, { up, down }: Slopes) =>
    bits > free ? loss + down * (bits - free) : loss - up * (free - bits);
  // Equal loss counts only with fewer bits.
  const enough = ({ up }: Slopes) => best.loss + Math.max(-RESOLUTION, 0.5 - up * (free - best.bits + lattice));

  // First a narrow search: a good answer cuts the full one short.
  if (!search(FEW_TWINS, { states: Math.ceil(limits.states / 8), work: limits.work / 8 })) {
    dropped = Infinity;
    search(Infinity, limits);
  }
  for (let node = best.node; node > 0; node = changes[3 * node])
    positions[changes[3 * node + 1]] = changes[3 * node + 2];
  const gap = best.loss - dropped;
  return gap > RESOLUTION ? gap : 0;

  // Whether nothing was left out.
  function search(mostTwins: number, { states: most, work: mostWork }: Limits): boolean {
    let isWhole = true;
    let work = 0;
    let states = statesOf(1);
    push(states, 0, 0, 0, 1);
    for (const { twins, within, after } of inTurn(items, chosen, slope)) {
      if (states.count === 0) break;
      const moves = movesOf(items[twins[0]], positions[twins[0]]).filter(
        ({ bits, loss }) => loss + slope * (bits - free) <= best.loss + 1,
      );
      states.isFresh.fill(1);
      for (const [turn, tensor] of twins.entries()) {
        // A twin moves only on from what the twin before it moved to: the rest is there already.
        const fresh = freshOf(states);
        if (moves.length === 0 || fresh.count === 0) break;
        if (turn === mostTwins) {
          isWhole = false;
          break;
        }
        const merged = moved(states, fresh, moves, tensor, within);
        work += states.count + fresh.count * moves.length;
        dropped = Math.min(dropped, thin(merged, within, work > mostWork ? 0 : most));
        states = merged;
      }
      dropped = Math.min(dropped, thin(states, after, most));
    }
    return isWhole && dropped === Infinity;
  }

  // The states as they are and those of `fresh` after each move of a tensor, without those that another beats or the best rules out.
  function moved(states: States, fresh: States, moves: readonly Move[], tensor: number, within: Slopes): States {
    const merged = statesOf(states.count + fresh.count * moves.length);
    const heads = new Int32Array(moves.length + 1);
    let lowest = Infinity;
    for (;;) {
      // Of the states as they are and of those moved, both in order, the one of the fewest bits, then of the least loss.
      let [first, bits, loss] = [-1, Infinity, Infinity];
      if (heads[0] < states.count) [first, bits, loss] = [0, states.bits[heads[0]], states.losses[heads[0]]];
      for (let m = 1; m <= moves.length; m++) {
        const s = heads[m];
        if (s === fresh.count) continue;
        const sum = fresh.bits[s] + moves[m - 1].bits;
        if (sum > bits) continue;
        const sumLoss = fresh.losses[s] + moves[m - 1].loss;
        if (sum < bits || sumLoss < loss) [first, bits, loss] = [m, sum, sumLoss];
      }
      if (first < 0) break;
      const s = heads[first]++;
      if (loss >= lowest) continue;
      lowest = loss;
      const isBest = bits <= free && (loss < best.loss || (loss === best.loss && bits < best.bits));
      if (!isBest && boundOf(loss, bits, within) > enough(within)) continue;
      let node = first === 0 ? states.nodes[s] : fresh.nodes[s];
      if (first > 0) {
        changes.push(node, tensor, moves[first - 1].to);
        node = changes.length / 3 - 1;
      }
      if (isBest) best = { loss, bits, node };
      push(merged, bits, loss, node, first > 0 ? 1 : 0);
    }
    return merged;
  }

  // Drops the states that the best complete one has overtaken and, beyond `size`, those of the highest bounds.
  // Returns the least bound of the latter.
  function thin(states: States, slopes: Slopes, size: number): number {
    const most = enough(slopes);
    const bounds = Float64Array.from({ length: states.count }, (_, k) =>
      boundOf(states.losses[k], states.bits[k], slopes),
    );
    const open = bounds.filter((bound) => bound <= most);
    const limit = open.length > size ? open.sort()[size] : Infinity;
    const { count } = states;
    states.count = 0;
    for (let k = 0; k < count; k++) {
      if (bounds[k] > most || bounds[k] >= limit) continue;
      push(states, states.bits[k], states.losses[k], states.nodes[k], states.isFresh[k]);
    }
    return limit;
  }
}

// Another choice of a tensor, and what it changes.
interface Move {
  readonly to: number;
  readonly bits: number;
  readonly loss: number;
}

function movesOf({ bits, losses }: Item, from: number): Move[] {
  return [...bits.keys()]
    .filter((to) => to !== from)
    .map((to) => ({ to, bits: bits[to] - bits[from], loss: losses[to] - losses[from] }));
}

function freshOf(states: States): States {
  const fresh = statesOf(states.count);
  for (let k = 0; k < states.count; k++) {
    if (states.isFresh[k]) push(fresh, states.bits[k], states.losses[k], states.nodes[k], 1);
  }
  return fresh;
}

/** Steepest step up and flattest step down. */
interface Slopes {
  readonly up: number;
  readonly down: number;
}

// The items, twins with the same choice together, those whose next hull steps are closest to `slope` first; with the slopes of what
// is still to come before and after them.
function* inTurn(items: readonly Item[], chosen: Int32Array, slope: number) {
  const groups = new Map<string, { twins: number[]; slopes: Slopes; isTaken: boolean }>();
  for (const [i, item] of items.entries()) {
    const key = `${item.twin} ${chosen[i]}`;
    const group = groups.get(key);
    if (group) {
      group.twins.push(i);
      continue;
    }
    const [below, here, above] = [-1, 0, 1].map((step) => item.hull[chosen[i] + step]);
    const slopes = {
      up: above === undefined ? 0 : slopeOf(item, here, above),
      down: below === undefined ? Infinity : slopeOf(item, below, here),
    };
    groups.set(key, { twins: [i], slopes, isTaken: false });
  }
  const ups = [...groups.values()].sort((a, b) => b.slopes.up - a.slopes.up);
  const downs = [...groups.values()].sort((a, b) =>
    a.slopes.down === b.slopes.down ? 0 : a.slopes.down - b.slopes.down,
  );
  for (let [u, d] = [0, 0]; u < ups.length; ) {
    const within = { up: ups[u].slopes.up, down: downs[d].slopes.down };
    const taken = within.up * within.down >= slope * slope ? ups[u] : downs[d];
    taken.isTaken = true;
    while (ups[u]?.isTaken) u++;
    while (downs[d]?.isTaken) d++;
    const after = { up: ups[u]?.slopes.up ?? 0, down: downs[d]?.slopes.down ?? Infinity };
    yield { twins: taken.twins, within, after };
  }
}
