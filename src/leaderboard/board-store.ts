/**
 * A board as it stands in Redis: its keys, its settings, and the clock of the server that has it.
 *
 * Keys, all of one slot, below `PREFIX:leaderboard:{BOARD}`:
 *   :state       HASH  settings, the form that everything else is in; changes, how many scores were stored. Stays.
 *   :archives    HASH  name of an archive -> when it was closed, how many were on it, and when it expires. Stays.
 *   :PLACE:ranks   ZSET  members by score, less is better: scores of `highest` are negated
 *   :PLACE:marks   HASH  member -> the 11 characters before its id in ranks, by which ties are ordered; none when ties go by member
 *   :PLACE:scores  ZSET  the scores that somebody has; only when ranks are dense
 *   :PLACE:metadata  HASH  member -> metadata as JSON; only where there is any
 *   :operation:OPERATION:MEMBER  STRING  what was told of it; expires after `operationsFor`
 * PLACE is `all`, `archive:NAME`, `WINDOW:EVERY@ZONE:PERIOD` or, with ranks and metadata alone and without marks, `WINDOW:rolling-MS:BUCKET`.
 * Periods expire once they are no longer kept; `WINDOW:rolling-MSxCOUNT:BUCKET`, ranks and scores of the buckets put together, some time after
 * `refresh`.
 */
import type { Clock } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import type { RedisClient } from '../redis/clients.ts';
import type { Connections } from '../redis/connect.ts';
import type { Guard } from '../redis/guard.ts';
import type { KeySpace } from '../redis/keys.ts';
import { ServerTime } from '../redis/server-time.ts';
import type { LeaderboardMeter } from './leaderboard-metrics.ts';
import type { BoardRule } from './options.ts';
import { meetScript } from './scripts.ts';

/** What boards of one process share. */
export interface StoreParts {
  readonly connections: Pick<Connections, 'commands'>;
  readonly guard: Pick<Guard, 'run'>;
  readonly keys: KeySpace;
  /** How long a call may take. */
  readonly deadlineMs: number;
  readonly clock: Clock;
  readonly meter: LeaderboardMeter;
  isStopped(): boolean;
}

/** The keys of one ranking. */
export interface Place {
  readonly ranks: string;
  readonly marks: string;
  readonly scores: string;
  /** One; of a rolling window that of each bucket, the newest first. */
  readonly metadata: readonly string[];
  /** Whether members are stored with a mark. */
  readonly isTimed: boolean;
  /** What must be done before it is read. */
  readonly prepare?: () => Promise<unknown>;
}

/** A server that another one has taken over for may have another clock. */
const TIME_LASTS_MS = 30_000;
/** A mark's length. */
export const MARK_LENGTH = 11;

/** What the parts of one board share. */
export class BoardStore {
  readonly name: string;
  readonly rule: BoardRule;
  readonly parts: StoreParts;
  readonly time: ServerTime;
  /** What the stored form depends on. */
  readonly settings: string;
  readonly state: string;
  readonly archives: string;
  readonly all: Place;
  #isMet = false;
  #meeting: Promise<void> | undefined;

  constructor(name: string, rule: BoardRule, parts: StoreParts) {
    const { order, policy, ties, rank } = rule;
    this.name = name;
    this.rule = rule;
    this.parts = parts;
    this.time = new ServerTime(parts.clock);
    this.settings = `order=${order} policy=${policy} ties=${ties} dense=${rank === 'dense' ? 'yes' : 'no'}`;
    this.state = parts.keys(name, 'state');
    this.archives = parts.keys(name, 'archives');
    this.all = this.place('all');
  }

  /** The keys of a ranking with marks. */
  place(...parts: string[]): Place {
    const { keys } = this.parts;
    return {
      ranks: keys(this.name, ...parts, 'ranks'),
      marks: keys(this.name, ...parts, 'marks'),
      scores: keys(this.name, ...parts, 'scores'),
      metadata: [keys(this.name, ...parts, 'metadata')],
      isTimed: this.rule.ties !== 'member',
    };
  }

  operation(operation: string, member: string): string {
    return this.parts.keys(this.name, 'operation', operation, member);
  }

  /** @throws MillraceError CLOSED; REDIS_* when Redis does not answer */
  run<T>(call: (client: RedisClient) => Promise<T>): Promise<T> {
    if (this.parts.isStopped())
      return Promise.reject(new MillraceError('CLOSED', 'the leaderboards have been stopped', {}));
    return this.parts.guard.run(() => call(this.parts.connections.commands()));
  }

  /** Makes sure, once, that what is read was stored in the form that this process knows; and of the time, when it matters. */
  async met(needsTime: boolean): Promise<void> {
    if (this.#isMet && !(needsTime && this.time.isOlderThan(TIME_LASTS_MS))) return;
    const meeting = (this.#meeting ??= this.#meet().finally(() => (this.#meeting = undefined)));
    await meeting;
  }

  /** The board was deleted: it may come to be in another form. */
  forget(): void {
    this.#isMet = false;
  }

  /** A script that holds the settings to those of the board has answered. */
  confirm(): void {
    this.#isMet = true;
  }

  /** @throws MillraceError LEADERBOARD_SETTINGS_DIFFER */
  checkSettings(stored: string): void {
    if (stored === this.settings) return;
    throw new MillraceError(
      'LEADERBOARD_SETTINGS_DIFFER',
      `board ${this.name}: it is stored with ${stored}, this process has ${this.settings}; ` +
        'give all processes the same options, or the board another name',
      { board: this.name, stored, given: this.settings },
    );
  }

  /** Asks for the time, and the form of what is stored. */
  async learn(): Promise<string> {
    const { settings, nowMs } = await this.run((client) => meetScript(client, { state: this.state }, {}));
    this.time.learn(nowMs);
    return settings;
  }

  async #meet(): Promise<void> {
    const settings = await this.learn();
    if (settings !== '') this.checkSettings(settings);
    // A board that nobody has written yet may come to be in another form.
    this.#isMet = settings !== '';
  }
}
