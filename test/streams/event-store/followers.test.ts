/** What follows events when it is broken off, or waits while another process follows. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../../src/clock.ts';
import { coreOf } from '../../../src/streams/event-store/core.ts';
import { project } from '../../../src/streams/event-store/projection.ts';
import { Projector } from '../../../src/streams/event-store/projector.ts';
import type { View } from '../../../src/streams/event-store/view.ts';
import { eventually } from '../../support/eventually.ts';
import { gate } from '../../support/gate.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { accounts, deposited } from './accounts.ts';
import { ownedStores } from './own-stores.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const storeOf = ownedStores();
const own = ownedByTest();
const nothing = (): void => undefined;

test('one that waits for its place is ready again once Redis is back', async () => {
  const alone = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
  const stores = [0, 1].map(() => storeOf({ url: alone.url, commandTimeout: 1_000 }, accounts).store);
  const running = await Promise.all(stores.map((store) => store.subscribe({ name: 'one' }, nothing)));
  const states = () => running.map((follower) => follower.ready());
  await alone.kill();
  await eventually(() => expect(states()).toEqual([expect.stringContaining('one'), expect.stringContaining('one')]));
  await alone.startAgain();
  await eventually(() => expect(states()).toEqual([undefined, undefined]));
});

test('one whose place was given in an answer that was lost has it at once when it asks again, and leaves it', async () => {
  const prefix = 'lost-answer';
  const { store: others } = storeOf({ url: server.url }, accounts, { prefix });
  // So that the server knows the scripts, and does in one command what it is asked.
  await (await others.subscribe({ name: 'before' }, nothing)).stop(1_000);
  const proxy = own(await startProxy(server.port));
  const { store, connections } = storeOf({ url: proxy.url, commandTimeout: 500 }, accounts, { prefix });
  await connections.commands().ping();
  const seen: number[] = [];
  const running = await store.subscribe({ name: 'one', lease: '1h' }, ({ position }) => void seen.push(position));
  proxy.loseAnswers();
  const leader = `${prefix}:events:{accounts}:subscription:one:leader`;
  const holder = await eventually(async () => {
    const token = await server.ask((redis) => redis.get(leader));
    expect(token).not.toBeNull();
    return token;
  });
  await eventually(() => expect(running.ready()).toContain('one'));
  proxy.restore();
  proxy.cut();
  await others.append('a', [deposited(1)]);
  await eventually(() => expect(seen).toEqual([1]));
  expect(await server.ask((redis) => redis.get(leader))).toBe(holder);
  await running.stop(1_000);
  expect(await server.ask((redis) => redis.get(leader))).toBeNull();
});

const stepOf = async (name: string, handler: (view: View<number>) => Promise<void>, signal: AbortSignal) => {
  const { store, connections } = storeOf({ url: server.url }, accounts, { prefix: name });
  await store.append('a', [deposited(1)]);
  const host = { connections, prefix: name, log: collectLog().log, clock: systemClock };
  const core = coreOf(accounts, host as never) as ConstructorParameters<typeof Projector>[0];
  const { checked } = project(accounts, { name, document: z.number(), on: { deposited: handler } });
  const projector = new Projector(core, checked);
  return projector.step(await projector.live(), await core.reader.refs(1, 10), signal);
};

describe('a step of a projection that is broken off', () => {
  test('calls no handler any more', async () => {
    const controller = new AbortController();
    let calls = 0;
    const stepping = stepOf('off', async () => void calls++, controller.signal);
    controller.abort(new TypeError('the place is lost'));
    await expect(stepping).rejects.toThrow('the place is lost');
    expect(calls).toBe(0);
  });

  test('leaves no failure of a handler that runs to end the process', async () => {
    const unhandled: unknown[] = [];
    const note = (error: unknown): void => void unhandled.push(error);
    process.on('unhandledRejection', note);
    try {
      const controller = new AbortController();
      const { opened: hasFailed, open: failed } = gate();
      const handler = async (view: View<number>): Promise<void> => {
        controller.abort(new TypeError('the place is lost'));
        await view.get('other');
        failed();
        throw new RangeError('after the end');
      };
      await expect(stepOf('late', handler, controller.signal)).rejects.toThrow('the place is lost');
      await hasFailed;
      // Node tells of a rejection that nobody has met before it goes on to the next timer.
      await systemClock.sleep(1);
      expect(unhandled).toEqual([]);
    } finally {
      process.off('unhandledRejection', note);
    }
  });
});
