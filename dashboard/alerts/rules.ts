/**
 * The rules of alerts: what is watched, how much is too much, and for how long it must be so.
 *
 * A rule fires once its condition has held for `for`, and is resolved once it has not held for `clear`: what comes and goes every few seconds
 * neither fires nor resolves.
 */
import { z } from 'zod';
import { durationOption, type Duration } from 'millrace';

export const SEVERITIES = ['warning', 'critical'] as const;
export type Severity = (typeof SEVERITIES)[number];

interface CommonRule {
  /** How it is called on pages and in notices; unique. Default: its kind. */
  name?: string | undefined;
  /** Default `warning`. */
  severity?: Severity | undefined;
  /** How long it must hold. Default 2 minutes. */
  for?: Duration | undefined;
  /** How long it must not hold any more until it is resolved. Default: as `for`. */
  clear?: Duration | undefined;
}

interface QueueRule extends CommonRule {
  /** Names of queues, `*` for any characters: `['email', 'billing-*']`. Default all. */
  queues?: readonly string[] | undefined;
}

/** A rule, as options have it. */
export type AlertRule =
  /** The oldest job of a queue that could run has waited for longer than `over` (default 5 min). */
  | (QueueRule & { kind: 'oldest-age'; over?: Duration | undefined })
  /** More than the part `over` (default 0.5) of at least `least` (default 20) attempts `within` a time (default 5 min) failed. */
  | (QueueRule & { kind: 'failure-rate'; over?: number; least?: number; within?: Duration | undefined })
  /** A queue has more than `over` (default 1,000) dead letters. */
  | (QueueRule & { kind: 'dead-letters'; over?: number })
  /** More than `over` (default 10) jobs of a queue became dead letters `within` a time (default 15 min). */
  | (QueueRule & { kind: 'dead-letter-growth'; over?: number; within?: Duration | undefined })
  /** A tick of a schedule is overdue for longer than `over` (default 1 min), or was never run and missed `within` a time (default 15 min). */
  | (CommonRule & { kind: 'missed-schedule'; over?: Duration | undefined; within?: Duration | undefined })
  /** A worker process is not heard of any more, though it has not stopped. */
  | (CommonRule & { kind: 'silent-worker' })
  /** A group of a stream has more than `over` (default 1,000) entries that it has not read. */
  | (CommonRule & { kind: 'stream-lag'; over?: number; streams?: readonly string[] | undefined });

export type RuleKind = AlertRule['kind'];

const common = {
  name: z
    .string()
    .regex(/^[a-z][\w-]{0,63}$/i, 'expected up to 64 letters, digits, `_` and `-`, beginning with a letter')
    .optional(),
  severity: z.enum(SEVERITIES).default('warning'),
  for: durationOption.prefault('2m'),
  clear: durationOption.optional(),
};
const patterns = z.array(z.string().min(1).max(200)).min(1).max(100).readonly().optional();
const ofQueues = { ...common, queues: patterns };
const amount = (byDefault: number): z.ZodDefault<z.ZodInt> => z.int().min(0).default(byDefault);
/** The history is kept by the minute, and a rule reads it every few seconds. */
const within = (byDefault: Duration) =>
  durationOption.refine((ms) => ms >= 60_000 && ms <= 21_600_000, 'expected 1 minute to 6 hours').prefault(byDefault);

const ruleSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('oldest-age'), over: durationOption.prefault('5m'), ...ofQueues }),
  z.strictObject({
    kind: z.literal('failure-rate'),
    over: z.number().min(0).max(1).default(0.5),
    least: z.int().min(1).default(20),
    within: within('5m'),
    ...ofQueues,
  }),
  z.strictObject({ kind: z.literal('dead-letters'), over: amount(1_000), ...ofQueues }),
  z.strictObject({ kind: z.literal('dead-letter-growth'), over: amount(10), within: within('15m'), ...ofQueues }),
  z.strictObject({
    kind: z.literal('missed-schedule'),
    over: durationOption.prefault('1m'),
    within: within('15m'),
    ...common,
  }),
  z.strictObject({ kind: z.literal('silent-worker'), ...common }),
  z.strictObject({ kind: z.literal('stream-lag'), over: amount(1_000), streams: patterns, ...common }),
]);

/** A rule, checked and with its defaults; durations are milliseconds. */
export type CheckedRule = ReturnType<typeof complete>;

function complete(rule: z.output<typeof ruleSchema>) {
  return { ...rule, name: rule.name ?? rule.kind, clear: rule.clear ?? rule.for };
}

/** What is watched where nothing else is said. */
export const DEFAULT_RULES: readonly AlertRule[] = [
  { kind: 'oldest-age' },
  { kind: 'failure-rate' },
  { kind: 'dead-letter-growth' },
  { kind: 'dead-letters', for: '5m' },
  { kind: 'missed-schedule', for: '1m' },
  { kind: 'silent-worker', severity: 'critical', for: '30s' },
  { kind: 'stream-lag', for: '5m' },
];

/** The checks of a list of rules. */
export const rulesOption = z
  .array(ruleSchema)
  .max(100)
  .transform((rules) => rules.map(complete))
  .refine((rules) => new Set(rules.map(({ name }) => name)).size === rules.length, {
    error: 'expected each name once; give rules of one kind a `name`',
  })
  .readonly();

/** The longest that any rule looks back. */
export function longestWithin(rules: readonly CheckedRule[]): number {
  return Math.max(0, ...rules.map((rule) => ('within' in rule ? rule.within : 0)));
}

/** The patterns of a rule as one, for a rule is asked of each of many names. */
const compiled = new WeakMap<readonly string[], RegExp>();

/** Whether a name fits one of the patterns; without any, each does. */
export function fits(name: string, names: readonly string[] | undefined): boolean {
  if (names === undefined) return true;
  let all = compiled.get(names);
  if (!all) compiled.set(names, (all = new RegExp(`^(?:${names.map(regexOf).join('|')})$`)));
  return all.test(name);
}

/** A pattern as a regular expression that both JavaScript and Prometheus read. */
export function regexOf(pattern: string): string {
  return pattern
    .split('*')
    .map((part) => part.replaceAll(/[\\^$.|?+()[\]{}]/g, String.raw`\$&`))
    .join('.*');
}
