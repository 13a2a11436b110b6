/**
 * The attempts at a job in order, read from the texts that BullMQ keeps of its failures (attempt-record.ts).
 *
 * BullMQ counts each start of a job but keeps a text only of an attempt that failed or was postponed, and of those that were
 * postponed in a row only the last one's. Another number without a text is thus an attempt whose worker died, or one that was
 * handed back without being used up; the job's count of stalls tells which.
 *
 * A job with a thousand attempts would drag their texts along, and write them anew with each: so no more are kept than a history shows, how
 * it began and how it ended. What lies between those, once there are that many, was left out and is no lost attempt.
 */
import { parseAttempt, type AttemptOutcome, type AttemptRecord } from './attempt-record.ts';

/** What a job tells of its attempts besides its texts. */
export interface AttemptFacts {
  /** BullMQ's attemptsStarted. */
  attemptsStarted: number;
  /** BullMQ's stalledCounter: how many starts ended with the death of their worker. Without it, each gap counts as lost. */
  stalls?: number | undefined;
  /** Whether the last start has no text because it still runs or has succeeded; it is then left out. Default false. */
  withoutLast?: boolean | undefined;
  /** The job's stackTraceLimit, if it has one: BullMQ drops the oldest texts beyond it, which are no lost attempts. */
  traceLimit?: number | undefined;
}

/** The attempts at a job. */
export interface AttemptHistory {
  /** In order: the first HISTORY_LIMITS.first and the last HISTORY_LIMITS.last. */
  attempts: AttemptRecord[];
  /** How many there were besides. */
  omitted: number;
}

/** How many attempts a history shows of a job that had more: how it began and how it ended. */
export const HISTORY_LIMITS = { first: 5, last: 15 } as const;

const MOST_SHOWN = HISTORY_LIMITS.first + HISTORY_LIMITS.last;

/** The texts of a job without those from the middle that are too many once `room` more have come. The same list if none are. */
export function trimTraces(traces: readonly string[], room = 0): readonly string[] {
  const excess = traces.length + room - MOST_SHOWN;
  if (excess <= 0) return traces;
  const { first } = HISTORY_LIMITS;
  return [...traces.slice(0, first), ...traces.slice(first + excess)];
}

/**
 * The ordered history of a job's attempts, with those that left no text.
 *
 * @example
 * attemptHistory(job.stacktrace, { attemptsStarted: job.attemptsStarted, stalls: job.stalledCounter });
 */
export function attemptHistory(stacktrace: readonly string[], facts: AttemptFacts): AttemptHistory {
  const last = Math.max(0, facts.attemptsStarted - (facts.withoutLast === true ? 1 : 0)) || 0;
  const records = numbered(
    stacktrace.flatMap((trace) => parseAttempt(trace) ?? []),
    last,
  );
  const isDropped = facts.traceLimit !== undefined && stacktrace.length >= facts.traceLimit;
  const gaps = gapsBetween(records, last);
  /** Before which record texts were left out, if they were. */
  const droppedAt = isDropped ? 0 : records.length === MOST_SHOWN ? HISTORY_LIMITS.first : undefined;
  const dropped = droppedAt === undefined ? 0 : (gaps[droppedAt]?.length ?? 0);
  const missing = gaps.reduce((sum, gap) => sum + gap.length, 0) - dropped;
  const outcome = outcomeOfMissing(missing, facts.stalls);
  const attempts: AttemptRecord[] = [];
  gaps.forEach((gap, index) => {
    if (index !== droppedAt) attempts.push(...shownOf(gap, outcome));
    const record = records[index];
    if (!record) return;
    const { since: _since, ...shown } = record;
    attempts.push(...shownOf({ from: record.attempt - gap.postponed, length: gap.postponed }, 'postponed'), shown);
  });
  const postponed = gaps.reduce((sum, gap) => sum + gap.postponed, 0);
  const total = missing + dropped + postponed + records.length;
  if (attempts.length <= MOST_SHOWN) return { attempts, omitted: total - attempts.length };
  const shown = [...attempts.slice(0, HISTORY_LIMITS.first), ...attempts.slice(-HISTORY_LIMITS.last)];
  return { attempts: shown, omitted: total - shown.length };
}

/** A record without a number (BullMQ's own text) is the start before the next one; the last is the last start. */
function numbered(records: readonly AttemptRecord[], last: number): AttemptRecord[] {
  let next = last + 1;
  return records
    .toReversed()
    .map((record) => {
      next = record.attempt > 0 ? record.attempt : Math.max(1, next - 1);
      return { ...record, attempt: next };
    })
    .toReversed();
}

interface Gap {
  from: number;
  length: number;
}

/** The numbers before a record that have none, and then those of the postponed attempts for which it stands too. */
interface GapBefore extends Gap {
  postponed: number;
}

/** The missing numbers before each record, and those after the last one. */
function gapsBetween(records: readonly AttemptRecord[], last: number): GapBefore[] {
  let previous = 0;
  const before = records.map(({ attempt, since = attempt }) => {
    // A number that does not grow: the job was retried by hand and its count begins anew, at once or after losses.
    const from = attempt > previous ? previous + 1 : 1;
    const isSame = attempt === previous;
    previous = attempt;
    const postponed = isSame ? 0 : attempt - Math.min(attempt, Math.max(from, since));
    return { from, length: isSame ? 0 : attempt - postponed - from, postponed };
  });
  return [...before, { from: previous + 1, length: Math.max(0, last - previous), postponed: 0 }];
}

/** Of a long gap only its ends, since the middle would be cut from the history anyway: a job may have been put off a million times. */
function shownOf({ from, length }: Gap, outcome: AttemptOutcome): AttemptRecord[] {
  const { first, last } = HISTORY_LIMITS;
  const offsets =
    length <= MOST_SHOWN
      ? Array.from({ length }, (_, index) => index)
      : Array.from({ length: MOST_SHOWN }, (_, index) => (index < first ? index : length - first - last + index));
  return offsets.map((offset) => ({ attempt: from + offset, outcome, log: [] }));
}

function outcomeOfMissing(missing: number, stalls: number | undefined): AttemptOutcome {
  if (stalls === undefined || stalls >= missing) return 'lost';
  return stalls === 0 ? 'returned' : 'unrecorded';
}
