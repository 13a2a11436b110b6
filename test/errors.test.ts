import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { describeValue, ERROR_CODES, isMillraceError, MillraceError, type ErrorCode } from '../src/errors.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const codes = Object.keys(ERROR_CODES) as ErrorCode[];

describe('the table of codes', () => {
  const uses = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && file !== 'errors.ts')
    .map((file) => readFileSync(join(root, 'src', file), 'utf8'))
    .join('\n')
    // An example in a comment throws nothing.
    .replaceAll(/^\s*(?:\*|\/\*\*|\/\/).*$/gm, '');

  test('every code is used, and stands in the order of the alphabet', () => {
    expect(codes.filter((code) => !uses.includes(`'${code}'`))).toEqual([]);
    expect(codes.toSorted()).toEqual(codes);
  });

  test('every code that is thrown is in the table', () => {
    const thrown = [...uses.matchAll(/(?:new MillraceError|faultsError)\(\s*'(\w+)'/g)].map((match) => match[1]);
    expect(thrown.length).toBeGreaterThan(10);
    expect(thrown.filter((code) => !codes.includes(code as ErrorCode))).toEqual([]);
  });

  test('docs/errors.md has a section for every code and for no other, with cause and mend', () => {
    const text = readFileSync(join(root, 'docs/errors.md'), 'utf8');
    const [, ...sections] = text.split(/^## /m);
    expect(sections.map((section) => section.split('\n', 1)[0])).toEqual(codes);
    for (const section of sections) {
      expect(section).toContain('**Usual causes.**');
      expect(section).toContain('**Mend.**');
      expect(section).toContain('**Facts.**');
    }
  });

  test('docs/errors.md says of each code what the table says', () => {
    const text = readFileSync(join(root, 'docs/errors.md'), 'utf8');
    for (const code of codes) expect(text).toContain(`## ${code}\n\n${ERROR_CODES[code]}\n`);
  });
});

describe('a MillraceError', () => {
  const cause = new Error('ECONNREFUSED');
  const error = new MillraceError('REDIS_UNREACHABLE', 'nothing listens there', { address: 'redis://a:1/0', cause });

  test('has a code, a message, facts as fields, and its origin as cause', () => {
    expect(error).toBeInstanceOf(Error);
    expect(error.name).toBe('MillraceError');
    expect(error.code).toBe('REDIS_UNREACHABLE');
    expect(error.message).toBe('nothing listens there');
    expect(error.facts).toEqual({ address: 'redis://a:1/0' });
    expect(error.cause).toBe(cause);
    expect(error.stack).toContain('errors.test.ts');
  });

  test('without an origin has no cause, and without facts an empty object', () => {
    const bare = new MillraceError('CLOSED', 'closed');
    expect('cause' in bare).toBe(false);
    expect(bare.facts).toEqual({});
  });

  test('keeps its facts as they were', () => {
    expect(Object.isFrozen(error.facts)).toBe(true);
  });

  test('as JSON is code, message and facts, without stack and cause', () => {
    expect(JSON.parse(JSON.stringify(error))).toEqual({
      code: 'REDIS_UNREACHABLE',
      message: 'nothing listens there',
      facts: { address: 'redis://a:1/0' },
    });
  });

  test('is told from other errors, and by its code', () => {
    expect(isMillraceError(error)).toBe(true);
    expect(isMillraceError(error, 'REDIS_UNREACHABLE')).toBe(true);
    expect(isMillraceError(error, 'CLOSED')).toBe(false);
    for (const other of [cause, { code: 'CLOSED' }, 'CLOSED', null, undefined])
      expect(isMillraceError(other)).toBe(false);
  });
});

describe('a value in a message', () => {
  test.each<[unknown, string]>([
    ['text', '"text"'],
    ['a\nb', '"a\\nb"'],
    [5, '5'],
    [Number.NaN, 'NaN'],
    [-Infinity, '-Infinity'],
    [5n, '5n'],
    [undefined, 'undefined'],
    [null, 'null'],
    [true, 'true'],
    [() => 5, 'a function'],
    [Symbol('s'), 'Symbol(s)'],
    [{ a: [1] }, '{"a":[1]}'],
    [{ big: 5n }, 'an object that has no JSON form'],
  ])('%s is shown as %s', (value, shown) => {
    expect(describeValue(value)).toBe(shown);
  });

  test('is short, on one line, and there, whatever it is', () => {
    fc.assert(
      fc.property(
        fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true }),
        (value) => {
          const shown = describeValue(value);
          expect(shown).not.toBe('');
          expect(shown.length).toBeLessThanOrEqual(60);
          expect(shown).not.toContain('\n');
        },
      ),
    );
  });

  test('an object that contains itself is shown', () => {
    const circle: Record<string, unknown> = {};
    circle['self'] = circle;
    expect(describeValue(circle)).toBe('an object that has no JSON form');
  });

  test.each([
    'redis://user:hunter22@host:6379',
    ['a:1', 'redis://:hunter22@host'],
    { url: 'rediss://:hunter22@host/0' },
    'redis://:p@hunter22@host',
  ])('%j is shown without the password of its URL', (value) => {
    expect(describeValue(value)).toContain('***@host');
    expect(describeValue(value)).not.toContain('hunter22');
  });
});
