/** The two sides of the benches of jobs: this platform's client and worker, and BullMQ by itself, on the same server. */
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { z } from 'zod';
import type * as Millrace from '../../src/index.ts';
import { importCompiled } from './compiled.ts';

/** What both sides can do; each has its own queue and connections. Pairs of them are told apart by the prefix of their keys. */
export interface JobSide {
  /** Adds one job. */
  add(): Promise<unknown>;
  /** Adds many, as fast as its own call for many can. */
  addMany(count: number): Promise<unknown>;
  /** Starts its worker. */
  work(concurrency: number, onRun: () => void): Promise<void>;
  /** Holds the jobs back while the queue is filled, and lets them go. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Jobs that run or whose end is not written yet. */
  activeCount(): Promise<number>;
  close(): Promise<void>;
}

/** An input of 200 bytes as JSON. */
export const INPUT = { to: 'ada@example.com', template: 'welcome', userId: 4711, body: 'x'.repeat(131) };
const BULK_SIZE = 1_000;
const NAME = 'email.send';

/**
 * Ours, everything on, as createPlatform() gives it: the input is checked by a zod schema when it is enqueued and when it runs,
 * attempts are counted and timed in the registry, timeouts, leases and liveness are watched, cancellations are listened for,
 * dead letters are reconciled.
 */
export async function oursOn(url: string, pair: string): Promise<JobSide> {
  const { createPlatform, defineJob, handle } = await importCompiled<typeof Millrace>('index.ts');
  const contract = defineJob({
    name: NAME,
    input: z.object({ to: z.email(), template: z.string(), userId: z.number().int(), body: z.string() }),
  });
  // A prefix about as long as the default.
  const platform = createPlatform({ redis: { url }, prefix: `mill-${pair}`, log: { level: 'warn' } });
  await platform.start();
  const { jobs } = platform;
  return {
    add: () => jobs.enqueue(contract, INPUT),
    addMany: (count) =>
      jobs.enqueueMany(
        contract,
        Array.from({ length: count }, () => INPUT),
      ),
    async work(concurrency, onRun) {
      await platform.work({ handlers: [handle(contract, async () => onRun())], concurrency });
    },
    pause: () => jobs.pause(contract.queue),
    resume: () => jobs.resume(contract.queue),
    activeCount: async () => (await jobs.counts(contract.queue)).active,
    close: () => platform.stop(),
  };
}

/**
 * Theirs: Queue.add(), Queue.addBulk() of 1 000, awaited, and a Worker, with clients of their own and no listener. The worker keeps
 * what ours keeps of completed jobs; that is said to the worker and not with each job, which costs BullMQ the least.
 */
export async function rawOn(url: string, pair: string): Promise<JobSide> {
  const connection = (): Redis => new Redis({ path: url.slice('unix://'.length), maxRetriesPerRequest: null });
  const clients = [connection(), connection()] as const;
  const prefix = `bull-${pair}`;
  const queue = new Queue('email', { connection: clients[0], prefix });
  let worker: Worker | undefined;
  return {
    add: () => queue.add(NAME, INPUT),
    async addMany(count) {
      for (let left = count; left > 0; left -= BULK_SIZE) {
        await queue.addBulk(Array.from({ length: Math.min(left, BULK_SIZE) }, () => ({ name: NAME, data: INPUT })));
      }
    },
    async work(concurrency, onRun) {
      const removeOnComplete = { age: 3_600, count: 1_000 };
      worker = new Worker('email', async () => onRun(), {
        connection: clients[1],
        prefix,
        concurrency,
        removeOnComplete,
      });
      await worker.waitUntilReady();
    },
    pause: () => queue.pause(),
    resume: () => queue.resume(),
    activeCount: () => queue.getActiveCount(),
    async close() {
      await worker?.close();
      await queue.close();
      for (const client of clients) client.disconnect();
    },
  };
}
