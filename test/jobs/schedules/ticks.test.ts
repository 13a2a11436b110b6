/** Ticks become jobs: each once, however many workers look; what was missed, as the policy says. */
import { describe, expect, test } from 'vitest';
import { defineJob } from '../../../src/jobs/contract.ts';
import { handle } from '../../../src/jobs/handler.ts';
import { schedule, type Schedule, type ScheduleOptions } from '../../../src/jobs/schedules/schedule.ts';
import { startForFile } from '../../contract/topologies.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { ownedJobs } from '../../support/jobs.ts';
import { ownedByTest } from '../../support/owned.ts';
import { report, sweep, TestTime, Workplace } from './workplace.ts';

const HOUR = 3_600_000;
const start = '2026-03-29T00:00:00Z';

const hourly = (more: Partial<ScheduleOptions> = {}): Schedule =>
  schedule(report, { kind: 'a' }, { id: 'hourly', every: '1h', ...more } as ScheduleOptions) as Schedule;

describe.each(['standalone', 'cluster'] as const)('on %s', (topology) => {
  const running = startForFile(topology);
  const own = ownedByTest();
  const jobsOf = ownedJobs();
  const open = (time: TestTime, prefix?: string): Workplace =>
    own(new Workplace(running().redis, { nowMs: time.nowMs, ...(prefix !== undefined && { prefix }) }));

  test('six workers that look at every tick run each once', async () => {
    const time = new TestTime(start);
    const first = open(time);
    const places = [first, ...Array.from({ length: 5 }, () => open(time, first.prefix))];
    await first.schedules.reconcile([hourly({ missed: 'all' }), schedule(sweep, {}, { every: '30m', missed: 'all' })]);
    for (let hour = 0; hour < 12; hour++) {
      time.pass(HOUR);
      await Promise.all(places.map((place) => place.tick()));
      await Promise.all(places.map((place) => place.tick())); // Who lost a race has nothing left to do.
    }
    expect(new Set(await first.waiting('report')).size).toBe(12);
    expect(new Set(await first.waiting('carts')).size).toBe(24);
    const ran = places.flatMap(({ settled }) => settled.flatMap((one) => one.ran));
    expect(ran).toHaveLength(36);
    expect(new Set(ran).size, 'none twice').toBe(36);
  });

  test('a tick at 02:30 runs once on the days when the clock is changed', async () => {
    const time = new TestTime('2026-03-28T12:00:00Z');
    const place = open(time);
    await place.schedules.reconcile([
      schedule(report, { kind: 'a' }, { id: 'r', cron: '30 2 * * *', timeZone: 'Europe/Berlin', missed: 'all' }),
    ]);
    for (let slice = 0; slice < 24 * 4; slice++) {
      time.pass(HOUR / 4);
      await place.tick();
    }
    expect(await place.waiting('report')).toEqual(['r@20260329T013000Z']);
    time.set('2026-10-24T12:00:00Z');
    await place.schedules.remove('r');
    await place.schedules.reconcile([
      schedule(report, { kind: 'a' }, { id: 'a', cron: '30 2 * * *', timeZone: 'Europe/Berlin', missed: 'all' }),
    ]);
    for (let slice = 0; slice < 24 * 4; slice++) {
      time.pass(HOUR / 4);
      await place.tick();
    }
    expect(await place.waiting('report')).toEqual(['r@20260329T013000Z', 'a@20261025T003000Z']);
  });

  test.each([
    ['skip', undefined, [], 3],
    ['one', undefined, ['hourly@20260329T030000Z'], 2],
    ['all', undefined, ['hourly@20260329T010000Z', 'hourly@20260329T020000Z', 'hourly@20260329T030000Z'], 0],
    ['all', 2, ['hourly@20260329T020000Z', 'hourly@20260329T030000Z'], 1],
  ] as const)('after hours without workers, %s (limit %s) runs %j', async (missed, missedLimit, ran, left) => {
    const time = new TestTime(start);
    const first = open(time);
    const places = [first, open(time, first.prefix), open(time, first.prefix)];
    await first.schedules.reconcile([hourly({ missed, missedLimit })]);
    time.pass(3.5 * HOUR);
    expect(await first.schedules.get('hourly')).toMatchObject({ overdueMs: 2.5 * HOUR });
    await Promise.all(places.map((place) => place.tick()));
    expect(await first.waiting('report')).toEqual(ran);
    const info = await first.schedules.get('hourly');
    expect(info).toMatchObject({ missed: left, late: ran.length, nextRunAt: Date.parse('2026-03-29T04:00:00Z') });
    expect(info?.lastMissedAt).toBe(left > 0 ? time.atMs : undefined);
  });

  test('a queue that nobody works on does not fill up', async () => {
    const time = new TestTime(start);
    const place = open(time);
    await place.schedules.reconcile([hourly(), schedule(sweep, {}, { every: '1h', missed: 'all', missedLimit: 3 })]);
    for (let hour = 0; hour < 6; hour++) {
      time.pass(HOUR);
      await place.tick();
    }
    expect(await place.waiting('report')).toEqual(['hourly@20260329T010000Z']);
    expect(await place.waiting('carts')).toHaveLength(3);
    expect(await place.schedules.list()).toMatchObject([{ missed: 3 }, { missed: 5 }]);
  });

  test('a run is a job like any other, and its end is listed', async () => {
    const time = new TestTime(start);
    const { prefix, jobs, work, dead } = jobsOf({ redis: running().redis });
    const place = open(time, prefix);
    await place.schedules.reconcile([
      hourly(),
      schedule(sweep, {}, { every: '1h', attempts: 1, priority: 4, timeout: '9s', expiresIn: '1d', jitter: '10ms' }),
    ]);
    time.pass(HOUR);
    await place.tick();
    const stored = await jobs.core.queues.get('carts').queue.getJob('carts.sweep@20260329T010000Z');
    expect(stored?.opts).toMatchObject({ attempts: 1, v: 3, priority: 4, to: 9_000, exp: 86_400_000 });
    expect(stored?.opts.delay).toBeLessThan(10);
    // BullMQ never gives up on a stalled run of its own schedulers; this is none of those, so a poison one ends as any job does.
    expect(stored?.repeatJobKey).toBeUndefined();
    const inputs: unknown[] = [];
    work({
      handlers: [
        handle(report, async (input) => void inputs.push(input)),
        handle(sweep, async () => {
          throw new Error('broken');
        }),
      ],
    });
    await eventually(async () => {
      expect(await place.schedules.list()).toMatchObject([
        { id: 'carts.sweep', lastRunStatus: 'failed' },
        { id: 'hourly', lastRunStatus: 'completed', lastTickAt: time.atMs, lastRunId: 'hourly@20260329T010000Z' },
      ]);
    });
    expect(inputs).toEqual([{ kind: 'a' }]);
    await eventually(() => expect(dead).toEqual(['carts.sweep@20260329T010000Z']));
  });

  test('a tick of a contract with a unique key is the job that has the key', async () => {
    const time = new TestTime(start);
    const place = open(time);
    const once = defineJob({ name: 'report.once', input: report.input, unique: { key: ({ kind }) => kind } });
    const { id } = await place.jobs.enqueue(once, { kind: 'a' });
    await place.schedules.reconcile([schedule(once, { kind: 'a' }, { every: '1h' })]);
    time.pass(HOUR);
    await place.tick();
    expect(await place.waiting('report')).toEqual([id]);
    expect(place.settled).toMatchObject([{ ran: [id], missed: 0 }]);
  });

  test('run() enqueues at once, beside the ticks', async () => {
    const time = new TestTime(start);
    const place = open(time);
    await place.schedules.reconcile([hourly()]);
    const { id, status } = await place.schedules.run('hourly');
    expect(status).toBe('added');
    expect(await place.jobs.get(id)).toMatchObject({ name: 'report.build', input: { kind: 'a' } });
    time.pass(HOUR);
    await place.tick();
    expect((await place.waiting('report')).toSorted()).toEqual([id, 'hourly@20260329T010000Z'].toSorted());
    await failureOf(place.schedules.run('nobody'), 'JOB_UNKNOWN');
  });

  test('a removed schedule ticks no more, and leaves nothing behind', async () => {
    const time = new TestTime(start);
    const place = open(time);
    await place.schedules.reconcile([hourly()]);
    expect(await place.schedules.remove('hourly')).toBe(true);
    expect(await place.schedules.remove('hourly')).toBe(false);
    time.pass(5 * HOUR);
    await place.tick();
    expect(await place.waiting('report')).toEqual([]);
    expect(await place.schedules.get('hourly')).toBeUndefined();
  });

  test('a clock that is set back neither repeats ticks nor silences a schedule', async () => {
    const time = new TestTime(start);
    const place = open(time);
    await place.schedules.reconcile([hourly({ missed: 'all' })]);
    time.pass(HOUR);
    await place.tick();
    time.pass(-5 * 60_000); // A failover to a server that is behind.
    await place.tick();
    expect(await place.waiting('report')).toHaveLength(1);
    time.pass(365 * 24 * HOUR);
    await place.tick();
    const before = (await place.waiting('report')).length;
    time.set('2026-03-29T01:10:00Z');
    await place.tick();
    expect(await place.schedules.get('hourly')).toMatchObject({ nextRunAt: Date.parse('2026-03-29T02:00:00Z') });
    expect(await place.waiting('report')).toHaveLength(before);
  });
});
