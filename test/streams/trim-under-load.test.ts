/** Nothing that a group has not finished ever disappears, whatever is read, acknowledged, given back and trimmed in between; and Redis goes on answering. */
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { ServerBinary } from '../../src/redis/embedded/binary.ts';
import { parseInfo } from '../../src/redis/server-info.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { skipBecause } from '../support/skips.ts';
import { createScene, idsOf, many, notes, read, type Scene } from './scene.ts';

const own = ownedByTest();

type Act =
  | { do: 'publish'; count: number }
  | { do: 'read'; group: number; count: number }
  | { do: 'finish'; group: number; each: number; from: number }
  | { do: 'give back'; group: number }
  | { do: 'trim' };

const group = fc.nat(2);
const act: fc.Arbitrary<Act> = fc.oneof(
  fc.record({ do: fc.constant('publish' as const), count: fc.integer({ min: 1, max: 150 }) }),
  fc.record({ do: fc.constant('read' as const), group, count: fc.integer({ min: 1, max: 120 }) }),
  fc.record({ do: fc.constant('finish' as const), group, each: fc.integer({ min: 1, max: 5 }), from: fc.nat(40) }),
  fc.record({ do: fc.constant('give back' as const), group }),
  fc.record({ do: fc.constant('trim' as const) }),
);

describe.each(['main', 'newest'] as const)('on %s', (which) => {
  let server: TestServer | undefined;
  let binary: ServerBinary | string;
  beforeAll(async () => {
    binary = inject('servers')[which];
    if (typeof binary !== 'string') server = await startRedis({ binary });
  });
  afterAll(() => server?.stop());
  const scene = (context: Parameters<typeof skipBecause>[0]): Scene => {
    if (!server) return skipBecause(context, typeof binary === 'string' ? binary : 'it does not run');
    return createScene(own, { url: server.url });
  };

  test('in any order of acts, what a group has still to finish is there', async (context) => {
    const it = scene(context);
    const plan = fc.record({ acts: fc.array(act, { minLength: 10, maxLength: 60 }), keep: fc.constantFrom(0, 7, 130) });
    await fc.assert(
      fc.asyncProperty(plan, async ({ acts, keep }) => {
        const names = ['quick', 'slow', "other's"];
        const contract = notes({ groups: ['quick', 'slow'], keep: { count: keep, age: false } });
        const { entries } = it.keysOf(contract);
        for (const name of names) await it.client.xgroup('CREATE', entries, name, '0', 'MKSTREAM');
        const unfinished = names.map(() => new Set<string>());
        const pending = names.map((): string[] => []);
        const lost: string[] = [];
        for (const one of acts) {
          if (one.do === 'publish') {
            const published = await it.streams.publishMany(contract, many(one.count));
            for (const { id } of published) for (const ids of unfinished) ids.add(id);
          } else if (one.do === 'read') {
            pending[one.group]?.push(...(await read(it.client, entries, names[one.group] as string, one.count)));
          } else if (one.do === 'finish') {
            const all = pending[one.group] as string[];
            const done = all.filter((_id, index) => index >= one.from && index % one.each === 0);
            if (done.length > 0) await it.client.xack(entries, names[one.group] as string, ...done);
            pending[one.group] = all.filter((id) => !done.includes(id));
            for (const id of done) unfinished[one.group]?.delete(id);
          } else if (one.do === 'give back') {
            await it.client.xautoclaim(entries, names[one.group] as string, '~retries', 0, '0', 'COUNT', 30, 'JUSTID');
          } else {
            await it.streams.trim(contract);
            const there = new Set(await idsOf(it.client, entries));
            for (const ids of unfinished) lost.push(...[...ids].filter((id) => !there.has(id)));
          }
        }
        expect(lost).toEqual([]);
        for (const [index, name] of names.entries()) {
          const rest = await read(it.client, entries, name, 100_000);
          expect(new Set([...(pending[index] as string[]), ...rest])).toEqual(unfinished[index]);
          if (rest.length + (pending[index]?.length ?? 0) > 0)
            await it.client.xack(entries, name, ...(pending[index] as string[]), ...rest);
        }
        const nothing = { ...contract, keep: { count: 0, ageMs: undefined } };
        expect((await it.streams.trim(nothing)).heldBy).toBeUndefined();
        expect(await it.client.xlen(entries)).toBe(0);
        await it.client.del(entries);
      }),
      { numRuns: 25 },
    );
  });

  test('under load each group is given every entry once, while trims never end', async (context) => {
    const it = scene(context);
    const others = many(3).map(() => createScene(own, { url: server?.url }, { prefix: it.prefix }));
    const contract = notes({ groups: ['quick', 'slow'], keep: { count: 100, age: false } });
    const { entries } = it.keysOf(contract);
    await it.streams.createGroup(contract, 'quick');
    await it.streams.createGroup(contract, 'slow');
    const published: string[] = [];
    const ending = new AbortController();
    const publish = async (): Promise<void> => {
      for (let round = 0; round < 40; round++) {
        const added = await it.streams.publishMany(contract, many(250));
        published.push(...added.map(({ id }) => id));
      }
      ending.abort();
    };
    const consume = async ({ client }: Scene, name: string, count: number): Promise<string[]> => {
      const given: string[] = [];
      for (;;) {
        const reply = await client.xreadgroup('GROUP', name, 'me', 'COUNT', count, 'STREAMS', entries, '>');
        const page = reply?.[0]?.[1] ?? [];
        if (page.length === 0 && ending.signal.aborted && given.length >= published.length) return given;
        if (page.length === 0) continue;
        expect(page.every(([, fields]) => fields?.[0] === 'data')).toBe(true);
        given.push(...page.map(([id]) => id));
        const late = page.filter((_one, index) => index % 7 === 0).map(([id]) => id);
        const soon = page.filter((_one, index) => index % 7 !== 0).map(([id]) => id);
        if (soon.length > 0) await client.xack(entries, name, ...soon);
        const held = await client.xrange(entries, late[0] as string, late[0] as string);
        expect(held).toHaveLength(1);
        await client.xack(entries, name, ...late);
      }
    };
    let removed = 0;
    const trim = async ({ streams }: Scene): Promise<void> => {
      while (!ending.signal.aborted) removed += (await streams.trim(contract)).removed;
    };
    const [, quick, slow] = await Promise.all([
      publish(),
      consume(others[0] as Scene, 'quick', 500),
      consume(others[1] as Scene, 'slow', 20),
      trim(others[2] as Scene),
    ]);
    expect(quick).toEqual(published);
    expect(slow).toEqual(published);
    expect(removed).toBeGreaterThan(0);
    await it.streams.trim(contract);
    expect(await it.client.xlen(entries)).toBeLessThanOrEqual(200);
  });

  test.for([
    ['that all groups have finished', 'finished'],
    ['that a group far behind has not read', 'unread'],
    ['of which each tenth is pending', 'pending'],
  ] as const)(
    '100,000 entries %s are trimmed in steps, and others are answered in between',
    async ([, how], context) => {
      const it = scene(context);
      const contract = notes({ groups: ['billing', 'behind'], keep: { count: 1_000, age: false } });
      const { entries, trimmed: turn } = it.keysOf(contract);
      await it.client.set(turn, 'taken, so that nobody trims by himself');
      await it.streams.createGroup(contract, 'billing');
      await it.streams.createGroup(contract, 'behind');
      await it.streams.publishMany(contract, many(100_000));
      await it.client.xgroup('SETID', entries, 'billing', '$');
      if (how === 'finished') await it.client.xgroup('SETID', entries, 'behind', '$');
      if (how === 'pending') {
        for (let round = 0; round < 20; round++) {
          const ids = await read(it.client, entries, 'behind', 5_000);
          await it.client.xack(entries, 'behind', ...ids.filter((_id, index) => index % 10 !== 0));
        }
      }
      await it.client.config('RESETSTAT');
      let answered = 0;
      const trimmed = new AbortController();
      const asking = (async () => {
        const { client } = createScene(own, { url: server?.url });
        while (!trimmed.signal.aborted) answered += Number((await client.ping()) === 'PONG');
      })();
      const { removed, heldBy } = await it.streams.trim(contract);
      trimmed.abort();
      await asking;
      const { fields } = parseInfo(await it.client.info('commandstats'));
      const [, calls = '0', usecPerCall = '0'] =
        /calls=(\d+),usec=\d+,usec_per_call=([\d.]+)/.exec(fields.get('cmdstat_evalsha') ?? '') ?? [];
      expect(Number(usecPerCall)).toBeLessThan(10_000);
      const isFinished = how === 'finished';
      expect(heldBy?.group).toBe(isFinished ? undefined : 'behind');
      expect(removed).toBeGreaterThanOrEqual(isFinished ? 98_900 : 0);
      expect(await it.client.xlen(entries)).toBe(100_000 - removed);
      expect(Number(calls)).toBeGreaterThanOrEqual(isFinished ? 99 : 1);
      expect(answered).toBeGreaterThan(isFinished ? 30 : 0);
      expect((await it.streams.lag(contract, 'behind')).pending).toBe(how === 'pending' ? 10_000 : 0);
    },
  );
});
