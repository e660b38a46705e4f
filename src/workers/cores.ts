// How many threads a model runs on unless you say it, from what a system tells of its cores.

/** What a system tells. */
export interface Machine {
  /** Logical cores that this process may use. */
  readonly logical: number;
  /** Of each logical core those that share its physical one, as Linux lists them, `0,8` or `0-1`; none where nothing is told. */
  readonly siblings: readonly string[];
  /** Linux' `cpu.max`: microseconds of processor time in a period or `max`, then the period. */
  readonly quota?: string | undefined;
}

/**
 * The physical cores, but two threads on a single one; no more than a quota feeds, as every step waits for the slowest thread.
 * DECISIONS.md, "Threads: the physical cores".
 */
export function threadsThatHelp({ logical, siblings, quota = 'max' }: Machine): number {
  const physical = new Set(siblings).size || logical;
  const [time, period] = quota.trim().split(' ').map(Number);
  const fed = time > 0 && period > 0 ? Math.max(1, Math.floor(time / period)) : logical;
  return Math.min(logical, fed, Math.max(2, physical));
}
