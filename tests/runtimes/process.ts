// Node, Deno and Bun: a process that imports the bundle and prints the outcome as one line.

import { execFile, execFileSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { engineFlag } from '../../src/cli/common/engine.ts';
import { BUNDLES, find, type Runtime, versionIn } from './runtime.ts';

const execute = promisify(execFile);
const bundle = pathToFileURL(`${BUNDLES}/serving.js`).href;
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
const newest = find('tests/runtimes/newest-node/node_modules/.bin/node');
const flagOf = (program: string | undefined): string | undefined =>
  program && engineFlag(execFileSync(program, ['-p', 'process.versions.v8'], { encoding: 'utf8' }), process.arch);
const flagged = (name: string, program: string | undefined): Runtime[] => {
  const flag = flagOf(program);
  return flag ? [processRuntime(`${name}-flag`, program, [flag, ...moduleOfNode], '')] : [];
};

export const processes: Runtime[] = [
  processRuntime('Node', process.execPath, moduleOfNode, ''),
  ...flagged('Node', process.execPath),
  processRuntime('Node-newest', newest, moduleOfNode, 'npm install --prefix tests/runtimes/newest-node'),
  ...flagged('Node-newest', newest),
  processRuntime('Deno', find('node_modules/.bin/deno'), ['eval'], 'npm ci'),
  processRuntime('Bun', find('node_modules/.bin/bun'), ['--eval'], 'npm ci'),
];
