/**
 * The jobs of one queue in one state, the newest first as far as the state's own order tells: lists have the latest that came, finished jobs the
 * latest that ended, delayed ones the latest that is due.
 *
 * A place in a list is an index with the id that stands before it, because new jobs push the others on; a place in a sorted set is a score with
 * how many of that score have been passed.
 */
import type { Batch } from '../../redis/batch.ts';
import type { RedisClient } from '../../redis/clients.ts';
import type { JobKeys } from '../queue-names.ts';
import type { CheckedFilter, JobSummary, SearchableState } from './filter.ts';
import { lookAt, type Query } from './read-jobs.ts';

/** In a list, how many stand before it, and the last of them; in a sorted set, a score and how many of that score have been passed. */
export type Place = [index: number, lastId: string] | [score: string, passed: number];

const KEYS: Partial<Record<SearchableState, string>> = { waiting: 'wait' };
const IS_LIST: ReadonlySet<SearchableState> = new Set(['waiting', 'active']);
/** Ordered by their end, before which they were enqueued. */
const BY_END: ReadonlySet<SearchableState> = new Set(['completed', 'failed', 'cancelled']);
/** By how much the clocks of whoever enqueued and of the worker may differ. */
const CLOCKS_DIFFER_MS = 300_000;
/** Farther from the head of a list nobody looks for the job that a page ended with. */
const LOOK_THROUGH = 50_000;

/** A job that fits, and the place before it. */
interface Found {
  job: JobSummary;
  before: Place | undefined;
}

/** How jobs are to be read. */
export interface ReadOrder {
  query: Query;
  client: RedisClient;
  /** Bytes of inputs; at least one job is read. */
  most: number;
  /** Whether the job was not met before: one may move to another state meanwhile. */
  isNew: (queue: string, id: string) => boolean;
}

/** Reads the jobs of one queue in one state. */
export class Source {
  readonly queue: string;
  readonly state: SearchableState;
  /** Nothing more can be read. */
  hasEnded = false;
  readonly #key: string;
  readonly #keyOf: (id: string) => string;
  readonly #lowest: string;
  readonly #found: Found[] = [];
  #place: Place | undefined;
  /** Ids that are to be read, and the place after each. */
  #ids: Array<{ id: string; after: Place }> = [];
  /** No ids come after them. */
  #areLast = false;
  #isResumed: boolean;

  constructor(
    queue: string,
    state: SearchableState,
    { keys, filter, place }: { keys: JobKeys; filter: CheckedFilter; place: Place | undefined },
  ) {
    this.queue = queue;
    this.state = state;
    // What is left of a cancelled job is ours, and BullMQ's no more.
    const isOurs = state === 'cancelled';
    this.#key = isOurs ? keys.cancelledList(queue) : keys.bull(queue, KEYS[state] ?? state);
    this.#keyOf = (id) => (isOurs ? keys.cancelled(queue, id) : keys.bull(queue, id));
    this.#lowest = BY_END.has(state) && filter.from !== undefined ? String(filter.from - CLOCKS_DIFFER_MS) : '-inf';
    this.#place = place;
    this.#isResumed = place !== undefined && IS_LIST.has(state);
  }

  /** The next one that fits, if one is known. */
  get next(): JobSummary | undefined {
    return this.#found[0]?.job;
  }

  /** Nothing is known to fit, but something may. */
  get isHungry(): boolean {
    return this.#found.length === 0 && !this.hasEnded;
  }

  /** Where a later walk goes on. */
  get place(): Place | undefined {
    const [first] = this.#found;
    return first ? first.before : this.#place;
  }

  /** Takes the next one. */
  take(): JobSummary | undefined {
    return this.#found.shift()?.job;
  }

  /** Finds where the last page ended in a list that has moved on. Where that job is gone, the index must do. */
  async resume(batch: Batch): Promise<void> {
    const place = this.#place;
    if (!this.#isResumed || !place || typeof place[0] !== 'number') return;
    this.#isResumed = false;
    const at = (await batch.command('LPOS', this.#key, place[1], 'MAXLEN', LOOK_THROUGH)) as number | null;
    if (at !== null) this.#place = [at + 1, String(place[1])];
  }

  /** Asks for the next ids, unless there are some from before. */
  async fetchIds(batch: Batch, count: number): Promise<void> {
    if (this.#ids.length > 0) return;
    this.#ids = IS_LIST.has(this.state) ? await this.#idsOfList(batch, count) : await this.#idsOfSet(batch, count);
    this.#areLast = this.#ids.length < count;
    if (this.#ids.length === 0) this.hasEnded = true;
  }

  /** Reads the jobs of the ids, as far as one script goes. Gives how many, how many bytes, and whether an input was not searched to its end. */
  async read(
    batch: Batch,
    { query, client, most, isNew }: ReadOrder,
  ): Promise<{ jobs: number; bytes: number; isCut: boolean }> {
    if (this.#ids.length === 0) return { jobs: 0, bytes: 0, isCut: false };
    const ids = this.#ids.map(({ id }) => id);
    const order = { client, queue: this.queue, state: this.state, ids, keyOf: this.#keyOf, most };
    const { jobs, bytes, isCut } = await lookAt(batch, order, query);
    for (const [index, { id, after }] of this.#ids.slice(0, jobs.length).entries()) {
      const job = jobs[index];
      if (job && isNew(this.queue, id)) this.#found.push({ job, before: this.#place });
      this.#place = after;
    }
    this.#ids = this.#ids.slice(jobs.length);
    if (this.#ids.length === 0 && this.#areLast) this.hasEnded = true;
    return { jobs: jobs.length, bytes, isCut };
  }

  async #idsOfList(batch: Batch, count: number): Promise<Array<{ id: string; after: Place }>> {
    const from = Number(this.#place?.[0] ?? 0);
    const ids = (await batch.command('LRANGE', this.#key, from, from + count - 1)) as string[];
    return ids.map((id, index) => ({ id, after: [from + index + 1, id] }));
  }

  async #idsOfSet(batch: Batch, count: number): Promise<Array<{ id: string; after: Place }>> {
    let [score, passed] = [String(this.#place?.[0] ?? '+inf'), Number(this.#place?.[1] ?? 0)];
    const flat = (await batch.command(
      'ZRANGE',
      this.#key,
      score,
      this.#lowest,
      'BYSCORE',
      'REV',
      'LIMIT',
      passed,
      count,
      'WITHSCORES',
    )) as Array<string | number | [string, string | number]>;
    return pairsOf(flat).map(([id, its]) => {
      passed = its === score ? passed + 1 : 1;
      score = its;
      return { id, after: [score, passed] };
    });
  }
}

/** Members with scores: in pairs, or flat, as the protocol of the client has it. */
function pairsOf(reply: ReadonlyArray<string | number | [string, string | number]>): Array<[string, string]> {
  if (Array.isArray(reply[0]))
    return (reply as Array<[string, string | number]>).map(([id, score]) => [id, String(score)]);
  const pairs: Array<[string, string]> = [];
  for (let at = 0; at + 1 < reply.length; at += 2) pairs.push([String(reply[at]), String(reply[at + 1])]);
  return pairs;
}
