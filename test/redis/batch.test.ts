import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createBatch } from '../../src/redis/batch.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { numberIn } from '../../src/redis/server-info.ts';
import { failureOf } from '../support/failures.ts';
import { count, fail, storeBytes } from '../support/scripts.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

let server: TestServer;
let connections: Connections;
beforeAll(async () => {
  server = await startRedis();
  connections = createConnections({ url: server.url });
  await connections.commands().ping();
});
afterAll(async () => {
  await connections.close();
  await server.stop();
});

describe('a batch', () => {
  test('sends nothing before send()', async () => {
    const batch = createBatch(connections.commands());
    const answer = batch.command('SET', 'early', 'x');
    expect(await server.ask((redis) => redis.exists('early'))).toBe(0);
    await batch.send();
    expect(await answer).toBe('OK');
  });

  test('mixes scripts and plain commands, texts and bytes', async () => {
    const bytes = Buffer.from([255, 0, 128]);
    const batch = createBatch(connections.commands());
    const answers = Promise.all([
      batch.run(count, { counter: 'by-script' }, { step: 2 }),
      batch.command('INCRBY', 'by-command', 3),
      batch.run(storeBytes, { blob: 'blob' }, { bytes }),
      batch.command('GET', 'by-command'),
    ]);
    await batch.send();
    expect(await answers).toEqual([2, 3, { bytes, size: 3 }, '3']);
  });

  test('rejects only the promise of the call that failed', async () => {
    const batch = createBatch(connections.commands());
    const before = batch.run(count, { counter: 'apart' }, { step: 1 });
    const failed = batch.run(fail, { text: 'text' }, { how: 'type' });
    const wrong = batch.command('LPUSH', 'apart', 'item');
    const refused = batch.run(count, { counter: 'apart' }, { step: Number.NaN });
    const after = batch.run(count, { counter: 'apart' }, { step: 1 });
    await batch.send();
    expect(await Promise.all([before, after])).toEqual([1, 2]);
    expect((await failureOf(failed, 'SCRIPT_FAILED')).message).toContain('lua/fail.lua: WRONGTYPE');
    expect((await failureOf(wrong, 'REDIS_FAILED')).message).toContain(`${server.address}, LPUSH: WRONGTYPE`);
    await failureOf(refused, 'SCRIPT_INVALID');
  });

  test('whose failures nobody awaits does no harm', async () => {
    const batch = createBatch(connections.commands());
    const unheard: Promise<unknown>[] = [batch.run(fail, { text: 'text' }, { how: 'lua' })];
    await batch.send();
    expect(unheard).toHaveLength(1);
  });

  test('keeps the order of the calls of a script that the server had forgotten', async () => {
    await server.ask((redis) => redis.script('FLUSH'));
    const batch = createBatch(connections.commands());
    const answers = Array.from({ length: 50 }, () => batch.run(count, { counter: 'ordered' }, { step: 1 }));
    await batch.send();
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
  });

  test('is used up by send()', async () => {
    const batch = createBatch(connections.commands());
    const answer = batch.run(count, { counter: 'once' }, { step: 1 });
    await batch.send();
    await failureOf(batch.run(count, { counter: 'once' }, { step: 1 }), 'CLOSED');
    await failureOf(batch.command('PING'), 'CLOSED');
    await batch.send();
    expect(await answer).toBe(1);
    expect(await server.ask((redis) => redis.get('once'))).toBe('1');
  });

  test('may be empty', async () => {
    await expect(createBatch(connections.commands()).send()).resolves.toBeUndefined();
  });

  test('of a thousand calls travels in one go', async () => {
    await server.ask((redis) => redis.config('RESETSTAT'));
    const batch = createBatch(connections.commands());
    const answers = Array.from({ length: 1_000 }, (_, index) => batch.command('SET', `many:${index}`, index));
    await batch.send();
    expect(new Set(await Promise.all(answers))).toEqual(new Set(['OK']));
    // The server counts how often it reads from a socket: once a command, if each waited for the one before.
    expect(numberIn(await server.info(), 'total_reads_processed')).toBeLessThan(100);
  });

  test('on closed connections fails each of its calls', async () => {
    const closed = createConnections({ url: server.url });
    const commands = closed.commands();
    await closed.close();
    const batch = createBatch(commands);
    const answers = [batch.run(count, { counter: 'closed' }, { step: 1 }), batch.command('PING')];
    await batch.send();
    for (const answer of answers)
      expect((await failureOf(answer, 'REDIS_UNREACHABLE')).message).toContain('the connection is lost');
  });
});
