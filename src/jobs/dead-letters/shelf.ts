/**
 * The dead letters as they lie in Redis: the `wait` lists of the dead-letter queues, which nobody works on. The oldest stands first,
 * because BullMQ looks for what it removes from there on, and the oldest are the first to be given back and to be dropped.
 *
 * A list changes while it is walked. So each page begins with the last letter of the page before; where that has moved it is looked
 * for, and where it is gone the walk begins again, past what it has seen. A letter that is there all the time is thus met once.
 */
import type { JobJson } from 'bullmq';
import { MillraceError } from '../../errors.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { defineScript } from '../../redis/script.ts';
import { nearest } from '../../schema.ts';
import { deadQueueOf } from '../queue-names.ts';
import type { OpenQueue, QueueSet } from '../queue-set.ts';
import { parseLetter, readLetter, type DeadLetter } from './letter.ts';

/** A letter, and where it was when it was read. */
export interface Filed {
  letter: DeadLetter;
  job: JobJson;
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
    return this.#ask(() => this.#queues.client.llen(this.#dead(queue).key('wait')));
  }

  /** The letter; undefined if it is not there, or is none. */
  async read(queue: string, id: string): Promise<Filed | undefined> {
    const job = await this.#ask(() => this.#dead(queue).backend.getJobData(id));
    const letter = readLetter(job, id);
    return job && letter && { job, letter };
  }

  /** The letters, in the order of the ids; undefined for those that are gone. */
  async readAll(queue: string, ids: readonly string[]): Promise<Array<Filed | undefined>> {
    return Promise.all(ids.map((id) => this.read(queue, id)));
  }

  /** All letters of the queue, the oldest first, some hundred at a time and fewer where they are large. */
  async *letters(queue: string): AsyncGenerator<DeadLetter[], void, undefined> {
    const dead = this.#dead(queue);
    for await (const { ids } of this.walk(queue, 'oldest', undefined, LARGE_PAGE)) {
      for (let left = ids; left.length > 0;) {
        const places = { letters: left.map((id) => dead.key(id)) };
        const read = await this.#ask(() => readLetters(this.#queues.client, places, { most: PAGE_BYTES }));
        yield read.flatMap((data, index) => parseLetter(data, left[index] ?? '') ?? []);
        left = left.slice(Math.max(1, read.length));
      }
    }
  }

  /** When each of the jobs was filed, in milliseconds since 1970; undefined for those that are gone. */
  async times(queue: string, ids: readonly string[]): Promise<Array<number | undefined>> {
    const dead = this.#dead(queue);
    const times = await this.#ask(() =>
      Promise.all(ids.map((id) => this.#queues.client.hget(dead.key(id), 'timestamp'))),
    );
    return times.map((time) => (time === null ? undefined : Number(time)));
  }

  /** The oldest letters' ids, the oldest first. */
  async oldest(queue: string, count: number): Promise<string[]> {
    return this.#page(this.#dead(queue), 'oldest', 0, count);
  }

  /** Where the letter stands now; undefined if it is gone. */
  async placeOf(queue: string, first: 'newest' | 'oldest', id: string): Promise<Place | undefined> {
    const index = await this.#indexOf(this.#dead(queue), first, id);
    return index === undefined ? undefined : { id, index };
  }

  /** Walks over the ids, from the newest or the oldest; after a place, if that letter is still there. */
  async *walk(
    queue: string,
    first: 'newest' | 'oldest',
    after?: Place,
    size: number = PAGE,
  ): AsyncGenerator<IdPage, void, undefined> {
    const dead = this.#dead(queue);
    const seen = new Set<string>();
    let last = after;
    for (;;) {
      const from = last?.index ?? 0;
      const ids = await this.#page(dead, first, from, size + 1);
      if (last && ids[0] !== last.id) {
        const index: number | undefined = await this.#indexOf(dead, first, last.id);
        last = index === undefined ? undefined : { id: last.id, index };
        continue;
      }
      const fresh: string[] = (last ? ids.slice(1) : ids).filter((id) => !seen.has(id));
      const lastId = ids.at(-1);
      if (lastId === undefined || lastId === last?.id) return;
      const index = from + (last ? 1 : 0);
      last = { id: lastId, index: from + ids.length - 1 };
      for (const id of fresh) seen.add(id);
      if (fresh.length > 0) yield { ids: fresh, index };
    }
  }

  async #page(dead: OpenQueue, first: 'newest' | 'oldest', from: number, count: number): Promise<string[]> {
    const { client } = this.#queues;
    const key = dead.key('wait');
    if (first === 'oldest') return this.#ask(() => client.lrange(key, from, from + count - 1));
    return (await this.#ask(() => client.lrange(key, -(from + count), -(from + 1)))).toReversed();
  }

  async #indexOf(dead: OpenQueue, first: 'newest' | 'oldest', id: string): Promise<number | undefined> {
    const { client } = this.#queues;
    const key = dead.key('wait');
    const [index, length] = await this.#ask(() =>
      Promise.all([client.lpos(key, id, 'RANK', first === 'newest' ? -1 : 1), client.llen(key)]),
    );
    if (index === null) return undefined;
    return first === 'oldest' ? index : length - 1 - index;
  }

  #dead(queue: string): OpenQueue {
    return this.#queues.get(deadQueueOf(queue));
  }

  async #ask<T>(question: () => Promise<T>): Promise<T> {
    try {
      return await question();
    } catch (error) {
      throw explainRedisError(error, this.#queues.connections.label);
    }
  }
}
