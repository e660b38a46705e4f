// A line at the bottom of a terminal that says what goes on now, below the lines that stay.

import { canvas, columns } from './print.ts';

/** A line that changes. */
export interface LiveLine {
  /** Takes the place of the text before, cut to the terminal's width, without control characters. */
  show(text: string): void;
  /** Has `write` write above the line. */
  above(write: () => void): void;
  /** Removes the line. */
  stop(): void;
}

/** Where standard error is no terminal nothing is drawn. */
export function liveLine(): LiveLine {
  const stream = canvas();
  let shown = '';
  const clear = () => stream?.write('\r\u001b[2K');
  const draw = () => stream?.write(`\u001b[2m${shown}\u001b[22m`);
  return {
    show(text) {
      const printable = text.replace(/[^\P{C}]/gu, '').slice(0, columns() - 1);
      if (!stream || printable === shown) return;
      shown = printable;
      clear();
      draw();
    },
    above(write) {
      if (shown !== '') clear();
      write();
      if (shown !== '') draw();
    },
    stop() {
      if (shown !== '') clear();
      shown = '';
    },
  };
}
