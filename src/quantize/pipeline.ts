// Tasks that run ahead of their consumer: reading, computing and writing overlap, memory holds `depth` results at most.
//
//   task      0 ████████│ written
//   task      1   ██████████│ written          a result waits for those before it: the order of the output is that of the tasks
//   task      2     ████      │ written        the next task starts when a result is taken, so no more than `depth` are under way

/**
 * Starts up to `depth` tasks at a time and yields their results in the order of the tasks.
 * A failed task ends the run; those still under way are waited for in silence.
 */
export async function* inOrder<T>(tasks: Iterable<() => Promise<T>>, depth: number): AsyncGenerator<T, void, void> {
  const underWay: Promise<T>[] = [];
  const iterator = tasks[Symbol.iterator]();
  try {
    for (;;) {
      while (underWay.length < depth) {
        const { done, value } = iterator.next();
        if (done) break;
        const started = value();
        started.catch(() => {}); // reported when its turn comes
        underWay.push(started);
      }
      if (underWay.length === 0) return;
      yield await underWay.shift()!;
    }
  } finally {
    iterator.return?.();
    await Promise.allSettled(underWay);
  }
}

/** Yields results up to the next that is the last of its tensor; the others stay for later. */
export async function* untilLast<T extends { readonly isLast: boolean }>(
  results: AsyncGenerator<T, void, void>,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, void> {
  for (let isLast = false; !isLast; ) {
    signal?.throwIfAborted();
    const { value } = (await results.next()) as IteratorYieldResult<T>;
    yield value;
    isLast = value.isLast;
  }
}
