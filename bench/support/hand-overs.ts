/** One lock that passes from hand to hand, with some 20 waiters behind it all the time. */
import { setTimeout as delay } from 'node:timers/promises';
import type { LockSide } from './lock-sides.ts';

/** One holds, 20 wait, and three or fewer rest. */
const MEMBERS = 24;
/** How long each holds it. */
const HELD_MS = 1;
/**
 * The longest that one rests before it asks again; how long is drawn each time. That is the interval at which redis-semaphore asks, so
 * that its waiters do not all ask at the same moment, which would be the worst for it.
 */
const RESTS_MS = 10;

/** The hand-overs of a run, and what was read when the first and the last of them was done. */
export interface HandOvers {
  /** From the call that releases the lock to the end of the wait of whoever has it next. */
  timesMs: number[];
  begin: number;
  end: number;
}

/**
 * So many hand-overs, once all wait.
 *
 * @param read read at the begin and at the end of them, by whoever holds the lock then.
 * @throws when two hold it at once.
 */
export async function handOvers(
  side: LockSide,
  name: string,
  count: number,
  read: () => Promise<number>,
): Promise<HandOvers> {
  const timesMs: number[] = [];
  const run = { begin: 0, end: 0 };
  let holds = 0;
  let isHeld = false;
  let releasedAt = 0;
  const hold = async (takenAt: number): Promise<void> => {
    if (isHeld) throw new Error(`${name}: two hold it at once`);
    isHeld = true;
    const handed = holds++ - MEMBERS;
    if (handed > 0 && handed <= count) timesMs.push(takenAt - releasedAt);
    if (handed === 0) run.begin = await read();
    if (handed === count) run.end = await read();
    await delay(HELD_MS);
    isHeld = false;
    releasedAt = performance.now();
  };
  const isDone = (): boolean => holds > MEMBERS + count;
  const member = async (): Promise<void> => {
    while (!isDone()) {
      await delay(Math.random() * RESTS_MS);
      const release = await side.acquire(name);
      await hold(performance.now());
      await release();
    }
  };
  await Promise.all(Array.from({ length: MEMBERS }, member));
  return { timesMs, ...run };
}
