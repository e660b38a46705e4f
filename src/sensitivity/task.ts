// What the threads of a measurement do next, as words that all of them read.

/** Tasks, in short steps: between two of them other work of the thread may run. */
export const TASKS = [
  'norms', // squares of the rows of a layer's matrices, to `sums`
  'embed', // ids to the residual stream
  'layer', // a layer, or its feed-forward half
  'step', // token `first` of `count` sequences together; its logits if `save` is set
  'restore', // the residual stream before half layer `half`, as it was saved
  'labels', // logits of some tokens to labels and gradients
  'feedForwardBack',
  'attentionBack',
  'embeddingBack',
  'draw', // noise for a matrix
  'perturb', // the matrix with `scale` times the noise
  'keep', // logits of some tokens, to compare with
  'compare', // loss of some tokens, to `sums`
] as const;

export interface Task {
  readonly kind: (typeof TASKS)[number];
  readonly layer?: number;
  readonly matrix?: number;
  /** Whether the layer has the perturbed matrix in place of its own. */
  readonly perturbed?: boolean;
  /** 1 for the feed-forward half alone; to restore, half layers from the first on. */
  readonly half?: number;
  /** Whether the residual stream is saved. */
  readonly save?: boolean;
  readonly first?: number;
  readonly count?: number;
  readonly seed?: number;
  readonly sequence?: number;
  readonly draw?: number;
  readonly scale?: number;
}

const number = new Float64Array(1);
const words = new Int32Array(number.buffer);

export function wordsOfTask(task: Task): number[] {
  const { layer = 0, matrix = 0, perturbed = false, half = 0, save = false, first = 0, count = 0 } = task;
  const { seed = 0, sequence = 0, draw = 0, scale = 0 } = task;
  number[0] = scale;
  const flags = (perturbed ? 1 : 0) | (save ? 2 : 0);
  return [TASKS.indexOf(task.kind), layer, matrix, flags, half, first, count, seed | 0, sequence, draw, ...words];
}

export function taskOf(from: Int32Array): Required<Task> {
  const [kind, layer, matrix, flags, half, first, count, seed, sequence, draw] = from as unknown as number[];
  words.set(from.subarray(10, 12));
  return {
    ...{ kind: TASKS[kind!], layer: layer!, matrix: matrix!, perturbed: (flags! & 1) !== 0, half: half! },
    ...{ save: (flags! & 2) !== 0, first: first!, count: count!, seed: seed!, sequence: sequence!, draw: draw! },
    scale: number[0],
  };
}
