/**
 * `search.index-document`: a document is found as it is now.
 *
 * Promise: a search finds the document whole, as the text or `load` gives it. One that is unchanged is read and no more: no text of it is embedded.
 * Jobs that bring no text may run in any order, beside each other and twice, for each looks again after it has written; of two that bring texts
 * the later to run wins. What meets the limit of its embedder waits, and uses up no attempt.
 * Redis down: the attempt fails, and is tried again.
 */
import { handle, unrecoverable, type Handler, type VectorIndex, type VectorItem } from 'millrace';
import { searchIndexDocument, type IndexDocumentResult, type ParsedIndexDocument } from './search/contract.ts';
import { limited } from './search/embedding.ts';
import { failureOf } from './search/failure.ts';
import { keptFor } from './search/kept-for.ts';
import { checkSearch, indexNamed, MOST_ROUNDS, type CheckedIndex, type SearchOptions } from './search/options.ts';

/**
 * The handler of `search.index-document`.
 *
 * @example
 * const index = createSearchIndexHandler({
 *   indexes: { help: { schema: { lang: 'tag' }, chunker: { maxChars: 1_000 } } },
 *   embedder: httpEmbedder({ url: 'http://127.0.0.1:11434/v1', model: 'nomic-embed-text', dimensions: 768 }),
 *   perProvider: { limit: 500, per: '1m' },
 * });
 * await platform.work({ handlers: [index] });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createSearchIndexHandler(options: SearchOptions): Handler {
  const checked = checkSearch(options, 'createSearchIndexHandler');
  const { perProvider, patienceMs } = checked;
  const indexOf = keptFor((name, { vectors, limits }) => {
    const { options: own } = indexNamed(checked, name);
    return vectors.index({ ...own, embedder: limited(own.embedder, limits, perProvider, 'leave') });
  });
  return handle(searchIndexDocument, async (input, context): Promise<IndexDocumentResult> => {
    const { job, log, signal } = context;
    const { index: name, id } = input;
    const entry = indexNamed(checked, name);
    try {
      const index = indexOf(name, context);
      const next = async (): Promise<IndexDocumentResult> =>
        write(index, await itemOf(input, entry, signal), id, signal);
      const result = await untilUnchanged(next, isLoaded(input) ? MOST_ROUNDS : 1);
      log.info({ index: name, document: id, ...result }, 'document indexed');
      return result;
    } catch (error) {
      throw failureOf(error, job, patienceMs);
    }
  });
}

/** What was loaded may be old by the time it is written, and go over what a job beside this one has written: so it is looked at again. */
async function untilUnchanged(
  next: () => Promise<IndexDocumentResult>,
  mostRounds: number,
): Promise<IndexDocumentResult> {
  let result = await next();
  for (let round = 1; round < mostRounds && isChange(result); round++) {
    const { status, embedded } = await next();
    if (!isChange({ status })) break;
    result = { status, embedded: result.embedded + embedded };
  }
  return result;
}

function isChange({ status }: Pick<IndexDocumentResult, 'status'>): boolean {
  return status !== 'unchanged' && status !== 'absent';
}

function isLoaded({ remove, text }: ParsedIndexDocument): boolean {
  return !remove && text === undefined;
}

/** Undefined for a document that is to go. */
async function itemOf(
  { index, id, text, metadata, remove }: ParsedIndexDocument,
  { load }: CheckedIndex,
  signal: AbortSignal,
): Promise<VectorItem | undefined> {
  if (remove) return undefined;
  if (text !== undefined) return { id, text, ...(metadata && { metadata }) } as VectorItem;
  if (!load) throw unrecoverable(`expected a text: this worker has no load() for the index ${index}`);
  return (await load([id], signal)).find((item) => item.id === id);
}

async function write(
  index: VectorIndex,
  item: VectorItem | undefined,
  id: string,
  signal: AbortSignal,
): Promise<IndexDocumentResult> {
  if (!item) {
    const removed = await index.delete(id, { signal });
    return { status: removed > 0 ? 'removed' : 'absent', embedded: 0 };
  }
  const [outcome] = (await index.upsert([item], { signal })).outcomes;
  if (!outcome || outcome.status === 'failed')
    throw outcome?.error ?? unrecoverable(`nothing became of document ${id}`);
  const { status, embedded } = outcome;
  return { status, embedded };
}
