/**
 * What a decision costs, at Redis and from memory, and what a key takes: ours, by GCRA, against rate-limiter-flexible.
 * support/limit-sides.ts says what each side does.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { clientOn } from './support/clients.ts';
import { commandsCalled, keyBytes, readsDuring } from './support/counters.ts';
import { flexibleOn, oursOn, type LimitSide, type Rule } from './support/limit-sides.ts';
import { callsPerSecond, type Case, type Side } from './support/measure.ts';
import { benchBinary, pinned, startBenchServer } from './support/server.ts';

/** No key comes near it. */
const WIDE: Rule = { limit: 1_000_000, seconds: 60 };
/** Over it for as long as a bench runs. */
const NARROW: Rule = { limit: 1, seconds: 86_400 };
const THREE: readonly Rule[] = [WIDE, { limit: 10_000_000, seconds: 3_600 }, { limit: 50_000_000, seconds: 86_400 }];
/** The smallest limit and the largest of which the bytes are counted; in so long a time that a single call is not soon forgotten. */
const COUNTED: readonly Rule[] = [
  { limit: 10, seconds: 8_640_000 },
  { limit: 1_000_000, seconds: 8_640_000 },
];
/** Keys whose bytes are counted. */
const KEYS = 100;
const USERS = 1_000;
const DENIED = 100_000;
/** Refusals by which one must be known. */
const KNOWN_AFTER = 1_000;
/** Commands of a round that may ask again, because a refusal is remembered for some time only. */
const SOME = 20;
/** Few, so that what clients ask now and then by themselves falls into few of the rounds. */
const CALLS = 100;

interface Pair {
  ours: LimitSide;
  flexible: LimitSide | undefined;
}

/** The cases, and what must be closed after them. */
export async function prepare(): Promise<{ cases: Case[]; close: () => Promise<void> }> {
  const server = await startBenchServer(pinned(await benchBinary()));
  const admin = clientOn(server.url);
  const opened: LimitSide[] = [];
  const pair = async (name: string, rules: readonly Rule[]): Promise<Pair> => {
    const made = { ours: await oursOn(server.url, name, rules), flexible: await flexibleOn(server.url, name, rules) };
    for (const side of [made.ours, made.flexible]) if (side) opened.push(side);
    return made;
  };
  const wide = await pair('wide', [WIDE]);
  const narrow = await pair('narrow', [NARROW]);
  const three = await pair('three', THREE);
  const counted = await Promise.all(COUNTED.map((rule) => pair('api', [rule])));

  const bytes = (sides: ReadonlyArray<LimitSide | undefined>): Side => {
    const all = sides.filter((side) => side !== undefined);
    return () => mostBytes(all, admin);
  };
  return {
    cases: [
      {
        name: 'in-flight',
        unit: 'decisions/s',
        theirsIs: 'RateLimiterRedis of rate-limiter-flexible, 100 in flight',
        rounds: { quick: 21, full: 101 },
        ...against(wide, (side) => callsPerSecond(5_000, 100, allowed(side))),
      },
      {
        name: 'denied',
        unit: 'decisions/s',
        theirsIs: 'rate-limiter-flexible with inMemoryBlockOnConsumed; the limit is 400,000/s',
        rounds: { quick: 7, full: 61 },
        ...against(narrow, (side) => deniedPerSecond(side, admin)),
      },
      {
        name: 'bytes',
        unit: 'bytes/key',
        lessIsBetter: true,
        theirsIs: 'a fixed window of rate-limiter-flexible; the limit is 80, whatever the limit of the key',
        rounds: { quick: 1, full: 3 },
        ours: bytes(counted.map(({ ours }) => ours)),
        theirs: wide.flexible && bytes(counted.map(({ flexible }) => flexible)),
      },
      {
        name: 'three-policies-trips',
        unit: 'round trips/decision',
        lessIsBetter: true,
        theirsIs: 'RateLimiterUnion of three, whose requests may be read together; the limit is 1',
        rounds: { quick: 5, full: 15 },
        ...against(three, async (side) => {
          const reads = await readsDuring(admin, () => callsPerSecond(CALLS, 1, allowed(side)));
          return reads / CALLS;
        }),
      },
    ],
    async close() {
      for (const side of opened.toReversed()) await side.close();
      admin.disconnect();
      await server.stop();
    },
  };
}

/** The case's sides, each measured alike. */
function against(
  { ours, flexible }: Pair,
  measured: (side: LimitSide) => Promise<number>,
): { ours: Side; theirs: Side | undefined } {
  return { ours: () => measured(ours), theirs: flexible && (() => measured(flexible)) };
}

/** A call that is allowed, of one user after the other. */
function allowed(side: LimitSide): () => Promise<void> {
  let next = 0;
  return async () => {
    if (!(await side.consume(userAt(next++ % USERS)))) throw new Error('a call within the limit was refused');
  };
}

/** Refusals that are known. @throws when Redis was asked for more than a few of them. */
async function deniedPerSecond(side: LimitSide, admin: Redis): Promise<number> {
  const user = userAt(0);
  for (let asked = 0; (await commandsFor(side, user, admin)) > 0; asked++) {
    if (asked === KNOWN_AFTER) throw new Error('a refusal is never known');
    await delay(1);
  }
  const before = await commandsCalled(admin);
  const perSecond = await callsPerSecond(DENIED, 1, async () => {
    if (await side.consume(user)) throw new Error('a call beyond the limit was allowed');
  });
  if ((await commandsCalled(admin)) - before > SOME) throw new Error('Redis was asked for refusals that are known');
  return perSecond;
}

async function commandsFor(side: LimitSide, user: string, admin: Redis): Promise<number> {
  const before = await commandsCalled(admin);
  await side.consume(user);
  return (await commandsCalled(admin)) - before;
}

/** What the key of one that has called once takes, at the limit at which it takes most. */
async function mostBytes(sides: readonly LimitSide[], admin: Redis): Promise<number> {
  let most = 0;
  for (const side of sides) {
    await admin.flushdb();
    for (let user = 0; user < KEYS; user++) await side.consume(userAt(user));
    if ((await admin.dbsize()) < KEYS) throw new Error('keys have gone before their bytes were counted');
    most = Math.max(most, (await keyBytes(admin)) / KEYS);
  }
  return most;
}

/** The name of a user, as long as they usually are. */
function userAt(index: number): string {
  return `user:${4_000 + index}`;
}
