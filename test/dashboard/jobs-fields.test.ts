/** Forms made of schemas, and secrets that come back from them. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { fieldAt, fieldsOf, inputOf, presetTexts, textsOf, WHOLE } from '../../dashboard/jobs/schema-fields.ts';
import { parseJson } from '../../dashboard/jobs/faults.tsx';
import { restoreSecrets } from '../../dashboard/jobs/secret-fields.ts';
import type { JsonSchema } from '../../dashboard/jobs/contracts.ts';

const schemaOf = (schema: z.ZodType): JsonSchema => z.toJSONSchema(schema, { io: 'input' }) as JsonSchema;

const fields = fieldsOf(
  schemaOf(
    z.object({
      title: z.string(),
      count: z.number().optional(),
      isUrgent: z.boolean().optional(),
      level: z.enum(['low', 'high']).default('low'),
      at: z.iso.datetime().optional(),
      'odd key/.': z.string().optional(),
      owner: z.object({ name: z.string(), tags: z.array(z.string()) }),
      rest: z.union([z.string(), z.number()]).optional(),
    }),
  ),
);

test('each kind of a schema has its field, of objects one level deep', () => {
  expect(fields.map(({ name, kind, isRequired }) => `${name} ${kind}${isRequired ? '' : '?'}`)).toEqual([
    'input/title text',
    'input/count number?',
    'input/isUrgent boolean?',
    'input/level choice?',
    'input/at time?',
    'input/odd%20key%2F. text?',
    'input/owner/name text',
    'input/owner/tags json',
    'input/rest json?',
  ]);
  expect(presetTexts(fields)['input/level']).toBe('"low"');
  expect(fieldsOf(undefined)).toEqual([WHOLE]);
  expect(fieldsOf({ type: 'array' })).toEqual([WHOLE]);
});

test('what a form shows of an input makes the same input again', () => {
  const input = {
    title: 'a\nb',
    count: 1.5,
    isUrgent: false,
    level: 'high',
    at: '2026-03-01T12:00:00.123Z',
    'odd key/.': '"',
    owner: { name: '', tags: ['x'] },
    rest: 3,
  };
  expect(inputOf(fields, textsOf(fields, input))).toEqual({ input, faults: {} });
  expect(inputOf([WHOLE], textsOf([WHOLE], input))).toEqual({ input, faults: {} });
});

test('what is left out is left out, and what cannot be read is told at its field', () => {
  const texts = { 'input/title': 'a', 'input/count': 'many', 'input/owner/tags': '[', 'input/at': '2026-03-01T12:00' };
  const { input, faults } = inputOf(fields, texts);
  expect(input).toEqual({ title: 'a', at: '2026-03-01T12:00:00Z', owner: { name: '' } });
  expect(Object.keys(faults)).toEqual(['input/count', 'input/owner/tags']);
  expect(fieldAt(fields, 'owner.tags[0]')?.name).toBe('input/owner/tags');
  expect(fieldAt(fields, 'unknown')).toBeUndefined();
  expect(parseJson('{\n"a": }')).toMatchObject({ fault: { reason: expect.stringContaining('no JSON') as string } });
});

test('a key such as __proto__ is a key like any other', () => {
  const odd = fieldsOf(JSON.parse('{"type":"object","properties":{"__proto__":{"type":"string"}}}') as JsonSchema);
  const { input } = inputOf(odd, { 'input/__proto__': 'x' });
  expect(JSON.stringify(input)).toBe('{"__proto__":"x"}');
});

test('a masked secret keeps its value, at its own path only', () => {
  const original = { password: 'p', tokens: { a: '1', b: '2' }, items: [{ key: 'k' }], note: '[secret]' };
  const secrets = ['password', 'tokens.*', 'items.*.key'];
  const edited = {
    password: '[secret]',
    tokens: { a: '[secret]', c: '[secret]' },
    items: [{ key: 'new' }, { key: '[secret]' }],
    note: '[secret]',
    copy: '[secret]',
  };
  expect(restoreSecrets(edited, original, secrets)).toEqual({
    password: 'p',
    tokens: { a: '1', c: '[secret]' },
    items: [{ key: 'new' }, { key: '[secret]' }],
    note: '[secret]',
    copy: '[secret]',
  });
});
