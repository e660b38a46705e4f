// Slurm on this machine, for a test: its daemons in a scratch directory, on ports of their own, as root.

import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const PORTS = [26817, 26818];
/** Seconds until the daemons must answer. */
const START_SECONDS = 60;

export interface Slurm {
  /** Runs one of Slurm's commands. @returns what it prints */
  run(command: string, ...args: string[]): Promise<string>;
  /** The environment in which they find these daemons. */
  readonly env: NodeJS.ProcessEnv;
  stop(): Promise<void>;
}

export async function startSlurm(): Promise<Slurm> {
  const root = mkdtempSync(join(tmpdir(), 'higgs-slurm-'));
  for (const name of ['state', 'spool', 'log']) mkdirSync(join(root, name));
  const config = join(root, 'slurm.conf');
  writeFileSync(config, configuration(root));
  const env = { ...process.env, SLURM_CONF: config };
  const munge = startMunge();
  for (const daemon of ['slurmctld', 'slurmd']) execFileSync(daemon, ['-f', config], { env, stdio: 'ignore' });
  const slurm: Slurm = {
    env,
    run: async (command, ...args) => (await run(command, args, { env })).stdout.trim(),
    async stop() {
      await run('scancel', ['--state=RUNNING,PENDING', '--user=root'], { env }).catch(() => {});
      for (const name of ['d', 'ctld']) await end(pidIn(join(root, `${name}.pid`)));
      if (munge) await end(pidIn(munge));
      rmSync(root, { recursive: true, force: true });
    },
  };
  for (let seconds = 0; !(await slurm.run('sinfo', '-h', '-o', '%t').catch(() => '')).includes('idle'); seconds++) {
    if (seconds >= START_SECONDS) {
      await slurm.stop();
      throw new Error('slurm must start within a minute: it has not');
    }
    await sleep(1000);
  }
  return slurm;
}

// The daemon by which those of Slurm know each other. @returns the file with its process id; undefined if it runs already
function startMunge(): string | undefined {
  try {
    execFileSync('munge', ['-n'], { stdio: 'ignore' });
    return undefined;
  } catch {} // it does not run yet
  const key = '/etc/munge/munge.key';
  execFileSync('install', ['-d', '-o', 'munge', '-g', 'munge', '/run/munge']);
  if (!existsSync(key)) execFileSync('dd', ['if=/dev/urandom', `of=${key}`, 'bs=1', 'count=1024'], { stdio: 'ignore' });
  execFileSync('chown', ['munge:', key]);
  execFileSync('chmod', ['400', key]);
  execFileSync('runuser', ['-u', 'munge', '--', 'munged'], { stdio: 'ignore' });
  return '/run/munge/munged.pid';
}

function pidIn(file: string): number | undefined {
  return existsSync(file) ? Number(readFileSync(file, 'utf8').trim()) || undefined : undefined;
}

async function end(pid: number | undefined): Promise<void> {
  if (pid === undefined) return;
  const isThere = () => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  if (isThere()) process.kill(pid, 'SIGTERM');
  for (let tries = 0; isThere() && tries < 100; tries++) await sleep(100);
}

function configuration(root: string): string {
  const host = hostname().split('.')[0];
  const [controller, node] = PORTS;
  return `ClusterName=local
SlurmctldHost=${host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation=${root}/state
SlurmdSpoolDir=${root}/spool
SlurmctldPidFile=${root}/ctld.pid
SlurmdPidFile=${root}/d.pid
SlurmctldLogFile=${root}/log/ctld.log
SlurmdLogFile=${root}/log/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
JobRequeue=1
SlurmctldPort=${controller}
SlurmdPort=${node}
NodeName=${host} NodeAddr=127.0.0.1 CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
`;
}
