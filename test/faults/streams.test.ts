/** Consumers of a stream that are killed, whose Redis restarts, whose group is deleted and whose stream is trimmed: nothing is lost. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { consume } from '../../src/streams/consumer/consume.ts';
import { defineStream } from '../../src/streams/contract.ts';
import { createStreams } from '../../src/streams/streams.ts';
import { groupKeys, pending, processOn } from '../streams/consumer/scene.ts';
import { startChild, type Child } from '../support/child.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { faultStream, type StreamProcess } from '../support/fault-stream.ts';

/** As scene.ts has it; its platform is more than these tests need. */
const isLong = process.env['FAULTS'] === 'long';
const PATIENCE_MS = 60_000;
const own = ownedByTest();
const ROUNDS = isLong ? 200 : 3;
const PROCESSES = 3;
/** Between two batches of a load, which goes on while processes start: the short form has no more than keeps all of them at work. */
const PUBLISH_EVERY_MS = isLong ? 10 : 20;
/** Slots, and what is done but not acknowledged yet. */
const MOST_DONE_AGAIN = 60;

type Act = 'work' | 'fail' | 'die' | 'hang';

/** A server whose consumers come and go, and one that keeps what they noted. */
async function setScene(how: Partial<Pick<StreamProcess, 'isOrdered' | 'attempts' | 'lease' | 'timeout'>> = {}) {
  const server = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
  const journal = own(await startRedis());
  const keys = groupKeys('g', 's', `f-${randomUUID()}`);
  const connections = own(createConnections({ url: server.url, commandTimeout: 1_000 }));
  const streams = createStreams(connections, { prefix: keys.prefix });
  const options: StreamProcess = {
    redis: { url: server.url },
    journal: journal.url,
    prefix: keys.prefix,
    isOrdered: false,
    attempts: 3,
    lease: '3000ms',
    timeout: '20000ms',
    ...how,
  };
  const living: Child[] = [];
  /** Processes whose entries were given to others: they were killed, or had no time for so long that their lease was over. */
  const out = new Set<string>();
  const start = async (): Promise<Child> => {
    const child = own(startChild('stream-process', [JSON.stringify(options)]));
    living.push(child);
    await child.says('ready', PATIENCE_MS);
    return child;
  };
  const kill = async (child: Child): Promise<void> => {
    child.signal('SIGKILL');
    await child.ended;
    out.add(String(child.pid));
    living.splice(living.indexOf(child), 1);
  };
  const published = new Map<number, Act>();
  let n = 0;
  /** Publishes some; what has no answer may be there or not. */
  const publish = async (count: number, act: (n: number) => Act = () => 'work'): Promise<void> => {
    const some = Array.from({ length: count }, () => ({ n: n++, key: `k${n % 10}`, act: act(n) }));
    await streams.publishMany(faultStream, some);
    for (const one of some) published.set(one.n, one.act);
  };
  const notes = async (): Promise<string[][]> =>
    (await journal.ask((redis) => redis.lrange('journal', 0, -1))).map((line) => line.split(' '));
  const doneCount = (): Promise<number> => journal.ask((redis) => redis.llen('journal'));
  /** Resolves when more was done, so that each blow meets work that is under way. */
  const goesOn = async (): Promise<void> => {
    const before = await doneCount();
    const more = 20 + Math.random() * 100;
    await eventually(async () => {
      if ((await doneCount()) < before + more)
        throw new Error(`nothing goes on; they say:\n${living.map((child) => child.err()).join('\n')}`);
    }, PATIENCE_MS);
  };
  /** Waits until nothing is left to do, and holds what was published against what was done. */
  const settle = async () => {
    await eventually(async () => {
      const [left, info] = await server.ask(async (redis) => [
        await pending(redis as never, keys),
        (await redis.xinfo('GROUPS', keys.entries)) as unknown[][],
      ]);
      const group = info.flat();
      expect({ left, lag: group[group.indexOf('lag') + 1] }, living.map((child) => child.err()).join('\n')).toEqual({
        left: {},
        lag: 0,
      });
    }, PATIENCE_MS);
    for (const child of living) if (child.err().includes('lost its lease')) out.add(String(child.pid));
    const lines = await notes();
    const done = lines.filter(([, word]) => word === 'done');
    const times = new Map<number, string[]>();
    for (const [pid = '', , which] of done) times.set(Number(which), [...(times.get(Number(which)) ?? []), pid]);
    const lost = [...published].filter(([which, act]) => act === 'work' && !times.has(which));
    const again = [...times.values()].filter((pids) => pids.length > 1);
    const dead = await server.ask((redis) => redis.xrange(keys.dead, '-', '+'));
    const letters = dead.map(([, fields]) => JSON.parse(fields[fields.indexOf('data') + 1] ?? '') as { n: number });
    return {
      lines,
      lost,
      again,
      dead: letters.map((letter) => letter.n).toSorted((left, right) => left - right),
      leftover: await server.ask((redis) => redis.exists(keys.attempts, keys.retries)),
    };
  };
  return { server, keys, streams, connections, living, out, start, kill, publish, published, goesOn, settle, notes };
}

/** Publishes without end, until it is told to stop. */
function load(scene: Awaited<ReturnType<typeof setScene>>, act?: (n: number) => Act) {
  const over = new AbortController();
  const running = (async (): Promise<void> => {
    while (!over.signal.aborted) {
      // While Redis is down it is not known what was added.
      await scene.publish(15, act).catch(() => undefined);
      await systemClock.sleep(PUBLISH_EVERY_MS);
    }
  })();
  return {
    async stop() {
      over.abort();
      await running;
    },
  };
}

function victimOf(living: readonly Child[]): Child {
  return living[Math.floor(Math.random() * living.length)] as Child;
}

test(`${ROUNDS} rounds of kill -9 lose no entry, and each that fails is one dead letter`, async () => {
  // So many that none is used up by blows that happen to meet the same entry.
  const scene = await setScene({ attempts: 8 });
  const { living, kill, start, goesOn } = scene;
  for (let one = 0; one < PROCESSES; one++) await start();
  const publishing = load(scene, (n) => (n % 20 === 0 ? 'fail' : 'work'));
  for (let round = 0; round < ROUNDS; round++) {
    await goesOn();
    await kill(victimOf(living));
    await start();
  }
  await goesOn();
  await publishing.stop();
  const { lost, again, dead, leftover } = await scene.settle();
  expect(lost).toEqual([]);
  expect(leftover).toBe(0);
  const failing = [...scene.published].flatMap(([n, act]) => (act === 'fail' ? [n] : []));
  expect(dead).toEqual(failing);
  if (isLong) console.log({ published: scene.published.size, again: again.length });
  // Only what was in flight when its process was killed is done again.
  expect(again.filter(([first = '']) => !scene.out.has(first))).toEqual([]);
  expect(again.length).toBeLessThanOrEqual(ROUNDS * MOST_DONE_AGAIN);
}, 3_600_000);

test('the order of keys holds while the processes of the group are killed', async () => {
  const scene = await setScene({ isOrdered: true, lease: '1000ms' });
  const { living, kill, start, goesOn } = scene;
  await start();
  await start();
  const publishing = load(scene);
  for (let round = 0; round < (isLong ? 40 : 1); round++) {
    await goesOn();
    await kill(victimOf(living));
    await start();
  }
  await goesOn();
  await publishing.stop();
  const { lines, lost } = await scene.settle();
  expect(lost).toEqual([]);
  const newest = new Map<string, number>();
  const skipped = lines
    .filter(([, word]) => word === 'done')
    .filter(([, , n = '', key = '']) => {
      const before = newest.get(key);
      newest.set(key, Math.max(before ?? 0, Number(n)));
      return before !== undefined && Number(n) > before + 10;
    });
  expect(skipped).toEqual([]);
}, 1_200_000);

test('an entry that kills its process becomes a dead letter, and takes nothing else with it', async () => {
  const scene = await setScene({ attempts: 2, lease: '1000ms', timeout: '1500ms' });
  await scene.publish(40, (n) => (n === 5 ? 'die' : n === 9 ? 'hang' : 'work'));
  let deaths = 0;
  for (;;) {
    const child = await scene.start();
    const isDead = await Promise.race([
      child.ended.then(() => true),
      eventually(
        async () => expect(await scene.server.ask((redis) => redis.xlen(scene.keys.dead))).toBe(2),
        PATIENCE_MS,
      ).then(() => false),
    ]);
    if (!isDead) break;
    scene.living.length = 0;
    deaths++;
  }
  expect(deaths).toBe(3);
  const { lost, dead } = await scene.settle();
  expect(lost).toEqual([]);
  expect(dead).toEqual([4, 8]);
}, 300_000);

test('a Redis that is killed under load and comes back has lost nothing', async () => {
  const scene = await setScene({ lease: '5000ms' });
  await scene.start();
  await scene.start();
  const publishing = load(scene, (n) => (n % 20 === 0 ? 'fail' : 'work'));
  for (let round = 0; round < (isLong ? 30 : 1); round++) {
    await scene.goesOn();
    await scene.server.kill();
    await scene.server.startAgain();
  }
  await scene.goesOn();
  await publishing.stop();
  const { lost, leftover } = await scene.settle();
  expect({ lost, leftover }).toEqual({ lost: [], leftover: 0 });
}, 600_000);

test('a group that is deleted under load, and a slow group under trimming, lose nothing', async () => {
  const server = own(await startRedis());
  const keys = groupKeys();
  const { host, connections } = processOn({ url: server.url }, keys.prefix);
  own(connections);
  const streams = createStreams(connections, { prefix: keys.prefix });
  const stream = defineStream({
    name: 's',
    schema: faultStream.schema,
    groups: ['quick', 'slow'],
    keep: { count: 10, age: false },
  });
  const seen = { quick: new Set<number>(), slow: new Set<number>() };
  const common = { lease: '2s', concurrency: 4, prefetch: 20 } as const;
  const quick = consume(stream, { ...common, group: 'quick' }, ({ n }) => void seen.quick.add(n));
  const slow = consume(stream, { ...common, group: 'slow' }, async ({ n }) => {
    await systemClock.sleep(1);
    seen.slow.add(n);
  });
  for (const definition of [quick, slow]) {
    const running = await definition.start(host);
    own({ stop: () => running.stop(500) });
  }
  const total = isLong ? 20_000 : 2_000;
  let removed = 0;
  for (let n = 0; n < total; n += 100) {
    await streams.publishMany(
      stream,
      Array.from({ length: 100 }, (_, at) => ({ n: n + at, key: 'k', act: 'work' as const })),
    );
    if (n % 500 === 0) await server.ask((redis) => redis.xgroup('DESTROY', keys.entries, 'quick'));
    // The group that was deleted is missing until it is made again; nothing may go meanwhile.
    removed += (await streams.trim(stream)).removed;
  }
  await eventually(() => expect([seen.quick.size, seen.slow.size]).toEqual([total, total]), PATIENCE_MS);
  expect(removed).toBeGreaterThan(0);
  await eventually(async () => {
    await streams.trim(stream);
    // A trim may leave some more than the ten that it must: Redis keeps up to 100 entries together.
    expect(await server.ask((redis) => redis.xlen(keys.entries))).toBeLessThan(10 + 100);
  });
}, 600_000);

test('a group that is far behind catches up, with each entry once', async () => {
  const server = own(await startRedis());
  const keys = groupKeys();
  const total = isLong ? 1_000_000 : 50_000;
  await server.ask(async (redis) => {
    for (let at = 0; at < total; at += 5_000) {
      const pipeline = redis.pipeline();
      for (let n = at; n < at + 5_000; n++)
        pipeline.xadd(keys.entries, '*', 'data', JSON.stringify({ n, key: 'k', act: 'work' }));
      await pipeline.exec();
    }
  });
  const { host, connections } = processOn({ url: server.url }, keys.prefix);
  own(connections);
  let sum = 0;
  let count = 0;
  let most = 0;
  const definition = consume(faultStream, { group: 'g' }, ({ n }) => {
    sum += n;
    count++;
  });
  const running = await definition.start(host);
  own({ stop: () => running.stop(500) });
  await eventually(() => {
    most = Math.max(most, running.inFlight);
    expect(count).toBe(total);
  }, PATIENCE_MS * 5);
  await eventually(async () => expect(await server.ask((redis) => pending(redis as never, keys))).toEqual({}));
  expect(sum).toBe((total * (total - 1)) / 2);
  expect(most).toBeLessThanOrEqual(6_000);
}, 600_000);
