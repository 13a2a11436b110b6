/**
 * What a search index is: as we make it, and as FT.INFO says that it is. One that somebody else has made under our name would take vectors of
 * another size without an error, and find none of them.
 */
import type { Definition } from '../definition.ts';
import type { CompiledSchema } from '../schema.ts';
import { indexedFields, keyType, type IndexedField } from './query-commands.ts';
import { listOf, mapOf } from './query-replies.ts';

/** An index; empty where the server says nothing. */
export interface IndexShape {
  readonly keyType: string;
  readonly prefixes: readonly string[];
  readonly fields: readonly FieldShape[];
}

/** A field of it. */
export interface FieldShape {
  /** `PATH AS NAME TYPE` */
  readonly text: string;
  readonly name: string;
  /** What else it is, by the names of FT.INFO, such as `dim`. A flag is `yes` or `no`. */
  readonly traits: ReadonlyMap<string, string>;
}

/** What FT.INFO calls the options of FT.CREATE. */
const TRAITS: Readonly<Record<string, string>> = {
  TYPE: 'data_type',
  DIM: 'dim',
  DISTANCE_METRIC: 'distance_metric',
  M: 'M',
  EF_CONSTRUCTION: 'ef_construction',
  WEIGHT: 'WEIGHT',
  SEPARATOR: 'SEPARATOR',
};
/** Options without a value. Of INDEXMISSING releases before 8 say nothing; a search that needs it fails aloud. */
const FLAGS = ['CASESENSITIVE', 'SORTABLE'] as const;
/** In RESP2 flags come after the pairs, the first three of which every field has. */
const FIRST_FLAG = 6;

export function indexShape(definition: Definition, schema: CompiledSchema, prefixes: readonly string[]): IndexShape {
  return { keyType: keyType(definition), prefixes, fields: indexedFields(definition, schema).map(fieldShape) };
}

export function readIndexShape(reply: unknown): IndexShape {
  const map = mapOf(reply);
  const index = mapOf(map.get('index_definition') ?? []);
  const type = index.get('key_type');
  return {
    keyType: typeof type === 'string' ? type : '',
    prefixes: listOf(index.get('prefixes')).map(String),
    fields: listOf(map.get('attributes')).map(readField),
  };
}

/** What differs; nothing where the server does not say. */
export function shapeFaults(there: IndexShape, here: IndexShape): string[] {
  const faults: string[] = [];
  const compare = (what: string, left: string, right: string): void => {
    if (left !== '' && left !== right) faults.push(`${what} of the search index: ${left} there, ${right} here`);
  };
  compare('keyType', there.keyType, here.keyType);
  compare('prefixes', sorted(there.prefixes), sorted(here.prefixes));
  const textsOf = ({ fields }: IndexShape): string => sorted(fields.map(({ text }) => text));
  compare('fields', textsOf(there), textsOf(here));
  for (const { text, name, traits } of here.fields) {
    const told = there.fields.find((field) => field.text === text)?.traits;
    for (const [trait, value] of traits) compare(`${trait} of ${name}`, told?.get(trait) ?? '', value);
  }
  return faults;
}

function fieldShape({ path, name, type, more }: IndexedField): FieldShape {
  const traits = flagsOf(more);
  if (type === 'VECTOR') traits.set('algorithm', more[0] ?? '');
  for (const [at, word] of more.entries()) {
    const trait = TRAITS[word];
    if (trait !== undefined) traits.set(trait, more[at + 1] ?? '');
  }
  return { text: `${path} AS ${name} ${type}`, name, traits };
}

function readField(attribute: unknown): FieldShape {
  const field = mapOf(attribute);
  const [path, name, type] = ['identifier', 'attribute', 'type'].map((key) => String(field.get(key)));
  const bare = Array.isArray(attribute) ? attribute.slice(FIRST_FLAG) : [];
  const traits = flagsOf([...listOf(field.get('flags')), ...bare]);
  for (const trait of ['algorithm', ...Object.values(TRAITS)]) {
    const value = field.get(trait);
    // Numbers come as numbers or as text, a weight of a tenth as 0.10000000000000001.
    if (value !== undefined) traits.set(trait, trait === 'SEPARATOR' ? textOf(value) : plainNumber(textOf(value)));
  }
  return { text: `${path} AS ${name} ${type}`, name: name ?? '', traits };
}

function flagsOf(words: readonly unknown[]): Map<string, string> {
  return new Map(FLAGS.map((flag) => [flag, words.includes(flag) ? 'yes' : 'no']));
}

function textOf(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}

function plainNumber(text: string): string {
  const number = Number(text);
  return Number.isNaN(number) ? text : String(number);
}

function sorted(values: readonly string[]): string {
  return values.toSorted().join(', ');
}
