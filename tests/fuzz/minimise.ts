// Delta debugging: parts of an input are left out, halves first, as long as the fault stays the same.

import { joined } from './bytes.ts';
import type { Files } from './checkpoint.ts';
import { CASE_NAME } from './target.ts';

/** Most runs of an input that is made smaller. */
const RUNS = 1500;

export async function minimised(
  input: Files,
  isSame: (files: Files) => Promise<boolean>,
  repair: (files: Files) => Files = (files) => files,
): Promise<Files> {
  let best = input;
  let runs = 0;
  const attempt = async (files: Files): Promise<boolean> => {
    if (runs++ >= RUNS) return false;
    const whole = repair(files);
    if (!(await isSame(whole))) return false;
    best = whole;
    return true;
  };
  for (const name of Object.keys(input)) {
    if (name === CASE_NAME) continue;
    const { [name]: _, ...others } = best;
    if (await attempt(others)) continue;
    for (let size = Math.ceil(best[name].length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let at = 0; at < best[name].length && runs < RUNS; ) {
        const bytes = best[name];
        if (!(await attempt({ ...best, [name]: joined(bytes.subarray(0, at), bytes.subarray(at + size)) }))) at += size;
      }
    }
  }
  return best;
}
