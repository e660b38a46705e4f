// A plan of bits: the grid of every tensor, and what the theorem predicts of it. As a file: FORMAT.md, "Plans".

import {
  finite,
  flag,
  list,
  mapOf,
  member,
  needed,
  nullable,
  number,
  object,
  type Reader,
  refuseValue,
  type Schema,
  text,
  textOrBytes,
} from '../check.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { FormatError } from '../errors.ts';
import { type Grid, gridOrName } from '../grids/grid.ts';
import { isGridName, NAME_RULE } from '../grids/name.ts';
import { groupSizeOf, type Scheme, seedOf } from '../quantize/scheme.ts';
import { type Alpha, type Alphas, bareAlpha, type LossKind, lossOf, matrixShapeOf, TENSORS_LIMIT } from './alphas.ts';
import { fromFile, parseFile, takeTensors, takeVersion, writeLines } from './json.ts';

const PLAN_VERSION = 1;

/** What becomes of one tensor. */
export interface BitPlanTensor {
  /** As the checkpoint has it: `….weight`. */
  readonly name: string;
  /** Two or three sizes; the last one is cols. */
  readonly shape: readonly number[];
  /** The name of the grid, such as `t4`. */
  readonly grid: string;
  /** Columns that share a scale. */
  readonly groupSize: number;
  /** Seed of the random signs; null for none. */
  readonly seed: number | null;
  /** Bits per weight, counted as the plan's are. */
  readonly bpw: number;
  /** Loss per unit of t², 0 where the estimate is below; null if it is not known, for a tensor whose grid was given. */
  readonly alpha: number | null;
  /** α · mse of the grid; null where α is. */
  readonly predicted: number | null;
}

/** The grid of every tensor. */
export interface BitPlan {
  /** Where the sensitivities are from: `noise`, `fisher`, `prior`, `uniform`, or words. */
  readonly estimator: string;
  /** What the predicted loss counts: KL divergence in nats, perplexity, or relative error. */
  readonly loss: LossKind;
  /** Loss of the model as it is, where it is known. */
  readonly base: number | null;
  /** Bits per weight that were allowed. */
  readonly budget: number;
  /** Whether scales count as bits. */
  readonly scales: boolean;
  /** Bits per weight over all tensors of the plan; at most `budget`. */
  readonly bpw: number;
  /** Σ α · mse: the increase of the loss. */
  readonly predicted: number;
  /** How far below `predicted` another plan could be; 0 where this one is proven to be the best. */
  readonly gap: number;
  /** The best single grid for all tensors whose grid was free, within the same budget; null if none is that small. */
  readonly uniform: { readonly grid: string; readonly bpw: number; readonly predicted: number } | null;
  /** In the order of the checkpoint. */
  readonly tensors: readonly BitPlanTensor[];
}

const gridName: Reader<string> = (subject, value) => {
  const name = text(subject, value);
  return isGridName(name) ? name : refuseValue(subject, NAME_RULE, name);
};
const tensorMembers: Schema<Omit<BitPlanTensor, 'name'>> = {
  shape: needed(matrixShapeOf),
  grid: needed(gridName),
  groupSize: needed(groupSizeOf),
  seed: needed(nullable(seedOf)),
  bpw: needed(number(0)),
  alpha: needed(nullable(number(0))),
  predicted: needed(nullable(number(0))),
};
const tensorOf = object<Omit<BitPlanTensor, 'name'>>('an object', tensorMembers);
const uniformOf = object<NonNullable<BitPlan['uniform']>>('an object', {
  grid: needed(text),
  bpw: needed(number(0)),
  predicted: needed(number(0)),
});
const head: Schema<Omit<BitPlan, 'tensors'>> = {
  estimator: needed(text),
  loss: needed(lossOf),
  base: needed(nullable(finite)),
  budget: needed(number(0)),
  scales: needed(flag),
  bpw: needed(number(0)),
  predicted: needed(number(0)),
  gap: needed(number(0)),
  uniform: needed(nullable(uniformOf)),
};
const headOf = object('an object', head);

/** A plan as a caller gives it. */
export const givenPlan = object<BitPlan>('a plan, as allocate() gives', {
  ...head,
  tensors: needed(list(object<BitPlanTensor>('an object', { name: needed(text), ...tensorMembers }), TENSORS_LIMIT)),
});

const gridsByName = mapOf(gridOrName, TENSORS_LIMIT);

/** A plan, or grids by the names of tensors. */
export const planOrGrids: Reader<BitPlan | ReadonlyMap<string, string | Grid>> = (subject, value) => {
  const isPlan = typeof value === 'object' && value !== null && member(subject, value, 'tensors') !== undefined;
  return isPlan ? givenPlan(subject, value) : gridsByName(subject, value);
};

/**
 * Reads a file that `writeBitPlan` wrote.
 * @param content UTF-8 JSON
 * @param file its name, for messages
 * @throws {FormatError} when it is anything else; {UnsupportedError} for another version
 * @throws {TypeError} when an argument is of another kind
 * @example
 * const plan = readBitPlan(await readFile('plan.json'), 'plan.json');
 */
export function readBitPlan(content: string | Uint8Array, file: string): BitPlan {
  const root = parseFile(textOrBytes('content', content), text('file', file), 'plan');
  takeVersion(root, 'higgs.plan', PLAN_VERSION, 'plan must have its', file);
  const tensors = [...takeTensors(root, tensorOf, 'tensor', file)].map(([name, about]) => ({ name, ...about }));
  return { ...fromFile({ file }, headOf, 'plan', root), tensors };
}

/**
 * The file of a plan; the same plan gives the same bytes.
 * @throws {TypeError} when it is none @throws {RangeError} when a value is out of range
 * @example
 * await writeFile('plan.json', writeBitPlan(plan));
 */
export function writeBitPlan(plan: BitPlan): string {
  const given = givenPlan('plan', plan);
  const { estimator, loss, base, budget, scales, bpw, predicted, gap, uniform } = given;
  return writeLines(
    { 'higgs.plan': PLAN_VERSION, estimator, loss, base, budget, scales, bpw, predicted, gap, uniform },
    given.tensors.map(({ name, shape, grid, groupSize, seed, bpw, alpha, predicted }) => [
      name,
      { shape, grid, groupSize, seed, bpw, alpha, predicted },
    ]),
  );
}

/**
 * The scheme of every tensor of a plan, by name.
 * @throws what `gridOf` throws for a grid that is not loaded
 */
export function schemesOf({ tensors }: BitPlan, gridOf: (name: string) => Grid): Map<string, Scheme> {
  return new Map(tensors.map(({ name, grid, groupSize, seed }) => [name, { grid: gridOf(grid), groupSize, seed }]));
}

/** The sensitivities that a plan was chosen by. */
export function alphasOf({ estimator, loss, base, tensors }: BitPlan): Alphas {
  const alphas = tensors.flatMap(({ name, alpha, shape }): [string, Alpha][] =>
    alpha === null ? [] : [[name, bareAlpha(alpha, shape)]],
  );
  return { model: { name: null, identity: null }, estimator, loss, base, settings: {}, tensors: new Map(alphas) };
}

/** @throws {FormatError} when a tensor of the checkpoint has another shape than the plan says */
export function checkShapes({ tensors }: BitPlan, checkpoint: Checkpoint): void {
  for (const { name, shape } of tensors) {
    const tensor = checkpoint.get(name);
    if (String(tensor?.shape) !== String(shape)) {
      throw new FormatError(
        `plan must be of this checkpoint: it has [${shape.join(', ')}], not [${tensor?.shape.join(', ')}]`,
        {
          file: checkpoint.folder,
          tensor: name,
        },
      );
    }
  }
}
