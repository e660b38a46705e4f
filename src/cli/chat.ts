// higgs chat: a conversation, line by line. The history stays, and what the cache holds of it is not run again.

import { createInterface } from 'node:readline/promises';
import { type Command, Option } from 'commander';
import { readInput } from '../disk/files.ts';
import { isTerminal, keyboard, note, print, printJson, printPiece, printThought, say } from '../terminal/print.ts';
import type { Message } from '../text/chat.ts';
import type { Model } from '../text/textmodel.ts';
import { hasSpecialMarks, type Part, thinkingFilter } from '../text/thinking.ts';
import { timingsText } from './generate.ts';
import {
  addModelOptions,
  addSamplingOptions,
  type ModelChoice,
  type SamplingChoice,
  samplingOf,
  withModels,
} from './model.ts';
import { Interrupted } from './run.ts';

interface Options extends ModelChoice, SamplingChoice {
  system?: string;
  thinking?: 'show' | 'hide';
  json?: boolean;
}

export function addChat(program: Command): void {
  const command = program
    .command('chat')
    .summary('talk to a model')
    .description(
      'Talks to a model that has a chat template. On a terminal every line is a turn, /reset forgets them, /exit or Ctrl-D ends;\n' +
        'what is piped in is one turn.',
    )
    .argument(
      '<model>',
      'a checkpoint’s directory, with its configuration, tokenizer and chat template, or a .gguf file',
    )
    .option('--system <text>', 'what the model is told before')
    .addOption(
      new Option('--thinking <way>', 'what the model thinks: dimmed on a terminal, as it comes to a pipe').choices([
        'show',
        'hide',
      ]),
    )
    .option('--json', 'print each answer as JSON, with what the model thinks apart');
  addSamplingOptions(addModelOptions(command, 'tokens of the whole conversation (the model’s, at most 4096)'))
    .addHelpText(
      'after',
      `
Examples:
  $ higgs chat SmolLM2-135M-Instruct-higgs
  $ echo "What is the capital of France?" | higgs chat SmolLM2-135M-Instruct-higgs`,
    )
    .action(chat);
}

async function chat(path: string, options: Options): Promise<void> {
  await withModels([path], options, async ([open], signal) => {
    const { model } = open!;
    const begin: Message[] = options.system === undefined ? [] : [{ role: 'system', content: options.system }];
    // A model without a template is refused before anything is asked.
    model.chatTemplate.render([...begin, { role: 'user', content: ' ' }]);
    if (process.stdin.isTTY) await converse(model, begin, options, signal);
    else await answer(model, [...begin, { role: 'user', content: (await readInput()).trimEnd() }], options, signal);
  });
}

async function converse(model: Model, begin: readonly Message[], options: Options, signal: AbortSignal): Promise<void> {
  const lines = createInterface(keyboard());
  // The first Ctrl-C ends a turn, one at the prompt the conversation.
  let turn: AbortController | undefined;
  let ended = false;
  const leave = new AbortController();
  lines.on('SIGINT', () => (turn ? turn.abort() : leave.abort()));
  lines.on('close', () => {
    ended = true;
    leave.abort();
  });
  signal.addEventListener('abort', () => leave.abort());
  let history = [...begin];
  try {
    while (!ended) {
      const line = await lines.question('> ', { signal: leave.signal }).catch(() => undefined);
      if (line === undefined || line.trim() === '/exit') break;
      if (line.trim() === '') continue;
      if (line.trim() === '/reset') {
        history = [...begin];
        continue;
      }
      turn = new AbortController();
      const own = turn;
      const abort = () => own.abort();
      signal.addEventListener('abort', abort);
      const asked: Message[] = [...history, { role: 'user', content: line }];
      try {
        history = [...asked, await answer(model, asked, options, turn.signal, true)];
      } catch (error) {
        // A conversation that outgrew the context goes on after /reset.
        if (!(error instanceof RangeError)) throw error;
        say(`${error.message}; /reset forgets the conversation`);
      } finally {
        signal.removeEventListener('abort', abort);
      }
      turn = undefined;
    }
  } finally {
    lines.close();
  }
  if (signal.aborted) throw new Interrupted();
}

// One turn of the model, as it comes. @returns its message: templates know thoughts as reasoning_content, and when to drop them
async function answer(
  model: Model,
  messages: readonly Message[],
  options: Options,
  signal: AbortSignal,
  goesOn = false,
): Promise<Message> {
  const { thinking, json = false } = options;
  // To a pipe goes the text itself, unless told otherwise.
  const isRaw = !json && thinking !== 'hide' && !isTerminal();
  const special = !isRaw && hasSpecialMarks(model.tokenizer.idOf);
  const filter = thinkingFilter(model.chatTemplate.render(messages));
  const generation = model.chat(messages, { ...samplingOf(options), special, signal });
  const [thoughts, words]: string[][] = [[], []];
  const take = (parts: readonly Part[]) => {
    for (const { thinking: isThought, text } of parts) {
      if (!isRaw && !json) show(text, isThought, thoughts.length > 0 && words.length === 0, thinking !== 'hide');
      (isThought ? thoughts : words).push(text);
    }
  };
  for await (const piece of generation) {
    if (isRaw) printPiece(piece);
    take(filter.push(piece));
  }
  take(filter.end());
  const result = generation.result!;
  const { promptIds, ids, finishReason, promptMs, generateMs } = result;
  const [thought, text] = [thoughts.join('').trim(), words.join('').trim()];
  if (json) printJson({ thinking: thought, text, promptIds, ids, finishReason, timings: { promptMs, generateMs } });
  else print('');
  note(timingsText(result));
  if (finishReason === 'aborted' && !goesOn) throw new Interrupted();
  return { role: 'assistant', content: text, ...(thought !== '' && { reasoning_content: thought }) };
}

// A line stands between what the model thinks and what it answers.
function show(text: string, isThought: boolean, isFirst: boolean, showsThoughts: boolean): void {
  if (isThought) {
    if (showsThoughts) printThought(text);
  } else printPiece(isFirst && showsThoughts ? `\n\n${text}` : text);
}
