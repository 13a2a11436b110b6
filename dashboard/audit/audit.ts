/**
 * Who did what: each action that changes something, in a stream of its own, the newest last.
 *
 * Promise: an action is written down after it was done, or has failed, and before its user hears of it. When Redis does not take it, the log has
 * it: what was done cannot be taken back. Entries are bounded by count and age.
 */
import { z } from 'zod';
import {
  createKeySpace,
  defineStream,
  isMillraceError,
  type Logger,
  type Platform,
  type StreamContract,
} from 'millrace';
import type { User } from '../access/roles.ts';
import type { CheckedOptions } from '../options.ts';

/** What is written down of an action. */
export interface AuditEntry {
  /** What was done: `queue.pause`, `dead-letters.redrive`; a noun and a verb. */
  action: string;
  /** To what: a queue, a job, a filter in words. */
  target?: string | undefined;
  /** How many it touched. */
  count?: number | undefined;
  /** What else is worth knowing; never what a contract keeps secret. */
  detail?: string | undefined;
  /** Default `done`. */
  outcome?: 'done' | 'refused' | 'failed' | undefined;
}

/** Who did it, and from where. */
export interface Actor {
  user: User;
  address: string;
}

const recordSchema = z.object({
  user: z.string(),
  role: z.string(),
  address: z.string(),
  action: z.string(),
  target: z.string().optional(),
  count: z.number().optional(),
  detail: z.string().optional(),
  outcome: z.enum(['done', 'refused', 'failed']),
});

/** An action as the audit has it. */
export interface AuditRecord extends z.output<typeof recordSchema> {
  readonly id: string;
  /** By the server's clock. */
  readonly at: number;
}

/** Which actions are wanted. */
export interface AuditFilter {
  user?: string | undefined;
  /** The whole of it, or its beginning: `queue`. */
  action?: string | undefined;
  from?: number | undefined;
  to?: number | undefined;
}

/** A part of the audit, the newest first. */
export interface AuditPage {
  readonly records: readonly AuditRecord[];
  /** Where the next one goes on; undefined at the end. */
  readonly next: string | undefined;
}

/** The stream that it stands in. */
export const AUDIT_STREAM = 'dashboard.audit';
const LONGEST_TEXT = 500;
const PAGE_SIZE = 50;
const STEP = 500;
/** A filter that finds little is given up after so many entries; the next page goes on from there. */
const MOST_SCANNED = 10_000;
const ENTRY_ID = /^\d{1,15}-\d{1,19}$/;

/** The audit of a platform's dashboards. */
export class AuditLog {
  readonly #platform: Platform;
  readonly #log: Logger;
  readonly #contract: StreamContract<z.input<typeof recordSchema>, z.output<typeof recordSchema>>;
  /** AUDIT_STREAM, as the streams module writes it. */
  readonly #key: string;

  constructor(platform: Platform, log: Logger, { auditEntries, auditFor }: CheckedOptions) {
    this.#platform = platform;
    this.#log = log;
    this.#contract = defineStream({
      name: AUDIT_STREAM,
      schema: recordSchema,
      keep: { count: auditEntries, age: auditFor },
    });
    this.#key = createKeySpace(platform.prefix, 'streams')(AUDIT_STREAM, 'entries');
  }

  async write(
    { user, address }: Actor,
    { action, target, count, detail, outcome = 'done' }: AuditEntry,
  ): Promise<void> {
    const record = {
      user: user.name,
      role: user.role,
      address,
      action,
      target: cut(target),
      count,
      detail: cut(detail),
      outcome,
    };
    this.#log.info(record, 'audit');
    try {
      await this.#platform.streams.publish(this.#contract, record);
    } catch (error) {
      this.#log.error({ err: error, ...record }, 'an action could not be written into the audit');
    }
  }

  /** Does it and writes it down, with what `work` has added to its copy of the entry; as `failed` where it throws, which goes on. */
  async act<T>(actor: Actor, entry: AuditEntry, work: (told: AuditEntry) => T | Promise<T>): Promise<T> {
    const told = { ...entry };
    try {
      const done = await work(told);
      await this.write(actor, told);
      return done;
    } catch (error) {
      const detail = [told.detail, whyOf(error)].filter((text) => text !== undefined).join('; ');
      await this.write(actor, { ...told, detail, outcome: 'failed' });
      throw error;
    }
  }

  /** The actions that match, from the newest on or from where a page before ended. */
  async page(filter: AuditFilter, before?: string): Promise<AuditPage> {
    const client = this.#platform.redis.commands();
    const oldest = filter.from === undefined ? '-' : String(filter.from);
    let end = startOf(filter, before);
    const records: AuditRecord[] = [];
    for (let scanned = 0; scanned < MOST_SCANNED; scanned += STEP) {
      const entries = await client.xrevrange(this.#key, end, oldest, 'COUNT', STEP);
      for (const [id, fields] of entries) {
        const record = recordOf(id, fields);
        if (record && matches(record, filter)) records.push(record);
        end = `(${id}`;
        if (records.length === PAGE_SIZE) return { records, next: id };
      }
      if (entries.length < STEP) return { records, next: undefined };
    }
    return { records, next: end.slice(1) };
  }
}

/** A message may hold what a contract keeps secret; the log has it all. */
function whyOf(error: unknown): string {
  return isMillraceError(error) ? error.code : 'an error that the log has';
}

function startOf({ to }: AuditFilter, before: string | undefined): string {
  if (before !== undefined && ENTRY_ID.test(before)) return `(${before}`;
  return to === undefined ? '+' : String(to);
}

/** Undefined for what an older version wrote in another form. */
function recordOf(id: string, fields: readonly string[]): AuditRecord | undefined {
  const read = recordSchema.safeParse(parsed(fields[fields.indexOf('data') + 1]));
  return read.success ? { ...read.data, id, at: Number(id.split('-', 1)[0]) } : undefined;
}

function parsed(data: string | undefined): unknown {
  try {
    return JSON.parse(data ?? '');
  } catch {
    return undefined; // The schema refuses it.
  }
}

function matches({ user, action }: AuditRecord, filter: AuditFilter): boolean {
  if (filter.user !== undefined && user.toLowerCase() !== filter.user.toLowerCase()) return false;
  return filter.action === undefined || action.startsWith(filter.action);
}

function cut(text: string | undefined): string | undefined {
  return text !== undefined && text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT - 3)}...` : text;
}
