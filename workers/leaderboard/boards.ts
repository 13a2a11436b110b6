/** The boards that a worker knows, each in the form that it has in all processes. */
import {
  createLeaderboards,
  isMillraceError,
  unrecoverable,
  type BoardOptions,
  type Leaderboard,
  type Leaderboards,
  type WindowOptions,
} from 'millrace';
import { z } from 'zod';

/** Options of boards, by their names: those that the app's processes give. */
export type BoardsOption = Readonly<Record<string, BoardOptions<Record<string, WindowOptions>, unknown>>>;

/** A board whose windows and metadata are known at run time. */
export type AnyBoard = Leaderboard<Record<string, WindowOptions>, unknown>;

/** What the module would refuse in each job is refused when the handler is made. */
export const boardsOption = z
  .record(
    z.string(),
    z.custom<BoardsOption[string]>((value) => typeof value === 'object' && value !== null, 'expected an object'),
  )
  .superRefine((boards, context) => {
    if (Object.keys(boards).length === 0) context.addIssue('expected at least one board');
    for (const [name, options] of Object.entries(boards)) {
      const fault = faultOf(name, options);
      if (fault !== undefined) context.addIssue({ code: 'custom', path: [name], message: fault });
    }
  });

/** The boards of the options; each is made once for the leaderboards of a platform. */
export class Boards {
  readonly options: BoardsOption;
  readonly #made = new WeakMap<Leaderboards, Map<string, AnyBoard>>();

  constructor(options: BoardsOption) {
    this.options = options;
  }

  /** Why there is no such board; undefined where there is one. */
  missing(name: string): string | undefined {
    if (Object.hasOwn(this.options, name)) return undefined;
    return `there is no board ${name}; this worker has: ${Object.keys(this.options).join(', ')}`;
  }

  /** @throws MillraceError JOB_UNRECOVERABLE where there is none of that name */
  of(leaderboards: Leaderboards, name: string): AnyBoard {
    const fault = this.missing(name);
    if (fault !== undefined) throw unrecoverable(fault);
    const made = this.#made.get(leaderboards) ?? new Map<string, AnyBoard>();
    this.#made.set(leaderboards, made);
    const board = made.get(name) ?? leaderboards.board(name, this.options[name]);
    made.set(name, board);
    return board;
  }
}

/** A board is made that nobody uses: that checks its options and asks nothing of Redis. */
function faultOf(name: string, options: BoardsOption[string]): string | undefined {
  try {
    createLeaderboards({ label: 'none', commands: unused }).board(name, options);
    return undefined;
  } catch (error) {
    if (isMillraceError(error, 'OPTIONS_INVALID')) return error.message;
    throw error;
  }
}

function unused(): never {
  throw unrecoverable('a board that is made for its check was used');
}
