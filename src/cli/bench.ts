/**
 * `millrace bench`: how many jobs a second this process enqueues and works, against the Redis that the environment names.
 *
 * All of its keys begin with a prefix of their own below the platform's, and are removed at the end, also after Ctrl-C or a failure; jobs of
 * the platform are not touched. The server works for it meanwhile, as it would for any busy application.
 */
import { randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import {
  createLogger,
  createPlatform,
  defineJob,
  handle,
  readEnv,
  systemClock,
  type Connections,
  type Platform,
} from '../index.ts';
import { EXIT_CODES, type Command } from './command.ts';
import { note, say } from './output.ts';
import { progressLine } from './progress.ts';
import { countOf, JSON_FLAG } from './read-flags.ts';
import { untilCtrlC } from './until-ctrl-c.ts';
import { withPlatform } from './with-platform.ts';

/** What was measured. */
interface Figures {
  redis: string;
  node: string;
  processors: number;
  jobs: number;
  /** Calls of enqueue(), so many at once as `callers`. */
  enqueuePerSecond: number;
  callers: number;
  /** Calls of enqueueMany(), one after the other, of so many jobs as `bulk` at most. */
  enqueueManyPerSecond: number;
  bulk: number;
  /** Handlers that do nothing, so many at once as `concurrency`. */
  workPerSecond: number;
  concurrency: number;
}

const DEFAULT_JOBS = 2_000;
/** All of them are in memory at once, here and there. */
const MOST_JOBS = 100_000;
const CALLERS = 50;
const CONCURRENCY = 50;
/** What Ctrl-C waits for. */
const BULK = 2_000;
const SCAN_COUNT = 1_000;

const noop = defineJob({ name: 'bench.noop', input: z.object({ at: z.number() }), retention: { count: 0 } });

export const bench: Command = {
  summary: 'Measures enqueue and work on the configured Redis, with jobs of its own that it removes.',
  flags: {
    jobs: { value: 'N', summary: `Jobs of each measurement, at most ${MOST_JOBS}. Default ${DEFAULT_JOBS}.` },
    ...JSON_FLAG,
  },
  exitCodes: { ...EXIT_CODES, 1: 'failed, or cut short' },
  async run({ flags }) {
    const jobs = countOf('jobs', flags, 1, MOST_JOBS) ?? DEFAULT_JOBS;
    // It removes what the bench has written, and keeps an embedded server until then.
    const figures = await withPlatform(({ redis }) => run(jobs, redis));
    if (figures) return say(flags['json'], figures, linesOf);
    note('Cut short; what it had written is removed.');
    return 1;
  },
};

/** Undefined when it was cut short. */
async function run(jobs: number, redis: Connections): Promise<Figures | undefined> {
  const { platform: options } = readEnv();
  const prefix = `${options.prefix ?? 'millrace'}:bench:${randomUUID().slice(0, 8)}`;
  const progress = progressLine();
  const log = createLogger({ ...options.log, level: 'error', destination: process.stderr });
  const platform = createPlatform({ ...options, prefix, log, onProgress: progress.show });
  try {
    await platform.start();
    return await untilCtrlC((signal) => measure(platform, jobs, signal, progress.show));
  } finally {
    progress.clear();
    await platform.stop(); // It writes until then.
    await removeKeys(redis, prefix);
  }
}

/** Undefined when it was cut short. */
async function measure(
  platform: Platform,
  jobs: number,
  signal: AbortSignal,
  show: (step: string) => void,
): Promise<Figures | undefined> {
  const input = { at: 0 };
  show('enqueueing one by one');
  let left = jobs;
  const caller = async (): Promise<void> => {
    while (left-- > 0 && !signal.aborted) await platform.jobs.enqueue(noop, input);
  };
  const enqueueMs = await timed(() => Promise.all(Array.from({ length: CALLERS }, caller)));
  if (signal.aborted) return undefined;
  show('enqueueing together');
  const many = Array.from({ length: jobs }, () => input);
  const manyMs = await timed(async () => {
    for (let from = 0; from < jobs && !signal.aborted; from += BULK)
      await platform.jobs.enqueueMany(noop, many.slice(from, from + BULK));
  });
  if (signal.aborted) return undefined;
  show('working');
  let toDo = jobs * 2;
  const workMs = await timed(async () => {
    await new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => resolve());
      const handler = handle(noop, () => {
        if ((toDo -= 1) === 0) resolve();
      });
      platform.work({ handlers: [handler], concurrency: CONCURRENCY }).catch(reject);
    });
  });
  if (toDo > 0) return undefined;
  return {
    redis: platform.redis.label,
    node: process.versions.node,
    processors: availableParallelism(),
    jobs,
    enqueuePerSecond: rate(jobs, enqueueMs),
    callers: CALLERS,
    enqueueManyPerSecond: rate(jobs, manyMs),
    bulk: Math.min(jobs, BULK),
    workPerSecond: rate(jobs * 2, workMs),
    concurrency: CONCURRENCY,
  };
}

function rate(count: number, ms: number): number {
  return Math.round((count * 1_000) / ms);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const from = systemClock.monotonicMs();
  await work();
  return systemClock.monotonicMs() - from;
}

/** Walks through all keys of the server, as Redis has no other way to find those with a beginning. */
async function removeKeys(redis: Connections, prefix: string): Promise<void> {
  try {
    const client = redis.commands();
    const nodes = 'nodes' in client ? client.nodes('master') : [client];
    for (const node of nodes) {
      let cursor = '0';
      do {
        const [next, keys] = await node.scan(cursor, 'MATCH', `${prefix}:*`, 'COUNT', SCAN_COUNT);
        await Promise.all(bySlot(keys).map((some) => node.unlink(...some)));
        cursor = next;
      } while (cursor !== '0');
    }
  } catch (error) {
    note(`The keys that begin with ${prefix}: could not be removed, and stay.`);
    throw error;
  }
}

/** In a Cluster a command takes keys of one slot only, as those with the same hash tag are. */
function bySlot(keys: readonly string[]): string[][] {
  const slots = new Map<string, string[]>();
  for (const key of keys) {
    const tag = /\{([^}]+)\}/.exec(key)?.[1] ?? key;
    const others = slots.get(tag);
    if (others) others.push(key);
    else slots.set(tag, [key]);
  }
  return [...slots.values()];
}

function linesOf(figures: Figures): string[] {
  const { redis, node, processors, jobs, callers, bulk, concurrency } = figures;
  return [
    `${jobs} jobs each, one process, Node ${node}, ${processors} processors, Redis at ${redis}`,
    '',
    lineOf(`enqueue(), ${callers} calls at once`, figures.enqueuePerSecond),
    lineOf(`enqueueMany(), ${bulk} a call`, figures.enqueueManyPerSecond),
    lineOf(`work, ${concurrency} at once, empty handlers`, figures.workPerSecond),
  ];
}

function lineOf(what: string, perSecond: number): string {
  return `${what.padEnd(36)} ${String(perSecond).padStart(8)} jobs/s`;
}
