/** The event store that tests work with: accounts, their balances, and what checks that a history is whole. */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { defineEvents, type NewEvent } from '../../../src/streams/event-store/contract.ts';
import { project } from '../../../src/streams/event-store/projection.ts';

export const accounts = defineEvents({
  name: 'accounts',
  events: {
    opened: z.object({ owner: z.string() }),
    deposited: z.object({ amount: z.number().int() }),
    closed: z.object({}),
  },
});

export type AccountEvent = NewEvent<(typeof accounts)['events']>;

export const opened = (owner = 'ada'): AccountEvent => ({ type: 'opened', data: { owner } });
export const deposited = (amount = 1, id?: string): AccountEvent => ({
  type: 'deposited',
  data: { amount },
  ...(id !== undefined && { id }),
});

/** Balance and number of deposits by stream; an event that counted twice or never shows. */
export const balances = project(accounts, {
  name: 'balances',
  document: z.object({ balance: z.number(), deposits: z.number() }),
  on: {
    deposited: async (view, { streamId, data }) => {
      const { balance, deposits } = (await view.get(streamId)) ?? { balance: 0, deposits: 0 };
      await view.set(streamId, { balance: balance + data.amount, deposits: deposits + 1 });
    },
    closed: (view, { streamId }) => view.delete(streamId),
  },
  lease: '1s',
});

/** What is in Redis of the store, looked at without its code. */
export interface History {
  /** `version stream` of each position, in order. */
  readonly refs: readonly string[];
  /** `version stream` of each event of each stream. */
  readonly events: ReadonlySet<string>;
  /** Event ids, in the order of positions. */
  readonly ids: readonly string[];
}

/**
 * The history under the default prefix.
 *
 * @throws when a version or position is missing or there twice, or when streams and the list of all events do not agree.
 */
export async function wholeHistory(redis: Redis, store = 'accounts'): Promise<History> {
  const key = (rest: string): string => `millrace:events:{${store}}:${rest}`;
  const refs: string[] = [];
  const streams = new Set<string>();
  for (const [index, [id, fields]] of (await redis.xrange(key('all'), '-', '+')).entries()) {
    if (id !== `${index + 1}-0`) throw new Error(`expected position ${index + 1}, got ${id}`);
    refs.push(`${fields[3]} ${fields[1]}`);
    streams.add(fields[1] ?? '');
  }
  const idOf = new Map<string, string>();
  for (const stream of streams) {
    for (const [index, [id, fields]] of (await redis.xrange(key(`stream:${stream}`), '-', '+')).entries()) {
      if (id !== `${index + 1}-0`) throw new Error(`expected version ${index + 1} of ${stream}, got ${id}`);
      idOf.set(`${index + 1} ${stream}`, fields[5] ?? '');
    }
    const versions = [...idOf.keys()].filter((place) => place.endsWith(` ${stream}`)).length;
    const last = await redis.hget(key('versions'), stream);
    if (last !== String(versions)) throw new Error(`${stream} has ${versions} events, its version is ${last}`);
  }
  if (new Set(refs).size !== refs.length) throw new Error('an event is twice among all events');
  if (refs.length !== idOf.size) throw new Error(`${refs.length} references to ${idOf.size} events`);
  return { refs, events: new Set(idOf.keys()), ids: refs.map((ref) => idOf.get(ref) ?? 'missing') };
}
