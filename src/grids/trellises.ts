// The trellises: 3 KB of tables, always loaded. The maker in maker/ fitted them.

import stored from './data/trellises.json';
import type { Trellis } from './trellis.ts';

interface Stored extends Pick<Trellis, 'bits' | 'mse' | 'step' | 'zero' | 'kept'> {
  readonly tables: readonly (readonly number[])[];
}

/** The trellises, by bits. */
export const trellises: readonly Trellis[] = Object.entries<Stored>(stored).map(
  ([name, { tables, ...numbers }]): Trellis => ({ name, p: 1, ...numbers, tables: Uint8Array.from(tables.flat()) }),
);
