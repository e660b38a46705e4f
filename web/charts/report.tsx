// Charts of the report, as SVG: errors by tensor, and perplexities.

import { scaleLinear, scaleLog } from 'd3-scale';
import type { Outcome } from '../engine/protocol.ts';
import { figure } from '../format.ts';
import { colourOf } from './colour.ts';
import { useWidth } from './width.ts';

const LEFT = 56;
const HEIGHT = 220;
const BOTTOM = 26;

/** t² of every tensor in its order; a dash is the MSE of its grid, which t² should equal. */
export function Errors({ outcome: { tensors } }: { outcome: Outcome }) {
  const { ref, width } = useWidth<SVGSVGElement>();
  const values = tensors.flatMap(({ relativeError, gridMse }) => [relativeError, gridMse]).filter((value) => value > 0);
  const y = scaleLog([Math.min(...values) / 1.3, Math.max(...values) * 1.3], [HEIGHT - BOTTOM, 10]);
  const x = scaleLinear([-0.5, tensors.length - 0.5], [LEFT, width - 8]);
  const half = Math.min(10, (x(1) - x(0)) / 2.4);
  const [least, most] = y.domain();
  const ticks = most > 10 * least ? y.ticks().filter((tick) => /^[125]/.test(tick.toExponential())) : y.ticks(4);
  return (
    <svg
      ref={ref}
      class="chart"
      id="errors"
      viewBox={`0 0 ${width} ${HEIGHT}`}
      role="img"
      aria-label="t² of every tensor"
    >
      {ticks.map((tick) => (
        <g key={tick}>
          <line class="rule" x1={LEFT} x2={width - 8} y1={y(tick)} y2={y(tick)} />
          <text class="label" x={LEFT - 8} y={y(tick) + 4} text-anchor="end">
            {figure(tick)}
          </text>
        </g>
      ))}
      {tensors.map(({ name, relativeError, gridMse, bpw }, i) => (
        <g key={name}>
          <line class="expected" x1={x(i) - half} x2={x(i) + half} y1={y(gridMse)} y2={y(gridMse)} />
          <circle
            cx={x(i)}
            cy={y(Math.max(relativeError, y.domain()[0]))}
            r={Math.min(4, half + 1)}
            fill={colourOf(bpw)}
          >
            <title>{`${name}: ${figure(relativeError)}`}</title>
          </circle>
        </g>
      ))}
      <text class="label" x={LEFT} y={HEIGHT - 6}>
        tensors, in the order of the file
      </text>
    </svg>
  );
}

/** Perplexities as bars from 0. */
export function Bars({ bars }: { bars: readonly { name: string; value: number; bits: number }[] }) {
  const { ref, width } = useWidth<SVGSVGElement>();
  const x = scaleLinear([0, Math.max(...bars.map(({ value }) => value))], [0, Math.max(40, width - 190)]);
  const row = 34;
  return (
    <svg
      ref={ref}
      class="chart"
      id="perplexity"
      viewBox={`0 0 ${width} ${bars.length * row}`}
      role="img"
      aria-label="Perplexities"
    >
      {bars.map(({ name, value, bits }, i) => (
        <g key={name} transform={`translate(0 ${i * row})`}>
          <text class="label" x="110" y="21" text-anchor="end">
            {name}
          </text>
          <rect x="122" y="6" width={Math.max(1, x(value))} height={row - 12} rx="4" fill={colourOf(bits)} />
          <text class="value" x={130 + x(value)} y="21">
            {figure(value)}
          </text>
        </g>
      ))}
    </svg>
  );
}
