/**
 * Which chunks a filter can let pass at most, as ranges of the lists that are kept of tags and numbers.
 *
 * A part of an `and` that a list answers is an alternative: every chunk that passes is in it. Whether it passes the other parts is to be
 * asked of its metadata, unless the alternative is the filter itself.
 */
import type { Filter } from './filter.ts';
import type { CompiledSchema } from './schema.ts';
import { encodeTag } from './tag-form.ts';

/** A field whose chunks are listed by their values. */
export interface ListedField {
  readonly field: string;
  readonly isTag: boolean;
}

/** A range of a list: the list's number from 1, its kind, and the borders as Redis takes them. */
export type ListRange = readonly [list: number, kind: 'tag' | 'number', from: string, to: string];

/** Ranges that together hold every chunk that passes. */
export interface Alternative {
  readonly ranges: readonly ListRange[];
  /** Whether every chunk in them passes. */
  readonly isWhole: boolean;
}

/** The fields that are listed: all that are named and can be. */
export function listedFields(schema: CompiledSchema, names: readonly string[]): ListedField[] {
  return names.flatMap((field): ListedField[] => {
    const type = schema.fields.get(field)?.type;
    if (type === 'tag' || type === 'tags') return [{ field, isTag: true }];
    return type === 'number' ? [{ field, isTag: false }] : [];
  });
}

/** The alternatives; none when no list helps. */
export function alternativesOf(filter: Filter, listed: readonly ListedField[]): Alternative[] {
  if (filter.op === 'and') {
    const isOnly = filter.filters.length === 1;
    return filter.filters.flatMap((part) =>
      alternativesOf(part, listed).map((found) => ({ ...found, isWhole: found.isWhole && isOnly })),
    );
  }
  if (filter.op === 'or') {
    const parts = filter.filters.map((part) => alternativesOf(part, listed)[0]);
    if (!parts.every((part) => part !== undefined)) return [];
    return [{ ranges: parts.flatMap(({ ranges }) => ranges), isWhole: parts.every(({ isWhole }) => isWhole) }];
  }
  const ranges = rangesOf(filter, listed);
  return ranges ? [{ ranges, isWhole: true }] : [];
}

function rangesOf(filter: Filter, listed: readonly ListedField[]): ListRange[] | undefined {
  if (!('field' in filter)) return undefined;
  const at = listed.findIndex(({ field }) => field === filter.field);
  const list = listed[at];
  if (!list) return undefined;
  const range = (from: string, to: string): ListRange => [at + 1, list.isTag ? 'tag' : 'number', from, to];
  const valued = (value: unknown): ListRange =>
    list.isTag ? range(...tagRange(String(value))) : range(String(value), String(value));
  switch (filter.op) {
    case 'eq':
      return [valued(filter.value)];
    case 'in':
      return [...new Set(filter.values)].map(valued);
    case 'lt':
      return [range('-inf', `(${filter.value}`)];
    case 'lte':
      return [range('-inf', String(filter.value))];
    case 'gt':
      return [range(`(${filter.value}`, '+inf')];
    case 'gte':
      return [range(String(filter.value), '+inf')];
    case 'between':
      return [range(String(filter.from), String(filter.to))];
    case 'exists':
      return [list.isTag ? range('-', '+') : range('-inf', '+inf')];
    case 'ne':
    case 'text':
    case 'near':
      return undefined;
  }
}

/** What lists a chunk under a tag: the tag, a NUL, which no encoded tag has, and the chunk. */
export function tagMember(tag: string, chunk: string): string {
  return `${encodeTag(tag)}\0${chunk}`;
}

function tagRange(tag: string): [from: string, to: string] {
  const encoded = encodeTag(tag);
  return [`[${encoded}\0`, `(${encoded}\u0001`];
}
