/** The sides of the benches of leaderboards: ours, redis-rank, and the bare client. Each has a connection of its own. */
import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import type * as BoardsModule from '../../src/leaderboard/leaderboards.ts';
import type * as ConnectModule from '../../src/redis/connect.ts';
import { clientOn } from './clients.ts';
import { importCompiled } from './compiled.ts';
import { importPeer } from './peers.ts';

/** What takes scores. */
export interface SubmitSide {
  /** The score onto the all-time board, that of the day and that of the week. @returns the rank on the first. */
  submit(member: string, score: number): Promise<number>;
  close(): Promise<void>;
}

/** What is read from. */
export interface ReadSide {
  load(members: number): Promise<void>;
  /** @returns how many entries came */
  top(count: number): Promise<number>;
  /** @returns likewise */
  around(member: string, each: number): Promise<number>;
  close(): Promise<void>;
}

/** How members are called, as long as they usually are. */
export function memberAt(index: number): string {
  return `player:${index}`;
}

const LOADED_AT_ONCE = 10_000;
/** A machine that stalls is no outage. */
const DEADLINE = '30s';

/**
 * Ours, as createLeaderboards() gives it: the best score, ranks as in competitions. Scores are taken with ties by who came first, which is the
 * default; what is read has ties by member, as the bare client's ZSET has.
 */
export async function oursOn(url: string): Promise<SubmitSide & ReadSide> {
  const { createConnections } = await importCompiled<typeof ConnectModule>('redis/connect.ts');
  const { createLeaderboards } = await importCompiled<typeof BoardsModule>('leaderboard/leaderboards.ts');
  const connections = createConnections({ url });
  const leaderboards = createLeaderboards(connections, { deadline: DEADLINE });
  const game = leaderboards.board('game', { windows: { daily: { every: 'day' }, weekly: { every: 'week' } } });
  const million = leaderboards.board('million', { ties: 'member' });
  return {
    async submit(member, score) {
      const { rank } = await game.submit(member, score);
      return rank ?? 0;
    },
    // As submits would leave it, which take longer than the bench.
    async load(members) {
      await million.submit(memberAt(0), scoreAt(0));
      for (let from = 1; from < members; from += LOADED_AT_ONCE) {
        const some = Array.from({ length: Math.min(LOADED_AT_ONCE, members - from) }, (_, at) => from + at);
        const pairs = some.flatMap((index) => [-scoreAt(index), memberAt(index)]);
        await connections.commands().zadd('millrace:leaderboard:{million}:all:ranks', ...pairs);
      }
    },
    top: async (count) => (await million.top(count)).length,
    around: async (member, each) => (await million.around(member, each))?.entries.length ?? 0,
    async close() {
      await leaderboards.stop();
      await connections.close();
    },
  };
}

interface RedisRank {
  Leaderboard: new (
    client: Redis,
    key: string,
    options: { sortPolicy: 'high-to-low'; updatePolicy: 'best' },
  ) => { updateOne(id: string, score: number): Promise<unknown>; rank(id: string): Promise<number | null> };
}

/** redis-rank: updateOne() on each of three boards at once, then rank() on one. Undefined when it is not installed. */
export async function redisRankOn(url: string): Promise<SubmitSide | undefined> {
  const library = await importPeer<RedisRank & { default?: RedisRank }>('redis-rank');
  if (!library) return undefined;
  const { Leaderboard } = library.default ?? library;
  const client = clientOn(url);
  const options = { sortPolicy: 'high-to-low', updatePolicy: 'best' } as const;
  const [all, ...windows] = ['all', 'daily', 'weekly'].map((name) => new Leaderboard(client, `rank:${name}`, options));
  if (!all) throw new Error('there is a first board');
  return {
    async submit(member, score) {
      await Promise.all([all, ...windows].map((board) => board.updateOne(member, score)));
      return (await all.rank(member)) ?? 0;
    },
    async close() {
      client.disconnect();
    },
  };
}

const RAW_AROUND = `
local place = redis.call('ZREVRANK', KEYS[1], ARGV[1])
local from = math.max(place - ARGV[2], 0)
return { place, redis.call('ZREVRANGE', KEYS[1], from, from + 2 * ARGV[2], 'WITHSCORES') }`;

/** The bare client: ZREVRANGE WITHSCORES for the top; one EVALSHA for who is around, from whom no ranks but the own one are known. */
export function rawOn(url: string): ReadSide {
  const client = clientOn(url);
  const key = 'raw:million';
  const sha = createHash('sha1').update(RAW_AROUND).digest('hex');
  return {
    async load(members) {
      await client.script('LOAD', RAW_AROUND);
      for (let from = 0; from < members; from += LOADED_AT_ONCE) {
        const some = Array.from({ length: Math.min(LOADED_AT_ONCE, members - from) }, (_, at) => from + at);
        await client.zadd(key, ...some.flatMap((index) => [scoreAt(index), memberAt(index)]));
      }
    },
    async top(count) {
      return entriesOf(await client.zrevrange(key, 0, count - 1, 'WITHSCORES')).length;
    },
    async around(member, each) {
      const [, list] = (await client.evalsha(sha, 1, key, member, each)) as [number, string[]];
      return entriesOf(list).length;
    },
    async close() {
      client.disconnect();
    },
  };
}

/** The pairs as an app would have them. */
function entriesOf(list: readonly string[]): Array<{ member: string; score: number }> {
  const entries: Array<{ member: string; score: number }> = [];
  for (let at = 0; at < list.length; at += 2) entries.push({ member: list[at] ?? '', score: Number(list[at + 1]) });
  return entries;
}

/** Spread as if drawn at random; no two of a million share one. */
function scoreAt(index: number): number {
  return (index * 7_919) % 1_000_003;
}
