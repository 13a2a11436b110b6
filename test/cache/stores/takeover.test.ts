/** Who saves: one process at a time, the next one when it ends, and what it does at its end. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { failureOf, timed } from '../../support/failures.ts';
import { gate, never, untilAborted } from '../../support/gate.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { behindOf, MemoryStore } from './scene.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();

/** As if so many processes had taken the changes, and none had lived to tell. */
async function left(kills: number, attempts: number) {
  const store = new MemoryStore<number>();
  const { behind, connections, prefix } = behindOf(own, { url: server.url });
  const numbers = behind(store.bulk(), { attempts });
  for (const key of ['a', 'b', 'c']) {
    const { version } = await numbers.set(key, 1);
    await connections.commands().hset(`${prefix}:cache:{store/things}:attempts`, `${version}-0`, kills);
  }
  await numbers.set('fresh', 1);
  return { store, numbers };
}

describe('of several that were started', () => {
  test('one saves, and another takes its place as soon as it stops', async () => {
    const [first, second] = [new MemoryStore<number>(), new MemoryStore<number>()];
    const { behind } = behindOf(own, { url: server.url });
    const a = behind(first.bulk(), { lease: '30s' });
    const b = behind(second.bulk(), { lease: '30s' });
    a.start();
    await a.set('x', 1);
    await a.flush();
    b.start();
    for (let n = 0; n < 20; n++) await b.set(`k${n}`, n);
    await b.flush();
    expect([first.asked.length, second.asked.length]).toEqual([21, 0]);
    await a.stop();
    await b.set('y', 1);
    const { ms } = await timed(b.flush());
    expect(second.values.get('y')).toBe(1);
    expect(ms).toBeLessThan(5_000);
  });

  test('one that is cut off stops saving in time, and what it does late is refused', async () => {
    const proxy = own(await startProxy(server.port));
    const [cutOff, healthy] = [new MemoryStore<number>(), new MemoryStore<number>()];
    const { behind, prefix } = behindOf(own, { url: server.url });
    const far = behindOf(own, { url: proxy.url, commandTimeout: 500 });
    const ended = gate<unknown>();
    const saving = gate();
    cutOff.hold = (signal) => {
      saving.open();
      return untilAborted(signal).catch((error: unknown) => {
        ended.open(error);
        throw error;
      });
    };
    const a = far.behind(cutOff.bulk(), {}, { prefix });
    a.start();
    await a.set('x', 1);
    await saving.opened;
    proxy.freeze();
    const b = behind(healthy.bulk());
    b.start();
    const { ms } = await timed(ended.opened);
    expect(await ended.opened).toMatchObject({ code: 'LEASE_LOST' });
    expect(ms).toBeLessThan(2_500);
    await b.flush();
    expect(healthy.asked).toMatchObject([{ key: 'x', value: 1 }]);
    proxy.restore();
    proxy.cut();
  });

  test('one whose place was taken without its knowledge changes nothing in Redis', async () => {
    const store = new MemoryStore<number>();
    const { opened, open } = gate();
    const saving = gate();
    store.hold = async () => {
      saving.open();
      await opened;
    };
    const { behind, connections, prefix } = behindOf(own, { url: server.url });
    const numbers = behind(store.bulk(), { lease: '30s' });
    numbers.start();
    await numbers.set('x', 1);
    await saving.opened;
    const flusher = `${prefix}:cache:{store/things}:flusher`;
    await connections.commands().set(flusher, 'somebody-else', 'PX', 2_000);
    open();
    await eventually(() => expect(store.asked).toHaveLength(1));
    expect(await numbers.pending()).toMatchObject({ pending: 1 });
    // Once the place is free it saves again: twice is what may happen, never is what may not.
    await numbers.flush();
    expect(store.asked).toHaveLength(2);
  });
});

describe('stop()', () => {
  test('saves what is pending first', async () => {
    const store = new MemoryStore<number>();
    const { behind } = behindOf(own, { url: server.url });
    const numbers = behind(store.bulk(), { flushAfter: '1h', batchSize: 10 });
    numbers.start();
    await numbers.setMany(Array.from({ length: 35 }, (_, n) => [`k${n}`, n] as const));
    await eventually(async () => expect(await numbers.pending()).toMatchObject({ hasFlusher: true }));
    await numbers.stop();
    expect(store.values.size).toBe(35);
    await numbers.stop();
    await failureOf(numbers.set('a', 1), 'CLOSED');
    await failureOf(numbers.get('a'), 'CLOSED');
    expect(() => numbers.start()).toThrow('stopped');
  });

  test('breaks off after drainFor, and leaves the rest to the next, no attempt used up', async () => {
    const store = new MemoryStore<number>();
    const saving = gate();
    store.hold = async () => {
      saving.open();
      return never();
    };
    const { behind } = behindOf(own, { url: server.url });
    const numbers = behind(store.bulk(), { drainFor: '200ms', attempts: 1 });
    numbers.start();
    await numbers.set('a', 1);
    await saving.opened;
    const { ms } = await timed(numbers.stop());
    expect(ms).toBeLessThan(3_000);
    const next = new MemoryStore<number>();
    const successor = behind(next.bulk(), { attempts: 1 });
    expect(await successor.pending()).toMatchObject({ pending: 1, deadLetters: 0, hasFlusher: false });
    successor.start();
    await successor.flush();
    expect(next.values.get('a')).toBe(1);
  });

  test('does not wait for changes of others that keep coming', async () => {
    const store = new MemoryStore<number>();
    const { behind } = behindOf(own, { url: server.url });
    const [leaver, writer] = [behind(store.bulk(), { drainFor: '20s' }), behind(store.bulk())];
    leaver.start();
    await writer.set('first', 1);
    const writingEnds = new AbortController();
    const writing = (async () => {
      for (let n = 0; !writingEnds.signal.aborted; n++) await writer.set(`k${n}`, n);
    })();
    await eventually(() => expect(store.values.size).toBeGreaterThan(0));
    const { ms } = await timed(leaver.stop());
    writingEnds.abort();
    await writing;
    expect(ms).toBeLessThan(5_000);
  });

  test('of one that was never started, or of one that waits for its turn, is quick', async () => {
    const { behind } = behindOf(own, { url: server.url });
    const [leader, waiting, idle] = [1, 2, 3].map(() => behind(new MemoryStore<number>().bulk()));
    leader?.start();
    await leader?.set('a', 1);
    await leader?.flush();
    waiting?.start();
    for (const one of [waiting, idle]) expect((await timed(one?.stop() ?? never())).ms).toBeLessThan(1_500);
    expect(await leader?.pending()).toMatchObject({ hasFlusher: true });
  });
});

describe('a change whose process died over it', () => {
  test('goes with others once, then alone, so that it takes no others with it', async () => {
    for (const { kills, bulks } of [
      { kills: 1, bulks: [1, 3] },
      { kills: 2, bulks: [1, 1, 1, 1] },
    ]) {
      const { store, numbers } = await left(kills, 20);
      numbers.start();
      await numbers.flush();
      expect(store.values.size).toBe(4);
      expect(store.bulks.toSorted((x, y) => x - y)).toEqual(bulks);
    }
  });

  test('is a dead letter in the end, but not as soon as a change that was refused', async () => {
    const twice = await left(2, 1);
    twice.numbers.start();
    await twice.numbers.flush();
    expect(twice.store.values.size).toBe(4);
    const often = await left(5, 1);
    often.numbers.start();
    await often.numbers.flush();
    expect([...often.store.values.keys()]).toEqual(['fresh']);
    const { letters } = await often.numbers.deadLetters.list();
    expect(letters.map(({ key }) => key)).toEqual(['a', 'b', 'c']);
    expect(letters[0]?.error.message).toContain('ended before');
  });
});

test('flush() ends with its signal', async () => {
  const { behind } = behindOf(own, { url: server.url });
  const numbers = behind(new MemoryStore<number>().bulk());
  await numbers.set('a', 1);
  const controller = new AbortController();
  const flushing = numbers.flush({ signal: controller.signal });
  controller.abort(new Error('enough'));
  await expect(flushing).rejects.toThrow('enough');
});
