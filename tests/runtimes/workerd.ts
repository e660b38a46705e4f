// workerd: a worker that answers a request with the outcome. The modules are listed in a configuration file, the kernels
// as modules that workerd compiles.

import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { serveWorkerd } from '../workerd.ts';
import type { Outcome } from './portable.ts';
import { BUNDLES, find, type Runtime, versionIn } from './runtime.ts';

const main = `import { outcome } from 'portable.js';
export default { fetch: async () => Response.json(await outcome()) };
`;

const config = `using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "tests", worker = .tests)],
  sockets = [(name = "http", http = (), service = "tests")],
);

const tests :Workerd.Worker = (
  modules = [
    (name = "main.js", esModule = embed "main.workerd.js"),
    (name = "portable.js", esModule = embed "portable.workerd.js"),
    (name = "higgs.wasm", wasm = embed "../../higgs.wasm"),
    (name = "higgs.debug.wasm", wasm = embed "../../higgs.debug.wasm"),
    (name = "decoder.wasm", wasm = embed "../../decoder.wasm"),
    (name = "decoder.debug.wasm", wasm = embed "../../decoder.debug.wasm"),
  ],
  compatibilityDate = "2026-11-01",
);
`;

export const workerd: Runtime = {
  name: 'workerd',
  install: 'npm ci',
  program: find('node_modules/.bin/workerd'),
  run: async (program, signal) => {
    const version = versionIn(execFileSync(program, ['--version'], { encoding: 'utf8' }));
    writeFileSync(`${BUNDLES}/main.workerd.js`, main);
    writeFileSync(`${BUNDLES}/workerd.capnp`, config);
    const { base, close } = await serveWorkerd(program, `${BUNDLES}/workerd.capnp`);
    try {
      const response = await fetch(base, { signal });
      if (!response.ok) throw new Error(`workerd answered ${response.status}`);
      return { version, outcome: (await response.json()) as Outcome };
    } finally {
      await close();
    }
  },
};
