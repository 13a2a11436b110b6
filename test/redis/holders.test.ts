/** Which of many names have a key: in few commands on a single server, each by itself on a Cluster. */
import { assert, asyncProperty, nat, uniqueArray } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createConnections } from '../../src/redis/connect.ts';
import { holdersOf } from '../../src/redis/holders.ts';
import { startForFile } from '../contract/topologies.ts';
import { failureOf } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';

const NAMES = Array.from({ length: 1_200 }, (_, place) => `n${place}`);
const own = ownedByTest();

const keysOf = (of: number) => (name: string) => [`{${name}}:a:${of}`, `{${name}}:b:${of}`];
const noKeys = (): string[] => {
  throw new Error('there is no name to make a key of');
};

describe.each(['standalone', 'cluster'] as const)('on a %s server', (topology) => {
  const running = startForFile(topology);

  test('they are found, however many have one, in their order', async () => {
    const client = own(createConnections(running().redis)).commands();
    let round = 0;
    const places = uniqueArray(nat(NAMES.length - 1), { maxLength: 40 });
    await assert(
      asyncProperty(places, places, async (withOne, withBoth) => {
        const keys = keysOf(round++);
        const having = new Set([...withOne, ...withBoth]);
        for (const place of having) await client.set(keys(NAMES[place] ?? '')[1] ?? '', 1);
        for (const place of withBoth) await client.set(keys(NAMES[place] ?? '')[0] ?? '', 1);
        const { names, failure } = await holdersOf(client, NAMES, keys);
        expect(failure).toBeUndefined();
        expect(names).toEqual(NAMES.filter((_name, place) => having.has(place)));
      }),
      { numRuns: 20 },
    );
    for (const name of NAMES) await client.set(`{${name}}:all`, 1);
    expect((await holdersOf(client, NAMES, (name) => [`{${name}}:all`])).names).toEqual(NAMES);
    expect((await holdersOf(client, [], noKeys)).names).toEqual([]);
  });
});

describe('on a single server', () => {
  const running = startForFile('standalone');

  test('few commands tell that few of them have one', async () => {
    const client = own(createConnections(running().redis)).commands();
    await client.set('n77', 1);
    const calls = async (): Promise<number> =>
      Number(/cmdstat_exists:calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0);
    const before = await calls();
    expect((await holdersOf(client, NAMES, (name) => [name])).names).toEqual(['n77']);
    expect((await calls()) - before).toBeLessThan(25);
  });

  test('a name whose key is forbidden hides itself only; a server that is away hides all', async () => {
    const admin = own(createConnections(running().redis)).commands();
    await admin.mset('n3', 1, 'n900', 1);
    await admin.call('ACL', 'SETUSER', 'some', 'on', '>secret', '+@all', '%R~n900', '%R~n1??', '%R~m*');
    const { url } = running().redis;
    const client = own(createConnections({ url: url?.replace('redis://', 'redis://some:secret@') })).commands();
    const names = ['n3', 'n101', 'n900', 'm1'];
    const found = await holdersOf(client, names, (name) => [name]);
    expect(found.names).toEqual(['n900']);
    expect(found.failure).toMatchObject({ code: 'REDIS_FORBIDDEN' });
    const gone = own(createConnections({ ...running().redis, commandTimeout: 300 }));
    const late = gone.commands();
    await late.ping();
    const [server] = running().servers;
    server?.freeze();
    try {
      await failureOf(
        holdersOf(late, NAMES, (name) => [name]),
        'REDIS_TIMEOUT',
      );
    } finally {
      server?.thaw();
    }
  });
});
