// What a model thinks and what it answers, told apart and printed as it comes: thoughts are dimmed on a terminal, or left out.

import { Option } from 'commander';
import { isTerminal, printPiece, printThought } from '../terminal/print.ts';
import type { Model } from '../text/textmodel.ts';
import { hasSpecialMarks, type Part, thinkingFilter } from '../text/thinking.ts';

export type Thinking = 'show' | 'hide';

/** @param description what it does, and without it */
export const thinkingOption = (description: string): Option =>
  new Option('--thinking <way>', description).choices(['show', 'hide']);

/** A text that is told apart and printed. */
interface Thoughts {
  /** Whether the text must have special tokens, as they mark thoughts. */
  readonly special: boolean;
  take(piece: string): void;
  /** Takes what was held back, at the end of the text. */
  end(): { thinking: string; text: string };
}

/**
 * @param prompt what the text stands behind
 * @param json whether nothing is printed
 */
export function thoughtsOf(
  { tokenizer }: Model,
  prompt: string,
  thinking: Thinking | undefined,
  json: boolean,
): Thoughts {
  // To a pipe goes the text itself, unless told otherwise.
  const isRaw = !json && thinking !== 'hide' && !isTerminal();
  const filter = thinkingFilter(prompt);
  const [thoughts, words]: string[][] = [[], []];
  const tell = (parts: readonly Part[]) => {
    for (const { thinking: isThought, text } of parts) {
      if (!isRaw && !json) show(text, isThought, thoughts.length > 0 && words.length === 0, thinking !== 'hide');
      (isThought ? thoughts : words).push(text);
    }
  };
  return {
    special: !isRaw && hasSpecialMarks(tokenizer.idOf),
    take(piece) {
      if (isRaw) printPiece(piece);
      tell(filter.push(piece));
    },
    end() {
      tell(filter.end());
      return { thinking: thoughts.join('').trim(), text: words.join('').trim() };
    },
  };
}

// A line stands between what the model thinks and what it answers.
function show(text: string, isThought: boolean, isFirst: boolean, showsThoughts: boolean): void {
  if (isThought) {
    if (showsThoughts) printThought(text);
  } else printPiece(isFirst && showsThoughts ? `\n\n${text}` : text);
}
