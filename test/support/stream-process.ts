/**
 * A process that consumes a stream, to be killed: `stream-process OPTIONS`. What it has begun and done is a list in another Redis, in the order
 * in which all processes wrote it.
 */
import { Redis } from 'ioredis';
import { systemClock } from '../../src/clock.ts';
import { createLogger } from '../../src/log.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { consume } from '../../src/streams/consumer/consume.ts';
import type { StreamModules } from '../../src/streams/context.ts';
import { faultStream, type StreamProcess } from './fault-stream.ts';

const LONGEST_WORK_MS = 8;

const options = JSON.parse(process.argv[2] ?? '{}') as StreamProcess;
const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL'); // The test was killed, and cannot end it any more.
}, 500).unref();

const journal = new Redis(options.journal);
const note = (...words: Array<string | number>): Promise<unknown> =>
  journal.rpush('journal', [process.pid, ...words].join(' '));
const connections = createConnections({ ...options.redis, commandTimeout: 1_000 });
const log = createLogger({ level: 'warn', format: 'json', destination: process.stderr });
const definition = consume(
  faultStream,
  {
    group: 'g',
    concurrency: 8,
    prefetch: 50,
    attempts: options.attempts,
    lease: options.lease,
    backoff: '10ms',
    timeout: options.timeout,
    grace: '50ms',
    ...(options.isOrdered && { orderBy: ({ key }) => key }),
  },
  async ({ n, key, act }) => {
    await note('begun', n, key);
    if (act === 'die') process.kill(process.pid, 'SIGKILL');
    if (act === 'fail') throw new Error('no');
    if (act === 'hang') await new Promise(() => undefined);
    await systemClock.sleep(Math.random() * LONGEST_WORK_MS);
    await note('done', n, key);
  },
);
const host = { connections, prefix: options.prefix, log, clock: systemClock, modules: {} as StreamModules };
const consumer = await definition.start(host);
process.on('SIGTERM', () => {
  void consumer
    .stop(5_000)
    .then(() => connections.close())
    .then(() => journal.disconnect());
});
console.log('ready');
