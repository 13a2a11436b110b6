import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';
import { isRunning } from '../../../src/redis/embedded/process-identity.ts';
import {
  startServerProcess,
  type ServerProcess,
  type ServerProcessOptions,
} from '../../../src/redis/embedded/server-process.ts';
import { ask } from '../../support/ask.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf, timed } from '../../support/failures.ts';
import { temporaryFolder } from '../../support/folders.ts';
import { ownedByTest } from '../../support/owned.ts';
import { processEntry, processesNaming, processesWhere } from '../../support/process-table.ts';
import { shellCommand, writeProgram } from '../../support/programs.ts';
import { freePort } from '../../support/servers.ts';

const root = temporaryFolder();
const own = ownedByTest();
let folders = 0;

interface Changes extends Partial<Omit<ServerProcessOptions, 'folder'>> {
  folder?: string;
}

function newFolder(name = String((folders += 1))): string {
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** A server with an append-only file that listens on a socket in its folder only. */
function options({ folder = newFolder(), config, ...others }: Changes = {}): ServerProcessOptions {
  const socketPath = join(folder, 'redis.sock');
  return {
    binary: inject('servers').main,
    folder,
    ping: { socketPath },
    config: { port: 0, unixsocket: socketPath, dir: folder, appendonly: 'yes', save: '', ...config },
    ...others,
  };
}

async function start(changes: Changes = {}): Promise<{ server: ServerProcess; folder: string; path: string }> {
  const all = options(changes);
  const server = own(await startServerProcess(all));
  return { server, folder: all.folder, path: join(all.folder, 'redis.sock') };
}

/** A program instead of the server. */
function program(script: string): Pick<ServerProcessOptions, 'binary'> {
  const file = writeProgram(newFolder(), 'program', script);
  return { binary: { ...inject('servers').main, command: [file] } };
}

const logOf = (folder: string): string => readFileSync(join(folder, 'redis.log'), 'utf8');

describe('a server that starts', () => {
  test('answers, and is the process that it says it is', async () => {
    const { server, path } = await start();
    const info = await ask({ path }, (redis) => redis.info('server'));
    expect(info).toContain(`process_id:${server.pid}`);
    expect(server.readyMs).toBeGreaterThan(0);
  });

  test('works in a folder with spaces, quotes and other signs in its name', async () => {
    const folder = newFolder(String.raw`my "odd" pröject's [#1] 50% \n $HOME * dir`);
    const { path } = await start({ folder });
    expect(await ask({ path }, (redis) => redis.config('GET', 'dir'))).toEqual(['dir', folder]);
    expect(await ask({ path }, (redis) => redis.set('key', 'value'))).toBe('OK');
    expect(existsSync(join(folder, 'appendonlydir'))).toBe(true);
  });

  test('takes a directive several times, and lists of words as they are', async () => {
    const { path } = await start({
      config: { save: ['900 1', '300 10'], 'client-output-buffer-limit': 'normal 0 0 0' },
    });
    expect(await ask({ path }, (redis) => redis.config('GET', 'save'))).toEqual(['save', '900 1 300 10']);
  });

  test('that asks for a password has answered', async () => {
    const { server } = await start({ config: { requirepass: 'a-password' } });
    expect(isRunning(server.pid)).toBe(true);
  });

  test('with much data says that it is loading, and answers when it is done', async () => {
    const { server, folder, path } = await start();
    await ask({ path }, async (redis) => {
      const writes = redis.pipeline();
      for (let key = 0; key < 4_000; key++) writes.set(`key:${key}`, 'value');
      await writes.exec();
    });
    await server.stop();
    let told = 0;
    const again = await start({
      folder,
      config: { 'key-load-delay': 300 }, // Microseconds a key; it answers after each 1024.
      startWithinMs: 600,
      onLoading: () => (told += 1),
    });
    expect(told).toBe(1);
    expect(again.server.readyMs).toBeGreaterThan(600);
    expect(await ask({ path }, (redis) => redis.dbsize())).toBe(4_000);
  });
});

describe('stop', () => {
  test('ends the server in the ordinary way, and what was written is kept', async () => {
    const { server, folder, path } = await start();
    await ask({ path }, (redis) => redis.set('key', 'kept'));
    await server.stop();
    expect(logOf(folder)).toContain('bye bye');
    expect(isRunning(server.pid)).toBe(false);
    const again = await start({ folder });
    expect(await ask({ path: again.path }, (redis) => redis.get('key'))).toBe('kept');
  });

  test('leaves no process behind', async () => {
    const { server, folder } = await start();
    const group = processEntry(server.pid)?.group ?? 0;
    const members = processesWhere((entry) => entry.group === group);
    expect(members.length, 'the shell, its watch and the server').toBe(3);
    await server.stop();
    expect(processesWhere((entry) => entry.group === group)).toEqual([]);
    expect(processesNaming(folder)).toEqual([]);
  });

  test('may be called again, and after the server has ended by itself', async () => {
    const { server } = await start();
    await Promise.all([server.stop(), server.stop()]);
    const other = await start();
    process.kill(other.server.pid, 'SIGKILL');
    await other.server.stop();
  });

  test('ends a frozen server by force, within its bound', async () => {
    const { server } = await start({ stopWithinMs: 300 });
    process.kill(server.pid, 'SIGSTOP');
    const { ms } = await timed(server.stop());
    expect(ms).toBeGreaterThan(290);
    expect(ms).toBeLessThan(2_000);
    expect(isRunning(server.pid)).toBe(false);
  });
});

describe('a server that cannot start', () => {
  test('is an error with the end of its log', async () => {
    const all = options({ config: { 'no-such-directive': 'yes' } });
    const error = await failureOf(startServerProcess(all), 'SERVER_START_FAILED');
    expect(error.message).toContain('the embedded redis-server stopped at once (exit 1)');
    expect(error.message).toContain(join(all.folder, 'redis.log'));
    expect(error.message).toContain('no-such-directive');
    expect(error.facts).toEqual({ logFile: join(all.folder, 'redis.log'), exit: 'exit 1' });
  });

  test('because its port is taken says so', async () => {
    const other = await start({ config: { bind: '127.0.0.1', port: await freePort() } });
    const port = Number((await ask({ path: other.path }, (redis) => redis.config('GET', 'port')))[1]);
    const error = await failureOf(
      startServerProcess(options({ config: { bind: '127.0.0.1', port } })),
      'SERVER_START_FAILED',
    );
    expect(error.message).toContain('Address already in use');
  });

  test('because there is no such program says so', async () => {
    const binary = { ...inject('servers').main, command: [join(root, 'nowhere')] as [string] };
    const error = await failureOf(startServerProcess(options({ binary })), 'SERVER_START_FAILED');
    expect(error.message).toContain('stopped at once (exit 127)');
    expect(error.message).toContain('not found');
  });

  test('shows nothing of what an earlier one has written', async () => {
    const { server, folder } = await start();
    await server.stop();
    const error = await failureOf(startServerProcess(options({ folder, ...program('exit 3') })), 'SERVER_START_FAILED');
    expect(error.message).toMatch(/stopped at once \(exit 3\).*\n\(it has not written anything\)$/);
  });

  test('because it never answers is ended, and everything that it started', async () => {
    const all = options({ ...program('sleep 61.5 & sleep 61.5'), startWithinMs: 300 });
    const error = await failureOf(startServerProcess(all), 'SERVER_START_FAILED');
    expect(error.message).toContain('did not answer in 300 ms');
    await eventually(() => expect(processesNaming('sleep 61.5')).toEqual([]));
  });
});

describe('a server that ends by itself', () => {
  test('is told of once, with the end of its log', async () => {
    const exits: string[] = [];
    const { server, folder } = await start({ onExit: ({ message }) => exits.push(message) });
    process.kill(server.pid, 'SIGKILL');
    await eventually(() => expect(exits).toHaveLength(1));
    expect(exits[0]).toContain('the embedded redis-server stopped by itself (exit 137)');
    expect(exits[0]).toContain(logOf(folder).trimEnd().split('\n').at(-1));
    await server.stop();
    expect(exits).toHaveLength(1);
  });

  test('is not told of when it was stopped', async () => {
    const exits: string[] = [];
    const { server } = await start({ onExit: ({ message }) => exits.push(message) });
    await server.stop();
    expect(exits).toEqual([]);
  });

  test('because its shell was killed is told of only when it is gone itself', async () => {
    let wasRunning: boolean | undefined;
    const { server, folder } = await start({ onExit: () => (wasRunning = isRunning(server.pid)) });
    process.kill(processEntry(server.pid)?.parent ?? 0, 'SIGKILL');
    await eventually(() => expect(wasRunning).toBe(false));
    expect(logOf(folder), 'and it was ended in the ordinary way').toContain('bye bye');
  });

  test('but is frozen when its shell is killed is ended by force', async () => {
    let isTold = false;
    const { server } = await start({ stopWithinMs: 300, onExit: () => (isTold = true) });
    process.kill(server.pid, 'SIGSTOP');
    process.kill(processEntry(server.pid)?.parent ?? 0, 'SIGKILL');
    await eventually(() => expect(isTold).toBe(true));
    expect(isRunning(server.pid)).toBe(false);
  });
});

test('a long log is put aside at the next start', async () => {
  const folder = newFolder();
  writeFileSync(join(folder, 'redis.log'), 'old\n'.repeat(300_000));
  await start({ folder });
  expect(statSync(join(folder, 'redis.log.old')).size).toBe(1_200_000);
  expect(logOf(folder)).not.toContain('old\n');
});

test('a server whose words need quotes runs', async () => {
  const file = writeProgram(
    newFolder("it's a folder"),
    'redis server',
    `exec ${shellCommand(inject('servers').main)} "$@"`,
  );
  await start({ binary: { ...inject('servers').main, command: [file] } });
});
