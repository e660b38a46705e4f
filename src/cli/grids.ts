// higgs grids: every grid that can be named, with what it costs and what it loses.

import type { Command } from 'commander';
import { isTrellis } from '../grids/grid.ts';
import { DEFAULT_GRIDS } from '../quantize/scheme.ts';
import { precise, table } from '../terminal/figures.ts';
import { addExamples, addPrinting } from '../terminal/help.ts';
import { print, printJson } from '../terminal/print.ts';
import { GRIDS } from '../terminal/usage.ts';

/** Adds the verb `grids`. */
export function addGrids(program: Command): void {
  const command = program
    .command('grids')
    .summary('list the grids that weights can be rounded to')
    .description(
      'Lists the grids that weights can be rounded to: bits of a weight without scales, the mean squared error on N(0, 1), and its ratio to the least error that any code of these bits can have.',
    );
  addPrinting(command, 'print as JSON');
  addExamples(command, [['higgs grids'], ['higgs quantize Llama-3.2-1B -o small --grid t4q']]).action(list);
}

function list({ json }: { json?: boolean }): void {
  const defaults = new Set(Object.values(DEFAULT_GRIDS));
  const grids = GRIDS.map((grid) => {
    const bits = grid.bits / grid.p;
    const kind = isTrellis(grid) ? 'trellis' : 'points';
    const { name, mse } = grid;
    return { name, kind, bits, mse, timesBound: mse * 4 ** bits, isDefault: defaults.has(name) };
  }).sort((a, b) => a.bits - b.bits || a.mse - b.mse);
  if (json) {
    printJson(grids);
    return;
  }
  const rows = grids.map(({ name, kind, bits, mse, timesBound, isDefault }) => [
    ...[name, kind, String(bits), precise(mse, 3), timesBound.toFixed(2)],
    isDefault ? `--bits ${bits}` : '',
  ]);
  print(
    `${table(['grid', 'kind', 'bits', 'MSE', '× bound', 'default of'], rows, [0, 1, 5])}\n\n` +
      'Scales add 16 / group bits: 0.02 in groups of 1024.',
  );
}
