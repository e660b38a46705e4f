// A recipe as options of the library, and as the command line that does the same.

import type { Alphas } from './library.ts';
import type { Recipe } from './protocol.ts';

/** Whole bits that have a grid of their own. */
const WHOLE = [2, 3, 4, 5, 6];

export const DEFAULT_RECIPE: Recipe = {
  bits: 4,
  embeddings: 't4',
  groupSize: 1024,
  seed: 0,
  grids: '',
  keep: '',
  refine: '',
};

/** Whether one grid serves all weights. */
export const isUniform = ({ bits, grids, keep }: Recipe): boolean => WHOLE.includes(bits) && !grids && !keep;

const listOf = (text: string): string[] => text.split(/[\s,]+/).filter((word) => word !== '');

function keepOf(text: string): [RegExp, string][] {
  return text
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => {
      const at = word.lastIndexOf('=');
      if (at < 1) throw new RangeError(`keep must be a pattern, = and a grid, such as down_proj=t5: got ${word}`);
      return [new RegExp(word.slice(0, at)), word.slice(at + 1)];
    });
}

/** Options of `plan`, `quantize` and `copy`. @param alphas of mixtures */
export function optionsOf(recipe: Recipe, alphas: Alphas) {
  const { bits, embeddings, groupSize, seed, grids, keep } = recipe;
  const shared = { groupSize, seed, ...(embeddings && { embeddings }) };
  if (isUniform(recipe)) return { ...shared, grid: `t${bits}` };
  const offer = { ...(grids && { grids: listOf(grids) }), ...(keep && { keep: keepOf(keep) }) };
  return { ...shared, ...offer, bpw: bits, alphas };
}

const quoted = (word: string): string => (/^[\w./:@=,+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

/** The command that writes the same files. @param isMeasured whether mixtures go by sensitivities of this model */
export function commandOf(input: string, recipe: Recipe, isMeasured: boolean): string {
  const { bits, embeddings, groupSize, seed, grids, keep, refine } = recipe;
  const words = ['higgs', 'quantize', quoted(input), '-o', quoted(outputName(input, bits))];
  if (isUniform(recipe)) words.push('--bits', String(bits));
  else words.push('--bpw', String(bits), ...(isMeasured ? [] : ['--prior']));
  if (embeddings) words.push('--embeddings', quoted(embeddings));
  if (groupSize !== DEFAULT_RECIPE.groupSize) words.push('--group', String(groupSize));
  if (seed !== DEFAULT_RECIPE.seed) words.push('--seed', String(seed));
  if (grids && !isUniform(recipe)) words.push('--grids', listOf(grids).join(','));
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
