/** Leaderboards of several processes, as far as Redis can tell, in one test; each has connections of its own. */
import { createLeaderboards, type Leaderboards } from '../../src/leaderboard/leaderboards.ts';
import type { LeaderboardsOptions } from '../../src/leaderboard/options.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { ownedByTest } from '../support/owned.ts';

/** The leaderboards of one pretended process. */
export interface OwnedLeaderboards {
  leaderboards: Leaderboards;
  connections: Connections;
}

/** A function that makes leaderboards which end with the test. */
export function ownedLeaderboards(): (redis: RedisOptions, options?: LeaderboardsOptions) => OwnedLeaderboards {
  const own = ownedByTest();
  return (redis, options) => {
    const connections = own(createConnections(redis));
    // A busy machine is no outage.
    const leaderboards = own(createLeaderboards(connections, { deadline: '10s', ...options }));
    return { leaderboards, connections };
  };
}

/** Standings as `ada 10 #1`, in one line. */
export function lineOf(entries: ReadonlyArray<{ member: string; score: number; rank: number }>): string {
  return entries.map(({ member, score, rank }) => `${member} ${score} #${rank}`).join(', ');
}
