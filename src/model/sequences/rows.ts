// Who holds which rows of the cache. A holder's rows follow one another, so that attention reads them as one array; where no gap is
// large enough but all gaps together are, holders move together.
//
//   │ a a a a . . b b c c c . . . │   →   │ a a a a b b c c c d d d d . │

/** Consecutive rows: `start` changes when holders move. */
export interface Holding {
  /** Its first row. */
  readonly start: number;
  /** How many rows it has. */
  readonly size: number;
}

/** Who holds which rows of the cache. */
interface CacheRows {
  /** Rows that nobody holds. */
  readonly free: number;
  /** Holds `size` rows; undefined when so many are not free. */
  take(size: number): Holding | undefined;
  /** Makes a holding larger or smaller; false when so many rows are not free. */
  resize(holding: Holding, size: number): boolean;
  /** Gives a holding back. */
  give(holding: Holding): void;
}

/**
 * @param count rows in all
 * @param move copies what is in use of a holding, which its caller knows; both places may overlap
 */
export function openRows(count: number, move: (holding: Holding, to: number) => void): CacheRows {
  let held: { start: number; size: number }[] = []; // by start

  const free = () => held.reduce((rest, { size }) => rest - size, count);
  const endOf = (i: number) => (i < 0 ? 0 : held[i].start + held[i].size);

  // Moves holders to where they follow one another, each with the size that it will have.
  function pack(sizeOf: (holding: Holding) => number): void {
    let next = 0;
    const places = held.map((holding) => {
      const to = next;
      next += sizeOf(holding);
      return { holding, to };
    });
    // Downwards in order, then upwards in reverse order: no place is written before who holds it has moved.
    for (const { holding, to } of places) if (to < holding.start) moveTo(holding, to);
    for (const { holding, to } of places.reverse()) if (to > holding.start) moveTo(holding, to);
  }

  function moveTo(holding: { start: number; size: number }, to: number): void {
    move(holding, to);
    holding.start = to;
  }

  return {
    get free() {
      return free();
    },
    take(size) {
      if (size > free()) return undefined;
      let index = held.findIndex(({ start }, i) => start - endOf(i - 1) >= size);
      if (index < 0) {
        if (count - endOf(held.length - 1) < size) pack((holding) => holding.size);
        index = held.length;
      }
      const holding = { start: endOf(index - 1), size };
      held.splice(index, 0, holding);
      return holding;
    },
    resize(holding, size) {
      if (size - holding.size > free()) return false;
      const i = held.indexOf(holding);
      const next = held[i + 1]?.start ?? count;
      if (holding.start + size > next) pack((span) => (span === holding ? size : span.size));
      held[i].size = size;
      return true;
    },
    give(holding) {
      held = held.filter((span) => span !== holding);
    },
  };
}
