// A file system that fails at any operation, or at which the process dies or the power goes: node:fs/promises over the real files
// below one directory, with every operation numbered.
//
//   fails    that operation raises a system's error, once; a write has written half
//   dies     that operation and all later ones raise, so that nothing is tidied up; a write has written half
//   power    as `dies`; then what was not flushed is lost, page by page (the old bytes, zeros, or the new ones by chance), and the last
//            entries of directories that were not flushed are undone, in reverse order

import fs from 'node:fs';
import files, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join, resolve, sep } from 'node:path';
import { uniformStream } from '../src/numerics/stream.ts';

export interface Fault {
  /** The operation at which it happens, from 1 on. */
  at: number;
  kind: 'fails' | 'dies' | 'power';
  /** Of what is left to chance. */
  seed: number;
}

/** Whether an operation changes anything: at any other, a process that dies leaves what it leaves at the next one. */
export function changesFiles(operation: string): boolean {
  return !/^(lstat|stat|readdir|readFile|read|realpath|close) /.test(operation);
}

/** What an operation raises once the process is dead. */
export class Died extends Error {
  override readonly name = 'Died';
}

const CODES = ['ENOSPC', 'EIO', 'EACCES'] as const;
const PAGE = 128; // small, as the files of tests are

// An entry of a directory that was made, renamed or removed, until the directory is flushed.
type Change =
  | { kind: 'made'; path: string; content?: undefined }
  | { kind: 'renamed'; path: string; from: string; content: Buffer | undefined }
  | { kind: 'removed'; path: string; content: Buffer | undefined };

const real = { ...files };
const PATHS = [
  'lstat',
  'mkdir',
  'open',
  'readdir',
  'readFile',
  'realpath',
  'rename',
  'rm',
  'rmdir',
  'stat',
  'writeFile',
] as const;

/**
 * Runs `work` with a fault in it.
 * @param root a real path; only it and files below it are counted, and fail
 * @returns how many operations there were, and what each of them was
 */
export async function withFault(root: string, fault: Fault | undefined, work: () => Promise<void>): Promise<string[]> {
  const operations: string[] = [];
  const random = uniformStream(fault?.seed ?? 0, 1, 0, 0);
  const durable = new Map<string, Buffer>(); // of files that were opened to write: content that is on the disk
  const opened = new Set<FileHandle>(); // a process that dies closes its files
  let changes: Change[] = [];
  let isDead = false;

  // Counts an operation. `half` is what it has done if it is the one to fail.
  const step = (name: string, path: string, half?: () => void): void => {
    if (isDead) throw new Died(`${name} ${path}`);
    operations.push(`${name} ${path.slice(root.length + 1)}`);
    if (operations.length !== fault?.at) return;
    half?.();
    if (fault.kind !== 'fails') {
      isDead = true;
      throw new Died(`${name} ${path}`);
    }
    const code = CODES[fault.seed % CODES.length];
    throw Object.assign(new Error(`${code}: a fault, ${name} '${path}'`), { code });
  };
  const isOurs = (path: unknown): path is string =>
    typeof path === 'string' && `${resolve(path)}${sep}`.startsWith(root + sep);
  const contentOf = (path: string) => (fs.lstatSync(path).isFile() ? fs.readFileSync(path) : undefined);

  const wrap = (handle: FileHandle, path: string): FileHandle => {
    const isDirectory = fs.statSync(path).isDirectory();
    opened.add(handle);
    const flush = (name: 'sync' | 'datasync') => async () => {
      step(name, path);
      await handle[name]();
      if (!isDirectory) durable.set(path, fs.readFileSync(path));
      else changes = changes.slice(1 + changes.map((change) => touches(change, path)).lastIndexOf(true));
    };
    const write = async (
      bytes: Uint8Array,
      offset = 0,
      length = bytes.length - offset,
      position: number | null = null,
    ) => {
      step('write', path, () => {
        fs.writeSync(handle.fd, bytes, offset, length >> 1, position);
      });
      return handle.write(bytes, offset, length, position);
    };
    return {
      fd: handle.fd,
      sync: flush('sync'),
      datasync: flush('datasync'),
      write,
      writeFile: async (text: string) => void (await write(Buffer.from(text))),
      read: (...args: Parameters<FileHandle['read']>) => {
        step('read', path);
        return handle.read(...args);
      },
      readFile: () => {
        step('read', path);
        return handle.readFile();
      },
      truncate: (length: number) => {
        step('truncate', path);
        return handle.truncate(length);
      },
      stat: () => {
        step('stat', path);
        return handle.stat();
      },
      close: async () => {
        opened.delete(handle);
        await handle.close();
        step('close', path);
      },
    } as unknown as FileHandle;
  };

  const unlink = (path: string): void => {
    step('unlink', path);
    changes.push({ kind: 'removed', path, content: fs.readFileSync(path) });
    durable.delete(path);
    fs.unlinkSync(path);
  };
  const rmdir = (path: string): void => {
    step('rmdir', path);
    fs.rmdirSync(path);
    changes.push({ kind: 'removed', path, content: undefined });
  };
  const remove = (path: string): void => {
    if (!fs.lstatSync(path).isDirectory()) {
      unlink(path);
      return;
    }
    for (const name of fs.readdirSync(path)) remove(join(path, name));
    rmdir(path);
  };

  const faulty: Record<(typeof PATHS)[number], (path: string, ...rest: never[]) => unknown> = {
    async open(path: string, flags: string | number = 'r') {
      const isWritten = typeof flags === 'string' && flags !== 'r';
      step(isWritten ? 'create' : 'readFile', path);
      const isNew = !fs.existsSync(path);
      if (isWritten && !isNew && !durable.has(path)) durable.set(path, fs.readFileSync(path));
      const handle = await real.open(path, flags);
      if (isNew) {
        changes.push({ kind: 'made', path });
        durable.set(path, Buffer.alloc(0));
      }
      return wrap(handle, path);
    },
    async writeFile(path: string, text: string, { flag = 'w' }: { flag?: string } = {}) {
      const handle = await files.open(path, flag);
      try {
        await handle.writeFile(text);
      } finally {
        await handle.close();
      }
    },
    async mkdir(path: string, options: { recursive?: boolean } = {}) {
      step('mkdir', path);
      const isNew = !fs.existsSync(path);
      await real.mkdir(path, options);
      if (isNew) changes.push({ kind: 'made', path });
    },
    async rename(from: string, to: string) {
      step('rename', from);
      const content = fs.existsSync(to) ? contentOf(to) : undefined;
      await real.rename(from, to);
      changes.push({ kind: 'renamed', path: to, from, content });
      for (const [path, bytes] of [...durable]) {
        if (path !== from && !path.startsWith(from + sep)) continue;
        durable.delete(path);
        durable.set(to + path.slice(from.length), bytes);
      }
    },
    async rm(path: string, { force = false, recursive = false } = {}) {
      if (!fs.existsSync(path) && force) return step('unlink', path);
      if (recursive) remove(path);
      else unlink(path);
    },
    rmdir: async (path: string) => rmdir(path),
    ...plain('lstat'),
    ...plain('readdir'),
    ...plain('readFile'),
    ...plain('realpath'),
    ...plain('stat'),
  } as never;

  function plain<K extends 'lstat' | 'readdir' | 'readFile' | 'realpath' | 'stat'>(name: K) {
    const run = (path: string, ...rest: unknown[]) => {
      step(name, path);
      return (real[name] as (...args: unknown[]) => unknown)(path, ...rest);
    };
    return { [name]: async (path: string, ...rest: unknown[]) => run(path, ...rest) };
  }

  for (const name of PATHS) {
    const call = faulty[name] as (...args: unknown[]) => unknown;
    const before = real[name] as (...args: unknown[]) => unknown;
    Object.assign(files, {
      [name]: (path: unknown, ...rest: unknown[]) =>
        isOurs(path) ? call(resolve(path), ...rest) : before(path, ...rest),
    });
  }
  syncBuiltinESMExports();
  try {
    await work();
  } finally {
    Object.assign(files, real);
    syncBuiltinESMExports();
    for (const handle of opened) await handle.close();
  }
  if (fault?.kind === 'power' && isDead) losePower();
  return operations;

  function losePower(): void {
    for (const [path, old] of durable) {
      if (!fs.existsSync(path)) continue;
      const now = fs.readFileSync(path);
      const length = random() < 0.5 ? now.length : old.length + Math.floor(random() * (now.length - old.length + 1));
      const bytes = Buffer.alloc(Math.max(0, length));
      for (let at = 0; at < bytes.length; at += PAGE) {
        const end = Math.min(bytes.length, at + PAGE);
        const choice = random();
        const page = (choice < 0.4 ? now : choice < 0.7 ? old : Buffer.alloc(0)).subarray(at, end);
        const isFlushed = now.subarray(at, end).equals(old.subarray(at, end));
        (isFlushed ? now.subarray(at, end) : page).copy(bytes, at);
      }
      fs.writeFileSync(path, bytes);
    }
    for (let undone = Math.floor(random() * (changes.length + 1)); undone > 0; undone--) {
      const change = changes.pop()!;
      if (change.kind === 'made') fs.rmSync(change.path, { recursive: true, force: true });
      else if (change.kind === 'renamed') fs.renameSync(change.path, change.from);
      if (change.kind === 'removed' && !change.content) fs.mkdirSync(change.path);
      else if (change.content) fs.writeFileSync(change.path, change.content);
    }
  }
}

function touches(change: Change, directory: string): boolean {
  return dirname(change.path) === directory || (change.kind === 'renamed' && dirname(change.from) === directory);
}
