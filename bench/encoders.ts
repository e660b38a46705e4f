// Encoding: HIGGS schemes with all their steps, and other data-free encoders, on one core.

import { baselines } from './baselines.ts';
import { encodeBf16, encodeF32 } from './encode.ts';
import { BPW, GAUSSIAN, schemeBits, t2 } from './errors.ts';
import { COLS, type Operands } from './operands.ts';
import type { Peers } from './peers.ts';
import { speedColumns, type Table, timed } from './table.ts';

/** Speeds; t² is of the seeded Gaussian weights that are encoded. */
export function encoderTable(operands: Operands, peers: Peers): Table {
  const { memory, f32, bf16, count, grids, rows } = operands;
  const narrow = memory.copy(Uint16Array, bf16, count);
  const weights = {
    f32: memory.copy(Float32Array, f32, count),
    bf16: new Float32Array(Uint32Array.from(narrow, (bits) => bits << 16).buffer),
  };
  const x = { f32: peers.memory.place(weights.f32), bf16: peers.memory.place(narrow) };
  const inputs = ['bf16', 'f32'] as const;
  return {
    title: 'Encode, groups of 1024 in HIGGS schemes; the others compute no error sums',
    columns: [...speedColumns, BPW, GAUSSIAN],
    rows: [
      ...inputs.flatMap((input) =>
        grids.map((grid) => {
          const bits = schemeBits(grid.grid);
          return timed(
            {
              name: `encode ${grid.name} from ${input}`,
              weights: count,
              bytes: (count * ((input === 'bf16' ? 16 : 32) + bits)) / 8,
              call: input === 'bf16' ? () => encodeBf16(operands, grid) : () => encodeF32(operands, grid, f32),
            },
            () => ({ bitsPerWeight: bits, gaussianT2: relativeError(operands) }),
          );
        }),
      ),
      ...inputs.flatMap((input) =>
        peers.encoders.map(({ name, bitsPerWeight, encode }) =>
          timed(
            {
              name: `encode ${name} from ${input}`,
              weights: count,
              bytes: (count * ((input === 'bf16' ? 16 : 32) + bitsPerWeight)) / 8,
              call: () => encode(x[input], input === 'bf16', count),
            },
            () => {
              const { dequantized } = baselines[name](weights[input], rows, COLS);
              return { bitsPerWeight, gaussianT2: t2(weights[input], dequantized) };
            },
          ),
        ),
      ),
    ],
  };
}

// What the last encode left in `sums`: error and norm of each row.
function relativeError({ memory, sums, rows }: Operands): number {
  let [error, norm] = [0, 0];
  memory.copy(Float64Array, sums, rows * 2).forEach((sum, i) => {
    if (i % 2 === 0) error += sum;
    else norm += sum;
  });
  return error / norm;
}
