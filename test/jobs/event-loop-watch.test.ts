import { afterEach, describe, expect, test } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.ts';
import { watchEventLoop, type EventLoopWatch } from '../../src/jobs/worker/event-loop-watch.ts';
import { eventually } from '../support/eventually.ts';

/** A clock that stands still until the test moves it; the watch's timers go on in real time. */
function standingClock(): Clock & { nowMs: number } {
  return {
    ...systemClock,
    nowMs: 1_000,
    monotonicMs() {
      return this.nowMs;
    },
  };
}

function blockFor(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

const watches: EventLoopWatch[] = [];
const watching = (...args: Parameters<typeof watchEventLoop>): EventLoopWatch => {
  const watch = watchEventLoop(...args);
  watches.push(watch);
  return watch;
};

afterEach(() => {
  for (const watch of watches.splice(0)) watch.stop();
});

describe('the event loop watch', () => {
  test('reports a real block once, with its length', async () => {
    const reported: number[] = [];
    // What a busy machine does to a timer of 10 ms stays below the limit.
    const watch = watching({ intervalMs: 10, warnAfterMs: 600, onBlocked: (ms) => reported.push(ms) });
    watch.start();
    blockFor(1_000);
    await eventually(() => expect(reported).toHaveLength(1));
    expect(reported[0]).toBeGreaterThan(950);
    expect(watch.blocks).toBe(1);
    expect(watch.blockedMs).toBe(reported[0]);
  });

  test('tells its lag before its timer had its turn, and that it is over once a look was on time', async () => {
    const clock = standingClock();
    const watch = watching({ intervalMs: 5, warnAfterMs: 100, clock });
    watch.start();
    expect(watch.lagMs).toBe(0);
    clock.nowMs += 405;
    expect(watch.lagMs).toBe(400);
    await eventually(() => expect(watch.blocks).toBe(1));
    await eventually(() => expect(watch.lagMs).toBe(0));
    expect(watch.blockedMs).toBe(400);
  });

  test('lateness below the limit is lag and no block; at the limit it is one', async () => {
    const clock = standingClock();
    const reported: number[] = [];
    const watch = watching({ intervalMs: 5, warnAfterMs: 100, clock, onBlocked: (ms) => reported.push(ms) });
    watch.start();
    clock.nowMs += 5 + 99;
    expect(watch.lagMs).toBe(99);
    await eventually(() => expect(watch.lagMs).toBe(0));
    clock.nowMs += 5 + 100;
    await eventually(() => expect(reported).toEqual([100]));
    clock.nowMs += 5 + 250;
    await eventually(() => expect(reported).toEqual([100, 250]));
    expect([watch.blocks, watch.blockedMs]).toEqual([2, 350]);
  });

  test('start and stop may come in any order and twice; while it is stopped nothing counts', async () => {
    const clock = standingClock();
    const watch = watching({ intervalMs: 1, warnAfterMs: 100, clock });
    watch.stop();
    watch.start();
    watch.start();
    watch.stop();
    watch.stop();
    clock.nowMs += 60_000;
    expect([watch.lagMs, watch.blocks]).toEqual([0, 0]);
    watch.start();
    expect(watch.lagMs).toBe(0);
    clock.nowMs += 501;
    await eventually(() => expect([watch.blocks, watch.blockedMs]).toEqual([1, 500]));
  });

  test('may be stopped by what it reports to', async () => {
    const clock = standingClock();
    const watch = watching({ intervalMs: 1, warnAfterMs: 100, clock, onBlocked: () => watch.stop() });
    watch.start();
    clock.nowMs += 1_001;
    await eventually(() => expect(watch.blocks).toBe(1));
    clock.nowMs += 1_001;
    expect(watch.lagMs).toBe(0);
  });

  test('never keeps the process alive', () => {
    const before = process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    watching().start();
    expect(process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout')).toHaveLength(before);
  });

  test('refuses options that make no sense', () => {
    expect(() => watchEventLoop({ intervalMs: 0 })).toThrow('watchEventLoop: intervalMs: expected more than 0, got 0');
    expect(() => watchEventLoop({ warnAfter: 5 } as never)).toThrow('did you mean warnAfterMs?');
  });
});
