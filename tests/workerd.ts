// Runs a worker in workerd, as its configuration says, on a free port.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

export interface Served {
  /** `http://127.0.0.1:<port>` */
  base: string;
  /** Id of the process. */
  pid: number;
  close(): Promise<void>;
}

/**
 * Starts workerd and waits until it listens.
 * @param config path of a configuration that has a socket named `http`
 */
export async function serveWorkerd(workerd: string, config: string): Promise<Served> {
  const child = spawn(workerd, ['serve', config, '--socket-addr=http=127.0.0.1:0', '--control-fd=3'], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  });
  let complaints = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    complaints += text;
  });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  const lines = createInterface({ input: child.stdio[3] as Readable });
  for await (const line of lines) {
    const { event, port } = JSON.parse(line) as { event: string; port: number };
    if (event !== 'listen') continue;
    return {
      base: `http://127.0.0.1:${port}`,
      pid: child.pid!,
      close: async () => {
        child.kill('SIGKILL');
        await ended;
      },
    };
  }
  await ended;
  throw new Error(`workerd did not start:\n${complaints}`);
}
