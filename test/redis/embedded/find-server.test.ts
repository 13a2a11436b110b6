import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, inject, test, vi } from 'vitest';
import type { ServerBinary } from '../../../src/redis/embedded/binary.ts';
import { findServer } from '../../../src/redis/embedded/find-server.ts';
import { failureOf } from '../../support/failures.ts';
import { temporaryFolder } from '../../support/folders.ts';
import { collectLog, type LogLines } from '../../support/log-lines.ts';
import { shellCommand, writeProgram } from '../../support/programs.ts';
import { skipBecause } from '../../support/skips.ts';

const root = temporaryFolder();
const emptyCache = join(root, 'empty-cache');

interface Outcome extends LogLines {
  found: Promise<ServerBinary>;
}

/** Looks with nothing in the cache and no downloads, unless the test says otherwise; PATH has the folders given and no others. */
function find(options: { server?: string; path?: string; cacheFolder?: string }): Outcome {
  const lines = collectLog();
  vi.stubEnv('PATH', options.path ?? join(root, 'no-programs'));
  const { server, cacheFolder = emptyCache } = options;
  const found = findServer({ server, cacheFolder, mayDownload: false, log: lines.log });
  return { ...lines, found: found.finally(() => vi.unstubAllEnvs()) };
}

/** A folder with a redis-server that only tells its version. */
function pathWith(saysVersion: string): string {
  const folder = join(root, `path-${saysVersion.replaceAll(/\W/g, '-')}`);
  writeProgram(folder, 'redis-server', `echo '${saysVersion}'`);
  return folder;
}

describe('a server that is named', () => {
  test('is taken, whatever else there is', async () => {
    const program = writeProgram(join(root, 'named'), 'my-redis', `exec ${shellCommand(inject('servers').main)} "$@"`);
    const path = pathWith('Redis server v=9.0.0 sha=0');
    const { version, kind } = inject('servers').main;
    expect(await find({ server: program, path }).found).toEqual({ command: [program], source: program, version, kind });
  });

  test('may be named by a path from here; it is started elsewhere', async () => {
    const program = writeProgram(join(root, 'named'), 'relative', "echo 'Redis server v=8.1.0 sha=0'");
    const found = await find({ server: relative(process.cwd(), program) }).found;
    expect(found.command).toEqual([program]);
  });

  test('may be named by a word that is on PATH', async () => {
    const found = await find({ server: 'redis-server', path: pathWith('Valkey server v=8.1.0 sha=0') }).found;
    expect(found).toMatchObject({ command: ['redis-server'], kind: 'valkey', version: '8.1.0' });
  });

  test.each([
    ['is not there', (file: string) => file, 'no such file'],
    [
      'may not be run',
      (file: string) => {
        writeFileSync(file, '#!/bin/sh\n');
        chmodSync(file, 0o644);
        return file;
      },
      'permission denied',
    ],
    ['is a folder', (file: string) => (mkdirSync(file, { recursive: true }), file), 'is no redis-server'],
    ['is another program', () => '/bin/echo', 'is no redis-server'],
    ['ends with an error', () => '/bin/false', 'is no redis-server'],
    ['is not on PATH', () => 'redis-nowhere', 'is no redis-server'],
  ])('but %s: that is an error, and no other is taken', async (what, make, reason) => {
    const server = make(join(root, what.replaceAll(' ', '-')));
    const { found } = find({ server, path: pathWith('Redis server v=9.0.0 sha=0') });
    const error = await failureOf(found, 'SERVER_UNAVAILABLE');
    expect(error.message).toContain(`MILLRACE_REDIS_SERVER: ${server} `);
    expect(error.message).toContain(reason);
    expect(error.facts['program']).toBe(server);
  });

  test('but is too old: the error says which version is needed', async () => {
    const program = writeProgram(join(root, 'named'), 'old', "echo 'Redis server v=6.2.14 sha=0'");
    const error = await failureOf(find({ server: program }).found, 'SERVER_UNAVAILABLE');
    expect(error.message).toBe(`MILLRACE_REDIS_SERVER: ${program} is Redis 6.2.14; 7.0 or newer is needed`);
  });
});

describe('a redis-server on PATH', () => {
  test.each(['8.0.0', '8.10.1', '9.0'])('of version %s is taken', async (version) => {
    const found = await find({ path: pathWith(`Redis server v=${version} sha=0`) }).found;
    expect(found).toEqual({ command: ['redis-server'], kind: 'redis', version, source: 'redis-server on PATH' });
  });

  test('that is the real one runs', async () => {
    const { main } = inject('servers');
    const folder = join(root, 'path-real');
    writeProgram(folder, 'redis-server', `exec ${shellCommand(main)} "$@"`);
    expect((await find({ path: folder }).found).version).toBe(main.version);
  });

  test.each([
    ['Redis 7.0.15', 'Redis server v=7.0.15 sha=0'],
    ['Valkey 8.1.1', 'Valkey server v=8.1.1 sha=0'],
  ])('that is %s is the last resort, with a warning that vectors are off', async (name, says) => {
    const { found, warnings } = find({ path: pathWith(says) });
    expect((await found).command).toEqual(['redis-server']);
    expect(warnings().map(({ msg }) => msg)).toEqual([
      `using ${name} from PATH: vectors are off, they need Redis 8 (which could not be fetched: downloads are switched off (MILLRACE_DOWNLOAD))`,
    ]);
  });

  test('that is too old, and nothing else: the error says so', async () => {
    const error = await failureOf(find({ path: pathWith('Redis server v=6.2.7 sha=0') }).found, 'SERVER_UNAVAILABLE');
    expect(error.message).toContain('Redis 6.2.7 on PATH is too old');
  });

  test('of Debian 12 is recognised', async (context) => {
    const { tooOld } = inject('servers');
    if (typeof tooOld === 'string') return skipBecause(context, tooOld);
    const folder = join(root, 'path-debian');
    writeProgram(folder, 'redis-server', `exec ${shellCommand(tooOld)} "$@"`);
    expect((await find({ path: folder }).found).version).toBe(tooOld.version);
  });
});

test('with no server at all the error lists every way to get one', async () => {
  const error = await failureOf(find({}).found, 'SERVER_UNAVAILABLE');
  expect(error.message).toContain(
    'there is no redis-server on PATH, and none could be fetched: downloads are switched off (MILLRACE_DOWNLOAD)',
  );
  for (const way of ['REDIS_URL', 'docker run', 'brew install', 'apt install', 'MILLRACE_REDIS_SERVER'])
    expect(error.message).toContain(way);
});
