// What the command line puts beside quantized weights: the model's card, and the file by which transformers loads them.

import { join } from 'node:path';
import { writeWhole as writeFile } from '../../disk/commit.ts';
import type { Input } from '../../disk/input.ts';
import { readName } from '../../hub/name.ts';
import { type CardFacts, cardText, type OriginalCard, originalCard } from '../../interop/card.ts';
import { transformersFiles } from '../../interop/transformers.ts';
import { writeWhole } from '../../quantize/writer.ts';
import type { ResumableFolder } from '../../source/source.ts';
import type { TimedReport } from '../../terminal/report.ts';
import type { Comparison } from './comparison.ts';

/** What is put beside the weights. */
export interface AdditionOptions {
  transformers?: boolean;
  baseModel?: string;
}

/** Writes card and Python file before the output takes its name. */
export async function writeAdditions(
  output: ResumableFolder,
  input: Input,
  report: Omit<TimedReport, 'seconds'>,
  options: AdditionOptions,
): Promise<void> {
  if (input.isFile) return; // weights alone
  const original = await originalCard(input.folder);
  const files = new Map([[original.name, cardText(original.text, factsOf(report, input, options))]]);
  if (options.transformers) for (const [name, text] of await transformersFiles(output)) files.set(name, text);
  for (const [name, text] of files) await writeWhole(output, name, new TextEncoder().encode(text));
}

/** Writes the card again, with what a text showed. */
export async function tellCard(
  out: string,
  input: Input,
  report: TimedReport,
  measured: Comparison,
  options: AdditionOptions,
): Promise<void> {
  if (input.isFile) return;
  const { name, text }: OriginalCard = await originalCard(input.folder);
  const card = cardText(text, { ...factsOf(report, input, options), measured });
  await writeFile(join(out, name), card, { force: true });
}

function factsOf(report: Omit<TimedReport, 'seconds'>, input: Input, options: AdditionOptions): CardFacts {
  const isRefined = report.tensors.some(({ weightedError }) => weightedError !== undefined);
  const base = options.baseModel ?? baseOf(input.path);
  return { ...report, base, isRefined, hasPython: options.transformers ?? false };
}

// By a name of the hub, or by where its cache keeps the model.
function baseOf(path: string): string | undefined {
  const [, org, model] = /models--([\w.-]+?)--([\w.-]+)[\\/]snapshots[\\/]/.exec(path) ?? [];
  if (model) return `${org}/${model}`;
  if (!/^(hf:|https?:)/.test(path)) return undefined;
  return readName(path)?.repo;
}
