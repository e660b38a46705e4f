// From tensors, sensitivities and a budget of bits to a plan: the least Σ α · mse(grid) that the bits allow.

import { integer, list, needed, object, text } from '../check.ts';
import { excerpt } from '../excerpt.ts';
import { type Grid, givenGrid, isTrellis } from '../grids/grid.ts';
import { TRELLIS_COLS } from '../grids/trellis.ts';
import { quantizedBytes, type Scheme } from '../quantize/scheme.ts';
import { matrixShape, stackOf } from '../quantize/select.ts';
import { type Alphas, matrixShapeOf, TENSORS_LIMIT } from './alphas.ts';
import { type Choices, type Problem, prepareProblem } from './hull.ts';
import type { BitPlan } from './plan.ts';
import { type Allocation, QUICK, solve } from './search.ts';

/** A tensor that wants a grid. */
export interface PlanTensor {
  /** As the checkpoint has it: `….weight`. */
  readonly name: string;
  /** Two or three sizes; the last one is cols. */
  readonly shape: readonly number[];
  /** Size as it is, in bytes: grids that would not make it smaller are left out. */
  readonly bytes?: number;
  /** The grid that it must have. */
  readonly keep?: Grid;
  /** The tensor whose sensitivity it has if none is known of its own: of a layer behind the last, the like one of the last. */
  readonly like?: string;
}

/** Most weights of a plan: sums of their bits stay exact. */
const WEIGHTS_LIMIT = 2 ** 47;

/** Tensors as a caller gives them. */
export const givenTensors = list(
  object<PlanTensor>('an object', {
    name: needed(text),
    shape: needed(matrixShapeOf),
    bytes: integer(0),
    keep: givenGrid,
    like: text,
  }),
  TENSORS_LIMIT,
);

/** What the grids are chosen from, and how bits are counted. */
export interface Offer {
  /** Grids to choose from. */
  readonly grids: readonly Grid[];
  /** Columns that share a scale. */
  readonly groupSize: number;
  /** Seed of the random signs; null for none. */
  readonly seed: number | null;
  /** Count scales as bits. */
  readonly scales: boolean;
  /** Least and most bits of a code per weight, for the tensors whose grid is free. */
  readonly minBits: number;
  /** Most bits of a code per weight, for the tensors whose grid is free. */
  readonly maxBits: number;
  /** Whether experts of a layer and kind have a grid each, or one together. */
  readonly experts: 'each' | 'stack' | undefined;
}

/** A point of the trade-off: bits per weight against predicted loss. */
export interface TradeoffPoint {
  /** Bits per weight over all tensors. */
  readonly bpw: number;
  /** Σ α · mse: the predicted increase of the loss. */
  readonly predicted: number;
}

/** What every budget buys. */
export interface Tradeoff {
  /** Lower convex hull: no plan lies below the line through these points. */
  readonly hull: readonly TradeoffPoint[];
  /** Plans at multiples of a quarter of a bit: the best, or, of thousands of tensors alike, very nearly so. */
  readonly exact: readonly TradeoffPoint[];
  /** The same grid for every tensor whose grid is free. */
  readonly uniform: readonly (TradeoffPoint & { readonly grid: string })[];
}

// Tensors that have one grid together: one, or a stack of experts.
interface Planned {
  members: readonly { readonly tensor: PlanTensor; readonly alpha: number | null }[];
  grids: readonly Grid[];
  choices: Choices;
}

/** Tensors with their choices, and what they come to. */
export interface Ready {
  /** The tensors, with the grids that each may have. */
  readonly planned: readonly Planned[];
  /** What is solved. */
  readonly problem: Problem;
  /** Weights of all tensors. */
  readonly weights: number;
}

/**
 * The choices of every tensor; one that no grid makes smaller is left out.
 * @throws {RangeError} when a tensor has no sensitivity, or one of another shape, or no grid is within the limits
 */
export function offer(tensors: readonly PlanTensor[], alphas: Alphas, options: Offer): Ready {
  const { minBits, maxBits } = options;
  const free = options.grids.filter(({ bits, p }) => bits / p >= minBits && bits / p <= maxBits);
  if (free.length === 0)
    throw new RangeError(`one of the grids must have bits from minBits, ${minBits}, to maxBits, ${maxBits}: none has`);
  const stack = options.experts === 'each' ? tensors.find(({ shape }) => shape.length === 3) : undefined;
  if (stack) {
    throw new RangeError(
      `experts must be separate tensors to have grids of their own: ${excerpt(stack.name)} is one tensor; leave experts out, or give stack`,
    );
  }
  const all = tensors.reduce((sum, tensor) => sum + countOf(tensor), 0);
  if (all > WEIGHTS_LIMIT) throw new RangeError(`weights of a plan must be at most ${WEIGHTS_LIMIT}: got ${all}`);
  const planned: Planned[] = [];
  for (const together of options.experts === 'stack' ? stacksOf(tensors) : tensors.map((tensor) => [tensor])) {
    const { name, shape, keep } = together[0];
    const bytes = together.reduce((least, tensor) => Math.min(least, tensor.bytes ?? Infinity), Infinity);
    const grids = (keep ? [keep] : suited(free, shape)).filter(
      (grid) => storedBits(together[0], grid, options, true) / 8 < bytes,
    );
    if (grids.length === 0) {
      if (keep) throw new RangeError(`grid of ${excerpt(name)} must make it smaller: ${keep.name} does not`);
      continue;
    }
    const members = together.map((tensor) => ({ tensor, alpha: alphaOf(alphas, tensor) }));
    const unknown = members.find(({ alpha }) => alpha === null);
    if (unknown && !keep) {
      throw new RangeError(
        `tensors whose grid is free must have a sensitivity: ${excerpt(unknown.tensor.name)} has none; exclude it or give its grid`,
      );
    }
    const sum = members.reduce((total, { alpha }) => total + (alpha ?? 0), 0);
    const choices = {
      bits: grids.map((grid) => members.length * storedBits(together[0], grid, options, options.scales)),
      losses: grids.map(({ mse }) => sum * mse),
    };
    planned.push({ members, grids, choices });
  }
  const problem = prepareProblem(planned.map(({ choices }) => choices));
  return { planned, problem, weights: planned.reduce((total, item) => total + weightsOf(item), 0) };
}

// The experts of each layer and kind together, which must be alike in shape and in what is given of them.
function stacksOf(tensors: readonly PlanTensor[]): PlanTensor[][] {
  const stacks = new Map<string, PlanTensor[]>();
  for (const tensor of tensors) {
    const key = `${stackOf(tensor.name)} ${tensor.shape} ${tensor.keep?.name}`;
    const stack = stacks.get(key);
    if (stack) stack.push(tensor);
    else stacks.set(key, [tensor]);
  }
  return [...stacks.values()];
}

/** The bits of a budget. @param budget bits per weight @throws {RangeError} when no plan is that small */
export function budgetBits({ problem, weights }: Ready, budget: number): number {
  const least = problem.least / Math.max(1, weights);
  const bits = bitsOf(budget, weights);
  if (bits >= problem.least) return bits;
  throw new RangeError(
    `bits per weight must be at least ${Math.ceil(least * 1e4) / 1e4}, those of the smallest plan: got ${budget}`,
  );
}

/** The best plan. @param budget bits per weight @throws {RangeError} when no plan is that small */
export function planOf(ready: Ready, alphas: Alphas, options: Offer, budget: number): BitPlan {
  const { planned, problem, weights } = ready;
  const bits = budgetBits(ready, budget);
  const allocation = solve(problem, bits);
  const uniform = uniformPoints(planned, options, weights)
    .filter((point) => point.bits <= bits)
    .reduce<UniformPoint | null>((best, point) => (best && !isBetter(point, best) ? best : point), null);
  return {
    estimator: alphas.estimator,
    loss: alphas.loss,
    base: alphas.base,
    budget,
    scales: options.scales,
    bpw: weights === 0 ? 0 : allocation.bits / weights,
    predicted: allocation.loss,
    gap: allocation.gap,
    uniform: uniform && { grid: uniform.grid, bpw: uniform.bpw, predicted: uniform.predicted },
    tensors: planned.flatMap((item, i) => {
      const j = allocation.choices[i];
      const { name: grid, mse } = item.grids[j];
      const bpw = item.choices.bits[j] / weightsOf(item);
      const { groupSize, seed } = options;
      return item.members.map(({ tensor: { name, shape }, alpha }) => ({
        ...{ name, shape, grid, groupSize, seed, bpw, alpha },
        predicted: alpha === null ? null : alpha * mse,
      }));
    }),
  };
}

/** The trade-off curve. */
export function tradeoffOf({ planned, problem, weights }: Ready, options: Offer): Tradeoff {
  if (weights === 0) return { hull: [], exact: [], uniform: [] };
  const point = ({ bits, loss }: Allocation | { bits: number; loss: number }): TradeoffPoint => ({
    bpw: bits / weights,
    predicted: loss,
  });
  let { bits, loss } = solve(problem, problem.least);
  const hull = [point({ bits, loss })];
  for (const { item, to } of problem.steps) {
    const { index, hull: corners } = problem.items[item];
    const { choices } = planned[item];
    const [before, after] = [index[corners[to - 1]], index[corners[to]]];
    bits += choices.bits[after] - choices.bits[before];
    loss += choices.losses[after] - choices.losses[before];
    hull.push(point({ bits, loss }));
  }
  const exact: TradeoffPoint[] = [];
  for (let quarter = Math.ceil((4 * problem.least) / weights); bitsOf(quarter / 4, weights) < problem.most; quarter++) {
    exact.push(point(solve(problem, bitsOf(quarter / 4, weights), QUICK)));
  }
  exact.push(point(solve(problem, problem.most)));
  const uniform = uniformPoints(planned, options, weights).map(({ grid, bpw, predicted }) => ({
    grid,
    bpw,
    predicted,
  }));
  return { hull, exact, uniform };
}

interface UniformPoint {
  grid: string;
  bits: number;
  bpw: number;
  predicted: number;
}

// Every grid that all tensors can have whose grid is free.
function uniformPoints(planned: readonly Planned[], options: Offer, weights: number): UniformPoint[] {
  return options.grids.flatMap((grid) => {
    let [bits, predicted] = [0, 0];
    for (const { members, grids, choices } of planned) {
      const j = members[0].tensor.keep ? 0 : grids.indexOf(grid);
      if (j < 0) return [];
      bits += choices.bits[j];
      predicted += choices.losses[j];
    }
    return [{ grid: grid.name, bits, bpw: bits / weights, predicted }];
  });
}

function isBetter(a: UniformPoint, b: UniformPoint): boolean {
  return a.predicted < b.predicted || (a.predicted === b.predicted && a.bits < b.bits);
}

// The most whole bits that are no more than the budget per weight.
function bitsOf(bpw: number, weights: number): number {
  let bits = Math.round(Math.min(bpw * weights, Number.MAX_SAFE_INTEGER));
  while (bits / weights > bpw) bits--;
  return bits;
}

// Grids whose MSE is what a tensor will err by: no trellises where rows are too short for them, if there is a choice.
function suited(grids: readonly Grid[], shape: readonly number[]): readonly Grid[] {
  if (matrixShape(shape).cols >= TRELLIS_COLS) return grids;
  const points = grids.filter((grid) => !isTrellis(grid));
  return points.length > 0 ? points : grids;
}

function storedBits({ shape }: PlanTensor, grid: Grid, { groupSize, seed }: Offer, scales: boolean): number {
  const { rows, cols } = matrixShape(shape);
  const bytes = quantizedBytes(rows, cols, { grid, groupSize, seed } satisfies Scheme);
  return (bytes.packed + (scales ? bytes.scales : 0)) * 8;
}

function weightsOf({ members }: Planned): number {
  return members.reduce((sum, { tensor }) => sum + countOf(tensor), 0);
}

function countOf({ shape }: PlanTensor): number {
  return shape.reduce((product, size) => product * size, 1);
}

// An estimate below zero is noise: no tensor gains by an error.
function alphaOf({ tensors }: Alphas, { name, shape, like = name }: PlanTensor): number | null {
  const sensitivity = tensors.get(name) ?? tensors.get(like);
  if (!sensitivity) return null;
  if (sensitivity.shape && String(sensitivity.shape) !== String(shape)) {
    throw new RangeError(
      `sensitivity of ${excerpt(name)} must be of a tensor [${shape.join(', ')}]: it is of [${sensitivity.shape.join(', ')}]`,
    );
  }
  return Math.max(0, sensitivity.alpha);
}
