import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MillraceError } from '../src/errors.ts';
import { cutText, describeError, ERROR_LIMITS, wellFormed } from '../src/describe-error.ts';
import { fingerprintOf } from '../src/fingerprint.ts';
import { unrecoverable } from '../src/jobs/handler.ts';

const isWellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text);

describe('an error', () => {
  test('is told by class, message, code and frames', () => {
    const described = describeError(new MillraceError('REDIS_TIMEOUT', 'no answer within 2 s'));
    expect(described).toMatchObject({ name: 'MillraceError', message: 'no answer within 2 s', code: 'REDIS_TIMEOUT' });
    expect(described.stack).toMatch(/^MillraceError: no answer within 2 s\n {4}at .*describe-error\.test\.ts/);
  });

  test('of a class that sets no name has the name of its class', () => {
    class MailRefused extends Error {}
    const described = describeError(new MailRefused('mailbox full'));
    expect(described.name).toBe('MailRefused');
    expect(described.stack).toMatch(/^MailRefused: mailbox full\n/);
  });

  test('whose message was changed later shows the new one', () => {
    const error = new RangeError('before');
    expect(error.stack).toContain('before'); // The engine writes the stack when it is first read.
    error.message = 'after';
    expect(describeError(error).stack).toMatch(/^RangeError: after\nRangeError: before\n/);
  });

  test('given to unrecoverable() is told by its own class, code and frames', () => {
    const cause = Object.assign(new RangeError('no account takes GBP'), { code: 'EGBP' });
    expect(describeError(unrecoverable(cause))).toEqual(describeError(cause));
    expect(fingerprintOf(describeError(unrecoverable(cause)))).toBe(fingerprintOf(describeError(cause)));
    expect(describeError(unrecoverable('gone'))).toMatchObject({ name: 'MillraceError', code: 'JOB_UNRECOVERABLE' });
    const own = new MillraceError('JOB_UNRECOVERABLE', 'the effect has no JSON form', { cause });
    expect(describeError(own)).toMatchObject({ name: 'MillraceError', message: 'the effect has no JSON form' });
  });

  test('with a number as code has it as text', () => {
    expect(describeError(Object.assign(new Error('x'), { code: 11_000 })).code).toBe('11000');
    expect(describeError(Object.assign(new Error('x'), { code: {} }))).not.toHaveProperty('code');
  });

  test('without a stack has its title as one', () => {
    const error = new TypeError('bad');
    Object.defineProperty(error, 'stack', { value: undefined });
    expect(describeError(error).stack).toBe('TypeError: bad');
  });

  test('of another realm is an error too', () => {
    const foreign = { name: 'DOMException', message: 'aborted', stack: 'DOMException: aborted\n    at x.ts:1:1' };
    expect(describeError(foreign)).toEqual(foreign);
  });

  test('with a message of megabytes keeps its frames', () => {
    const { message, stack } = describeError(new Error('long '.repeat(500_000)));
    expect(message).toHaveLength(cutText(message, ERROR_LIMITS.message).length);
    expect(message).toMatch(/\.\.\. \(\d+ characters left out\)$/);
    expect(stack).toMatch(/\n {4}at .*describe-error\.test\.ts/);
  });
});

describe('causes', () => {
  test('follow, each with its own stack', () => {
    const root = new RangeError('socket closed');
    const { stack } = describeError(new Error('could not send', { cause: new TypeError('no reply', { cause: root }) }));
    expect(stack).toMatch(
      /^Error: could not send\n[^]*\ncaused by: TypeError: no reply\n[^]*\ncaused by: RangeError: socket closed\n/,
    );
  });

  test('may be anything', () => {
    expect(describeError(new Error('x', { cause: 'timeout' })).stack).toMatch(/\ncaused by: NonError: timeout$/);
  });

  test('in a ring end', () => {
    const first = new Error('first');
    const second = new Error('second', { cause: first });
    first.cause = second;
    expect(describeError(first).stack.match(/caused by/g)).toHaveLength(1);
  });

  test('of any depth stay within the cap, the nearest first', () => {
    let error = new Error('cause 0');
    for (let depth = 1; depth <= 1_000; depth++) error = new Error(`cause ${depth}`, { cause: error });
    const { stack } = describeError(error);
    expect(stack.length).toBeLessThanOrEqual(ERROR_LIMITS.stack);
    expect(stack).toContain('caused by: Error: cause 999\n');
    expect(stack).toMatch(/more causes left out$/);
  });

  test('of an AggregateError are its errors', () => {
    const { name, stack } = describeError(new AggregateError([new TypeError('one'), 'two'], 'all failed'));
    expect(name).toBe('AggregateError');
    expect(stack).toMatch(/\nerror 1: TypeError: one\n[^]*\nerror 2: NonError: two$/);
  });
});

describe('what is no error', () => {
  const revoked = Proxy.revocable(new Error('x'), {});
  revoked.revoke();

  test.each<[string, () => unknown, string]>([
    ['a string', () => 'boom', 'boom'],
    ['undefined', () => undefined, 'undefined'],
    ['null', () => null, 'null'],
    ['a number', () => 7, '7'],
    ['a bigint', () => 7n, '7n'],
    ['a symbol', () => Symbol('s'), 'Symbol(s)'],
    ['an object', () => ({ status: 500 }), '{"status":500}'],
    ['a bare object', () => Object.create(null), '{}'],
    ['a function', () => () => 1, 'a function'],
    ['a revoked proxy', () => revoked.proxy, 'an object that has no JSON form'],
  ])('%s is told as such', (_what, thrown, message) => {
    expect(describeError(thrown())).toEqual({ name: 'NonError', message, stack: `NonError: ${message}` });
  });

  test('getters that throw leave their fact out', () => {
    const hostile = new Error('hidden');
    // The stack first: Node itself dies of an error whose name throws while its stack is redefined.
    for (const property of ['stack', 'name', 'message', 'code', 'cause', 'errors', 'constructor']) {
      Object.defineProperty(hostile, property, {
        get: () => {
          throw hostile;
        },
      });
    }
    expect(describeError(hostile)).toEqual({ name: 'Error', message: '', stack: 'Error' });
  });
});

test('whatever is thrown, the description is bounded, well-formed text', () => {
  const text = fc.string({ unit: 'binary', maxLength: 500, size: 'max' });
  const errorLike = fc.record(
    {
      name: fc.anything(),
      message: fc.oneof(text, fc.anything()),
      stack: fc.oneof(text, fc.anything()),
      code: text,
      cause: fc.anything(),
      errors: fc.array(fc.string(), { maxLength: 10 }),
    },
    { requiredKeys: [] },
  );
  const surrogates = fc
    .array(fc.nat({ max: 0xff_ff }), { maxLength: 50 })
    .map((units) => String.fromCharCode(...units));
  fc.assert(
    fc.property(fc.oneof(fc.anything({ withNullPrototype: true }), errorLike, surrogates), (thrown) => {
      const { name, message, code = '', stack } = describeError(thrown);
      for (const [kind, value] of Object.entries({ name, message, code, stack })) {
        expect(value.length).toBeLessThanOrEqual(ERROR_LIMITS[kind as keyof typeof ERROR_LIMITS]);
        expect(isWellFormed(value)).toBe(true);
      }
      expect(name).not.toBe('');
      expect(stack).not.toBe('');
    }),
  );
});

test('a cut text fits, is well-formed and says how much is missing', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', maxLength: 400, size: 'max' }),
      fc.integer({ min: 60, max: 200 }),
      (text, max) => {
        const cut = cutText(wellFormed(text), max);
        expect(cut.length).toBeLessThanOrEqual(max);
        expect(isWellFormed(cut)).toBe(true);
        const [, kept = text, left = '0'] = /^([^]*)\.\.\. \((\d+) characters left out\)$/.exec(cut) ?? [];
        expect(kept.length + Number(left)).toBe(text.length);
      },
    ),
  );
});
