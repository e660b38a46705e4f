// Unfinished work that is saved as it grows.

/** It is saved at once, then this often, in milliseconds, and when the work fails. */
const SAVE_AFTER = 5000;

/**
 * Works, and saves what is done: a rejection of `save` ends the work.
 * @param work calls its argument with all that is done
 */
export async function saving<T>(
  save: (content: string) => Promise<void>,
  work: (onPartial: (content: string) => void) => Promise<T>,
): Promise<T> {
  let last: string | undefined;
  let saved = Number.NEGATIVE_INFINITY;
  let writing = Promise.resolve();
  let fault: { error: unknown } | undefined;
  const write = () => {
    const content = last!;
    last = undefined;
    saved = performance.now();
    writing = writing.then(() => save(content));
    writing.catch((error) => (fault = { error }));
  };
  try {
    const result = await work((content) => {
      if (fault) throw fault.error;
      last = content;
      if (performance.now() - saved > SAVE_AFTER) write();
    });
    await writing;
    return result;
  } catch (error) {
    if (last !== undefined) write();
    await writing;
    throw error;
  }
}
