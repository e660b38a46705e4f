// The process that runs cases: it may hang or run out of memory, and is then ended and started anew (watch.ts).

import { openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Files } from './checkpoint.ts';
import { minimised } from './minimise.ts';
import { judge, kindOf, type Verdict } from './oracle.ts';
import { randomOf } from './random.ts';
import { openWorld, type Target } from './target.ts';
import { targets } from './targets.ts';

/** What is asked for: cases from an index on for some time, or one of them. */
export interface Order {
  target: string;
  seed: number;
  from: number;
  milliseconds: number;
  /** Most cases. */
  count: number;
  /** Kinds of faults that were found before: they are counted only. */
  known: readonly string[];
}

/** A case that did not end as it may. */
export interface Finding {
  target: string;
  seed: number;
  index: number;
  fault: string;
  /** The smallest input found that has the same fault. */
  input: Files;
}

/** What became of an order. */
export interface Turn {
  cases: number;
  /** Of processor time: other work on the machine does not count. */
  milliseconds: number;
  outcomes: [outcome: string, cases: number][];
  findings: Finding[];
}

// A file with the index of the case at work, for who watches.
const progress = openSync(process.argv[2], 'r+');
const word = new Uint32Array(1);
process.chdir(dirname(process.argv[2])); // some texts are names of files that can be made
const world = await openWorld();

// Waits between attempts cost nothing here.
const wait = globalThis.setTimeout;
globalThis.setTimeout = ((run: () => void) => wait(run, 0)) as unknown as typeof setTimeout;

let noise: string | undefined;
const note = (label: string) => {
  noise ??= label;
};
for (const method of ['log', 'info', 'warn', 'error', 'debug', 'trace', 'dir'] as const) {
  console[method] = (...words: unknown[]) => note(`wrote to the console: ${String(words[0]).slice(0, 100)}`);
}
for (const stream of [process.stdout, process.stderr]) {
  stream.write = (text: string | Uint8Array) => {
    note(`wrote to the terminal: ${String(text).slice(0, 100)}`);
    return true;
  };
}
process.on('unhandledRejection', (reason) => note(`an unhandled rejection: ${String(reason).slice(0, 200)}`));

async function runInput({ run, subjects = ['memory'], theirs }: Target, files: Files): Promise<Verdict> {
  noise = undefined;
  let verdict: Verdict;
  try {
    verdict = { outcome: (await run(files, world)) ?? 'success' };
  } catch (error) {
    verdict = judge(error, subjects, theirs);
  }
  await new Promise((resolve) => setImmediate(resolve)); // rejections without a handler are told now
  return noise === undefined ? verdict : { fault: noise };
}

async function take({ target: name, seed, from, milliseconds, count, known: earlier }: Order): Promise<Turn> {
  const target = targets.find((candidate) => candidate.name === name)!;
  const outcomes = new Map<string, number>();
  const reported = new Set(earlier);
  const findings: Finding[] = [];
  const began = performance.now();
  const used = process.cpuUsage();
  let index = from;
  for (; index < from + count && performance.now() - began < milliseconds; index++) {
    word[0] = index;
    writeSync(progress, word, 0, 4, 0);
    const input = target.make(randomOf(seed, name, index), world);
    const { outcome, fault } = await runInput(target, input);
    const kind = outcome ?? `FAULT ${kindOf(fault)}`;
    outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1);
    if (fault === undefined || reported.has(kindOf(fault))) continue;
    reported.add(kindOf(fault));
    const isSame = async (files: Files) => {
      const other = (await runInput(target, files)).fault;
      return other !== undefined && kindOf(other) === kindOf(fault);
    };
    const smallest = await minimised(input, isSame, target.repair);
    findings.push({ target: name, seed, index, fault, input: smallest });
  }
  const { user, system } = process.cpuUsage(used);
  return { cases: index - from, milliseconds: (user + system) / 1000, outcomes: [...outcomes], findings };
}

process.on('message', (order: Order) => {
  take(order).then(
    (turn) => process.send!(turn),
    (error) => process.send!({ fault: `a fault of the fuzzer: ${error?.stack}`, index: word[0] }),
  );
});
process.on('disconnect', () => process.exit());
process.send!('ready');
