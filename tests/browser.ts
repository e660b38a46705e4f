// One page of a Chromium without a window.

import type { Page } from 'puppeteer-core';

/** Opens a page; what it throws or logs as an error is kept in `errors`. */
export async function openPage(
  executablePath: string,
): Promise<{ page: Page; errors: string[]; close(): Promise<void> }> {
  const name = 'puppeteer-core'; // not known to the bundler, which would take it in
  const { launch } = (await import(name)) as typeof import('puppeteer-core');
  const browser = await launch({
    executablePath,
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
      ...['--disable-background-networking', '--disable-component-update'],
    ],
  });
  const page = await browser.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  return { page, errors, close: () => browser.close() };
}
