/** What apps enqueue to have a report written. */
import { defineJob, type JobContract } from 'millrace';
import { z } from 'zod';

/** Input of `report.export`: one report for one user. */
export interface ReportInput {
  /** The name of a report of the handler's. */
  report: string;
  /** For whom: at most one report of a user is written at a time, the others wait. */
  user: string;
  /** What the report is asked for, such as the month. */
  params?: Record<string, unknown> | undefined;
  /** Default `csv`. */
  format?: 'csv' | 'jsonl' | undefined;
}

/** What `report.export` gives to those who wait. */
export interface ReportResult {
  /** The name of the file in the handler's folder. */
  file: string;
  rows: number;
  bytes: number;
  /** Of the file, in hex. */
  sha256: string;
}

const reportSchema = z.strictObject({
  report: z.string().min(1).max(100),
  user: z.string().min(1).max(200),
  params: z.record(z.string(), z.unknown()).default({}),
  format: z.enum(['csv', 'jsonl']).default('csv'),
});

/** What the handler of `report.export` gets. */
export type ParsedReport = z.output<typeof reportSchema>;

/**
 * Writes the rows of a report to a file.
 *
 * Tried 8 times; an attempt goes on where the one before it has got to. What the report is asked for is masked wherever jobs are shown.
 *
 * @example
 * const { id } = await platform.jobs.enqueue(reportExport, { report: 'sales', user: 'ada', params: { month: '2026-10' } });
 */
export const reportExport: JobContract<ReportInput, ParsedReport, ReportResult> = defineJob({
  name: 'report.export',
  input: reportSchema,
  output: z.object({ file: z.string(), rows: z.number(), bytes: z.number(), sha256: z.string() }),
  attempts: 8,
  timeout: '6h',
  secrets: ['params'],
});
