/**
 * Jobs that this process does not know how to run, though another one may: while a deploy goes on, workers of both releases are there.
 *
 * Such a job is put off without using up an attempt, again and again, until it is known for as long as the grace; then it is a dead
 * letter. When it was first met, in this life and before this attempt, stands in Redis, by its clock, so that all workers agree, however long
 * the job had been delayed or tried before.
 */
import type { Job } from 'bullmq';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { RedisClient } from '../../redis/clients.ts';
import { defineScript } from '../../redis/script.ts';
import type { StoredOptions } from '../enqueue-options.ts';
import type { JobKeys } from '../queue-names.ts';
import { Refusal } from './refusal.ts';

/** A job that is not known is offered to the others every so often. */
const DELAY_MS = 5_000;
/** How much longer than the grace it is known when a job was first met. */
const KEPT_BEYOND_MS = 3_600_000;

const meetStranger = defineScript({
  file: 'jobs/meet-stranger.lua',
  keys: ['met'],
  args: ['ttlMs'],
  reply: (knownMs: number) => knownMs,
});

/** What of a job is not known here. */
export interface Strangeness {
  reason: 'handler' | 'version';
  code: 'HANDLER_MISSING' | 'JOB_VERSION_UNSUPPORTED';
  message: string;
}

/** The jobs of one queue that are not known here. */
export class Strangers {
  readonly #host: { log: Logger; client: RedisClient; keys: JobKeys };
  readonly #queue: string;
  readonly #graceMs: number;

  constructor(host: { log: Logger; client: RedisClient; keys: JobKeys }, queue: string, graceMs: number) {
    this.#host = host;
    this.#queue = queue;
    this.#graceMs = graceMs;
  }

  /** What to throw for the job: a Refusal, or that it is put off. */
  async judge(job: Job, { reason, code, message }: Strangeness): Promise<Refusal | MillraceError> {
    const facts = { jobId: job.id, contract: job.name, queue: this.#queue };
    const knownMs = await this.#knownMs(job);
    if (knownMs >= this.#graceMs) return new Refusal(reason, new MillraceError(code, message, facts));
    this.#host.log.warn(facts, `${message}; left to another worker`);
    return new MillraceError('JOB_POSTPONED', message, { ...facts, delayMs: Math.min(DELAY_MS, this.#graceMs) });
  }

  /** How long ago the job was first met. */
  async #knownMs(job: Job): Promise<number> {
    const { client, keys, log } = this.#host;
    try {
      // A job that is tried again, or was given back from the dead, is offered to all others anew.
      const { redriven = 0 }: StoredOptions = job.opts;
      const met = keys.ledger(this.#queue, 'stranger', `${job.id}~${redriven}.${job.attemptsMade}`);
      return await meetStranger(client, { met }, { ttlMs: this.#graceMs + KEPT_BEYOND_MS });
    } catch (error) {
      log.debug({ jobId: job.id, err: error }, 'not known since when the job waits for its handler');
      return 0; // It is put off once more.
    }
  }
}
