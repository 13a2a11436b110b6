/**
 * `report.export`: the rows of a report, written to a file piece by piece.
 *
 * Promise: one report of a user at a time, over all workers; the others wait and use up no attempt. An attempt goes on from the last piece that is
 * on the disk, with nothing missing and nothing twice, if the report's rows come in an order that stays. A file has its name only when it is whole.
 * A holder of the lock that was paused and overtaken writes into no file of its successor's (report/part-file.ts), and finds that out by its signal.
 * Redis down: the lock cannot be had, or is lost at its end: the attempt fails, and the next one goes on.
 */
import { createHash } from 'node:crypto';
import { accessSync, constants, mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  checkOptions,
  durationOption,
  handle,
  isMillraceError,
  parseInput,
  postpone,
  systemClock,
  unrecoverable,
  type Duration,
  type Handler,
  type JobContext,
  type Lock,
  type Schema,
} from 'millrace';
import { z } from 'zod';
import { untilAborted, type Source } from './pages.ts';
import { reportExport, type ParsedReport, type ReportResult } from './report/contract.ts';
import { formatOf, type Column, type Format } from './report/format.ts';
import { forgetParts, PartFile, type Piece, type Whole } from './report/part-file.ts';
import { reportFile, sweepReports } from './report/sweep.ts';
import { stableId } from './stable-id.ts';

/** What a row's place is told by: JSON, such as its id. */
export type ReportCursor = string | number | boolean | null | ReportCursor[] | { [key: string]: ReportCursor };

/** A report. */
export interface Report<Row, Params = unknown> {
  /** Its rows, in an order that stays; those behind the place of `after`, which is undefined at the beginning. */
  rows(params: Params, context: { after: ReportCursor | undefined; signal: AbortSignal; user: string }): Source<Row>;
  /** The place of a row. Without it an attempt that follows a kill begins anew. */
  cursor?: ((row: Row) => ReportCursor) | undefined;
  /** Fields, or names and what is made of the row. Required for CSV. Default for JSONL: the row as it is. */
  columns?: ReadonlyArray<Column<Row>> | undefined;
  /** What the parameters must fit. */
  params?: Schema<unknown, Params> | undefined;
}

/** A report, whatever its types. */
export type AnyReport = Report<never, never>;

/** Options of createReportHandler(). */
export interface ReportOptions {
  /** By the names that jobs use: letters, digits, `_` and `-`. `report({ ... })` knows the types of a row and of the parameters. */
  reports: Readonly<Record<string, AnyReport>>;
  /** Where files are written; one that all workers of the queue share, so that another one can go on. Made if it is not there. */
  folder: string;
  /** How long files are kept, and what was begun. Default `7d`; false for ever. */
  keepFor?: Duration | false | undefined;
  /** Whether texts that a spreadsheet would run as a formula are made harmless, in CSV. Default true. */
  guardFormulas?: boolean | undefined;
  /** Whether CSV begins with the mark by which Excel knows UTF-8. Default false. */
  bom?: boolean | undefined;
  /** How much is written at once, in bytes; an attempt that is killed has so much to do again. Default 1 MB. */
  pieceBytes?: number | undefined;
  /** How long a user's other reports wait for a worker that died. Default `30s`. */
  lease?: Duration | undefined;
}

const isFunction = (value: unknown): boolean => typeof value === 'function';
const functionField = z.custom<never>(isFunction, 'expected a function');
const reportSchema = z.strictObject({
  rows: functionField,
  cursor: functionField.optional(),
  columns: z
    .array(z.union([z.string().min(1), z.strictObject({ name: z.string().min(1), value: functionField })]))
    .min(1)
    .optional(),
  params: z
    .custom<Schema>((value) => typeof value === 'object' && value !== null && '~standard' in value, 'expected a schema')
    .optional(),
});
const optionsSchema = z.strictObject({
  reports: z
    .record(z.string().regex(/^[\w-]{1,60}$/, "expected letters, digits, '_' and '-'"), reportSchema)
    .refine((reports) => Object.keys(reports).length > 0, 'expected at least one report'),
  folder: z
    .string()
    .min(1)
    .transform((folder, context) => {
      try {
        mkdirSync(folder, { recursive: true });
        accessSync(folder, constants.W_OK);
        return resolve(folder);
      } catch (error) {
        context.addIssue(`expected a folder that can be written to (${(error as NodeJS.ErrnoException).code})`);
        return z.NEVER;
      }
    }),
  keepFor: z
    .union([z.literal(false), durationOption.refine((ms) => ms >= 60_000, 'expected 1 min or more')])
    .prefault('7d'),
  guardFormulas: z.boolean().default(true),
  bom: z.boolean().default(false),
  pieceBytes: z.int().min(1).max(64_000_000).default(1_000_000),
  lease: durationOption.refine((ms) => ms >= 100 && ms <= 3_600_000, 'expected 100 ms to 1 h').prefault('30s'),
});

type Rules = Readonly<z.output<typeof optionsSchema>>;

/** A slow report is written down so often at least. */
const PIECE_MS = 5_000;
const SWEEP_EVERY_MS = 3_600_000;

/**
 * A report with the types of its rows and of its parameters.
 *
 * @example
 * const sales = report({
 *   params: z.object({ month: z.string() }),
 *   rows: ({ month }, { after }) => database.sales(month, { afterId: after }), // ORDER BY id
 *   cursor: (row) => row.id,
 *   columns: ['id', 'customer', { name: 'total', value: (row) => row.cents / 100 }],
 * });
 */
export function report<Row, Params = unknown>(definition: Report<Row, Params>): AnyReport {
  return definition as unknown as AnyReport;
}

/**
 * The handler of `report.export`.
 *
 * @example
 * await platform.work({ handlers: [createReportHandler({ reports: { sales }, folder: '/var/reports' })] });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createReportHandler(options: ReportOptions): Handler {
  const rules = checkOptions(optionsSchema, options, 'createReportHandler');
  let sweptAtMs = Number.NEGATIVE_INFINITY;
  return handle(reportExport, async (input, context) => {
    const { job, locks, log, once } = context;
    const result = await once('written', async () => {
      const lock = await locks.tryAcquire(`report.export:${input.user}`, { ttl: rules.lease });
      if (!lock) throw postpone(waitOf(rules), 'another report of the user is being written');
      await using held = lock;
      return await write(input, context, rules, held); // Not let go of before it has ended.
    });
    // Its result is stored: nobody will go on with it.
    await forgetParts({ folder: rules.folder, job: stableId(job.id) });
    const nowMs = systemClock.monotonicMs();
    if (rules.keepFor !== false && nowMs - sweptAtMs >= SWEEP_EVERY_MS) {
      sweptAtMs = nowMs;
      await sweepReports(rules.folder, rules.keepFor).catch((error: unknown) =>
        log.warn({ err: error }, 'old reports could not be removed'),
      );
    }
    return result;
  });
}

async function write(
  input: ParsedReport,
  { job, log, progress, signal: ofJob }: JobContext,
  rules: Rules,
  lock: Lock,
): Promise<ReportResult> {
  const definition = reportNamed(input, rules);
  const params = await paramsOf(input, definition);
  const signal = AbortSignal.any([ofJob, lock.signal]);
  const { columns } = definition;
  const format = formatOf({ ...rules, format: input.format, columns });
  // Without a cursor there is no place to go on from.
  const shape = definition.cursor ? format.shape : `${format.shape} ${lock.token}`;
  const place = { folder: rules.folder, job: stableId(job.id), fence: lock.token, asked: digestOf(input), shape };
  const opened = await PartFile.open(place, signal);
  if (!(opened instanceof PartFile)) return resultOf(opened);
  try {
    const { cursor: after, rows: before, bytes } = opened.record;
    if (before > 0) log.info({ rows: before }, 'going on with a report');
    const rows = untilAborted(definition.rows(params, { after, signal, user: input.user }), signal);
    const head = bytes === 0 ? format.head : '';
    for await (const piece of piecesOf(rows, definition, { head, format, pieceBytes: rules.pieceBytes })) {
      lock.assertHeld();
      await opened.append(piece);
      progress({ rows: opened.record.rows, bytes: opened.record.bytes });
    }
    lock.assertHeld();
    const record = await opened.publish(reportFile(input.report, place.job, place.fence, input.format));
    log.info({ report: input.report, rows: record.rows, bytes: record.bytes }, 'report written');
    return resultOf(record);
  } finally {
    await opened.close();
  }
}

interface Pieces {
  readonly head: string;
  readonly format: Format<unknown>;
  readonly pieceBytes: number;
}

/** Rows as text, so much together that writing it down is worth it. */
async function* piecesOf(
  rows: AsyncIterable<unknown>,
  { cursor }: Report<unknown>,
  { head, format, pieceBytes }: Pieces,
): AsyncGenerator<Piece, void, undefined> {
  let lines = [head];
  let length = head.length;
  let count = 0;
  let place: unknown;
  let sinceMs = systemClock.monotonicMs();
  const piece = (): Piece => ({ text: lines.join(''), rows: count, cursor: place as Piece['cursor'] });
  for await (const row of rows) {
    const line = format.line(row);
    lines.push(line);
    length += line.length;
    count++;
    place = cursor?.(row);
    if (cursor && place === undefined) throw unrecoverable('the cursor of the report gave undefined for a row');
    const nowMs = systemClock.monotonicMs();
    if (length < pieceBytes && nowMs - sinceMs < PIECE_MS) continue;
    yield piece();
    [lines, length, count, sinceMs] = [[], 0, 0, nowMs];
  }
  if (length > 0) yield piece();
}

function reportNamed({ report: name, format }: ParsedReport, { reports }: Rules): Report<unknown> {
  const definition = Object.hasOwn(reports, name) ? reports[name] : undefined;
  if (!definition)
    throw unrecoverable(`there is no report named ${name}; this worker has: ${Object.keys(reports).join(', ')}`);
  if (format === 'csv' && !definition.columns)
    throw unrecoverable(`report ${name} has no columns, which CSV needs; ask for jsonl`);
  return definition;
}

async function paramsOf({ report: name, params }: ParsedReport, { params: schema }: Report<unknown>): Promise<unknown> {
  if (!schema) return params;
  try {
    return await parseInput(schema, params, `params of report ${name}`);
  } catch (error) {
    throw isMillraceError(error, 'INPUT_INVALID') ? unrecoverable(error) : error;
  }
}

/** A dead letter may be redriven with another input; parameters are secrets, so none of them is written down. */
function digestOf(input: ParsedReport): string {
  return createHash('sha256').update(JSON.stringify(input)).digest('base64url');
}

function resultOf({ rows, bytes, whole }: Whole): ReportResult {
  return { ...whole, rows, bytes };
}

/** Those who wait for the same user do not all come back at once. */
function waitOf({ lease }: Rules): number {
  return Math.ceil((lease / 6) * (1 + Math.random()));
}
