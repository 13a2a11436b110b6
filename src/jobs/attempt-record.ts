/**
 * One failed attempt as text: the stack for people, then one line of JSON for programs.
 *
 * BullMQ keeps `error.stack` of each failure in the job's `stacktrace`, in the same atomic write that retries or fails
 * the job. A record that rides there costs no command, cannot be torn from the failure that it tells of, and Bull Board
 * shows its stack as any other. The JSON does not repeat the stack.
 *
 *     TypeError: x is not a function
 *         at sendEmail (/app/send-email.ts:12:3)
 *     #attempt {"attempt":2,"outcome":"failed","startedAt":1767225600000,...}
 */
import { z } from 'zod';
import { cutText, ERROR_LIMITS, wellFormed, type DescribedError } from '../describe-error.ts';

/**
 * How an attempt ended. `postponed`: it asked to be run later, or a rate limit refused it; it is not used up. `lost`: its worker
 * died. `returned`: handed back to the queue without being used up, by a worker that stopped. `unrecorded`: one of these two,
 * which of them is not known.
 */
export const ATTEMPT_OUTCOMES = [
  'failed',
  'timeout',
  'cancelled',
  'postponed',
  'lost',
  'returned',
  'unrecorded',
] as const;
export type AttemptOutcome = (typeof ATTEMPT_OUTCOMES)[number];

/** Why a job is a dead letter. */
export const DEATH_REASONS = [
  'attempts',
  'unrecoverable',
  'input',
  'expired',
  'poison',
  'version',
  'handler',
  'child',
] as const;
export type DeathReason = (typeof DEATH_REASONS)[number];

/** One attempt at a job. What is not known of it is not there: of a lost one, that is all but its number. */
export interface AttemptRecord {
  /** Counted from 1 at each start of the job (BullMQ's attemptsStarted); 0 when a text does not tell. */
  attempt: number;
  /** Of attempts in a row that were postponed only the last one's text is kept: the first of them. */
  since?: number;
  outcome: AttemptOutcome;
  /** Milliseconds since 1970. */
  startedAt?: number;
  /** Milliseconds since 1970. */
  endedAt?: number;
  /** The worker process, `host:pid`. */
  worker?: string;
  host?: string;
  /** Of the application, or of Millrace where the application tells none. */
  version?: string;
  contractVersion?: number;
  error?: DescribedError;
  /** Why this was the last attempt, if it was. */
  reason?: DeathReason;
  /** The last lines that the attempt logged. */
  log: readonly string[];
}

/** How much of an attempt is kept; texts in characters. */
export const ATTEMPT_LIMITS = {
  ...ERROR_LIMITS,
  logLines: 20,
  logLine: 200,
  worker: 300,
  host: 255,
  version: 100,
} as const;

const MARK = '\n#attempt ';

/**
 * The record as text, for `error.stack`. Each part is cut to ATTEMPT_LIMITS, keeping the last lines of the log.
 *
 * @example
 * const failure = new Error(message);
 * failure.stack = formatAttempt({ attempt: 2, outcome: 'failed', error: describeError(thrown), log: [] });
 */
export function formatAttempt(record: AttemptRecord): string {
  const { error, worker, host, version, log, ...rest } = record;
  const facts = {
    ...rest,
    worker: bounded(worker, ATTEMPT_LIMITS.worker),
    host: bounded(host, ATTEMPT_LIMITS.host),
    version: bounded(version, ATTEMPT_LIMITS.version),
    error: error && {
      name: bounded(error.name, ERROR_LIMITS.name),
      message: bounded(error.message, ERROR_LIMITS.message),
      code: bounded(error.code, ERROR_LIMITS.code),
    },
    log: log.slice(-ATTEMPT_LIMITS.logLines).map((line) => bounded(line, ATTEMPT_LIMITS.logLine)),
  };
  return `${bounded(error?.stack ?? '', ERROR_LIMITS.stack)}${MARK}${JSON.stringify(facts)}`;
}

const text = () => z.string().optional().catch(undefined);
const count = () => z.number().optional().catch(undefined);
const createFactsSchema = () =>
  z.object({
    attempt: z.int().nonnegative().catch(0),
    since: z.int().positive().optional().catch(undefined),
    outcome: z.enum(ATTEMPT_OUTCOMES).catch('failed'),
    startedAt: count(),
    endedAt: count(),
    worker: text(),
    host: text(),
    version: text(),
    contractVersion: count(),
    error: z.object({ name: z.string(), message: z.string(), code: text() }).optional().catch(undefined),
    reason: z.enum(DEATH_REASONS).optional().catch(undefined),
    log: z.array(z.string()).catch([]),
  });
/** Made for the first record that is read: a schema takes some ten KB, and where no attempt fails nothing is read. */
let factsSchema: ReturnType<typeof createFactsSchema> | undefined;

/**
 * The record that formatAttempt() made the text of. Fields that another release wrote in another way are left out. Of a
 * stack that BullMQ or another program wrote, the record tells name, message and stack. Undefined for blank text.
 */
export function parseAttempt(trace: string): AttemptRecord | undefined {
  if (trace.trim() === '') return undefined;
  // JSON has no raw line break, so the last mark is ours, whatever the stack contains.
  const at = trace.lastIndexOf(MARK);
  const facts = at === -1 ? undefined : parseFacts(trace.slice(at + MARK.length));
  if (!facts) return { attempt: 0, outcome: 'failed', error: parseStack(trace), log: [] };
  const stack = trace.slice(0, at);
  const { error, ...rest } = facts;
  if (error) return { ...rest, error: { ...error, stack } };
  return stack === '' ? rest : { ...rest, error: parseStack(stack) };
}

type Facts = Omit<AttemptRecord, 'error'> & { error?: Omit<DescribedError, 'stack'> };

function parseFacts(json: string): Facts | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    return undefined; // A line of someone else's stack that looks like our mark.
  }
  factsSchema ??= createFactsSchema();
  const { data } = factsSchema.safeParse(parsed);
  return data && (withoutUndefined({ ...data, error: data.error && withoutUndefined(data.error) }) as Facts);
}

/** Name and message of a stack in the engine's form, or of any text. */
function parseStack(stack: string): DescribedError {
  const head = stack.split(/\n\s+at /, 1)[0] ?? '';
  const match = /^(?:Uncaught )?([A-Z_$][\w$.]*)(?: \[(\w+)\])?(?:: |$)/.exec(head);
  const kept = bounded(stack, ERROR_LIMITS.stack);
  if (!match) return { name: 'Error', message: bounded(head.trim(), ERROR_LIMITS.message), stack: kept };
  const [title, name = 'Error', code] = match;
  const message = bounded(head.slice(title.length).trim(), ERROR_LIMITS.message);
  const error = { name: bounded(name, ERROR_LIMITS.name), message, stack: kept };
  return code === undefined ? error : { ...error, code: bounded(code, ERROR_LIMITS.code) };
}

function bounded<Text extends string | undefined>(value: Text, max: number): Text {
  return (value === undefined ? undefined : cutText(wellFormed(value), max)) as Text;
}

function withoutUndefined(object: object): object {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}
