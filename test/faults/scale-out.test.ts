/**
 * Many worker processes on one queue: jobs spread evenly, none is lost or run twice while processes join, leave and die, schedules run once,
 * and the drain time that autoscalers are told is the one that is then measured.
 */
import { describe, expect, test } from 'vitest';
import type { Topology } from '../../src/redis/address.ts';
import { startForFile } from '../contract/topologies.ts';
import { eventually } from '../support/eventually.ts';
import { timed } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { TICK_EVERY_MS } from '../support/scale-jobs.ts';
import { createTestFleet, type TestFleet } from './fleet.ts';
import { Tally, tally } from './journal.ts';
import { isLong } from './scene.ts';

const TOPOLOGIES: readonly Topology[] = isLong ? ['standalone', 'sentinel', 'cluster'] : ['standalone'];
const WORKERS = isLong ? 5 : 3;
const CONCURRENCY = 4;
/** How often a process joins, one leaves and one dies. */
const ROUNDS = isLong ? 6 : 1;
/** As many jobs a process as make its share no matter of luck. */
const JOBS_EACH = isLong ? 150 : 80;
/** How far from an equal share one may be. All have as many slots, so what is left is chance: of 80 jobs some 9 more or less. */
const MOST_UNEVEN = 0.35;
const MOST_WRONG = 0.25;

describe.each(TOPOLOGIES)('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const own = ownedByTest();

  test(`${WORKERS} processes share the work evenly, end it when they said they would, and lose none while processes come and go`, async () => {
    // The lease is long beside what a busy machine keeps a living worker from renewing it, which would repeat jobs too.
    const worker = { concurrency: CONCURRENCY, lease: '3s', stalledCheck: '500ms', poisonAfter: 1_000 } as const;
    const fleet = await createTestFleet(own, topologyOf().redis, worker);
    const jobs: string[] = [];

    // What a job costs is known once somebody has told: the one that leaves does so at once.
    const [first, ...others] = await fleet.join(WORKERS);
    jobs.push(...(await fleet.load(30 * WORKERS)));
    await fleet.done();
    expect(await fleet.leave(first!)).toBe(0);
    others.push(...(await fleet.join(1)));

    const before = others.map(({ begun }) => begun);
    jobs.push(...(await fleet.load(JOBS_EACH * WORKERS)));
    const { drainSeconds, ...told } = await fleet.figures();
    expect(told).toMatchObject({ workers: WORKERS, concurrency: WORKERS * CONCURRENCY });
    const { ms: measuredMs } = await timed(fleet.done());
    const shares = others.map(({ begun }, index) => begun - (before[index] ?? 0));
    for (const share of shares)
      expect(Math.abs(share / JOBS_EACH - 1), `shares: ${shares.join(', ')}`).toBeLessThan(MOST_UNEVEN);
    const wrong = Math.abs((drainSeconds ?? Number.POSITIVE_INFINITY) / (measuredMs / 1_000) - 1);
    expect(wrong, `told ${drainSeconds} s, measured ${measuredMs} ms`).toBeLessThan(MOST_WRONG);

    const orphans = new Tally();
    for (let round = 0; round < ROUNDS; round++) {
      jobs.push(...(await fleet.load(30 * WORKERS)));
      const [victim, leaver] = [others.shift()!, others.shift()!];
      await victim.until('has work', () => victim.running().length > 0);
      for (const id of await fleet.die(victim)) orphans.add(id);
      const [joined, code] = await Promise.all([fleet.join(2), fleet.leave(leaver)]);
      expect(code).toBe(0);
      others.push(...joined);
    }
    await fleet.done();

    const steps = fleet.steps();
    const [starts, ends] = [tally(steps, 'start'), tally(steps, 'end')];
    if (isLong)
      console.log({ topology, jobs: jobs.length, shares, told: drainSeconds, measuredMs, orphans: orphans.total });
    expect(
      jobs.filter((id) => ends.of(id) === 0),
      'lost',
    ).toEqual([]);
    expect(
      starts.jobIds.filter((id) => starts.of(id) > 1 + orphans.of(id)),
      'doubled',
    ).toEqual([]);
    expect(orphans.total, 'the one that died had work').toBeGreaterThan(0);
    expect(await fleet.platform.deadLetters.count()).toBe(0);
    await mustHaveTickedOnce(fleet);
  }, 600_000);
});

/** Each tick since the first one was one job, and was run once: only one that a dying process had may have begun twice. */
async function mustHaveTickedOnce(fleet: TestFleet): Promise<void> {
  const times = await eventually(() => {
    const seen = tally(fleet.steps(), 'tick')
      .jobIds.map(timeOf)
      .toSorted((one, other) => one - other);
    const [first = 0] = seen;
    // Without a gap: one that is still on its way is waited for.
    expect(seen).toEqual(seen.map((_, index) => first + index * TICK_EVERY_MS));
    return seen;
  });
  expect(times.length).toBeGreaterThan(5);
  const ticks = tally(fleet.steps(), 'tick');
  const twice = ticks.jobIds.filter((id) => ticks.of(id) > 1);
  expect(twice.length).toBeLessThanOrEqual(ROUNDS);
}

/** The time of a tick stands in the id of its job: `clock.tick@20261122T101500.500Z`. */
function timeOf(id: string): number {
  const [, ...parts] = /@(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?:\.(\d{3}))?Z$/.exec(id) ?? [];
  const [year = 0, month = 1, ...rest] = parts.map((part: string | undefined) => Number(part ?? 0));
  return Date.UTC(year, month - 1, ...rest);
}
