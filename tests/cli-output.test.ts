// Where the command line writes: files and directories, existing and impossible ones, shards; and what verify finds
// when an output was changed (Node and what follows it only).

import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { takeLock } from '../src/disk/lock.ts';
import { indexOf, rawTensor, readSafetensors, safetensors, tensorOf } from './checkpoints.ts';
import {
  CLI,
  execute,
  fails,
  folder,
  hashes,
  higgs,
  INDEX,
  K,
  NORM,
  nothingAt,
  otherFile,
  output,
  Q,
  quantize,
  read,
  shardFile,
  small,
  smallFiles,
  smallTensors,
  succeeds,
  temporaryRoot,
  weight,
} from './command.ts';
import { FAULTS } from './faults.ts';

temporaryRoot();

// --- files and directories

test('directories on the way to an output are made, and removed with an output that does not come to be', async () => {
  const dir = await folder(smallFiles());
  const out = join(output(), 'deep', 'down');
  await succeeds(quantize(dir, out));
  assert.ok(existsSync(join(out, 'model.safetensors')));
  const plan = join(output(), 'plans', 'plan.json');
  await succeeds(higgs('plan', dir, '--bpw', '4.5', '--uniform', '-o', plan));
  assert.ok(existsSync(plan));
  const broken = await folder({
    'model.safetensors': safetensors({ [Q]: tensorOf('F32', [64, 64], new Float32Array(4096).fill(Number.NaN)) }),
  });
  const lost = output();
  assert.match(await fails(quantize(broken, join(lost, 'deep', 'down'))), /q_proj/);
  nothingAt(lost);
});

test('a card says what was done, in front of the original, and what the hub reads', async () => {
  const card = '---\nlicense: mit\nbase_model: a/parent\ntags:\n- text\n---\n\n# Small\n\nIn bf16.\n';
  const dir = await folder({ ...smallFiles(), 'README.md': card, 'MODEL_CARD.md': '# Small\n', 'notes.md': 'x' });
  const [out, restored, other] = [output(), output(), output()];
  await succeeds(higgs('quantize', dir, '-o', out, '--base-model', 'org/small', '--transformers'));
  const written = readFileSync(join(out, 'README.md'), 'utf8');
  const [front, text] = written.slice(4).split('\n---\n\n');
  assert.equal(front.split('\n'), [
    ...['license: mit', 'tags:', '- higgs', '- higgs-wasm', '- text', 'base_model: org/small'],
    ...['base_model_relation: quantized', 'quantized_by: higgs-wasm'],
  ]);
  assert.match(text, /^# small, \d\.\d\d bits per weight\n/);
  assert.match(text, /\| grid × tensors \| `t4` × \d+ \|\n/);
  assert.match(text, /In Python with transformers 5, on any device/);
  assert.match(text, /\n## Card of the original\n\nDtypes, .*\n\n# Small\n\nIn bf16\.\n$/);
  assert.match(readFileSync(join(out, 'MODEL_CARD.md'), 'utf8'), /^\n> These weights were quantized .*\n\n# Small\n$/);
  assert.is(readFileSync(join(out, 'notes.md'), 'utf8'), 'x');
  assert.ok(existsSync(join(out, 'higgs_wasm.py')));
  assert.equal(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')).auto_map, {
    AutoConfig: 'higgs_wasm.Config',
  });
  await succeeds(higgs('dequantize', out, '-o', restored));
  const plain = readFileSync(join(restored, 'README.md'), 'utf8');
  assert.is(plain.slice(0, 4 + front.length + 6), written.slice(0, 4 + front.length + 6));
  assert.match(
    plain,
    /\n# small, dequantized\n\nThe weights of org\/small were quantized to \d\.\d\d bits per weight\./,
  );
  assert.match(plain, /from_pretrained\("FOLDER"\)/);
  assert.match(plain, /\n## Card of the original\n\nDtypes, .*\n\n# Small\n\nIn bf16\.\n$/);
  assert.not.match(plain, /trust_remote_code|grid × tensors/);
  assert.not.ok(existsSync(join(restored, 'higgs_wasm.py')));
  await succeeds(quantize(await folder(smallFiles()), other)); // nothing is known of that one
  const own = readFileSync(join(other, 'README.md'), 'utf8');
  assert.not.match(own, /base_model:|Card of the original/);
  const [bare, foreign] = [output(), output()];
  await rm(join(other, 'README.md'));
  await succeeds(higgs('dequantize', other, '-o', bare));
  const generated = readFileSync(join(bare, 'README.md'), 'utf8');
  assert.match(
    generated,
    /^---\ntags:\n- higgs\n- higgs-wasm\nbase_model_relation: quantized\nquantized_by: higgs-wasm\n---\n/,
  );
  assert.match(generated, /\n# This model, dequantized\n\nThe weights were quantized to \d\.\d\d bits per weight\./);
  assert.not.match(generated, /base_model:|Card of the original/);
  await writeFile(join(other, 'README.md'), '# Mine\n'); // somebody's own stays
  await succeeds(higgs('dequantize', other, '-o', foreign));
  assert.match(readFileSync(join(foreign, 'README.md'), 'utf8'), /\n\n# Mine\n$/);
  assert.match(own, /after `higgs export FOLDER --transformers`/);
  assert.match(
    await fails(higgs('export', 'hf:org/small', '--transformers'), 2),
    /input must be a directory of yours, as --transformers writes into it: hf:org\/small is on a server/,
  );
});

test('a card of YAML that is none of ours keeps its lines', async () => {
  const ours = '"base_model": a/parent\nquantized_by: [\nb,\n]\nbase_model_relation : finetune\n';
  const card = `---\n# of the model\n${ours}tags: [a, b]\nmodel-index:\n  - name: x\n    results: []\n---\ntext`;
  const out = output();
  await succeeds(quantize(await folder({ ...smallFiles(), 'readme.md': card }), out));
  const written = readFileSync(join(out, 'readme.md'), 'utf8');
  assert.ok(
    written.startsWith(
      '---\n# of the model\ntags: [a, b]\nmodel-index:\n  - name: x\n    results: []\nbase_model_relation: quantized\n',
    ),
  );
});

test('numbers of config.json stay as they are written', async () => {
  const text = '{"a": 0.0, "b": [1e-05, 1.0, 12, -0], "c": "0.0 \\" 1.0", "big": 12345678901234567890}';
  const [dir, out, plain] = [await folder({ ...smallFiles(), 'config.json': text }), output(), output()];
  await succeeds(quantize(dir, out));
  await succeeds(higgs('dequantize', out, '-o', plain));
  for (const path of [out, plain]) {
    const written = readFileSync(join(path, 'config.json'), 'utf8').replace(/\s+/g, '');
    assert.ok(written.startsWith('{"a":0.0,"b":[1e-05,1.0,12,-0],"c":"0.0\\"1.0","big":12345678901234567890'), written);
  }
});

test('a single file becomes a single file, of any name', async () => {
  const dir = await folder({ 'some model.safetensors': safetensors(smallTensors()), 'config.json': 'not read' });
  const input = join(dir, 'some model.safetensors');
  const before = await hashes(dir);
  const out = join(dir, 'small.safetensors');
  const restored = join(dir, 'restored.safetensors');
  await succeeds(quantize(input, out, '--max-shard-size', '1kB'));
  await succeeds(higgs('verify', out, '--against', input));
  await succeeds(higgs('dequantize', out, '-o', restored));
  assert.equal(
    (await readdir(dir)).sort(),
    [...Object.keys(before), 'restored.safetensors', 'small.safetensors'].sort(),
  );
  assert.match(await fails(quantize(input, out)), /already exists; give --force/);
  await succeeds(quantize(input, out, '--force', '--bits', '2'));
  assert.match((await succeeds(higgs('inspect', out))).stdout, / t2 /);
  const asFolder = output();
  await succeeds(quantize(input, asFolder));
  assert.equal(await readdir(asFolder), ['model.safetensors']);
  for (const [name, hash] of Object.entries(before)) assert.is((await hashes(dir))[name], hash);
});

test('an existing output is refused, replaced with --force if it is a checkpoint, and kept when the run fails', async () => {
  const { input } = await small();
  const out = output();
  await succeeds(quantize(input, out));
  const first = await hashes(out);
  assert.is(
    await fails(quantize(input, out, '--bits', '2')),
    `higgs: cannot write ${out}: it already exists; give --force to replace it\n`,
  );
  assert.equal(await hashes(out), first);

  const faulty = await folder(FAULTS['NaN in BF16'].files);
  assert.match(await fails(quantize(faulty, out, '--force')), /finite/);
  assert.equal(await hashes(out), first, 'a failed run with --force leaves the old output');
  nothingAt(`${out}.partial`, `${out}.replaced`);

  await succeeds(quantize(input, out, '--bits', '2', '--force'));
  assert.not.equal(await hashes(out), first);
  nothingAt(`${out}.partial`, `${out}.replaced`);

  // An empty directory may be written to; one with other files is never replaced.
  const empty = await folder();
  await succeeds(quantize(input, empty));
  assert.equal(await hashes(empty), first);
  const home = await folder({ 'thesis.doc': 'years of work' });
  const mixed = await folder({ 'model.safetensors': '', 'thesis.doc': 'years of work' });
  const deep = await folder({ 'model.safetensors': '' });
  await mkdir(join(deep, 'below'));
  const file = join(home, 'thesis.doc');
  for (const target of [home, mixed, deep, file]) {
    assert.match(await fails(quantize(input, target, '--force')), /not a checkpoint: higgs never replaces it/);
  }
  assert.is(readFileSync(file, 'utf8'), 'years of work');
  assert.ok(existsSync(join(mixed, 'thesis.doc')) && existsSync(join(deep, 'below')));
});

test('an input that lies where an output would be made or replaced is refused, and never touched', async () => {
  const parent = await folder();
  const files = smallFiles();
  const place = async (name: string) => {
    await mkdir(join(parent, name));
    for (const [file, content] of Object.entries(files)) await writeFile(join(parent, name, file), content);
    return join(parent, name);
  };
  const partial = await place('model.partial');
  const before = await hashes(partial);
  for (const flag of ['--force', '--resume', '--seed=1']) {
    assert.match(await fails(quantize(partial, join(parent, 'model'), flag), 2), /must not be the input/);
  }
  assert.equal(await hashes(partial), before);
  // Links out of the input into the output that would be replaced.
  const { input } = await small();
  const old = join(parent, 'old');
  await succeeds(quantize(input, old));
  await place('real');
  await mkdir(join(parent, 'links'));
  await writeFile(join(old, 'model.safetensors'), files['model.safetensors']);
  await symlink(join(old, 'model.safetensors'), join(parent, 'links/model.safetensors'));
  assert.match(await fails(quantize(join(parent, 'links'), old, '--force'), 2), /must not contain the input/);
  assert.ok(existsSync(join(old, 'model.safetensors')));
  // Directories that only look like an output's.
  const mine = await place('other.partial');
  assert.match(await fails(quantize(input, join(parent, 'other'), '--force')), /files that higgs did not write/);
  assert.match(await fails(quantize(input, join(parent, 'other'), '--resume')), /files that higgs did not write/);
  assert.equal(await hashes(mine), before);
  await mkdir(join(parent, 'old.replaced'));
  await writeFile(join(parent, 'old.replaced/thesis.doc'), 'years of work');
  await succeeds(quantize(input, old, '--force'));
  assert.ok(existsSync(join(parent, 'old.replaced/thesis.doc')));
});

test('an empty output directory stays when the run fails, and the working directory is refused', async () => {
  const empty = await folder();
  const faulty = await folder(FAULTS['NaN in BF16'].files);
  assert.match(await fails(quantize(faulty, empty)), /finite/);
  assert.ok(existsSync(empty));
  const { input } = await small();
  const { code, stderr } = await execute('sh', [
    '-c',
    `cd '${empty}' && '${process.execPath}' '${CLI}' quantize '${input}' -o .`,
  ]);
  assert.is(code, 2);
  assert.match(stderr, /^higgs: --output must not be the working directory\n$/);
});

test('two runs do not write one output at the same time', async () => {
  const { input } = await small();
  const out = output();
  await mkdir(`${out}.partial`);
  const lock = join(`${out}.partial`, 'higgs.lock');
  await (await takeLock(lock, 'writes')).stop(); // this process runs
  for (const flag of ['--resume', '--force']) {
    assert.match(
      await fails(quantize(input, out, flag)),
      new RegExp(`another run is writing it; if process ${process.pid} is not higgs, remove .*higgs.lock`),
    );
  }
  await writeFile(lock, readFileSync(lock, 'utf8').replace(` ${process.pid} `, ' 999999999 ')); // one that does not
  await succeeds(quantize(input, out));
});

test('output equal to, inside or around the input is refused, links and dots seen through; the input is untouched', async () => {
  const parent = await folder();
  const input = join(parent, 'model');
  await mkdir(input);
  for (const [name, content] of Object.entries(smallFiles())) await writeFile(join(input, name), content);
  await symlink(input, join(parent, 'link'));
  const before = await hashes(input);
  const file = join(input, 'model.safetensors');
  const cases: [string, string, RegExp][] = [
    [input, input, /--output must not be the input/],
    [input, `${input}/`, /must not be the input/],
    [input, join(parent, 'link'), /must not be the input/],
    [join(parent, 'link'), input, /must not be the input/],
    [input, `${parent}/./model/../model`, /must not be the input/],
    [input, join(input, 'out'), /must not be inside the input/],
    [input, join(parent, 'link', 'out'), /must not be inside the input/],
    [input, parent, /must not contain the input/],
    [input, '/', /must not contain the input/],
    [file, file, /must not be the input/],
    [file, join(parent, 'link', 'model.safetensors'), /must not be the input/],
    [file, input, /must not contain the input/],
    [input, join(parent, 'x.safetensors'), /must be a directory/],
  ];
  for (const force of [[], ['--force']]) {
    await Promise.all(
      cases.map(async ([from, to, says]) => assert.match(await fails(quantize(from, to, ...force), 2), says)),
    );
  }
  const { out } = await small();
  assert.match(await fails(higgs('dequantize', out, '-o', out, '--force'), 2), /must not be the input/);
  assert.equal(await hashes(input), before);
  assert.equal((await readdir(parent)).sort(), ['link', 'model']);
});

test('an output that cannot be written (a parent that is a file, a .partial that is a file; modes do not bind root, these do)', async () => {
  const { input, out: quantized } = await small();
  const dir = await folder({ file: 'x', 'taken.partial': 'x' });
  const cases: [string, RegExp][] = [
    [join(dir, 'file', 'out'), /cannot write .*file\/out: a part of the path is not a directory/],
    [join(dir, 'taken'), /cannot (read|create|write) .*taken\.partial: /],
    [join(dir, `${'x'.repeat(300)}`), /name is too long/],
  ];
  const before = await hashes(dir);
  for (const [out, says] of cases) {
    assert.match(await fails(quantize(input, out)), says);
    assert.match(await fails(higgs('dequantize', quantized, '-o', out)), says);
  }
  assert.equal(await hashes(dir), before);
});

test('sharded output: --max-shard-size, an index that is right, and every verb reads it; sharded input gives the same weights', async () => {
  const tensors = smallTensors();
  const names = Object.keys(tensors);
  const part = (chosen: string[]) => safetensors(Object.fromEntries(chosen.map((name) => [name, tensors[name]])));
  const whole = await folder({ 'model.safetensors': safetensors(tensors) });
  const sharded = await folder({
    [INDEX]: indexOf({ [shardFile]: names.slice(0, 2), [otherFile]: names.slice(2) }),
    [shardFile]: part(names.slice(0, 2)),
    [otherFile]: part(names.slice(2)),
    'stray.safetensors': 'not in the index, not read',
  });
  const outs = [output(), output(), output()];
  await Promise.all([
    succeeds(quantize(whole, outs[0], '--max-shard-size', '4kB')),
    succeeds(quantize(sharded, outs[1], '--max-shard-size', '4kB')),
    succeeds(quantize(sharded, outs[2])),
  ]);
  assert.equal(await hashes(outs[1]), await hashes(outs[0]));
  const files = (await readdir(outs[0])).filter((name) => name.endsWith('.safetensors'));
  assert.ok(files.length > 2);
  const index = JSON.parse(readFileSync(join(outs[0], INDEX), 'utf8'));
  const all = files.flatMap((file) => [...read(outs[0], file).tensors.keys()].map((name) => [name, file]));
  const listed = all.filter(([name]) => !name.startsWith('higgs.padding.'));
  assert.equal(Object.entries(index.weight_map).sort(), listed.sort());
  assert.is(
    index.metadata.total_size,
    listed.reduce((sum, [name, file]) => sum + read(outs[0], file).tensors.get(name)!.bytes.length, 0),
  );
  const single = read(outs[2]);
  for (const [name, file] of listed) {
    if (/^higgs\.(errors|checksums)/.test(name)) continue;
    assert.ok(
      Buffer.compare(read(outs[0], file).tensors.get(name)!.bytes, single.tensors.get(name)!.bytes) === 0,
      name,
    );
  }
  const restored = [output(), output()];
  await Promise.all([
    succeeds(higgs('verify', outs[0], '--against', whole)),
    succeeds(higgs('verify', outs[2], '--against', sharded)),
    succeeds(higgs('inspect', outs[0])),
    succeeds(higgs('dequantize', outs[0], '-o', restored[0])),
    succeeds(higgs('dequantize', outs[2], '-o', restored[1], '--max-shard-size', '9kB')),
  ]);
  const plain = read(restored[0]).tensors;
  const back = JSON.parse(readFileSync(join(restored[1], INDEX), 'utf8')).weight_map;
  assert.equal(Object.keys(back).sort(), [...names].sort());
  for (const [name, file] of Object.entries<string>(back)) {
    assert.ok(Buffer.compare(read(restored[1], file).tensors.get(name)!.bytes, plain.get(name)!.bytes) === 0, name);
  }
});

// --- verify

test('verify detects one flipped bit wherever it is, a truncated file, another original, and swapped metadata', async () => {
  const { out } = await small();
  const file = readFileSync(join(out, 'model.safetensors'));
  const { tensors } = readSafetensors(file);
  const damaged = async (change: (bytes: Buffer) => Buffer | undefined) => {
    const copy = Buffer.from(file);
    return folder({ 'model.safetensors': change(copy) ?? copy });
  };
  const flipped = (name: string, index: number) =>
    damaged((bytes) => {
      bytes[tensors.get(name)!.start + index] ^= 16;
      return undefined;
    });
  const other = smallTensors();
  other[Q] = weight(64, 64, 77);
  const changed = smallTensors();
  changed[NORM].bytes[3] ^= 1;
  const { [K]: _, ...fewer } = smallTensors();
  const wider = { ...smallTensors(), [Q]: weight(64, 65) };
  const { [NORM]: __, ...noNorm } = smallTensors();
  const originals = [other, changed, fewer, wider, noNorm, { ...smallTensors(), extra: rawTensor('U8', [1], 1) }];
  const [wrong, normed, lacking, wide, normless, more] = await Promise.all(
    originals.map((each) => folder({ 'model.safetensors': safetensors(each) })),
  );
  const length = Number(file.readBigUInt64LE());
  const metadataChanged = (edit: (text: string) => string) =>
    damaged((bytes) => {
      const text = edit(bytes.subarray(8, 8 + length).toString());
      assert.is(Buffer.byteLength(text), length);
      bytes.write(text, 8);
      return undefined;
    });
  // p1n16 and t4 take the same room: every size is as it should be.
  const swapped = await metadataChanged((text) =>
    text.replace(/(\\"grid\\":\\")p1n16(.*)t4(\\",\\"groupSize)/, '$1t4$2p1n16$3'),
  );
  const reseeded = await metadataChanged((text) => text.replace('\\"seed\\":0', '\\"seed\\":1'));
  const CRC = /CRC-32(?: of the header)? must be [0-9a-f]{8}, as noted when it was written: it is [0-9a-f]{8}/;
  const cases: [string, string | undefined, RegExp, string?][] = [
    [await flipped(`${Q}.packed`, 1000), undefined, CRC, `${Q}.packed`],
    [await flipped(`${Q}.scales`, 11), undefined, CRC, `${Q}.scales`],
    [await flipped(NORM, 13), undefined, CRC, NORM],
    [await flipped('higgs.grid.t4', 47), undefined, /CRC-32|trellis/, 'higgs.grid.t4'],
    [await flipped('higgs.errors.0', 20), undefined, CRC, 'higgs.errors.0'],
    [await flipped('higgs.checksums.0', 0), undefined, CRC],
    [await damaged((bytes) => bytes.subarray(0, -1)), undefined, /within the data/],
    [await damaged((bytes) => bytes.subarray(0, 2000)), undefined, /within/],
    [await damaged((bytes) => Buffer.concat([bytes, Buffer.of(0)])), undefined, /must end with/],
    [out, wrong, /t² must be .* so this is not the original/, Q],
    [out, normed, /bytes must be those of the original, for it passed through: they differ/, NORM],
    [out, lacking, /original must be BF16 \[32, 64\]: there is none/, K],
    [out, wide, /original must be BF16 \[64, 64\]: it is BF16 \[64, 65\]/, Q],
    [out, normless, /original must be BF16 \[7\]: there is none/, NORM],
    [out, more, /tensor must be in the quantized checkpoint too: it is missing there/, 'extra'],
    [reseeded, undefined, /CRC-32 of the header must be/],
    [swapped, undefined, /CRC-32 of the header must be/],
  ];
  const failures: string[] = [];
  await Promise.all(
    cases.map(async ([path, against, says, tensor], i) => {
      try {
        const line = await fails(higgs('verify', path, '--workers', '1', ...(against ? ['--against', against] : [])));
        assert.match(line, says);
        if (tensor) assert.ok(line.includes(`tensor ${JSON.stringify(tensor)}`), line);
      } catch (error) {
        failures.push(`${i}, ${says}: ${(error as Error).message}`);
      }
    }),
  );
  assert.is(failures.join('\n'), '');
});

test.run();
