import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isMillraceError } from '../../src/errors.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { defineScript } from '../../src/redis/script.ts';
import { failureOf } from '../support/failures.ts';
import { temporaryFolder } from '../support/folders.ts';
import { count, fail, storeBytes, storeList } from '../support/scripts.ts';
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

describe('the signature', () => {
  const folder = temporaryFolder();

  /** Defines a script of this text, with one key `lock` and one argument `ttlMs` unless told otherwise. */
  function define(source: string, names: { keys?: string[]; args?: string[] } = {}) {
    writeFileSync(join(folder, 'lock.lua'), source);
    const { keys = ['lock'], args = ['ttlMs'] } = names;
    return defineScript({ folder: pathToFileURL(`${folder}/`), file: 'lock.lua', keys, args, reply: String });
  }

  /** The message with which the text is refused. */
  function refusal(source: string, names?: { keys?: string[]; args?: string[] }): string {
    try {
      define(source, names);
    } catch (error) {
      const isRight = isMillraceError(error, 'SCRIPT_INVALID') && error.facts['file'] === 'lock.lua';
      return isRight ? error.message : `expected SCRIPT_INVALID, got ${String(error)}`;
    }
    return 'expected SCRIPT_INVALID, got a script';
  }

  const good = 'local lock   = KEYS[1]  -- STRING\nlocal ttl_ms = tonumber(ARGV[1])\nreturn ttl_ms\n';

  test('that fits is bound', () => {
    expect(define(good).file).toBe('lock.lua');
    expect(define(good).sha).toMatch(/^[0-9a-f]{40}$/);
    expect(define('return 1\n', { keys: [], args: [] }).file).toBe('lock.lua');
  });

  test('is told with both sides when a name is misspelt, missing or extra', () => {
    expect(refusal(good, { keys: ['lok'] })).toBe('lua/lock.lua: its KEYS are (lock), defineScript names (lok)');
    expect(refusal(good, { args: [] })).toBe('lua/lock.lua: its ARGV are (ttlMs), defineScript names ()');
    expect(refusal(good, { args: ['ttlMs', 'token'] })).toContain('defineScript names (ttlMs, token)');
    expect(refusal(good, { keys: ['...lock'] })).toContain('its KEYS are (lock), defineScript names (...lock)');
  });

  test('is held against a file that was changed alone', () => {
    expect(refusal(good.replace('ttl_ms =', 'lease_ms ='))).toContain('its ARGV are (leaseMs)');
  });

  test('must count up from 1', () => {
    expect(refusal(good.replace('KEYS[1]', 'KEYS[2]'))).toBe(
      'lua/lock.lua: lock is out of order: expected position 1, got 2',
    );
    expect(refusal('local others = { unpack(KEYS, 2) }\n')).toContain('others is out of order');
  });

  test('is the only place for KEYS and ARGV', () => {
    const message = 'KEYS and ARGV may stand in the local lines of its signature only';
    expect(refusal(`${good}return redis.call('GET', KEYS[2])\n`)).toContain(message);
    expect(refusal(`${good}local function f() return ARGV[1] end\n`)).toContain(message);
    expect(refusal(`${good}for i, key in ipairs(KEYS) do end\n`)).toContain(message);
    expect(define(`-- KEYS[9] in a comment does not count\n${good}`).file).toBe('lock.lua');
  });

  test('may not go on after a list, which takes all that follows', () => {
    const source = 'local keys = { unpack(KEYS, 1) }\nlocal last = KEYS[2]\n';
    expect(refusal(source, { keys: ['...keys', 'last'], args: [] })).toContain('a list stands last');
  });

  test('of a file that is not there names the file', () => {
    expect(() => defineScript({ file: 'lock/no-such.lua', keys: [], args: [], reply: String })).toThrow(
      expect.objectContaining({ code: 'SCRIPT_INVALID', message: 'lua/lock/no-such.lua: cannot be read' }),
    );
  });
});

describe('a call', () => {
  test('puts names into positions and makes the reply', async () => {
    const reply = await storeList(
      connections.commands(),
      { total: '{list}:total', others: ['{list}:a', '{list}:b'] },
      { label: 'two', values: ['1', 2] },
    );
    expect(reply).toEqual({ label: 'two', total: 2, values: ['1', '2'] });
    expect(await server.ask((redis) => redis.mget('{list}:a', '{list}:b'))).toEqual(['1', '2']);
  });

  test('takes an empty list, and a long one', async () => {
    const commands = connections.commands();
    const none = await storeList(commands, { total: 'total', others: [] }, { label: '', values: [] });
    expect(none).toEqual({ label: '', total: 0, values: [] });
    const values = Array.from({ length: 7_000 }, (_, index) => index);
    const many = await storeList(commands, { total: 'total', others: [] }, { label: 'many', values });
    expect(many.values).toHaveLength(7_000);
  });

  test('with a list longer than a Lua script can take says so', async () => {
    const values = Array.from({ length: 10_000 }, (_, index) => index);
    const call = storeList(connections.commands(), { total: 'total', others: [] }, { label: 'many', values });
    expect((await failureOf(call, 'SCRIPT_FAILED')).message).toContain('too many results to unpack');
  });

  test('carries bytes both ways unchanged', async () => {
    const bytes = Buffer.from([0, 255, 128, 13, 10, 0xc3, 0x28]);
    expect(await storeBytes(connections.commands(), { blob: 'blob' }, { bytes })).toEqual({ bytes, size: 7 });
    await server.ask((redis) => redis.script('FLUSH'));
    expect(await storeBytes(connections.commands(), { blob: 'blob' }, { bytes })).toEqual({ bytes, size: 7 });
  });

  test.each([
    ['NaN', { step: Number.NaN }],
    ['Infinity', { step: Number.POSITIVE_INFINITY }],
    ['undefined', { step: undefined }],
    ['null', { step: null }],
    ['true', { step: true }],
    ['[1,2]', { step: [1, 2] }],
    ['undefined', {}],
  ])('with the argument %s is refused, and nothing is sent', async (shown, args) => {
    const error = await failureOf(count(connections.commands(), { counter: 'never' }, args as never), 'SCRIPT_INVALID');
    expect(error.message).toBe(`lua/count.lua: step: expected a string, a finite number or a Buffer, got ${shown}`);
    expect(await server.ask((redis) => redis.exists('never'))).toBe(0);
  });

  test.each([
    ['undefined', {}],
    ['""', { counter: '' }],
    ['7', { counter: 7 }],
    ['["a","b"]', { counter: ['a', 'b'] }],
  ])('with the key %s is refused', async (shown, keys) => {
    const error = await failureOf(count(connections.commands(), keys as never, { step: 1 }), 'SCRIPT_INVALID');
    expect(error.message).toBe(`lua/count.lua: counter: expected a key (a string that is not empty), got ${shown}`);
  });

  test('with one value where a list belongs is refused', async () => {
    const args = { label: 'x', values: 'abc' } as never;
    const error = await failureOf(
      storeList(connections.commands(), { total: 't', others: [] }, args),
      'SCRIPT_INVALID',
    );
    expect(error.message).toBe('lua/store-list.lua: values: expected a list, got "abc"');
  });

  test.each([
    ['type', 'WRONGTYPE'],
    ['lua', 'attempt to perform arithmetic'],
    ['reply', 'BROKEN as asked'],
  ])('whose script fails (%s) tells the file and what the server said', async (how, said) => {
    const error = await failureOf(fail(connections.commands(), { text: 'text' }, { how }), 'SCRIPT_FAILED');
    expect(error.message).toContain('lua/fail.lua: ');
    expect(error.message).toContain(said);
    expect(error.facts).toEqual({ file: 'fail.lua' });
    expect(error.cause).toBeInstanceOf(Error);
  });

  test('whose reply cannot be read fails with the file', async () => {
    const bad = defineScript({
      folder: new URL('../support/lua/', import.meta.url),
      file: 'count.lua',
      keys: ['counter'],
      args: ['step'],
      reply: (raw: { missing: { field: string } }) => raw.missing.field,
    });
    const error = await failureOf(bad(connections.commands(), { counter: 'read' }, { step: 1 }), 'SCRIPT_FAILED');
    expect(error.message).toContain('lua/count.lua: ');
    expect(await server.ask((redis) => redis.get('read'))).toBe('1');
  });

  test('with a misspelt name does not compile', async () => {
    const commands = connections.commands();
    // @ts-expect-error -- the key is called counter
    const misspeltKey = () => count(commands, { countr: 'x' }, { step: 1 });
    // @ts-expect-error -- the argument is called step
    const misspeltArg = () => count(commands, { counter: 'x' }, { stp: 1 });
    // @ts-expect-error -- a key is missing
    const missing = () => count(commands, {}, { step: 1 });
    // @ts-expect-error -- others is a list
    const noList = () => storeList(commands, { total: 't', others: 'o' }, { label: 'l', values: [] });
    for (const call of [misspeltKey, misspeltArg, missing, noList])
      expect((await failureOf(call(), 'SCRIPT_INVALID')).message).toContain('got ');
  });

  test('of a key that the user may not touch is forbidden', async () => {
    await server.ask((redis) => redis.acl('SETUSER', 'narrow', 'on', '>narrow', '~mine:*', '+@all'));
    const narrow = createConnections({ url: server.url, username: 'narrow', password: 'narrow' });
    try {
      const error = await failureOf(count(narrow.commands(), { counter: 'theirs' }, { step: 1 }), 'REDIS_FORBIDDEN');
      expect(error.message).toContain('ACL SETUSER');
    } finally {
      await narrow.close();
    }
  });
});
