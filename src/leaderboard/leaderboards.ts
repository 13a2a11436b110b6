/**
 * Leaderboards: who is the best, all-time and in windows, over all processes.
 *
 * Promise: a score counts on all boards that it is for, or on none, by the server's clock alone; with an operation it counts once, however often
 * it is sent. A rank, and what is around it, are told of one moment. Scores come back to the last bit. A submit is one round trip.
 * Keys: see board-store.ts. Windows and operations expire; boards and archives stay.
 * Redis down: calls reject within `deadline`. A score whose answer was lost may have counted; it is not sent again by itself.
 */
import { systemClock } from '../clock.ts';
import { silentLogger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import { Guard } from '../redis/guard.ts';
import { createKeySpace, DEFAULT_PREFIX } from '../redis/keys.ts';
import { BoardStore, type StoreParts } from './board-store.ts';
import { createLeaderboardMeter } from './leaderboard-metrics.ts';
import { Leaderboard } from './leaderboard.ts';
import {
  checkBoard,
  checkLeaderboards,
  type BoardOptions,
  type LeaderboardsOptions,
  type NoWindows,
  type WindowOptions,
} from './options.ts';

/** The connections that leaderboards use. */
export type LeaderboardConnections = Pick<Connections, 'commands' | 'label'>;

const DEFAULT_DEADLINE_MS = 2_000;

/** The leaderboards of one process. */
export interface Leaderboards {
  /**
   * A board; it need not be there, and asks nothing of Redis until it is used. Keep it: what it has learned of the board spares a round trip.
   *
   * @example
   * const board = leaderboards.board('game', { windows: { daily: { every: 'day', timeZone: 'Europe/Berlin' } } });
   * await board.submit('ada', 1_500);
   * const best = await board.top(10, { window: 'daily' });
   * @throws MillraceError OPTIONS_INVALID
   */
  board<const Windows extends Record<string, WindowOptions> = NoWindows, Meta = never>(
    name: string,
    options?: BoardOptions<Windows, Meta>,
  ): Leaderboard<Windows, Meta>;
  /** Ends what is under way; afterwards calls reject with CLOSED. Twice is fine. */
  stop(): Promise<void>;
}

/**
 * The leaderboards of one process.
 *
 * @example
 * const leaderboards = createLeaderboards(connections, { deadline: '1s' });
 * const race = leaderboards.board('race', { order: 'lowest' }); // seconds
 * const { rank, isBest } = await race.submit('ada', 58.31);
 * await leaderboards.stop();
 * @throws MillraceError OPTIONS_INVALID
 */
export function createLeaderboards(
  connections: LeaderboardConnections,
  options: LeaderboardsOptions = {},
): Leaderboards {
  const {
    prefix = DEFAULT_PREFIX,
    deadline: deadlineMs = DEFAULT_DEADLINE_MS,
    clock = systemClock,
    log = silentLogger,
    metrics,
  } = checkLeaderboards(options);
  const { label } = connections;
  const ours = log.child({ module: 'leaderboard' });
  const guard = new Guard({
    deadlineMs,
    clock,
    label,
    onOpen: (failure) => ours.warn({ err: failure }, 'leaderboards cannot be asked'),
    onClose: () => ours.info('leaderboards can be asked again'),
  });
  let isStopped = false;
  const parts: StoreParts = {
    connections,
    guard,
    keys: createKeySpace(prefix, 'leaderboard'),
    deadlineMs,
    clock,
    meter: createLeaderboardMeter(metrics),
    isStopped: () => isStopped,
  };
  return {
    board: <Windows extends Record<string, WindowOptions>, Meta>(
      name: string,
      given: BoardOptions<Windows, Meta> = {},
    ) => new Leaderboard<Windows, Meta>(new BoardStore(name, checkBoard(name, given), parts)),
    async stop() {
      isStopped = true;
      guard.close();
    },
  };
}
