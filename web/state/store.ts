// The page's state, all of it. Views read it; the modules beside it change it, but for what a field shows while it is typed in.

import { computed, signal } from '@preact/signals';
import type * as own from '../engine/protocol.ts';
import { type Address, readAddress } from './address.ts';

/** The page's rooms, in the order in which a person goes through them. */
export const STEPS = ['model', 'size', 'shrink', 'talk', 'report'] as const;
export type Step = (typeof STEPS)[number];

const address: Address = readAddress(location.search);

export const step = signal<Step>('model');
/** What the page waits for, as a sentence; undefined when it waits for nothing. */
export const waiting = signal<string | undefined>(undefined);
/** Share of a model that is loaded; undefined while none is. */
export const loading = signal<number | undefined>(undefined);
export const failure = signal<string | undefined>(undefined);
export const machine = signal<own.Machine | undefined>(undefined);
/** Where the demo model lies beside the page; undefined where it does not. */
export const demo = signal<own.DemoFolder | undefined>('demo');
export const kept = signal<readonly own.KeptModel[]>([]);

/** A name or an address, as it is typed. */
export const typed = signal(address.model === 'demo' ? '' : (address.model ?? ''));
/** The open model's name in links; undefined of files, which links cannot name. */
export const linked = signal<string | undefined>(undefined);
export const model = signal<own.ModelInfo | undefined>(undefined);
export const recipe = signal<own.Recipe>(address.recipe);
export const sizes = signal<own.Sizes | undefined>(undefined);
/** Tokens a second by bits, measured on this machine; 0 is the model as it is. */
export const speeds = signal<ReadonlyMap<number, number>>(new Map());
export const planned = signal<own.Planned | undefined>(undefined);
/** Share of a measurement that is done; undefined while there is none. */
export const measuring = signal<number | undefined>(undefined);
export const isMeasured = computed(() => sizes.value !== undefined && sizes.value.unit !== 'relative');

export const progress = signal<own.RunProgress | undefined>(undefined);
export const isRunning = signal(false);
export const outcome = signal<own.Outcome | undefined>(undefined);

/** What is written on a side. */
export interface Speech {
  readonly tokens: readonly own.SpokenToken[];
  readonly said: own.Said | undefined;
}

const QUIET: Speech = { tokens: [], said: undefined };
export const speeches = signal<Readonly<Record<own.Side, Speech>>>({ left: QUIET, right: QUIET });
export const ready = signal<Readonly<Partial<Record<own.Side, own.Ready>>>>({});
/** Who stands beside the result: nobody, the original, or a size in bits. */
export const beside = signal<'' | 'original' | number>('');
export const turns = signal<readonly own.Turn[]>([]);
/** Instructions before a conversation, which templates call the system's. */
export const instructions = signal('');
export const prompt = signal(address.prompt ?? '');
/** What the address or a person said of it; the model's authors say the rest. */
export const chosen = signal<Partial<own.Sampling>>(address.sampling);
export const sampling = signal<own.Sampling>({ temperature: 0.8, topP: 0.95, topK: 0, seed: 0, maxTokens: 256 });
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
  const divergences = speeches.value.left.tokens.flatMap(({ kl }) => (kl === undefined ? [] : [kl]));
  return divergences.length > 0 ? divergences.reduce((sum, kl) => sum + kl, 0) / divergences.length : undefined;
});

export const scored = signal<own.Scored | undefined>(undefined);
export const scoring = signal<number | undefined>(undefined);

export const EMPTY_SPEECHES = { left: QUIET, right: QUIET } as const;
