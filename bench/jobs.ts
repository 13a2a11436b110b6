/**
 * What our layer over BullMQ costs: each case runs ours, with everything on, and BullMQ by itself on the same server.
 * support/job-sides.ts says what each side does.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { benchBinary, pinned, startBenchServer } from './support/server.ts';
import { oursOn, rawOn, type JobSide } from './support/job-sides.ts';
import { callsPerSecond, median, type Case, type Side } from './support/measure.ts';
import { buildForWorkers, residentMb } from './support/worker-memory.ts';

const ADD_PAIR = 'add';
const ADD_AWAITED = 500;
const ADD_IN_FLIGHT = 3_000;
const BULK = 5_000;
const COUNTED = 5_000;
const WAITING = 10_000;
/** By then, the ends of jobs that have run are written. */
const SETTLED_MS = 100;
const IDLE = 25;
/** Long enough for a worker to have finished its job and to wait for the next one. */
const IDLE_MS = 3;

/** The cases, and what must be closed after them. */
export async function prepare(): Promise<{ cases: Case[]; close: () => Promise<void> }> {
  const server = await startBenchServer(pinned(await benchBinary()));
  const admin = new Redis({ path: server.url.slice('unix://'.length) });
  const producers = { ours: await oursOn(server.url, ADD_PAIR), theirs: await rawOn(server.url, ADD_PAIR) };
  const opened: JobSide[] = [producers.ours, producers.theirs];
  let built: Promise<string> | undefined;
  const resident = (side: 'ours' | 'raw') => async (): Promise<number> =>
    residentMb(side, server.url, await (built ??= buildForWorkers()));

  /** Each side, adding to an empty queue on which nobody works. */
  const adding = (measured: (side: JobSide) => Promise<number>): Pick<Case, 'ours' | 'theirs'> => {
    const alone = (side: JobSide) => async (): Promise<number> => {
      const figure = await measured(side);
      await removeKeys(admin, `*-${ADD_PAIR}:*`);
      return figure;
    };
    return { ours: alone(producers.ours), theirs: alone(producers.theirs) };
  };
  /** Each side with a worker of its own, made for the case's first round, that stays for the others. */
  const working = (
    pair: string,
    concurrency: number,
    measured: (bench: WorkBench) => Promise<number>,
  ): Pick<Case, 'ours' | 'theirs'> => {
    const lasting = (create: typeof oursOn): Side => {
      let bench: Promise<WorkBench> | undefined;
      return async () => {
        bench ??= create(server.url, pair).then((side) => startWork(side, concurrency, opened));
        return measured(await bench);
      };
    };
    return { ours: lasting(oursOn), theirs: lasting(rawOn) };
  };
  const added = { unit: 'jobs/s', rounds: { quick: 9, full: 61 } };
  const worked = { unit: 'jobs/s', theirsIs: 'BullMQ Worker' };
  return {
    cases: [
      {
        ...added,
        name: 'add-awaited',
        theirsIs: 'awaited Queue.add()',
        ...adding((side) => callsPerSecond(ADD_AWAITED, 1, () => side.add())),
      },
      {
        ...added,
        name: 'add-in-flight',
        theirsIs: 'Queue.add(), 100 in flight',
        ...adding((side) => callsPerSecond(ADD_IN_FLIGHT, 100, () => side.add())),
      },
      {
        ...added,
        name: 'bulk',
        theirsIs: 'awaited Queue.addBulk() of 1,000; the limit is x1.2',
        rounds: { quick: 5, full: 31 },
        ...adding(async (side) => (await callsPerSecond(1, 1, () => side.addMany(BULK))) * BULK),
      },
      {
        ...worked,
        name: 'work-c1',
        rounds: { quick: 7, full: 80 },
        ...working('c1', 1, (bench) => jobsPerSecond(bench, 500)),
      },
      {
        ...worked,
        name: 'work-c10',
        rounds: { quick: 9, full: 34 },
        ...working('c10', 10, (bench) => jobsPerSecond(bench, 1_500)),
      },
      {
        ...worked,
        name: 'work-c50',
        rounds: { quick: 9, full: 34 },
        ...working('c50', 50, (bench) => jobsPerSecond(bench, 1_500)),
      },
      {
        ...worked,
        name: 'work-c200',
        rounds: { quick: 9, full: 34 },
        ...working('c200', 200, (bench) => jobsPerSecond(bench, 1_500)),
      },
      {
        name: 'commands',
        unit: 'commands/job',
        lessIsBetter: true,
        isExtra: true,
        theirsIs: 'BullMQ in all, those in its scripts too; the limit is 1 more',
        rounds: { quick: 1, full: 3 },
        ...working('all', 50, (bench) => commandsPerJob(bench, admin)),
      },
      {
        name: 'bytes-waiting',
        unit: 'bytes/job',
        lessIsBetter: true,
        isExtra: true,
        theirsIs: 'BullMQ in all; the limit is 80 more',
        rounds: { quick: 1, full: 3 },
        ...adding((side) => bytesPerJob(side, admin)),
      },
      {
        name: 'rss',
        unit: 'MB',
        lessIsBetter: true,
        isExtra: true,
        theirsIs: 'a process with a BullMQ Queue and Worker; the limit is 15 more',
        rounds: { quick: 1, full: 7 },
        ours: resident('ours'),
        theirs: resident('raw'),
      },
      {
        name: 'idle-p50',
        unit: 'ms',
        lessIsBetter: true,
        theirsIs: 'from Queue.add() to the processor of an idle Worker',
        rounds: { quick: 7, full: 61 },
        ...working('idle', 10, idleMs),
      },
    ],
    async close() {
      for (const side of opened) await side.close();
      admin.disconnect();
      await server.stop();
    },
  };
}

/** A side whose worker has been started, and what its handler tells. */
interface WorkBench {
  side: JobSide;
  /** Told of each run. */
  onRun: () => void;
}

async function startWork(side: JobSide, concurrency: number, opened: JobSide[]): Promise<WorkBench> {
  opened.push(side);
  const bench: WorkBench = { side, onRun: () => undefined };
  await side.work(concurrency, () => bench.onRun());
  return bench;
}

/** Resolves when the handler has been called so often. */
function runs(bench: WorkBench, count: number): Promise<void> {
  return new Promise((resolve) => {
    let left = count;
    bench.onRun = () => {
      if (--left === 0) resolve();
    };
  });
}

/** The jobs are all there when the clock starts; only taking, running and finishing them is measured. */
async function jobsPerSecond(bench: WorkBench, count: number): Promise<number> {
  const { side } = bench;
  await side.pause();
  await side.addMany(count);
  const done = runs(bench, count);
  const start = performance.now();
  await side.resume();
  await done;
  const perSecond = (count / (performance.now() - start)) * 1_000;
  await untilIdle(side);
  return perSecond;
}

/** Enqueue and run, on a worker that is connected; what it asks while idle is spread over the jobs. */
async function commandsPerJob(bench: WorkBench, admin: Redis): Promise<number> {
  const before = await commandsCalled(admin);
  const done = runs(bench, COUNTED);
  await callsPerSecond(COUNTED, 100, () => bench.side.add());
  await done;
  await delay(SETTLED_MS); // To ask for the end again and again would be counted, too.
  await untilIdle(bench.side);
  return ((await commandsCalled(admin)) - before) / COUNTED;
}

async function bytesPerJob(side: JobSide, admin: Redis): Promise<number> {
  const before = await usedBytes(admin);
  await callsPerSecond(WAITING, 100, () => side.add());
  return ((await usedBytes(admin)) - before) / WAITING;
}

/** The median of the times from an enqueue to the start of its handler. */
async function idleMs(bench: WorkBench): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < IDLE; round++) {
    await delay(IDLE_MS);
    const start = performance.now();
    const started = runs(bench, 1);
    await Promise.all([started.then(() => times.push(performance.now() - start)), bench.side.add()]);
  }
  return median(times);
}

async function untilIdle(side: JobSide): Promise<void> {
  while ((await side.activeCount()) > 0) await delay(1);
}

/** Removes them at once and not in the background, so that the next round finds the memory free. */
async function removeKeys(admin: Redis, pattern: string): Promise<void> {
  for await (const keys of admin.scanStream({ match: pattern, count: 1_000 })) {
    if ((keys as string[]).length > 0) await admin.del(keys as string[]);
  }
}

async function commandsCalled(admin: Redis): Promise<number> {
  const info = await admin.info('commandstats');
  return [...info.matchAll(/calls=(\d+)/g)].reduce((sum, [, calls]) => sum + Number(calls), 0);
}

async function usedBytes(admin: Redis): Promise<number> {
  const info = await admin.info('memory');
  return Number(/^used_memory:(\d+)/m.exec(info)?.[1]);
}
