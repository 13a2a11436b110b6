import { expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { ServerTime } from '../../src/redis/server-time.ts';

test("it is never behind the server's, and ahead by the time of the question at most", async () => {
  let nowMs = 1_000;
  let asked = 0;
  const time = new ServerTime({ ...systemClock, monotonicMs: () => nowMs });
  const answer = async (): Promise<string[]> => {
    asked++;
    nowMs += 40;
    return ['500', '250000'];
  };
  expect(time.isOlderThan(1_000)).toBe(true);
  await Promise.all([time.ask(answer), time.ask(answer)]);
  expect(asked).toBe(1);
  expect(time.nowMs()).toBe(500_250 + 40);
  nowMs += 100;
  expect(time.nowMs()).toBe(500_250 + 140);
  expect(time.isOlderThan(1_000)).toBe(false);
  nowMs += 1_000;
  expect(time.isOlderThan(1_000)).toBe(true);
});

test("until an answer has told it, it is the machine's own; an answer to something else tells it, too", () => {
  const time = new ServerTime({ ...systemClock, wallMs: () => 7_000, monotonicMs: () => 50 });
  expect(time.isKnown).toBe(false);
  expect(time.nowMs()).toBe(7_000);
  time.learn(90_000);
  expect(time.isKnown).toBe(true);
  expect(time.nowMs()).toBe(90_000);
});
