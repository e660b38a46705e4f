// WebKit: WebKitGTK's MiniBrowser on a display of its own (Xvfb), with a directory of its own for what it keeps. It is started with the
// page's address: a session that WebKitWebDriver drives has no private file system, as private windows of Safari have none.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { find, type Runtime, versionIn } from './runtime.ts';
import { servePage } from './server.ts';

/** A display without a screen, and WebKitGTK's own browser. */
export const display = find('Xvfb');
export const browser = find(...libraryFolders().map((folder) => `${folder}/MiniBrowser`));

/** What Safari has and WebKitGTK has only when it is asked to. */
const FEATURES = ['FileSystem', 'StorageAPI', 'AccessHandle', 'FileSystemWritableStream'];

export const webkit: Runtime = {
  name: 'WebKit',
  install: 'apt-get install --no-install-recommends webkit2gtk-driver xvfb',
  program: display && browser,
  run: async (binary, signal) => {
    const children: ChildProcess[] = [];
    const home = await mkdtemp(join(tmpdir(), 'higgs-webkit-'));
    const env = { ...process.env, WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: '1' };
    for (const kind of ['HOME', 'XDG_DATA_HOME', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME'])
      Object.assign(env, { [kind]: home });
    const start = (program: string, args: string[], variables: NodeJS.ProcessEnv): ChildProcess => {
      const child = spawn(program, args, { signal, env: variables, stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
      child.on('error', () => {}); // the signal's; who waits for the child is told by the signal too
      children.push(child);
      return child;
    };
    const ending = async (child: ChildProcess, name: string): Promise<never> => {
      await once(child, 'exit');
      throw new Error(`${name} ended early`);
    };
    try {
      const server = start(display!, ['-displayfd', '3', '-screen', '0', '1024x768x24', '-nolisten', 'tcp'], env);
      const ended = ending(server, 'Xvfb');
      ended.catch(() => {}); // it ends at last
      const [number] = await Promise.race([once(createInterface(server.stdio[3] as Readable), 'line'), ended]);
      const shown = { ...env, DISPLAY: `:${number}` };
      const version = versionIn(execFileSync(binary, ['--version'], { env: shown, encoding: 'utf8', timeout: 30_000 }));
      const visit = (url: string) => {
        const child = start(binary, [`--features=${FEATURES.map((name) => `+${name}`).join()}`, url], shown);
        return ending(child, 'MiniBrowser');
      };
      return { outcome: await servePage(visit, signal), version };
    } finally {
      for (const child of children.reverse()) {
        child.kill();
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      }
      await rm(home, { recursive: true, force: true });
    }
  },
};

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
