// What is found in the place of a text file, by its beginning: what downloads go wrong by.

const OTHERS: readonly [beginning: RegExp, what: string][] = [
  [/^version https:\/\/git-lfs/, 'a pointer of Git LFS; git lfs pull fetches the file itself'],
  [/^\s*<(!doctype|html|head|\?xml)/i, 'a web page; the download was of another address'],
  [/^\s*$/, 'empty'],
];

/** @returns what a text is instead of what it should be, if that is known */
export function foreignText(text: string): string | undefined {
  return OTHERS.find(([beginning]) => beginning.test(text))?.[1];
}
