// A server of the OpenAI API at 1, 4 and 8 streams: tokens/s, requests/s, time to the first token. Beside llama-server, if it is given.
//   node build/bench/serving.js <model> [--tokens 64] [--requests 16] [--peer <llama-server> --gguf <file>] [--threads 1] [-- options of higgs serve…]
// Tokens/s are by wall clock and by the server's processor time, which other work on the machine does not change. Both generate as many tokens,
// greedily, and take prompts of their own: neither finds any in its cache.

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { withTokenizer } from './tokenizer.ts';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: 'string', default: '64' },
    requests: { type: 'string', default: '16' },
    threads: { type: 'string', default: '1' },
    peer: { type: 'string' },
    gguf: { type: 'string' },
  },
});
const [path = '', ...more] = positionals;
const [tokens, requests] = [Number(options.tokens), Number(options.requests)];
const STREAMS = [1, 4, 8];
/** Units of /proc: hundredths of a second. */
const TICKS = 100;

interface Served {
  readonly child: ChildProcess;
  readonly address: string;
}

async function higgs(): Promise<Served> {
  const args = ['build/higgs.js', 'serve', withTokenizer(path), '--port', '0', '--json', '--log', 'none'];
  const sizes = ['--context', '512', '--parallel', '8', '--threads', options.threads];
  const child = spawn(process.execPath, [...args, ...sizes, ...more], { stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await new Promise<string>((resolve) => child.stdout.once('data', (data) => resolve(String(data))));
  return { child, address: JSON.parse(line.split('\n')[0]).address };
}

async function peer(binary: string, gguf: string): Promise<Served> {
  const port = 20_000 + (process.pid % 20_000);
  const sizes = ['-c', String(512 * 8), '-np', '8', '-t', options.threads, '-tb', options.threads];
  const child = spawn(binary, ['-m', gguf, '--port', String(port), ...sizes], { stdio: 'ignore' });
  const address = `http://127.0.0.1:${port}`;
  for (;;) {
    const isReady = await fetch(`${address}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (isReady) return { child, address };
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

let turn = 0;

/** Asks for a text. @returns milliseconds to its first token */
async function ask(address: string): Promise<{ firstMs: number; tokens: number }> {
  const prompt = `Chapter ${++turn}.`;
  const body = { prompt, max_tokens: tokens, temperature: 0, stream: true, ignore_eos: true };
  const began = performance.now();
  const response = await fetch(`${address}/v1/completions`, { method: 'POST', body: JSON.stringify(body) });
  if (!response.ok) throw new Error(await response.text());
  let [firstMs, text] = [0, ''];
  for await (const part of response.body!) {
    if (firstMs === 0) firstMs = performance.now() - began;
    text += Buffer.from(part).toString();
  }
  if (!text.includes('[DONE]')) throw new Error('the stream must be whole');
  return { firstMs, tokens };
}

function processorSeconds({ child }: Served): number {
  const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

async function measure(served: Served, streams: number) {
  const [began, used] = [performance.now(), processorSeconds(served)];
  let left = requests;
  const firsts: number[] = [];
  const stream = async () => {
    while (left-- > 0) firsts.push((await ask(served.address)).firstMs);
  };
  await Promise.all(Array.from({ length: streams }, stream));
  const seconds = (performance.now() - began) / 1000;
  const processor = processorSeconds(served) - used;
  const first = firsts.sort((a, b) => a - b)[firsts.length >> 1];
  return {
    rate: (requests * tokens) / seconds,
    perProcessor: (requests * tokens) / processor,
    first,
    asked: requests / seconds,
  };
}

const servers = new Map([['higgs serve', await higgs()]]);
if (options.peer !== undefined) servers.set('llama-server', await peer(options.peer, options.gguf!));
process.on('exit', () => {
  for (const { child } of servers.values()) child.kill();
});
console.log(
  '| server | streams | tokens/s | tokens / processor second | × one stream | requests/s | first token, ms |\n|---|---|---|---|---|---|---|',
);
const ones = new Map<string, number>();
for (const served of servers.values()) for (let i = 0; i < 2; i++) await ask(served.address);
for (const streams of STREAMS) {
  for (const [name, served] of servers) {
    const { rate, perProcessor, first, asked } = await measure(served, streams);
    if (streams === 1) ones.set(name, perProcessor);
    const cells = [rate.toPrecision(3), perProcessor.toPrecision(3), (perProcessor / ones.get(name)!).toFixed(2)];
    console.log(`| ${[name, streams, ...cells, asked.toPrecision(3), first.toFixed(0)].join(' | ')} |`);
  }
}
process.exit();
