// The body of a thread other than the caller's: kernels of its own over the shared memory, then one pass after the other. `port` is put
// before this code by who starts it. It is built to build/decoder-worker.js and embedded as text.

import { instantiateDecoder } from '../../kernels/decoder/instantiate.ts';
import { forwardPass, seatsOf } from '../../model/forward.ts';
import { readStoring, storeBlocks } from '../../model/loading/store.ts';
import type { ThreadMessage } from '../../model/memories.ts';
import { readPass, segmentBytes } from '../../model/pass.ts';
import { joinTeam } from '../../model/team.ts';
import { measuringOf } from './measuring.ts';
import { runTask } from './run.ts';
import { taskOf } from './task.ts';
import type { Workspace } from './workspace.ts';

/** What a thread is sent. */
export interface WorkerMessage extends ThreadMessage {
  /** Passes are tasks of a measurement if there is one. */
  workspace?: Workspace;
}

interface Port {
  addEventListener(type: 'message', listener: (event: { data: WorkerMessage }) => void): void;
  postMessage(answer: { ready: true } | { name: string; message: string }): void;
}
declare const port: Port;

port.addEventListener('message', async ({ data: { binary, memories, state, linears, index, workspace } }) => {
  try {
    const kernels = await Promise.all(memories.map((memory) => instantiateDecoder(binary, memory)));
    const [{ buffer }] = memories;
    const team = joinTeam(kernels[0], buffer, state.sync, index, state.threads);
    const seats = seatsOf(team.thread, kernels, memories);
    const ids = new Int32Array(buffer, state.ids, state.batch);
    const segments = new Int32Array(buffer, state.segments, segmentBytes(state.batch) / 4);
    port.postMessage({ ready: true });
    // From its first wait on the thread never comes back to its event loop: let the answer go out first.
    setTimeout(() => {
      try {
        const measuring = workspace && measuringOf(team.thread, state, workspace, buffer);
        for (let words = team.next(); words; words = team.next()) {
          const storing = readStoring(words);
          if (storing) storeBlocks(seats, linears, storing);
          else if (measuring) runTask(measuring, taskOf(words));
          else forwardPass(seats, state, readPass(words, segments), ids);
        }
      } catch (error) {
        team.fail();
        throw error;
      }
    });
  } catch (error) {
    const { name, message } = error as Error;
    port.postMessage({ name, message });
  }
});
port.postMessage({ ready: true });
