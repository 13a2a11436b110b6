/** What may be declared, and what is said of what may not. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { isMillraceError } from '../../../src/errors.ts';
import { defineJob } from '../../../src/jobs/contract.ts';
import { schedule, type ScheduleOptions } from '../../../src/jobs/schedules/schedule.ts';

const report = defineJob({ name: 'report.build', input: z.object({ kind: z.string() }) });
const input = { kind: 'sales' };

function saidOf(options: object): string {
  try {
    schedule(report, input, options as ScheduleOptions);
  } catch (error) {
    if (isMillraceError(error, 'OPTIONS_INVALID')) return error.message;
    throw error;
  }
  return '';
}

test('a schedule is called as its contract, and is frozen with its defaults', () => {
  const nightly = schedule(report, input, { cron: ' 30  2 * * * ', timeZone: 'Europe/Berlin' });
  expect(nightly).toMatchObject({
    id: 'report.build',
    timing: { cron: '30 2 * * *', timeZone: 'Europe/Berlin' },
    missed: 'one',
    missedLimit: 100,
    jitterMs: 0,
  });
  expect(Object.isFrozen(nightly)).toBe(true);
});

test('an interval takes durations', () => {
  expect(schedule(report, input, { id: 'r', every: '1d', offset: '3h' }).timing).toEqual({
    everyMs: 86_400_000,
    offsetMs: 10_800_000,
  });
  expect(schedule(report, input, { cron: '@daily' }).timing).toEqual({ cron: '@daily', timeZone: 'UTC' });
});

test.each<[object, string]>([
  [{}, 'schedule report.build: expected cron or every, got neither'],
  [{ cron: '* * * * *', every: '1m' }, 'expected cron or every, got both'],
  [{ cron: '61 * * * *' }, 'cron: expected a cron expression, got "61 * * * *"'],
  [{ id: 'nightly', cron: '* * *' }, 'schedule nightly: cron: expected 5 fields'],
  [{ cron: '0 0 30 2 *' }, 'no such day ever comes'],
  [
    { cron: '* * * * *', timeZone: 'Mars/Olympus' },
    'timeZone: expected the name of a time zone such as Europe/Berlin, got "Mars/Olympus"',
  ],
  [{ every: '1m', timeZone: 'UTC' }, 'timeZone is for cron'],
  [{ cron: '* * * * *', offset: '1s' }, 'offset is for every'],
  [{ every: '1m', offset: '1m' }, 'offset: expected less than every, got 60000 ms of 60000 ms'],
  [{ every: 10 }, 'every: expected at least 100, got 10'],
  [{ every: '1m', missed: 'some' }, 'missed: expected skip or one or all, got "some"'],
  [{ every: '1m', missedLimit: 5 }, "missedLimit is for missed: 'all', got it with 'one'"],
  [{ every: '1m', id: 'a b' }, 'id: expected letters'],
  [{ evry: '1m' }, 'unknown option evry, did you mean every?'],
])('%j is refused', (options, said) => {
  expect(saidOf(options)).toContain(said);
});
