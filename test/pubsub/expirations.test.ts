/** What servers tell of keys that expire, on one server and on every master of a Cluster. */
import { describe, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startCluster, startRedis } from '../support/servers.ts';
import { ownedPubSub, upTo } from './own-pubsub.ts';

const own = ownedByTest();
const pubsubOf = ownedPubSub();
const config = { 'notify-keyspace-events': 'Ex', hz: 100 };

/** Throws for keys that it does not know what to do with. */
function isNotBad(key: string): boolean {
  if (key.startsWith('bad')) throw new Error(`no such key: ${key}`);
  return true;
}

describe('on one server', () => {
  test('the handler hears of keys that fit, whoever has set them, in the database of the connection', async () => {
    const server = own(await startRedis({ config }));
    const { pubsub } = pubsubOf({ url: `${server.url}/3` });
    const [all, some, odd] = [[] as string[], [] as string[], [] as string[]];
    await pubsub.expirations(({ key }) => all.push(key));
    const listener = await pubsub.expirations(({ key }) => some.push(key), { match: 'session:*:x' });
    await pubsub.expirations(({ key }) => odd.push(key), { match: /1:/g });
    await server.ask(async (redis) => {
      await redis.psetex('session:0:x', 10, 'of another database');
      await redis.select(3);
      for (const key of ['session:1:x', 'session:1:y', 'session:x', 'cart:1:x']) await redis.psetex(key, 10, '');
    });
    await eventually(() => expect(all.toSorted()).toEqual(['cart:1:x', 'session:1:x', 'session:1:y', 'session:x']));
    expect(some).toEqual(['session:1:x']);
    await eventually(() => expect(odd.toSorted()).toEqual(['cart:1:x', 'session:1:x', 'session:1:y']));
    expect(listener.isLive).toBe(true);
    expect(listener.stats()).toMatchObject({ handled: 1, failed: 0 });
    await listener.close();
    expect([listener.isLive, await listener.closed]).toEqual([false, 'closed']);
  });

  test('a match that throws ends neither the process nor the listening', async () => {
    const server = own(await startRedis({ config }));
    const lines = collectLog();
    const { pubsub } = pubsubOf({ url: server.url }, { log: lines.log });
    const heard: string[] = [];
    const listener = await pubsub.expirations(({ key }) => heard.push(key), { match: isNotBad });
    await server.ask(async (redis) => {
      for (const key of ['bad:1', 'bad:2', 'good']) await redis.psetex(key, 10, '');
    });
    await eventually(() => expect(heard).toEqual(['good']));
    await eventually(() => expect(listener.stats()).toMatchObject({ handled: 1, failed: 2 }));
    expect(lines.warnings()).toHaveLength(1);
  });

  test('a server that is not configured to is named, with how to mend it, and is left as it is', async () => {
    const server = own(await startRedis());
    const { pubsub } = pubsubOf({ url: server.url });
    const error = await failureOf(
      pubsub.expirations(() => undefined),
      'KEY_EVENTS_OFF',
    );
    expect(error.message).toContain(`127.0.0.1:${server.port}`);
    expect(error.message).toContain("Set it to 'Ex'");
    expect(await server.ask((redis) => redis.config('GET', 'notify-keyspace-events'))).toEqual([
      'notify-keyspace-events',
      '',
    ]);
    for (const flags of ['KA', 'Kx', 'E$']) {
      await server.ask((redis) => redis.config('SET', 'notify-keyspace-events', flags));
      await failureOf(
        pubsub.expirations(() => undefined),
        'KEY_EVENTS_OFF',
      );
    }
    await server.ask((redis) => redis.config('SET', 'notify-keyspace-events', 'AE'));
    await pubsub.expirations(() => undefined);
  });

  test('a server that does not let itself be asked is listened to', async () => {
    const server = own(await startRedis({ config }));
    await server.ask((redis) => redis.acl('SETUSER', 'few', 'on', '>long-enough', '~*', '&*', '+@all', '-config'));
    const { pubsub } = pubsubOf({ url: `redis://few:long-enough@127.0.0.1:${server.port}` });
    const heard: string[] = [];
    await pubsub.expirations(({ key }) => heard.push(key));
    await server.ask((redis) => redis.psetex('a', 10, ''));
    await eventually(() => expect(heard).toEqual(['a']));
  });

  test('whoever may have missed some is told, and a handler that fails stops nothing', async () => {
    const server = own(await startRedis({ config }));
    const { pubsub } = pubsubOf({ url: server.url });
    const heard: string[] = [];
    const ending = new AbortController();
    const listener = await pubsub.expirations(
      ({ key }) => {
        heard.push(key);
        throw new Error('no');
      },
      { onGap: ({ reason }) => heard.push(`gap ${reason}`), signal: ending.signal },
    );
    await server.ask((redis) => redis.psetex('a', 10, ''));
    await eventually(() => expect(heard).toEqual(['a']));
    await server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
    await eventually(() => expect(heard).toEqual(['a', 'gap connection']));
    await server.ask((redis) => redis.psetex('b', 10, ''));
    await eventually(() => expect(heard).toEqual(['a', 'gap connection', 'b']));
    expect(listener.stats()).toMatchObject({ failed: 2, handled: 0 });
    ending.abort();
    expect(await listener.closed).toBe('aborted');
    await failureOf(
      pubsub.expirations(() => undefined, { queue: 0 }),
      'OPTIONS_INVALID',
    );
  });
});

test('on a Cluster, keys of all masters are heard of, also after one was lost', { timeout: 60_000 }, async () => {
  const cluster = own(await startCluster({ config }));
  const { pubsub, connections } = pubsubOf({ cluster: cluster.addresses });
  const heard = new Set<string>();
  const gaps: string[] = [];
  const listener = await pubsub.expirations(({ key }) => heard.add(key), {
    match: 'k*',
    onGap: ({ reason }) => gaps.push(reason),
  });
  const keys = upTo(30).map((n) => `k${n}`);
  for (const key of keys) await connections.commands().psetex(key, 10, '');
  await eventually(() => expect(heard).toEqual(new Set(keys)));

  await cluster.nodes[0]?.kill();
  await eventually(() => expect(listener.isLive).toBe(false));
  await eventually(() => expect(listener.isLive).toBe(true), 20_000);
  expect(gaps).toContain('connection');
  heard.clear();
  for (const key of keys) await eventually(() => connections.commands().psetex(key, 10, ''), 20_000);
  await eventually(() => expect(heard).toEqual(new Set(keys)));
  await cluster.nodes[0]?.startAgain();

  const [, second] = cluster.nodes;
  await second?.ask((redis) => redis.config('SET', 'notify-keyspace-events', ''));
  const error = await failureOf(
    pubsub.expirations(() => undefined),
    'KEY_EVENTS_OFF',
  );
  expect(error.message).toContain(String(second?.port));
});
