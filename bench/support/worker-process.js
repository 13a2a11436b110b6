/**
 * A worker process of one side, without a loader for TypeScript: it enqueues and runs some jobs, prints its resident bytes, and ends.
 * Each side loads only what it needs; ours loads all that the package exports.
 */
import { setTimeout as delay } from 'node:timers/promises';

/** So many that the young generation of both has grown to its full size, which is most of what a busy process holds. */
const JOBS = 5_000;
const IN_FLIGHT = 50;
const INPUT = { to: 'ada@example.com', template: 'welcome', userId: 4711, body: 'x'.repeat(131) };
const [side, url = '', built = ''] = process.argv.slice(2);

let left = JOBS;
/** @type {() => void} */
let finish = () => undefined;
/** @type {Promise<void>} */
const finished = new Promise((resolve) => (finish = resolve));
const onRun = () => {
  if (--left === 0) finish();
};

await (side === 'ours' ? startOurs() : startRaw());
await finished;
await delay(100);
globalThis.gc?.();
await delay(50);
process.stdout.write(String(process.memoryUsage.rss()));
process.exit();

async function startOurs() {
  /** @type {typeof import('../../src/index.ts')} */
  const { createPlatform, defineJob, handle } = await import(new URL('index.js', built).href);
  const { z } = await import('zod');
  const input = z.object({ to: z.email(), template: z.string(), userId: z.number().int(), body: z.string() });
  const contract = defineJob({ name: 'email.send', input });
  const platform = createPlatform({ redis: { url }, prefix: 'millrace-rss', log: { level: 'warn' } });
  await platform.start();
  await platform.work({ handlers: [handle(contract, async () => onRun())] });
  await addAll(() => platform.jobs.enqueue(contract, INPUT));
}

async function startRaw() {
  const { Queue, Worker } = await import('bullmq');
  const { Redis } = await import('ioredis');
  const connection = () => new Redis({ path: url.slice('unix://'.length), maxRetriesPerRequest: null });
  const prefix = 'bull-rss';
  const queue = new Queue('email', { connection: connection(), prefix });
  const removeOnComplete = { age: 3_600, count: 1_000 };
  const worker = new Worker('email', async () => onRun(), {
    connection: connection(),
    prefix,
    concurrency: 10,
    removeOnComplete,
  });
  await worker.waitUntilReady();
  await addAll(() => queue.add('email.send', INPUT));
}

/** @param {() => Promise<unknown>} add */
async function addAll(add) {
  for (let added = 0; added < JOBS; added += IN_FLIGHT) await Promise.all(Array.from({ length: IN_FLIGHT }, add));
}
