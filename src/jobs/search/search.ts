/**
 * Finds jobs by queue, contract, state, time and text.
 *
 * Promise: a call does a bounded work (2 000 jobs, 32 MB of inputs, 1 000 queues), no script of it holds up a server for more than a few
 * ms, and secrets are masked before anything is compared or shown. Within a group of queues pages come the newest first, as near as
 * the order of each state tells. BullMQ has no index to search by, so a search reads jobs until its page is full; a job that moves to another
 * state while pages are read may be met twice or not at all.
 * Redis down: the call fails. A node of a Cluster that does not answer hides its own queues only, and `isWhole` says so.
 */
import type { Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import { createBatch, type Batch } from '../../redis/batch.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { checkOptions, nearest } from '../../schema.ts';
import type { QueueSet } from '../queue-set.ts';
import { countJobs, keysToCount } from '../count-jobs.ts';
import { decodeCursor, encodeCursor, type Progress } from './cursor.ts';
import {
  filterSchema,
  searchOptionsSchema,
  type CheckedFilter,
  type JobFilter,
  type JobPage,
  type JobSummary,
  type SearchOptions,
} from './filter.ts';
import type { Query } from './read-jobs.ts';
import { Source } from './source.ts';

/** What a search works with. */
export interface SearchParts {
  queues: QueueSet;
  clock: Clock;
  /** Paths of what is secret, by the name of the contract. */
  secrets: () => Promise<ReadonlyMap<string, readonly string[]>>;
}

const MOST_JOBS = 2_000;
const MOST_BYTES = 32 * 1_024 * 1_024;
/** Of inputs, what one round trip reads, all sources together. */
const ROUND_BYTES = 1_024 * 1_024;
const MOST_QUEUES = 1_000;
/** Queues that are looked at in one round trip, to see which have jobs. */
const LOOK = 100;
/** States of queues that are walked side by side. */
const MOST_SOURCES = 100;
/** Jobs that are read of one source at a time: few at first, for most pages need no more. */
const FIRST_CHUNK = 20;
const CHUNK = 100;

/** One page of the jobs that fit. @throws MillraceError OPTIONS_INVALID, JOB_UNKNOWN for a queue that nobody ever used */
export async function searchJobs(parts: SearchParts, filter: JobFilter, options: SearchOptions = {}): Promise<JobPage> {
  const checked = checkOptions(filterSchema, filter, 'jobs.search');
  const { limit, cursor, signal } = checkOptions(searchOptionsSchema, options, 'jobs.search');
  const began: Progress = { before: parts.clock.wallMs() + 1, after: '', places: new Map() };
  const progress = cursor === undefined ? began : decodeCursor(checked, cursor);
  signal?.throwIfAborted();
  try {
    const [queues, secrets] = await Promise.all([queuesFor(parts.queues, checked.queues), parts.secrets()]);
    const toMs = Math.min(checked.to ?? Number.POSITIVE_INFINITY, progress.before);
    const search = new Search(parts.queues, { filter: checked, toMs, secrets }, progress, signal);
    return await search.page(queues, limit);
  } catch (error) {
    signal?.throwIfAborted();
    throw explainRedisError(error, parts.queues.connections.label);
  }
}

/** The queues that are meant, in the order in which they are walked. @throws MillraceError JOB_UNKNOWN */
async function queuesFor(queues: QueueSet, meant: CheckedFilter['queues']): Promise<string[]> {
  const known = await queues.known();
  if (!meant) return known;
  const strange = meant.find((queue) => !known.includes(queue));
  if (strange === undefined) return known.filter((queue) => meant.includes(queue));
  const guess = nearest(strange, known);
  const hint = guess === undefined ? '' : `, did you mean ${guess}?`;
  throw new MillraceError('JOB_UNKNOWN', `there is no queue ${strange}${hint}`, { queue: strange });
}

class Search {
  readonly #queues: QueueSet;
  readonly #query: Query;
  readonly #progress: Progress;
  readonly #signal: AbortSignal | undefined;
  readonly #seen = new Set<string>();
  #scanned = 0;
  #bytes = 0;
  #looked = 0;
  #isWhole = true;

  constructor(queues: QueueSet, query: Query, progress: Progress, signal: AbortSignal | undefined) {
    this.#queues = queues;
    this.#query = query;
    this.#progress = progress;
    this.#signal = signal;
  }

  async page(queues: readonly string[], limit: number): Promise<JobPage> {
    const jobs: JobSummary[] = [];
    const progress = this.#progress;
    let hasMore = true;
    while (hasMore && jobs.length < limit && !this.#isSpent && this.#looked < MOST_QUEUES) {
      const sources = await this.#group(queues);
      await this.#walk(sources, jobs, limit);
      if (sources.every(({ hasEnded, next }) => hasEnded && !next)) {
        progress.after = progress.upTo ?? progress.after;
        progress.upTo = undefined;
        progress.places.clear();
      } else {
        progress.places = placesOf(sources);
      }
      hasMore = progress.upTo !== undefined || queues.some((queue) => queue > progress.after);
    }
    const page = { jobs, scanned: this.#scanned, isWhole: this.#isWhole && !hasMore };
    return hasMore ? { ...page, cursor: encodeCursor(this.#query.filter, progress) } : page;
  }

  get #isSpent(): boolean {
    return this.#scanned >= MOST_JOBS || this.#bytes >= MOST_BYTES;
  }

  /** The next queues that have jobs in the states, as many as can be walked side by side; those of the group that a page has begun. */
  async #group(queues: readonly string[]): Promise<Source[]> {
    const { after, upTo } = this.#progress;
    const left = queues.filter((queue) => queue > after && (upTo === undefined || queue <= upTo));
    const sources: Source[] = [];
    for (let from = 0; from < left.length; from += LOOK) {
      this.#signal?.throwIfAborted();
      const names = left.slice(from, from + LOOK);
      const found = await this.#sourcesOf(names);
      this.#looked += names.length;
      for (const [index, ofQueue] of found.entries()) {
        if (upTo === undefined && sources.length >= MOST_SOURCES) return sources;
        sources.push(...ofQueue);
        if (upTo === undefined) this.#progress.upTo = names[index];
      }
      if (upTo === undefined && this.#looked >= MOST_QUEUES) break;
    }
    return sources;
  }

  async #sourcesOf(names: readonly string[]): Promise<Source[][]> {
    const { filter } = this.#query;
    const { keys } = this.#queues;
    const counts = await Promise.allSettled(names.map((name) => this.#countsOf(name)));
    const failed = counts.find((count) => count.status === 'rejected');
    if (failed) this.#isWhole = false;
    if (failed && counts.every(({ status }) => status === 'rejected')) throw failed.reason;
    return names.map((name, index) => {
      const count = counts[index];
      if (count?.status !== 'fulfilled') return [];
      const places = this.#progress.places.get(name);
      return filter.states
        .filter((state) => (count.value[state] ?? 0) > 0)
        .map((state) => new Source(name, state, { keys, filter, place: places?.get(state) }));
    });
  }

  /** How many jobs the queue has in each of the states; BullMQ knows of no cancelled ones. */
  async #countsOf(name: string): Promise<Partial<Record<string, number>>> {
    const { client, keys } = this.#queues;
    const [counts, cancelled] = await Promise.all([
      countJobs(client, keysToCount(keys, name), {}),
      this.#query.filter.states.includes('cancelled') ? client.zcard(keys.cancelledList(name)) : 0,
    ]);
    return { ...counts, cancelled };
  }

  /** Takes the newest of what the sources know, once each knows its next one. */
  async #walk(sources: readonly Source[], jobs: JobSummary[], limit: number): Promise<void> {
    await this.#together(sources, (source, batch) => source.resume(batch));
    for (let chunk = FIRST_CHUNK; jobs.length < limit;) {
      const hungry = sources.filter(({ isHungry }) => isHungry);
      if (hungry.length > 0 && !this.#isSpent) {
        await this.#feed(hungry, chunk);
        chunk = CHUNK;
        continue;
      }
      const job = latestOf(sources)?.take();
      if (!job) return;
      jobs.push(job);
    }
  }

  async #feed(hungry: readonly Source[], chunk: number): Promise<void> {
    this.#signal?.throwIfAborted();
    const count = Math.max(1, Math.min(chunk, Math.floor((MOST_JOBS - this.#scanned) / hungry.length)));
    await this.#together(hungry, (source, batch) => source.fetchIds(batch, count));
    const most = Math.floor(ROUND_BYTES / hungry.length);
    const order = { query: this.#query, client: this.#queues.client, most, isNew: this.#isNew };
    const looks = await this.#together(hungry, (source, batch) => source.read(batch, order));
    for (const { jobs, bytes, isCut } of looks) {
      this.#scanned += jobs;
      this.#bytes += bytes;
      if (isCut) this.#isWhole = false;
    }
  }

  readonly #isNew = (queue: string, id: string): boolean => {
    const job = `${queue} ${id}`;
    if (this.#seen.has(job)) return false;
    this.#seen.add(job);
    return true;
  };

  async #together<T>(sources: readonly Source[], act: (source: Source, batch: Batch) => Promise<T>): Promise<T[]> {
    const batch = createBatch(this.#queues.client);
    const acts = Promise.all(sources.map((source) => act(source, batch)));
    acts.catch(() => undefined); // Awaited below.
    await batch.send();
    return acts;
  }
}

function latestOf(sources: readonly Source[]): Source | undefined {
  let latest: Source | undefined;
  for (const source of sources) {
    if (source.next && (!latest?.next || source.next.enqueuedAt > latest.next.enqueuedAt)) latest = source;
  }
  return latest;
}

function placesOf(sources: readonly Source[]): Progress['places'] {
  const places: Progress['places'] = new Map();
  for (const { queue, state, place } of sources) {
    if (!place) continue;
    const ofQueue = places.get(queue) ?? new Map<Source['state'], typeof place>();
    places.set(queue, ofQueue.set(state, place));
  }
  return places;
}
