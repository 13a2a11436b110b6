/** The platform on a Cluster that loses a master without a replica. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPlatform } from '../src/platform.ts';
import { eventually } from './support/eventually.ts';
import { ownedByTest } from './support/owned.ts';
import { startCluster, type TestCluster } from './support/servers.ts';

const own = ownedByTest();
let cluster: TestCluster;
beforeAll(async () => {
  // Such a Cluster goes on with the slots that are left, so that only some queues would stand still.
  cluster = await startCluster({ replicas: false, config: { 'cluster-require-full-coverage': 'no' } });
});
afterAll(() => cluster.stop());

test('a Cluster that serves a part of its slots is not ready, says how many, and is ready again by itself', async () => {
  const platform = own(createPlatform({ redis: { cluster: cluster.addresses }, log: { level: 'silent' } }));
  await platform.start();
  expect(await platform.ready()).toMatchObject({ ok: true });

  const lost = await cluster.masterOf(0);
  await lost.kill();
  await eventually(async () => {
    const { ok, checks } = await platform.ready();
    expect(ok).toBe(false);
    expect(checks['redis']?.reason).toMatch(/does not serve all of its slots \(109\d\d of 16384/);
  });
  expect(await platform.alive()).toMatchObject({ ok: true });

  await lost.startAgain();
  await eventually(async () => expect(await platform.ready()).toMatchObject({ ok: true }), 20_000);
});
