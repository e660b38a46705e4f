// higgs chat: a conversation, turn by turn. The history stays, and what the cache holds of it is not run again.

import { basename } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Command } from 'commander';
import { writeAtomically } from '../disk/commit.ts';
import { FileError } from '../errors.ts';
import { type ChatSettings, FENCE, HELP, readLine, settingsText } from '../terminal/conversation.ts';
import { bytesText, counted, table } from '../terminal/figures.ts';
import { addExamples, addPrinting } from '../terminal/help.ts';
import { keyboard, note, print, printJson, say } from '../terminal/print.ts';
import type { Message } from '../text/chat.ts';
import { turnsWithin } from '../text/context.ts';
import type { GenerationResult } from '../text/generate.ts';
import type { Model } from '../text/textmodel.ts';
import { addModelOptions, type ModelChoice, withModels } from './common/model.ts';
import {
  addPrompt,
  addSamplingOptions,
  laterSeed,
  type PromptChoice,
  promptOf,
  type SamplingChoice,
  samplingOf,
  samplingText,
} from './common/sampling.ts';
import { Interrupted } from './common/session.ts';
import { printedThoughts, type Thinking, thinkingOption } from './common/thoughts.ts';
import { timingsText } from './generate.ts';

interface Options extends ModelChoice, ChatChoice, PromptChoice {}

/** Adds the verb `chat`. */
export function addChat(program: Command): void {
  const command = program
    .command('chat')
    .summary('talk to a model')
    .description(
      'Talks to a model that has a chat template. On a terminal every line is a turn, and /help lists commands; what is piped in is one turn.',
    )
    .argument(
      '<model>',
      'a checkpoint’s directory, with its configuration, tokenizer and chat template, a .gguf file, or hf:org/model',
    );
  addChatOptions(command);
  addModelOptions(command, 'tokens of the whole conversation (the model’s, at most 4096)');
  addPrinting(command, 'print each answer as JSON, with what the model thinks apart');
  addExamples(command, [
    ['higgs chat SmolLM2-135M-Instruct-higgs'],
    ['higgs chat SmolLM2-135M-Instruct-higgs --system "Answer in one sentence."'],
    ['echo "What is the capital of France?" | higgs chat SmolLM2-135M-Instruct-higgs'],
  ]).action(chat);
}

/** Adds the options of `ChatChoice`, and of the prompt. */
export function addChatOptions(command: Command): Command {
  addPrompt(command, 'one turn, instead of a conversation (what is piped in)')
    .option('--system <text>', 'the system prompt')
    .addOption(thinkingOption('what the model thinks: dimmed on a terminal, as it comes to a pipe'));
  return addSamplingOptions(command);
}

async function chat(path: string, options: Options): Promise<void> {
  const prompt = await promptOf(options);
  await withModels([path], options, ([open], signal) => talk(open.model, basename(path), prompt, options, signal));
}

/** Options of a conversation. */
export interface ChatChoice extends SamplingChoice {
  /** The text of the system message; left out, the template has its own or none. */
  system?: string;
  /** Whether thoughts are printed; `show` if left out. */
  thinking?: Thinking;
  /** Whether each turn is printed as one line of JSON. */
  json?: boolean;
}

/** Talks to a model: one turn, or of no prompt a conversation. @throws {UnsupportedError} when it has no chat template */
export async function talk(
  model: Model,
  name: string,
  prompt: string | undefined,
  options: ChatChoice,
  signal: AbortSignal,
): Promise<void> {
  const { system = '', thinking = 'show', maxTokens } = options;
  const settings: ChatSettings = { ...samplingOf(options, model.sampling), system, thinking, maxTokens };
  const begin = beginOf(settings);
  // A model without a template is refused before anything is asked.
  model.chatTemplate.render([...begin, { role: 'user', content: ' ' }]);
  if (prompt === undefined) return converse(model, name, settings, options, signal);
  const messages = [...begin, { role: 'user', content: prompt.trimEnd() }];
  const { result } = await answer(model, messages, settings, options, signal);
  if (result.finishReason === 'aborted') throw new Interrupted();
}

const beginOf = ({ system }: ChatSettings): Message[] => (system === '' ? [] : [{ role: 'system', content: system }]);

async function converse(
  model: Model,
  name: string,
  settings: ChatSettings,
  options: ChatChoice,
  signal: AbortSignal,
): Promise<void> {
  const { contextLength } = model.config;
  note(
    `${name}: ${bytesText(model.language.memory.weights)} of weights, a context of ${counted(contextLength, 'token')}`,
  );
  note(`/help lists commands, ${FENCE} begins a turn of several lines, Ctrl-D leaves`);
  const typing = typed(signal);
  const choice: ToldChoice = {};
  const said: Message[] = []; // all of it, to be saved
  let history: readonly Message[] = [];
  let turns = 0;
  try {
    for (let line = await typing.next('> '); line !== undefined; line = await typing.next('> ')) {
      const asked = readLine(line);
      if (asked.kind === 'exit') return;
      if (asked.kind === 'refused') say(asked.reason);
      else if (asked.kind === 'help') print(table(['you type', 'what happens'], HELP, [0, 1]));
      else if (asked.kind === 'show') print(settingsText(settings));
      else if (asked.kind === 'set') {
        Object.assign(settings, { [asked.key]: asked.value });
        if (asked.key === 'seed') turns = 0;
      } else if (asked.kind === 'reset') history = [];
      else if (asked.kind === 'save') await save(asked.file, [...beginOf(settings), ...said]);
      else if (asked.kind === 'turn') {
        const question: Message = { role: 'user', content: asked.text };
        const kept = fitting(model, [...beginOf(settings), ...history, question], settings);
        const turn = typing.beginTurn();
        try {
          const turnSettings = { ...settings, seed: laterSeed(settings.seed, turns) };
          const { message, result } = await answer(model, kept, turnSettings, options, turn, choice);
          const isCut = result.finishReason === 'length' && result.ids.length < settings.maxTokens;
          if (isCut) note('cut off: the context is full; the next turn forgets the oldest');
          history = [...kept.filter(({ role }) => role !== 'system'), message];
          said.push(question, message);
          turns++;
        } catch (error) {
          if (!(error instanceof RangeError)) throw error;
          say(`${error.message}; shorten it, or start with a larger --context`);
        } finally {
          typing.endTurn();
        }
      }
    }
    print(''); // what comes next on the terminal begins a line
  } finally {
    typing.close();
  }
  if (signal.aborted) throw new Interrupted();
}

// The messages that a turn is run on. An answer gets a quarter of the context, if it may become as long.
function fitting(model: Model, messages: readonly Message[], { maxTokens }: ChatSettings): readonly Message[] {
  const { contextLength } = model.config;
  const { messages: left, forgotten } = turnsWithin(model, messages, maxTokens);
  if (forgotten > 0) {
    const turns = forgotten === 1 ? 'turn is' : `${forgotten} turns are`;
    note(`the context of ${contextLength} tokens is full: the oldest ${turns} forgotten`);
  }
  return left;
}

async function save(file: string, messages: readonly Message[]): Promise<void> {
  try {
    await writeAtomically(file, `${JSON.stringify({ messages }, null, 2)}\n`, { force: false });
    note(`${counted(messages.length, 'message')} written to ${file}`);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    say(error.message.replace('; give --force to replace it', '; give another name'));
  }
}

/** What is typed, turn by turn. */
interface Typing {
  /** @returns undefined at the end */
  next(prompt: string): Promise<string | undefined>;
  /** @returns what Ctrl-C aborts until `endTurn` */
  beginTurn(): AbortSignal;
  endTurn(): void;
  close(): void;
}

// The first Ctrl-C ends an answer, or what is being typed; the second one after it the conversation.
function typed(signal: AbortSignal): Typing {
  const lines: Interface = createInterface(keyboard());
  const waiting: string[] = [];
  let take: ((line: string | undefined | null) => void) | undefined;
  let turn: AbortController | undefined;
  let [isEnded, isWarned] = [false, false];
  const give = (line: string | undefined | null) => {
    const taker = take;
    take = undefined;
    taker?.(line);
  };
  const end = () => {
    isEnded = true;
    turn?.abort();
    give(undefined);
  };
  lines.on('line', (line) => {
    isWarned = false;
    if (take) give(line);
    else waiting.push(line);
  });
  lines.on('close', end);
  lines.on('SIGINT', () => {
    if (isWarned) return lines.close();
    isWarned = true;
    if (turn && !turn.signal.aborted) return turn.abort();
    lines.write(null, { ctrl: true, name: 'e' });
    lines.write(null, { ctrl: true, name: 'u' });
    print('');
    note('press Ctrl-C again to leave');
    give(null);
  });
  signal.addEventListener('abort', () => lines.close());

  // null where Ctrl-C took back what was typed
  async function lineOf(prompt: string): Promise<string | undefined | null> {
    if (waiting.length > 0) return waiting.shift();
    if (isEnded) return undefined;
    return new Promise((resolve) => {
      take = resolve;
      lines.setPrompt(prompt);
      lines.prompt();
    });
  }

  return {
    async next(prompt) {
      for (;;) {
        let line = await lineOf(prompt);
        if (line === null) continue;
        if (line === undefined || !line.trimStart().startsWith(FENCE)) return line;
        const parts: string[] = [];
        line = line.trimStart().slice(FENCE.length);
        while (line != null && !line.trimEnd().endsWith(FENCE)) {
          parts.push(line);
          line = await lineOf('. ');
        }
        if (line === undefined) return undefined;
        if (line === null) continue;
        parts.push(line.trimEnd().slice(0, -FENCE.length));
        // A space in front: what begins with a slash is no command here.
        const text = parts.join('\n').trim();
        if (text !== '') return text.startsWith('/') ? ` ${text}` : text;
      }
    },
    beginTurn() {
      turn = new AbortController();
      if (isEnded) turn.abort();
      return turn.signal;
    },
    endTurn() {
      turn = undefined;
    },
    close: () => lines.close(),
  };
}

// How tokens are chosen, as it was told last.
interface ToldChoice {
  choice?: string;
}

// One turn of the model, as it comes. @returns its message: templates know thoughts as reasoning_content, and when to drop them
async function answer(
  model: Model,
  messages: readonly Message[],
  settings: ChatSettings,
  options: ChatChoice,
  signal: AbortSignal,
  chosen: ToldChoice = {},
): Promise<{ message: Message; result: GenerationResult }> {
  const { json = false, stop = [] } = options;
  const { system: _, thinking, maxTokens, ...sampling } = settings;
  const thoughts = printedThoughts(model, model.chatTemplate.render(messages), thinking, json);
  const { special } = thoughts;
  const generation = model.chat(messages, { ...sampling, maxTokens, stop, special, signal });
  for await (const piece of generation) thoughts.take(piece);
  const result = generation.result!;
  const { promptIds, ids, finishReason, promptMs, generateMs } = result;
  const { thinking: thought, text } = thoughts.end();
  const timings = { promptMs, generateMs };
  if (json) printJson({ thinking: thought, text, promptIds, ids, finishReason, sampling, timings });
  else print('');
  note(timingsText(result));
  const choice = samplingText(sampling);
  if (choice !== chosen.choice) note(choice);
  chosen.choice = choice;
  const message = { role: 'assistant', content: text, ...(thought !== '' && { reasoning_content: thought }) };
  return { message, result };
}
