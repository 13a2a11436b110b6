/**
 * The streams, as their list shows them: looked at for the rows of one page, or for as many as a sorted list compares.
 *
 * A stream costs two round trips to look at. So a list by name looks at one page; a list by a figure must look at all of them to know which
 * comes first, and is bounded to the first 500 names that match.
 */
import type { Request } from 'express';
import { isMillraceError, type StreamGroupInfo, type StreamInfo } from 'millrace';
import { AUDIT_STREAM } from '../audit/audit.ts';
import type { Desk } from '../desk.ts';
import { partOf, type Part } from '../fleet/part.tsx';
import { query } from '../view/input.ts';

/** What a list can be sorted by. All but the name put the greatest first. */
export const SORTS = ['name', 'length', 'lag', 'pending', 'oldest', 'dead'] as const;
export type Sort = (typeof SORTS)[number];

/** A stream in the list. */
export interface StreamRow {
  readonly name: string;
  /** Undefined when only the dashboard's options name it: nobody has used it yet. */
  readonly info: StreamInfo | undefined;
  /** The group that is furthest behind. */
  readonly furthest: StreamGroupInfo | undefined;
  readonly pending: number;
  readonly oldestPendingMs: number | undefined;
  readonly dead: number;
}

/** What the page shows. */
export interface StreamList {
  readonly part: Part<StreamRow>;
  /** Whether nobody has used a stream yet but the dashboard, which keeps its audit in one. */
  readonly isUnused: boolean;
  readonly sort: Sort;
  readonly text: string;
  /** Of the names that match, so many were compared; undefined when all were. */
  readonly compared: number | undefined;
}

const MOST_COMPARED = 500;
const AT_ONCE = 50;

/** The list that the address asks for. @throws what Redis met */
export async function listStreams(desk: Desk, request: Request): Promise<StreamList> {
  const text = query(request, 'name').trim().slice(0, 100);
  const sort = sortOf(query(request, 'sort'));
  const names = await streamNames(desk);
  const matching = names.filter((name) => name.toLowerCase().includes(text.toLowerCase()));
  const about = { isUnused: names.every((name) => name === AUDIT_STREAM), sort, text };
  if (sort === 'name') {
    const part = partOf(matching, request);
    return { ...about, part: { ...part, rows: await lookAt(desk, part.rows) }, compared: undefined };
  }
  const rows = await lookAt(desk, matching.slice(0, MOST_COMPARED));
  const sorted = rows.toSorted((one, other) => figureOf(other, sort) - figureOf(one, sort));
  const compared = matching.length > MOST_COMPARED ? MOST_COMPARED : undefined;
  return { ...about, part: partOf(sorted, request), compared };
}

/** Those that processes have told of, and those that the dashboard was told of. */
async function streamNames({ platform, streams }: Desk): Promise<string[]> {
  return [...new Set([...(await platform.streams.known()), ...streams.map(({ name }) => name)])].toSorted();
}

/** The stream; undefined when there is none of that name, nor can be. @throws what Redis met */
export async function findStream({ platform }: Desk, name: string): Promise<StreamInfo | undefined> {
  try {
    return await platform.streams.inspect(name);
  } catch (error) {
    if (isMillraceError(error, 'OPTIONS_INVALID')) return undefined;
    throw error;
  }
}

/** Paths of what is secret in its data: what processes have told, and what the app's own contract says. */
export function secretsOf({ streams }: Desk, { name, secrets }: StreamInfo): readonly string[] {
  const own = streams.find((contract) => contract.name === name);
  return [...new Set([...secrets, ...(own?.secrets ?? [])])];
}

async function lookAt(desk: Desk, names: readonly string[]): Promise<StreamRow[]> {
  const rows: StreamRow[] = [];
  for (let first = 0; first < names.length; first += AT_ONCE) {
    const some = names.slice(first, first + AT_ONCE);
    rows.push(...(await Promise.all(some.map(async (name) => rowOf(name, await findStream(desk, name))))));
  }
  return rows;
}

function rowOf(name: string, info: StreamInfo | undefined): StreamRow {
  const groups = info?.groups ?? [];
  const sum = (figure: 'pending' | 'deadLetters'): number => groups.reduce((all, group) => all + group[figure], 0);
  const ages = groups.flatMap(({ oldestPendingMs }) => oldestPendingMs ?? []);
  return {
    name,
    info,
    furthest: groups.toSorted((one, other) => other.lag - one.lag)[0],
    pending: sum('pending'),
    oldestPendingMs: ages.length === 0 ? undefined : Math.max(...ages),
    dead: sum('deadLetters'),
  };
}

function figureOf(
  { info, furthest, pending, oldestPendingMs = -1, dead }: StreamRow,
  by: Exclude<Sort, 'name'>,
): number {
  switch (by) {
    case 'length':
      return info?.length ?? -1;
    case 'lag':
      return furthest?.lag ?? -1;
    case 'pending':
      return pending;
    case 'oldest':
      return oldestPendingMs;
    case 'dead':
      return dead;
  }
}

function sortOf(text: string): Sort {
  return SORTS.find((sort) => sort === text) ?? 'name';
}
