/**
 * Joins the reads of one tick.
 *
 * On a single server they go in one MGET, or several where they are many, with the epochs of their buckets, and the generations where tags are
 * expected; that decides about a value, unless a tag of its bucket was invalidated since it was stored: then read.lua looks at its tags, and
 * stamps it with the new generation. Tags are expected where the reader names some, or cannot name any, and in every bucket where a value with
 * tags was met. On a Cluster each bucket is a call of read.lua, all in one go. Either way a read among others costs less of this process than a
 * GET of its own would. Reads of one key that go together share one answer, the decoded value too.
 */
import type { Clock } from '../clock.ts';
import { createBatch } from '../redis/batch.ts';
import type { Guard } from '../redis/guard.ts';
import type { RedisClient, SingleClient } from '../redis/clients.ts';
import { ServerTime } from '../redis/server-time.ts';
import { MISSING, type Found, type FoundReader } from './found.ts';
import { AwaitedRead, type Read } from './read.ts';
import { newMark, VERSION_KEEP_MS } from './ids.ts';
import type { Bucket, CacheKeys } from './keys.ts';
import { ASK_AGAIN, readValues, type ReadAnswer } from './second-level-scripts.ts';
import { standingOf } from './stored-value.ts';

/**
 * The first reads of a tick are sent as soon as they are so many: the server looks for them while this process makes the others. Were all sent
 * when the tick ends, it would answer all at once, and one end would wait for the other in turns.
 */
const FIRST_READS = 64;
/** The time of the server is asked for again once the last answer is older. */
const TIME_LASTS_MS = 1_000;
/** And those after them, as soon as they are that many. */
const MOST_READS = 256;

/** What the joiner needs of the second level. */
export interface JoinerParts {
  readonly client: () => RedisClient;
  readonly guard: Pick<Guard, 'run' | 'watch'>;
  readonly keys: CacheKeys;
  readonly reader: FoundReader;
  readonly clock: Clock;
}

/** Reads of one bucket. */
interface Group {
  readonly bucket: Bucket;
  readonly reads: readonly Read[];
  /** Whether values with tags are expected, so that the generation is needed to tell whether they are valid. */
  readonly hasTags: boolean;
}

/** Joins reads. */
export class ReadJoiner {
  readonly #parts: JoinerParts;
  readonly #time: ServerTime;
  readonly #mark = newMark();
  #waiting = new Map<Bucket, Read[]>();
  /** How many they are, and how many do not wait for the end of the tick. */
  #count = 0;
  #enough = FIRST_READS;
  #isCluster = false;
  #isDue = false;
  /** Those of the reads that are awaited, for others to await. */
  #awaited: Map<string, AwaitedRead> | undefined;
  readonly #endTick = (): void => {
    this.#isDue = false;
    if (this.#count > 0) this.#send();
    // On a Cluster each bucket is a script, and one that is cut in two would be two.
    this.#enough = this.#isCluster ? MOST_READS : FIRST_READS;
  };

  constructor(parts: JoinerParts) {
    this.#parts = parts;
    this.#time = new ServerTime(parts.clock);
  }

  /** @throws MillraceError KEY_INVALID, at once. */
  read(namespace: string, key: string): Promise<Found> {
    const read = new AwaitedRead(namespace, key);
    const bucket = this.#place(read);
    const known = this.#awaited?.get(read.redisKey);
    if (known) return known.found;
    this.#awaited ??= new Map();
    this.#awaited.set(read.redisKey, read);
    this.#add(bucket, read);
    return read.found;
  }

  /** Asks for it with the others of this tick. @throws MillraceError KEY_INVALID, at once. */
  join(read: Read): void {
    this.#add(this.#place(read), read);
  }

  #place(read: Read): Bucket {
    const { keys } = this.#parts;
    const bucket = keys.bucketAt(read.namespace, read.hash);
    read.redisKey = bucket.values + keys.encode(read.key);
    return bucket;
  }

  #add(bucket: Bucket, read: Read): void {
    if (!this.#isDue) process.nextTick(this.#endTick);
    this.#isDue = true;
    const reads = this.#waiting.get(bucket);
    if (reads) reads.push(read);
    else this.#waiting.set(bucket, [read]);
    if (++this.#count >= this.#enough) this.#send();
  }

  #send(): void {
    const groups: Group[] = [];
    for (const [bucket, reads] of this.#waiting) groups.push({ bucket, reads, hasTags: expectTags(bucket, reads) });
    this.#waiting = new Map();
    this.#awaited = undefined;
    this.#count = 0;
    this.#enough = MOST_READS;
    this.#ask(groups);
  }

  #ask(groups: readonly Group[]): void {
    const { clock, client } = this.#parts;
    const sentAtMs = clock.monotonicMs();
    try {
      const redis = client();
      this.#isCluster = redis.isCluster;
      if (redis.isCluster) this.#askScript(redis, groups, sentAtMs);
      else this.#askPlainly(redis as SingleClient, groups, sentAtMs);
    } catch (error) {
      fail(groups, error); // The connections have been closed.
    }
  }

  /** One MGET for all; what it does not answer is read by the script. */
  #askPlainly(client: SingleClient, groups: readonly Group[], sentAtMs: number): void {
    const keys: string[] = [];
    for (const { bucket, reads, hasTags } of groups) {
      keys.push(bucket.epoch);
      if (hasTags) keys.push(bucket.generation);
      for (const { redisKey } of reads) keys.push(redisKey);
    }
    this.#parts.guard.watch(
      () => (this.#time.isOlderThan(TIME_LASTS_MS) ? this.#mgetAndTime(client, keys) : client.mgetBuffer(...keys)),
      (answers) => {
        const left = this.#take(groups, answers, sentAtMs);
        if (left.length > 0) this.#askScript(client, left, sentAtMs);
      },
      (failure) => fail(groups, failure),
    );
  }

  /** Both are sent before either is answered. */
  async #mgetAndTime(client: SingleClient, keys: string[]): Promise<Array<Buffer | null>> {
    const [, answers] = await Promise.all([this.#time.ask(() => client.time()), client.mgetBuffer(...keys)]);
    return answers;
  }

  #askScript(client: RedisClient, groups: readonly Group[], sentAtMs: number): void {
    this.#parts.guard
      .run(() => this.#readByScript(client, groups, sentAtMs))
      .catch((error: unknown) => fail(groups, error));
  }

  /** @returns the reads that MGET did not answer */
  #take(groups: readonly Group[], answers: ReadonlyArray<Buffer | null>, sentAtMs: number): Group[] {
    const nowUs = this.#time.nowMs() * 1_000;
    const left: Group[] = [];
    let at = 0;
    for (const { bucket, reads, hasTags } of groups) {
      const epoch = answers[at++] ?? null;
      const generation = hasTags ? (answers[at++] ?? null) : null;
      let unsure: Read[] | undefined;
      for (const read of reads) {
        const answer = answers[at++] ?? null;
        const standing = answer ? standingOf(answer, epoch, generation) : 'invalid';
        if (standing === 'unknown') (unsure ??= []).push(read);
        else read.settle(standing === 'valid' ? this.#found(read, answer, nowUs) : MISSING, sentAtMs);
      }
      if (!unsure) continue;
      bucket.hasTags = true;
      left.push({ bucket, reads: unsure, hasTags: true });
    }
    return left;
  }

  /** Settles each bucket's reads as its answer comes, so that a node that is down fails only the reads that need it. */
  async #readByScript(client: RedisClient, groups: readonly Group[], sentAtMs: number): Promise<void> {
    const batch = createBatch(client);
    const answered = groups.map(async ({ bucket, reads }) => {
      const { epoch, generation } = bucket;
      const values = reads.map((read) => read.redisKey);
      const args = { freshMark: this.#mark, keepMs: VERSION_KEEP_MS };
      const [nowUs, ...answers] = await batch.run(readValues, { epoch, generation, values }, args);
      const again = reads.filter((read, index) => {
        const answer = answers[index] ?? null;
        if (answer === ASK_AGAIN) return true;
        read.settle(this.#found(read, answer, nowUs), sentAtMs);
        return false;
      });
      if (again.length > 0) this.#ask([{ bucket, reads: again, hasTags: true }]);
    });
    const outcomes = Promise.allSettled(answered);
    await batch.send();
    const failed = (await outcomes).find((outcome) => outcome.status === 'rejected');
    if (failed) throw failed.reason;
  }

  #found(read: Read, answer: ReadAnswer, nowUs: number): Found | Promise<Found> {
    return this.#parts.reader.read(answer, nowUs, read.namespace, read.key);
  }
}

function expectTags(bucket: Bucket, reads: readonly Read[]): boolean {
  if (bucket.hasTags) return true;
  for (const read of reads) if (read.mayHaveTags) return true;
  return false;
}

/** Those that have been answered stay so. */
function fail(groups: readonly Group[], error: unknown): void {
  for (const { reads } of groups) for (const read of reads) read.fail(error);
}
