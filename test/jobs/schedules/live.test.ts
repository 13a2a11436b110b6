/** Schedules in real time: several processes, killed ones, and a Redis that goes away. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { handle } from '../../../src/jobs/handler.ts';
import { schedule } from '../../../src/jobs/schedules/schedule.ts';
import { startChild } from '../../support/child.ts';
import { eventually } from '../../support/eventually.ts';
import { ownedJobs } from '../../support/jobs.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis } from '../../support/servers.ts';
import { report, Workplace } from './workplace.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();
const often = schedule(report, { kind: 'a' }, { id: 'often', every: 100, missed: 'all', missedLimit: 1_000 });

/** When the ticks of the jobs were, from their ids. */
function ticksOf(ids: readonly string[]): number[] {
  return ids
    .map((id) => {
      const [, date, time, ms = '000'] = /@(\d{8})T(\d{6})(?:\.(\d{3}))?Z$/.exec(id) ?? [];
      const iso = `${date?.replace(/(\d{4})(\d\d)/, '$1-$2-')}T${time?.replace(/(\d\d)(\d\d)/, '$1:$2:')}.${ms}Z`;
      return Date.parse(iso);
    })
    .toSorted((one, other) => one - other);
}

function mustBeSteady(ticks: readonly number[], everyMs: number): void {
  const gaps = ticks.slice(1).map((tick, index) => tick - (ticks[index] ?? 0));
  expect(gaps.filter((gap) => gap !== everyMs)).toEqual([]);
}

test('of processes that are killed while they settle, no tick is lost or doubled', { timeout: 90_000 }, async () => {
  const server = own(await startRedis());
  const prefix = `t-${randomUUID()}`;
  const start = (): ReturnType<typeof startChild> =>
    own(startChild('../jobs/schedules/ticking-process', [server.url, prefix]));
  const children = [start(), start(), start()];
  const added = await Promise.all(children.map((child) => child.says('reconciled', 60_000)));
  expect(added.toSorted(), 'one of them has added it').toEqual(['0', '0', '1']);
  const place = own(new Workplace({ url: server.url }, { prefix }));
  const mustHave = (count: number): Promise<void> =>
    eventually(async () => expect((await place.waiting('report')).length).toBeGreaterThanOrEqual(count), 40_000);
  for (const [index, child] of children.entries()) {
    if (index === 2) break;
    await mustHave(15 * (index + 1));
    child.signal('SIGKILL');
    await child.ended;
  }
  await mustHave(45);
  children[2]?.signal('SIGTERM');
  expect(await children[2]?.ended).toBe(0);
  const ids = await place.waiting('report');
  mustBeSteady(ticksOf(ids), 100);
  const told = children.flatMap((child) =>
    child
      .lines()
      .flatMap((line) => (line.startsWith('settled ') ? (JSON.parse(line.slice(8)) as { ran: string[] }).ran : [])),
  );
  expect(new Set(told).size, 'none twice').toBe(told.length);
  expect(told.every((id) => ids.includes(id))).toBe(true);
});

test('two workers handle each run once, in time', async () => {
  const server = own(await startRedis());
  const { prefix, work } = jobsOf({ redis: { url: server.url } });
  const places = [0, 1].map(() => own(new Workplace({ url: server.url }, { prefix })));
  for (const place of places) {
    await place.schedules.reconcile([often]);
    place.schedules.start();
    place.schedules.start(); // Safe to call twice.
  }
  const handled: string[] = [];
  for (let workers = 0; workers < 2; workers++)
    work({ handlers: [handle(report, async (_input, { job }) => void handled.push(job.id))] });
  await eventually(() => expect(handled.length).toBeGreaterThan(15));
  await Promise.all(places.map((place) => place.close()));
  expect(new Set(handled).size).toBe(handled.length);
  mustBeSteady(ticksOf(handled), 100);
});

test('a Redis that is away is waited for, and what was missed is made up for', { timeout: 60_000 }, async () => {
  const server = own(await startRedis({ persistent: true }));
  const place = own(new Workplace({ url: server.url }, {}));
  await place.schedules.reconcile([often]);
  place.schedules.start();
  await eventually(async () => expect(place.settled.length).toBeGreaterThan(2));
  await server.kill();
  await expect(place.schedules.reconcile([often])).rejects.toMatchObject({ code: expect.stringMatching(/^REDIS_/) });
  await expect(place.schedules.list()).rejects.toMatchObject({ code: expect.stringMatching(/^REDIS_/) });
  await server.startAgain();
  const before = place.settled.length;
  await eventually(() => expect(place.settled.length).toBeGreaterThan(before + 2), 30_000);
  expect(await place.schedules.reconcile([often])).toMatchObject({ unchanged: ['often'] });
  // From the queue and not from what was told: of a commit whose answer was lost, nobody is told.
  await place.schedules.ticker.stop();
  mustBeSteady(ticksOf(await place.waiting('report')), 100);
});
