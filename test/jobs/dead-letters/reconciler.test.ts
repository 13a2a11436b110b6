import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { systemClock, type Clock } from '../../../src/clock.ts';
import { Reconciler, type ReconcilerOptions } from '../../../src/jobs/dead-letters/reconciler.ts';
import type { RetentionWarning } from '../../../src/jobs/dead-letters/retention.ts';
import { startForFile } from '../../contract/topologies.ts';
import { eventually } from '../../support/eventually.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis } from '../../support/servers.ts';
import { Graves } from './graves.ts';

const running = startForFile('standalone');
const own = ownedByTest();
const graves = (): Graves => own(new Graves(running().redis));

function reconciler({ queues, mover, transactions }: Graves, options: Partial<ReconcilerOptions> = {}): Reconciler {
  return own(new Reconciler({ queues, mover, transactions, afterMs: -1_000, ...options }));
}

/** A clock that goes ahead of the machine's. */
function ahead(ms: number): Clock {
  return { ...systemClock, wallMs: () => systemClock.wallMs() + ms };
}

test('a round moves what lies in failed, of all known queues', async () => {
  const all = graves();
  for (let index = 0; index < 130; index++) await all.fail({ id: `m${index}` });
  await all.fail({ id: 'b', queue: 'billing' });
  expect(await reconciler(all).round()).toEqual({
    outcomes: { moved: 131, gone: 0, cancelled: 0, left: 0 },
    failed: [],
  });
  expect((await all.states()).dead).toHaveLength(130);
  expect((await all.states('billing')).dead).toEqual(['b~0']);
});

test('what failed a moment ago is left to its worker', async () => {
  const all = graves();
  await all.fail({ id: 'a' });
  expect((await reconciler(all, { afterMs: 5_000 }).round()).outcomes.moved).toBe(0);
  expect((await reconciler(all, { afterMs: 5_000, clock: ahead(5_100) }).round()).outcomes.moved).toBe(1);
});

test('what was cancelled is told and passed over, and does not hide the rest', async () => {
  const all = graves();
  for (let index = 0; index < 110; index++) await all.fail({ id: `c${index}`, record: { outcome: 'cancelled' } });
  await all.fail({ id: 'a' });
  const cancelled: string[] = [];
  const onCancelled = async (_queue: string, id: string) => void cancelled.push(id);
  const { outcomes } = await reconciler(all, { onCancelled }).round();
  expect(outcomes).toEqual({ moved: 1, gone: 0, cancelled: 110, left: 0 });
  expect(cancelled).toHaveLength(110);
  expect((await all.states()).dead).toEqual(['a~0']);
});

test('runs again and again, once started, and may be started and stopped in any order', async () => {
  const all = graves();
  const one = reconciler(all, { everyMs: 20 });
  await one.stop();
  one.start();
  one.start();
  await all.fail({ id: 'a' });
  await eventually(async () => expect((await all.states()).dead).toEqual(['a~0']));
  await one.stop();
  await one.stop();
  await all.fail({ id: 'b' });
  expect((await all.states()).failed).toEqual(['b']);
  one.start();
  await eventually(async () => expect((await all.states()).dead).toEqual(['b~0', 'a~0']));
});

test('several at once move each job once', async () => {
  const prefix = randomUUID();
  const all = [0, 1, 2].map(() => own(new Graves(running().redis, { prefix })));
  for (let index = 0; index < 60; index++) await all[0]?.fail({ id: `m${index}` });
  const rounds = await Promise.all(all.map((one) => reconciler(one).round()));
  expect(rounds.reduce((sum, { outcomes }) => sum + outcomes.moved, 0)).toBe(60);
  expect((await all[0]?.states())?.dead).toHaveLength(60);
});

test('while Redis is down a round tells so, and the next one does the work', async () => {
  const server = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
  const all = own(new Graves({ url: server.url }));
  await all.fail({ id: 'a' });
  const one = reconciler(all, { queueNames: ['mail'] });
  await server.kill();
  expect((await one.round()).failed.length).toBeGreaterThan(0);
  await server.startAgain();
  await eventually(async () =>
    expect((await one.round()).outcomes.moved + (await all.letters.count())).toBeGreaterThan(0),
  );
  expect((await all.states()).dead).toEqual(['a~0']);
});

test('letters over the count are dropped, the oldest first, and not without a warning before', async () => {
  const all = graves();
  const told: string[] = [];
  const warnings: RetentionWarning[] = [];
  const options = {
    retention: { count: 10 },
    onWarning: (warning: RetentionWarning) => {
      warnings.push(warning);
      told.push(`warned ${warning.limit}`);
    },
    onDropped: (queue: string, count: number, limit: string) => void told.push(`dropped ${count} ${queue} ${limit}`),
  };
  const one = reconciler(all, options);
  for (let index = 0; index < 7; index++) await all.fail({ id: `m${index}` });
  await one.round();
  expect(told).toEqual([]);
  await all.fail({ id: 'm7' });
  await one.round();
  expect(told).toEqual(['warned count']);
  expect(warnings[0]).toMatchObject({ queue: 'mail', limit: 'count', letters: 8 });
  for (let index = 8; index < 13; index++) await all.fail({ id: `m${index}` });
  await one.round();
  expect(told).toEqual(['warned count', 'warned count', 'dropped 3 mail count']);
  expect((await all.states()).dead.toReversed()).toEqual(Array.from({ length: 10 }, (_, index) => `m${index + 3}~0`));
});

test('letters that are too old are dropped, a day after a warning', async () => {
  const day = 86_400_000;
  const all = graves();
  const told: string[] = [];
  const round = (clock: Clock) =>
    reconciler(all, {
      clock,
      onWarning: ({ limit }) => told.push(`warned ${limit}`),
      onDropped: (_queue, count) => void told.push(`dropped ${count}`),
    }).round();
  for (let index = 0; index < 70; index++) await all.fail({ id: `m${index}` });
  await round(systemClock);
  await round(ahead(28.9 * day));
  expect(told).toEqual([]);
  await round(ahead(29.1 * day));
  expect(told).toEqual(['warned age']);
  await all.fail({ id: 'young' });
  await round(ahead(30.1 * day));
  expect(told.slice(1)).toEqual(['warned age', 'dropped 50', 'dropped 21']);
  expect((await all.states()).dead).toEqual([]);
});
