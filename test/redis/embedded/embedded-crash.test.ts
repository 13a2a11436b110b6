/** What is left after something was killed: the owner, the server, the shell between them, or all but one. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startEmbedded, type EmbeddedOptions, type EmbeddedRedis } from '../../../src/redis/embedded/embedded.ts';
import { isRunning, signalProcess } from '../../../src/redis/embedded/process-identity.ts';
import type { Child } from '../../support/child.ts';
import { askEmbedded, embeddedOptions, serverPid, startEmbeddedProcess } from '../../support/embedded.ts';
import { eventually } from '../../support/eventually.ts';
import { temporaryFolder } from '../../support/folders.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { processEntry, processesNaming, processesWhere } from '../../support/process-table.ts';

const root = temporaryFolder();
const own = ownedByTest();
let folders = 0;

function newFolder(): string {
  return join(root, String((folders += 1)));
}

async function start(folder: string, changes: Partial<EmbeddedOptions> = {}): Promise<EmbeddedRedis> {
  return own(await startEmbedded(embeddedOptions(folder, changes)));
}

/** An owner in a process of its own, with a value in its server. */
async function startOwner(folder: string): Promise<{ owner: Child; url: string; port: number; pid: number }> {
  const owner = own(startEmbeddedProcess(folder));
  const { url, port } = JSON.parse(await owner.says('owner')) as { url: string; port: number };
  await askEmbedded({ url }, (redis) => redis.set('key', 'acknowledged'));
  return { owner, url, port, pid: serverPid(folder) };
}

async function expectRecovered(folder: string, embedded: EmbeddedRedis): Promise<void> {
  expect(embedded.isOwner).toBe(true);
  expect(await askEmbedded(embedded, (redis) => redis.get('key'))).toBe('acknowledged');
  expect(processesNaming(join(folder, 'redis', 'redis.conf')).length, 'one shell, its watch, one server').toBe(3);
}

describe('when the owner is killed', () => {
  test('its server ends by itself, in the ordinary way', async () => {
    const folder = newFolder();
    const { owner, pid } = await startOwner(folder);
    owner.signal('SIGKILL');
    await eventually(() => expect(isRunning(pid)).toBe(false), 3_000);
    await eventually(() => expect(processesNaming(folder)).toEqual([]));
  });

  test('a start at once afterwards finds the data, the port and the socket', async () => {
    const folder = newFolder();
    const { owner, url, port } = await startOwner(folder);
    owner.signal('SIGKILL');
    await owner.ended;
    const embedded = await start(folder);
    expect(embedded).toMatchObject({ url, port });
    await expectRecovered(folder, embedded);
    expect(readdirSync(join(folder, 'redis')).filter((file) => file.startsWith('owner'))).toEqual(['owner.2']);
  });

  test('with its shell, the server that is left behind is ended before another one starts', async () => {
    const folder = newFolder();
    const { owner, pid } = await startOwner(folder);
    const group = processEntry(pid)?.group;
    owner.signal('SIGSTOP'); // So that it cannot see what happens to them.
    for (const entry of processesWhere((one) => one.group === group && one.pid !== pid))
      signalProcess(entry.pid, 'SIGKILL');
    owner.signal('SIGKILL');
    await owner.ended;
    expect(isRunning(pid)).toBe(true);
    const { log, warnings } = collectLog();
    const embedded = await start(folder, { log });
    expect(isRunning(pid)).toBe(false);
    expect(warnings().map(({ msg }) => msg)).toEqual([
      'the redis-server of an owner that was killed still runs; ending it',
    ]);
    await expectRecovered(folder, embedded);
  });

  test('a guest becomes the owner with its next start, not before', async () => {
    const folder = newFolder();
    const { owner } = await startOwner(folder);
    const guest = await start(folder);
    expect(guest.isOwner).toBe(false);
    owner.signal('SIGKILL');
    await owner.ended;
    await expectRecovered(folder, await start(folder));
    expect(await askEmbedded(guest, (redis) => redis.get('key')), 'at the same address').toBe('acknowledged');
  });

  test('of several that start at once, one recovers the data and all use it', async () => {
    const folder = newFolder();
    const { owner } = await startOwner(folder);
    owner.signal('SIGKILL');
    await owner.ended;
    const all = await Promise.all([start(folder), start(folder), start(folder)]);
    expect(all.filter(({ isOwner }) => isOwner)).toHaveLength(1);
    for (const one of all) expect(await askEmbedded(one, (redis) => redis.get('key'))).toBe('acknowledged');
  });

  test('again and again, nothing is lost and nothing piles up', async () => {
    const folder = newFolder();
    for (let round = 0; round < 2; round++) {
      const { owner, url } = await startOwner(folder);
      expect(await askEmbedded({ url }, (redis) => redis.rpush('rounds', round))).toBe(round + 1);
      owner.signal('SIGKILL');
      await owner.ended;
    }
    const embedded = await start(folder);
    expect(await askEmbedded(embedded, (redis) => redis.lrange('rounds', 0, -1))).toEqual(['0', '1']);
    expect(readdirSync(join(folder, 'redis')).toSorted()).toEqual([
      'appendonlydir',
      'owner.3',
      'port',
      'redis.conf',
      'redis.log',
      'redis.pid',
      'redis.sock',
    ]);
  });
});

describe('when the server is killed', () => {
  test('it is started again with its data, at the same port and socket', async () => {
    const folder = newFolder();
    const { log, all } = collectLog();
    const embedded = await start(folder, { log });
    await askEmbedded(embedded, (redis) => redis.set('key', 'acknowledged'));
    const pid = serverPid(folder);
    process.kill(pid, 'SIGKILL');
    await eventually(async () => {
      expect(await askEmbedded(embedded, (redis) => redis.get('key'))).toBe('acknowledged');
      expect(serverPid(folder)).not.toBe(pid);
    });
    expect((await askEmbedded(embedded, (redis) => redis.config('GET', 'port')))[1]).toBe(String(embedded.port));
    expect(embedded.failure()).toBeUndefined();
    await eventually(() => expect(all().at(-1)?.msg).toBe('the embedded Redis runs again'));
    expect(all()[0]?.msg).toContain('the embedded redis-server stopped by itself (exit 137)');
  });

  test('a start in that moment waits until it runs again', async () => {
    const folder = newFolder();
    const embedded = await start(folder);
    process.kill(serverPid(folder), 'SIGKILL');
    const guest = await start(folder);
    expect(guest.isOwner).toBe(false);
    expect(await askEmbedded(guest, (redis) => redis.ping())).toBe('PONG');
    await embedded.stop();
  });

  test('more often than five times in a minute it stays down, and says why', async () => {
    const folder = newFolder();
    const { log, warnings } = collectLog();
    const embedded = await start(folder, { log });
    for (let kills = 0; kills < 6; kills++) {
      const pid = await eventually(async () => {
        const found = serverPid(folder);
        expect(await askEmbedded(embedded, (redis) => redis.info('server'))).toContain(`process_id:${found}\r`);
        return found;
      });
      process.kill(pid, 'SIGKILL');
    }
    await eventually(() => expect(embedded.failure()?.code).toBe('SERVER_START_FAILED'));
    expect(embedded.failure()?.message).toMatch(/stopped (by itself|at once) \(exit 137\)/);
    expect(warnings().at(-1)?.msg).toContain('has stopped 6 times in a minute and stays down');
    expect(processesNaming(folder)).toEqual([]);
    await embedded.stop();
    expect((await start(folder)).isOwner, 'a new start begins anew').toBe(true);
  });

  test('and the owner stops in that moment, no server is left', async () => {
    for (let round = 0; round < 3; round++) {
      const folder = newFolder();
      const embedded = await start(folder);
      process.kill(serverPid(folder), 'SIGKILL');
      // Each round stops a little later in the restart.
      for (let turn = 0; turn < round * 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      await embedded.stop();
      expect(processesNaming(folder)).toEqual([]);
      expect((await start(folder)).isOwner).toBe(true);
    }
  });
});

test('when the folder is removed under an owner, a later owner is not disturbed by the first one', async () => {
  const folder = newFolder();
  const first = await start(folder);
  rmSync(folder, { recursive: true });
  const second = await start(folder);
  expect(second.isOwner).toBe(true);
  await first.stop();
  const third = own(startEmbeddedProcess(folder, { embedded: { silentWithinMs: 200 } }));
  expect(await third.says(/^(owner|guest|failed) /), 'the second one owns the folder still').not.toMatch(/^owner/);
  await second.stop();
});
