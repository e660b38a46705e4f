// Turns of the event loop: a thread that computes for long lets its other work run now and then. A page stays alive, a signal arrives.

/** Other work of the thread runs about this often, in milliseconds. */
const PAUSE_AFTER = 20;
/** And at least this often, in calls: the clocks of edge workers stand still while they compute. */
const PAUSE_CALLS = 32;

/** A function to be called in each round of a loop: it gives a turn of the event loop to wait for where one is due. */
export function pauses(): () => Promise<void> | undefined {
  let paused = 0;
  let calls = 0;
  return () => {
    if (++calls % PAUSE_CALLS !== 0 && performance.now() - paused < PAUSE_AFTER) return undefined;
    return turn().then(() => {
      paused = performance.now();
    });
  };
}

// A timer takes a millisecond at least, which is a fortieth of a token; what Node, Deno and Bun have for it takes microseconds.
function turn(): Promise<void> {
  const { setImmediate } = globalThis as { setImmediate?: (then: () => void) => unknown };
  return new Promise((resolve) => (setImmediate ? setImmediate(resolve) : setTimeout(resolve)));
}
