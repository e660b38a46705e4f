// The card of a quantized model, README.md: in front what a hub reads, then what was done, what it costs, and how to load it; the card of
// the original stands below. Of a model that is plain again, too. Names from files are not repeated, but for those of the hub and of grids.

import { OWN_CARD } from '../quantize/carry.ts';
import type { Folder } from '../source/source.ts';

/** Longest card of an original that goes into the new one, in bytes: those of large families have some tens of kilobytes. */
const CARD_LIMIT = 1 << 20;
const README = /^readme\.md$/i;
const FRONT = /^---\r?\n([\s\S]*?)\n---[ \t]*(?:\r?\n|$)/;
/** A line that begins a member: what stands between two of them, whatever its form, is of the first. */
const KEY = /^(["']?)([\w-]+)\1[ \t]*:/;
/** Stands in front of the original's card, which is not of these files. */
const ORIGINAL = '## Card of the original\n\nDtypes, sizes and results below are not those of these files.\n\n';
const BASE = /^base_model: (.*)$/m;
const OWN_KEYS = ['base_model', 'base_model_relation', 'quantized_by'];

/** What a card tells. */
export interface CardFacts {
  /** `org/model` of the original on the hub, if it is known. */
  readonly base: string | undefined;
  /** The quantized weights, by their schemes. */
  readonly tensors: readonly { readonly grid: string; readonly groupSize: number; readonly seed: number | null }[];
  /** Bits per weight, scales counted. */
  readonly bpw: number;
  /** t² over all quantized weights. */
  readonly relativeError: number;
  /** Bytes of the original's tensors. */
  readonly bytesIn: number;
  /** Bytes of the safetensors files written. */
  readonly bytesOut: number;
  /** Whether weights were encoded with error feedback. */
  readonly isRefined: boolean;
  /** Whether higgs_wasm.py is in the checkpoint. */
  readonly hasPython: boolean;
  /** The increase of the loss that sensitivities predict: in nats, or of a perplexity. */
  readonly predicted?: { readonly loss: string; readonly delta: number } | undefined;
  /** Figures of a text. */
  readonly measured?:
    | {
        readonly perplexity: { readonly original: number; readonly measured: number | null };
        readonly kl: { readonly measured: number | null };
        readonly tokensScored: number;
      }
    | undefined;
}

/** The original's card, and the name that a card has in its folder. */
export interface OriginalCard {
  /** The file's name. */
  readonly name: string;
  /** Its content. */
  readonly text: string;
}

/** Reads the card of the original; without one the text is empty. */
export async function originalCard(folder: Folder): Promise<OriginalCard> {
  const name = (await folder.list()).find((each) => README.test(each));
  if (name === undefined) return { name: 'README.md', text: '' };
  const source = await folder.open(name);
  if (source.byteLength > CARD_LIMIT) return { name, text: '' };
  return { name, text: new TextDecoder().decode(await source.slice(0, source.byteLength)) };
}

/** The text of the card. */
export function cardText(original: string, facts: CardFacts): string {
  const [front, rest] = cut(original);
  const title = `${nameOf(facts.base)}, ${facts.bpw.toFixed(2)} bits per weight`;
  return joined(frontOf(front, facts), title, [introduction(facts), figures(facts), loading(facts)], rest);
}

/** What the card of a model tells that is plain again. */
interface PlainFacts {
  /** Bits per weight that the quantized weights had; 0 where another program quantized them. */
  readonly bpw: number;
  /** Dtypes of the tensors. */
  readonly dtypes: readonly string[];
}

/**
 * The card of a plain checkpoint that was made of a quantized one.
 * @param card of the quantized one; empty if it has none
 * @returns undefined if that card is somebody's own: it stays
 */
export function plainCardText(card: string, { bpw, dtypes }: PlainFacts): string | undefined {
  const [front, rest] = cut(card);
  const isOwn = front.includes(OWN_CARD);
  if (card !== '' && !isOwn) return undefined;
  const base = BASE.exec(front)?.[1];
  const position = rest.indexOf(ORIGINAL);
  const bits = bpw > 0 ? ` ${bpw.toFixed(2)} bits per weight` : ' fewer bits';
  const text = [
    `The weights${base ? ` of ${base}` : ''} were quantized to${bits}. higgs-wasm made them plain again. What quantizing lost stays lost. Dtypes: ${dtypes.join(', ')}.\n`,
    PLAIN_LOADING,
  ];
  const original = position < 0 ? '' : rest.slice(position + ORIGINAL.length);
  return joined(isOwn ? front : frontOf('', { base }), `${nameOf(base)}, dequantized`, text, original);
}

// What is in front, and the rest.
function cut(card: string): [string, string] {
  const [whole = '', front = ''] = FRONT.exec(card) ?? [];
  return [front, card.slice(whole.length).trim()];
}

function nameOf(base: string | undefined): string {
  return base?.split('/')[1] ?? 'This model';
}

function joined(front: string, title: string, parts: readonly string[], original: string): string {
  const below = original ? [`${ORIGINAL}${original}\n`] : [];
  return [`---\n${front}\n---\n`, `# ${title}\n`, ...parts, ...below].join('\n');
}

// What the original says of itself in YAML, member by member, with our own keys in place of its.
function frontOf(front: string, { base }: Pick<CardFacts, 'base'>): string {
  const blocks: string[] = [];
  for (const line of front.split('\n')) {
    if (blocks.length === 0 || KEY.test(line)) blocks.push(line);
    else blocks[blocks.length - 1] += `\n${line}`;
  }
  const kept = blocks.filter((block) => block.trim() !== '' && !OWN_KEYS.includes(KEY.exec(block)?.[2] ?? ''));
  const tags = kept.findIndex((block) => /^tags:\s*\n/.test(block));
  if (tags >= 0) kept[tags] = kept[tags].replace(/^tags:\s*\n/, 'tags:\n- higgs\n- higgs-wasm\n');
  else if (!kept.some((block) => block.startsWith('tags:'))) kept.push('tags:\n- higgs\n- higgs-wasm');
  const added = [...(base ? [`base_model: ${base}`] : []), 'base_model_relation: quantized', OWN_CARD];
  return [...kept.map((block) => block.trimEnd()), ...added].join('\n');
}

function introduction({ base, isRefined }: CardFacts): string {
  const of = base ? ` of ${base}` : '';
  const how = isRefined ? ', with error feedback by tokens that the model sampled' : ', without calibration data';
  return `The weights${of}, quantized by higgs-wasm with [HIGGS](https://arxiv.org/abs/2411.17525)${how}. Files are safetensors.\n`;
}

function figures(facts: CardFacts): string {
  const { tensors, bpw, relativeError, bytesIn, bytesOut, predicted, measured } = facts;
  const counts = new Map<string, number>();
  for (const { grid } of tensors) counts.set(grid, (counts.get(grid) ?? 0) + 1);
  const grids = [...counts].map(([grid, count]) => `\`${grid}\` × ${count}`).join(', ');
  const all = (values: readonly (number | null)[]) => [...new Set(values)].map((value) => value ?? 'none').join(', ');
  const size = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB`;
  const rows = [
    ['bits per weight, scales counted', bpw.toFixed(2)],
    ['size', `${size(bytesOut)}, from ${size(bytesIn)}`],
    ['grid × tensors', grids || 'none'],
    ['weights of a group', all(tensors.map(({ groupSize }) => groupSize)) || 'none'],
    ['seed of the signs', all(tensors.map(({ seed }) => seed)) || 'none'],
    ['t² = ‖W − Ŵ‖² / ‖W‖²', relativeError.toPrecision(4)],
  ];
  if (predicted?.loss === 'kl')
    rows.push(['KL from the original, predicted', `${predicted.delta.toPrecision(3)} nats`]);
  if (predicted?.loss === 'perplexity') rows.push(['perplexity, predicted', `+${predicted.delta.toPrecision(3)}`]);
  if (measured?.perplexity.measured != null) {
    const { perplexity, kl, tokensScored } = measured;
    const figure = `${perplexity.measured!.toPrecision(5)}, the original’s ${perplexity.original.toPrecision(5)}`;
    rows.push([`perplexity of ${tokensScored} tokens`, figure]);
    if (kl.measured !== null) rows.push(['KL from the original, measured', `${kl.measured.toPrecision(3)} nats`]);
  }
  return `| | |\n|---|---|\n${rows.map(([label, value]) => `| ${label} | ${value} |\n`).join('')}`;
}

const PLAIN_LOADING = `## Load it

FOLDER is this directory. Any framework reads it, such as transformers:

\`\`\`python
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("FOLDER")
\`\`\`

On the command line, in Node:

\`\`\`sh
npm install -g higgs-wasm
higgs chat FOLDER
\`\`\`
`;

function loading({ hasPython }: CardFacts): string {
  const python = hasPython
    ? 'In Python with transformers 5, on any device; weights stay packed:'
    : 'In Python with transformers 5, after `higgs export FOLDER --transformers`:';
  return `## Load it

FOLDER is this directory, or \`hf:org/name\` of this repository. On the command line:

\`\`\`sh
npm install -g higgs-wasm
higgs chat FOLDER
\`\`\`

In Node, Deno, Bun or a page:

\`\`\`js
import { load } from 'higgs-wasm';

const higgs = await load();
const model = await (await higgs.open('hf:org/name')).run();
const text = await model.complete('Once upon a time');
\`\`\`

${python}

\`\`\`python
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("FOLDER", trust_remote_code=True)
\`\`\`
`;
}
