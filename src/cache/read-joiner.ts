/**
 * Joins the reads of one tick.
 *
 * On a single server they go in one MGET, with the epochs and generations of their buckets; that decides about a value, unless a tag of its
 * bucket was invalidated since it was stored: then read.lua looks at its tags, and stamps it with the new generation. On a Cluster each
 * bucket is a call of read.lua, all in one go. Either way a read costs less of this process than a GET of its own would.
 * Reads of one key in one tick share one answer, the decoded value too.
 */
import type { Clock } from '../clock.ts';
import { createBatch } from '../redis/batch.ts';
import type { RedisClient, SingleClient } from '../redis/clients.ts';
import { MISSING, type Found, type FoundReader } from './found.ts';
import { newMark, VERSION_KEEP_MS } from './ids.ts';
import type { Bucket, CacheKeys } from './keys.ts';
import { ASK_AGAIN, readValues, type ReadAnswer } from './second-level-scripts.ts';
import { ServerTime } from './server-time.ts';
import { standingOf } from './stored-value.ts';

/** More reads are joined into several commands. */
const MOST_READS = 256;

/** What the joiner needs of the second level. */
export interface JoinerParts {
  readonly client: () => RedisClient;
  readonly guard: { run<T>(call: () => Promise<T>): Promise<T> };
  readonly keys: CacheKeys;
  readonly reader: FoundReader;
  readonly clock: Clock;
}

/** One key that is asked for. */
class Read {
  readonly namespace: string;
  readonly key: string;
  readonly redisKey: string;
  readonly found: Promise<Found>;
  resolve!: (found: Found | Promise<Found>) => void;
  reject!: (error: unknown) => void;

  constructor(namespace: string, key: string, redisKey: string) {
    this.namespace = namespace;
    this.key = key;
    this.redisKey = redisKey;
    this.found = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

/** Reads of one bucket. */
interface Group {
  readonly bucket: Bucket;
  readonly reads: readonly Read[];
}

/** Joins reads. */
export class ReadJoiner {
  readonly #parts: JoinerParts;
  readonly #time: ServerTime;
  readonly #mark = newMark();
  #waiting = new Map<Bucket, Map<string, Read>>();
  readonly #flush = (): void => {
    const waiting = this.#waiting;
    this.#waiting = new Map();
    const groups: Group[] = [];
    for (const [bucket, reads] of waiting) groups.push({ bucket, reads: [...reads.values()] });
    for (const joined of split(groups)) this.#ask(joined);
  };

  constructor(parts: JoinerParts) {
    this.#parts = parts;
    this.#time = new ServerTime(parts.clock);
  }

  /** @throws MillraceError KEY_INVALID, at once. */
  read(namespace: string, key: string): Promise<Found> {
    const { keys } = this.#parts;
    const bucket = keys.bucketOf(namespace, key);
    let reads = this.#waiting.get(bucket);
    let read = reads?.get(key);
    if (!read) {
      read = new Read(namespace, key, bucket.values + keys.encode(key));
      if (this.#waiting.size === 0) process.nextTick(this.#flush);
      if (!reads) this.#waiting.set(bucket, (reads = new Map()));
      reads.set(key, read);
    }
    return read.found;
  }

  #ask(groups: readonly Group[]): void {
    this.#parts.guard.run(() => this.#send(groups)).catch((error: unknown) => fail(groups, error));
  }

  async #send(groups: readonly Group[]): Promise<void> {
    const client = this.#parts.client();
    const left = client.isCluster ? groups : await this.#readPlainly(client as SingleClient, groups);
    if (left.length > 0) await this.#readByScript(client, left);
  }

  /** One MGET for all. @returns the reads that it did not answer */
  async #readPlainly(client: SingleClient, groups: readonly Group[]): Promise<Group[]> {
    const keys: string[] = [];
    for (const { bucket, reads } of groups) {
      keys.push(bucket.epoch, bucket.generation);
      for (const { redisKey } of reads) keys.push(redisKey);
    }
    const asked = this.#time.isOld ? this.#time.ask(client) : undefined;
    // Both are sent before either is answered.
    const answering = client.mgetBuffer(...keys);
    if (asked) await Promise.all([asked, answering]);
    const answers = await answering;
    const nowUs = this.#time.nowUs();
    const left: Group[] = [];
    let at = 0;
    for (const { bucket, reads } of groups) {
      const epoch = answers[at++] ?? null;
      const generation = answers[at++] ?? null;
      const unsure: Read[] = [];
      for (const read of reads) {
        const answer = answers[at++] ?? null;
        const standing = answer ? standingOf(answer, epoch, generation) : 'invalid';
        if (standing === 'unknown') unsure.push(read);
        else read.resolve(standing === 'valid' ? this.#found(read, answer, nowUs) : MISSING);
      }
      if (unsure.length > 0) left.push({ bucket, reads: unsure });
    }
    return left;
  }

  /** Settles each bucket's reads as its answer comes, so that a node that is down fails only the reads that need it. */
  async #readByScript(client: RedisClient, groups: readonly Group[]): Promise<void> {
    const batch = createBatch(client);
    const answered = groups.map(async ({ bucket, reads }) => {
      const { epoch, generation } = bucket;
      const values = reads.map((read) => read.redisKey);
      const args = { freshMark: this.#mark, keepMs: VERSION_KEEP_MS };
      const [nowUs, ...answers] = await batch.run(readValues, { epoch, generation, values }, args);
      const again = reads.filter((read, index) => {
        const answer = answers[index] ?? null;
        if (answer === ASK_AGAIN) return true;
        read.resolve(this.#found(read, answer, nowUs));
        return false;
      });
      if (again.length > 0) this.#ask([{ bucket, reads: again }]);
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

/** Those that have been answered stay so. */
function fail(groups: readonly Group[], error: unknown): void {
  for (const { reads } of groups) for (const read of reads) read.reject(error);
}

/** Parts of at most MOST_READS. */
function split(groups: readonly Group[]): Group[][] {
  const parts: Group[][] = [];
  let part: Group[] = [];
  let left = MOST_READS;
  for (const { bucket, reads } of groups) {
    for (let from = 0; from < reads.length;) {
      const piece = reads.length <= left && from === 0 ? reads : reads.slice(from, from + left);
      part.push({ bucket, reads: piece });
      from += piece.length;
      left -= piece.length;
      if (left > 0) continue;
      parts.push(part);
      part = [];
      left = MOST_READS;
    }
  }
  if (part.length > 0) parts.push(part);
  return parts;
}
