// Stop strings in streamed text: what may be the beginning of one is held back until it is known.

import { argumentError } from '../check.ts';

/** Text on its way through the stop strings. */
interface StopFilter {
  /** @returns what can be shown now, and whether a stop string was met */
  push(text: string): { text: string; stopped: boolean };
  /** @returns what was held back, at the end of the text */
  end(): string;
}

/**
 * @param stops strings that end the text and are not part of it
 * @throws {RangeError} when one is empty
 */
export function stopFilter(stops: readonly string[]): StopFilter {
  for (const stop of stops) {
    if (typeof stop !== 'string') throw argumentError(`stop must be strings: got ${typeof stop}`);
    if (stop === '') throw new RangeError('stop must be strings of at least one character: got an empty one');
  }
  let held = '';
  return {
    push(text) {
      held += text;
      const places = stops.map((stop) => held.indexOf(stop)).filter((position) => position >= 0);
      const stopped = places.length > 0;
      const length = stopped ? Math.min(...places) : held.length - longestBeginning(held, stops);
      const shown = held.slice(0, length);
      held = stopped ? '' : held.slice(length);
      return { text: shown, stopped };
    },
    end() {
      const rest = held;
      held = '';
      return rest;
    },
  };
}

/** How much of the end of `text` begins a stop string. */
export function longestBeginning(text: string, stops: readonly string[]): number {
  let longest = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(stop.slice(0, length))) longest = length;
    }
  }
  return longest;
}
