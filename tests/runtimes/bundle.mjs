// Bundles the portable tests: one file for browsers, one for workerd, one with the server for processes, what browsers run in a worker
// besides, what starts that one's workers, and run.ts, which drives them.

import { basename, resolve } from 'node:path';
import { build } from 'esbuild';

const outdir = 'build/tests/runtimes';

/** `uvu` is the shim that collects; `uvu/assert` is uvu's. @type {import('esbuild').Plugin} */
const collectingUvu = {
  name: 'collecting uvu',
  setup: ({ onResolve }) => {
    onResolve({ filter: /^uvu$/ }, () => ({ path: resolve('tests/runtimes/uvu.ts') }));
  },
};

/**
 * `*.wasm` is a module that the host compiled; tests get its bytes and compiled.ts joins the two.
 * @type {import('esbuild').Plugin}
 */
const hostCompiled = {
  name: 'modules compiled by the host',
  setup: ({ onLoad, onResolve }) => {
    // The bundle for edge workers has no build with relaxed SIMD (esbuild.mjs).
    onResolve({ filter: /decoder\.relaxed\.wasm$/ }, () => ({ path: 'none', namespace: 'none' }));
    onLoad({ filter: /.*/, namespace: 'none' }, () => ({ contents: 'export default new Uint8Array();' }));
    onResolve({ filter: /\.wasm$/ }, ({ path, importer, namespace, resolveDir }) => {
      if (namespace === 'joined') return path.startsWith('./') ? { path, external: true } : { path };
      if (importer.startsWith(resolve('src'))) return { path: `./${basename(path)}`, external: true };
      return { path: resolve(resolveDir, path), namespace: 'joined' };
    });
    onLoad({ filter: /.*/, namespace: 'joined' }, ({ path }) => ({
      contents: `
        import { compiled } from ${JSON.stringify(resolve('tests/runtimes/compiled.ts'))};
        import bytes from ${JSON.stringify(path)};
        import module from './${basename(path)}';
        export default compiled(bytes, module);`,
      resolveDir: resolve('.'),
    }));
  },
};

/** @param {import('esbuild').BuildOptions} shared */
export async function bundleRuntimes(shared) {
  await build({ ...shared, entryPoints: { run: 'tests/runtimes/run.ts' }, outdir, platform: 'node' });
  // The tests are imported for what they do, which package.json's `sideEffects` denies.
  const portable = {
    ...shared,
    external: [],
    ignoreAnnotations: true,
    outdir,
    platform: 'neutral',
    mainFields: ['module', 'main'],
  };
  await build({
    ...portable,
    entryPoints: { portable: 'tests/runtimes/portable.ts' },
    plugins: [collectingUvu, ...shared.plugins],
  });
  await build({
    ...portable,
    external: ['node:*', '@hono/node-server'],
    entryPoints: { serving: 'tests/runtimes/serving.ts' },
    plugins: [collectingUvu, ...shared.plugins],
  });
  await build({
    ...portable,
    entryPoints: { files: 'tests/runtimes/files.ts', workers: 'web/engine/workers.ts' },
    plugins: [collectingUvu, ...shared.plugins],
  });
  await build({
    ...portable,
    entryPoints: { 'portable.workerd': 'tests/runtimes/portable.ts' },
    plugins: [collectingUvu, hostCompiled, ...shared.plugins],
  });
}
