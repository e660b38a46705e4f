// Workers that the engine asks for: the page starts them, and hands on what they and the engine tell each other. In Firefox a worker that
// starts another one may wait for it for ever, once in some hundred times; a page never does.

import { proxy, transfer } from 'comlink';

/** Starts a worker, whose messages come and go over the port. */
export type StartWorker = (url: string, port: MessagePort) => void | Promise<void>;

/** What the engine tells the page. */
type Order = { message: unknown; transferred: Transferable[] } | 'terminate';
/** What the page tells the engine. */
type News = { message: unknown } | { error: string };

/** The page's half. */
export const startWorker = proxy((url: string, port: MessagePort) => {
  const worker = new Worker(url, { type: 'module' });
  const tell = (news: News) => port.postMessage(news);
  worker.addEventListener('message', ({ data }) => tell({ message: data }));
  worker.addEventListener('messageerror', () => tell({ error: 'an answer of a worker could not be read' }));
  worker.addEventListener('error', (event) => {
    event.preventDefault(); // the engine says what it means
    tell({ error: event.message });
  });
  port.onmessage = ({ data }: MessageEvent<Order>) => {
    if (data !== 'terminate') worker.postMessage(data.message, data.transferred);
    else {
      worker.terminate();
      port.close();
    }
  };
});

/** The engine's half: as the browser's Worker, but started by the page. */
export function workersBy(start: StartWorker) {
  return class extends EventTarget {
    readonly #port: MessagePort;

    constructor(url: string | URL) {
      super();
      const { port1, port2 } = new MessageChannel();
      this.#port = port1;
      const fail = (message: string) => this.dispatchEvent(new ErrorEvent('error', { message }));
      port1.onmessage = ({ data }: MessageEvent<News>) => {
        if ('error' in data) fail(data.error);
        else this.dispatchEvent(new MessageEvent('message', { data: data.message }));
      };
      Promise.resolve(start(String(url), transfer(port2, [port2]))).catch(({ message }: Error) => fail(message));
    }

    #tell(order: Order, transferred: Transferable[] = []): void {
      this.#port.postMessage(order, transferred);
    }

    postMessage(message: unknown, transferred: Transferable[] = []): void {
      this.#tell({ message, transferred }, transferred);
    }

    terminate(): void {
      this.#tell('terminate');
    }
  };
}
