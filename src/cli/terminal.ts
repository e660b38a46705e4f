// What a person reads: tables, sizes, durations on standard output; progress on standard error.

import { SingleBar } from 'cli-progress';

/** Columns of text, the first one left-aligned and the others right-aligned unless `left` says otherwise. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], left: readonly number[] = [0]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) =>
    cells.map((cell, i) => (left.includes(i) ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ').trimEnd();
  return [line(head), widths.map((width) => '─'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}

/** 1234567 → `1.23 MB`. */
export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  return power === 0 ? `${bytes} B` : `${(bytes / 1000 ** power).toPrecision(3)} ${units[power]}`;
}

/** 1234567 → `1.23 M`. */
export function countText(count: number): string {
  const units = ['', ' k', ' M', ' G'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, count)) / 3)));
  return power === 0 ? String(Math.round(count)) : `${(count / 1000 ** power).toPrecision(3)}${units[power]}`;
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

/** How far a run is. */
export interface Step {
  bytesDone: number;
  bytes: number;
  /** Weights so far, if the run counts them. */
  weights?: number;
  /** The tensor at work. */
  tensor: string;
}

/** Shows progress: a bar on a terminal, else a line every ten seconds. */
export function progressDisplay(label: string, stream: NodeJS.WriteStream = process.stderr) {
  const began = performance.now();
  let first: Step | undefined; // a resumed run starts further on
  let latest: Step | undefined;
  let nextLine = 10;

  const seconds = () => (performance.now() - began) / 1000;
  const rates = (step: Step) => {
    const elapsed = Math.max(1e-3, seconds());
    const bytes = (step.bytesDone - first!.bytesDone) / elapsed;
    const weights = step.weights === undefined ? '' : `${countText((step.weights - first!.weights!) / elapsed)} weights/s  `;
    const left = bytes > 0 ? durationText((step.bytes - step.bytesDone) / bytes) : '…';
    return { rate: `${weights}${(bytes / 1e6).toFixed(0)} MB/s`, left };
  };

  const bar = stream.isTTY
    ? new SingleBar({
        format: `${label} {bar} {percentage} %  {rate}  {left} left  {tensor}`,
        barCompleteChar: '█',
        barIncompleteChar: '░',
        barsize: 24,
        hideCursor: true,
        clearOnComplete: true,
        fps: 8,
        etaBuffer: 1,
        stream,
        linewrap: false,
        gracefulExit: false,
      })
    : undefined;

  return {
    update(step: Step): void {
      if (!first) {
        first = { ...step };
        bar?.start(step.bytes, step.bytesDone, { rate: '', left: '…', tensor: '' });
      }
      latest = step;
      if (bar) {
        bar.update(step.bytesDone, { ...rates(step), tensor: step.tensor });
      } else if (seconds() >= nextLine) {
        nextLine += 10;
        const { rate, left } = rates(step);
        stream.write(`${label}: ${Math.floor((100 * step.bytesDone) / step.bytes)} %  ${rate}  ${left} left  ${step.tensor}\n`);
      }
    },
    stop(): void {
      if (bar && latest) bar.stop();
    },
  };
}
