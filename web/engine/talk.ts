// Models that talk: one, or two side by side with the same seed, with the KL divergence of each choice.

import { type Model, type OpenCheckpoint, startThreads, turnsWithin } from './library.ts';
import type { Ready, Said, Sampling, Side, Spoken, Turn } from './protocol.ts';

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
    let tokens: { id: number; text: string; kl?: number }[] = [];
    let told = performance.now();
    let kl: number | undefined;
    const tell = () => {
      if (tokens.length > 0) onSpoken({ side, tokens });
      tokens = [];
      told = performance.now();
    };
    const options = {
      ...sampling,
      signal,
      onToken(id: number, text: string) {
        tokens.push({ id, text, ...(kl !== undefined && { kl }) });
        if (performance.now() - told > NEWS) tell();
      },
      ...(isSame && {
        against: original,
        onDivergence(value: number) {
          kl = value;
        },
      }),
    };
    const messages = turns.map((turn) => ({ ...turn }));
    const generation = isChat
      ? model.chat(turnsWithin(model, messages, sampling.maxTokens).messages, options)
      : model.generate(turns.at(-1)!.content, options);
    let step = await generation.next();
    while (!step.done) {
      await new Promise((resolve) => setTimeout(resolve)); // other requests of the page have their turn
      step = await generation.next();
    }
    tell();
    const { ids, generateMs, promptMs, finishReason } = step.value;
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
