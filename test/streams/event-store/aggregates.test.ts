/** Aggregates: state of events, updates that decide anew, and snapshots that only save reading. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Aggregate, AggregateOptions } from '../../../src/streams/event-store/aggregate.ts';
import type { EventStore } from '../../../src/streams/event-store/event-store.ts';
import { createEventKeys } from '../../../src/streams/event-store/keys.ts';
import { saveSnapshot } from '../../../src/streams/event-store/scripts.ts';
import { failureOf } from '../../support/failures.ts';
import { collectLog } from '../../support/log-lines.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { accounts, deposited, opened, type AccountEvent } from './accounts.ts';
import { ownedStores } from './own-stores.ts';

type Events = (typeof accounts)['events'];

interface Account {
  owner: string;
  balance: number;
}

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const storeOf = ownedStores();
const fresh = (): EventStore<Events> => storeOf({ url: server.url }, accounts).store;

const account: AggregateOptions<Events, Account> = {
  name: 'account',
  initial: () => ({ owner: '', balance: 0 }),
  apply: (state, event) => {
    if (event.type === 'opened') return { ...state, owner: event.data.owner };
    if (event.type === 'deposited') return { ...state, balance: state.balance + event.data.amount };
    return state;
  },
};

const many = (count: number): AccountEvent[] => Array.from({ length: count }, () => deposited(1));
const snapshotOf = (stream: string, name = 'account'): Promise<string | null> =>
  server.ask((redis) => redis.hget(`millrace:events:{accounts}:snapshots:${stream}`, name));
const putSnapshot = (stream: string, text: string): Promise<number> =>
  server.ask((redis) => redis.hset(`millrace:events:{accounts}:snapshots:${stream}`, 'account', text));

describe('load', () => {
  test('gives what the events make, and the version', async () => {
    const store = fresh();
    const load = (stream: string) => store.aggregate(account).load(stream);
    expect(await load('nobody')).toEqual({ state: { owner: '', balance: 0 }, version: 0 });
    await store.append('loaded', [opened('ada'), ...many(400)]);
    await store.append('loaded', many(300));
    expect(await load('loaded')).toEqual({ state: { owner: 'ada', balance: 700 }, version: 701 });
  });
});

describe('update', () => {
  test('appends what is decided, or nothing', async () => {
    const store = fresh();
    const of = store.aggregate(account);
    expect(await of.update('updated', () => [opened()])).toMatchObject({ status: 'appended', version: 1 });
    expect(
      await of.update('updated', ({ owner }, { version }) => (owner === 'ada' && version === 1 ? [] : [opened()])),
    ).toEqual({
      status: 'unchanged',
      version: 1,
    });
    await expect(of.update('updated', () => Promise.reject(new TypeError('no')))).rejects.toThrow('no');
    await failureOf(of.update('updated', undefined as never), 'OPTIONS_INVALID');
    await failureOf(
      of.update('updated', () => [opened()], { attempts: 0 }),
      'OPTIONS_INVALID',
    );
    expect(await store.version('updated')).toBe(1);
  });

  test('decides anew on the new state when others were quicker', async () => {
    const stores = [fresh(), fresh(), fresh()];
    const seen: number[] = [];
    await Promise.all(
      Array.from({ length: 30 }, (_, index) =>
        stores[index % 3]!.aggregate(account).update(
          'busy',
          ({ balance }, { version }) => {
            expect(balance).toBe(version);
            seen.push(version);
            return [deposited(1)];
          },
          { attempts: 100 },
        ),
      ),
    );
    expect(await stores[0]!.aggregate(account).load('busy')).toMatchObject({ state: { balance: 30 }, version: 30 });
    expect(seen.length).toBeGreaterThan(30);
  });

  test('gives up after its attempts, and says which version stood in the way', async () => {
    const store = fresh();
    const others = fresh();
    let decided = 0;
    const result = await store.aggregate(account).update(
      'hopeless',
      async () => {
        await others.append('hopeless', [deposited(1)]);
        decided++;
        return [deposited(100)];
      },
      { attempts: 3 },
    );
    expect(result).toEqual({ status: 'conflict', actual: 3 });
    expect(decided).toBe(3);
  });

  test('of the same command counts once, and does not decide again', async () => {
    const store = fresh();
    const of = store.aggregate(account);
    let decided = 0;
    const command = () => {
      decided++;
      return [deposited(5), deposited(6)];
    };
    const first = await of.update('commanded', command, { commandId: 'request 7' });
    expect(first).toMatchObject({ status: 'appended', version: 2 });
    await store.append('commanded', [deposited(1)]);
    const again = await of.update('commanded', command, { commandId: 'request 7' });
    expect(again).toEqual({ ...first, status: 'duplicate' });
    expect(decided).toBe(1);
    expect(await of.load('commanded')).toMatchObject({ state: { balance: 12 } });
    expect(await of.update('commanded', command, { commandId: 'request 8' })).toMatchObject({ version: 5 });
  });

  test('of the same command twice at once is a duplicate, whatever the slower one has decided', async () => {
    const of = fresh().aggregate(account);
    let decided = 0;
    const result = await of.update(
      'twice',
      async () => {
        if (decided++ === 0) await of.update('twice', () => [deposited(1)], { commandId: 'request 9' });
        return [deposited(1), deposited(2)];
      },
      { commandId: 'request 9', attempts: 1 },
    );
    expect(result).toMatchObject({ status: 'duplicate', version: 1 });
    expect(decided).toBe(1);
    expect(await of.load('twice')).toMatchObject({ state: { balance: 1 }, version: 1 });
  });

  test('that gives no list of events is told so', async () => {
    const of = fresh().aggregate(account);
    const { message } = await failureOf(
      of.update('listless', () => undefined as never),
      'INPUT_INVALID',
    );
    expect(message).toContain('expected a list of events');
  });

  test('ends with its signal', async () => {
    const of = fresh().aggregate(account);
    const signal = AbortSignal.abort(new TypeError('enough'));
    await expect(of.update('ended', () => [deposited(1)], { signal })).rejects.toThrow('enough');
  });
});

/** How many events a load has applied. */
const counting = (
  store: EventStore<Events>,
  options: Partial<AggregateOptions<Events, Account>> = {},
): { of: Aggregate<Events, Account>; applied: () => number } => {
  let applied = 0;
  const of = store.aggregate({
    ...account,
    snapshotEvery: 100,
    ...options,
    apply: (state, event) => {
      applied++;
      return account.apply(state, event);
    },
  });
  return {
    of,
    applied: () => {
      const count = applied;
      applied = 0;
      return count;
    },
  };
};

describe('a snapshot', () => {
  test('is kept after so many events, and spares reading them again', async () => {
    const store = fresh();
    const { of, applied } = counting(store);
    await store.append('snapped', [opened('ada'), ...many(249)]);
    expect(await of.load('snapped')).toMatchObject({ state: { balance: 249 }, version: 250 });
    expect(applied()).toBe(250);
    await store.append('snapped', many(3));
    expect(await of.load('snapped')).toEqual({ state: { owner: 'ada', balance: 252 }, version: 253 });
    expect(applied()).toBe(3);
    expect(await snapshotOf('snapped')).toMatch(/^250 [\da-f]{16} \{"owner":"ada","balance":249\}$/);
    await store.append('snapped', many(100));
    await of.load('snapped');
    expect(await snapshotOf('snapped')).toMatch(/^353 /);
  });

  test('of another schema hash is ignored, and replaced', async () => {
    const store = fresh();
    const { of, applied } = counting(store);
    await store.append('hashed', many(200));
    await of.load('hashed');
    const older = await snapshotOf('hashed');
    applied();
    const raised = counting(store, { schemaVersion: 2 });
    expect(await raised.of.load('hashed')).toMatchObject({ state: { balance: 200 } });
    expect(raised.applied()).toBe(200);
    expect(await snapshotOf('hashed')).not.toBe(older);
    expect(await of.load('hashed')).toMatchObject({ state: { balance: 200 } });
    expect(applied()).toBe(200);
  });

  test('of other code is ignored though nobody has raised the schema version', async () => {
    const store = fresh();
    await store.append('coded', many(200));
    await store.aggregate({ ...account, snapshotEvery: 100 }).load('coded');
    const doubled = store.aggregate({
      ...account,
      snapshotEvery: 100,
      apply: (state, event) => (event.type === 'deposited' ? { ...state, balance: state.balance + 2 } : state),
    });
    expect(await doubled.load('coded')).toMatchObject({ state: { balance: 400 } });
  });

  test('that cannot be read, or is ahead of its stream, is ignored', async () => {
    const { log, warnings } = collectLog();
    const { store } = storeOf({ url: server.url }, accounts, { log });
    const { of, applied } = counting(store);
    await store.append('broken', many(300));
    await of.load('broken');
    const hash = (await snapshotOf('broken'))?.split(' ')[1];
    applied();
    await putSnapshot('broken', `200 ${hash} {"owner":`);
    expect(await of.load('broken')).toMatchObject({ state: { balance: 300 }, version: 300 });
    expect(applied()).toBe(300);
    expect(warnings().map(({ msg }) => msg)).toContain('a snapshot cannot be read; it is made anew');
    await putSnapshot('broken', `301 ${hash} {"owner":"x","balance":5}`);
    expect(await of.load('broken')).toMatchObject({ state: { balance: 300 }, version: 300 });
    await putSnapshot('broken', 'nonsense');
    expect(await of.load('broken')).toMatchObject({ state: { balance: 300 }, version: 300 });
  });

  test('that is older does not replace a newer one', async () => {
    const store = fresh();
    const { of } = counting(store);
    await store.append('older', many(150));
    await of.load('older');
    const newer = await snapshotOf('older');
    const slow = store.aggregate({ ...account, snapshotEvery: 1 });
    await putSnapshot('older', `149 ${'0'.repeat(16)} {}`);
    await slow.load('older');
    expect(await snapshotOf('older')).toMatch(/^150 /);
    expect(newer).toMatch(/^150 /);
  });

  test('of what was erased meanwhile does not come back', async () => {
    const store = fresh();
    let erasing: Promise<unknown> | undefined;
    const of = store.aggregate({
      ...account,
      snapshotEvery: 1,
      apply: (state, event) => {
        erasing ??= store.erase('erased');
        return account.apply(state, event);
      },
    });
    await store.append('erased', [opened('ada')]);
    await of.load('erased');
    await erasing;
    expect(await snapshotOf('erased')).toBeNull();
  });

  test('does not bring back what was erased between two pages of its load, nor does the state', async () => {
    const store = fresh();
    let erasing: Promise<unknown> | undefined;
    const owners = store.aggregate({
      name: 'owners',
      initial: () => [] as string[],
      apply: (async (state: string[], event: { version: number; data: { owner: string } }) => {
        if (event.version === 200)
          await (erasing ??= store.erase('paged').then(() => store.append('paged', [opened('nobody')])));
        return [...state, event.data.owner];
      }) as never,
      snapshotEvery: 100,
    });
    await store.append(
      'paged',
      Array.from({ length: 300 }, () => opened('ada')),
    );
    expect(await owners.load('paged')).toEqual({ state: ['nobody'], version: 301 });
    expect((await snapshotOf('paged', 'owners')) ?? '').not.toContain('ada');
    expect((await owners.load('paged')).state).toEqual(['nobody']);
  });

  test('is refused if the first event in it is there no more', async () => {
    const { store, connections } = storeOf({ url: server.url }, accounts);
    await store.append('first', many(2));
    const { snapshots, stream } = createEventKeys('millrace', 'accounts').of('first');
    const keep = (first: number) =>
      saveSnapshot(
        connections.commands(),
        { snapshots, stream },
        { aggregate: 'account', first, version: 2, hash: '-', state: '{}' },
      );
    expect(await keep(0)).toBe(false);
    expect(await snapshotOf('first')).toBeNull();
    expect(await keep(1)).toBe(true);
  });

  test('of a state that JSON would change is not kept, and that is told once', async () => {
    const { log, warnings } = collectLog();
    const { store } = storeOf({ url: server.url }, accounts, { log });
    const of = store.aggregate({
      name: 'dated',
      initial: () => new Map<string, number>(),
      apply: (state, event) => state.set(event.type, (state.get(event.type) ?? 0) + 1),
      snapshotEvery: 1,
    });
    await store.append('dated', many(3));
    expect((await of.load('dated')).state).toEqual(new Map([['deposited', 3]]));
    await of.load('dated');
    expect(await snapshotOf('dated', 'dated')).toBeNull();
    expect(warnings().filter(({ msg }) => msg.includes('not plain JSON'))).toHaveLength(1);
  });
});
