// Locks: files that say which process is at work on others. A lock is one line, which its process renews as long as it works:
//
//   node7 5f0c…-4026531836 4711 5e1f00aa 12
//   |     |                |    |        how often it was renewed
//   |     |                |    a token of its own, by which the process knows that the lock is still its own
//   |     |                the process' number
//   |     where that number holds: within one boot and one PID namespace
//   the machine's name, for messages
//
// Where the number holds, the system tells whether the process runs. Anywhere else, such as in another container of the same name, it runs if it
// renews its lock.

import { randomBytes } from 'node:crypto';
import { readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { FileError } from '../errors.ts';
import { attempt, fileError } from '../source/system.ts';
import { say } from '../terminal/print.ts';
import { isAbsent, isAlive } from './commit.ts';

/** A process that works renews its lock this often, in milliseconds; one elsewhere that did not for three times as long has died. */
const BEAT = 15_000;
/** A line that is not whole is being written; after so many looks, this far apart, its process has died at that. */
const LOOKS = 5;
const LOOK = 20;
/** Of two that take over one lock the later writes over the earlier, in milliseconds. */
const SETTLE = 50;

const LINE = /^([\w.-]{1,255}) ([\w.-]{1,255}) ([1-9]\d{0,9}) ([0-9a-f]{8}) \d{1,10}\n$/;

/** A lock that this process holds. */
export interface Lock {
  /** Whether it is still its own: a process that was stopped for long is taken for dead. */
  isHeld(): Promise<boolean>;
  /** Ends renewing it. */
  stop(): Promise<void>;
  /** Ends renewing it, and removes it. */
  release(): Promise<void>;
}

/** What a lock says. */
export interface Seen {
  /** What the file holds; undefined where there is none. */
  readonly content: string | undefined;
  /** The process that works, for messages; undefined where none does. */
  readonly holder: string | undefined;
}

// Lines that were not renewed.
const dead = new Set<string>();
let place: Promise<string> | undefined;

/**
 * Lets one process at a time do what `path` is the lock of; a lock of a process that died is taken over.
 * @param path a file in a directory that is there @param does what the other process does to it, for the message
 * @throws {FileError} when another process holds it
 */
export async function takeLock(path: string, does: string): Promise<Lock> {
  const lock = newLock(path, await ownPlace());
  if (await lock.create()) return lock;
  const refuse = (holder: string): never => {
    throw new FileError(
      'write',
      path,
      undefined,
      `${holder} ${does} it; if that process is not higgs, remove the file`,
    );
  };
  const { content, holder } = await lookAt(path);
  if (holder !== undefined) refuse(holder);
  await lock.takeOver();
  // A number that was this process' own is nobody else's.
  if (Number(LINE.exec(content ?? '')?.[3]) !== process.pid) await sleep(SETTLE);
  if (await lock.isHeld()) return lock;
  await lock.stop();
  return refuse((await lookAt(path)).holder ?? 'another process');
}

/** Tells whether another process works under a lock. Of a process elsewhere that shows after a while alone. */
export async function lookAt(path: string): Promise<Seen> {
  const content = await readWhole(path);
  const [, host, where, pid] = LINE.exec(content ?? '') ?? [];
  if (content === undefined || host === undefined) return { content, holder: undefined };
  if (where === (await ownPlace())) {
    const isOther = Number(pid) !== process.pid && isAlive(Number(pid));
    return { content, holder: isOther ? `process ${pid}` : undefined };
  }
  if (dead.has(content)) return { content, holder: undefined };
  say(`${path}: waiting ${(3 * BEAT) / 1000} s to see whether process ${pid} on ${host} still works on it`);
  await sleep(3 * BEAT);
  const later = await readWhole(path);
  if (later !== content) return { content: later, holder: later && `process ${pid} on ${host}` };
  dead.add(content);
  return { content, holder: undefined };
}

function newLock(path: string, where: string): Lock & { create(): Promise<boolean>; takeOver(): Promise<void> } {
  const token = randomBytes(4).toString('hex');
  const host = hostname().replace(/[^\w.-]/g, '_') || '_';
  let beats = 0;
  let timer: NodeJS.Timeout | undefined;
  let renewing: Promise<void> | undefined;
  const write = async (flag: 'w' | 'wx' | 'r+') => {
    await writeFile(path, `${host} ${where} ${process.pid} ${token} ${beats++}\n`, { flag });
  };
  const start = () => {
    timer = setInterval(() => {
      renewing = renew().catch(() => {}); // a run that lost its directory ends at its next file
    }, BEAT);
    timer.unref();
  };
  const renew = async () => {
    // Over the line, which never gets shorter: on a full disk it stays, instead of an empty file that says that nobody works.
    if (await isHeld()) await write('r+');
    else clearInterval(timer);
  };
  const isHeld = async () => LINE.exec((await read(path)) ?? '')?.[4] === token;
  const stop = async () => {
    clearInterval(timer);
    await renewing;
  };
  return {
    isHeld,
    stop,
    async create() {
      try {
        await write('wx');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
        await rm(path, { force: true }).catch(() => {}); // the first error is the one to tell
        throw fileError('write', path, error);
      }
      start();
      return true;
    },
    async takeOver() {
      await attempt('write', path, () => write('w'));
      start();
    },
    async release() {
      await stop();
      if (await isHeld()) await rm(path, { force: true });
    },
  };
}

// What the file holds once it is written.
async function readWhole(path: string): Promise<string | undefined> {
  let content = await read(path);
  for (let looks = 1; looks < LOOKS && content !== undefined && !LINE.test(content); looks++) {
    await sleep(LOOK);
    content = await read(path);
  }
  return content;
}

async function read(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error) => {
    if (isAbsent(error)) return undefined;
    throw fileError('read', path, error);
  });
}

// Where this process' number holds. Systems without /proc have no namespaces.
function ownPlace(): Promise<string> {
  place ??= (async () => {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    const space = await readlink('/proc/self/ns/pid');
    return `${boot.trim()}-${space.replace(/\D/g, '')}`;
  })().catch(() => hostname().replace(/[^\w.-]/g, '_') || '_');
  return place;
}
