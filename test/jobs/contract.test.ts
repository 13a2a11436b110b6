/** What a contract takes, refuses and is. */
import { describe, expect, expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { isMillraceError, type MillraceError } from '../../src/errors.ts';
import { defineJob, type JobContract } from '../../src/jobs/contract.ts';
import { flow } from '../../src/jobs/flows.ts';
import { handle, postpone, unrecoverable } from '../../src/jobs/handler.ts';
import type { Jobs } from '../../src/jobs/jobs.ts';

const input = z.object({ to: z.string() });
const doNothing = (): void => undefined;

function refusal(define: () => unknown): MillraceError {
  try {
    define();
  } catch (error) {
    if (isMillraceError(error, 'OPTIONS_INVALID')) return error;
    throw error;
  }
  throw new Error('expected OPTIONS_INVALID, got a success');
}

test('a contract has its defaults and cannot be changed', () => {
  const contract = defineJob({ name: 'mail.send', input });
  expect(contract).toMatchObject({
    name: 'mail.send',
    queue: 'mail',
    version: 1,
    attempts: 5,
    timeoutMs: 3_600_000,
    expiresInMs: undefined,
    priority: undefined,
    unique: undefined,
    output: undefined,
    retention: { ageMs: 3_600_000, count: 1_000 },
    secrets: [],
  });
  const unique = defineJob({ name: 'mail.send', input, unique: { key: ({ to }) => to } });
  for (const part of [contract, contract.retention, unique.unique]) expect(Object.isFrozen(part)).toBe(true);
});

test('options become what the worker reads', () => {
  const contract = defineJob({
    name: 'mail.send',
    queue: 'mail.bulk',
    input,
    output: z.object({ id: z.string() }),
    version: 3,
    attempts: 2,
    backoff: { type: 'exponential', delay: '1s', max: '10m', jitter: 0.3 },
    timeout: false,
    expiresIn: '1d',
    priority: 7,
    unique: { key: ({ to }) => to, for: '10m', onConflict: 'replace' },
    retention: { age: '2h', count: 5 },
  });
  expect(contract).toMatchObject({
    queue: 'mail.bulk',
    version: 3,
    attempts: 2,
    timeoutMs: undefined,
    expiresInMs: 86_400_000,
    priority: 7,
    unique: { forMs: 600_000, onConflict: 'replace' },
    retention: { ageMs: 7_200_000, count: 5 },
    secrets: [],
  });
});

describe('a bad option is refused by name', () => {
  const cases: ReadonlyArray<[string, object, string]> = [
    ['an unknown one', { attemps: 3 }, 'unknown option attemps, did you mean attempts?'],
    [
      'an unknown one of unique',
      { unique: { key: String, onConflct: 'ignore' } },
      'unknown option unique.onConflct, did you mean onConflict?',
    ],
    ['an unknown one of retention', { retention: { agee: '1h' } }, 'unknown option retention.agee, did you mean age?'],
    [
      'an unknown one of backoff',
      { backoff: { type: 'fixed', dellay: '1s' } },
      'unknown option backoff.dellay, did you mean delay?',
    ],
    [
      'an unknown policy',
      { unique: { key: String, onConflict: 'skip' } },
      'unique.onConflict: expected ignore or replace or reschedule or debounce',
    ],
    ['a key that is no function', { unique: { key: 'to' } }, 'unique.key: expected a function of the input, got "to"'],
    ['debounce without a time', { unique: { key: String, onConflict: 'debounce' } }, 'debounce needs `for`'],
    ['a name with a space', { name: 'mail send' }, 'name: expected letters'],
    ['a name with a colon', { name: 'mail:send' }, 'name: expected letters'],
    ['a name that is a number', { name: '7' }, 'name: expected letters'],
    ['two dots', { name: 'mail..send' }, 'name: expected letters'],
    ['a braced queue', { queue: '{mail}' }, 'queue: expected letters'],
    ['a dead-letter queue', { queue: 'mail.dead' }, 'belongs to a dead-letter queue'],
    ['no schema', { input: { to: 'string' } }, 'input: expected a schema that follows Standard Schema'],
    ['an output that is no schema', { output: 'text' }, 'output: expected a schema'],
    ['a version of 0', { version: 0 }, 'version: expected at least 1'],
    ['half an attempt', { attempts: 1.5 }, 'attempts: expected a whole number'],
    ['no attempt', { attempts: 0 }, 'attempts: expected at least 1'],
    ['a timeout in words', { timeout: '5 minutes' }, 'timeout: expected'],
    ['a timeout of 0', { timeout: 0 }, 'timeout: expected more than 0 ms'],
    ['a timeout beyond a timer', { timeout: '30d' }, 'timeout: expected at most 24 days'],
    ['a negative expiry', { expiresIn: -1 }, 'expiresIn: expected'],
    ['a priority of 0', { priority: 0 }, 'priority: expected at least 1'],
    ['a priority too large', { priority: 2_097_152 }, 'priority: expected at most 2097151'],
    ['retention of no time', { retention: { age: 0 } }, 'retention.age: expected more than 0 ms'],
    ['a negative count', { retention: { count: -1 } }, 'retention.count: expected at least 0'],
    ['an unknown backoff', { backoff: { type: 'linear', delay: '1s' } }, 'backoff'],
  ];
  test.each(cases)('%s', (_what, options, message) => {
    const error = refusal(() => defineJob({ name: 'mail.send', input, ...options }));
    expect(error.message).toContain(message);
    expect(error.message).toMatch(/^defineJob /);
  });

  test('all of them at once', () => {
    const error = refusal(() => defineJob({ name: 'a b', input: 1, attemps: 3, priority: -1 } as never));
    for (const named of ['name:', 'input:', 'attemps', 'priority:']) expect(error.message).toContain(named);
    expect(error.facts['faults']).toHaveLength(4);
  });

  test('no options at all', () => {
    expect(refusal(() => defineJob(undefined as never)).message).toContain('defineJob');
  });
});

describe('handle()', () => {
  const contract = defineJob({ name: 'mail.send', input });

  test('binds code to a contract', () => {
    expect(handle(contract, doNothing)).toMatchObject({
      contract,
      run: doNothing,
      upgrade: undefined,
      isolate: undefined,
    });
    expect(Object.isFrozen(handle(contract, doNothing))).toBe(true);
    expect(handle(contract, doNothing, { isolate: import.meta.url }).isolate).toBeInstanceOf(URL);
  });

  test('refuses what is no contract, no function, no option', () => {
    expect(refusal(() => handle({} as never, () => undefined)).message).toContain('expected a contract of defineJob()');
    expect(refusal(() => handle(undefined as never, () => undefined)).message).toContain('expected a contract');
    expect(refusal(() => handle(contract, 'run' as never)).message).toContain('and a function');
    const unknown = refusal(() => handle(contract, () => undefined, { upgrad: () => undefined } as never));
    expect(unknown.message).toContain('handle mail.send: unknown option upgrad, did you mean upgrade?');
    expect(refusal(() => handle(contract, () => undefined, { upgrade: 1 as never })).message).toContain('upgrade:');
    for (const isolate of ['./handler.js', 'https://example.com/handler.js', new URL('https://example.com/h.js')]) {
      expect(refusal(() => handle(contract, () => undefined, { isolate })).message).toContain('isolate:');
    }
  });

  test('unrecoverable() keeps its cause, postpone() its delay', () => {
    const cause = new TypeError('gone');
    expect(unrecoverable(cause)).toMatchObject({ code: 'JOB_UNRECOVERABLE', message: 'gone', cause });
    expect(unrecoverable('gone')).toMatchObject({ code: 'JOB_UNRECOVERABLE', message: 'gone' });
    expect(postpone('30s', 'slow down')).toMatchObject({
      code: 'JOB_POSTPONED',
      message: 'slow down',
      facts: { delayMs: 30_000 },
    });
    expect(() => postpone('soon' as never)).toThrow(/expected a number of milliseconds/);
  });
});

describe('types', () => {
  const parsed = defineJob({
    name: 'shop.order',
    input: z.object({ id: z.string(), count: z.coerce.number<string>(), note: z.string().default('') }),
    output: z.object({ total: z.number() }),
  });
  const plain = defineJob({ name: 'shop.plain', input: z.object({ id: z.string() }) });

  test('a contract knows what is enqueued, what the handler gets, and what it returns', () => {
    expectTypeOf(parsed).toEqualTypeOf<
      JobContract<
        { id: string; count: string; note?: string | undefined },
        { id: string; count: number; note: string },
        { total: number }
      >
    >();
    handle(parsed, (order) => {
      expectTypeOf(order).toEqualTypeOf<{ id: string; count: number; note: string }>();
      return { total: order.count };
    });
    // @ts-expect-error -- the result lacks its total
    handle(parsed, () => ({ totl: 1 }));
    // @ts-expect-error -- the input has no such field
    handle(parsed, ({ amount }) => ({ total: amount }));
    expect(parsed.name).toBe('shop.order');
  });

  test('what is enqueued must be what the contract says', () => {
    expect((jobs: Jobs, loose: { id: string | number }): unknown => [
      jobs.enqueue(plain, { id: 'a' }),
      // @ts-expect-error -- a field is missing
      jobs.enqueue(plain, {}),
      // @ts-expect-error -- a field has another type
      jobs.enqueue(plain, { id: 7 }),
      // @ts-expect-error -- a field may have another type
      jobs.enqueue(plain, loose),
      // @ts-expect-error -- a misspelt option
      jobs.enqueue(plain, { id: 'a' }, { dellay: '1s' }),
      // @ts-expect-error -- no duration
      jobs.enqueue(plain, { id: 'a' }, { delay: '1 second' }),
      // @ts-expect-error -- one of the inputs lacks a field
      jobs.enqueueMany(plain, [{ id: 'a' }, {}]),
      // @ts-expect-error -- a field may have another type
      jobs.enqueueMany(plain, [loose]),
      // @ts-expect-error -- a field is missing
      jobs.enqueueAndWait(parsed, { id: 'a' }),
      // @ts-expect-error -- a field may have another type
      jobs.enqueueAndWait(plain, loose),
      // @ts-expect-error -- a field is missing
      flow(plain, {}),
      handle(plain, async (_order, { enqueue }) => {
        await enqueue(plain, { id: 'a' });
        // @ts-expect-error -- a field is missing
        await enqueue(plain, {});
      }),
    ]).toBeTypeOf('function');
  });

  const resultsOf = (jobs: Jobs) => ({
    known: jobs.enqueueAndWait(parsed, { id: 'a', count: '1' }),
    unknown: jobs.enqueueAndWait(plain, { id: 'a' }),
  });

  test('the result is that of the contract', () => {
    expect(resultsOf).toBeTypeOf('function');
    expectTypeOf(resultsOf).returns.toEqualTypeOf<{ known: Promise<{ total: number }>; unknown: Promise<unknown> }>();
  });

  test('the options of a contract are checked against its schemas', () => {
    expect(() =>
      defineJob({
        name: 'shop.key',
        input: z.object({ id: z.string() }),
        // @ts-expect-error -- the input has no such field
        unique: { key: ({ ident }) => ident },
      }),
    ).not.toThrow();
  });
});
