/** Reliable topics: who was away misses nothing of what is kept, in order, and is told of what is not. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../src/clock.ts';
import { defineTopic } from '../../src/pubsub/topic.ts';
import { eventually } from '../support/eventually.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { heardBy, ledger, live, ownedPubSub, shortLedger, upTo, type OwnedPubSub } from './own-pubsub.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
const pubsubOf = ownedPubSub();
let lastPrefix = 0;
/** Processes of one platform, with a ring that no other test has written to. */
function platform(): { fresh: (url?: string) => OwnedPubSub } {
  const prefix = `p${++lastPrefix}`;
  return { fresh: (url = server.url) => pubsubOf({ url }, { prefix }) };
}

/** A process behind a connection that can be cut. */
async function behindProxy(fresh: (url: string) => OwnedPubSub): Promise<{ proxy: Proxy } & OwnedPubSub> {
  const proxy = own(await startProxy(server.port));
  return { proxy, ...fresh(proxy.url) };
}

describe('a subscriber that was away', () => {
  test('misses nothing of what is kept, and sees it in order, once', async () => {
    const { fresh } = platform();
    const { pubsub: speaker } = fresh();
    const { pubsub, proxy } = await behindProxy(fresh);
    const [mine, filtered] = [heardBy(), heardBy()];
    await live(pubsub.subscribe(ledger, mine.handler, { onGap: mine.onGap }));
    await live(pubsub.subscribe(ledger.at('even'), filtered.handler, { onGap: filtered.onGap }));
    const publish = async (n: number): Promise<unknown> => speaker.publish(ledger.at(n % 2 ? 'odd' : 'even'), { n });
    for (const n of upTo(100)) await publish(n);
    await eventually(() => expect(mine.heard).toEqual(upTo(100)));
    proxy.freeze();
    proxy.cut();
    for (const n of upTo(500)) await publish(100 + n);
    proxy.restore();
    proxy.cut();
    for (const n of upTo(100)) await publish(600 + n); // While it comes back.
    await eventually(() => expect(mine.heard).toHaveLength(700));
    expect(mine.heard).toEqual(upTo(700));
    await eventually(() => expect(filtered.heard).toEqual(upTo(350).map((n) => n * 2)));
  });

  test('over and over, under load', async () => {
    const { fresh } = platform();
    const { pubsub: speaker } = fresh();
    const { pubsub, proxy } = await behindProxy(fresh);
    const mine = heardBy();
    await live(pubsub.subscribe(ledger, mine.handler, { onGap: mine.onGap }));
    let said = 0;
    for (const round of upTo(10)) {
      for (let step = 0; step < 60; step++) {
        await speaker.publish(ledger.at('x'), { n: ++said });
        if (step === round * 5) proxy.cut();
      }
    }
    await eventually(() => expect(mine.heard).toHaveLength(600));
    expect(mine.heard).toEqual(upTo(600));
  });

  test('for longer than the ring reaches is told of the gap, in its place, and goes on', async () => {
    const { fresh } = platform();
    const { pubsub: speaker } = fresh();
    const { pubsub, proxy } = await behindProxy(fresh);
    const mine = heardBy();
    await live(pubsub.subscribe(shortLedger, mine.handler, { onGap: mine.onGap }));
    const positions = new Map<number, string | undefined>();
    const publish = async (n: number): Promise<unknown> =>
      positions.set(n, (await speaker.publish(shortLedger, { n })).position);
    for (const n of upTo(5)) await publish(n);
    await eventually(() => expect(mine.heard).toEqual(upTo(5)));
    proxy.freeze();
    proxy.cut();
    for (const n of upTo(25)) await publish(5 + n);
    proxy.restore();
    proxy.cut();
    await eventually(() => expect(mine.heard).toHaveLength(16));
    await publish(31);
    await eventually(() => expect(mine.heard).toEqual([...upTo(5), 'gap expired', ...upTo(11).map((n) => 20 + n)]));
    expect(mine.gaps).toEqual([
      { topic: 'short', reason: 'expired', count: undefined, from: positions.get(5), to: positions.get(20) },
    ]);
  });

  test('learns of it when all that it missed is too old', async () => {
    const brief = defineTopic({
      name: 'brief',
      schema: z.strictObject({ n: z.number() }),
      reliable: { age: '1s' },
    });
    const { fresh } = platform();
    const { pubsub: speaker } = fresh();
    const { pubsub, proxy } = await behindProxy(fresh);
    const mine = heardBy();
    await live(pubsub.subscribe(brief, mine.handler, { onGap: mine.onGap }));
    await speaker.publish(brief, { n: 1 });
    await eventually(() => expect(mine.heard).toEqual([1]));
    proxy.freeze();
    proxy.cut();
    const { position: lost } = await speaker.publish(brief, { n: 2 });
    await systemClock.sleep(1_100);
    proxy.restore();
    proxy.cut();
    await eventually(() => expect(mine.heard).toEqual([1, 'gap expired']));
    expect(mine.gaps[0]).toMatchObject({ to: lost });
    await speaker.publish(brief, { n: 3 });
    await eventually(() => expect(mine.heard).toEqual([1, 'gap expired', 3]));
    // Silence for longer than anything is kept is no gap to who has heard all.
    await systemClock.sleep(1_100);
    await speaker.publish(brief, { n: 4 });
    await eventually(() => expect(mine.heard).toEqual([1, 'gap expired', 3, 4]));
  });

  test('learns of it when the server has lost everything', async () => {
    const server2 = own(await startRedis());
    const { pubsub } = pubsubOf({ url: server2.url });
    const mine = heardBy();
    await live(pubsub.subscribe(ledger, mine.handler, { onGap: mine.onGap }));
    await pubsub.publish(ledger.at('a'), { n: 1 });
    await eventually(() => expect(mine.heard).toEqual([1]));
    await server2.kill();
    await server2.startAgain();
    await eventually(() => expect(mine.heard).toEqual([1, 'gap expired']));
    await eventually(() => pubsub.publish(ledger.at('a'), { n: 2 }));
    await eventually(() => expect(mine.heard.at(-1)).toBe(2));
  });
});

describe('a position', () => {
  test('lets another process go on where the first one stopped', async () => {
    const { fresh } = platform();
    const { pubsub: first } = fresh();
    const mine = heardBy();
    const subscription = await live(first.subscribe(ledger, mine.handler));
    for (const n of upTo(10)) await first.publish(ledger.at('a'), { n });
    await eventually(() => expect(mine.heard).toEqual(upTo(10)));
    await subscription.close();
    const from = mine.messages[6]?.position ?? '';
    for (const n of upTo(10)) await first.publish(ledger.at('a'), { n: 10 + n });
    const theirs = heardBy();
    const { pubsub: second } = fresh();
    await live(second.subscribe(ledger, theirs.handler, { from, onGap: theirs.onGap }));
    await first.publish(ledger.at('a'), { n: 21 });
    await eventually(() => expect(theirs.heard).toEqual(upTo(14).map((n) => 7 + n)));
    expect(theirs.messages.at(0)?.position).toBe(mine.messages[7]?.position);
  });

  test('that is not kept any more is told of as a gap', async () => {
    const { fresh } = platform();
    const { pubsub } = fresh();
    const { position: from } = await pubsub.publish(shortLedger, { n: 1 });
    for (const n of upTo(11)) await pubsub.publish(shortLedger, { n: 1 + n });
    const mine = heardBy();
    await live(pubsub.subscribe(shortLedger, mine.handler, { from: from ?? '', onGap: mine.onGap }));
    await eventually(() => expect(mine.heard).toEqual(['gap expired', ...upTo(10).map((n) => 2 + n)]));
    expect(mine.gaps[0]).toMatchObject({ from });
  });

  test('that lies ahead of all that was ever said is told of as a gap, and what is said next is heard', async () => {
    const { fresh } = platform();
    const { pubsub } = fresh();
    await pubsub.publish(ledger.at('a'), { n: 1 });
    const mine = heardBy();
    const from = '999999999999999-0';
    await live(pubsub.subscribe(ledger, mine.handler, { from, onGap: mine.onGap }));
    for (const n of [2, 3]) await pubsub.publish(ledger.at('a'), { n });
    await eventually(() => expect(mine.heard).toEqual(['gap expired', 2, 3]));
    expect(mine.gaps).toEqual([{ topic: 'ledger.*', reason: 'expired', count: undefined, from, to: undefined }]);
  });

  test('start gives all that is kept, and now nothing of it; both then hear the same', async () => {
    const { fresh } = platform();
    const { pubsub } = fresh();
    for (const n of upTo(300)) await pubsub.publish(ledger.at('a'), { n });
    const [start, now] = [heardBy(), heardBy()];
    await live(pubsub.subscribe(ledger, start.handler, { from: 'start', queue: 50, onGap: start.onGap }));
    await live(pubsub.subscribe(ledger, now.handler, { onGap: now.onGap }));
    for (const n of upTo(100)) await pubsub.publish(ledger.at('a'), { n: 300 + n });
    await eventually(() => expect(start.heard).toEqual(upTo(400)));
    await eventually(() => expect(now.heard).toEqual(upTo(100).map((n) => 300 + n)));
  });

  test('start and now are the same before the first message', async () => {
    const { fresh } = platform();
    const { pubsub } = fresh();
    const [start, now] = [heardBy(), heardBy()];
    await live(pubsub.subscribe(ledger, start.handler, { from: 'start', onGap: start.onGap }));
    await live(pubsub.subscribe(ledger, now.handler, { onGap: now.onGap }));
    for (const n of upTo(3)) await pubsub.publish(ledger.at('a'), { n });
    await eventually(() => expect([start.heard, now.heard]).toEqual([upTo(3), upTo(3)]));
  });
});

test('a subscriber that the server does not let read the ring says so once', async () => {
  await server.ask((redis) =>
    redis.acl('SETUSER', 'weak', 'on', '>long-enough', '~*', '&*', '+@all', '-eval', '-evalsha'),
  );
  const lines = collectLog();
  const { pubsub } = pubsubOf({ url: `redis://weak:long-enough@127.0.0.1:${server.port}` }, { log: lines.log });
  const subscription = pubsub.subscribe(ledger, () => undefined);
  await eventually(() =>
    expect(lines.all().filter(({ code }) => code === 'REDIS_FORBIDDEN').length).toBeGreaterThan(2),
  );
  expect(lines.warnings().map(({ code }) => code)).toEqual(['REDIS_FORBIDDEN']);
  await subscription.close();
});

test('a ring is bounded by number and by age, and goes by itself', async () => {
  const { fresh } = platform();
  const { pubsub } = fresh();
  const prefix = `p${lastPrefix}`;
  for (const n of upTo(30)) await pubsub.publish(shortLedger, { n });
  await server.ask(async (redis) => {
    expect(await redis.xlen(`${prefix}:pubsub:{short}:ring`)).toBe(10);
    expect(await redis.pttl(`${prefix}:pubsub:{short}:ring`)).toBeGreaterThan(3_500_000);
    expect(await redis.pttl(`${prefix}:pubsub:{short}:ring`)).toBeLessThanOrEqual(3_600_000);
    expect(await redis.pttl(`${prefix}:pubsub:{short}:last`)).toBeGreaterThan(30 * 86_400_000);
  });
});

test('a process that does not want to hear itself does not, though its messages are in the ring', async () => {
  const { fresh } = platform();
  const [{ pubsub }, { pubsub: other }] = [fresh(), fresh()];
  const [mine, theirs] = [heardBy(), heardBy()];
  await pubsub.publish(ledger.at('a'), { n: 1 }, { noEcho: true });
  await other.publish(ledger.at('a'), { n: 2 });
  await live(pubsub.subscribe(ledger, mine.handler, { from: 'start' }));
  await live(other.subscribe(ledger, theirs.handler, { from: 'start' }));
  await pubsub.publish(ledger.at('a'), { n: 3 }, { noEcho: true });
  await pubsub.publish(ledger.at('a'), { n: 4 });
  await eventually(() => expect([mine.heard, theirs.heard]).toEqual([[2, 4], upTo(4)]));
});
