// Scores checkpoints on texts: each is loaded, run and closed. What they are compared with stays loaded and is run once.

import type { Higgs } from '../src/higgs.ts';
import type { Folder } from '../src/source/source.ts';
import type { Language } from '../src/text/language.ts';
import { type Perplexity, perplexity } from '../src/text/perplexity.ts';
import { startThreads } from '../src/workers/node.ts';
import type { Subject } from './subjects.ts';

export type Activations = 'f32' | 'int8';

/** Over the tokens of all texts; errors are standard errors. */
export interface Figures {
  perplexity: number;
  perplexityError: number;
  against: Comparison | undefined;
}

export interface Comparison {
  /** Of perplexities; differences are taken token by token. */
  ratio: number;
  ratioError: number;
  meanKl: number;
  klError: number;
  top1Agreement: number;
}

export interface Scorer {
  score(folder: Folder, activations: Activations, against?: Language): Promise<Figures>;
  /** The figures of each text. */
  scoreEach(folder: Folder, activations: Activations, against?: Language): Promise<Perplexity[]>;
  /** A model on the f32 path that answers a second time as it did the first, without computing; the caller closes it. */
  remember(folder: Folder): Promise<Language>;
}

export function scorerOf(higgs: Higgs, { texts, context }: Subject, threads: number): Scorer {
  const open = async (folder: Folder, activations: Activations) =>
    higgs.loadModel(folder, { context, activations, threads: await startThreads(threads) });
  const scoreEach: Scorer['scoreEach'] = async (folder, activations, against) => {
    const { language, close } = await open(folder, activations);
    try {
      const results: Perplexity[] = [];
      for (const ids of texts) results.push(await perplexity(language, ids, { context, ...(against && { against }) }));
      return results;
    } finally {
      await close();
    }
  };
  return {
    score: async (...args) => figuresOf(await scoreEach(...args)),
    scoreEach,
    async remember(folder) {
      const { language } = await open(folder, 'f32');
      const remembered = new Map<string, Float32Array>();
      return {
        ...language,
        async open(options) {
          const sequence = await language.open(options);
          let visible: number[] = [];
          return {
            get ids() {
              return visible;
            },
            async extend(ids, extending = {}) {
              const key = `${visible}:${Array.from(ids)}:${extending.rows}`;
              let logits = remembered.get(key);
              if (!logits) {
                const missing = visible.slice(sequence.ids.length);
                if (missing.length > 0) await sequence.extend(missing, { rows: 'none' });
                logits = await sequence.extend(ids, extending);
              }
              remembered.set(key, logits);
              visible = [...visible, ...Array.from(ids)];
              return logits;
            },
            truncate(length) {
              visible = visible.slice(0, length);
              sequence.truncate(length);
            },
            close: () => sequence.close(),
          };
        },
      };
    },
  };
}

function figuresOf(results: readonly Perplexity[]): Figures {
  const counts = results.map(({ tokensScored }) => tokensScored);
  const nll = pool(results.map(({ meanNll, standardError }, i) => [counts[i], meanNll, standardError]));
  const value = Math.exp(nll.mean);
  const figures = { perplexity: value, perplexityError: value * nll.error };
  const others = results.flatMap(({ against }) => against ?? []);
  if (others.length === 0) return { ...figures, against: undefined };
  const difference = pool(others.map(({ ratio, ratioError }, i) => [counts[i], Math.log(ratio), ratioError / ratio]));
  const kl = pool(others.map(({ meanKl, standardError }, i) => [counts[i], meanKl, standardError]));
  const agreement = pool(others.map(({ top1Agreement }, i) => [counts[i], top1Agreement, 0]));
  const ratio = Math.exp(difference.mean);
  const against = { ratio, ratioError: ratio * difference.error, meanKl: kl.mean, klError: kl.error };
  return { ...figures, against: { ...against, top1Agreement: agreement.mean } };
}

// Mean and its standard error over all values, from those of parts.
function pool(parts: readonly (readonly [count: number, mean: number, error: number])[]): {
  mean: number;
  error: number;
} {
  const count = parts.reduce((sum, [count]) => sum + count, 0);
  const mean = parts.reduce((sum, [count, mean]) => sum + count * mean, 0) / count;
  const squares = parts.reduce((sum, part) => {
    const [count, partMean, error] = part;
    return sum + error ** 2 * count * (count - 1) + count * (partMean - mean) ** 2;
  }, 0);
  return { mean, error: Math.sqrt(squares / (count - 1) / count) };
}
