// The body of a thread other than the caller's: kernels of its own over the shared memory, then one pass after the other. `port` is put
// before this code by who starts it. It is built to build/decoder-worker.js and embedded as text.

import { instantiateDecoder, type LinearMemory } from '../kernels/decoder/instantiate.ts';
import { forwardPass } from './forward.ts';
import type { State } from './state.ts';
import { joinTeam } from './team.ts';

/** What a thread is sent. */
export interface ThreadMessage {
  binary: Uint8Array<ArrayBuffer>;
  memory: LinearMemory;
  state: State;
  index: number;
}

interface Port {
  addEventListener(type: 'message', listener: (event: { data: ThreadMessage }) => void): void;
  postMessage(answer: { ready: true } | { name: string; message: string }): void;
}
declare const port: Port;

port.addEventListener('message', async ({ data: { binary, memory, state, index } }) => {
  try {
    const kernels = await instantiateDecoder(binary, memory);
    const team = joinTeam(kernels, memory.buffer, state.sync, index, state.threads);
    const ids = new Int32Array(memory.buffer, state.ids, state.batch);
    port.postMessage({ ready: true });
    // From its first wait on the thread never comes back to its event loop: let the answer go out first.
    setTimeout(() => {
      try {
        for (let pass = team.next(); pass; pass = team.next()) forwardPass(team.thread, state, pass, ids);
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
