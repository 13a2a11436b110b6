/**
 * Keeps dead letters from growing for ever: drops the oldest of a group that are beyond the bounds of its contract.
 *
 * Promise: nothing is dropped without a word. There is a warning when a group has 80 % of the letters that it may have, and a day before its oldest
 * is too old: each look counts it, and the log has it once an hour. What was dropped is counted and logged. Whoever consumes a group looks
 * after its letters; how old they are is by the server's clock.
 * Redis down: nothing is dropped; it is looked again later.
 */
import { systemClock } from '../../clock.ts';
import { formatMs } from '../../durations.ts';
import type { Logger } from '../../log.ts';
import type { Connections } from '../../redis/connect.ts';
import { explainRedisError } from '../../redis/explain.ts';
import type { StreamContract } from '../contract.ts';
import type { StreamKeys } from '../keys.ts';
import type { LetterLimit, LetterMeter } from '../streams-metrics.ts';
import { dropOldest, measureLetters } from './scripts.ts';

const EVERY_MS = 15_000;
const LOG_EVERY_MS = 3_600_000;
const WARN_AT_SHARE = 0.8;
const WARN_BEFORE_MS = 86_400_000;
/** Letters of one call: a millisecond of Redis, or ten where they are large. */
const STEP = 1_000;

/** What a retention works with. */
export interface LetterRetentionParts {
  readonly connections: Pick<Connections, 'commands' | 'label'>;
  readonly keys: (stream: string) => StreamKeys;
  readonly log: Logger;
  readonly meter: (stream: string, group: string) => LetterMeter;
}

/** A group, and how many letters it may have. */
interface Grave {
  readonly stream: string;
  readonly group: string;
  readonly dead: string;
  readonly most: number;
  readonly ageMs: number;
  readonly meter: LetterMeter;
}

/** Looks after the dead letters of the groups that a process consumes. */
export class LetterRetention {
  readonly #parts: LetterRetentionParts;
  readonly #watched = new Map<string, { contract: StreamContract; group: string }>();
  /** When a limit was last told of in the log. */
  readonly #toldAtMs = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #isLooking = false;
  #isStopped = false;

  constructor(parts: LetterRetentionParts) {
    this.#parts = parts;
  }

  /** From now on it is looked after by itself. */
  watch(contract: StreamContract, group: string): void {
    if (this.#isStopped) return;
    this.#watched.set(`${contract.name} ${group}`, { contract, group });
    this.#timer ??= setInterval(() => void this.#lookAtAll(), EVERY_MS).unref();
    void this.look(contract, group);
  }

  /** Warns and drops. Never throws. */
  async look(contract: StreamContract, group: string): Promise<void> {
    const { connections, log } = this.#parts;
    try {
      await this.#look(this.#graveOf(contract, group));
    } catch (error) {
      if (this.#isStopped) return;
      const err = explainRedisError(error, connections.label);
      log.debug({ stream: contract.name, group, err }, 'dead letters were not looked at; tried again later');
    }
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
  }

  async #lookAtAll(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    for (const { contract, group } of this.#watched.values()) await this.look(contract, group);
    this.#isLooking = false;
  }

  #graveOf({ name: stream, deadLetters: { count, ageMs } }: StreamContract, group: string): Grave {
    const { keys, meter } = this.#parts;
    const { dead } = keys(stream).group(group);
    return { stream, group, dead, most: count ?? Infinity, ageMs: ageMs ?? Infinity, meter: meter(stream, group) };
  }

  async #look(grave: Grave): Promise<void> {
    const { dead, most, ageMs } = grave;
    if (most === Infinity && ageMs === Infinity) return;
    const { letters, oldestMs } = await measureLetters(this.#parts.connections.commands(), { dead }, {});
    if (letters === 0) return;
    const lastDayMs = Math.min(WARN_BEFORE_MS, ageMs * (1 - WARN_AT_SHARE));
    if (oldestMs > ageMs - lastDayMs) this.#warn(grave, 'age', { letters, oldestMs });
    if (letters >= most * WARN_AT_SHARE) this.#warn(grave, 'count', { letters, oldestMs });
    if (oldestMs > ageMs || letters > most) await this.#drop(grave);
  }

  async #drop({ stream, group, dead, most, ageMs, meter }: Grave): Promise<void> {
    const { connections, log } = this.#parts;
    const bounds = { most: most === Infinity ? -1 : most, ageMs: ageMs === Infinity ? -1 : ageMs, step: STEP };
    const dropped = { age: 0, count: 0 };
    try {
      while (!this.#isStopped) {
        const { age, count } = await dropOldest(connections.commands(), { dead }, bounds);
        if (age + count === 0) break;
        if (age > 0) meter.dropped('age', age);
        if (count > 0) meter.dropped('count', count);
        dropped.age += age;
        dropped.count += count;
      }
    } catch (error) {
      log.warn({ stream, group, err: error }, `up to ${STEP} dead letters may have been dropped; Redis did not say`);
    }
    if (dropped.age + dropped.count > 0)
      log.warn({ stream, group, dropped }, 'dead letters were dropped: too old, or more than are kept');
  }

  #warn({ stream, group, most, ageMs, meter }: Grave, limit: LetterLimit, facts: object): void {
    meter.nearLimit(limit);
    const nowMs = systemClock.monotonicMs();
    const kind = `${stream} ${group} ${limit}`;
    const toldAtMs = this.#toldAtMs.get(kind);
    if (toldAtMs !== undefined && nowMs - toldAtMs < LOG_EVERY_MS) return;
    this.#toldAtMs.set(kind, nowMs);
    this.#parts.log.warn(
      { stream, group, limit, ...facts },
      `dead letters come near their bound of ${limit === 'count' ? most : formatMs(ageMs)}; the oldest are dropped then`,
    );
  }
}
