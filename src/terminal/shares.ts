// The shares of tasks that work in parts, as a table.

import { inputBytes, type Share } from '../parts/shares.ts';
import { bytesText, countText, durationText, percentText, table } from './figures.ts';

/** A share in figures: bytes are those of the input that it reads; seconds are predicted, of one core. */
export function shareRow({ items, seconds }: Share, i: number) {
  const weights = items.reduce(
    (sum, item) => sum + (item.kind === 'quantize' ? item.quantized.rows * item.quantized.cols : 0),
    0,
  );
  const bytes = items.reduce((sum, item) => sum + inputBytes(item), 0);
  return { part: i + 1, tensors: items.length, weights, bytes, seconds };
}

/** A row for each share, and how even they are. */
export function sharesText(shares: readonly Share[]): string {
  const rows = shares.map(shareRow);
  const seconds = rows.map((row) => row.seconds);
  const total = seconds.reduce((sum, value) => sum + value, 0);
  const most = Math.max(...seconds);
  const lines = rows.map(({ part, tensors, weights, bytes, seconds }) => [
    ...[String(part), String(tensors), countText(weights), bytesText(bytes), durationText(seconds)],
  ]);
  return [
    table(['part', 'tensors', 'weights', 'reads', 'one core'], lines, []),
    `the longest part takes ${durationText(most)} of one core: ${percentText(total === 0 ? 1 : total / (most * rows.length))} of all cores are at work on average`,
  ].join('\n');
}
