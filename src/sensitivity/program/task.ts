// What the threads of a measurement do next. A task goes to them as words that all read: its kind, then its members in the order of
// MEMBERS. Tasks are short: between two of them other work of the thread may run.

/** What all threads do together: one step of a measurement. */
export type Task =
  /** Squares of the rows of a block's weights, to `sums`. */
  | { readonly kind: 'squares'; readonly block: number }
  /** Ids to the residual stream. */
  | { readonly kind: 'embed' }
  /** A block, with its input saved, and with its weight at `perturbed` as it stands in the workspace. */
  | { readonly kind: 'block'; readonly block: number; readonly save?: boolean; readonly perturbed?: number }
  /** Token `first` of `count` sequences together: from their ids, through blocks `from` to `to`, to their logits. */
  | ({
      readonly kind: 'step';
      readonly ids?: boolean;
      readonly from?: number;
      readonly to: number;
      readonly logits?: boolean;
    } & Some)
  /** The first tokens of one of the sequences that are sampled together: as many steps, without logits. */
  | {
      readonly kind: 'fill';
      readonly sequence: number;
      readonly count: number;
      readonly ids?: boolean;
      readonly from?: number;
      readonly to: number;
    }
  /** The residual stream before a block, as it was saved. */
  | { readonly kind: 'restore'; readonly block: number }
  /** Logits of some tokens to labels and gradients. */
  | ({ readonly kind: 'labels' } & Some & Seeded)
  /** Gradients back through a block, and what its statistics gain by them. */
  | { readonly kind: 'back'; readonly block: number; readonly gather?: boolean }
  /** What statistics of a block's inputs gain, when it has run. */
  | { readonly kind: 'inputs'; readonly block: number }
  | { readonly kind: 'embeddingBack' }
  /** Noise for a weight, from a stream of its own. */
  | ({ readonly kind: 'draw'; readonly stream?: number; readonly draw?: number } & Weight & Seeded)
  /** The weight with `scale` times the noise. */
  | ({ readonly kind: 'perturb'; readonly scale: number } & Weight)
  /** Logits of some tokens, to compare with. */
  | ({ readonly kind: 'keep' } & Some)
  /** Loss of some tokens, to `sums`: KL divergence, or of a text the increase of −ln p of its ids. */
  | ({ readonly kind: 'compare'; readonly text?: boolean } & Some);

/** Tokens `first`, 0 if left out, to `first + count`. */
interface Some {
  readonly first?: number;
  readonly count: number;
}
/** A weight, by its block and its place there. */
interface Weight {
  readonly block: number;
  readonly place: number;
}
interface Seeded {
  readonly seed?: number;
  readonly sequence?: number;
}

/** A task as threads have it: what was left out is 0, false, or −1 for `perturbed`. */
export type TaskOf<K extends Task['kind']> = Required<Extract<Task, { readonly kind: K }>>;

const MEMBERS: { readonly [K in Task['kind']]: readonly Exclude<keyof TaskOf<K>, 'kind'>[] } = {
  squares: ['block'],
  embed: [],
  block: ['block', 'save', 'perturbed'],
  step: ['first', 'count', 'ids', 'from', 'to', 'logits'],
  fill: ['sequence', 'count', 'ids', 'from', 'to'],
  restore: ['block'],
  labels: ['first', 'count', 'seed', 'sequence'],
  back: ['block', 'gather'],
  inputs: ['block'],
  embeddingBack: [],
  draw: ['block', 'place', 'stream', 'seed', 'sequence', 'draw'],
  perturb: ['block', 'place', 'scale'],
  keep: ['first', 'count'],
  compare: ['first', 'count', 'text'],
};
const KINDS = Object.keys(MEMBERS) as Task['kind'][];
const FLAGS: readonly string[] = ['save', 'ids', 'logits', 'text', 'gather'];

const number = new Float64Array(1);
const words = new Int32Array(number.buffer);

/** A task in words: its kind, and two words of an f64 for each member. */
export function wordsOfTask(task: Task): number[] {
  const given = task as unknown as Readonly<Record<string, number | boolean | undefined>>;
  const encoded: number[] = [KINDS.indexOf(task.kind)];
  for (const member of MEMBERS[task.kind] as readonly string[]) {
    number[0] = Number(given[member] ?? (member === 'perturbed' ? -1 : 0));
    encoded.push(...words);
  }
  return encoded;
}

/** @returns the task that words in shared memory tell */
export function taskOf(from: Int32Array): TaskOf<Task['kind']> {
  const kind = KINDS[from[0]];
  const task: Record<string, unknown> = { kind };
  for (const [i, member] of (MEMBERS[kind] as readonly string[]).entries()) {
    words.set(from.subarray(1 + 2 * i, 3 + 2 * i));
    task[member] = FLAGS.includes(member) ? number[0] !== 0 : number[0];
  }
  return task as unknown as TaskOf<Task['kind']>;
}
