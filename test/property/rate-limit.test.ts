/**
 * Every answer of consume.lua and consume-gcra.lua against exact models of the algorithms, on a real server.
 *
 * Time moves: for real, by pauses; and by hours, forwards and backwards, as time-travel.ts explains. The models are given the
 * times that the script reports.
 */
import { systemClock } from '../../src/clock.ts';
import * as fc from 'fast-check';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fillIn, layOut, type Algorithm, type Plan } from '../../src/rate-limit/policies.ts';
import {
  consumeGcraScript,
  consumeScript,
  refundScript,
  type BucketDecision,
  type Decision,
} from '../../src/rate-limit/scripts.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { modelOf, type Model, type Terms } from './rate-limit-models.ts';
import { travel } from './time-travel.ts';

interface TestPolicy extends Terms {
  countDenied: boolean;
  shadow: boolean;
}

type Act =
  | { kind: 'consume' | 'peek' | 'refund'; cost: number }
  | { kind: 'pause'; ms: number }
  | { kind: 'travel'; ms: number };

/** All spans of a test divide what time is moved by, so that windows stay windows. */
const SHORT_MS = 200;
const DAY_MS = 86_400_000;

let server: TestServer;
let connections: Connections;
let redis: Redis;
let keyCount = 0;
beforeAll(async () => {
  server = await startRedis();
  connections = createConnections({ url: server.url });
  redis = connections.commands() as Redis;
  await redis.ping();
});
afterAll(async () => {
  await connections.close();
  await server.stop();
});

const policyOf = (algorithms: readonly Algorithm[]): fc.Arbitrary<TestPolicy> =>
  fc
    .record({
      algorithm: fc.constantFrom(...algorithms),
      limit: fc.integer({ min: 1, max: 12 }),
      perMs: fc.constantFrom(1, 5, 20, 50, 200),
      extra: fc.integer({ min: -3, max: 5 }),
      align: fc.boolean(),
      countDenied: fc.boolean(),
      shadow: fc.constantFrom(false, false, true),
    })
    .map(({ algorithm, limit, extra, align, ...rest }) => ({
      ...rest,
      algorithm,
      limit,
      burst: algorithm === 'gcra' || algorithm === 'token-bucket' ? Math.max(1, limit + extra) : limit,
      align: align && algorithm === 'fixed-window',
    }));

const wide = (algorithm: Algorithm): fc.Arbitrary<TestPolicy> =>
  fc
    .record({
      limit: fc.integer({ min: 1, max: algorithm === 'sliding-log' ? 500 : 100_000 }),
      perMs: fc.constantFrom(1_000, 60_000, DAY_MS),
      burst: fc.integer({ min: 1, max: 100_000 }),
      align: fc.boolean(),
      countDenied: fc.boolean(),
    })
    .map(({ limit, burst, align, ...rest }) => ({
      ...rest,
      algorithm,
      limit,
      burst: algorithm === 'gcra' ? Math.min(burst, limit * 100) : limit,
      align: align && algorithm === 'fixed-window',
      shadow: false,
    }));

const SMALL_COSTS = fc.oneof(
  { weight: 4, arbitrary: fc.constant(1) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 14 }) },
);
const LARGE_COSTS = fc.oneof(SMALL_COSTS, fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 50_000 }));

const actsOf = (costs: fc.Arbitrary<number>, travels: fc.Arbitrary<number>): fc.Arbitrary<Act[]> =>
  fc.array(
    fc.oneof(
      { weight: 10, arbitrary: fc.record({ kind: fc.constant('consume' as const), cost: costs }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('peek' as const), cost: costs }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('refund' as const), cost: costs }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('pause' as const), ms: fc.integer({ min: 1, max: 15 }) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('travel' as const), ms: travels }) },
    ),
    { maxLength: 25 },
  );
const forwards = fc.integer({ min: 1, max: 3 }).map((spans) => spans * SHORT_MS);
const bothWays = fc.oneof(
  fc.integer({ min: -3, max: 3 }).map((spans) => spans * SHORT_MS),
  fc.constantFrom(-3_600_000, 3_600_000),
);
const byDays = fc.integer({ min: -2, max: 2 }).map((days) => days * DAY_MS);

/** A key of the script beside the models of its policies. */
class Subject {
  readonly #policies: readonly TestPolicy[];
  readonly #plan: Plan;
  readonly #models: Model[];
  readonly #isShort = keyCount % 2 === 0;
  readonly #base = `rate:{${keyCount++}}`;
  readonly #states: string[];
  #travelledUs = 0;
  #wasSetBack = false;
  #callCount = 0;

  constructor(policies: readonly TestPolicy[]) {
    this.#policies = policies;
    this.#models = policies.map(modelOf);
    this.#plan = layOut(
      fillIn(
        policies.map(({ algorithm, limit, perMs, burst, align, countDenied, shadow }, index) => ({
          name: `p${index}`,
          algorithm,
          limit,
          per: perMs,
          burst,
          align: align ? ('utc' as const) : undefined,
          countDenied,
          shadow,
        })),
      ),
    );
    this.#states = this.#plan.suffixes.map((suffix) => this.#base + suffix);
  }

  async do(one: Act): Promise<void> {
    if (one.kind === 'pause') return systemClock.sleep(one.ms);
    if (one.kind === 'travel') {
      this.#travelledUs += one.ms * 1_000;
      this.#wasSetBack ||= one.ms < 0;
      for (const [index, key] of this.#states.entries()) {
        const isThere = await travel(redis, key, one.ms);
        if (!isThere) this.#models[index] = modelOf(this.#policies[index] as TestPolicy);
      }
      return undefined;
    }
    if (one.kind === 'refund') {
      const told = { channel: 'told', message: 'refund' };
      await refundScript(redis, { states: this.#states }, { plan: this.#plan.take, cost: one.cost, ...told });
      for (const model of this.#models) model.refund(one.cost);
      return undefined;
    }
    return this.#call(one.cost, one.kind === 'consume');
  }

  /** All keys expire, and none later than its policy can need it. */
  async mustExpire(): Promise<void> {
    for (const [index, key] of this.#states.entries()) {
      const { algorithm, perMs, limit, burst } = this.#policies[index] as TestPolicy;
      const leftMs = await redis.pttl(key);
      mustBe(leftMs === -1, false);
      const spanMs = algorithm === 'sliding-window' ? 2 * perMs : (Math.ceil((perMs * 1e6) / limit) * burst) / 1e6;
      if (!this.#wasSetBack) mustBe(leftMs <= Math.max(spanMs, perMs) + 2, true);
    }
  }

  async #call(cost: number, takes: boolean): Promise<void> {
    const [nowUs = 0, blocked, ...said] = await this.#ask(cost, takes);
    const atUs = nowUs + this.#travelledUs;
    mustBe(blocked, 0);
    if (!takes)
      this.#mustAgree(
        said,
        atUs,
        cost,
        this.#models.map((model) => model.copy()),
        false,
      );
    else this.#mustAgree(said, atUs, cost, this.#models, true);
  }

  async #ask(cost: number, takes: boolean): Promise<Decision> {
    const block = `${this.#base}:block`;
    const { bucket, take, look } = this.#plan;
    const [state = ''] = this.#states;
    // As a limiter does; and, for every other key, as it would have to without the short cut.
    if (takes && bucket && this.#isShort) {
      const { full, fullNs, intervalNs } = bucket;
      const need = cost * intervalNs;
      const [said, nowUs] = await askBucket(state, full, need);
      const passes = typeof said === 'number';
      const debtNs = passes ? said : said[2];
      const retryUs = passes ? 0 : need > fullNs ? -1 : Math.ceil((debtNs + need - fullNs) / 1_000);
      if (!passes) mustBe(said[0], nowUs);
      const left = Math.floor((fullNs - debtNs) / intervalNs);
      return [nowUs, passes ? 0 : said[1], passes ? 1 : 0, left, retryUs, Math.ceil(debtNs / 1_000)];
    }
    const args = { plan: takes ? take : look, cost, call: `c${this.#callCount++}` };
    return consumeScript(redis, { block, states: this.#states }, args);
  }

  #mustAgree(said: readonly number[], atUs: number, cost: number, models: readonly Model[], takes: boolean): void {
    for (const model of models) model.settle(atUs);
    const fits = models.map((model) => cost <= model.left(atUs));
    const passes = fits.every((fit, index) => fit || this.#policies[index]?.shadow);
    for (const [index, model] of models.entries()) {
      const policy = this.#policies[index] as TestPolicy;
      const [saysFits, left = 0, retryUs = 0, resetUs = 0] = said.slice(4 * index, 4 * index + 4);
      const fit = fits[index] === true;
      mustBe(saysFits, fit ? 1 : 0);
      if (fit) mustBe(retryUs, 0);
      else if (cost > policy.burst) mustBe(retryUs, -1);
      else mustBeFirst(retryUs, (us) => cost <= model.left(atUs + us));
      if (takes && ((passes && fit) || (!fit && policy.countDenied && cost <= policy.burst))) model.take(atUs, cost);
      mustBe(left, model.left(atUs));
      mustBeFirst(resetUs, (us) => model.left(atUs + us) === policy.burst);
    }
  }
}

/** What consume-gcra.lua says, and its time, which stands still while a script runs. */
async function askBucket(state: string, full: string, need: number): Promise<[said: BucketDecision, nowUs: number]> {
  const { source } = consumeGcraScript.prepare({ state }, { full, need });
  const text = `local said = (function()\n${source}\nend)()\nlocal time = redis.call('TIME')\nreturn { said, time[1] * 1000000 + time[2] }`;
  return (await redis.eval(text, 1, state, full, need)) as [BucketDecision, number];
}

function mustBe<T>(actual: T, expected: T): void {
  expect(actual).toBe(expected);
}

/** What the script says is exact to the microsecond. */
function mustBeFirst(us: number, holds: (us: number) => boolean): void {
  expect(Number.isSafeInteger(us)).toBe(true);
  expect(holds(us)).toBe(true);
  if (us > 0) expect(holds(us - 1)).toBe(false);
}

async function mustFollow(policies: readonly TestPolicy[], acts: readonly Act[]): Promise<void> {
  const subject = new Subject(policies);
  for (const one of acts) {
    await subject.do(one);
    await subject.mustExpire();
  }
}

const mustHold = (
  policies: fc.Arbitrary<readonly TestPolicy[]>,
  acts: fc.Arbitrary<Act[]>,
  numRuns: number = 40,
): Promise<void> => fc.assert(fc.asyncProperty(policies, acts, mustFollow), { numRuns });

const ALL: readonly Algorithm[] = ['gcra', 'fixed-window', 'sliding-window', 'sliding-log'];

describe('the script does exactly what the algorithm says', () => {
  test.each(ALL)('%s, with time that moves either way', async (algorithm) => {
    await mustHold(fc.tuple(policyOf([algorithm])), actsOf(SMALL_COSTS, bothWays), 50);
  });

  test.each(ALL)('%s, with large limits', async (algorithm) => {
    await mustHold(fc.tuple(wide(algorithm)), actsOf(LARGE_COSTS, byDays), 25);
  });

  test('token bucket, which is GCRA told in tokens', async () => {
    await mustHold(fc.tuple(policyOf(['token-bucket'])), actsOf(SMALL_COSTS, forwards));
  });

  test('several policies: all or none', async () => {
    await mustHold(fc.array(policyOf(ALL), { minLength: 2, maxLength: 5 }), actsOf(SMALL_COSTS, bothWays));
  });

  test.each(ALL)('%s: a clock that is set back by an hour holds nobody up longer than the span', async (algorithm) => {
    const policy = { algorithm, limit: 3, perMs: 50, burst: 3, align: false, countDenied: false, shadow: false };
    for (let round = 0; round < 4; round++) {
      await mustFollow(
        [policy],
        [
          { kind: 'consume', cost: 3 },
          { kind: 'travel', ms: -3_600_000 },
          { kind: 'consume', cost: 3 },
          { kind: 'pause', ms: 110 },
          { kind: 'consume', cost: 3 },
        ],
      );
    }
  });
});
