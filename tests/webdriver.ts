// WebKitGTK's MiniBrowser, driven over WebDriver on a display of its own. Such a session has no private file system, as private windows of
// Safari have none.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { until } from './browser.ts';
import { browser, display } from './runtimes/webkit.ts';

export interface WebDriverPage {
  goTo(url: string): Promise<void>;
  /** The value of an expression in the page. */
  evaluate<T>(expression: string): Promise<T>;
  /** Waits until an expression is true. */
  until(expression: string): Promise<void>;
  close(): Promise<void>;
}

/** Opens a page. @param driver path of WebKitWebDriver */
export async function openWebKit(driver: string): Promise<WebDriverPage> {
  const children: ChildProcess[] = [];
  const home = await mkdtemp(join(tmpdir(), 'higgs-webkit-'));
  const close = async () => {
    for (const child of children.reverse()) {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
    await rm(home, { recursive: true, force: true });
  };
  try {
    const screen = spawn(display!, ['-displayfd', '3', '-screen', '0', '1280x900x24', '-nolisten', 'tcp'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    });
    children.push(screen);
    const [number] = await once(createInterface(screen.stdio[3] as Readable), 'line');
    const env = { ...process.env, DISPLAY: `:${number}`, WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1' };
    for (const kind of ['HOME', 'XDG_DATA_HOME', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME'])
      Object.assign(env, { [kind]: home });
    const port = await freePort();
    children.push(spawn(driver, [`--port=${port}`], { env, stdio: 'ignore' }));
    const base = `http://127.0.0.1:${port}/session`;
    const options = { binary: browser, args: ['--automation'] };
    const { sessionId } = await started(base, {
      capabilities: { alwaysMatch: { 'webkitgtk:browserOptions': options } },
    });
    const session = `${base}/${sessionId}`;
    const evaluate = <T>(expression: string) =>
      post<T>(`${session}/execute/sync`, { script: `return (${expression});`, args: [] });
    return {
      goTo: (url) => post(`${session}/url`, { url }),
      evaluate,
      until: (expression) => until(evaluate, expression),
      async close() {
        await fetch(session, { method: 'DELETE' });
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function post<T>(url: string, body: unknown): Promise<T> {
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
  const { value } = (await response.json()) as { value: T & { error?: string; message?: string } };
  if (!response.ok) throw new Error(`${value.error}: ${value.message}`);
  return value;
}

// The driver takes a moment to listen.
async function started(url: string, body: unknown): Promise<{ sessionId: string }> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await post(url, body);
    } catch (error) {
      if (attempt === 50 || !(error instanceof TypeError)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200)); // it starts
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
