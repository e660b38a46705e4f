// Answers on their way out of a server of node:http. One whose client takes nothing more is given up; at the end those under way are waited
// for. A server's own close() ends connections whose answer is there, but not yet written.

import type { Server, ServerResponse } from 'node:http';
import { Server as Listener } from 'node:net';

/** Answers of a server. */
interface Answers {
  /** Takes no new connections, lets `work` end, waits for what is still being written, and ends every connection. */
  close(work: () => Promise<void>): Promise<void>;
}

/**
 * @param stalledMs milliseconds that a client may take nothing of an answer that is there
 * @param closingMs milliseconds that all clients have, at the end, for what is there
 */
export function answersOf(http: Server, { stalledMs, closingMs }: { stalledMs: number; closingMs: number }): Answers {
  const open = new Set<ServerResponse>();
  let empty = () => {};
  // In front of who answers: an answer may be there at once.
  http.prependListener('request', (_, response: ServerResponse) => {
    open.add(response);
    // Before it, a model may take its time; the timer of a socket begins anew with whatever the client takes.
    response.once('prefinish', () => {
      const { socket } = response;
      response.setTimeout(stalledMs, () => response.destroy());
      // In front of the server's own, which sets how long an idle connection stays.
      response.prependOnceListener('finish', () => socket?.setTimeout(0));
    });
    response.once('close', () => {
      open.delete(response);
      if (open.size === 0) empty();
    });
  });
  return {
    async close(work) {
      Listener.prototype.close.call(http);
      try {
        await work();
        if (open.size > 0) {
          await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, closingMs);
            empty = () => {
              clearTimeout(timer);
              resolve();
            };
          });
        }
      } finally {
        http.closeAllConnections();
      }
    },
  };
}
