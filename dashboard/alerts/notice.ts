/**
 * What somebody is told of an alert, and the job that tells it.
 *
 * The job has the notice but neither address nor secret: those are the handler's, so that Redis and the pages never have them.
 */
import { z } from 'zod';
import { defineJob, type JobContract } from 'millrace';

export const noticeSchema = z.object({
  /** The same for each attempt to deliver it; a receiver that has seen it may ignore it. */
  id: z.string(),
  status: z.enum(['firing', 'resolved', 'test']),
  rule: z.string(),
  severity: z.enum(['warning', 'critical']),
  /** Of which thing, in words. */
  subject: z.string(),
  /** The same for programs: `queue`, `schedule`, `worker` and `host`, or `stream` and `group`. */
  labels: z.record(z.string(), z.string()),
  /** What was found, as a sentence. */
  text: z.string(),
  /** What was measured: milliseconds, a count, or a part from 0 to 1. */
  value: z.number(),
  /** Since when it is so, in ISO 8601 by the server's clock. */
  since: z.string(),
  /** When the notice was made. */
  at: z.string(),
  /** The option `environment` of the dashboard. */
  environment: z.string().optional(),
  /** The page of alerts, where the option `url` of the dashboard is set. */
  link: z.string().optional(),
});

/** A notice: the JSON that is posted. */
export type AlertNotice = z.output<typeof noticeSchema>;

/** The job that delivers a notice. alertHandler() runs it. */
export const alertJob: JobContract<AlertNotice, AlertNotice> = defineJob({
  name: 'millrace.alert',
  input: noticeSchema,
  attempts: 8,
  backoff: { type: 'exponential', delay: '5s', max: '10m', jitter: 0.3 },
  timeout: '2m',
  expiresIn: '1d',
});
