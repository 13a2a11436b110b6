/**
 * Keeps streams from growing for ever: removes what is beyond the bounds of the contract and what every group has finished.
 *
 * Promise: an entry that a group has not read, or has been given and not finished, stays, whoever made the group and however full the stream is; so do
 * all while a group that the contract declares is not there. Redis is never held up: a trim goes in steps, each of some entries.
 * Redis down: trim() throws, what it has done stays done; the trims that go by themselves are tried again.
 *
 * What all groups have finished is what comes before the first entry that one of them has not (MINID). Where the server has XTRIM ACKED, entries
 * behind that one go too, so that a single entry that waits an hour for its retry does not hold back the hour's traffic.
 */
import { z } from 'zod';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import { explainRedisError } from '../redis/explain.ts';
import { checkOptions } from '../schema.ts';
import type { StreamContract } from './contract.ts';
import type { StreamKeys } from './keys.ts';
import { trimStep, type HeldBy } from './scripts.ts';

/** Options of trim(). */
export interface TrimOptions {
  /** Trims though a group that the contract declares is not there: if it is made later, it misses what was removed. Default false. */
  force?: boolean | undefined;
}

/** What a trim has done. */
export interface Trimmed {
  readonly removed: number;
  /** What keeps entries that the contract would let go; undefined when nothing does. */
  readonly heldBy: HeldBy | undefined;
}

const trimSchema = z.strictObject({ force: z.boolean().default(false) });

/** Entries of one step: a millisecond of Redis, or ten where they are large. */
const STEP = 1_000;
/** How often a stream is trimmed by itself, by one of the processes that know it. */
const EVERY_MS = 10_000;

export class Trimmer {
  readonly #connections: Pick<Connections, 'commands' | 'capabilities' | 'label'>;
  readonly #keys: (stream: string) => StreamKeys;
  readonly #log: Logger;
  readonly #everyMs: number;
  readonly #contracts = new Map<string, StreamContract>();
  #timer: NodeJS.Timeout | undefined;
  #isTrimming = false;
  #isStopped = false;

  constructor(
    connections: Pick<Connections, 'commands' | 'capabilities' | 'label'>,
    keys: (stream: string) => StreamKeys,
    log: Logger,
    everyMs: number = EVERY_MS,
  ) {
    this.#connections = connections;
    this.#keys = keys;
    this.#log = log;
    this.#everyMs = everyMs;
  }

  /** From now on the stream is trimmed by itself. */
  watch(contract: StreamContract): void {
    this.#contracts.set(contract.name, contract);
    if (this.#isStopped) return;
    this.#timer ??= setInterval(() => void this.#trimAll(), this.#everyMs).unref();
  }

  /** @throws MillraceError OPTIONS_INVALID, CLOSED, or what Redis met */
  async trim(contract: StreamContract, options: TrimOptions): Promise<Trimmed> {
    const { force } = checkOptions(trimSchema, options, `trim of ${contract.name}`);
    const { features } = await this.#connections.capabilities();
    const { entries } = this.#keys(contract.name);
    const { count = -1, ageMs = -1 } = contract.keep;
    let removed = 0;
    for (;;) {
      if (this.#isStopped) throw new MillraceError('CLOSED', 'the streams have been stopped', { removed });
      const step = await trimStep(
        this.#connections.commands(),
        { entries },
        {
          most: count,
          ageMs,
          step: STEP,
          acked: features.trimAcknowledgedNearly ? 1 : 0,
          needed: force ? [] : contract.groups,
        },
      );
      removed += step.removed;
      if (step.removed === 0) return { removed, heldBy: step.heldBy };
    }
  }

  /** Trims the stream unless a process has done so a moment ago. Never throws. */
  async trimIfDue(contract: StreamContract): Promise<void> {
    const { trimmed } = this.#keys(contract.name);
    try {
      const turn = await this.#connections.commands().set(trimmed, '1', 'PX', this.#everyMs, 'NX');
      if (turn === null) return;
      const { removed, heldBy } = await this.trim(contract, {});
      if (removed > 0 || heldBy) this.#log.debug({ stream: contract.name, removed, heldBy }, 'trimmed');
    } catch (error) {
      if (this.#isStopped) return;
      const err = explainRedisError(error, this.#connections.label);
      this.#log.debug({ stream: contract.name, err }, 'could not trim; tried again later');
    }
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
  }

  async #trimAll(): Promise<void> {
    if (this.#isTrimming) return;
    this.#isTrimming = true;
    for (const contract of this.#contracts.values()) await this.trimIfDue(contract);
    this.#isTrimming = false;
  }
}
