/**
 * A projection: documents that are made of events, and are always those of some moment of the event store.
 *
 * Promise: each event counts once, however many processes run the projection and whatever dies when: documents and checkpoint are written by one
 * script, only from where they were read. Handlers must therefore do nothing but read and write documents; what must reach the world outside
 * belongs into a subscription.
 */
import { createHash } from 'node:crypto';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { z } from 'zod';
import type { Duration } from '../../durations.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES, type PayloadRule } from '../../payload.ts';
import { checkOptions, type Schema, schemaOption } from '../../schema.ts';
import { streamNameOption } from '../contract.ts';
import type { Host, Member, Running } from '../member.ts';
import { checkEvents, formsOf, type EventsContract, type EventSchemas, type RecordedEvent } from './contract.ts';
import { coreOf } from './core.ts';
import { Follower } from './follower.ts';
import { Projector } from './projector.ts';
import { leaseOption, timeoutOption } from './subscription.ts';
import type { View, ViewOf } from './view.ts';

/** What each type of event does to the documents; types without an entry do nothing, and are not fetched. */
export type ProjectionHandlers<Schemas extends EventSchemas, Doc extends StandardSchemaV1> = {
  readonly [Type in keyof Schemas & string]?: (view: ViewOf<Doc>, event: RecordedEvent<Schemas, Type>) => unknown;
};

/** Options of project(). */
export interface ProjectionOptions<Schemas extends EventSchemas, Doc extends StandardSchemaV1> {
  /** Letters, digits, `_`, `-` and single dots. */
  name: string;
  /** What a document looks like: any Standard Schema. */
  document: Doc;
  on: ProjectionHandlers<Schemas, Doc>;
  /** Which documents an event will ask for, so that those of many events are loaded in one round trip. Default: the one whose key is the stream's id. */
  keysOf?: ((event: RecordedEvent<Schemas>) => readonly string[]) | undefined;
  /** The largest document, in bytes of JSON. Default 256 KB. */
  maxBytes?: number | undefined;
  /** How long a handler may take for one event. Default `5m`. */
  timeout?: Duration | undefined;
  /** How long a process that died still holds the place of the one that follows. Default `30s`. */
  lease?: Duration | undefined;
}

/** What runs a handler, whatever its types. */
export type AnyProjectionHandler = (view: View, event: RecordedEvent<EventSchemas>) => unknown;

/** A projection: what a store reads by it, and what a worker process runs. */
export interface Projection<Output = unknown> extends Member {
  readonly kind: 'projection';
  readonly contract: EventsContract;
  readonly checked: CheckedProjection<Output>;
}

/** Options after their check. */
export interface CheckedProjection<Output = unknown> {
  readonly name: string;
  readonly document: Schema<unknown, Output>;
  readonly on: Readonly<Record<string, AnyProjectionHandler>>;
  readonly keysOf: (event: RecordedEvent<EventSchemas>) => readonly string[];
  readonly rule: PayloadRule;
  readonly timeoutMs: number;
  readonly leaseMs: number;
  /** Of the code that makes the documents, so that a rebuild that was begun by other code is not gone on with. */
  readonly recipe: string;
}

const functionOption = <T>(): z.ZodType<T> =>
  z.custom<T>((value) => typeof value === 'function', { error: 'expected a function' });

function schemaFor(types: readonly string[]) {
  return z.strictObject({
    name: streamNameOption,
    document: schemaOption,
    on: z
      .partialRecord(z.enum(types as [string, ...string[]]), functionOption<AnyProjectionHandler>())
      .refine((on) => Object.keys(on).length > 0, { error: 'expected a handler for at least one type of event' }),
    keysOf: functionOption<(event: RecordedEvent<EventSchemas>) => readonly string[]>().optional(),
    maxBytes: z.number().int().min(1).default(DEFAULT_MAX_PAYLOAD_BYTES),
    timeout: timeoutOption.default(300_000),
    lease: leaseOption.default(30_000),
  });
}

/**
 * A projection, for `store.projection(it)` to read and for `platform.work({ consumers: [it] })` to keep up to date.
 *
 * @example
 * export const orderList = project(orderEvents, {
 *   name: 'list',
 *   document: z.object({ customer: z.string(), status: z.string() }),
 *   on: {
 *     placed: (view, { streamId, data }) => view.set(streamId, { customer: data.customer, status: 'placed' }),
 *     shipped: async (view, { streamId }) => {
 *       const order = await view.get(streamId);
 *       if (order) await view.set(streamId, { ...order, status: 'shipped' });
 *     },
 *   },
 * });
 * @throws MillraceError OPTIONS_INVALID
 */
export function project<Schemas extends EventSchemas, Doc extends StandardSchemaV1>(
  contract: EventsContract<Schemas>,
  options: ProjectionOptions<Schemas, Doc>,
): Projection<StandardSchemaV1.InferOutput<Doc>> {
  checkEvents(contract);
  const given: unknown = (options as { name?: unknown } | undefined)?.name;
  const owner = `project${typeof given === 'string' ? ` ${given}` : ''}`;
  const parsed = checkOptions(schemaFor(Object.keys(contract.events)), options, owner);
  const { name, document, maxBytes, timeout, lease } = parsed;
  const on = Object.freeze(parsed.on) as CheckedProjection['on'];
  const title = `${contract.name}/${name}`;
  const checked: CheckedProjection = Object.freeze({
    name,
    document,
    on,
    keysOf: parsed.keysOf ?? ((event: { streamId: string }) => [event.streamId]),
    rule: { schema: document, contract: title, what: `a document of ${title}`, maxBytes },
    timeoutMs: timeout,
    leaseMs: lease,
    recipe: recipeOf(contract, on),
  });
  const start = async (host: Host): Promise<Running> => {
    const core = coreOf(contract as EventsContract, host);
    return new Follower(core, new Projector(core, checked).follows()).start();
  };
  return Object.freeze({
    kind: 'projection',
    name: title,
    contract,
    checked,
    start,
  }) as never;
}

function recipeOf(contract: EventsContract, on: CheckedProjection['on']): string {
  const parts = [Object.entries(on).map(([type, run]) => [type, String(run)]), formsOf(contract)];
  return createHash('sha1').update(JSON.stringify(parts)).digest('hex');
}
