/** Reliable topics and requests on a Cluster whose slots move. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { defineTopic } from '../../src/pubsub/topic.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startCluster, type TestServer } from '../support/servers.ts';
import { heardBy, ledger, live, ownedPubSub, upTo } from './own-pubsub.ts';

const own = ownedByTest();
const pubsubOf = ownedPubSub();
const double = defineTopic({ name: 'ledger.*.double', schema: z.number() });

test(
  'while its slot moves, a reliable topic is published to and a request is answered',
  { timeout: 60_000 },
  async () => {
    const cluster = own(await startCluster());
    const { pubsub, connections } = pubsubOf({ cluster: cluster.addresses });
    const mine = heardBy();
    await live(pubsub.subscribe(ledger, mine.handler, { onGap: mine.onGap }));
    const serving = pubsub.serve(double, ({ data }) => data * 2);
    await serving.ready();
    await pubsub.publish(ledger.at('a'), { n: 1 });
    expect(await pubsub.request(double.at('a'), 1)).toBe(2);

    const answers: unknown[] = [];
    for (const [channel, keys] of [
      ['millrace:pubsub:{ledger.*}', ['ring', 'last']],
      ['millrace:pubsub:{ledger.*.double}', []],
    ] as const) {
      const redis = connections.commands();
      if (!('nodes' in redis)) throw new Error('no Cluster');
      const slot = await redis.cluster('KEYSLOT', channel);
      const ids = await Promise.all(
        cluster.nodes.map(async (node: TestServer) => ({
          node,
          id: await node.ask((one) => one.cluster('MYID')),
          role: await node.ask((one) => one.call('ROLE') as Promise<[string]>),
        })),
      );
      const owner = redis.slots[slot]?.[0];
      const masters = ids.filter(({ role }) => role[0] === 'master');
      const from = masters.find(({ node }) => node.address === owner);
      const to = masters.find(({ node }) => node.address !== owner);
      if (!from || !to) throw new Error('no two masters');
      await to.node.ask((one) => one.cluster('SETSLOT', slot, 'IMPORTING', from.id));
      await from.node.ask((one) => one.cluster('SETSLOT', slot, 'MIGRATING', to.id));

      if (keys.length === 0) {
        answers.push(await pubsub.request(double.at('a'), 2)); // Who serves listens where the slot still is.
      } else {
        await pubsub.publish(ledger.at('a'), { n: 2 });
        await from.node.ask((one) =>
          one.call(
            'MIGRATE',
            '127.0.0.1',
            to.node.port,
            '',
            0,
            5_000,
            'KEYS',
            ...keys.map((key) => `${channel}:${key}`),
          ),
        );
        await pubsub.publish(ledger.at('a'), { n: 3 });
      }
      for (const { node } of [to, from]) await node.ask((one) => one.cluster('SETSLOT', slot, 'NODE', to.id));
    }
    expect(answers).toEqual([4]);
    await pubsub.publish(ledger.at('a'), { n: 4 });
    await eventually(() => expect(mine.heard).toEqual(upTo(4)), 20_000);
    await eventually(async () => expect(await pubsub.request(double.at('a'), 3)).toBe(6), 20_000);
  },
);
