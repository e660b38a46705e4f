// Chromium and Firefox: headless, driven by puppeteer-core, over the DevTools protocol and WebDriver BiDi.

import puppeteer, { type LaunchOptions } from 'puppeteer-core';
import { find, LIMIT_MS, type Runtime, versionIn } from './runtime.ts';
import { servePage } from './server.ts';

function browserRuntime(name: string, programs: string[], options: LaunchOptions, install: string): Runtime {
  return {
    name,
    install,
    program: find(...programs),
    run: async (executablePath, signal) => {
      const browser = await puppeteer.launch({ ...options, executablePath, headless: true, protocolTimeout: LIMIT_MS });
      try {
        const page = await browser.newPage();
        const visit = async (url: string) => {
          await page.goto(url, { timeout: 0, waitUntil: 'domcontentloaded' });
        };
        return { outcome: await servePage(visit, signal), version: versionIn(await browser.version()) };
      } finally {
        await browser.close();
      }
    },
  };
}

// From --disable-quic on: no talk to servers of its makers.
const chromiumFlags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export const browsers: Runtime[] = [
  browserRuntime(
    'Chromium',
    ['chromium', 'chromium-browser', 'google-chrome'],
    { browser: 'chrome', args: chromiumFlags },
    'apt-get install --no-install-recommends chromium',
  ),
  browserRuntime(
    'Firefox',
    ['firefox-esr', 'firefox'],
    { browser: 'firefox' },
    'apt-get install --no-install-recommends firefox-esr',
  ),
];
