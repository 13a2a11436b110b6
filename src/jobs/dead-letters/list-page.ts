/**
 * One page of dead letters across queues, the newest first.
 *
 * A cursor tells of each queue the last letter that was looked at. Where that has gone meanwhile, the queue is walked from its
 * beginning, past what died later.
 *
 * A page that may read so many letters only ends where they are used up: after few letters or none, with a cursor that goes on.
 */
import { z } from 'zod';
import { MillraceError } from '../../errors.ts';
import { fits, type CheckedFilter } from './filter.ts';
import type { DeadLetter } from './letter.ts';
import type { Place, Shelf } from './shelf.ts';

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

/** How many letters a page may read, in all queues together. */
interface Budget {
  left: number;
  read: number;
}

/** @throws MillraceError OPTIONS_INVALID for a cursor that is none; JOB_UNKNOWN */
export async function listPage(
  shelf: Shelf,
  filter: CheckedFilter,
  { limit, mostRead, cursor }: { limit: number; mostRead: number; cursor?: string | undefined },
): Promise<DeadLetterPage> {
  const marks = cursor === undefined ? new Map<string, Mark>() : decode(cursor);
  const queues = await shelf.queuesFor(filter.queue);
  const budget: Budget = { left: mostRead, read: 0 };
  const sources = queues.map((queue) => new Source(shelf, queue, filter, marks.get(queue), budget));
  await Promise.all(sources.map((source) => source.advance()));
  const letters: DeadLetter[] = [];
  // What comes next in a queue that was not read on may be later than what the others have.
  while (letters.length < limit && !sources.some(({ isCut }) => isCut)) {
    const latest = latestOf(sources);
    if (!latest?.next) break;
    letters.push(latest.next.letter);
    await latest.take();
  }
  await Promise.all(sources.map((source) => source.end()));
  const isLast = sources.every(({ next, isCut }) => next === undefined && !isCut);
  return { letters, cursor: isLast ? undefined : encode(sources), read: budget.read };
}

/** The letters of one queue that fit. */
class Source {
  readonly queue: string;
  /** The next one. */
  next: { letter: DeadLetter; place: Place } | undefined;
  /** The last one that was taken, or that does not fit. */
  mark: Mark | undefined;
  /** The budget was used up before the next one was found. */
  isCut = false;
  readonly #shelf: Shelf;
  readonly #budget: Budget;
  readonly #letters: AsyncGenerator<{ letter: DeadLetter; place: Place }, void, undefined>;

  constructor(shelf: Shelf, queue: string, filter: CheckedFilter, mark: Mark | undefined, budget: Budget) {
    this.#shelf = shelf;
    this.#budget = budget;
    this.queue = queue;
    this.mark = mark;
    this.#letters = this.#walk(filter, mark);
  }

  async advance(): Promise<void> {
    const { value } = await this.#letters.next();
    this.next = value ?? undefined;
  }

  async take(): Promise<void> {
    if (this.next) this.mark = { ...this.next.place, diedAt: this.next.letter.diedAt };
    await this.advance();
  }

  async end(): Promise<void> {
    await this.#letters.return();
  }

  async *#walk(
    filter: CheckedFilter,
    mark: Mark | undefined,
  ): AsyncGenerator<{ letter: DeadLetter; place: Place }, void, undefined> {
    const place = mark && (await this.#shelf.placeOf(this.queue, 'newest', mark.id));
    for await (const { ids, index } of this.#shelf.walk(this.queue, 'newest', place)) {
      if (this.#budget.left <= 0) {
        this.isCut = true;
        return;
      }
      const filed = await this.#shelf.readAll(this.queue, ids);
      for (const [offset, one] of filed.entries()) {
        // Letters of earlier pages are free, so that each page comes further.
        if (!one || (mark && !place && one.letter.diedAt > mark.diedAt)) continue;
        const { id, diedAt } = one.letter;
        this.#budget.left--;
        this.#budget.read++;
        if (fits(filter, one.letter)) yield { letter: one.letter, place: { id, index: index + offset } };
        else this.mark = { id, index: index + offset, diedAt };
      }
    }
  }
}

function latestOf(sources: readonly Source[]): Source | undefined {
  let latest: Source | undefined;
  for (const source of sources) {
    if (source.next && (!latest?.next || source.next.letter.diedAt > latest.next.letter.diedAt)) latest = source;
  }
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
