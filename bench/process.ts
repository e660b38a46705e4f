// Commands as child processes: how long one takes, and its peak resident memory.

import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

export interface Run {
  seconds: number;
  /** Linux only, where /proc tells it; the last 10 ms before the end are not seen. */
  peakBytes: number | undefined;
}

const POLL_MILLISECONDS = 10;

/**
 * Runs a command to its end, after all that was written before is on the disk.
 * @throws {Error} with what it wrote to stderr, when it fails
 */
export async function run(command: string, args: readonly string[]): Promise<Run> {
  execFileSync('sync');
  const start = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let [stderr, peakBytes] = ['', undefined as number | undefined];
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr = (stderr + text).slice(-2000);
  });
  const poll = setInterval(() => {
    peakBytes = peakOf(child.pid) ?? peakBytes;
  }, POLL_MILLISECONDS);
  try {
    const code = await new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => resolve(signal ?? code));
    });
    const seconds = (performance.now() - start) / 1e3;
    if (code !== 0) throw new Error(`${command} must end with 0: it ended with ${code}\n${stderr}`);
    return { seconds, peakBytes };
  } finally {
    clearInterval(poll);
  }
}

// The kernel keeps the high-water mark itself.
function peakOf(pid: number | undefined): number | undefined {
  try {
    const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  } catch {
    return undefined; // it has ended, or there is no /proc
  }
}
