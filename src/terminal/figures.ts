// What a person reads: tables, sizes, durations on standard output; progress on standard error.

import { SingleBar } from 'cli-progress';
import { excerpt, printable } from '../excerpt.ts';
import type { LossKind } from '../linearity/alphas.ts';
import type { ReadProgress } from '../quantize/restore.ts';
import { canvas, columns, isTerminal, note } from './print.ts';

/** Widest column, in characters: a longer cell stands out of it, so that one long name does not pad every other. */
const PADDING_LIMIT = 160;

/** Least width of the first column of a table that does not fit the terminal; then columns are left out from the end on. */
const NAME_WIDTH = 16;

/**
 * Columns of text, escaped; the first one left-aligned and the others right-aligned unless `left` says otherwise. Where the table is
 * wider than the terminal, names in the first column lose their beginnings; into a pipe everything goes whole.
 */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  left: readonly number[] = [0],
): string {
  let shown = rows.map((row) => row.map(printable));
  if (isTerminal()) {
    const widthOf = (i: number) => Math.max(head[i].length, ...shown.map((row) => row[i]?.length ?? 0));
    const others = (count: number) => head.slice(1, count).reduce((sum, _, i) => sum + 2 + widthOf(i + 1), 0);
    let count = head.length;
    const needed = Math.min(widthOf(0), NAME_WIDTH);
    while (count > 2 && needed + others(count) > columns()) count--;
    const room = Math.max(needed, columns() - others(count));
    const cut = (name: string) => {
      const short = name.length <= room ? name : name.replace(/\.weight$/, '');
      return short.length <= room ? short : `…${short.slice(1 - room)}`;
    };
    head = head.slice(0, count);
    shown = shown.map(([name, ...cells]) => [cut(name), ...cells.slice(0, count - 1)]);
  }
  const widths = head.map((title) => title.length);
  for (const row of shown) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i], cell.length);
  for (const [i, width] of widths.entries()) widths[i] = Math.min(width, PADDING_LIMIT);
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (left.includes(i) ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd();
  return [line(head), widths.map((width) => '─'.repeat(width)).join('  '), ...shown.map(line)].join('\n');
}

/** The largest of values of any number, which may be too many to be arguments. */
export function largest(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
}

/** The least of values of any number. */
export function least(values: readonly number[]): number {
  return values.reduce((most, value) => Math.min(most, value), Number.POSITIVE_INFINITY);
}

/** `1 tensor`, `2 tensors`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Three digits and no exponent: `12.3`, `2130`. */
export function figureText(value: number): string {
  return precise(value, 3);
}

/** So many digits, and an exponent for the smallest values alone: `0.00578`, `31.56`, `2130`, `1.2e-9`. */
export function precise(value: number, digits: number): string {
  return Math.abs(value) >= 10 ** digits - 0.5 ? value.toFixed(0) : value.toPrecision(digits);
}

/** A share of 1 in percent: `41 %`, `0.3 %`. */
export function percentText(share: number): string {
  return `${precise(100 * share, share >= 0.0995 ? 2 : 1)} %`;
}

/** 1234567 → `1.23 MB`. */
export function bytesText(bytes: number): string {
  return scaled(bytes, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']);
}

/** 1234567 → `1.23 M`; four digits stand as they are. */
export function countText(count: number): string {
  return count < 9999.5 ? String(Math.round(count)) : scaled(count, ['', 'k', 'M', 'G', 'T', 'P']);
}

function scaled(value: number, units: readonly string[]): string {
  let power = 0;
  // Three digits: 999.5 would be rounded to 1000.
  while (power < units.length - 1 && value >= (power === 0 ? 1000 : 999.5)) {
    value /= 1000;
    power++;
  }
  const digits = power === 0 ? String(Math.round(value)) : figureText(value);
  return `${digits} ${units[power]}`.trimEnd();
}

/** A predicted increase of a loss, with what it is; of no unit where sensitivities are a rule. */
export function lossText({ loss, estimator }: { loss: LossKind; estimator: string }, delta: number): string {
  const figure = precise(delta, 4);
  if (loss === 'perplexity') return `predicted perplexity +${figure}`;
  if (loss === 'kl') return `predicted KL divergence ${figure} nats`;
  if (estimator === 'uniform') return `mean t² ${figure}`;
  return `predicted loss ${figure} (a prior, not a measurement: only ratios mean anything)`;
}

/** Seconds → `12 s`, `3 min 05 s`, `2 h 07 min`. */
export function durationText(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (value: number) => String(value).padStart(2, '0');
  return whole < 3600
    ? `${Math.floor(whole / 60)} min ${two(whole % 60)} s`
    : `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** Names that differ in numbers alone share a row: `model.layers.*.mlp.up_proj.weight`. */
export function family(name: string): string {
  return name.replace(/(^|\.)\d+(?=\.|$)/g, '$1*');
}

/** Items with one key, together, in the order of the first of each. */
export function groupedBy<T>(items: readonly T[], key: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return [...groups.values()];
}

/** How far a run is, in what takes the time: weights or tokens, or bytes where there are none. */
interface ProgressStep {
  /** Units that are done. */
  done: number;
  /** Units in all. */
  total: number;
  /** What is counted. */
  unit: 'weights' | 'tokens' | 'bytes' | 'matrices';
  /** Bytes read so far. */
  bytes: number;
  /** The tensor at work. */
  tensor: string;
}

/** The step of a run that counts bytes alone. */
export function bytesStep({ bytesDone, bytes, tensor }: ReadProgress): ProgressStep {
  return { done: bytesDone, total: bytes, unit: 'bytes', bytes: bytesDone, tensor };
}

const LINE_SECONDS = 10;
/** Rates are those of the last one to two windows: passing through is faster than quantizing. */
const WINDOW_SECONDS = 5;
/** Times a second that a bar is drawn. */
const FPS = 8;

/** Shows progress: a bar on a terminal, else a line every ten seconds. */
export function progressDisplay(label: string) {
  interface Mark {
    seconds: number;
    done: number;
    bytes: number;
  }
  const began = performance.now();
  let marks: [older: Mark, newer: Mark] | undefined;

  // Where the work was some seconds ago: rates are since then.
  function markedBefore(now: Mark): Mark {
    marks ??= [now, now]; // a resumed run starts further on
    // What is counted in large steps may stand still for a window.
    const isLater = now.seconds - marks[1].seconds > WINDOW_SECONDS && now.done > marks[1].done;
    if (isLater) marks = [marks[1], now];
    return marks[0];
  }

  function figures({ total, unit }: ProgressStep, now: Mark, since: Mark): { rate: string; left: string } {
    const seconds = Math.max(1e-3, now.seconds - since.seconds);
    const pace = (now.done - since.done) / seconds;
    const counted = unit === 'bytes' ? [] : [`${countText(pace)} ${unit}/s`];
    const read =
      unit === 'tokens' || unit === 'matrices'
        ? []
        : [`${((now.bytes - since.bytes) / 1e6 / seconds).toFixed(0)} MB/s`];
    const left = pace > 0 ? durationText((total - now.done) / pace) : '…';
    return { rate: [...counted, ...read].join('  '), left };
  }

  const stream = canvas();
  const bar = stream
    ? new SingleBar({
        format: `${label} {bar} {percentage} %  {rate}  {left} left  {tensor}`,
        barCompleteChar: '█',
        barIncompleteChar: '░',
        barsize: 24,
        hideCursor: true,
        clearOnComplete: true,
        fps: FPS,
        stream,
        linewrap: false,
        gracefulExit: false,
      })
    : undefined;
  const period = bar ? 1000 / FPS : LINE_SECONDS * 1000; // milliseconds
  let nextShown = bar ? 0 : period;

  return {
    // Called far more often than anything is shown.
    update(step: ProgressStep): void {
      const { done, bytes } = step;
      const elapsed = performance.now() - began;
      if (!marks) bar?.start(step.total, done, { rate: '', left: '…', tensor: '' });
      const now = { seconds: elapsed / 1000, done, bytes };
      const since = markedBefore(now);
      if (elapsed < nextShown) return;
      nextShown = (bar ? elapsed : nextShown) + period;
      const { rate, left } = figures(step, now, since);
      if (bar) {
        bar.update(done, { rate, left, tensor: excerpt(step.tensor) });
        return;
      }
      const percent = Math.floor((100 * done) / step.total);
      note(`${label}: ${percent} %  ${rate}  ${left} left  ${excerpt(step.tensor)}`);
    },
    stop(): void {
      if (marks) bar?.stop();
    },
  };
}
