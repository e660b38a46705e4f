// A short soak over real sockets: whoever reads, reads slowly, leaves or sends too much, each is given what it is given alone. bench/soak.ts is
// the long one, by hand, and looks at memory.

import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createServer } from '../src/server/server.ts';
import { askAlone, gather } from './crowd.ts';
import { servedModel } from './served.ts';

test('64 clients for three seconds: no error but 429, and the bits of those alone', async () => {
  const model = await servedModel({ context: 256, cacheTokens: 4096 });
  const server = createServer({ models: { tiny: model }, parallel: 4, queue: 8 });
  const http = createAdaptorServer({ fetch: (request, env) => server.fetch(request, env) });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const address = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  try {
    const reference = await askAlone(address, 24);
    const crowd = await gather(address, reference, { clients: 64, seconds: 3 });
    assert.equal(crowd.faults, []);
    for (const ends of ['whole', 'left', 'refused'] as const) assert.ok(crowd[ends] > 0, ends);
    for (let i = 0; i < 3000 && server.state.active > 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(server.state, { active: 0, waiting: 0, loaded: ['tiny'] });
    assert.equal(await askAlone(address, 24), reference);
  } finally {
    (http as { closeAllConnections?: () => void }).closeAllConnections?.();
    http.close();
    await model.close();
  }
});

test.run();
