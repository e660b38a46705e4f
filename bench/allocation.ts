// Grids chosen by sensitivities against one grid for all matrices, at equal counted bits per weight: what both measure on a text.

import { type Alphas, type CheckpointOptions, type Higgs, priorAlphas } from '../src/index.ts';
import { startThreads } from '../src/workers/node.ts';
import type { Pool } from '../src/workers/pool.ts';
import { memoryOutput } from '../tests/checkpoints.ts';
import { BPW } from './errors.ts';
import { type Estimate, ratioOf } from './ratio.ts';
import { scorerOf } from './scorer.ts';
import type { Subject } from './subjects.ts';
import { type Cells, type Column, column, type Row, type Table } from './table.ts';

/** Bits per weight, scales counted, at which plans are compared; beside those that the best single grids have. */
export const BUDGETS = [3, 3.25, 3.5, 4];
/** A difference counts as outside its standard error from so many of them on. */
const ERRORS_APART = 2;

/** A checkpoint as it was scored, window by window. */
interface Scored {
  name: string;
  bitsPerWeight: number;
  tokens: number[]; // (windows)
  kl: number[]; // (windows), sums over tokens
  nll: number[]; // (windows), sums over tokens, less the original's
}

const perplexity: readonly Column[] = [column('perplexity ÷ original’s', 'ratio', 5), column('±', 'ratioError', 2)];
const divergence: readonly Column[] = [column('mean KL', 'kl', 4), column('±', 'klError', 2)];
const uniformColumns: readonly Column[] = [BPW, ...perplexity, ...divergence];
const planColumns: readonly Column[] = [
  BPW,
  ...perplexity,
  ...divergence,
  { title: 'best single grid', key: 'best', text: String },
  column('its KL less the plan’s', 'klGain', 3),
  column('±', 'klGainError', 2),
  column('its ln perplexity less the plan’s', 'nllGain', 3),
  column('±', 'nllGainError', 2),
  { title: 'single grids that the plan beats (KL; perplexity)', key: 'beaten', text: String },
  column('KL less data-free’s', 'klMore', 3),
  column('±', 'klMoreError', 2),
];

/** Two tables of a model: every grid alone, and the plans. */
export function allocationTables(
  higgs: Higgs,
  subject: Subject,
  { grids, threads, pool }: { grids: readonly string[]; threads: number; pool: Pool },
  closers: (() => Promise<void>)[],
): Table[] {
  const { name, folder, texts, context, otherText } = subject;
  const { scoreEach, remember } = scorerOf(higgs, subject, threads);
  const original = once(async () => {
    const language = await remember(folder);
    closers.push(language.close);
    return language;
  });
  const sensitivities: Record<string, () => Promise<Alphas>> = {
    'data-free': once(async () => higgs.measureSensitivity(folder, { threads: await startThreads(threads) })),
    text: once(async () => higgs.measureSensitivity(folder, { text: otherText, threads: await startThreads(threads) })),
    prior: once(async () => priorAlphas(await higgs.planTensors(folder))),
  };

  async function scoredOf(name: string, options: CheckpointOptions): Promise<Scored> {
    const output = memoryOutput();
    const { bpw } = await higgs.quantizeCheckpoint(folder, output, { ...options, pool });
    const score = await scoreEach(output.folder(), 'f32', await original());
    const tokens = score.map(({ tokensScored }) => tokensScored);
    return {
      ...{ name, bitsPerWeight: bpw, tokens },
      kl: score.map(({ against }, i) => against!.meanKl * tokens[i]),
      nll: score.map(({ against }, i) => Math.log(against!.ratio) * tokens[i]),
    };
  }
  const ofGrid = new Map(grids.map((grid) => [grid, once(() => scoredOf(grid, { grid }))]));
  const allSingle = once(async () => {
    const all: Scored[] = [];
    for (const [, score] of ofGrid) all.push(await score());
    return all;
  });
  const plans = new Map<string, Promise<Scored>>();
  const planned = (source: string, bpw: number) => {
    const key = `${source} ${bpw}`;
    const score = async () => {
      const plan = await higgs.planBits(folder, await sensitivities[source](), { bpw, grids });
      return scoredOf(key, { plan });
    };
    const running = plans.get(key) ?? score();
    plans.set(key, running);
    return running;
  };

  async function planCells(source: string, budget: () => Promise<number>): Promise<Cells> {
    const bpw = await budget();
    const scored = await planned(source, bpw);
    const single = (await allSingle()).filter(({ bitsPerWeight }) => bitsPerWeight <= bpw);
    const best = least(single);
    const free = source === 'data-free' ? undefined : await planned('data-free', bpw);
    const beaten = (key: 'kl' | 'nll') => single.filter((one) => isOutside(difference(one, scored, key))).length;
    return {
      ...cellsOf(scored),
      beaten: `${beaten('kl')}; ${beaten('nll')} of ${single.length}`,
      ...(best && {
        best: `${best.name} (${best.bitsPerWeight.toFixed(3)})`,
        ...named('klGain', difference(best, scored, 'kl')),
        ...named('nllGain', difference(best, scored, 'nll')),
      }),
      ...(free && named('klMore', difference(scored, free, 'kl'))),
    };
  }

  const tokens = texts.reduce((sum, { length }) => sum + length, 0);
  const scored = `${tokens} tokens of ${texts.length} texts, context ${context}`;
  // At the bits of the best single grids of 3 and 4 bits, which are a little more than that with their scales.
  const likeBest = (bits: number) => async () => {
    const sameBits = (await allSingle()).filter(({ name }) => bitsOf(higgs, name) === bits);
    return least(sameBits)?.bitsPerWeight ?? bits;
  };
  return [
    {
      title: `${name}: one grid for all matrices, ${scored}`,
      columns: uniformColumns,
      rows: [...ofGrid].map(([grid, score]): Row => {
        return { name: `single ${grid}`, measure: async () => cellsOf(await score()) };
      }),
    },
    {
      title: `${name}: plans, ${scored}`,
      columns: planColumns,
      rows: [
        ...BUDGETS.flatMap((bpw) =>
          Object.keys(sensitivities).map((source): Row => {
            return { name: `plan ${bpw.toFixed(2)}, ${source}`, measure: () => planCells(source, async () => bpw) };
          }),
        ),
        ...[3, 4].map((bits): Row => {
          const name = `plan as the best single grid of ${bits} bits, data-free`;
          return { name, measure: () => planCells('data-free', likeBest(bits)) };
        }),
      ],
    },
  ];
}

// How far a is above b, a token.
function difference(a: Scored, b: Scored, key: 'kl' | 'nll'): Estimate {
  return ratioOf(
    a[key].map((value, i) => value - b[key][i]),
    a.tokens,
  );
}

function isOutside({ value, error }: Estimate): boolean {
  return value > ERRORS_APART * error;
}

function cellsOf({ bitsPerWeight, kl, nll, tokens }: Scored): Cells {
  const { value, error } = ratioOf(nll, tokens);
  const ratio = Math.exp(value);
  return { bitsPerWeight, ratio, ratioError: ratio * error, ...named('kl', ratioOf(kl, tokens)) };
}

function named(key: string, { value, error }: Estimate): Cells {
  return { [key]: value, [`${key}Error`]: error };
}

function least(scored: readonly Scored[]): Scored | undefined {
  return [...scored].sort((a, b) => ratioOf(a.kl, a.tokens).value - ratioOf(b.kl, b.tokens).value)[0];
}

function bitsOf(higgs: Higgs, grid: string): number {
  const { bits, p } = higgs.grids.get(grid)!;
  return bits / p;
}

function once<T>(work: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => {
    result ??= work();
    return result;
  };
}
