/** Options of a consumer, checked once; the platform's start of it finds no faults any more. */
import { z } from 'zod';
import { backoffOption, DEFAULT_BACKOFF, type Backoff, type CompiledBackoff } from '../../backoff.ts';
import type { Duration } from '../../durations.ts';
import { checkOptions, durationOption, functionOption } from '../../schema.ts';
import type { BatchContext, EntryContext, EntryFacts } from '../context.ts';
import { checkStream, streamNameOption, type StreamContract } from '../contract.ts';

/** What consumers of either kind may be told. */
export interface CommonConsumerOptions {
  /** Whose progress it is: each group is given every entry, its consumers share them. */
  group: string;
  /** After which entry a group begins that is made now: `0` for all that is there, `$` for what comes from now on, or an id. Default `0`. */
  startAt?: string | undefined;
  /** How often an entry is tried before it is a dead letter. Default 5. */
  attempts?: number | undefined;
  /** The wait before the next attempt. Default 1 s, 2 s, 4 s ... 10 min, less up to 30 %. */
  backoff?: Backoff | undefined;
  /** How long a handler may take before its signal aborts and the attempt has failed. Default `5m`. */
  timeout?: Duration | undefined;
  /** How long a handler may go on after its signal has aborted, before its slot is another's. Default `5s`. */
  grace?: Duration | undefined;
  /** How long after the last word of a process its entries are taken to be free; after a crash they wait so long. Default `30s`, at least `500ms`. */
  lease?: Duration | undefined;
  /** A name that outlives restarts, such as a pod's: a process that comes with it takes over at once. Default: a new one for each start. */
  consumer?: string | undefined;
  /** How many entries are read ahead at most. Default 500. */
  prefetch?: number | undefined;
}

/** Options of consume(). */
export interface ConsumeOptions<Parsed> extends CommonConsumerOptions {
  /** Entries that are worked on at once in this process. Default 16. */
  concurrency?: number | undefined;
  /**
   * Entries with one key are worked on one after the other, in the order of the stream, in all processes together; one process of the group works at a
   * time. An entry that fails holds up those of its key only.
   */
  orderBy?: ((data: Parsed) => string) | undefined;
}

/** How batches are made up. */
export interface BatchOptions {
  /** Entries of a batch at most. Default 100. */
  size?: number | undefined;
  /** How long a batch that is not full waits for more. Default `50ms`. */
  within?: Duration | undefined;
}

/** Options of consumeBatch(). */
export interface ConsumeBatchOptions extends CommonConsumerOptions {
  /** Batches that are worked on at once in this process. Default 1. */
  concurrency?: number | undefined;
  batch?: BatchOptions | undefined;
}

/** The code that works on an entry. What it returns is dropped. */
export type EntryHandler<Parsed> = (data: Parsed, context: EntryContext) => unknown;

/** An entry of a batch. */
export interface BatchEntry<Parsed> {
  readonly data: Parsed;
  readonly entry: EntryFacts;
  /** This entry has failed, whatever becomes of the others. */
  fail(error: unknown): void;
}

/** The code that works on a batch. All entries have failed when it throws, but for those that it had told of; else those have that it tells of. */
export type BatchHandler<Parsed> = (entries: ReadonlyArray<BatchEntry<Parsed>>, context: BatchContext) => unknown;

/** What a consumer is, checked. */
export interface Plan {
  readonly contract: StreamContract;
  readonly group: string;
  readonly startAt: string;
  readonly attempts: number;
  readonly backoff: CompiledBackoff;
  readonly timeoutMs: number;
  readonly graceMs: number;
  readonly leaseMs: number;
  /** The lasting name. */
  readonly consumer: string | undefined;
  readonly prefetch: number;
  readonly concurrency: number;
  readonly orderBy: ((data: unknown) => string) | undefined;
  readonly batch: { readonly size: number; readonly withinMs: number } | undefined;
}

/** Node's timers take no longer one. */
const LONGEST_MS = 24 * 86_400_000;

const count = z.number().int().min(1).max(10_000);

const commonShape = {
  group: streamNameOption,
  startAt: z
    .string()
    .regex(/^(?:\$|\d+(?:-\d+)?)$/, { error: "expected '0', '$' or the id of an entry, such as 1700000000000-0" })
    .default('0'),
  attempts: z.number().int().min(1).max(1_000_000).default(5),
  backoff: backoffOption.default(DEFAULT_BACKOFF),
  timeout: durationOption.pipe(z.number().min(1, 'expected more than 0')).default(300_000),
  grace: durationOption.refine((ms) => ms <= LONGEST_MS, 'expected at most 24 days').default(5_000),
  lease: durationOption.pipe(z.number().min(500, 'expected at least 500ms').max(3_600_000)).default(30_000),
  consumer: streamNameOption.optional(),
  prefetch: z.number().int().min(1).max(5_000).default(500),
};

const singleSchema = z.strictObject({
  ...commonShape,
  concurrency: count.default(16),
  orderBy: functionOption.optional(),
});
const batchSchema = z.strictObject({
  ...commonShape,
  concurrency: count.default(1),
  batch: z
    .strictObject({
      size: z.number().int().min(1).max(1_000).default(100),
      within: durationOption.refine((ms) => ms <= LONGEST_MS, 'expected at most 24 days').default(50),
    })
    .default({ size: 100, within: 50 }),
});

/** @throws MillraceError OPTIONS_INVALID */
export function planOf(contract: StreamContract, options: unknown, kind: 'consume' | 'consumeBatch'): Plan {
  checkStream(contract);
  const { backoff, group, startAt, attempts, timeout, grace, lease, consumer, prefetch, concurrency, ...own } =
    kind === 'consume'
      ? { ...checkOptions(singleSchema, options, `consume ${contract.name}`), batch: undefined }
      : { ...checkOptions(batchSchema, options, `consumeBatch ${contract.name}`), orderBy: undefined };
  return Object.freeze({
    contract,
    group,
    startAt,
    attempts,
    backoff,
    timeoutMs: timeout,
    graceMs: grace,
    leaseMs: lease,
    consumer,
    prefetch,
    concurrency,
    orderBy: own.orderBy,
    batch: own.batch && { size: own.batch.size, withinMs: own.batch.within },
  });
}
