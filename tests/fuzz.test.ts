// The fuzzer itself: cases come again, checksums hold, the oracle tells our errors from others, inputs become small.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FormatError } from '../src/index.ts';
import { readAll } from './format.ts';
import { encodeDraft, type Files, randomStored, refit } from './fuzz/checkpoint.ts';
import { changedJson } from './fuzz/json.ts';
import { minimised } from './fuzz/minimise.ts';
import { Fault, judge, kindOf } from './fuzz/oracle.ts';
import { randomOf } from './fuzz/random.ts';
import { caseOf, choicesOf, openWorld } from './fuzz/target.ts';
import { targets } from './fuzz/targets.ts';

const world = await openWorld();
test.after(world.close);

for (const target of targets) {
  test(`${target.name}: a case is the same when it is made again, and another one is not`, () => {
    const make = (index: number) => JSON.stringify(target.make(randomOf(1, target.name, index), world));
    for (const index of [0, 7, 4711]) assert.is(make(index), make(index));
    assert.ok(new Set(Array.from({ length: 20 }, (_, index) => make(index))).size > 10);
  });
}

test('randomStored() makes checkpoints that the second implementation of the format takes', () => {
  for (let index = 0; index < 20; index++) {
    const draft = randomStored(randomOf(1, 'stored', index), [['a.weight', [3, 70]]], world.grids, 0);
    assert.ok(readAll([refit(encodeDraft(draft))]).weights.size <= 1);
  }
});

test('changedJson() writes text that JSON.parse takes, and text that it does not', () => {
  const texts = Array.from({ length: 200 }, (_, i) => changedJson({ a: [1, { b: 'c' }], d: null }, randomOf(1, '', i)));
  const valid = texts.filter((text) => {
    try {
      JSON.parse(text);
      return true;
    } catch {
      return false;
    }
  });
  assert.ok(valid.length > 100 && valid.length < 200, `${valid.length} are JSON`);
  assert.ok(new Set(texts).size > 100, `${new Set(texts).size} differ`);
});

test('judge() takes errors of ours and tells what is wrong with others', () => {
  const fault = (error: unknown) => judge(error, ['memory']).fault ?? 'none';
  assert.is(fault(new FormatError('header must be JSON: it is not', { file: 'memory/x' })), 'none');
  assert.is(fault(new RangeError('rows must be an integer: got 0.5')), 'none');
  assert.match(fault(new FormatError('header must be JSON: it is not')), /names no file/);
  assert.match(fault(new Error('rows must be an integer: got 0.5')), /no class of ours/);
  assert.match(fault(new TypeError("Cannot read properties of null (reading 'x')")), /an engine's words/);
  assert.match(fault(new RangeError('bad value')), /does not say what must be/);
  assert.match(fault(new RangeError('x must be y: got \u001b[2J')), /not one printable line/);
  assert.match(fault(new RangeError(`x must be y: got ${'z'.repeat(5000)}`)), /a message of 5017 characters/);
  assert.match(fault(new WebAssembly.RuntimeError('unreachable')), /no class of ours/);
  assert.match(fault(new Fault('sums agree')), /^invariant: sums agree$/);
  assert.match(fault('text'), /no error/);
});

test('kindOf() is the same for faults that differ in numbers and texts', () => {
  const of = (message: string) => kindOf(judge(new TypeError(message), ['memory']).fault!);
  assert.is(of('tensors1 is not iterable'), of('tensors27 is not iterable'));
  assert.is.not(of('tensors1 is not iterable'), of("Cannot read properties of null (reading 'x')"));
});

test('minimised() leaves what the fault needs', async () => {
  const text = (files: Files) => new TextDecoder().decode(files.a ?? new Uint8Array());
  const input = { a: new TextEncoder().encode(`${'x'.repeat(300)}<>${'y'.repeat(200)}!`), b: new Uint8Array(9) };
  const smallest = await minimised(input, async (files) => /<.*!/.test(text(files)));
  assert.equal(Object.keys(smallest), ['a']);
  assert.is(text(smallest), '<!');
});

test('choicesOf() gives back numbers that JSON has not', () => {
  const choices = { a: [Number.NaN, -0, Number.NEGATIVE_INFINITY, 1], b: { c: 'NaN' } };
  const files = { 'case.json': caseOf(choices) };
  assert.equal(choicesOf(files), choices);
  assert.ok(Object.is(choicesOf<typeof choices>(files).a[1], -0));
});

test.run();
