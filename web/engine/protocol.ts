// What the page and its worker say to each other: plain data that structured clones keep.

import type { FinishReason, LossKind, ModelMemory, Perplexity, TensorReport } from './library.ts';

/** Where the demo model lies beside the page: the original, or, as packages have it, what the page makes of it at 4 bits. */
export type DemoFolder = 'demo' | 'demo-4bit';

/** Where a model comes from. */
export type Origin =
  | { kind: 'demo'; folder: DemoFolder }
  | { kind: 'files'; name: string; files: File[] }
  | { kind: 'directory'; handle: FileSystemDirectoryHandle }
  | { kind: 'name'; name: string; token?: string }
  | { kind: 'kept'; id: string };

/** An opened model, from its headers. */
export interface ModelInfo {
  readonly name: string;
  readonly isQuantized: boolean;
  readonly bytes: number;
  readonly parameters: number;
  /** Bits per parameter as it stands. */
  readonly bits: number;
  readonly family: string | undefined;
  /** Why it cannot be talked to, if it cannot. */
  readonly refusal: string | undefined;
}

/** What the slider and the experts' options say. */
export interface Recipe {
  /** Bits per weight: whole ones up to 6 are one grid for all, others a mixture. */
  bits: number;
  /** A grid for embeddings and head, or `rest`, as other weights have it; empty leaves them as they are. */
  embeddings: string;
  groupSize: number;
  seed: number;
  /** Grids to choose from, with commas; empty for all. */
  grids: string;
  /** `regexp=grid`; empty for none. */
  keep: string;
  refine: '' | 'both' | 'inputs';
}

/** What a model would be at a size. */
export interface SizePoint {
  /** Undefined for the model as it is. */
  readonly bits: number | undefined;
  readonly bytes: number;
  readonly memory: ModelMemory | undefined;
  readonly tokensPerSecond: number | undefined;
  readonly loss: number | undefined;
}

/** Sizes, and what their losses are in. */
export interface Sizes {
  readonly unit: LossKind;
  readonly points: readonly SizePoint[];
}

/** A tensor of the plan: a cell of the heat map. */
export interface PlannedTensor {
  readonly name: string;
  readonly bits: number;
  readonly grid: string;
  readonly weights: number;
}

/** What a recipe comes to. */
export interface Planned {
  readonly bytes: number;
  readonly bytesIn: number;
  readonly bpw: number;
  readonly tensors: readonly PlannedTensor[];
}

/** How far a run is. */
export interface RunProgress {
  readonly phase: 'gather' | 'encode';
  /** Matrices that are done, in the order of the plan. */
  readonly finished: number;
  readonly done: number;
  readonly total: number;
  /** Bytes that were done already when the run began. */
  readonly resumed: number;
  readonly seconds: number;
}

/** What a run made. */
export interface Outcome {
  readonly id: string;
  readonly bpw: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly relativeError: number;
  readonly seconds: number;
  readonly tensors: readonly TensorReport[];
  readonly passed: readonly { readonly name: string; readonly reason: string }[];
  readonly warnings: readonly string[];
  /** By sensitivities of this model; undefined where there are none. */
  readonly predicted: { readonly loss: LossKind; readonly delta: number } | undefined;
  readonly recipe: Recipe;
  /** What the original is called, and whether sensitivities of it chose the grids. */
  readonly model: string;
  readonly isMeasured: boolean;
}

/** A model that the page keeps. */
export interface KeptModel {
  readonly id: string;
  readonly name: string;
  readonly bytes: number;
  readonly recipe: Recipe;
  /** Whether sensitivities of the original choose its grids. */
  readonly isMeasured: boolean;
  /** Missing while a run is unfinished. */
  readonly outcome: Outcome | undefined;
  /** What to open to go on with it: a name, or undefined for files that must be given again. */
  readonly source: 'demo' | string | undefined;
}

/** Who is talked to. */
export type Speaker = { kind: 'result' } | { kind: 'original' } | { kind: 'size'; recipe: Recipe };
export type Side = 'left' | 'right';

/** A side that is ready. */
export interface Ready {
  readonly hasTemplate: boolean;
  readonly threads: number;
  readonly memory: number;
  readonly context: number;
  readonly sampling: Sampling;
}

export interface Sampling {
  temperature: number;
  topP: number;
  topK: number;
  seed: number;
  maxTokens: number;
}

/** A token, with what it adds to the model's thoughts and to its answer. */
export interface SpokenToken {
  readonly id: number;
  readonly thought: string;
  readonly text: string;
  readonly kl?: number;
}

/** Tokens that came since the last news. */
export interface Spoken {
  readonly side: Side;
  readonly tokens: readonly SpokenToken[];
}

/** How a side ended. */
export interface Said {
  readonly finishReason: FinishReason;
  readonly tokensPerSecond: number;
  readonly promptMs: number;
}

/** Perplexities of a dropped text. */
export interface Scored {
  readonly measured: Perplexity;
  /** By the report's prediction and the original's perplexity; null where either is missing. */
  readonly predicted: number | null;
}

/** A turn of a conversation; `system` has the instructions before it. */
export interface Turn {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** What this browser gives. */
export interface Machine {
  readonly threads: number;
  readonly isIsolated: boolean;
  /** Whether results outlive the tab. */
  readonly isKeeping: boolean;
}
