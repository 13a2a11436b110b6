/** Pub/sub on each topology. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../src/clock.ts';
import { MillraceError } from '../../src/errors.ts';
import { defineTopic } from '../../src/pubsub/topic.ts';
import type { Topology } from '../../src/redis/address.ts';
import { heardBy, ledger, live, news, ownedPubSub, upTo, type OwnedPubSub } from '../pubsub/own-pubsub.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { openAll, startForFile } from './topologies.ts';

const double = defineTopic({ name: 'double', schema: z.number(), reply: z.number() });

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const pubsubOf = ownedPubSub();
  let lastPrefix = 0;
  const platform = (): { prefix: string; fresh: () => Promise<OwnedPubSub> } => {
    const prefix = `p${++lastPrefix}`;
    return {
      prefix,
      fresh: async () => {
        const owned = pubsubOf({ ...topologyOf().redis, commandTimeout: 2_000 }, { prefix, deadline: '1s' });
        await openAll(owned.connections.commands());
        return owned;
      },
    };
  };

  test('messages are heard by all who listen, in order, and nowhere else than on their shard', async () => {
    const { fresh, prefix } = platform();
    const [{ pubsub }, { pubsub: other }] = [await fresh(), await fresh()];
    const [mine, theirs, kept] = [heardBy(), heardBy(), heardBy()];
    await live(pubsub.subscribe(news, mine.handler));
    await live(other.subscribe(news.at('a'), theirs.handler));
    await live(other.subscribe(ledger, kept.handler));
    for (const n of upTo(50)) {
      expect(await pubsub.publish(news.at('a'), { n })).toMatchObject({ receivers: 2 });
      expect(await pubsub.publish(ledger.at('a'), { n })).toMatchObject({ receivers: 1 });
    }
    await eventually(() => expect([mine.heard, theirs.heard, kept.heard]).toEqual([upTo(50), upTo(50), upTo(50)]));
    const kind = topology === 'cluster' ? 'SHARDCHANNELS' : 'CHANNELS';
    const channel = `${prefix}:pubsub:{news.*.line}`;
    const master = await topologyOf().masterOf(channel);
    for (const server of topologyOf().servers) {
      const channels = await server.ask((redis) => redis.call('PUBSUB', kind, `${prefix}:pubsub:{news*`));
      expect(channels).toEqual(server === master ? [channel] : []);
    }
  });

  test('requests are answered once, by one of those who serve', async () => {
    const { fresh } = platform();
    const [{ pubsub }, { pubsub: one }, { pubsub: two }] = [await fresh(), await fresh(), await fresh()];
    await failureOf(pubsub.request(double, 1), 'NO_RESPONDER');
    const handled: number[] = [];
    for (const server of [one, two]) {
      const serving = server.serve(double, ({ data }) => {
        handled.push(data);
        return data * 2;
      });
      await serving.ready();
    }
    const answers = await Promise.all(upTo(50).map((n) => pubsub.request(double, n)));
    expect(answers).toEqual(upTo(50).map((n) => n * 2));
    expect(handled.toSorted((left, right) => left - right)).toEqual(upTo(50));
  });

  test('a subscriber whose connection is killed again and again misses nothing of a reliable topic', async () => {
    const { fresh } = platform();
    const [{ pubsub }, { pubsub: speaker }] = [await fresh(), await fresh()];
    const mine = heardBy();
    await live(pubsub.subscribe(ledger, mine.handler, { onGap: mine.onGap }));
    for (const n of upTo(300)) {
      await speaker.publish(ledger.at('a'), { n });
      if (n % 60 !== 30) continue;
      for (const server of topologyOf().servers)
        await server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
    }
    await eventually(() => expect(mine.heard).toHaveLength(300), 20_000);
    expect(mine.heard).toEqual(upTo(300));
  });

  test(
    'over a failover, all that was published and not lost with it is heard, in order',
    { timeout: 90_000 },
    async () => {
      const { fresh, prefix } = platform();
      const [{ pubsub }, { pubsub: speaker }] = [await fresh(), await fresh()];
      const [mine, plain] = [heardBy(), heardBy()];
      await live(pubsub.subscribe(ledger, mine.handler, { onGap: mine.onGap }));
      await live(pubsub.subscribe(news, plain.handler, { onGap: plain.onGap }));
      const state = { n: 0, isOver: false };
      const odd: unknown[] = [];
      const speak = async (): Promise<void> => {
        while (!state.isOver) {
          try {
            await speaker.publish(ledger.at('a'), { n: ++state.n });
          } catch (error) {
            if (!(error instanceof MillraceError && error.code.startsWith('REDIS_'))) odd.push(error);
          }
          await systemClock.sleep(2);
        }
      };
      const speaking = speak();
      await eventually(() => expect(mine.heard.length).toBeGreaterThan(50));
      const masterOf = (name: string): Promise<unknown> => topologyOf().masterOf(`${prefix}:pubsub:{${name}}`);
      const areTogether = (await masterOf('ledger.*')) === (await masterOf('news.*.line'));
      await topologyOf().failOver(`${prefix}:pubsub:{ledger.*}`);
      const before = mine.heard.length;
      await eventually(() => expect(mine.heard.length).toBeGreaterThan(before + 50), 30_000);
      state.isOver = true;
      await speaking;
      // The last of them may have been refused: Sentinels that hear of the failover late have clients connect once more.
      await eventually(() => speaker.publish(ledger.at('a'), { n: ++state.n }));
      await eventually(() => expect(mine.heard.at(-1)).toBe(state.n));
      expect(odd).toEqual([]);
      // Each in order and once; what is missing was refused, or was lost by the failover before anybody was told.
      const numbers = mine.heard.filter((n) => typeof n === 'number');
      expect(numbers).toEqual([...new Set(numbers)].toSorted((left, right) => left - right));
      const redis = (await fresh()).connections.commands();
      const kept = await redis.xrange(`${prefix}:pubsub:{ledger.*}:ring`, '-', '+');
      const inRing = kept.map(([, fields]) => Number(/"n":(\d+)/.exec(fields.at(-1) ?? '')?.[1]));
      const missing = inRing.filter((n) => !numbers.includes(n));
      expect(missing).toEqual([]);
      await eventually(() => expect(plain.heard.includes('gap connection')).toBe(areTogether));
      await speaker.publish(news.at('a'), { n: 1 });
      await eventually(() => expect(plain.heard.at(-1)).toBe(1));
    },
  );

  test('stop() leaves nothing behind', async () => {
    const { fresh, prefix } = platform();
    const { pubsub, connections } = await fresh();
    await live(pubsub.subscribe(news, () => undefined));
    await live(pubsub.subscribe(ledger, () => undefined));
    await pubsub.serve(double, ({ data }) => data).ready();
    expect(await pubsub.request(double, 1)).toBe(1);
    await pubsub.stop();
    const kind = topology === 'cluster' ? 'SHARDCHANNELS' : 'CHANNELS';
    for (const server of topologyOf().servers) {
      await eventually(async () =>
        expect(await server.ask((redis) => redis.call('PUBSUB', kind, `${prefix}:*`))).toEqual([]),
      );
    }
    await connections.close();
  });
});
