/** Waiting for a limit: who asks when, in which order, and what ends it. */
import { expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { Waits, type Answer } from '../../src/rate-limit/wait.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';

const ALLOWED: Answer = { allowed: true, retryAfterMs: 0 };
const refusedFor = (retryAfterMs: number): Answer => ({ allowed: false, retryAfterMs });

/** Lets one through every so often, and tells who asked when. */
function gateEvery(ms: number) {
  const asked: string[] = [];
  let openAtMs = 0;
  return {
    asked,
    by: (name: string) => async (): Promise<Answer> => {
      asked.push(name);
      const nowMs = performance.now();
      if (nowMs < openAtMs) return refusedFor(openAtMs - nowMs);
      openAtMs = nowMs + ms;
      return ALLOWED;
    },
  };
}

test('a call that is allowed does not wait, and leaves nothing behind', async () => {
  const waits = new Waits(systemClock);
  expect(await waits.wait('a', async () => ALLOWED, { maxMs: 1_000 })).toBe(ALLOWED);
  expect(waits.count).toBe(0);
});

test('a refused one asks again when the limit said, not before', async () => {
  const waits = new Waits(systemClock);
  const gate = gateEvery(120);
  await gate.by('before')();
  const { value, ms } = await timed(waits.wait('a', gate.by('me'), { maxMs: 5_000 }));
  expect(value.allowed).toBe(true);
  expect(ms).toBeGreaterThanOrEqual(110);
  // A timer may fire a millisecond early, which costs a question more.
  expect(gate.asked.length).toBeLessThanOrEqual(4);
});

test('a wait that cannot end in time is not begun: the refusal comes at once', async () => {
  const waits = new Waits(systemClock);
  const { value, ms } = await timed(waits.wait('a', async () => refusedFor(60_000), { maxMs: 5_000 }));
  expect(value).toEqual(refusedFor(60_000));
  expect(ms).toBeLessThan(1_000);
});

test.each([Infinity, Number.NaN])('a refusal for %d ms is no wait, whatever the bound is', async (retryAfterMs) => {
  const waits = new Waits(systemClock);
  let asked = 0;
  const ask = async (): Promise<Answer> => {
    asked++;
    return refusedFor(retryAfterMs);
  };
  expect(await waits.wait('a', ask, { maxMs: Infinity })).toMatchObject({ allowed: false });
  expect(asked).toBe(1);
});

test('a bound of 0 asks once', async () => {
  const waits = new Waits(systemClock);
  expect(await waits.wait('a', async () => refusedFor(1), { maxMs: 0 })).toEqual(refusedFor(1));
});

test('twenty wait in their order, and the waiting ones do not ask', async () => {
  const waits = new Waits(systemClock);
  const gate = gateEvery(15);
  const done: string[] = [];
  const names = Array.from({ length: 20 }, (_, index) => `w${index}`);
  await Promise.all(
    names.map(async (name) => {
      await waits.wait('a', gate.by(name), { maxMs: 20_000 });
      done.push(name);
    }),
  );
  expect(done).toEqual(names);
  // Two each but for the first, and a few for timers that fired early; without a line it would be some two hundred.
  expect(gate.asked.length).toBeLessThan(80);
});

test('who waits for another key is not held up', async () => {
  const waits = new Waits(systemClock);
  const signal = AbortSignal.timeout(300);
  const blocked = waits.wait('a', async () => refusedFor(1_000), { maxMs: 60_000, signal });
  expect(await waits.wait('b', async () => ALLOWED, { maxMs: 1_000 })).toBe(ALLOWED);
  await expect(blocked).rejects.toMatchObject({ name: 'TimeoutError' });
});

test('nobody is kept beyond his bound by those before him, and then asks for himself', async () => {
  const waits = new Waits(systemClock);
  const stop = new AbortController();
  const first = waits.wait('a', async () => refusedFor(30_000), { maxMs: 60_000, signal: stop.signal });
  const { value, ms } = await timed(waits.wait('a', async () => ALLOWED, { maxMs: 80 }));
  expect(value).toBe(ALLOWED);
  expect(ms).toBeGreaterThanOrEqual(75);
  expect(ms).toBeLessThan(5_000);
  stop.abort(new Error('enough'));
  await expect(first).rejects.toThrow('enough');
});

test('the signal ends a wait with its reason, in the line too, and the next one comes forward', async () => {
  const waits = new Waits(systemClock);
  const [one, two] = [new AbortController(), new AbortController()];
  const first = waits.wait('a', async () => refusedFor(30_000), { maxMs: 60_000, signal: one.signal });
  const second = waits.wait('a', async () => ALLOWED, { maxMs: 60_000, signal: two.signal });
  const third = waits.wait('a', async () => ALLOWED, { maxMs: 60_000 });
  expect(waits.count).toBe(3);
  two.abort(new Error('second'));
  await expect(second).rejects.toThrow('second');
  one.abort(new Error('first'));
  await expect(first).rejects.toThrow('first');
  expect(await third).toBe(ALLOWED);
  expect(waits.count).toBe(0);
});

test('a signal that has aborted already asks nothing', async () => {
  const waits = new Waits(systemClock);
  const signal = AbortSignal.abort(new Error('before'));
  const asked = waits.wait('a', () => Promise.reject(new Error('was asked')), { maxMs: 1_000, signal });
  await expect(asked).rejects.toThrow('before');
});

test('a call that is allowed while its signal aborts is returned, because it has been counted', async () => {
  const waits = new Waits(systemClock);
  const stop = new AbortController();
  const ask = async (): Promise<Answer> => {
    stop.abort();
    return ALLOWED;
  };
  expect(await waits.wait('a', ask, { maxMs: 1_000, signal: stop.signal })).toBe(ALLOWED);
});

test('what the limit throws ends the wait of its caller only', async () => {
  const waits = new Waits(systemClock);
  const first = waits.wait('a', () => Promise.reject(new Error('broken')), { maxMs: 1_000 });
  const second = waits.wait('a', async () => ALLOWED, { maxMs: 1_000 });
  await expect(first).rejects.toThrow('broken');
  expect(await second).toBe(ALLOWED);
});

test('stop() tells CLOSED to those that wait and to those that come', async () => {
  const waits = new Waits(systemClock);
  const first = waits.wait('a', async () => refusedFor(30_000), { maxMs: 60_000 });
  const second = waits.wait('a', async () => ALLOWED, { maxMs: 60_000 });
  waits.stop();
  waits.stop();
  await failureOf(first, 'CLOSED');
  await failureOf(second, 'CLOSED');
  await failureOf(
    waits.wait('a', async () => ALLOWED, { maxMs: 1 }),
    'CLOSED',
  );
  await eventually(() => expect(waits.count).toBe(0));
});

test('a waiting caller that is told 0 ms by mistake does not spin', async () => {
  const waits = new Waits(systemClock);
  let asked = 0;
  const ask = async (): Promise<Answer> => {
    asked++;
    return refusedFor(0);
  };
  await waits.wait('a', ask, { maxMs: 50 });
  expect(asked).toBeLessThanOrEqual(60);
});
