// npm run fuzz -- --seconds 60 --seed 1 [--cases 20000] [--only header,model] [--case SEED:INDEX] [--json]
// Targets take turns until the time is over, or until each has run --cases. Every finding comes with the command that runs it again and with its smallest input,
// which is stored; any finding ends the program with 1.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { kindOf } from './oracle.ts';
import type { Finding } from './runner.ts';
import { targets } from './targets.ts';
import { startRunner, type Watched } from './watch.ts';

/** Milliseconds of a target's turn, and between two lines of progress. */
const TURN = 1000;
const TELL_EVERY = 10_000;
/** Where inputs of findings are stored. */
const FOLDER = 'build/fuzz';

interface Tally {
  cases: number;
  milliseconds: number;
  next: number;
  outcomes: Map<string, number>;
}

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    cases: { type: 'string', default: 'Infinity' },
    only: { type: 'string' },
    case: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const names = targets.map(({ name }) => name);
const only = options.only?.split(',') ?? names;
for (const name of only) if (!names.includes(name)) fail(`--only must name some of ${names.join(', ')}: got ${name}`);
const [seed, single] = (options.case ?? options.seed).split(':').map(Number);
if (!Number.isInteger(seed) || (options.case !== undefined && !Number.isInteger(single)))
  fail('--seed must be an integer, --case two with a colon between');
if (options.case !== undefined && only.length !== 1) fail('--case must come with --only and one target');
const seconds = Number(options.seconds);
if (!(seconds > 0)) fail(`--seconds must be a number above 0: got ${options.seconds}`);
const cases = Number(options.cases);
if (!(cases > 0)) fail(`--cases must be a number above 0: got ${options.cases}`);

const tallies = new Map(
  only.map((name): [string, Tally] => [name, { cases: 0, milliseconds: 0, next: 0, outcomes: new Map() }]),
);
const findings: Finding[] = [];
const runner = startRunner();
const began = performance.now();
let reportedAt = began;

if (options.case !== undefined) {
  tallies.get(only[0])!.next = single;
  await turn(only[0], Infinity, 1);
} else {
  const end = began + seconds * 1000;
  for (let open = only; open.length > 0 && performance.now() < end; ) {
    open = open.filter((name) => tallies.get(name)!.next < cases);
    for (const name of open) {
      const left = end - performance.now();
      const slice = Math.min(left, TURN, (seconds * 1000) / only.length);
      if (left > 0) await turn(name, slice, cases - tallies.get(name)!.next);
      tell();
    }
  }
}
runner.end();
report();
process.exitCode = findings.length > 0 ? 1 : 0;

async function turn(target: string, milliseconds: number, count: number): Promise<void> {
  const tally = tallies.get(target)!;
  const from = tally.next;
  const actual: Watched = await runner.run({ target, seed, from, milliseconds, count, known: kindsOf(target) });
  if ('fault' in actual) {
    const { fault, index } = actual;
    const isNew = !findings.some((other) => other.target === target && other.fault === fault);
    if (isNew) findings.push({ target, seed, index, fault, input: {} });
    tally.cases += index + 1 - from;
    tally.next = index + 1;
    return;
  }
  tally.cases += actual.cases;
  tally.milliseconds += actual.milliseconds;
  tally.next = from + actual.cases;
  for (const [outcome, cases] of actual.outcomes)
    tally.outcomes.set(outcome, (tally.outcomes.get(outcome) ?? 0) + cases);
  findings.push(...actual.findings);
}

function kindsOf(target: string): string[] {
  return findings.filter((actual) => actual.target === target).map(({ fault }) => kindOf(fault));
}

function tell(): void {
  if (options.json || performance.now() - reportedAt < TELL_EVERY) return;
  reportedAt = performance.now();
  const cases = [...tallies.values()].reduce((sum, { cases }) => sum + cases, 0);
  console.log(`${Math.round((reportedAt - began) / 1000)} s: ${cases} cases, ${findings.length} findings`);
}

function report(): void {
  const rows = [...tallies].map(([target, { cases, milliseconds, outcomes }]) => ({
    target,
    cases,
    perSecond: milliseconds === 0 ? 0 : Math.round((cases / milliseconds) * 1000),
    successes: outcomes.get('success') ?? 0,
    outcomes: Object.fromEntries([...outcomes].sort(([, a], [, b]) => b - a)),
  }));
  const actual = findings.map(({ input, ...finding }) => ({
    ...finding,
    replay: `npm run fuzz -- --only ${finding.target} --case ${finding.seed}:${finding.index}`,
    stored: store(finding, input),
  }));
  if (options.json) {
    console.log(JSON.stringify({ seed, seconds, targets: rows, findings: actual }, null, 2));
    return;
  }
  for (const { target, cases, perSecond, successes, outcomes } of rows) {
    const kinds = Object.keys(outcomes).length;
    console.log(
      `${target.padEnd(10)} ${String(cases).padStart(8)} cases ${String(perSecond).padStart(7)}/s ${String(successes).padStart(8)} successes ${String(kinds).padStart(5)} outcomes`,
    );
  }
  for (const { target, fault, replay, stored } of actual)
    console.log(`\n${target}: ${fault}\n  ${replay}\n  ${stored}`);
  console.log(actual.length === 0 ? 'Nothing was found.' : `\n${actual.length} found.`);
}

function store({ target, seed, index }: Omit<Finding, 'input'>, input: Finding['input']): string {
  if (Object.keys(input).length === 0) return 'the input is that of the case';
  const folder = join(FOLDER, `${target}-${seed}-${index}`);
  mkdirSync(folder, { recursive: true });
  const sizes = Object.entries(input).map(([name, bytes]) => {
    writeFileSync(join(folder, name.replace(/[^\w.-]/g, '_')), bytes);
    return `${name} (${bytes.length} bytes)`;
  });
  return `smallest input: ${folder}: ${sizes.join(', ')}`;
}

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}
