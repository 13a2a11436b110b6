/** The keys of unique jobs and of idempotent enqueues, in memory, as BullMQ's deduplication treats them. */
import type { StoredOptions } from '../jobs/enqueue-options.ts';
import type { JobState } from '../jobs/inspect.ts';

type Deduplication = StoredOptions['deduplication'];

interface Key {
  jobId: string;
  /** Undefined for as long as its job has not finished. */
  expiresAt: number | undefined;
}

interface Holder {
  state: JobState;
}

/** What became of a claim. `holder` is missing where the job is gone and its key still counts. */
export type Claim<Job> =
  | { kind: 'taken'; id: string; holder: Job | undefined }
  | { kind: 'given'; replaced: Job | undefined; hadHolder: boolean };

/** The keys of all queues. */
export class FakeKeys {
  readonly #nowMs: () => number;
  readonly #keys = new Map<string, Key>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** The key for a job, or who has it. */
  claim<Job extends Holder>(
    queue: string,
    rule: Deduplication,
    jobId: string,
    find: (jobId: string) => Job | undefined,
  ): Claim<Job> {
    const free: Claim<Job> = { kind: 'given', replaced: undefined, hadHolder: false };
    if (!rule) return free;
    const name = keyOf(queue, rule.id);
    const key = this.#read(name);
    const expiresAt = rule.ttl === undefined ? undefined : this.#nowMs() + rule.ttl;
    if (!key) {
      this.#keys.set(name, { jobId, expiresAt });
      return free;
    }
    const holder = find(key.jobId);
    if (rule.replace && holder?.state === 'delayed') {
      const keepsTime = !rule.extend && rule.ttl !== undefined;
      this.#keys.set(name, { jobId, expiresAt: keepsTime ? key.expiresAt : expiresAt });
      return { kind: 'given', replaced: holder, hadHolder: true };
    }
    const isStale = key.expiresAt === undefined && !holder;
    if (!isStale) return { kind: 'taken', id: key.jobId, holder };
    this.#keys.set(name, { jobId, expiresAt });
    return { kind: 'given', replaced: undefined, hadHolder: rule.replace === true };
  }

  /** A job has ended: a key with a time of its own stays, unless `always`. */
  release(queue: string, rule: Deduplication, jobId: string, { always }: { always: boolean }): void {
    if (!rule) return;
    const name = keyOf(queue, rule.id);
    const key = this.#read(name);
    if (key?.jobId === jobId && (always || key.expiresAt === undefined)) this.#keys.delete(name);
  }

  #read(name: string): Key | undefined {
    const key = this.#keys.get(name);
    if (key?.expiresAt === undefined || key.expiresAt > this.#nowMs()) return key;
    this.#keys.delete(name);
    return undefined;
  }
}

function keyOf(queue: string, id: string): string {
  return `${queue}:${id}`;
}
