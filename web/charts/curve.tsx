// The trade-off behind the slider: predicted loss over bits, on a logarithmic scale.

import { scaleLinear, scaleLog } from 'd3-scale';
import { area, curveMonotoneX, line } from 'd3-shape';
import type { SizePoint } from '../engine/protocol.ts';
import { colourOf } from './colour.ts';
import { useWidth } from './width.ts';

const HEIGHT = 150;
/** Half of the slider's thumb, whose centre is at the ends of the curve. */
const EDGE = 12;

/** Stands on the slider, and is as wide. */
export function TradeOff({ points, bits }: { points: readonly SizePoint[]; bits: number }) {
  const measured = points.flatMap(({ bits, loss }) => (bits !== undefined && loss && loss > 0 ? [{ bits, loss }] : []));
  const { ref, width } = useWidth<SVGSVGElement>();
  const x = scaleLinear([2, 8], [EDGE, width - EDGE]);
  const losses = measured.map(({ loss }) => loss);
  const y = scaleLog([Math.min(...losses), Math.max(...losses)], [HEIGHT - 14, 16]);
  const shape = { x: ({ bits }: { bits: number }) => x(bits), y: ({ loss }: { loss: number }) => y(loss) };
  const here = measured.find((point) => point.bits === bits);
  const filled = area<{ bits: number; loss: number }>().x(shape.x).y0(HEIGHT).y1(shape.y).curve(curveMonotoneX);
  const drawn = line<{ bits: number; loss: number }>().x(shape.x).y(shape.y).curve(curveMonotoneX);
  return (
    <svg class="tradeoff" ref={ref} viewBox={`0 0 ${width} ${HEIGHT}`} aria-hidden="true">
      <defs>
        <linearGradient id="bits-colours" x1="0" x2="1">
          {[2, 3, 4, 5, 6, 8].map((tick) => (
            <stop key={tick} offset={(tick - 2) / 6} stop-color={colourOf(tick)} />
          ))}
        </linearGradient>
      </defs>
      {measured.length > 1 && (
        <>
          <path d={filled(measured) ?? ''} fill="url(#bits-colours)" opacity="0.22" />
          <path d={drawn(measured) ?? ''} fill="none" stroke="url(#bits-colours)" stroke-width="2.5" />
        </>
      )}
      {here && <line x1={x(bits)} x2={x(bits)} y1={y(here.loss)} y2={HEIGHT} class="here" />}
    </svg>
  );
}
