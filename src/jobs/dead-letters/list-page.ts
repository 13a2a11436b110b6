/**
 * One page of dead letters across queues, the newest first.
 *
 * A cursor tells of each queue the last letter that was looked at. Where that has gone meanwhile, the queue is walked from its
 * beginning, past what died later.
 *
 * A queue's next letter is known by its time alone until its turn comes near, so that of a thousand queues with letters a page reads no more than
 * of one. A page that may read so many letters only ends where they are used up: after few letters or none, with a cursor that goes on.
 */
import { z } from 'zod';
import { MillraceError } from '../../errors.ts';
import { fits, type CheckedFilter } from './filter.ts';
import type { DeadLetter } from './letter.ts';
import type { IdPage, Place, Shelf } from './shelf.ts';

/** A page of dead letters. */
export interface DeadLetterPage {
  letters: DeadLetter[];
  /** For the next page; undefined on the last. */
  cursor: string | undefined;
  /** How many letters were read for the page, whether they fit or not. */
  read: number;
}

/** The last letter of a queue that a page has looked at. */
interface Mark extends Place {
  diedAt: number;
}

const cursorSchema = z.record(z.string(), z.tuple([z.string(), z.number().int().min(0), z.number()]));

/** @throws MillraceError OPTIONS_INVALID for a cursor that is none; JOB_UNKNOWN */
export async function listPage(
  shelf: Shelf,
  filter: CheckedFilter,
  { limit, mostRead, cursor }: { limit: number; mostRead: number; cursor?: string | undefined },
): Promise<DeadLetterPage> {
  const marks = cursor === undefined ? new Map<string, Mark>() : decode(cursor);
  const queues = await shelf.filled(filter.queue);
  // Of one queue a page is read at once, and the letter after it, which tells that there are more; of a thousand queues little of each.
  const look = Math.min(LOOK, Math.max(LEAST_LOOK, Math.ceil((limit + 1) / queues.length)));
  const sources = queues.map((queue) => new Source(shelf, queue, marks.get(queue), look));
  await Promise.all(sources.map((source) => source.begin()));
  const letters: DeadLetter[] = [];
  let read = 0;
  const isFull = (): boolean => letters.length >= limit || read >= mostRead;
  while (!isFull()) {
    const [near, rest] = nearest(sources, Math.min(limit - letters.length, MOST_NEAR));
    if (near.length === 0) break;
    await Promise.all(near.map((source) => source.fetch()));
    for (let source = near[0]; source?.isFetched && !isFull();) {
      const letter = await source.take();
      read++;
      if (letter && fits(filter, letter)) letters.push(letter);
      const latest = latestOf(near);
      source = latest && latest.diedAt >= rest ? latest : undefined;
    }
  }
  await Promise.all(sources.map((source) => source.end()));
  const isLast = sources.every(({ diedAt }) => diedAt === NEVER);
  return { letters, cursor: isLast ? undefined : encode(sources), read };
}

/** Queues of which letters are fetched at once. */
const MOST_NEAR = 50;
/** Letters of a queue that are looked at together. */
const LEAST_LOOK = 2;
const LOOK = 51;
const NEVER = Number.NEGATIVE_INFINITY;

/** The letters of one queue, the newest first. */
class Source {
  readonly queue: string;
  /** The last one that was taken. */
  mark: Mark | undefined;
  readonly #shelf: Shelf;
  /** The next ones, as far as they are known. */
  #next: Mark[] = [];
  /** By id; undefined for what is no letter, or is gone. */
  #fetched = new Map<string, DeadLetter | undefined>();
  #pages: AsyncGenerator<IdPage, void, undefined> | undefined;
  readonly #firstLook: number;
  /** Letters that died later belong to earlier pages. */
  #since = Number.POSITIVE_INFINITY;

  constructor(shelf: Shelf, queue: string, mark: Mark | undefined, firstLook: number) {
    this.#shelf = shelf;
    this.#firstLook = firstLook;
    this.queue = queue;
    this.mark = mark;
  }

  /** When the next one died; `NEVER` if there is none. */
  get diedAt(): number {
    return this.#next[0]?.diedAt ?? NEVER;
  }

  /** Whether take() has it at hand. */
  get isFetched(): boolean {
    const [next] = this.#next;
    return next !== undefined && this.#fetched.has(next.id);
  }

  async begin(): Promise<void> {
    const place = this.mark && (await this.#shelf.placeOf(this.queue, 'newest', this.mark.id));
    if (this.mark && !place) this.#since = this.mark.diedAt;
    this.#pages = this.#shelf.walk(this.queue, 'newest', place, this.#firstLook, LOOK);
    await this.#look();
  }

  /** Reads the next ones. */
  async fetch(): Promise<void> {
    if (this.isFetched) return;
    const ids = this.#next.map(({ id }) => id);
    const filed = await this.#shelf.readAll(this.queue, ids);
    this.#fetched = new Map(ids.map((id, index) => [id, filed[index]?.letter]));
  }

  async take(): Promise<DeadLetter | undefined> {
    const taken = this.#next.shift();
    if (taken) this.mark = taken;
    if (this.#next.length === 0) await this.#look();
    return taken && this.#fetched.get(taken.id);
  }

  async end(): Promise<void> {
    await this.#pages?.return();
  }

  /** Finds out what comes next. */
  async #look(): Promise<void> {
    while (this.#next.length === 0) {
      const page = await this.#pages?.next();
      if (!page?.value) return;
      const { ids, index } = page.value;
      const times = await this.#shelf.times(this.queue, ids);
      this.#next = ids.flatMap((id, offset) => {
        const diedAt = times[offset];
        return diedAt === undefined || diedAt > this.#since ? [] : { id, index: index + offset, diedAt };
      });
    }
  }
}

/** The sources with the latest letters, the latest first, and when the latest of the others died. */
function nearest(sources: readonly Source[], most: number): [near: Source[], rest: number] {
  const inOrder = sources.filter(({ diedAt }) => diedAt !== NEVER).toSorted((one, other) => other.diedAt - one.diedAt);
  return [inOrder.slice(0, most), inOrder[most]?.diedAt ?? NEVER];
}

function latestOf(sources: readonly Source[]): Source | undefined {
  let latest: Source | undefined;
  for (const source of sources) if (source.diedAt > (latest?.diedAt ?? NEVER)) latest = source;
  return latest;
}

function encode(sources: readonly Source[]): string {
  const marks = sources.flatMap(({ queue, mark }) => (mark ? [[queue, [mark.id, mark.index, mark.diedAt]]] : []));
  return Buffer.from(JSON.stringify(Object.fromEntries(marks))).toString('base64url');
}

function decode(cursor: string): Map<string, Mark> {
  const { data } = cursorSchema.safeParse(parse(cursor));
  if (!data) {
    throw new MillraceError('OPTIONS_INVALID', 'deadLetters.list: cursor: expected one that an earlier page gave', {
      cursor,
    });
  }
  return new Map(Object.entries(data).map(([queue, [id, index, diedAt]]) => [queue, { id, index, diedAt }]));
}

function parse(cursor: string): unknown {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    return undefined; // Told as any other cursor that is none.
  }
}
