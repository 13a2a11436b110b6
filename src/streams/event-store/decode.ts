/**
 * Events on their way out: brought to the newest form, then parsed by their schema.
 *
 * An event that cannot be read stops its reader, loudly and with its place: to pass it over would make state that is wrong without anybody
 * knowing. A form or type that is newer than this process means that a deploy is under way; the rest is mended by an upcaster.
 */
import { MillraceError } from '../../errors.ts';
import { parseWith } from '../../payload.ts';
import type { EventMetadata, EventsContract, EventSchemas, RecordedEvent } from './contract.ts';
import { formOf } from './contract.ts';
import type { StoredEvent } from './entry.ts';

const NO_METADATA: EventMetadata = Object.freeze({});

/** The event as the contract knows it. A promise only where its schema answers with one. @throws MillraceError EVENT_UNREADABLE */
export function decodeEvent<Schemas extends EventSchemas>(
  contract: EventsContract<Schemas>,
  stored: StoredEvent,
): RecordedEvent<Schemas> | Promise<RecordedEvent<Schemas>> {
  const { type } = stored;
  const schema = Object.hasOwn(contract.events, type) ? contract.events[type] : undefined;
  if (!schema) throw unreadable(contract, stored, `there are no events of type ${type} in its contract`);
  try {
    const data = parseWith(schema, newestForm(contract, stored), placeOf(contract, stored));
    if (!isPromise(data)) return recorded(stored, data);
    return data.then(
      (parsed) => recorded(stored, parsed),
      (cause: unknown) => Promise.reject(because(contract, stored, cause)),
    );
  } catch (cause) {
    throw because(contract, stored, cause);
  }
}

function newestForm(contract: EventsContract, stored: StoredEvent): unknown {
  const { type, form } = stored;
  const newest = formOf(contract, type);
  if (form > newest)
    throw unreadable(
      contract,
      stored,
      `it is of form ${form + 1}, this process knows ${newest + 1}; deploy the newer contract`,
    );
  let data: unknown = JSON.parse(stored.data);
  for (let at = form; at < newest; at++) data = contract.upcasters[type]?.[at]?.(data);
  return data;
}

function recorded<Schemas extends EventSchemas>(stored: StoredEvent, data: unknown): RecordedEvent<Schemas> {
  const { type, id, streamId, version, position, at, metadata } = stored;
  return {
    type,
    data,
    id,
    streamId,
    version,
    position,
    at: new Date(at),
    metadata: metadata === '' ? NO_METADATA : (JSON.parse(metadata) as EventMetadata),
  };
}

function because(contract: EventsContract, stored: StoredEvent, cause: unknown): MillraceError {
  if (cause instanceof MillraceError && cause.code === 'EVENT_UNREADABLE') return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return unreadable(contract, stored, reason, cause);
}

function unreadable(contract: EventsContract, stored: StoredEvent, reason: string, cause?: unknown): MillraceError {
  const { streamId, version, position, type } = stored;
  const message = `${placeOf(contract, stored)} cannot be read: ${reason}`;
  return new MillraceError('EVENT_UNREADABLE', message, {
    store: contract.name,
    streamId,
    version,
    position,
    type,
    cause,
  });
}

function placeOf({ name }: EventsContract, { streamId, version, type }: StoredEvent): string {
  return `event ${version} of ${streamId} (${type}) in ${name}`;
}

function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function';
}
