// What a model thinks and what it answers, printed as it comes: thoughts are dimmed on a terminal, or left out.

import { Option } from 'commander';
import { isTerminal, printPiece, printThought } from '../../terminal/print.ts';
import type { Model } from '../../text/textmodel.ts';
import { hasSpecialMarks, thoughtsOf } from '../../text/thinking.ts';

/** Whether what a model thinks before it answers is shown. */
export type Thinking = 'show' | 'hide';

/** @param description what it does, and without it */
export const thinkingOption = (description: string): Option =>
  new Option('--thinking <way>', description).choices(['show', 'hide']);

/** @param prompt what the text stands behind @param json whether nothing is printed */
export function printedThoughts({ tokenizer }: Model, prompt: string, way: Thinking | undefined, json: boolean) {
  // To a pipe goes the text itself, unless told otherwise.
  const isRaw = !json && way !== 'hide' && !isTerminal();
  const { take, end } = thoughtsOf(prompt, ({ thinking, text }, begins) => {
    if (isRaw || json || (thinking && way === 'hide')) return;
    if (thinking) printThought(text);
    else printPiece(begins && way !== 'hide' ? `\n\n${text}` : text);
  });
  return {
    end,
    /** Whether the text must have special tokens, as they mark thoughts. */
    special: !isRaw && hasSpecialMarks(tokenizer.idOf),
    take(piece: string): void {
      if (isRaw) printPiece(piece);
      take(piece);
    },
  };
}
