// `npm test`: runs every suite of build/tests in a process of its own, two at a time, and adds up what they count.
// `node tests/run.mjs PATTERN` runs the suites whose names match; `--jobs N` runs N at a time.
// A suite's output is printed whole when the suite ends; those that failed come again at the end. A suite that dies counts as one failure more.

import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({ options: { jobs: { type: 'string' } }, allowPositionals: true });
const jobs = Number(values.jobs ?? Math.min(2, availableParallelism()));

/** Suites that take minutes: they begin first, so that none of them is left for the end. */
const LONG = ['crash', 'cli-parts', 'transformers', 'cli-kept', 'readme', 'page', 'cluster', 'arguments'];

const rank = (name) => LONG.indexOf(name.replace(/\.test\.js$/, '')) >>> 0;
const suites = readdirSync('build/tests')
  .filter((name) => name.endsWith('.test.js') && new RegExp(positionals[0] ?? '').test(name))
  .sort((a, b) => rank(a) - rank(b));
const began = performance.now();
const sums = { Total: 0, Passed: 0, Skipped: 0 };
const failures = [];

/** Runs one suite; resolves when its output is printed and its numbers are added. */
function run(name) {
  const child = spawn(process.execPath, ['node_modules/uvu/bin.js', 'build/tests', `^${name.replaceAll('.', '\\.')}$`]);
  const start = performance.now();
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  return new Promise((resolve) => {
    child.on('close', (code) => {
      const counted = Object.fromEntries(Object.keys(sums).map((name) => [name, countOf(output, name)]));
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      const text = output.replace(/\S*\n {2}Total: .*$/s, `\x1b[0m  ${seconds} s\n`);
      const died = code !== 0 && counted.Passed + counted.Skipped === counted.Total;
      if (died) counted.Total++;
      const told = died ? `${text}\n${name} FAIL: ended with ${code}` : text;
      console.log(told);
      if (code !== 0) failures.push(told);
      for (const what of Object.keys(sums)) sums[what] += counted[what];
      resolve();
    });
  });
}

/** The number after `what:` among the last lines of a suite. */
function countOf(output, what) {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with this one
  const plain = output.replace(/\x1b\[[0-9;]*m/g, '');
  return Number(plain.match(new RegExp(`^ *${what}: *(\\d+)`, 'm'))?.[1] ?? 0);
}

await Promise.all(
  Array.from({ length: jobs }, async () => {
    for (let name = suites.shift(); name !== undefined; name = suites.shift()) await run(name);
  }),
);
for (const failure of failures) console.log(failure);
for (const [what, count] of Object.entries(sums)) console.log(`  ${`${what}:`.padEnd(10)} ${count}`);
console.log(`  Duration:  ${((performance.now() - began) / 1000).toFixed(0)} s`);
process.exitCode = failures.length > 0 ? 1 : 0;
