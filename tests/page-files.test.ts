// What is given to the page: files of every kind, faulty ones, folders that a person picks, and the same run in two tabs.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Page } from 'puppeteer-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { testWith } from './installed.ts';
import { BUILT, click, clickButton, drop, FILES, MODEL, pick, spoken, textOf, withPage } from './page-driver.ts';
import { servedFiles } from './served.ts';

const test = suite('files in the page');
const scratch = mkdtempSync(join(tmpdir(), 'higgs-page-files-'));
test.after(() => rmSync(scratch, { recursive: true, force: true }));

testWith(test, 'chromium', 'the page says what is wrong, and can be used again', async (chromium) => {
  await withPage(chromium, async (page) => {
    await pick(page, '#files', join(MODEL, 'config.json'));
    await page.waitForSelector('.failure');
    assert.match(await textOf(page, '.failure'), /folder must have model\.safetensors/);
    await click(page, '#demo');
    await page.waitForSelector('#shrink');
    assert.is(await page.$('.failure'), null);
    await clickButton(page, 'Model');
    await pick(page, '#files', join(MODEL, 'config.json'));
    await page.waitForSelector('.failure');
    const open = await page.$$eval('.step:enabled', (steps) => steps.map((step) => step.textContent));
    assert.equal(open, ['Model'], 'no room is that of a model which is not open');
    await click(page, '#demo');
    await page.waitForSelector('#shrink');
    await click(page, '.experts summary');
    await page.type('.experts input[placeholder="all, or t3, t4, t5"]', 't99');
    await page.keyboard.press('Tab');
    await page.waitForSelector('.failure');
    assert.match(await textOf(page, '.failure'), /grid must be one of those loaded/);
  });
});

const text = (words: string) => new TextEncoder().encode(words);
const PAGE = text('<!doctype html><title>Not found</title>');
const POINTER = text('version https://git-lfs.github.com/spec/v1\noid sha256:4cac\nsize 10498464\n');

/** Faulty files, and what the page says of them, before or after it has shrunk the model. */
function faulty(): [files: Record<string, Uint8Array>, said: RegExp][] {
  const good = servedFiles();
  const weights = good['model.safetensors'];
  const withNaN = new Uint8Array(weights);
  const view = new DataView(withNaN.buffer);
  const begin = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(withNaN.subarray(8, begin)));
  view.setFloat32(begin + header['model.layers.0.mlp.up_proj.weight'].data_offsets[0], Number.NaN, true);
  return [
    [
      { ...good, 'model.safetensors': weights.subarray(0, weights.length / 2) },
      /data_offsets must lie within .* is it complete\?$/,
    ],
    [{ ...good, 'model.safetensors': POINTER }, /it is a pointer of Git LFS/],
    [{ ...good, 'model.safetensors': PAGE }, /it is a web page/],
    [{ ...good, 'model.safetensors': new Uint8Array() }, /it is empty$/],
    [{ ...good, 'model.safetensors': withNaN }, /up_proj\.weight": weights must be finite: \[0, 0\] is NaN/],
    [{ ...good, 'config.json': PAGE }, /config\.json: configuration must be JSON: it is a web page/],
    [{ ...good, 'config.json': new Uint8Array() }, /config\.json: configuration must be JSON: it is empty$/],
    [{ ...good, 'config.json': text('null') }, /config\.json: configuration must be a JSON object: got null/],
    [{ ...good, 'tokenizer.json': PAGE }, /tokenizer\.json: file must be JSON: it is a web page/],
    [{ ...good, 'tokenizer.json': new Uint8Array() }, /tokenizer\.json: file must be JSON: it is empty$/],
    [{ 'model.zip': text('PK') }, /its weights are not safetensors \(model\.zip\)/],
    [{ 'model.gguf': text('GGUF') }, /model\.gguf: header must end within the file/],
    [{ 'a\u202e\u0007.safetensors': new Uint8Array() }, /^a\\u202e\\u0007/],
  ];
}

testWith(test, 'chromium', 'the page says one sentence of each faulty file, and goes on', async (chromium) => {
  await withPage(chromium, async (page) => {
    for (const [files, said] of faulty()) {
      await page.waitForSelector('.drop');
      await drop(page, files);
      await page.waitForSelector('.failure, #shrink');
      if (!(await page.$('.failure'))) await click(page, '#shrink');
      await page.waitForSelector('.failure');
      const failure = await textOf(page, '.failure');
      assert.match(failure, said, failure);
      await clickButton(page, 'Model');
    }
  });
});

testWith(test, 'chromium', 'a name is offered, and no server asked before it is opened', async (chromium) => {
  await withPage(chromium, async (page, { base }) => {
    const asked: string[] = [];
    page.on('request', (request) => asked.push(request.url()));
    await clickButton(page, 'HuggingFaceTB/SmolLM2-135M-Instruct');
    assert.is(
      await page.$eval('#name', (input) => (input as HTMLInputElement).value),
      'HuggingFaceTB/SmolLM2-135M-Instruct',
    );
    assert.equal(
      asked.filter((url) => !url.startsWith(base)),
      [],
    );
  });
});

testWith(test, 'chromium', 'a file of GGUF is shrunk, and talks', async (chromium) => {
  const file = join(scratch, 'books.gguf');
  execFileSync(process.execPath, [
    resolve('build/higgs.js'),
    'export',
    MODEL,
    '--format',
    'gguf',
    '-o',
    file,
    '--quiet',
  ]);
  await withPage(chromium, async (page) => {
    await pick(page, '#files', file);
    await page.waitForSelector('#shrink');
    await click(page, '#shrink');
    await spoken(page);
    assert.match(await textOf(page, '.said'), /^Once upon a time.*\w{3}/);
  });
});

/** Has the browser's picker give a folder of the private file system, as a person would give one of the disk. */
async function givePicked(page: Page, name: string, files: Record<string, string> = {}): Promise<void> {
  await page.evaluate(
    async (name, files) => {
      const root = await navigator.storage.getDirectory();
      const folder = await root.getDirectoryHandle(name, { create: true });
      for (const [file, base64] of Object.entries(files)) {
        const stream = await (await folder.getFileHandle(file, { create: true })).createWritable();
        await stream.write(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
        await stream.close();
      }
      Object.assign(globalThis, { showDirectoryPicker: async () => folder });
    },
    name,
    files,
  );
}

testWith(test, 'chromium', 'a folder that is picked is read, and one that is picked is written', async (chromium) => {
  await withPage(chromium, async (page) => {
    const given = FILES.map((name) => [name, readFileSync(join(MODEL, name)).toString('base64')]);
    await givePicked(page, 'my-model', Object.fromEntries(given));
    await clickButton(page, 'Choose a folder');
    await page.waitForSelector('#shrink');
    assert.match(await textOf(page, '.lead'), /^my-model has 5\.25 million weights/);
    await click(page, '#shrink');
    await spoken(page);
    await clickButton(page, 'Save it, and see the report');
    await givePicked(page, 'saved');
    await clickButton(page, 'Save as a folder');
    await page.waitForFunction(() => /Saved/.test(document.querySelector('.save')!.textContent));
    const saved = await page.evaluate(async () => {
      const root = await navigator.storage.getDirectory();
      const folder = await (await root.getDirectoryHandle('saved')).getDirectoryHandle('my-model-4bit');
      const names: string[] = [];
      for await (const name of folder.keys()) names.push(name);
      return names.sort();
    });
    assert.equal(saved, [...FILES].sort());
    await clickButton(page, 'Save as a folder');
    await page.waitForFunction(() => /it already exists/.test(document.querySelector('.save')!.textContent));
  });
});

testWith(
  test,
  'chromium',
  'a run that another tab is at is refused in one sentence, until it is done',
  async (chromium) => {
    await withPage(chromium, async (page) => {
      // Another tab, as far as locks can tell: it holds the model's.
      await page.evaluate(() => {
        void navigator.locks.request(
          'higgs model books-llama-4bit',
          () => new Promise((end) => Object.assign(globalThis, { end })),
        );
      });
      await click(page, '#demo');
      await page.waitForSelector('#shrink');
      await click(page, '#shrink');
      await page.waitForSelector('.failure');
      assert.is(
        await textOf(page, '.failure'),
        'books-llama-4bit is being written in another tab: stop it there, or wait until it is done',
      );
      await page.evaluate('end()');
      await clickButton(page, 'Continue');
      await spoken(page);
    });
  },
);

testWith(
  test,
  'chromium',
  'beside the page of a package lies the demo at 4 bits: one click leads to a sentence',
  async (chromium) => {
    const folder = join(scratch, 'package');
    cpSync(BUILT, folder, {
      recursive: true,
      filter: (path) => !path.startsWith(join(BUILT, 'demo/')) && path !== join(BUILT, 'demo'),
    });
    await withPage(
      chromium,
      async (page) => {
        await page.waitForFunction(() => /2\.7 MB/.test(document.querySelector('.start')?.textContent ?? ''));
        await click(page, '#demo');
        await spoken(page);
        assert.match(await textOf(page, '.said'), /^PATIENCE, n\. .*\w{3}/);
      },
      folder,
    );
  },
);

testWith(test, 'chromium', 'the page’s policy holds in its workers, too', async (chromium) => {
  await withPage(chromium, async (page) => {
    const [loaded, engine] = await page.evaluate(async () => [
      document.querySelector('meta[http-equiv]')!.getAttribute('content'),
      (await fetch('engine.js')).headers.get('content-security-policy'),
    ]);
    assert.ok(loaded);
    assert.is(engine, loaded);
  });
});

test.run();
