/** What the cache folder may look like when it is asked; fetching itself is in provision-download.test.ts. */
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test, type TestContext } from 'vitest';
import { identify } from '../../../src/redis/embedded/binary.ts';
import { findServer } from '../../../src/redis/embedded/find-server.ts';
import { findMirror } from '../../../src/redis/embedded/debian-mirror.ts';
import { findProvisioned, provision, REDIS_8 } from '../../../src/redis/embedded/provision.ts';
import { failureOf } from '../../support/failures.ts';
import { temporaryFolder } from '../../support/folders.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { copyProvisioned } from '../../support/provisioned.ts';
import { skipBecause } from '../../support/skips.ts';
import { mountTmpfs } from '../../support/tmpfs.ts';

const root = temporaryFolder();
const own = ownedByTest();
let copies = 0;
let notDebian: string | undefined;

beforeAll(async () => {
  notDebian = await findMirror().then(
    () => undefined,
    (error: Error) => error.message,
  );
});

/** A cache folder with a copy of the server. */
function newCopy(context: TestContext): { cacheFolder: string; folder: string } {
  const cacheFolder = join(root, String((copies += 1)));
  if (!copyProvisioned(cacheFolder)) skipBecause(context, 'this machine has not fetched a server');
  return { cacheFolder, folder: join(cacheFolder, REDIS_8.name) };
}

function flipByte(file: string, position: number): void {
  const bytes = readFileSync(file);
  bytes[position] = (bytes[position] ?? 0) ^ 1;
  writeFileSync(file, bytes);
}

describe('a copy in the cache', () => {
  test('that is whole is used, wherever the folder was moved to', async (context) => {
    const { cacheFolder, folder } = newCopy(context);
    const { log, told } = collectLog();
    const found = await findProvisioned(REDIS_8, { cacheFolder, log });
    expect(found).toMatchObject({ kind: 'redis', source: `the copy in ${folder}` });
    expect(await identify(found?.command ?? [''], 'again')).toMatchObject({ version: found?.version });
    expect(told()).toEqual([]);
  });

  const DAMAGES: Array<[string, string, (folder: string) => void]> = [
    ['whose program was cut short', 'redis-server', (folder) => truncateSync(join(folder, 'redis-server'), 100_000)],
    ['whose program is empty', 'redis-server', (folder) => truncateSync(join(folder, 'redis-server'))],
    ['with a flipped bit in a library', 'lib/libc.so.6', (folder) => flipByte(join(folder, 'lib/libc.so.6'), 4_000)],
    ['with a library missing', 'lib/libm.so.6', (folder) => rmSync(join(folder, 'lib/libm.so.6'))],
    ['with something appended', 'redis-server', (folder) => appendFileSync(join(folder, 'redis-server'), ' ')],
    ['whose list was cut short', 'manifest.json', (folder) => truncateSync(join(folder, 'manifest.json'), 200)],
    ['whose list is empty', 'manifest.json', (folder) => truncateSync(join(folder, 'manifest.json'))],
    ['whose list is no list', 'manifest.json', (folder) => writeFileSync(join(folder, 'manifest.json'), '5')],
  ];
  test.for(DAMAGES)('%s is not used, and the log names %s', async ([_what, file, damage], context) => {
    const { cacheFolder, folder } = newCopy(context);
    damage(folder);
    const { log, warnings } = collectLog();
    expect(await findProvisioned(REDIS_8, { cacheFolder, log })).toBeUndefined();
    expect(warnings().map(({ msg }) => msg)).toEqual([
      `the redis-server in ${folder} is damaged (${file}); it is not used`,
    ]);
  });

  test('whose loader may not be run is no server', async (context) => {
    const { cacheFolder, folder } = newCopy(context);
    for (const file of readdirSync(join(folder, 'lib'))) {
      if (file.startsWith('ld-')) chmodSync(join(folder, 'lib', file), 0o644);
    }
    expect(await findProvisioned(REDIS_8, { cacheFolder, log: collectLog().log })).toBeUndefined();
  });

  test('that has no list was never finished, and is not used', async (context) => {
    const { cacheFolder, folder } = newCopy(context);
    rmSync(join(folder, 'manifest.json'));
    const { log, told } = collectLog();
    expect(await findProvisioned(REDIS_8, { cacheFolder, log })).toBeUndefined();
    expect(told()).toEqual([]);
  });
});

describe('a cache folder', () => {
  const log = collectLog().log;

  function failure(cacheFolder: string) {
    return failureOf(provision(REDIS_8, { cacheFolder, log }), 'FOLDER_UNUSABLE');
  }

  test('with a file in its place cannot be used: the error says how to choose another', async (context) => {
    if (notDebian !== undefined) return skipBecause(context, notDebian);
    const file = join(root, 'a-file');
    writeFileSync(file, '');
    for (const cacheFolder of [file, join(file, 'below')]) {
      const error = await failure(cacheFolder);
      expect(error.message).toContain(`the cache folder ${cacheFolder} cannot be used`);
      expect(error.message).toContain('set MILLRACE_CACHE to another folder');
      expect(error.facts['folder']).toBe(cacheFolder);
    }
  });

  test('that is read-only cannot be used, unless a whole copy is in it', async (context) => {
    if (notDebian !== undefined) return skipBecause(context, notDebian);
    const disk = mountTmpfs(64);
    if (typeof disk === 'string') return skipBecause(context, disk);
    own(disk);
    mkdirSync(join(disk.folder, 'empty'));
    if (!copyProvisioned(disk.folder)) return skipBecause(context, 'this machine has not fetched a server');
    disk.makeReadOnly();
    expect((await failure(join(disk.folder, 'empty'))).message).toContain('EROFS: read-only file system');
    expect(await findProvisioned(REDIS_8, { cacheFolder: disk.folder, log })).toBeDefined();
  });

  test('on a disk with too little space cannot be used: the error says how much is needed', async (context) => {
    if (notDebian !== undefined) return skipBecause(context, notDebian);
    const disk = mountTmpfs(20);
    if (typeof disk === 'string') return skipBecause(context, disk);
    own(disk);
    const error = await failure(join(disk.folder, 'cache'));
    expect(error.message).toContain('only 20 MB are free there, 200 MB are needed');
    expect(error.message).toContain('MILLRACE_CACHE');
    expect(error.facts['reason']).toBe('ENOSPC');
  });

  test('that cannot be used is told of by whoever looks for a server, beside the other ways', async (context) => {
    if (notDebian !== undefined) return skipBecause(context, notDebian);
    const cacheFolder = join(root, 'a-file-again');
    writeFileSync(cacheFolder, '');
    const path = process.env['PATH'];
    process.env['PATH'] = join(root, 'no-programs');
    const found = findServer({ cacheFolder, log });
    const error = await failureOf(found, 'SERVER_UNAVAILABLE').finally(() => (process.env['PATH'] = path));
    expect(error.message).toContain('set MILLRACE_CACHE to another folder');
    expect(error.message).toContain('docker run');
  });
});
