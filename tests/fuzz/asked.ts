// Requests of a server. The answer is JSON or events of the endpoint's shape, or an error that one line explains, and never a fault of ours. What
// is asked again as a stream, or as a whole, says the same.

import { createServer, type Server } from '../../src/server/server.ts';
import { HERMES, NAMED, PLAIN, servedModel } from '../served.ts';
import { randomBody } from './bodies.ts';
import { changeBytes } from './bytes.ts';
import { expect, Fault, shapeOf, wrongIn } from './oracle.ts';
import { CASE_NAME, caseOf, choicesOf, encode, type Target } from './target.ts';

/** JSON of a shape that is known when it is looked at. */
type Json = ReturnType<typeof JSON.parse>;

let server: Promise<Server> | undefined;
let cause: unknown;

async function open(): Promise<Server> {
  const [hermes, plain, named] = await Promise.all(
    [HERMES, PLAIN, NAMED].map((template) => servedModel({ template, context: 96, cacheTokens: 512 })),
  );
  return createServer({ models: { hermes, plain, named }, onRequest: (log) => (cause = log.cause) });
}

/** Statuses that a body may be answered with. */
const REFUSALS = new Set([400, 404, 413]);

interface Answer {
  status: number;
  /** Of a stream its events, else the one answer. */
  values: Json[];
  isStream: boolean;
  error?: { message: string; type: string; param: string | null; code: string | null };
}

async function ask(path: string, body: Uint8Array<ArrayBuffer>): Promise<Answer> {
  server ??= open();
  const running = await server;
  cause = undefined;
  const response = await running.request(path, { method: 'POST', body });
  const { status } = response;
  const text = await response.text();
  if (status >= 500 || cause) throw new Fault(`${status}: ${(cause as Error)?.stack ?? text}`);
  expect(running.state.active + running.state.waiting === 0, 'a request that is over holds no place');
  const isStream = response.headers.get('content-type')!.startsWith('text/event-stream');
  const values = isStream ? eventsIn(text, path) : [JSON.parse(text)];
  const error = values.find((value) => value.error)?.error;
  if (error) checkError(error);
  else expect(status === 200, `an answer of ${status} has an error`);
  expect(status === 200 || REFUSALS.has(status), `a status of ${status}`);
  return { status, values, isStream, ...(error && { error }) };
}

function eventsIn(text: string, path: string): Record<string, unknown>[] {
  const data = text
    .split('\n\n')
    .filter((block) => block !== '' && !block.startsWith(':'))
    .map((block) => block.slice(block.indexOf('data: ') + 'data: '.length));
  const isDone = data.at(-1) === '[DONE]';
  const values = (isDone ? data.slice(0, -1) : data).map((each) => JSON.parse(each));
  const isFailed = values.some((value) => value.error);
  expect(isDone === (path !== '/v1/responses' && !isFailed), 'a stream that is whole ends with [DONE]');
  return values;
}

function checkError({ message, type, param, code }: NonNullable<Answer['error']>): void {
  expect(typeof message === 'string' && typeof type === 'string', 'an error has a message and a type');
  expect(
    [param, code].every((each) => each === null || typeof each === 'string'),
    'an error has a param and a code',
  );
  const wrong = wrongIn(message, THEIRS);
  if (wrong !== undefined) throw new Fault(`${wrong}: ${message}`);
}
/** Words of the grammar engine's and of templates, which are told as they are. */
const THEIRS = /undefined|null \(/g;

/** Text of each choice, and why it ended. */
interface Said {
  texts: string[];
  finishes: string[];
}

function chatSaid({ values, isStream }: Answer): Said {
  const said: Said = { texts: [], finishes: [] };
  for (const { choices } of values) {
    for (const { index, message, delta, finish_reason: finish, logprobs } of choices) {
      const { content, tool_calls: calls = [] } = isStream ? delta : message;
      said.texts[index] = (said.texts[index] ?? '') + (content ?? '');
      for (const call of calls) JSON.parse(call.function.arguments);
      for (const { logprob } of logprobs?.content ?? []) expect(logprob <= 1e-6, 'a probability is no more than 1');
      if (finish !== null) {
        expect(said.finishes[index] === undefined, 'a choice ends once');
        said.finishes[index] = finish;
      }
    }
  }
  return said;
}

function completionSaid({ values }: Answer): Said {
  const said: Said = { texts: [], finishes: [] };
  for (const { choices } of values) {
    for (const { index, text, finish_reason: finish } of choices) {
      said.texts[index] = (said.texts[index] ?? '') + text;
      if (finish !== null) said.finishes[index] = finish;
    }
  }
  return said;
}

function responsesSaid({ values, isStream }: Answer): Said {
  const { status, output } = isStream ? values.at(-1)!.response : values[0];
  const texts = output.flatMap((item: Json) => (item.content ?? []).map((part: Json) => part.text));
  return { texts: [texts.join('')], finishes: [status] };
}

const SAYS: Readonly<Record<string, (answer: Answer) => Said>> = {
  '/v1/chat/completions': chatSaid,
  '/v1/completions': completionSaid,
  '/v1/responses': responsesSaid,
};

// What holds of an answer that is no error. @returns what kind it is of
function check(path: string, answer: Answer, body: Json): string {
  const said = SAYS[path]?.(answer);
  if (!said) return 'value';
  const { texts, finishes } = said;
  const { n } = body;
  const prompts = path === '/v1/completions' && Array.isArray(body.prompt) && typeof body.prompt[0] !== 'number';
  const choices = path === '/v1/responses' ? 1 : (n ?? 1) * (prompts ? body.prompt.length : 1);
  expect(finishes.filter((finish) => finish !== undefined).length === choices, 'each choice ends');
  const format = path === '/v1/responses' ? body.text?.format : body.response_format;
  const isJson = /^json/.test(format?.type ?? '') && !(body.echo === true);
  for (const [i, finish] of finishes.entries()) {
    if (isJson && !(body.tools?.length > 0) && (finish === 'stop' || finish === 'completed') && !body.stop) {
      try {
        JSON.parse(texts[i]);
      } catch {
        throw new Fault(`a text that ended by itself is JSON: ${texts[i].slice(0, 200)}`);
      }
    }
  }
  return `${isJson ? 'json ' : ''}${[...new Set(finishes)].sort().join(' ')}`;
}

export const asked: Target = {
  name: 'asked',
  make(random) {
    const { path, body } = randomBody(random);
    const bytes = encode(JSON.stringify(body) ?? '');
    const isTwice = random.chance(0.1);
    return { [CASE_NAME]: caseOf({ path, isTwice }), body: random.chance(0.05) ? changeBytes(bytes, random) : bytes };
  },
  async run(files) {
    const { path, isTwice } = choicesOf<{ path: string; isTwice: boolean }>(files);
    const bytes = files.body as Uint8Array<ArrayBuffer>;
    const answer = await ask(path, bytes);
    const { status, error, isStream } = answer;
    const about = `${path} ${status}${isStream ? ' events' : ''}`;
    if (error) return `${about} ${error.param ?? ''} ${error.code ?? ''} ${shapeOf(error.message)}`;
    const body = JSON.parse(new TextDecoder().decode(bytes));
    const kind = check(path, answer, body);
    if (isTwice && SAYS[path] && typeof body.seed === 'number') {
      const other = await ask(path, encode(JSON.stringify({ ...body, stream: !isStream })));
      const [one, two] = [answer, other].map((each) => JSON.stringify(each.error ?? SAYS[path](each)));
      expect(one === two, `a stream says what the whole says: ${one.slice(0, 200)} and ${two.slice(0, 200)}`);
      return `${about} ${kind} twice`;
    }
    return `${about} ${kind}`;
  },
};
