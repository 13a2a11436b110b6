/** Errors cross as plain data and are built again. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isMillraceError, MillraceError } from '../../../src/errors.ts';
import { carryError, rebuildError } from '../../../src/jobs/isolate/carried-error.ts';

const cross = (thrown: unknown): unknown => rebuildError(structuredClone(carryError(thrown)));

describe('an error that crosses', () => {
  test('is a MillraceError again if it was one, with code, facts, stack and cause', () => {
    const before = new MillraceError('JOB_POSTPONED', 'later', {
      delayMs: 5,
      helper: () => 1,
      cause: new TypeError('why'),
    });
    const after = cross(before) as MillraceError;
    expect(isMillraceError(after, 'JOB_POSTPONED')).toBe(true);
    expect(after).toMatchObject({ message: 'later', facts: { delayMs: 5, helper: 'a function' }, stack: before.stack });
    expect(after.cause).toBeInstanceOf(TypeError);
  });

  test('keeps its class where JavaScript has it, else its name, and the fields that are plain', () => {
    expect(cross(new RangeError('far'))).toBeInstanceOf(RangeError);
    class TooMany extends Error {}
    const after = cross(Object.assign(new TooMany('x'), { status: 429, code: 'E_MANY', deep: { er: 1 } }));
    expect(after).toBeInstanceOf(Error);
    expect(after).toMatchObject({ name: 'TooMany', message: 'x', status: 429, code: 'E_MANY' });
    expect(after).not.toHaveProperty('deep');
  });

  test('crosses whatever was thrown', () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withNullPrototype: true, withMap: true }), (value) => {
        cross(value);
        cross(Object.assign(new Error('x'), { cause: value, errors: [value] }));
      }),
    );
  });
});
