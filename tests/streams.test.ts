// What runtimes have of their own serves as it stands: an ArrayBuffer or a Blob as a source, a stream's writer as a sink.

import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { blobSource, folderOf, load, memorySink, type OutputFolder, type Source } from '../src/index.ts';
import { startPool } from '../src/workers/web.ts';
import { normals, sameBits } from './bits.ts';
import { memoryOutput, safetensors, tensorOf } from './checkpoints.ts';

const higgs = await load();
const file = safetensors({ 'a.up_proj.weight': tensorOf('F32', [300, 160], normals(48000, 9)) });
const buffer = file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength) as ArrayBuffer;

async function quantized(
  source: Source,
  output: OutputFolder,
  pool?: Awaited<ReturnType<typeof startPool>>,
): Promise<void> {
  await higgs.quantizeCheckpoint(folderOf('in', { 'model.safetensors': source }), output, { ...(pool && { pool }) });
}

const expected = memoryOutput();
await quantized(buffer, expected);
const bytes = expected.files.get('model.safetensors')!;

test('an ArrayBuffer, a Blob and the Blob of a Response give the same checkpoint', async () => {
  for (const blob of [new Blob([buffer]), await new Response(buffer.slice(0)).blob()]) {
    const output = memoryOutput();
    await quantized(blobSource(blob), output);
    sameBits(output.files.get('model.safetensors')!, bytes);
  }
});

test('the writer of a WritableStream is a sink', async () => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>();
  const written = new Response(readable).arrayBuffer();
  await quantized(buffer, { create: async () => writable.getWriter() });
  sameBits(new Uint8Array(await written), bytes);
});

test('the writer of a WritableStream hears of a run that failed', async () => {
  const reasons: unknown[] = [];
  const stream = new WritableStream<Uint8Array>({ abort: (reason) => void reasons.push(reason) });
  const bad = safetensors({ 'a.up_proj.weight': tensorOf('F32', [2, 160], new Float32Array(320).fill(Number.NaN)) });
  const source = bad.buffer.slice(bad.byteOffset, bad.byteOffset + bad.byteLength) as ArrayBuffer;
  await quantized(source, { create: async () => stream.getWriter() }).then(
    () => assert.unreachable('it did not fail'),
    (error) => assert.match(error.message, /tensor "a.up_proj.weight": weights must be finite: \[0, 0\] is NaN/),
  );
  assert.is(reasons.length, 1);
});

test('startPool() of the web gives the same checkpoint, with workers where there are any', async () => {
  const pool = await startPool(2);
  try {
    const output = memoryOutput();
    await quantized(buffer, output, pool);
    sameBits(output.files.get('model.safetensors')!, bytes);
  } finally {
    await pool.close();
  }
});

test('memorySink() keeps what is written', async () => {
  const sink = memorySink();
  await quantized(buffer, { create: async () => sink });
  sameBits(sink.bytes(), bytes);
});

test.run();
