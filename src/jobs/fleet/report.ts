/**
 * What a worker process tells of itself, as it is kept in Redis.
 *
 * Times are told as ages: the server adds its own clock to them, so that a process with a wrong clock is shown right. A report may be of
 * another version of Millrace, so whatever is missing in one, or has another form, is taken as not told.
 */
import { z } from 'zod';

/** Of the jobs that run, so many are told. */
export const MOST_RUNNING = 50;
/** Of the schedules that it has declared, so many. */
export const MOST_SCHEDULES = 500;
/** Beats that are missed until a process is silent. */
const MISSED_BEATS = 3;

const count = z.number().catch(0);
const text = z.string().catch('');
const list = <Item extends z.ZodType>(item: Item) => z.array(item).catch([]);

const reportSchema = z.object({
  host: text,
  pid: count,
  millrace: text,
  node: text,
  appVersion: z.string().optional().catch(undefined),
  /** How often it tells. */
  everyMs: z.number().catch(5_000),
  upMs: count,
  isDraining: z.boolean().catch(false),
  queues: list(z.object({ name: text, concurrency: count, active: count, takenMs: z.number().optional() })),
  consumers: list(z.object({ stream: text, group: text, concurrency: count, active: count })),
  schedules: list(text),
  running: list(z.object({ id: text, name: text, queue: text, attempt: count, runMs: count })),
  lagMs: count,
  rssBytes: count,
});

/** What a process tells. */
export type Report = z.output<typeof reportSchema>;

/** A consumer of a stream, as its process tells of it. */
export type ConsumerReport = Report['consumers'][number];

/** A worker process, as it was last heard of. */
export interface WorkerInfo {
  id: string;
  host: string;
  pid: number;
  /** The version of Millrace. */
  millrace: string;
  /** The version of Node. */
  node: string;
  /** What the user calls the deployed version: `version` of work(), or MILLRACE_APP_VERSION. */
  appVersion?: string;
  /** When the process began, by the server's clock, in ms. */
  startedAt: number;
  /** When it was last heard of, by the server's clock, in ms. */
  seenAt: number;
  /** `draining`: it finishes what runs and takes nothing new; `silent`: three heartbeats were missed, so it was killed, is frozen, or cannot reach Redis. */
  state: 'running' | 'draining' | 'silent';
  /** The queues that it works on. `lastTakenAt` is missing until it has taken a job. */
  queues: Array<{ name: string; concurrency: number; active: number; lastTakenAt?: number }>;
  /** The consumers of streams that it runs. */
  consumers: Array<{ stream: string; group: string; concurrency: number; active: number }>;
  /** The ids of the schedules that it has declared; at most 500. */
  schedules: string[];
  /** The jobs that ran at its last heartbeat, those that run longest first; at most 50. */
  running: Array<{ id: string; name: string; queue: string; attempt: number; startedAt: number }>;
  /** The longest that its event loop was late since the heartbeat before. */
  eventLoopLagMs: number;
  rssBytes: number;
}

/** What is shown of a report that Redis keeps; undefined for one that is none. */
export function readReport(id: string, json: string, seenAt: number, nowMs: number): WorkerInfo | undefined {
  const report = parse(json);
  if (!report) return undefined;
  const { host, pid, millrace, node, appVersion, consumers, schedules, rssBytes } = report;
  const isSilent = nowMs - seenAt >= report.everyMs * MISSED_BEATS;
  return {
    id,
    host,
    pid,
    millrace,
    node,
    ...(appVersion !== undefined && { appVersion }),
    startedAt: seenAt - report.upMs,
    seenAt,
    state: isSilent ? 'silent' : report.isDraining ? 'draining' : 'running',
    queues: report.queues.map(({ takenMs, ...queue }) => ({
      ...queue,
      ...(takenMs !== undefined && { lastTakenAt: seenAt - takenMs }),
    })),
    consumers,
    schedules,
    running: report.running.map(({ runMs, ...job }) => ({ ...job, startedAt: seenAt - runMs })),
    eventLoopLagMs: report.lagMs,
    rssBytes,
  };
}

function parse(json: string): Report | undefined {
  try {
    return reportSchema.safeParse(JSON.parse(json)).data;
  } catch {
    return undefined; // Not one of ours.
  }
}
