/** A Cluster one of whose masters does not answer, and has no replica: jobs of the others go on. */
import { Command } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { flow } from '../../src/jobs/flows.ts';
import { schedule } from '../../src/jobs/schedules/schedule.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { contractOf } from '../support/contracts.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
import { ownedJobs } from '../support/jobs.ts';
import { ownedByTest } from '../support/owned.ts';
import { startCluster, type TestCluster, type TestServer } from '../support/servers.ts';
import { Graves } from './dead-letters/graves.ts';
import { Workplace } from './schedules/workplace.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();
let cluster: TestCluster;
let redis: RedisOptions;
/** Has the list of all schedules. */
let away: TestServer;
/** Families by where they are: of the server that is away, of another one, and of one more that shares it. */
let lost: string;
let here: string;
let beside: string;

beforeAll(async () => {
  cluster = await startCluster({ replicas: false, config: { 'cluster-require-full-coverage': 'no' } });
  redis = { cluster: cluster.addresses, commandTimeout: 20_000 };
  const serverOf = (tag: string): Promise<TestServer> =>
    cluster.masterOf(new Command('exists', [`{${tag}}`]).getSlot());
  away = await serverOf('schedules');
  const families = await Promise.all(
    Array.from({ length: 30 }, async (_, index) => ({ name: `f${index}`, server: await serverOf(`f${index}`) })),
  );
  lost = families.find(({ server }) => server === away)?.name ?? '';
  const other = families.find(({ server }) => server !== away);
  [here = '', beside = ''] = families.filter(({ server }) => server === other?.server).map(({ name }) => name);
});
afterEach(() => away.thaw());
afterAll(() => cluster.stop());

test('a flow is enqueued', async () => {
  const { jobs } = jobsOf({ redis });
  const family = flow(contractOf(`${here}.parent`), {}, { children: [flow(contractOf(`${here}.child`), {})] });
  await jobs.enqueueFlow(family);
  for (const node of cluster.nodes) await node.ask((one) => one.script('FLUSH'));
  away.freeze();
  await jobs.enqueueFlow(family);
  away.thaw();
  expect(await jobs.counts(here)).toMatchObject({ waiting: 2, 'waiting-children': 2 });
});

test('ticks come in time', async () => {
  const place = own(new Workplace(redis, {}));
  const every = '1s';
  const ticksOf = (family: string): number => place.settled.filter(({ queue }) => queue === family).length;
  await place.schedules.reconcile([
    schedule(contractOf(`${here}.a`), {}, { every }),
    schedule(contractOf(`${lost}.a`), {}, { every }),
  ]);
  place.schedules.start();
  await eventually(() => expect([ticksOf(here), ticksOf(lost)].every((ticks) => ticks > 0)).toBe(true));
  away.freeze();
  const before = ticksOf(here);
  await eventually(() => expect(ticksOf(here)).toBeGreaterThan(before + 3), 15_000);
  away.thaw();
});

describe('transactions', () => {
  test('of a server that is away hold up no move on another', async () => {
    const all = own(new Graves(redis));
    for (const [id, queue] of [
      ['a', here],
      ['b', here],
      ['c', lost],
      ['d', lost],
    ] as const)
      await all.fail({ id, queue });
    await all.mover.moved(here, 'a');
    await all.mover.moved(lost, 'c');
    away.freeze();
    let isOver = false;
    const waiting = all.mover.moved(lost, 'd').finally(() => (isOver = true));
    expect(await all.mover.moved(here, 'b')).toBe('moved');
    expect(isOver).toBe(false);
    away.thaw();
    expect(await waiting).toBe('moved');
  });

  test('of families that share a server come one after another', async () => {
    const all = own(new Graves(redis));
    await all.transactions.run(here, async () => undefined);
    const first = gate();
    const second = gate();
    const order: string[] = [];
    const one = all.transactions.run(here, async () => {
      second.open();
      await first.opened;
      order.push('first');
    });
    await second.opened;
    const other = all.transactions.run(beside, async () => order.push('second'));
    await all.transactions.run(lost, async () => order.push('elsewhere'));
    first.open();
    await Promise.all([one, other]);
    expect(order).toEqual(['elsewhere', 'first', 'second']);
  });

  test('go on with a new connection after one that was given up', async () => {
    const all = own(new Graves(redis));
    let tries = 0;
    const one = all.transactions.run(here, async () => {
      if (++tries < 3) throw new Error('Connection is closed.');
      return 'one';
    });
    const other = all.transactions.run(beside, async ({ client }) => client.ping());
    expect(await Promise.all([one, other])).toEqual(['one', 'PONG']);
  });
});
