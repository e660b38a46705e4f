// Watches the thread that runs cases. A case that takes too long or too much memory, and one that ends the thread, is a finding.

import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Order, Turn } from './worker.ts';

/** Most seconds of processor time of a case: limits of templates and of plans end in a few. */
const SECONDS = 15;
/** Most seconds without any work: a promise that nobody settles. */
const IDLE_SECONDS = 60;
/** Most megabytes of a case: of the heap, and of the process above what it had. */
const HEAP_MEGABYTES = 512;
const MEGABYTES = 1500;
const LOOK_EVERY = 200;

/** What came of an order; `fault` is what ended the thread, at the case `index`. */
export type Watched = Turn | { fault: string; index: number };

export interface Thread {
  run(order: Order): Promise<Watched>;
  end(): Promise<void>;
}

export function startThread(): Thread {
  const progress = new Int32Array(new SharedArrayBuffer(4));
  let worker: Worker | undefined;

  async function start(): Promise<Worker> {
    const file = fileURLToPath(new URL('./worker.js', import.meta.url));
    const resourceLimits = { maxOldGenerationSizeMb: HEAP_MEGABYTES, stackSizeMb: 4 };
    const own = new Worker(file, { workerData: progress.buffer, resourceLimits });
    await new Promise((resolve, reject) => own.once('message', resolve).once('error', reject));
    return own;
  }

  return {
    async run(order) {
      worker ??= await start();
      const own = worker;
      Atomics.store(progress, 0, order.from);
      const found = await watch(own, order, progress);
      if ('fault' in found) {
        worker = undefined;
        own.on('error', () => {}); // of a thread that is being ended
        await own.terminate();
      }
      return found;
    },
    async end() {
      await worker?.terminate();
    },
  };
}

function watch(worker: Worker, order: Order, progress: Int32Array): Promise<Watched> {
  return new Promise((resolve) => {
    let index = Atomics.load(progress, 0);
    let used = process.cpuUsage();
    let since = performance.now();
    const memory = process.memoryUsage.rss();
    const timer = setInterval(() => {
      const now = Atomics.load(progress, 0);
      if (now !== index) {
        index = now;
        used = process.cpuUsage();
        since = performance.now();
      }
      const { user, system } = process.cpuUsage(used);
      if ((user + system) / 1e6 > SECONDS) finish({ fault: `a case of more than ${SECONDS} seconds`, index });
      else if (performance.now() - since > IDLE_SECONDS * 1000) finish({ fault: 'a case that does not end', index });
      const more = (process.memoryUsage.rss() - memory) / 2 ** 20;
      if (more > MEGABYTES) finish({ fault: `more than ${MEGABYTES} MB`, index });
    }, LOOK_EVERY);
    const finish = (found: Watched) => {
      clearInterval(timer);
      worker.off('message', finish).off('error', fail).off('exit', exit);
      resolve(found);
    };
    const at = () => Atomics.load(progress, 0);
    const fail = (error: Error) => finish({ fault: `the thread ended: ${error.message}`, index: at() });
    const exit = (code: number) => finish({ fault: `the thread ended with code ${code}`, index: at() });
    worker.on('message', finish).on('error', fail).on('exit', exit);
    worker.postMessage(order);
  });
}
