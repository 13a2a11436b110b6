/** Events and references as Redis has them, before anything is made of their data. */

/** An entry of a Redis stream: its id, then names and values in turn. */
export type RawEntry = readonly [id: string, fields: readonly string[]];

/** An event as it is stored. */
export interface StoredEvent {
  readonly streamId: string;
  readonly version: number;
  readonly position: number;
  readonly type: string;
  readonly id: string;
  /** When it was appended, in ms since 1970 on the server's clock. */
  readonly at: number;
  /** JSON. */
  readonly data: string;
  /** JSON; empty for none. */
  readonly metadata: string;
  /** How many upcasters its type had when it was written. */
  readonly form: number;
}

/** Where an event is. */
export interface EventRef {
  readonly position: number;
  readonly streamId: string;
  readonly version: number;
  readonly type: string;
  /** Random, of the append that wrote it, so that another one that takes a lost one's place shows. Empty for those of older versions. */
  readonly mark: string;
}

/** append.lua writes each entry with the same fields in the same order. */
export function storedEventOf(streamId: string, [id, fields]: RawEntry): StoredEvent {
  const [, type = '', , data = '', , eventId = '', , at, , position, , metadata = '', , form] = fields;
  return {
    streamId,
    version: numberOf(id),
    position: Number(position),
    type,
    id: eventId,
    at: Number(at),
    data,
    metadata,
    form: Number(form),
  };
}

/** Likewise. */
export function refOf([id, fields]: RawEntry): EventRef {
  const [, streamId = '', , version, , type = '', , mark = ''] = fields;
  return { position: numberOf(id), streamId, version: Number(version), type, mark };
}

function numberOf(id: string): number {
  return Number.parseInt(id, 10);
}
