/** What scripts and batches promise, on every topology. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createBatch } from '../../src/redis/batch.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { commandCount } from '../support/command-count.ts';
import { failureOf } from '../support/failures.ts';
import { count, fail, storeBytes, storeList } from '../support/scripts.ts';
import { openAll, type RunningTopology } from './topologies.ts';

export function scriptContract(topology: () => RunningTopology): void {
  const forgetScripts = () =>
    Promise.all(topology().servers.map((server) => server.ask((redis) => redis.script('FLUSH'))));
  const sent = () => commandCount(topology().servers, 'evalsha', 'eval');

  describe('scripts', () => {
    let connections: Connections;
    beforeAll(async () => {
      connections = createConnections({ ...topology().redis, commandTimeout: 2_000 });
      await connections.verify();
      await openAll(connections.commands());
    });
    afterAll(() => connections.close());

    describe('a script', () => {
      test('takes keys and arguments by name, lists too', async () => {
        const reply = await storeList(
          connections.commands(),
          { total: '{names}:total', others: ['{names}:a', '{names}:b'] },
          { label: 'two', values: ['1', 2] },
        );
        expect(reply).toEqual({ label: 'two', total: 2, values: ['1', '2'] });
        expect(await connections.commands().mget('{names}:a', '{names}:b')).toEqual(['1', '2']);
      });

      test('carries bytes both ways unchanged', async () => {
        const bytes = Buffer.from([0, 255, 128, 13, 10, 0xc3, 0x28]);
        expect(await storeBytes(connections.commands(), { blob: 'blob' }, { bytes })).toEqual({ bytes, size: 7 });
      });

      test('that the server has forgotten is sent again, and counts once', async () => {
        for (const total of [1, 2, 3]) {
          await forgetScripts();
          expect(await count(connections.commands(), { counter: 'forgotten' }, { step: 1 })).toBe(total);
        }
      });

      test('travels without its text once the server knows it', async () => {
        await count(connections.commands(), { counter: 'known' }, { step: 1 });
        const before = await commandCount(topology().servers, 'eval');
        for (let call = 0; call < 10; call++) await count(connections.commands(), { counter: 'known' }, { step: 1 });
        expect(await commandCount(topology().servers, 'eval')).toBe(before);
      });

      test('with keys of different tags is refused before anything is sent', async () => {
        const before = await sent();
        const keys = { total: '{one}:total', others: ['{one}:a', '{two}:b'] };
        const call = storeList(connections.commands(), keys, { label: 'x', values: ['1', '2'] });
        const error = await failureOf(call, 'SCRIPT_SLOTS_DIFFER');
        expect(error.message).toBe(
          'lua/store-list.lua: the keys of one call must share a {tag}, got {one}:total, {one}:a, {two}:b',
        );
        expect(await sent()).toBe(before);
      });
    });

    describe('a batch', () => {
      test('answers each call, on whichever server its key is', async () => {
        const batch = createBatch(connections.commands());
        const names = Array.from({ length: 30 }, (_, index) => `spread:${index}`);
        const counted = names.map((counter, index) => batch.run(count, { counter }, { step: index }));
        const asked = names.map((name) => batch.command('EXISTS', `${name}:other`));
        await batch.send();
        expect(await Promise.all(counted)).toEqual(names.map((_name, index) => index));
        expect(await Promise.all(asked)).toEqual(names.map(() => 0));
      });

      test('of scripts that the server has forgotten counts each call once', async () => {
        await forgetScripts();
        const batch = createBatch(connections.commands());
        const totals = Array.from({ length: 20 }, () => batch.run(count, { counter: 'batch:forgotten' }, { step: 1 }));
        const bytes = batch.run(storeBytes, { blob: 'batch:blob' }, { bytes: Buffer.from([255]) });
        await batch.send();
        expect(await Promise.all(totals)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
        expect(await bytes).toEqual({ bytes: Buffer.from([255]), size: 1 });
      });

      test('whose scripts are forgotten half-way counts each call once', async () => {
        const batch = createBatch(connections.commands());
        const counters = Array.from({ length: 20 }, (_, index) => `half:${index}`);
        const before = counters.map((counter) => batch.run(count, { counter }, { step: 1 }));
        // Without a key a command goes to any node of a Cluster; many go to each of them.
        for (let flush = 0; flush < 20; flush++) void batch.command('SCRIPT', 'FLUSH');
        const after = counters.map((counter) => batch.run(count, { counter }, { step: 1 }));
        await batch.send();
        const sums = await Promise.all(
          counters.map(async (_, index) => ((await before[index]) ?? 0) + ((await after[index]) ?? 0)),
        );
        expect(sums).toEqual(counters.map(() => 3));
        expect(await Promise.all(counters.map((counter) => connections.commands().get(counter)))).toEqual(
          counters.map(() => '2'),
        );
      });

      test('fails the calls that fail, and no other', async () => {
        const batch = createBatch(connections.commands());
        const good = [1, 2, 3].map((step) => batch.run(count, { counter: `good:${step}` }, { step }));
        const bad = batch.run(fail, { text: 'bad' }, { how: 'reply' });
        const wrong = batch.command('LPUSH', 'good:1', 'item');
        const keyless = batch.command('GET');
        await batch.send();
        expect(await Promise.all(good)).toEqual([1, 2, 3]);
        expect((await failureOf(bad, 'SCRIPT_FAILED')).message).toContain('lua/fail.lua: BROKEN as asked');
        expect((await failureOf(wrong, 'REDIS_FAILED')).message).toContain('WRONGTYPE');
        await failureOf(keyless, 'REDIS_FAILED');
      });
    });
  });
}
