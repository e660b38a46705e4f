// Who may generate. A bounded number of texts runs at once, a bounded number of requests waits. Of those that wait the one goes first whose
// client has the fewest running; of equal ones, whose client had its turn longest ago; then who came first. So one client with many requests
// does not hold up the others.

import { HttpError } from './errors.ts';
import { LIMITS } from './limits.ts';

/** A queue before the models. */
export interface Gate {
  /** Texts that run. */
  readonly active: number;
  /** Requests that wait. */
  readonly waiting: number;
  /**
   * Waits for a place.
   * @param client who asks: places are shared between clients
   * @param weight texts that will run
   * @returns gives the place back
   * @throws {HttpError} 429 when too many wait; 503 when the gate is shut
   */
  enter(client: string, weight: number, signal: AbortSignal): Promise<() => void>;
  /** Lets nobody in any more. Resolves when nobody is left. */
  shut(): Promise<void>;
}

interface Waiter {
  readonly client: string;
  readonly weight: number;
  admit(): void;
  refuse(error: Error): void;
}

/** Seconds that a client is told to wait: at least, and at most. */
const RETRY = { least: 1, most: 60 };
/** How much a new duration counts in the mean. */
const SHARE = 0.1;

/** @param most texts at once @param queue requests that may wait */
export function openGate(most: number, queue: number): Gate {
  let active = 0;
  let waiting: Waiter[] = [];
  let isShut = false;
  let meanMs = 1000;
  const running = new Map<string, number>(); // texts of each client
  const turns = new Map<string, number>(); // when each client had its last one
  let turn = 0;
  let empty: (() => void)[] = [];

  const count = (client: string, change: number) => {
    const left = (running.get(client) ?? 0) + change;
    if (left > 0) running.set(client, left);
    else running.delete(client);
    active += change;
  };
  const fits = (weight: number) => active === 0 || active + weight <= most;

  const isBefore = (client: string, other: string) => {
    const [mine, theirs] = [client, other].map((each) => running.get(each) ?? 0);
    return mine < theirs || (mine === theirs && (turns.get(client) ?? 0) < (turns.get(other) ?? 0));
  };

  function admit(): void {
    while (waiting.length > 0) {
      let first = waiting[0];
      for (const entry of waiting) {
        if (isBefore(entry.client, first.client)) first = entry;
      }
      if (!fits(first.weight)) return;
      waiting = waiting.filter((entry) => entry !== first);
      first.admit();
    }
    if (active > 0) return;
    for (const resolve of empty) resolve();
    empty = [];
  }

  function placeOf(client: string, weight: number): () => void {
    count(client, weight);
    turns.delete(client);
    turns.set(client, ++turn);
    if (turns.size > LIMITS.clients) turns.delete(turns.keys().next().value!); // who had its turn longest ago
    const began = performance.now();
    let isGiven = false;
    return () => {
      if (isGiven) return;
      isGiven = true;
      meanMs += SHARE * (performance.now() - began - meanMs);
      count(client, -weight);
      admit();
    };
  }

  const closing = () => new HttpError(503, 'the server is shutting down', { retryAfter: RETRY.most });

  return {
    get active() {
      return active;
    },
    get waiting() {
      return waiting.length;
    },
    async enter(client, weight, signal) {
      if (isShut) throw closing();
      signal.throwIfAborted();
      if (waiting.length === 0 && fits(weight)) return placeOf(client, weight);
      if (waiting.length >= queue) {
        const seconds = Math.ceil((meanMs * (waiting.length + 1)) / most / 1000);
        const retryAfter = Math.min(RETRY.most, Math.max(RETRY.least, seconds));
        const message = `too many requests: ${active} running, ${waiting.length} waiting; try again in ${retryAfter} s`;
        throw new HttpError(429, message, { code: 'rate_limit_exceeded', retryAfter });
      }
      return new Promise((resolve, reject) => {
        const abort = () => {
          waiting = waiting.filter((each) => each !== entry);
          reject(signal.reason);
          admit();
        };
        const settled = () => signal.removeEventListener('abort', abort);
        const entry: Waiter = {
          ...{ client, weight },
          admit() {
            settled();
            resolve(placeOf(client, weight));
          },
          refuse(error) {
            settled();
            reject(error);
          },
        };
        signal.addEventListener('abort', abort);
        waiting.push(entry);
        admit();
      });
    },
    async shut() {
      isShut = true;
      for (const entry of waiting.splice(0)) entry.refuse(closing());
      if (active > 0) await new Promise<void>((resolve) => empty.push(resolve));
    },
  };
}
