/** The ways back of docs/operations.md: a backup is restored, and every job that was in it runs. */
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { handle } from '../../src/jobs/handler.ts';
import { silentLogger } from '../../src/log.ts';
import { createPlatform, type Platform } from '../../src/platform.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const own = ownedByTest();
const prefix = `t-${randomUUID()}`;
const count = defineJob({ name: 'backup.count', input: z.object({ index: z.number() }), attempts: 1 });

async function platformOn(server: TestServer): Promise<Platform> {
  const platform = own(createPlatform({ redis: { url: server.url }, prefix, log: silentLogger }));
  await platform.start();
  return platform;
}

const persistence = (server: TestServer, field: string): Promise<string | undefined> =>
  server.info().then(({ fields }) => fields.get(field));

/** Whether all that waited in the backup runs, what was delayed included. */
async function expectAllToRun(server: TestServer): Promise<void> {
  const platform = await platformOn(server);
  const seen: number[] = [];
  const worker = await platform.work({ handlers: [handle(count, ({ index }) => void seen.push(index))] });
  await eventually(() => expect(seen.toSorted((left, right) => left - right)).toEqual([0, 1, 2, 3]), 30_000);
  await worker.stop();
  expect(await platform.locks.list()).toMatchObject({ locks: [{ name: 'kept' }] });
  await platform.stop();
}

test('a snapshot is restored into a server with an append-only file, which then carries the data alone', async () => {
  const first = own(await startRedis({ persistent: true }));
  const platform = await platformOn(first);
  await platform.jobs.enqueueMany(count, [{ index: 0 }, { index: 1 }, { index: 2 }]);
  await platform.jobs.enqueue(count, { index: 3 }, { delay: '2s' });
  await platform.locks.acquire('kept', { ttl: '1h', autoExtend: false });
  await first.ask((redis) => redis.bgsave());
  await eventually(async () => expect(await persistence(first, 'rdb_bgsave_in_progress')).toBe('0'));

  const second = own(await startRedis());
  await second.kill();
  cpSync(join(first.folder, 'dump.rdb'), join(second.folder, 'dump.rdb'));
  await second.startAgain(); // appendonly no, as the page says
  await second.ask((redis) => redis.call('CONFIG', 'SET', 'appendonly', 'yes'));
  await eventually(async () => {
    const states = ['aof_rewrite_in_progress', 'aof_rewrite_scheduled', 'aof_enabled'];
    expect(await Promise.all(states.map((field) => persistence(second, field)))).toEqual(['0', '0', '1']);
  });

  // From the append-only file alone, in another server: the second way of the page.
  const third = own(await startRedis({ persistent: true }));
  await Promise.all([second.kill(), third.kill()]);
  rmSync(join(third.folder, 'appendonlydir'), { recursive: true, force: true });
  cpSync(join(second.folder, 'appendonlydir'), join(third.folder, 'appendonlydir'), { recursive: true });
  await third.startAgain();
  await expectAllToRun(third);
});

test('the trap is there: with an append-only file switched on, a server does not look at the snapshot beside it', async () => {
  const server = own(await startRedis());
  await server.ask((redis) => redis.set('kept', 'yes'));
  await server.ask((redis) => redis.save());
  await server.kill();
  const trapped = own(await startRedis({ persistent: true }));
  await trapped.kill();
  rmSync(join(trapped.folder, 'appendonlydir'), { recursive: true, force: true });
  cpSync(join(server.folder, 'dump.rdb'), join(trapped.folder, 'dump.rdb'));
  await trapped.startAgain();
  expect(await trapped.ask((redis) => redis.dbsize())).toBe(0);
});
