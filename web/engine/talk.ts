// Models that talk: one, or two side by side with the same seed, with the KL divergence of each choice.

import { hasSpecialMarks, type Model, type OpenCheckpoint, startThreads, thoughtsOf, turnsWithin } from './library.ts';
import type { Ready, Said, Sampling, Side, Spoken, SpokenToken, Turn } from './protocol.ts';

/** Milliseconds between two pieces of news: the page draws no faster. */
const NEWS = 40;
/** Of authors who say nothing: the command line's. */
const SAMPLING = { temperature: 0.8, topP: 0.95, topK: 0 };
/** Of the first words, so that a link says the same again. Any would do. */
const SEED = 9;
/** Most tokens of an answer, and of a text that is continued: it does not end by itself. */
const ANSWER = 512;
const CONTINUED = 64;

export interface Talk {
  load(side: Side, from: OpenCheckpoint, signal: AbortSignal, onProgress: (share: number) => void): Promise<Ready>;
  model(side: Side): Model | undefined;
  say(
    ask: { turns: readonly Turn[]; isChat: boolean; sampling: Sampling },
    signal: AbortSignal,
    onSpoken: (news: Spoken) => void,
  ): Promise<Partial<Record<Side, Said>>>;
  close(side?: Side): Promise<void>;
}

export function openTalk(threads: number): Talk {
  const models = new Map<Side, Model>();

  async function close(side?: Side): Promise<void> {
    for (const each of side ? [side] : [...models.keys()]) {
      const model = models.get(each);
      models.delete(each);
      await model?.close();
    }
  }

  async function speak(
    side: Side,
    { turns, isChat, sampling }: Parameters<Talk['say']>[0],
    signal: AbortSignal,
    onSpoken: (news: Spoken) => void,
  ): Promise<Said> {
    const model = models.get(side)!;
    const original = side === 'left' ? models.get('right') : undefined;
    const isSame = original?.config.vocabSize === model.config.vocabSize;
    let tokens: SpokenToken[] = [];
    let last: SpokenToken | undefined; // told when it is whole: what is held back at the end belongs to it
    let said = '';
    let reportedAt = performance.now();
    let kl: number | undefined;
    const tell = () => {
      if (tokens.length > 0) onSpoken({ side, tokens });
      tokens = [];
      reportedAt = performance.now();
    };
    const options = {
      ...sampling,
      signal,
      onToken(id: number, piece: string) {
        said += piece;
        speech.take(piece);
        if (last) tokens.push(last);
        last = { id, ...heard(), ...(kl !== undefined && { kl }) };
        if (performance.now() - reportedAt > NEWS) tell();
      },
      ...(isSame && {
        against: original,
        onDivergence(value: number) {
          kl = value;
        },
      }),
    };
    const given = turns.map((turn) => ({ ...turn }));
    const messages = isChat ? turnsWithin(model, given, sampling.maxTokens).messages : [];
    // Thoughts are apart from the answer, as a template marks them; a text that is continued has none.
    let pieces = { thought: '', text: '' };
    const hear = (kind: 'thought' | 'text', piece: string) => {
      pieces[kind] += piece;
    };
    const heard = () => {
      const now = pieces;
      pieces = { thought: '', text: '' };
      return now;
    };
    const speech = isChat
      ? thoughtsOf(model.chatTemplate.render(messages), ({ thinking, text }, begins) =>
          hear(thinking ? 'thought' : 'text', begins ? `\n\n${text}` : text),
        )
      : { take: (piece: string) => hear('text', piece), end() {} };
    const generation = isChat
      ? model.chat(messages, { ...options, special: hasSpecialMarks(model.tokenizer.idOf) })
      : model.generate(turns.at(-1)!.content, options);
    let step = await generation.next();
    while (!step.done) {
      await new Promise((resolve) => setTimeout(resolve)); // other requests of the page have their turn
      step = await generation.next();
    }
    const { ids, text, generateMs, promptMs, finishReason } = step.value;
    speech.take(text.slice(said.length)); // what was held back
    speech.end();
    const rest = heard();
    if (last) tokens.push({ ...last, thought: last.thought + rest.thought, text: last.text + rest.text });
    tell();
    return { finishReason, promptMs, tokensPerSecond: generateMs > 0 ? ((ids.length - 1) / generateMs) * 1000 : 0 };
  }

  return {
    model: (side) => models.get(side),
    close,
    async load(side, from, signal, onProgress) {
      await close(side);
      const { context } = await from.runMemory();
      const model = await from.run({
        context,
        cacheTokens: 2 * context, // its own text, and the one that it follows
        threads: await startThreads(threads),
        signal,
        onProgress: ({ bytesDone, bytes }) => onProgress(bytes > 0 ? bytesDone / bytes : 1),
      });
      models.set(side, model);
      const { temperature, topP, topK } = { ...SAMPLING, ...model.sampling };
      const hasTemplate = model.chatTemplate.names.length > 0;
      return {
        hasTemplate,
        threads: model.language.threads,
        memory: model.language.memory.bytes,
        context: model.config.contextLength,
        sampling: { temperature, topP, topK, seed: SEED, maxTokens: hasTemplate ? ANSWER : CONTINUED },
      };
    },
    async say(ask, signal, onSpoken) {
      const sides = [...models.keys()];
      const said = await Promise.all(sides.map((side) => speak(side, ask, signal, onSpoken)));
      return Object.fromEntries(sides.map((side, i) => [side, said[i]]));
    },
  };
}
