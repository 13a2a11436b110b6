/**
 * Reads new entries for one consumer, on a connection of its own, some way ahead of its handlers.
 *
 * Promise: what Redis has delivered is never forgotten. An answer that got lost with its connection leaves entries pending that nobody has
 * begun; after each failed read the consumer looks through what is pending for it, and begins what it does not know. That is no attempt.
 *
 * A read takes as many as are used up in a moment: few where handlers are slow, so that a process that dies holds up few; up to `prefetch`
 * where they are quick. No read is sent while there is no room for its answer.
 */
import type { Clock } from '../../clock.ts';
import type { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { reconnectDelayMs } from '../../redis/backoff.ts';
import type { RedisClient } from '../../redis/clients.ts';
import { hangUp } from '../../redis/connect.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { compareIds } from '../entry.ts';
import type { ConsumerMeter } from './consumer-metrics.ts';
import { Nap } from './nap.ts';
import type { Group, Listed, Taken } from './scripts.ts';
import type { Settler } from './settler.ts';
import type { Work } from './work.ts';

/** How long a read waits for entries. */
const BLOCK_MS = 2_000;
/** A connection on which a read has no answer for so much longer is given up: its other end may be gone without a word. */
const SILENCE_MS = 5_000;
/** Of a client that is connected; `connect`: the server has not said yet that it is ready. */
const HAS_CONNECTION: ReadonlySet<string> = new Set(['connect', 'ready']);
/** A read that is used up within this is followed by a larger one, one that is not within that by a smaller one. */
const USED_UP_MS = { quick: 100, slow: 400 } as const;
/** Entries of a look through what is pending. */
const LOOK_COUNT = 100;
/** What Redis says to a read that waits when the group, or the stream, is deleted. */
const GONE = /^(?:NOGROUP|UNBLOCKED)/;

/** What a reader works with. */
export interface ReaderParts {
  readonly group: Group;
  readonly consumer: string;
  readonly work: Work;
  readonly settler: Settler;
  readonly meter: ConsumerMeter;
  readonly log: Logger;
  readonly clock: Clock;
  readonly label: string;
  /** Entries of the first read. */
  readonly atFirst: number;
  readonly atMost: number;
  readonly open: () => RedisClient;
  /** Adds the ids of all that this consumer has. */
  readonly addKnown: (ids: Set<string>) => void;
  /** Runs the act while nothing else is taken. */
  readonly exclusively: <T>(act: () => Promise<T>) => Promise<T>;
  /** The group is not there any more; resolves once it was looked at. */
  readonly onGone: () => Promise<void>;
}

type Reply = Array<[key: string, listed: Listed[]]> | null;

/** The reader of one consumer. */
export class Reader {
  readonly #parts: ReaderParts;
  readonly #nap = new Nap();
  #client: RedisClient | undefined;
  #count: number;
  #isPaused = true;
  #isStopped = false;
  /** Something may be pending that this consumer does not know. */
  #mayLack = false;
  #failure: MillraceError | undefined;
  #failures = 0;
  #awaitsRoom = false;
  #sentMs: number | undefined;
  #filledAtMs = 0;
  #watch: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  /** The last id that was delivered. */
  lastId: string | undefined;

  constructor(parts: ReaderParts) {
    this.#parts = parts;
    this.#count = Math.min(parts.atFirst, parts.atMost);
  }

  /** Why reads fail now. */
  get failure(): MillraceError | undefined {
    return this.#failure;
  }

  /** Whether Redis may be about to deliver something. */
  get isReading(): boolean {
    return this.#sentMs !== undefined;
  }

  start(): void {
    this.#watch = setInterval(() => this.#checkSilence(), 1_000);
    this.#running = this.#run();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#nap.wake();
  }

  /** There may be room now. */
  onRoom(): void {
    if (this.#awaitsRoom && this.#hasRoom(0)) this.#nap.wake();
  }

  /** Something may be pending that this consumer does not know. */
  lookForLost(): void {
    this.#mayLack = true;
    this.#nap.wake();
  }

  /** Reads no more. An answer that is on its way is dropped; what it held stays pending. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearInterval(this.#watch);
    if (this.#client) hangUp(this.#client);
    this.#nap.wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    let read: Promise<Reply> | undefined;
    while (!this.#isStopped) {
      try {
        if (!read) {
          if (!(await this.#mayRead())) continue;
          read = this.#read();
        }
        const listed = (await read)?.[0]?.[1] ?? [];
        read = undefined;
        this.#recover();
        if (this.#isStopped) return; // Whoever stopped it gives back what it does not know.
        if (listed.length === 0) continue;
        const fresh = this.#fresh(listed);
        this.#adapt(listed.length);
        // Redis works on the next read while handlers work on this one.
        if (this.#hasRoom(fresh.length) && !this.#isPaused && !this.#mayLack) {
          read = this.#read();
          read.catch(() => undefined); // It is awaited in the next round.
        }
        this.#parts.work.add(fresh);
      } catch (error) {
        read = undefined;
        await this.#fail(error);
      }
    }
  }

  /** Waits until a read may be sent, or something has changed. */
  async #mayRead(): Promise<boolean> {
    if (this.#isPaused) {
      await this.#nap.rest(Number.POSITIVE_INFINITY);
      return false;
    }
    if (!this.#hasRoom(0)) {
      this.#awaitsRoom = true;
      await this.#nap.rest(Number.POSITIVE_INFINITY);
      this.#awaitsRoom = false;
      return false;
    }
    if (!this.#mayLack) return true;
    await this.#look();
    return false;
  }

  #hasRoom(more: number): boolean {
    const { work, settler } = this.#parts;
    return !work.isAlone && work.hasRoom(more, this.#count) && settler.unsettled <= this.#parts.atMost * 8;
  }

  #read(): Promise<Reply> {
    const { group, consumer, clock, open } = this.#parts;
    this.#client ??= open();
    this.#sentMs = clock.monotonicMs();
    return this.#client.xreadgroup(
      'GROUP',
      group.name,
      consumer,
      'COUNT',
      this.#count,
      'BLOCK',
      BLOCK_MS,
      'STREAMS',
      group.keys.entries,
      '>',
    );
  }

  /** After a failover, or when a group was made again, Redis may deliver what is being worked on. */
  #fresh(listed: Listed[]): readonly Listed[] {
    const first = listed[0]?.[0] ?? '';
    const isOlder = this.lastId !== undefined && compareIds(first, this.lastId) <= 0;
    const last = listed.at(-1)?.[0];
    if (!isOlder) {
      this.lastId = last;
      return listed;
    }
    if (last !== undefined && this.lastId !== undefined && compareIds(last, this.lastId) > 0) this.lastId = last;
    const known = new Set<string>();
    this.#parts.addKnown(known);
    return listed.filter(([id]) => !known.has(id));
  }

  #adapt(got: number): void {
    const { clock, atFirst, atMost } = this.#parts;
    const nowMs = clock.monotonicMs();
    const tookMs = nowMs - this.#filledAtMs;
    this.#filledAtMs = nowMs;
    if (got < this.#count) return;
    if (tookMs < USED_UP_MS.quick) this.#count = Math.min(this.#count * 4, atMost);
    else if (tookMs > USED_UP_MS.slow) this.#count = Math.max(this.#count >> 1, Math.min(atFirst, atMost));
  }

  /** Goes through all that is pending for this consumer, and begins what it does not know. */
  async #look(): Promise<void> {
    const { work, log, group } = this.#parts;
    let after = '0-0';
    let found = 0;
    this.#mayLack = false;
    try {
      for (;;) {
        const page = await this.#parts.exclusively(() => this.#lookAt(after));
        if (page.last === undefined) break;
        after = page.last;
        if (this.#isStopped) return;
        found += page.lacking.length;
        if (page.lacking.length > 0) work.addTaken(page.lacking);
        if (this.#isPaused || !this.#hasRoom(0)) {
          this.#mayLack = true; // The rest, once there is room.
          break;
        }
      }
    } catch (error) {
      this.#mayLack = true;
      throw error;
    }
    if (found > 0)
      log.info(
        { stream: group.stream, group: group.name, entries: found },
        'entries whose delivery had got lost are worked on now',
      );
  }

  async #lookAt(after: string): Promise<{ last: string | undefined; lacking: Taken[] }> {
    const { group, consumer, addKnown, settler, meter, log } = this.#parts;
    const known = new Set<string>();
    addKnown(known);
    // With an id it never waits, and a command has a deadline: nothing else is taken meanwhile.
    const reply = (await group.redis.xreadgroup(
      'GROUP',
      group.name,
      consumer,
      'COUNT',
      LOOK_COUNT,
      'STREAMS',
      group.keys.entries,
      after,
    )) as Reply;
    if (this.#client?.status === 'ready') this.#recover();
    addKnown(known);
    const page = reply?.[0]?.[1] ?? [];
    const lost = page.filter(([id]) => !known.has(id));
    const deleted = lost.filter(([, fields]) => !fields || fields.length === 0);
    for (const [id] of deleted) settler.forget(id);
    if (deleted.length > 0) {
      meter.count('vanished', deleted.length);
      log.error(
        { entries: deleted.slice(0, 20).map(([id]) => id) },
        'entries were deleted from their stream before they were done',
      );
    }
    const there = lost.filter(([, fields]) => fields && fields.length > 0);
    const records = there.length > 0 ? await group.redis.hmget(group.keys.attempts, ...there.map(([id]) => id)) : [];
    const lacking = there.map(([id, fields], at): Taken => {
      const [made = 0, deaths = 0] = (records[at] ?? '').split(' ').map(Number);
      return { id, fields: fields ?? [], made, deaths, waitMs: 0 };
    });
    return { last: page.at(-1)?.[0], lacking };
  }

  #recover(): void {
    this.#sentMs = undefined;
    if (!this.#failure) return;
    const { log, group } = this.#parts;
    log.info({ stream: group.stream, group: group.name }, 'entries are read again');
    this.#failure = undefined;
    this.#failures = 0;
  }

  async #fail(error: unknown): Promise<void> {
    this.#sentMs = undefined;
    if (this.#isStopped) return;
    const { label, log, group, onGone } = this.#parts;
    this.#mayLack = true;
    if (this.#client?.status === 'end') this.#client = undefined;
    if (error instanceof Error && GONE.test(error.message)) return onGone();
    const failure = explainRedisError(error, label);
    const facts = { stream: group.stream, group: group.name, err: failure };
    if (!this.#failure) log.warn(facts, 'entries cannot be read at the moment; trying again');
    this.#failure = failure;
    await this.#nap.rest(reconnectDelayMs(++this.#failures));
  }

  #checkSilence(): void {
    if (this.#sentMs === undefined || !this.#client) return;
    const nowMs = this.#parts.clock.monotonicMs();
    // Without a connection the read waits for one, which is no silence.
    if (!HAS_CONNECTION.has(this.#client.status)) this.#sentMs = nowMs;
    if (nowMs - this.#sentMs < BLOCK_MS + SILENCE_MS) return;
    hangUp(this.#client); // The read fails then, and the next one has a new connection.
  }
}
