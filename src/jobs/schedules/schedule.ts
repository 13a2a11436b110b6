/** A schedule, as an application declares it in code. */
import { z } from 'zod';
import type { Duration } from '../../durations.ts';
import { MillraceError, describeValue } from '../../errors.ts';
import { checkOptions, durationOption } from '../../schema.ts';
import { attemptsOption, positiveDuration, priorityOption, type JobContract } from '../contract.ts';
import type { EnqueueOptions } from '../enqueue-options.ts';
import { MISSED_POLICIES, type MissedPolicy } from './settle.ts';
import { cronFault, isTimeZone, type Timing } from './timetable.ts';

/** When a schedule ticks: by a cron expression or by an interval. */
export type ScheduleTiming =
  | {
      /** 5 fields (minute hour day month weekday), 6 with seconds first, or a name such as `@daily`. */
      cron: string;
      /** Such as `Europe/Berlin`. Default `UTC`. */
      timeZone?: string | undefined;
      every?: undefined;
      offset?: undefined;
    }
  | {
      /** At least 100 ms. Counted from 1970, so that `1h` is on the hour (UTC) in every process. */
      every: Duration;
      /** Moves the interval's grid: `{ every: '1d', offset: '3h' }` ticks at 03:00 UTC. Shorter than `every`. Default 0. */
      offset?: Duration | undefined;
      cron?: undefined;
      timeZone?: undefined;
    };

/** Options of a schedule. */
export type ScheduleOptions = ScheduleTiming & {
  /** Names the schedule among all under the prefix. Default: the contract's name. */
  id?: string | undefined;
  /**
   * What to do about ticks that nobody saw to in time, because no worker was there or Redis was away. Default `one`.
   * - `skip`: nothing; the next tick runs.
   * - `one`: one run for all of them.
   * - `all`: a run for each, the oldest first.
   */
  missed?: MissedPolicy | undefined;
  /** Of `all`: at most so many, the newest. Default 100, at most 1 000. */
  missedLimit?: number | undefined;
  /** Each run is put off by a part of this, always the same for the same tick, so that many schedules do not start at once. */
  jitter?: Duration | undefined;
  /** In the place of the contract's. */
  priority?: number | undefined;
  /** In the place of the contract's. */
  attempts?: number | undefined;
  /** In the place of the contract's. */
  timeout?: Duration | undefined;
  /** In the place of the contract's; counted from when its job was enqueued or, with jitter, due. */
  expiresIn?: Duration | undefined;
};

/** A schedule, checked and frozen. */
export interface Schedule<Input = unknown> {
  readonly id: string;
  readonly contract: JobContract<Input>;
  /** Checked against the contract's schema when it is reconciled. */
  readonly input: Input;
  readonly timing: Timing;
  readonly missed: MissedPolicy;
  readonly missedLimit: number;
  readonly jitterMs: number;
  readonly enqueue: EnqueueOptions;
}

const DEFAULT_MISSED_LIMIT = 100;
const LARGEST_MISSED_LIMIT = 1_000;
const SHORTEST_EVERY_MS = 100;
const ID = /^[a-z][\w.-]*$/i;

const createOptionsSchema = () =>
  z
    .strictObject({
      id: z
        .string()
        .max(100)
        .regex(ID, { error: "expected letters, digits, '_', '-' and '.', beginning with a letter" })
        .optional(),
      cron: z
        .string()
        .refine((cron) => cronFault(cron) === undefined, { error: ({ input }) => cronFault(String(input)) ?? '' })
        .optional(),
      timeZone: z
        .string()
        .refine(isTimeZone, {
          error: ({ input }) => `expected the name of a time zone such as Europe/Berlin, got ${describeValue(input)}`,
        })
        .optional(),
      every: durationOption.pipe(z.number().min(SHORTEST_EVERY_MS)).optional(),
      offset: durationOption.optional(),
      missed: z.enum(MISSED_POLICIES).default('one'),
      missedLimit: z.number().int().min(1).max(LARGEST_MISSED_LIMIT).optional(),
      jitter: durationOption.default(0),
      priority: priorityOption.optional(),
      attempts: attemptsOption.optional(),
      timeout: positiveDuration.optional(),
      expiresIn: positiveDuration.optional(),
    })
    .superRefine(({ cron, timeZone, every, offset, missed, missedLimit }, context) => {
      const fault = (message: string): void => context.addIssue({ code: 'custom', message });
      if (cron === undefined && every === undefined) fault('expected cron or every, got neither');
      if (cron !== undefined && every !== undefined) fault('expected cron or every, got both');
      if (timeZone !== undefined && cron === undefined) fault('timeZone is for cron, got it without one');
      if (offset !== undefined && every === undefined) fault('offset is for every, got it without one');
      if (offset !== undefined && every !== undefined && offset >= every)
        fault(`offset: expected less than every, got ${offset} ms of ${every} ms`);
      if (missedLimit !== undefined && missed !== 'all')
        fault(`missedLimit is for missed: 'all', got it with '${missed}'`);
    });
/** Made for the first schedule: most processes declare none. */
let optionsSchema: ReturnType<typeof createOptionsSchema> | undefined;

/**
 * A schedule: at each tick, a job of the contract with the input. It counts once it is passed to the platform, which reconciles what
 * is declared with what is in Redis when a worker starts.
 *
 * @example
 * export const nightly = schedule(buildReport, { kind: 'sales' }, { cron: '30 2 * * *', timeZone: 'Europe/Berlin' });
 * export const sweep = schedule(sweepCarts, {}, { every: '5m', missed: 'skip' });
 * @throws MillraceError OPTIONS_INVALID, with the schedule's name and every fault.
 */
export function schedule<Input>(contract: JobContract<Input>, input: Input, options: ScheduleOptions): Schedule<Input> {
  const given: unknown = (options as { id?: unknown } | undefined)?.id;
  optionsSchema ??= createOptionsSchema();
  const checked = checkOptions(optionsSchema, options, `schedule ${typeof given === 'string' ? given : contract.name}`);
  const { priority, attempts, timeout, expiresIn } = checked;
  return Object.freeze({
    id: checked.id ?? contract.name,
    contract,
    input,
    timing: Object.freeze(timingOf(checked)),
    missed: checked.missed,
    missedLimit: checked.missedLimit ?? DEFAULT_MISSED_LIMIT,
    jitterMs: checked.jitter,
    enqueue: Object.freeze({ priority, attempts, timeout, expiresIn }),
  });
}

/** @throws MillraceError OPTIONS_INVALID when two of them have one id. */
export function checkDistinct(declared: readonly Schedule[]): void {
  const seen = new Set<string>();
  for (const { id } of declared) {
    if (seen.has(id)) {
      throw new MillraceError('OPTIONS_INVALID', `schedules: two of them are called ${id}; give one another id`, {
        id,
      });
    }
    seen.add(id);
  }
}

function timingOf({ cron, timeZone, every, offset }: z.output<NonNullable<typeof optionsSchema>>): Timing {
  return cron === undefined
    ? { everyMs: every ?? SHORTEST_EVERY_MS, offsetMs: offset ?? 0 }
    : { cron: cron.trim().replaceAll(/\s+/g, ' '), timeZone: timeZone ?? 'UTC' };
}
