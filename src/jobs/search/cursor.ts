/** Where a search goes on: opaque to those who carry it, and looked at before it is used, because it comes back from outside. */
import { createHash } from 'node:crypto';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { z } from 'zod';
import { MillraceError } from '../../errors.ts';
import { SEARCHABLE_STATES, type CheckedFilter, type SearchableState } from './filter.ts';
import type { Place } from './source.ts';

/** How far a search has come. Queues are walked in the order of their names, a group of them at a time. */
export interface Progress {
  /** The search began then: jobs that were enqueued later are left out, so that pages do not run away. In ms since 1970. */
  before: number;
  /** This queue and those before it are done. */
  after: string;
  /** The last queue of the group that is being walked; absent between groups. */
  upTo?: string | undefined;
  /** Places in the group, by queue and state. */
  places: Map<string, Map<SearchableState, Place>>;
}

const LARGEST = 256 * 1_024;

const placeSchema = z.union([
  z.tuple([z.number().int().min(0), z.string()]),
  z.tuple([z.string().regex(/^-?\d+(?:\.\d+)?(?:e\+?\d+)?$/), z.number().int().min(0).max(1_000_000)]),
]);
const cursorSchema = z.tuple([
  z.string(),
  z.number().min(0),
  z.string(),
  z.string().nullable(),
  z.record(z.string(), z.record(z.string().regex(/^[0-7]$/), placeSchema)),
]);

/** The cursor of a search that goes on from there. */
export function encodeCursor(filter: CheckedFilter, { before, after, upTo, places }: Progress): string {
  const marks = [...places].map(([queue, states]) => [
    queue,
    Object.fromEntries([...states].map(([state, place]) => [SEARCHABLE_STATES.indexOf(state), place])),
  ]);
  const cursor = [digestOf(filter), before, after, upTo ?? null, Object.fromEntries(marks)];
  return deflateRawSync(JSON.stringify(cursor)).toString('base64url');
}

/** @throws MillraceError OPTIONS_INVALID for a cursor that is none, or of another search */
export function decodeCursor(filter: CheckedFilter, cursor: string): Progress {
  const { data } = cursorSchema.safeParse(parse(cursor));
  if (!data || data[0] !== digestOf(filter)) {
    const message = 'jobs.search: cursor: expected one that an earlier page of the same search gave';
    throw new MillraceError('OPTIONS_INVALID', message, { cursor });
  }
  const [, before, after, upTo, marks] = data;
  const places = Object.entries(marks).map(([queue, states]): [string, Map<SearchableState, Place>] => [
    queue,
    new Map(
      Object.entries(states).flatMap(([index, place]) => {
        const state = SEARCHABLE_STATES[Number(index)];
        return state === undefined ? [] : [[state, place]];
      }),
    ),
  ]);
  return { before, after, upTo: upTo ?? undefined, places: new Map(places) };
}

function digestOf(filter: CheckedFilter): string {
  const { queues, names, states, from, to, text } = filter;
  const asked = JSON.stringify([queues, names, states, from, to, text]);
  return createHash('sha256').update(asked).digest('base64url').slice(0, 10);
}

function parse(cursor: string): unknown {
  try {
    return JSON.parse(inflateRawSync(Buffer.from(cursor, 'base64url'), { maxOutputLength: LARGEST }).toString());
  } catch {
    return undefined; // Told as any other cursor that is none.
  }
}
