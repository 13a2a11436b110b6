import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { MillraceError } from '../src/errors.ts';
import {
  checkOptions,
  durationOption,
  faultsError,
  nearest,
  parseInput,
  type Fault,
  type Schema,
} from '../src/schema.ts';

/** The error that the act ends with. */
async function failureOf(act: () => unknown): Promise<MillraceError> {
  try {
    await act();
  } catch (error) {
    return error as MillraceError;
  }
  throw new Error('it did not fail');
}

const faultsOf = async (act: () => unknown): Promise<unknown> => (await failureOf(act)).facts['faults'];

/** A schema of no library, which gives the double of a positive number. */
const positive = (answer: (value: unknown) => unknown): Schema<unknown, number> => ({
  '~standard': {
    version: 1,
    vendor: 'by hand',
    validate: answer as Schema<unknown, number>['~standard']['validate'],
  },
});
const check = (value: unknown): object =>
  typeof value === 'number' && value > 0
    ? { value: value * 2 }
    : {
        issues: [{ message: 'is not positive' }, { message: 'is bad', path: ['rows', { key: 2 }, { key: 'price' }] }],
      };

describe('parsing input', () => {
  const order = z.object({
    id: z.string(),
    items: z.array(z.object({ price: z.number(), tags: z.array(z.string()).optional() })),
  });

  test('gives the value as the schema gives it back', async () => {
    const schema = z.object({ at: z.coerce.date(), size: z.number().default(3) });
    expect(await parseInput(schema, { at: '2026-01-02', extra: true }, 'order')).toEqual({
      at: new Date('2026-01-02'),
      size: 3,
    });
  });

  test('lists every fault at once, each with its path', async () => {
    const value = { items: [{ price: 1 }, { price: 2 }, { price: 'free', tags: ['a', 5] }] };
    const error = await failureOf(() => parseInput(order, value, 'order'));
    expect(error.code).toBe('INPUT_INVALID');
    expect((error.facts['faults'] as Fault[]).map(({ path }) => path)).toEqual([
      'id',
      'items[2].price',
      'items[2].tags[1]',
    ]);
    expect(error.message).toBe(
      'order does not match its schema: id: Invalid input: expected string, received undefined; items[2].price: Invalid input: expected number, received string; items[2].tags[1]: Invalid input: expected string, received number',
    );
  });

  test('a fault of the value as a whole has no path', async () => {
    const error = await failureOf(() => parseInput(order, 'text', 'order'));
    expect(error.message).toBe('order does not match its schema: Invalid input: expected object, received string');
  });

  test('awaits a schema that checks elsewhere', async () => {
    const free = z.string().refine(async (name) => name !== 'taken', 'is taken');
    expect(await parseInput(free, 'free', 'name')).toBe('free');
    expect(await faultsOf(() => parseInput(free, 'taken', 'name'))).toEqual([{ path: '', reason: 'is taken' }]);
  });

  test.each<[string, Schema<unknown, number>]>([
    ['at once', positive(check)],
    ['by a promise', positive(async (value) => check(value))],
    // oxlint-disable-next-line unicorn/no-thenable -- the promise of another library.
    // oxlint-disable-next-line unicorn/no-thenable -- a promise of another library.
    ['by another promise', positive((value) => ({ then: (done: (of: object) => void) => done(check(value)) }))],
  ])('takes any Standard Schema, one that answers %s', async (_how, schema) => {
    expect(await parseInput(schema, 4, 'count')).toBe(8);
    expect(await faultsOf(() => parseInput(schema, -4, 'count'))).toEqual([
      { path: '', reason: 'is not positive' },
      { path: 'rows[2].price', reason: 'is bad' },
    ]);
  });

  test('a key that is no plain word is quoted in a path', async () => {
    const schema = z.object({ 'a.b': z.object({ 'c d': z.record(z.string(), z.number()) }) });
    expect(await faultsOf(() => parseInput(schema, { 'a.b': { 'c d': { é: 'x' } } }, 'it'))).toMatchObject([
      { path: '["a.b"]["c d"]["é"]' },
    ]);
  });
});

describe('checking options', () => {
  const schema = z.strictObject({
    capacity: z.number().positive(),
    window: durationOption.default(60_000),
    kind: z.enum(['fixed', 'sliding']).optional(),
    parts: z
      .array(z.strictObject({ size: z.number().int().min(1), label: z.string().min(1).optional() }))
      .max(2)
      .optional(),
    store: z.strictObject({ prefix: z.string().regex(/^\w+$/, 'expected letters only').optional() }).optional(),
    tls: z.union([z.boolean(), z.strictObject({ servername: z.string().optional() })]).optional(),
    limits: z.record(z.string(), z.strictObject({ perSecond: z.number() })).optional(),
  });
  const faults = (options: unknown): Promise<unknown> => faultsOf(() => checkOptions(schema, options, 'createLimiter'));

  test('gives them with their defaults, frozen, and leaves the caller its own', () => {
    const given = { capacity: 3, window: '5s' as const, parts: [{ size: 1 }] };
    const checked = checkOptions(schema, given, 'createLimiter');
    expect(checked).toEqual({ capacity: 3, window: 5_000, parts: [{ size: 1 }] });
    expect(Object.isFrozen(checked)).toBe(true);
    expect(Object.isFrozen(given)).toBe(false);
    expect(checkOptions(schema, { capacity: 3 }, 'createLimiter').window).toBe(60_000);
  });

  test('lists every fault at once, with what was expected and what came', async () => {
    const error = await failureOf(() =>
      checkOptions(schema, { capcity: 3, window: '5 s', kind: 'slow' }, 'createLimiter'),
    );
    expect(error.code).toBe('OPTIONS_INVALID');
    expect(error.message).toBe(
      [
        'createLimiter: capacity: expected number, got undefined',
        "window: expected a number of milliseconds or a string such as '500ms', '30s', '5m', '1h', '1d', got \"5 s\"",
        'kind: expected fixed or sliding, got "slow"',
        'unknown option capcity, did you mean capacity?',
      ].join('; '),
    );
  });

  test.each<[string, unknown, string]>([
    ['at the top', { capacity: 1, kinds: 'fixed' }, 'unknown option kinds, did you mean kind?'],
    ['in an object', { capacity: 1, store: { prefx: 'a' } }, 'unknown option store.prefx, did you mean prefix?'],
    [
      'in a list',
      { capacity: 1, parts: [{ size: 1 }, { size: 2, labl: 'b' }] },
      'unknown option parts[1].labl, did you mean label?',
    ],
    [
      'in a union',
      { capacity: 1, tls: { serverName: 'a' } },
      'unknown option tls.serverName, did you mean servername?',
    ],
    [
      'in a record',
      { capacity: 1, limits: { a: { perSecond: 1, perSecnd: 2 } } },
      'unknown option limits.a.perSecnd, did you mean perSecond?',
    ],
    ['with no neighbour', { capacity: 1, colour: 'red' }, 'unknown option colour'],
  ])('an unknown option %s names itself and its nearest neighbour', async (_where, options, reason) => {
    expect(await faults(options)).toEqual([{ path: '', reason }]);
  });

  test.each<[string, string, unknown]>([
    ['capacity', 'expected number, got "3"', { capacity: '3' }],
    ['capacity', 'expected number, got 3n', { capacity: 3n }],
    ['capacity', 'expected number, got NaN', { capacity: Number.NaN }],
    ['capacity', 'expected number, got null', { capacity: null }],
    ['capacity', 'expected number, got a function', { capacity: () => 3 }],
    ['capacity', 'expected more than 0, got 0', { capacity: 0 }],
    ['parts[0].size', 'expected a whole number, got 1.5', { capacity: 1, parts: [{ size: 1.5 }] }],
    ['parts[0].size', 'expected at least 1, got 0', { capacity: 1, parts: [{ size: 0 }] }],
    ['parts[0].label', 'expected at least 1 character, got ""', { capacity: 1, parts: [{ size: 1, label: '' }] }],
    ['parts', 'expected at most 2 items, got [1,2,3]', { capacity: 1, parts: [1, 2, 3] }],
    ['store.prefix', 'expected letters only, got "a b"', { capacity: 1, store: { prefix: 'a b' } }],
    ['tls', 'expected boolean or object, got 5', { capacity: 1, tls: 5 }],
    ['tls.servername', 'expected string, got 5', { capacity: 1, tls: { servername: 5 } }],
    ['', 'expected object, got "capacity"', 'capacity'],
    ['', 'expected object, got undefined', undefined],
  ])('"%s" is told by what was expected and what came: %s', async (path, reason, options) => {
    expect(await faults(options)).toContainEqual({ path, reason });
  });

  test('a long value is cut', async () => {
    const [fault] = (await faults({ capacity: 'x'.repeat(1_000) })) as [Fault];
    expect(fault.reason).toHaveLength('expected number, got '.length + 60);
  });

  test('of a secret option only the type is told, also below it', async () => {
    const secretive = z.strictObject({
      password: z.string().optional(),
      nodes: z.array(z.string()).optional(),
      tls: z.strictObject({ key: z.string().optional() }).optional(),
    });
    const options = { password: 12_345, nodes: 'hunter22', tls: { key: ['hunter22'] } };
    const secrets = ['password', 'nodes', 'tls'];
    expect(await faultsOf(() => checkOptions(secretive, options, 'connect', secrets))).toEqual([
      { path: 'password', reason: 'expected string, got a number' },
      { path: 'nodes', reason: 'expected array, got a string' },
      { path: 'tls.key', reason: 'expected string, got an array' },
    ]);
  });
});

describe('the nearest word', () => {
  const word = fc.stringMatching(/^[a-z]{4,12}$/);

  test('a word with one letter changed, dropped or doubled is recognised among others', () => {
    fc.assert(
      fc.property(word, fc.nat(), fc.constantFrom('change', 'drop', 'double'), (meant, at, how) => {
        const index = at % meant.length;
        const letter = { change: '#', drop: '', double: `${meant[index]}${meant[index]}` }[how];
        const mistyped = meant.slice(0, index) + letter + meant.slice(index + 1);
        expect(nearest(mistyped, ['0000000000', meant, '11111111'])).toBe(meant);
      }),
    );
  });

  test('is one of those given, and itself if it is among them', () => {
    fc.assert(
      fc.property(word, fc.array(word), (mistyped, known) => {
        expect(nearest(mistyped, [...known, mistyped])).toBe(mistyped);
        expect([...known, undefined]).toContain(nearest(mistyped, known));
      }),
    );
  });

  test('is none that shares no letter with it', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-m]{1,12}$/), fc.array(fc.stringMatching(/^[n-z]{1,12}$/)), (left, known) => {
        expect(nearest(left, known)).toBeUndefined();
      }),
    );
  });

  test('does not look at capitals, and keeps to the distance that is asked for', () => {
    expect(nearest('SERVERNAME', ['servername'])).toBe('servername');
    expect(nearest('REDIS_UR', ['REDIS_URL'], 1)).toBe('REDIS_URL');
    expect(nearest('REDIS_U', ['REDIS_URL'], 1)).toBeUndefined();
  });
});

describe('an error for faults', () => {
  test('names them all, and carries them', () => {
    const faults = [
      { path: 'PORT', reason: 'expected a number, got "x"' },
      { path: '', reason: 'expected one address, got none' },
    ];
    const error = faultsError('ENV_INVALID', 'the environment has faults', faults);
    expect(error.message).toBe(
      'the environment has faults: PORT: expected a number, got "x"; expected one address, got none',
    );
    expect(error.facts).toEqual({ faults });
  });
});
