// What a person can do: each action asks the worker and writes the answers into the state. A newer action ends the older one's work.

import { proxy, wrap } from 'comlink';
import type { Origin, Outcome, Recipe, Sampling, Side, Speaker } from '../engine/protocol.ts';
import type { Engine } from '../engine/work.ts';
import { writeAddress } from './address.ts';
import * as state from './store.ts';

const engine = wrap<Engine>(new Worker(new URL('engine.js', import.meta.url), { type: 'module' }));

/** Milliseconds that the slider rests before what it says is planned. */
const REST = 120;
/** Characters of a dropped text that are scored. */
const SCORED = 16_000;

/** The origin of the open model, and the id of the result or of the kept model that is talked to. */
let origin: Origin | undefined;
let resultId = '';
/** Counts actions: what an older one finds out is of no more use. */
let turn = 0;
/** Runs that have not ended: what is stopped takes a moment. */
let runs = 0;

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Does one thing at a time; what goes wrong is told in the page, unless it was stopped. @returns whether it was done */
async function act(sentence: string | undefined, work: (isCurrent: () => boolean) => Promise<void>): Promise<boolean> {
  const own = ++turn;
  state.failure.value = undefined;
  state.waiting.value = sentence;
  try {
    await work(() => own === turn);
    return own === turn;
  } catch (error) {
    if (own === turn && !/^Stopped\.$/.test(messageOf(error))) state.failure.value = messageOf(error);
    return false;
  } finally {
    if (own === turn) state.waiting.value = undefined;
  }
}

/** Starts: what the browser gives, what is kept, and what the address asks for that is beside the page. */
export async function begin(): Promise<void> {
  // Not by the browser's cache: of what a host has compressed it would give ranges of the compressed bytes.
  const demo = fetch(new URL('demo/config.json', import.meta.url), { cache: 'no-store' }).then(
    ({ ok }) => ok,
    () => false,
  );
  state.machine.value = await engine.machine();
  await listKept();
  state.hasDemo.value = await demo;
  if (new URLSearchParams(location.search).get('model') === 'demo') await openModel({ kind: 'demo' });
}

async function listKept(): Promise<void> {
  state.kept.value = await engine.kept().catch(() => []);
}

/** Goes to a room that is open. */
export function goTo(step: state.Step): void {
  state.failure.value = undefined;
  state.step.value = step;
}

/** The name for links, where the model has one. */
export const linkName = (): string | undefined =>
  origin?.kind === 'demo' ? 'demo' : origin?.kind === 'name' ? origin.name : undefined;

function writeUrl(): void {
  const { value: recipe } = state.recipe;
  history.replaceState(
    null,
    '',
    `${location.pathname}${writeAddress({ model: linkName(), recipe, prompt: undefined, sampling: state.chosen.value })}`,
  );
}

/** @param made what is known of a kept model @returns whether it is open */
export async function openModel(from: Origin, made?: Outcome): Promise<boolean> {
  return act(from.kind === 'name' ? `Asking for ${from.name} …` : 'Reading headers …', async (isCurrent) => {
    state.step.value = 'model';
    forget(); // the worker has closed it, whatever becomes of the new one
    const info = await engine.open(from);
    if (!isCurrent()) return;
    origin = from;
    state.model.value = info;
    if (made) state.outcome.value = made;
    if (info.isQuantized) {
      if (made && info.refusal) state.step.value = 'report';
      else await talkTo('');
      return;
    }
    state.step.value = 'size';
    writeUrl();
    void lookAhead(isCurrent);
  });
}

function forget(): void {
  origin = undefined;
  resultId = '';
  state.model.value = undefined;
  state.sizes.value = undefined;
  state.speeds.value = new Map();
  state.planned.value = undefined;
  state.progress.value = undefined;
  state.outcome.value = undefined;
  state.ready.value = {};
  state.beside.value = '';
  state.turns.value = [];
  state.speeches.value = state.EMPTY_SPEECHES;
  state.scored.value = undefined;
}

// Sizes from headers at once, then how fast they would run.
async function lookAhead(isCurrent: () => boolean): Promise<void> {
  try {
    await planNow();
    await sizesNow();
    if (!isCurrent() || state.speeds.value.size > 0 || state.model.value?.refusal) return;
    const { points } = await engine.sizes(state.recipe.value, true);
    if (!isCurrent()) return;
    state.speeds.value = new Map(
      points.flatMap(({ bits = 0, tokensPerSecond }) => (tokensPerSecond ? [[bits, tokensPerSecond]] : [])),
    );
  } catch (error) {
    if (isCurrent() && !/^Stopped\.$/.test(messageOf(error))) state.failure.value = messageOf(error);
  }
}

async function planNow(): Promise<void> {
  const isAsked = asking();
  const planned = await engine.plan(state.recipe.value);
  if (isAsked()) state.planned.value = planned;
}

async function sizesNow(): Promise<void> {
  const isAsked = asking();
  const sizes = await engine.sizes(state.recipe.value, false);
  if (isAsked()) state.sizes.value = sizes;
}

// Whether an answer still belongs to the model and the recipe that it was asked for.
function asking(): () => boolean {
  const [model, recipe] = [state.model.value, state.recipe.value];
  return () => model === state.model.value && recipe === state.recipe.value;
}

let resting: ReturnType<typeof setTimeout> | undefined;

/** Changes the recipe; it is planned when the slider rests. */
export function change(part: Partial<Recipe>): void {
  const before = state.recipe.value;
  state.recipe.value = { ...before, ...part };
  writeUrl();
  clearTimeout(resting);
  const own = turn;
  resting = setTimeout(async () => {
    try {
      state.failure.value = undefined;
      await planNow();
      if (part.bits === undefined) await sizesNow();
    } catch (error) {
      if (own === turn) state.failure.value = messageOf(error);
    }
  }, REST);
}

/** Measures sensitivities: the curve becomes one of this model. */
export async function measure(): Promise<boolean> {
  return act(undefined, async (isCurrent) => {
    state.measuring.value = 0;
    try {
      await engine.measure(
        proxy((share: number) => {
          if (isCurrent()) state.measuring.value = share;
        }),
      );
      if (isCurrent()) await lookAhead(isCurrent);
    } finally {
      state.measuring.value = undefined;
    }
  });
}

export async function shrink(): Promise<void> {
  await act(undefined, async (isCurrent) => {
    state.step.value = 'shrink';
    state.progress.value = undefined;
    state.outcome.value = undefined;
    runs++;
    state.isRunning.value = true;
    void navigator.storage?.persist?.();
    try {
      await planNow();
      const outcome = await engine.quantize(
        state.recipe.value,
        proxy((progress) => {
          if (isCurrent()) state.progress.value = progress;
        }),
      );
      if (!isCurrent()) return;
      state.outcome.value = outcome;
    } finally {
      runs--;
      state.isRunning.value = runs > 0;
      await listKept();
    }
    const outcome = state.outcome.value;
    if (!isCurrent() || !outcome) return;
    try {
      if (state.model.value?.refusal) state.step.value = 'report';
      else await talkTo(outcome.id);
    } catch (error) {
      if (isCurrent()) state.step.value = 'report'; // it cannot talk, as without a tokenizer, and is there all the same
      throw error;
    }
  });
}

/** Ends what is under way. What was written stays. */
export async function stop(): Promise<void> {
  turn++;
  state.waiting.value = undefined;
  await engine.stop();
}

/** Opens a kept model, or goes on with a run whose model can be had again. */
export async function openKept(id: string): Promise<void> {
  const found = state.kept.value.find((each) => each.id === id);
  if (!found) return;
  if (found.outcome) {
    await openModel({ kind: 'kept', id }, found.outcome);
    return;
  }
  state.recipe.value = found.recipe;
  if (!found.source) {
    state.failure.value = `Give the files of ${found.name} again: pages may not keep them. The run then continues where it stopped.`;
    return;
  }
  if (!(await openModel(found.source === 'demo' ? { kind: 'demo' } : { kind: 'name', name: found.source }))) return;
  if (found.isMeasured && !(await measure())) return; // kept, too: the same sensitivities choose the same grids
  await shrink();
}

export async function removeKept(id: string): Promise<void> {
  await engine.remove(id).catch((error) => {
    state.failure.value = messageOf(error);
  });
  await listKept();
}

/** The files of the result or of a kept model. */
export const filesOf = (id: string): Promise<File[]> => engine.files(id);
export const keptId = (): string => resultId || (origin?.kind === 'kept' ? origin.id : '');

/** Whether the original is at hand, to compare with. */
export const hasOriginal = (): boolean => state.model.value !== undefined && !state.model.value.isQuantized;

async function talkTo(id: string): Promise<void> {
  resultId = id;
  state.step.value = 'talk';
  state.waiting.value = 'Loading the model …';
  const ready = await engine.load(
    'left',
    { kind: 'result' },
    id,
    proxy(() => {}),
  );
  state.ready.value = { left: ready };
  state.sampling.value = { ...ready.sampling, ...state.chosen.value };
  state.waiting.value = undefined;
  if (!state.prompt.value) state.prompt.value = suggestion(ready.hasTemplate);
  await speak();
}

// Something to begin with.
function suggestion(hasTemplate: boolean): string {
  if (hasTemplate) return 'Tell me something about the sea, in two sentences.';
  return state.model.value?.name.startsWith('books-llama') ? 'PATIENCE, n.' : 'Once upon a time';
}

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
    const speaker: Speaker =
      who === 'original' ? { kind: 'original' } : { kind: 'size', recipe: { ...state.recipe.value, bits: who } };
    const right = await engine.load(
      'right',
      speaker,
      resultId,
      proxy(() => {}),
    );
    if (!isCurrent()) return;
    state.ready.value = { ...state.ready.value, right };
    state.waiting.value = undefined;
    const last = state.turns.value.filter(({ role }) => role === 'user').at(-1);
    if (!last) return;
    state.prompt.value = last.content;
    state.turns.value = state.turns.value.slice(0, state.turns.value.lastIndexOf(last));
    await speak();
  });
}

/** Has the model answer, or go on with, what was typed. */
export async function say(): Promise<void> {
  await act(undefined, speak);
}

async function speak(): Promise<void> {
  const content = state.prompt.value;
  const isChat = state.ready.value.left?.hasTemplate ?? false;
  if (content.trim() === '') return;
  const turns = [...(isChat ? state.turns.value : []), { role: 'user' as const, content }];
  state.turns.value = turns;
  if (isChat) state.prompt.value = '';
  state.speeches.value = state.EMPTY_SPEECHES;
  state.isSpeaking.value = true;
  try {
    const said = await engine.say(
      { turns, isChat, sampling: state.sampling.value },
      proxy(({ side, tokens }) => {
        const own = state.speeches.value[side];
        state.speeches.value = {
          ...state.speeches.value,
          [side]: { ...own, tokens: [...own.tokens, ...tokens] },
        };
      }),
    );
    const { left, right } = state.speeches.value;
    const ended = (side: Side, speech: state.Speech) => ({ ...speech, said: said[side] });
    state.speeches.value = { left: ended('left', left), right: ended('right', right) };
    if (isChat) {
      const answer = left.tokens
        .map(({ text }) => text)
        .join('')
        .trim(); // templates want no thoughts
      state.turns.value = [...turns, { role: 'assistant', content: answer }];
    }
  } finally {
    state.isSpeaking.value = false;
  }
}

/** Chooses words otherwise, from the next answer on. */
export function sample(part: Partial<Sampling>): void {
  state.chosen.value = { ...state.chosen.value, ...part };
  state.sampling.value = { ...state.sampling.value, ...part };
  writeUrl();
}

/** Begins the conversation anew. */
export function clearTalk(): void {
  state.turns.value = [];
  state.speeches.value = state.EMPTY_SPEECHES;
}

/** Scores a dropped text with what is loaded. */
export async function score(file: File): Promise<void> {
  await act(undefined, async (isCurrent) => {
    state.scoring.value = 0;
    try {
      if (hasOriginal() && !state.ready.value.right) {
        const right = await engine.load(
          'right',
          { kind: 'original' },
          resultId,
          proxy(() => {}),
        );
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
