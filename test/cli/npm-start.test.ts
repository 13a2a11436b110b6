/** `npm start` as a terminal runs it: npm, a shell and the command in one process group, which gets the Ctrl-C as a whole. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, inject, test } from 'vitest';
import { cacheOfThisMachine } from '../support/provisioned.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folders.ts';
import { ownedByTest } from '../support/owned.ts';
import { processesNaming, processesWhere } from '../support/process-table.ts';
import { skipBecause } from '../support/skips.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
const root = temporaryFolder();
const own = ownedByTest();

interface Npm {
  pid: number;
  out(): string;
  readonly ended: Promise<number | NodeJS.Signals>;
  stop(): Promise<void>;
}

function npmStart(cwd: string, data: string, scriptShell: string): Npm {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(REDIS_|PORT$|HOST$|LOG_|VITEST|NODE_ENV)/.test(name),
  );
  const child = spawn('npm', ['start', '--silent'], {
    cwd,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...Object.fromEntries(inherited),
      PORT: '0',
      MILLRACE_DATA: data,
      MILLRACE_CACHE: cacheOfThisMachine,
      npm_config_script_shell: scriptShell,
    },
  });
  let out = '';
  child.stdout.on('data', (text: Buffer) => (out += text.toString()));
  child.stderr.on('data', (text: Buffer) => (out += text.toString()));
  const ended = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('close', (code, signal) => resolve(code ?? signal ?? -1));
  });
  const pid = child.pid ?? 0;
  return {
    pid,
    out: () => out,
    ended,
    async stop() {
      for (const entry of processesWhere(({ group }) => group === pid)) process.kill(entry.pid, 'SIGKILL');
      await ended;
    },
  };
}

// A shell that stayed between npm and the command would tell npm that it was interrupted, and would not pass SIGTERM on.
const cases = ['/bin/bash', '/bin/sh'].flatMap((shell) =>
  (['SIGINT', 'SIGTERM'] as const).map((signal) => ({ shell, signal })),
);
/** Of the sources once: they start slowly, and how they are ended is the same. */
const sources = cases[0];

test.for(cases)(
  '$signal ends npm start with $shell as its shell, with exit code 0, and leaves no process',
  async (one, context) => {
    const { shell, signal } = one;
    if (!existsSync(shell)) return skipBecause(context, `there is no ${shell}`);
    const data = mkdtempSync(join(root, signal));
    const npm = own(npmStart(one === sources ? checkout : inject('compiled'), data, shell));
    await eventually(() => expect(npm.out()).toContain('Stop: Ctrl-C'), 60_000);
    expect(npm.out(), 'npm adds nothing of its own').toMatch(/^( {2}.*\n)*Millrace is up\.\n/);
    // Ctrl-C at a terminal reaches the whole group; a service manager's SIGTERM reaches npm alone.
    process.kill(signal === 'SIGINT' ? -npm.pid : npm.pid, signal);
    const code = await npm.ended;
    expect(npm.out()).toMatch(/stopping\nstopped\n\s*$/);
    expect(code).toBe(0);
    expect(processesWhere(({ group }) => group === npm.pid)).toEqual([]);
    expect(processesNaming(data)).toEqual([]);
  },
);
