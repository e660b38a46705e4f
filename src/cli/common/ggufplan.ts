// What `higgs plan --format gguf` does: types for llama-quantize, chosen for a budget.

import { openOnce } from '../../checkpoint/checkpoint.ts';
import { checkWritable, writeWhole } from '../../disk/commit.ts';
import { openModel } from '../../disk/input.ts';
import { layOutGguf } from '../../interop/gguf/export.ts';
import { planGguf, typeFile } from '../../interop/gguf/plan.ts';
import { print, printJson } from '../../terminal/print.ts';
import { ggufPlanText } from '../../terminal/typed.ts';
import { UsageError } from '../../terminal/usage.ts';
import { type BitOptions, planningAlphas } from './budget.ts';
import { loadAll } from './session.ts';

interface Options extends BitOptions {
  output?: string | undefined;
  types?: string[] | undefined;
  imatrix?: boolean | undefined;
  threads: number;
  force?: boolean | undefined;
  all?: boolean | undefined;
  json?: boolean | undefined;
}

/** Options that choose among grids, or draw. */
const OF_GRIDS = [
  'grids',
  'keep',
  'minBits',
  'maxBits',
  'experts',
  'embeddings',
  'include',
  'exclude',
  'plot',
  'advise',
];

/** Plans, prints the plan beside llama-quantize's mixtures, and writes its file. */
export async function planForGguf(path: string, options: Options): Promise<void> {
  const { bpw, size, output, force = false } = options;
  const other = OF_GRIDS.find((key) => (options as unknown as Record<string, unknown>)[key] !== undefined);
  if (other) {
    const option = other.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new UsageError(`--${option} must be left out with --format gguf, which has types and no grids`);
  }
  const budget = bpw !== undefined ? { bpw } : size !== undefined ? { size } : undefined;
  if (!budget) throw new UsageError('--bpw or --size must be given');
  const input = await openModel(path);
  try {
    if (output !== undefined) await checkWritable(output, { force });
    const checkpoint = await (await loadAll()).open(input.folder);
    const layout = await layOutGguf(await openOnce(input.folder), { dtype: 'F16' });
    const tensors = await checkpoint.planTensors({ embeddings: 'any' });
    const found = await planningAlphas(options, checkpoint, input, options);
    const alphas = typeof found === 'function' ? await found(tensors) : found;
    const { types, imatrix: isWeighted = false } = options;
    const plan = planGguf(layout, alphas, { budget, types, isWeighted });
    if (output !== undefined) await writeWhole(output, typeFile(plan), { force });
    if (options.json) printJson({ plan });
    else print(ggufPlanText(plan, { all: options.all ?? false, file: output }));
  } finally {
    await input.folder.close();
  }
}
