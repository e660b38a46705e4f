// Regular expressions that a file brings, matched in time linear in the text. A pattern becomes a nondeterministic automaton
// (Thompson), whose sets of states are made as a text needs them and kept (a lazy DFA). A set is ordered: the first alternative
// that matches wins, as in JavaScript. Each look around is an automaton of its own, run over the whole text beforehand: ahead from
// its end, behind from its beginning. What one character may be is asked of the engine's own RegExp, so Unicode is the engine's.

import { UnsupportedError } from '../../errors.ts';
import { show } from '../../excerpt.ts';

/** Most instructions of a pattern, repetitions written out; published patterns have below 300. */
const INSTRUCTIONS = 4096;
/** Most groups in groups: the parser calls itself for each. */
const DEPTH = 100;
/** Most looks around: one bit each in the 16 of a position. */
const LOOKS = 16;
/** Most instructions in the sets that are kept, in all; then they are forgotten and made anew. */
const KEPT = 1 << 18;

/** Takes note of work; throws when it is too much. */
export type Spend = (steps: number) => void;
/** Where the next match at or after a place begins and ends. */
export type Match = readonly [start: number, end: number];

type PatternNode =
  | { kind: 'set'; set: number }
  | { kind: 'look'; look: number; negated: boolean }
  | { kind: 'sequence' | 'choice'; parts: readonly PatternNode[] }
  | { kind: 'repeat'; part: PatternNode; least: number; most: number; lazy: boolean };

// One character: an escape, a class, or itself. What is missing is no single character, or of no fixed meaning.
const CHARACTER =
  /\\(?:[pP]\{[^}]*\}|u\{[^}]*\}|u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u[\da-fA-F]{4}|x[\da-fA-F]{2}|c[A-Za-z]|[^1-9kbBpPuxc])|\[(?:\\.|[^\]\\])*\]|[^\\()[|*+?{^$]/suy;
const QUANTIFIER = /([*+?]|\{(\d+)(,(\d*))?\})(\??)/y;
const GROUP = /\((\?(?:<([=!])|([=!])|:|<[\p{L}\p{N}_$]+>))?/uy;

/** Finds the matches of a pattern, from left to right, none over another. */
export interface Pattern {
  /** The matches in a text. */
  matches(text: string): Iterable<Match>;
}

/**
 * @param source a pattern that RegExp takes with the flag `u`
 * @param spend is told of the work of compiling and of matching
 * @throws {UnsupportedError} when it cannot be matched in linear time, as with backreferences, or is too large
 */
export function compilePattern(source: string, spend: Spend, file: string): Pattern {
  const { tree, looks, sets } = parse(source, file);
  const alphabet = createAlphabet(sets, spend);
  const size = { left: INSTRUCTIONS };
  const refuse = () =>
    unsupported(source, `must have at most ${INSTRUCTIONS} instructions, repetitions written out`, file);
  const machineOf = (node: PatternNode, mode: Mode) =>
    createMachine(compile(node, mode, size, refuse), alphabet, mode, looks.length > 0, spend);
  const scanners = looks.map(({ node, ahead }) => machineOf(node, ahead ? 'ahead' : 'behind'));
  const machine = machineOf(tree, 'match');

  function* matches(text: string): Iterable<Match> {
    const around = looks.length > 0 ? new Uint16Array(text.length + 1) : undefined; // bit i: look i holds here
    spend(looks.length * text.length);
    if (around) for (const [i, { ahead }] of looks.entries()) scan(scanners[i], alphabet, text, around, i, ahead);
    let start = 0;
    while (start <= text.length) {
      const end = matchFrom(machine, alphabet, text, start, around, spend);
      if (end >= 0) yield [start, end];
      start = end > start ? end : start + widthAt(text, start);
    }
  }
  return { matches };
}

const widthAt = (text: string, position: number): number => ((text.codePointAt(position) ?? 0) > 0xffff ? 2 : 1);

function unsupported(source: string, requirement: string, file: string): UnsupportedError {
  return new UnsupportedError('regular expression', `regular expression ${requirement}: got ${show(source)}`, { file });
}

interface Parsed {
  tree: PatternNode;
  /** The inner ones first. */
  looks: readonly { node: PatternNode; ahead: boolean }[];
  /** Sources of the sets of characters. */
  sets: readonly string[];
}

function parse(source: string, file: string): Parsed {
  const sets = new Map<string, number>();
  const looks: { node: PatternNode; ahead: boolean }[] = [];
  let position = 0;
  let depth = 0;
  const take = (token: RegExp): RegExpExecArray | null => {
    token.lastIndex = position;
    const match = token.exec(source);
    if (match) position += match[0].length;
    return match;
  };

  function choice(): PatternNode {
    if (++depth > DEPTH) throw unsupported(source, `must have at most ${DEPTH} groups in groups`, file);
    const parts = [sequence()];
    while (source[position] === '|') {
      position++;
      parts.push(sequence());
    }
    depth--;
    return parts.length === 1 ? parts[0] : { kind: 'choice', parts };
  }

  function sequence(): PatternNode {
    const parts: PatternNode[] = [];
    while (position < source.length && source[position] !== '|' && source[position] !== ')')
      parts.push(quantified(atom()));
    return { kind: 'sequence', parts };
  }

  function atom(): PatternNode {
    const group = take(GROUP);
    if (!group) {
      const character = take(CHARACTER);
      if (!character)
        throw unsupported(source, `must have characters, groups and looks around alone, from ${position} on`, file);
      const set = sets.get(character[0]) ?? sets.size;
      sets.set(character[0], set);
      return { kind: 'set', set };
    }
    const [, , behind, ahead] = group;
    const node = choice();
    if (source[position++] !== ')') throw unsupported(source, 'must close its groups', file);
    if (!(behind ?? ahead)) return node;
    if (looks.length === LOOKS) throw unsupported(source, `must have at most ${LOOKS} looks around`, file);
    looks.push({ node, ahead: behind === undefined });
    return { kind: 'look', look: looks.length - 1, negated: (behind ?? ahead) === '!' };
  }

  function quantified(part: PatternNode): PatternNode {
    const quantifier = take(QUANTIFIER);
    if (!quantifier) return part;
    const [, sign, low, comma, high, lazy] = quantifier;
    const least = low === undefined ? Number(sign === '+') : Number(low);
    const open = low === undefined ? sign !== '?' : comma !== undefined && high === '';
    const most = open ? Number.POSITIVE_INFINITY : low === undefined ? 1 : Number(high ?? low);
    return { kind: 'repeat', part, least, most, lazy: lazy !== '' };
  }

  const tree = choice();
  if (position < source.length) throw unsupported(source, 'must open its groups', file);
  return { tree, looks, sets: [...sets.keys()] };
}

/** Sorts characters by the sets that they are in: all that are in the same ones are alike. */
interface Alphabet {
  /** The sort of a code point; 0 stands for none, where a text ends. */
  sortOf(code: number): number;
  has(sort: number, set: number): boolean;
}

function createAlphabet(sources: readonly string[], spend: Spend): Alphabet {
  const sets = sources.map((source) => new RegExp(`^(?:${source})$`, 'u'));
  const members: boolean[][] = [sets.map(() => false)]; // by sort, by set
  const sorts = new Map<string, number>();
  const basic = new Uint16Array(0x10000); // of the basic plane; 0 while unknown
  const others = new Map<number, number>();
  const sort = (code: number): number => {
    spend(sets.length);
    const character = String.fromCodePoint(code);
    const is = sets.map((set) => set.test(character));
    const key = is.map(Number).join('');
    const index = sorts.get(key) ?? members.push(is) - 1;
    sorts.set(key, index);
    return index;
  };
  return {
    sortOf(code) {
      const cached = code < 0x10000 ? basic[code] : others.get(code);
      if (cached) return cached;
      const computed = sort(code);
      if (code < 0x10000) basic[code] = computed;
      else others.set(code, computed);
      return computed;
    },
    has: (sort, set) => members[sort][set],
  };
}

// How an automaton runs: to the match that JavaScript would find, or for all places at once where a look around holds.
type Mode = 'match' | 'ahead' | 'behind';

interface Program {
  readonly instructions: readonly Instruction[];
  readonly first: number;
}

type Instruction =
  | { op: 'set'; set: number; next: number }
  | { op: 'split'; first: number; second: number }
  | { op: 'look'; look: number; negated: boolean; next: number }
  // A turn of a repetition that may be empty: JavaScript lets no turn stay so.
  | { op: 'begin' | 'end'; level: number; next: number }
  | { op: 'match' };

// Emits from the end to the beginning: where an instruction goes on is known when it is made.
function compile(node: PatternNode, mode: Mode, size: { left: number }, refuse: () => Error): Program {
  const program: Instruction[] = [];
  const add = (instruction: Instruction): number => {
    if (--size.left < 0) throw refuse();
    return program.push(instruction) - 1;
  };

  // Returns where the node begins if `next` follows it.
  function emit(part: PatternNode, next: number, level: number): number {
    switch (part.kind) {
      case 'set':
        return add({ op: 'set', set: part.set, next });
      case 'look':
        return add({ op: 'look', look: part.look, negated: part.negated, next });
      case 'sequence': {
        const parts = mode === 'ahead' ? part.parts : [...part.parts].reverse(); // ahead is read backwards
        return parts.reduce((after, each) => emit(each, after, level), next);
      }
      case 'choice':
        return part.parts
          .map((each) => emit(each, next, level))
          .reduceRight((second, first) => add({ op: 'split', first, second }));
      case 'repeat':
        return repeat(part, next, level);
    }
  }

  function repeat({ part, least, most, lazy }: PatternNode & { kind: 'repeat' }, next: number, level: number): number {
    const split = (turn: number, exit: number): Instruction =>
      lazy ? { op: 'split', first: exit, second: turn } : { op: 'split', first: turn, second: exit };
    const mayBeEmpty = isNullable(part);
    const turn = (after: number): number => {
      if (!mayBeEmpty) return emit(part, after, level);
      if (level === 30) throw refuse(); // bits of an integer
      const end = add({ op: 'end', level, next: after });
      return add({ op: 'begin', level, next: emit(part, end, level + 1) });
    };
    let start = next;
    let given = 0;
    if (most === Number.POSITIVE_INFINITY) {
      const loop = add({ op: 'match' }); // stands for the split until its turn is there
      const body = turn(loop);
      program[loop] = split(body, next);
      given = Number(least > 0 && !mayBeEmpty); // the loop may be entered behind its split
      start = given ? body : loop;
    } else {
      for (let i = least; i < most; i++) start = add(split(turn(start), next));
    }
    for (let i = given; i < least; i++) {
      if (--size.left < 0) throw refuse(); // even if the part has no instructions
      start = emit(part, start, level);
    }
    return start;
  }

  const first = emit(node, add({ op: 'match' }), 0);
  return { instructions: program, first };
}

function isNullable(node: PatternNode): boolean {
  switch (node.kind) {
    case 'set':
      return false;
    case 'look':
      return true;
    case 'sequence':
      return node.parts.every(isNullable);
    case 'choice':
      return node.parts.some(isNullable);
    case 'repeat':
      return node.least === 0 || isNullable(node.part);
  }
}

/** An ordered set of places in the program, each behind a character, and what follows from it. */
interface AutomatonState {
  readonly places: readonly number[];
  /** By sort of the next character and looks that hold. */
  readonly next: (Transition | undefined)[];
}

interface Transition {
  /** Undefined when nothing can follow. */
  state: AutomatonState | undefined;
  matched: boolean;
}

interface Automaton {
  readonly start: AutomatonState;
  step(state: AutomatonState, sort: number, looks: number): Transition;
}

function createMachine(
  { instructions, first }: Program,
  alphabet: Alphabet,
  mode: Mode,
  hasLooks: boolean,
  spend: Spend,
): Automaton {
  let states = new Map<string, AutomatonState>();
  let kept = 0;
  const inputs = new Map<number, number>(); // pairs of sort and looks, numbered
  const stateOf = (places: readonly number[]): AutomatonState => {
    const key = places.join();
    let state = states.get(key);
    if (!state) {
      kept += places.length + 8;
      if (kept > KEPT) {
        states = new Map();
        kept = 0;
        start.next.length = 0; // the way to all of them
      }
      state = { places, next: [] };
      states.set(key, state);
    }
    return state;
  };
  const start = stateOf([first]);

  function make({ places }: AutomatonState, sort: number, looks: number): Transition {
    const next = new Set<number>();
    const visited = new Set<number>();
    // Places still to look at, the first on top, each with the levels whose turns have begun here and are empty so far.
    const stack: number[] = [];
    const push = (place: number, empty: number) => stack.push(empty * instructions.length + place);
    if (mode !== 'match') push(first, 0); // it may begin anywhere
    for (let i = places.length - 1; i >= 0; i--) push(places[i], 0);
    let matched = false;
    while (stack.length > 0) {
      const top = stack.pop() as number;
      if (visited.has(top)) continue;
      visited.add(top);
      spend(8); // as much work as some characters of known states
      const instruction = instructions[top % instructions.length];
      const empty = Math.floor(top / instructions.length);
      switch (instruction.op) {
        case 'set':
          if (alphabet.has(sort, instruction.set)) next.add(instruction.next);
          break;
        case 'split':
          push(instruction.second, empty);
          push(instruction.first, empty);
          break;
        case 'look':
          if (((looks >>> instruction.look) & 1) !== Number(instruction.negated)) push(instruction.next, empty);
          break;
        case 'begin':
          push(instruction.next, empty | (1 << instruction.level));
          break;
        case 'end':
          if (((empty >>> instruction.level) & 1) === 0) push(instruction.next, empty);
          break;
        case 'match':
          matched = true;
          if (mode === 'match') stack.length = 0; // what comes later would be worse
      }
    }
    const more = next.size > 0 || mode !== 'match';
    return { state: more ? stateOf([...next]) : undefined, matched };
  }

  return {
    start,
    step(state, sort, looks) {
      let input = sort;
      if (hasLooks) {
        const key = sort * 0x10000 + looks;
        const existing = inputs.get(key);
        input = existing ?? inputs.size;
        if (existing === undefined) inputs.set(key, input);
      }
      const cached = state.next[input];
      if (cached) return cached;
      const computed = make(state, sort, looks);
      state.next[input] = computed;
      return computed;
    },
  };
}

// The end of the match that begins here, or −1.
function matchFrom(
  machine: Automaton,
  alphabet: Alphabet,
  text: string,
  start: number,
  around: Uint16Array | undefined,
  spend: Spend,
): number {
  let end = -1;
  let position = start;
  let state: AutomatonState | undefined = machine.start;
  while (state) {
    const code = text.codePointAt(position);
    const step: Transition = machine.step(
      state,
      code === undefined ? 0 : alphabet.sortOf(code),
      around ? around[position] : 0,
    );
    if (step.matched) end = position;
    if (code === undefined) break;
    position += code > 0xffff ? 2 : 1;
    state = step.state;
  }
  spend(position - start + 1);
  return end;
}

// Sets the bit wherever the look holds: ahead from the end to the left, behind from the beginning to the right.
function scan(
  machine: Automaton,
  alphabet: Alphabet,
  text: string,
  around: Uint16Array,
  look: number,
  ahead: boolean,
): void {
  let state: AutomatonState | undefined = machine.start;
  let position = ahead ? text.length : 0;
  while (state) {
    const code = ahead ? codeBefore(text, position) : text.codePointAt(position);
    const step: Transition = machine.step(state, code === undefined ? 0 : alphabet.sortOf(code), around[position]);
    if (step.matched) around[position] |= 1 << look;
    if (code === undefined) break;
    position += (code > 0xffff ? 2 : 1) * (ahead ? -1 : 1);
    state = step.state;
  }
}

function codeBefore(text: string, position: number): number | undefined {
  const code = position > 1 ? (text.codePointAt(position - 2) as number) : 0;
  return code > 0xffff ? code : text.codePointAt(position - 1);
}
