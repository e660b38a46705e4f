// The trellises: 2 KB of tables, always loaded. The maker in maker/ fitted them.

import stored from './data/trellises.json';
import type { Trellis } from './trellis.ts';

/** The trellises, by bits. */
export const trellises: readonly Trellis[] = Object.entries(stored).map(
  ([name, { bits, mse, step, zero, tables }]): Trellis => ({
    ...{ name, p: 1, bits, mse, step, zero },
    tables: Uint8Array.from(tables.flat()),
  }),
);
