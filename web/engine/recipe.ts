// A recipe as options of the library, and as the command line that does the same.

import type { Alphas } from './library.ts';
import type { Recipe } from './protocol.ts';

/** Whole bits that have a grid of their own, and those of them whose grid can be refined. */
const WHOLE = [2, 3, 4, 5, 6];
const REFINED = [2, 3, 4];
/** What mixtures are made of: the defaults, points for rows that are too short for trellises, and eight bits. */
const GRIDS = 't2 t3 t4 t5 t6 p2n16 p2n64 p2n256 p1n32 p1n64 p1n256'.split(' ');
const REFINED_GRIDS = GRIDS.filter((grid) => !/^t[56]/.test(grid));
/** Bits that scales take of a row of 256 weights. */
const SCALES = 1 / 16;

export const DEFAULT_RECIPE: Recipe = {
  bits: 4,
  embeddings: 'rest',
  groupSize: 1024,
  seed: 0,
  grids: '',
  keep: '',
  refine: '',
};

/** Whether one grid serves all weights: until it is known what matters more. */
export const isUniform = ({ bits, grids, keep, refine }: Recipe, isMeasured: boolean): boolean =>
  !isMeasured && (refine ? REFINED : WHOLE).includes(bits) && !grids && !keep;

/** Bits per weight of a mixture, with its scales. */
export const budgetOf = ({ bits, groupSize }: Pick<Recipe, 'bits' | 'groupSize'>): number =>
  bits + Math.max(SCALES, 16 / groupSize);

const listOf = (text: string): string[] => text.split(/[\s,]+/).filter((word) => word !== '');
export const gridsOf = ({ grids, refine }: Pick<Recipe, 'grids' | 'refine'>): string[] =>
  grids ? listOf(grids) : refine ? REFINED_GRIDS : GRIDS;

function embeddingsOf(recipe: Recipe, isMeasured: boolean): string {
  const { bits, embeddings } = recipe;
  if (embeddings !== 'rest') return embeddings;
  return isUniform(recipe, isMeasured) ? `t${bits}` : 'any';
}

function keepOf(text: string): [RegExp, string][] {
  return text
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => {
      const position = word.lastIndexOf('=');
      if (position < 1) throw new RangeError(`keep must be a pattern, = and a grid, such as down_proj=t5: got ${word}`);
      return [new RegExp(word.slice(0, position)), word.slice(position + 1)];
    });
}

/** Options of `plan`, `quantize` and `copy`. @param alphas of mixtures */
export function optionsOf(recipe: Recipe, alphas: Alphas, isMeasured: boolean) {
  const { bits, groupSize, seed, keep } = recipe;
  const embeddings = embeddingsOf(recipe, isMeasured);
  const shared = { groupSize, seed, ...(embeddings && { embeddings }) };
  if (isUniform(recipe, isMeasured)) return { ...shared, grid: `t${bits}` };
  return { ...shared, grids: gridsOf(recipe), ...(keep && { keep: keepOf(keep) }), bpw: budgetOf(recipe), alphas };
}

const quoted = (word: string): string => (/^[\w./:@=,+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

/** The command that writes the same files. @param isMeasured whether mixtures go by sensitivities of this model */
export function commandOf(input: string, recipe: Recipe, isMeasured: boolean): string {
  const { bits, groupSize, seed, keep, refine } = recipe;
  const words = ['higgs', 'quantize', quoted(input), '-o', quoted(outputName(input, bits))];
  if (isUniform(recipe, isMeasured)) words.push('--bits', String(bits));
  else words.push('--bpw', String(budgetOf(recipe)), '--grids', gridsOf(recipe).join(','));
  if (!isUniform(recipe, isMeasured) && !isMeasured) words.push('--uniform');
  const embeddings = embeddingsOf(recipe, isMeasured);
  if (embeddings) words.push('--embeddings', quoted(embeddings));
  if (groupSize !== DEFAULT_RECIPE.groupSize) words.push('--group', String(groupSize));
  if (seed !== DEFAULT_RECIPE.seed) words.push('--seed', String(seed));
  for (const word of keep.split(/\s+/).filter(Boolean)) words.push('--keep', quoted(word));
  if (refine) words.push('--refine', ...(refine === 'inputs' ? ['inputs'] : []));
  return words.join(' ');
}

/** What a result is called: `books-llama-4bit`. */
export function outputName(input: string, bits: number): string {
  const last = input.replace(/\/+$/, '').split('/').at(-1)!.replace(/^\w+:/, '').replace(/@.*$/, '');
  const name = last.replace(/\.(safetensors|gguf)$/, '').replace(/[^\w.-]+/g, '-');
  return `${name || 'model'}-${bits}bit`;
}
