/**
 * The fields of a form, made of a JSON Schema: texts, numbers, booleans, choices and times, objects of them one level deep. Whatever else a schema
 * may say is a field of JSON, and an input without a schema is one such field as a whole.
 */
import type { Fault } from 'millrace';
import type { JsonSchema } from './contracts.ts';
import { parseJson } from './faults.tsx';

/** How a field is typed. */
export type FieldKind = 'text' | 'number' | 'boolean' | 'choice' | 'time' | 'json';

/** One field. */
export interface InputField {
  /** In the form. */
  readonly name: string;
  /** In the input. */
  readonly path: readonly string[];
  readonly kind: FieldKind;
  readonly isRequired: boolean;
  /** Of a choice, the values as JSON. */
  readonly choices: readonly string[];
  readonly hint: string | undefined;
  /** What it begins with. */
  readonly preset: unknown;
}

/** The field of an input that has no other. */
export const WHOLE: InputField = {
  name: 'input',
  path: [],
  kind: 'json',
  isRequired: true,
  choices: [],
  hint: undefined,
  preset: {},
};

const MOST_FIELDS = 200;

/** The fields of a schema. */
export function fieldsOf(schema: JsonSchema | undefined): readonly InputField[] {
  if (!schema) return [WHOLE];
  const fields = membersOf(schema, schema, [], true);
  return fields.length === 0 || fields.length > MOST_FIELDS ? [WHOLE] : fields;
}

function membersOf(root: JsonSchema, schema: JsonSchema, path: readonly string[], isOuter: boolean): InputField[] {
  const { properties, required } = schema;
  if (!isRecord(properties)) return [];
  const names: readonly unknown[] = Array.isArray(required) ? required : [];
  return Object.entries(properties).flatMap(([key, value]): InputField[] => {
    const member = resolved(root, value);
    const at = [...path, key];
    // A group that may be left out could not be told from one that is empty.
    const isRequired = names.includes(key);
    if (isOuter && isRequired && member['type'] === 'object') {
      const inner = membersOf(root, member, at, false);
      if (inner.length > 0) return inner;
    }
    return [fieldOf(member, at, isRequired)];
  });
}

function fieldOf(schema: JsonSchema, path: readonly string[], isRequired: boolean): InputField {
  const choices = Array.isArray(schema['enum']) ? schema['enum'].map((value) => JSON.stringify(value)) : [];
  const { description } = schema;
  return {
    name: ['input', ...path.map(encodeURIComponent)].join('/'),
    path,
    kind: choices.length > 0 ? 'choice' : kindOf(schema),
    isRequired,
    choices,
    hint: typeof description === 'string' ? description.slice(0, 300) : undefined,
    preset: schema['default'],
  };
}

function kindOf({ type, format, anyOf, oneOf, const: constant }: JsonSchema): FieldKind {
  if (anyOf !== undefined || oneOf !== undefined || constant !== undefined) return 'json';
  if (type === 'string') return format === 'date-time' ? 'time' : 'text';
  if (type === 'number' || type === 'integer') return 'number';
  return type === 'boolean' ? 'boolean' : 'json';
}

/** What a reference within the schema leads to. */
function resolved(root: JsonSchema, value: unknown): JsonSchema {
  const schema = isRecord(value) ? value : {};
  const [, kind = '', name = ''] = /^#\/(\$defs|definitions)\/([^/]+)$/.exec(String(schema['$ref'])) ?? [];
  const found = (root[kind] as Record<string, unknown> | undefined)?.[name];
  return isRecord(found) ? found : schema;
}

/** The texts that a form shows for an input. */
export function textsOf(fields: readonly InputField[], input: unknown): Record<string, string> {
  return Object.fromEntries(
    fields.map((field) => {
      const found = field.path.reduce<unknown>((value, key) => (isRecord(value) ? value[key] : undefined), input);
      return [field.name, textOf(field, found)];
    }),
  );
}

/** Likewise for a new input. */
export function presetTexts(fields: readonly InputField[]): Record<string, string> {
  return Object.fromEntries(fields.map((field) => [field.name, textOf(field, field.preset)]));
}

function textOf({ kind }: InputField, value: unknown): string {
  if (value === undefined) return '';
  if ((kind === 'text' || kind === 'time') && typeof value === 'string') return value;
  return JSON.stringify(value, undefined, kind === 'json' ? 2 : undefined) ?? '';
}

/** The input that the texts of a form make. A field that is empty and may be left out is left out. */
export function inputOf(
  fields: readonly InputField[],
  texts: Readonly<Record<string, string>>,
): { input: unknown; faults: Record<string, string> } {
  const faults: Record<string, string> = {};
  const whole: Record<string, unknown> = {};
  let input: unknown = whole;
  for (const field of fields) {
    const text = texts[field.name] ?? '';
    const isLeftOut = text === '' && !(field.isRequired && field.kind === 'text');
    // Made for what is required in it, so that what is missing is told at its own field.
    if (field.path.length > 1) groupOf(whole, field.path);
    if (isLeftOut) {
      if (field.path.length === 0) faults[field.name] = 'Expected JSON.';
      continue;
    }
    const read = valueOf(field, text);
    if ('fault' in read) faults[field.name] = read.fault.reason;
    else if (field.path.length === 0) input = read.value;
    else Object.defineProperty(groupOf(whole, field.path), field.path.at(-1) ?? '', { value: read.value, ...PLAIN });
  }
  return { input, faults };
}

/** Defined, not assigned: a key such as `__proto__` is one like any other. */
const PLAIN = { enumerable: true, writable: true, configurable: true } as const;

function groupOf(whole: Record<string, unknown>, [first = '', ...rest]: readonly string[]): Record<string, unknown> {
  if (rest.length === 0) return whole;
  if (!Object.hasOwn(whole, first)) Object.defineProperty(whole, first, { value: {}, ...PLAIN });
  return whole[first] as Record<string, unknown>;
}

function valueOf({ kind }: InputField, text: string): { value: unknown } | { fault: Fault } {
  if (kind === 'text') return { value: text };
  if (kind === 'time') return { value: /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?$/.test(text) ? utcOf(text) : text };
  if (kind !== 'number') return parseJson(text);
  const value = Number(text);
  return Number.isFinite(value) && text.trim() !== ''
    ? { value }
    : { fault: { path: '', reason: 'Expected a number.' } };
}

/** What a browser's field for times gives, as UTC. */
function utcOf(text: string): string {
  return `${text.length === 16 ? `${text}:00` : text}Z`;
}

/** The field that a fault belongs to: the one with the longest path that the fault's begins with. */
export function fieldAt(fields: readonly InputField[], path: string): InputField | undefined {
  const steps = path.split(/[.[\]"]+/).filter((step) => step !== '');
  return fields
    .filter((field) => field.path.every((key, index) => key.split(/[.[\]"]+/).at(0) === steps[index]))
    .toSorted((one, other) => other.path.length - one.path.length)
    .at(0);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
