// higgs inspect: what a checkpoint holds, from its headers.

import type { Command } from 'commander';
import { openInput } from '../disk/input.ts';
import type { InspectedTensor, Inspection } from '../quantize/inspect.ts';
import { bytesText, counted, countText, family, groupedBy, largest, precise, table } from '../terminal/figures.ts';
import { addExamples, addPrinting, GROUPS } from '../terminal/help.ts';
import { layerTables } from '../terminal/layers.ts';
import { columns, note, print, printJson } from '../terminal/print.ts';
import { gridCell } from '../terminal/report.ts';
import { adviceOf, adviceRemarks, adviceText } from './common/advice.ts';
import { loadHiggs } from './common/session.ts';

/** Adds the verb `inspect`. */
export function addInspect(program: Command): void {
  const command = program
    .command('inspect')
    .summary('show what a checkpoint holds, quantized or not')
    .description(
      'Shows tensors, dtypes, shapes, grids, bits per weight, sizes and t²: one row for tensors whose names differ only in numbers. Reads headers only.',
    )
    .argument('<input>', 'a checkpoint’s directory, a .safetensors or a .gguf file, or hf:org/model');
  command
    .optionsGroup(GROUPS.measuring)
    .option('--advise', 'also show size, memory, speed and loss at several bits, as `higgs advise` does');
  addPrinting(command, 'print every tensor as JSON', 'a row for every tensor');
  addExamples(command, [
    ['higgs inspect Llama-3.2-1B-higgs'],
    ['higgs inspect Llama-3.2-1B-higgs --all'],
    ['higgs inspect Llama-3.2-1B --advise'],
    ['higgs inspect model.safetensors --json'],
  ]).action(inspect);
}

async function inspect(path: string, options: { all?: boolean; advise?: boolean; json?: boolean }): Promise<void> {
  const input = await openInput(path);
  try {
    const source = await (await loadHiggs()).open(input.folder);
    const inspection = await source.inspect();
    const advice = options.advise ? await adviceOf(source, input) : undefined;
    if (options.json) {
      printJson(advice ? { ...inspection, sizes: advice.sizes } : inspection);
      return;
    }
    const summary = `${counted(inspection.tensors.length, 'tensor')}, ${countText(inspection.parameters)} parameters, ${bytesText(inspection.bytes)} in ${counted(inspection.files.length, 'file')}`;
    print(
      `${options.all ? everyText(inspection) : kindsText(inspection)}\n\n` +
        `${summary}${inspection.quantized ? `, quantized weights at ${inspection.bpw.toFixed(2)} bits per weight` : ''}` +
        (inspection.refinement ? `\n${refinementText(inspection)}` : ''),
    );
    if (!advice) return;
    print(`\n${adviceText(advice)}`);
    for (const line of adviceRemarks(advice)) note(line);
  } finally {
    await input.folder.close();
  }
}

// By what, and how much above what is expected the weighted errors are.
function refinementText({ tensors, refinement = {} }: Inspection): string {
  const { mode, weighted, source, sequences, tokens, seed } = refinement;
  const refined = tensors.flatMap(({ weightedError, gain, gridMse }) =>
    gain ? [weightedError! / (gain * gridMse!)] : [],
  );
  const of = source === 'model' ? 'that the model sampled' : source === 'text' ? 'of a text' : 'at random';
  const by = mode === 'both' ? 'inputs and gradients' : weighted === true ? 'inputs weighted by gradients' : 'inputs';
  const ratio = refined.length > 0 ? `, weighted errors at most ${largest(refined).toFixed(2)} × what is expected` : '';
  return `${counted(refined.length, 'weight')} refined by ${by} of ${sequences} sequences of ${tokens} tokens ${of}, seed ${seed}${ratio}`;
}

function everyText({ tensors }: Inspection): string {
  const rows = tensors.map(({ name, dtype, shape, grid, groupSize, bpw, bytes, relativeError, gridMse }) => [
    ...[name, dtype, shape.join(' × '), grid === undefined ? '' : `${grid} g${groupSize}`, bpw?.toFixed(2) ?? ''],
    ...[bytesText(bytes), relativeError === undefined ? '' : precise(relativeError, 4)],
    relativeError === undefined ? '' : (relativeError / gridMse!).toFixed(3),
  ]);
  return table(['tensor', 'dtype', 'shape', 'grid', 'bpw', 'size', 't²', '× MSE'], rows, [0, 1, 3]);
}

// A row for tensors whose names differ in numbers alone. Of grids that differ by layer, which layer has which.
function kindsText({ tensors, quantized }: Inspection): string {
  const isMixed = groupedBy(tensors, ({ name }) => family(name)).some((members) =>
    members.some(({ grid }) => grid !== members[0].grid),
  );
  const groups = new Set(tensors.flatMap(({ groupSize }) => groupSize ?? []));
  const key = ({ name, dtype, shape, grid, groupSize }: InspectedTensor) =>
    [family(name), dtype, shape, ...(isMixed ? [] : [grid, groupSize])].join('\n');
  const rows = groupedBy(tensors, key).map((members) => {
    const { name, dtype, shape, grid, groupSize } = members[0];
    const bits = members.flatMap(({ bpw }) => bpw ?? []);
    const errors = members.flatMap(({ relativeError }) => relativeError ?? []);
    const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const grids = new Set(members.map((tensor) => tensor.grid));
    return [
      ...[members.length === 1 ? name : family(name), dtype, shape.join(' × '), String(members.length)],
      bytesText(members.reduce((sum, { bytes }) => sum + bytes, 0)),
      ...(quantized
        ? [
            grid === undefined ? '' : grids.size > 1 ? 'mixed' : groups.size > 1 ? `${grid} g${groupSize}` : grid,
            bits.length > 0 ? mean(bits).toFixed(2) : '',
            errors.length > 0 ? precise(mean(errors), 3) : '',
          ]
        : []),
    ];
  });
  const head = ['tensors', 'dtype', 'shape', 'count', 'size', ...(quantized ? ['grid', 'bpw', 't²'] : [])];
  const mixed = tensors.flatMap(({ name, grid }) => (grid === undefined ? [] : [{ name, grid }]));
  return [...(isMixed ? [layerTables(mixed.map(gridCell), columns()), ''] : []), table(head, rows, [0, 1, 5])].join(
    '\n',
  );
}
