// Clients that come to a server all at once: readers, slow readers, ones that leave in the middle, ones that send too much. Whatever else runs,
// each is given what it is given alone: the same text, and the same probability of every token.

import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { type Random, randomOf } from './fuzz/random.ts';

/** What a request was given: of each choice its text and its tokens' probabilities. */
interface Given {
  readonly texts: string[];
  readonly logprobs: number[][];
}

/** A request, and what it is given alone. */
interface Known {
  readonly body: Readonly<Record<string, unknown>>;
  readonly alone: Given;
}

/** What became of the requests. */
export interface Crowd {
  whole: number;
  left: number;
  /** Answers of 429, and of 413 to bodies that are too large. */
  refused: number;
  tooLarge: number;
  tokens: number;
  /** What may not be. */
  faults: string[];
}

/** How a client behaves. */
type Manner = 'reads' | 'slow' | 'leaves' | 'large';

const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const schema = {
  type: 'object',
  properties: { unit: { enum: ['C', 'F'] }, name: { type: 'string', maxLength: 8 } },
  required: ['unit', 'name'],
};

/** Requests of completions: streams and whole answers, prefixes that are shared, several choices, schemas, stops. */
function bodies(tokens: number): Record<string, unknown>[] {
  return Array.from({ length: 24 }, (_, i) => ({
    prompt: `${'It was a dark and stormy night. '.repeat(i % 4)}Once upon a time, number ${i >> 2},`,
    ...{ seed: i, temperature: 1, logprobs: 1, max_tokens: tokens - (i % 7), stream: i % 5 !== 0 },
    ...(i % 6 === 1 && { n: 2 }),
    ...(i % 8 === 3 && { response_format: { type: 'json_schema', json_schema: { name: 'unit', schema } } }),
    ...(i % 8 === 5 && { stop: ['e', '7'] }),
  }));
}

function ask(
  address: string,
  body: string | readonly string[],
): { request: ClientRequest; response: Promise<IncomingMessage> } {
  const headers = typeof body === 'string' ? { 'content-length': Buffer.byteLength(body) } : {};
  const request = httpRequest(`${address}/v1/completions`, { method: 'POST', agent, headers });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    request.on('response', resolve).on('error', reject);
  });
  response.catch(() => {});
  for (const part of [body].flat()) request.write(part);
  request.end();
  return { request, response };
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  for await (const part of response.setEncoding('utf8')) text += part;
  return text;
}

interface Choice {
  index: number;
  text: string;
  logprobs: { token_logprobs: number[] } | null;
}

function take(given: Given, choices: readonly Choice[]): number {
  let tokens = 0;
  for (const { index, text, logprobs } of choices) {
    given.texts[index] = (given.texts[index] ?? '') + text;
    given.logprobs[index] ??= [];
    given.logprobs[index].push(...(logprobs?.token_logprobs ?? []));
    tokens += logprobs?.token_logprobs.length ?? 0;
  }
  return tokens;
}

/** Reads an answer. @param step called behind each event; false to read no further @throws {Error} when it is no whole answer */
async function read(response: IncomingMessage, step: () => Promise<boolean>): Promise<Given & { isWhole: boolean }> {
  const given: Given = { texts: [], logprobs: [] };
  if (!response.headers['content-type']?.startsWith('text/event-stream')) {
    take(given, JSON.parse(await textOf(response)).choices);
    return { ...given, isWhole: true };
  }
  let [text, isWhole] = ['', false];
  for await (const part of response.setEncoding('utf8')) {
    const blocks = (text + part).split('\n\n');
    text = blocks.pop()!;
    for (const block of blocks) {
      if (block === 'data: [DONE]') isWhole = true;
      else if (!block.startsWith(':')) {
        const event = JSON.parse(block.slice('data: '.length));
        if (event.error) throw new Error(`an event is an error: ${event.error.message}`);
        take(given, event.choices);
      }
    }
    if (!(await step())) return { ...given, isWhole };
  }
  if (!isWhole) throw new Error('the events ended before they were done');
  return { ...given, isWhole };
}

/** Asks one after another what each request is given. @param tokens most of a text */
export async function askAlone(address: string, tokens: number): Promise<Known[]> {
  const references: Known[] = [];
  for (const body of bodies(tokens)) {
    const response = await ask(address, JSON.stringify(body)).response;
    if (response.statusCode !== 200) throw new Error(`${response.statusCode}: ${await textOf(response)}`);
    references.push({ body, alone: await read(response, async () => true) });
  }
  return references;
}

const isSame = (got: Given, { alone }: Known, isWhole: boolean) =>
  alone.texts.every((text, i) => {
    const [answer, chances] = [got.texts[i] ?? '', got.logprobs[i] ?? []];
    const hasBegin = text.startsWith(answer) && chances.every((chance, j) => Object.is(chance, alone.logprobs[i][j]));
    return hasBegin && (!isWhole || (answer === text && chances.length === alone.logprobs[i].length));
  });

// One request of a client.
async function once(address: string, reference: Known, manner: Manner, random: Random, crowd: Crowd): Promise<void> {
  const { body } = reference;
  if (manner === 'large') return tooLarge(address, random, crowd);
  const { request, response: coming } = ask(address, JSON.stringify(body));
  let [left, isGone] = [random.below(20), false];
  const leave = () => {
    isGone = true;
    request.destroy();
  };
  const timer = manner === 'leaves' && random.chance(0.3) ? setTimeout(leave, random.below(300)) : undefined;
  try {
    const response = await coming;
    if (response.statusCode === 429) {
      await textOf(response);
      crowd.refused++;
      return void (await wait(50 + random.below(200)));
    }
    if (response.statusCode !== 200) throw new Error(`${response.statusCode}: ${await textOf(response)}`);
    const given = await read(response, async () => {
      if (manner === 'slow') await wait(random.below(120));
      return manner !== 'leaves' || left-- > 0;
    });
    if (!isSame(given, reference, given.isWhole)) crowd.faults.push(`not what it is alone: ${JSON.stringify(body)}`);
    crowd.tokens += given.logprobs.flat().length;
    if (given.isWhole) crowd.whole++;
    else {
      crowd.left++;
      request.destroy();
    }
  } catch (error) {
    if (isGone) crowd.left++;
    else crowd.faults.push(`${manner}: ${(error as Error).message}`);
  } finally {
    clearTimeout(timer);
  }
}

const LARGE = 'x'.repeat(1 << 20);

// More than a body may have, told before or not. The server may close what is not read.
async function tooLarge(address: string, random: Random, crowd: Crowd): Promise<void> {
  const parts = ['{"prompt": "', ...Array.from({ length: 9 }, () => LARGE), '"}'];
  const { request, response: coming } = ask(address, random.chance(0.5) ? parts : parts.join(''));
  try {
    const response = await coming;
    await textOf(response);
    // The server gives up on one of unknown size that takes too long.
    if (response.statusCode === 413 || response.statusCode === 408) crowd.tooLarge++;
    else crowd.faults.push(`a body that is too large: ${response.statusCode}`);
  } catch (error) {
    if (/ECONNRESET|EPIPE/.test((error as NodeJS.ErrnoException).code ?? '')) crowd.tooLarge++;
    else crowd.faults.push(`a body that is too large: ${(error as Error).message}`);
  } finally {
    request.destroy();
  }
}

/** Has clients ask again and again, until it is time. */
export async function gather(
  address: string,
  references: readonly Known[],
  { clients, seconds, seed = 1 }: { clients: number; seconds: number; seed?: number },
): Promise<Crowd> {
  const crowd: Crowd = { whole: 0, left: 0, refused: 0, tooLarge: 0, tokens: 0, faults: [] };
  const end = performance.now() + seconds * 1000;
  const client = async (index: number) => {
    const random = randomOf(seed, 'crowd', index);
    while (performance.now() < end) {
      const manner = random.chance(0.03)
        ? 'large'
        : random.pick<Manner>(['reads', 'reads', 'reads', 'slow', 'leaves', 'leaves']);
      await once(address, random.pick(references), manner, random, crowd);
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, index) => client(index)));
  agent.destroy();
  return crowd;
}
