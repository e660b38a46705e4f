// Watches the process that runs cases. A case that takes too long or too much memory, and one that ends the process, is a finding.
// Threads would not do: running out of memory in one of them can end all.

import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Order, Turn } from './runner.ts';

/** Most seconds of processor time of a case: limits of templates and of plans end in a few. */
const SECONDS = 15;
/** Most seconds in all: a promise that nobody settles. */
const IDLE_SECONDS = 60;
/** Most megabytes of the heap, and of the process. */
const HEAP_MEGABYTES = 512;
const MEGABYTES = 1500;
const LOOK_EVERY = 200;
/** Units of /proc: hundredths of a second and pages, as all usual kernels have them. */
const TICKS = 100;
const PAGE_BYTES = 4096;

/** What came of an order; `fault` is what ended the process, at the case `index`. */
export type Watched = Turn | { fault: string; index: number };

export interface Runner {
  run(order: Order): Promise<Watched>;
  end(): void;
}

export function startRunner(): Runner {
  const folder = mkdtempSync(join(tmpdir(), 'higgs-fuzz-'));
  const path = join(folder, 'progress');
  writeFileSync(path, new Uint8Array(4));
  const progress = openSync(path, 'r');
  let child: ChildProcess | undefined;

  function index(): number {
    const word = new Uint32Array(1);
    readSync(progress, word, 0, 4, 0);
    return word[0];
  }

  async function start(): Promise<ChildProcess> {
    const file = fileURLToPath(new URL('./runner.js', import.meta.url));
    const started = fork(file, [path], {
      execArgv: [`--max-old-space-size=${HEAP_MEGABYTES}`],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    await new Promise((resolve, reject) => started.once('message', resolve).once('exit', reject));
    started.removeAllListeners('exit');
    return started;
  }

  return {
    async run(order) {
      child ??= await start();
      const current = child;
      writeFileSync(path, Uint32Array.of(order.from));
      const actual = await watch(current, order, index);
      if ('fault' in actual) {
        child = undefined;
        current.kill('SIGKILL');
      }
      return actual;
    },
    end() {
      child?.kill('SIGKILL');
      closeSync(progress);
      rmSync(folder, { recursive: true });
    },
  };
}

function watch(child: ChildProcess, order: Order, indexOf: () => number): Promise<Watched> {
  return new Promise((resolve) => {
    let index = -1;
    let used = 0;
    let since = 0;
    const timer = setInterval(() => {
      const now = indexOf();
      const { seconds, megabytes } = usageOf(child.pid!);
      if (now !== index) {
        index = now;
        used = seconds;
        since = performance.now();
      }
      if (seconds - used > SECONDS) finish({ fault: `a case of more than ${SECONDS} seconds`, index });
      else if (performance.now() - since > IDLE_SECONDS * 1000) finish({ fault: 'a case that does not end', index });
      else if (megabytes > MEGABYTES) finish({ fault: `more than ${MEGABYTES} MB`, index });
    }, LOOK_EVERY);
    const finish = (actual: Watched) => {
      clearInterval(timer);
      child.off('message', finish).off('exit', exit);
      resolve(actual);
    };
    const exit = (code: number | null, signal: string | null) => {
      const fault = signal === 'SIGABRT' ? 'out of memory' : `the process ended with ${signal ?? code}`;
      finish({ fault, index: indexOf() });
    };
    child.on('message', finish).on('exit', exit);
    child.send(order);
  });
}

// Processor time and memory of a process, from /proc; where there is none, only the clock watches.
function usageOf(pid: number): { seconds: number; megabytes: number } {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    const [user, system] = [fields[11], fields[12]].map(Number);
    return { seconds: (user + system) / TICKS, megabytes: (Number(fields[21]) * PAGE_BYTES) / 2 ** 20 };
  } catch {
    return { seconds: 0, megabytes: 0 };
  }
}
