/** Events on their way in: checked as a whole before anything is sent, so that an append either makes sense or has no effect. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { describeValue, MillraceError } from '../../errors.ts';
import { encodePayload } from '../../payload.ts';
import { faultsError, nearest, type Fault } from '../../schema.ts';
import { formOf, type EventsContract } from './contract.ts';
import { isName } from './names.ts';

/** What one append takes. */
export const MOST_EVENTS = 500;
const MOST_BYTES = 8 * 1_024 * 1_024;

/** Events as append.lua takes them. */
export interface EncodedEvents {
  readonly count: number;
  readonly isNamed: boolean;
  /** Of each event: type, data, id, metadata, form. */
  readonly fields: ReadonlyArray<string | number>;
}

/** An event as anybody might hand it over. */
interface Given {
  type?: unknown;
  data?: unknown;
  id?: unknown;
  metadata?: unknown;
}

const metadataSchema = z.record(z.string(), z.unknown());
const KNOWN: ReadonlySet<string> = new Set(['type', 'data', 'id', 'metadata']);

/** @throws MillraceError INPUT_INVALID with each path and reason; PAYLOAD_TOO_LARGE */
export async function encodeEvents(contract: EventsContract, events: readonly unknown[]): Promise<EncodedEvents> {
  checkList(contract, events);
  const fields: Array<string | number> = [];
  let isNamed = false;
  let sizeBytes = 0;
  for (const [index, given] of events.entries()) {
    const { type, data, id, metadata } = given as Given & { type: string; id?: string };
    const what = `events[${index}] of ${contract.name} (${type})`;
    const rule = { contract: contract.name, maxBytes: contract.maxBytes, what };
    const schema = contract.events[type];
    if (!schema) continue; // checkList() has thrown.
    const encoded = encodePayload(data, { ...rule, schema });
    const json = typeof encoded === 'string' ? encoded : await encoded;
    const extra =
      metadata === undefined
        ? ''
        : await encodePayload(metadata, { ...rule, what: `the metadata of ${what}`, schema: metadataSchema });
    const bytes = Buffer.byteLength(json) + Buffer.byteLength(extra);
    if (bytes > contract.maxBytes) throw tooLarge(contract, `${what} with its metadata`, bytes, contract.maxBytes);
    sizeBytes += bytes;
    isNamed ||= id !== undefined;
    fields.push(type, json, id ?? randomUUID(), extra, formOf(contract, type));
  }
  if (sizeBytes > MOST_BYTES)
    throw tooLarge(contract, `the events of an append to ${contract.name}`, sizeBytes, MOST_BYTES);
  return { count: events.length, isNamed, fields };
}

function checkList(contract: EventsContract, events: unknown): asserts events is readonly Given[] {
  const what = `append to ${contract.name}`;
  if (!Array.isArray(events) || events.length === 0 || events.length > MOST_EVENTS) {
    const came = Array.isArray(events) ? `${events.length}` : describeValue(events);
    const reason = `expected a list of 1 to ${MOST_EVENTS} events, got ${came}`;
    throw faultsError('INPUT_INVALID', what, [{ path: 'events', reason }]);
  }
  const faults: Fault[] = [];
  const ids = new Map<string, number>();
  for (const [index, event] of (events as Given[]).entries()) faults.push(...faultsOf(contract, event, index, ids));
  if (ids.size > 0 && events.some((event: Given | null) => event?.id === undefined))
    faults.push({ path: 'events', reason: 'expected an id with each event or with none' });
  if (faults.length > 0) throw faultsError('INPUT_INVALID', what, faults);
}

function faultsOf(contract: EventsContract, event: Given, index: number, ids: Map<string, number>): Fault[] {
  const path = `events[${index}]`;
  if (typeof event !== 'object' || event === null)
    return [{ path, reason: `expected { type, data }, got ${describeValue(event)}` }];
  const faults: Fault[] = [];
  const { type, id } = event;
  if (typeof type !== 'string' || !Object.hasOwn(contract.events, type)) {
    const types = Object.keys(contract.events);
    const guess = typeof type === 'string' ? nearest(type, types) : undefined;
    const hint = guess === undefined ? `expected one of ${types.join(', ')}` : `did you mean ${guess}?`;
    faults.push({ path: `${path}.type`, reason: `there are no events of type ${describeValue(type)}; ${hint}` });
  }
  for (const key of Object.keys(event)) {
    if (!KNOWN.has(key))
      faults.push({ path: `${path}.${key}`, reason: 'unknown; an event has type, data, id and metadata' });
  }
  if (id === undefined) return faults;
  if (!isName(id)) {
    faults.push({ path: `${path}.id`, reason: `expected a text of 1 to 512 characters, got ${describeValue(id)}` });
  } else if (ids.has(id)) {
    faults.push({ path: `${path}.id`, reason: `the same as that of events[${ids.get(id)}]` });
  } else {
    ids.set(id, index);
  }
  return faults;
}

function tooLarge(contract: EventsContract, what: string, sizeBytes: number, maxBytes: number): MillraceError {
  return new MillraceError(
    'PAYLOAD_TOO_LARGE',
    `${what} has ${sizeBytes} bytes, ${maxBytes} are allowed; store it elsewhere and append where it is`,
    { contract: contract.name, sizeBytes, maxBytes },
  );
}
