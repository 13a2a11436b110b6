/** The JSON Schemas of contracts, as one document can hold them. */
import type { StandardJSONSchemaV1 } from '@standard-schema/spec';
import type { Schema } from '../../schema.ts';

/** A JSON Schema. */
export type JsonSchema = Readonly<Record<string, unknown>>;

const made = new WeakMap<Schema, { readonly schema: JsonSchema | undefined }>();

/**
 * What the schema takes, as JSON Schema, made once of each; undefined where its library makes none, or cannot for this one.
 *
 * A result is told by what its schema takes, too: it is checked, and stored as the handler returned it.
 */
export function jsonSchemaOf(schema: Schema | undefined): JsonSchema | undefined {
  if (!schema) return undefined;
  const known = made.get(schema) ?? { schema: make(schema) };
  made.set(schema, known);
  return known.schema;
}

function make(schema: Schema): JsonSchema | undefined {
  const standard: (Schema['~standard'] & Partial<StandardJSONSchemaV1.Props>) | undefined = schema['~standard'];
  if (typeof standard.jsonSchema?.input !== 'function') return undefined;
  // What zod cannot express, such as a custom check, is then any value, instead of no schema at all.
  const libraryOptions = standard.vendor === 'zod' ? { libraryOptions: { unrepresentable: 'any' } } : {};
  for (const target of ['draft-2020-12', 'draft-07'] as const) {
    try {
      const { $schema: _dialect, ...rest } = standard.jsonSchema.input({ target, ...libraryOptions });
      return rest;
    } catch {
      continue; // Libraries throw for what they cannot express; another target may do.
    }
  }
  return undefined;
}

/** What holds values and no schemas. */
const VALUES: ReadonlySet<string> = new Set(['const', 'default', 'enum', 'example', 'examples']);
/** What holds schemas by name, so that no name of it is a keyword. */
const BY_NAME: ReadonlySet<string> = new Set([
  'properties',
  'patternProperties',
  '$defs',
  'definitions',
  'dependentSchemas',
]);

/** The schema with its references as they are once it stands at a place of another document, such as `#/components/schemas/Job`. */
export function placedAt(schema: JsonSchema, place: string): JsonSchema {
  return placed(schema, place) as JsonSchema;
}

function placed(value: unknown, place: string): unknown {
  if (Array.isArray(value)) return value.map((item: unknown) => placed(item, place));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]: [string, unknown]) => {
      if (key === '$ref' && typeof inner === 'string' && inner.startsWith('#')) return [key, place + inner.slice(1)];
      if (VALUES.has(key)) return [key, inner];
      if (BY_NAME.has(key) && typeof inner === 'object' && inner !== null)
        return [key, Object.fromEntries(Object.entries(inner).map(([name, one]) => [name, placed(one, place)]))];
      return [key, placed(inner, place)];
    }),
  );
}
