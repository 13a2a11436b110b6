/** Search, as a worker's process has it: indexes by environment take documents by their texts; where documents come from is code's to say. */
import { readFileSync } from 'node:fs';
import { localEmbedder } from 'millrace';
import { z } from 'zod';
import { count, duration, limit } from '../env-values.ts';
import { optionsOf, type Family, type Variables } from '../family.ts';
import { createSearchIndexHandler } from '../search-index-document.ts';
import { createSearchRebuildHandlers } from '../search-rebuild.ts';
import { searchIndexDocument, searchRebuild, searchRebuildPart } from './contract.ts';
import type { SearchOptions } from './options.ts';

/** Options of the search jobs that are configured. */
export interface SearchSettings {
  search?: SearchOptions | undefined;
}

const indexes = z.string().transform((text, context): SearchOptions['indexes'] => {
  try {
    return JSON.parse(text) as SearchOptions['indexes'];
  } catch {
    context.addIssue('expected JSON such as {"help": {"schema": {"lang": "tag"}, "chunker": {"maxChars": 1000}}}');
    return z.NEVER;
  }
});
const indexesFile = z.string().transform((file, context) => {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    context.addIssue(`expected a file that can be read (${(error as NodeJS.ErrnoException).code})`);
    return z.NEVER;
  }
});

const SEARCH: Variables = {
  indexes: 'MILLRACE_SEARCH_INDEXES',
  perProvider: 'MILLRACE_SEARCH_PER_PROVIDER',
  patience: 'MILLRACE_SEARCH_PATIENCE',
  batch: 'MILLRACE_SEARCH_BATCH',
};

const IN_CODE = 'in code: { search: { indexes: { help: { load, ids } } } }';

export const searchFamily: Family<SearchSettings> = {
  prefix: 'SEARCH',
  variables: {
    MILLRACE_SEARCH_INDEXES: indexes,
    MILLRACE_SEARCH_INDEXES_FILE: indexesFile.pipe(indexes),
    MILLRACE_SEARCH_PER_PROVIDER: limit,
    MILLRACE_SEARCH_PATIENCE: duration,
    MILLRACE_SEARCH_BATCH: count,
  },
  settings(values, faults, { vectors }) {
    const given = values['MILLRACE_SEARCH_INDEXES'] ?? values['MILLRACE_SEARCH_INDEXES_FILE'];
    // That of MILLRACE_EMBEDDINGS_URL; else words alone are found, which is for development.
    const embedder = vectors?.embedder ?? localEmbedder();
    const create = (options: SearchOptions): unknown => createSearchIndexHandler({ ...options, embedder });
    const search = optionsOf(SEARCH, { ...values, MILLRACE_SEARCH_INDEXES: given }, create, faults);
    return { search: search && { ...search, embedder } };
  },
  parts({ search }) {
    const [part, parent] = search && canRebuild(search) ? createSearchRebuildHandlers(search) : [];
    return [
      {
        name: searchIndexDocument.name,
        needs: 'set MILLRACE_SEARCH_INDEXES',
        handler: search && createSearchIndexHandler(search),
      },
      { name: searchRebuildPart.name, needs: IN_CODE, handler: part },
      { name: searchRebuild.name, needs: IN_CODE, handler: parent },
    ];
  },
};

/** Whether an index has its documents listed and loaded. */
function canRebuild({ indexes: all }: SearchOptions): boolean {
  return Object.values(all).some(({ ids, load }) => ids !== undefined && load !== undefined);
}
