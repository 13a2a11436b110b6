/** Folders that are of no use, or stop being of use. */
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, type TestContext } from 'vitest';
import { createPlatform } from '../../../src/platform.ts';
import { startEmbedded } from '../../../src/redis/embedded/embedded.ts';
import { askEmbedded, embeddedOptions, startEmbeddedProcess } from '../../support/embedded.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { temporaryFolder } from '../../support/folders.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { processesNaming } from '../../support/process-table.ts';
import { copyProvisioned } from '../../support/provisioned.ts';
import { findOtherUser } from '../../support/other-user.ts';
import { skipBecause } from '../../support/skips.ts';
import { mountTmpfs } from '../../support/tmpfs.ts';

const otherUser = findOtherUser();
if (typeof otherUser === 'string') console.log(`tests of another user are skipped: ${otherUser}`);
const NOBODY = Number(otherUser);
const root = temporaryFolder();
const own = ownedByTest();

/** What a process of another user says of its start, with a server that it may run. */
async function startAsNobody(folder: string, context: TestContext): Promise<string> {
  const cacheFolder = join(root, 'cache');
  if (!existsSync(cacheFolder) && !copyProvisioned(cacheFolder))
    skipBecause(context, 'this machine has not fetched a server');
  chmodSync(root, 0o755);
  const child = own(startEmbeddedProcess(folder, { uid: NOBODY, env: { HOME: root }, embedded: { cacheFolder } }));
  return child.says(/^(failed|owner) /);
}

function ownedByNobody(...folders: string[]): void {
  for (const folder of folders) {
    mkdirSync(folder, { recursive: true });
    chownSync(folder, NOBODY, NOBODY);
  }
}

describe('a data folder cannot be used', () => {
  test('when a file is in its place: the error says how to choose another', async () => {
    const file = join(root, 'a-file');
    writeFileSync(file, '');
    const error = await failureOf(startEmbedded(embeddedOptions(file)), 'FOLDER_UNUSABLE');
    expect(error.message).toContain(`the data folder ${join(file, 'redis')} cannot be used: ENOTDIR`);
    expect(error.message).toContain('Mend it, or set MILLRACE_DATA to another folder');
    expect(error.facts).toEqual({ folder: join(file, 'redis'), reason: 'ENOTDIR' });
  });

  test('when it is read-only', async (context) => {
    const disk = mountTmpfs(32);
    if (typeof disk === 'string') return skipBecause(context, disk);
    own(disk);
    mkdirSync(join(disk.folder, 'made', 'redis'), { recursive: true });
    disk.makeReadOnly();
    for (const name of ['new', 'made']) {
      const started = startEmbedded(embeddedOptions(join(disk.folder, name)));
      expect((await failureOf(started, 'FOLDER_UNUSABLE')).message).toContain('EROFS: read-only file system');
    }
  });

  describe.runIf(typeof otherUser === 'number')('as another user than root', () => {
    test('when it is of root', async (context) => {
      const folder = join(root, 'not-mine');
      mkdirSync(join(folder, 'redis'), { recursive: true });
      const said = await startAsNobody(folder, context);
      expect(said).toMatch(/^failed FOLDER_UNUSABLE the data folder .*EACCES.* MILLRACE_DATA/);
    });

    test('when the folder above is of root', async (context) => {
      const folder = join(root, 'parent-not-mine');
      mkdirSync(folder, { recursive: true });
      const said = await startAsNobody(join(folder, 'data'), context);
      expect(said).toMatch(/^failed FOLDER_UNUSABLE the data folder .*EACCES.* MILLRACE_DATA/);
    });

    test('when a file in it is of root, as after one start with sudo', async (context) => {
      const folder = join(root, 'mostly-mine');
      ownedByNobody(folder, join(folder, 'redis'));
      writeFileSync(join(folder, 'redis', 'redis.log'), '', { mode: 0o600 });
      const said = await startAsNobody(folder, context);
      expect(said).toMatch(/^failed FOLDER_UNUSABLE the data folder .*EACCES.*redis\.log/);
    });

    test('but can, when it is its own', async (context) => {
      const folder = join(root, 'mine');
      ownedByNobody(folder);
      expect(await startAsNobody(folder, context)).toMatch(/^owner /);
    });
  });

  test('when its disk is nearly full: the error says how much is needed', async (context) => {
    const disk = mountTmpfs(10);
    if (typeof disk === 'string') return skipBecause(context, disk);
    own(disk);
    const error = await failureOf(startEmbedded(embeddedOptions(disk.folder)), 'FOLDER_UNUSABLE');
    expect(error.message).toMatch(/only \d+ MB are free there, 16 MB are needed/);
    expect(error.facts['reason']).toBe('ENOSPC');
    expect(readdirSync(join(disk.folder, 'redis'))).toEqual(['owner.1']);
  });
});

describe('a disk that fills up while the server runs', () => {
  test('makes the platform not ready, with the reason, until there is space again; nothing acknowledged is lost', async (context) => {
    const disk = mountTmpfs(24);
    if (typeof disk === 'string') return skipBecause(context, disk);
    own(disk);
    const { folder, cacheFolder, server } = embeddedOptions(disk.folder);
    const options = { embedded: { folder, cacheFolder, server }, log: collectLog().log };
    const platform = own(createPlatform(options));
    await platform.start();
    expect((await platform.ready()).ok).toBe(true);
    await platform.redis.commands().set('key', 'acknowledged');

    disk.fill();
    const health = await eventually(async () => {
      const found = await platform.ready();
      expect(found.ok).toBe(false);
      return found;
    });
    expect(health.checks['redis']?.reason).toContain('it could not write to its disk');
    expect((await platform.alive()).ok, 'a restart would not help').toBe(true);

    const guest = own(createPlatform(options));
    await guest.start();
    expect((await guest.ready()).ok, 'who comes now is told too').toBe(false);

    disk.free();
    await eventually(async () => expect((await platform.ready()).ok).toBe(true));
    await platform.redis.commands().set('another', 'acknowledged');
    await guest.stop();
    await platform.stop();
    const next = own(await startEmbedded(embeddedOptions(disk.folder)));
    expect(await askEmbedded(next, (redis) => redis.mget('key', 'another'))).toEqual(['acknowledged', 'acknowledged']);
  });

  test('does not keep the owner from letting go of the folder', async (context) => {
    const disk = mountTmpfs(24);
    if (typeof disk === 'string') return skipBecause(context, disk);
    own(disk);
    const embedded = own(await startEmbedded(embeddedOptions(disk.folder)));
    disk.fill();
    await embedded.stop();
    expect(statSync(join(disk.folder, 'redis', 'owner.1')).size).toBe(0);
    await failureOf(startEmbedded(embeddedOptions(disk.folder)), 'FOLDER_UNUSABLE');
    expect(processesNaming(disk.folder)).toEqual([]);
    disk.free();
    expect(own(await startEmbedded(embeddedOptions(disk.folder))).isOwner).toBe(true);
  });
});
