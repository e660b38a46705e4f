// WebKit: WebKitGTK's MiniBrowser on a display of its own (Xvfb), driven by WebKitWebDriver with plain WebDriver requests.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { find, type Runtime } from './runtime.ts';
import { servePage } from './server.ts';

const driver = find('WebKitWebDriver');
const display = find('Xvfb');
const browser = find(...libraryFolders().map((folder) => `${folder}/MiniBrowser`));

export const webkit: Runtime = {
  name: 'WebKit',
  install: 'apt-get install --no-install-recommends webkit2gtk-driver xvfb',
  program: driver && display && browser,
  run: async (binary, signal) => {
    const children: ChildProcess[] = [];
    const start = (program: string, args: string[], env: NodeJS.ProcessEnv = {}): ChildProcess => {
      const child = spawn(program, args, {
        signal,
        env: { ...process.env, ...env },
        stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
      });
      child.on('error', () => {}); // the signal's; who waits for the child is told by the signal too
      children.push(child);
      return child;
    };
    try {
      const server = start(display!, ['-displayfd', '3', '-screen', '0', '1024x768x24', '-nolisten', 'tcp']);
      const ended = once(server, 'exit').then(() => Promise.reject(new Error('Xvfb ended early')));
      ended.catch(() => {}); // it ends at last
      const [number] = await Promise.race([once(createInterface(server.stdio[3] as Readable), 'line'), ended]);
      const port = await freePort();
      start(driver!, [`--port=${port}`], {
        DISPLAY: `:${number}`,
        WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1',
      });
      const request = webdriver(`http://127.0.0.1:${port}`, signal);
      await ready(request);
      const options = { binary, args: ['--automation'] };
      const { sessionId, capabilities } = await request('POST', '/session', {
        capabilities: { alwaysMatch: { 'webkitgtk:browserOptions': options, pageLoadStrategy: 'none' } },
      });
      try {
        const visit = (url: string) => request('POST', `/session/${sessionId}/url`, { url });
        return { outcome: await servePage(visit, signal), version: capabilities.browserVersion };
      } finally {
        await request('DELETE', `/session/${sessionId}`);
      }
    } finally {
      for (const child of children.reverse()) {
        child.kill();
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      }
    }
  },
};

// biome-ignore lint/suspicious/noExplicitAny: answers differ from command to command
type Request = (method: string, path: string, body?: object) => Promise<any>;

function webdriver(base: string, signal: AbortSignal): Request {
  return async (method, path, body) => {
    const response = await fetch(base + path, { method, signal, ...(body && { body: JSON.stringify(body) }) });
    const { value } = (await response.json()) as { value: { error?: string; message?: string } };
    if (!response.ok) throw new Error(`WebKitWebDriver: ${value.error}: ${value.message}`);
    return value;
  };
}

async function ready(request: Request): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await request('GET', '/status');
      return;
    } catch (error) {
      if (tries === 50) throw error;
      await setTimeout(200);
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

// Where distributions put what belongs to WebKitGTK: /usr/lib/<machine>/webkit2gtk-4.1 and the like.
function libraryFolders(): string[] {
  const list = (folder: string) => {
    try {
      return readdirSync(folder).map((name) => `${folder}/${name}`);
    } catch {
      return [];
    }
  };
  return ['/usr/lib', '/usr/libexec', '/usr/lib64']
    .flatMap((folder) => [folder, ...list(folder).filter((name) => name.endsWith('-linux-gnu'))])
    .flatMap(list)
    .filter((name) => /webkit2?gtk-\d/.test(name))
    .sort()
    .reverse();
}
