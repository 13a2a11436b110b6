/** How `millrace dev` ends: by Ctrl-C, by SIGTERM, in the middle of its start, and when the end hangs. */
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findMirror } from '../../src/redis/embedded/debian-mirror.ts';
import { tryHold } from '../../src/redis/embedded/folder-lock.ts';
import { isListening, startCommand, startDev, type Command } from '../support/commands.ts';
import { serverPid } from '../support/embedded.ts';
import { eventually } from '../support/eventually.ts';
import { timed } from '../support/failures.ts';
import { temporaryFolder } from '../support/folders.ts';
import { ownedByTest } from '../support/owned.ts';
import { processEntry, processesNaming, processesWhere } from '../support/process-table.ts';
import { writeProgram } from '../support/programs.ts';
import { skipBecause } from '../support/skips.ts';
import { startStranger } from '../support/strangers.ts';

const root = temporaryFolder();
const own = ownedByTest();
let folders = 0;

function newFolder(): string {
  const folder = join(root, String((folders += 1)));
  mkdirSync(folder);
  return folder;
}

const portOf = (dev: { url: string }): number => Number(new URL(dev.url).port);

const CLEAN = { code: 0, isSoon: true, last: 'stopping\nstopped\n', hasStack: false };

/** Sends Ctrl-C once the command has said what it is at, and tells how it ended, with nothing left of it. */
async function interrupt(dev: Command, step: string, folder: string): Promise<typeof CLEAN> {
  await dev.complains(step);
  dev.child.kill('SIGINT');
  const { value, ms } = await timed(dev.ended);
  await eventually(() => expect(processesNaming(folder)).toEqual([]));
  const last = dev.out().slice(-CLEAN.last.length);
  return { code: Number(value), isSoon: ms < 5_000, last, hasStack: /Error|^\s+at /m.test(dev.err()) };
}

describe('a running millrace dev', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)('stops cleanly by %s: exit code 0, and nothing is left', async (signal) => {
    const cwd = newFolder();
    const dev = await startDev(own, { cwd });
    const server = processEntry(serverPid(join(cwd, '.millrace')));
    expect(server?.session, "its server is out of the terminal's reach, so that it is stopped last").toBe(
      server?.group,
    );
    expect(server?.group).not.toBe(processEntry(dev.child.pid ?? 0)?.group);
    dev.child.kill(signal);
    expect(await dev.ended).toBe(0);
    expect(dev.out()).toMatch(/stopping\nstopped\n$/);
    expect(processesNaming(cwd)).toEqual([]);
    expect(await isListening(portOf(dev))).toBe(false);
    expect(statSync(join(cwd, '.millrace', 'redis', 'owner.1')).size, 'the folder was let go').toBe(0);
  });

  test('takes a Ctrl-C that comes twice, from the terminal and through npm, for one', async () => {
    const dev = await startDev(own, { cwd: newFolder() });
    dev.child.kill('SIGINT');
    await dev.says('stopping');
    dev.child.kill('SIGINT');
    expect(await dev.ended).toBe(0);
    expect(dev.out()).toMatch(/stopped\n$/);
  });

  test('ends at once by a second Ctrl-C when its stop hangs; the server ends when it can', async () => {
    const cwd = newFolder();
    const dev = await startDev(own, { cwd });
    const pid = serverPid(join(cwd, '.millrace'));
    process.kill(pid, 'SIGSTOP');
    dev.child.kill('SIGINT');
    await dev.says('stopping');
    const impatient = setInterval(() => dev.child.kill('SIGINT'), 100);
    const { value, ms } = await timed(dev.ended);
    clearInterval(impatient);
    expect(value).toBe(1);
    expect(ms).toBeLessThan(2_000);
    process.kill(pid, 'SIGCONT');
    await eventually(() => expect(processesNaming(cwd)).toEqual([]));
  });
});

describe('a millrace dev that is still starting stops cleanly by Ctrl-C', () => {
  test('while it waits for another process of the folder', async () => {
    const cwd = newFolder();
    const taken = await tryHold(join(cwd, '.millrace', 'redis'), 'owner');
    const dev = own(startCommand(['dev'], { cwd, env: { PORT: '0' } }));
    const step = `waiting for process ${process.pid}, which is starting Redis for this folder`;
    expect(await interrupt(dev, step, cwd)).toEqual(CLEAN);
    if ('hold' in taken) await taken.hold.release();
  });

  test('while it fetches a server from a mirror that does not answer', async (context) => {
    const notDebian = await findMirror().then(
      () => undefined,
      (error: Error) => error.message,
    );
    if (notDebian !== undefined) return skipBecause(context, notDebian);
    const mute = own(await startStranger());
    const cwd = newFolder();
    const aptConfig = join(cwd, 'apt.conf');
    writeFileSync(
      aptConfig,
      ['http', 'https'].map((scheme) => `Acquire::${scheme}::Proxy "http://127.0.0.1:${mute.port}";\n`).join(''),
    );
    const env = {
      PORT: '0',
      APT_CONFIG: aptConfig,
      MILLRACE_CACHE: join(cwd, 'cache'),
      MILLRACE_REDIS_SERVER: '',
      // apt-get must be found, and a redis-server not.
      PATH: join(writeProgram(join(cwd, 'programs'), 'apt-get', 'exec /usr/bin/apt-get "$@"'), '..'),
    };
    const dev = own(startCommand(['dev'], { cwd, env }));
    await eventually(() => expect(mute.visits).toBeGreaterThan(0), 20_000);
    expect(await interrupt(dev, 'reading the package list of Debian', cwd)).toEqual(CLEAN);
    expect(readdirSync(join(cwd, 'cache')).some((entry) => entry === 'redis-8')).toBe(false);
  });

  test('while its server does not answer yet', async () => {
    const cwd = newFolder();
    const says = '[ "$1" = --version ] && echo "Redis server v=8.0.0 sha=0" && exit';
    const mute = writeProgram(cwd, 'mute-redis', `${says}\nexec sleep 47.5`);
    const dev = own(startCommand(['dev'], { cwd, env: { PORT: '0', MILLRACE_REDIS_SERVER: mute } }));
    expect(await interrupt(dev, 'starting Redis 8.0.0 from', cwd)).toEqual(CLEAN);
    await eventually(() => expect(processesWhere(({ command }) => command === 'sleep 47.5 ')).toEqual([]));
  });
});
