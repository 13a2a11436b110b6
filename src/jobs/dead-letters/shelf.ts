/**
 * The dead letters as they lie in Redis: the `wait` lists of the dead-letter queues, which nobody works on. The oldest stands first,
 * because BullMQ looks for what it removes from there on, and the oldest are the first to be given back and to be dropped.
 *
 * A list changes while it is walked. So each page begins with the last letter of the page before; where that has moved it is looked
 * for, and where it is gone the walk begins again, past what it has seen. A letter that is there all the time is thus met once.
 */
import { MillraceError } from '../../errors.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { holdersOf } from '../../redis/holders.ts';
import { defineScript } from '../../redis/script.ts';
import { nearest } from '../../schema.ts';
import { deadQueueOf } from '../queue-names.ts';
import type { QueueSet } from '../queue-set.ts';
import { isLetterId, parseLetter, type DeadLetter } from './letter.ts';

/** A letter, and the JSON that it was read from. */
export interface Filed {
  letter: DeadLetter;
  data: string;
}

/** Where a walk was. */
export interface Place {
  id: string;
  /** How many stood before it. */
  index: number;
}

/** Ids of letters, in order. */
export interface IdPage {
  ids: string[];
  /** How many stand before the first of them. */
  index: number;
}

const PAGE = 50;
/** Of a walk over all letters. */
const LARGE_PAGE = 500;
const PAGE_BYTES = 1_024 * 1_024;

const readLetters = defineScript({
  file: 'jobs/read-letters.lua',
  keys: ['...letters'],
  args: ['most'],
  reply: (letters: string[]) => letters,
});

/** The dead letters of all queues, for reading. */
export class Shelf {
  readonly #queues: QueueSet;

  constructor(queues: QueueSet) {
    this.#queues = queues;
  }

  /** The queues that are meant: the one, if it is known, or all. @throws MillraceError JOB_UNKNOWN */
  async queuesFor(queue: string | undefined): Promise<string[]> {
    const known = await this.#queues.known();
    if (queue === undefined) return known;
    if (known.includes(queue)) return [queue];
    const guess = nearest(queue, known);
    const hint = guess === undefined ? '' : `, did you mean ${guess}?`;
    throw new MillraceError('JOB_UNKNOWN', `there is no queue ${queue}${hint}`, { queue });
  }

  /** How many letters the queue has. */
  async count(queue: string): Promise<number> {
    return this.#ask(() => this.#queues.client.llen(this.#key(queue, 'wait')));
  }

  /** Of the queues that are meant, those that have letters. @throws MillraceError JOB_UNKNOWN */
  async filled(queue: string | undefined): Promise<string[]> {
    return this.#holders(await this.queuesFor(queue), ['wait']);
  }

  /** Of the queues that are meant, those that have a letter of one of these ids. @throws MillraceError JOB_UNKNOWN */
  async holders(queue: string | undefined, ids: readonly string[]): Promise<string[]> {
    return this.#holders(await this.queuesFor(queue), ids.filter(isLetterId));
  }

  /** The letters, in the order of the ids; undefined for those that are gone. */
  async readAll(queue: string, ids: readonly string[]): Promise<Array<Filed | undefined>> {
    const filed: Array<Filed | undefined> = [];
    for await (const some of this.#read(queue, ids)) filed.push(...some);
    return filed;
  }

  /** All letters of the queue, the oldest first, some hundred at a time and fewer where they are large. */
  async *letters(queue: string): AsyncGenerator<DeadLetter[], void, undefined> {
    for await (const { ids } of this.walk(queue, 'oldest', undefined, LARGE_PAGE)) {
      for await (const some of this.#read(queue, ids)) yield some.flatMap((one) => one?.letter ?? []);
    }
  }

  /** When each of the jobs was filed, in milliseconds since 1970; undefined for those that are gone. */
  async times(queue: string, ids: readonly string[]): Promise<Array<number | undefined>> {
    const times = await this.#ask(() =>
      Promise.all(ids.map((id) => this.#queues.client.hget(this.#key(queue, id), 'timestamp'))),
    );
    return times.map((time) => (time === null ? undefined : Number(time)));
  }

  /** The oldest letters' ids, the oldest first. */
  async oldest(queue: string, count: number): Promise<string[]> {
    return this.#page(queue, 'oldest', 0, count);
  }

  /** Where the letter stands now; undefined if it is gone. */
  async placeOf(queue: string, first: 'newest' | 'oldest', id: string): Promise<Place | undefined> {
    const index = await this.#indexOf(queue, first, id);
    return index === undefined ? undefined : { id, index };
  }

  /** Walks over the ids, from the newest or the oldest; after a place, if that letter is still there. Pages grow from `size` to `most`. */
  async *walk(
    queue: string,
    first: 'newest' | 'oldest',
    after?: Place,
    size: number = PAGE,
    most: number = size,
  ): AsyncGenerator<IdPage, void, undefined> {
    const seen = new Set<string>();
    let last = after;
    for (let count = size; ;) {
      const from = last?.index ?? 0;
      const wanted = count + (last ? 1 : 0);
      const ids = await this.#page(queue, first, from, wanted);
      if (last && ids[0] !== last.id) {
        const index: number | undefined = await this.#indexOf(queue, first, last.id);
        last = index === undefined ? undefined : { id: last.id, index };
        continue;
      }
      const fresh: string[] = (last ? ids.slice(1) : ids).filter((id) => !seen.has(id));
      const index = from + (last ? 1 : 0);
      if (fresh.length > 0) yield { ids: fresh, index };
      const lastId = ids.at(-1);
      if (lastId === undefined || ids.length < wanted) return;
      last = { id: lastId, index: from + ids.length - 1 };
      for (const id of fresh) seen.add(id);
      count = Math.min(count * 2, most);
    }
  }

  /** The letters, as many at a time as come to a bounded size. */
  async *#read(queue: string, ids: readonly string[]): AsyncGenerator<Array<Filed | undefined>, void, undefined> {
    for (let left = ids; left.length > 0;) {
      const letters = left.map((id) => this.#key(queue, id));
      const read = await this.#ask(() => readLetters(this.#queues.client, { letters }, { most: PAGE_BYTES }));
      yield read.map((data, index) => {
        const letter = parseLetter(data, left[index] ?? '');
        return letter && { letter, data };
      });
      left = left.slice(Math.max(1, read.length));
    }
  }

  async #page(queue: string, first: 'newest' | 'oldest', from: number, count: number): Promise<string[]> {
    const { client } = this.#queues;
    const key = this.#key(queue, 'wait');
    if (first === 'oldest') return this.#ask(() => client.lrange(key, from, from + count - 1));
    return (await this.#ask(() => client.lrange(key, -(from + count), -(from + 1)))).toReversed();
  }

  async #indexOf(queue: string, first: 'newest' | 'oldest', id: string): Promise<number | undefined> {
    const { client } = this.#queues;
    const key = this.#key(queue, 'wait');
    const [index, length] = await this.#ask(() =>
      Promise.all([client.lpos(key, id, 'RANK', first === 'newest' ? -1 : 1), client.llen(key)]),
    );
    if (index === null) return undefined;
    return first === 'oldest' ? index : length - 1 - index;
  }

  async #holders(queues: readonly string[], suffixes: readonly string[]): Promise<string[]> {
    if (suffixes.length === 0) return [];
    const keysOf = (queue: string): string[] => suffixes.map((suffix) => this.#key(queue, suffix));
    const { names, failure } = await this.#ask(() => holdersOf(this.#queues.client, queues, keysOf));
    if (failure !== undefined) throw failure; // What is done to letters must not leave out some without a word.
    return names;
  }

  /** No object of BullMQ is opened to read by: of thousands of queues that would take seconds, and the memory would stay. */
  #key(queue: string, suffix: string): string {
    return this.#queues.keys.bull(deadQueueOf(queue), suffix);
  }

  async #ask<T>(question: () => Promise<T>): Promise<T> {
    try {
      return await question();
    } catch (error) {
      throw explainRedisError(error, this.#queues.connections.label);
    }
  }
}
