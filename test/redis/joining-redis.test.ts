/** Commands that are written together keep their order and their answers, whatever is among them. */
import { randomUUID } from 'node:crypto';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { createConnections } from '../../src/redis/connect.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();

const way = fc.constantFrom('text', 'binary', 'pipeline', 'transaction', 'empty', 'next tick');

test('in any mix of texts, buffers, pipelines and transactions each command gets its own answer', async () => {
  const server = own(await startRedis());
  const client = own(createConnections({ url: server.url })).commands();
  await fc.assert(
    fc.asyncProperty(fc.array(way, { minLength: 1, maxLength: 120 }), async (ways) => {
      const list = `list-${randomUUID()}`;
      const answers: Array<Promise<unknown>> = [];
      for (const [at, how] of ways.entries()) {
        if (how === 'next tick') await Promise.resolve();
        const item = how === 'empty' ? '' : `${how} ${at} é`;
        if (how === 'binary' || how === 'empty') answers.push(client.rpush(list, Buffer.from(item)));
        else if (how === 'pipeline') answers.push(client.pipeline().rpush(list, item).exec().then(first));
        else if (how === 'transaction') answers.push(client.multi().rpush(list, item).exec().then(first));
        else answers.push(client.rpush(list, item));
      }
      expect(await Promise.all(answers)).toEqual(ways.map((_, at) => at + 1));
      const items = ways.map((how, at) => (how === 'empty' ? '' : `${how} ${at} é`));
      expect(await client.lrange(list, 0, -1)).toEqual(items);
    }),
    { numRuns: 60 },
  );
});

test('what was asked before a disconnect in the same tick has been sent', async () => {
  const server = own(await startRedis());
  const client = own(createConnections({ url: server.url })).commands();
  await client.ping();
  const asked = Array.from({ length: 5 }, () => client.incr('asked'));
  client.disconnect();
  await Promise.allSettled(asked);
  await eventually(async () => expect(await server.ask((redis) => redis.get('asked'))).toBe('5'));
});

test('a client of BullMQ sends what was under way again, in its order, once there is a new connection', async () => {
  const server = own(await startRedis());
  const client = own(createConnections({ url: server.url })).queue();
  await client.ping();
  await server.ask((redis) => redis.call('CLIENT', 'PAUSE', 60_000, 'WRITE'));
  const answers = Array.from({ length: 50 }, (_, at) => client.rpush('list', String(at)));
  await eventually(async () => {
    const clients = await server.ask((redis) => redis.call('INFO', 'clients'));
    expect(clients).toContain('blocked_clients:1');
  });
  await server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));
  await server.ask((redis) => redis.call('CLIENT', 'UNPAUSE'));
  expect(await Promise.all(answers)).toEqual(answers.map((_, at) => at + 1));
  expect(await client.lrange('list', 0, -1)).toEqual(answers.map((_, at) => String(at)));
});

function first(reply: Array<[Error | null, unknown]> | null): unknown {
  return reply?.[0]?.[1];
}
