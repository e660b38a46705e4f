// A conversation as a file: Markdown, with what made it said at its head.

import { model, outcome, sampling, speeches, turns } from '../state/store.ts';

/** Who said it, what, and by which model, size and seed. */
export function conversationFile(): Blob {
  const { temperature, topP, topK, seed } = sampling.value;
  const name = outcome.value?.id ?? model.value?.name ?? 'model';
  const how = `temperature ${temperature}, top p ${topP}, top k ${topK}, seed ${seed}`;
  const parts = turns.value.map(({ role, content }) => `**${role === 'user' ? 'You' : 'Model'}**\n\n${content}\n`);
  // A text that is continued has no turn of the model's.
  const rest = turns.value.at(-1)?.role === 'user' ? [`**Model**\n\n${answer()}\n`] : [];
  return new Blob([[`# ${name}\n\n${how}\n`, ...parts, ...rest].join('\n')], { type: 'text/markdown' });
}

/** What the model said last, without its thoughts. */
export function answer(): string {
  return speeches.value.left.tokens.map(({ text }) => text).join('');
}
