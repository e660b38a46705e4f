// Bits of every matrix: layers across, kinds of matrices down. A cell is hollow until its tensor is done.

import { useMemo } from 'preact/hooks';
import type { PlannedTensor } from '../engine/protocol.ts';
import { colourOf } from './colour.ts';
import { useWidth } from './width.ts';

interface Cell {
  bits: number;
  weights: number;
  /** Place in the plan of its last tensor. */
  last: number;
}

interface Row {
  readonly kind: string;
  readonly cells: ReadonlyMap<number, Cell>;
}

/** As a token meets them; what else there is comes after. */
const ORDER = 'embed_tokens q_proj k_proj v_proj o_proj gate_proj up_proj down_proj'.split(' ');

/** Rows of a plan; experts of one layer and kind share a cell, and what has no layer has the first. */
function rowsOf(tensors: readonly PlannedTensor[]): { rows: Row[]; layers: number } {
  const rows = new Map<string, Map<number, Cell>>();
  let layers = 1;
  for (const [last, { name, bits, weights }] of tensors.entries()) {
    const [, layer = '0', matrix] = /^(?:\D*\.)?(\d+)\.(.+)$/.exec(name) ?? [];
    const kind = kindOf(matrix ?? name);
    layers = Math.max(layers, Number(layer) + 1);
    const cells = rows.get(kind) ?? new Map<number, Cell>();
    rows.set(kind, cells);
    const before = cells.get(Number(layer)) ?? { bits: 0, weights: 0, last };
    const total = before.weights + weights;
    const mean = total > 0 ? (before.bits * before.weights + bits * weights) / total : bits;
    cells.set(Number(layer), { bits: mean, weights: total, last });
  }
  const placeOf = (kind: string) => (ORDER.includes(kind) ? ORDER.indexOf(kind) : ORDER.length);
  const sorted = [...rows].sort(([a], [b]) => placeOf(a) - placeOf(b));
  return { rows: sorted.map(([kind, cells]) => ({ kind, cells })), layers };
}

// `self_attn.q_proj.weight` is `q_proj`; of experts the numbers go.
const kindOf = (name: string): string => {
  const parts = name.replace(/\.weight$/, '').split('.');
  const isExpert = parts.includes('experts');
  return `${isExpert ? 'experts ' : ''}${parts.filter((part) => !/^\d+$/.test(part)).at(-1)}`;
};

const LABEL = 112;
const ROW = 26;
/** Widest cell: few layers would look like bars. */
const CELL = 110;

/**
 * @param done how many of them are done, in their order
 */
export function HeatMap({ tensors, done }: { tensors: readonly PlannedTensor[]; done: number }) {
  const { rows, layers } = useMemo(() => rowsOf(tensors), [tensors]);
  const { ref, width } = useWidth<SVGSVGElement>();
  const step = Math.min(CELL, (width - LABEL) / layers);
  const gap = step > 10 ? 3 : 1;
  const height = rows.length * ROW + 22;
  const finished = tensors.slice(0, done).length;
  return (
    <svg
      ref={ref}
      class="heat"
      viewBox={`0 0 ${width} ${height}`}
      role="img"
      aria-label={`Bits of ${tensors.length} matrices in ${layers} layers; ${finished} are done`}
    >
      {rows.map(({ kind, cells }, row) => (
        <g key={kind} transform={`translate(0 ${row * ROW})`}>
          <text x={LABEL - 10} y={ROW / 2 + 4} text-anchor="end" class="label">
            {kind.length > 14 ? `${kind.slice(0, 13)}…` : kind}
          </text>
          {[...cells].map(([layer, { bits, last }]) => (
            <rect
              key={layer}
              class={last < done ? 'cell done' : last === done ? 'cell now' : 'cell'}
              x={LABEL + layer * step + gap / 2}
              y={gap / 2}
              width={step - gap}
              height={ROW - gap}
              rx={Math.min(4, step / 5)}
              fill={colourOf(bits)}
              stroke={colourOf(bits)}
            />
          ))}
        </g>
      ))}
      <text x={LABEL} y={height - 4} class="label">
        layer 0
      </text>
      {layers > 3 && (
        <text x={LABEL + layers * step} y={height - 4} text-anchor="end" class="label">
          {layers - 1}
        </text>
      )}
    </svg>
  );
}

/** Which colour is how many bits. */
export function HeatKey() {
  return (
    <p class="key" aria-hidden="true">
      {[2, 3, 4, 5, 6, 8].map((bits) => (
        <span key={bits}>
          <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
            <rect width="12" height="12" rx="3" fill={colourOf(bits)} />
          </svg>
          {bits}
        </span>
      ))}
      bits
    </p>
  );
}
