/**
 * Looks at queues for an autoscaler: what there is to do, and what the history has of how long it takes.
 *
 * One script a queue, some dozens of them in a round trip. It reads two small hashes of the history, or four of a queue that has work and in
 * which nothing ran of late. Nothing is written, and nothing is asked per job.
 */
import type { Clock } from '../clock.ts';
import { msOf } from '../jobs/history/buckets.ts';
import { joinPieces, keyAt, SCALES, type Step } from '../jobs/history/keys.ts';
import { addPacked, nothingCounted, type Counted } from '../jobs/history/packed.ts';
import { createJobKeys, type JobKeys } from '../jobs/queue-names.ts';
import { createBatch } from '../redis/batch.ts';
import type { RedisClient } from '../redis/clients.ts';
import { defineScript } from '../redis/script.ts';
import { ServerTime } from '../redis/server-time.ts';

/** What was counted in a stretch of time. */
export interface Ran {
  /** Jobs that ended for good, well or not. */
  jobs: number;
  /** Attempts that ended. */
  attempts: number;
  /** How long these kept a slot busy, all together. */
  busyMs: number;
}

/** A queue at a moment. */
export interface QueueWork {
  queue: string;
  /** The moment, by the server's clock. */
  atMs: number;
  /** Jobs that could run now: waiting, prioritized, and delayed ones whose time has come. */
  depth: number;
  /** Jobs that run. */
  active: number;
  isPaused: boolean;
  /** How long the oldest job that was never tried has waited; undefined when none waits. */
  oldestMs: number | undefined;
  /** In this minute and the one before: the rate is told of them. */
  lately: Ran;
  /** Whether something ran in each of these two. */
  isSteady: boolean;
  /** How long these two have lasted so far. */
  latelyMs: number;
  /** What a job is taken to cost: of the last minutes, or of two days where these have nothing. */
  usual: Ran;
}

/** Minutes of which a job's usual cost is told. */
const USUAL_MINUTES = 5;
const MINUTE_MS = SCALES.minute.stepMs;
/** Queues that are asked in one round trip. */
const AT_ONCE = 50;

type Pieces = Buffer[];
type Reply = [
  nowMs: number,
  depth: number,
  active: number,
  isPaused: number,
  oldestMs: number,
  minutesBefore: Pieces,
  minutes: Pieces,
  hoursBefore: Pieces,
  hours: Pieces,
];

const lookAtQueue = defineScript({
  file: 'http/look-at-queue.lua',
  keys: [
    'wait',
    'paused',
    'prioritized',
    'delayed',
    'active',
    'meta',
    'minutesBefore',
    'minutes',
    'hoursBefore',
    'hours',
  ],
  args: ['jobPrefix', 'lookedBack'],
  binary: true,
  reply: (reply: Reply) => reply,
});

/** Looks at the queues of one platform. */
export class QueueLooks {
  readonly #keys: JobKeys;
  readonly #time: ServerTime;

  constructor(prefix: string, clock: Clock) {
    this.#keys = createJobKeys(prefix);
    this.#time = new ServerTime(clock);
  }

  /** The names of all queues that were ever used, in their order. */
  async names(client: RedisClient): Promise<string[]> {
    return (await client.smembers(this.#keys.queues)).toSorted();
  }

  /** Whether the queue was ever used. */
  async isKnown(client: RedisClient, queue: string): Promise<boolean> {
    return (await client.sismember(this.#keys.queues, queue)) === 1;
  }

  /** The queues as they are. One that cannot be asked, as its node of a Cluster is away, is left out. @throws what was met when none can be asked */
  async look(client: RedisClient, queues: readonly string[]): Promise<QueueWork[]> {
    if (!this.#time.isKnown) await this.#time.ask(() => client.time());
    const works: QueueWork[] = [];
    const failures: unknown[] = [];
    for (let first = 0; first < queues.length; first += AT_ONCE) {
      const batch = createBatch(client);
      const turn = queues.slice(first, first + AT_ONCE);
      const asked = turn.map((queue) =>
        batch.run(lookAtQueue, this.#keysOf(queue), {
          jobPrefix: this.#bullKey(queue, ''),
          lookedBack: USUAL_MINUTES,
        }),
      );
      await batch.send();
      for (const [place, look] of (await Promise.allSettled(asked)).entries()) {
        if (look.status === 'fulfilled') works.push(workOf(turn[place] ?? '', look.value));
        else failures.push(look.reason);
      }
    }
    const latest = works.at(-1);
    if (latest) this.#time.learn(latest.atMs);
    else if (failures.length > 0) throw failures[0];
    return works;
  }

  #bullKey(queue: string, suffix: string): string {
    return `${this.#keys.queuePrefix(queue)}:${queue}:${suffix}`;
  }

  #keysOf(queue: string) {
    const nowMs = this.#time.nowMs();
    const key = (suffix: string): string => this.#bullKey(queue, suffix);
    const record = (step: Step, ago: number): string =>
      keyAt(this.#keys, queue, step, nowMs - ago * SCALES[step].keyMs);
    return {
      wait: key('wait'),
      paused: key('paused'),
      prioritized: key('prioritized'),
      delayed: key('delayed'),
      active: key('active'),
      meta: key('meta'),
      minutesBefore: record('minute', 1),
      minutes: record('minute', 0),
      hoursBefore: record('hour', 1),
      hours: record('hour', 0),
    };
  }
}

function workOf(queue: string, reply: Reply): QueueWork {
  const [atMs, depth, active, isPaused, oldestMs, minutesBefore, minutes, hoursBefore, hours] = reply;
  const minute = Math.floor(atMs / MINUTE_MS) % 60;
  const ofMinutes = [...joinPieces(minutesBefore, 'minute'), ...joinPieces(minutes, 'minute')];
  const inMinutes = (isWanted: (ago: number) => boolean): Ran =>
    ranIn(ofMinutes.flatMap(([at, packed]) => (isWanted((minute - at + 60) % 60) ? [packed] : [])));
  const ofLateMinutes = inMinutes(() => true);
  const ofHours = [...joinPieces(hoursBefore, 'hour').values(), ...joinPieces(hours, 'hour').values()];
  return {
    queue,
    atMs,
    depth,
    active,
    isPaused: isPaused === 1,
    oldestMs: oldestMs < 0 ? undefined : oldestMs,
    lately: inMinutes((ago) => ago < 2),
    isSteady: [0, 1].every((wanted) => inMinutes((ago) => ago === wanted).attempts > 0),
    latelyMs: MINUTE_MS + (atMs % MINUTE_MS),
    usual: ofLateMinutes.attempts > 0 ? ofLateMinutes : ranIn(ofHours),
  };
}

function ranIn(records: readonly Buffer[]): Ran {
  const counted: Counted = nothingCounted();
  for (const packed of records) addPacked(counted, packed);
  let attempts = 0;
  let busyMs = 0;
  for (const [bucket, hits] of counted.run.entries()) {
    attempts += hits;
    busyMs += hits * msOf(bucket);
  }
  return { jobs: counted.completed + counted.failed - counted.retried, attempts, busyMs };
}
