// JSON as a tree that can hold what JSON.parse forgets: keys twice, numbers as they are written, words that are no JSON.

import { aFewTimes, type Random, TEXTS } from './random.ts';

/** A scalar is its text. */
export type Node = { text: string } | { items: Node[] } | { members: [key: string, value: Node][] };

export function nodeOf(value: unknown): Node {
  if (Array.isArray(value)) return { items: value.map(nodeOf) };
  if (typeof value !== 'object' || value === null) return { text: JSON.stringify(value) ?? 'null' };
  return { members: Object.entries(value).map(([key, member]) => [JSON.stringify(key), nodeOf(member)]) };
}

export function textOf(node: Node): string {
  if ('text' in node) return node.text;
  if ('items' in node) return `[${node.items.map(textOf).join(',')}]`;
  return `{${node.members.map(([key, value]) => `${key}:${textOf(value)}`).join(',')}}`;
}

// structuredClone() takes less depth than changes may give.
function copyOf(node: Node): Node {
  if ('text' in node) return { text: node.text };
  if ('items' in node) return { items: node.items.map(copyOf) };
  return { members: node.members.map(([key, value]) => [key, copyOf(value)]) };
}

/** The text of a value after one to five changes of its tree. */
export function changedJson(value: unknown, random: Random): string {
  let root = nodeOf(value);
  aFewTimes(random, () => {
    root = changedNode(root, random);
  });
  return textOf(root);
}

/** The tree after one change somewhere in it; the one given is changed, too. */
export function changedNode(root: Node, random: Random): Node {
  const holder = { items: [root] };
  const slots: Slot[] = [];
  collect(holder, slots);
  const { parent, index } = random.pick(slots);
  if ('members' in parent) changeMember(parent.members, index, random, slots);
  else changeItem(parent.items, index, random, slots, parent === holder);
  return holder.items[0];
}

interface Slot {
  parent: { items: Node[] } | { members: [string, Node][] };
  index: number;
}

function collect(node: Node, slots: Slot[]): void {
  if ('text' in node) return;
  const children = 'items' in node ? node.items : node.members.map(([, value]) => value);
  for (const [index, child] of children.entries()) {
    slots.push({ parent: node, index });
    collect(child, slots);
  }
}

function changeMember(members: [string, Node][], index: number, random: Random, slots: readonly Slot[]): void {
  const [key, value] = members[index];
  switch (random.below(9)) {
    case 0:
      members.splice(index, 1);
      return;
    case 1:
      members.splice(random.below(members.length + 1), 0, [key, copyOf(value)]);
      return;
    case 2:
      members[index][0] = JSON.stringify(random.chance(0.3) ? JSON.parse(random.pick(members)[0]) : random.pick(TEXTS));
      return;
    case 3:
      members.push([JSON.stringify(random.pick(TEXTS)), replacement(random, slots)]);
      return;
    case 4: {
      const other = random.below(members.length);
      [members[index], members[other]] = [members[other], members[index]];
      return;
    }
    default:
      members[index][1] = changedValue(value, random, slots);
  }
}

function changeItem(items: Node[], index: number, random: Random, slots: readonly Slot[], isRoot: boolean): void {
  if (isRoot && !random.chance(0.1)) return;
  const kind = isRoot ? 9 : random.below(9);
  if (kind === 0) items.splice(index, 1);
  else if (kind === 1) items.splice(index, 0, copyOf(items[index]));
  else if (kind === 2) items.push(replacement(random, slots));
  else items[index] = changedValue(items[index], random, slots);
}

function changedValue(value: Node, random: Random, slots: readonly Slot[]): Node {
  const number = 'text' in value ? Number(value.text) : Number.NaN;
  if (!Number.isNaN(number) && random.chance(0.5)) return { text: nudged(number, random) };
  switch (random.below(8)) {
    case 0:
      return { items: [value] };
    case 1:
      return { members: [[JSON.stringify(random.pick(TEXTS)), value]] };
    case 2: {
      let deep = value;
      for (let depth = random.pick([3, 31, 32, 33, 500]); depth > 0; depth--) deep = { items: [deep] };
      return deep;
    }
    case 3:
      return 'text' in value ? { text: JSON.stringify(value.text) } : { items: [] };
    default:
      return replacement(random, slots);
  }
}

function replacement(random: Random, slots: readonly Slot[]): Node {
  const kind = random.below(6);
  if (kind < 2) return { text: random.pick(TOKENS) };
  if (kind < 4) return { text: JSON.stringify(random.pick(TEXTS)) };
  if (kind === 4)
    return random.pick<Node>([{ items: [] }, { members: [] }, { items: [{ text: '1' }, { text: '"a"' }] }]);
  const { parent, index } = random.pick(slots);
  return structuredClone('items' in parent ? parent.items[index] : parent.members[index][1]);
}

function nudged(number: number, random: Random): string {
  const factor = random.pick([-1, 0, 0.5, 2, 3, 10, 1024, 1e10]);
  const value = random.chance(0.5) ? number + random.pick([-8, -4, -2, -1, 1, 2, 4, 8, 0.5]) : number * factor;
  return Object.is(value, -0) ? '-0' : String(value);
}

// Scalars as files may write them, a few of which are no JSON.
const TOKENS: readonly string[] = [
  ...[
    'null',
    'true',
    'false',
    '0',
    '-0',
    '1',
    '-1',
    '0.5',
    '1.0',
    '1e0',
    '1E+2',
    '2e-1',
    '1e308',
    '1e400',
    '-1e400',
    '5e-324',
  ],
  ...['1e-400', '16', '255', '256', '65536', '2147483648', '4294967295', '4294967296', '9007199254740991'],
  ...[
    '9007199254740992',
    '9007199254740993',
    '18446744073709551616',
    '123456789012345678901234567890',
    '3.4e38',
    '1e38',
  ],
  ...[
    'NaN',
    'Infinity',
    '-',
    '00',
    '01',
    '1.',
    '.5',
    '1e',
    '0x10',
    '+1',
    'nul',
    '"',
    '"\\u12"',
    '"\\ud800"',
    "'a'",
    '',
  ],
];
