// The example for Slurm, run by Slurm's own daemons on this machine; the one for Kubernetes, checked against the schema of its API and run as a
// pod of an indexed job would (Node and what follows it only).

import { execFile } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { cp, mkdir, rm } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type IJob, Job } from 'kubernetes-models/batch/v1';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseAllDocuments } from 'yaml';
import { safetensors, type Tensor } from './checkpoints.ts';
import { type Slurm, startSlurm } from './cluster/slurm.ts';
import { CLI, execute, folder, hashes, higgs, output, root, smallFiles, succeeds, temporaryRoot } from './command.ts';
import { testWith } from './installed.ts';

temporaryRoot();

const SCRIPT = resolve('examples/cluster/slurm.sh');
const MANIFEST = 'examples/cluster/kubernetes.yaml';

// --- Slurm: 226 MB of bf16, in grids of which one takes seventeen times as long as another

const TENSORS = 27;
const OPTIONS = ['--bpw', '3.7', '--uniform', '--grids', 'p2n64,t4z', '--max-shard-size', '20MB', '--workers', '1'];
/** Seconds that a job may take before the test fails. */
const JOB_SECONDS = 400;

async function largeInput(): Promise<string> {
  const tensors = Array.from({ length: TENSORS }, (_, i): [string, Tensor] => {
    const words = new Uint32Array(2 << 20);
    let state = i + 1;
    for (let k = 0; k < words.length; k++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      words[k] = (state & 0x80ff80ff) | 0x3c003c00; // two bf16 of either sign and from 2^-7 to 2^-5
    }
    return [
      `model.layers.${i}.mlp.up_proj.weight`,
      { dtype: 'BF16', shape: [2048, 2048], bytes: new Uint8Array(words.buffer) },
    ];
  });
  return folder({ ...smallFiles(), 'model.safetensors': safetensors(Object.fromEntries(tensors)) });
}

/** Submits the example. @returns the numbers of the array and of the job that merges */
async function submit(
  slurm: Slurm,
  input: string,
  out: string,
  parts: number,
): Promise<[array: string, merge: string]> {
  const said = await slurm.run(SCRIPT, 'quantize', input, out, String(parts), ...OPTIONS);
  const [, array, merge] = /job (\d+), merge: job (\d+)/.exec(said) ?? [];
  return [array, merge];
}

async function jobState(slurm: Slurm, job: string): Promise<string> {
  return /JobState=(\w+)/.exec(await slurm.run('scontrol', 'show', 'job', job))?.[1] ?? '';
}

async function waitFor(label: string, is: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await is()); tries++) {
    if (tries > JOB_SECONDS * 5) throw new Error(`${label} must happen within ${JOB_SECONDS} s`);
    await sleep(200);
  }
}

async function merged(slurm: Slurm, out: string, merge: string): Promise<void> {
  await waitFor('the end of the merge job', async () =>
    /COMPLETED|FAILED|CANCELLED/.test(await jobState(slurm, merge)),
  );
  const logs = () => readdirSync(root).filter((name) => name.endsWith('.log'));
  const state = async () =>
    (await slurm.run('scontrol', 'show', 'jobs', '--oneliner')).replace(
      / (?!JobId|ArrayTask|JobState|Reason|Dependency|ExitCode|Restarts)\S+/g,
      '',
    ) +
    logs()
      .map((name) => `${name}: ${readFileSync(join(root, name), 'utf8').slice(-500)}`)
      .join('\n');
  assert.is(await jobState(slurm, merge), 'COMPLETED', await state());
  assert.ok(existsSync(out), await state());
}

/** Whether a task has written some of its part, and not all. */
function isUnderWay(out: string, part: number): boolean {
  if (!existsSync(`${out}.parts`)) return false;
  const attempt = readdirSync(`${out}.parts`).find((name) => name.startsWith(`part-${part}-of-`));
  const journal = attempt && join(`${out}.parts`, attempt, 'higgs.journal');
  return Boolean(journal && existsSync(journal) && statSync(journal).size > 400);
}

testWith(
  test,
  'sbatch',
  'arrays of 1, 3 and 8 tasks write the bytes of one run, also when one is killed and requeued, and one runs twice',
  async () => {
    const input = await largeInput();
    const local = output();
    await succeeds(higgs('quantize', input, '-o', local, ...OPTIONS));
    const expected = await hashes(local);
    const slurm = await startSlurm();
    try {
      Object.assign(slurm.env, { HIGGS: join(await commandFolder(), 'higgs') });
      for (const parts of [3, 1, 8]) {
        const out = output();
        const [array, merge] = await submit(slurm, input, out, parts);
        if (parts === 3) {
          const task = [SCRIPT, 'part', 'quantize', input, out, '3', ...OPTIONS];
          await waitFor('a task under way', () => isUnderWay(out, 1));
          await slurm.run('scancel', '--signal=KILL', '--batch', `${array}_1`);
          await slurm.run('sbatch', '--array=3', `--output=${root}/twice.log`, ...task);
          await waitFor(
            'the end of the killed task',
            async () => !/RUNNING|COMPLETING/.test(await jobState(slurm, `${array}_1`)),
          );
          await slurm.run('scontrol', 'requeue', `${array}_1`);
        }
        await merged(slurm, out, merge);
        assert.equal(await hashes(out), expected, `${parts} tasks`);
        await rm(out, { recursive: true });
        await rm(`${out}.parts`, { recursive: true });
      }
    } finally {
      await slurm.stop();
    }
  },
);

test('the script for Slurm says how it is called when words are missing', async () => {
  for (const words of [[], ['quantize'], ['quantize', 'in', 'out']]) {
    const { code, stderr } = await execute('sh', [SCRIPT, ...words]);
    assert.is(code, 2, stderr);
    assert.match(stderr, /slurm\.sh quantize <input> <output> <parts>/);
  }
});

// --- Kubernetes

const jobs = (): IJob[] => parseAllDocuments(readFileSync(MANIFEST, 'utf8')).map((document) => document.toJSON());

/** What the compiler says of manifests as literals of the API's types: they may have no member that these have not. */
async function misfits(manifests: unknown): Promise<string> {
  const file = `build/tests/manifest-${process.pid}.ts`; // below the project, where types are found
  const head = "import type { IJob } from 'kubernetes-models/batch/v1';";
  writeFileSync(file, `${head}\nexport const jobs: IJob[] = ${JSON.stringify(manifests)};\n`);
  const options = ['--noEmit', '--strict', '--skipLibCheck', '--ignoreConfig', '--target', 'es2022'];
  const { stdout } = await promisify(execFile)(process.execPath, [
    'node_modules/typescript/bin/tsc',
    ...options,
    '--module',
    'esnext',
    '--moduleResolution',
    'bundler',
    file,
  ]).catch((error) => error);
  await rm(file);
  return stdout;
}

/** `higgs` in a directory of its own, for PATH. */
async function commandFolder(): Promise<string> {
  const path = await folder({ higgs: `#!/bin/sh\nexec '${process.execPath}' '${CLI}' "$@"\n` });
  chmodSync(join(path, 'higgs'), 0o755);
  return path;
}

test('kubernetes.yaml holds to the schema of the current API, which a manifest with a fault does not', async () => {
  for (const job of jobs()) new Job(job).validate();
  const [parts, merge] = jobs();
  for (const wrong of [
    { ...parts, spec: { ...parts.spec!, completions: '8' } },
    { ...parts, spec: { completions: 8 } },
    { ...merge, spec: { ...merge.spec!, suspend: 'yes' } },
  ]) {
    assert.throws(() => new Job(wrong as unknown as IJob).validate());
  }
  assert.is(await misfits(jobs()), '');
  const { backoffLimitPerIndex: backoffLimitPerIndx, ...spec } = parts.spec!;
  assert.match(await misfits([{ ...parts, spec: { ...spec, backoffLimitPerIndx } }]), /backoffLimitPerIndx/);
});

test('the containers of kubernetes.yaml, run as their pods would be, write the bytes of one run', async () => {
  const [parts, merge] = jobs();
  const [container] = parts.spec!.template.spec!.containers;
  const { completions } = parts.spec!;
  assert.ok(container.command!.includes(String(completions)), 'the count stands in two places');
  const work = await folder();
  await mkdir(join(work, 'output'));
  const input = await folder(smallFiles());
  await cp(input, join(work, 'input/model'), { recursive: true });
  const PATH = `${await commandFolder()}${delimiter}${process.env.PATH}`;
  const pod = ([program, ...args]: readonly string[], env: Record<string, string>) =>
    promisify(execFile)(program, args, { cwd: work, env: { PATH, ...env } });
  for (let index = 0; index < completions!; index++) {
    await pod(container.command!, { JOB_COMPLETION_INDEX: String(index), HOSTNAME: `higgs-parts-${index}` });
  }
  await pod(merge.spec!.template.spec!.containers[0].command!, {});
  const local = output();
  await succeeds(higgs('quantize', input, '-o', local));
  assert.equal(await hashes(join(work, 'output/model-higgs')), await hashes(local));
});

test.run();
