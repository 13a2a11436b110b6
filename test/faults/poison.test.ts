/** A job that kills its process on every run ends as one dead letter, and takes no other job with it. */
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { bane, QUEUE, toil } from '../support/fault-jobs.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { tally } from './journal.ts';
import type { PoolWorker } from './pool.ts';
import { isLong, setScene } from './scene.ts';

const own = ownedByTest();
const WORKERS = 2;
const INNOCENTS = 60;
const POISON_AFTER = 2;
/** At once, it dies with those that were taken together with it; later, with those that had the time to fill the other slots. */
const DELAYS = isLong ? [0, 100, 0, 100] : [20];

test.each(DELAYS)(
  'a job that kills its process after %i ms is one dead letter, and all innocent jobs of its queue are done',
  async (afterMs) => {
    const server = own(await startRedis());
    const worker = { concurrency: 4, lease: '1s', stalledCheck: '300ms', poisonAfter: POISON_AFTER } as const;
    const { platform, pool } = await setScene(own, { url: server.url }, worker);
    const { jobs, deadLetters } = platform;
    const innocents = await jobs.enqueueMany(
      toil,
      Array.from({ length: INNOCENTS / 2 }, () => ({ ms: 50 })),
    );
    const poison = await jobs.enqueue(bane, { afterMs });
    innocents.push(
      ...(await jobs.enqueueMany(
        toil,
        Array.from({ length: INNOCENTS / 2 }, () => ({ ms: 50 })),
      )),
    );

    const keeper = new Keeper(() => pool.start(), WORKERS);
    try {
      await eventually(async () => {
        keeper.replaceDead();
        const counts = await jobs.counts(QUEUE);
        expect(counts).toMatchObject({ waiting: 0, active: 0, delayed: 0, failed: 0 });
      }, 90_000);
    } finally {
      keeper.end();
    }
    const ends = tally(pool.steps(), 'end');
    const { letters } = await deadLetters.list();
    expect(letters.map(({ jobId, reason }) => ({ jobId, reason }))).toEqual([{ jobId: poison.id, reason: 'poison' }]);
    expect(innocents.filter(({ id }) => ends.of(id) === 0)).toEqual([]);
    expect((await jobs.counts(QUEUE)).completed).toBe(INNOCENTS);
    expect(tally(pool.steps(), 'start').of(poison.id)).toBe(POISON_AFTER + 1);
    expect(keeper.deaths).toBe(POISON_AFTER + 1);
  },
  120_000,
);

/** Starts a worker for each one that has died, as whatever runs containers does. */
class Keeper {
  readonly #start: () => PoolWorker;
  readonly #living: PoolWorker[];
  deaths = 0;

  constructor(start: () => PoolWorker, workers: number) {
    this.#start = start;
    this.#living = Array.from({ length: workers }, start);
  }

  replaceDead(): void {
    for (const [index, { child }] of this.#living.entries()) {
      if (child.process.signalCode === null && child.process.exitCode === null) continue;
      this.deaths++;
      this.#living[index] = this.#start();
    }
  }

  end(): void {
    for (const { child } of this.#living) child.signal('SIGKILL');
  }
}
