import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createConnections } from '../../src/redis/connect.ts';
import { clientsOf } from '../support/client-list.ts';
import { eventually } from '../support/eventually.ts';
import { timed } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { freePort, startRedis, startSentinelSet, type TestSentinelSet, type TestServer } from '../support/servers.ts';

const own = ownedByTest();
let set: TestSentinelSet;
beforeAll(async () => {
  set = await startSentinelSet({ downAfterMs: 500 });
});
afterAll(() => set.stop());

describe('a Sentinel set', () => {
  test('leads every role to the master', async () => {
    const connections = own(createConnections({ sentinels: set.addresses, masterName: set.masterName }));
    await connections.queue().set('key', 'value');
    await connections.commands().incr('count');
    await connections.subscriber().subscribe('news');
    await connections.blocking('loop').lpush('list', 'item');
    await (await connections.search()).ping();
    const names = (await clientsOf(await set.master())).map(({ name }) => name.split(':').slice(0, 2).join(':'));
    expect(names).toEqual(
      expect.arrayContaining(
        ['queue', 'commands', 'subscriber', 'blocking', 'search'].map((role) => `millrace:${role}`),
      ),
    );
  });

  test('that asks for a password of its own is given it by every kind of client', async () => {
    const [master] = set.servers as [TestServer];
    const locked = own(
      await startRedis({
        isSentinel: true,
        config: { requirepass: 'gate', sentinel: [`monitor locked 127.0.0.1 ${master.port} 1`] },
      }),
    );
    const options = { sentinels: [locked.address], masterName: 'locked', sentinelPassword: 'gate' };
    const connections = own(createConnections(options));
    expect((await connections.verify()).role).toBe('master');
    expect(await connections.commands().ping()).toBe('PONG');
    expect(await (await connections.search()).ping()).toBe('PONG');
  });

  test('is left with nothing open, at whatever moment of connecting the clients are closed', async () => {
    const options = { sentinels: set.addresses, masterName: set.masterName };
    for (let turns = 0; turns < 30; turns++) {
      const connections = createConnections(options);
      const asked = connections.commands().ping().then(String, String);
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
      await connections.close();
      expect(['PONG', 'Error: Connection is closed.']).toContain(await asked);
    }
  });

  test('with a Sentinel that is down is used without a word', async () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    try {
      const lines = collectLog();
      const sentinels = [...set.addresses, `127.0.0.1:${await freePort()}`];
      const connections = own(createConnections({ sentinels, masterName: set.masterName }, lines.log));
      await connections.commands().ping();
      // The client hears of failovers on a connection to each Sentinel; by then it has tried the one that is down too.
      for (const sentinel of set.sentinels) {
        await eventually(async () => {
          const list = await sentinel.ask((redis) => redis.call('CLIENT', 'LIST') as Promise<string>);
          expect(list).toMatch(/ sub=1 .* lib-name=ioredis/);
        });
      }
      await connections.commands().ping();
      expect(said).not.toHaveBeenCalled();
      expect(lines.told()).toEqual([]);
    } finally {
      said.mockRestore();
    }
  });

  test('whose master freezes is used through the new one, though the old connection stays open', async () => {
    const options = { sentinels: set.addresses, masterName: set.masterName, commandTimeout: 500 };
    const connections = own(createConnections(options));
    const commands = connections.commands();
    const search = await connections.search();
    const frozen = await set.master();
    await commands.set('key', 'before');
    expect(await search.ping()).toBe('PONG');
    frozen.freeze();
    try {
      await eventually(() => commands.set('key', 'after'), 20_000);
      const master = await set.master();
      expect(master).not.toBe(frozen);
      expect(await master.ask((redis) => redis.get('key'))).toBe('after');
      expect(await eventually(() => search.ping(), 20_000)).toBe('PONG');
    } finally {
      frozen.thaw();
    }
  });
});

test('a close while no Sentinel answers ends the attempts, and what waits for them', async () => {
  const sentinels = [`127.0.0.1:${await freePort()}`];
  const connections = createConnections({ sentinels, masterName: 'mymaster' });
  const waiting = connections.queue().ping().then(String, String);
  await eventually(() => expect(connections.queue().status).toBe('connecting'));
  expect((await timed(connections.close())).ms).toBeLessThan(1_500);
  expect(await waiting).toContain('Connection is closed');
});
