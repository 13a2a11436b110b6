/**
 * A server's clock that a test sets, on a real server.
 *
 * What the scripts of leaderboards ask TIME for is read from a key instead; all else is as it is. Keys expire by the server's own clock, so the
 * time that is set must lie in the future, where nothing has expired yet.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import type { Clock } from '../../src/clock.ts';
import type { RedisClient } from '../../src/redis/clients.ts';
import type { LeaderboardConnections } from '../../src/leaderboard/leaderboards.ts';

const CLOCK_KEY = 'the-clock';
const READ_CLOCK = `(function() local ms = redis.call('GET', '${CLOCK_KEY}') return { string.sub(ms, 1, -4), string.sub(ms, -3) .. '000' } end)()`;
const folder = new URL('../../lua/leaderboard/', import.meta.url);
const sources = new Map(
  readdirSync(folder).map((file) => {
    const source = readFileSync(new URL(file, folder), 'utf8');
    return [createHash('sha1').update(source).digest('hex'), source.replaceAll("redis.call('TIME')", READ_CLOCK)];
  }),
);

/** The clocks of a server, and of the processes that ask it. */
export class ServerClock {
  #nowMs = 0;
  readonly #startMs = 1_000_000;

  /** The time passes for everybody, as far as that. */
  async set(client: RedisClient, nowMs: number): Promise<void> {
    this.#nowMs = nowMs;
    await client.set(CLOCK_KEY, nowMs);
  }

  /** The server is another one now, whose clock says that; for the processes, no time has passed. */
  async replace(client: RedisClient, nowMs: number): Promise<void> {
    await client.set(CLOCK_KEY, nowMs);
  }

  /** The clock of a process that is so far ahead. */
  ofProcess(aheadMs: number): Clock {
    return {
      wallMs: () => this.#nowMs + aheadMs,
      monotonicMs: () => this.#nowMs - this.#startMs + aheadMs / 2,
      sleep: () => Promise.resolve(),
    };
  }
}

/** The connections, with scripts that read the clock which the test sets. */
export function onServerClock(connections: LeaderboardConnections): LeaderboardConnections {
  const commands = (): RedisClient => {
    const client = connections.commands();
    return new Proxy(client, {
      get(target, name) {
        if (name === 'evalsha')
          return (sha: string, ...rest: [number, ...string[]]) => target.eval(sources.get(sha) ?? '', ...rest);
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value as () => unknown).bind(target) : value;
      },
    });
  };
  return { label: connections.label, commands };
}
