/** Consumer groups: made, listed and removed, whoever made them. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { createScene, failureOf, many, notes, read } from './scene.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
const scene = () => createScene(own, { url: server.url });

test('a group is made with its stream, before anything is published, and misses nothing', async () => {
  const { streams, client, keysOf } = scene();
  const contract = notes();
  expect(await streams.createGroup(contract, 'billing')).toEqual({ status: 'created' });
  expect(await streams.createGroup(contract, 'billing')).toEqual({ status: 'exists' });
  const published = await streams.publishMany(contract, many(3));
  expect(await read(client, keysOf(contract).entries, 'billing', 10)).toEqual(published.map(({ id }) => id));
});

test('it begins at what the stream has, at what comes, or behind an entry', async () => {
  const { streams, client, keysOf } = scene();
  const contract = notes();
  const published = (await streams.publishMany(contract, many(4))).map(({ id }) => id);
  await streams.createGroup(contract, 'all');
  await streams.createGroup(contract, 'new', { startAt: '$' });
  await streams.createGroup(contract, 'behind', { startAt: published[1] });
  const { entries } = keysOf(contract);
  expect(await read(client, entries, 'all', 10)).toEqual(published);
  expect(await read(client, entries, 'behind', 10)).toEqual(published.slice(2));
  const { id } = await streams.publish(contract, { n: 5 });
  expect(await read(client, entries, 'new', 10)).toEqual([id]);
});

test('of those who make one at once, one does', async () => {
  const { streams } = scene();
  const contract = notes();
  const made = await Promise.all(many(20).map(() => streams.createGroup(contract, 'billing')));
  expect(made.filter(({ status }) => status === 'created')).toHaveLength(1);
});

test.each([
  ['a place that is none', { startAt: '>' }, 'billing', "startAt: expected '0', '$' or the id of an entry"],
  ['an unknown option', { from: '0' }, 'billing', 'unknown option from'],
  ['a name with blanks', {}, 'the billing', 'group: expected letters'],
  ['no name', {}, undefined, 'group: expected string'],
])('%s is refused', async (_what, options, group, says) => {
  const { streams, client, keysOf } = scene();
  const contract = notes();
  const failure = await failureOf(streams.createGroup(contract, group as never, options as never));
  expect(failure.code).toBe('OPTIONS_INVALID');
  expect(failure.message).toContain(says);
  expect(await client.exists(keysOf(contract).entries)).toBe(0);
});

test('what is wrong with the key is not taken for a group that is there', async () => {
  const { streams, client, keysOf } = scene();
  const contract = notes();
  await client.set(keysOf(contract).entries, 'no stream');
  expect(await failureOf(streams.createGroup(contract, 'billing'))).toMatchObject({ code: 'REDIS_FAILED' });
  expect(await failureOf(streams.groups(contract))).toMatchObject({ code: 'REDIS_FAILED' });
});

test('declared groups that nobody has made, and groups of other tools, are listed', async () => {
  const { streams, client, keysOf } = scene();
  const contract = notes({ groups: ['billing', 'search'] });
  expect(await streams.groups(contract)).toEqual([
    { name: 'billing', isDeclared: true, lag: undefined },
    { name: 'search', isDeclared: true, lag: undefined },
  ]);
  await streams.publishMany(contract, many(5));
  await client.xgroup('CREATE', keysOf(contract).entries, 'other {tool}:x', '$');
  await streams.createGroup(contract, 'search');
  expect(await streams.groups(contract)).toMatchObject([
    { name: 'billing', isDeclared: true, lag: undefined },
    { name: 'search', isDeclared: true, lag: { entries: 5 } },
    { name: 'other {tool}:x', isDeclared: false, lag: { entries: 0, isExact: true } },
  ]);
  expect(await streams.lag(contract, 'other {tool}:x')).toMatchObject({ entries: 0 });
});

test('a group is kept while it has something to finish, and it is told what', async () => {
  const { streams, client, keysOf } = scene();
  const contract = notes();
  const keys = keysOf(contract);
  const { dead, members } = keys.group('billing');
  await streams.publishMany(contract, many(5));
  await streams.createGroup(contract, 'billing');
  const kept = { status: 'kept', unread: 0, pending: 0, deadLetters: 0, consumers: 0 };
  expect(await streams.removeGroup(contract, 'billing')).toEqual({ ...kept, unread: 5 });
  const ids = await read(client, keys.entries, 'billing', 10);
  expect(await streams.removeGroup(contract, 'billing')).toEqual({ ...kept, pending: 5 });
  await client.xack(keys.entries, 'billing', ...ids);
  const letter = await client.xadd(dead, '*', 'data', '{}');
  expect(await streams.removeGroup(contract, 'billing')).toEqual({ ...kept, deadLetters: 1 });
  await client.xdel(dead, letter as string);
  await client.zadd(members, Date.now() + 60_000, 'me');
  expect(await streams.removeGroup(contract, 'billing')).toEqual({ ...kept, consumers: 1 });
  await client.zadd(members, Date.now() - 1_000, 'me');
  expect(await streams.removeGroup(contract, 'billing')).toMatchObject({ status: 'removed' });
  expect(await streams.removeGroup(contract, 'billing')).toMatchObject({ status: 'absent' });
  expect(await client.keys(`*${contract.name}*`)).toEqual([keys.entries]);
});

test('with force it goes with all that it had, and it is told what that was', async () => {
  const { streams, client, keysOf } = scene();
  const contract = notes();
  const keys = keysOf(contract);
  await streams.publishMany(contract, many(5));
  await streams.createGroup(contract, 'billing');
  await read(client, keys.entries, 'billing', 2);
  const { dead, retries, attempts, tokens } = keys.group('billing');
  await client.xadd(dead, '*', 'data', '{}');
  await client.zadd(retries, 1, '1-0');
  await client.hset(attempts, '1-0', 2);
  await client.hset(tokens, 'me', 'x');
  expect(await streams.removeGroup(contract, 'billing', { force: true })).toEqual({
    status: 'removed',
    unread: 3,
    pending: 2,
    deadLetters: 1,
    consumers: 0,
  });
  expect(await client.keys(`*${contract.name}*`)).toEqual([keys.entries]);
  expect(await client.xlen(keys.entries)).toBe(5);
});

test('what a group left that was destroyed by hand goes with force', async () => {
  const { streams, client, keysOf } = scene();
  const contract = notes();
  const keys = keysOf(contract);
  await streams.createGroup(contract, 'billing');
  await client.xadd(keys.group('billing').dead, '*', 'data', '{}');
  await client.xgroup('DESTROY', keys.entries, 'billing');
  expect(await streams.removeGroup(contract, 'billing')).toMatchObject({ status: 'absent' });
  expect(await client.exists(keys.group('billing').dead)).toBe(1);
  expect(await streams.removeGroup(contract, 'billing', { force: true })).toMatchObject({ status: 'absent' });
  expect(await client.exists(keys.group('billing').dead)).toBe(0);
});
