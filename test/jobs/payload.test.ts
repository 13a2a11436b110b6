/** What an input must be to travel, and how one that cannot is refused. */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { handle } from '../../src/jobs/handler.ts';
import { encodeInput } from '../../src/jobs/input.ts';
import type { Schema } from '../../src/schema.ts';
import { failureOf } from '../support/failures.ts';
import { ownedJobs } from '../support/jobs.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest(); // First, because what is opened first is closed last.
const jobsOf = ownedJobs();
const LIMIT = 262_144;

const anything = defineJob({ name: 'any.thing', input: z.unknown() });

async function encode(contract: ReturnType<typeof defineJob>, input: unknown, limit = LIMIT): Promise<string> {
  return encodeInput(contract, input, limit);
}

/** A schema of nobody's library. */
function schemaOf<Out>(validate: StandardSchemaV1.Props<unknown, Out>['validate']): Schema<unknown, Out> {
  return { '~standard': { version: 1, vendor: 'test', validate } };
}

describe('a value without JSON form is refused with its place', () => {
  const loop: { name: string; self?: unknown } = { name: 'loop' };
  loop.self = [loop];
  test.each<[string, unknown, string]>([
    [
      'a BigInt',
      { order: { lines: [{ count: 1n }] } },
      'order.lines[0].count: expected a value with a JSON form, got a bigint',
    ],
    ['a cycle', loop, 'self[0]: expected a value with a JSON form, got an object that is within itself'],
    ['a function', () => 1, 'expected a value with a JSON form, got a function'],
    ['undefined', undefined, 'expected a value with a JSON form, got undefined'],
    ['a symbol', Symbol('s'), 'expected a value with a JSON form'],
  ])('%s', async (_what, input, message) => {
    const error = await failureOf(encode(anything, input), 'INPUT_INVALID');
    expect(error.message).toContain('the input of any.thing');
    expect(error.message).toContain(message);
    expect(error.facts['faults']).toHaveLength(1);
  });

  test('the same object twice is no cycle', async () => {
    const shared = { a: 1 };
    expect(await encode(anything, [shared, shared])).toBe('[{"a":1},{"a":1}]');
  });
});

describe('what JSON would change is refused at the enqueue, with a hint', () => {
  const contract = defineJob({
    name: 'shop.order',
    input: z.object({ at: z.date(), count: z.number(), tags: z.set(z.string()), run: z.function() }),
  });

  test('a Date, NaN, a Set, a function', async () => {
    const input = { at: new Date(0), count: Number.NaN, tags: new Set(['a']), run: () => 1 };
    const { message, facts } = await failureOf(encode(contract, input), 'INPUT_INVALID');
    expect(message).toContain('a Date is a string: take z.coerce.date()');
    expect(message).toContain('NaN is null');
    expect(message).toContain('a Map or Set is {}');
    expect(message).toContain('which has no function');
    expect((facts['faults'] as Array<{ path: string }>).map(({ path }) => path)).toEqual([
      'at',
      'count',
      'tags',
      'run',
    ]);
  });

  test('a Date that the schema makes of the string arrives as a Date', async () => {
    const coerced = defineJob({ name: 'shop.due', input: z.object({ at: z.coerce.date() }) });
    expect(await encode(coerced as never, { at: new Date(0) })).toBe('{"at":"1970-01-01T00:00:00.000Z"}');
  });
});

test('every path and reason of a bad input is told', async () => {
  const contract = defineJob({
    name: 'shop.order',
    input: z.object({ id: z.string(), lines: z.array(z.object({ 'the count': z.number().int() })) }),
  });
  const input = { id: 7, lines: [{ 'the count': 1 }, { 'the count': 'x' }] };
  const error = await failureOf(encode(contract, input), 'INPUT_INVALID');
  expect(error.message).toMatch(/^the input of shop\.order does not match its schema: /);
  expect(error.facts['faults']).toMatchObject([{ path: 'id' }, { path: 'lines[1]["the count"]' }]);
});

describe('the size', () => {
  const text = defineJob({ name: 'any.text', input: z.string() }) as never;

  test.each<[string, string]>([
    ['one byte a character', 'a'],
    ['two bytes', 'é'],
    ['three bytes', '€'],
    ['four bytes', '😀'],
    ['escaped', '"'],
  ])('of %s is counted in bytes of JSON, to the very limit', async (_what, character) => {
    const input = character.repeat(40);
    const sizeBytes = Buffer.byteLength(JSON.stringify(input));
    expect(await encode(text, input, sizeBytes)).toBe(JSON.stringify(input));
    const error = await failureOf(encode(text, input, sizeBytes - 1), 'PAYLOAD_TOO_LARGE');
    expect(error.facts).toMatchObject({ contract: 'any.text', sizeBytes, maxBytes: sizeBytes - 1 });
    expect(error.message).toContain(`has ${sizeBytes} bytes, ${sizeBytes - 1} are allowed`);
  });

  test('is limited to 256 KB by default, and to what the client says', async () => {
    const server = own(await startRedis());
    const { jobs } = jobsOf({ redis: { url: server.url } });
    const fits = 'a'.repeat(LIMIT - 2);
    expect(await jobs.enqueue(anything, fits)).toMatchObject({ status: 'added' });
    await failureOf(jobs.enqueue(anything, `${fits}a`), 'PAYLOAD_TOO_LARGE');
    await failureOf(jobs.enqueueMany(anything, ['a', `${fits}a`]), 'PAYLOAD_TOO_LARGE');
    const small = jobsOf({ redis: { url: server.url }, options: { maxPayloadBytes: 10 } });
    await failureOf(small.jobs.enqueue(anything, 'a'.repeat(9)), 'PAYLOAD_TOO_LARGE');
    expect(await jobs.counts('any')).toMatchObject({ waiting: 1 });
  });
});

describe('any Standard Schema', () => {
  const even = schemaOf<number>((value) =>
    typeof value === 'number' && value % 2 === 0
      ? { value: value / 2 }
      : { issues: [{ message: 'expected an even number' }] },
  );
  const later = schemaOf<number>(async (value) => even['~standard'].validate(value));
  const thenable = schemaOf<number>((value) => {
    const settled = Promise.resolve(even['~standard'].validate(value));
    return new Proxy(settled, {
      get: (target, key) => (key === 'then' ? target.then.bind(target) : undefined),
      getPrototypeOf: () => null,
    });
  });

  test.each([
    ['one that answers at once', even],
    ['an async one', later],
    ['one with a promise of another kind', thenable],
  ])('%s', async (_what, schema) => {
    const contract = defineJob({ name: 'any.even', input: schema });
    expect(await encode(contract, 4)).toBe('4');
    const error = await failureOf(encode(contract, 3), 'INPUT_INVALID');
    expect(error.message).toContain('expected an even number');
  });

  test('transforms and defaults apply once, at the run; what is stored is the input as given', async () => {
    const server = own(await startRedis());
    const { jobs, work } = jobsOf({ redis: { url: server.url } });
    const contract = defineJob({
      name: 'any.form',
      input: z.object({ count: z.number().transform((count) => count + 1), note: z.string().default('none') }),
    });
    const half = defineJob({ name: 'any.half', input: later });
    work({
      handlers: [handle(contract, (input) => input), handle(half, (input) => input)],
    });
    const { id } = await jobs.enqueue(contract, { count: 1 });
    expect(await jobs.get(id)).toMatchObject({ input: { count: 1 } });
    expect(await jobs.enqueueAndWait(contract, { count: 1 })).toEqual({ count: 2, note: 'none' });
    expect(await jobs.enqueueAndWait(half, 8)).toBe(4);
  });
});

test('what is no contract is refused by name', async () => {
  const handler = handle(anything, () => undefined);
  expect((await failureOf(encode(undefined as never, 1), 'OPTIONS_INVALID')).message).toContain('expected a contract');
  expect((await failureOf(encode(handler as never, 1), 'OPTIONS_INVALID')).message).toContain('got a handler');
});
