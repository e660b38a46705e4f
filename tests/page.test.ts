// The page in a Chromium, as a person uses it: from a plain static server, without any header of its own.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Page } from 'puppeteer-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openPage } from './browser.ts';
import { commitNamed, startHub } from './hub-server.ts';
import { testWith } from './installed.ts';
import {
  BUILT,
  click,
  clickButton,
  downloaded,
  drop,
  FILES,
  MODEL,
  pick,
  reload,
  spoken,
  textOf,
  withPage,
} from './page-driver.ts';
import { servedFiles } from './served.ts';
import { serveFolder } from './static.ts';

const test = suite('page');
const scratch = mkdtempSync(join(tmpdir(), 'higgs-page-'));
test.after(() => rmSync(scratch, { recursive: true, force: true }));

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test('the page is small: what paints first, and all of it without the library', () => {
  const bytesOf = (names: readonly string[]) =>
    names.reduce((sum, name) => sum + gzipSync(readFileSync(join(BUILT, name)), { level: 9 }).length, 0);
  const names = readdirSync(BUILT).filter((name) => /\.(js|css|html|svg|webmanifest)$/.test(name));
  const imported = (name: string): string[] =>
    [...readFileSync(join(BUILT, name), 'utf8').matchAll(/(?:from|import)\s*"\.\/([\w-]+\.js)"/g)].map(
      ([, other]) => other,
    );
  const closure = (name: string, visited = new Set<string>()): Set<string> => {
    if (!visited.has(name)) {
      visited.add(name);
      for (const other of imported(name)) closure(other, visited);
    }
    return visited;
  };
  const page = closure('page.js');
  const actions = names.filter((name) => name.startsWith('actions-')).flatMap((name) => [...closure(name)]);
  // What reads Markdown, 16 kB, comes with the first answer.
  const markdown = names.filter((name) => name.startsWith('markdown-'));
  const allowed = [
    ...new Set([...page, ...actions, ...markdown]),
    'page.css',
    'index.html',
    'sw.js',
    'icon.svg',
    'manifest.webmanifest',
  ];
  assert.ok(bytesOf([...page, 'page.css', 'index.html']) <= 46_500, `${bytesOf([...page])} bytes paint first`);
  assert.ok(bytesOf(allowed) <= 69_000, `${bytesOf(allowed)} bytes are the page`);
  // The core of the library in its worker, which has the kernels that quantize; what runs models comes when it is needed.
  // 1.7 kB of it tell which other program has quantized a checkpoint, 4 kB are parts of several machines, 1.3 kB refining by labels,
  // 2.2 kB products of integers for error feedback and two rows of a factorisation, as base64, 0.2 kB reading weights to where they stay, 0.4 kB workers that
  // the page starts, 0.4 kB rows that threads take in parts.
  assert.ok(
    bytesOf([...closure('engine.js')]) <= 155_000,
    `${bytesOf([...closure('engine.js')])} bytes are the engine`,
  );
  assert.not.match(readFileSync(join(BUILT, 'index.html'), 'utf8'), /<script(?![^>]*src=)|<style|style=/);
});

testWith(test, 'chromium', 'two clicks lead from nothing to a sentence of the demo model', async (chromium) => {
  await withPage(chromium, async (page) => {
    await click(page, '#demo');
    await page.waitForSelector('#shrink');
    await click(page, '#shrink');
    await spoken(page);
    assert.is(await page.evaluate('crossOriginIsolated'), true); // by the service worker
    assert.match(await textOf(page, '.said'), /^PATIENCE, n\. .*\w{3}/);
  });
});

testWith(
  test,
  'chromium',
  'files become what the command shown writes; the result is kept over a reload, and talks',
  async (chromium) => {
    await withPage(chromium, async (page, { downloads }) => {
      await pick(page, '#files', ...FILES.map((name) => join(MODEL, name)));
      await page.waitForSelector('#shrink');
      await page.focus('#bits');
      for (const key of ['ArrowLeft', 'ArrowLeft'] as const) await page.keyboard.press(key);
      await page.waitForFunction(() =>
        /--bpw 3\.5625/.test(document.querySelector('.command code')?.textContent ?? ''),
      );
      const line = await textOf(page, '.command code');
      await click(page, '#shrink');
      await spoken(page);
      assert.match(page.url(), /\?bits=3\.5$/);

      const output = join(scratch, 'command');
      const args = line.split(' ').slice(1);
      execFileSync(process.execPath, [
        resolve('build/higgs.js'),
        ...args.map((word, i) => (i === 1 ? MODEL : args[i - 1] === '-o' ? output : word)),
      ]);
      const wanted = FILES.map((name) => readFileSync(join(output, name)));

      await clickButton(page, 'Save it, and see the report');
      await page.waitForSelector('#zip');
      await click(page, '#zip');
      const zip = await downloaded(downloads, /\.zip$/);
      assert.is(zip.readUInt16LE(12), (1 << 5) | 1, 'the first of January 1980, the earliest date of a zip');
      for (const [i, bytes] of wanted.entries()) assert.ok(zip.includes(bytes), FILES[i]);
      await clickButton(page, 'File by file');
      await clickButton(page, 'model.safetensors');
      assert.is(sha256(await downloaded(downloads, /\.safetensors$/)), sha256(wanted[0]));

      await pick(page, '#text', join(MODEL, 'test.txt'));
      await page.waitForSelector('#perplexity');
      assert.match(await textOf(page, 'section[aria-label="Perplexity"]'), /KL divergence 0\.0\d+ nats/);

      await reload(page);
      await page.waitForSelector('.kept');
      assert.match(await textOf(page, '.kept'), /3\.5bit.*2\.\d+ MB.*Talk.*Delete/);
      await clickButton(page, 'Talk', '.kept');
      await spoken(page);
      await clickButton(page, 'Model');
      await clickButton(page, 'Delete', '.kept');
      await page.waitForFunction(() => !document.querySelector('.kept'));
    });
  },
);

testWith(
  test,
  'chromium',
  'results of one name stand beside each other; links say how words are chosen',
  async (chromium) => {
    await withPage(chromium, async (page) => {
      await page.goto(`${new URL(page.url()).origin}/?temperature=0&maxTokens=8&sampleSeed=3&topK=none`);
      const thinks = '{% for message in messages %}{{ message.content }}{% endfor %}<think>';
      for (const seed of [1, 2]) {
        await page.waitForSelector('.drop');
        await drop(page, servedFiles({ seed, template: thinks }));
        await page.waitForSelector('#shrink');
        await click(page, '#shrink');
        await spoken(page);
        assert.match(await textOf(page, '.figures-line'), /^[1-8] tokens?/);
        assert.is(await textOf(page, '.said'), await textOf(page, '.said .thought')); // it has not ended its thought
        assert.match(page.url(), /\?temperature=0&sampleSeed=3&maxTokens=8$/);
        await clickButton(page, 'Model');
      }
      const names = await page.$$eval('.kept .link', (links) => links.map((link) => link.textContent));
      assert.equal(names, ['model-4bit', 'model-4bit-2']);
    });
  },
);

testWith(test, 'chromium', 'a run that the tab’s end interrupts is resumed, with the same bytes', async (chromium) => {
  const repo = Object.fromEntries(FILES.map((name) => [name, new Uint8Array(readFileSync(join(MODEL, name)))]));
  const commit = commitNamed('page');
  const hub = await startHub({ 'org/books': { commits: { [commit]: repo }, refs: { main: commit } } });
  try {
    await withPage(chromium, async (page) => {
      let isSlow = true;
      // What lies behind the first half of the weights does not come.
      hub.fault = ({ range }) => {
        const start = Number(/^bytes=(\d+)-/.exec(range ?? '')?.[1] ?? 0);
        return isSlow && start > repo['model.safetensors'].length / 2 ? { wait: 60_000 } : undefined;
      };
      await page.type('#name', `${hub.endpoint}/org/books`);
      await clickButton(page, 'Open');
      await page.waitForSelector('#shrink');
      await click(page, '#shrink');
      await page.waitForFunction(() => document.querySelectorAll('.cell.done').length >= 5);
      const { origin } = new URL(page.url());
      await page.goto('about:blank'); // as a crash: nobody is told
      isSlow = false;
      await page.goto(origin);
      await page.waitForSelector('.kept');
      assert.match(await textOf(page, '.kept'), /unfinished.*Resume.*Delete/);
      const before = hub.asked.length;
      await clickButton(page, 'Resume', '.kept');
      await spoken(page);
      const read = hub.asked.slice(before).filter(({ range }) => /^bytes=[1-9]\d{5,}-/.test(range ?? ''));
      assert.ok(read.length > 0);
      const bytes = await page.evaluate(async () => {
        const root = await navigator.storage.getDirectory();
        const models = await root.getDirectoryHandle('models');
        const directory = await models.getDirectoryHandle('books-4bit');
        const file = await (await directory.getFileHandle('model.safetensors')).getFile();
        const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer()));
        return [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('');
      });
      const output = join(scratch, 'whole');
      const args = ['quantize', MODEL, '-o', output, '--bits', '4', '--embeddings', 't4'];
      execFileSync(process.execPath, [resolve('build/higgs.js'), ...args]);
      assert.is(bytes, sha256(readFileSync(join(output, 'model.safetensors'))));
    });
  } finally {
    await hub.close();
  }
});

testWith(test, 'chromium', 'the page works without a network after the first visit', async (chromium) => {
  await withPage(chromium, async (page, { closeServer }) => {
    await click(page, '#demo');
    await page.waitForSelector('#shrink');
    await page.waitForFunction(async () => {
      const names = await caches.keys();
      const kept = await Promise.all(names.map(async (name) => (await caches.open(name)).keys()));
      return kept.flat().filter(({ url }) => url.includes('/demo/')).length === 5;
    });
    await closeServer();
    await reload(page);
    await page.waitForSelector('#shrink'); // the address has the model
    await click(page, '#shrink');
    await spoken(page);
  });
});

/** Opens all that is folded. */
async function unfold(page: Page): Promise<void> {
  await page.$$eval('summary', (summaries) => {
    for (const summary of summaries) summary.click();
  });
}

testWith(test, 'chromium', 'a part of the page that cannot be loaded is told', async (chromium) => {
  const folder = join(scratch, 'page');
  cpSync(BUILT, folder, { recursive: true, filter: (path) => !/actions-|sw\.js/.test(path) });
  const served = await serveFolder(folder);
  const { page, errors, close } = await openPage(chromium);
  try {
    await page.goto(`${served.base}/`);
    await page.waitForSelector('.failure');
    assert.is(await textOf(page, '.failure'), 'A part of the page could not be loaded. Load the page again.');
    assert.equal(errors, []);
  } finally {
    await close();
    await served.close();
  }
});

// Six states at two widths, in build/screenshots; each without a violation of accessibility, and no wider than the screen.
for (const width of [1280, 390]) {
  testWith(test, 'chromium', `six states are accessible and fit ${width} pixels`, async (chromium) => {
    await withPage(chromium, async (page) => {
      await page.setViewport({ width, height: 800, deviceScaleFactor: 1, isMobile: width < 600 });
      await reload(page);
      await page.waitForSelector('#demo');
      await page.evaluate(readFileSync('node_modules/axe-core/axe.min.js', 'utf8'));
      await look(page, width, '1-model');
      await click(page, '#demo');
      await page.waitForFunction(() => /tokens\/s/.test(document.querySelector('.figures')?.textContent ?? ''));
      await unfold(page);
      await look(page, width, '2-size');
      await click(page, '#shrink');
      await spoken(page);
      await clickButton(page, 'Shrink');
      await look(page, width, '3-shrink');
      await clickButton(page, 'Talk');
      await look(page, width, '4-talk');
      await page.select('#beside', 'original');
      await page.waitForFunction(
        () =>
          document.querySelectorAll('.side').length === 2 &&
          !document.querySelector('[aria-busy="true"]') &&
          /nats/.test(document.querySelector('#kinship')?.textContent ?? '') &&
          document.querySelector('#say'),
      );
      await look(page, width, '5-beside');
      await clickButton(page, 'Keep');
      await unfold(page);
      await look(page, width, '6-keep');
    });
  });
}

test.run();

async function look(page: Page, width: number, name: string): Promise<void> {
  mkdirSync('build/screenshots', { recursive: true });
  await page.screenshot({ path: `build/screenshots/${width}-${name}.png`, fullPage: true });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.is(wide, 0, `${name} is ${wide} pixels too wide`);
  const actual = (await page.evaluate(
    `axe.run(document, { rules: { 'color-contrast': { enabled: true } } }).then(({ violations }) =>
      violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).join(' ')))`,
  )) as string[];
  assert.equal(actual, [], name);
}
