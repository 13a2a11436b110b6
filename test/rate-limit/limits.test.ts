/** What the limits of a process do with names: the same limit each time, and no other under its name. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ConcurrencyOptions } from '../../src/rate-limit/concurrency.ts';
import type { Limits, LimiterOptions } from '../../src/rate-limit/limits.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedLimits } from './limits-of-test.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const limitsOf = ownedLimits();
const newLimits = (): Limits => limitsOf({ url: server.url }, { onError: 'deny' }).limits;

describe('a limiter', () => {
  test('is the same one for options that mean the same', () => {
    const limits = newLimits();
    const said: LimiterOptions[] = [
      { policies: [{ limit: 5, per: '1s' }] },
      { policies: [{ per: 1_000, limit: 5, burst: 5 }], onError: 'deny' },
    ];
    expect(new Set(said.map((options) => limits.limiter('one', options))).size).toBe(1);
    expect(() => limits.limiter('one', { policies: [{ limit: 6, per: '1s' }] })).toThrow('with other options');
  });
});

describe('a concurrency limit', () => {
  test('is the same one for options that mean the same', () => {
    const limits = newLimits();
    const said: ConcurrencyOptions[] = [
      { max: 2 },
      { max: 2, ttl: '30s' },
      { ttl: 30_000, retryAfter: '1s', max: 2 },
      { max: 2, onError: 'deny' },
      { max: 2, ttl: undefined },
    ];
    expect(new Set(said.map((options) => limits.concurrency('one', options))).size).toBe(1);
  });

  test.each<ConcurrencyOptions>([{ max: 3 }, { max: 2, ttl: '31s' }, { max: 2, onError: 'allow' }])(
    'of that name is no other one: %j',
    (options) => {
      const limits = newLimits();
      limits.concurrency('one', { max: 2 });
      expect(() => limits.concurrency('one', options)).toThrow('concurrency one: is there already with other options');
    },
  );

  test('has a name of letters, digits and _ . - and checked options, also the second time', () => {
    const limits = newLimits();
    expect(() => limits.concurrency('a b', { max: 2 })).toThrow('concurrency a b: name: expected up to 64 letters');
    limits.concurrency('one', { max: 2 });
    expect(() => limits.concurrency('one', { max: 2, tll: 1 } as never)).toThrow('unknown option tll');
  });
});
