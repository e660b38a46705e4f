// What a block is: tensors by name, a place in linear memory, a step forward, and a way back for gradients.
// A block of a new kind is one file with these members, and an entry in blocks.ts.

import type { LinearSpec, NormSpec } from '../../families/architecture.ts';
import type { Rope } from '../../families/rope.ts';
import type { BlockCache } from '../cache.ts';
import type { DenseLinear, Linear, Rotation } from '../linear.ts';
import type { Pass } from '../pass.ts';
import type { Recurrent } from '../recurrent.ts';
import type { State } from '../state.ts';
import type { Thread } from '../team.ts';

/** What a block asks for while the model is laid out. */
export interface BlockPlanner {
  /** Where a normed residual stream stands, (batch, dim). */
  readonly normed: number;
  /** Loads a norm's weights in f32. @returns their address; 0 where there is no norm */
  norm(spec: NormSpec | undefined, length: number): number;
  /** Loads a vector of floats. @returns its address */
  vector(name: string, length: number): number;
  /** Loads a linear weight that is applied to the activations at `input`. @param perToken activations of a token, 1 if left out */
  linear(spec: LinearSpec, input: number, perToken?: number): Linear;
  /** Loads a linear weight as numbers, also where the checkpoint has codes. */
  decoded(spec: LinearSpec): DenseLinear;
  /** The rotations that these weights read. */
  rotationsOf(...linears: Linear[]): readonly Rotation[];
  /** A region of (batch, floats), which all blocks share that ask for one of this name and size. */
  activation(name: string, floats: number): number;
  /** Cosines and sines of the tokens' positions. @returns the place of the rope in `state.ropes` */
  rope(rope: Rope): number;
  /** Loads a tensor that is no weight in f32. @returns its address */
  tensor(name: string, shape: readonly number[]): number;
  /** Gives a cache a name, by which blocks after it may read it. */
  lend(key: string, cache: BlockCache): void;
  /** The cache of that name; if it is in another memory, one that gets its rows. */
  borrow(key: string, kvHeads: number, headDim: number): BlockCache;
  /**
   * Lays experts out. Where the memory has not room for all they come to share slots: `slots` says which, and their weights are laid
   * out from address 0 on.
   */
  experts<T>(count: number, plan: (expert: number) => T): { planned: T[]; slots: Slots | undefined };
  /** Recurrent states of a block, so many floats each. */
  recurrent(floats: number): Recurrent;
  /** Keys and values of a block. @param parts elements of a head; of latents two numbers, values are elements of the keys then */
  cache(kvHeads: number, ...parts: number[]): BlockCache;
}

/** The slots of a memory, which experts of its blocks share; and which of them those of this block have. */
export interface Slots {
  /** Number of the block among those with experts in this memory. */
  readonly block: number;
  /** The slots of this memory. */
  readonly pool: SlotPool;
}

/** Slots of one size, which experts take in turn. */
export interface SlotPool {
  /** Slots that there are. */
  readonly count: number;
  /** Bytes of one. */
  readonly bytes: number;
  /** The slots, one after the other: (count, bytes). */
  readonly first: number;
  /** The slot of each expert of the block that runs: of those that were asked for last. */
  readonly table: number; // (experts) i32
}

/** What going back through a block asks of who measures. Gradients end in the name of what they belong to. */
export interface Back {
  /** The thread that runs this. */
  readonly thread: Thread;
  /** The memory's regions. */
  readonly state: State;
  /** One sequence, from position 0 on. */
  readonly pass: Pass;
  /** Gradients that go back together. */
  readonly draws: number;
  /** The whole memory in f32: of a byte address the element address / 4. */
  readonly floats: Float32Array;
  /** Room of this thread alone. */
  readonly scratch: number;
  /** Gradients, (draws, tokens, dim), of the residual stream behind the block, then before it. */
  readonly dX: number;
  /** Gradients, (draws, tokens, dim), room for those of its norm. */
  readonly dNormed: number;
  /** Gradients, (draws, tokens, perLayerFloats), of the tokens' vectors for all layers. */
  readonly dPerLayer: number;
  /** Puts the residual stream before the block, as it was saved, to `state.x`, this thread's tokens. */
  restore(): void;
  /** A region that the block asked for by `gradients`. */
  region(name: string): number;
  /** Cosines and sines of the opposite positions. @param rope its place in `state.ropes` */
  opposite(rope: number): number;
  /** This thread's part of `total` items. */
  part(total: number, apart?: number): [first: number, end: number];
  /** Inner products of a weight's inputs, `x` (count, cols), for the `squares` that follow. @param count all tokens if left out */
  inputGram(x: number, cols: number, count?: number): void;
  /**
   * Squared norms of the gradients of a weight, from those of its outputs, (draws, count, rows).
   * @param place among the block's weights
   * @param count inputs of the weight, of all tokens if left out
   */
  squares(place: number, d: number, rows: number, count?: number): void;
  /** The same of some rows of a weight of all tokens. @param adds whether they are added to those that are there, of other rows */
  partSquares(place: number, d: number, rows: number, adds: boolean): void;
  /** Adds to statistics of a weight whose squares are of parts: inputs, (tokens, stride), and gradients of outputs; where they are gathered. */
  readonly gain: ((place: number, inputs: Inputs, d: number) => void) | undefined;
  /** y = Σ Wᵀ d over pairs of a weight and the gradients of its outputs, this thread's columns. */
  transposed(y: number, ...pairs: readonly (readonly [Linear, number])[]): void;
  /** The same for `count` gradients, instead of those of all draws and tokens. */
  transposedOf(count: number, y: number, ...pairs: readonly (readonly [Linear, number])[]): void;
  /** Rows of several gradients, (draws, tokens, cols) each, one after the other as rows of one: this thread's. */
  joinRows(to: number, ...parts: readonly (readonly [from: number, cols: number])[]): void;
  /** dX += dNormed through the norm of the residual stream before the block; 0 for none. */
  behindNorm(weights: number): void;
}

/** Inputs of a weight. */
export interface Inputs {
  /** Address of the vectors, f32: (count, stride). */
  readonly x: number;
  /** Floats from one vector to the next. */
  readonly stride: number;
  /** Number of vectors. */
  readonly count: number;
}

/** What statistics of a weight are kept (FORMAT.md, "Statistics"). */
export interface WeightStatistics {
  /** Whether its inputs are so many that only blocks on the diagonal are kept of their matrix, one for each group of columns. */
  readonly cut: boolean;
  /** Whether gradients of its outputs are summed, too. */
  readonly outputs: boolean;
  /** Whether hidden values that are narrow are neither cut nor left out (statistics/matrices.ts). */
  readonly wholeIfNarrow?: boolean;
  /** Tells its inputs from those of weights that read the same address. */
  readonly reads?: number;
}

/** A kind of block: its spec, as families write it, and what stands for it in linear memory. */
export interface BlockKind<Spec, Block> {
  /** Its linear weights, in the order of `weights`. */
  linears(spec: Spec): readonly LinearSpec[];
  /** Floats of a recurrent state, if it keeps one. */
  stateFloats?(spec: Spec): number;
  /** Lays a block out. Tensors are loaded in the order in which they are asked for. */
  plan(spec: Spec, planner: BlockPlanner): Block;
  /** Its linear weights, in the order in which results have them. */
  weights(block: Block): readonly Linear[];
  /** What statistics are kept of each of them; left out where none are gathered. */
  statistics?(block: Block): readonly WeightStatistics[];
  /** Inputs of each weight when the block has run; left out where all tokens are, as they are. */
  inputs?(thread: Thread, block: Block, tokens: number): readonly Inputs[];
  /** The block with another weight in one place. */
  replace(block: Block, place: number, linear: Linear): Block;
  /** x += f(x), for all tokens of a pass. Ends at a barrier. */
  forward(thread: Thread, state: State, block: Block, pass: Pass): void;
  /** Floats of the regions that `back` needs, by name. */
  gradients(block: Block, tokens: number, draws: number, threads: number): Readonly<Record<string, number>>;
  /** Squared gradients of its weights, and dX before it from dX behind it. */
  back(back: Back, block: Block): void;
}
