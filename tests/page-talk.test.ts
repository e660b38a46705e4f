// Talking to a model in the page: conversations, answers had again or otherwise, links and files of them.

import { readdirSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { testWith } from './installed.ts';
import { BUILT, click, clickButton, downloaded, drop, spoken, textOf, withPage } from './page-driver.ts';
import { PLAIN, servedFiles } from './served.ts';

/** An element of Preact. */
interface Element {
  type: string | ((props: object) => unknown);
  props: Record<string, unknown>;
}

/** A model whose answers do not end by themselves: no token is said to be the last. */
const endless = () => ({
  ...servedFiles({ context: 4096 }),
  'tokenizer_config.json': new TextEncoder().encode(JSON.stringify({ chat_template: PLAIN })),
});

const test = suite('talking in the page');

testWith(test, 'chromium', 'a model that is dropped holds a conversation by its template', async (chromium) => {
  await withPage(chromium, async (page) => {
    await drop(page, servedFiles());
    await page.waitForSelector('#shrink');
    await click(page, '#shrink');
    await spoken(page);
    const turns = () => page.$$eval('.turns li', (items) => items.map((item) => item.className));
    assert.equal(await turns(), ['user']);
    await page.type('#prompt', 'And then?');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelectorAll('.turns li').length === 3);
    await spoken(page);
    assert.equal(await turns(), ['user', 'assistant', 'user']);
    assert.is(await textOf(page, '.turns li:last-child'), 'And then?');
  });
});

testWith(
  test,
  'chromium',
  'an answer is had again, its question changed, and the conversation saved; what was stopped stays',
  async (chromium) => {
    await withPage(chromium, async (page, { base, downloads }) => {
      await page.goto(`${base}/?maxTokens=8`);
      await page.waitForSelector('.drop');
      await drop(page, endless());
      await page.waitForSelector('#shrink');
      await click(page, '#shrink');
      await spoken(page);
      const first = await textOf(page, '.turns li');

      await click(page, 'summary');
      await page.type('#instructions', 'Be short.');
      await clickButton(page, 'Try again');
      await page.waitForFunction(() => location.search.includes('sampleSeed=10'));
      await spoken(page);
      assert.equal(await page.$$eval('.turns li', (items) => items.length), 1);
      assert.is(await textOf(page, '.turns li'), first);

      await clickButton(page, 'Edit the question');
      assert.is(await page.$eval('#prompt', (area) => (area as HTMLTextAreaElement).value), first);
      assert.is(await page.$('.turns li'), null);
      await page.keyboard.press('End');
      await page.type('#prompt', ' Again?');
      await clickButton(page, 'Send');
      await page.waitForFunction(() => /Again\?/.test(document.querySelector('.turns')?.textContent ?? ''));
      await spoken(page);
      await clickButton(page, 'Save the text');
      const saved = (await downloaded(downloads, /\.md$/)).toString();
      assert.match(
        saved,
        /^# model-4bit\n\ntemperature 0\.8, top p 0\.95, top k 0, seed 10\n\n\*\*You\*\*\n\n.* Again\?\n\n\*\*Model\*\*\n/,
      );

      await page.$$eval('.fields label', (labels) => {
        const most = labels.find((label) => label.textContent === 'Most tokens')!.querySelector('input')!;
        most.value = '3000';
        most.dispatchEvent(new Event('change'));
      });
      await page.type('#prompt', 'Go on.');
      await page.keyboard.press('Enter');
      await page.waitForFunction(() => document.querySelectorAll('.turns li').length === 3);
      await page.waitForFunction(() =>
        /^[1-9]\d* tokens?$/.test(document.querySelector('.figures-line')?.textContent ?? ''),
      );
      await page.keyboard.press('Escape');
      await page.waitForSelector('#say');
      assert.is(await page.$('.failure'), null);
      await page.type('#prompt', 'And then?');
      await page.keyboard.press('Enter');
      await page.waitForFunction(() => document.querySelectorAll('.turns li').length === 5);
      const roles = await page.$$eval('.turns li', (items) => items.map((item) => item.className));
      assert.equal(roles, ['user', 'assistant', 'user', 'assistant', 'user']);
      await page.keyboard.press('Escape');
      await page.waitForSelector('#say');
    });
  },
);

testWith(
  test,
  'chromium',
  'who is at the end of the page stays there as an answer grows, and to begin anew ends the answer',
  async (chromium) => {
    await withPage(chromium, async (page, { base }) => {
      await page.setViewport({ width: 400, height: 500 });
      await page.goto(`${base}/?maxTokens=4000`);
      await page.waitForSelector('.drop');
      await drop(page, endless());
      await page.waitForSelector('#shrink');
      await click(page, '#shrink');
      await page.waitForSelector('#prompt');
      const before = await page.evaluate(() => {
        const { documentElement } = document;
        scrollTo({ top: documentElement.scrollHeight });
        return documentElement.scrollHeight;
      });
      await page.waitForFunction((height) => document.documentElement.scrollHeight > height + 500, {}, before);
      await page.waitForFunction(() => innerHeight + scrollY > document.documentElement.scrollHeight - 80);
      await click(page, 'summary');
      await clickButton(page, 'Begin the conversation anew');
      await page.waitForSelector('#say');
      assert.is(await textOf(page, '.said'), '');
      assert.is(await page.$('.turns li'), null);
    });
  },
);

testWith(test, 'chromium', 'a link has the question, and opens with threads on a first visit', async (chromium) => {
  await withPage(chromium, async (page, { base }) => {
    // As a first visit: no service worker, and nothing in its cache.
    await page.evaluate(async () => {
      for (const each of await navigator.serviceWorker.getRegistrations()) await each.unregister();
      for (const name of await caches.keys()) await caches.delete(name);
    });
    await page.goto(`${base}/?model=demo&bits=3&temperature=0&maxTokens=8&prompt=LOVE%2C+n.&keep=${'a'.repeat(201)}`);
    await page.waitForSelector('#shrink');
    assert.is(await page.evaluate('crossOriginIsolated'), true);
    assert.not.match(page.url(), /keep=/);
    await click(page, '#shrink');
    await spoken(page);
    assert.match(await textOf(page, '.said'), /^LOVE, n\. /);
    await page.evaluate(() => {
      navigator.clipboard.writeText = async (text) => {
        document.title = text;
      };
    });
    await clickButton(page, 'Copy a link');
    await page.waitForFunction(() => document.title.startsWith('http'));
    const wanted = `${base}/?model=demo&bits=3&temperature=0&maxTokens=8&prompt=LOVE%2C+n.`;
    assert.is(await page.title(), wanted);
    assert.is(page.url(), wanted.replace(/&prompt.*/, ''), 'the address has no words of a person');
  });
});

testWith(test, 'chromium', 'Markdown is shown as elements, and no HTML of a model’s becomes any', async (chromium) => {
  await withPage(chromium, async (page) => {
    const name = readdirSync(BUILT).find((file) => /^markdown-.*\.js$/.test(file))!;
    const shown = (text: string) =>
      page.evaluate(
        async (path, text) => {
          const { default: Markdown } = await import(path);
          // Elements as text: what a component makes, and names and attributes of what it is made of.
          const write = (node: unknown): string => {
            if (node === null || node === undefined || typeof node !== 'object') return String(node ?? '');
            if (Array.isArray(node)) return node.map(write).join('');
            const { type, props } = node as Element;
            if (typeof type === 'function') return write(type(props));
            const { children, ...rest } = props;
            return `<${[type, ...Object.entries(rest).map(([key, value]) => `${key}=${value}`)].join(' ')}>${write(children)}</${type}>`;
          };
          return write(Markdown({ text }));
        },
        `./${name}`,
        text,
      );
    assert.is(
      await shown('# One\n\n**two** `<b>`\nthree'),
      '<p class=heading>One</p><p><strong>two</strong> <code><b></code><br></br>three</p>',
    );
    assert.is(await shown('3. a\n4. b'), '<ol start=3><li>a</li><li>b</li></ol>');
    assert.is(await shown('```js\nlet a'), '<pre tabIndex=0><code>let a</code></pre>', 'a fence that is still open');
    assert.match(await shown('|a|b|\n|-|-|\n|1|*2*|'), /<th>a<\/th>.*<td>1<\/td><td><em>2<\/em><\/td>/);
    assert.is(
      await shown('[x](https://example.org/)'),
      '<p><a href=https://example.org/ target=_blank rel=noopener noreferrer>x</a></p>',
    );
    assert.is(await shown('[x](javascript:alert(1)) [y](data:text/html,1)'), '<p>x y</p>');
    assert.not.match(await shown('![x](https://example.org/a.png)'), /<img/);
    // Tags are texts of the tree, which Preact escapes: none is the type of an element.
    assert.is(await shown('<img src=x onerror=alert(1)>'), '<img src=x onerror=alert(1)>');
    assert.is(typeof (await shown(`${'> '.repeat(2000)}x`)), 'string', 'depth has a limit');
  });
});

test.run();
