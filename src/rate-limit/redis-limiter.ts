/**
 * A limiter on Redis: one script decides by all policies of a call.
 *
 * Promise: a call takes its cost from all policies or from none; a refused one takes nothing; the server's clock decides. A call
 * costs one round trip, a refusal that is known none.
 *
 *   PREFIX:rate:{LIMITER/KEY}             STRING  the state of a limiter's only policy, by GCRA or token bucket
 *   PREFIX:rate:{LIMITER/KEY}:f :s :l     fixed window STRING, sliding window HASH, sliding log ZSET
 *   PREFIX:rate:{LIMITER/KEY}:POLICY...   the same, where there are several policies
 *   PREFIX:rate:{LIMITER/KEY}:block       STRING  while every call is refused
 *
 * They all expire as soon as they make no difference.
 * Redis down: consume() and peek() answer by `onError` within the deadline; what changes something throws.
 */
import { randomBytes } from 'node:crypto';
import { isMillraceError, MillraceError, describeValue } from '../errors.ts';
import type { Clock } from '../clock.ts';
import { toMs, type Duration } from '../durations.ts';
import type { Guard } from '../redis/guard.ts';
import { explainScriptError, isNoScript, type ScriptClient } from '../redis/script.ts';
import type { KeySpace } from '../redis/keys.ts';
import type { Logger } from '../log.ts';
import { DenyCache, type DenyCacheOptions } from './deny-cache.ts';
import { resultOf, resultOfBucket } from './decision.ts';
import type { EdgeBook } from './edge-watch.ts';
import type { ConsumeOptions, ConsumeResult, Limiter, LimitWaitOptions } from './limiter.ts';
import { LocalShare } from './local-share.ts';
import { keyMessage, policiesMessage } from './messages.ts';
import { FaultLog, withoutRedis, type OnError } from './outage.ts';
import { changed, type Bucket, type PolicyChange, type PolicyInfo } from './policies.ts';
import { PolicyBook } from './policy-book.ts';
import type { LimiterMeter } from './rate-limit-metrics.ts';
import {
  askBucket,
  blockScript,
  teachBucket,
  consumeGcraScript,
  consumeScript,
  type BucketDecision,
  forgetScript,
  refundScript,
  setPolicyScript,
  type Decision,
} from './scripts.ts';
import type { Waits } from './wait.ts';

/** What a limiter is made of. */
export interface RedisLimiterParts {
  client: () => ScriptClient;
  /** Starts what the first call needs. @throws MillraceError CLOSED */
  open: () => void;
  guard: Pick<Guard, 'run' | 'watch'>;
  keys: KeySpace;
  channel: string;
  waits: Waits;
  clock: Clock;
  log: Logger;
  meter: LimiterMeter;
  /** Told of calls for whoever looks for keys that are near their limits. */
  edges: EdgeBook | undefined;
  onError: OnError;
  instances: number;
  denyCache: DenyCacheOptions;
}

const DEFAULT_WAIT_MS = 10_000;
const PLAIN = /^[\w:./@-]+$/;
const LONGEST_KEY = 512;
/** What follows the key of a limiter's key for its block. */
export const BLOCK = ':block';
/** Tells the calls of this process from those of others. */
const PROCESS = randomBytes(6).toString('base64url');
let callCount = 0;

/** A limiter. */
export class RedisLimiter implements Limiter {
  readonly name: string;
  readonly #parts: RedisLimiterParts;
  readonly #book: PolicyBook;
  readonly #denials: DenyCache;
  readonly #share: LocalShare;
  readonly #faultLog: FaultLog;
  /** What the keys of all keys begin with. */
  readonly #head: string;
  #isOpen = false;

  constructor(name: string, policies: readonly PolicyInfo[], parts: RedisLimiterParts) {
    this.name = name;
    this.#parts = parts;
    this.#head = parts.keys(`${name}/`).slice(0, -1);
    this.#denials = new DenyCache(parts.denyCache);
    this.#share = new LocalShare(parts.instances);
    this.#faultLog = new FaultLog(name, parts.log);
    const changes = this.#changesKey();
    this.#book = new PolicyBook({
      limiter: name,
      policies,
      read: () => parts.guard.run(() => parts.client().hgetall(changes)),
      onChange: () => this.#denials.clear(),
      log: parts.log,
    });
  }

  get policies(): readonly PolicyInfo[] {
    return this.#book.plan.policies;
  }

  /** What follows the key of a limiter's key for each policy's state. */
  get suffixes(): readonly string[] {
    return this.#book.plan.suffixes;
  }

  consume(key: string, options?: ConsumeOptions): Promise<ConsumeResult> {
    const cost = options?.cost ?? 1;
    const known = this.#denials.find(key, cost, this.#parts.clock.monotonicMs());
    if (known !== undefined) {
      this.#parts.meter.counted(known);
      this.#parts.edges?.repeated(key, known);
      return Promise.resolve(known);
    }
    const { bucket } = this.#book.plan;
    return bucket && this.#isOpen ? this.#pour(key, cost, bucket) : this.#decide(key, cost, true);
  }

  peek(key: string, options?: ConsumeOptions): Promise<ConsumeResult> {
    return this.#decide(key, options?.cost ?? 1, false);
  }

  async require(key: string, options?: ConsumeOptions): Promise<ConsumeResult> {
    const result = await this.consume(key, options);
    if (result.allowed) return result;
    const { policy, limit, remaining, retryAfterMs } = result;
    const when = retryAfterMs === Infinity ? 'a call of this cost never passes' : `ask again in ${retryAfterMs} ms`;
    const message = `${this.name}: ${policy} refuses the call; ${when}`;
    throw new MillraceError('RATE_LIMITED', message, { limiter: this.name, policy, limit, remaining, retryAfterMs });
  }

  async wait(key: string, { max, signal, ...options }: LimitWaitOptions = {}): Promise<ConsumeResult> {
    const maxMs = max === undefined ? DEFAULT_WAIT_MS : toMs(max);
    return this.#parts.waits.wait(`${this.name}/${key}`, () => this.consume(key, options), { maxMs, signal });
  }

  async refund(key: string, cost: number = 1): Promise<void> {
    this.#check(key, cost);
    await this.#whenOpen();
    const { take: plan, suffixes } = this.#book.plan;
    const base = this.#keyOf(key);
    const states = suffixes.map((suffix) => base + suffix);
    const args = { plan, cost, channel: this.#parts.channel, message: keyMessage(this.name, key) };
    await this.#parts.guard.run(() => refundScript(this.#parts.client(), { states }, args));
    this.#denials.forget(key);
  }

  async reset(key: string): Promise<void> {
    this.#check(key, 1);
    await this.#whenOpen();
    const base = this.#keyOf(key);
    await this.#forget(key, [base + BLOCK, ...this.#book.plan.suffixes.map((suffix) => base + suffix)]);
  }

  async block(key: string, duration: Duration, options?: { atLeast?: boolean | undefined }): Promise<void> {
    this.#check(key, 1);
    const ms = toMs(duration);
    if (ms < 1) throw invalid(`${this.name}: block: expected at least 1 ms`, { duration });
    await this.#whenOpen();
    const block = this.#keyOf(key) + BLOCK;
    const atLeast = options?.atLeast === true ? 1 : 0;
    const args = { ms, atLeast, channel: this.#parts.channel, message: keyMessage(this.name, key) };
    await this.#parts.guard.run(() => blockScript(this.#parts.client(), { block }, args));
    this.#denials.forget(key); // A longer block may be remembered.
  }

  async unblock(key: string): Promise<void> {
    this.#check(key, 1);
    await this.#whenOpen();
    await this.#forget(key, [this.#keyOf(key) + BLOCK]);
  }

  async setPolicy(name: string, change: PolicyChange | undefined): Promise<void> {
    const policy = this.#book.ofCode(name);
    if (!policy) {
      const known = this.policies.map((one) => one.name).join(', ');
      throw invalid(`${this.name}: setPolicy: no policy ${describeValue(name)}; there are ${known}`, { name });
    }
    if (change !== undefined) changed(policy, change);
    await this.#whenOpen();
    const args = {
      name,
      change: change === undefined ? '' : JSON.stringify(change),
      channel: this.#parts.channel,
      message: policiesMessage(this.name),
    };
    await this.#parts.guard.run(() => setPolicyScript(this.#parts.client(), { changes: this.#changesKey() }, args));
    this.#book.expire();
    await this.#book.read();
  }

  /** A message told that there may be room for the key again. */
  onKeyFreed(key: string): void {
    this.#denials.forget(key);
  }

  /** A message told that policies have changed, or messages may have been missed. */
  onPoliciesChanged(): void {
    this.#denials.clear();
    this.#book.expire();
    if (this.#isOpen) void this.#book.read();
  }

  /** Whether messages arrive. */
  setLive(isLive: boolean): void {
    this.#denials.setLive(isLive);
    if (isLive) this.onPoliciesChanged();
  }

  /** Redis answers again. */
  onRedisBack(): void {
    this.#share.clear();
  }

  /** Calls throw CLOSED from now on. */
  stop(): void {
    this.#isOpen = false;
    this.#denials.setLive(false);
  }

  /** What #decide() does, for a call on one bucket: what nearly every request of an app waits for, so with no promise to spare. */
  #pour(key: string, cost: number, bucket: Bucket): Promise<ConsumeResult> {
    return new Promise((resolve, reject) => {
      this.#check(key, cost); // What it throws rejects.
      if (this.#book.isStale) void this.#book.read();
      const { guard, clock, meter, edges } = this.#parts;
      const client = this.#parts.client(); // Once: what it throws later, nobody would hear of.
      const { epoch } = this.#denials;
      const sentAtMs = clock.monotonicMs();
      const answered = (said: BucketDecision): void => {
        const result = resultOfBucket(bucket, cost, said);
        if (!result.allowed) this.#denials.keep(key, cost, result, sentAtMs, epoch);
        meter.counted(result);
        edges?.decided(key, result);
        resolve(result);
      };
      const failed = (failure: MillraceError): void => {
        if (failure.code === 'CLOSED') reject(failure);
        // The script's own error: a fault, which `onError` must not hide.
        else if (failure.code === 'REDIS_FAILED')
          reject(explainScriptError(failure.cause, consumeGcraScript.file, client));
        else resolve(this.#decide(key, cost, true, failure));
      };
      const state = this.#keyOf(key);
      guard.watch(
        () => askBucket(client, state, bucket, cost),
        answered,
        (failure) => {
          if (!isNoScript(failure.cause)) failed(failure);
          else guard.watch(() => teachBucket(client, state, bucket, cost), answered, failed);
        },
      );
    });
  }

  /** @param failure What Redis was met with already. */
  async #decide(key: string, cost: number, takes: boolean, failure?: MillraceError): Promise<ConsumeResult> {
    this.#check(key, cost);
    if (!this.#isOpen) await this.#whenOpen();
    else if (this.#book.isStale) void this.#book.read();
    const { guard, clock, meter } = this.#parts;
    const { plan } = this.#book;
    const { epoch } = this.#denials;
    const sentAtMs = clock.monotonicMs();
    let result: ConsumeResult;
    try {
      const met = failure ?? (this.#isOpen ? undefined : this.#book.failure);
      if (met !== undefined) throw met;
      result = resultOf(plan.policies, await guard.run(() => this.#send(key, cost, takes)));
      if (takes && !result.allowed && !plan.countsDenied) this.#denials.keep(key, cost, result, sentAtMs, epoch);
      if (takes) this.#parts.edges?.decided(key, result);
    } catch (error) {
      if (!isMillraceError(error) || !error.code.startsWith('REDIS_')) throw error;
      this.#faultLog.tell(error);
      result = withoutRedis(this.#parts.onError, this.#share, plan.policies, {
        key,
        cost,
        takes,
        nowMs: clock.monotonicMs(),
      });
    }
    if (takes) meter.counted(result);
    return result;
  }

  #send(key: string, cost: number, takes: boolean): Promise<Decision> {
    const { plan } = this.#book;
    const base = this.#keyOf(key);
    const states: string[] = [];
    for (const suffix of plan.suffixes) states.push(base + suffix);
    const call = plan.hasLog && takes ? `${PROCESS}${(callCount++).toString(36)}` : '';
    return consumeScript(
      this.#parts.client(),
      { block: base + BLOCK, states },
      { plan: takes ? plan.take : plan.look, cost, call },
    );
  }

  async #forget(key: string, kept: readonly string[]): Promise<void> {
    const args = { channel: this.#parts.channel, message: keyMessage(this.name, key) };
    await this.#parts.guard.run(() => forgetScript(this.#parts.client(), { kept }, args));
    this.#denials.forget(key); // The message to this process itself may come later than the answer.
  }

  /** Changes that were made before this process began are known before its first call: unless they are, Redis is not asked. */
  async #whenOpen(): Promise<void> {
    this.#parts.open();
    if (this.#isOpen) return;
    await this.#book.read();
    this.#parts.open(); // It may have been stopped meanwhile.
    this.#isOpen = this.#book.failure === undefined;
  }

  #keyOf(key: string): string {
    // Ordinary keys have nothing to encode.
    return PLAIN.test(key) ? `${this.#head}${key}}` : this.#parts.keys(`${this.name}/${key}`);
  }

  #changesKey(): string {
    return this.#parts.keys(this.name, 'policies');
  }

  #check(key: unknown, cost: unknown): void {
    checkKey(this.name, key);
    if (!Number.isSafeInteger(cost) || (cost as number) < 1)
      throw invalid(`${this.name}: cost: expected a whole number from 1 on, got ${describeValue(cost)}`, { cost });
  }
}

/** @throws MillraceError KEY_INVALID */
export function checkKey(limiter: string, key: unknown): void {
  if (typeof key === 'string' && key !== '' && key.length <= LONGEST_KEY) return;
  const message = `${limiter}: expected a key of 1 to ${LONGEST_KEY} characters, got ${describeValue(key)}`;
  throw new MillraceError('KEY_INVALID', message, { limiter });
}

function invalid(message: string, facts: Record<string, unknown>): MillraceError {
  return new MillraceError('OPTIONS_INVALID', message, facts);
}
