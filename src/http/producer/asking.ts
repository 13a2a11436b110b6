/** Asks Redis for the producer API: within one deadline, and not at all while Redis is known to be away. */
import type { Logger } from '../../log.ts';
import type { Connections } from '../../redis/connect.ts';
import type { RedisClient } from '../../redis/clients.ts';
import { Guard } from '../../redis/guard.ts';
import type { Platform } from '../../platform.ts';

/** What is asked of a platform that Redis is asked through. */
export interface AskedPlatform {
  readonly prefix: string;
  readonly log: Logger;
  readonly redis: Connections;
}

/** What of a platform the API works on. A Platform is one. */
export type ProducerPlatform = Pick<Platform, 'prefix' | 'log' | 'redis' | 'jobs' | 'deadLetters' | 'limits'>;

/** One deadline for all questions of one owner. */
export class Asking {
  readonly platform: AskedPlatform;
  readonly #deadlineMs: number;
  #guard: Guard | undefined;

  constructor(platform: AskedPlatform, deadlineMs: number) {
    this.platform = platform;
    this.#deadlineMs = deadlineMs;
  }

  /** What the question gives. @throws MillraceError REDIS_TIMEOUT at the deadline, CLOSED, or what the question met */
  async ask<T>(question: (client: RedisClient) => Promise<T>): Promise<T> {
    const { redis } = this.platform; // A platform that was not started has none, and says so.
    this.#guard ??= new Guard({ deadlineMs: this.#deadlineMs, label: redis.label });
    return this.#guard.run(() => question(redis.commands()));
  }
}
