// The page's address: a link has what reproduces a run, and nothing of a person's files.

import type { Recipe, Sampling } from '../engine/protocol.ts';
import { DEFAULT_RECIPE } from '../engine/recipe.ts';

/** What a link says. */
export interface Address {
  /** `demo`, a hub's name or an address; undefined for files. */
  readonly model: string | undefined;
  readonly recipe: Recipe;
  readonly prompt: string | undefined;
  /** What is not as the model's authors say. */
  readonly sampling: Partial<Sampling>;
}

/** Characters of one option, and of a prompt, in a link: others write it. */
const LINK_OPTION_LIMIT = 200;
const LINK_PROMPT_LIMIT = 4000;

const isCount = (value: number) => value >>> 0 === value;
/** How words are chosen: the name in the address, and what it may be. */
const SAMPLING: Readonly<Record<keyof Sampling, readonly [string, (value: number) => boolean]>> = {
  temperature: ['temperature', (value) => value >= 0 && value <= 5],
  topP: ['topP', (value) => value > 0 && value <= 1],
  topK: ['topK', isCount],
  seed: ['sampleSeed', isCount],
  maxTokens: ['maxTokens', (value) => isCount(value) && value > 0],
};

const BITS = { least: 2, most: 8, step: 0.25 };

/** Reads what follows the question mark; what it does not understand is left at the default. */
export function readAddress(search: string): Address {
  const given = new URLSearchParams(search);
  const number = (name: keyof Recipe, holds: (value: number) => boolean): number => {
    const value = Number(given.get(name) ?? Number.NaN);
    return holds(value) ? value : (DEFAULT_RECIPE[name] as number);
  };
  const short = (name: string, most = LINK_OPTION_LIMIT): string | undefined => {
    const value = given.get(name) ?? undefined;
    return value !== undefined && value.length <= most ? value : undefined;
  };
  const text = (name: keyof Recipe): string => short(name) ?? (DEFAULT_RECIPE[name] as string);
  const refine = text('refine');
  return {
    model: short('model'),
    prompt: short('prompt', LINK_PROMPT_LIMIT),
    sampling: Object.fromEntries(
      Object.entries(SAMPLING).flatMap(([setting, [name, holds]]) => {
        const value = Number(given.get(name) || Number.NaN);
        return holds(value) ? [[setting, value]] : [];
      }),
    ),
    recipe: {
      bits: number('bits', (value) => value >= BITS.least && value <= BITS.most && Number.isInteger(value / BITS.step)),
      embeddings: text('embeddings'),
      groupSize: number('groupSize', (value) => value >= 16 && value <= 4096 && Number.isInteger(Math.log2(value))),
      seed: number('seed', isCount),
      grids: text('grids'),
      keep: text('keep'),
      refine: refine === 'both' || refine === 'inputs' ? refine : '',
    },
  };
}

/** The other way round: what is as it is anyway is left out. */
export function writeAddress({ model, recipe, prompt, sampling }: Address): string {
  const said = new URLSearchParams();
  if (model) said.set('model', model);
  for (const [name, value] of Object.entries(recipe)) {
    if (value !== DEFAULT_RECIPE[name as keyof Recipe]) said.set(name, String(value));
  }
  for (const [setting, value] of Object.entries(sampling)) {
    const [name, holds] = SAMPLING[setting as keyof Sampling];
    if (holds(value)) said.set(name, String(value));
  }
  if (prompt) said.set('prompt', prompt);
  const text = said.toString();
  return text ? `?${text}` : '';
}
