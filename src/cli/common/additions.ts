// What the command line puts beside quantized weights: the model's card, and the file by which transformers loads them.

import { join } from 'node:path';
import { flag, needed, object, text } from '../../check.ts';
import { writeAtomically } from '../../disk/commit.ts';
import type { Input } from '../../disk/input.ts';
import { FormatError } from '../../errors.ts';
import { readName } from '../../hub/name.ts';
import { type CardFacts, cardText, type OriginalCard, originalCard, plainCardText } from '../../interop/card.ts';
import { transformersFiles } from '../../interop/transformers.ts';
import type { RestoreReport } from '../../quantize/restore.ts';
import { writeWhole } from '../../quantize/writer.ts';
import type { Folder, OutputFolder, ResumableFolder } from '../../source/source.ts';
import type { TimedReport } from '../../terminal/report.ts';
import type { Comparison } from './comparison.ts';

/** What is put beside the weights. */
export interface AdditionOptions {
  /** Whether `higgs_wasm.py` is written, by which transformers loads the checkpoint. */
  transformers?: boolean;
  /** The name on the hub that the card gives as `base_model`; left out, that of the input, if it has one. */
  baseModel?: string;
}

/** What of the input and the options is in the additions; nothing where there are none. */
interface AdditionFacts {
  readonly original: OriginalCard;
  readonly base: string | undefined;
  readonly hasPython: boolean;
}

const given = object<AdditionFacts>('what a part says of the card', {
  original: needed(object<OriginalCard>('a card', { name: needed(text), text: needed(text) })),
  base: needed((subject, value) => (value === undefined ? undefined : text(subject, value))),
  hasPython: needed(flag),
});

/**
 * What a part noted of the additions, as JSON.
 * @throws {FormatError} when it is something else
 */
export function notedAdditions(json: string | undefined): AdditionFacts | undefined {
  if (json === undefined) return undefined;
  try {
    const { base, ...facts } = given('about', JSON.parse(json));
    if (/^README\.md$/i.test(facts.original.name)) return { base, ...facts };
  } catch {
    // told below
  }
  throw new FormatError('note of the first part must say what the card is made of: it is damaged');
}

/** @returns undefined for weights alone, which have no card */
export async function additionsOf(input: Input, options: AdditionOptions): Promise<AdditionFacts | undefined> {
  if (input.isFile) return undefined;
  const original = await originalCard(input.folder);
  return { original, base: options.baseModel ?? baseOf(input.path), hasPython: options.transformers ?? false };
}

/** Writes card and Python file before the output takes its name. */
export async function writeAdditions(
  output: ResumableFolder,
  report: Omit<TimedReport, 'seconds'>,
  facts: AdditionFacts | undefined,
): Promise<void> {
  if (!facts) return;
  const { original, base, hasPython } = facts;
  const files = new Map([[original.name, cardText(original.text, factsOf(report, { base, hasPython }))]]);
  if (hasPython) for (const [name, text] of await transformersFiles(output)) files.set(name, text);
  for (const [name, text] of files) await writeWhole(output, name, new TextEncoder().encode(text));
}

/** Writes the card of a checkpoint that is plain again, unless it has one of somebody's own. */
export async function writePlainCard(
  input: Folder,
  output: OutputFolder,
  bpw: number,
  { tensors }: RestoreReport,
): Promise<void> {
  const { name, text } = await originalCard(input);
  const dtypes = [...new Set(tensors.map(({ dtype }) => dtype))];
  const card = plainCardText(text, { bpw, dtypes });
  if (card !== undefined) await writeWhole(output, name, new TextEncoder().encode(card));
}

/** Writes the card again, with what a text showed. */
export async function tellCard(
  out: string,
  input: Input,
  report: TimedReport,
  measured: Comparison,
  options: AdditionOptions,
): Promise<void> {
  const facts = await additionsOf(input, options);
  if (!facts) return;
  const { original, base, hasPython } = facts;
  const card = cardText(original.text, { ...factsOf(report, { base, hasPython }), measured });
  await writeAtomically(join(out, original.name), card, { force: true });
}

function factsOf(report: Omit<TimedReport, 'seconds'>, facts: Pick<CardFacts, 'base' | 'hasPython'>): CardFacts {
  const isRefined = report.tensors.some(({ weightedError }) => weightedError !== undefined);
  return { ...report, ...facts, isRefined };
}

// By a name of the hub, or by where its cache keeps the model.
function baseOf(path: string): string | undefined {
  const [, org, model] = /models--([\w.-]+?)--([\w.-]+)[\\/]snapshots[\\/]/.exec(path) ?? [];
  if (model) return `${org}/${model}`;
  if (!/^(hf:|https?:)/.test(path)) return undefined;
  return readName(path)?.repo;
}
