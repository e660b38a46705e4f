// The page's state, all of it. Views read it; actions.ts alone changes it, but for what a field shows while it is typed in.

import { computed, signal } from '@preact/signals';
import type {
  KeptModel,
  Machine,
  ModelInfo,
  Outcome,
  Planned,
  Ready,
  Recipe,
  RunProgress,
  Said,
  Sampling,
  Scored,
  Side,
  Sizes,
  SpokenToken,
  Turn,
} from '../engine/protocol.ts';
import { type Address, readAddress } from './address.ts';

/** The page's rooms, in the order in which a person goes through them. */
export const STEPS = ['model', 'size', 'shrink', 'talk', 'report'] as const;
export type Step = (typeof STEPS)[number];

const address: Address = readAddress(location.search);

export const step = signal<Step>('model');
/** What the page waits for, as a sentence; undefined when it waits for nothing. */
export const waiting = signal<string | undefined>(undefined);
export const failure = signal<string | undefined>(undefined);
export const machine = signal<Machine | undefined>(undefined);
/** Whether the demo model lies beside the page. */
export const hasDemo = signal(true);
export const kept = signal<readonly KeptModel[]>([]);

/** A name or an address, as it is typed. */
export const typed = signal(address.model === 'demo' ? '' : (address.model ?? ''));
export const model = signal<ModelInfo | undefined>(undefined);
export const recipe = signal<Recipe>(address.recipe);
export const sizes = signal<Sizes | undefined>(undefined);
/** Tokens a second by bits, measured on this machine; 0 is the model as it is. */
export const speeds = signal<ReadonlyMap<number, number>>(new Map());
export const planned = signal<Planned | undefined>(undefined);
/** Share of a measurement that is done; undefined while there is none. */
export const measuring = signal<number | undefined>(undefined);
export const isMeasured = computed(() => sizes.value !== undefined && sizes.value.unit !== 'relative');

export const progress = signal<RunProgress | undefined>(undefined);
export const isRunning = signal(false);
export const outcome = signal<Outcome | undefined>(undefined);

/** What is written on a side. */
export interface Speech {
  readonly tokens: readonly SpokenToken[];
  readonly said: Said | undefined;
}

const QUIET: Speech = { tokens: [], said: undefined };
export const speeches = signal<Readonly<Record<Side, Speech>>>({ left: QUIET, right: QUIET });
export const ready = signal<Readonly<Partial<Record<Side, Ready>>>>({});
/** Who stands beside the result: nobody, the original, or a size in bits. */
export const beside = signal<'' | 'original' | number>('');
export const turns = signal<readonly Turn[]>([]);
export const prompt = signal(address.prompt ?? '');
/** What the address or a person said of it; the model's authors say the rest. */
export const chosen = signal<Partial<Sampling>>(address.sampling);
export const sampling = signal<Sampling>({ temperature: 0.8, topP: 0.95, topK: 0, seed: 0, maxTokens: 256 });
export const isSpeaking = signal(false);

/** The first token in which both sides differ; undefined while they agree. */
export const differing = computed(() => {
  const { left, right } = speeches.value;
  const both = Math.min(left.tokens.length, right.tokens.length);
  for (let i = 0; i < both; i++) if (left.tokens[i].id !== right.tokens[i].id) return i;
  return undefined;
});
/** Mean KL(original ‖ result) over the tokens so far, in nats. */
export const meanKl = computed(() => {
  const known = speeches.value.left.tokens.flatMap(({ kl }) => (kl === undefined ? [] : [kl]));
  return known.length > 0 ? known.reduce((sum, kl) => sum + kl, 0) / known.length : undefined;
});

export const scored = signal<Scored | undefined>(undefined);
export const scoring = signal<number | undefined>(undefined);

export const EMPTY_SPEECHES = { left: QUIET, right: QUIET } as const;
