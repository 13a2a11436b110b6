/** Dead letters of a group: looked at, sent back once, dropped. */
import { afterAll, assert, beforeAll, describe, expect, test } from 'vitest';
import { describeError } from '../../../src/describe-error.ts';
import type { StreamContract } from '../../../src/streams/contract.ts';
import type { StreamDeathReason } from '../../../src/streams/dead-letters/letter.ts';
import { decodeEntry, publishedAtOf } from '../../../src/streams/entry.ts';
import { eventually } from '../../support/eventually.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { createScene, failureOf, many, notes, read, type Note, type Scene } from '../scene.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();

interface Death {
  reason?: StreamDeathReason;
  fingerprint?: string;
  fields?: string[];
}

/** A stream with two groups, and a way to let an entry die in one of them as a consumer's script would. */
async function graveyard(it: Scene = createScene(own, { url: server.url })) {
  const contract: StreamContract<Note> = notes();
  const keys = it.keysOf(contract);
  for (const group of ['billing', 'search']) await it.streams.createGroup(contract, group);
  const die = async (
    n: number,
    { reason = 'attempts', fingerprint = 'f1', fields = [] }: Death = {},
    group = 'billing',
  ) => {
    const { id } = await it.streams.publish(contract, { n });
    const error = JSON.stringify(describeError(new RangeError(`no room for ${n}`)));
    const facts = ['id', id, 'entry', id, 'data', `{"n":${n}}`, 'attempts', '5', 'reason', reason, 'redriven', '0'];
    const end = ['diedAt', String(Date.now()), 'error', error, 'fingerprint', fingerprint];
    const letter = await it.client.xadd(keys.group(group).dead, '*', ...facts, ...end, ...fields);
    return { id, letter: letter as string };
  };
  await it.client.xgroup('SETID', keys.entries, 'search', '$');
  return { ...it, contract, keys, die, letters: it.streams.deadLetters(contract, 'billing') };
}

/** What the group is given from now on. */
async function entriesFor({ client, keys }: { client: Scene['client']; keys: { entries: string } }, group: string) {
  await read(client, keys.entries, group, 0);
  const all = await client.xrange(keys.entries, '-', '+');
  return all.map(([id, fields]) => decodeEntry(id, fields));
}

describe('a letter', () => {
  test('tells what died, why, when and how often it was tried', async () => {
    const { die, letters, contract } = await graveyard();
    const before = Date.now();
    const { id, letter } = await die(7, { fields: ['headers', '{"trace":"t"}', 'key', 'order-7'] });
    const found = await letters.get(letter);
    expect(found).toMatchObject({
      id: letter,
      entryId: id,
      stream: contract.name,
      group: 'billing',
      data: { n: 7 },
      headers: { trace: 't' },
      key: 'order-7',
      reason: 'attempts',
      attempts: 5,
      redriven: 0,
      publishedAt: publishedAtOf(id),
      error: { name: 'RangeError', message: 'no room for 7' },
      fingerprint: 'f1',
    });
    expect(found?.diedAt).toBeGreaterThanOrEqual(before);
    expect(await letters.get('1-0')).toBeUndefined();
  });

  test('can be read whatever its fields hold', async () => {
    const { client, keys, letters } = await graveyard();
    const id = (await client.xadd(
      keys.group('billing').dead,
      '*',
      'data',
      'no json',
      'error',
      'boom',
      'headers',
      '[',
    )) as string;
    expect(await letters.get(id)).toMatchObject({
      entryId: id,
      data: 'no json',
      headers: {},
      attempts: 0,
      error: { name: 'NonError', message: 'boom' },
      fingerprint: '',
    });
  });
});

describe('a list', () => {
  test('comes the newest first, in pages without gaps or repeats', async () => {
    const { die, letters } = await graveyard();
    const died: string[] = [];
    for (const { n } of many(125)) died.unshift((await die(n)).letter);
    const seen: string[] = [];
    let cursor: string | undefined;
    let pages = 0;
    do {
      const page = await letters.list({ limit: 50, cursor });
      seen.push(...page.letters.map(({ id }) => id));
      cursor = page.cursor;
      pages++;
    } while (cursor !== undefined);
    expect(seen).toEqual(died);
    expect(pages).toBe(3);
    expect(await letters.count()).toBe(125);
  });

  test('is of those that fit, though they be few among many', async () => {
    const { die, letters } = await graveyard();
    const wanted: string[] = [];
    let middle = 0;
    for (const { n } of many(160)) {
      const { letter } = await die(n, n % 40 === 0 ? { reason: 'input', fingerprint: `f${n}` } : {});
      if (n % 40 === 0) wanted.unshift(letter);
      if (n !== 79) continue;
      middle = publishedAtOf(letter) + 1;
      await eventually(() => assert(Date.now() > middle + 1));
    }
    const idsOf = ({ letters: page }: Awaited<ReturnType<typeof letters.list>>): string[] => page.map(({ id }) => id);
    expect(idsOf(await letters.list({ reason: 'input' }))).toEqual(wanted);
    const first = await letters.list({ reason: 'input', limit: 3 });
    expect(idsOf(first)).toEqual(wanted.slice(0, 3));
    expect(idsOf(await letters.list({ reason: 'input', limit: 3, cursor: first.cursor }))).toEqual(wanted.slice(3));
    expect(idsOf(await letters.list({ fingerprint: 'f80' }))).toHaveLength(1);
    expect(idsOf(await letters.list({ reason: 'input', from: new Date(middle) }))).toEqual(wanted.slice(0, 2));
    expect(idsOf(await letters.list({ reason: 'input', to: middle }))).toEqual(wanted.slice(2));
    const [one] = (await letters.list({ limit: 1 })).letters;
    expect(idsOf(await letters.list({ entryId: one?.entryId }))).toEqual([one?.id]);
    expect(await letters.count({ reason: 'input' })).toBe(4);
  });

  test.each([
    [{ limit: 0 }, 'limit: expected at least 1'],
    [{ limit: 1_001 }, 'limit: expected at most 1000'],
    [{ cursor: 'x' }, 'cursor: expected the cursor of the page before'],
    [{ reason: 'bored' }, 'reason: expected attempts or unrecoverable or input or poison'],
    [{ fingerprint: '' }, 'fingerprint: expected at least 1 character'],
    [{ from: 'yesterday' }, 'from: expected date or number'],
    [{ newest: true }, 'unknown option newest'],
  ])('%j is refused', async (options, says) => {
    const { letters } = await graveyard();
    const failure = await failureOf(letters.list(options as never));
    expect(failure.code).toBe('OPTIONS_INVALID');
    expect(failure.message).toContain(says);
  });
});

describe('a redrive', () => {
  test('publishes the entry again for this group only, under the id that its handler knows', async () => {
    const yard = await graveyard();
    const { die, letters, keys, client } = yard;
    const { id, letter } = await die(7, { fields: ['headers', '{"trace":"t"}', 'key', 'order-7'] });
    expect(await letters.redrive(letter)).toEqual({ matched: 1, redriven: 1, dryRun: false });
    const entry = (await entriesFor(yard, 'billing')).at(-1);
    expect(entry).toMatchObject({
      originId: id,
      data: '{"n":7}',
      headers: { trace: 't' },
      key: 'order-7',
      only: 'billing',
      redriven: 1,
    });
    expect(await client.xlen(keys.group('billing').dead)).toBe(0);
    expect(await letters.redrive(letter)).toEqual({ matched: 0, redriven: 0, dryRun: false });
  });

  test('of an entry that died again counts on', async () => {
    const yard = await graveyard();
    const { letters, client, keys } = yard;
    const dead = (redriven: string): Promise<string | null> =>
      client.xadd(keys.group('billing').dead, '*', 'id', '5-0', 'data', '{"n":1}', 'redriven', redriven);
    await dead('0');
    await letters.redrive({});
    await dead('1');
    await letters.redrive({});
    const entries = await entriesFor(yard, 'billing');
    expect(entries.map(({ originId, redriven }) => [originId, redriven])).toEqual([
      ['5-0', 1],
      ['5-0', 2],
    ]);
  });

  test('raced by ten operators is done once for each letter', async () => {
    const yard = await graveyard();
    for (const { n } of many(130)) await yard.die(n);
    const results = await Promise.all(
      many(10).map(() =>
        createScene(own, { url: server.url }, { prefix: yard.prefix })
          .streams.deadLetters(yard.contract, 'billing')
          .redrive({}),
      ),
    );
    expect(results.reduce((sum, { redriven }) => sum + redriven, 0)).toBe(130);
    const redriven = (await entriesFor(yard, 'billing')).filter(({ only }) => only === 'billing');
    expect(redriven.map(({ data }) => data).toSorted()).toEqual(
      many(130)
        .map((note) => JSON.stringify(note))
        .toSorted(),
    );
    expect(await yard.letters.count()).toBe(0);
  });

  test('whose answer was lost is done once when it is asked for again', async () => {
    const proxy = own(await startProxy(server.port));
    const yard = await graveyard(createScene(own, { url: proxy.url }));
    for (const { n } of many(10)) await yard.die(n);
    const { dead } = yard.keys.group('billing');
    const watched = (await yard.letters.list()).letters.map(({ id }) => id);
    const { letters } = yard;
    await letters.redrive(watched[0] as string); // So that the server knows the script.
    proxy.slowDown(100);
    const lost = failureOf(letters.redrive({}));
    await server.ask(async (redis) => {
      await eventually(async () => expect(await redis.xlen(dead)).toBe(0));
    });
    proxy.cut();
    expect(await lost).toMatchObject({ code: 'REDIS_UNREACHABLE', facts: { done: 0 } });
    proxy.slowDown(0);
    expect(await eventually(() => letters.redrive({}))).toMatchObject({ redriven: 0 });
    expect((await entriesFor(yard, 'billing')).filter(({ only }) => only !== undefined)).toHaveLength(10);
  });

  test('takes the oldest first, as many as asked for, and only those that fit', async () => {
    const yard = await graveyard();
    for (const { n } of many(120)) await yard.die(n, { reason: n % 2 === 0 ? 'input' : 'attempts' });
    const before = await yard.client.xlen(yard.keys.entries);
    expect(await yard.letters.redrive({ reason: 'input' }, { limit: 30, dryRun: true })).toEqual({
      matched: 30,
      redriven: 0,
      dryRun: true,
    });
    expect(await yard.client.xlen(yard.keys.entries)).toBe(before);
    expect(await yard.letters.redrive({ reason: 'input' }, { limit: 30 })).toMatchObject({ matched: 30, redriven: 30 });
    const entries = (await entriesFor(yard, 'billing')).slice(before);
    expect(entries.map(({ data }) => (JSON.parse(data) as Note).n)).toEqual(many(30).map(({ n }) => n * 2));
    expect(await yard.letters.count()).toBe(90);
    expect(await yard.letters.redrive({}, { limit: 0 })).toMatchObject({ matched: 0 });
  });

  test('does not chase letters that die again while it works', async () => {
    const yard = await graveyard();
    for (const { n } of many(60)) await yard.die(n);
    let deaths = 0;
    const ending = new AbortController();
    const dying = (async () => {
      while (!ending.signal.aborted) deaths += Number((await yard.die(1_000)).letter !== '');
    })();
    expect((await yard.letters.redrive({})).redriven).toBeLessThanOrEqual(61);
    ending.abort();
    await dying;
    expect(await yard.letters.count()).toBeGreaterThanOrEqual(deaths - 1);
  });

  test('stops when its signal aborts, and tells what was done', async () => {
    const yard = await graveyard();
    for (const { n } of many(10)) await yard.die(n);
    expect(await yard.letters.redrive({}, { signal: AbortSignal.abort() })).toMatchObject({ redriven: 0 });
    expect(await yard.letters.count()).toBe(10);
  });

  test('for a group that is not there is refused, and the letter stays', async () => {
    const yard = await graveyard();
    await yard.die(1);
    await yard.client.xgroup('DESTROY', yard.keys.entries, 'billing');
    expect(await failureOf(yard.letters.redrive({}))).toMatchObject({
      code: 'GROUP_UNKNOWN',
      facts: { known: ['search'], done: 0 },
    });
    expect(await yard.letters.count()).toBe(1);
    await yard.streams.createGroup(yard.contract, 'billing', { startAt: '$' });
    expect(await yard.letters.redrive({})).toMatchObject({ redriven: 1 });
  });

  test.each([
    ['an id that is none', 'order-42', {}, 'id: expected the id of a dead letter'],
    ['a filter with an unknown field', { queue: 'x' }, {}, 'unknown option queue'],
    ['options that are wrong', {}, { limit: -1 }, 'limit: expected at least 0'],
    ['nothing', undefined, {}, 'expected object'],
  ])('of %s is refused', async (_what, target, options, says) => {
    const { letters } = await graveyard();
    const failure = await failureOf(letters.redrive(target as never, options));
    expect(failure.code).toBe('OPTIONS_INVALID');
    expect(failure.message).toContain(says);
  });
});

test('a discard removes what fits for good, and nothing of another group', async () => {
  const yard = await graveyard();
  for (const { n } of many(120)) await yard.die(n, { fingerprint: n < 100 ? 'a' : 'b' });
  const other = yard.streams.deadLetters(yard.contract, 'search');
  await yard.die(1, {}, 'search');
  expect(await yard.letters.discard({ fingerprint: 'a' }, { dryRun: true })).toEqual({
    matched: 100,
    discarded: 0,
    dryRun: true,
  });
  expect(await yard.letters.discard({ fingerprint: 'a' })).toEqual({ matched: 100, discarded: 100, dryRun: false });
  expect(await yard.letters.count()).toBe(20);
  const [letter] = (await yard.letters.list()).letters;
  expect(await yard.letters.discard(letter?.id as string)).toMatchObject({ discarded: 1 });
  expect(await yard.letters.discard({ to: Date.now() + 1_000 }, { limit: 5 })).toMatchObject({ discarded: 5 });
  expect([await yard.letters.count(), await other.count()]).toEqual([14, 1]);
});
