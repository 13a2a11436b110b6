/**
 * Rate limits: how much a key may take in a time, over all processes.
 *
 * Promise: see redis-limiter.ts for limiters and concurrency.ts for how many at once. One channel, `PREFIX:rate:changed`, tells all
 * processes of whatever ends a refusal early; it is listened to from the first call on.
 * Redis down: each limiter's `onError`; a breaker keeps calls from waiting for a deadline each.
 */
import { z } from 'zod';
import { systemClock, type Clock } from '../clock.ts';
import type { Duration } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import { silentLogger, type Logger } from '../log.ts';
import { Broadcast } from '../redis/broadcast.ts';
import type { Connections } from '../redis/connect.ts';
import { Guard } from '../redis/guard.ts';
import { createKeySpace, DEFAULT_PREFIX, type KeySpace } from '../redis/keys.ts';
import { checkOptions, durationOption } from '../schema.ts';
import { forget, list, suffixesTold, tell, type EdgeKey, type ToldEdge } from './edge-keys.ts';
import { EdgeWatch } from './edge-watch.ts';
import { checkConcurrency } from './concurrency-options.ts';
import { ConcurrencyLimit, type ConcurrencyOptions } from './concurrency.ts';
import type { Limiter } from './limiter.ts';
import { keyMessage, readMessage } from './messages.ts';
import type { OnError } from './outage.ts';
import { fillIn, nameOption, policiesOption, type Policy, type PolicyInfo } from './policies.ts';
import { createRateLimitMetrics, type RateLimitMetrics, type RateLimitMetricsRegistry } from './rate-limit-metrics.ts';
import { BLOCK, checkKey, RedisLimiter } from './redis-limiter.ts';
import { forgetScript } from './scripts.ts';
import { Waits } from './wait.ts';

/** Options of the rate limits of a process. */
export interface LimitsOptions {
  /** What all keys begin with. Default `millrace`. */
  prefix?: string | undefined;
  /**
   * While Redis does not answer: `allow` lets everything through, `deny` refuses everything, `local` lets each process keep its share of the
   * limits. Default `allow`: an outage of the limiter should not be one of the service. `deny` where a limit guards against guessing.
   */
  onError?: OnError | undefined;
  /** How long a call waits for Redis. Default 100 ms. Too short, and a busy server is taken for one that is down. */
  deadline?: Duration | undefined;
  /** How many processes share the limits under `local`. Default 1: each lets in all of it. */
  instances?: number | undefined;
  /** How many refusals each limiter remembers, to answer them without a round trip. Default 10,000; 0 for none. */
  denyCacheSize?: number | undefined;
  /** How long a refusal is remembered at most. Default 1 min: so long may a key that Redis lost stay refused. */
  denyCacheFor?: Duration | undefined;
  /**
   * Tell Redis every 5 s which keys were refused or have used more than 80 % of a limit, for nearEdge(). Default true. Keys may be personal data,
   * such as addresses, and operators see them there; with false those of this process are not told.
   */
  watch?: boolean | undefined;
  log?: Logger | undefined;
  clock?: Clock | undefined;
  /** Where to count. Default: nowhere. */
  metrics?: RateLimitMetricsRegistry | undefined;
}

/** Options of a limiter. */
export interface LimiterOptions {
  /** One to eight rules; a call must pass all of them. */
  policies: readonly Policy[];
  /** In the place of that of the limits. */
  onError?: OnError | undefined;
  /** How long a call waits for Redis, in the place of that of the limits: longer where it is better to wait than to refuse, as at a sign-in. */
  deadline?: Duration | undefined;
}

/** The rate limits of one process. */
export interface Limits {
  /**
   * The limiter of that name, the same one each time.
   *
   * @throws MillraceError OPTIONS_INVALID, also when the name is in use with other options
   */
  limiter(name: string, options: LimiterOptions): Limiter;
  /** The concurrency limit of that name, likewise. */
  concurrency(name: string, options: ConcurrencyOptions): ConcurrencyLimit;
  /**
   * The keys of all processes that were refused, or have used more than 80 % of a limit, in the last minutes; the most refused first, 500 at
   * most. Other processes tell Redis every 5 s.
   *
   * @example
   * for (const { limiter, key, used, refused } of await limits.nearEdge()) console.log(limiter, key, used, refused);
   * @throws MillraceError what Redis met, CLOSED
   */
  nearEdge(): Promise<EdgeKey[]>;
  /**
   * Forgets everything about a key of any process's limiter, a block too, as the limiter's own reset() does: for operators, who have not its
   * policies. Where these keep what they know is told of keys that nearEdge() lists.
   *
   * @returns false for a key that is near no edge, of a limiter that this process does not have: then nothing is known of it, and nothing done
   * @throws MillraceError OPTIONS_INVALID, KEY_INVALID, CLOSED; what Redis met
   */
  reset(limiter: string, key: string): Promise<boolean>;
  /** Ends a block of a key, likewise. What was taken before it counts on. @returns whether there was one */
  unblock(limiter: string, key: string): Promise<boolean>;
  /** Ends what waits. Safe to call twice; afterwards calls throw CLOSED. */
  stop(): Promise<void>;
}

const MOST_LIMITERS = 1_000;
const deadlineOption = durationOption.refine((ms) => ms >= 1, 'expected at least 1 ms');
const onErrorOption = z.enum(['allow', 'deny', 'local']).optional();

const limitsSchema = z.strictObject({
  prefix: z.string().default(DEFAULT_PREFIX),
  onError: onErrorOption.default('allow'),
  deadline: deadlineOption.default(100),
  instances: z.int().positive().default(1),
  denyCacheSize: z.int().nonnegative().default(10_000),
  denyCacheFor: durationOption.default(60_000),
  watch: z.boolean().default(true),
  log: z.custom<Logger>((value) => typeof value === 'object' && value !== null, 'expected a logger').optional(),
  clock: z.custom<Clock>((value) => typeof value === 'object' && value !== null, 'expected a clock').optional(),
  metrics: z
    .custom<RateLimitMetricsRegistry>((value) => typeof value === 'object' && value !== null, 'expected a registry')
    .optional(),
});

/** The options that an app gives, as the platform checks them. */
export const limitsOptionsSchema = limitsSchema.omit({ prefix: true, log: true, clock: true, metrics: true }).partial();

const limiterSchema = z.strictObject({
  policies: policiesOption,
  onError: onErrorOption,
  deadline: deadlineOption.optional(),
});

/**
 * The rate limits of a process.
 *
 * @example
 * const limits = createLimits(connections, { onError: 'local', instances: 4 });
 * const api = limits.limiter('api', { policies: [{ limit: 20, per: '1s', burst: 40 }] });
 * const { allowed, retryAfterMs } = await api.consume(`user:${userId}`);
 * @throws MillraceError OPTIONS_INVALID
 */
export function createLimits(
  connections: Pick<Connections, 'commands' | 'subscriber' | 'label'>,
  options: LimitsOptions = {},
): Limits {
  return new RedisLimits(connections, checkOptions(limitsSchema, options, 'createLimits'));
}

type Checked = z.output<typeof limitsSchema>;

class RedisLimits implements Limits {
  readonly #connections: Pick<Connections, 'commands' | 'subscriber' | 'label'>;
  readonly #options: Checked;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #keys: KeySpace;
  readonly #metrics: RateLimitMetrics;
  /** By their deadline. */
  readonly #guards = new Map<number, Guard>();
  readonly #guard: Guard;
  readonly #waits: Waits;
  readonly #edges: EdgeWatch | undefined;
  readonly #channel: string;
  readonly #broadcast: Broadcast;
  readonly #limiters = new Map<string, { limiter: RedisLimiter; said: string; words: string | undefined }>();
  readonly #concurrency = new Map<string, { limit: ConcurrencyLimit; said: string; words: string | undefined }>();
  #isStopped = false;

  constructor(connections: Pick<Connections, 'commands' | 'subscriber' | 'label'>, options: Checked) {
    const { prefix, clock = systemClock, log = silentLogger, metrics, deadline, watch } = options;
    this.#connections = connections;
    this.#options = options;
    this.#clock = clock;
    this.#log = log.child({ module: 'rate-limit' });
    this.#keys = createKeySpace(prefix, 'rate');
    this.#metrics = createRateLimitMetrics(metrics, MOST_LIMITERS);
    this.#waits = new Waits(clock);
    this.#channel = `${prefix}:rate:changed`;
    this.#guard = this.#guardOf(deadline);
    const tellEdges = (edges: readonly ToldEdge[]): Promise<number> =>
      this.#guard.run(() =>
        tell(connections.commands(), this.#keys, edges, (name) => this.#limiters.get(name)?.limiter.suffixes ?? []),
      );
    this.#edges = watch ? new EdgeWatch({ tell: tellEdges, log: this.#log }) : undefined;
    this.#broadcast = new Broadcast(this.#channel, connections, this.#log, {
      onMessage: (text) => this.#onMessage(text),
      onLive: () => this.#setLive(true),
      onLost: () => this.#setLive(false),
    });
  }

  limiter(name: string, options: LimiterOptions): Limiter {
    if (this.#isStopped) throw closed();
    const known = this.#limiters.get(name);
    // Handlers ask for their limiter with each job: what was checked once in these very words is not checked again.
    if (known?.words !== undefined && known.words === wordsOf(options)) return known.limiter;
    const owner = `limiter ${name}`;
    const {
      policies,
      onError = this.#options.onError,
      deadline = this.#options.deadline,
    } = checkOptions(limiterSchema, options, owner);
    const infos = fillIn(policies);
    const said = JSON.stringify([infos, onError, deadline]);
    if (known) {
      mustBeSame(owner, known.said, said);
      return known.limiter;
    }
    checkName(name, owner, this.#limiters.size);
    const limiter = this.#createLimiter(name, infos, onError, this.#guardOf(deadline));
    limiter.setLive(this.#broadcast.isLive);
    this.#limiters.set(name, { limiter, said, words: wordsOf(options) });
    return limiter;
  }

  concurrency(name: string, options: ConcurrencyOptions): ConcurrencyLimit {
    if (this.#isStopped) throw closed();
    const known = this.#concurrency.get(name);
    if (known?.words !== undefined && known.words === wordsOf(options)) return known.limit;
    const owner = `concurrency ${name}`;
    const { max, ttl, retryAfter, onError = this.#options.onError } = checkConcurrency(owner, options);
    const said = JSON.stringify([max, ttl, retryAfter, onError]);
    if (known) {
      mustBeSame(owner, known.said, said);
      return known.limit;
    }
    checkName(name, owner, this.#concurrency.size);
    const { prefix, instances } = this.#options;
    const limit = new ConcurrencyLimit(name, options, {
      connections: this.#connections,
      prefix,
      guard: this.#guard,
      clock: this.#clock,
      log: this.#log,
      onError,
      instances,
      onOutcome: this.#metrics.slot,
    });
    this.#concurrency.set(name, { limit, said, words: wordsOf(options) });
    return limit;
  }

  async nearEdge(): Promise<EdgeKey[]> {
    if (this.#isStopped) throw closed();
    await this.#edges?.tell();
    return list(this.#connections.commands(), this.#keys);
  }

  async reset(limiter: string, key: string): Promise<boolean> {
    this.#checkNamed(limiter, key);
    const client = this.#connections.commands();
    const own = this.#limiters.get(limiter)?.limiter.suffixes;
    const told = await suffixesTold(client, this.#keys, limiter, key);
    if (!own && !told) return false;
    await this.#letIn(limiter, key, [...new Set([BLOCK, ...(own ?? []), ...(told ?? [])])]);
    return true;
  }

  async unblock(limiter: string, key: string): Promise<boolean> {
    this.#checkNamed(limiter, key);
    return (await this.#letIn(limiter, key, [BLOCK])) > 0;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#edges?.stop();
    this.#waits.stop();
    for (const { limiter } of this.#limiters.values()) limiter.stop();
    for (const { limit } of this.#concurrency.values()) limit.stop();
    this.#broadcast.close();
    for (const guard of this.#guards.values()) guard.close();
  }

  /** How many of the states were there. */
  async #letIn(limiter: string, key: string, suffixes: readonly string[]): Promise<number> {
    const client = this.#connections.commands();
    const kept = suffixes.map((suffix) => `${this.#keys(`${limiter}/${key}`)}${suffix}`);
    const told = { channel: this.#channel, message: keyMessage(limiter, key) };
    const count = await forgetScript(client, { kept }, told);
    this.#limiters.get(limiter)?.limiter.onKeyFreed(key); // The message to this process itself may come later than the answer.
    await forget(client, this.#keys, limiter, key);
    return count;
  }

  #checkNamed(limiter: string, key: string): void {
    if (this.#isStopped) throw closed();
    if (!nameOption.safeParse(limiter).success) throw noName('limits', limiter);
    checkKey(limiter, key);
  }

  /** Calls of one deadline stop asking together. */
  #guardOf(deadlineMs: number): Guard {
    const known = this.#guards.get(deadlineMs);
    if (known) return known;
    const guard = new Guard({
      deadlineMs,
      clock: this.#clock,
      label: this.#connections.label,
      onOpen: (failure) => this.#log.warn({ err: failure }, 'rate limits go on without Redis'),
      onClose: () => this.#onRedisBack(),
    });
    this.#guards.set(deadlineMs, guard);
    return guard;
  }

  #createLimiter(name: string, policies: readonly PolicyInfo[], onError: OnError, guard: Guard): RedisLimiter {
    const { instances, denyCacheSize, denyCacheFor } = this.#options;
    return new RedisLimiter(name, policies, {
      client: () => this.#connections.commands(),
      open: () => this.#open(),
      guard,
      keys: this.#keys,
      channel: this.#channel,
      waits: this.#waits,
      clock: this.#clock,
      log: this.#log,
      meter: this.#metrics.forLimiter(name),
      edges: this.#edges?.of(name),
      onError,
      instances,
      denyCache: { size: denyCacheSize, longestMs: denyCacheFor },
    });
  }

  #open(): void {
    if (this.#isStopped) throw closed();
    void this.#broadcast.open(); // Until it is live, every refusal is asked for.
  }

  #onMessage(text: string): void {
    const { limiter: name, key } = readMessage(text);
    const known = this.#limiters.get(name);
    if (key === undefined) known?.limiter.onPoliciesChanged();
    else known?.limiter.onKeyFreed(key);
  }

  #setLive(isLive: boolean): void {
    for (const { limiter } of this.#limiters.values()) limiter.setLive(isLive);
  }

  #onRedisBack(): void {
    this.#log.info('rate limits are kept in Redis again');
    for (const { limiter } of this.#limiters.values()) limiter.onRedisBack();
  }
}

function checkName(name: unknown, owner: string, count: number): void {
  if (!nameOption.safeParse(name).success) throw noName(owner, name);
  if (count >= MOST_LIMITERS)
    throw new MillraceError(
      'OPTIONS_INVALID',
      `${owner}: there are ${MOST_LIMITERS} already; what differs by user or tenant is the key, not the limiter`,
      { name },
    );
}

function noName(owner: string, name: unknown): MillraceError {
  const message = `${owner}: name: expected up to 64 letters, digits and _ . -`;
  return new MillraceError('OPTIONS_INVALID', message, { name });
}

/** Undefined for what has no JSON form, which the check refuses. */
function wordsOf(options: LimiterOptions | ConcurrencyOptions): string | undefined {
  try {
    return JSON.stringify(options);
  } catch {
    return undefined;
  }
}

function mustBeSame(owner: string, known: string, now: string): void {
  if (known === now) return;
  throw new MillraceError('OPTIONS_INVALID', `${owner}: is there already with other options`, {});
}

function closed(): MillraceError {
  return new MillraceError('CLOSED', 'the rate limits have been stopped', {});
}
