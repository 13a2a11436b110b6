/** Lanes: waits that no timer takes at once, and what is given back. */
import { afterEach, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../../src/clock.ts';
import { postpone } from '../../../src/jobs/handler.ts';
import { silentLogger } from '../../../src/log.ts';
import { createConsumerMeter } from '../../../src/streams/consumer/consumer-metrics.ts';
import { Desk } from '../../../src/streams/consumer/desk.ts';
import { Lanes } from '../../../src/streams/consumer/lanes.ts';
import { planOf } from '../../../src/streams/consumer/plan.ts';
import type { Settler } from '../../../src/streams/consumer/settler.ts';
import { defineStream } from '../../../src/streams/contract.ts';

afterEach(() => vi.useRealTimers());

const DAY = 86_400_000;

test('an entry that is put off for longer than a timer takes waits for all of it', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  const stream = defineStream({ name: 's', schema: z.string() });
  const plan = planOf(stream, { group: 'g', orderBy: (key: string) => key }, 'consume');
  const settled: string[] = [];
  const desk = new Desk({
    plan,
    // Where nothing fails, it is told of what is done and nothing else.
    settler: { acknowledge: (id: string) => void settled.push(id) } as Settler,
    meter: createConsumerMeter(undefined, { stream: 's', group: 'g' }),
    log: silentLogger,
    clock: { ...systemClock, monotonicMs: () => Date.now() },
    modules: {},
  });
  let runs = 0;
  const lanes = new Lanes(
    desk,
    () => {
      if (++runs === 1) throw postpone('60d');
    },
    (data) => data as string,
  );
  lanes.add([['1-0', ['data', '"k"']]]);
  await new Promise(setImmediate); // It is put into its lane, and begun.
  expect(runs).toBe(1);
  vi.advanceTimersByTime(60 * DAY - 1);
  expect(runs).toBe(1);
  vi.advanceTimersByTime(2);
  expect([runs, settled]).toEqual([2, ['1-0']]);
});

/** Of one key it is never known. */
const isFit = (key: string): Promise<boolean> =>
  key === 'slow' ? new Promise(() => undefined) : Promise.resolve(true);
const entry = (id: string, key: string): [string, string[]] => [id, ['data', JSON.stringify(key)]];

test('what runs is not among what is given back, though an entry behind it is still being sorted', async () => {
  const stream = defineStream({ name: 's', schema: z.string().refine(isFit) });
  const plan = planOf(stream, { group: 'g', orderBy: (key: string) => key, concurrency: 1 }, 'consume');
  const settled: string[] = [];
  const desk = new Desk({
    plan,
    settler: { acknowledge: (id: string) => void settled.push(id) } as Settler,
    meter: createConsumerMeter(undefined, { stream: 's', group: 'g' }),
    log: silentLogger,
    clock: systemClock,
    modules: {},
  });
  const ends: Array<() => void> = [];
  const lanes = new Lanes(
    desk,
    () => new Promise<void>((resolve) => ends.push(resolve)),
    (data) => data as string,
  );
  lanes.add([entry('1-0', 'a')]);
  await vi.waitUntil(() => ends.length === 1);
  lanes.add([entry('2-0', 'b'), entry('3-0', 'slow')]);
  await new Promise(setImmediate);
  ends[0]?.();
  await vi.waitUntil(() => ends.length === 2);
  expect([...lanes.close()]).toEqual([['3-0', 0]]);
  ends[1]?.();
  await vi.waitUntil(() => settled.length === 2);
  expect(settled).toEqual(['1-0', '2-0']);
  desk.close();
});
