// A server under a crowd: clients that read, read slowly, leave, and send too much. What it prints: requests by their ends, tokens/s, and the
// server's resident memory. Ends with 1 where a text is not what it is alone, a request fails otherwise than by 429, or memory grows.
//   node build/bench/soak.js <model> [seconds] [clients] [options of higgs serve…]
// A model without a tokenizer is given one that tells its ids. Memory is told by /proc: on Linux alone.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { askAlone, gather } from '../tests/crowd.ts';
import { withTokenizer } from './tokenizer.ts';

const [path = '', length = '60', clients = '64', ...options] = process.argv.slice(2);
const seconds = Number(length);
/** Tokens of a text, at most. */
const TOKENS = 48;
/** Shares of the time: until memory is taken for warm, and of the two ends that are compared. */
const WARM = 0.3;
const SHARE = 0.15;
/** How much memory may grow meanwhile. */
const GROWTH = 0.05;

const served = ['serve', withTokenizer(path), '--port', '0', '--json', '--context', '256', '--parallel', '16'];
const server = spawn(process.execPath, ['build/higgs.js', ...served, '--queue', '44', '--log', 'none', ...options], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
process.on('exit', () => server.kill());
const lines = createInterface({ input: server.stdout });
const address: string = await new Promise((resolve) => {
  lines.once('line', (line) => resolve(JSON.parse(line).address));
});

const residentMegabytes = () => {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))!;
  return Number(kilobytes) / 1024;
};
const reference = await askAlone(address, TOKENS);
const sizes: number[] = [];
const looking = setInterval(() => sizes.push(residentMegabytes()), 1000);
const began = performance.now();
const { faults, ...counts } = await gather(address, reference, { clients: Number(clients), seconds });
const took = (performance.now() - began) / 1000;
clearInterval(looking);

const again = await askAlone(address, TOKENS);
const isSame = JSON.stringify(again) === JSON.stringify(reference);
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];
const share = Math.max(1, Math.floor(sizes.length * SHARE));
const warm = Math.floor(sizes.length * WARM);
const [before, after] = [median(sizes.slice(warm, warm + share)), median(sizes.slice(-share))];
const growth = after / before - 1;
console.log(JSON.stringify({ ...counts, faults: faults.length, seconds: took, tokensPerSecond: counts.tokens / took }));
console.log(`MB: ${before.toFixed(0)} warm, ${after.toFixed(0)} at the end (${(growth * 100).toFixed(1)} %)`);
console.log(
  `MB, ten times: ${Array.from({ length: 10 }, (_, i) => sizes[Math.floor((i * sizes.length) / 10)]?.toFixed(0)).join(' ')}`,
);
for (const fault of new Set(faults.slice(0, 20))) console.log(fault);
console.log(
  await (await fetch(`${address}/metrics`))
    .text()
    .then((text) => text.match(/^higgs_(active|waiting)\S* \d+$/gm)?.join(', ')),
);
if (!isSame) console.log('afterwards a text alone was another');
process.exitCode = faults.length > 0 || !isSame || growth > GROWTH ? 1 : 0;
server.kill();
