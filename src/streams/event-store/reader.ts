/**
 * Reads events, page by page: of one stream, or of all.
 *
 * The list of all events holds references, so that no event is stored twice; the events of a page are fetched together in one round trip.
 * A reference whose stream was erased leads nowhere and is passed over.
 */
import type { RedisClient } from '../../redis/clients.ts';
import { createBatch } from '../../redis/batch.ts';
import type { Connections } from '../../redis/connect.ts';
import { askRedis } from './ask-redis.ts';
import type { EventsContract } from './contract.ts';
import { refOf, storedEventOf, type EventRef, type RawEntry, type StoredEvent } from './entry.ts';
import type { EventKeys } from './keys.ts';

/** How many events are fetched at a time. */
export const PAGE = 250;

/** What reading stands on. */
export interface ReaderParts {
  readonly connections: Pick<Connections, 'commands' | 'label'>;
  readonly contract: EventsContract;
  readonly keys: EventKeys;
}

/** Which events of a stream, both ends included. */
export interface StreamRange {
  readonly from: number;
  readonly count: number;
  readonly backwards: boolean;
}

/** Reads what is stored; what it means is decodeEvent()'s matter. */
export class Reader {
  readonly #parts: ReaderParts;

  constructor(parts: ReaderParts) {
    this.#parts = parts;
  }

  /** Events of one stream, the first of which is `from` or the next one there is. */
  async stream(streamId: string, { from, count, backwards }: StreamRange): Promise<StoredEvent[]> {
    const { stream } = this.#parts.keys.of(streamId);
    const entries = await this.#ask((client) =>
      backwards
        ? client.xrevrange(stream, Number.isFinite(from) ? `${from}-0` : '+', '-', 'COUNT', count)
        : client.xrange(stream, `${from}-0`, '+', 'COUNT', count),
    );
    return (entries as RawEntry[]).map((entry) => storedEventOf(streamId, entry));
  }

  /** References from a position on. */
  async refs(from: number, count: number): Promise<EventRef[]> {
    const entries = await this.#ask((client) => client.xrange(this.#parts.keys.all, `${from}-0`, '+', 'COUNT', count));
    return (entries as RawEntry[]).map(refOf);
  }

  /** The position of the last event; 0 when there is none. */
  async top(): Promise<number> {
    const entries = await this.#ask((client) => client.xrevrange(this.#parts.keys.all, '+', '-', 'COUNT', 1));
    const [last] = entries as RawEntry[];
    return last ? refOf(last).position : 0;
  }

  /** The events of the references, in their order; of erased streams there are none. */
  async fetch(refs: readonly EventRef[]): Promise<StoredEvent[]> {
    if (refs.length === 0) return [];
    const { connections, keys } = this.#parts;
    const batch = createBatch(connections.commands());
    const runs = runsOf(refs);
    const answers = runs.map(({ streamId, first, last }) =>
      batch.command('XRANGE', keys.of(streamId).stream, `${first}-0`, `${last}-0`),
    );
    await batch.send();
    const found = new Map<string, StoredEvent>();
    for (const [index, { streamId }] of runs.entries()) {
      for (const entry of (await answers[index]) as RawEntry[]) {
        const event = storedEventOf(streamId, entry);
        found.set(`${event.version} ${streamId}`, event);
      }
    }
    return refs.flatMap(({ streamId, version }) => found.get(`${version} ${streamId}`) ?? []);
  }

  #ask<T>(question: (client: RedisClient) => Promise<T>): Promise<T> {
    return askRedis(this.#parts.connections, question);
  }
}

interface Run {
  readonly streamId: string;
  readonly first: number;
  last: number;
}

/** Versions of a stream that follow one another are fetched by one command. */
function runsOf(refs: readonly EventRef[]): Run[] {
  const runs: Run[] = [];
  const open = new Map<string, Run>();
  for (const { streamId, version } of refs) {
    const run = open.get(streamId);
    if (run && run.last + 1 === version) {
      run.last = version;
      continue;
    }
    const begun = { streamId, first: version, last: version };
    runs.push(begun);
    open.set(streamId, begun);
  }
  return runs;
}
