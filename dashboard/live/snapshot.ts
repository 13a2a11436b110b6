/** What the dashboard knows of a platform at one moment: what one process collects and all of them show. */
import { z } from 'zod';
import { defineTopic } from 'millrace';

const count = z.number();

const queueSchema = z.object({
  name: z.string(),
  /** Prioritized jobs among them. */
  waiting: count,
  active: count,
  delayed: count,
  completed: count,
  failed: count,
  dead: count,
  /** How long the oldest job that could run has waited. */
  oldestAgeMs: z.number().optional(),
  isPaused: z.boolean(),
  /** Attempts that ended, a minute, over the last five; missing while nobody has looked. */
  perMinute: z.number().optional(),
  /** Which part of these failed, 0 to 1; missing when none ended. */
  failedShare: z.number().optional(),
});

const workerSchema = z.object({
  id: z.string(),
  host: z.string(),
  pid: z.number(),
  state: z.enum(['running', 'draining', 'silent']),
  active: count,
  concurrency: count,
  lagMs: z.number(),
  rssBytes: z.number(),
  seenAt: z.number(),
});

const groupSchema = z.object({ name: z.string(), lag: count, pending: count, dead: count });

const streamSchema = z.object({ name: z.string(), length: count, groups: z.array(groupSchema) });

const firingSchema = z.object({
  id: z.string(),
  rule: z.string(),
  severity: z.enum(['warning', 'critical']),
  subject: z.string(),
  text: z.string(),
  since: z.number(),
  acknowledgedBy: z.string().optional(),
});

const snapshotSchema = z.object({
  /** By the server's clock, in ms. */
  at: z.number(),
  /** When the next one is to be expected. */
  everyMs: z.number(),
  /** The collector's place among all that ever were, and how often it has looked: a later snapshot has a greater pair. */
  fence: z.number(),
  round: z.number(),
  /** How many there are of each; the lists are cut. */
  counts: z.object({ queues: count, workers: count, streams: count }),
  /** Of all queues, whether they are in the list or not. */
  totals: queueSchema.omit({ name: true, isPaused: true }),
  workers: z.array(workerSchema),
  workerStates: z.object({ running: count, draining: count, silent: count, active: count }),
  queues: z.array(queueSchema),
  streams: z.array(streamSchema),
  /** Undefined where alerts are off. */
  alerts: z.array(firingSchema).optional(),
  /** What a rule is about and nobody could judge. */
  unjudged: z.object({ queues: count, streams: count }).optional(),
});

export type QueueFigures = z.output<typeof queueSchema>;
export type WorkerFigures = z.output<typeof workerSchema>;
export type StreamFigures = z.output<typeof streamSchema>;
export type FiringAlert = z.output<typeof firingSchema>;
export type Snapshot = z.output<typeof snapshotSchema>;

/** What the lists of a snapshot have at most; the ones with trouble come first. */
export const MOST_QUEUES = 200;
export const MOST_WORKERS = 200;
export const MOST_STREAMS = 100;
export const MOST_GROUPS = 20;
export const MOST_FIRING = 100;

/** How a snapshot travels from the process that collects to the others. */
export const snapshotTopic = defineTopic({
  name: 'dashboard.snapshot',
  schema: snapshotSchema,
  maxBytes: 1_048_576,
});

/** Whether a snapshot is later than another one. */
export function isLater(one: Snapshot, other: Snapshot | undefined): boolean {
  if (!other) return true;
  return one.fence === other.fence ? one.round > other.round : one.fence > other.fence;
}

/** The name of a snapshot. */
export function snapshotId({ fence, round }: Snapshot): string {
  return `${fence}-${round}`;
}
