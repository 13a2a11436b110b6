/** A filter asked of the metadata of one document, in this process. It means what it means to the engines. */
import { MillraceError } from '../errors.ts';
import type { Filter } from './filter.ts';

/**
 * Whether the document passes.
 *
 * @param filter As checkFilter() gave it.
 * @param metadata As checkMetadata() gave it.
 * @throws MillraceError FILTER_UNSUPPORTED for `text` and `near`; checkMatchable() tells of them before.
 */
export function matchesFilter(filter: Filter, metadata: Readonly<Record<string, unknown>>): boolean {
  switch (filter.op) {
    case 'and':
      return filter.filters.every((part) => matchesFilter(part, metadata));
    case 'or':
      return filter.filters.some((part) => matchesFilter(part, metadata));
    case 'not':
      return !matchesFilter(filter.filter, metadata);
    case 'eq':
      return has(metadata[filter.field], filter.value);
    case 'ne':
      return !has(metadata[filter.field], filter.value);
    case 'in':
      return filter.values.some((value) => has(metadata[filter.field], value));
    case 'exists':
      return metadata[filter.field] !== undefined;
    case 'lt':
      return numberOf(metadata[filter.field]) < filter.value;
    case 'lte':
      return numberOf(metadata[filter.field]) <= filter.value;
    case 'gt':
      return numberOf(metadata[filter.field]) > filter.value;
    case 'gte':
      return numberOf(metadata[filter.field]) >= filter.value;
    case 'between': {
      const number = numberOf(metadata[filter.field]);
      return number >= filter.from && number <= filter.to;
    }
    case 'text':
    case 'near':
      throw unmatchable(filter);
  }
}

/**
 * Whether all parts of a filter can be asked here.
 *
 * @param who What asks, such as `deleteByFilter()`.
 * @throws MillraceError FILTER_UNSUPPORTED
 */
export function checkMatchable(filter: Filter, who: string): void {
  if (filter.op === 'and' || filter.op === 'or') for (const part of filter.filters) checkMatchable(part, who);
  else if (filter.op === 'not') checkMatchable(filter.filter, who);
  else if (filter.op === 'text' || filter.op === 'near') throw unmatchable(filter, who);
}

function unmatchable({ op }: Filter, who = 'this process'): MillraceError {
  return new MillraceError(
    'FILTER_UNSUPPORTED',
    `filter ${op}: ${who} asks the metadata and not the server, which alone can search for words and places`,
    { op },
  );
}

function has(stored: unknown, value: unknown): boolean {
  return Array.isArray(stored) ? stored.includes(value) : stored === value;
}

/** NaN, which no comparison is true of, where there is none. */
function numberOf(stored: unknown): number {
  return typeof stored === 'number' ? stored : Number.NaN;
}
