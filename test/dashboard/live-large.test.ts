/** What a look costs where there are thousands of queues, and what comes of looks that take long. */
import { afterEach, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { Collector, type CollectorParts } from '../../dashboard/live/collector.ts';
import { Observer, type Look } from '../../dashboard/live/look.ts';
import type { Snapshot } from '../../dashboard/live/snapshot.ts';
import { createLogger, defineJob } from '../../src/index.ts';
import { createJobKeys } from '../../src/jobs/queue-names.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { ownedDashboards, ownedPlatform } from './support.ts';

const QUEUES = 3_000;
const USED = 5;
const platform = ownedPlatform();
const open = ownedDashboards(platform);
const own = ownedByTest();
const jobs = Array.from({ length: USED }, (_, place) => defineJob({ name: `used-${place}.run`, input: z.object({}) }));
const WATCHED = { recentMs: 900_000, rates: () => true, stream: () => true };

beforeAll(async () => {
  for (const contract of jobs) await platform().jobs.enqueue(contract, {});
  const names = Array.from({ length: QUEUES - USED }, (_, place) => `idle-${place}`);
  await platform().redis.commands().sadd(createJobKeys(platform().prefix).queues, names);
});

/** Commands of all clients so far, also those that scripts have run. */
async function commands(): Promise<number> {
  const text = await platform().redis.commands().info('commandstats');
  return [...text.matchAll(/cmdstat_[^:]+:calls=(\d+)/g)].reduce((sum, [, calls]) => sum + Number(calls), 0);
}

test('a look at thousands of queues, few of them used, sees all of them by a few commands each', async () => {
  const observer = new Observer(platform(), { watched: WATCHED, everyMs: 5_000 });
  const before = await commands();
  const look = await observer.look();
  const first = (await commands()) - before;
  const later: number[] = [];
  for (let round = 0; round < 2; round += 1) {
    const soFar = await commands();
    await observer.look();
    later.push((await commands()) - soFar);
  }
  expect([look.queues.length, look.unseen.queues.size]).toEqual([QUEUES, 0]);
  expect(look.found.totals.waiting).toBe(USED);
  expect(look.found.queues.slice(0, USED).map(({ name }) => name)).toEqual(jobs.map(({ queue }) => queue));
  expect(look.recent.size).toBe(1_200);
  // The first one writes that nothing waits in them. Then this is known for the minute, the edge of which may lie between two looks.
  expect(first).toBeLessThan(15 * QUEUES);
  expect(Math.min(...later)).toBeLessThan(4 * QUEUES);
});

test('the overview does not look beside the collector: while there are no figures, it says so', async () => {
  // Somebody else has the lease, and tells nothing.
  const lock = await platform().locks.acquire('dashboard.collector', { ttl: '1m' });
  const { browserAs } = await open();
  const viewer = await browserAs('viewer');
  const before = await commands();
  const page = await viewer.get('/');
  expect(page.body).toContain('The first figures are on their way');
  expect(page.headers['refresh']).toBe('3');
  expect((await commands()) - before).toBeLessThan(QUEUES);
  await lock.release();
  await eventually(async () => {
    const body = (await viewer.get('/')).body;
    expect(body).toContain('200 of 3000 queues');
    expect(body).toContain('data-live="queue:used-0:waiting"');
  }, 30_000);
}, 60_000);

/** A collector of looks that the test makes. */
function collectorOf(parts: Pick<CollectorParts, 'observer' | 'judge'>): { collector: Collector; told: Snapshot[] } {
  const told: Snapshot[] = [];
  const collector = own(
    new Collector({
      platform: platform(),
      log: createLogger({ level: 'silent' }),
      everyMs: 100,
      longestLookMs: 1_000,
      isWanted: () => true,
      onSnapshot: (snapshot) => told.push(snapshot),
      ...parts,
    }),
  );
  collector.start();
  return { collector, told };
}

let letGo: () => void = () => undefined;
afterEach(() => letGo());
const held = (): Promise<void> =>
  new Promise((resolve) => {
    letGo = resolve;
  });

test('a look that is late is told as trouble, and no other one judges beside it', async () => {
  const observer = { look: async () => ({ at: 1, found: {} }) } as unknown as Observer;
  const looked: Look[] = [];
  let most = 0;
  let judging = 0;
  const holding = held();
  const { collector, told } = collectorOf({
    observer,
    async judge(look) {
      looked.push(look);
      most = Math.max(most, (judging += 1));
      if (looked.length === 1) await holding;
      judging -= 1;
      return undefined;
    },
  });
  await eventually(() => expect(looked).toHaveLength(1), 10_000);
  await eventually(() => expect(collector.trouble).toMatchObject({ code: 'REDIS_TIMEOUT' }), 10_000);
  letGo();
  await eventually(() => expect(told.length).toBeGreaterThan(1), 10_000);
  expect(most).toBe(1);
  expect(told[0]?.everyMs).toBeGreaterThanOrEqual(100);
}, 30_000);
