// What a person can do with a model that talks: ask, ask again, put another beside it, have a text scored.

import { proxy } from 'comlink';
import type { Ready, Recipe, Sampling, Side, Speaker, Turn } from '../engine/protocol.ts';
import { act, engine, stop } from './doing.ts';
import { writeUrl } from './links.ts';
import * as state from './store.ts';

/** Characters of a dropped text that are scored. */
const SCORED = 16_000;

/** The id of the result or of the kept model that is talked to. */
let resultId = '';

/** Nobody is there to talk to. */
export function forgetTalk(): void {
  resultId = '';
  state.ready.value = {};
  state.beside.value = '';
  state.turns.value = [];
  state.speeches.value = state.EMPTY_SPEECHES;
  state.scored.value = undefined;
}

/** Loads the model of an id and has it say something. */
export async function talkTo(id: string, isCurrent: () => boolean): Promise<void> {
  resultId = id;
  state.step.value = 'talk';
  state.waiting.value = 'Loading the model …';
  const ready = await load('left', { kind: 'result' }, isCurrent);
  if (!isCurrent()) return;
  state.ready.value = { left: ready };
  state.sampling.value = { ...ready.sampling, ...state.chosen.value };
  state.waiting.value = undefined;
  if (!state.prompt.value) state.prompt.value = suggestion(ready.hasTemplate);
  await sayTyped();
}

async function load(side: Side, speaker: Speaker, isCurrent: () => boolean): Promise<Ready> {
  try {
    return await engine.load(
      side,
      speaker,
      resultId,
      proxy((share: number) => {
        if (isCurrent()) state.loading.value = share;
      }),
    );
  } finally {
    state.loading.value = undefined;
  }
}

// Something to begin with.
function suggestion(hasTemplate: boolean): string {
  if (hasTemplate) return 'Tell me something about the sea, in two sentences.';
  return state.model.value?.name.startsWith('books-llama') ? 'PATIENCE, n.' : 'Once upon a time';
}

const speakerOf = (who: 'original' | number, recipe: Recipe): Speaker =>
  who === 'original' ? { kind: 'original' } : { kind: 'size', recipe: { ...recipe, bits: who } };

/** Puts somebody beside the result, or nobody. */
export async function compareWith(who: '' | 'original' | number): Promise<void> {
  state.beside.value = who;
  state.speeches.value = { ...state.speeches.value, right: state.EMPTY_SPEECHES.right };
  await act(who === '' ? undefined : 'Loading the other model …', async (isCurrent) => {
    if (who === '') {
      await engine.unload('right');
      state.ready.value = { left: state.ready.value.left! };
      return;
    }
    const right = await load('right', speakerOf(who, state.recipe.value), isCurrent);
    if (!isCurrent()) return;
    state.ready.value = { ...state.ready.value, right };
    state.waiting.value = undefined;
    await sayLast();
  });
}

/** Has the model answer, or go on with, what was typed. */
export async function say(): Promise<void> {
  await act(undefined, sayTyped);
}

/** Asks the last question again, with the next seed: the same one would have the same answer. */
export async function sayAgain(): Promise<void> {
  sample({ seed: (state.sampling.value.seed + 1) >>> 0 });
  await act(undefined, sayLast);
}

/** Takes the last question back, to be typed otherwise. */
export function retype(): void {
  const { before, content } = lastQuestion();
  state.turns.value = before;
  state.prompt.value = content;
  state.speeches.value = state.EMPTY_SPEECHES;
}

/** Begins the conversation anew; an answer under way ends, and is dropped. */
export async function clearTalk(): Promise<void> {
  state.turns.value = [];
  state.speeches.value = state.EMPTY_SPEECHES;
  if (state.isSpeaking.value) await stop();
}

/** Chooses words otherwise, from the next answer on. */
export function sample(part: Partial<Sampling>): void {
  state.chosen.value = { ...state.chosen.value, ...part };
  state.sampling.value = { ...state.sampling.value, ...part };
  writeUrl();
}

function lastQuestion(): { before: readonly Turn[]; content: string } {
  const { value: turns } = state.turns;
  const index = turns.map(({ role }) => role).lastIndexOf('user');
  return { before: turns.slice(0, Math.max(0, index)), content: turns[index]?.content ?? '' };
}

const isChat = () => state.ready.value.left?.hasTemplate ?? false;

async function sayTyped(): Promise<void> {
  const content = state.prompt.value;
  if (content.trim() === '') return;
  if (isChat()) state.prompt.value = '';
  await speak(isChat() ? state.turns.value : [], content);
}

async function sayLast(): Promise<void> {
  const { before, content } = lastQuestion();
  if (content !== '') await speak(before, content);
}

async function speak(before: readonly Turn[], content: string): Promise<void> {
  const turns = [...before, { role: 'user' as const, content }];
  state.turns.value = turns;
  state.speeches.value = state.EMPTY_SPEECHES;
  state.isSpeaking.value = true;
  const instructions = state.instructions.value.trim();
  const isWanted = () => state.turns.value === turns;
  const first = isChat() && instructions ? [{ role: 'system' as const, content: instructions }] : [];
  try {
    const said = await engine.say(
      { turns: [...first, ...turns], isChat: isChat(), sampling: state.sampling.value },
      proxy(({ side, tokens }) => {
        if (!isWanted()) return;
        const speech = state.speeches.value[side];
        state.speeches.value = {
          ...state.speeches.value,
          [side]: { ...speech, tokens: [...speech.tokens, ...tokens] },
        };
      }),
    );
    if (!isWanted()) return;
    const { left, right } = state.speeches.value;
    state.speeches.value = { left: { ...left, said: said.left }, right: { ...right, said: said.right } };
  } finally {
    state.isSpeaking.value = false;
    if (isChat() && isWanted()) keepAnswer(turns);
  }
}

// What was said stands in the conversation, even if it was stopped: templates want turns that alternate. They want no thoughts.
// A question that nothing was said to goes back to who asked it.
function keepAnswer(turns: readonly Turn[]): void {
  const { tokens, said } = state.speeches.value.left;
  if (tokens.length === 0 && !said && state.prompt.value === '') {
    retype();
    return;
  }
  const answer = tokens.map(({ text }) => text).join('');
  state.turns.value = [...turns, { role: 'assistant', content: answer.trim() }];
}

/** Scores a dropped text with what is loaded. */
export async function score(file: File): Promise<void> {
  await act(undefined, async (isCurrent) => {
    state.scoring.value = 0;
    try {
      const hasOriginal = state.model.value !== undefined && !state.model.value.isQuantized;
      if (hasOriginal && !state.ready.value.right) {
        const right = await load('right', { kind: 'original' }, isCurrent);
        state.ready.value = { ...state.ready.value, right };
        state.beside.value = 'original';
      }
      const text = await file.slice(0, 4 * SCORED).text(); // no character has more bytes
      const scored = await engine.score(
        text.slice(0, SCORED),
        state.outcome.value,
        proxy((share: number) => {
          if (isCurrent()) state.scoring.value = share;
        }),
      );
      if (isCurrent()) state.scored.value = scored;
    } finally {
      state.scoring.value = undefined;
    }
  });
}
