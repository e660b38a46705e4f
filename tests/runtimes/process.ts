// Node, Deno and Bun: a process that imports the bundle and prints the outcome as one line.

import { execFile } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { relaxedFlag } from '../../src/cli/common/relaxed.ts';
import { BUNDLES, find, type Runtime, versionIn } from './runtime.ts';

const execute = promisify(execFile);
const bundle = pathToFileURL(`${BUNDLES}/portable.js`).href;
const code = `import { outcome } from '${bundle}'; console.log(JSON.stringify(await outcome()));`;

function processRuntime(name: string, program: string | undefined, args: string[], install: string): Runtime {
  return {
    name,
    install,
    program,
    run: async (path, signal) => {
      const { stdout: version } = await execute(path, ['--version'], { signal });
      const env = { ...process.env, DENO_NO_UPDATE_CHECK: '1' };
      const { stdout } = await execute(path, [...args, code], { signal, env, maxBuffer: 2 ** 26 });
      return { version: versionIn(version), outcome: JSON.parse(stdout) };
    },
  };
}

const moduleOfNode = ['--input-type=module', '--eval'];
// The command line sets it; a library's user may.
const flag = relaxedFlag(process.versions.v8, process.arch);
const newest = find('tests/runtimes/newest-node/node_modules/.bin/node');

export const processes: Runtime[] = [
  processRuntime('Node', process.execPath, moduleOfNode, ''),
  ...(flag ? [processRuntime('Node-relaxed', process.execPath, [flag, ...moduleOfNode], '')] : []),
  processRuntime('Node-newest', newest, moduleOfNode, 'npm install --prefix tests/runtimes/newest-node'),
  processRuntime('Deno', find('node_modules/.bin/deno'), ['eval'], 'npm ci'),
  processRuntime('Bun', find('node_modules/.bin/bun'), ['--eval'], 'npm ci'),
];
