// What a model thinks, kept apart from what it answers, as the text comes. Families mark it in four ways, by tokens that are special
// or not; a prompt may have opened it already. A piece that may be the beginning of a mark is held back until that is known.

import { longestBeginning } from './stop.ts';

/** A piece of a text: thought or answer. */
interface ThoughtOrAnswer {
  thinking: boolean;
  text: string;
}

/** Where thoughts begin and end: in most families, in Ministral, in Gemma 4, in gpt-oss. The last two think again after an answer. */
const MARKS = [
  { open: '<think>', close: '</think>', again: false },
  { open: '[THINK]', close: '[/THINK]', again: false },
  { open: '<|channel>thought', close: '<channel|>', again: true },
  { open: '<|channel|>analysis<|message|>', close: '<|end|>', again: true },
] as const;
/** What prompts of gpt-oss end with, and what its answers begin with. */
const TURN = '<|start|>assistant';
const FINAL = '<|channel|>final<|message|>';
/** What else stands around an answer of gpt-oss. */
const HEADERS = [
  ...[`<|end|>${TURN}`, TURN, '<|return|>'],
  ...[FINAL, '<|channel|>final <|constrain|>json<|message|>', '<|channel|>commentary<|message|>'],
];
const AT_FIRST = [...MARKS.map(({ open }) => open), ...HEADERS];
/** An answer may speak of `<think>`. */
const LATER = [...MARKS.filter(({ again }) => again).map(({ open }) => open), ...HEADERS];
/** Tokens of marks that are special in vocabularies that have them: a stream leaves them out unless told otherwise. */
const SPECIAL = ['[THINK]', '<|channel>', '<|channel|>'];

/** Whether the marks of a vocabulary are special tokens. */
export const hasSpecialMarks = (idOf: (token: string) => number | undefined): boolean =>
  SPECIAL.some((token) => idOf(token) !== undefined);

const openedBy = (prompt: string) => MARKS.find(({ open }) => prompt.trimEnd().endsWith(open));

/** What ends the thought that a prompt has opened, if it has. */
export const closingMark = (prompt: string): string | undefined => openedBy(prompt)?.close;

/** What has to stand between a prompt and an answer that may be no thought. */
export const openingOf = (prompt: string): string => (prompt.trimEnd().endsWith(TURN) ? FINAL : '');

/** What stands behind the thought that an answer begins with, if it does. */
export function behindThought(answer: string): string {
  const mark = MARKS.find(({ close, again }) => !again && answer.includes(close));
  return mark ? answer.slice(answer.lastIndexOf(mark.close) + mark.close.length).trimStart() : answer;
}

/** Tells thoughts from answers. */
interface ThinkingFilter {
  push(text: string): ThoughtOrAnswer[];
  /** @returns what was held back, at the end of the text */
  end(): ThoughtOrAnswer[];
}

/**
 * Marks are left out, and so are line breaks and spaces in front of a thought, and between a thought and its answer.
 * @param prompt what the text stands behind: a thought may begin there
 */
export function thinkingFilter(prompt = ''): ThinkingFilter {
  let inside = openedBy(prompt);
  let held = '';
  let isBegun = inside === undefined; // whether this thought or answer has anything but space
  let isAnswering = false;

  const give = (parts: ThoughtOrAnswer[], text: string): void => {
    const shown = isBegun ? text : text.trimStart();
    if (shown === '') return;
    isBegun = true;
    isAnswering ||= inside === undefined && shown.trim() !== '';
    parts.push({ thinking: inside !== undefined, text: shown });
  };

  return {
    push(text) {
      const parts: ThoughtOrAnswer[] = [];
      held += text;
      for (;;) {
        const marks: readonly string[] = inside ? [inside.close] : isAnswering ? LATER : AT_FIRST;
        const [first] = marks
          .map((mark) => ({ mark, at: held.indexOf(mark) }))
          .filter(({ at }) => at >= 0)
          .sort((left, right) => left.at - right.at);
        if (!first) {
          const length = held.length - longestBeginning(held, marks);
          give(parts, held.slice(0, length));
          held = held.slice(length);
          return parts;
        }
        give(parts, held.slice(0, first.at));
        held = held.slice(first.at);
        if (!inside && isAnswering && !LATER.includes(first.mark)) continue; // the answer has begun in front of it
        held = held.slice(first.mark.length);
        if (HEADERS.includes(first.mark)) continue;
        inside = inside ? undefined : MARKS.find(({ open }) => open === first.mark);
        isBegun = false;
      }
    },
    end() {
      const parts: ThoughtOrAnswer[] = [];
      give(parts, held);
      held = '';
      return parts;
    },
  };
}

/** A text that is told apart as it comes. */
interface Thoughts {
  take(piece: string): void;
  /** Takes what was held back, at the end of the text. */
  end(): { thinking: string; text: string };
}

/**
 * @param prompt what the text stands behind
 * @param onPart called with each part; `begins` tells whether an answer begins behind a thought
 */
export function thoughtsOf(prompt: string, onPart: (part: ThoughtOrAnswer, begins: boolean) => void): Thoughts {
  const filter = thinkingFilter(prompt);
  const [thoughts, words]: string[][] = [[], []];
  const tell = (parts: readonly ThoughtOrAnswer[]) => {
    for (const part of parts) {
      onPart(part, !part.thinking && thoughts.length > 0 && words.length === 0);
      (part.thinking ? thoughts : words).push(part.text);
    }
  };
  return {
    take: (piece) => tell(filter.push(piece)),
    end() {
      tell(filter.end());
      return { thinking: thoughts.join('').trim(), text: words.join('').trim() };
    },
  };
}
