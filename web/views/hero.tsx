// What quantizing does, as a picture: every weight has sixteen bits, and keeps four.

import { colourOf } from '../charts/colour.ts';

const COLUMNS = 16;
const ROWS = 7;
const KEPT = 4;

export function Hero() {
  const cells = Array.from({ length: COLUMNS * ROWS }, (_, i) => ({
    column: i % COLUMNS,
    row: Math.floor(i / COLUMNS),
  }));
  return (
    <svg class="hero" viewBox={`0 0 ${COLUMNS * 14} ${ROWS * 14}`} aria-hidden="true">
      {cells.map(({ column, row }) => (
        <rect
          key={`${column} ${row}`}
          x={column * 14}
          y={row * 14}
          width="11"
          height="11"
          rx="2.5"
          fill={column < KEPT ? colourOf(2 + column * 1.4 + ((row * 7) % 3) * 0.5) : 'currentColor'}
          opacity={column < KEPT ? 1 : 0.07}
        />
      ))}
    </svg>
  );
}
