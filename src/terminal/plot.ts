// The trade-off as an SVG: bits per weight against predicted loss, which has a logarithmic axis.

import { printable } from '../excerpt.ts';
import type { Tradeoff } from '../linearity/allocate.ts';
import type { BitPlan } from '../linearity/plan.ts';
import { largest, least } from './figures.ts';

const [WIDTH, HEIGHT] = [720, 440];
const FRAME = { left: 70, right: 20, top: 24, bottom: 48 };
const STYLE =
  'text{font:12px system-ui,sans-serif;fill:#333}.axis{stroke:#333}.grid{stroke:#ddd}.hull{fill:none;stroke:#2563a8;stroke-width:1.5}' +
  '.exact{fill:#2563a8}.uniform{fill:#c2571a}.plan{fill:none;stroke:#111;stroke-width:2}';

/** Draws the curve, the best plans, the single grids and the plan at hand. A loss of 0 has no place on the axis. */
export function plotOf(plan: BitPlan, { hull, exact, uniform }: Tradeoff): string {
  const points = [...hull, ...exact, ...uniform].filter(({ predicted }) => predicted > 0);
  const xs = points.map(({ bpw }) => bpw);
  const ys = points.map(({ predicted }) => Math.log10(predicted));
  const [left, right] = [Math.floor(Math.min(2, least(xs))), Math.ceil(Math.max(3, largest(xs)))];
  const [low, high] = ys.length === 0 ? [-1, 0] : [Math.floor(least(ys)), Math.ceil(largest(ys))];
  const top = Math.max(high, low + 1);
  const x = (bpw: number) => FRAME.left + ((bpw - left) / (right - left)) * (WIDTH - FRAME.left - FRAME.right);
  const y = (log: number) => FRAME.top + ((top - log) / (top - low)) * (HEIGHT - FRAME.top - FRAME.bottom);
  const place = ({ bpw, predicted }: { bpw: number; predicted: number }): [string, string] => [
    x(bpw).toFixed(1),
    y(Math.log10(predicted)).toFixed(1),
  ];
  const drawn = <T extends { bpw: number; predicted: number }>(shown: readonly T[]) =>
    shown.filter(({ predicted }) => predicted > 0).map((point) => ({ point, at: place(point) }));

  const [bottom, end] = [HEIGHT - FRAME.bottom, WIDTH - FRAME.right];
  const parts: string[] = [];
  for (let tick = left; tick <= right; tick++) {
    parts.push(`<path class="grid" d="M${x(tick).toFixed(1)} ${FRAME.top}V${bottom}"/>`);
    parts.push(`<text x="${x(tick).toFixed(1)}" y="${bottom + 18}" text-anchor="middle">${tick}</text>`);
  }
  for (let tick = low; tick <= top; tick++) {
    parts.push(`<path class="grid" d="M${FRAME.left} ${y(tick).toFixed(1)}H${end}"/>`);
    const label = Math.abs(tick) <= 4 ? Number(`1e${tick}`) : `1e${tick}`;
    parts.push(`<text x="${FRAME.left - 8}" y="${(y(tick) + 4).toFixed(1)}" text-anchor="end">${label}</text>`);
  }
  parts.push(`<path class="axis" fill="none" d="M${FRAME.left} ${FRAME.top}V${bottom}H${end}"/>`);
  parts.push(`<text x="${(FRAME.left + end) / 2}" y="${HEIGHT - 10}" text-anchor="middle">bits per weight</text>`);
  const name =
    plan.loss === 'relative' ? `predicted loss, ${plan.estimator}` : `predicted increase of ${LOSSES[plan.loss]}`;
  parts.push(
    `<text transform="translate(16 ${(FRAME.top + bottom) / 2}) rotate(-90)" text-anchor="middle">${escaped(name)}</text>`,
  );

  const curve = drawn(hull).map(({ at }) => at.join(' '));
  if (curve.length > 0) parts.push(`<path class="hull" d="M${curve.join('L')}"/>`);
  for (const { at } of drawn(exact)) parts.push(`<circle class="exact" cx="${at[0]}" cy="${at[1]}" r="3"/>`);
  // Of grids that lie upon each other the best is named.
  const named: [number, number][] = [];
  for (const { point, at } of drawn([...uniform].sort((a, b) => a.predicted - b.predicted))) {
    const [left, top] = [Number(at[0]), Number(at[1])];
    parts.push(`<rect class="uniform" x="${(left - 3).toFixed(1)}" y="${(top - 3).toFixed(1)}" width="6" height="6"/>`);
    if (named.some(([x, y]) => Math.abs(x - left) < 60 && Math.abs(y - top) < 14)) continue;
    named.push([left, top]);
    parts.push(`<text x="${(left + 7).toFixed(1)}" y="${(top - 5).toFixed(1)}">${point.grid}</text>`);
  }
  for (const { at } of drawn([plan])) parts.push(`<circle class="plan" cx="${at[0]}" cy="${at[1]}" r="7"/>`);

  const legend = [
    ['<circle class="exact" cx="0" cy="-4" r="3"/>', 'best plan'],
    ['<rect class="uniform" x="-3" y="-7" width="6" height="6"/>', 'one grid for all tensors'],
    ['<circle class="plan" cx="0" cy="-4" r="6"/>', `this plan: ${plan.bpw.toFixed(2)} bits per weight`],
  ];
  for (const [i, [mark, label]] of legend.entries()) {
    parts.push(
      `<g transform="translate(${end - 210} ${FRAME.top + 18 + 20 * i})">${mark}<text x="14">${label}</text></g>`,
    );
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}">`,
    `<style>${STYLE}</style><rect width="100%" height="100%" fill="#fff"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

const LOSSES = { perplexity: 'perplexity', kl: 'KL divergence (nats)' } as const;

// The estimator is words of a file.
function escaped(text: string): string {
  return printable(text).replace(/&/g, '&amp;').replace(/</g, '&lt;');
}
