/** What was run of each queue, by the minute and by the hour. */
import { randomUUID } from 'node:crypto';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.ts';
import { BUCKETS, bucketOf, msOf, percentilesOf } from '../../src/jobs/history/buckets.ts';
import { createHistory, type History, type HistoryPoint } from '../../src/jobs/history/history.ts';
import { joinPieces, keyAt, notedKey } from '../../src/jobs/history/keys.ts';
import { addRecords, type RecordPlace } from '../../src/jobs/history/record.ts';
import { addPacked, nothingCounted, pack } from '../../src/jobs/history/packed.ts';
import { Recorder } from '../../src/jobs/history/recorder.ts';
import { QueueTally, Tallies } from '../../src/jobs/history/tallies.ts';
import { handle } from '../../src/jobs/handler.ts';
import { QueueSet } from '../../src/jobs/queue-set.ts';
import { silentLogger, type Logger } from '../../src/log.ts';
import type { RedisOptions, Topology } from '../../src/redis/address.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { hashTagOf } from '../../src/redis/keys.ts';
import { ServerTime } from '../../src/redis/server-time.ts';
import { startForFile } from '../contract/topologies.ts';
import { contractOf } from '../support/contracts.ts';
import { eventually } from '../support/eventually.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { ownedRuntimes } from '../support/runtimes.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

/** All that is known of now and of the minutes around it: a test may run over the edge of one. */
async function around(history: History, queue?: string, step: 'minute' | 'hour' = 'minute'): Promise<HistoryPoint[]> {
  const now = systemClock.wallMs();
  const points = await history.series({ queue, from: now - 2 * HOUR_MS, to: now + 2 * HOUR_MS, step });
  return points.filter(({ completed, failed, dead, depth }) => completed + failed + dead > 0 || depth !== undefined);
}

function summed(points: readonly HistoryPoint[]) {
  const sum = (of: (point: HistoryPoint) => number): number => points.reduce((total, point) => total + of(point), 0);
  return {
    completed: sum(({ completed }) => completed),
    failed: sum(({ failed }) => failed),
    retried: sum(({ retried }) => retried),
    dead: sum(({ dead }) => dead),
    waits: sum(({ waitMs }) => waitMs?.count ?? 0),
    runs: sum(({ runMs }) => runMs?.count ?? 0),
  };
}

describe.each<Topology>(['standalone', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const runtimeOf = ownedRuntimes();

  test('what workers ran is there once they have stopped, of a queue and of all', async () => {
    const { runtime } = runtimeOf(topologyOf().redis);
    const { jobs, history } = runtime;
    const fine = contractOf('fine.job');
    const bad = contractOf('bad.job', { attempts: 2, backoff: { type: 'fixed', delay: 1 } });
    const slow = contractOf('bad.slow', { attempts: 2, backoff: { type: 'fixed', delay: 1 }, timeout: 20 });
    const worker = await runtime.work({
      grace: 1,
      handlers: [
        handle(fine, () => undefined),
        handle(bad, () => {
          throw new Error('no');
        }),
        handle(slow, (_input, { signal }) => systemClock.sleep(60_000, { signal })),
      ],
    });
    await jobs.enqueueMany(fine, [{}, {}, {}]);
    await jobs.enqueue(bad, {});
    await jobs.enqueue(slow, {});
    await eventually(async () => expect(await runtime.deadLetters.count()).toBe(2));
    await eventually(async () => expect((await jobs.counts('fine')).waiting).toBe(0));
    await worker.stop();
    const ofFine = { completed: 3, failed: 0, retried: 0, dead: 0, waits: 3, runs: 3 };
    const ofBad = { completed: 0, failed: 4, retried: 2, dead: 2, waits: 2, runs: 4 };
    const both = { completed: 3, failed: 4, retried: 2, dead: 2, waits: 5, runs: 7 };
    for (const step of ['minute', 'hour'] as const) {
      expect(summed(await around(history, 'fine', step))).toEqual(ofFine);
      expect(summed(await around(history, 'bad', step))).toEqual(ofBad);
      expect(summed(await around(history, undefined, step))).toEqual(both);
    }
  });

  test('a look at the queues is kept with the minute, also when several look at once', async () => {
    const { runtime } = runtimeOf(topologyOf().redis);
    const { jobs, history } = runtime;
    await jobs.enqueueMany(contractOf('deep.job'), [{}, {}, {}]);
    await jobs.enqueue(contractOf('deep.job'), {}, { priority: 3 });
    await jobs.enqueue(contractOf('later.job'), {}, { delay: '1h' });
    await jobs.pause('later');
    const looks = await Promise.all([history.sample(), history.sample(), history.sample()]);
    for (const snapshots of looks) {
      expect(snapshots).toMatchObject([
        { queue: 'deep', counts: { waiting: 3, prioritized: 1, dead: 0 }, isPaused: false },
        { queue: 'later', counts: { waiting: 0, delayed: 1 }, oldestAgeMs: undefined, isPaused: true },
      ]);
      expect(snapshots[0]?.oldestAgeMs).toBeLessThan(MINUTE_MS);
    }
    const deep = await around(history, 'deep');
    expect(deep[0]).toMatchObject({ depth: 4, completed: 0, runMs: undefined });
    expect(deep[0]?.oldestAgeMs).toBeLessThan(MINUTE_MS);
    expect((await around(history, 'later'))[0]).toMatchObject({ depth: 0, oldestAgeMs: 0 });
    expect((await around(history))[0]).toMatchObject({ depth: 4 });
    expect((await around(history, undefined, 'hour'))[0]).toMatchObject({ depth: 4 });
  });
});

describe('a history', () => {
  const own = ownedByTest();
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  /** What writes and reads the history in one process. */
  function processOf(
    redis: RedisOptions,
    {
      prefix = randomUUID(),
      clock = systemClock,
      log = silentLogger,
    }: { prefix?: string; clock?: Clock; log?: Logger } = {},
  ) {
    const connections = own(createConnections(redis));
    const queues = own(new QueueSet(connections, prefix));
    const client = () => connections.commands();
    const place: RecordPlace = { client, keys: queues.keys, time: new ServerTime(clock), process: randomUUID() };
    const tallies = new Tallies();
    const recorder = own(new Recorder({ tallies, place, clock, log }));
    const history = createHistory({ queues, place, clock, log });
    return { prefix, tallies, recorder, history, keys: queues.keys, place };
  }

  test('has what several processes counted, as one', async () => {
    const one = processOf({ url: server.url });
    const other = processOf({ url: server.url }, { prefix: one.prefix });
    for (const { tallies } of [one, other]) {
      const tally = tallies.of('mail');
      for (let ms = 1; ms <= 1_000; ms++) tally.ran(ms);
      for (let n = 0; n < 500; n++) tally.waited(2_000);
      tally.ended('completed', false);
      tally.ended('postponed', false);
    }
    await Promise.all([one.recorder.write(), other.recorder.write()]);
    const hours = await around(one.history, 'mail', 'hour');
    expect(summed(hours)).toMatchObject({ completed: 2, failed: 0, waits: 1_000, runs: 2_000 });
    const { runMs, waitMs } = hours.at(-1) ?? {};
    expect(isNear(runMs?.p50, 500)).toBe(true);
    expect(isNear(runMs?.p95, 950)).toBe(true);
    expect(isNear(runMs?.p99, 990)).toBe(true);
    expect(isNear(waitMs?.p99, 2_000)).toBe(true);
  });

  test('adds what was counted once, also when the answer was lost', async () => {
    const proxy = own(await startProxy(server.port));
    const { log, warnings } = collectLog();
    const { tallies, recorder, history, prefix } = processOf({ url: proxy.url, commandTimeout: '200ms' }, { log });
    const reader = processOf({ url: server.url }, { prefix }).history;
    const count = (): void => tallies.of('mail').ended('completed', false);
    count();
    await recorder.write();
    proxy.loseAnswers();
    count();
    await recorder.write();
    expect(summed(await around(reader, 'mail')).completed).toBe(2);
    count();
    await recorder.write();
    await recorder.write();
    expect(warnings().map(({ msg }) => msg)).toEqual([expect.stringContaining('the history of jobs')]);
    proxy.restore();
    proxy.cut();
    await eventually(async () => {
      await recorder.write();
      expect(summed(await around(history, 'mail')).completed).toBe(3);
    });
    count();
    await recorder.stop();
    await recorder.stop();
    expect(summed(await around(reader, 'mail')).completed).toBe(4);
  });

  test('keeps what is counted while Redis is down, of each queue one record and one tally', async () => {
    const proxy = own(await startProxy(server.port));
    const { tallies, recorder, prefix } = processOf({ url: proxy.url, commandTimeout: '100ms' });
    proxy.freeze();
    for (let n = 0; n < 5; n++) {
      tallies.of('mail').ended('completed', false);
      await recorder.write();
    }
    proxy.restore();
    proxy.cut();
    const { history } = processOf({ url: server.url }, { prefix });
    await eventually(async () => {
      await recorder.write();
      expect(summed(await around(history, 'mail')).completed).toBe(5);
    });
  });

  test('goes by the clock of the server', async () => {
    const clock = { ...systemClock, wallMs: () => systemClock.wallMs() - 5 * DAY_MS };
    const { tallies, recorder, history } = processOf({ url: server.url }, { clock });
    const before = systemClock.wallMs();
    tallies.of('mail').died();
    await recorder.write();
    const points = await around(history, 'mail');
    expect(points).toMatchObject([{ dead: 1, completed: 0 }]);
    expect(points[0]?.at).toBeGreaterThan(before - 2 * MINUTE_MS);
    expect(points[0]?.at).toBeLessThanOrEqual(systemClock.wallMs());
  });

  test('has a point of zeros where nothing was counted, and refuses what cannot be meant', async () => {
    const { history } = processOf({ url: server.url });
    const from = 1_000 * HOUR_MS + 30_000;
    const points = await history.series({ from, to: from + 2 * MINUTE_MS, step: 'minute' });
    const none = { waitMs: undefined, runMs: undefined, depth: undefined, oldestAgeMs: undefined };
    const zeros = { completed: 0, failed: 0, retried: 0, dead: 0, ...none };
    expect(points).toEqual([0, 1, 2].map((n) => ({ at: 1_000 * HOUR_MS + n * MINUTE_MS, ...zeros })));
    expect(await history.series({ from, to: from - HOUR_MS, step: 'hour' })).toEqual([]);
    const code = { code: 'OPTIONS_INVALID' };
    await expect(history.series({ from: 0, to: 3 * DAY_MS, step: 'minute' })).rejects.toMatchObject(code);
    await expect(history.series({ from: 0, to: 1, step: 'day' as 'hour' })).rejects.toMatchObject(code);
    expect(await history.series({ from: 0, to: 35 * DAY_MS, step: 'hour', queue: 'a.b' })).toHaveLength(35 * 24);
  });

  test('costs a busy queue less than 150 KB for a day of minutes, beside its queue, and expires', async () => {
    const { tallies, recorder, keys, place } = processOf({ url: server.url });
    tallies.of('mail').ended('completed', false);
    await recorder.write();
    const now = place.time.nowMs();
    const [minutes, hours] = (['minute', 'hour'] as const).map((step) => keyAt(keys, 'mail', step, now));
    const noted = notedKey(keys, 'mail', place.process);
    const ttls = await server.ask((redis) =>
      Promise.all([minutes ?? '', hours ?? '', noted].map(async (key) => redis.pttl(key))),
    );
    expect(ttls.map((ms) => Math.round(ms / DAY_MS))).toEqual([2, 35, 1]);
    for (const key of [minutes, hours, noted]) expect(hashTagOf(key ?? '')).toBe(hashTagOf(keys.queuePrefix('mail')));
    const bytes = await server.ask(async (redis) => {
      let sum = 0;
      for (let hour = 0; hour < 24; hour++) {
        const key = keyAt(keys, 'mail', 'minute', hour * HOUR_MS);
        for (let minute = 0; minute < 60; minute++) await redis.hset(key, ...piecesOf(minute, busyMinute()));
        sum += Number(await redis.memory('USAGE', key));
      }
      return sum;
    });
    expect(bytes).toBeLessThan(150_000);
    expect(bytes).toBeGreaterThan(20_000);
  });
});

/** 600 jobs of which most run for about 50 ms, some for far longer, a few fail. */
function busyMinute(): Buffer {
  const tally = new QueueTally();
  for (let n = 0; n < 600; n++) {
    const spread = Math.exp((Math.random() + Math.random() + Math.random() - 1.5) * 1.5);
    tally.ran(n % 100 === 0 ? 2_000 * spread : 50 * spread);
    tally.waited(Math.round(4 * spread));
    tally.ended(n % 50 === 0 ? 'retried' : 'completed', n % 50 === 0);
  }
  return tally.take() ?? Buffer.alloc(0);
}

/** As record.lua writes them. */
function piecesOf(minute: number, packed: Buffer): [Map<string, Buffer>] {
  const pieces = new Map<string, Buffer>();
  for (let at = 0; at * 64 < packed.length; at++) {
    pieces.set(String(minute + 60 * at), packed.subarray(at * 64, at * 64 + 64));
  }
  return [pieces];
}

const isNear = (told: number | undefined, ms: number): boolean => told !== undefined && Math.abs(told / ms - 1) < 0.1;

describe('times in buckets', () => {
  test('are within 10 %, from a tenth of a millisecond to 13 days', () => {
    const ms = fc.double({ min: 0.1, max: 13 * DAY_MS, noNaN: true });
    fc.assert(fc.property(ms, (time) => isNear(msOf(bucketOf(time)), time)));
    for (const strange of [0, -1, Number.NaN]) expect(bucketOf(strange)).toBe(0);
    expect(bucketOf(1e15)).toBe(BUCKETS - 1);
  });

  test('have no percentiles when there are none', () => {
    expect(percentilesOf(new Uint32Array(BUCKETS))).toBeUndefined();
  });
});

describe('a packed record', () => {
  const own = ownedByTest();
  const small = fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, fc.nat(300), fc.nat(2 ** 31));
  const histogram = fc.array(small, { minLength: BUCKETS, maxLength: BUCKETS }).map((hits) => Float64Array.from(hits));
  const gauge = fc.option(fc.nat(2 ** 31), { nil: undefined });
  const record = fc.record({
    completed: small,
    failed: small,
    retried: small,
    dead: small,
    depth: gauge,
    oldestAgeMs: gauge,
    wait: histogram,
    run: histogram,
  });

  test('is what it was when it is unpacked', () => {
    fc.assert(
      fc.property(record, (counted) => {
        const total = nothingCounted();
        addPacked(total, pack(counted));
        expect(total).toEqual(counted);
      }),
    );
  });

  test('is added in Redis as it is added here', async () => {
    const server = own(await startRedis());
    const connections = own(createConnections({ url: server.url }));
    const queues = own(new QueueSet(connections, 'p'));
    const time = new ServerTime(systemClock);
    const place = { client: () => connections.commands(), keys: queues.keys, time, process: 'p' };
    let queue = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 3 }), async (records) => {
        const name = `q${queue++}`;
        const expected = nothingCounted();
        for (const one of records) addPacked(expected, pack({ ...one, depth: undefined }));
        const depths = records.flatMap(({ depth }) => depth ?? []);
        if (depths.length > 0) expected.depth = Math.max(...depths);
        for (const one of records) await addRecords(place, [{ queue: name, sequence: 0, packed: pack(one) }]);
        const key = keyAt(queues.keys, name, 'hour', time.nowMs());
        const fields = (await connections.commands().callBuffer('HGETALL', key)) as Buffer[];
        const [packed = Buffer.alloc(0)] = joinPieces(fields, 'hour').values();
        const total = nothingCounted();
        addPacked(total, packed);
        expect(total).toEqual(expected);
      }),
      { numRuns: 30 },
    );
  });
});
