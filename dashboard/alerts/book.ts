/**
 * What Redis keeps of alerts, for all dashboards of a prefix.
 *
 * Keys, all in one slot: `PREFIX:dashboard:{alerts}:` and `states` HASH alert -> what it is; `acknowledged` HASH alert -> by whom; `silences`
 * HASH rule -> until when; `owed` HASH notice -> what is to be told and is not a job yet; `history` LIST, the newest first, 500 at most.
 * States and what is owed are written by the collector alone, together or not at all: so a collector that takes over finds each notice either owed
 * or not thought of yet. The id of a notice is the job's idempotency key, so that one which was handed over and not crossed out is not told twice.
 */
import { z } from 'zod';
import { createKeySpace, MillraceError, type Platform } from 'millrace';
import { noticeSchema, type AlertNotice } from './notice.ts';
import { readState, type AlertState } from './states.ts';

const acknowledgedSchema = z.object({ by: z.string(), at: z.number() });
const silenceSchema = z.object({ by: z.string(), until: z.number() });
const eventSchema = z.object({
  at: z.number(),
  what: z.enum(['fired', 'resolved', 'acknowledged', 'silenced', 'unsilenced']),
  rule: z.string(),
  severity: z.enum(['warning', 'critical']).optional(),
  subject: z.string().optional(),
  text: z.string().optional(),
  by: z.string().optional(),
});

export type Silence = z.output<typeof silenceSchema>;
export type Acknowledgement = z.output<typeof acknowledgedSchema>;
/** Something that happened to an alert or a rule. */
export type AlertEvent = z.output<typeof eventSchema>;

/** All that is kept but the history. */
export interface Kept {
  readonly states: ReadonlyMap<string, AlertState>;
  readonly acknowledged: ReadonlyMap<string, Acknowledgement>;
  readonly silences: ReadonlyMap<string, Silence>;
  readonly owed: ReadonlyMap<string, AlertNotice>;
}

/** What a collector has found out. */
export interface Change {
  readonly set: readonly AlertState[];
  readonly remove: readonly string[];
  readonly owed: readonly AlertNotice[];
  readonly events: readonly AlertEvent[];
}

const MOST_EVENTS = 500;
const NAMES = ['states', 'acknowledged', 'silences', 'owed', 'history'] as const;

type Keys = Readonly<Record<(typeof NAMES)[number], string>>;
type Command = readonly [name: string, ...rest: Array<string | number>];

/** The alerts of a platform, as Redis has them. */
export class AlertBook {
  readonly #platform: Platform;
  readonly #keys: Keys;

  constructor(platform: Platform) {
    const key = createKeySpace(platform.prefix, 'dashboard');
    this.#platform = platform;
    this.#keys = Object.fromEntries(NAMES.map((name) => [name, key('alerts', name)])) as Keys;
  }

  /** @throws what Redis met */
  async read(): Promise<Kept> {
    const { states, acknowledged, silences, owed } = this.#keys;
    const [one, two, three, four] = (await this.#all(
      [states, acknowledged, silences, owed].map((key) => ['hgetall', key]),
    )) as [Hash, Hash, Hash, Hash];
    return {
      states: parsed(one, readState),
      acknowledged: parsed(two, reader(acknowledgedSchema)),
      silences: parsed(three, reader(silenceSchema)),
      owed: parsed(four, reader(noticeSchema)),
    };
  }

  /** What happened, the newest first. */
  async history(): Promise<AlertEvent[]> {
    const [lines] = (await this.#all([['lrange', this.#keys.history, 0, MOST_EVENTS - 1]])) as [string[]];
    return lines.flatMap((line) => reader(eventSchema)(line) ?? []);
  }

  /** Writes what was found out, as a whole. */
  async write({ set, remove, owed, events }: Change): Promise<void> {
    const keys = this.#keys;
    const commands: Command[] = [];
    if (set.length > 0)
      commands.push(['hset', keys.states, ...set.flatMap((state) => [state.id, JSON.stringify(state)])]);
    if (remove.length > 0) commands.push(['hdel', keys.states, ...remove], ['hdel', keys.acknowledged, ...remove]);
    if (owed.length > 0)
      commands.push(['hset', keys.owed, ...owed.flatMap((notice) => [notice.id, JSON.stringify(notice)])]);
    commands.push(...this.#told(events));
    if (commands.length > 0) await this.#all(commands);
  }

  /** A notice is a job now. */
  async crossOut(noticeId: string): Promise<void> {
    await this.#all([['hdel', this.#keys.owed, noticeId]]);
  }

  async acknowledge(alert: AlertState, acknowledgement: Acknowledgement): Promise<void> {
    const { rule, severity, subject, id } = alert;
    const event = { ...acknowledgement, what: 'acknowledged', rule, severity, subject } as const;
    await this.#all([['hset', this.#keys.acknowledged, id, JSON.stringify(acknowledgement)], ...this.#told([event])]);
  }

  async silence(rule: string, silence: Silence, at: number): Promise<void> {
    const event = { what: 'silenced', rule, by: silence.by, at } as const;
    await this.#all([['hset', this.#keys.silences, rule, JSON.stringify(silence)], ...this.#told([event])]);
  }

  async unsilence(rule: string, by: string, at: number): Promise<void> {
    await this.#all([['hdel', this.#keys.silences, rule], ...this.#told([{ what: 'unsilenced', rule, by, at }])]);
  }

  /** The server's time, in ms. */
  async now(): Promise<number> {
    const [seconds, micros] = await this.#platform.redis.commands().time();
    return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  }

  #told(events: readonly AlertEvent[]): Command[] {
    if (events.length === 0) return [];
    const { history } = this.#keys;
    return [
      ['lpush', history, ...events.map((event) => JSON.stringify(event))],
      ['ltrim', history, 0, MOST_EVENTS - 1],
    ];
  }

  /** Runs them as one: all, or none. */
  async #all(commands: readonly Command[]): Promise<unknown[]> {
    const { redis } = this.#platform;
    // Each is a list of its own, as MULTI takes them.
    const answers = await redis
      .commands()
      .multi(commands.map((command) => [...command]))
      .exec();
    if (answers === null) throw new MillraceError('REDIS_FAILED', 'Redis has not run what belongs together', {});
    const failure = answers.find(([error]) => error !== null)?.[0];
    if (failure) throw new MillraceError('REDIS_FAILED', `alerts: ${failure.message}`, { cause: failure });
    return answers.map(([, answer]) => answer);
  }
}

type Hash = Readonly<Record<string, string>>;

function parsed<Value>(hash: Hash, read: (json: string) => Value | undefined): Map<string, Value> {
  const values = new Map<string, Value>();
  for (const [id, json] of Object.entries(hash)) {
    const value = read(json);
    if (value !== undefined) values.set(id, value);
  }
  return values;
}

/** Undefined for what an other version wrote in another form. */
function reader<Value>(schema: z.ZodType<Value>): (json: string) => Value | undefined {
  return (json) => {
    try {
      return schema.safeParse(JSON.parse(json)).data;
    } catch {
      return undefined; // Not one of ours.
    }
  };
}
