/** What is declared and what is kept in Redis agree after a start, however many start. */
import { randomUUID } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { schedule } from '../../../src/jobs/schedules/schedule.ts';
import { startForFile } from '../../contract/topologies.ts';
import { failureOf } from '../../support/failures.ts';
import { ownedByTest } from '../../support/owned.ts';
import { defineJob } from '../../../src/jobs/contract.ts';
import { report, sweep, TestTime, Workplace } from './workplace.ts';

const nightly = schedule(report, { kind: 'sales' }, { id: 'nightly', cron: '30 2 * * *', timeZone: 'Europe/Berlin' });
const sweeping = schedule(sweep, {}, { every: '5m' });
const nothing = { added: [], changed: [], removed: [], unchanged: [], newer: [] };

describe.each(['standalone', 'cluster'] as const)('on %s', (topology) => {
  const running = startForFile(topology);
  const own = ownedByTest();
  const time = new TestTime('2026-03-01T00:00:00Z');
  beforeEach(() => time.set('2026-03-01T00:00:00Z'));
  const open = (prefix: string = `t-${randomUUID()}`): Workplace =>
    own(new Workplace(running().redis, { prefix, nowMs: time.nowMs }));

  test('what is declared is there, with its next run', async () => {
    const { schedules } = open();
    expect(await schedules.reconcile([nightly, sweeping])).toEqual({ ...nothing, added: ['nightly', 'carts.sweep'] });
    expect(await schedules.list()).toMatchObject([
      {
        id: 'carts.sweep',
        contract: 'carts.sweep',
        queue: 'carts',
        everyMs: 300_000,
        input: {},
        missed: 0,
        overdueMs: 0,
      },
      {
        id: 'nightly',
        contract: 'report.build',
        queue: 'report',
        cron: '30 2 * * *',
        timeZone: 'Europe/Berlin',
        input: { kind: 'sales' },
        missedPolicy: 'one',
        nextRunAt: Date.parse('2026-03-01T01:30:00Z'),
      },
    ]);
    expect(await schedules.reconcile([nightly, sweeping])).toEqual({
      ...nothing,
      unchanged: ['nightly', 'carts.sweep'],
    });
  });

  test('many that start at once add each schedule once', async () => {
    const first = open();
    const others = Array.from({ length: 5 }, () => open(first.prefix));
    const outcomes = await Promise.all(
      [first, ...others].map((place) => place.schedules.reconcile([nightly, sweeping])),
    );
    expect(outcomes.flatMap(({ added }) => added).toSorted()).toEqual(['carts.sweep', 'nightly']);
    expect(await first.schedules.list()).toHaveLength(2);
  });

  test('what is declared otherwise is changed, and goes on where only the input is another', async () => {
    const place = open();
    await place.schedules.reconcile([sweeping, nightly]);
    time.pass(150_000);
    const other = schedule(report, { kind: 'stock' }, { id: 'nightly', cron: '0 4 * * *' });
    expect(await place.schedules.reconcile([sweeping, other])).toMatchObject({ changed: ['nightly'] });
    expect(await place.schedules.get('nightly')).toMatchObject({
      input: { kind: 'stock' },
      timeZone: 'UTC',
      nextRunAt: Date.parse('2026-03-01T04:00:00Z'),
    });
  });

  test('what came due by the old times is settled by them before the new ones count', async () => {
    const place = open();
    const hourly = schedule(report, { kind: 'old' }, { id: 'hourly', every: '1h', missed: 'all' });
    await place.schedules.reconcile([hourly]);
    time.pass(2 * 3_600_000);
    await place.schedules.reconcile([schedule(report, { kind: 'new' }, { id: 'hourly', every: '2h' })]);
    expect(await place.waiting('report')).toHaveLength(2);
    expect(await place.schedules.get('hourly')).toMatchObject({ everyMs: 7_200_000, late: 1 });
  });

  test('what is no longer declared is removed, what another application declared is left', async () => {
    const place = open();
    await place.schedules.reconcile([nightly, sweeping]);
    const theirs = schedule(report, { kind: 'theirs' }, { id: 'theirs', every: '1h' });
    await place.schedules.reconcile([theirs], { owner: 'billing' });
    expect(await place.schedules.reconcile([sweeping])).toMatchObject({ removed: ['nightly'] });
    expect((await place.schedules.list()).map(({ id }) => id)).toEqual(['carts.sweep', 'theirs']);
    time.pass(2 * 86_400_000);
    await place.tick();
    expect((await place.waiting('report')).every((id) => id.startsWith('theirs@'))).toBe(true);
  });

  test('a schedule of another application is not taken over, and the others are not lost', async () => {
    const place = open();
    await place.schedules.reconcile([nightly], { owner: 'billing' });
    const error = await failureOf(place.schedules.reconcile([nightly], { owner: 'shop' }), 'OPTIONS_INVALID');
    expect(error).toMatchObject({ code: 'OPTIONS_INVALID', facts: { id: 'nightly', declaredBy: 'billing' } });
    expect(await place.schedules.remove('nightly')).toBe(true);
    expect(await place.schedules.reconcile([nightly], { owner: 'shop' })).toMatchObject({ added: ['nightly'] });
  });

  test('an old version that starts again during a deploy changes nothing', async () => {
    const place = open();
    const next = schedule(report, { kind: 'next' }, { id: 'nightly', every: '1h' });
    await place.schedules.reconcile([nightly, sweeping], { revision: 7 });
    await place.schedules.reconcile([next], { revision: 8 });
    expect(await place.schedules.reconcile([nightly, sweeping], { revision: 7 })).toEqual({
      ...nothing,
      newer: ['nightly', 'carts.sweep'],
    });
    expect(await place.schedules.list()).toMatchObject([{ id: 'nightly', input: { kind: 'next' }, revision: 8 }]);
  });

  test('of many that start at once the newest revision is remembered', async () => {
    const place = open();
    const revisions = Array.from({ length: 10 }, (_, index) => 10 - index);
    await Promise.all(revisions.map((revision) => place.schedules.reconcile([], { revision })));
    expect(await place.schedules.reconcile([nightly], { revision: 9 })).toEqual({ ...nothing, newer: ['nightly'] });
  });

  test('without revisions, who starts last wins', async () => {
    const place = open();
    const next = schedule(report, { kind: 'next' }, { id: 'nightly', every: '1h' });
    await place.schedules.reconcile([next]);
    await place.schedules.reconcile([nightly]);
    expect(await place.schedules.get('nightly')).toMatchObject({ input: { kind: 'sales' } });
  });

  test('a schedule whose queue is another one goes there with its history', async () => {
    const moved = defineJob({ name: 'report.build', queue: 'slow', input: report.input });
    const first = open();
    const others = [open(first.prefix), open(first.prefix)];
    await first.schedules.reconcile([schedule(report, { kind: 'a' }, { id: 'hourly', every: '1h' })]);
    time.pass(3_600_000);
    await first.tick();
    const next = schedule(moved, { kind: 'a' }, { id: 'hourly', every: '1h' });
    const outcomes = await Promise.all([first, ...others].map(({ schedules }) => schedules.reconcile([next])));
    expect(outcomes.flatMap(({ added }) => added).length).toBeLessThanOrEqual(1);
    expect(await first.schedules.list()).toMatchObject([{ queue: 'slow', lastRunAt: time.atMs }]);
    time.pass(3_600_000);
    await Promise.all([first, ...others].map((place) => place.tick()));
    expect(await first.waiting('report')).toHaveLength(1);
    expect(await first.waiting('slow')).toHaveLength(1);
    // And back, as after a rollback.
    await first.schedules.reconcile([schedule(report, { kind: 'a' }, { id: 'hourly', every: '1h' })]);
    expect(await first.schedules.list()).toMatchObject([{ queue: 'report' }]);
  });

  test('a bad input is refused before anything is written', async () => {
    const place = open();
    const bad = schedule(report, { kind: 7 } as never, { id: 'bad', every: '1h' });
    const error = await failureOf(place.schedules.reconcile([nightly, bad]), 'INPUT_INVALID');
    expect(error.message).toContain('kind');
    await failureOf(place.schedules.reconcile([nightly, nightly]), 'OPTIONS_INVALID');
    expect(await place.schedules.list()).toEqual([]);
  });
});
