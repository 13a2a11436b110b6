/**
 * Histories of appends by three processes against a model: versions and positions without gaps, no event lost or there twice, and each answer
 * the one that the model gives at that moment, while scripts are forgotten, streams are erased, and appends are sent again.
 */
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AppendResult, EventStore } from '../../src/streams/event-store/event-store.ts';
import type { ExpectedVersion } from '../../src/streams/event-store/options.ts';
import { accounts, balances, deposited, wholeHistory } from '../streams/event-store/accounts.ts';
import { all, ownedStores } from '../streams/event-store/own-stores.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

type Events = (typeof accounts)['events'];

const STREAMS = ['a', 'b', 'c'] as const;

type Step =
  | {
      act: 'append';
      process: number;
      stream: string;
      count: number;
      expected: 'right' | 'behind' | 'ahead' | 'none' | 'exists' | 'any';
      named: boolean;
    }
  | { act: 'again'; process: number; pick: number }
  | { act: 'erase'; process: number; stream: string }
  | { act: 'forget scripts' };

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const storeOf = ownedStores();

const process = fc.nat({ max: 2 });
const stream = fc.constantFrom(...STREAMS);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 10,
      arbitrary: fc.record({
        act: fc.constant('append' as const),
        process,
        stream,
        count: fc.integer({ min: 1, max: 5 }),
        expected: fc.constantFrom(
          'right' as const,
          'right' as const,
          'behind' as const,
          'ahead' as const,
          'none' as const,
          'exists' as const,
          'any' as const,
        ),
        named: fc.boolean(),
      }),
    },
    { weight: 3, arbitrary: fc.record({ act: fc.constant('again' as const), process, pick: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ act: fc.constant('erase' as const), process, stream }) },
    { weight: 1, arbitrary: fc.record({ act: fc.constant('forget scripts' as const) }) },
  ),
  { maxLength: 40 },
);

/** What the store must be. */
class Model {
  readonly versions = new Map<string, number>();
  /** `stream version` of each position; undefined once erased. */
  readonly positions: Array<{ stream: string; version: number; amount: number; isErased: boolean }> = [];
  readonly named: Array<{
    stream: string;
    ids: string[];
    amounts: number[];
    version: number;
    position: number;
    isErased: boolean;
  }> = [];

  append(of: string, amounts: number[], expected: ExpectedVersion): AppendResult {
    const actual = this.versions.get(of) ?? 0;
    const fits =
      expected === 'any' ||
      expected === actual ||
      (expected === 'none' && actual === 0) ||
      (expected === 'exists' && actual > 0);
    if (!fits) return { status: 'conflict', actual };
    for (const [index, amount] of amounts.entries())
      this.positions.push({ stream: of, version: actual + index + 1, amount, isErased: false });
    const version = actual + amounts.length;
    this.versions.set(of, version);
    return { status: 'appended', version, position: this.positions.length };
  }

  erase(of: string): number {
    const gone = this.positions.filter(({ stream: its, isErased }) => its === of && !isErased);
    for (const place of gone) place.isErased = true;
    for (const one of this.named) if (one.stream === of) one.isErased = true;
    return gone.length;
  }
}

test('one after the other, each answer is that of the model', async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(steps, async (history) => {
      const prefix = `model-${++run}`;
      const stores = [0, 1, 2].map(() => storeOf({ url: server.url }, accounts, { prefix }).store);
      const model = new Model();
      let lastId = 0;
      for (const step of history) {
        if (step.act === 'forget scripts') {
          await server.ask((redis) => redis.script('FLUSH'));
          continue;
        }
        const store = stores[step.process] as EventStore<Events>;
        let pair: [answer: unknown, should: unknown];
        if (step.act === 'erase') {
          pair = [await store.erase(step.stream), model.erase(step.stream)];
        } else if (step.act === 'again') {
          const known = model.named.filter(({ isErased }) => !isErased);
          const one = known[step.pick % Math.max(1, known.length)];
          if (!one) continue;
          const events = one.ids.map((id, index) => deposited(one.amounts[index], id));
          const { version, position } = one;
          pair = [await store.append(one.stream, events, { expected: 0 }), { status: 'duplicate', version, position }];
        } else {
          const amounts = Array.from({ length: step.count }, () => ++lastId);
          const ids = amounts.map((amount) => `id-${amount}`);
          const events = amounts.map((amount, index) => deposited(amount, step.named ? ids[index] : undefined));
          const actual = model.versions.get(step.stream) ?? 0;
          const numbers: Partial<Record<string, number>> = {
            right: actual,
            behind: Math.max(0, actual - 1),
            ahead: actual + 1,
          };
          const expected = numbers[step.expected] ?? (step.expected as ExpectedVersion);
          const result = model.append(step.stream, amounts, expected);
          pair = [await store.append(step.stream, events, { expected }), result];
          if (step.named && result.status === 'appended')
            model.named.push({
              stream: step.stream,
              ids,
              amounts,
              version: result.version,
              position: result.position,
              isErased: false,
            });
        }
        expect(pair[0]).toEqual(pair[1]);
      }
      const [store] = stores as [EventStore<Events>];
      const there = (await all(store.all())).map(({ streamId, version, position, data }) => [
        streamId,
        version,
        position,
        data,
      ]);
      const should = model.positions.flatMap(({ stream: of, version, amount, isErased }, index) =>
        isErased ? [] : [[of, version, index + 1, { amount }]],
      );
      expect(there).toEqual(should);
      for (const of of STREAMS) expect(await store.version(of)).toBe(model.versions.get(of) ?? 0);
      await store.projection(balances).catchUp();
      const sums = await all(store.projection(balances).entries());
      const total = model.positions.reduce((sum, { amount, isErased }) => sum + (isErased ? 0 : amount), 0);
      expect(sums.reduce((sum, [, { balance }]) => sum + balance, 0)).toBe(total);
      await Promise.all(stores.map((one) => one.stop()));
    }),
    { numRuns: 40 },
  );
}, 180_000);

test('twenty at once on a few streams: what was answered is there once, and nothing else is', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ stream, count: fc.integer({ min: 1, max: 4 }) }), { minLength: 20, maxLength: 20 }),
      async (writers) => {
        const alone = await startRedis();
        try {
          const stores = [0, 1, 2].map(() => storeOf({ url: alone.url }, accounts).store);
          const answered: string[] = [];
          await Promise.all(
            writers.map(async ({ stream: of, count }, writer) => {
              const store = stores[writer % 3] as EventStore<Events>;
              for (let round = 0; round < 5; round++) {
                const ids = Array.from({ length: count }, (_, index) => `${writer}-${round}-${index}`);
                const expected = writer % 2 === 0 ? await store.version(of) : 'any';
                const result = await store.append(
                  of,
                  ids.map((id) => deposited(1, id)),
                  { expected },
                );
                if (result.status === 'appended') answered.push(...ids);
              }
            }),
          );
          const { ids } = await alone.ask((redis) => wholeHistory(redis));
          expect(ids.toSorted()).toEqual(answered.toSorted());
        } finally {
          await alone.stop();
        }
      },
    ),
    { numRuns: 5 },
  );
}, 180_000);
