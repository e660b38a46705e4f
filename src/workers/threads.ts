// Threads that share memory, for one model: each is sent one message, and runs until it is ended.

/** Threads to run a model on; they belong to the model that is loaded with them. */
export interface Threads {
  /** Threads, the caller's among them. */
  readonly size: number;
  /** Sends each of the others its message, by its index from 1 on; resolves when all have answered. */
  start(messageOf: (index: number) => unknown): Promise<void>;
  /** Ends the others. */
  close(): Promise<void>;
}

/** What a thread answers: once when it is there, once when it has taken its message. */
export type ThreadAnswer = { ready: true } | { name: string; message: string };

/** A thread of whatever kind the runtime has. */
export interface ThreadHandle {
  post(message: unknown): void;
  /** Does not keep the process alive from now on. */
  release(): void;
  terminate(): unknown;
}

/** Starts a thread; `answer` gets its answers, `fail` what ended it. */
export type SpawnThread = (answer: (answer: ThreadAnswer) => void, fail: (reason: Error) => void) => ThreadHandle;

/** Starts `size - 1` threads beside the caller's, and waits until they are there. */
export async function threadsOf(size: number, spawn: SpawnThread): Promise<Threads> {
  const others = Array.from({ length: size - 1 }, () => threadOf(spawn));
  const close = async () => {
    await Promise.all(others.map(({ handle }) => handle.terminate()));
  };
  try {
    await Promise.all(others.map(({ answered }) => answered()));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    size,
    start: async (messageOf) => {
      await Promise.all(
        others.map(({ handle, answered }, i) => {
          handle.post(messageOf(i + 1));
          return answered();
        }),
      );
      for (const { handle } of others) handle.release();
    },
    close,
  };
}

function threadOf(spawn: SpawnThread): { handle: ThreadHandle; answered(): Promise<void> } {
  const answers: (Error | undefined)[] = [];
  let waiting: ((answer: Error | undefined) => void) | undefined;
  const take = (answer: Error | undefined) => {
    if (!waiting) {
      answers.push(answer);
      return;
    }
    waiting(answer);
    waiting = undefined;
  };
  const handle = spawn(
    (answer) => take('ready' in answer ? undefined : new Error(`${answer.name} in a thread: ${answer.message}`)),
    take,
  );
  return {
    handle,
    answered: () =>
      new Promise((resolve, reject) => {
        const settle = (answer: Error | undefined) => (answer ? reject(answer) : resolve());
        if (answers.length > 0) settle(answers.shift());
        else waiting = settle;
      }),
  };
}
