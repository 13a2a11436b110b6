/**
 * What a lock costs that is free, and how soon one that is waited for has its next holder: ours against redis-semaphore, the quickest
 * of the libraries that ask again and again, and against redlock. support/lock-sides.ts says what each side does.
 */
import { clientOn } from './support/clients.ts';
import { commandsCalled } from './support/counters.ts';
import { handOvers } from './support/hand-overs.ts';
import { oursOn, redlockOn, semaphoreOn, type LockSide } from './support/lock-sides.ts';
import { callsPerSecond, median, type Case, type Side } from './support/measure.ts';
import { benchBinary, pinned, startBenchServer } from './support/server.ts';

/** Hand-overs of a round. */
const HANDED = 100;
/**
 * Hand-overs of a round whose commands are counted. How many rest at its begin and its end differs by a few, so the limit of ours asks
 * for many; those that poll are slow.
 */
const COUNTED = { ours: 1_000, theirs: 300 };
/** Locks of their own that are in flight together. */
const PARALLEL = 100;

/** The cases, and what must be closed after them. */
export async function prepare(): Promise<{ cases: Case[]; close: () => Promise<void> }> {
  const server = await startBenchServer(pinned(await benchBinary()));
  const admin = clientOn(server.url);
  const ours = await oursOn(server.url);
  const semaphore = await semaphoreOn(server.url);
  const redlock = await redlockOn(server.url);

  const against = (
    theirs: LockSide | undefined,
    measured: (side: LockSide, name: 'ours' | 'theirs') => Promise<number>,
  ): { ours: Side; theirs: Side | undefined } => ({
    ours: () => measured(ours, 'ours'),
    theirs: theirs && (() => measured(theirs, 'theirs')),
  });
  const free = { unit: 'locks/s', rounds: { quick: 21, full: 101 } };
  return {
    cases: [
      {
        name: 'handoff-p50',
        unit: 'ms',
        lessIsBetter: true,
        theirsIs: 'redis-semaphore, 20 waiters, held for 1 ms, too; the limit is 1 ms',
        rounds: { quick: 7, full: 41 },
        ...against(semaphore, async (side, name) => {
          const { timesMs } = await handOvers(side, name, HANDED, async () => 0);
          return median(timesMs);
        }),
      },
      {
        name: 'handoff-commands',
        unit: 'commands/hand-over',
        lessIsBetter: true,
        theirsIs: 'redis-semaphore, those in scripts too; the limit is 5',
        rounds: { quick: 3, full: 11 },
        ...against(semaphore, async (side, name) => {
          const { begin, end } = await handOvers(side, name, COUNTED[name], () => commandsCalled(admin));
          return (end - begin) / COUNTED[name];
        }),
      },
      {
        ...free,
        name: 'free-awaited',
        theirsIs: 'redlock, acquired and released one by one',
        ...against(redlock, (side, name) => callsPerSecond(250, 1, () => acquireAndRelease(side, name))),
      },
      {
        ...free,
        name: 'free-parallel',
        theirsIs: `redlock, ${PARALLEL} locks in flight`,
        ...against(redlock, (side, name) => {
          let next = 0;
          return callsPerSecond(2_500, PARALLEL, () => acquireAndRelease(side, `${name}:${next++ % (2 * PARALLEL)}`));
        }),
      },
    ],
    async close() {
      for (const side of [redlock, semaphore, ours]) await side?.close();
      admin.disconnect();
      await server.stop();
    },
  };
}

async function acquireAndRelease(side: LockSide, name: string): Promise<void> {
  const release = await side.acquire(name);
  await release();
}
