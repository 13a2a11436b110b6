/** What a contract calls secret: how it is said, and that it is shown nowhere. */
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { handle } from '../../src/jobs/handler.ts';
import { maskJson } from '../../src/jobs/search/masked-json.ts';
import { maskSecrets, SECRET_MARK } from '../../src/secrets.ts';
import type { Schema } from '../../src/schema.ts';
import { contractOf } from '../support/contracts.ts';
import { ends, ownedJobs } from '../support/jobs.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

describe('paths', () => {
  const input = z.object({});

  test('are kept by the contract, each once and frozen', () => {
    const contract = defineJob({ name: 'pay.card', input, secrets: ['card.number', 'tokens.*', 'card.number'] });
    expect(contract.secrets).toEqual(['card.number', 'tokens.*']);
    expect(Object.isFrozen(contract.secrets)).toBe(true);
    expect(defineJob({ name: 'pay.card', input }).secrets).toEqual([]);
  });

  test.each(['', '.', 'card.', '.card', 'card..number', 'card number', 'tok*', '**', 'items[*].x*'])(
    'that lead nowhere are refused: %j',
    (path) => {
      expect(() => defineJob({ name: 'pay.card', input, secrets: ['ok', path] })).toThrow(
        /defineJob pay\.card: secrets\[1\]: expected a path such as card\.number, tokens\.\* or items\.\*\.password/,
      );
    },
  );
});

describe('a masked value', () => {
  test('has the mark in the place of each secret, and the rest as it was', () => {
    const value = {
      user: 'ann',
      password: 'hunter2',
      card: { number: '4111', owner: 'Ann' },
      tokens: { a: 'x', b: { deep: 'y' } },
      items: [{ password: 'p', name: 'n' }, 'no object', null],
    };
    const before = structuredClone(value);
    expect(maskSecrets(value, ['password', 'card.number', 'tokens.*', 'items.*.password', 'not.there'])).toEqual({
      user: 'ann',
      password: SECRET_MARK,
      card: { number: SECRET_MARK, owner: 'Ann' },
      tokens: { a: SECRET_MARK, b: SECRET_MARK },
      items: [{ password: SECRET_MARK, name: 'n' }, 'no object', null],
    });
    expect(value).toEqual(before);
  });

  test('knows no prototype', () => {
    const value: unknown = JSON.parse('{"__proto__":{"a":1},"constructor":{"b":2}}');
    expect(JSON.stringify(maskSecrets(value, ['__proto__.a', 'constructor.*']))).toBe(
      '{"__proto__":{"a":"[secret]"},"constructor":{"b":"[secret]"}}',
    );
  });

  test('is the value itself where nothing is secret', () => {
    const value = { a: 1 };
    expect(maskSecrets(value, [])).toBe(value);
    expect(maskSecrets('text', ['a.b'])).toBe('text');
  });
});

describe('a masked JSON text', () => {
  const key = fc.constantFrom('a', 'b', 'c', 'é"\\', '0', '1', '__proto__');
  const json = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null)),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.uniqueArray(fc.tuple(key, tie('value')), { selector: ([name]) => name, maxLength: 4 }).map(Object.fromEntries),
    ),
  })).value;
  const path = fc
    .array(
      fc.oneof(
        key.filter((name) => !/["\\]/.test(name)),
        fc.constant('*'),
      ),
      { minLength: 1, maxLength: 3 },
    )
    .map((steps) => steps.join('.'));

  test('is the text of the masked value, however it is spaced', () => {
    fc.assert(
      fc.property(json, fc.uniqueArray(path, { maxLength: 3 }), fc.constantFrom(0, 2), (value, secrets, space) => {
        const masked: unknown = JSON.parse(maskJson(JSON.stringify(value, undefined, space), secrets));
        expect(masked).toEqual(JSON.parse(JSON.stringify(maskSecrets(value, secrets))));
      }),
    );
  });

  test('shows nothing of a secret that the end of the text cuts through', () => {
    const value = { user: 'ann', card: { number: ['SECRET"}', { x: 'SECRET' }], owner: 'Ann' }, 'k\\"': 1, last: 'z' };
    const text = JSON.stringify(value);
    const whole = maskJson(text, ['card.number']);
    expect(JSON.parse(whole)).toEqual(maskSecrets(value, ['card.number']));
    for (let end = 0; end <= text.length; end++) {
      const masked = maskJson(text.slice(0, end), ['card.number']);
      expect(masked).not.toMatch(/S|E/);
      expect(whole.startsWith(masked.replace(/"\[secret\]"?$/, ''))).toBe(true);
    }
  });

  test('ends with any text, also with one that is no JSON', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('{', '}', '[', ']', '"', ':', ',', '\\', 'a', ' ', '1')), (parts) => {
        expect(maskJson(parts.join(''), ['a.*', '*.a']).length).toBeLessThanOrEqual(parts.length * 12);
      }),
    );
  });
});

/** As some libraries do, it quotes what it refuses. */
const quoting: Schema<{ password: string; mail: string }> = {
  '~standard': {
    version: 1,
    vendor: 'quoting',
    validate: (value) => {
      const { password, mail, card } = value as Record<string, unknown>;
      const issues = [
        ...(String(password).length < 20
          ? [{ path: [{ key: 'password' }], message: `too short: ${String(password)}` }]
          : []),
        ...(String(mail).includes('@') ? [] : [{ path: ['mail'], message: `no address: ${String(mail)}` }]),
        ...(typeof card === 'string' ? [{ path: ['card'], message: `no object: ${card}` }] : []),
      ];
      return issues.length > 0 ? { issues } : { value: value as { password: string; mail: string } };
    },
  },
};

describe('what is told of a bad input', () => {
  const jobsOf = ownedJobs();
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());
  const contract = defineJob({ name: 'quiet.job', input: quoting, secrets: ['password', 'card.number'] });
  const bad = { password: 'hunter2', mail: 'nobody', card: '4111-1111' };

  test('names the path of a secret and quotes nothing of it, to whoever enqueues', async () => {
    const { jobs } = jobsOf({ redis: { url: server.url } });
    const error: unknown = await jobs.enqueue(contract, bad).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'INPUT_INVALID' });
    const told = JSON.stringify(error) + String(error);
    expect(told).toContain('password: refused by its schema: a string came, which is a secret');
    expect(told).toContain('no address: nobody');
    expect(told).not.toMatch(/hunter2|4111/);
  });

  test('quotes nothing in the history of the job either', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const { id } = await all.jobs.enqueue(contractOf('quiet.job'), bad);
    all.work({ handlers: [handle(contract, async () => undefined)] });
    const { reason, history } = await ends(all, id, 'failed');
    expect(JSON.stringify([reason, history])).toContain('no address: nobody');
    expect(JSON.stringify([reason, history])).not.toMatch(/hunter2|4111/);
  });

  test('a schema with secrets still answers as it did: with a promise, with its JSON Schema, with what it parsed', async () => {
    const slow = z.object({ password: z.string().refine(async (text) => text.length > 3, 'too short') });
    const { input } = defineJob({ name: 'quiet.slow', input: slow, secrets: ['password'] });
    expect(await input['~standard'].validate({ password: 'long' })).toEqual({ value: { password: 'long' } });
    expect(await input['~standard'].validate({ password: 'no' })).toMatchObject({
      issues: [{ message: 'refused by its schema: a string came, which is a secret' }],
    });
    expect(input['~standard']).toMatchObject({ vendor: 'zod', jsonSchema: {} });
  });
});
