// Seconds of one call, by benchmark.js. What is compared is timed in slices that take turns, so that both see the same machine.

import Benchmark from 'benchmark';

/** What one call does, and what it may be compared with beside a copy. */
export interface Work {
  name: string;
  /** Weights that one call handles, and bytes that it reads and writes. */
  weights: number;
  bytes: number;
  call(): void;
  /** The same search by comparing every point, on fewer weights. */
  bruteForce?: { weights: number; call(): void };
}

export interface Speed {
  /** Of the best and of the median sample. */
  weightsPerSecond: number;
  medianWeightsPerSecond: number;
  /** Bytes read and written, best sample. */
  gigabytesPerSecond: number;
  /** Throughput over that of copying, with as many bytes read and written; best samples. */
  timesCopy: number;
  /** Weights per second over those of the search that compares every point; best samples. */
  timesBruteForce?: number;
}

const SLICES = 3;
const SLICE_SECONDS = 0.1;
const SAMPLE_SECONDS = 0.005;

/** Times the work, a copy, and the brute force if there is one. */
export function measure({ weights, bytes, call, bruteForce }: Work): Speed {
  const from = new Uint8Array(Math.ceil(bytes / 2));
  const to = new Uint8Array(from.length);
  const copy = () => to.set(from);
  const [times, copies, brutes] = takeTurns(bruteForce ? [call, copy, bruteForce.call] : [call, copy]);
  const best = times[0];
  return {
    weightsPerSecond: weights / best,
    medianWeightsPerSecond: weights / medianOf(times),
    gigabytesPerSecond: bytes / best / 1e9,
    timesCopy: copies[0] / best,
    ...(bruteForce && { timesBruteForce: weights / best / (bruteForce.weights / brutes[0]) }),
  };
}

/** Seconds of one call of each, sorted. */
export function takeTurns(calls: readonly (() => void)[]): number[][] {
  const times = calls.map((): number[] => []);
  for (let slice = 0; slice < SLICES; slice++) {
    calls.forEach((call, i) => {
      const benchmark = new Benchmark('', call, { maxTime: SLICE_SECONDS, minTime: SAMPLE_SECONDS, minSamples: 3 });
      benchmark.run();
      if (benchmark.error) throw benchmark.error;
      times[i].push(...benchmark.stats.sample);
    });
  }
  return times.map((samples) => samples.sort((a, b) => a - b));
}

/** Of sorted numbers. */
export function medianOf(sorted: readonly number[]): number {
  return sorted[Math.floor(sorted.length / 2)];
}
