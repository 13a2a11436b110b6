/**
 * `search.rebuild`: a new version of an index, of what its options say now, from what the source of its documents has.
 *
 *   parts, on all workers: load --> write, where the index has this form already; else embed, and keep the vectors
 *   parent, when all have ended: copy into the new version, of kept vectors --> take over --> write what was not there
 *
 * Promise: searches go on, and find the former version until the new one is whole. A part or a parent that is killed, or waits for the limit,
 * goes on where it was: what is written is unchanged, and what was embedded is kept. Parts that fail for good are told, and the former version
 * is used on unless the job says otherwise. What was in the index before a list was begun, and is not in it, is removed once the list has come to
 * its end: so one that is cut off removes nothing that it has not come to, and what is added meanwhile stays.
 * Redis down: the attempt fails, and goes on later.
 */
import { createHash } from 'node:crypto';
import {
  cachedEmbedder,
  handle,
  isMillraceError,
  unrecoverable,
  type CachedEmbedder,
  type Handler,
  type JobContext,
  type VectorIndex,
} from 'millrace';
import { pagesOf, untilAborted } from './pages.ts';
import {
  searchRebuild,
  searchRebuildPart,
  type ParsedRebuild,
  type ParsedRebuildPart,
  type RebuildPartResult,
  type RebuildResult,
  type RefusedDocument,
} from './search/contract.ts';
import { limited, storeOf } from './search/embedding.ts';
import { failureOf, isRefused } from './search/failure.ts';
import { keptFor } from './search/kept-for.ts';
import {
  checkSearch,
  indexNamed,
  MOST_ROUNDS,
  type CheckedIndex,
  type CheckedSearch,
  type SearchOptions,
} from './search/options.ts';

/** An index whose documents can be listed and loaded, and how it is worked with. */
interface Source {
  readonly name: string;
  readonly options: CheckedIndex['options'];
  readonly load: NonNullable<CheckedIndex['load']>;
  readonly ids: NonNullable<CheckedIndex['ids']>;
  readonly index: VectorIndex;
  /** Keeps vectors beside the index; each one counts for itself. */
  readonly embedder: () => CachedEmbedder;
  readonly batch: number;
}

/** What is told of documents, as long as it goes on. */
interface Tally {
  documents: number;
  embedded: number;
  refused: number;
  examples: RefusedDocument[];
}

const SHOWN_REFUSALS = 10;
const SHOWN_FAILURES = 3;

/**
 * The handlers of `search.rebuild-part` and `search.rebuild`, for one worker or for two kinds of them.
 *
 * @example
 * const rebuild = createSearchRebuildHandlers({
 *   indexes: { help: { ids: () => database.articleIds(), load: (ids) => database.articles(ids) } },
 *   embedder,
 * });
 * await platform.work({ handlers: [...rebuild] });
 * await platform.jobs.enqueueFlow(rebuildFlow({ index: 'help' }));
 * @throws MillraceError OPTIONS_INVALID
 */
export function createSearchRebuildHandlers(options: SearchOptions): [part: Handler, parent: Handler] {
  const checked = checkSearch(options, 'createSearchRebuildHandlers');
  const sourceOf = keptFor((name, context) => openSource(checked, name, context));
  const mended =
    <Input, Result>(run: (input: Input, context: JobContext) => Promise<Result>) =>
    async (input: Input, context: JobContext): Promise<Result> => {
      try {
        return await run(input, context);
      } catch (error) {
        throw failureOf(error, context.job, checked.patienceMs);
      }
    };
  return [
    handle(
      searchRebuildPart,
      mended((input: ParsedRebuildPart, context) => prepare(sourceOf(input.index, context), input, context)),
    ),
    handle(
      searchRebuild,
      mended((input: ParsedRebuild, context) => finish(sourceOf(input.index, context), input, context, checked)),
    ),
  ];
}

function openSource(checked: CheckedSearch, name: string, { vectors, limits }: JobContext): Source {
  const { options, load, ids } = indexNamed(checked, name);
  if (!load || !ids) throw unrecoverable(`index ${name}: expected load and ids in the options of this worker`);
  const within = limited(options.embedder, limits, checked.perProvider, 'wait');
  const store = storeOf(vectors.values(name, 'embedding'), checked.keepEmbeddingsMs);
  const embedder = (): CachedEmbedder => cachedEmbedder(within, store);
  return {
    name,
    options,
    load,
    ids,
    index: vectors.index({ ...options, embedder: embedder() }),
    embedder,
    batch: checked.batch,
  };
}

async function prepare(
  source: Source,
  { part, parts }: ParsedRebuildPart,
  context: JobContext,
): Promise<RebuildPartResult> {
  const { log, progress, signal } = context;
  const isOurs = (id: string): boolean => partOf(id, parts) === part;
  const form = await formOf(source.index);
  const tally = newTally();
  const tell = (): void => progress({ documents: tally.documents, embedded: tally.embedded });
  if (form === 'same') await writeListed(source, isOurs, { context, tally, tell });
  else
    for await (const ids of batchesOf(source, isOurs, signal)) {
      if (form === 'embeds') await embedAll(source, ids, tally, signal);
      else tally.documents += ids.length;
      tell();
    }
  log.info({ index: source.name, part, ...tally, form }, 'documents prepared');
  return { ...tally, written: form === 'same' };
}

async function finish(
  source: Source,
  { despiteFailures }: ParsedRebuild,
  context: JobContext,
  { keepOldMs, minRecall }: CheckedSearch,
): Promise<RebuildResult> {
  const { children, job, log, once, progress, signal } = context;
  const { results, failures: failed } = await children();
  const parts = Object.values(results) as RebuildPartResult[];
  const failures = Object.values(failed);
  if (failures.length > 0 && !despiteFailures) throw partsFailed(source.name, failures, parts.length);
  const tally = newTally();
  for (const { embedded, refused, examples } of parts) {
    tally.embedded += embedded;
    tally.refused += refused;
    tally.examples.push(...examples.slice(0, SHOWN_REFUSALS - tally.examples.length));
  }
  const { load } = source;
  // An attempt that comes back to write the rest builds no further version; a redrive does, for options may have changed.
  const { version, embedded } = await once(`version ${job.redriven}`, () =>
    source.index.rebuild({
      load: (ids) => load(ids, signal),
      keepOld: keepOldMs,
      ...(minRecall !== undefined && { minRecall }),
      onProgress: (told) => progress({ ...told }),
      signal,
    }),
  );
  if (parts.length === 0 || parts.some(({ written }) => !written)) {
    const rest = newTally();
    const tell = (): void => progress({ phase: 'writing the rest', documents: rest.documents });
    await writeListed(source, () => true, { context, tally: rest, tell });
    tally.embedded += rest.embedded;
    // The parts have told of theirs.
    if (parts.length === 0) Object.assign(tally, { refused: rest.refused, examples: rest.examples });
  }
  const { documents } = await source.index.stats();
  log.info({ index: source.name, version, documents }, 'index rebuilt');
  return {
    version,
    documents,
    embedded: tally.embedded + embedded,
    refused: tally.refused,
    examples: tally.examples,
    failures,
  };
}

/** Whether the index is what the options say; if not, whether its vectors can be copied into one that is. */
async function formOf(index: VectorIndex): Promise<'same' | 'copies' | 'embeds'> {
  try {
    await index.open();
    return 'same';
  } catch (error) {
    if (!isMillraceError(error, 'INDEX_MISMATCH')) throw error;
    const { differences = [] } = error.facts as { differences?: string[] };
    return differences.some((one) => /^(?:embedder|chunker|dimensions|metric):/.test(one)) ? 'embeds' : 'copies';
  }
}

/** Makes the index what the source lists, of the documents that are meant. */
async function writeListed(
  source: Source,
  isMeant: (id: string) => boolean,
  { context: { log, signal }, tally, tell }: { context: JobContext; tally: Tally; tell: () => void },
): Promise<void> {
  const { index, name } = source;
  // What is there before the list is begun: what comes while it is read may be behind the place where it would stand.
  const unlisted = new Set<string>();
  for await (const id of chosen(untilAborted(index.ids(), signal), isMeant)) unlisted.add(id);
  for await (const ids of batchesOf(source, isMeant, signal)) {
    for (const id of ids) unlisted.delete(id);
    await writeAll(source, ids, tally, signal);
    tell();
  }
  const removed = await index.delete([...unlisted], { signal });
  if (removed === 0) return;
  log.info({ index: name, documents: removed }, 'documents that the source does not list are removed');
  // Whoever has brought one back since, and found it unchanged here, has written nothing: so it is looked for once more.
  for await (const ids of batchesOf(source, (id) => unlisted.has(id), signal))
    await writeAll(source, ids, tally, signal);
}

async function writeAll(
  { load, index }: Source,
  ids: readonly string[],
  tally: Tally,
  signal: AbortSignal,
): Promise<void> {
  let left = ids;
  for (let round = 0; round < MOST_ROUNDS && left.length > 0; round++) {
    const items = await load(left, signal);
    const there = new Set(items.map(({ id }) => id));
    const { outcomes } = await index.upsert(items, { signal });
    for (const { id, embedded, error } of outcomes) {
      if (error && !isRefused(error)) throw error;
      tally.embedded += embedded;
      if (error) note(tally, id, error);
    }
    const gone = left.filter((id) => !there.has(id));
    const removed = gone.length > 0 ? await index.delete(gone, { signal }) : 0;
    if (round === 0) tally.documents += items.length;
    // What was loaded may be old by now, and have gone over what `search.index-document` has written meanwhile: look again.
    const changed = outcomes.filter(({ status }) => status === 'added' || status === 'updated').map(({ id }) => id);
    left = removed > 0 ? [...changed, ...gone] : changed;
  }
}

/** Embeds what the new version will ask for, and keeps it. */
async function embedAll(
  { load, options, embedder }: Source,
  ids: readonly string[],
  tally: Tally,
  signal: AbortSignal,
): Promise<void> {
  const items = await load(ids, signal);
  const { chunker } = options;
  const chunks = items.flatMap(({ id, text, vector }) =>
    text === undefined || text.trim() === '' || vector !== undefined
      ? []
      : (chunker?.split(text) ?? [text]).map((chunk) => ({ id, chunk })),
  );
  const cached = embedder();
  const made = await cached.embedEach(
    chunks.map(({ chunk }) => chunk),
    { kind: 'document', signal },
  );
  tally.embedded += cached.counts().embedded;
  const refused = new Map<string, Error>();
  for (const [at, one] of made.entries()) if (isMillraceError(one)) refused.set(chunks[at]?.id ?? '', one);
  for (const [id, error] of refused) note(tally, id, error);
  tally.documents += items.length;
}

function batchesOf(
  { ids, batch }: Source,
  isMeant: (id: string) => boolean,
  signal: AbortSignal,
): AsyncIterable<string[]> {
  return pagesOf(chosen(untilAborted(ids({ signal }), signal), isMeant), batch);
}

async function* chosen(ids: AsyncIterable<string>, isMeant: (id: string) => boolean): AsyncGenerator<string, void> {
  for await (const id of ids) if (isMeant(id)) yield id;
}

/** Each document is of one part, the same one each time. */
function partOf(id: string, parts: number): number {
  return createHash('sha256').update(id).digest().readUInt32BE() % parts;
}

function newTally(): Tally {
  return { documents: 0, embedded: 0, refused: 0, examples: [] };
}

function note(tally: Tally, id: string, error: Error): void {
  tally.refused++;
  if (tally.examples.length < SHOWN_REFUSALS) tally.examples.push({ id, reason: error.message });
}

function partsFailed(index: string, failures: readonly string[], others: number): Error {
  const shown = failures.slice(0, SHOWN_FAILURES).join('; ');
  const of = failures.length + others;
  return unrecoverable(
    `index ${index}: ${failures.length} of ${of} parts failed, and the former version is used on: ${shown}. What was embedded is kept: enqueue the flow again`,
  );
}
