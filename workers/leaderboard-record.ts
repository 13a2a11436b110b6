/**
 * `leaderboard.record`: many scores at once.
 *
 * Promise: each score counts once, however often the job runs, within the board's `operationsFor`: it is sent with an operation, its own or
 * one that is made of the job's id. Scores that the board does not take make a dead letter that names them, once all others are taken.
 * Redis down: the attempt fails, and a later one finishes what is left.
 */
import {
  checkOptions,
  handle,
  isMillraceError,
  unrecoverable,
  type Handler,
  type Schema,
  type ScoreOptions,
} from 'millrace';
import { z } from 'zod';
import { Boards, boardsOption, type AnyBoard, type BoardsOption } from './leaderboard/boards.ts';
import { leaderboardRecord, type ParsedScores, type ScoreToRecord } from './leaderboard/contract.ts';
import { stableId } from './stable-id.ts';

/** Options of createLeaderboardRecordHandler(). */
export interface LeaderboardRecordOptions {
  /** The boards, by name, with the options that they have in all processes: a score counts in the windows that stand here. */
  boards: BoardsOption;
}

const optionsSchema = z.strictObject({ boards: boardsOption });

/** A score that goes to its board. */
interface Sent {
  member: string;
  score: number;
  operation: string;
  meta?: unknown;
}

const SHOWN_REFUSALS = 5;

/**
 * The handler of `leaderboard.record`.
 *
 * @example
 * const record = createLeaderboardRecordHandler({ boards: { game: { windows: { daily: { every: 'day' } } } } });
 * await platform.work({ handlers: [record] });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createLeaderboardRecordHandler(options: LeaderboardRecordOptions): Handler {
  const boards = new Boards(checkOptions(optionsSchema, options, 'createLeaderboardRecordHandler').boards);
  return handle(leaderboardRecord, async ({ scores }, { job, leaderboards, log, signal }) => {
    const operationOf = operations(stableId(job.id));
    const refusals: string[] = [];
    const counts = { taken: 0, repeated: 0 };
    for (const [name, some] of byBoard(scores)) {
      const missing = boards.missing(name);
      if (missing !== undefined) {
        refusals.push(...some.map(({ member }) => `${member}: ${missing}`));
        continue;
      }
      const sent: Sent[] = [];
      for (const score of some) {
        const fault = await faultOf(score, boards.options[name] ?? {});
        const { member, meta } = score;
        if (fault !== undefined) refusals.push(`board ${name}: ${member}: ${fault}`);
        else
          sent.push({ member, score: score.score, operation: operationOf(score), ...(meta !== undefined && { meta }) });
      }
      await submit(boards.of(leaderboards, name), sent, signal, counts, refusals);
    }
    if (refusals.length > 0) throw refused(refusals, scores.length);
    log.info(counts, 'scores recorded');
    return counts;
  });
}

async function submit(
  board: AnyBoard,
  sent: readonly Sent[],
  signal: AbortSignal,
  counts: { taken: number; repeated: number },
  refusals: string[],
): Promise<void> {
  try {
    for (const { isRepeat } of await board.submitMany(sent, { signal })) counts[isRepeat ? 'repeated' : 'taken']++;
  } catch (error) {
    if (isMillraceError(error, 'SCORE_INVALID')) {
      // Sums that have become too large: the board has taken all others.
      const { refused: places = [] } = error.facts as { refused?: number[] };
      refusals.push(...places.map((at) => `board ${board.name}: ${sent[at]?.member}: the sum is too large`));
    } else if (!isMillraceError(error, 'PAYLOAD_TOO_LARGE')) throw error;
    else if (sent.length === 1) refusals.push(error.message);
    else {
      // Metadata of one is too large, and nothing was sent: the others go without it.
      const half = Math.ceil(sent.length / 2);
      await submit(board, sent.slice(0, half), signal, counts, refusals);
      await submit(board, sent.slice(half), signal, counts, refusals);
    }
  }
}

function byBoard(scores: ParsedScores['scores']): Map<string, ScoreToRecord[]> {
  const boards = new Map<string, ScoreToRecord[]>();
  for (const score of scores) {
    const some = boards.get(score.board);
    if (some) some.push(score);
    else boards.set(score.board, [score]);
  }
  return boards;
}

/**
 * The operation of each score. It does not tell of its place in the list, so that a dead letter may be redriven without the scores that were
 * refused: those that have counted stay known.
 */
function operations(id: string): (score: ScoreToRecord) => string {
  const seen = new Map<string, number>();
  return ({ board, member, score, operation }) => {
    if (operation !== undefined) return operation;
    const same = JSON.stringify([board, member, score]);
    const number = seen.get(same) ?? 0;
    seen.set(same, number + 1);
    return `${id}:${score}:${number}`;
  };
}

/** What the board would refuse all scores for that go with this one. */
async function faultOf(
  { score, meta }: ScoreToRecord,
  {
    score: { min = -Infinity, max = Infinity, integer = false } = {},
    meta: schema,
  }: { score?: ScoreOptions | undefined; meta?: Schema | undefined },
): Promise<string | undefined> {
  if (integer && !Number.isSafeInteger(score)) return `expected a whole number, got ${score}`;
  if (score < min || score > max) return `expected a score from ${min} to ${max}, got ${score}`;
  if (meta === undefined) return undefined;
  if (!schema) return 'meta: the board has no schema for it';
  const { issues } = await schema['~standard'].validate(meta);
  return issues && `meta: ${issues.map(({ message }) => message).join('; ')}`;
}

function refused(refusals: readonly string[], of: number): Error {
  const shown = refusals.slice(0, SHOWN_REFUSALS).join('; ');
  const more = refusals.length > SHOWN_REFUSALS ? `; and ${refusals.length - SHOWN_REFUSALS} more` : '';
  return unrecoverable(`${refusals.length} of ${of} scores are refused, the others are taken: ${shown}${more}`);
}
