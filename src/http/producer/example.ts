/** An example of what a JSON Schema takes, for documents: what the schema itself gives as one, or the least that fits. */
import type { Schema } from '../../schema.ts';
import { jsonSchemaOf, type JsonSchema } from './json-schema.ts';

const DEEPEST = 6;

const OF_FORMAT: Readonly<Record<string, string>> = {
  email: 'ada@example.com',
  'date-time': '2026-01-31T12:00:00Z',
  date: '2026-01-31',
  time: '12:00:00Z',
  duration: 'PT30S',
  uri: 'https://example.com/',
  uuid: '3f0c9b1e-7d7a-4f5c-9a53-0a8f3b6d2c11',
  ipv4: '203.0.113.7',
  ipv6: '2001:db8::7',
  hostname: 'example.com',
};

/** An example that the schema agrees to; undefined where none was found. */
export function exampleFor(schema: Schema): { value: unknown } | undefined {
  const json = jsonSchemaOf(schema);
  if (!json) return undefined;
  const value = exampleOf(json, json, 0);
  try {
    const result = schema['~standard'].validate(value);
    // Of one that answers later it is not known in time.
    return 'then' in result || result.issues ? undefined : { value };
  } catch {
    return undefined; // A check of the user's that takes no such value: a document does without.
  }
}

function exampleOf(schema: JsonSchema, root: JsonSchema, depth: number): unknown {
  const { $ref, examples, const: only, enum: choices, default: preset, anyOf, oneOf, allOf } = schema;
  if (Array.isArray(examples) && examples.length > 0) return examples[0] as unknown;
  if (only !== undefined) return only;
  if (Array.isArray(choices)) return choices[0] as unknown;
  if (preset !== undefined) return preset;
  if (depth > DEEPEST) return null;
  if (typeof $ref === 'string') return exampleOf(resolved($ref, root), root, depth + 1);
  const [first] = [anyOf, oneOf].filter(Array.isArray).flat() as JsonSchema[];
  if (first) return exampleOf(first, root, depth + 1);
  if (Array.isArray(allOf)) {
    const parts = (allOf as JsonSchema[]).map((one) => exampleOf(one, root, depth + 1));
    return parts.every((part) => typeof part === 'object') ? Object.assign({}, ...parts) : parts[0];
  }
  return ofType(schema, root, depth);
}

function ofType(schema: JsonSchema, root: JsonSchema, depth: number): unknown {
  const [type] = [schema['type']].flat();
  switch (type) {
    case 'string':
      return textOf(schema);
    case 'integer':
    case 'number':
      return numberOf(schema);
    case 'boolean':
      return true;
    case 'array': {
      const count = Math.min(Number(schema['minItems'] ?? 0), 3);
      const prefix = (schema['prefixItems'] ?? []) as JsonSchema[];
      const items = (schema['items'] || {}) as JsonSchema;
      const length = Math.max(count, prefix.length);
      return Array.from({ length }, (_, index) => exampleOf(prefix[index] ?? items, root, depth + 1));
    }
    case 'object':
      return objectOf(schema, root, depth);
    case undefined:
      return isRecord(schema['properties']) ? objectOf(schema, root, depth) : {};
    default:
      return null;
  }
}

function objectOf(schema: JsonSchema, root: JsonSchema, depth: number): Record<string, unknown> {
  const properties = isRecord(schema['properties']) ? schema['properties'] : {};
  const required = Array.isArray(schema['required']) ? (schema['required'] as unknown[]) : [];
  return Object.fromEntries(
    Object.entries(properties)
      .filter(([name]) => required.includes(name))
      .map(([name, inner]) => [name, exampleOf(isRecord(inner) ? inner : {}, root, depth + 1)]),
  );
}

function textOf({ format, minLength, maxLength }: JsonSchema): string {
  const known = typeof format === 'string' ? OF_FORMAT[format] : undefined;
  if (known !== undefined) return known;
  const text = 'text'.padEnd(Math.min(Number(minLength ?? 0), 100), '-');
  return maxLength === undefined ? text : text.slice(0, Number(maxLength));
}

function numberOf({ minimum, exclusiveMinimum, maximum, multipleOf }: JsonSchema): number {
  const step = Number(multipleOf ?? 1);
  const least = minimum === undefined ? undefined : Math.ceil(Number(minimum) / step) * step;
  const above = exclusiveMinimum === undefined ? undefined : (Math.floor(Number(exclusiveMinimum) / step) + 1) * step;
  const value = Math.max(least ?? step, above ?? Number.NEGATIVE_INFINITY);
  return maximum === undefined ? value : Math.min(value, Number(maximum));
}

function resolved(ref: string, root: JsonSchema): JsonSchema {
  let at: unknown = root;
  for (const step of ref
    .replace(/^#\/?/, '')
    .split('/')
    .filter((one) => one !== '')) {
    at = isRecord(at) ? at[decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')] : undefined;
  }
  return isRecord(at) ? at : {};
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
