// What a person can do: each action asks the worker and writes the answers into the state.

import { proxy } from 'comlink';
import type { DemoFolder, Origin, Outcome, Recipe } from '../engine/protocol.ts';
import { settled } from '../files/offline.ts';
import { act, engine, tell, underway } from './doing.ts';
import { writeUrl } from './links.ts';
import * as state from './store.ts';
import { forgetTalk, talkTo } from './talking.ts';

export { stop } from './doing.ts';
export { linkToTalk } from './links.ts';
export { clearTalk, compareWith, retype, sample, say, sayAgain, score } from './talking.ts';

/** Milliseconds that the slider rests before what it says is planned. */
const REST = 120;
/** Runs that have not ended: what is stopped takes a moment. */
let runs = 0;

/** Starts: what the browser gives, what is kept, and what the address asks for that is beside the page. */
export async function begin(): Promise<void> {
  state.machine.value = await engine.machine();
  await listKept();
  state.demo.value = await demo;
  if (new URLSearchParams(location.search).get('model') !== 'demo') return;
  await settled; // the page may load once more, to have threads
  if (state.step.value === 'model' && !state.waiting.value) await openDemo();
}

const demo = findDemo();

export async function openDemo(): Promise<void> {
  const folder = await demo;
  if (folder) await openModel({ kind: 'demo', folder });
}

async function findDemo(): Promise<DemoFolder | undefined> {
  for (const folder of ['demo', 'demo-4bit'] as const) {
    // Not by the browser's cache: of what a host has compressed it would give ranges of the compressed bytes.
    const asked = fetch(new URL(`${folder}/config.json`, import.meta.url), { cache: 'no-store' });
    if (
      await asked.then(
        ({ ok }) => ok,
        () => false,
      )
    )
      return folder;
  }
  return undefined;
}

async function listKept(): Promise<void> {
  state.kept.value = await engine.kept().catch(() => []);
}

/** Goes to a room that is open. */
export function goTo(step: state.Step): void {
  state.failure.value = undefined;
  state.step.value = step;
}

/** @param outcome what is known of a kept model @returns whether it is open */
export async function openModel(from: Origin, outcome?: Outcome): Promise<boolean> {
  return act(from.kind === 'name' ? `Asking for ${from.name} …` : 'Reading headers …', async (isCurrent) => {
    state.step.value = 'model';
    forget(); // the worker has closed it, whatever becomes of the new one
    const info = await engine.open(from);
    if (!isCurrent()) return;
    state.linked.value = from.kind === 'demo' ? 'demo' : from.kind === 'name' ? from.name : undefined;
    state.model.value = info;
    if (outcome) state.outcome.value = outcome;
    writeUrl();
    if (info.isQuantized) {
      if (outcome && info.refusal) state.step.value = 'report';
      else await talkTo('', isCurrent);
      return;
    }
    state.step.value = 'size';
    void lookAhead(isCurrent);
  });
}

function forget(): void {
  forgetTalk();
  state.linked.value = undefined;
  state.model.value = undefined;
  state.sizes.value = undefined;
  state.speeds.value = new Map();
  state.planned.value = undefined;
  state.progress.value = undefined;
  state.outcome.value = undefined;
}

// Sizes from headers at once, then how fast they would run.
async function lookAhead(isCurrent: () => boolean): Promise<void> {
  try {
    await planNow();
    const canRun = !state.model.value?.refusal;
    await sizesNow().catch((error) => {
      if (canRun) throw error; // else the room says already what is wrong
    });
    if (!isCurrent() || state.speeds.value.size > 0 || !canRun) return;
    const { points } = await engine.sizes(state.recipe.value, true);
    if (!isCurrent()) return;
    state.speeds.value = new Map(
      points.flatMap(({ bits = 0, tokensPerSecond }) => (tokensPerSecond ? [[bits, tokensPerSecond]] : [])),
    );
  } catch (error) {
    if (isCurrent()) tell(error);
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
  const isCurrent = underway();
  resting = setTimeout(async () => {
    try {
      state.failure.value = undefined;
      await planNow();
      if (part.bits === undefined) await sizesNow();
    } catch (error) {
      if (isCurrent()) tell(error);
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
      else await talkTo(outcome.id, isCurrent);
    } catch (error) {
      if (isCurrent()) state.step.value = 'report'; // it cannot talk, as without a tokenizer, and is there all the same
      throw error;
    }
  });
}

/** Opens a kept model, or goes on with a run whose model can be had again. */
export async function openKept(id: string): Promise<void> {
  const model = state.kept.value.find((each) => each.id === id);
  if (!model) return;
  if (model.outcome) {
    await openModel({ kind: 'kept', id }, model.outcome);
    return;
  }
  state.recipe.value = model.recipe;
  if (!model.source) {
    state.failure.value = `Give the files of ${model.name} again: pages may not keep them. The run then continues where it stopped.`;
    return;
  }
  if (
    !(await openModel(
      model.source === 'demo' ? { kind: 'demo', folder: 'demo' } : { kind: 'name', name: model.source },
    ))
  )
    return;
  if (model.isMeasured && !(await measure())) return; // kept, too: the same sensitivities choose the same grids
  await shrink();
}

export async function removeKept(id: string): Promise<void> {
  await engine.remove(id).catch(tell);
  await listKept();
}

/** The files of the result or of a kept model. */
export const filesOf = (id: string): Promise<File[]> => engine.files(id);
