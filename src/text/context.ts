// Conversations that a context has room for.

import type { Message } from './chat.ts';
import type { Model } from './textmodel.ts';

/**
 * A conversation without its oldest turns, as far as they leave no room for an answer.
 * @param maxTokens of the answer, of which a quarter of the context is kept free at most
 * @returns what is left, and how many turns of the person are not
 */
export function turnsWithin(
  { config, tokenizer, chatTemplate }: Model,
  messages: readonly Message[],
  maxTokens: number,
): { messages: readonly Message[]; forgotten: number } {
  const room = Math.min(maxTokens, Math.floor(config.contextLength / 4));
  const count = (some: readonly Message[]) => tokenizer.encode(chatTemplate.render(some), { special: false }).length;
  return withinContext(messages, count, config.contextLength - room);
}

/**
 * The conversation without its oldest turns, as far as they are in the way.
 * @param count tokens that messages come to
 * @param most tokens that they may have; the last turn stays, however long it is
 * @returns what is left, and how many turns of the person are not
 */
export function withinContext<T extends { role: string }>(
  messages: readonly T[],
  count: (messages: readonly T[]) => number,
  most: number,
): { messages: readonly T[]; forgotten: number } {
  const first = messages[0]?.role === 'system' ? 1 : 0;
  let left = messages;
  let forgotten = 0;
  while (count(left) > most) {
    const next = left.findIndex(({ role }, i) => i > first && role === 'user');
    if (next < 0) break;
    left = [...left.slice(0, first), ...left.slice(next)];
    forgotten++;
  }
  return { messages: left, forgotten };
}
