// `npm run test:runtimes`: the same tests in every runtime, two runtimes at a time, and hashes of what the library makes.
// Fails when a test does, when hashes differ, and in CI when a runtime is missing. Arguments choose runtimes by name.

import { availableParallelism } from 'node:os';
import { browsers } from './browsers.ts';
import type { Hashes } from './hashes.ts';
import { processes } from './process.ts';
import { LIMIT_MS, type Run, type Runtime } from './runtime.ts';
import { webkit } from './webkit.ts';
import { workerd } from './workerd.ts';

const WHAT: (keyof Hashes)[] = [
  ...([
    'checkpoint',
    'dequantized',
    'matvec',
    'trellises',
    'labels',
    'plans',
    'logits',
    'sensitivities',
    'refined',
  ] as const),
];

const chosen = process.argv.slice(2).map((name) => name.toLowerCase());
const runtimes = [...processes, workerd, ...browsers, webkit].filter(
  ({ name }) => chosen.length === 0 || chosen.includes(name.toLowerCase()),
);
const header = ['runtime', 'version', 'passed', 'failed', 'seconds', ...WHAT.map((label) => `${label} SHA-256`)];
const rows: string[][] = [];
const faults: string[] = [];
const results: Hashes[] = [];
let missing = 0;

/** Runs one runtime, and keeps its row of the table at `index`. */
async function measure({ name, install, program, run }: Runtime, index: number): Promise<void> {
  if (program === undefined) {
    missing++;
    rows[index] = [name, `missing: ${install}`];
    return;
  }
  process.stderr.write(`${name} …\n`);
  const began = performance.now();
  try {
    const { version, outcome }: Run = await run(program, AbortSignal.timeout(LIMIT_MS));
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    const { passed, skipped, failures, hashes } = outcome;
    if (passed === 0) faults.push(`${name}: no test ran`);
    if (skipped > 0) faults.push(`${name}: ${skipped} tests were skipped`);
    for (const failure of failures) faults.push(`${name}: ${failure.name}\n    ${failure.message}`);
    results.push(hashes);
    const short = WHAT.map((label) => hashes[label].slice(0, 16));
    rows[index] = [name, version, String(passed), String(failures.length), seconds, ...short];
  } catch (error) {
    faults.push(`${name}: ${error instanceof Error ? error.message : error}`);
    rows[index] = [name, 'did not finish'];
  }
}

const waiting = runtimes.entries();
await Promise.all(
  Array.from({ length: Math.min(2, availableParallelism()) }, async () => {
    for (const [index, runtime] of waiting) await measure(runtime, index);
  }),
);

printTable([header, ...rows]);
console.log();
for (const label of WHAT) {
  const all = [...new Set(results.map((hashes) => hashes[label]))];
  if (all.length > 0) console.log(`${label} SHA-256: ${all.join(' ≠ ')}`);
  if (all.length > 1) faults.push(`the ${label} hashes differ`);
}
if (runtimes.length === 0) faults.push(`runtimes must be chosen by name: none is named ${chosen.join(', ')}`);
if (missing > 0 && process.env.CI) faults.push(`in CI no runtime may be missing: ${missing} are`);
for (const fault of faults) console.error(`\n   FAIL  ${fault}`);
console.log(
  faults.length > 0
    ? `\n${faults.length} fault${faults.length > 1 ? 's' : ''}`
    : `\n${results.length} runtimes, equal bits${missing ? `, ${missing} missing` : ''}`,
);
process.exitCode = faults.length > 0 ? 1 : 0;

// Columns as wide as their longest cell, but for notes in rows that have no numbers.
function printTable(table: string[][]): void {
  const full = table.filter((row) => row.length === table[0].length);
  const widths = table[0].map((_, i) => Math.max(...(i === 0 ? table : full).map((row) => row[i].length)));
  for (const row of table)
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    );
}
