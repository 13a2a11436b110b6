import { describe, expect, test } from 'vitest';
import { systemClock, withDeadline } from '../src/clock.ts';

const THIRTY_DAYS_MS = 30 * 86_400_000;
const never = (): Promise<never> => new Promise(() => undefined);
const late = (): Error => new Error('too late');

/** What Node says about itself while the act runs: unhandled rejections, timers that are too long. */
async function complaintsDuring(act: () => Promise<void>): Promise<unknown[]> {
  const complaints: unknown[] = [];
  const note = (complaint: unknown): void => void complaints.push(complaint);
  process.on('unhandledRejection', note);
  process.on('warning', note);
  try {
    await act();
    // Both are told after the microtasks of the turn in which they arose.
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.off('unhandledRejection', note);
    process.off('warning', note);
  }
  return complaints;
}

describe('sleep', () => {
  test('ends after the time, and not before', async () => {
    const start = systemClock.monotonicMs();
    await systemClock.sleep(30);
    expect(systemClock.monotonicMs() - start).toBeGreaterThanOrEqual(29);
  });

  test("an abort ends it with the signal's reason and leaves no timer", async () => {
    const controller = new AbortController();
    const reason = new Error('shutting down');
    const sleeping = systemClock.sleep(60_000, { signal: controller.signal });
    controller.abort(reason);
    await expect(sleeping).rejects.toBe(reason);
  });

  test('with a signal that has fired already, it does not begin', async () => {
    const reason = new Error('shut down before');
    await expect(systemClock.sleep(60_000, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test('a signal that fires later says nothing any more', async () => {
    const controller = new AbortController();
    await systemClock.sleep(1, { signal: controller.signal });
    expect(await complaintsDuring(async () => controller.abort(new Error('late')))).toEqual([]);
  });

  test('more than the 24 days of one timer of Node is not slept at once', async () => {
    const complaints = await complaintsDuring(async () => {
      const controller = new AbortController();
      let isAwake = false;
      const sleeping = systemClock.sleep(THIRTY_DAYS_MS, { signal: controller.signal }).then(() => (isAwake = true));
      await systemClock.sleep(20);
      expect(isAwake).toBe(false);
      controller.abort(new Error('enough'));
      await expect(sleeping).rejects.toThrow('enough');
    });
    expect(complaints).toEqual([]);
  });
});

describe('a deadline', () => {
  test('the value of a promise that is in time comes through, and the timer is gone', async () => {
    expect(await withDeadline(Promise.resolve('value'), 60_000, late)).toBe('value');
  });

  test('the rejection of a promise that is in time comes through, and the timer is gone', async () => {
    const reason = new Error('refused');
    await expect(withDeadline(Promise.reject(reason), 60_000, late)).rejects.toBe(reason);
  });

  test('a promise that is late is given up with the error that was asked for', async () => {
    const start = systemClock.monotonicMs();
    await expect(withDeadline(never(), 20, late)).rejects.toThrow('too late');
    expect(systemClock.monotonicMs() - start).toBeGreaterThanOrEqual(19);
  });

  test('the error is made only when it is needed', async () => {
    let made = 0;
    const counted = (): Error => {
      made++;
      return late();
    };
    await withDeadline(Promise.resolve(), 60_000, counted);
    expect(made).toBe(0);
  });

  test('a rejection after the deadline is not left unhandled', async () => {
    const complaints = await complaintsDuring(async () => {
      let fail!: (reason: Error) => void;
      const failing = new Promise<never>((_resolve, reject) => (fail = reject));
      await expect(withDeadline(failing, 1, late)).rejects.toThrow('too late');
      fail(new Error('after the deadline'));
    });
    expect(complaints).toEqual([]);
  });

  test('more than the 24 days of one timer of Node does not fire at once', async () => {
    const complaints = await complaintsDuring(async () => {
      const value = systemClock.sleep(20).then(() => 'value');
      expect(await withDeadline(value, THIRTY_DAYS_MS, late)).toBe('value');
    });
    expect(complaints).toEqual([]);
  });
});

describe('the two clocks', () => {
  test('one is for showing, the other never goes back', () => {
    expect(Math.abs(systemClock.wallMs() - Date.now())).toBeLessThan(1_000);
    const readings = Array.from({ length: 1_000 }, () => systemClock.monotonicMs());
    expect(readings.toSorted((left, right) => left - right)).toEqual(readings);
  });
});
